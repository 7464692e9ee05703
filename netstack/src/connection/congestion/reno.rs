//! Reno: a segment more per round trip, half after a loss.
//!
//! Read:  RFC 5681, section 3.1

use super::{Acked, CongestionControl, initial_window};

/// The state of one connection. Windows are in bytes.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Reno {
    cwnd: u32,
    ssthresh: u32,
    mss: u32,
    /// Acknowledged bytes that have not yet made a segment of growth (RFC 3465).
    credit: u32,
}

impl Reno {
    pub fn new(mss: u32) -> Self {
        Reno::resume(mss, initial_window(mss), u32::MAX)
    }

    pub fn resume(mss: u32, cwnd: u32, ssthresh: u32) -> Self {
        Reno { cwnd, ssthresh, mss, credit: 0 }
    }
}

impl CongestionControl for Reno {
    fn cwnd(&self) -> u32 {
        self.cwnd
    }

    fn ssthresh(&self) -> u32 {
        self.ssthresh
    }

    fn acked(&mut self, acked: &Acked) {
        if self.cwnd < self.ssthresh {
            self.cwnd = self.cwnd.saturating_add(acked.bytes);
            return;
        }
        self.credit += acked.bytes;
        if self.credit >= self.cwnd {
            self.credit -= self.cwnd;
            self.cwnd = self.cwnd.saturating_add(self.mss);
        }
    }

    fn lost(&mut self) {
        // Half of the flight, as equation 4 has it: a window that is not used does not grow, so it is that.
        self.ssthresh = (self.cwnd / 2).max(2 * self.mss);
        self.cwnd = self.ssthresh;
        self.credit = 0;
    }

    fn timed_out(&mut self, first: bool) {
        if first {
            self.lost();
        }
        self.cwnd = self.mss;
    }

    fn idled(&mut self) {
        self.cwnd = self.cwnd.min(initial_window(self.mss));
    }

    fn set_mss(&mut self, mss: u32) {
        self.mss = mss;
        self.cwnd = self.cwnd.max(2 * mss);
    }

    fn start_with(&mut self, segments: u32) {
        self.cwnd = segments * self.mss;
    }
}
