//! TIME-WAIT: a small record that answers what is left of a connection.
//!
//! In:    what is left of connections; segments for them
//! Out:   an acknowledgment, or leave to begin anew under the same four-tuple
//! Owns:  the records, in the order in which they end
//! Never: holds a buffer; more than a fixed number of records
//! Read:  RFC 9293, section 3.10.7.4 (TIME-WAIT); RFC 6191; RFC 1337

use std::collections::VecDeque;
use std::time::Duration;

use slotmap::SlotMap;

use crate::connection::Residue;
use crate::flow::{FourTuple, TimeWaitId};
use crate::segment::{Flags, Header, Options, Segment};
use crate::seq::SeqNumber;
use crate::time::Instant;

/// Before this age an own port is not used again towards the same peer: the last ACK may be on its way.
const REUSE_AFTER: Duration = Duration::from_secs(1);

/// Places in the order whose records are gone already, beyond as many as there are records.
const STALE_MAX: usize = 1024;

/// A record.
#[derive(Debug)]
pub(crate) struct TimeWait {
    pub tuple: FourTuple,
    residue: Residue,
    since: Instant,
}

impl TimeWait {
    /// Whether a SYN from the peer may begin a new connection (RFC 6191, section 2; RFC 1122, 4.2.2.13).
    pub fn allows(&self, syn: &Segment<'_>) -> bool {
        let newer_timestamp = match (self.residue.timestamp, syn.options.timestamp) {
            (Some((recent, _)), Some((tsval, _))) => SeqNumber(tsval).after(SeqNumber(recent)),
            _ => false,
        };
        newer_timestamp || syn.seq.after(self.residue.rcv_nxt)
    }

    /// Whether we may begin a new connection under the same four-tuple.
    pub fn allows_connect(&self, now: Instant) -> bool {
        now.since(self.since) >= REUSE_AFTER
    }

    /// A sequence number that no segment of the old connection can reach.
    pub fn next_iss(&self) -> SeqNumber {
        self.residue.snd_nxt + 65_536 + 2
    }

    /// Whether a RST ends it: the peer, which has begun anew, answers our acknowledgment with one. RFC 1337
    /// would have it ignored, at the price of the rest of the minute; only the exact one counts.
    pub fn ends_by(&self, segment: &Segment<'_>) -> bool {
        segment.flags.rst && segment.seq == self.residue.rcv_nxt
    }

    /// What to answer, if anything.
    pub fn answer(&self, segment: &Segment<'_>, now: Instant) -> Option<Header> {
        // An acknowledgment, right or wrong, needs no answer: two records of different connections under
        // one four-tuple would correct each other for ever.
        if segment.flags.rst || segment.is_empty() {
            return None;
        }
        let timestamp = self
            .residue
            .timestamp
            .map(|(recent, offset)| ((now.millis() as u32).wrapping_add(offset), recent));
        let options = Options { timestamp, ..Options::default() };
        let bare = Header::bare(self.residue.snd_nxt, self.residue.rcv_nxt, Flags::ACK);
        Some(Header { options, ..bare })
    }
}

/// The records of one worker.
pub(crate) struct TimeWaits {
    records: SlotMap<TimeWaitId, TimeWait>,
    /// All last equally long: first in, first out.
    order: VecDeque<(Instant, TimeWaitId)>,
    lifetime: Duration,
    limit: usize,
}

impl TimeWaits {
    pub fn new(lifetime: Duration, limit: usize) -> Self {
        TimeWaits { records: SlotMap::with_key(), order: VecDeque::new(), lifetime, limit }
    }

    pub fn len(&self) -> usize {
        self.records.len()
    }

    /// Adds a record. Beyond the limit the oldest ends early, and is returned.
    pub fn insert(
        &mut self,
        tuple: FourTuple,
        residue: Residue,
        now: Instant,
    ) -> (TimeWaitId, Option<FourTuple>) {
        let evicted = if self.records.len() >= self.limit { self.pop_oldest() } else { None };
        let id = self.records.insert(TimeWait { tuple, residue, since: now });
        self.order.push_back((now + self.lifetime, id));
        (id, evicted)
    }

    fn pop_oldest(&mut self) -> Option<FourTuple> {
        loop {
            let (_, id) = self.order.pop_front()?;
            // Records that were used again are gone already.
            if let Some(record) = self.records.remove(id) {
                return Some(record.tuple);
            }
        }
    }

    pub fn get(&self, id: TimeWaitId) -> Option<&TimeWait> {
        self.records.get(id)
    }

    pub fn remove(&mut self, id: TimeWaitId) -> Option<TimeWait> {
        // Its place in the order stays until its time, unless too many such places gather.
        if self.order.len() > 2 * self.records.len() + STALE_MAX {
            self.order.retain(|&(_, id)| self.records.contains_key(id));
        }
        self.records.remove(id)
    }

    /// The four-tuple of the next record whose time is over, taken away.
    pub fn poll_expired(&mut self, now: Instant) -> Option<FourTuple> {
        loop {
            let &(at, id) = self.order.front()?;
            if at > now {
                return None;
            }
            self.order.pop_front();
            if let Some(record) = self.records.remove(id) {
                return Some(record.tuple);
            }
        }
    }

    /// When [`TimeWaits::poll_expired`] has something.
    pub fn poll_at(&self) -> Option<Instant> {
        self.order.front().map(|&(at, _)| at)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::flow::Endpoint;

    fn record() -> TimeWait {
        let end = |last, port| Endpoint::new(std::net::IpAddr::from([10, 0, 0, last]), port);
        let residue =
            Residue { snd_nxt: SeqNumber(1000), rcv_nxt: SeqNumber(5000), timestamp: None };
        let tuple = FourTuple { local: end(1, 80), remote: end(2, 40_000) };
        TimeWait { tuple, residue, since: Instant::ZERO }
    }

    fn segment(seq: u32, flags: Flags) -> Segment<'static> {
        let (seq, ack) = (SeqNumber(seq), SeqNumber(900));
        Segment { seq, ack, flags, window: 0, options: Options::default(), payload: &[] }
    }

    #[test]
    fn answers_a_fin_and_no_acknowledgment_however_wrong() {
        let fin = segment(4999, Flags { fin: true, ..Flags::ACK });
        let answer = record().answer(&fin, Instant::ZERO).expect("its acknowledgment was lost");
        assert_eq!((answer.seq, answer.ack), (SeqNumber(1000), SeqNumber(5000)));
        for seq in [5000, 4999, 800_000] {
            assert_eq!(record().answer(&segment(seq, Flags::ACK), Instant::ZERO), None, "at {seq}");
        }
    }
}
