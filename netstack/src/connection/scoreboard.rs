//! The segments in flight: which were sent when, which the peer has, which are believed lost.
//!
//! In:    segments sent, acknowledgments, SACK blocks, what is to be taken for lost
//! Out:   what was delivered; the segment to send again next
//! Owns:  a record per segment
//! Never: decides when something is lost: that is `recovery`'s; walks all records for one acknowledgment
//! Read:  RFC 6675, section 4 (the scoreboard); RFC 8985, section 5.2 (what a record holds)
//!
//! Records are in the order of sequence numbers. RACK needs them in the order of time. Originals have both
//! orders in one, so only segments sent again are listed apart, in `resent`: losses are found by looking at
//! the front of two lists that are sorted by time. What is behind `judged` has been looked at once for all.

use std::collections::VecDeque;

use serde::{Deserialize, Serialize};

use crate::segment::SackBlocks;
use crate::seq::SeqNumber;
use crate::time::{Instant, Micros};

/// Segments in flight at most: a peer that asks for tiny segments must not make us keep tens of thousands
/// of records. Full segments fill the largest send buffer before that.
pub(super) const RECORDS_MAX: usize = 4096;
/// Records that stay allocated in a scoreboard that is kept for the next use; more is given back.
const RECORDS_KEPT: usize = 64;

/// A segment in flight.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Sent {
    pub seq: SeqNumber,
    /// Sequence space: payload, SYN and FIN.
    pub len: u32,
    pub sent_at: Instant,
    /// The FIN is its last octet of sequence space.
    pub fin: bool,
    pub retransmitted: bool,
    sacked: bool,
    /// Believed lost and not sent again yet.
    lost: bool,
    /// Cut off from a larger segment, and not sent again since.
    cut: bool,
}

impl Sent {
    pub fn end(&self) -> SeqNumber {
        self.seq + self.len
    }

    /// Believed to be on its way.
    pub fn is_in_flight(&self) -> bool {
        !self.sacked && !self.lost
    }
}

/// What a snapshot tells of a segment in flight.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct RestoredSegment {
    /// Sequence space: payload, SYN and FIN.
    pub len: u32,
    pub fin: bool,
    pub sacked: bool,
    pub lost: bool,
}

/// What an acknowledgment delivered.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Delivered {
    /// Bytes that were not known to be delivered before.
    pub bytes: u32,
    /// The round trip of the newest segment that was sent once.
    pub rtt: Option<Micros>,
    /// Something arrived that was sent once and before a certain point (F-RTO's question).
    pub original_before: bool,
    /// Something arrived that was believed lost, in a segment larger than those that are sent now.
    pub large_arrived: bool,
    /// Something that was sent once arrived behind what was sent later.
    pub reordered: bool,
    /// Segments that left with the cumulative acknowledgment.
    pub segments: u32,
}

/// What judges a delivery.
#[derive(Clone, Copy, Debug)]
pub(super) struct Judgement {
    pub now: Instant,
    /// An answer to a segment sent twice that is faster than this was for the original.
    pub min_rtt: Option<Micros>,
    /// For [`Delivered::original_before`].
    pub point: Option<SeqNumber>,
    /// For [`Delivered::large_arrived`]: bytes of a full segment.
    pub full: u32,
}

/// RACK.xmit_ts, RACK.end_seq and RACK.rtt: the newest segment known to be delivered.
#[derive(Clone, Copy, Debug)]
pub(super) struct Newest {
    pub sent_at: Instant,
    pub end: SeqNumber,
    pub rtt: Micros,
}

/// The segments in flight of one connection.
///
/// Invariants: records are contiguous and in order; `in_flight` is the sum of bytes believed to be on their
/// way; `lost` counts records to be sent again, `sacked` those that SACK blocks covered; no record before
/// `lost_from` is lost; `resent` is in the order of time.
#[derive(Debug, Default)]
pub(super) struct Scoreboard {
    records: VecDeque<Sent>,
    /// When what was sent again, oldest first; entries of what has changed since are skipped.
    resent: VecDeque<(Instant, SeqNumber)>,
    /// Originals before this were sacked, or lost once: never to be looked at as originals again.
    judged: SeqNumber,
    lost_from: SeqNumber,
    /// The SACK blocks of the last acknowledgment that had some: what they cover is marked already.
    seen: SackBlocks,
    in_flight: u32,
    lost: u32,
    sacked: u32,
    sacked_bytes: u32,
    newest: Option<Newest>,
    /// Highest sequence number acknowledged or sacked: below it, an original delivered late was reordered.
    forward: SeqNumber,
}

impl Scoreboard {
    /// Nothing in flight, from `seq` on.
    fn begin(&mut self, seq: SeqNumber) {
        self.judged = seq;
        self.lost_from = seq;
        self.forward = seq;
    }

    /// Forgets everything, but keeps a little of what is allocated.
    pub fn clear(&mut self) {
        self.records.clear();
        self.resent.clear();
        if self.records.capacity() > RECORDS_KEPT {
            self.records.shrink_to(RECORDS_KEPT);
        }
        if self.resent.capacity() > RECORDS_KEPT {
            self.resent.shrink_to(RECORDS_KEPT);
        }
        self.seen = SackBlocks::default();
        self.newest = None;
        (self.in_flight, self.lost, self.sacked, self.sacked_bytes) = (0, 0, 0, 0);
    }

    /// Bytes believed to be on their way.
    pub fn in_flight(&self) -> u32 {
        self.in_flight
    }

    /// Segments believed lost and not sent again.
    pub fn lost(&self) -> u32 {
        self.lost
    }

    /// Segments that SACK blocks covered.
    pub fn sacked(&self) -> u32 {
        self.sacked
    }

    /// Bytes that SACK blocks covered.
    pub fn sacked_bytes(&self) -> u32 {
        self.sacked_bytes
    }

    pub fn len(&self) -> usize {
        self.records.len()
    }

    pub fn is_empty(&self) -> bool {
        self.records.is_empty()
    }

    /// Whether one more segment may be in flight.
    pub fn has_room(&self) -> bool {
        self.records.len() < RECORDS_MAX
    }

    pub fn head(&self) -> Option<&Sent> {
        self.records.front()
    }

    /// A new segment was sent.
    pub fn push(&mut self, seq: SeqNumber, len: u32, fin: bool, now: Instant) {
        match self.records.back() {
            None => self.begin(seq),
            Some(last) => debug_assert_eq!(last.end(), seq),
        }
        self.records.push_back(Sent {
            seq,
            len,
            sent_at: now,
            fin,
            retransmitted: false,
            sacked: false,
            lost: false,
            cut: false,
        });
        self.in_flight += len;
    }

    /// A segment that was sent elsewhere, before a snapshot. It counts as sent again, so that nobody
    /// measures a round trip by it.
    pub fn push_restored(&mut self, sent: &RestoredSegment, seq: SeqNumber, now: Instant) {
        let RestoredSegment { len, fin, sacked, lost } = *sent;
        self.push(seq, len, fin, now);
        let record = self.records.back_mut().expect("it was pushed");
        (record.retransmitted, record.sacked, record.lost) = (true, sacked, lost);
        self.judged = seq + len;
        if sacked {
            self.sacked += 1;
            self.sacked_bytes += len;
            self.in_flight -= len;
        } else if lost {
            self.lost_from = if self.lost == 0 { seq } else { self.lost_from };
            self.lost += 1;
            self.in_flight -= len;
        } else {
            self.resent.push_back((now, seq));
        }
    }

    /// The segments, for a snapshot.
    pub fn segments(&self) -> impl Iterator<Item = RestoredSegment> {
        self.records.iter().map(|&Sent { len, fin, sacked, lost, .. }| RestoredSegment {
            len,
            fin,
            sacked,
            lost,
        })
    }

    /// The record that covers `seq`.
    fn index_of(&self, seq: SeqNumber) -> usize {
        self.records.partition_point(|sent| sent.end().at_or_before(seq))
    }

    // What is lost.

    fn mark_lost(&mut self, index: usize) {
        let sent = &mut self.records[index];
        debug_assert!(sent.is_in_flight());
        sent.lost = true;
        let seq = sent.seq;
        self.in_flight -= sent.len;
        self.lost_from = if self.lost == 0 { seq } else { self.lost_from.min(seq) };
        self.lost += 1;
    }

    /// The head is lost, if it is on its way.
    pub fn mark_head_lost(&mut self) -> bool {
        let in_flight = self.records.front().is_some_and(Sent::is_in_flight);
        if in_flight {
            self.mark_lost(0);
        }
        in_flight
    }

    /// The last segment is to be sent again, unless others wait for that. Whether it is.
    pub fn mark_tail_lost(&mut self) -> bool {
        let Some(last) = self.records.len().checked_sub(1) else { return false };
        let alone = self.lost == 0 && self.records[last].is_in_flight();
        if alone {
            self.mark_lost(last);
        }
        alone
    }

    /// Everything not sacked is to be sent again.
    pub fn mark_all_lost(&mut self) {
        // RFC 2018, section 8: a peer may drop what it sacked. If the head is sacked and still here, it did.
        let reneged = self.records.front().is_some_and(|head| head.sacked);
        if reneged {
            self.sacked = 0;
            self.sacked_bytes = 0;
            self.seen = SackBlocks::default();
        }
        for sent in &mut self.records {
            sent.sacked &= !reneged;
            if !sent.sacked && !sent.lost {
                sent.lost = true;
                self.lost += 1;
            }
        }
        self.in_flight = 0;
        self.resent.clear();
        if let (Some(head), Some(tail)) = (self.records.front(), self.records.back()) {
            self.lost_from = head.seq;
            self.judged = tail.end();
        }
    }

    /// Segments on their way that are larger than `len` are lost: the path does not take them.
    pub fn mark_larger_lost(&mut self, len: u32) {
        for index in 0..self.records.len() {
            let sent = self.records[index];
            if sent.is_in_flight() && sent.len > len {
                self.mark_lost(index);
            }
        }
    }

    /// Nothing was lost after all: what was not sent again is on its way as it was.
    pub fn unmark_lost(&mut self) {
        for sent in &mut self.records {
            if sent.lost {
                sent.lost = false;
                self.in_flight += sent.len;
            }
        }
        self.lost = 0;
        self.judged = self.records.front().map_or(self.judged, |head| head.seq);
        let resent = self.records.iter().filter(|sent| sent.retransmitted && sent.is_in_flight());
        self.resent = resent.map(|sent| (sent.sent_at, sent.seq)).collect();
        self.resent.make_contiguous().sort_by_key(|&(at, _)| at);
    }

    /// RFC 8985, section 6.2, step 5: what was sent before the newest delivery and has had `rtt` and
    /// `window` of time since is lost. Returns when to look again, if something may still be.
    pub fn detect_losses(&mut self, window: Micros, now: Instant) -> Option<Instant> {
        let newest = self.newest?;
        let wait = newest.rtt + window;
        let originals = self.detect_lost_originals(&newest, wait, now);
        let resent = self.detect_lost_resent(&newest, wait, now);
        originals.max(resent)
    }

    fn detect_lost_originals(
        &mut self,
        newest: &Newest,
        wait: Micros,
        now: Instant,
    ) -> Option<Instant> {
        let mut again = None;
        let mut index = self.index_of(self.judged);
        while let Some(&sent) = self.records.get(index) {
            if sent.is_in_flight() && !sent.retransmitted {
                let older = sent.sent_at < newest.sent_at
                    || (sent.sent_at == newest.sent_at && sent.end().before(newest.end));
                if !older {
                    break;
                }
                let deadline = sent.sent_at + wait;
                if deadline > now {
                    // All that follow were sent later: the last of them older than the newest delivery
                    // is waited for then.
                    again = Some(deadline);
                    break;
                }
                self.mark_lost(index);
            }
            self.judged = sent.end();
            index += 1;
        }
        again
    }

    fn detect_lost_resent(
        &mut self,
        newest: &Newest,
        wait: Micros,
        now: Instant,
    ) -> Option<Instant> {
        while let Some(&(sent_at, seq)) = self.resent.front() {
            if let Some(index) = self.index_of_resent(sent_at, seq) {
                let older = sent_at < newest.sent_at
                    || (sent_at == newest.sent_at && self.records[index].end().before(newest.end));
                if !older {
                    return None;
                }
                let deadline = sent_at + wait;
                if deadline > now {
                    return Some(deadline);
                }
                self.mark_lost(index);
            }
            self.resent.pop_front();
        }
        None
    }

    /// The record that was sent again at `sent_at` and has not changed since.
    fn index_of_resent(&self, sent_at: Instant, seq: SeqNumber) -> Option<usize> {
        let first = self.records.front()?.seq;
        let index = self.index_of(seq.max(first));
        let sent = self.records.get(index)?;
        let same = sent.retransmitted && sent.sent_at == sent_at && sent.is_in_flight();
        same.then_some(index)
    }

    // What is sent again.

    /// The next segment to send again, marked as sent. `len` splits one that is too large now.
    pub fn take_lost(&mut self, len: u32, now: Instant) -> Option<Sent> {
        if self.lost == 0 {
            return None;
        }
        let mut index = self.records.partition_point(|sent| sent.seq.before(self.lost_from));
        while !self.records[index].lost {
            index += 1;
        }
        if self.records[index].len > len {
            self.split(index, len);
        }
        let sent = &mut self.records[index];
        sent.lost = false;
        sent.cut = false;
        sent.retransmitted = true;
        sent.sent_at = now;
        let sent = *sent;
        self.lost -= 1;
        self.in_flight += sent.len;
        self.lost_from = sent.end();
        self.resent.push_back((now, sent.seq));
        Some(sent)
    }

    /// Cuts a lost record in two, the first of `len` octets.
    fn split(&mut self, index: usize, len: u32) {
        let first = self.records[index];
        let rest = Sent { seq: first.seq + len, len: first.len - len, cut: true, ..first };
        self.records[index] = Sent { len, fin: false, ..first };
        self.records.insert(index + 1, rest);
        self.lost += 1;
    }

    // What the peer has.

    /// Removes what `ack` covers.
    pub fn acknowledge(&mut self, ack: SeqNumber, judgement: &Judgement, to: &mut Delivered) {
        while let Some(&sent) = self.records.front() {
            if sent.end().after(ack) {
                break;
            }
            self.records.pop_front();
            to.segments += 1;
            if sent.lost {
                self.lost -= 1;
                to.large_arrived |= sent.cut || sent.len > judgement.full;
            } else if !sent.sacked {
                self.in_flight -= sent.len;
            }
            if sent.sacked {
                self.sacked -= 1;
                self.sacked_bytes -= sent.len;
            } else {
                self.note_delivery(&sent, judgement, to);
            }
        }
        self.cut_head(ack, to);
        self.judged = self.judged.max(ack);
        self.lost_from = self.lost_from.max(ack);
        if self.resent.is_empty() {
            return;
        }
        while self.resent.front().is_some_and(|&(_, seq)| seq.before(ack)) {
            self.resent.pop_front();
        }
    }

    /// A part of a segment: the peer cut it, or took a part of it for want of room.
    fn cut_head(&mut self, ack: SeqNumber, to: &mut Delivered) {
        let Some(head) = self.records.front_mut() else { return };
        if !head.seq.before(ack) {
            return;
        }
        let part = ack - head.seq;
        head.seq = ack;
        head.len -= part;
        if head.is_in_flight() {
            self.in_flight -= part;
        }
        if head.sacked {
            self.sacked_bytes -= part;
        } else {
            to.bytes += part;
        }
    }

    /// Marks what SACK blocks cover (RFC 6675, section 4, Update()).
    pub fn sack(&mut self, blocks: &SackBlocks, judgement: &Judgement, to: &mut Delivered) {
        let Some(first) = self.records.front().map(|sent| sent.seq) else { return };
        let end = self.records.back().map_or(first, Sent::end);
        for &(left, right) in blocks.as_slice() {
            // A block below SND.UNA is a DSACK (RFC 2883); one beyond SND.NXT is nonsense.
            if left.before(first) || right.after(end) || !left.before(right) {
                continue;
            }
            if let Some(new) = self.seen.unseen(left, right) {
                self.sack_range((left, right), new, judgement, to);
            }
        }
        if !blocks.is_empty() {
            self.seen = *blocks;
        }
    }

    /// Marks what lies within `block` and reaches into `new`, the part of it that is news.
    fn sack_range(
        &mut self,
        block: (SeqNumber, SeqNumber),
        new: (SeqNumber, SeqNumber),
        judgement: &Judgement,
        to: &mut Delivered,
    ) {
        for index in self.index_of(new.0)..self.records.len() {
            let sent = self.records[index];
            if !sent.seq.before(new.1) || sent.end().after(block.1) {
                break;
            }
            if sent.sacked || sent.seq.before(block.0) {
                continue;
            }
            if sent.lost {
                self.lost -= 1;
                to.large_arrived |= sent.cut || sent.len > judgement.full;
            } else {
                self.in_flight -= sent.len;
            }
            let record = &mut self.records[index];
            record.sacked = true;
            record.lost = false;
            self.sacked += 1;
            self.sacked_bytes += sent.len;
            self.note_delivery(&sent, judgement, to);
        }
    }

    /// RFC 8985, section 6.2, steps 1 to 3.
    fn note_delivery(&mut self, sent: &Sent, judgement: &Judgement, to: &mut Delivered) {
        to.bytes += sent.len;
        let rtt = judgement.now.span_since(sent.sent_at);
        if sent.retransmitted {
            // The original may have been delivered: an answer faster than any round trip was for it.
            if judgement.min_rtt.is_some_and(|least| rtt < least) {
                return;
            }
        } else {
            to.rtt = Some(rtt);
            to.reordered |= sent.end().before(self.forward);
            to.original_before |= judgement.point.is_some_and(|point| !sent.end().after(point));
        }
        self.forward = self.forward.max(sent.end());
        let newer = self.newest.is_none_or(|newest| {
            sent.sent_at > newest.sent_at
                || (sent.sent_at == newest.sent_at && sent.end().after(newest.end))
        });
        if newer {
            self.newest = Some(Newest { sent_at: sent.sent_at, end: sent.end(), rtt });
        }
    }

    /// Asserts what must hold between calls.
    pub fn assert_invariants(&self, snd_una: SeqNumber, snd_nxt: SeqNumber) {
        let mut next = snd_una;
        let (mut in_flight, mut lost, mut sacked, mut sacked_bytes) = (0, 0, 0, 0);
        for sent in &self.records {
            assert_eq!(sent.seq, next, "records are contiguous from SND.UNA");
            assert!(sent.len > 0 && !(sent.lost && sent.sacked), "{sent:?}");
            assert!(!sent.lost || !sent.seq.before(self.lost_from), "{sent:?} is found again");
            next = sent.end();
            in_flight += if sent.is_in_flight() { sent.len } else { 0 };
            lost += u32::from(sent.lost);
            sacked += u32::from(sent.sacked);
            sacked_bytes += if sent.sacked { sent.len } else { 0 };
            let original = sent.is_in_flight() && !sent.retransmitted;
            assert!(!original || !sent.seq.before(self.judged), "{sent:?} is judged again");
        }
        let kept = (self.in_flight, self.lost, self.sacked, self.sacked_bytes);
        assert_eq!((in_flight, lost, sacked, sacked_bytes), kept);
        assert!(self.records.is_empty() || next == snd_nxt, "records reach SND.NXT");
        assert!(self.resent.iter().is_sorted_by_key(|&(at, _)| at), "{:?}", self.resent);
    }
}
