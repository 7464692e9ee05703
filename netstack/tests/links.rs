//! One stack against frames by hand: links, checksums, IPv6 extensions, neighbours, ICMP.

mod common;

use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use common::lab::{Lab, offset};
use common::{OWN, OWN_MAC, PEER, PEER_MAC, SHARED, Tcp, ethernet, ip_frame, link, see};
use netstack::fib::{Fib, Link, LinkId};
use netstack::{ConnId, ConnectionError, State};
use smoltcp::wire::{
    ArpOperation, ArpPacket, ArpRepr, EthernetAddress, Icmpv4DstUnreachable, Icmpv4Message,
    Icmpv4Packet, Icmpv6Message, Icmpv6Packet, IpProtocol, NdiscNeighborFlags, NdiscRepr,
    TcpOption,
};

// Links.

#[test]
fn only_the_links_own_vlan_is_heard() {
    let syn = Tcp::new("S", 1000, None);
    let tagged = |vlan| ip_frame(syn.addresses, IpProtocol::Tcp, 64, vlan, &syn.bytes());
    for (own, theirs, heard) in [
        (None, None, true),
        (None, Some(5), false),
        (None, Some(0), true), // A priority tag is none.
        (Some(5), Some(5), true),
        (Some(5), Some(0x6005), true), // Priority 3.
        (Some(5), None, false),
        (Some(5), Some(6), false),
    ] {
        let mut lab = Lab::with(Link { vlan: own, ..link() }, |_| {});
        lab.listen(10);
        let said = lab.exchange(&tagged(theirs));
        assert_eq!(said.len(), usize::from(heard), "{own:?} {theirs:?}");
        assert_eq!(lab.stack.counters().not_for_us, u64::from(!heard));
        if let (Some(vlan), Some(frame)) = (own, said.first()) {
            assert_eq!(frame[12..16], [0x81, 0x00, 0, vlan as u8]);
        }
    }
}

#[test]
fn a_flooded_or_broadcast_segment_is_not_ours() {
    let mut lab = Lab::new();
    lab.listen(10);
    let mut frame = Tcp::new("S", 1000, None).frame();
    for other in [[0xff; 6], [2, 0, 0, 0, 0, 0x77]] {
        frame[..6].copy_from_slice(&other);
        assert_eq!(lab.exchange(&frame).len(), 0);
    }
    assert_eq!(lab.stack.counters().not_for_us, 2);
    frame[..6].copy_from_slice(&OWN_MAC);
    assert_eq!(lab.exchange(&frame).len(), 1);
}

#[test]
fn invented_neighbors_do_not_shut_out_real_ones() {
    let mut lab = Lab::new();
    lab.listen(20_000);
    let mut syn = Tcp::new("S", 1000, None);
    for number in 0..17_000_u16 {
        // More sources of the own network than there are places for neighbours.
        let source = Ipv6Addr::new(0xfd00, 0, 0, 0, 0, 0, 1, number);
        syn.addresses = [source.into(), OWN[1]];
        lab.exchange(&syn.frame());
    }
    let late = IpAddr::from([10, 0, 0, 77]);
    syn.addresses = [late, OWN[0]];
    lab.exchange(&syn.frame());
    let mut reply = arp(ArpOperation::Reply, OWN[0]);
    reply[14 + 14..14 + 18].copy_from_slice(&[10, 0, 0, 77]);
    let said = lab.exchange(&reply);
    let to_late = said.iter().filter_map(|frame| see(frame)).filter(|seen| seen.flags == "S.");
    assert_eq!(to_late.count(), 1, "the one that is there is answered");
}

#[test]
fn a_checksum_left_to_the_nic_is_taken_where_that_can_be() {
    let syn = Tcp::new("S", 1000, None);
    let mut partial = syn.bytes();
    // What Linux leaves: the sum of the pseudo-header, not inverted.
    let sum: u32 = [0x0a00, 0x0002, 0x0a00, 0x0001, 6, partial.len() as u32].iter().sum();
    partial[16..18].copy_from_slice(&(sum as u16 + (sum >> 16) as u16).to_be_bytes());
    let partial = ip_frame(syn.addresses, IpProtocol::Tcp, 64, None, &partial);
    let mut damaged = syn.frame();
    damaged[14 + 20 + 5] ^= 0x10;
    for allowed in [false, true] {
        let mut lab = Lab::with(Link { partial_checksums: allowed, ..link() }, |_| {});
        lab.listen(10);
        assert_eq!(lab.exchange(&damaged).len(), 0);
        assert_eq!(lab.stack.counters().checksum, 1);
        assert_eq!(lab.exchange(&partial).len(), usize::from(allowed));
    }
}

#[test]
fn nobody_talks_to_ports_and_addresses_that_cannot_be() {
    let mut lab = Lab::new();
    lab.listen(10);
    let syn = Tcp::new("S", 1000, None);
    lab.silence(&Tcp { ports: [0, 80], ..syn.clone() });
    lab.silence(&Tcp { ports: [4000, 0], ..syn.clone() });
    for source in ["0.0.0.0", "255.255.255.255", "224.0.0.1"] {
        lab.silence(&Tcp { addresses: [source.parse().unwrap(), OWN[0]], ..syn.clone() });
    }
    let elsewhere: IpAddr = "10.0.0.77".parse().unwrap();
    lab.silence(&Tcp { addresses: [PEER[0], elsewhere], ..syn });
}

// IPv6.

/// Next header and length of an extension header of 8 or 16 bytes, the rest padding.
fn extension(next: u8, len: u8) -> Vec<u8> {
    let mut bytes = vec![next, len, 1, 4 + 8 * len];
    bytes.resize(8 * (usize::from(len) + 1), 0);
    bytes
}

#[test]
fn extension_headers_are_skipped_and_fragments_dropped() {
    let syn = Tcp { addresses: [PEER[1], OWN[1]], ..Tcp::new("S", 1000, None) };
    let frame = |first: u8, extensions: Vec<u8>| {
        let payload = [extensions, syn.bytes()].concat();
        ip_frame(syn.addresses, IpProtocol::from(first), 64, None, &payload)
    };
    let mut lab = Lab::new();
    lab.listen(10);
    // Hop-by-hop, routing, destination options, TCP.
    let chain = [extension(43, 0), extension(60, 1), extension(6, 0)].concat();
    let said = lab.exchange(&frame(0, chain));
    assert_eq!(see(&said[0]).unwrap().flags, "S.");
    let mut lab = Lab::new();
    lab.listen(10);
    assert!(lab.exchange(&frame(44, extension(6, 0))).is_empty());
    assert_eq!(lab.stack.counters().fragment, 1);
    let long = [extension(60, 0).repeat(9), extension(6, 0)].concat();
    assert!(lab.exchange(&frame(60, long)).is_empty());
    // One that reaches beyond the packet.
    assert!(lab.exchange(&frame(60, vec![6, 200, 0, 0, 0, 0, 0, 0])).is_empty());
    assert_eq!(lab.stack.counters().malformed, 2);
    assert_eq!(lab.stack.stats().half_open, 0);
}

// Neighbours.

fn arp(operation: ArpOperation, target: IpAddr) -> Vec<u8> {
    let (IpAddr::V4(source), IpAddr::V4(target)) = (PEER[0], target) else { panic!("not IPv4") };
    let repr = ArpRepr::EthernetIpv4 {
        operation,
        source_hardware_addr: EthernetAddress(PEER_MAC),
        source_protocol_addr: source,
        target_hardware_addr: EthernetAddress([0; 6]),
        target_protocol_addr: target,
    };
    let mut bytes = vec![0; repr.buffer_len()];
    repr.emit(&mut ArpPacket::new_unchecked(&mut bytes));
    ethernet(0x0806, None, &bytes)
}

#[test]
fn arp_is_answered_for_sole_addresses_only() {
    let mut lab = Lab::new();
    let said = lab.exchange(&arp(ArpOperation::Request, OWN[0]));
    assert_eq!(said.len(), 1);
    assert_eq!(said[0][..14], [&PEER_MAC[..], &OWN_MAC[..], &[0x08, 0x06]].concat());
    let packet = ArpPacket::new_checked(&said[0][14..]).unwrap();
    assert_eq!(packet.operation(), ArpOperation::Reply);
    assert_eq!(packet.source_hardware_addr(), OWN_MAC);
    assert_eq!(packet.source_protocol_addr(), [10, 0, 0, 1]);
    assert!(lab.exchange(&arp(ArpOperation::Reply, OWN[0])).is_empty());
    for other in [SHARED[0], PEER[0], "10.0.0.77".parse().unwrap()] {
        assert!(lab.exchange(&arp(ArpOperation::Request, other)).is_empty(), "{other}");
    }
}

fn solicit(source: Ipv6Addr, target: IpAddr, hop_limit: u8) -> Vec<u8> {
    let (IpAddr::V6(target), IpAddr::V6(own)) = (target, OWN[1]) else { panic!("not IPv6") };
    let lladdr = (!source.is_unspecified()).then(|| EthernetAddress(PEER_MAC).into());
    let repr = NdiscRepr::NeighborSolicit { target_addr: target, lladdr };
    let mut bytes = vec![0; repr.buffer_len()];
    let mut packet = Icmpv6Packet::new_unchecked(&mut bytes);
    repr.emit(&mut packet);
    packet.fill_checksum(&source, &own);
    ip_frame([source.into(), own.into()], IpProtocol::Icmpv6, hop_limit, None, &bytes)
}

#[test]
fn solicitations_are_answered_for_sole_addresses_only() {
    let IpAddr::V6(peer) = PEER[1] else { panic!("not IPv6") };
    let mut lab = Lab::new();
    let advert = |frame: &[u8]| {
        let packet = Icmpv6Packet::new_checked(&frame[54..]).unwrap();
        let NdiscRepr::NeighborAdvert { flags, target_addr, lladdr } =
            NdiscRepr::parse(&packet).unwrap()
        else {
            panic!("no advertisement")
        };
        (flags, IpAddr::from(target_addr), lladdr.unwrap().as_bytes().to_vec())
    };
    let said = lab.exchange(&solicit(peer, OWN[1], 255));
    let all = NdiscNeighborFlags::OVERRIDE | NdiscNeighborFlags::SOLICITED;
    assert_eq!(advert(&said[0]), (all, OWN[1], OWN_MAC.to_vec()));
    assert_eq!(said[0][..6], PEER_MAC);
    // Duplicate address detection asks from nowhere: the answer goes to all.
    let said = lab.exchange(&solicit(Ipv6Addr::UNSPECIFIED, OWN[1], 255));
    assert_eq!(advert(&said[0]), (NdiscNeighborFlags::OVERRIDE, OWN[1], OWN_MAC.to_vec()));
    assert_eq!(said[0][..6], [0x33, 0x33, 0, 0, 0, 1]);
    assert!(lab.exchange(&solicit(peer, SHARED[1], 255)).is_empty());
    assert!(lab.exchange(&solicit(peer, OWN[1], 254)).is_empty(), "was forwarded by a router");
}

#[test]
fn all_who_wait_for_a_silent_neighbor_are_told() {
    let mut lab = Lab::new();
    let remote = SocketAddr::new("10.0.0.99".parse().unwrap(), 80);
    let ids: Vec<ConnId> =
        (0..6000).map(|_| lab.stack.connect(remote, None, 1, lab.now).unwrap()).collect();
    lab.speak();
    lab.pass(Duration::from_secs(10));
    for id in ids {
        let error = lab.stack.status(id).unwrap().error;
        assert_eq!(error, Some(ConnectionError::Unreachable));
    }
}

#[test]
fn one_busy_connection_takes_no_other_ones_place_in_the_wait_for_a_neighbor() {
    let mut lab = Lab::new();
    let remote = SocketAddr::new("10.0.0.99".parse().unwrap(), 80);
    let busy = lab.stack.connect(remote, None, 1, lab.now).unwrap();
    for _ in 0..10_000 {
        lab.stack.send(busy, b"x", lab.now);
        lab.speak();
    }
    let other = lab.stack.connect(remote, None, 1, lab.now).unwrap();
    lab.speak();
    lab.stack.set_neighbor(LinkId(0), remote.ip(), Some(PEER_MAC), lab.now);
    let syns = lab.speak();
    assert_eq!(syns.len(), 2, "{:?}", lab.stack.status(other));
}

#[test]
fn a_reset_that_has_no_way_is_given_up() {
    let mut lab = Lab::new();
    let listener = lab.listen(10);
    let (id, _) = lab.open(listener, 4000);
    let without_routes = Fib::new(vec![link()], Vec::new(), Vec::new());
    lab.stack.set_fib(Arc::new(without_routes), lab.now);
    lab.stack.abort(id, lab.now);
    lab.speak();
    assert_eq!(lab.stack.stats().connections.used, 0);
}

// ICMP.

fn echo(addresses: [IpAddr; 2]) -> Vec<u8> {
    let mut bytes = vec![0; 8 + 20];
    bytes[4..].copy_from_slice(b"identification, sequence");
    match addresses {
        [IpAddr::V6(source), IpAddr::V6(destination)] => {
            let mut packet = Icmpv6Packet::new_unchecked(&mut bytes);
            packet.set_msg_type(Icmpv6Message::EchoRequest);
            packet.fill_checksum(&source, &destination);
            ip_frame(addresses, IpProtocol::Icmpv6, 64, None, &bytes)
        }
        _ => {
            let mut packet = Icmpv4Packet::new_unchecked(&mut bytes);
            packet.set_msg_type(Icmpv4Message::EchoRequest);
            packet.fill_checksum();
            ip_frame(addresses, IpProtocol::Icmp, 64, None, &bytes)
        }
    }
}

#[test]
fn an_echo_is_answered_for_sole_addresses_only() {
    for family in [0, 1] {
        let mut lab = Lab::new();
        let request = echo([PEER[family], OWN[family]]);
        let said = lab.exchange(&request);
        assert_eq!(said.len(), 1);
        let header = 14 + [20, 40][family];
        assert_eq!(said[0][header], [0, 129][family], "a reply");
        assert_eq!(said[0][header + 4..], request[header + 4..], "with the same data");
        assert_eq!(said[0][..6], PEER_MAC);
        assert!(lab.exchange(&echo([PEER[family], SHARED[family]])).is_empty());
        let mut damaged = request;
        damaged[header + 9] ^= 1;
        assert!(lab.exchange(&damaged).is_empty());
        assert_eq!(lab.stack.counters().checksum, 1);
    }
    let mut lab = Lab::new();
    assert!(lab.exchange(&echo(["224.0.0.9".parse().unwrap(), OWN[0]])).is_empty());
}

/// An ICMP error about the segment of ours that begins at `seq`.
fn path_error(family: usize, ours: [u16; 2], seq: u32, mtu: Option<u16>) -> Vec<u8> {
    let (own, peer) = (OWN[family], PEER[family]);
    let about = Tcp { addresses: [own, peer], ports: ours, ..Tcp::new("", seq, Some(1)) };
    let about = about.frame()[14..].to_vec();
    let mut bytes = [vec![0; 8], about].concat();
    match (peer, own) {
        (IpAddr::V6(source), IpAddr::V6(destination)) => {
            bytes[4..8].copy_from_slice(&u32::from(mtu.unwrap_or(0)).to_be_bytes());
            let mut packet = Icmpv6Packet::new_unchecked(&mut bytes);
            let too_big = mtu.is_some();
            packet.set_msg_type(if too_big {
                Icmpv6Message::PktTooBig
            } else {
                Icmpv6Message::DstUnreachable
            });
            packet.fill_checksum(&source, &destination);
            ip_frame([peer, own], IpProtocol::Icmpv6, 64, None, &bytes)
        }
        _ => {
            bytes[6..8].copy_from_slice(&mtu.unwrap_or(0).to_be_bytes());
            let mut packet = Icmpv4Packet::new_unchecked(&mut bytes);
            packet.set_msg_type(Icmpv4Message::DstUnreachable);
            let code = if mtu.is_some() {
                Icmpv4DstUnreachable::FragRequired
            } else {
                Icmpv4DstUnreachable::HostUnreachable
            };
            packet.set_msg_code(code.into());
            packet.fill_checksum();
            ip_frame([peer, own], IpProtocol::Icmp, 64, None, &bytes)
        }
    }
}

#[test]
fn a_path_that_takes_less_is_believed_for_what_is_in_flight() {
    for (family, mtu, sizes) in [
        (0, 1000, vec![960, 500]),
        (0, 0, vec![536, 536, 388]),
        (0, 1500, vec![]),
        (1, 1300, vec![1240, 200]),
        (1, 400, vec![1220, 220]),
    ] {
        let mut lab = Lab::new();
        let remote = SocketAddr::new(PEER[family], 80);
        let id = lab.stack.connect(remote, None, 1, lab.now).unwrap();
        let port = lab.stack.tuple(id).unwrap().local.port;
        let iss = see(&lab.speak()[0]).unwrap().seq;
        let addresses = [PEER[family], OWN[family]];
        let mut accept =
            Tcp { addresses, ports: [80, port], ..Tcp::new("S", 9, Some(offset(iss, 1))) };
        accept.options = vec![TcpOption::MaxSegmentSize(1460)];
        assert_eq!(lab.one(&accept).flags, ".");
        lab.stack.send(id, &vec![1; [1460, 1440][family]], lab.now);
        assert_eq!(lab.speak().len(), 1);
        for wrong in [iss, offset(iss, 3000), offset(iss, 1 << 31)] {
            assert!(lab.exchange(&path_error(family, [port, 80], wrong, Some(mtu))).is_empty());
        }
        let said = lab.exchange(&path_error(family, [port, 80], offset(iss, 1), Some(mtu)));
        let said: Vec<usize> = said.iter().map(|frame| see(frame).unwrap().len).collect();
        assert_eq!(said, sizes, "{family} {mtu}");
    }
}

#[test]
fn unreachable_ends_an_attempt_and_not_a_connection() {
    for family in [0, 1] {
        let mut lab = Lab::new();
        let remote = SocketAddr::new(PEER[family], 80);
        let id = lab.stack.connect(remote, None, 1, lab.now).unwrap();
        let port = lab.stack.tuple(id).unwrap().local.port;
        let iss = see(&lab.speak()[0]).unwrap().seq;
        lab.exchange(&path_error(family, [port, 80], offset(iss, 1), None));
        assert_eq!(lab.stack.status(id).unwrap().state, State::SynSent);
        lab.exchange(&path_error(family, [port, 80], iss, None));
        assert_eq!(lab.stack.status(id).unwrap().error, Some(ConnectionError::Unreachable));
    }
    let mut lab = Lab::new();
    let listener = lab.listen(10);
    let (id, iss) = lab.open(listener, 4000);
    lab.stack.send(id, b"data", lab.now);
    lab.speak();
    lab.exchange(&path_error(0, [80, 4000], offset(iss, 1), None));
    assert_eq!(lab.stack.status(id).unwrap().error, None);
}
