//! Sequence numbers: a circle of 2^32, compared by which is at most half of it ahead.
//!
//! Read:  RFC 9293, section 3.4

use std::fmt;
use std::ops::{Add, AddAssign, Sub};

use serde::{Deserialize, Serialize};

/// A TCP sequence number.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct SeqNumber(pub u32);

impl SeqNumber {
    /// Strictly before `other` on the circle.
    pub fn before(self, other: SeqNumber) -> bool {
        (self.0.wrapping_sub(other.0) as i32) < 0
    }

    /// Strictly after `other` on the circle.
    pub fn after(self, other: SeqNumber) -> bool {
        other.before(self)
    }

    /// Before `other`, or the same.
    pub fn at_or_before(self, other: SeqNumber) -> bool {
        !other.before(self)
    }

    /// The later of two.
    pub fn max(self, other: SeqNumber) -> SeqNumber {
        if self.before(other) { other } else { self }
    }

    /// The earlier of two.
    pub fn min(self, other: SeqNumber) -> SeqNumber {
        if self.before(other) { self } else { other }
    }
}

impl Add<u32> for SeqNumber {
    type Output = SeqNumber;

    fn add(self, len: u32) -> SeqNumber {
        SeqNumber(self.0.wrapping_add(len))
    }
}

impl AddAssign<u32> for SeqNumber {
    fn add_assign(&mut self, len: u32) {
        *self = *self + len;
    }
}

impl Sub<u32> for SeqNumber {
    type Output = SeqNumber;

    fn sub(self, len: u32) -> SeqNumber {
        SeqNumber(self.0.wrapping_sub(len))
    }
}

impl Sub<SeqNumber> for SeqNumber {
    type Output = u32;

    /// How far ahead of `earlier` this is. The caller knows that it is not behind.
    fn sub(self, earlier: SeqNumber) -> u32 {
        // Half a circle apart, each is before the other.
        debug_assert!(earlier == self || earlier.before(self), "{self} is before {earlier}");
        self.0.wrapping_sub(earlier.0)
    }
}

impl fmt::Display for SeqNumber {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn compares_across_the_wrap() {
        let before = SeqNumber(u32::MAX - 1);
        let after = before + 5;
        assert_eq!(after, SeqNumber(3));
        assert!(before.before(after) && after.after(before));
        assert!(before.at_or_before(before) && !before.before(before));
        assert_eq!(after - before, 5);
        assert_eq!(before.max(after), after);
        assert_eq!(before.min(after), before);
        let opposite = before + (1 << 31);
        assert!(before.before(opposite) && opposite.before(before));
        assert_eq!((before - opposite, opposite - before), (1 << 31, 1 << 31));
    }
}
