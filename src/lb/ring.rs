//! Servers on a ring: each has points on it by its weight, and a hash leads to the closest one.
//!
//! Owns:  the points
//! Never: moves the points of one server because of another
//! Read:  Mirrokni, Thorup and Zadimoghaddam, "Consistent Hashing with Bounded Loads" (2016), for the bound

use std::collections::BTreeSet;
use std::ops::Bound;

use super::hash::avalanche;
use super::roster::{Choice, Group, Roster};
use super::{Request, WEIGHT_SCALE};

/// Numbers that points of one server begin with: so far apart that no weight reaches into the next.
const POINTS_MAX: u32 = 256 * WEIGHT_SCALE;

/// A point: where, in the order of coming if several are there, and whose.
type Point = (u32, u64, usize);

/// The ring.
#[derive(Debug)]
pub(super) struct Ring {
    /// By [`Group`].
    points: [BTreeSet<Point>; 2],
    /// The points of each server, in the order in which they were set.
    of_server: Vec<Vec<Point>>,
    arrivals: u64,
    /// Where round robin over the ring stands.
    last: Option<Point>,
}

impl Ring {
    pub fn new(roster: &Roster) -> Self {
        let mut ring = Ring {
            points: [BTreeSet::new(), BTreeSet::new()],
            of_server: vec![Vec::new(); roster.len()],
            arrivals: 0,
            last: None,
        };
        (0..roster.len()).for_each(|server| ring.changed(server, roster));
        ring
    }

    /// A server came, went, or has another weight: as many points as it says, the last ones go first.
    pub fn changed(&mut self, server: usize, roster: &Roster) {
        let wanted = roster.usable_weight(server) as usize;
        let points = &mut self.points[roster.group(server) as usize];
        let own = &mut self.of_server[server];
        while own.len() > wanted {
            let point = own.pop().expect("it has some");
            points.remove(&point);
        }
        let base = roster.id(server).wrapping_mul(POINTS_MAX);
        while own.len() < wanted {
            self.arrivals += 1;
            let at = avalanche(base.wrapping_add(own.len() as u32));
            let point = (at, self.arrivals, server);
            own.push(point);
            points.insert(point);
        }
    }

    /// The server closest to a hash, going on from there past those who are to be avoided or have more than
    /// their share.
    pub fn closest(
        &self,
        hash: u32,
        choice: Choice,
        roster: &Roster,
        balance_factor: Option<u32>,
        request: &Request<'_>,
    ) -> Option<usize> {
        let Choice::Among(group) = choice else { return None };
        let points = &self.points[group as usize];
        let from_hash = (Bound::Included((hash, 0, 0)), Bound::Unbounded);
        let next = points.range(from_hash).next().or_else(|| points.first())?;
        let prev = points.range(..next).next_back().or_else(|| points.last())?;
        let is_prev_closer = hash.wrapping_sub(prev.0) <= next.0.wrapping_sub(hash);
        let start = if is_prev_closer { prev } else { next };
        let is_skipped = |server: usize| {
            let is_over = balance_factor
                .is_some_and(|factor| has_its_share(server, group, factor, roster, request));
            Some(server) == request.avoid || is_over
        };
        let round = points.range(start..).chain(points.iter());
        let found = round.map(|&(_, _, server)| server).find(|&server| !is_skipped(server));
        found.or(Some(start.2))
    }

    /// The least loaded of some drawn at random; none when that one has no room.
    pub fn drawn(
        &self,
        draws: u32,
        choice: Choice,
        roster: &Roster,
        request: &mut Request<'_>,
    ) -> Option<usize> {
        let load = |server: usize, of: usize| {
            u64::from((request.load)(server).served) * u64::from(roster.usable_weight(of))
        };
        let mut best: Option<usize> = None;
        for _ in 0..draws.max(1) {
            let hash = (request.random)();
            let drawn = self.closest(hash, choice, roster, None, request)?;
            best = match best {
                Some(before) if load(drawn, before) > load(before, drawn) => Some(before),
                _ => Some(drawn),
            };
        }
        best.filter(|&server| request.is_free(server))
    }

    /// The next one around the ring that has room.
    pub fn next(&mut self, choice: Choice, request: &Request<'_>) -> Option<usize> {
        let Choice::Among(group) = choice else { return None };
        let points = &self.points[group as usize];
        let after = self.last.map_or(Bound::Unbounded, Bound::Excluded);
        let round = || points.range((after, Bound::Unbounded)).chain(points.iter());
        let free = || round().filter(|point| request.is_free(point.2));
        let found =
            free().find(|point| Some(point.2) != request.avoid).or_else(|| free().next())?;
        self.last = Some(*found);
        Some(found.2)
    }
}

/// Whether a server has as many places taken as its weight allows, when all together may have `factor` percent
/// of what they have.
fn has_its_share(
    server: usize,
    group: Group,
    factor: u32,
    roster: &Roster,
    request: &Request<'_>,
) -> bool {
    let total = u64::from(roster.weight_of(group)).max(1);
    let places = (u64::from(request.served + 1) * u64::from(factor)).div_ceil(100);
    let (each, rest) = (places / total, places % total);
    let weight = u64::from(roster.usable_weight(server));
    let before = u64::from(roster.weight_before(server));
    let own = weight * each + (before + weight) * rest / total - before * rest / total;
    u64::from((request.load)(server).served) >= own.max(1)
}
