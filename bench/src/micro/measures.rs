//! The measures: what is run, how often, against what.
//!
//! In:    names of measures, how many rounds of which size
//! Out:   measures and figures
//! Owns:  the demands
//! Never: prints

use std::fs;

use super::crowd::{Crowd, Tour};
use super::ours::Ours;
use super::pair::{Pair, Side};
use super::rounds::{Demand, Figure, Measure, cpu_seconds, ns_per_call};
use super::theirs::Theirs;

/// How much is done.
#[derive(Clone, Copy, Debug)]
pub struct Effort {
    /// Rounds of each measure.
    pub rounds: usize,
    /// Transactions of a round.
    pub transactions: usize,
    /// Bytes of a round of bulk.
    pub bytes: usize,
    /// Connections of the largest crowd.
    pub connections: usize,
}

impl Effort {
    /// What the demands are about.
    pub const FULL: Effort =
        Effort { rounds: 11, transactions: 200_000, bytes: 256 << 20, connections: 1_000_000 };
    /// Whether it works, and roughly how well.
    pub const QUICK: Effort =
        Effort { rounds: 7, transactions: 20_000, bytes: 32 << 20, connections: 20_000 };
}

/// What an idle connection may hold, and a million of them with all that is around them, bytes.
const PER_CONNECTION_MAX: f64 = 512.0;
const MILLION_MAX_MIB: f64 = 1024.0;
/// A packet may cost so many times more among a million connections than alone.
const FLAT: f64 = 2.0;
/// Connections that the busy few are.
const BUSY: usize = 64;

/// A request and its response through one connection: ns of one side.
pub fn request_response(effort: &Effort) -> Vec<Measure> {
    let demand = Demand::Below(1.0);
    let unit = "ns/side";
    let mut plain = Measure::new("request/response 64 B", unit, "smoltcp", demand);
    let mut stamped =
        Measure::new("request/response 64 B", unit, "smoltcp with timestamps", Demand::None);
    let mut ours = Pair::<Ours>::open();
    let mut theirs = Pair::<Theirs<false>>::open();
    let mut theirs_stamped = Pair::<Theirs<true>>::open();
    // Two sides share the time of a transaction.
    fn per_side<S: Side>(pair: &mut Pair<S>, effort: &Effort) -> f64 {
        ns_per_call(effort.transactions, || pair.transact()) / 2.0
    }
    for round in 0..=effort.rounds {
        let mut own = 0.0;
        if round % 2 == 0 {
            own = per_side(&mut ours, effort);
        }
        let bare = per_side(&mut theirs, effort);
        let with = per_side(&mut theirs_stamped, effort);
        if round % 2 == 1 {
            own = per_side(&mut ours, effort);
        }
        // The first round fills caches and grows what grows.
        if round > 0 {
            plain.ours.push(own);
            plain.other.push(bare);
            stamped.ours.push(own);
            stamped.other.push(with);
        }
    }
    vec![plain, stamped]
}

/// One flow, as many bytes as possible: MB/s of user's bytes, for the work of both sides.
pub fn bulk(effort: &Effort) -> Vec<Measure> {
    let mut plain = Measure::new("bulk, one flow", "MB/s", "smoltcp", Demand::Above(1.0));
    let mut stamped =
        Measure::new("bulk, one flow", "MB/s", "smoltcp with timestamps", Demand::None);
    let mut ours = Pair::<Ours>::open();
    let mut theirs = Pair::<Theirs<false>>::open();
    let mut theirs_stamped = Pair::<Theirs<true>>::open();
    fn goodput<S: Side>(pair: &mut Pair<S>, effort: &Effort) -> f64 {
        let begin = cpu_seconds();
        pair.transfer(effort.bytes, |_, _| {});
        effort.bytes as f64 / 1e6 / (cpu_seconds() - begin)
    }
    for round in 0..=effort.rounds {
        let mut own = 0.0;
        if round % 2 == 0 {
            own = goodput(&mut ours, effort);
        }
        let bare = goodput(&mut theirs, effort);
        let with = goodput(&mut theirs_stamped, effort);
        if round % 2 == 1 {
            own = goodput(&mut ours, effort);
        }
        if round > 0 {
            plain.ours.push(own);
            plain.other.push(bare);
            stamped.ours.push(own);
            stamped.other.push(with);
        }
    }
    vec![plain, stamped]
}

/// A tour in a crowd, and what it costs.
struct Walk {
    what: String,
    crowd: usize,
    tour: Tour,
    script: Tour,
    costs: Vec<f64>,
}

impl Walk {
    fn new(what: String, crowds: &[Crowd], crowd: usize, size: usize) -> Walk {
        let of = crowds[crowd].len();
        let tour = || Tour::new(size, of, 7);
        Walk { what, crowd, tour: tour(), script: tour(), costs: Vec::new() }
    }

    /// ns of a step, the script's share taken off.
    fn cost(&mut self, crowds: &mut [Crowd], transactions: usize) -> f64 {
        let crowd = &mut crowds[self.crowd];
        // What this crowd lost of the caches to the others is not its own cost.
        for _ in 0..transactions / 10 {
            crowd.step(&mut self.tour);
        }
        let whole = ns_per_call(transactions, || crowd.step(&mut self.tour));
        crowd.rest(&mut self.tour);
        let script = ns_per_call(transactions, || crowd.rehearse(&mut self.script));
        whole - script
    }
}

/// What a transaction costs the stack among more and more connections, compared with one alone.
pub fn flat(effort: &Effort, largest: Crowd) -> Vec<Measure> {
    let all = largest.len();
    let sizes = [1, 1000, 100_000].into_iter().filter(|&size| size < all);
    let mut crowds: Vec<Crowd> = sizes.map(Crowd::open).collect();
    crowds.push(largest);
    let mut walks: Vec<Walk> = (0..crowds.len())
        .map(|at| {
            let size = crowds[at].len();
            Walk::new(format!("transaction among {size}"), &crowds, at, size)
        })
        .collect();
    let busy = format!("the same {BUSY} among {all}");
    walks.push(Walk::new(busy, &crowds, crowds.len() - 1, BUSY));
    for round in 0..=effort.rounds {
        let count = walks.len();
        for index in 0..count {
            let index = if round % 2 == 0 { index } else { count - 1 - index };
            let cost = walks[index].cost(&mut crowds, effort.transactions);
            if round > 0 {
                walks[index].costs.push(cost);
            }
        }
    }
    let alone = walks.remove(0).costs;
    let measure = |walk: Walk| Measure {
        ours: walk.costs,
        other: alone.clone(),
        ..Measure::new(walk.what, "ns", "one connection alone", Demand::Below(FLAT))
    };
    walks.into_iter().map(measure).collect()
}

/// What idle connections hold. Gives the crowd back, so that it need not be made twice.
pub fn memory(effort: &Effort) -> (Vec<Figure>, Crowd) {
    let count = effort.connections;
    let each = |bytes: usize| bytes as f64 / count as f64;
    let figure = |what: &str, value| Figure {
        what: what.to_owned(),
        unit: "bytes/connection",
        value,
        demand: Demand::None,
    };
    let mut crowd = Crowd::empty(count);
    let before = resident_bytes();
    crowd.fill();
    let idle = resident_bytes() - before;
    let mut figures = vec![
        Figure {
            demand: Demand::Below(PER_CONNECTION_MAX),
            ..figure("idle since the handshake: resident", each(idle))
        },
        Figure {
            what: format!("{count} of them, with the whole process"),
            unit: "MiB",
            value: resident_bytes() as f64 / f64::from(1 << 20),
            demand: Demand::Below(MILLION_MAX_MIB),
        },
        Figure {
            unit: "buffers",
            ..figure("buffers that they hold", crowd.stack().stats().buffers.used as f64)
        },
        figure("Connection, without its heap", crowd.stack().stats().connections.size as f64),
    ];
    for (table, bytes) in crowd.stack().footprint() {
        figures.push(figure(&format!("allocated for: {table}"), each(bytes)));
    }
    let mut tour = Tour::new(count, count, 5);
    for _ in 0..count {
        crowd.step(&mut tour);
    }
    crowd.rest(&mut tour);
    drop(tour);
    figures.push(figure("idle after one transaction: resident", each(resident_bytes() - before)));
    (figures, crowd)
}

/// Bytes of this process that are in memory (proc(5), statm).
fn resident_bytes() -> usize {
    let statm = fs::read_to_string("/proc/self/statm").expect("Linux tells");
    let pages = statm.split(' ').nth(1).and_then(|pages| pages.parse::<usize>().ok());
    pages.expect("a number of pages") * PAGE
}

/// Bytes of a page on every machine that xlb runs on.
const PAGE: usize = 4096;

#[cfg(test)]
mod tests {
    use super::*;

    const TINY: Effort = Effort { rounds: 2, transactions: 100, bytes: 1 << 20, connections: 300 };

    #[test]
    fn every_measure_has_its_rounds() {
        let (figures, crowd) = memory(&TINY);
        let buffers = figures.iter().find(|figure| figure.unit == "buffers").expect("a figure");
        assert_eq!(buffers.value, 0.0, "an idle connection holds none");
        let measures = [request_response(&TINY), bulk(&TINY), flat(&TINY, crowd)].concat();
        assert_eq!(measures.len(), 6);
        for measure in measures {
            assert_eq!((measure.ours.len(), measure.other.len()), (2, 2), "{}", measure.what);
        }
    }
}
