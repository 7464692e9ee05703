//! CUBIC: the window grows by the time since the last loss, not by round trips.
//!
//! Read:  RFC 9438

use super::hystart::{Growth, HyStart};
use super::{Acked, CongestionControl, initial_window};
use crate::time::Instant;

/// C of section 4.1, in segments per second cubed.
const C: f32 = 0.4;
/// beta_cubic of section 4.6.
const BETA: f32 = 0.7;

/// The state of one connection. Windows are in bytes unless they say segments.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Cubic {
    cwnd: u32,
    ssthresh: u32,
    mss: u32,
    /// W_max, segments.
    w_max: f32,
    phase: Phase,
}

/// Slow start and congestion avoidance need different memory, never both.
#[derive(Clone, Copy, Debug)]
enum Phase {
    /// The first slow start: nobody knows yet what the path takes.
    Start(HyStart),
    /// Slow start up to ssthresh after a timeout, or between epochs.
    Between,
    Epoch(Epoch),
}

/// A congestion avoidance epoch (section 4.2).
#[derive(Clone, Copy, Debug)]
struct Epoch {
    began: Instant,
    /// K, seconds.
    k: f32,
    /// W_est, segments: what Reno would have.
    w_est: f32,
    /// Acknowledged bytes that have not yet made a whole byte of growth.
    credit: f32,
}

impl Cubic {
    /// The initial window for segments of `mss` bytes.
    pub fn new(mss: u32) -> Self {
        Cubic {
            phase: Phase::Start(HyStart::new()),
            ..Cubic::resume(mss, initial_window(mss), u32::MAX)
        }
    }

    /// One that was at `cwnd` and `ssthresh` elsewhere: it grows from there.
    pub fn resume(mss: u32, cwnd: u32, ssthresh: u32) -> Self {
        Cubic { cwnd, ssthresh, mss, w_max: 0.0, phase: Phase::Between }
    }

    fn segments(&self) -> f32 {
        self.cwnd as f32 / self.mss as f32
    }

    fn slow_start(&mut self, acked: &Acked) {
        let growth = match &mut self.phase {
            Phase::Start(hystart) => hystart.acked(acked),
            _ => Growth::By(acked.bytes),
        };
        match growth {
            // RFC 9406 limits growth per acknowledgment to 8 segments; Linux counts all, so do we.
            Growth::By(bytes) => {
                let most = self.ssthresh.max(2 * self.mss);
                self.cwnd = self.cwnd.saturating_add(bytes).min(most);
            }
            Growth::Done => {
                self.ssthresh = self.cwnd;
                self.phase = Phase::Between;
            }
        }
    }

    fn begin_epoch(&mut self, now: Instant) -> Epoch {
        let cwnd = self.segments();
        let k = if cwnd < self.w_max {
            ((self.w_max - cwnd) / C).cbrt()
        } else {
            self.w_max = cwnd;
            0.0
        };
        Epoch { began: now, k, w_est: cwnd, credit: 0.0 }
    }

    fn reduce(&mut self) {
        let cwnd = self.segments();
        // Fast convergence, section 4.7.
        self.w_max = if cwnd < self.w_max { cwnd * (1.0 + BETA) / 2.0 } else { cwnd };
        self.ssthresh = ((self.cwnd as f32 * BETA) as u32).max(2 * self.mss);
        self.phase = Phase::Between;
    }
}

impl CongestionControl for Cubic {
    fn cwnd(&self) -> u32 {
        self.cwnd
    }

    fn ssthresh(&self) -> u32 {
        self.ssthresh
    }

    fn acked(&mut self, acked: &Acked) {
        if self.cwnd < self.ssthresh {
            self.slow_start(acked);
            return;
        }
        let mut epoch = match self.phase {
            Phase::Epoch(epoch) => epoch,
            _ => self.begin_epoch(acked.now),
        };
        let cwnd = self.segments();
        let bytes = acked.bytes as f32;
        // alpha_cubic of section 4.3, 1 once the window is back at W_max.
        let alpha = if epoch.w_est < self.w_max { 3.0 * (1.0 - BETA) / (1.0 + BETA) } else { 1.0 };
        epoch.w_est += alpha * (bytes / self.mss as f32) / cwnd;
        let t = acked.now.span_since(epoch.began).as_secs_f32() + acked.srtt.as_secs_f32();
        let target =
            (C * (t - epoch.k).powi(3) + self.w_max).clamp(cwnd, 1.5 * cwnd).max(epoch.w_est);
        epoch.credit += (target - cwnd).max(0.0) / cwnd * bytes;
        let growth = epoch.credit.floor().max(0.0);
        epoch.credit -= growth;
        self.cwnd = self.cwnd.saturating_add(growth as u32);
        self.phase = Phase::Epoch(epoch);
    }

    /// Section 4.6.
    fn lost(&mut self) {
        self.reduce();
        self.cwnd = self.ssthresh;
    }

    /// Section 4.8.
    fn timed_out(&mut self, first: bool) {
        if first {
            self.reduce();
        }
        self.cwnd = self.mss;
    }

    fn idled(&mut self) {
        self.cwnd = self.cwnd.min(initial_window(self.mss));
        if matches!(self.phase, Phase::Epoch(_)) {
            self.phase = Phase::Between;
        }
    }

    fn set_mss(&mut self, mss: u32) {
        self.mss = mss;
        self.cwnd = self.cwnd.max(2 * mss);
    }

    fn start_with(&mut self, segments: u32) {
        self.cwnd = segments * self.mss;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::seq::SeqNumber;
    use crate::time::Micros;

    fn acked(bytes: u32, rtt_ms: u64, now: Instant) -> Acked {
        let srtt = Micros::from_millis(rtt_ms);
        Acked { bytes, rtt: None, srtt, una: SeqNumber(0), nxt: SeqNumber(1), now }
    }

    #[test]
    fn doubles_per_round_trip_in_slow_start() {
        let mut cubic = Cubic::new(1000);
        assert_eq!(cubic.cwnd(), 10_000);
        cubic.acked(&acked(10_000, 20, Instant::ZERO));
        assert_eq!(cubic.cwnd(), 20_000);
    }

    #[test]
    fn returns_to_its_former_window_and_beyond() {
        // Long enough a round trip that Reno would be slower than the cubic curve.
        const RTT: Micros = Micros::from_millis(100);
        let mut cubic = Cubic::new(1000);
        cubic.acked(&acked(190_000, 100, Instant::ZERO));
        cubic.lost();
        assert_eq!(cubic.cwnd(), 140_000);
        let k = ((200.0_f32 - 140.0) / C).cbrt();
        let mut now = Instant::ZERO;
        let mut at_k = 0;
        for _ in 0..150 {
            now = now + RTT;
            cubic.acked(&acked(cubic.cwnd(), 100, now));
            if at_k == 0 && now.span_since(Instant::ZERO).as_secs_f32() >= k {
                at_k = cubic.cwnd();
            }
        }
        assert!((190_000..215_000).contains(&at_k), "at K the window is about W_max: {at_k}");
        assert!(cubic.cwnd() > 300_000, "and grows beyond it: {}", cubic.cwnd());
    }

    #[test]
    fn a_timeout_leaves_one_segment_and_halves_once() {
        let mut cubic = Cubic::new(1000);
        cubic.acked(&acked(90_000, 20, Instant::ZERO));
        cubic.timed_out(true);
        assert_eq!((cubic.cwnd(), cubic.ssthresh), (1000, 70_000));
        cubic.timed_out(false);
        assert_eq!((cubic.cwnd(), cubic.ssthresh), (1000, 70_000));
    }

    #[test]
    fn leaves_slow_start_where_delays_say_so() {
        let mut cubic = Cubic::new(1000);
        let mut now = Instant::ZERO;
        let mut una = 0;
        for round in 0..40_u64 {
            let rtt = Micros::from_millis(40 + 12 * round.min(4));
            now = now + rtt;
            let nxt = una + cubic.cwnd();
            for _ in 0..10 {
                una += (nxt - una) / 10;
                let base = acked(cubic.cwnd() / 10, 40, now);
                let (una, nxt) = (SeqNumber(una), SeqNumber(nxt));
                cubic.acked(&Acked { rtt: Some(rtt), una, nxt, ..base });
            }
            una = nxt;
            if cubic.ssthresh != u32::MAX {
                return assert!(cubic.cwnd < 1_000_000, "{}", cubic.cwnd);
            }
        }
        panic!("never left slow start: {cubic:?}");
    }
}
