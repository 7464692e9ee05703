//! A map from numbers to servers: each stands in it as often as its weight says.
//!
//! Owns:  the map, made anew when a server comes or goes; where round robin stands in it
//! Never: as fast to change as to read

use super::roster::{Choice, Group, Roster};
use super::{Request, WEIGHT_SCALE};

/// The map.
#[derive(Debug)]
pub(super) struct Map {
    servers: Vec<usize>,
    next: usize,
    /// What all weights have in common: the map is as short as their shares allow.
    divisor: u32,
}

impl Map {
    pub fn new(roster: &Roster) -> Self {
        let weights = (0..roster.len()).map(|server| roster.stated_weight(server));
        let divisor = weights.fold(0, greatest_common_divisor).max(1);
        let mut map = Map { servers: Vec::new(), next: 0, divisor };
        map.changed(roster);
        map
    }

    /// Fills the map. Each place goes to the server that has waited longest for its share; the first in the
    /// configuration goes first.
    pub fn changed(&mut self, roster: &Roster) {
        self.servers.clear();
        let (group, total) = match roster.choice() {
            Choice::Nobody => return,
            Choice::Only(first) => (Group::Backup, self.weight(first, roster)),
            Choice::Among(group) => {
                (group, (0..roster.len()).map(|at| self.weight_in(at, group, roster)).sum())
            }
        };
        let total = i64::from(total);
        let mut scores = vec![0_i64; roster.len()];
        for _ in 0..total {
            let mut best: Option<(i64, usize)> = None;
            for (server, score) in scores.iter_mut().enumerate() {
                let weight = self.weight_in(server, group, roster);
                if weight == 0 {
                    continue;
                }
                if total == 1 {
                    best = Some((0, server));
                    break;
                }
                *score += i64::from(weight);
                let claim = (*score + total) / total;
                if best.is_none_or(|(most, _)| claim > most) {
                    best = Some((claim, server));
                }
            }
            let Some((_, server)) = best else { break };
            scores[server] -= total;
            self.servers.push(server);
        }
    }

    fn weight_in(&self, server: usize, group: Group, roster: &Roster) -> u32 {
        if roster.group(server) == group { self.weight(server, roster) } else { 0 }
    }

    fn weight(&self, server: usize, roster: &Roster) -> u32 {
        roster.usable_weight(server).div_ceil(WEIGHT_SCALE * self.divisor)
    }

    /// Where a hash leads.
    pub fn at(&self, hash: u32) -> Option<usize> {
        self.servers.get(hash as usize % self.servers.len().max(1)).copied()
    }

    /// The next one in turn that has room.
    pub fn next(&mut self, request: &Request<'_>) -> Option<usize> {
        let count = self.servers.len();
        if self.next >= count {
            self.next = 0;
        }
        let mut avoided = None;
        for step in 0..count {
            let at = (self.next + step) % count;
            let server = self.servers[at];
            if !request.is_free(server) {
                continue;
            }
            if Some(server) != request.avoid {
                self.next = at + 1;
                return Some(server);
            }
            avoided = Some((at, server));
        }
        let (at, server) = avoided?;
        self.next = at + 1;
        Some(server)
    }
}

fn greatest_common_divisor(a: u32, b: u32) -> u32 {
    if b == 0 { a } else { greatest_common_divisor(b, a % b) }
}
