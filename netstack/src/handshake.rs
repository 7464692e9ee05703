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
use crate::flow::{ConnId, Endpoint};
use crate::segment::{Flags, Header, Options};
use crate::time::Instant;

/// Times that a SYN-ACK is sent again (Linux's tcp_synack_retries).
pub(crate) const SYN_ACK_RETRIES: u8 = 5;
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
}

impl Listener {
    pub fn new(listen: Listen) -> Self {
        Listener { listen, half_open: 0, accept_queue: VecDeque::new(), event_pending: false }
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

/// SYN-RECEIVED of a passive open.
#[derive(Debug)]
pub(crate) struct HalfOpen {
    pub handshake: Handshake,
    pub listener: ListenerId,
    pub sent_at: Instant,
    pub retries: u8,
    /// What we say our largest segment is.
    pub mss_own: u16,
}

impl HalfOpen {
    /// The SYN-ACK.
    pub fn header(&self, window: u16, now: Instant) -> Header {
        let Handshake { iss, irs, peer, timestamp_offset, .. } = self.handshake;
        let options = Options {
            mss: Some(self.mss_own),
            window_scale: peer.window_scale.map(|_| WINDOW_SCALE),
            sack_permitted: peer.sack_permitted,
            timestamp: peer
                .timestamp
                .map(|(tsval, _)| ((now.millis() as u32).wrapping_add(timestamp_offset), tsval)),
            ..Options::default()
        };
        Header { seq: iss, ack: irs + 1, flags: Flags::SYN_ACK, window, options }
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
