//! What the tests of whole stacks share: chance, a place for frames, a forwarding table, frames by hand.
//!
//! In:    a few words on what a frame should be
//! Out:   the frame; or, of a frame, what it says
//! Never: asserts anything about the stack

#![allow(dead_code, reason = "each test takes what it needs")]

pub mod lab;
pub mod pair;
pub mod repair;

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::IpNet;
use netstack::Transmit;
use netstack::fib::{Address, Fib, Link, LinkId, Origin, Ownership, Route, WireId};
use smoltcp::wire::{
    IpAddress, IpProtocol, Ipv4Packet, Ipv6Packet, TcpOption, TcpPacket, TcpSeqNumber,
};

/// SplitMix64: enough for faults, and the same on every machine.
pub struct Random(pub u64);

impl Random {
    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    pub fn below(&mut self, limit: u64) -> u64 {
        self.next() % limit
    }

    pub fn chance(&mut self, probability: f64) -> bool {
        (self.next() >> 11) as f64 / ((1_u64 << 53) as f64) < probability
    }

    pub fn pick<T: Copy>(&mut self, of: &[T]) -> T {
        of[self.below(of.len() as u64) as usize]
    }
}

/// Takes what a stack sends.
pub struct Outbox<'a>(pub &'a mut Vec<Vec<u8>>);

impl Transmit for Outbox<'_> {
    fn has_room(&mut self, _: WireId) -> bool {
        self.0.len() < 64
    }

    fn send(&mut self, _: WireId, len: usize, fill: impl FnOnce(&mut [u8])) {
        let mut bytes = vec![0; len];
        fill(&mut bytes);
        self.0.push(bytes);
    }
}

pub const OWN_MAC: [u8; 6] = [2, 0, 0, 0, 0, 1];
pub const PEER_MAC: [u8; 6] = [2, 0, 0, 0, 0, 2];
pub const OWN: [IpAddr; 2] = [
    IpAddr::V4(Ipv4Addr::new(10, 0, 0, 1)),
    IpAddr::V6(Ipv6Addr::new(0xfd00, 0, 0, 0, 0, 0, 0, 1)),
];
pub const PEER: [IpAddr; 2] = [
    IpAddr::V4(Ipv4Addr::new(10, 0, 0, 2)),
    IpAddr::V6(Ipv6Addr::new(0xfd00, 0, 0, 0, 0, 0, 0, 2)),
];
/// Own addresses that the kernel answers for.
pub const SHARED: [IpAddr; 2] = [
    IpAddr::V4(Ipv4Addr::new(10, 0, 0, 3)),
    IpAddr::V6(Ipv6Addr::new(0xfd00, 0, 0, 0, 0, 0, 0, 3)),
];

pub fn link() -> Link {
    Link { wire: WireId(0), vlan: None, mac: OWN_MAC, mtu: 1500, partial_checksums: false }
}

/// An own address with the prefix of the network that all are in.
pub fn address(ip: IpAddr, ownership: Ownership) -> Address {
    let prefix = if ip.is_ipv6() { 64 } else { 24 };
    Address { link: LinkId(0), net: IpNet::new(ip, prefix).unwrap(), ownership }
}

/// One link with these addresses, and the networks they are in.
pub fn network(link: Link, own: Vec<Address>) -> Fib {
    Fib::new(vec![link], own, vec![route("10.0.0.0/24", None), route("fd00::/64", None)])
}

/// The same with a router, behind which is all the rest of IPv4.
pub fn routed(link: Link, router: IpAddr) -> Fib {
    let routes = [("10.0.0.0/24", None), ("fd00::/64", None), ("0.0.0.0/0", Some(router))];
    Fib::new(vec![link], own(), routes.map(|(prefix, via)| route(prefix, via)).to_vec())
}

fn route(prefix: &str, gateway: Option<IpAddr>) -> Route {
    let prefix = prefix.parse().unwrap();
    let (link, origin) = (LinkId(0), Origin::Stated);
    Route { prefix, link, gateway, source: None, metric: 0, origin }
}

/// One link, two own addresses of each family, and the networks they are in.
pub fn fib(link: Link) -> Fib {
    network(link, own())
}

fn own() -> Vec<Address> {
    let sole = OWN.map(|ip| address(ip, Ownership::Sole));
    let shared = SHARED.map(|ip| address(ip, Ownership::Shared));
    [sole, shared].concat()
}

/// Ethernet in front of a payload.
pub fn ethernet(ethertype: u16, vlan: Option<u16>, payload: &[u8]) -> Vec<u8> {
    let mut bytes = [OWN_MAC, PEER_MAC].concat();
    if let Some(vlan) = vlan {
        bytes.extend([0x81, 0x00]);
        bytes.extend(vlan.to_be_bytes());
    }
    bytes.extend(ethertype.to_be_bytes());
    bytes.extend(payload);
    bytes
}

/// An IP packet in an Ethernet frame. `extensions` stand between the IPv6 header and the payload.
pub fn ip_frame(
    [source, destination]: [IpAddr; 2],
    protocol: IpProtocol,
    hop_limit: u8,
    vlan: Option<u16>,
    payload: &[u8],
) -> Vec<u8> {
    match (source, destination) {
        (IpAddr::V4(source), IpAddr::V4(destination)) => {
            let mut bytes = vec![0; 20 + payload.len()];
            let mut packet = Ipv4Packet::new_unchecked(&mut bytes);
            packet.set_version(4);
            packet.set_header_len(20);
            packet.set_total_len((20 + payload.len()) as u16);
            packet.set_hop_limit(hop_limit);
            packet.set_next_header(protocol);
            packet.set_src_addr(source);
            packet.set_dst_addr(destination);
            packet.fill_checksum();
            packet.payload_mut().copy_from_slice(payload);
            ethernet(0x0800, vlan, &bytes)
        }
        (IpAddr::V6(source), IpAddr::V6(destination)) => {
            let mut bytes = vec![0; 40 + payload.len()];
            let mut packet = Ipv6Packet::new_unchecked(&mut bytes);
            packet.set_version(6);
            packet.set_payload_len(payload.len() as u16);
            packet.set_hop_limit(hop_limit);
            packet.set_next_header(protocol);
            packet.set_src_addr(source);
            packet.set_dst_addr(destination);
            packet.payload_mut().copy_from_slice(payload);
            ethernet(0x86dd, vlan, &bytes)
        }
        _ => panic!("two families"),
    }
}

/// A segment from the peer, to be changed where a test wants it otherwise.
#[derive(Clone)]
pub struct Tcp {
    pub addresses: [IpAddr; 2],
    pub ports: [u16; 2],
    pub seq: u32,
    pub ack: Option<u32>,
    /// Of "SFRU", and "E" and "W" for ECE and CWR.
    pub flags: &'static str,
    pub window: u16,
    pub options: Vec<TcpOption<'static>>,
    pub payload: Vec<u8>,
}

impl Tcp {
    pub fn new(flags: &'static str, seq: u32, ack: Option<u32>) -> Tcp {
        Tcp {
            addresses: [PEER[0], OWN[0]],
            ports: [4000, 80],
            seq,
            ack,
            flags,
            window: 60000,
            options: Vec::new(),
            payload: Vec::new(),
        }
    }

    /// The header and payload, checksum and all.
    pub fn bytes(&self) -> Vec<u8> {
        let options: usize = self.options.iter().map(TcpOption::buffer_len).sum();
        let header = 20 + options.div_ceil(4) * 4;
        let mut bytes = vec![0; header + self.payload.len()];
        let mut packet = TcpPacket::new_unchecked(&mut bytes);
        packet.set_src_port(self.ports[0]);
        packet.set_dst_port(self.ports[1]);
        packet.set_seq_number(TcpSeqNumber(self.seq as i32));
        packet.set_ack_number(TcpSeqNumber(self.ack.unwrap_or(0) as i32));
        packet.set_header_len(header as u8);
        packet.set_syn(self.flags.contains('S'));
        packet.set_fin(self.flags.contains('F'));
        packet.set_rst(self.flags.contains('R'));
        packet.set_urg(self.flags.contains('U'));
        packet.set_urgent_at(if self.flags.contains('U') { 1 } else { 0 });
        packet.set_ece(self.flags.contains('E'));
        packet.set_cwr(self.flags.contains('W'));
        packet.set_ack(self.ack.is_some());
        packet.set_window_len(self.window);
        let mut place = packet.options_mut();
        for option in &self.options {
            place = option.emit(place);
        }
        packet.payload_mut().copy_from_slice(&self.payload);
        let [source, destination] = self.addresses.map(IpAddress::from);
        packet.fill_checksum(&source, &destination);
        bytes
    }

    pub fn frame(&self) -> Vec<u8> {
        ip_frame(self.addresses, IpProtocol::Tcp, 64, None, &self.bytes())
    }
}

/// What a frame of the stack says, when it is TCP.
#[derive(Debug, Clone, PartialEq)]
pub struct Seen {
    /// Of "SFR.EW", in this order.
    pub flags: String,
    pub seq: u32,
    pub ack: u32,
    pub window: u16,
    pub len: usize,
    pub mss: Option<u16>,
    pub scale: Option<u8>,
    pub sack_permitted: bool,
    pub timestamp: Option<(u32, u32)>,
    /// SACK blocks.
    pub sack: usize,
}

/// Takes an untagged frame apart and verifies its checksums.
pub fn see(frame: &[u8]) -> Option<Seen> {
    let (source, destination, payload): (IpAddress, IpAddress, &[u8]) = match frame[12..14] {
        [0x08, 0x00] => {
            let packet = Ipv4Packet::new_checked(&frame[14..]).expect("IPv4");
            assert!(packet.verify_checksum());
            if packet.next_header() != IpProtocol::Tcp {
                return None;
            }
            (packet.src_addr().into(), packet.dst_addr().into(), packet.payload())
        }
        [0x86, 0xdd] => {
            let packet = Ipv6Packet::new_checked(&frame[14..]).expect("IPv6");
            if packet.next_header() != IpProtocol::Tcp {
                return None;
            }
            (packet.src_addr().into(), packet.dst_addr().into(), packet.payload())
        }
        _ => return None,
    };
    let packet = TcpPacket::new_checked(payload).expect("TCP");
    assert!(packet.verify_checksum(&source, &destination));
    let mut flags = String::new();
    let bits = [packet.syn(), packet.fin(), packet.rst(), packet.ack(), packet.ece(), packet.cwr()];
    for (set, letter) in bits.into_iter().zip("SFR.EW".chars()) {
        flags.extend(set.then_some(letter));
    }
    let mut seen = Seen {
        flags,
        seq: packet.seq_number().0 as u32,
        ack: packet.ack_number().0 as u32,
        window: packet.window_len(),
        len: packet.payload().len(),
        mss: None,
        scale: None,
        sack_permitted: false,
        timestamp: None,
        sack: 0,
    };
    let mut options = packet.options();
    while !options.is_empty() {
        let (rest, option) = TcpOption::parse(options).expect("an option");
        match option {
            TcpOption::MaxSegmentSize(mss) => seen.mss = Some(mss),
            TcpOption::WindowScale(shift) => seen.scale = Some(shift),
            TcpOption::SackPermitted => seen.sack_permitted = true,
            TcpOption::TimeStamp { tsval, tsecr } => seen.timestamp = Some((tsval, tsecr)),
            TcpOption::SackRange(blocks) => seen.sack = blocks.iter().flatten().count(),
            _ => {}
        }
        options = rest;
    }
    Some(seen)
}
