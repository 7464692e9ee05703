//! Ethernet and IP: from a frame to what it carries, and back.
//!
//! In:    frames
//! Out:   an IP packet with its addresses, or an ARP packet; headers in front of a payload
//! Never: looks at TCP; keeps anything
//! Read:  IEEE 802.1Q; RFC 791; RFC 8200, section 4

use std::net::IpAddr;

use smoltcp::wire::{
    EthernetAddress, EthernetFrame, EthernetProtocol, IpProtocol, Ipv4Packet, Ipv6ExtHeader,
    Ipv6Packet,
};

use crate::counters::DropReason;
use crate::fib::Link;

/// Bytes of an Ethernet header without a tag.
pub(crate) const ETHERNET_LEN: usize = 14;
/// Bytes of an IEEE 802.1Q tag.
const TAG_LEN: usize = 4;
const TAG_802_1Q: u16 = 0x8100;
const TAG_802_1AD: u16 = 0x88a8;
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
    pub fn parse(bytes: &'a [u8]) -> Result<Frame<'a>, DropReason> {
        let ethernet = EthernetFrame::new_checked(bytes).map_err(|_| DropReason::Malformed)?;
        let (source, destination) = (ethernet.src_addr().0, ethernet.dst_addr().0);
        let (vlan, ethertype, payload) = untag(ethernet.ethertype().into(), ethernet.payload())?;
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

fn parse_ipv4(bytes: &[u8]) -> Result<IpPacket<'_>, DropReason> {
    let packet = Ipv4Packet::new_checked(bytes).map_err(|_| DropReason::Malformed)?;
    if packet.version() != 4 || packet.header_len() < 20 {
        return Err(DropReason::Malformed);
    }
    if !packet.verify_checksum() {
        return Err(DropReason::Checksum);
    }
    if packet.more_frags() || packet.frag_offset() != 0 {
        return Err(DropReason::Fragment);
    }
    Ok(IpPacket {
        source: packet.src_addr().into(),
        destination: packet.dst_addr().into(),
        protocol: packet.next_header(),
        hop_limit: packet.hop_limit(),
        payload: packet.payload(),
    })
}

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

/// Where a packet is sent: the link, the neighbour's address, both ends.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Envelope<'a> {
    pub link: &'a Link,
    pub neighbor: [u8; 6],
    pub source: IpAddr,
    pub destination: IpAddr,
    pub protocol: IpProtocol,
    /// 255 for neighbour discovery.
    pub hop_limit: u8,
}

impl<'a> Envelope<'a> {
    /// An envelope with the ordinary hop limit.
    pub fn new(
        link: &'a Link,
        neighbor: [u8; 6],
        source: IpAddr,
        destination: IpAddr,
        protocol: IpProtocol,
    ) -> Self {
        Envelope { link, neighbor, source, destination, protocol, hop_limit: HOP_LIMIT }
    }

    /// Bytes in front of the payload.
    pub fn len(&self) -> usize {
        link_header_len(self.link) + ip_header_len(self.destination)
    }

    /// Writes the headers for a payload of `payload_len` bytes; returns the payload's place.
    pub fn emit<'b>(&self, bytes: &'b mut [u8], payload_len: usize) -> &'b mut [u8] {
        let ethertype = if self.destination.is_ipv4() {
            EthernetProtocol::Ipv4
        } else {
            EthernetProtocol::Ipv6
        };
        let bytes = emit_link_header(bytes, self.link, self.neighbor, ethertype);
        match (self.source, self.destination) {
            (IpAddr::V4(source), IpAddr::V4(destination)) => {
                let mut packet = Ipv4Packet::new_unchecked(&mut bytes[..20 + payload_len]);
                packet.set_version(4);
                packet.set_header_len(20);
                packet.set_dscp(0);
                packet.set_ecn(0);
                packet.set_total_len((20 + payload_len) as u16);
                // RFC 6864: an atomic datagram's identification means nothing.
                packet.set_ident(0);
                packet.clear_flags();
                packet.set_dont_frag(true);
                packet.set_frag_offset(0);
                packet.set_hop_limit(self.hop_limit);
                packet.set_next_header(self.protocol);
                packet.set_src_addr(source);
                packet.set_dst_addr(destination);
                packet.fill_checksum();
                &mut bytes[20..20 + payload_len]
            }
            (IpAddr::V6(source), IpAddr::V6(destination)) => {
                let mut packet = Ipv6Packet::new_unchecked(&mut bytes[..40 + payload_len]);
                packet.set_version(6);
                packet.set_traffic_class(0);
                packet.set_flow_label(0);
                packet.set_payload_len(payload_len as u16);
                packet.set_next_header(self.protocol);
                packet.set_hop_limit(self.hop_limit);
                packet.set_src_addr(source);
                packet.set_dst_addr(destination);
                &mut bytes[40..40 + payload_len]
            }
            _ => unreachable!("a packet between two address families: {self:?}"),
        }
    }
}

/// Bytes of an IP header without options, by family.
pub(crate) fn ip_header_len(address: IpAddr) -> usize {
    if address.is_ipv4() { 20 } else { 40 }
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
    use super::*;
    use crate::fib::WireId;

    fn link(vlan: Option<u16>) -> Link {
        Link { wire: WireId(0), vlan, mac: [2, 0, 0, 0, 0, 1], mtu: 1500, partial_checksums: false }
    }

    fn emitted(vlan: Option<u16>, source: &str, destination: &str) -> Vec<u8> {
        let link = link(vlan);
        let envelope = Envelope::new(
            &link,
            [2, 0, 0, 0, 0, 2],
            source.parse().unwrap(),
            destination.parse().unwrap(),
            IpProtocol::Tcp,
        );
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
