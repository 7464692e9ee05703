//! Servers in an order: by what they have to do (leastconn), or by their numbers (first).
//!
//! Owns:  the order, kept as loads change
//! Never: sorts

use std::collections::BTreeSet;

use super::roster::{Choice, Group, Roster};
use super::{Load, Request, Room, WEIGHT_SCALE};

/// A place in the order: the key, then who came to it first.
type Place = (u32, u64, usize);

/// The order.
#[derive(Debug)]
pub(super) struct Ordered {
    by_load: bool,
    /// By [`Group`].
    order: [BTreeSet<Place>; 2],
    places: Vec<Option<Place>>,
    loads: Vec<Load>,
    arrivals: u64,
}

impl Ordered {
    /// Those with the least to do for their weight first.
    pub fn by_load(roster: &Roster) -> Self {
        Ordered::new(true, roster)
    }

    /// Those with the lowest number first.
    pub fn by_id(roster: &Roster) -> Self {
        Ordered::new(false, roster)
    }

    fn new(by_load: bool, roster: &Roster) -> Self {
        let mut ordered = Ordered {
            by_load,
            order: [BTreeSet::new(), BTreeSet::new()],
            places: vec![None; roster.len()],
            loads: vec![Load::default(); roster.len()],
            arrivals: 0,
        };
        (0..roster.len()).for_each(|server| ordered.changed(server, roster));
        ordered
    }

    /// A server came, went, or has another weight.
    pub fn changed(&mut self, server: usize, roster: &Roster) {
        self.remove(server, roster);
        if roster.usable_weight(server) > 0 {
            self.insert(server, roster);
        }
    }

    pub fn load_changed(&mut self, server: usize, load: Load, roster: &Roster) {
        self.loads[server] = load;
        let Some((key, _, _)) = self.places[server] else { return };
        if self.by_load && key != self.key(server, roster) {
            self.remove(server, roster);
            self.insert(server, roster);
        }
    }

    /// Who would have the least for its weight with one more; who has nothing goes before all, so that under
    /// little load the heaviest is not the only one.
    fn key(&self, server: usize, roster: &Roster) -> u32 {
        if !self.by_load {
            return roster.id(server);
        }
        let Load { served, queued } = self.loads[server];
        match served + queued {
            0 => 0,
            busy => (busy + 1) * 256 * WEIGHT_SCALE / roster.usable_weight(server),
        }
    }

    fn insert(&mut self, server: usize, roster: &Roster) {
        self.arrivals += 1;
        let place = (self.key(server, roster), self.arrivals, server);
        self.places[server] = Some(place);
        self.order[roster.group(server) as usize].insert(place);
    }

    fn remove(&mut self, server: usize, roster: &Roster) {
        if let Some(place) = self.places[server].take() {
            self.order[roster.group(server) as usize].remove(&place);
        }
    }

    /// The first that has room. By load, a place in a server's own bounded queue is room too.
    pub fn next(&self, choice: Choice, request: &Request<'_>) -> Option<usize> {
        let Choice::Among(group) = choice else { return None };
        let has_room = |server: usize| match (request.room)(server) {
            Room::Free => true,
            Room::InQueue => self.by_load,
            Room::None => false,
        };
        let in_order = || self.in_order(group).filter(|&server| has_room(server));
        in_order().find(|&server| Some(server) != request.avoid).or_else(|| in_order().next())
    }

    fn in_order(&self, group: Group) -> impl Iterator<Item = usize> {
        self.order[group as usize].iter().map(|&(_, _, server)| server)
    }
}
