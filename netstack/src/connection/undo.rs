//! Takes a recovery back that was none: nothing had been lost, only delayed.
//!
//! In:    what the window was before; acknowledgments since
//! Out:   the window as it was
//! Read:  RFC 3522 and RFC 4015 (Eifel: timestamps); RFC 3708 (DSACK); RFC 5682, section 3 (F-RTO with SACK)

use super::Connection;
use super::congestion::{CongestionControl, Controller};
use super::recovery::Flight;
use super::scoreboard::Delivered;
use crate::segment::Segment;
use crate::seq::SeqNumber;

/// What a recovery changed, and how to find out that it need not have.
#[derive(Clone, Copy, Debug)]
pub(super) struct Undo {
    /// The window before.
    before: Controller,
    /// SND.UNA and SND.NXT when it began.
    una: SeqNumber,
    point: SeqNumber,
    /// It began with a timeout.
    timeout: bool,
    /// TSval of the first retransmission.
    first_timestamp: Option<u32>,
    /// Retransmissions that no DSACK has told of.
    unexplained: u32,
}

impl Undo {
    pub fn new(window: &Controller, una: SeqNumber, point: SeqNumber, timeout: bool) -> Self {
        let before = *window;
        Undo { before, una, point, timeout, first_timestamp: None, unexplained: 0 }
    }

    /// SND.NXT when the recovery began.
    pub fn point(&self) -> SeqNumber {
        self.point
    }

    /// A segment was sent again; `timestamp` is its TSval.
    pub fn retransmitted(&mut self, timestamp: u32) {
        self.first_timestamp.get_or_insert(timestamp);
        self.unexplained += 1;
    }

    /// A DSACK told that a retransmission arrived beside its original. Whether that explains all of them.
    fn explain(&mut self, (_, right): (SeqNumber, SeqNumber)) -> bool {
        let of_this_recovery = right.after(self.una) && right.at_or_before(self.point);
        if !of_this_recovery || self.unexplained == 0 {
            return false;
        }
        self.unexplained -= 1;
        self.unexplained == 0
    }
}

impl Connection {
    /// Whether this acknowledgment shows that the originals arrived after all.
    pub(super) fn is_spurious(
        &self,
        flight: &mut Flight,
        segment: &Segment<'_>,
        delivered: &Delivered,
        dsack: Option<(SeqNumber, SeqNumber)>,
        advances: bool,
    ) -> bool {
        let Some(undo) = &mut flight.undo else { return false };
        let Some(first) = undo.first_timestamp else { return false };
        let explained = dsack.is_some_and(|block| undo.explain(block));
        if self.negotiated.timestamps {
            // Eifel: the echo is older than the first retransmission, so an original was answered.
            let echo = segment.options.timestamp.map(|(_, echo)| SeqNumber(echo));
            return explained
                || (advances && echo.is_some_and(|echo| echo.before(SeqNumber(first))));
        }
        // F-RTO: after a timeout only the head was sent again; something else arrived.
        explained || (undo.timeout && self.negotiated.sack && delivered.original_before)
    }

    /// The window is what it was; what was not sent again is on its way.
    pub(super) fn undo(&mut self, flight: &mut Flight) {
        let Some(undo) = flight.undo.take() else { return };
        if undo.before.cwnd() > self.congestion.cwnd() {
            self.congestion = undo.before;
        }
        // Without a timeout it was what came later that made us believe it lost.
        self.experience.reordering_seen |= !undo.timeout;
        flight.board.unmark_lost();
        flight.episode = None;
        self.timeouts = 0;
        self.rtt.forget_backoff();
        self.experience.undone += 1;
    }
}
