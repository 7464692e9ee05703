//! Segments out.
//!
//! Read:  RFC 9293, sections 3.8.6 (windows) and 3.10; RFC 1122, section 4.2.3.4

use super::congestion::CongestionControl;
use super::{Connection, Context, SendTimer, State, WINDOW_SCALE};
use crate::segment::{Flags, Header, Options, SackBlocks};
use crate::seq::SeqNumber;
use crate::time::{Instant, Micros};

/// Bytes that options may take (RFC 9293, section 3.1).
const OPTIONS_LEN_MAX: usize = 40;
/// A paced connection may be so far ahead of its rate: the resolution of timers.
const PACING_QUANTUM: Micros = Micros::from_millis(1);

/// A segment to be sent: its header, and which bytes of the send queue follow it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Outgoing {
    pub header: Header,
    /// Offset of the first byte in the send queue.
    pub offset: usize,
    /// Bytes of payload.
    pub len: usize,
}

impl Connection {
    /// The next segment to be sent, counted as sent; `None` when there is nothing to say now.
    /// `mss_own` is what we tell the peer in a SYN.
    #[inline(always)]
    pub(crate) fn poll_segment(&mut self, mss_own: u16, cx: &mut Context<'_>) -> Option<Outgoing> {
        if self.state == State::Closed {
            return self.take_rst();
        }
        self.restart_after_idle(cx.now);
        self.ask_path_again(cx.now);
        let opening = matches!(self.state, State::SynSent | State::SynReceived);
        let mut outgoing = if opening { self.next_syn(mss_own, cx) } else { None };
        if outgoing.is_none() && self.lost() > 0 {
            outgoing = self.next_retransmitted(cx);
        }
        if outgoing.is_none() {
            outgoing = self.next_new(cx);
        }
        if outgoing.is_none() && self.probe.is_some() {
            outgoing = self.next_probe(cx);
        }
        if outgoing.is_none() && self.ack_now {
            outgoing = Some(self.next_ack(cx));
        }
        if outgoing.is_some() {
            self.note_sent();
        } else {
            self.arm_persist(cx);
        }
        outgoing
    }

    /// Whether everything is sent, and nothing owed: a visit ends with this question.
    #[inline(always)]
    pub(crate) fn has_nothing_to_say(&self) -> bool {
        let end = self.tx_seq + self.tx.len() as u32;
        let last = if self.fin_queued { end + 1 } else { end };
        let opening = matches!(self.state, State::SynSent | State::SynReceived);
        self.snd_nxt == last
            && !self.ack_now
            && !self.rst_pending
            && self.probe.is_none()
            && !opening
            && self.lost() == 0
    }

    #[cold]
    fn take_rst(&mut self) -> Option<Outgoing> {
        if !std::mem::take(&mut self.rst_pending) {
            return None;
        }
        let header = Header::bare(self.snd_nxt, self.rcv_nxt, Flags::RST_ACK);
        Some(Outgoing { header, offset: 0, len: 0 })
    }

    /// RFC 5681, section 4.1.
    fn restart_after_idle(&mut self, now: Instant) {
        if self.flight.is_none() && now.span_since(self.last_sent) > self.rtt.rto() {
            self.congestion.idled();
        }
    }

    /// The SYN, first or again; in SYN-RECEIVED with an acknowledgment.
    #[cold]
    fn next_syn(&mut self, mss_own: u16, cx: &mut Context<'_>) -> Option<Outgoing> {
        let flags = match self.state {
            State::SynSent => Flags::SYN,
            State::SynReceived if self.snd_una == self.iss => Flags::SYN_ACK,
            _ => return None,
        };
        if self.snd_nxt == self.iss {
            self.snd_nxt = self.iss + 1;
            self.push_sent(self.iss, 1, false, cx);
            self.arm_send_timer(cx);
        } else {
            self.next_retransmission(cx.now)?;
        }
        let peer_spoke = flags.ack;
        let options = Options {
            mss: Some(mss_own),
            window_scale: (!peer_spoke || self.negotiated.rcv_scale > 0).then_some(WINDOW_SCALE),
            sack_permitted: !peer_spoke || self.negotiated.sack,
            timestamp: (!peer_spoke || self.negotiated.timestamps)
                .then_some((self.ts_value(cx.now), self.ts_recent)),
            ..Options::default()
        };
        let ack = if peer_spoke { self.rcv_nxt } else { SeqNumber(0) };
        self.ack_now = false;
        let window = self.rcv_buffer.min(65535) as u16;
        let header = Header { seq: self.iss, ack, flags, window, options };
        Some(Outgoing { header, offset: 0, len: 0 })
    }

    fn next_retransmitted(&mut self, cx: &mut Context<'_>) -> Option<Outgoing> {
        let sent = self.next_retransmission(cx.now)?;
        // The head has its whole time again: what was lost twice is found by RACK before that.
        let waits = matches!(self.send_timer, Some((_, SendTimer::Retransmit)));
        if sent.seq == self.snd_una && waits {
            self.send_timer = Some((self.timeout_at(cx), SendTimer::Retransmit));
        }
        Some(self.data_segment(sent.seq, sent.len, sent.fin, cx))
    }

    /// New bytes, as the windows allow, and the FIN after the last of them.
    #[inline(always)]
    fn next_new(&mut self, cx: &mut Context<'_>) -> Option<Outgoing> {
        let (len, fin) = self.sendable(false)?;
        if cx.config.pacing && !self.is_due(len, cx.now) {
            return None;
        }
        Some(self.send_new(len, fin, cx))
    }

    /// Whether a paced connection may send `len` bytes now; if so, the next ones are due later by them.
    fn is_due(&mut self, len: u32, now: Instant) -> bool {
        let Some(srtt) = self.rtt.srtt() else { return true };
        let Some(flight) = self.flight.as_mut() else { return true };
        let at = flight.pace_at.unwrap_or(now).max(now);
        if at.span_since(now) >= PACING_QUANTUM {
            return false;
        }
        let rate = self.congestion.pacing_rate(srtt);
        let gap = u64::from(len) * 1_000_000 / rate;
        flight.pace_at = Some(at + Micros(gap));
        true
    }

    #[inline(always)]
    fn send_new(&mut self, len: u32, fin: bool, cx: &mut Context<'_>) -> Outgoing {
        let seq = self.snd_nxt;
        let space = len + u32::from(fin);
        self.snd_nxt += space;
        let idle = self.flight.is_none();
        self.push_sent(seq, space, fin, cx);
        if idle
            || matches!(
                self.send_timer,
                None | Some((_, SendTimer::Persist | SendTimer::TailProbe))
            )
        {
            self.arm_send_timer(cx);
        }
        // An answer within the delay: the peer's requests are acknowledged by our responses.
        if len > 0 {
            self.quick_acks = 0;
        }
        self.data_segment(seq, space, fin, cx)
    }

    /// How much new can be sent: bytes, and whether the FIN goes with them.
    /// `probing`: the windows do not count but for the peer's.
    #[inline(always)]
    fn sendable(&mut self, probing: bool) -> Option<(u32, bool)> {
        let open = matches!(
            self.state,
            State::Established
                | State::CloseWait
                | State::FinWait1
                | State::Closing
                | State::LastAck
        );
        let end = self.tx_seq + self.tx.len() as u32;
        if !open || self.snd_nxt.after(end) {
            return None;
        }
        let unsent = end - self.snd_nxt;
        let edge = self.snd_una + self.snd_wnd;
        let window = if edge.after(self.snd_nxt) { edge - self.snd_nxt } else { 0 };
        if unsent == 0 {
            // A FIN takes a sequence number, so it needs room too.
            return (self.fin_queued && window > 0).then_some((0, true));
        }
        let full = u32::from(self.payload_max());
        let wanted = unsent.min(full);
        let len = wanted.min(window);
        // Silly window avoidance, RFC 9293, section 3.8.6.2.1: a full segment, all there is, or half of
        // the largest window; what is left over waits for the persist timer.
        if len < wanted && len < self.max_snd_wnd / 2 && !probing {
            return None;
        }
        if len == 0 {
            return None;
        }
        if !self.has_record_room() && !probing {
            return None;
        }
        if self.congestion_room() < len && !probing {
            self.cwnd_limited = true;
            return None;
        }
        Some((len, self.fin_queued && len == unsent && window > len))
    }

    /// A segment of the send queue.
    #[inline(always)]
    fn data_segment(
        &mut self,
        seq: SeqNumber,
        space: u32,
        fin: bool,
        cx: &Context<'_>,
    ) -> Outgoing {
        let len = space - u32::from(fin);
        let offset = if len > 0 { seq - self.tx_seq } else { 0 };
        let last = offset as usize + len as usize == self.tx.len();
        let flags = Flags { fin, psh: len > 0 && last, ..Flags::ACK };
        let room = usize::from(self.mss) - len as usize;
        let header = self.header(seq, flags, room, cx);
        Outgoing { header, offset: offset as usize, len: len as usize }
    }

    /// A probe that a timer asked for.
    #[cold]
    fn next_probe(&mut self, cx: &mut Context<'_>) -> Option<Outgoing> {
        let probe = self.probe.take()?;
        if probe != SendTimer::Keepalive
            && let Some((len, fin)) = self.sendable(true)
        {
            let outgoing = self.send_new(len, fin, cx);
            if probe == SendTimer::TailProbe {
                self.note_probe(false);
            }
            return Some(outgoing);
        }
        if probe == SendTimer::TailProbe {
            let sent = self.probe_tail(cx.now)?;
            return Some(self.data_segment(sent.seq, sent.len, sent.fin, cx));
        }
        // An old sequence number makes the peer answer with its window, and takes no space.
        let header = self.header(self.snd_una - 1, Flags::ACK, OPTIONS_LEN_MAX, cx);
        Some(Outgoing { header, offset: 0, len: 0 })
    }

    fn next_ack(&mut self, cx: &Context<'_>) -> Outgoing {
        let header = self.header(self.snd_nxt, Flags::ACK, OPTIONS_LEN_MAX, cx);
        Outgoing { header, offset: 0, len: 0 }
    }

    /// A header with acknowledgment and window; `room` bytes may be options.
    #[inline(always)]
    fn header(&mut self, seq: SeqNumber, flags: Flags, room: usize, cx: &Context<'_>) -> Header {
        let mut options = Options::default();
        if self.negotiated.timestamps {
            options.timestamp = Some((self.ts_value(cx.now), self.ts_recent));
        }
        if self.negotiated.sack && (self.reassembly.is_some() || self.duplicate.is_some()) {
            options.sack = self.sack_blocks(room.min(OPTIONS_LEN_MAX) - options.len());
        }
        let window = self.advertise(&cx.pools.buffers);
        Header { seq, ack: self.rcv_nxt, flags, window, options }
    }

    /// As many blocks as `room` bytes hold: what came twice first (RFC 2883), then what came too early.
    fn sack_blocks(&mut self, room: usize) -> SackBlocks {
        let mut blocks = SackBlocks::default();
        if let Some((left, len)) = self.duplicate {
            blocks.push(left, left + len.get());
        }
        if let Some(reassembly) = &self.reassembly {
            reassembly.report(&mut blocks);
        }
        let fitting = blocks.fitting(room);
        if !fitting.is_empty() {
            self.duplicate = None;
        }
        fitting
    }

    /// Buffers are to be had again: a user who found no room is told.
    pub(crate) fn wake_writer_for_buffers(&mut self) {
        if std::mem::take(&mut self.write_blocked) {
            self.event_pending = true;
        }
    }

    /// Whether the user waits to be told of room.
    pub(crate) fn is_write_blocked(&self) -> bool {
        self.write_blocked
    }

    /// Payload bytes of a full segment.
    pub(super) fn payload_max(&self) -> u16 {
        let timestamps = if self.negotiated.timestamps { 12 } else { 0 };
        self.mss - timestamps
    }

    /// Every segment but the first SYN carries the acknowledgment.
    fn note_sent(&mut self) {
        if self.state != State::SynSent {
            self.ack_now = false;
            self.ack_deadline = None;
            self.rcv_acked = self.rcv_nxt;
        }
    }

    /// Something waits, nothing is in flight, and the window is closed: only a timer can go on.
    fn arm_persist(&mut self, cx: &Context<'_>) {
        let end = self.tx_seq + self.tx.len() as u32;
        let waiting = end.after(self.snd_nxt) || (self.fin_queued && end == self.snd_nxt);
        let open = !matches!(self.state, State::SynSent | State::SynReceived | State::Closed);
        let free = matches!(self.send_timer, None | Some((_, SendTimer::Keepalive)));
        if open && waiting && self.flight.is_none() && free {
            self.progress_at = cx.now;
            self.send_timer = Some((self.timeout_at(cx), SendTimer::Persist));
        }
    }
}
