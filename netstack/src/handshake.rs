//! Passive opens: listeners, and handshakes that are not connections yet.
//!
//! In:    SYNs, and the acknowledgments that complete them
//! Out:   what a connection is made of
//! Owns:  a small record per handshake, a queue of complete ones per listener
//! Never: holds a buffer
//! Read:  RFC 9293, sections 3.10.7.2 and 3.10.7.4; RFC 6528

use std::collections::VecDeque;
use std::net::IpAddr;
use std::time::Duration;

use crate::connection::{Handshake, WINDOW_SCALE};
use crate::fib::WireId;
use crate::flow::{ConnId, Endpoint, FourTuple};
use crate::segment::{Flags, Header, Options};
use crate::seq::SeqNumber;
use crate::time::Instant;

/// Times that a SYN-ACK is sent again (Linux's tcp_synack_retries).
pub(crate) const SYN_ACK_RETRIES: u8 = 5;
/// The same while records are scarce: under a flood of spoofed SYNs each of them is gone after three seconds
/// instead of 63, and has cost one segment more instead of five. A peer that is there asks again by itself.
pub(crate) const SYN_ACK_RETRIES_SCARCE: u8 = 1;
/// RFC 6298, section 2.1: the first timeout.
const SYN_ACK_TIMEOUT: Duration = Duration::from_secs(1);

slotmap::new_key_type! {
    /// A listener of a stack.
    pub struct ListenerId;
}

/// What to listen for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listen {
    /// The address; `None` is every own address of the family.
    pub address: Option<IpAddr>,
    /// The family of a wildcard.
    pub ipv6: bool,
    /// The port.
    pub port: u16,
    /// Only what arrives on this wire.
    pub wire: Option<WireId>,
    /// Handshakes under way, and complete ones that wait to be accepted: so many of each.
    pub backlog: usize,
    /// The user's name for it, given back with every event.
    pub user: u64,
}

/// How a listener is found: a wildcard has no address.
pub(crate) type ListenerKey = (Option<IpAddr>, bool, u16);

/// A listener.
#[derive(Debug)]
pub(crate) struct Listener {
    pub listen: Listen,
    pub half_open: usize,
    pub accept_queue: VecDeque<ConnId>,
    /// An event tells of the accept queue and was not fetched yet.
    pub event_pending: bool,
    /// The largest segment to announce, bytes of payload.
    pub mss: Option<u16>,
}

impl Listener {
    pub fn new(listen: Listen) -> Self {
        Listener {
            listen,
            half_open: 0,
            accept_queue: VecDeque::new(),
            event_pending: false,
            mss: None,
        }
    }

    /// Whether no completed handshake has a place.
    pub fn is_accept_queue_full(&self) -> bool {
        self.accept_queue.len() >= self.backlog()
    }

    /// Whether no further handshake has a record.
    pub fn is_half_open_full(&self) -> bool {
        self.half_open >= self.backlog()
    }

    /// Whether more than half of the records are taken.
    pub fn is_half_open_scarce(&self) -> bool {
        2 * self.half_open > self.backlog()
    }

    fn backlog(&self) -> usize {
        self.listen.backlog.max(1)
    }
}

impl Listen {
    pub(crate) fn key(&self) -> ListenerKey {
        (self.address, self.ipv6, self.port)
    }

    /// The keys under which a listener for `local` may stand, the more exact first.
    pub(crate) fn keys_for(local: Endpoint) -> [ListenerKey; 2] {
        let ipv6 = local.ip.is_ipv6();
        [(Some(local.ip), ipv6, local.port), (None, ipv6, local.port)]
    }
}

/// What a SYN says beside its numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct SynOptions {
    pub mss: Option<u16>,
    pub window_scale: Option<u8>,
    pub sack_permitted: bool,
    /// TSval, when timestamps are offered.
    pub tsval: Option<u32>,
}

impl SynOptions {
    /// Those of a SYN.
    pub fn of(options: &Options) -> Self {
        SynOptions {
            mss: options.mss,
            window_scale: options.window_scale,
            sack_permitted: options.sack_permitted,
            tsval: options.timestamp.map(|(tsval, _)| tsval),
        }
    }

    /// As the SYN had them. TSecr is 0 there (RFC 7323, section 3.2).
    pub fn options(&self) -> Options {
        Options {
            mss: self.mss,
            window_scale: self.window_scale,
            sack_permitted: self.sack_permitted,
            timestamp: self.tsval.map(|tsval| (tsval, 0)),
            ..Options::default()
        }
    }
}

/// A SYN-ACK, before it is put into a header.
#[derive(Clone, Copy, Debug)]
pub(crate) struct SynAck {
    pub iss: SeqNumber,
    pub irs: SeqNumber,
    /// What the SYN said: nothing is agreed to that it did not offer.
    pub syn: SynOptions,
    /// What we say our largest segment is.
    pub mss_own: u16,
    /// Our clock as this peer sees it, if it offered timestamps.
    pub tsval: u32,
    /// Never scaled (RFC 7323, section 2.2).
    pub window: u16,
}

impl SynAck {
    pub fn header(&self) -> Header {
        let SynAck { iss, irs, syn, mss_own, tsval, window } = *self;
        let options = Options {
            mss: Some(mss_own),
            window_scale: syn.window_scale.map(|_| WINDOW_SCALE),
            sack_permitted: syn.sack_permitted,
            timestamp: syn.tsval.map(|tsecr| (tsval, tsecr)),
            ..Options::default()
        };
        Header { seq: iss, ack: irs + 1, flags: Flags::SYN_ACK, window, options }
    }
}

/// SYN-RECEIVED of a passive open.
#[derive(Debug)]
pub(crate) struct HalfOpen {
    pub tuple: FourTuple,
    /// Initial send sequence number.
    pub iss: SeqNumber,
    /// Initial receive sequence number.
    pub irs: SeqNumber,
    pub syn: SynOptions,
    /// The largest segment that the path takes from us, bytes of payload and options.
    pub mss: u16,
    /// What we say our largest segment is.
    pub mss_own: u16,
    /// Added to the clock to make TSval.
    pub timestamp_offset: u32,
    pub listener: ListenerId,
    pub sent_at: Instant,
    pub retries: u8,
    pub retries_max: u8,
}

impl HalfOpen {
    /// The SYN-ACK.
    pub fn syn_ack(&self, window: u16, now: Instant) -> SynAck {
        let HalfOpen { iss, irs, syn, mss_own, timestamp_offset, .. } = *self;
        let tsval = (now.millis() as u32).wrapping_add(timestamp_offset);
        SynAck { iss, irs, syn, mss_own, tsval, window }
    }

    /// What the connection is made with.
    pub fn handshake(&self) -> Handshake {
        let HalfOpen { tuple, iss, irs, syn, mss, retries, timestamp_offset, .. } = *self;
        Handshake { tuple, iss, irs, peer: syn.options(), mss, retries, timestamp_offset }
    }

    /// When the SYN-ACK is to be sent again.
    pub fn deadline(&self) -> Instant {
        self.sent_at + SYN_ACK_TIMEOUT * (1 << u32::from(self.retries))
    }

    /// How long the SYN-ACK took, when it was sent once (Karn).
    pub fn rtt(&self, now: Instant) -> Option<Duration> {
        (self.retries == 0).then(|| now.since(self.sent_at))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_is_small() {
        // A flood fills as many as there may be: 65,536 by default.
        assert!(size_of::<HalfOpen>() <= 96, "{} bytes", size_of::<HalfOpen>());
        assert!(size_of::<SynOptions>() <= 16, "{} bytes", size_of::<SynOptions>());
    }
}
