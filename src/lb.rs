//! Choosing a server: pure, no clock, no I/O.
//!
//! In:    weights, who can be used, what each server has to do; chance, handed in
//! Out:   the place of a server among those of its backend
//! Owns:  whose turn it is
//! Never: connects, counts, or asks whether a server is there
//! Read:  docs/configuration.md, "balance"
//!
//! For the same weights and the same requests the servers come in the order in which HAProxy gives them; a
//! test compares the two. By algorithm: [`robin`] (roundrobin), [`map`] (static-rr, hashes into a map), [`ring`]
//! (consistent hashes, random), [`ordered`] (leastconn, first), [`hash`] (the functions).

mod hash;
mod map;
mod ordered;
mod ring;
mod robin;
mod roster;
#[cfg(test)]
mod tests;

pub(crate) use hash::avalanche;

use crate::config::model::{Algorithm, Balance, HashMethod};

use map::Map;
use ordered::Ordered;
use ring::Ring;
use robin::Robin;
use roster::{Choice, Roster};

/// HAProxy's scale: an effective weight is a weight in sixteenths.
pub const WEIGHT_SCALE: u32 = 16;

/// A server, as the algorithms see it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ServerEntry {
    /// Its number, which orders `first` and places it on rings.
    pub id: u32,
    /// Its weight, 0 to 256.
    pub weight: u32,
    /// It serves only when no other can.
    pub is_backup: bool,
}

/// What a server has to do.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Load {
    /// Places taken on it.
    pub served: u32,
    /// Streams that wait for it alone.
    pub queued: u32,
}

/// Whether a server takes one more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Room {
    /// There is a place, and nobody waits for it.
    Free,
    /// There is none, but a bounded queue of its own has one.
    InQueue,
    /// It would have to wait.
    None,
}

/// What is asked for.
pub struct Request<'a> {
    /// What is hashed by algorithms that hash; `None`: there is nothing, and round robin serves.
    pub key: Option<&'a [u8]>,
    /// Another than this one, if there is one.
    pub avoid: Option<usize>,
    /// Chance.
    pub random: &'a mut dyn FnMut() -> u32,
    /// Whether a server takes one more.
    pub room: &'a dyn Fn(usize) -> Room,
    /// What a server has to do.
    pub load: &'a dyn Fn(usize) -> Load,
    /// Places taken on all servers together.
    pub served: u32,
}

impl Request<'_> {
    fn is_free(&self, server: usize) -> bool {
        (self.room)(server) == Room::Free
    }
}

/// What is given.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pick {
    /// This one. Algorithms that hash give it even if it has no room.
    Server(usize),
    /// There are servers, and none of them has room.
    Full,
    /// There is none.
    Nobody,
}

/// The servers of a backend, and whose turn it is.
#[derive(Debug)]
pub struct Balancer {
    roster: Roster,
    order: Order,
    algorithm: Algorithm,
    hash: hash::Hash,
    balance_factor: Option<u32>,
}

#[derive(Debug)]
enum Order {
    Robin(Robin),
    Map(Map),
    Ring(Ring),
    Ordered(Ordered),
}

impl Balancer {
    /// All servers can be used; `all_backups`: not only the first backup serves when no active server can.
    pub fn new(balance: &Balance, all_backups: bool, servers: &[ServerEntry]) -> Self {
        let roster = Roster::new(servers, all_backups);
        let is_consistent = balance.hash_type.method == HashMethod::Consistent;
        let order = match balance.algorithm {
            Algorithm::RoundRobin => Order::Robin(Robin::new(&roster)),
            Algorithm::StaticRr => Order::Map(Map::new(&roster)),
            Algorithm::LeastConn => Order::Ordered(Ordered::by_load(&roster)),
            Algorithm::First => Order::Ordered(Ordered::by_id(&roster)),
            Algorithm::Random { .. } => Order::Ring(Ring::new(&roster)),
            Algorithm::Source | Algorithm::RdpCookie(_) if is_consistent => {
                Order::Ring(Ring::new(&roster))
            }
            Algorithm::Source | Algorithm::RdpCookie(_) => Order::Map(Map::new(&roster)),
        };
        Balancer {
            roster,
            order,
            algorithm: balance.algorithm.clone(),
            hash: hash::Hash::new(balance.hash_type),
            balance_factor: balance.balance_factor,
        }
    }

    /// Sets a server's effective weight, in sixteenths; with 0 it takes no new stream.
    pub fn set_weight(&mut self, server: usize, eweight: u32) {
        self.change(server, |roster| roster.set_weight(server, eweight));
    }

    /// Says whether a server can be used at all.
    pub fn set_usable(&mut self, server: usize, usable: bool) {
        self.change(server, |roster| roster.set_up(server, usable));
    }

    fn change(&mut self, server: usize, apply: impl FnOnce(&mut Roster)) {
        let was = self.roster.eweight(server);
        let old = self.roster.usable_weight(server);
        apply(&mut self.roster);
        let new = self.roster.usable_weight(server);
        if old == new && was == self.roster.eweight(server) {
            return;
        }
        match &mut self.order {
            Order::Robin(robin) => robin.changed(server, old, new, &self.roster),
            Order::Map(map) => map.changed(&self.roster),
            Order::Ring(ring) => ring.changed(server, &self.roster),
            Order::Ordered(ordered) => ordered.changed(server, &self.roster),
        }
    }

    /// A server has to do more or less than before.
    pub fn load_changed(&mut self, server: usize, load: Load) {
        if let Order::Ordered(ordered) = &mut self.order {
            ordered.load_changed(server, load, &self.roster);
        }
    }

    /// A server for a stream.
    pub fn pick(&mut self, request: &mut Request<'_>) -> Pick {
        let choice = self.roster.choice();
        if choice == Choice::Nobody {
            return Pick::Nobody;
        }
        let Balancer { roster, order, algorithm, hash, balance_factor } = self;
        let picked = match (order, algorithm) {
            (Order::Map(map), Algorithm::StaticRr) => map.next(request),
            (Order::Map(map), algorithm) => match request.key {
                Some(key) => map.at(hash.of(algorithm, key, roster)),
                None => map.next(request),
            },
            // The first backup serves alone, whatever it has to do.
            (_, _) if let Choice::Only(server) = choice => Some(server),
            (Order::Robin(robin), _) => robin.next(choice, roster, request),
            (Order::Ordered(ordered), _) => ordered.next(choice, request),
            (Order::Ring(ring), Algorithm::Random { draws }) => {
                ring.drawn(*draws, choice, roster, request)
            }
            (Order::Ring(ring), algorithm) => match request.key {
                Some(key) => {
                    let hash = hash.of(algorithm, key, roster);
                    ring.closest(hash, choice, roster, *balance_factor, request)
                }
                None => ring.next(choice, request),
            },
        };
        picked.map_or(Pick::Full, Pick::Server)
    }

    /// Active servers that can be used.
    pub fn active(&self) -> usize {
        self.roster.active()
    }

    /// Backups that can be used.
    pub fn backups(&self) -> usize {
        self.roster.backups()
    }
}
