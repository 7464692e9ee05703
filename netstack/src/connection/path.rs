//! What the path takes: the segment size as routers tell of it, and as losses tell where routers are silent.
//!
//! In:    the MTU of a link, ICMP errors that the stack believes, timeouts
//! Out:   the size of segments
//! Never: grows a segment beyond what the link or the peer takes
//! Read:  RFC 1191, RFC 8201 (ICMP); RFC 4821, sections 7.6 and 7.7 (black holes: full-stop timeout, and asking again)

use std::num::NonZeroU32;

use super::congestion::CongestionControl;
use super::scoreboard::Delivered;
use super::{Connection, Context, State};
use crate::time::Instant;

/// The least segment that we send, bytes of payload and options: a ridiculous size would make us send a
/// header per byte. Linux's TCP_MIN_MSS.
pub(crate) const MSS_MIN: u16 = 88;
/// What nearly every tunnel takes: 1,280 bytes of IPv6, less its headers.
const MSS_TUNNEL: u16 = 1220;
/// What any IPv4 host takes (RFC 9293, section 3.7.1).
const MSS_DEFAULT: u16 = 536;
/// Timeouts in a row before the size of segments is suspected, and before the smallest one is tried. One is
/// a lost probe and a lost tail.
const SUSPICIOUS_TIMEOUTS: u8 = 2;
const DESPERATE_TIMEOUTS: u8 = 4;
/// RFC 4821, section 7.7, and RFC 8899: the path is asked again after ten minutes.
const RAISE_AFTER_S: u32 = 600;

impl Connection {
    /// The link takes segments of `mss` bytes: those not sent yet are no larger.
    pub(crate) fn limit_mss(&mut self, mss: u16) {
        let mss = mss.max(MSS_MIN);
        self.path_mss = self.path_mss.min(mss);
        self.mss = self.mss.min(mss);
    }

    /// A router says that the path takes only segments of `mss` bytes: what is in flight and larger goes
    /// again (RFC 1191).
    pub(crate) fn reduce_mss(&mut self, mss: u16, cx: &mut Context<'_>) {
        let mss = mss.max(MSS_MIN);
        if mss >= self.mss {
            return;
        }
        self.path_mss = mss;
        self.set_mss(mss);
        self.resend_larger(self.payload_max().into());
        self.arm_send_timer(cx);
    }

    fn set_mss(&mut self, mss: u16) {
        self.mss = mss;
        self.congestion.set_mss(mss.into());
    }

    /// Timeouts in a row of large segments: the path may swallow them without a word.
    pub(super) fn suspect_black_hole(&mut self, cx: &Context<'_>) {
        let opening = matches!(self.state, State::SynSent | State::SynReceived);
        if opening || self.timeouts < SUSPICIOUS_TIMEOUTS {
            return;
        }
        let desperate = self.timeouts >= DESPERATE_TIMEOUTS && self.tuple.remote.ip.is_ipv4();
        let mss = if desperate { MSS_DEFAULT } else { MSS_TUNNEL };
        let head = self.flight.as_ref().and_then(|flight| flight.board.head());
        let is_large = head.is_some_and(|head| head.len > u32::from(mss));
        if mss < self.mss && is_large {
            self.raise_mss_at_s = NonZeroU32::new(cx.now.seconds() + RAISE_AFTER_S);
            self.set_mss(mss);
        }
    }

    /// SND.UNA advanced. If what arrived was large, it was the path that was down, not its MTU. (Only SACK
    /// tells apart what had arrived before.) If it was not, size was the matter, and what congestion asks
    /// for, a longer timeout, is not.
    pub(super) fn note_path_progress(&mut self, delivered: &Delivered) {
        if self.raise_mss_at_s.is_none() {
            return;
        }
        self.rtt.forget_backoff();
        if delivered.large_arrived && self.negotiated.sack {
            self.raise_mss();
        }
    }

    /// Elsewhere, before a snapshot, segments were smaller than the path was said to take.
    pub(super) fn suspect_path(&mut self, now: Instant) {
        let at = NonZeroU32::new(now.seconds() + RAISE_AFTER_S);
        self.raise_mss_at_s = at.filter(|_| self.mss < self.path_mss);
    }

    /// Large segments again, once it is time to ask.
    pub(super) fn ask_path_again(&mut self, now: Instant) {
        if self.raise_mss_at_s.is_some_and(|at| at.get() <= now.seconds()) {
            self.raise_mss();
        }
    }

    fn raise_mss(&mut self) {
        self.raise_mss_at_s = None;
        self.set_mss(self.path_mss);
    }
}
