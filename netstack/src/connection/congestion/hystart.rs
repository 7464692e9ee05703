//! When slow start has gone far enough, told by delays before there is a loss: HyStart++.
//!
//! In:    round trips, and where in sequence space a round of them ends
//! Out:   how fast the window may grow: doubling, slower, or no longer by slow start
//! Never: shrinks a window
//! Read:  RFC 9406, section 4

use super::Acked;
use crate::seq::SeqNumber;

/// MIN_RTT_THRESH and MAX_RTT_THRESH, microseconds.
const MIN_RTT_THRESHOLD: u32 = 4_000;
const MAX_RTT_THRESHOLD: u32 = 16_000;
/// MIN_RTT_DIVISOR: a round trip longer by this part means a queue.
const MIN_RTT_DIVISOR: u32 = 8;
/// N_RTT_SAMPLE: rounds of fewer samples tell nothing.
const SAMPLES_MIN: u8 = 8;
/// CSS_GROWTH_DIVISOR.
const CONSERVATIVE_DIVISOR: u32 = 4;
/// CSS_ROUNDS.
const CONSERVATIVE_ROUNDS: u8 = 5;
/// No round trip measured.
const UNKNOWN: u32 = u32::MAX;

/// The state of the first slow start of a connection. Times in microseconds.
#[derive(Clone, Copy, Debug)]
pub(super) struct HyStart {
    /// The round ends when this is acknowledged; `None` before the first.
    window_end: Option<SeqNumber>,
    last_round: u32,
    this_round: u32,
    samples: u8,
    /// Rounds left of Conservative Slow Start; 0 when in plain slow start.
    conservative: u8,
    /// The least round trip when it began.
    baseline: u32,
}

/// What slow start may do with acknowledged bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Growth {
    /// Grow by so many bytes.
    By(u32),
    /// Slow start is over.
    Done,
}

impl HyStart {
    pub fn new() -> Self {
        HyStart {
            window_end: None,
            last_round: UNKNOWN,
            this_round: UNKNOWN,
            samples: 0,
            conservative: 0,
            baseline: UNKNOWN,
        }
    }

    pub fn acked(&mut self, acked: &Acked) -> Growth {
        let ends = self.window_end.is_none_or(|end| end.at_or_before(acked.una));
        if ends && self.next_round(acked.nxt) {
            return Growth::Done;
        }
        if let Some(rtt) = acked.rtt {
            self.this_round = self.this_round.min(rtt.0 as u32);
            self.samples = self.samples.saturating_add(1);
            self.judge();
        }
        Growth::By(match self.conservative {
            0 => acked.bytes,
            _ => acked.bytes / CONSERVATIVE_DIVISOR,
        })
    }

    /// Begins a round; whether it was the last one of Conservative Slow Start.
    fn next_round(&mut self, window_end: SeqNumber) -> bool {
        self.window_end = Some(window_end);
        self.last_round = self.this_round;
        self.this_round = UNKNOWN;
        self.samples = 0;
        if self.conservative > 0 {
            self.conservative -= 1;
            return self.conservative == 0;
        }
        false
    }

    fn judge(&mut self) {
        if self.samples < SAMPLES_MIN {
            return;
        }
        if self.conservative > 0 {
            // The queue was a passing one: back to doubling.
            if self.this_round < self.baseline {
                self.conservative = 0;
                self.baseline = UNKNOWN;
            }
        } else if self.last_round != UNKNOWN {
            let threshold =
                (self.last_round / MIN_RTT_DIVISOR).clamp(MIN_RTT_THRESHOLD, MAX_RTT_THRESHOLD);
            if self.this_round >= self.last_round.saturating_add(threshold) {
                self.baseline = self.this_round;
                self.conservative = CONSERVATIVE_ROUNDS;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::time::{Instant, Micros};

    /// A round of `count` acknowledgments; the growth of its last one.
    fn round(hystart: &mut HyStart, number: u32, rtt_ms: u64, count: u32) -> Growth {
        let una = number * 100_000;
        let mut growth = Growth::Done;
        for step in 0..count {
            growth = hystart.acked(&Acked {
                bytes: 1000,
                rtt: Some(Micros::from_millis(rtt_ms)),
                srtt: Micros::from_millis(rtt_ms),
                una: SeqNumber(una + step),
                nxt: SeqNumber(una + 100_000),
                now: Instant::ZERO,
            });
            if growth == Growth::Done {
                break;
            }
        }
        growth
    }

    #[test]
    fn slows_down_when_a_queue_builds_and_ends_after_five_rounds() {
        let mut hystart = HyStart::new();
        assert_eq!(round(&mut hystart, 0, 40, 10), Growth::By(1000));
        assert_eq!(round(&mut hystart, 1, 44, 10), Growth::By(1000), "less than an eighth longer");
        assert_eq!(round(&mut hystart, 2, 50, 10), Growth::By(250));
        for number in 3..7 {
            assert_eq!(round(&mut hystart, number, 50, 10), Growth::By(250));
        }
        assert_eq!(round(&mut hystart, 7, 50, 10), Growth::Done);
    }

    #[test]
    fn goes_on_when_the_queue_was_a_passing_one() {
        let mut hystart = HyStart::new();
        round(&mut hystart, 0, 40, 10);
        assert_eq!(round(&mut hystart, 1, 50, 10), Growth::By(250));
        assert_eq!(round(&mut hystart, 2, 40, 10), Growth::By(1000));
        for number in 3..20 {
            assert_eq!(round(&mut hystart, number, 40, 10), Growth::By(1000));
        }
    }

    #[test]
    fn is_not_misled_by_few_samples() {
        let mut hystart = HyStart::new();
        round(&mut hystart, 0, 40, 10);
        assert_eq!(round(&mut hystart, 1, 90, 7), Growth::By(1000));
    }
}
