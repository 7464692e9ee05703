//! How much may be in flight: CUBIC.
//!
//! In:    acknowledged bytes, losses, timeouts
//! Out:   the congestion window
//! Never: knows a segment or a timer
//! Read:  RFC 9438; RFC 6928 (initial window); RFC 5681 section 3.1

use std::time::Duration;

use crate::time::Instant;

/// C of RFC 9438, section 4.1, in segments per second cubed.
const C: f32 = 0.4;
/// beta_cubic of RFC 9438, section 4.6.
const BETA: f32 = 0.7;
/// Initial window in segments (RFC 6928).
const INITIAL_SEGMENTS: u32 = 10;

/// The congestion state of one connection. Windows are in bytes.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Cubic {
    cwnd: u32,
    ssthresh: u32,
    mss: u32,
    /// W_max, segments.
    w_max: f32,
    /// K, seconds.
    k: f32,
    /// W_est, segments: what Reno would have.
    w_est: f32,
    /// When the current congestion avoidance epoch began.
    epoch: Option<Instant>,
    /// Acknowledged bytes that have not yet made a whole segment of growth.
    credit: f32,
}

impl Cubic {
    /// The initial window for segments of `mss` bytes.
    pub fn new(mss: u32) -> Self {
        Cubic {
            cwnd: INITIAL_SEGMENTS * mss,
            ssthresh: u32::MAX,
            mss,
            w_max: 0.0,
            k: 0.0,
            w_est: 0.0,
            epoch: None,
            credit: 0.0,
        }
    }

    /// The congestion window, bytes.
    pub fn cwnd(&self) -> u32 {
        self.cwnd
    }

    /// The segment size changed (path MTU).
    pub fn set_mss(&mut self, mss: u32) {
        self.mss = mss;
        self.cwnd = self.cwnd.max(2 * mss);
    }

    /// `bytes` were acknowledged, and the window was what limited the sender.
    pub fn acked(&mut self, bytes: u32, srtt: Duration, now: Instant) {
        if self.cwnd < self.ssthresh {
            // RFC 3465 with L = 2 would halve this under coalesced ACKs; Linux counts all, so do we.
            self.cwnd = self.cwnd.saturating_add(bytes).min(self.ssthresh.max(2 * self.mss));
            return;
        }
        let mss = self.mss as f32;
        let cwnd = self.cwnd as f32 / mss;
        let epoch = *self.epoch.get_or_insert_with(|| {
            if cwnd < self.w_max {
                self.k = ((self.w_max - cwnd) / C).cbrt();
            } else {
                self.k = 0.0;
                self.w_max = cwnd;
            }
            self.w_est = cwnd;
            now
        });
        let acked = bytes as f32 / mss;
        // alpha_cubic of section 4.3, 1 once the window is back at W_max.
        let alpha = if self.w_est < self.w_max { 3.0 * (1.0 - BETA) / (1.0 + BETA) } else { 1.0 };
        self.w_est += alpha * acked / cwnd;
        let t = now.since(epoch).as_secs_f32() + srtt.as_secs_f32();
        let target =
            (C * (t - self.k).powi(3) + self.w_max).clamp(cwnd, 1.5 * cwnd).max(self.w_est);
        self.credit += (target - cwnd).max(0.0) / cwnd * bytes as f32;
        let growth = self.credit.floor().max(0.0);
        self.credit -= growth;
        self.cwnd = self.cwnd.saturating_add(growth as u32);
    }

    /// A loss was detected by acknowledgments (section 4.6).
    pub fn lost(&mut self) {
        self.reduce();
        self.cwnd = self.ssthresh;
    }

    /// The retransmission timer expired (section 4.8). `first`: for the first time in a row.
    pub fn timed_out(&mut self, first: bool) {
        if first {
            self.reduce();
        }
        self.cwnd = self.mss;
    }

    fn reduce(&mut self) {
        let cwnd = self.cwnd as f32 / self.mss as f32;
        // Fast convergence, section 4.7.
        self.w_max = if cwnd < self.w_max { cwnd * (1.0 + BETA) / 2.0 } else { cwnd };
        self.ssthresh = ((self.cwnd as f32 * BETA) as u32).max(2 * self.mss);
        self.epoch = None;
        self.credit = 0.0;
    }

    /// Nothing was sent for longer than a timeout: start again from the initial window (RFC 5681, 4.1).
    pub fn idled(&mut self) {
        self.cwnd = self.cwnd.min(INITIAL_SEGMENTS * self.mss);
        self.epoch = None;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const RTT: Duration = Duration::from_millis(20);

    #[test]
    fn doubles_per_round_trip_in_slow_start() {
        let mut cubic = Cubic::new(1000);
        assert_eq!(cubic.cwnd(), 10_000);
        cubic.acked(10_000, RTT, Instant::ZERO);
        assert_eq!(cubic.cwnd(), 20_000);
    }

    #[test]
    fn returns_to_its_former_window_and_beyond() {
        // Long enough a round trip that Reno would be slower than the cubic curve.
        const RTT: Duration = Duration::from_millis(100);
        let mut cubic = Cubic::new(1000);
        cubic.acked(190_000, RTT, Instant::ZERO);
        cubic.lost();
        assert_eq!(cubic.cwnd(), 140_000);
        let mut now = Instant::ZERO;
        let mut at_k = 0;
        for _ in 0..150 {
            now += RTT;
            cubic.acked(cubic.cwnd(), RTT, now);
            if at_k == 0 && now.since(Instant::ZERO).as_secs_f32() >= cubic.k {
                at_k = cubic.cwnd();
            }
        }
        assert!((190_000..215_000).contains(&at_k), "at K the window is about W_max: {at_k}");
        assert!(cubic.cwnd() > 300_000, "and grows beyond it: {}", cubic.cwnd());
    }

    #[test]
    fn a_timeout_leaves_one_segment_and_halves_once() {
        let mut cubic = Cubic::new(1000);
        cubic.acked(90_000, RTT, Instant::ZERO);
        cubic.timed_out(true);
        assert_eq!((cubic.cwnd(), cubic.ssthresh), (1000, 70_000));
        cubic.timed_out(false);
        assert_eq!((cubic.cwnd(), cubic.ssthresh), (1000, 70_000));
    }
}
