//! The receive window: how much the peer is told that it may send.
//!
//! In:    bytes that the user took; what is left of the pool; allotments
//! Out:   the window of every header; whether the connection waits for an allotment
//! Never: moves the right edge to the left, but where there are no buffers (RFC 9293, section 3.8.6)
//!
//! As long as buffers are plenty, a window is what the connection may hold. What is promised then is more than there
//! is, for most who were promised something say nothing. When buffers are few that would be a disaster: bytes for which
//! there is no buffer are lost, and the peer finds out by timeouts that double. So windows do not open by themselves
//! any more: each connection waits for its turn, and is allotted as much as there are buffers for.

use super::{Connection, Context};
use crate::buffer::{BUFFER_SIZE, BufferPool};
use crate::time::Micros;

/// The least time over which the receive buffer is judged: on a local network the turns of both
/// pollers, not the wire, make the round trip.
const TUNING_INTERVAL_MIN: Micros = Micros::from_millis(10);

/// A receive window is at most such a part of the buffers that are free.
const WINDOW_SHARE: usize = 4;

/// How a connection fares while buffers are few.
#[derive(Debug, Default)]
pub(super) struct Allotment {
    wanting: Wanting,
    /// Bytes came for which there was no buffer: until it is its turn, the peer is told a window of nothing.
    is_refused: bool,
    /// Buffers of the pool that are kept for it.
    lease: usize,
    /// Which lease that is.
    serial: u32,
}

/// Whether it wants a window.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Wanting {
    #[default]
    Nothing,
    /// The stack does not know of it yet.
    Window,
    /// It stands in the stack's queue.
    InQueue,
}

/// So many full segments, and the buffers that are kept for them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Grant {
    pub segments: usize,
    pub buffers: usize,
    pub serial: u32,
}

impl Connection {
    /// The window to offer; moves the right edge, never to the left (RFC 9293, section 3.8.6).
    #[inline(always)]
    pub(super) fn advertise(&mut self, pool: &BufferPool) -> u16 {
        if pool.is_tight() {
            return self.advertise_allotted();
        }
        let held = self.rx.len() as u32;
        let open = self.rcv_buffer.saturating_sub(held);
        let possible = self.rcv_nxt + open;
        let gain = if possible.after(self.rcv_edge) { possible - self.rcv_edge } else { 0 };
        // RFC 9293, section 3.8.6.2.2: the edge moves by a segment or by half of the buffer.
        if gain >= u32::from(self.rcv_mss).min(self.rcv_buffer / 2) {
            self.rcv_edge = possible;
        }
        if let Some(allotment) = &mut self.allotment {
            allotment.is_refused = false;
        }
        self.window()
    }

    /// The window up to the right edge.
    ///
    /// Rounded up, as Linux does: rounded down, the edge that the peer sees would move left by what the unit hides,
    /// and bytes that it had been offered would have to be sent into a closed window.
    #[inline(always)]
    fn window(&mut self) -> u16 {
        let scale = self.negotiated.rcv_scale;
        let window = (self.rcv_edge - self.rcv_nxt).div_ceil(1 << scale).min(65535);
        self.rcv_edge = self.rcv_nxt + (window << scale);
        window as u16
    }

    #[cold]
    fn advertise_allotted(&mut self) -> u16 {
        self.want_if_used_up();
        if self.allotment.as_ref().is_some_and(|allotment| allotment.is_refused) {
            return 0;
        }
        self.window()
    }

    /// What the user has not taken yet keeps a connection from its turn; what its peer may still send, too.
    fn want_if_used_up(&mut self) {
        if self.rx.is_empty() && self.rcv_edge - self.rcv_nxt < u32::from(self.rcv_mss) {
            self.want();
        }
    }

    /// The user took bytes: the window may open, and the peer is told when it opened enough.
    pub(super) fn took(&mut self, count: usize, cx: &Context<'_>) {
        self.drained = self.drained.saturating_add(count as u32);
        if count > 0 && cx.pools.buffers.is_tight() {
            self.want_if_used_up();
            return;
        }
        let current = self.rcv_edge - self.rcv_nxt;
        let possible = self.rcv_buffer.saturating_sub(self.rx.len() as u32);
        // RFC 9293, section 3.8.6.2.2, but early enough that a peer with a window full of data does not stall.
        if count > 0
            && current < self.rcv_buffer / 2
            && possible.saturating_sub(current)
                >= (2 * u32::from(self.rcv_mss)).min(self.rcv_buffer / 2)
        {
            self.ack_now = true;
        }
    }

    /// Dynamic right-sizing: when the user took more than half a buffer within a round trip, the peer is
    /// limited by our window, and it doubles, if the pool could bear a few such windows full of bytes.
    pub(super) fn tune_receive_buffer(&mut self, cx: &Context<'_>) {
        let round_trip = self.rtt.srtt().unwrap_or_default().max(TUNING_INTERVAL_MIN);
        if cx.now.span_since(self.drained_since) < round_trip {
            return;
        }
        let doubled = (self.rcv_buffer * 2).min(cx.config.receive_buffer_max);
        let spare = cx.pools.buffers.available() * BUFFER_SIZE / WINDOW_SHARE;
        if self.drained > self.rcv_buffer / 2 && doubled as usize <= spare {
            self.rcv_buffer = doubled;
        }
        self.drained = 0;
        self.drained_since = cx.now;
    }

    // While buffers are few.

    /// There was no buffer for bytes that came. The peer should not take it for a loss: it is told a window of
    /// nothing at once, and of what it was promised when there are buffers.
    #[cold]
    pub(super) fn refuse(&mut self) {
        self.want().is_refused = true;
        self.ack_now = true;
    }

    fn want(&mut self) -> &mut Allotment {
        let allotment = self.allotment.get_or_insert_default();
        if allotment.wanting == Wanting::Nothing {
            allotment.wanting = Wanting::Window;
        }
        allotment
    }

    /// Whether it wants a window that the stack does not know of; the stack knows of it from now on.
    #[inline(always)]
    pub(crate) fn queues_for_window(&mut self) -> bool {
        self.allotment.as_mut().is_some_and(|allotment| {
            let is_new = allotment.wanting == Wanting::Window;
            if is_new {
                allotment.wanting = Wanting::InQueue;
            }
            is_new
        })
    }

    /// Buffers that a full segment may take: if the user takes what comes at once, each begins one of its own.
    pub(crate) fn buffers_per_segment(&self) -> usize {
        usize::from(self.rcv_mss).div_ceil(BUFFER_SIZE)
    }

    /// It is its turn.
    pub(crate) fn allot(&mut self, grant: Grant, pool: &mut BufferPool) {
        let Some(allotment) = &mut self.allotment else { return };
        pool.give_back(allotment.lease);
        pool.keep(grant.buffers);
        *allotment.as_mut() = Allotment {
            wanting: Wanting::Nothing,
            is_refused: false,
            lease: grant.buffers,
            serial: grant.serial,
        };
        let bytes = grant.segments as u32 * u32::from(self.rcv_mss);
        self.rcv_edge = self.rcv_edge.max(self.rcv_nxt + bytes);
        self.ack_now = true;
    }

    /// Bytes have come: what is kept for the connection is no more than what may still come.
    #[cold]
    pub(super) fn settle_lease(&mut self, pool: &mut BufferPool) {
        let segments = (self.rcv_edge - self.rcv_nxt).div_ceil(u32::from(self.rcv_mss));
        let left = segments as usize * self.buffers_per_segment();
        let Some(allotment) = &mut self.allotment else { return };
        if left < allotment.lease {
            pool.give_back(allotment.lease - left);
            allotment.lease = left;
        }
        if allotment.lease == 0 && allotment.wanting == Wanting::Nothing && !pool.is_tight() {
            self.allotment = None;
        }
    }

    /// Whoever has used nothing of a lease for so long is idle: others may have it. The promise stays.
    pub(crate) fn end_lease(&mut self, serial: u32, pool: &mut BufferPool) {
        if let Some(allotment) = &mut self.allotment
            && allotment.serial == serial
        {
            pool.give_back(std::mem::take(&mut allotment.lease));
        }
    }

    /// Whether the lease is one that the connection still has.
    pub(crate) fn has_lease(&self, serial: u32) -> bool {
        let lease = |allotment: &Allotment| allotment.serial == serial && allotment.lease > 0;
        self.allotment.as_deref().is_some_and(lease)
    }

    /// Buffers that are kept for it.
    pub(crate) fn lease(&self) -> usize {
        self.allotment.as_ref().map_or(0, |allotment| allotment.lease)
    }

    /// Gives up everything that was kept for it.
    pub(super) fn drop_allotment(&mut self, pool: &mut BufferPool) {
        if let Some(allotment) = self.allotment.take() {
            pool.give_back(allotment.lease);
        }
    }
}
