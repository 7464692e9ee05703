//! Limits that all workers share, exactly: never one more than the maximum.
//!
//! In:    takers and givers on any worker
//! Out:   a place, or not
//! Owns:  the count
//! Never: blocks

use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};

/// So many places, shared by all workers.
#[derive(Debug)]
pub struct Limit {
    max: AtomicU32,
    used: AtomicU32,
    /// The most places that were ever taken at once.
    peak: AtomicU32,
    /// Takers that found no place.
    refused: AtomicU64,
    /// Someone found no place and wants to know of one.
    wanted: AtomicBool,
}

impl Limit {
    /// `max` free places.
    pub fn new(max: u32) -> Self {
        Limit {
            max: AtomicU32::new(max),
            used: AtomicU32::new(0),
            peak: AtomicU32::new(0),
            refused: AtomicU64::new(0),
            wanted: AtomicBool::new(false),
        }
    }

    /// Takes a place, if there is one. If not, the one who gives the next place back is told to tell.
    #[must_use]
    pub fn take(&self) -> bool {
        if self.try_take() {
            return true;
        }
        self.wanted.store(true, Ordering::SeqCst);
        // A place may have been given back between the two: it would have told nobody.
        let taken = self.try_take();
        if !taken {
            self.refused.fetch_add(1, Ordering::Relaxed);
        }
        taken
    }

    fn try_take(&self) -> bool {
        let max = self.max();
        let taken = self.used.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |used| {
            (used < max).then_some(used + 1)
        });
        match taken {
            Ok(before) => {
                // Most of the time it is no new peak, and the line stays shared.
                if before + 1 > self.peak.load(Ordering::Relaxed) {
                    self.peak.fetch_max(before + 1, Ordering::Relaxed);
                }
                true
            }
            Err(_) => false,
        }
    }

    /// Gives a place back that was not used, because another limit had none: whoever waits is told when
    /// that other one has.
    pub fn undo(&self) {
        let before = self.used.fetch_sub(1, Ordering::SeqCst);
        assert!(before > 0, "a place was given back that nobody took");
    }

    /// Gives a place back; returns whether someone waits for one.
    #[must_use]
    pub fn give(&self) -> bool {
        self.undo();
        self.wanted.swap(false, Ordering::SeqCst)
    }

    /// Places taken.
    pub fn used(&self) -> u32 {
        self.used.load(Ordering::SeqCst)
    }

    /// Places there are.
    pub fn max(&self) -> u32 {
        self.max.load(Ordering::Relaxed)
    }

    /// Changes how many places there are; who has one keeps it. Who waits should be told then.
    pub fn set_max(&self, max: u32) {
        self.max.store(max, Ordering::SeqCst);
    }

    /// The most places that were taken at once.
    pub fn peak(&self) -> u32 {
        self.peak.load(Ordering::Relaxed)
    }

    /// How often nobody could be given a place.
    pub fn refused(&self) -> u64 {
        self.refused.load(Ordering::Relaxed)
    }

    /// Forgets how many were taken at once.
    pub fn clear_peak(&self) {
        self.peak.store(self.used(), Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::AtomicU32;

    #[test]
    fn is_exact_under_many_takers() {
        let limit = Limit::new(7);
        let held = AtomicU32::new(0);
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    for _ in 0..20_000 {
                        if limit.take() {
                            assert!(held.fetch_add(1, Ordering::SeqCst) < 7);
                            held.fetch_sub(1, Ordering::SeqCst);
                            let _ = limit.give();
                        }
                    }
                });
            }
        });
        assert_eq!(limit.used(), 0);
    }

    #[test]
    fn tells_the_giver_that_someone_waits() {
        let limit = Limit::new(1);
        assert!(limit.take());
        assert!(!limit.take());
        assert!(limit.give(), "someone waits");
        assert!(limit.take());
        assert!(!limit.give(), "nobody waits any more");
    }
}
