//! How much may be in flight.
//!
//! In:    acknowledged bytes, round trips, losses, timeouts
//! Out:   the congestion window; a rate, for who paces
//! Owns:  the state of one algorithm
//! Never: knows a segment or a timer
//! Read:  RFC 5681 (the frame), RFC 6928 (initial window), RFC 9743 (what a new algorithm must mind)
//!
//! [`CongestionControl`] is the seam: [`cubic`] is what connections use, [`reno`] what it is measured by.

mod cubic;
mod hystart;
mod reno;

use cubic::Cubic;
use reno::Reno;
use serde::{Deserialize, Serialize};

use crate::seq::SeqNumber;
use crate::time::{Instant, Micros};

/// Initial window (RFC 6928, section 2): ten segments, of Ethernet's size at most.
fn initial_window(mss: u32) -> u32 {
    (10 * mss).min((2 * mss).max(14_600))
}

/// Linux's tcp_pacing_ss_ratio and tcp_pacing_ca_ratio: how much faster than a window per round trip,
/// percent, so that pacing never limits what the window allows.
const PACING_SLOW_START: u64 = 200;
const PACING_AVOIDANCE: u64 = 120;

/// Which algorithm.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Algorithm {
    /// RFC 9438, with HyStart++ (RFC 9406).
    #[default]
    Cubic,
    /// RFC 5681.
    Reno,
}

/// An acknowledgment, as congestion control sees it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Acked {
    /// Bytes newly delivered.
    pub bytes: u32,
    /// The round trip, if one was measured.
    pub rtt: Option<Micros>,
    /// SRTT.
    pub srtt: Micros,
    /// SND.UNA and SND.NXT: HyStart++ counts round trips by them.
    pub una: SeqNumber,
    pub nxt: SeqNumber,
    pub now: Instant,
}

/// An algorithm of congestion control. Windows are in bytes.
pub(crate) trait CongestionControl {
    /// The congestion window.
    fn cwnd(&self) -> u32;
    /// The slow start threshold; `u32::MAX` before the first loss.
    fn ssthresh(&self) -> u32;
    /// Bytes were delivered, and the window was what limited the sender.
    fn acked(&mut self, acked: &Acked);
    /// A loss was detected by acknowledgments.
    fn lost(&mut self);
    /// The retransmission timer expired. `first`: for the first time in a row.
    fn timed_out(&mut self, first: bool);
    /// Nothing was sent for longer than a timeout (RFC 5681, section 4.1).
    fn idled(&mut self);
    /// Segments carry at most `mss` bytes now.
    fn set_mss(&mut self, mss: u32);
    /// Starts with so many segments instead of the initial window.
    fn start_with(&mut self, segments: u32);
    /// Bytes per second at which segments are to leave, for a connection that is paced.
    fn pacing_rate(&self, srtt: Micros) -> u64 {
        let window_per_round_trip = u64::from(self.cwnd()) * 1_000_000 / srtt.0.max(1);
        let percent =
            if self.cwnd() < self.ssthresh() { PACING_SLOW_START } else { PACING_AVOIDANCE };
        (window_per_round_trip * percent / 100).max(1)
    }
}

/// The algorithm of one connection.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Controller {
    Cubic(Cubic),
    Reno(Reno),
}

impl Controller {
    /// The initial window for segments of `mss` bytes.
    pub fn new(algorithm: Algorithm, mss: u32) -> Self {
        match algorithm {
            Algorithm::Cubic => Controller::Cubic(Cubic::new(mss)),
            Algorithm::Reno => Controller::Reno(Reno::new(mss)),
        }
    }

    /// One that was at `cwnd` and `ssthresh` elsewhere.
    pub fn resume(algorithm: Algorithm, mss: u32, cwnd: u32, ssthresh: u32) -> Self {
        match algorithm {
            Algorithm::Cubic => Controller::Cubic(Cubic::resume(mss, cwnd, ssthresh)),
            Algorithm::Reno => Controller::Reno(Reno::resume(mss, cwnd, ssthresh)),
        }
    }

    /// Which one.
    pub fn algorithm(&self) -> Algorithm {
        match self {
            Controller::Cubic(_) => Algorithm::Cubic,
            Controller::Reno(_) => Algorithm::Reno,
        }
    }

    fn inner(&self) -> &dyn CongestionControl {
        match self {
            Controller::Cubic(cubic) => cubic,
            Controller::Reno(reno) => reno,
        }
    }

    fn inner_mut(&mut self) -> &mut dyn CongestionControl {
        match self {
            Controller::Cubic(cubic) => cubic,
            Controller::Reno(reno) => reno,
        }
    }
}

impl CongestionControl for Controller {
    fn cwnd(&self) -> u32 {
        match self {
            Controller::Cubic(cubic) => cubic.cwnd(),
            Controller::Reno(reno) => reno.cwnd(),
        }
    }

    fn ssthresh(&self) -> u32 {
        match self {
            Controller::Cubic(cubic) => cubic.ssthresh(),
            Controller::Reno(reno) => reno.ssthresh(),
        }
    }

    fn acked(&mut self, acked: &Acked) {
        self.inner_mut().acked(acked);
    }

    fn lost(&mut self) {
        self.inner_mut().lost();
    }

    fn timed_out(&mut self, first: bool) {
        self.inner_mut().timed_out(first);
    }

    fn idled(&mut self) {
        self.inner_mut().idled();
    }

    fn set_mss(&mut self, mss: u32) {
        self.inner_mut().set_mss(mss);
    }

    fn start_with(&mut self, segments: u32) {
        self.inner_mut().start_with(segments);
    }

    fn pacing_rate(&self, srtt: Micros) -> u64 {
        self.inner().pacing_rate(srtt)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What RFC 5681 asks of any algorithm holds for each that there is.
    #[test]
    fn keeps_to_the_frame() {
        for algorithm in [Algorithm::Cubic, Algorithm::Reno] {
            let mut controller = Controller::new(algorithm, 1000);
            assert_eq!((controller.algorithm(), controller.cwnd()), (algorithm, 10_000));
            controller.lost();
            let after_loss = controller.cwnd();
            assert!((5000..10_000).contains(&after_loss), "{algorithm:?}: {after_loss}");
            assert_eq!(controller.ssthresh(), after_loss);
            controller.timed_out(true);
            assert_eq!(controller.cwnd(), 1000);
            let ssthresh = controller.ssthresh();
            controller.timed_out(false);
            assert_eq!(controller.ssthresh(), ssthresh, "halved once for a row of timeouts");
            assert!(ssthresh >= 2000, "RFC 5681, equation 4");
        }
    }

    #[test]
    fn begins_with_ten_segments_that_are_not_jumbo() {
        assert_eq!([536, 1460, 8960].map(initial_window), [5360, 14_600, 17_920]);
    }

    #[test]
    fn paces_faster_than_the_window_turns() {
        let mut controller = Controller::new(Algorithm::Cubic, 1000);
        let srtt = Micros::from_millis(10);
        assert_eq!(controller.pacing_rate(srtt), 2_000_000);
        controller.lost();
        assert_eq!(controller.pacing_rate(srtt), 840_000);
    }
}
