//! Which flow a packet belongs to: the four-tuple and the keyed table.
//!
//! In:    four-tuples of packets
//! Out:   what is known under them: a connection, a handshake, a TIME-WAIT record
//! Owns:  the hash key
//! Never: looks at payload; walks the table
//! Read:  RFC 9293, section 3.10.7; RFC 6528 for the key's other use

use std::hash::{BuildHasher, Hash, Hasher};
use std::net::IpAddr;

use hashbrown::HashTable;
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
#[derive(Clone, Copy, Debug, Eq, Serialize, Deserialize)]
pub struct FourTuple {
    /// This end.
    pub local: Endpoint,
    /// The peer.
    pub remote: Endpoint,
}

impl PartialEq for FourTuple {
    /// As if derived, but ports first and addresses of IPv4 as numbers: every segment asks.
    fn eq(&self, other: &FourTuple) -> bool {
        let same = |one: IpAddr, two: IpAddr| match (one, two) {
            (IpAddr::V4(one), IpAddr::V4(two)) => one.to_bits() == two.to_bits(),
            (IpAddr::V6(one), IpAddr::V6(two)) => one.to_bits() == two.to_bits(),
            _ => false,
        };
        self.remote.port == other.remote.port
            && self.local.port == other.local.port
            && same(self.remote.ip, other.remote.ip)
            && same(self.local.ip, other.local.ip)
    }
}

/// Both ports and both addresses.
type KeyV4 = [u8; 12];
/// The same for IPv6.
type KeyV6 = [u8; 36];

/// A four-tuple as bytes.
enum Key {
    V4(KeyV4),
    V6(KeyV6),
}

impl FourTuple {
    fn key(&self) -> Key {
        let ports = [self.local.port.to_be_bytes(), self.remote.port.to_be_bytes()];
        match (self.local.ip, self.remote.ip) {
            (IpAddr::V4(local), IpAddr::V4(remote)) => {
                let mut key = [0; 12];
                key[..4].copy_from_slice(ports.as_flattened());
                key[4..8].copy_from_slice(&local.octets());
                key[8..].copy_from_slice(&remote.octets());
                Key::V4(key)
            }
            (IpAddr::V6(local), IpAddr::V6(remote)) => {
                let mut key = [0; 36];
                key[..4].copy_from_slice(ports.as_flattened());
                key[4..20].copy_from_slice(&local.octets());
                key[20..].copy_from_slice(&remote.octets());
                Key::V6(key)
            }
            _ => unreachable!("a flow between two address families: {self:?}"),
        }
    }
}

impl Hash for FourTuple {
    /// One write of all bytes: 12 for IPv4, 36 for IPv6.
    fn hash<H: Hasher>(&self, state: &mut H) {
        match self.key() {
            Key::V4(key) => state.write(&key),
            Key::V6(key) => state.write(&key),
        }
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

/// What is known under each four-tuple.
///
/// The families have a table each, with bytes for keys: an entry of IPv4 is 24 bytes, where one for either
/// family would be 52, and a million of them have twice as many places.
pub(crate) struct FlowTable {
    hasher: SipHasher13,
    v4: HashTable<(KeyV4, Flow)>,
    v6: HashTable<(KeyV6, Flow)>,
}

impl FlowTable {
    /// A table without an entry.
    pub fn new(secret: Secret) -> Self {
        FlowTable { hasher: secret.build_hasher(), v4: HashTable::new(), v6: HashTable::new() }
    }

    /// Entries.
    pub fn len(&self) -> usize {
        self.v4.len() + self.v6.len()
    }

    /// Bytes that are allocated.
    pub fn allocated_bytes(&self) -> usize {
        self.v4.allocation_size() + self.v6.allocation_size()
    }

    /// What a four-tuple stands for.
    pub fn get(&self, tuple: &FourTuple) -> Option<Flow> {
        match tuple.key() {
            Key::V4(key) => get(&self.v4, &self.hasher, &key),
            Key::V6(key) => get(&self.v6, &self.hasher, &key),
        }
    }

    /// Lets a four-tuple stand for `flow`, whatever it stood for.
    pub fn insert(&mut self, tuple: FourTuple, flow: Flow) {
        match tuple.key() {
            Key::V4(key) => insert(&mut self.v4, &self.hasher, key, flow),
            Key::V6(key) => insert(&mut self.v6, &self.hasher, key, flow),
        }
    }

    /// Forgets a four-tuple.
    pub fn remove(&mut self, tuple: &FourTuple) {
        match tuple.key() {
            Key::V4(key) => remove(&mut self.v4, &self.hasher, &key),
            Key::V6(key) => remove(&mut self.v6, &self.hasher, &key),
        }
    }
}

fn get<const N: usize>(
    table: &HashTable<([u8; N], Flow)>,
    hasher: &SipHasher13,
    key: &[u8; N],
) -> Option<Flow> {
    table.find(hasher.hash(key), |entry| entry.0 == *key).map(|entry| entry.1)
}

fn insert<const N: usize>(
    table: &mut HashTable<([u8; N], Flow)>,
    hasher: &SipHasher13,
    key: [u8; N],
    flow: Flow,
) {
    let hash = hasher.hash(&key);
    let place = table.entry(hash, |entry| entry.0 == key, |entry| hasher.hash(&entry.0));
    place.insert((key, flow));
}

fn remove<const N: usize>(
    table: &mut HashTable<([u8; N], Flow)>,
    hasher: &SipHasher13,
    key: &[u8; N],
) {
    if let Ok(entry) = table.find_entry(hasher.hash(key), |entry| entry.0 == *key) {
        entry.remove();
    }
}

#[cfg(test)]
mod tests {
    use slotmap::{Key as _, KeyData};

    use super::*;

    fn tuple([local, remote]: [&str; 2], port: u16) -> FourTuple {
        let endpoint = |ip: &str, port| Endpoint::new(ip.parse::<IpAddr>().unwrap(), port);
        FourTuple { local: endpoint(local, 80), remote: endpoint(remote, port) }
    }

    fn flow(number: u64) -> Flow {
        Flow::Connection(ConnId::from(KeyData::from_ffi(number | 1 << 32)))
    }

    #[test]
    fn finds_what_was_put_in_by_family_port_and_address() {
        let mut table = FlowTable::new(Secret([1; 16]));
        let ends = [
            ["10.0.0.1", "10.0.0.2"],
            ["10.0.0.1", "10.0.0.3"],
            ["10.0.0.4", "10.0.0.2"],
            ["fd00::1", "fd00::2"],
            ["fd00::1", "fd00::3"],
            ["fd00::4", "fd00::2"],
        ];
        let all = || ends.iter().flat_map(|&ends| (1..500).map(move |port| tuple(ends, port)));
        for (number, tuple) in all().enumerate() {
            assert_eq!(table.get(&tuple), None);
            table.insert(tuple, Flow::HalfOpen(HalfOpenId::null()));
            table.insert(tuple, flow(number as u64));
        }
        assert_eq!(table.len(), all().count());
        for (number, tuple) in all().enumerate() {
            assert_eq!(table.get(&tuple), Some(flow(number as u64)), "{tuple:?}");
            let turned = FourTuple { local: tuple.remote, remote: tuple.local };
            assert_eq!(table.get(&turned), None, "{turned:?}");
            table.remove(&tuple);
            assert_eq!(table.get(&tuple), None);
        }
        assert_eq!(table.len(), 0);
    }
}
