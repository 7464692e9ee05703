//! The servers that are chosen among, in the order of the configuration.
//!
//! In:    servers by place
//! Out:   choices by place
//! Owns:  whose turn it is
//! Never: has a seat for a server that the configuration has no more

use crate::config::model::Proxy;
use crate::lb::{self, Balancer, Load, Pick, Room};

/// What is asked for, by places.
pub(super) struct Wanted<'a> {
    pub key: Option<&'a [u8]>,
    pub avoid: Option<usize>,
    pub random: &'a mut dyn FnMut() -> u32,
    pub room: &'a dyn Fn(usize) -> Room,
    pub load: &'a dyn Fn(usize) -> Load,
    pub served: u32,
}

/// A balancer, and who sits where: algorithms know seats in the order of the file, all others places that stay.
#[derive(Debug)]
pub(super) struct Seats {
    balancer: Balancer,
    /// By seat.
    places: Vec<usize>,
    /// By place.
    seats: Vec<Option<usize>>,
}

impl Seats {
    /// A seat for each server of the configuration.
    pub fn new(proxy: &Proxy) -> Self {
        let entry = |server: &crate::config::model::Server| lb::ServerEntry {
            id: server.id,
            weight: server.weight,
            is_backup: server.backup,
        };
        let entries: Vec<_> = proxy.servers.values().map(entry).collect();
        let places: Vec<usize> = proxy.servers.placed().map(|(place, _)| place).collect();
        let mut seats = vec![None; proxy.servers.extent()];
        places.iter().enumerate().for_each(|(seat, &place)| seats[place] = Some(seat));
        let balancer = Balancer::new(&proxy.balance, proxy.options.allbackups, &entries);
        Seats { balancer, places, seats }
    }

    fn seat(&self, place: usize) -> Option<usize> {
        self.seats.get(place).copied().flatten()
    }

    /// Whether the server at a place can be chosen at all.
    pub fn has(&self, place: usize) -> bool {
        self.seat(place).is_some()
    }

    /// The places of those with a seat.
    pub fn places(&self) -> &[usize] {
        &self.places
    }

    /// Sets a server's effective weight, in sixteenths.
    pub fn set_weight(&mut self, place: usize, eweight: u32) {
        if let Some(seat) = self.seat(place) {
            self.balancer.set_weight(seat, eweight);
        }
    }

    /// Says whether a server can be used.
    pub fn set_usable(&mut self, place: usize, usable: bool) {
        if let Some(seat) = self.seat(place) {
            self.balancer.set_usable(seat, usable);
        }
    }

    /// A server has to do more or less than before.
    pub fn load_changed(&mut self, place: usize, load: Load) {
        if let Some(seat) = self.seat(place) {
            self.balancer.load_changed(seat, load);
        }
    }

    /// A server for a stream.
    pub fn pick(&mut self, wanted: Wanted<'_>) -> Pick {
        let Wanted { key, avoid, random, room, load, served } = wanted;
        let avoid = avoid.and_then(|place| self.seat(place));
        let Seats { balancer, places, .. } = self;
        let picked = balancer.pick(&mut lb::Request {
            key,
            avoid,
            random,
            room: &|seat| room(places[seat]),
            load: &|seat| load(places[seat]),
            served,
        });
        match picked {
            Pick::Server(seat) => Pick::Server(places[seat]),
            Pick::Full | Pick::Nobody => picked,
        }
    }

    /// Active servers that can be used.
    pub fn active(&self) -> usize {
        self.balancer.active()
    }

    /// Backups that can be used.
    pub fn backups(&self) -> usize {
        self.balancer.backups()
    }
}
