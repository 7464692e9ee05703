//! What is in flight, and what of it is lost.
//!
//! In:    acknowledgments, SACK blocks, timeouts
//! Out:   the segment to retransmit next; samples of the round trip
//! Owns:  a record per segment in flight
//! Never: counts duplicate acknowledgments where SACK tells more
//! Read:  RFC 8985 (RACK-TLP); RFC 2018; RFC 6582 (NewReno) for peers without SACK; RFC 6298

use std::collections::VecDeque;
use std::time::Duration;

use super::{Connection, ConnectionError, SendTimer, State, TcpConfig};
use crate::buffer::BufferPool;
use crate::segment::Segment;
use crate::seq::SeqNumber;
use crate::time::Instant;

/// Duplicate acknowledgments, or segments sacked, that stand for a loss without a look at the clock.
const DUPLICATE_THRESHOLD: u32 = 3;
/// The least wait for a tail probe: a poller's turn and a peer's scheduling are not a loss.
const PROBE_MIN: Duration = Duration::from_millis(5);
/// Added to the wait for a probe when one segment is in flight: its acknowledgment may be delayed.
const PEER_ACK_DELAY: Duration = Duration::from_millis(40);
/// Segments in flight at most: a peer that asks for tiny segments and acknowledges each with SACK blocks
/// must not make every acknowledgment a walk over tens of thousands of records. Full segments fill the
/// largest send buffer before that.
const RECORDS_MAX: usize = 4096;
/// Records kept allocated once nothing is in flight; more is given back.
const RECORDS_KEPT: usize = 8;

/// A segment in flight.
#[derive(Clone, Copy, Debug)]
pub(super) struct Sent {
    pub seq: SeqNumber,
    /// Sequence space: payload, SYN and FIN.
    pub len: u32,
    pub sent_at: Instant,
    /// The FIN is its last octet of sequence space.
    pub fin: bool,
    sacked: bool,
    /// Believed lost and not sent again yet.
    lost: bool,
    retransmitted: bool,
}

impl Sent {
    fn end(&self) -> SeqNumber {
        self.seq + self.len
    }

    /// Believed to be on its way.
    fn is_in_flight(&self) -> bool {
        !self.sacked && !self.lost
    }
}

/// An episode of recovery.
#[derive(Clone, Copy, Debug)]
struct Episode {
    /// SND.NXT when it began: acknowledged, it ends.
    point: SeqNumber,
    /// It began with a timeout: the window grows by slow start.
    timeout: bool,
}

/// The state of loss recovery of one connection.
///
/// Invariants: records are contiguous and in order; `in_flight` is the sum of those believed to be on
/// their way; `lost` counts those to be sent again, `sacked` those that SACK blocks covered.
#[derive(Debug, Default)]
pub(super) struct Recovery {
    sent: VecDeque<Sent>,
    in_flight: u32,
    lost: u32,
    sacked: u32,
    episode: Option<Episode>,
    /// The first retransmission of an episode is sent whatever the window says.
    force: bool,
    /// Without SACK: duplicate acknowledgments since the last that advanced.
    duplicates: u32,
    /// RACK.xmit_ts, RACK.end_seq, RACK.rtt: the newest segment known to be delivered.
    rack: Option<(Instant, SeqNumber, Duration)>,
    /// Highest sequence number acknowledged or sacked: below it, an original delivered late was reordered.
    forward: Option<SeqNumber>,
    reordering_seen: bool,
    /// A tail probe is out: SND.NXT then. No second one until it is acknowledged.
    probe_end: Option<SeqNumber>,
    /// Retransmissions so far.
    pub retransmits: u32,
}

impl Recovery {
    /// Whether nothing waits for an acknowledgment.
    pub fn is_empty(&self) -> bool {
        self.sent.is_empty()
    }

    /// Whether one more segment may be in flight.
    pub fn has_room(&self) -> bool {
        self.sent.len() < RECORDS_MAX
    }

    /// Forgets everything.
    pub fn clear(&mut self) {
        self.sent = VecDeque::new();
        self.in_flight = 0;
        self.lost = 0;
        self.sacked = 0;
        self.episode = None;
        self.probe_end = None;
    }

    /// A new segment was sent.
    pub fn push(&mut self, seq: SeqNumber, len: u32, fin: bool, now: Instant) {
        debug_assert!(self.sent.back().is_none_or(|last| last.end() == seq));
        self.sent.push_back(Sent {
            seq,
            len,
            sent_at: now,
            fin,
            sacked: false,
            lost: false,
            retransmitted: false,
        });
        self.in_flight += len;
    }

    /// Asserts what must hold between calls.
    pub fn assert_invariants(&self, snd_una: SeqNumber, snd_nxt: SeqNumber) {
        let mut next = snd_una;
        let (mut in_flight, mut lost, mut sacked) = (0, 0, 0);
        for sent in &self.sent {
            assert_eq!(sent.seq, next, "records are contiguous from SND.UNA");
            next = sent.end();
            in_flight += if sent.is_in_flight() { sent.len } else { 0 };
            lost += u32::from(sent.lost);
            sacked += u32::from(sent.sacked);
        }
        assert_eq!((in_flight, lost, sacked), (self.in_flight, self.lost, self.sacked));
        assert!(self.sent.is_empty() || next == snd_nxt, "records reach SND.NXT");
    }

    /// Everything not sacked is to be sent again.
    pub fn mark_all_lost(&mut self) {
        // RFC 2018, section 8: a peer may drop what it sacked. If the head is sacked and still here, it did.
        let reneged = self.sent.front().is_some_and(|head| head.sacked);
        if reneged {
            self.sacked = 0;
        }
        for sent in &mut self.sent {
            if reneged {
                sent.sacked = false;
            }
            if !sent.sacked && !sent.lost {
                sent.lost = true;
                self.lost += 1;
            }
        }
        self.in_flight = 0;
    }

    fn mark_lost(&mut self, index: usize) {
        let sent = &mut self.sent[index];
        debug_assert!(sent.is_in_flight());
        sent.lost = true;
        self.lost += 1;
        self.in_flight -= sent.len;
    }

    /// The next segment to send again, marked as sent. `mss` splits a segment that grew too large.
    fn take_lost(&mut self, mss: u32, now: Instant) -> Option<Sent> {
        if self.lost == 0 {
            return None;
        }
        let index = self.sent.iter().position(|sent| sent.lost)?;
        if self.sent[index].len > mss {
            self.split(index, mss);
        }
        let sent = &mut self.sent[index];
        sent.lost = false;
        sent.retransmitted = true;
        sent.sent_at = now;
        self.lost -= 1;
        self.in_flight += sent.len;
        self.retransmits += 1;
        self.force = false;
        Some(*sent)
    }

    /// Cuts a lost record in two, the first of `len` octets.
    fn split(&mut self, index: usize, len: u32) {
        let first = self.sent[index];
        let rest = Sent { seq: first.seq + len, len: first.len - len, ..first };
        self.sent[index] = Sent { len, fin: false, ..first };
        self.sent.insert(index + 1, rest);
        self.lost += 1;
    }

    /// Removes what `ack` covers.
    fn acknowledge(&mut self, ack: SeqNumber, now: Instant, delivered: &mut Delivered) {
        while let Some(&sent) = self.sent.front() {
            if sent.end().after(ack) {
                break;
            }
            self.sent.pop_front();
            if sent.lost {
                self.lost -= 1;
            } else if !sent.sacked {
                self.in_flight -= sent.len;
            }
            if sent.sacked {
                self.sacked -= 1;
            } else {
                delivered.bytes += sent.len;
                self.note_delivery(&sent, delivered, now);
            }
        }
        // A part of a segment: the peer cut it, or took a part of it for want of room.
        if let Some(head) = self.sent.front_mut()
            && head.seq.before(ack)
        {
            let part = ack - head.seq;
            head.seq = ack;
            head.len -= part;
            if head.is_in_flight() {
                self.in_flight -= part;
            }
            if !head.sacked {
                delivered.bytes += part;
            }
        }
        if self.sent.is_empty() && self.sent.capacity() > RECORDS_KEPT {
            self.sent.shrink_to(RECORDS_KEPT);
        }
    }

    /// Marks what SACK blocks cover (RFC 6675, section 4, Update()).
    fn sack(&mut self, blocks: &[(SeqNumber, SeqNumber)], now: Instant, delivered: &mut Delivered) {
        let Some(first) = self.sent.front().map(|sent| sent.seq) else { return };
        let end = self.sent.back().map_or(first, Sent::end);
        for &(left, right) in blocks {
            // A block below SND.UNA is a DSACK (RFC 2883); one beyond SND.NXT is nonsense.
            if left.before(first) || right.after(end) || !left.before(right) {
                continue;
            }
            let from = self.sent.partition_point(|sent| sent.seq.before(left));
            for index in from..self.sent.len() {
                let sent = self.sent[index];
                if sent.end().after(right) {
                    break;
                }
                if sent.sacked {
                    continue;
                }
                if sent.lost {
                    self.lost -= 1;
                } else {
                    self.in_flight -= sent.len;
                }
                self.sent[index].sacked = true;
                self.sent[index].lost = false;
                self.sacked += 1;
                delivered.bytes += sent.len;
                self.note_delivery(&sent, delivered, now);
            }
        }
    }

    /// RFC 8985, section 6.2, steps 1 to 3.
    fn note_delivery(&mut self, sent: &Sent, delivered: &mut Delivered, now: Instant) {
        let rtt = now.since(sent.sent_at);
        if sent.retransmitted {
            // The original may have been delivered: an answer faster than any round trip was for it.
            if delivered.min_rtt.is_some_and(|least| rtt < least) {
                return;
            }
        } else {
            delivered.rtt = Some(rtt);
            if self.forward.is_some_and(|forward| sent.end().before(forward)) {
                self.reordering_seen = true;
            }
        }
        self.forward = Some(self.forward.map_or(sent.end(), |forward| forward.max(sent.end())));
        let newer = self.rack.is_none_or(|(at, end, _)| {
            sent.sent_at > at || (sent.sent_at == at && sent.end().after(end))
        });
        if newer {
            self.rack = Some((sent.sent_at, sent.end(), rtt));
        }
    }

    /// RFC 8985, section 6.2, steps 4 and 5: what was sent long enough before the newest delivery is
    /// lost. Returns when to look again.
    fn detect_losses(&mut self, min_rtt: Duration, now: Instant) -> Option<Instant> {
        let (at, end, rtt) = self.rack?;
        let sure = self.episode.is_some() || self.sacked >= DUPLICATE_THRESHOLD;
        let window = if sure && !self.reordering_seen { Duration::ZERO } else { min_rtt / 4 };
        let mut again: Option<Instant> = None;
        for index in 0..self.sent.len() {
            let sent = self.sent[index];
            let older = sent.sent_at < at || (sent.sent_at == at && sent.end().before(end));
            if !sent.is_in_flight() || !older {
                continue;
            }
            let deadline = sent.sent_at + rtt + window;
            if deadline <= now {
                self.mark_lost(index);
            } else {
                again = Some(again.map_or(deadline, |other| other.max(deadline)));
            }
        }
        again
    }
}

/// What an acknowledgment delivered.
#[derive(Default)]
struct Delivered {
    bytes: u32,
    rtt: Option<Duration>,
    min_rtt: Option<Duration>,
}

impl Connection {
    /// The acknowledgment field and SACK blocks of a segment: sequence space, round trip, loss, window.
    pub(super) fn acknowledge(&mut self, segment: &Segment<'_>, is_duplicate: bool, now: Instant) {
        let advances = segment.ack.after(self.snd_una);
        let in_flight_before = self.recovery.in_flight;
        let mut delivered = Delivered { min_rtt: self.rtt.min_rtt(), ..Delivered::default() };
        if advances {
            self.snd_una = segment.ack;
            self.recovery.acknowledge(segment.ack, now, &mut delivered);
            self.recovery.duplicates = 0;
            if self.recovery.probe_end.is_some_and(|end| end.at_or_before(segment.ack)) {
                self.recovery.probe_end = None;
            }
        }
        if self.negotiated.sack {
            self.recovery.sack(segment.options.sack.as_slice(), now, &mut delivered);
        } else if is_duplicate && (self.recovery.duplicates as usize) < self.recovery.sent.len() {
            // Each stands for a segment that left the network: more than there are would be forged.
            self.recovery.duplicates += 1;
        }
        if let Some(rtt) = delivered.rtt {
            self.rtt.sample(rtt);
        }
        self.detect_losses(advances, now);
        self.end_episode();
        self.grow_window(&delivered, in_flight_before, advances, now);
    }

    /// Marks losses and begins an episode when there are any.
    fn detect_losses(&mut self, advances: bool, now: Instant) {
        if self.negotiated.sack {
            if self.recovery.episode.is_some() || self.recovery.sacked > 0 {
                let min_rtt = self.rtt.min_rtt().unwrap_or_default();
                if let Some(again) = self.recovery.detect_losses(min_rtt, now) {
                    self.send_timer = Some((again, SendTimer::Reordering));
                }
            }
        } else {
            self.detect_losses_without_sack(advances);
        }
        if self.recovery.lost > 0 && self.recovery.episode.is_none() {
            self.recovery.episode = Some(Episode { point: self.snd_nxt, timeout: false });
            self.recovery.force = true;
            self.congestion.lost();
        }
    }

    /// RFC 6582: the head is lost at the third duplicate, and at each partial acknowledgment after it.
    fn detect_losses_without_sack(&mut self, advances: bool) {
        let partial = advances
            && self
                .recovery
                .episode
                .is_some_and(|episode| !episode.timeout && self.snd_una.before(episode.point));
        let third =
            self.recovery.episode.is_none() && self.recovery.duplicates >= DUPLICATE_THRESHOLD;
        let head_in_flight = self.recovery.sent.front().is_some_and(Sent::is_in_flight);
        if (partial || third) && head_in_flight {
            self.recovery.mark_lost(0);
            self.recovery.force = true;
        }
    }

    fn end_episode(&mut self) {
        if let Some(episode) = self.recovery.episode
            && !self.snd_una.before(episode.point)
            && self.recovery.lost == 0
        {
            self.recovery.episode = None;
            self.recovery.duplicates = 0;
        }
    }

    fn grow_window(
        &mut self,
        delivered: &Delivered,
        in_flight_before: u32,
        advances: bool,
        now: Instant,
    ) {
        if delivered.bytes == 0 || !advances {
            return;
        }
        let in_fast_recovery = self.recovery.episode.is_some_and(|episode| !episode.timeout);
        // RFC 7661 in spirit: a window that was not used is not a window that was tested.
        let used =
            self.cwnd_limited || in_flight_before.saturating_mul(2) >= self.congestion.cwnd();
        if !in_fast_recovery && used {
            self.congestion.acked(delivered.bytes, self.rtt.srtt().unwrap_or_default(), now);
        }
        self.cwnd_limited = false;
    }

    /// What may be in flight beyond what is: the congestion window, and without SACK a segment for each
    /// duplicate acknowledgment (it left the network).
    pub(super) fn congestion_room(&self) -> u32 {
        let left = self.recovery.duplicates.saturating_mul(u32::from(self.mss));
        self.congestion.cwnd().saturating_add(left).saturating_sub(self.recovery.in_flight)
    }

    /// The next lost segment, if the window lets it go now.
    pub(super) fn next_retransmission(&mut self, now: Instant) -> Option<Sent> {
        if self.recovery.lost == 0 {
            return None;
        }
        let mss = u32::from(self.payload_max());
        let room = self.congestion_room();
        if !self.recovery.force && room < mss && self.recovery.in_flight > 0 {
            return None;
        }
        self.recovery.take_lost(mss, now)
    }

    /// The tail probe sends the last segment again (RFC 8985, section 7.3), when nothing new can go.
    pub(super) fn probe_tail(&mut self, now: Instant) -> Option<Sent> {
        let last = self.recovery.sent.len().checked_sub(1)?;
        if self.recovery.sent[last].is_in_flight() {
            self.recovery.mark_lost(last);
        }
        let lost_before = self.recovery.sent.iter().filter(|sent| sent.lost).count();
        if lost_before != 1 {
            return None;
        }
        self.recovery.take_lost(u32::from(self.payload_max()), now)
    }

    /// Sets the one timer of sending to what is due next.
    pub(super) fn arm_send_timer(&mut self, now: Instant) {
        if let Some((_, SendTimer::Reordering)) = self.send_timer
            && !self.recovery.is_empty()
        {
            return;
        }
        self.send_timer = if self.recovery.is_empty() {
            None
        } else {
            Some(self.probe_deadline(now).unwrap_or((now + self.rtt.rto(), SendTimer::Retransmit)))
        };
    }

    /// RFC 8985, section 7.2: a probe goes before the timeout, once per tail, and not during recovery.
    fn probe_deadline(&self, now: Instant) -> Option<(Instant, SendTimer)> {
        let srtt = self.rtt.srtt()?;
        let allowed = self.negotiated.sack
            && self.recovery.episode.is_none()
            && self.recovery.probe_end.is_none()
            && self.timeouts == 0
            && self.recovery.sacked == 0
            && self.state != State::SynSent;
        if !allowed {
            return None;
        }
        let mut wait = (srtt * 2).max(PROBE_MIN);
        if self.recovery.sent.len() == 1 {
            wait += PEER_ACK_DELAY;
        }
        (wait < self.rtt.rto()).then_some((now + wait, SendTimer::TailProbe))
    }

    /// The timer of sending expired.
    pub(super) fn handle_send_timer(
        &mut self,
        timer: SendTimer,
        config: &TcpConfig,
        now: Instant,
        pool: &mut BufferPool,
    ) {
        match timer {
            SendTimer::Reordering => {
                self.detect_losses(false, now);
                if self.send_timer.is_none() {
                    self.arm_send_timer(now);
                }
            }
            SendTimer::TailProbe => {
                self.recovery.probe_end = Some(self.snd_nxt);
                self.probe = Some(SendTimer::TailProbe);
                self.send_timer = Some((now + self.rtt.rto(), SendTimer::Retransmit));
            }
            SendTimer::Persist | SendTimer::Retransmit => {
                self.handle_timeout(timer, config, now, pool);
            }
        }
    }

    fn handle_timeout(
        &mut self,
        timer: SendTimer,
        config: &TcpConfig,
        now: Instant,
        pool: &mut BufferPool,
    ) {
        let retries = match self.state {
            State::SynSent | State::SynReceived => config.syn_retries,
            _ if self.orphan => config.orphan_retries,
            _ => config.retries,
        };
        if self.timeouts >= retries {
            // The peer is told in case it lives: it may be only the way to us that is broken.
            self.abort(pool);
            self.error = Some(ConnectionError::TimedOut);
            return;
        }
        self.timeouts += 1;
        self.rtt.back_off();
        if timer == SendTimer::Persist {
            self.probe = Some(SendTimer::Persist);
            self.send_timer = Some((now + self.rtt.rto(), SendTimer::Persist));
            return;
        }
        self.congestion.timed_out(self.timeouts == 1);
        self.recovery.mark_all_lost();
        self.recovery.duplicates = 0;
        self.recovery.probe_end = None;
        self.recovery.episode = Some(Episode { point: self.snd_nxt, timeout: true });
        self.recovery.force = true;
        self.send_timer = Some((now + self.rtt.rto(), SendTimer::Retransmit));
    }

    /// The path changed: segments not sent yet are no larger than it takes.
    pub(crate) fn limit_mss(&mut self, mss: u16) {
        self.mss = self.mss.min(mss);
    }

    /// The path takes only segments of `mss` bytes: what is in flight and larger goes again (RFC 1191).
    pub(crate) fn reduce_mss(&mut self, mss: u16, now: Instant) {
        let mss = mss.max(super::MSS_MIN);
        if mss >= self.mss {
            return;
        }
        self.mss = mss;
        self.congestion.set_mss(u32::from(mss));
        let largest = u32::from(self.payload_max());
        for index in 0..self.recovery.sent.len() {
            let sent = self.recovery.sent[index];
            if sent.is_in_flight() && sent.len > largest {
                self.recovery.mark_lost(index);
            }
        }
        if self.recovery.lost > 0 {
            // Lost to size, not to congestion: the window stays as it is.
            let episode = Episode { point: self.snd_nxt, timeout: true };
            self.recovery.episode.get_or_insert(episode);
            self.recovery.force = true;
        }
        self.arm_send_timer(now);
    }
}
