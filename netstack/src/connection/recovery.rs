//! What is lost, and how it is sent again.
//!
//! In:    acknowledgments, SACK blocks, timeouts
//! Out:   the segment to retransmit next; samples of the round trip; a window during recovery
//! Owns:  the [`Flight`]: the scoreboard, and the episode of recovery that is under way
//! Never: counts duplicate acknowledgments where SACK tells more
//! Read:  RFC 8985 (RACK-TLP); RFC 9937 (PRR); RFC 6582 (NewReno) for peers without SACK; RFC 6298
//!
//! What was sent again without need is found out and taken back in [`super::undo`].

use super::congestion::{Acked, CongestionControl};
use super::scoreboard::{Delivered, Judgement, Scoreboard, Sent};
use super::undo::Undo;
use super::{Connection, ConnectionError, Context, SendTimer, State};
use crate::segment::Segment;
use crate::seq::SeqNumber;
use crate::time::{Instant, Micros};

/// Duplicate acknowledgments, or segments sacked, that stand for a loss without a look at the clock.
const DUPLICATE_THRESHOLD: u32 = 3;
/// The least wait for a tail probe: a poller's turn and a peer's scheduling are not a loss.
const PROBE_MIN: Micros = Micros::from_millis(5);
/// Added to the wait for a probe when one segment is in flight: its acknowledgment may be delayed.
const PEER_ACK_DELAY: Micros = Micros::from_millis(40);
/// Recoveries for which a wider reordering window is kept after a DSACK (RFC 8985, section 6.2, step 4).
const REORDERING_PERSIST: u8 = 16;
/// Flights kept for the next use.
const SPARE_FLIGHTS_MAX: usize = 1024;

/// An episode of recovery.
#[derive(Clone, Copy, Debug)]
pub(super) struct Episode {
    /// SND.NXT when it began: acknowledged, it ends.
    point: SeqNumber,
    kind: EpisodeKind,
}

#[derive(Clone, Copy, Debug)]
pub(super) enum EpisodeKind {
    /// Losses that acknowledgments told of: the window follows PRR.
    Fast(Prr),
    /// It began with a timeout, or with a smaller path MTU: the window grows by slow start.
    Timeout,
}

/// Proportional Rate Reduction (RFC 9937, section 6). Bytes.
#[derive(Clone, Copy, Debug)]
pub(super) struct Prr {
    /// RecoverFS.
    flight_size: u32,
    /// prr_delivered.
    delivered: u32,
    /// prr_out.
    out: u32,
    /// The window that follows.
    cwnd: u32,
}

impl Prr {
    /// An acknowledgment delivered bytes; `safe`: SND.UNA advanced and nothing more was lost.
    fn acked(&mut self, delivered: u32, pipe: u32, ssthresh: u32, mss: u32, safe: bool) {
        self.delivered = self.delivered.saturating_add(delivered);
        let mut count = if pipe > ssthresh {
            let share = u64::from(self.delivered) * u64::from(ssthresh);
            let due = share.div_ceil(u64::from(self.flight_size.max(1)));
            due.saturating_sub(self.out.into()).min(u32::MAX.into()) as u32
        } else {
            let debt = self.delivered.saturating_sub(self.out).max(delivered);
            (debt + if safe { mss } else { 0 }).min(ssthresh - pipe)
        };
        // The first segment leaves at once.
        if self.out == 0 {
            count = count.max(mss);
        }
        self.cwnd = pipe.saturating_add(count);
    }
}

/// Everything about what is in flight. A connection has one only while something is.
#[derive(Debug, Default)]
pub(crate) struct Flight {
    pub(super) board: Scoreboard,
    pub(super) episode: Option<Episode>,
    pub(super) undo: Option<Undo>,
    /// The first retransmission of an episode is sent whatever the window says.
    force: bool,
    /// Without SACK: duplicate acknowledgments since the last that advanced.
    duplicates: u32,
    /// A paced connection sends nothing new before this.
    pub(super) pace_at: Option<Instant>,
}

impl Flight {
    /// Forgets everything, but keeps what is allocated.
    fn clear(&mut self) {
        let Flight { board, episode, undo, force, duplicates, pace_at } = self;
        board.clear();
        (*episode, *undo, *pace_at) = (None, None, None);
        (*force, *duplicates) = (false, 0);
    }

    fn in_fast_recovery(&self) -> bool {
        matches!(self.episode, Some(Episode { kind: EpisodeKind::Fast(_), .. }))
    }

    /// Whether anything of it is, or was lately, believed lost or known to be out of order.
    fn is_troubled(&self) -> bool {
        self.episode.is_some()
            || self.undo.is_some()
            || self.duplicates > 0
            || self.board.sacked() > 0
            || self.board.lost() > 0
    }

    fn prr(&mut self) -> Option<&mut Prr> {
        match &mut self.episode {
            Some(Episode { kind: EpisodeKind::Fast(prr), .. }) => Some(prr),
            _ => None,
        }
    }
}

/// Flights of connections that have nothing in flight, for those that will: an idle connection holds none.
#[derive(Debug, Default)]
pub(crate) struct Flights {
    #[expect(clippy::vec_box, reason = "a connection holds a pointer, and gives it back as it is")]
    spare: Vec<Box<Flight>>,
}

impl Flights {
    #[inline]
    pub(super) fn take(&mut self) -> Box<Flight> {
        self.spare.pop().unwrap_or_default()
    }

    #[inline]
    fn give(&mut self, mut flight: Box<Flight>) {
        if self.spare.len() < SPARE_FLIGHTS_MAX {
            flight.clear();
            self.spare.push(flight);
        }
    }
}

/// What outlives a flight: how far this path reorders, and how often we had to send again.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Experience {
    /// RACK.reordering_seen.
    pub reordering_seen: bool,
    /// RACK.reo_wnd_mult, less one.
    widened: u8,
    /// RACK.reo_wnd_persist.
    persist: u8,
    /// RACK.dsack_round.
    dsack_round: Option<SeqNumber>,
    /// Segments sent again.
    pub retransmits: u32,
    /// Recoveries that were taken back because nothing had been lost.
    pub undone: u32,
}

/// A tail probe that is out (RFC 8985, section 7.3).
#[derive(Clone, Copy, Debug)]
pub(super) struct TailProbe {
    /// TLP.end_seq.
    end: SeqNumber,
    /// TLP.is_retrans.
    resent: bool,
}

impl Connection {
    /// Bytes believed to be on their way.
    pub(super) fn in_flight(&self) -> u32 {
        self.flight.as_ref().map_or(0, |flight| flight.board.in_flight())
    }

    /// Segments believed lost and not sent again.
    pub(super) fn lost(&self) -> u32 {
        self.flight.as_ref().map_or(0, |flight| flight.board.lost())
    }

    /// Whether one more segment may be in flight.
    pub(super) fn has_record_room(&self) -> bool {
        self.flight.as_ref().is_none_or(|flight| flight.board.has_room())
    }

    /// The window that counts now.
    pub(super) fn cwnd(&self) -> u32 {
        match self.flight.as_ref().and_then(|flight| flight.episode) {
            Some(Episode { kind: EpisodeKind::Fast(prr), .. }) if self.negotiated.sack => prr.cwnd,
            _ => self.congestion.cwnd(),
        }
    }

    /// A new segment was sent.
    #[inline]
    pub(super) fn push_sent(&mut self, seq: SeqNumber, len: u32, fin: bool, cx: &mut Context<'_>) {
        let flight = self.flight.get_or_insert_with(|| {
            self.progress_at = cx.now;
            cx.pools.flights.take()
        });
        self.last_sent = cx.now;
        flight.board.push(seq, len, fin, cx.now);
        if let Some(prr) = flight.prr() {
            prr.out = prr.out.saturating_add(len);
        }
    }

    /// Forgets what is in flight.
    pub(super) fn drop_flight(&mut self, cx: &mut Context<'_>) {
        if let Some(flight) = self.flight.take() {
            cx.pools.flights.give(flight);
        }
    }

    /// The acknowledgment field and SACK blocks of a segment: sequence space, round trip, loss, window.
    pub(super) fn acknowledge(
        &mut self,
        segment: &Segment<'_>,
        is_duplicate: bool,
        cx: &mut Context<'_>,
    ) {
        let dsack = if self.negotiated.sack { duplicate_block(segment) } else { None };
        let probe_matched =
            self.tail_probe.is_some() && self.end_tail_probe(segment, dsack, is_duplicate);
        let advances = segment.ack.after(self.snd_una);
        let Some(mut flight) = self.flight.take() else { return };
        let in_flight_before = flight.board.in_flight();
        let mut delivered = self.note_delivered(&mut flight, segment, is_duplicate, cx.now);
        if dsack.is_some() && !probe_matched {
            self.widen_reordering_window(segment.ack);
        }
        self.experience.reordering_seen |= delivered.reordered;
        // Nearly always nothing is lost, and nothing was: then this is all.
        let mut safe = advances;
        if flight.is_troubled() {
            safe = self.recover(&mut flight, segment, &mut delivered, dsack, advances, cx.now);
        }
        self.steer(&mut flight, &delivered, in_flight_before, advances, safe, cx.now);
        if advances {
            self.progress_at = cx.now;
            self.note_path_progress(&delivered);
        }
        if flight.board.is_empty() {
            cx.pools.flights.give(flight);
        } else {
            self.flight = Some(flight);
        }
    }

    /// Losses, and recoveries from them: begun, ended, taken back. Whether PRR may call this acknowledgment
    /// safe: SND.UNA advanced, and nothing more was lost.
    #[cold]
    fn recover(
        &mut self,
        flight: &mut Flight,
        segment: &Segment<'_>,
        delivered: &mut Delivered,
        dsack: Option<(SeqNumber, SeqNumber)>,
        advances: bool,
        now: Instant,
    ) -> bool {
        if self.is_spurious(flight, segment, delivered, dsack, advances) {
            self.undo(flight);
        }
        let lost_before = flight.board.lost();
        self.detect_losses(flight, advances, delivered, now);
        let safe = advances && flight.board.lost() <= lost_before;
        let was_fast = flight.in_fast_recovery();
        self.end_episode(flight);
        if was_fast && flight.episode.is_none() {
            // The window is ssthresh now, and grows from the next acknowledgment on (RFC 6675, section 5).
            delivered.bytes = 0;
        }
        safe
    }

    #[inline]
    fn note_delivered(
        &mut self,
        flight: &mut Flight,
        segment: &Segment<'_>,
        is_duplicate: bool,
        now: Instant,
    ) -> Delivered {
        let advances = segment.ack.after(self.snd_una);
        let point = flight.undo.as_ref().map(Undo::point);
        let full = u32::from(self.payload_max());
        let judgement = Judgement { now, min_rtt: self.rtt.min_rtt(), point, full };
        let mut delivered = Delivered::default();
        if advances {
            self.snd_una = segment.ack;
            flight.board.acknowledge(segment.ack, &judgement, &mut delivered);
            flight.duplicates = 0;
        }
        if self.negotiated.sack {
            if !segment.options.sack.is_empty() {
                flight.board.sack(&segment.options.sack, &judgement, &mut delivered);
            }
        } else if is_duplicate && (flight.duplicates as usize) < flight.board.len() {
            // Each stands for a segment that left the network: more than there are would be forged.
            flight.duplicates += 1;
        }
        match delivered.rtt {
            Some(rtt) => self.rtt.sample(rtt, now.seconds()),
            // The peer answers, and what it answers was in the way of Karn's rule alone: the echoed
            // timestamp is a sample, if a coarse one (RFC 7323, section 4.1).
            None if advances && self.negotiated.timestamps => {
                if let Some((_, echo)) = segment.options.timestamp {
                    let elapsed = self.ts_value(now).wrapping_sub(echo);
                    self.rtt.sample_coarse(Micros::from_millis(elapsed.into()), now.seconds());
                }
            }
            None => {}
        }
        delivered
    }

    /// RFC 8985, section 6.2, step 4: the peer had it already, so we were too fast to believe it lost.
    #[cold]
    fn widen_reordering_window(&mut self, ack: SeqNumber) {
        let experience = &mut self.experience;
        if experience.dsack_round.is_none_or(|round| round.at_or_before(ack)) {
            experience.dsack_round = Some(self.snd_nxt);
            experience.widened = experience.widened.saturating_add(1);
            experience.persist = REORDERING_PERSIST;
        }
    }

    /// RACK.reo_wnd.
    fn reordering_window(&self, flight: &Flight) -> Micros {
        let sure = flight.episode.is_some() || flight.board.sacked() >= DUPLICATE_THRESHOLD;
        if sure && !self.experience.reordering_seen {
            return Micros::default();
        }
        let quarter = self.rtt.min_rtt().unwrap_or_default() / 4;
        let most = self.rtt.srtt().unwrap_or_default();
        (quarter * (u64::from(self.experience.widened) + 1)).min(most)
    }

    /// Marks losses and begins an episode when there are any.
    #[cold]
    fn detect_losses(
        &mut self,
        flight: &mut Flight,
        advances: bool,
        delivered: &Delivered,
        now: Instant,
    ) {
        if self.negotiated.sack {
            if flight.episode.is_some() || flight.board.sacked() > 0 {
                let window = self.reordering_window(flight);
                if let Some(again) = flight.board.detect_losses(window, now) {
                    self.send_timer = Some((again, SendTimer::Reordering));
                }
            }
        } else {
            self.detect_losses_without_sack(flight, advances);
        }
        if flight.board.lost() > 0 && flight.episode.is_none() {
            let outstanding = self.snd_nxt - self.snd_una;
            let unsacked = outstanding.saturating_sub(flight.board.sacked_bytes());
            let prr =
                Prr { flight_size: unsacked + delivered.bytes, delivered: 0, out: 0, cwnd: 0 };
            flight.undo = Some(Undo::new(&self.congestion, self.snd_una, self.snd_nxt, false));
            flight.episode = Some(Episode { point: self.snd_nxt, kind: EpisodeKind::Fast(prr) });
            flight.force = true;
            self.congestion.lost();
        }
    }

    /// RFC 6582: the head is lost at the third duplicate, and at each partial acknowledgment after it.
    fn detect_losses_without_sack(&mut self, flight: &mut Flight, advances: bool) {
        let partial = advances
            && flight.in_fast_recovery()
            && flight.episode.is_some_and(|episode| self.snd_una.before(episode.point));
        let third = flight.episode.is_none() && flight.duplicates >= DUPLICATE_THRESHOLD;
        if (partial || third) && flight.board.mark_head_lost() {
            flight.force = true;
        }
    }

    fn end_episode(&mut self, flight: &mut Flight) {
        let Some(episode) = flight.episode else { return };
        if self.snd_una.before(episode.point) || flight.board.lost() > 0 {
            return;
        }
        flight.episode = None;
        flight.duplicates = 0;
        self.experience.persist = self.experience.persist.saturating_sub(1);
        if self.experience.persist == 0 {
            self.experience.widened = 0;
        }
    }

    /// The window after an acknowledgment: by PRR in fast recovery, else by the algorithm.
    #[inline]
    fn steer(
        &mut self,
        flight: &mut Flight,
        delivered: &Delivered,
        in_flight_before: u32,
        advances: bool,
        safe: bool,
        now: Instant,
    ) {
        let pipe = flight.board.in_flight();
        let (ssthresh, mss) = (self.congestion.ssthresh(), u32::from(self.payload_max()));
        if let Some(prr) = flight.prr() {
            if delivered.bytes > 0 || prr.out == 0 {
                prr.acked(delivered.bytes, pipe, ssthresh, mss, safe);
            }
            return;
        }
        if delivered.bytes == 0 || !advances {
            return;
        }
        // RFC 7661 in spirit: a window that was not used is not a window that was tested.
        let used =
            self.cwnd_limited || in_flight_before.saturating_mul(2) >= self.congestion.cwnd();
        if used {
            self.congestion.acked(&Acked {
                bytes: delivered.bytes,
                rtt: delivered.rtt,
                srtt: self.rtt.srtt().unwrap_or_default(),
                una: self.snd_una,
                nxt: self.snd_nxt,
                now,
            });
        }
        self.cwnd_limited = false;
    }

    /// What may be in flight beyond what is: the window, and without SACK a segment for each duplicate
    /// acknowledgment (it left the network; RFC 3042 before a loss is certain, RFC 5681 after).
    pub(super) fn congestion_room(&self) -> u32 {
        let duplicates = self.flight.as_ref().map_or(0, |flight| flight.duplicates);
        let left = duplicates.saturating_mul(u32::from(self.mss));
        self.cwnd().saturating_add(left).saturating_sub(self.in_flight())
    }

    /// The next lost segment, if the window lets it go now.
    pub(super) fn next_retransmission(&mut self, now: Instant) -> Option<Sent> {
        if self.lost() == 0 {
            return None;
        }
        let mss = u32::from(self.payload_max());
        let room = self.congestion_room();
        let timestamp = self.ts_value(now);
        let flight = self.flight.as_mut()?;
        if !flight.force && room < mss && flight.board.in_flight() > 0 {
            return None;
        }
        let sent = flight.board.take_lost(mss, now)?;
        self.last_sent = now;
        flight.force = false;
        self.experience.retransmits += 1;
        if let Some(undo) = &mut flight.undo {
            undo.retransmitted(timestamp);
        }
        if let Some(prr) = flight.prr() {
            prr.out = prr.out.saturating_add(sent.len);
        }
        Some(sent)
    }

    // The tail probe (RFC 8985, section 7).

    /// Section 7.2: a probe goes before the timeout, once per tail, and not during recovery.
    fn probe_deadline(&self, now: Instant) -> Option<(Instant, SendTimer)> {
        let srtt = self.rtt.srtt()?;
        let flight = self.flight.as_ref()?;
        let allowed = self.negotiated.sack
            && flight.episode.is_none()
            && self.tail_probe.is_none()
            && self.timeouts == 0
            && flight.board.sacked() == 0
            && self.state != State::SynSent;
        if !allowed {
            return None;
        }
        let mut wait = (srtt * 2).max(PROBE_MIN);
        if flight.board.len() == 1 {
            wait = wait + PEER_ACK_DELAY;
        }
        // At the time of the timeout a probe goes first.
        Some((now + wait.min(self.rtt.rto()), SendTimer::TailProbe))
    }

    /// Section 7.3: the last segment again, when nothing new can go.
    pub(super) fn probe_tail(&mut self, now: Instant) -> Option<Sent> {
        let mss = u32::from(self.payload_max());
        let flight = self.flight.as_mut()?;
        if !flight.board.mark_tail_lost() {
            return None;
        }
        let sent = flight.board.take_lost(mss, now)?;
        self.experience.retransmits += 1;
        self.note_probe(true);
        Some(sent)
    }

    /// A probe was sent.
    pub(super) fn note_probe(&mut self, resent: bool) {
        self.tail_probe = Some(TailProbe { end: self.snd_nxt, resent });
    }

    /// Section 7.4: what became of the probe. Whether a DSACK told of it.
    #[cold]
    fn end_tail_probe(
        &mut self,
        segment: &Segment<'_>,
        dsack: Option<(SeqNumber, SeqNumber)>,
        is_duplicate: bool,
    ) -> bool {
        let Some(probe) = self.tail_probe else { return false };
        if segment.ack.before(probe.end) {
            return false;
        }
        let matched = probe.resent && dsack.is_some_and(|(_, right)| right == probe.end);
        let beyond = segment.ack.after(probe.end);
        let bare_duplicate = is_duplicate && segment.options.sack.is_empty();
        if probe.resent && !matched && beyond {
            // The probe repaired a loss that nobody else has noticed.
            self.congestion.lost();
        }
        if !probe.resent || matched || beyond || bare_duplicate {
            self.tail_probe = None;
        }
        matched
    }

    // Timers.

    /// Sets the one timer of sending to what is due next.
    #[inline]
    pub(super) fn arm_send_timer(&mut self, cx: &Context<'_>) {
        let empty = self.flight.is_none();
        if let Some((_, SendTimer::Reordering)) = self.send_timer
            && !empty
        {
            return;
        }
        self.send_timer = if empty {
            self.keepalive_deadline(cx.config)
        } else {
            let probe = self.probe_deadline(cx.now);
            Some(probe.unwrap_or_else(|| (self.timeout_at(cx), SendTimer::Retransmit)))
        };
    }

    /// The timer of sending expired.
    pub(super) fn handle_send_timer(&mut self, timer: SendTimer, cx: &mut Context<'_>) {
        match timer {
            SendTimer::Reordering => {
                if let Some(mut flight) = self.flight.take() {
                    let nothing = Delivered::default();
                    self.detect_losses(&mut flight, false, &nothing, cx.now);
                    self.steer(&mut flight, &nothing, 0, false, false, cx.now);
                    self.flight = Some(flight);
                }
                if self.send_timer.is_none() {
                    self.arm_send_timer(cx);
                }
            }
            SendTimer::TailProbe => {
                self.probe = Some(SendTimer::TailProbe);
                self.send_timer = Some((self.timeout_at(cx), SendTimer::Retransmit));
            }
            SendTimer::Keepalive => self.handle_keepalive(cx),
            SendTimer::Persist => self.handle_persist(cx),
            SendTimer::Retransmit => self.handle_timeout(cx),
        }
    }

    /// RFC 6298, section 5.4 to 5.6.
    #[cold]
    fn handle_timeout(&mut self, cx: &mut Context<'_>) {
        if self.gives_up(cx) {
            // The peer is told in case it lives: it may be only the way to us that is broken.
            self.abort(cx);
            self.error = Some(ConnectionError::TimedOut);
            return;
        }
        let first = self.timeouts == 0;
        self.timeouts = self.timeouts.saturating_add(1);
        self.rtt.back_off();
        self.suspect_black_hole(cx);
        let Some(flight) = self.flight.as_mut() else { return };
        if first && flight.episode.is_none() {
            flight.undo = Some(Undo::new(&self.congestion, self.snd_una, self.snd_nxt, true));
        }
        // Within a fast recovery the window was reduced already (RFC 5681, section 4.3).
        self.congestion.timed_out(first && !flight.in_fast_recovery());
        flight.board.mark_all_lost();
        flight.duplicates = 0;
        flight.episode = Some(Episode { point: self.snd_nxt, kind: EpisodeKind::Timeout });
        flight.force = true;
        self.tail_probe = None;
        self.send_timer = Some((self.timeout_at(cx), SendTimer::Retransmit));
    }

    /// What is in flight goes again at once, in smaller pieces: lost to its size, not to congestion, so
    /// that the window stays as it is.
    pub(super) fn resend_larger(&mut self, len: u32) {
        let Some(flight) = self.flight.as_mut() else { return };
        flight.board.mark_larger_lost(len);
        if flight.board.lost() > 0 {
            let episode = Episode { point: self.snd_nxt, kind: EpisodeKind::Timeout };
            flight.episode.get_or_insert(episode);
            flight.force = true;
        }
    }

    /// Everything goes again, once.
    pub(super) fn resend_all(&mut self) {
        if let Some(flight) = self.flight.as_mut() {
            flight.board.mark_all_lost();
        }
    }
}

/// The block of what arrived twice, if an acknowledgment has one (RFC 2883, section 4): the first, when
/// it lies below the acknowledgment or within the second.
fn duplicate_block(segment: &Segment<'_>) -> Option<(SeqNumber, SeqNumber)> {
    let blocks = segment.options.sack.as_slice();
    let &(left, right) = blocks.first()?;
    let below = right.at_or_before(segment.ack);
    let within =
        blocks.get(1).is_some_and(|&(from, to)| from.at_or_before(left) && right.at_or_before(to));
    (left.before(right) && (below || within)).then_some((left, right))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// RFC 9937, section 7, first example: one of twenty segments lost; Reno's half.
    #[test]
    fn prr_sends_a_segment_for_every_second_one_delivered() {
        const MSS: u32 = 1000;
        let mut prr = Prr { flight_size: 20 * MSS, delivered: 0, out: 0, cwnd: 0 };
        let mut pipe = 19 * MSS;
        let mut sent = 0;
        for ack in 0..18 {
            pipe -= MSS;
            prr.acked(MSS, pipe, 10 * MSS, MSS, ack > 0);
            while prr.cwnd >= pipe + MSS {
                pipe += MSS;
                prr.out += MSS;
                sent += 1;
            }
        }
        assert_eq!((sent, pipe), (9, 10 * MSS));
    }

    /// Half of a window lost: what is sent is no more than what was delivered, until safe ACKs come.
    #[test]
    fn prr_does_not_burst_after_heavy_losses() {
        const MSS: u32 = 1000;
        let mut prr = Prr { flight_size: 20 * MSS, delivered: 0, out: 0, cwnd: 0 };
        let pipe = 4 * MSS;
        prr.acked(3 * MSS, pipe, 10 * MSS, MSS, false);
        assert_eq!(prr.cwnd, pipe + 3 * MSS);
        prr.out += 3 * MSS;
        prr.acked(MSS, pipe + 2 * MSS, 10 * MSS, MSS, true);
        assert_eq!(prr.cwnd, pipe + 2 * MSS + 2 * MSS, "slow start once it is safe");
    }
}
