//! One end of a conversation: the program that uses a connection.
//!
//! In:    news of its connection, the time
//! Out:   commands on the connection; how far it is
//! Owns:  what was sent and received, and how it ended
//! Never: acts without news or a time of its own

use std::time::Duration;

use netstack::Instant;

use crate::host::Host;
use crate::scenario::{Manners, Shut};

/// What became of an end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// It has no connection yet.
    Waiting,
    Open,
    /// Everything was sent and received, and both have closed.
    Done,
    /// It reset the connection.
    Aborted,
    /// It was told that the connection failed.
    Failed,
}

#[derive(Debug)]
pub struct End {
    index: usize,
    /// Of the conversation: 0 has connected, 1 has listened.
    side: usize,
    /// It begins the conversation, and again if that fails before it is open.
    connects: bool,
    manners: Manners,
    pub sent: usize,
    pub received: usize,
    is_shut: bool,
    eof: bool,
    pub phase: Phase,
    /// It reads nothing before.
    rests_until: Option<Instant>,
    has_stalled: bool,
    /// It connects again then.
    retries_at: Option<Instant>,
    pub reconnects: u64,
}

impl End {
    pub fn new(index: usize, side: usize, connects: bool, manners: Manners) -> End {
        End {
            index,
            side,
            connects,
            manners,
            sent: 0,
            received: 0,
            is_shut: false,
            eof: false,
            phase: Phase::Waiting,
            rests_until: None,
            has_stalled: false,
            retries_at: None,
            reconnects: 0,
        }
    }

    /// When it wants to act without news.
    pub fn next_at(&self) -> Option<Instant> {
        match self.phase {
            Phase::Waiting => self.retries_at,
            Phase::Open => self.rests_until,
            Phase::Done | Phase::Aborted | Phase::Failed => None,
        }
    }

    pub fn is_over(&self) -> bool {
        matches!(self.phase, Phase::Done | Phase::Aborted | Phase::Failed)
    }

    /// Does what it can do now.
    pub fn act(&mut self, host: &mut dyn Host, now: Instant) {
        if self.is_over() {
            return;
        }
        let condition = host.condition(self.index);
        if condition.is_open && !condition.failed {
            self.phase = Phase::Open;
        }
        if self.phase == Phase::Waiting {
            return self.connect_again(condition.failed, host, now);
        }
        if self.phase == Phase::Open && !condition.failed {
            self.write(host, now);
            self.read(host, now);
        }
        if self.wants_to_abort() {
            host.abort(self.index, now);
            self.phase = Phase::Aborted;
            return;
        }
        self.shut_in_time(host, now);
        let condition = host.condition(self.index);
        self.eof |= condition.eof;
        if self.is_shut && self.eof {
            self.phase = Phase::Done;
        } else if condition.failed {
            self.phase = Phase::Failed;
        }
        if self.is_over() {
            host.close(self.index, now);
        }
    }

    /// Nobody has heard of the conversation: it begins again.
    pub fn start_over(&mut self, now: Instant) {
        assert!(self.connects && self.received == 0, "{self:?}");
        let reconnects = self.reconnects;
        *self = End::new(self.index, self.side, self.connects, self.manners);
        self.reconnects = reconnects;
        self.retries_at = Some(now + Duration::from_secs(1));
    }

    /// The network may lose a whole handshake.
    fn connect_again(&mut self, has_failed: bool, host: &mut dyn Host, now: Instant) {
        if has_failed && self.connects && self.retries_at.is_none() {
            host.close(self.index, now);
            self.retries_at = Some(now + Duration::from_secs(1));
        }
        if self.retries_at.is_some_and(|at| at <= now) {
            self.retries_at = None;
            self.reconnects += 1;
            host.connect(self.index, now);
        }
    }

    fn write(&mut self, host: &mut dyn Host, now: Instant) {
        while self.sent < self.manners.total {
            let until = self.manners.total.min(self.sent + self.manners.piece);
            let bytes: Vec<u8> =
                (self.sent..until).map(|at| byte(self.index, self.side, at)).collect();
            let taken = host.send(self.index, &bytes, now);
            self.sent += taken;
            if taken < bytes.len() {
                return;
            }
        }
    }

    fn read(&mut self, host: &mut dyn Host, now: Instant) {
        if self.rests_until.is_some_and(|until| now < until) {
            return;
        }
        self.rests_until = None;
        let mut out = vec![0; self.manners.piece];
        loop {
            if let Some((at, pause_us)) = self.manners.stall
                && !self.has_stalled
                && self.received >= at
            {
                self.has_stalled = true;
                self.rests_until = Some(now + Duration::from_micros(pause_us));
                return;
            }
            let count = host.recv(self.index, &mut out, now);
            self.check(&out[..count]);
            if count == 0 {
                return;
            }
            if let Some(pause_us) = self.manners.read_pause_us {
                self.rests_until = Some(now + Duration::from_micros(pause_us));
                return;
            }
        }
    }

    fn check(&mut self, bytes: &[u8]) {
        for got in bytes {
            let meant = byte(self.index, 1 - self.side, self.received);
            assert_eq!(*got, meant, "byte {} of {self:?}", self.received);
            self.received += 1;
        }
    }

    fn wants_to_abort(&self) -> bool {
        let both = self.sent + self.received;
        self.phase == Phase::Open && self.manners.aborts_at.is_some_and(|at| both >= at)
    }

    fn shut_in_time(&mut self, host: &mut dyn Host, now: Instant) {
        let may_shut = match self.manners.shut {
            Shut::AfterSending => true,
            Shut::AfterEof => host.condition(self.index).eof,
        };
        if self.phase == Phase::Open && !self.is_shut && may_shut && self.sent == self.manners.total
        {
            self.is_shut = true;
            host.shut(self.index, now);
        }
    }

    /// The other end has reset the connection, and no word of it arrived: it loses patience.
    pub fn lose_patience(&mut self, host: &mut dyn Host, now: Instant) {
        host.abort(self.index, now);
        self.phase = Phase::Aborted;
    }

    /// Everything arrived, and nothing else.
    pub fn assert_complete(&self, sent_to_it: usize) {
        assert_eq!(self.phase, Phase::Done, "{self:?}");
        assert_eq!((self.sent, self.received), (self.manners.total, sent_to_it), "{self:?}");
    }
}

/// The byte at a place of a stream.
fn byte(index: usize, side: usize, at: usize) -> u8 {
    (at.wrapping_mul(31) ^ (at >> 8).wrapping_mul(17) ^ (side * 101) ^ (index * 59)) as u8
}
