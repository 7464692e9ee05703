//! The time as the stack is told it: microseconds since an epoch of the caller's choice.
//!
//! In:    the caller's clock, read once a turn
//! Out:   `Instant`
//! Never: reads a clock

use std::fmt;
use std::num::NonZeroU64;
use std::ops::{Add, AddAssign, Sub};
use std::time::Duration;

/// A moment, in microseconds since the caller's epoch.
///
/// One more than the microseconds is what is kept, so that a deadline that may be none takes no more room
/// than one that is set: a connection has several.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Instant(NonZeroU64);

impl Instant {
    /// The epoch.
    pub const ZERO: Instant = Instant(NonZeroU64::MIN);

    /// So many microseconds after the epoch.
    pub const fn from_micros(micros: u64) -> Self {
        Instant(NonZeroU64::MIN.saturating_add(micros))
    }

    /// So many milliseconds after the epoch.
    pub const fn from_millis(millis: u64) -> Self {
        Instant::from_micros(millis * 1000)
    }

    /// Microseconds since the epoch.
    pub const fn micros(self) -> u64 {
        self.0.get() - 1
    }

    /// Whole milliseconds since the epoch.
    pub const fn millis(self) -> u64 {
        self.micros() / 1000
    }

    /// Whole seconds since the epoch, modulo 2^32.
    pub const fn seconds(self) -> u32 {
        (self.micros() / 1_000_000) as u32
    }

    /// Time since `earlier`; zero when it is later.
    pub fn since(self, earlier: Instant) -> Duration {
        Duration::from_micros(self.micros_since(earlier))
    }

    /// Microseconds since `earlier`; zero when it is later.
    pub const fn micros_since(self, earlier: Instant) -> u64 {
        self.0.get().saturating_sub(earlier.0.get())
    }
}

impl Default for Instant {
    fn default() -> Self {
        Instant::ZERO
    }
}

impl Add<Duration> for Instant {
    type Output = Instant;

    fn add(self, duration: Duration) -> Instant {
        Instant(self.0.saturating_add(duration.as_micros() as u64))
    }
}

impl AddAssign<Duration> for Instant {
    fn add_assign(&mut self, duration: Duration) {
        *self = *self + duration;
    }
}

impl Sub<Instant> for Instant {
    type Output = Duration;

    fn sub(self, earlier: Instant) -> Duration {
        self.since(earlier)
    }
}

impl fmt::Display for Instant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let micros = self.micros();
        write!(f, "{}.{:06}s", micros / 1_000_000, micros % 1_000_000)
    }
}
