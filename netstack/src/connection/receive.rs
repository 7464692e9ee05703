//! Segments in.
//!
//! Read:  RFC 9293, section 3.10.7; RFC 5961; RFC 7323, section 5

use std::num::NonZeroU32;

use super::{Connection, ConnectionError, Context, SendTimer, State, TcpConfig};
use crate::buffer::BufferPool;
use crate::segment::Segment;
use crate::seq::SeqNumber;
use crate::time::{Instant, Micros};

/// Acknowledgments that a bare segment out of place may draw: one per this time (RFC 5961, section 7).
pub(super) const CHALLENGE_INTERVAL_MS: u32 = 500;

/// Segments that are acknowledged at once after a gap.
const QUICK_ACKS_AFTER_LOSS: u8 = 16;

/// RFC 7323, section 5.5: after so long without a word, the peer's timestamp may have gone round.
const TIMESTAMP_AGE_MAX: Micros = Micros::from_secs(24 * 24 * 3600);

/// What became of a segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// It was taken.
    Accepted,
    /// It lies outside the window, or repeats what is known.
    OutOfWindow,
    /// Its timestamp is from the past (PAWS).
    OldTimestamp,
    /// It acknowledges what was never sent, or long ago.
    BadAck,
    /// A RST or SYN that must prove itself (RFC 5961).
    Challenged,
    /// It makes no sense in this state.
    Unexpected,
    /// No buffer is left for its bytes.
    NoBuffer,
    /// SYN-SENT: it answers an older attempt; the peer gets a RST with this sequence number.
    Stale(SeqNumber),
}

impl Connection {
    /// Takes a segment of this connection.
    pub(crate) fn handle_segment(
        &mut self,
        segment: &Segment<'_>,
        cx: &mut Context<'_>,
    ) -> Verdict {
        match self.state {
            State::Closed => Verdict::Unexpected,
            State::SynSent => self.handle_in_syn_sent(segment, cx),
            _ => self.handle_synchronized(segment, cx),
        }
    }

    /// RFC 9293, section 3.10.7.3.
    #[cold]
    fn handle_in_syn_sent(&mut self, segment: &Segment<'_>, cx: &mut Context<'_>) -> Verdict {
        let flags = segment.flags;
        let acceptable =
            flags.ack && segment.ack.after(self.iss) && segment.ack.at_or_before(self.snd_nxt);
        if flags.ack && !acceptable {
            if flags.rst {
                return Verdict::BadAck;
            }
            // The peer remembers a connection under this four-tuple, as after a restart of ours. The RST
            // ends that, and the SYN behind it need not wait for a timeout: once, or anybody could make us
            // send SYNs.
            if self.retransmits() == 0 {
                self.resend_all();
            }
            return Verdict::Stale(segment.ack);
        }
        if flags.rst {
            if !acceptable {
                return Verdict::Unexpected;
            }
            self.end(Some(ConnectionError::Refused), cx);
            return Verdict::Accepted;
        }
        if !flags.syn {
            return Verdict::Unexpected;
        }
        self.note_heard(cx.now);
        self.irs = segment.seq;
        self.rcv_nxt = segment.seq + 1;
        self.rcv_acked = self.rcv_nxt;
        self.rcv_edge = self.rcv_nxt + self.rcv_buffer.min(65535);
        self.negotiate(&segment.options, cx.config);
        if let Some((tsval, _)) = segment.options.timestamp {
            self.ts_recent = tsval;
        }
        // The window of a SYN is never scaled.
        self.snd_wnd = u32::from(segment.window);
        self.max_snd_wnd = self.snd_wnd;
        self.snd_wl1 = segment.seq;
        self.snd_wl2 = segment.ack;
        self.ack_now = true;
        if !flags.ack {
            // Simultaneous open: our SYN goes again, now with an acknowledgment.
            self.state = State::SynReceived;
            self.resend_all();
            return Verdict::Accepted;
        }
        self.handle_ack(segment, cx);
        self.established();
        Verdict::Accepted
    }

    fn established(&mut self) {
        self.state = if self.fin_queued { State::FinWait1 } else { State::Established };
        self.event_pending = true;
    }

    /// RFC 9293, section 3.10.7.4, in its order.
    fn handle_synchronized(&mut self, segment: &Segment<'_>, cx: &mut Context<'_>) -> Verdict {
        // PAWS comes first (RFC 7323, section 5.3, R1); a RST is let through to the exact check below.
        if self.is_old_timestamp(segment, cx.now) && !segment.flags.rst {
            self.answer_misplaced(segment, cx.now);
            return Verdict::OldTimestamp;
        }
        if !self.is_acceptable(segment) {
            // A simultaneous open repeats its SYN: RFC 9293, section 3.10.7.4, first check, last note.
            if !segment.flags.rst {
                self.note_duplicate(segment.seq, segment.end());
                self.answer_misplaced(segment, cx.now);
            }
            if self.state == State::TimeWait && segment.flags.fin {
                self.close_deadline = Some(cx.now + cx.config.time_wait);
            }
            // Its acknowledgment may still be good: data that crossed with a lost ACK must not stall us.
            let control = segment.flags.rst || segment.flags.syn || !segment.flags.ack;
            if !control && self.is_repetition(segment) && self.ack_in_range(segment) {
                self.handle_ack(segment, cx);
                self.advance_on_fin_acked(cx);
            }
            return Verdict::OutOfWindow;
        }
        self.note_heard(cx.now);
        if segment.flags.rst {
            return self.handle_rst(segment, cx);
        }
        // RFC 5961, section 4.2. A simultaneous open may repeat its SYN with more behind it.
        let repeated_syn = self.state == State::SynReceived && segment.seq == self.irs;
        if segment.flags.syn && !repeated_syn {
            self.challenge(cx.now);
            return Verdict::Challenged;
        }
        if !segment.flags.ack {
            return Verdict::Unexpected;
        }
        if self.state == State::SynReceived {
            if !(segment.ack.after(self.snd_una) && segment.ack.at_or_before(self.snd_nxt)) {
                return Verdict::Stale(segment.ack);
            }
            self.established();
        }
        if !self.ack_in_range(segment) {
            self.challenge(cx.now);
            return Verdict::BadAck;
        }
        self.update_timestamp(segment);
        self.handle_ack(segment, cx);
        self.advance_on_fin_acked(cx);
        if self.state == State::Closed {
            return Verdict::Accepted;
        }
        let verdict = self.handle_payload(segment, cx);
        self.handle_fin(cx);
        verdict
    }

    fn is_old_timestamp(&self, segment: &Segment<'_>, now: Instant) -> bool {
        let Some((tsval, _)) = segment.options.timestamp else { return false };
        let (tsval, recent) = (SeqNumber(tsval), SeqNumber(self.ts_recent));
        self.negotiated.timestamps
            && tsval.before(recent)
            && now.span_since(self.last_heard) < TIMESTAMP_AGE_MAX
            && !self.is_late_duplicate(segment, recent - tsval)
    }

    /// A bare duplicate acknowledgment that others overtook: it changes nothing but for its SACK blocks, so
    /// it may be as late as reordering makes it (Linux's tcp_disordered_ack).
    fn is_late_duplicate(&self, segment: &Segment<'_>, late_ms: u32) -> bool {
        segment.is_empty()
            && segment.seq == self.rcv_nxt
            && segment.ack == self.snd_una
            && u32::from(segment.window) << self.negotiated.snd_scale == self.snd_wnd
            && u64::from(late_ms) * 1000 <= self.rtt.rto().0
    }

    /// RFC 7323, section 4.3: only a segment that covers the last acknowledgment updates TS.Recent.
    fn update_timestamp(&mut self, segment: &Segment<'_>) {
        if let Some((tsval, _)) = segment.options.timestamp
            && self.negotiated.timestamps
            && segment.seq.at_or_before(self.rcv_acked)
            && !SeqNumber(tsval).before(SeqNumber(self.ts_recent))
        {
            self.ts_recent = tsval;
        }
    }

    /// RFC 9293, section 3.4, table of four cases, against the window that was advertised.
    fn is_acceptable(&self, segment: &Segment<'_>) -> bool {
        let in_window =
            |seq: SeqNumber| self.rcv_nxt.at_or_before(seq) && seq.before(self.rcv_edge);
        let window_closed = self.rcv_nxt == self.rcv_edge;
        match (segment.is_empty(), window_closed) {
            (true, true) => segment.seq == self.rcv_nxt,
            // An acknowledgment at the right edge is what a peer sends that filled the window exactly.
            (true, false) => in_window(segment.seq) || segment.seq == self.rcv_edge,
            (false, true) => false,
            (false, false) => {
                // The last: it covers all of the window. Its end alone would not tell: half a circle
                // behind, it is after everything.
                in_window(segment.seq)
                    || in_window(segment.end() - 1)
                    || (segment.seq.before(self.rcv_nxt)
                        && self.rcv_nxt - segment.seq < segment.len())
            }
        }
    }

    /// Whether a segment that is not acceptable begins within the last window before RCV.NXT, or at it
    /// (a probe of a closed window). From anywhere else, guessing an acknowledgment number alone would
    /// be enough to forge one.
    fn is_repetition(&self, segment: &Segment<'_>) -> bool {
        self.state != State::SynReceived && self.is_repeated(segment.seq)
    }

    /// RFC 5961, section 5.2: SND.UNA - MAX.SND.WND <= SEG.ACK <= SND.NXT.
    fn ack_in_range(&self, segment: &Segment<'_>) -> bool {
        let oldest = self.snd_una - self.max_snd_wnd.clamp(65535, 1 << 30);
        oldest.at_or_before(segment.ack) && segment.ack.at_or_before(self.snd_nxt)
    }

    /// RFC 5961, section 3.2: only the exact sequence number resets.
    #[cold]
    fn handle_rst(&mut self, segment: &Segment<'_>, cx: &mut Context<'_>) -> Verdict {
        if segment.seq != self.rcv_nxt {
            self.challenge(cx.now);
            return Verdict::Challenged;
        }
        let error = match self.state {
            State::SynReceived => Some(ConnectionError::Refused),
            State::Closing | State::LastAck | State::TimeWait => None,
            _ => Some(ConnectionError::Reset),
        };
        self.end(error, cx);
        Verdict::Accepted
    }

    /// A segment that is not in the window draws an acknowledgment: at once when it carries something
    /// (its sender lacks our acknowledgment), else seldom. A SYN carries nothing but in a simultaneous open.
    #[cold]
    fn answer_misplaced(&mut self, segment: &Segment<'_>, now: Instant) {
        let stray_syn = segment.flags.syn && self.state != State::SynReceived;
        if segment.is_empty() || stray_syn { self.challenge(now) } else { self.ack_now = true }
    }

    #[cold]
    fn challenge(&mut self, now: Instant) {
        let now_ms = now.millis() as u32;
        if now_ms.wrapping_sub(self.challenged_ms) >= CHALLENGE_INTERVAL_MS {
            self.challenged_ms = now_ms;
            self.ack_now = true;
        }
    }

    /// Fifth check: the acknowledgment and the window.
    fn handle_ack(&mut self, segment: &Segment<'_>, cx: &mut Context<'_>) {
        let window = if segment.flags.syn {
            u32::from(segment.window)
        } else {
            u32::from(segment.window) << self.negotiated.snd_scale
        };
        let advances = segment.ack.after(self.snd_una);
        let same_window = window == self.snd_wnd;
        if !segment.ack.before(self.snd_una) {
            self.update_window(segment, window);
        }
        let is_duplicate =
            !advances && segment.is_empty() && same_window && segment.ack == self.snd_una;
        self.acknowledge(segment, is_duplicate, cx);
        if advances {
            self.timeouts = 0;
            self.drop_acknowledged(&mut cx.pools.buffers);
            self.wake_writer(cx.config);
        }
        if let Some((_, SendTimer::Persist)) = self.send_timer {
            self.note_persist_answer();
        } else if advances || self.flight.is_none() {
            self.arm_send_timer(cx);
        }
    }

    fn update_window(&mut self, segment: &Segment<'_>, window: u32) {
        let newer = self.snd_wl1.before(segment.seq)
            || (self.snd_wl1 == segment.seq && self.snd_wl2.at_or_before(segment.ack));
        if newer {
            self.snd_wnd = window;
            self.max_snd_wnd = self.max_snd_wnd.max(window);
            self.snd_wl1 = segment.seq;
            self.snd_wl2 = segment.ack;
        }
    }

    /// Bytes before SND.UNA leave the send queue.
    fn drop_acknowledged(&mut self, pool: &mut BufferPool) {
        let end = self.tx_seq + self.tx.len() as u32;
        let upto = self.snd_una.min(end);
        if upto.after(self.tx_seq) {
            let count = upto - self.tx_seq;
            self.tx.consume(pool, count as usize);
            self.tx_seq = upto;
            self.tx_cursor = self.tx_cursor.consumed(&self.tx, count);
        }
    }

    fn wake_writer(&mut self, config: &TcpConfig) {
        // Half of the room, not every byte of it, is worth an event.
        if self.write_blocked && self.room(config) >= self.tx.len().min(64 * 1024) {
            self.write_blocked = false;
            self.event_pending = true;
        }
    }

    /// State changes that an acknowledgment of our FIN brings.
    fn advance_on_fin_acked(&mut self, cx: &mut Context<'_>) {
        if !self.is_fin_acked() {
            return;
        }
        match self.state {
            State::FinWait1 => {
                self.state = State::FinWait2;
                if self.orphan {
                    self.close_deadline = Some(cx.now + cx.config.fin_wait_2);
                }
            }
            State::Closing => self.enter_time_wait(cx),
            State::LastAck => self.end(None, cx),
            _ => {}
        }
    }

    fn is_fin_acked(&self) -> bool {
        self.fin_queued && self.snd_una == self.tx_seq + self.tx.len() as u32 + 1
    }

    fn enter_time_wait(&mut self, cx: &Context<'_>) {
        self.state = State::TimeWait;
        self.send_timer = None;
        self.close_deadline = Some(cx.now + cx.config.time_wait);
    }

    /// Seventh check: the bytes. What lies outside the window is cut off.
    fn handle_payload(&mut self, segment: &Segment<'_>, cx: &mut Context<'_>) -> Verdict {
        let receiving =
            matches!(self.state, State::Established | State::FinWait1 | State::FinWait2);
        if !receiving {
            return Verdict::Accepted;
        }
        // A SYN takes the first number.
        let first = segment.seq + u32::from(segment.flags.syn);
        let skip = if first.before(self.rcv_nxt) { self.rcv_nxt - first } else { 0 };
        let seq = first + skip;
        // Nothing follows a FIN, whatever the peer sends.
        let edge = self.peer_fin.map_or(self.rcv_edge, |fin| fin.min(self.rcv_edge));
        let room = edge - seq.min(edge);
        let bytes = segment.payload.get(skip as usize..).unwrap_or(&[]);
        // The rest of a segment that is due and begins in the window is taken too, as by Linux: it is here,
        // it is one segment at most, and there are peers that would not send it again.
        let is_due = seq == self.rcv_nxt && room > 0 && self.peer_fin.is_none();
        let fits = if is_due { bytes.len() } else { bytes.len().min(room as usize) };
        if segment.flags.fin {
            self.ack_now = true;
            self.note_fin(segment.end() - 1, fits == bytes.len());
        }
        if segment.payload.is_empty() {
            return Verdict::Accepted;
        }
        if self.orphan && !bytes.is_empty() {
            // Nobody will read this: the peer must know (RFC 1122, section 4.2.2.13).
            self.abort(cx);
            return Verdict::Unexpected;
        }
        self.rcv_mss = self.rcv_mss.max(segment.payload.len().min(usize::from(u16::MAX)) as u16);
        let bytes = &bytes[..fits];
        if bytes.is_empty() {
            self.ack_now = true;
            return Verdict::Accepted;
        }
        let verdict = if seq == self.rcv_nxt {
            self.receive_in_order(bytes, cx)
        } else {
            // Its sender's window is small after a loss: two segments may be all there is, or one.
            self.quick_acks = QUICK_ACKS_AFTER_LOSS;
            self.ack_now = true;
            let reassembly = self.reassembly.get_or_insert_default();
            let inserted = reassembly.insert(&mut cx.pools.buffers, seq, bytes);
            if let Some((left, right)) = inserted.duplicate {
                self.duplicate = NonZeroU32::new(right - left).map(|len| (left, len));
            }
            if inserted.all { Verdict::Accepted } else { Verdict::NoBuffer }
        };
        if skip > 0 {
            self.note_duplicate(first, seq);
            self.ack_now = true;
        }
        verdict
    }

    /// Bytes before RCV.NXT came again: the next acknowledgment says which (RFC 2883).
    #[cold]
    fn note_duplicate(&mut self, from: SeqNumber, to: SeqNumber) {
        let to = to.min(self.rcv_nxt);
        if self.is_repeated(from) && from.before(to) {
            self.duplicate = NonZeroU32::new(to - from).map(|len| (from, len));
        }
    }

    /// Whether a sequence number lies within the last window before RCV.NXT.
    fn is_repeated(&self, seq: SeqNumber) -> bool {
        seq.at_or_before(self.rcv_nxt) && self.rcv_nxt - seq <= self.rcv_buffer.max(65535)
    }

    /// Remembers where the peer's stream ends, unless it does not fit yet or contradicts what was received.
    fn note_fin(&mut self, fin: SeqNumber, fits: bool) {
        let held = self.reassembly.as_ref().and_then(|reassembly| reassembly.end());
        if fits && held.is_none_or(|end| end.at_or_before(fin)) {
            self.peer_fin.get_or_insert(fin);
        }
    }

    /// Whether we began it.
    pub(crate) fn is_active(&self) -> bool {
        self.is_active
    }

    fn receive_in_order(&mut self, bytes: &[u8], cx: &mut Context<'_>) -> Verdict {
        let pool = &mut cx.pools.buffers;
        let may_take = self.is_active || !pool.is_reserved() || self.lease() > 0;
        let mut taken = if may_take { self.rx.append(pool, bytes) } else { 0 };
        if taken < bytes.len()
            && may_take
            && let Some(mut reassembly) = self.reassembly.take()
        {
            // What came too early must not keep out what is due; the peer still has it (RFC 2018, section 8).
            reassembly.clear(pool);
            taken += self.rx.append(pool, &bytes[taken..]);
        }
        self.rcv_nxt += taken as u32;
        self.rcv_edge = self.rcv_edge.max(self.rcv_nxt);
        if let Some(mut reassembly) = self.reassembly.take() {
            // A gap is filled, or partly: the peer's recovery waits for this acknowledgment.
            self.ack_now = true;
            self.rcv_nxt = reassembly.take(pool, self.rcv_nxt, &mut self.rx);
            if !reassembly.is_empty() {
                self.reassembly = Some(reassembly);
            }
        }
        self.event_pending = true;
        self.schedule_ack(cx);
        self.tune_receive_buffer(cx);
        if self.allotment.is_some() {
            self.settle_lease(&mut cx.pools.buffers);
        }
        if taken < bytes.len() {
            self.refuse();
            return Verdict::NoBuffer;
        }
        Verdict::Accepted
    }

    /// At once for the first segments, for every second full one, else within the delay (RFC 5681, 4.2).
    fn schedule_ack(&mut self, cx: &Context<'_>) {
        let unacked = self.rcv_nxt - self.rcv_acked;
        if self.quick_acks > 0 {
            self.quick_acks -= 1;
            self.ack_now = true;
        } else if unacked >= 2 * u32::from(self.rcv_mss) {
            self.ack_now = true;
        } else if self.ack_deadline.is_none() {
            self.ack_deadline = Some(cx.now + cx.config.ack_delay);
        }
    }

    /// Eighth check: the FIN, once every byte before it is here.
    fn handle_fin(&mut self, cx: &mut Context<'_>) {
        if self.peer_fin != Some(self.rcv_nxt) {
            return;
        }
        self.rcv_nxt += 1;
        self.rcv_edge = self.rcv_edge.max(self.rcv_nxt);
        self.ack_now = true;
        self.event_pending = true;
        if let Some(mut reassembly) = self.reassembly.take() {
            // Bytes beyond a FIN are nonsense.
            reassembly.clear(&mut cx.pools.buffers);
        }
        match self.state {
            State::SynReceived | State::Established => self.state = State::CloseWait,
            State::FinWait1 => self.state = State::Closing,
            State::FinWait2 => self.enter_time_wait(cx),
            _ => {}
        }
    }
}
