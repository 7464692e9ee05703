//! Rates over the last second, and limits of them that all workers share.
//!
//! In:    events, each with its time
//! Out:   a rate; leave to do one more thing, or when there will be leave
//! Owns:  a counter of two periods
//! Never: reads a clock; counts what was refused

use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::clock::Instant;

/// Length of a period, microseconds.
const PERIOD_US: u64 = 1_000_000;

/// Events per second, as HAProxy estimates them: what the current period has, and of the one before it the share
/// that the last second still reaches into.
#[derive(Clone, Copy, Debug, Default)]
pub struct Rate {
    /// The current period, counted from the epoch of the clock.
    period: u64,
    current: u32,
    previous: u32,
    /// The highest estimate so far.
    max: u32,
}

impl Rate {
    /// Counts one event at `now`.
    pub fn count(&mut self, now: Instant) {
        self.rotate(now);
        self.current += 1;
        self.max = self.max.max(self.estimate(now));
    }

    /// Takes the last event back.
    pub fn undo(&mut self) {
        self.current = self.current.saturating_sub(1);
    }

    /// The highest rate so far.
    pub fn max(&self) -> u32 {
        self.max
    }

    /// Forgets how high the rate was.
    pub fn clear_max(&mut self) {
        self.max = 0;
    }

    /// Events within the last second.
    pub fn per_second(&self, now: Instant) -> u32 {
        let mut rate = *self;
        rate.rotate(now);
        rate.estimate(now)
    }

    fn rotate(&mut self, now: Instant) {
        let period = now.micros() / PERIOD_US;
        // Times of several workers may be a little out of order.
        if period <= self.period {
            return;
        }
        self.previous = if period == self.period + 1 { self.current } else { 0 };
        self.current = 0;
        self.period = period;
    }

    fn estimate(&self, now: Instant) -> u32 {
        let left = PERIOD_US - now.micros() % PERIOD_US;
        let carried = u64::from(self.previous) * left / PERIOD_US;
        self.current + carried as u32
    }

    /// When the estimate will be below `limit`, which it is not at `now`.
    fn below_at(&self, limit: u32, now: Instant) -> Instant {
        let begin = now.micros() / PERIOD_US * PERIOD_US;
        let (begin, current, previous) = if self.current < limit {
            (begin, self.current, self.previous)
        } else {
            (begin + PERIOD_US, 0, self.current)
        };
        // The share of the period after which little enough of `previous` is left.
        let kept = PERIOD_US * u64::from(limit - current) / u64::from(previous.max(1));
        Instant::from_micros(begin + PERIOD_US - kept.min(PERIOD_US) + 1)
    }
}

/// A limit of events per second, exact over all workers.
#[derive(Debug)]
pub struct RateLimit {
    per_second: AtomicU32,
    rate: Mutex<Rate>,
}

impl RateLimit {
    /// So many per second; 0: as many as come, which are counted all the same.
    pub fn new(per_second: u32) -> Self {
        RateLimit { per_second: AtomicU32::new(per_second), rate: Mutex::new(Rate::default()) }
    }

    /// Counts one event, unless that would be too many: then says when it would not be.
    pub fn take(&self, now: Instant) -> Result<(), Instant> {
        let mut rate = self.lock();
        rate.rotate(now);
        let limit = self.limit();
        if limit > 0 && rate.estimate(now) >= limit {
            return Err(rate.below_at(limit, now));
        }
        rate.count(now);
        Ok(())
    }

    /// So many per second may come; 0: as many as come.
    pub fn limit(&self) -> u32 {
        self.per_second.load(Ordering::Relaxed)
    }

    /// Changes that.
    pub fn set_limit(&self, per_second: u32) {
        self.per_second.store(per_second, Ordering::Relaxed);
    }

    /// Counts one event, whatever the limit.
    pub fn count(&self, now: Instant) {
        self.lock().count(now);
    }

    /// The highest rate so far.
    pub fn max(&self) -> u32 {
        self.lock().max()
    }

    /// Forgets how high the rate was.
    pub fn clear_max(&self) {
        self.lock().clear_max();
    }

    /// Takes back what [`RateLimit::take`] counted and did not happen.
    pub fn undo(&self) {
        self.lock().undo();
    }

    /// Events within the last second.
    pub fn per_second(&self, now: Instant) -> u32 {
        self.lock().per_second(now)
    }

    /// A worker that panics ends the process: a poisoned lock is never seen.
    fn lock(&self) -> MutexGuard<'_, Rate> {
        self.rate.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(ms: u64) -> Instant {
        Instant::from_millis(ms)
    }

    #[test]
    fn a_limit_that_is_used_up_early_waits_for_the_rest_of_the_second() {
        let limit = RateLimit::new(100);
        for count in 0..100 {
            assert_eq!(limit.take(at(10_000 + count * 8)), Ok(()));
        }
        let next = limit.take(at(10_800)).unwrap_err();
        assert!((at(11_000)..=at(11_010)).contains(&next), "{next:?}");
        assert_eq!(limit.take(next), Ok(()));
        assert!(limit.take(next).is_err(), "one at a time from there on");
    }

    #[test]
    fn holds_over_any_span() {
        let limit = RateLimit::new(50);
        let mut taken = 0;
        let mut now = at(5_000);
        while now < at(15_000) {
            match limit.take(now) {
                Ok(()) => taken += 1,
                Err(next) => {
                    assert!(next > now, "waits for a time that is over");
                    now = next;
                }
            }
        }
        assert!((500..=551).contains(&taken), "{taken}");
    }

    #[test]
    fn a_quiet_second_is_forgotten_and_what_was_undone_never_was() {
        let limit = RateLimit::new(2);
        assert_eq!((limit.take(at(0)), limit.take(at(0))), (Ok(()), Ok(())));
        limit.undo();
        assert_eq!(limit.take(at(1)), Ok(()));
        assert!(limit.take(at(2)).is_err());
        assert_eq!(limit.per_second(at(2)), 2);
        assert_eq!(limit.per_second(at(5_000)), 0);
        assert_eq!(limit.take(at(5_000)), Ok(()));
    }
}
