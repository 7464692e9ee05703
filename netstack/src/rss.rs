//! Which queue a NIC gives a packet to, and which source ports therefore come home.
//!
//! In:    the driver's hash key and indirection table; the reserved source ports
//! Out:   the queue of a four-tuple; a source port for a new connection; who owns a port
//! Owns:  a copy of key and table
//! Never: knows which ports are taken (asks), reads a NIC
//! Read:  Microsoft, "RSS Hashing Functions" and "Verifying the RSS Hash Calculation"

use std::net::{IpAddr, SocketAddr};
use std::ops::RangeInclusive;

/// Key bytes that the longest input takes: 36 bytes (two IPv6 addresses, two ports) and one 32-bit window.
pub const KEY_BYTES_MIN: usize = 40;

/// How a NIC spreads TCP over its queues: the Toeplitz hash of the four-tuple, looked up in a table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rss {
    key: Vec<u8>,
    indirection: Vec<u16>,
}

/// Why a key and a table do not make an [`Rss`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RssError {
    /// The key has fewer than [`KEY_BYTES_MIN`] bytes.
    ShortKey,
    /// The indirection table is empty.
    EmptyTable,
}

impl Rss {
    /// What the driver reports. Drivers with longer keys (52 bytes are common) use the front of them for TCP.
    pub fn new(key: Vec<u8>, indirection: Vec<u16>) -> Result<Self, RssError> {
        if key.len() < KEY_BYTES_MIN {
            return Err(RssError::ShortKey);
        }
        if indirection.is_empty() {
            return Err(RssError::EmptyTable);
        }
        Ok(Rss { key, indirection })
    }

    /// The queue on which a TCP packet from `source` to `destination` arrives.
    ///
    /// Both addresses are of one family, as in any packet.
    pub fn queue_of(
        &self,
        source: IpAddr,
        destination: IpAddr,
        source_port: u16,
        destination_port: u16,
    ) -> u16 {
        let tuple = Tuple { source, destination, source_port };
        self.queue(tuple.hash(&self.key) ^ tuple.destination_port_hash(&self.key, destination_port))
    }

    fn queue(&self, hash: u32) -> u16 {
        // The specification masks with the table's size, a power of two; the remainder is the same then.
        self.indirection[hash as usize % self.indirection.len()]
    }
}

/// A source port for a new connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PortChoice {
    /// The port.
    pub port: u16,
    /// The NIC gives the replies to the own queue. `false` also when nobody knows.
    pub lands_home: bool,
}

/// The first free candidate whose replies from `remote` to `local` arrive on `queue`; if there is none, or if the
/// hash is not known, the first free candidate; `None` when all are in use.
///
/// One in as many candidates as there are queues lands home, but when none does all of them are walked: whoever has
/// thousands gives a piece at a time, from where the last choice ended.
pub fn choose_port(
    rss: Option<&Rss>,
    candidates: impl Iterator<Item = u16>,
    local: IpAddr,
    remote: SocketAddr,
    queue: u16,
    mut in_use: impl FnMut(u16) -> bool,
) -> Option<PortChoice> {
    // What stays the same for all candidates is hashed once. The replies are what the NIC hashes, so the
    // candidate is the destination port.
    let tuple = Tuple { source: remote.ip(), destination: local, source_port: remote.port() };
    let hashed = rss.map(|rss| (rss, tuple.hash(&rss.key)));
    let lands_home = |port| match hashed {
        Some((rss, hash)) => rss.queue(hash ^ tuple.destination_port_hash(&rss.key, port)) == queue,
        None => false,
    };

    let mut fallback = None;
    for port in candidates {
        let lands_home = lands_home(port);
        let wanted = lands_home || fallback.is_none();
        if !wanted || in_use(port) {
            continue;
        }
        let choice = PortChoice { port, lands_home };
        if lands_home || hashed.is_none() {
            return Some(choice);
        }
        fallback = Some(choice);
    }
    fallback
}

/// The part of `range` that belongs to `worker`: parts are contiguous, in order, disjoint, together the whole
/// range, and differ in size by at most one. A part is empty only when there are more workers than ports.
pub fn slice(range: RangeInclusive<u16>, worker: usize, workers: usize) -> RangeInclusive<u16> {
    assert!(worker < workers, "worker {worker} of {workers}");
    let first = u64::from(*range.start());
    let total = len(&range);
    let start = first + total * worker as u64 / workers as u64;
    let end = first + total * (worker as u64 + 1) / workers as u64;
    // An empty part has no last port; at port 0 not even one to its left.
    if start == end { EMPTY } else { start as u16..=(end - 1) as u16 }
}

/// The worker whose [`slice()`] holds `port`; `None` outside `range`.
pub fn owner_of(port: u16, range: RangeInclusive<u16>, workers: usize) -> Option<usize> {
    assert!(workers > 0, "no workers");
    if !range.contains(&port) {
        return None;
    }
    // The largest w with floor(total * w / workers) <= offset.
    let offset = u64::from(port - range.start());
    Some((((offset + 1) * workers as u64 - 1) / len(&range)) as usize)
}

#[expect(clippy::reversed_empty_ranges, reason = "empty is what it is for")]
const EMPTY: RangeInclusive<u16> = 1..=0;

fn len(range: &RangeInclusive<u16>) -> u64 {
    (u64::from(*range.end()) + 1).saturating_sub(u64::from(*range.start()))
}

/// What is hashed, without the port that varies while one is being chosen.
///
/// The hash is linear: the exclusive or of one 32-bit window of the key per input bit that is set. So the parts of
/// the input are hashed apart, each at its place, and put together by exclusive or.
///
/// ```text
/// input   source address | destination address | source port | destination port
/// IPv4    4 bytes          4                     2             2
/// IPv6    16               16                    2             2
/// ```
struct Tuple {
    source: IpAddr,
    destination: IpAddr,
    source_port: u16,
}

impl Tuple {
    fn hash(&self, key: &[u8]) -> u32 {
        self.address_hash(key)
            ^ toeplitz(key, self.address_bytes(), &self.source_port.to_be_bytes())
    }

    fn destination_port_hash(&self, key: &[u8], port: u16) -> u32 {
        toeplitz(key, self.address_bytes() + 2, &port.to_be_bytes())
    }

    fn address_hash(&self, key: &[u8]) -> u32 {
        match (self.source, self.destination) {
            (IpAddr::V4(source), IpAddr::V4(destination)) => {
                toeplitz(key, 0, &source.octets()) ^ toeplitz(key, 4, &destination.octets())
            }
            (IpAddr::V6(source), IpAddr::V6(destination)) => {
                toeplitz(key, 0, &source.octets()) ^ toeplitz(key, 16, &destination.octets())
            }
            (source, destination) => panic!("one packet from {source} to {destination}"),
        }
    }

    /// Bytes of both addresses together.
    fn address_bytes(&self) -> usize {
        if self.source.is_ipv4() { 8 } else { 32 }
    }
}

/// The share of `input`, standing at byte `at`, in the hash.
fn toeplitz(key: &[u8], at: usize, input: &[u8]) -> u32 {
    let key = &key[at..at + input.len() + 4];
    let mut window = u32::from_be_bytes([key[0], key[1], key[2], key[3]]);
    let mut hash = 0;
    for (byte, next) in input.iter().zip(&key[4..]) {
        for bit in (0..8).rev() {
            if byte >> bit & 1 == 1 {
                hash ^= window;
            }
            window = window << 1 | u32::from(next >> bit & 1);
        }
    }
    hash
}

#[cfg(test)]
mod tests {
    use super::*;

    // "Verifying the RSS Hash Calculation": the key and all its vectors.
    const KEY: [u8; 40] = [
        0x6d, 0x5a, 0x56, 0xda, 0x25, 0x5b, 0x0e, 0xc2, 0x41, 0x67, 0x25, 0x3d, 0x43, 0xa3, 0x8f,
        0xb0, 0xd0, 0xca, 0x2b, 0xcb, 0xae, 0x7b, 0x30, 0xb4, 0x77, 0xcb, 0x2d, 0xa3, 0x80, 0x30,
        0xf2, 0x0c, 0x6a, 0x42, 0xb7, 0x3b, 0xbe, 0xac, 0x01, 0xfa,
    ];

    #[rustfmt::skip]
    const VECTORS: [(&str, &str, u32, u32); 8] = [
        // source, destination, without ports, with ports
        ("66.9.149.187:2794", "161.142.100.80:1766", 0x323e_8fc2, 0x51cc_c178),
        ("199.92.111.2:14230", "65.69.140.83:4739", 0xd718_262a, 0xc626_b0ea),
        ("24.19.198.95:12898", "12.22.207.184:38024", 0xd2d0_a5de, 0x5c2b_394a),
        ("38.27.205.30:48228", "209.142.163.6:2217", 0x8298_9176, 0xafc7_327f),
        ("153.39.163.191:44251", "202.188.127.2:1303", 0x5d18_09c5, 0x10e8_28a2),
        ("[3ffe:2501:200:1fff::7]:2794", "[3ffe:2501:200:3::1]:1766", 0x2cc1_8cd5, 0x4020_7d3d),
        ("[3ffe:501:8::260:97ff:fe40:efab]:14230", "[ff02::1]:4739", 0x0f0c_461c, 0xdde5_1bbf),
        ("[3ffe:1900:4545:3:200:f8ff:fe21:67cf]:44251", "[fe80::200:f8ff:fe21:67cf]:38024",
         0x4b61_e985, 0x02d1_feef),
    ];

    fn rss(queues: u16) -> Rss {
        Rss::new(KEY.to_vec(), (0..128).map(|i| i % queues).collect()).unwrap()
    }

    #[test]
    fn hash_is_the_specification() {
        for (source, destination, addresses_only, with_ports) in VECTORS {
            let (source, destination): (SocketAddr, SocketAddr) =
                (source.parse().unwrap(), destination.parse().unwrap());
            let tuple = Tuple {
                source: source.ip(),
                destination: destination.ip(),
                source_port: source.port(),
            };
            assert_eq!(tuple.address_hash(&KEY), addresses_only, "{source} {destination}");
            let hash = tuple.hash(&KEY) ^ tuple.destination_port_hash(&KEY, destination.port());
            assert_eq!(hash, with_ports, "{source} {destination}");
        }
    }

    #[test]
    fn queue_is_the_table_entry_of_the_hash() {
        let identity = Rss::new(KEY.to_vec(), (0..128).collect()).unwrap();
        for (source, destination, _, hash) in VECTORS {
            let (source, destination): (SocketAddr, SocketAddr) =
                (source.parse().unwrap(), destination.parse().unwrap());
            let queue =
                identity.queue_of(source.ip(), destination.ip(), source.port(), destination.port());
            assert_eq!(u32::from(queue), hash & 127);
        }
    }

    #[test]
    fn keys_of_drivers() {
        let mut long = KEY.to_vec();
        long.extend([0xff; 12]);
        let table = || (0..128).collect::<Vec<_>>();
        let tuple =
            ("66.9.149.187".parse().unwrap(), "161.142.100.80".parse().unwrap(), 2794, 1766);
        let queue = |rss: Rss| rss.queue_of(tuple.0, tuple.1, tuple.2, tuple.3);
        assert_eq!(
            queue(Rss::new(long, table()).unwrap()),
            queue(Rss::new(KEY.to_vec(), table()).unwrap())
        );
        assert_eq!(Rss::new(KEY[..39].to_vec(), table()), Err(RssError::ShortKey));
        assert_eq!(Rss::new(KEY.to_vec(), vec![]), Err(RssError::EmptyTable));
    }

    const LOCAL: &str = "10.0.0.5";
    const REMOTE: &str = "10.0.0.80:8080";

    fn choose(
        rss: Option<&Rss>,
        ports: RangeInclusive<u16>,
        queue: u16,
        in_use: impl FnMut(u16) -> bool,
    ) -> Option<PortChoice> {
        choose_port(rss, ports, LOCAL.parse().unwrap(), REMOTE.parse().unwrap(), queue, in_use)
    }

    /// The queue that the replies to `port` arrive on.
    fn home_of(rss: &Rss, port: u16) -> u16 {
        let remote: SocketAddr = REMOTE.parse().unwrap();
        rss.queue_of(remote.ip(), LOCAL.parse().unwrap(), remote.port(), port)
    }

    #[test]
    fn chosen_port_lands_home_and_is_the_first_that_does() {
        let rss = rss(4);
        for queue in 0..4 {
            let first = (20_000..=20_999).find(|&port| home_of(&rss, port) == queue).unwrap();
            let choice = choose(Some(&rss), 20_000..=20_999, queue, |_| false);
            assert_eq!(choice, Some(PortChoice { port: first, lands_home: true }));
            let second = (first + 1..=20_999).find(|&port| home_of(&rss, port) == queue).unwrap();
            let choice = choose(Some(&rss), 20_000..=20_999, queue, |port| port == first);
            assert_eq!(choice, Some(PortChoice { port: second, lands_home: true }));
        }
    }

    #[test]
    fn chosen_port_lands_home_v6() {
        let rss = rss(4);
        let (local, remote) = ("2001:db8::5".parse().unwrap(), "[2001:db8::80]:443");
        let remote: SocketAddr = remote.parse().unwrap();
        let choice = choose_port(Some(&rss), 1..=999, local, remote, 3, |_| false).unwrap();
        assert!(choice.lands_home);
        assert_eq!(rss.queue_of(remote.ip(), local, remote.port(), choice.port), 3);
    }

    #[test]
    fn any_free_port_when_none_lands_home() {
        let rss = rss(4);
        // Queue 9 is not in the table.
        let choice = choose(Some(&rss), 20_000..=20_099, 9, |port| port < 20_050);
        assert_eq!(choice, Some(PortChoice { port: 20_050, lands_home: false }));
        // All that would land home are taken.
        let choice = choose(Some(&rss), 20_000..=20_099, 2, |port| home_of(&rss, port) == 2);
        let choice = choice.unwrap();
        assert!(!choice.lands_home && home_of(&rss, choice.port) != 2);
    }

    #[test]
    fn first_free_port_when_the_hash_is_not_known() {
        let mut walked = 0;
        let candidates = (20_000..=20_099).inspect(|_| walked += 1);
        let (local, remote) = (LOCAL.parse().unwrap(), REMOTE.parse().unwrap());
        let choice = choose_port(None, candidates, local, remote, 0, |port| port == 20_000);
        assert_eq!(choice, Some(PortChoice { port: 20_001, lands_home: false }));
        assert_eq!(walked, 2, "nothing better can come after it");
    }

    #[test]
    fn no_port_when_all_are_in_use() {
        assert_eq!(choose(Some(&rss(4)), 20_000..=20_099, 0, |_| true), None);
        assert_eq!(choose(None, 20_000..=20_099, 0, |_| true), None);
        assert_eq!(choose(None, EMPTY, 0, |_| false), None);
    }

    /// Slices cover the range in order without gap or overlap, and [`owner_of`] agrees on every port.
    fn check_slices(range: &RangeInclusive<u16>, workers: usize) {
        let mut next = u32::from(*range.start());
        let mut sizes = (usize::MAX, 0);
        for worker in 0..workers {
            let slice = slice(range.clone(), worker, workers);
            sizes = (sizes.0.min(slice.len()), sizes.1.max(slice.len()));
            for port in slice {
                assert_eq!(u32::from(port), next, "{range:?} {worker}/{workers}");
                assert_eq!(owner_of(port, range.clone(), workers), Some(worker), "{port}");
                next += 1;
            }
        }
        assert_eq!(next, u32::from(*range.end()) + 1, "{range:?} {workers}");
        assert!(sizes.1 - sizes.0 <= 1, "{range:?} {workers}: {sizes:?}");
    }

    #[test]
    fn slices_partition_every_size() {
        for size in 1..=96_u16 {
            for workers in 1..=100 {
                // Both edges of the port space, where arithmetic wraps.
                check_slices(&(0..=size - 1), workers);
                check_slices(&(u16::MAX - size + 1..=u16::MAX), workers);
            }
        }
        for workers in 1..=64 {
            check_slices(&(0..=u16::MAX), workers);
            check_slices(&(16_384..=32_767), workers);
        }
    }

    #[test]
    fn nobody_owns_what_is_outside() {
        assert_eq!(owner_of(16_383, 16_384..=32_767, 2), None);
        assert_eq!(owner_of(32_768, 16_384..=32_767, 2), None);
        assert_eq!(owner_of(5, EMPTY, 2), None);
        assert!(slice(EMPTY, 1, 2).is_empty());
    }
}
