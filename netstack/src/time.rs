//! The time as the stack is told it: microseconds since an epoch of the caller's choice.
//!
//! In:    the caller's clock, read once a turn
//! Out:   `Instant`
//! Never: reads a clock

use std::fmt;
use std::num::NonZeroU64;
use std::ops::{Add, AddAssign, Div, Mul, Sub};
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
        self.span_since(earlier).into()
    }

    /// As [`Instant::since`], in microseconds.
    pub(crate) const fn span_since(self, earlier: Instant) -> Micros {
        Micros(self.0.get().saturating_sub(earlier.0.get()))
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
        self + Micros::from(duration)
    }
}

/// A span of time in microseconds: what the data path reckons with, where `Duration` would divide and
/// multiply for each sum.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Micros(pub u64);

impl Micros {
    pub const fn from_millis(millis: u64) -> Self {
        Micros(millis * 1000)
    }

    pub const fn from_secs(secs: u64) -> Self {
        Micros(secs * 1_000_000)
    }

    pub fn as_secs_f32(self) -> f32 {
        self.0 as f32 / 1e6
    }
}

impl From<Duration> for Micros {
    fn from(duration: Duration) -> Self {
        let whole = duration.as_secs().saturating_mul(1_000_000);
        Micros(whole.saturating_add(duration.subsec_micros().into()))
    }
}

impl From<Micros> for Duration {
    fn from(span: Micros) -> Self {
        Duration::from_micros(span.0)
    }
}

impl Add<Micros> for Instant {
    type Output = Instant;

    fn add(self, span: Micros) -> Instant {
        Instant(self.0.saturating_add(span.0))
    }
}

impl Add for Micros {
    type Output = Micros;

    fn add(self, other: Micros) -> Micros {
        Micros(self.0.saturating_add(other.0))
    }
}

impl Mul<u64> for Micros {
    type Output = Micros;

    fn mul(self, times: u64) -> Micros {
        Micros(self.0.saturating_mul(times))
    }
}

impl Div<u64> for Micros {
    type Output = Micros;

    fn div(self, parts: u64) -> Micros {
        Micros(self.0 / parts)
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
