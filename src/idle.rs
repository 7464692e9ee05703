//! How idle a core is: the share of its time in turns that found no work, spinning or asleep.
//!
//! In:    turns and sleeps, each with its end
//! Out:   percentages over the last second
//! Never: reads a clock
//!
//! The system sees a core that spins as busy: what it calls busy is all but `idle_pct`, and `spin_pct`.

use std::time::Duration;

use crate::clock::Instant;

/// Slices of the last second.
const SLICES: usize = 10;
/// Length of a slice, microseconds.
const SLICE_US: u64 = 100_000;

/// What a worker did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Spent {
    /// A turn that found work, or falling asleep and waking up.
    Busy,
    /// A turn that found none.
    Spinning,
    /// It was asleep.
    Asleep,
}

/// Microseconds of a slice that were not slept.
#[derive(Clone, Copy, Debug, Default)]
struct Slice {
    busy: u64,
    spinning: u64,
}

/// The accounting of one worker.
#[derive(Debug)]
pub struct IdleMeter {
    /// Round and round.
    slices: [Slice; SLICES],
    /// The slice that is being filled, counted from the epoch.
    slice: u64,
    /// Slices that have been filled since the start.
    filled: u64,
    last: Instant,
    /// Busy microseconds since the start.
    total_us: u64,
}

impl IdleMeter {
    /// Begins at `now`.
    pub fn new(now: Instant) -> Self {
        IdleMeter {
            slices: [Slice::default(); SLICES],
            slice: now.micros() / SLICE_US,
            filled: 0,
            last: now,
            total_us: 0,
        }
    }

    /// What began where the one before ended has ended at `now`.
    pub fn spent(&mut self, what: Spent, now: Instant) {
        let mut from = self.last.micros();
        let to = now.micros();
        self.last = now;
        // A long turn fills several slices.
        while from < to {
            let end = ((from / SLICE_US) + 1) * SLICE_US;
            self.enter(from / SLICE_US);
            let upto = end.min(to);
            let slice = &mut self.slices[(self.slice % SLICES as u64) as usize];
            match what {
                Spent::Busy => {
                    slice.busy += upto - from;
                    self.total_us += upto - from;
                }
                Spent::Spinning => slice.spinning += upto - from,
                Spent::Asleep => {}
            }
            from = upto;
        }
    }

    /// A sleep ended at `now`, of which falling asleep and waking up took so much of the processor's time.
    pub fn slept(&mut self, used: Duration, now: Instant) {
        let asleep = now.since(self.last).saturating_sub(used);
        self.spent(Spent::Asleep, self.last + asleep);
        self.spent(Spent::Busy, now);
    }

    /// The time in turns that did something, since the start.
    pub fn busy(&self) -> Duration {
        Duration::from_micros(self.total_us)
    }

    fn enter(&mut self, slice: u64) {
        while self.slice < slice {
            self.slice += 1;
            self.filled += 1;
            self.slices[(self.slice % SLICES as u64) as usize] = Slice::default();
        }
    }

    /// Percent of the time without work, over the whole slices of the last second.
    pub fn idle_pct(&self) -> f64 {
        100.0 - self.share(|slice| slice.busy)
    }

    /// Percent of the time that was spun away, a part of the time without work.
    pub fn spin_pct(&self) -> f64 {
        self.share(|slice| slice.spinning)
    }

    fn share(&self, of: impl Fn(&Slice) -> u64) -> f64 {
        let slices = self.filled.min(SLICES as u64 - 1);
        if slices == 0 {
            return 0.0;
        }
        let current = (self.slice % SLICES as u64) as usize;
        let places = (1..=slices as usize).map(|back| (current + SLICES - back) % SLICES);
        let sum: u64 = places.map(|place| of(&self.slices[place])).sum();
        100.0 * sum as f64 / (slices * SLICE_US) as f64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn is_the_share_of_turns_without_work() {
        let mut meter = IdleMeter::new(Instant::ZERO);
        for turn in 1..=40_000 {
            let what = match turn % 4 {
                0 => Spent::Busy,
                1 => Spent::Spinning,
                _ => Spent::Asleep,
            };
            meter.spent(what, Instant::from_micros(turn * 50));
        }
        assert!((meter.idle_pct() - 75.0).abs() < 0.5, "{}", meter.idle_pct());
        assert!((meter.spin_pct() - 25.0).abs() < 0.5, "{}", meter.spin_pct());
    }

    #[test]
    fn falling_asleep_and_waking_up_is_work() {
        let mut meter = IdleMeter::new(Instant::ZERO);
        for sleep in 1..=40_000 {
            meter.slept(Duration::from_micros(10), Instant::from_micros(sleep * 50));
        }
        assert!((meter.idle_pct() - 80.0).abs() < 0.5, "{}", meter.idle_pct());
    }

    #[test]
    fn forgets_after_a_second_even_asleep() {
        let mut meter = IdleMeter::new(Instant::ZERO);
        meter.spent(Spent::Busy, Instant::from_millis(3000));
        assert!(meter.idle_pct() < 0.1);
        meter.spent(Spent::Asleep, Instant::from_millis(4100));
        assert!(meter.idle_pct() > 99.9);
    }
}
