//! How long things take: histograms of one worker, added up by whoever asks.
//!
//! In:    durations
//! Out:   percentiles, exact to a hundredth of the value
//! Never: forgets; reads a clock
//! Read:  docs/management.md, "show latency"

use std::time::Duration;

use hdrhistogram::Histogram;

/// Longest duration that is told apart, microseconds.
const MAX_US: u64 = 3_600_000_000;
/// Significant decimal digits.
const DIGITS: u8 = 2;

/// Durations of one kind, microseconds.
#[derive(Clone, Debug, PartialEq)]
pub struct Latency(Histogram<u32>);

impl Default for Latency {
    fn default() -> Self {
        Latency(Histogram::new_with_bounds(1, MAX_US, DIGITS).expect("these bounds are valid"))
    }
}

impl Latency {
    /// One more. What is longer than an hour counts as an hour.
    pub fn record(&mut self, time: Duration) {
        self.0.saturating_record(time.as_micros() as u64);
    }

    /// Adds those of another worker.
    pub fn add(&mut self, other: &Latency) {
        self.0.add(&other.0).expect("all have the same bounds");
    }

    /// How many there were.
    pub fn count(&self) -> u64 {
        self.0.len()
    }

    /// The microseconds that so many percent took at most.
    pub fn percentile(&self, percent: f64) -> u64 {
        self.0.value_at_percentile(percent)
    }

    /// The longest, microseconds.
    pub fn max(&self) -> u64 {
        self.0.max()
    }

    /// The average, microseconds.
    pub fn mean(&self) -> f64 {
        self.0.mean()
    }

    /// How many took at most so long, microseconds.
    pub fn count_up_to(&self, micros: u64) -> u64 {
        self.0.count_between(0, micros)
    }
}

/// What streams wait for.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Latencies {
    /// For a place on a server.
    pub queue: Latency,
    /// For the connection to it.
    pub connect: Latency,
    /// From then to the first byte of the server.
    pub first_byte: Latency,
    /// Streams as a whole.
    pub session: Latency,
}

impl Latencies {
    /// Adds those of another worker.
    pub fn add(&mut self, other: &Latencies) {
        self.queue.add(&other.queue);
        self.connect.add(&other.connect);
        self.first_byte.add(&other.first_byte);
        self.session.add(&other.session);
    }

    /// By name.
    pub fn iter(&self) -> impl Iterator<Item = (&'static str, &Latency)> {
        let Latencies { queue, connect, first_byte, session } = self;
        [("queue", queue), ("connect", connect), ("first_byte", first_byte), ("session", session)]
            .into_iter()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_exact_to_a_hundredth_and_workers_add_up() {
        let (mut one, mut other) = (Latency::default(), Latency::default());
        for micros in 1..=500 {
            one.record(Duration::from_micros(micros));
            other.record(Duration::from_micros(micros + 500));
        }
        one.add(&other);
        assert_eq!(one.count(), 1000);
        for (percent, exact) in [(50.0, 500_u64), (99.0, 990), (100.0, 1000)] {
            let found = one.percentile(percent);
            assert!(found.abs_diff(exact) <= exact / 100 + 1, "{percent}: {found}");
        }
        one.record(Duration::from_secs(100_000));
        assert!(one.max() >= MAX_US, "an hour at least");
    }
}
