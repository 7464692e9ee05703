//! PROXY headers: what a proxy tells the next one about a client, in front of the client's bytes.
//!
//! In:    both ends of a connection; the first bytes of a connection
//! Out:   a header's bytes; what a header says
//! Never: waits; sends
//! Read:  "The PROXY protocol", versions 1 and 2 (HAProxy's doc/proxy-protocol.txt)

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use crate::config::model::ProxyHeader;
use crate::transport::Ends;

/// What version 2 begins with.
const SIGNATURE: [u8; 12] = *b"\r\n\r\n\0\r\nQUIT\n";
/// The longest header of version 1, bytes (section 2.1).
const V1_MAX: usize = 107;
/// Bytes of version 2 in front of the addresses.
const V2_FIXED: usize = 16;
/// Version 2 in the upper half, the command in the lower.
const LOCAL: u8 = 0x20;
const PROXY: u8 = 0x21;
/// TCP over IPv4, and over IPv6.
const TCP4: u8 = 0x11;
const TCP6: u8 = 0x21;
const TYPE_CRC32C: u8 = 0x03;
/// The longest header that is taken, bytes: what is longer does not fit a buffer.
const V2_MAX: usize = 4096;

/// What the first bytes of a connection are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Parsed {
    /// The beginning of a header.
    Incomplete,
    /// No header.
    Invalid,
    /// A header.
    Header {
        /// Its bytes.
        len: usize,
        /// The client's ends; `None`: those of the connection itself (`LOCAL`, `UNKNOWN`).
        ends: Option<Ends>,
    },
}

/// The header that a connection to a server begins with.
pub fn header(version: ProxyHeader, ends: Ends) -> Vec<u8> {
    let ends = ends.remote.zip(ends.local);
    match version {
        ProxyHeader::V1 => v1(ends),
        ProxyHeader::V2 { crc32c, .. } => v2(ends, crc32c),
    }
}

fn v1(ends: Option<(SocketAddr, SocketAddr)>) -> Vec<u8> {
    let Some((source, destination)) = ends else { return b"PROXY UNKNOWN\r\n".to_vec() };
    let ports = (source.port(), destination.port());
    let text = match (source.ip(), destination.ip()) {
        (IpAddr::V4(from), IpAddr::V4(to)) => {
            format!("PROXY TCP4 {from} {to} {} {}\r\n", ports.0, ports.1)
        }
        (from, to) => {
            format!("PROXY TCP6 {} {} {} {}\r\n", as_ipv6(from), as_ipv6(to), ports.0, ports.1)
        }
    };
    text.into_bytes()
}

fn v2(ends: Option<(SocketAddr, SocketAddr)>, with_crc: bool) -> Vec<u8> {
    let mut header = SIGNATURE.to_vec();
    header.extend([PROXY, 0, 0, 0]);
    if let Some((source, destination)) = ends {
        header[13] = match (source.ip(), destination.ip()) {
            (IpAddr::V4(from), IpAddr::V4(to)) => {
                header.extend(from.octets());
                header.extend(to.octets());
                TCP4
            }
            (from, to) => {
                header.extend(as_ipv6(from).octets());
                header.extend(as_ipv6(to).octets());
                TCP6
            }
        };
        header.extend(source.port().to_be_bytes());
        header.extend(destination.port().to_be_bytes());
    }
    if with_crc {
        // The sum is taken while its own place is zero (section 2.2.4).
        header.extend([TYPE_CRC32C, 0, 4, 0, 0, 0, 0]);
    }
    let len = (header.len() - V2_FIXED) as u16;
    header[14..16].copy_from_slice(&len.to_be_bytes());
    if with_crc {
        let sum = crc32c::crc32c(&header);
        let at = header.len() - 4;
        header[at..].copy_from_slice(&sum.to_be_bytes());
    }
    header
}

fn as_ipv6(address: IpAddr) -> Ipv6Addr {
    match address {
        IpAddr::V4(v4) => v4.to_ipv6_mapped(),
        IpAddr::V6(v6) => v6,
    }
}

/// Reads the first bytes of a connection.
pub fn parse(bytes: &[u8]) -> Parsed {
    let begins_like = |start: &[u8]| {
        let len = start.len().min(bytes.len());
        bytes[..len] == start[..len]
    };
    if begins_like(&SIGNATURE) {
        return parse_v2(bytes);
    }
    if begins_like(b"PROXY ") {
        return parse_v1(bytes);
    }
    Parsed::Invalid
}

fn parse_v1(bytes: &[u8]) -> Parsed {
    let line = &bytes[..bytes.len().min(V1_MAX)];
    let Some(end) = line.windows(2).position(|pair| pair == b"\r\n") else {
        return if bytes.len() < V1_MAX { Parsed::Incomplete } else { Parsed::Invalid };
    };
    let Ok(text) = std::str::from_utf8(&line[..end]) else { return Parsed::Invalid };
    let len = end + 2;
    let words: Vec<&str> = text.split(' ').collect();
    let ends = match words[..] {
        ["PROXY", "UNKNOWN", ..] => None,
        ["PROXY", family @ ("TCP4" | "TCP6"), from, to, from_port, to_port] => {
            let ends = (|| {
                let source = SocketAddr::new(from.parse().ok()?, from_port.parse().ok()?);
                let destination = SocketAddr::new(to.parse().ok()?, to_port.parse().ok()?);
                let is_of_family = |end: &SocketAddr| end.is_ipv4() == (family == "TCP4");
                (is_of_family(&source) && is_of_family(&destination))
                    .then_some(Ends { local: Some(destination), remote: Some(source) })
            })();
            if ends.is_none() {
                return Parsed::Invalid;
            }
            ends
        }
        _ => return Parsed::Invalid,
    };
    Parsed::Header { len, ends }
}

fn parse_v2(bytes: &[u8]) -> Parsed {
    if bytes.len() < V2_FIXED {
        return Parsed::Incomplete;
    }
    let len = V2_FIXED + usize::from(u16::from_be_bytes([bytes[14], bytes[15]]));
    if !matches!(bytes[12], LOCAL | PROXY) || len > V2_MAX {
        return Parsed::Invalid;
    }
    let Some(header) = bytes.get(..len) else { return Parsed::Incomplete };
    let (addresses, ends) = match (header[13], len - V2_FIXED) {
        (TCP4, 12..) => (12, Some(ends_of::<4>(header))),
        (TCP6, 36..) => (36, Some(ends_of::<16>(header))),
        (TCP4 | TCP6, _) => return Parsed::Invalid,
        // UNIX sockets and what is not known: no addresses that a rule could use.
        (_, rest) => (rest, None),
    };
    if !has_sound_sum(header, V2_FIXED + addresses) {
        return Parsed::Invalid;
    }
    Parsed::Header { len, ends: ends.filter(|_| header[12] == PROXY) }
}

/// Both ends, of addresses of `N` bytes.
fn ends_of<const N: usize>(header: &[u8]) -> Ends {
    let address = |at: usize| {
        let octets = &header[at..at + N];
        match <[u8; 4]>::try_from(octets) {
            Ok(v4) => IpAddr::V4(Ipv4Addr::from(v4)),
            Err(_) => IpAddr::V6(<[u8; 16]>::try_from(octets).expect("16 bytes").into()),
        }
    };
    let ports = V2_FIXED + 2 * N;
    let port = |at: usize| u16::from_be_bytes([header[at], header[at + 1]]);
    Ends {
        remote: Some(SocketAddr::new(address(V2_FIXED), port(ports))),
        local: Some(SocketAddr::new(address(V2_FIXED + N), port(ports + 2))),
    }
}

/// Whether the vectors from `at` on are whole, and the sum among them, if there is one, is right.
fn has_sound_sum(header: &[u8], mut at: usize) -> bool {
    while at < header.len() {
        let [kind, high, low] = header[at..][..3.min(header.len() - at)] else { return false };
        let value = at + 3;
        let next = value + usize::from(u16::from_be_bytes([high, low]));
        if next > header.len() {
            return false;
        }
        if kind == TYPE_CRC32C {
            let Ok(sum) = <[u8; 4]>::try_from(&header[value..next]) else { return false };
            let zeroed = crc32c::crc32c(&header[..value]);
            let zeroed = crc32c::crc32c_append(zeroed, &[0; 4]);
            if crc32c::crc32c_append(zeroed, &header[next..]) != u32::from_be_bytes(sum) {
                return false;
            }
        }
        at = next;
    }
    true
}

#[cfg(test)]
mod tests {
    use super::*;

    const V2: ProxyHeader = ProxyHeader::V2 { crc32c: false, unique_id: false };
    const V2_SUM: ProxyHeader = ProxyHeader::V2 { crc32c: true, unique_id: false };

    fn ends(source: &str, destination: &str) -> Ends {
        Ends { remote: source.parse().ok(), local: destination.parse().ok() }
    }

    #[test]
    fn version_one_is_a_line() {
        let line = |ends| String::from_utf8(header(ProxyHeader::V1, ends)).unwrap();
        assert_eq!(
            line(ends("192.0.2.1:5000", "198.51.100.2:80")),
            "PROXY TCP4 192.0.2.1 198.51.100.2 5000 80\r\n"
        );
        assert_eq!(
            line(ends("192.0.2.1:5000", "[2001:db8::2]:80")),
            "PROXY TCP6 ::ffff:192.0.2.1 2001:db8::2 5000 80\r\n"
        );
        assert_eq!(line(Ends::default()), "PROXY UNKNOWN\r\n");
    }

    #[test]
    fn version_two_is_laid_out_as_the_specification_says() {
        let bytes = header(V2, ends("192.0.2.1:256", "198.51.100.2:80"));
        let mut wanted = SIGNATURE.to_vec();
        wanted.extend([0x21, 0x11, 0, 12, 192, 0, 2, 1, 198, 51, 100, 2, 1, 0, 0, 80]);
        assert_eq!(bytes, wanted);
    }

    #[test]
    fn what_is_written_is_read() {
        let v4 = ends("192.0.2.1:5000", "198.51.100.2:80");
        let v6 = ends("[2001:db8::1]:5000", "[2001:db8::2]:443");
        for version in [ProxyHeader::V1, V2, V2_SUM] {
            for ends in [v4, v6] {
                let mut bytes = header(version, ends);
                let len = bytes.len();
                for end in 0..len {
                    assert_eq!(parse(&bytes[..end]), Parsed::Incomplete, "{version:?} {end}");
                }
                bytes.extend(b"PROXY of the client's own");
                assert_eq!(parse(&bytes), Parsed::Header { len, ends: Some(ends) });
            }
        }
    }

    #[test]
    fn nobody_is_behind_some_connections() {
        let unknown = b"PROXY UNKNOWN whatever\r\nx";
        assert_eq!(parse(unknown), Parsed::Header { len: 24, ends: None });
        let mut local = header(V2, ends("192.0.2.1:5000", "198.51.100.2:80"));
        local[12] = LOCAL;
        assert_eq!(parse(&local), Parsed::Header { len: 28, ends: None });
    }

    #[test]
    fn a_wrong_sum_is_seen() {
        let bytes = header(V2_SUM, ends("192.0.2.1:5000", "198.51.100.2:80"));
        let sums_type = bytes.len() - 7;
        for at in (V2_FIXED..bytes.len()).filter(|at| *at != sums_type) {
            let mut wrong = bytes.clone();
            wrong[at] ^= 1;
            assert!(!matches!(parse(&wrong), Parsed::Header { .. }), "byte {at}");
        }
    }

    #[test]
    fn what_is_no_header() {
        let long = [b"PROXY TCP4 ".as_slice(), &[b'1'; 120]].concat();
        for bytes in [
            b"GET / HTTP/1.1".as_slice(),
            b"PROXX",
            b"PROXY TCP5 1.2.3.4 1.2.3.4 1 2\r\n",
            b"PROXY TCP4 1.2.3.4 1.2.3.4 1\r\n",
            b"PROXY TCP4 ::1 ::1 1 2\r\n",
            b"PROXY TCP4 1.2.3.4 1.2.3.4 1 65536\r\n",
            b"\r\n\r\n\0\r\nQUIT\n\x31\x11\0\x0c",
            &long,
        ] {
            assert_eq!(parse(bytes), Parsed::Invalid, "{:?}", String::from_utf8_lossy(bytes));
        }
    }
}
