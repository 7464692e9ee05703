//! Ethernet and IP: from a frame to what it carries, and back.
//!
//! In:    frames
//! Out:   an IP packet with its addresses, or an ARP packet; headers in front of a payload
//! Never: looks at TCP; keeps anything
//! Read:  IEEE 802.1Q; RFC 791; RFC 8200, section 4

use std::net::IpAddr;

use smoltcp::wire::{
    EthernetAddress, EthernetFrame, EthernetProtocol, IpProtocol, Ipv6ExtHeader, Ipv6Packet,
};

use crate::checksum::Sum;
use crate::counters::DropReason;
use crate::fib::{Link, WireId};

/// Bytes of an Ethernet header without a tag.
pub(crate) const ETHERNET_LEN: usize = 14;
/// Bytes of an IEEE 802.1Q tag.
const TAG_LEN: usize = 4;
const TAG_802_1Q: u16 = 0x8100;
const TAG_802_1AD: u16 = 0x88a8;
/// Bytes of an IPv4 header without options, and of an IPv6 header.
const IPV4_LEN: usize = 20;
const IPV6_LEN: usize = 40;
const UNTAGGED_IPV4_LEN: usize = ETHERNET_LEN + IPV4_LEN;
/// Bytes of the longest headers that are sent in front of a payload.
const HEADERS_MAX: usize = ETHERNET_LEN + TAG_LEN + IPV6_LEN;
/// "More fragments", and the offset of a fragment.
const IPV4_FRAGMENT: u16 = 0x3fff;
/// IPv6 extension headers that are skipped before a packet is refused.
const EXTENSIONS_MAX: usize = 8;
/// TTL and hop limit of what we send (Linux's default).
const HOP_LIMIT: u8 = 64;

/// A frame, its VLAN tag taken off.
pub(crate) struct Frame<'a> {
    pub source: [u8; 6],
    pub destination: [u8; 6],
    pub vlan: Option<u16>,
    pub content: Content<'a>,
}

/// What a frame carries.
pub(crate) enum Content<'a> {
    Arp(&'a [u8]),
    Ip(IpPacket<'a>),
}

/// An IP packet, extension headers and options skipped.
pub(crate) struct IpPacket<'a> {
    pub source: IpAddr,
    pub destination: IpAddr,
    pub protocol: IpProtocol,
    pub hop_limit: u8,
    pub payload: &'a [u8],
}

impl<'a> Frame<'a> {
    /// Takes a frame apart as far as IP or ARP.
    #[inline]
    pub fn parse(bytes: &'a [u8]) -> Result<Frame<'a>, DropReason> {
        let (header, payload) =
            bytes.split_first_chunk::<ETHERNET_LEN>().ok_or(DropReason::Malformed)?;
        let mac = |at: usize| {
            [
                header[at],
                header[at + 1],
                header[at + 2],
                header[at + 3],
                header[at + 4],
                header[at + 5],
            ]
        };
        let (source, destination) = (mac(6), mac(0));
        let (vlan, ethertype, payload) =
            untag(u16::from_be_bytes([header[12], header[13]]), payload)?;
        let content = match EthernetProtocol::from(ethertype) {
            EthernetProtocol::Arp => Content::Arp(payload),
            EthernetProtocol::Ipv4 => Content::Ip(parse_ipv4(payload)?),
            EthernetProtocol::Ipv6 => Content::Ip(parse_ipv6(payload)?),
            EthernetProtocol::Unknown(_) => return Err(DropReason::NotForUs),
        };
        Ok(Frame { source, destination, vlan, content })
    }
}

/// Takes the tag off. Priority tags (VLAN 0) count as none; a second tag is nobody's here.
fn untag(ethertype: u16, payload: &[u8]) -> Result<(Option<u16>, u16, &[u8]), DropReason> {
    if ethertype != TAG_802_1Q && ethertype != TAG_802_1AD {
        return Ok((None, ethertype, payload));
    }
    let Some((tag, rest)) = payload.split_at_checked(TAG_LEN) else {
        return Err(DropReason::Malformed);
    };
    let vlan = u16::from_be_bytes([tag[0], tag[1]]) & 0x0fff;
    Ok(((vlan != 0).then_some(vlan), u16::from_be_bytes([tag[2], tag[3]]), rest))
}

#[inline]
fn parse_ipv4(bytes: &[u8]) -> Result<IpPacket<'_>, DropReason> {
    let fixed: &[u8; IPV4_LEN] = bytes.first_chunk().ok_or(DropReason::Malformed)?;
    let header_len = usize::from(fixed[0] & 0x0f) * 4;
    let total_len = usize::from(u16::from_be_bytes([fixed[2], fixed[3]]));
    let is_sound = fixed[0] >> 4 == 4
        && header_len >= IPV4_LEN
        && header_len <= total_len
        && total_len <= bytes.len();
    if !is_sound {
        return Err(DropReason::Malformed);
    }
    if !Sum::default().bytes(&bytes[..header_len]).is_right() {
        return Err(DropReason::Checksum);
    }
    if u16::from_be_bytes([fixed[6], fixed[7]]) & IPV4_FRAGMENT != 0 {
        return Err(DropReason::Fragment);
    }
    let address = |at: usize| [fixed[at], fixed[at + 1], fixed[at + 2], fixed[at + 3]];
    Ok(IpPacket {
        source: address(12).into(),
        destination: address(16).into(),
        protocol: fixed[9].into(),
        hop_limit: fixed[8],
        payload: &bytes[header_len..total_len],
    })
}

#[inline(never)]
fn parse_ipv6(bytes: &[u8]) -> Result<IpPacket<'_>, DropReason> {
    let packet = Ipv6Packet::new_checked(bytes).map_err(|_| DropReason::Malformed)?;
    if packet.version() != 6 {
        return Err(DropReason::Malformed);
    }
    let mut protocol = packet.next_header();
    let mut payload = packet.payload();
    for _ in 0..EXTENSIONS_MAX {
        match protocol {
            IpProtocol::HopByHop | IpProtocol::Ipv6Route | IpProtocol::Ipv6Opts => {
                let header =
                    Ipv6ExtHeader::new_checked(payload).map_err(|_| DropReason::Malformed)?;
                protocol = header.next_header();
                let len = 8 * (usize::from(header.header_len()) + 1);
                payload = payload.get(len..).ok_or(DropReason::Malformed)?;
            }
            IpProtocol::Ipv6Frag => return Err(DropReason::Fragment),
            _ => {
                return Ok(IpPacket {
                    source: packet.src_addr().into(),
                    destination: packet.dst_addr().into(),
                    protocol,
                    hop_limit: packet.hop_limit(),
                    payload,
                });
            }
        }
    }
    Err(DropReason::Malformed)
}

/// Where packets are sent: everything in front of their payload that is the same for all of them.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Envelope {
    pub wire: WireId,
    headers: [u8; HEADERS_MAX],
    link_len: u8,
    len: u8,
    /// Of an IPv4 header without its total length.
    header_sum: Sum,
    /// Of the pseudo-header without its length (RFC 9293, section 3.1; RFC 8200, section 8.1).
    pseudo_sum: Sum,
}

impl Envelope {
    /// An envelope with the ordinary hop limit.
    #[inline]
    pub fn new(
        link: &Link,
        neighbor: [u8; 6],
        source: IpAddr,
        destination: IpAddr,
        protocol: IpProtocol,
    ) -> Self {
        Envelope::with_hop_limit(HOP_LIMIT, link, neighbor, source, destination, protocol)
    }

    /// An envelope with a hop limit of its own: 255 for neighbour discovery.
    #[inline]
    pub fn with_hop_limit(
        hop_limit: u8,
        link: &Link,
        neighbor: [u8; 6],
        source: IpAddr,
        destination: IpAddr,
        protocol: IpProtocol,
    ) -> Self {
        let mut headers = [0; HEADERS_MAX];
        let ethertype =
            if source.is_ipv4() { EthernetProtocol::Ipv4 } else { EthernetProtocol::Ipv6 };
        let link_len = link_header_len(link);
        let rest = emit_link_header(&mut headers, link, neighbor, ethertype);
        let protocol = u8::from(protocol);
        let mut header_sum = Sum::default();
        let mut pseudo_sum = Sum::default().word(protocol.into());
        match (source, destination) {
            (IpAddr::V4(source), IpAddr::V4(destination)) => {
                let header = &mut rest[..IPV4_LEN];
                // Version 4, five words; "do not fragment". The identification of an atomic datagram means
                // nothing (RFC 6864).
                header[0] = 0x45;
                header[6] = 0x40;
                header[8] = hop_limit;
                header[9] = protocol;
                header[12..16].copy_from_slice(&source.octets());
                header[16..].copy_from_slice(&destination.octets());
                header_sum = header_sum.bytes(header);
                pseudo_sum = pseudo_sum.bytes(&header[12..]);
            }
            (IpAddr::V6(source), IpAddr::V6(destination)) => {
                let header = &mut rest[..IPV6_LEN];
                header[0] = 0x60;
                header[6] = protocol;
                header[7] = hop_limit;
                header[8..24].copy_from_slice(&source.octets());
                header[24..].copy_from_slice(&destination.octets());
                pseudo_sum = pseudo_sum.bytes(&header[8..]);
            }
            _ => unreachable!("from {source} to {destination}: two address families"),
        }
        let len = link_len + ip_header_len(source);
        Envelope {
            wire: link.wire,
            headers,
            link_len: link_len as u8,
            len: len as u8,
            header_sum,
            pseudo_sum,
        }
    }

    /// Bytes in front of the payload.
    pub fn len(&self) -> usize {
        self.len.into()
    }

    /// Writes the headers for a payload of `payload_len` bytes; returns the payload's place.
    #[inline]
    pub fn emit<'b>(&self, bytes: &'b mut [u8], payload_len: usize) -> &'b mut [u8] {
        let (headers, payload) = bytes[..self.len() + payload_len].split_at_mut(self.len());
        match headers.first_chunk_mut() {
            Some(untagged) if self.len() == UNTAGGED_IPV4_LEN => {
                *untagged = self.untagged_ipv4();
            }
            _ => headers.copy_from_slice(&self.headers[..self.len()]),
        }
        let ip = &mut headers[usize::from(self.link_len)..];
        if ip.len() == IPV4_LEN {
            let total_len = (IPV4_LEN + payload_len) as u16;
            ip[2..4].copy_from_slice(&total_len.to_be_bytes());
            let checksum = !self.header_sum.word(total_len).fold();
            ip[10..12].copy_from_slice(&checksum.to_be_bytes());
        } else {
            ip[4..6].copy_from_slice(&(payload_len as u16).to_be_bytes());
        }
        payload
    }

    /// The headers of nearly all packets: of a length that the compiler knows.
    fn untagged_ipv4(&self) -> [u8; UNTAGGED_IPV4_LEN] {
        *self.headers.first_chunk().expect("there is room for more")
    }

    /// The checksum of a payload that has zero in its place.
    #[inline]
    pub fn checksum(&self, payload: &[u8]) -> u16 {
        !self.pseudo_sum.word(payload.len() as u16).bytes(payload).fold()
    }
}

/// Whether a TCP segment has the right checksum for its ends. A local peer may leave it to a NIC that is not
/// there: then `partial` lets the sum of the pseudo-header alone count (CHECKSUM_PARTIAL).
pub(crate) fn is_checksum_right(ip: &IpPacket<'_>, partial: bool) -> bool {
    let pseudo = Sum::default().word(u8::from(ip.protocol).into()).word(ip.payload.len() as u16);
    let pseudo = match (ip.source, ip.destination) {
        (IpAddr::V4(source), IpAddr::V4(destination)) => {
            pseudo.bytes(&source.octets()).bytes(&destination.octets())
        }
        (IpAddr::V6(source), IpAddr::V6(destination)) => {
            pseudo.bytes(&source.octets()).bytes(&destination.octets())
        }
        _ => return false,
    };
    pseudo.bytes(ip.payload).is_right()
        || (partial && ip.payload.get(16..18) == Some(&pseudo.fold().to_be_bytes()))
}

/// Bytes of an IP header without options, by family.
pub(crate) fn ip_header_len(address: IpAddr) -> usize {
    if address.is_ipv4() { IPV4_LEN } else { IPV6_LEN }
}

/// Bytes of the Ethernet header on a link.
pub(crate) fn link_header_len(link: &Link) -> usize {
    ETHERNET_LEN + if link.vlan.is_some() { TAG_LEN } else { 0 }
}

/// Writes the Ethernet header, with the link's tag; returns what follows it.
pub(crate) fn emit_link_header<'b>(
    bytes: &'b mut [u8],
    link: &Link,
    neighbor: [u8; 6],
    ethertype: EthernetProtocol,
) -> &'b mut [u8] {
    let mut frame = EthernetFrame::new_unchecked(&mut *bytes);
    frame.set_dst_addr(EthernetAddress(neighbor));
    frame.set_src_addr(EthernetAddress(link.mac));
    let Some(vlan) = link.vlan else {
        frame.set_ethertype(ethertype);
        return &mut bytes[ETHERNET_LEN..];
    };
    frame.set_ethertype(EthernetProtocol::Unknown(TAG_802_1Q));
    let tag = &mut bytes[ETHERNET_LEN..ETHERNET_LEN + TAG_LEN];
    tag[..2].copy_from_slice(&vlan.to_be_bytes());
    tag[2..].copy_from_slice(&u16::from(ethertype).to_be_bytes());
    &mut bytes[ETHERNET_LEN + TAG_LEN..]
}

#[cfg(test)]
mod tests {
    use smoltcp::wire::{IpAddress, Ipv4Packet, TcpPacket};

    use super::*;

    fn link(vlan: Option<u16>) -> Link {
        Link { wire: WireId(0), vlan, mac: [2, 0, 0, 0, 0, 1], mtu: 1500, partial_checksums: false }
    }

    fn envelope(vlan: Option<u16>, source: &str, destination: &str) -> Envelope {
        let (source, destination) = (source.parse().unwrap(), destination.parse().unwrap());
        Envelope::new(&link(vlan), [2, 0, 0, 0, 0, 2], source, destination, IpProtocol::Tcp)
    }

    fn emitted(vlan: Option<u16>, source: &str, destination: &str) -> Vec<u8> {
        let envelope = envelope(vlan, source, destination);
        let mut bytes = vec![0; envelope.len() + 4];
        envelope.emit(&mut bytes, 4).copy_from_slice(b"data");
        bytes
    }

    #[test]
    fn reads_back_what_it_writes() {
        for (vlan, source, destination) in [
            (None, "10.0.0.1", "10.0.0.2"),
            (Some(100), "10.0.0.1", "10.0.0.2"),
            (Some(7), "fd00::1", "fd00::2"),
        ] {
            let bytes = emitted(vlan, source, destination);
            let frame = Frame::parse(&bytes).unwrap();
            assert_eq!((frame.vlan, frame.source), (vlan, [2, 0, 0, 0, 0, 1]));
            let Content::Ip(ip) = frame.content else { panic!("not IP") };
            assert_eq!((ip.source, ip.payload), (source.parse().unwrap(), &b"data"[..]));
        }
    }

    /// What we write by hand is what smoltcp reads, and has the checksums that it has.
    #[test]
    fn smoltcp_agrees() {
        for (source, destination) in [("10.0.0.1", "192.168.255.254"), ("fd00::1", "fe80::abcd")] {
            for len in [20, 21, 84, 1460] {
                let envelope = envelope(None, source, destination);
                let mut bytes = vec![0; envelope.len() + len];
                let payload = envelope.emit(&mut bytes, len);
                for (at, byte) in payload.iter_mut().enumerate() {
                    *byte = if matches!(at, 16 | 17) { 0 } else { (at * 7) as u8 };
                }
                let checksum = envelope.checksum(payload);
                payload[16..18].copy_from_slice(&checksum.to_be_bytes());
                let ends: [IpAddress; 2] =
                    [source, destination].map(|ip| ip.parse::<IpAddr>().unwrap().into());
                assert!(TcpPacket::new_unchecked(&*payload).verify_checksum(&ends[0], &ends[1]));
                let Ok(Frame { content: Content::Ip(mut ip), .. }) = Frame::parse(&bytes) else {
                    panic!("from {source}")
                };
                assert!(is_checksum_right(&ip, false));
                let damaged: Vec<u8> = ip.payload.iter().map(|byte| byte ^ 1).collect();
                ip.payload = &damaged;
                assert!(!is_checksum_right(&ip, true));
                if let IpAddress::Ipv4(source) = ends[0] {
                    let packet = Ipv4Packet::new_checked(&bytes[ETHERNET_LEN..]).unwrap();
                    assert!(packet.verify_checksum() && packet.dont_frag());
                    assert_eq!((packet.src_addr(), packet.hop_limit()), (source, HOP_LIMIT));
                    assert_eq!(packet.payload().len(), len);
                }
            }
        }
    }

    #[test]
    fn refuses_every_truncation_and_flipped_header_bit() {
        let bytes = emitted(Some(100), "10.0.0.1", "10.0.0.2");
        for len in 0..bytes.len() {
            assert!(Frame::parse(&bytes[..len]).is_err(), "{len} bytes");
        }
        for bit in 18 * 8..38 * 8 {
            let mut bytes = bytes.clone();
            bytes[bit / 8] ^= 1 << (bit % 8);
            assert!(Frame::parse(&bytes).is_err(), "bit {bit}");
        }
    }
}
