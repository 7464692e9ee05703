//! Flows whose peers hear nothing more.
//!
//! In:    four-tuples of connections that were dropped without a word
//! Out:   whether a segment belongs to one of them
//! Owns:  a record of each for as long as a peer keeps trying
//! Never: more than a fixed number of records: the oldest goes early

use std::collections::VecDeque;
use std::time::Duration;

use hashbrown::HashMap;

use crate::flow::{FourTuple, Secret};
use crate::time::Instant;

/// A peer that sends into silence gives up by then, or is slow enough to be answered again.
const SILENCE: Duration = Duration::from_secs(60);

/// Records at most.
const RECORDS_MAX: usize = 65_536;

/// The records.
pub(crate) struct Silenced {
    until: HashMap<FourTuple, Instant, Secret>,
    /// In the order in which they end.
    order: VecDeque<(FourTuple, Instant)>,
}

impl Silenced {
    pub fn new(secret: Secret) -> Self {
        Silenced { until: HashMap::with_hasher(secret), order: VecDeque::new() }
    }

    /// From now on nothing is said to this peer.
    pub fn insert(&mut self, tuple: FourTuple, now: Instant) {
        self.forget_old(now);
        if self.order.len() >= RECORDS_MAX
            && let Some((oldest, until)) = self.order.pop_front()
        {
            self.remove(&oldest, until);
        }
        let until = now + SILENCE;
        self.until.insert(tuple, until);
        self.order.push_back((tuple, until));
    }

    /// Whether a segment of this flow is to be passed over.
    pub fn has(&self, tuple: &FourTuple, now: Instant) -> bool {
        !self.until.is_empty() && self.until.get(tuple).is_some_and(|&until| now < until)
    }

    fn forget_old(&mut self, now: Instant) {
        while let Some(&(tuple, until)) = self.order.front()
            && until <= now
        {
            self.order.pop_front();
            self.remove(&tuple, until);
        }
    }

    /// Removes a record, unless it was made anew.
    fn remove(&mut self, tuple: &FourTuple, until: Instant) {
        if self.until.get(tuple) == Some(&until) {
            self.until.remove(tuple);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::flow::Endpoint;

    fn tuple(port: u16) -> FourTuple {
        let end = |port| Endpoint::new(std::net::Ipv4Addr::LOCALHOST, port);
        FourTuple { local: end(80), remote: end(port) }
    }

    #[test]
    fn silence_has_an_end_and_a_bound() {
        let mut silenced = Silenced::new(Secret([1; 16]));
        let at = |seconds: u64| Instant::from_millis(seconds * 1000);
        silenced.insert(tuple(1), at(0));
        assert!(silenced.has(&tuple(1), at(59)) && !silenced.has(&tuple(2), at(59)));
        assert!(!silenced.has(&tuple(1), at(60)));
        // Made anew, it lasts from then.
        silenced.insert(tuple(1), at(59));
        silenced.insert(tuple(2), at(61));
        assert!(silenced.has(&tuple(1), at(100)));
        assert_eq!(silenced.order.len(), 2);
        for port in 0..=u16::MAX {
            silenced.insert(tuple(port), at(62));
        }
        assert_eq!(silenced.until.len(), RECORDS_MAX);
    }
}
