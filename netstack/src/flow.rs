//! Which flow a packet belongs to: the four-tuple and the keyed table.
//!
//! In:    four-tuples of packets
//! Out:   what is known under them: a connection, a handshake, a TIME-WAIT record
//! Owns:  the hash key
//! Never: looks at payload; walks the table
//! Read:  RFC 9293, section 3.10.7; RFC 6528 for the key's other use

use std::hash::{BuildHasher, Hash, Hasher};
use std::net::IpAddr;

use hashbrown::HashMap;
use serde::{Deserialize, Serialize};
use siphasher::sip::SipHasher13;

/// One end: address and port.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Endpoint {
    /// The address.
    pub ip: IpAddr,
    /// The port.
    pub port: u16,
}

impl Endpoint {
    /// Address and port.
    pub fn new(ip: impl Into<IpAddr>, port: u16) -> Self {
        Endpoint { ip: ip.into(), port }
    }
}

impl std::fmt::Display for Endpoint {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        std::net::SocketAddr::new(self.ip, self.port).fmt(f)
    }
}

/// Both ends of a connection, seen from here.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FourTuple {
    /// This end.
    pub local: Endpoint,
    /// The peer.
    pub remote: Endpoint,
}

impl Hash for FourTuple {
    /// One write of all bytes: 12 for IPv4, 36 for IPv6.
    fn hash<H: Hasher>(&self, state: &mut H) {
        let mut bytes = [0; 36];
        let len = match (self.local.ip, self.remote.ip) {
            (IpAddr::V4(local), IpAddr::V4(remote)) => {
                bytes[4..8].copy_from_slice(&local.octets());
                bytes[8..12].copy_from_slice(&remote.octets());
                12
            }
            (IpAddr::V6(local), IpAddr::V6(remote)) => {
                bytes[4..20].copy_from_slice(&local.octets());
                bytes[20..36].copy_from_slice(&remote.octets());
                36
            }
            _ => unreachable!("a flow between two address families: {self:?}"),
        };
        bytes[0..2].copy_from_slice(&self.local.port.to_be_bytes());
        bytes[2..4].copy_from_slice(&self.remote.port.to_be_bytes());
        state.write(&bytes[..len]);
    }
}

/// What a four-tuple stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Flow {
    /// A connection.
    Connection(ConnId),
    /// A handshake that a peer began: SYN-RECEIVED without a connection.
    HalfOpen(HalfOpenId),
    /// A record of a connection in TIME-WAIT.
    TimeWait(TimeWaitId),
}

slotmap::new_key_type! {
    /// A connection of a stack. Never refers to another connection after the one it named is gone.
    pub struct ConnId;

    /// A handshake that a peer began.
    pub(crate) struct HalfOpenId;

    /// A record of a connection in TIME-WAIT.
    pub(crate) struct TimeWaitId;
}

/// The secret of a stack: keys of the flow hash, of initial sequence numbers and of timestamp offsets.
#[derive(Clone, Copy)]
pub struct Secret(pub [u8; 16]);

impl BuildHasher for Secret {
    type Hasher = SipHasher13;

    fn build_hasher(&self) -> SipHasher13 {
        SipHasher13::new_with_key(&self.0)
    }
}

impl Secret {
    /// A keyed hash of a four-tuple for one of several uses.
    pub(crate) fn hash_for(&self, usage: u8, tuple: &FourTuple) -> u64 {
        let mut hasher = self.build_hasher();
        hasher.write_u8(usage);
        tuple.hash(&mut hasher);
        hasher.finish()
    }
}

pub(crate) type FlowTable = HashMap<FourTuple, Flow, Secret>;
