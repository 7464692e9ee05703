//! How idle a core is: the share of its time in turns that found no work, spinning or asleep.
//!
//! In:    turns, each with its end and whether it did something
//! Out:   a percentage over the last second
//! Never: reads a clock

use std::time::Duration;

use crate::clock::Instant;

/// Slices of the last second.
const SLICES: usize = 10;
/// Length of a slice, microseconds.
const SLICE_US: u64 = 100_000;

/// The accounting of one worker.
#[derive(Debug)]
pub struct IdleMeter {
    /// Busy microseconds of each slice, round and round.
    busy: [u64; SLICES],
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
            busy: [0; SLICES],
            slice: now.micros() / SLICE_US,
            filled: 0,
            last: now,
            total_us: 0,
        }
    }

    /// A turn ended at `now`; it began where the one before ended.
    pub fn turn(&mut self, was_busy: bool, now: Instant) {
        let mut from = self.last.micros();
        let to = now.micros();
        self.last = now;
        // A long turn fills several slices.
        while from < to {
            let end = ((from / SLICE_US) + 1) * SLICE_US;
            self.enter(from / SLICE_US);
            let upto = end.min(to);
            if was_busy {
                self.busy[(self.slice % SLICES as u64) as usize] += upto - from;
                self.total_us += upto - from;
            }
            from = upto;
        }
    }

    /// The time in turns that did something, since the start.
    pub fn busy(&self) -> Duration {
        Duration::from_micros(self.total_us)
    }

    fn enter(&mut self, slice: u64) {
        while self.slice < slice {
            self.slice += 1;
            self.filled += 1;
            self.busy[(self.slice % SLICES as u64) as usize] = 0;
        }
    }

    /// Percent of the time without work, over the whole slices of the last second.
    pub fn idle_pct(&self) -> f64 {
        let slices = self.filled.min(SLICES as u64 - 1);
        if slices == 0 {
            return 100.0;
        }
        let current = (self.slice % SLICES as u64) as usize;
        let busy: u64 =
            (1..=slices as usize).map(|back| self.busy[(current + SLICES - back) % SLICES]).sum();
        100.0 * (1.0 - busy as f64 / (slices * SLICE_US) as f64)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn is_the_share_of_turns_without_work() {
        let mut meter = IdleMeter::new(Instant::ZERO);
        for turn in 1..=40_000 {
            meter.turn(turn % 4 == 0, Instant::from_micros(turn * 50));
        }
        assert!((meter.idle_pct() - 75.0).abs() < 0.5, "{}", meter.idle_pct());
    }

    #[test]
    fn forgets_after_a_second_even_asleep() {
        let mut meter = IdleMeter::new(Instant::ZERO);
        meter.turn(true, Instant::from_millis(3000));
        assert!(meter.idle_pct() < 0.1);
        meter.turn(false, Instant::from_millis(4100));
        assert!(meter.idle_pct() > 99.9);
    }
}
