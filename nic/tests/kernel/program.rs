//! The XDP program's verdict on every kind of packet, by the kernel's own test run.
//!
//! In:    packets, byte by byte
//! Out:   redirect, pass or drop
//! Never: sends a packet anywhere
//!
//! 192.0.2.1 and 2001:db8::1 are shared with the kernel, 192.0.2.2 and 2001:db8::2 are xlb's alone,
//! anything else is not own. Port 80 is bound on any IPv4 address, 443 on 192.0.2.1, 8080 on any IPv6
//! address, 8443 on 2001:db8::1. Port 9000 of 192.0.2.99 and 2001:db8::99 is a server's that is connected to from
//! addresses of others, port 9001 with ports of others too. Source ports 40000 to 49999 are reserved. Port 22 is the kernel's.

use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};

use crate::support::{INTERFACE, Lab, enter, wait_until};
use nic::{
    AddressOwner, Listener, Mode, Program, ReplyPorts, Steering, Verdict, XskConfig, XskQueue,
};

use Verdict::{Drop, Pass, Redirect};

const SHARED4: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 1);
const SOLE4: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 2);
const OTHER4: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 99);
const SHARED6: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 1);
const SOLE6: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 2);
const OTHER6: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 0x99);
/// The group in which SHARED6 and SOLE6 are asked for: the last three bytes decide (RFC 4291, 2.7.1).
const SOLICITED6: [Ipv6Addr; 2] = [
    Ipv6Addr::new(0xff02, 0, 0, 0, 0, 1, 0xff00, 1),
    Ipv6Addr::new(0xff02, 0, 0, 0, 0, 1, 0xff00, 2),
];
const ALL_NODES6: Ipv6Addr = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 1);

const TCP: u8 = 6;
const UDP: u8 = 17;
const ICMP: u8 = 1;
const ICMPV6: u8 = 58;
const HOP_BY_HOP: u8 = 0;
const ROUTING: u8 = 43;
const FRAGMENT: u8 = 44;
const DESTINATION: u8 = 60;

const IPV4: u16 = 0x0800;
const IPV6: u16 = 0x86dd;
const ARP: u16 = 0x0806;
const CUSTOMER_TAG: u16 = 0x8100;
const SERVICE_TAG: u16 = 0x88a8;

/// A program with the steering above and a socket to redirect to.
struct Bench {
    program: Program,
    queue: XskQueue,
    _lab: Lab,
}

impl Bench {
    fn new() -> Self {
        let lab = Lab::new(1, 1500);
        enter(&lab.a);
        let mut program = Program::attach(INTERFACE, Mode::ZeroCopy).unwrap();
        let queue =
            XskQueue::open(&XskConfig { prefer: program.mode(), ..XskConfig::new(INTERFACE, 0) })
                .unwrap();
        program.register(&queue).unwrap();
        program.set_steering(&steering()).unwrap();
        Self { program, queue, _lab: lab }
    }

    #[track_caller]
    fn expect(&mut self, expected: Verdict, what: &str, packet: &[u8]) {
        let verdict = self.program.verdict(packet).unwrap();
        assert_eq!(verdict, expected, "{what}: {packet:02x?}");
    }
}

fn steering() -> Steering {
    let any = |ipv6, port| Listener { address: None, ipv6, port };
    Steering {
        addresses: [
            (SHARED4.into(), AddressOwner::Shared),
            (SHARED6.into(), AddressOwner::Shared),
            (SOLE4.into(), AddressOwner::Sole),
            (SOLE6.into(), AddressOwner::Sole),
        ]
        .into(),
        listeners: [
            any(false, 80),
            Listener { address: Some(SHARED4.into()), ipv6: false, port: 443 },
            any(true, 8080),
            Listener { address: Some(SHARED6.into()), ipv6: true, port: 8443 },
        ]
        .into(),
        source_ports: 40000..=49999,
        servers: [
            (SocketAddr::new(OTHER4.into(), 9000), ReplyPorts::Reserved),
            (SocketAddr::new(OTHER4.into(), 9001), ReplyPorts::Any),
            (SocketAddr::new(OTHER6.into(), 9000), ReplyPorts::Reserved),
        ]
        .into(),
    }
}

// Building packets, from the inside out.

fn ethernet(ethertype: u16, payload: &[u8]) -> Vec<u8> {
    tagged(&[], ethertype, payload)
}

fn tagged(tags: &[u16], ethertype: u16, payload: &[u8]) -> Vec<u8> {
    let mut bytes = vec![2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2];
    for tag in tags {
        bytes.extend(tag.to_be_bytes());
        bytes.extend([0, 7]);
    }
    bytes.extend(ethertype.to_be_bytes());
    bytes.extend(payload);
    bytes
}

fn ipv4(destination: Ipv4Addr, protocol: u8, payload: &[u8]) -> Vec<u8> {
    ipv4_with(destination, protocol, 0, &[], payload)
}

fn ipv4_with(to: Ipv4Addr, protocol: u8, frag: u16, options: &[u8], payload: &[u8]) -> Vec<u8> {
    ipv4_from(OTHER4, to, protocol, frag, options, payload)
}

fn ipv4_from(
    from: Ipv4Addr,
    to: Ipv4Addr,
    protocol: u8,
    frag: u16,
    options: &[u8],
    payload: &[u8],
) -> Vec<u8> {
    let header_len = 20 + options.len();
    let mut bytes = vec![0x40 | (header_len / 4) as u8, 0];
    bytes.extend(((header_len + payload.len()) as u16).to_be_bytes());
    bytes.extend([0, 1]);
    bytes.extend(frag.to_be_bytes());
    bytes.extend([64, protocol, 0, 0]);
    bytes.extend(from.octets());
    bytes.extend(to.octets());
    bytes.extend(options);
    bytes.extend(payload);
    bytes
}

fn ipv6(destination: Ipv6Addr, next: u8, payload: &[u8]) -> Vec<u8> {
    ipv6_from(OTHER6, destination, next, payload)
}

fn ipv6_from(from: Ipv6Addr, to: Ipv6Addr, next: u8, payload: &[u8]) -> Vec<u8> {
    let mut bytes = vec![0x60, 0, 0, 0];
    bytes.extend((payload.len() as u16).to_be_bytes());
    bytes.extend([next, 64]);
    bytes.extend(from.octets());
    bytes.extend(to.octets());
    bytes.extend(payload);
    bytes
}

/// An extension header of `8 * (1 + more)` bytes in front of `payload`.
fn extension(next: u8, more: u8, segments_left: u8, payload: &[u8]) -> Vec<u8> {
    let mut bytes = vec![next, more, 0, segments_left];
    bytes.resize(8 * (1 + more as usize), 0);
    bytes.extend(payload);
    bytes
}

fn fragment(next: u8, offset: u16, more: bool, payload: &[u8]) -> Vec<u8> {
    let mut bytes = vec![next, 0];
    bytes.extend((offset << 3 | u16::from(more)).to_be_bytes());
    bytes.extend([0, 0, 0, 9]);
    bytes.extend(payload);
    bytes
}

fn tcp(source: u16, destination: u16) -> Vec<u8> {
    let mut bytes = Vec::new();
    bytes.extend(source.to_be_bytes());
    bytes.extend(destination.to_be_bytes());
    bytes.extend([0, 0, 0, 1, 0, 0, 0, 0, 0x50, 2, 255, 255, 0, 0, 0, 0]);
    bytes
}

fn icmp(kind: u8, code: u8, payload: &[u8]) -> Vec<u8> {
    let mut bytes = vec![kind, code, 0, 0, 0, 0, 5, 120];
    bytes.extend(payload);
    bytes
}

fn neighbour(kind: u8, target: Ipv6Addr) -> Vec<u8> {
    let mut bytes = vec![kind, 0, 0, 0, 0, 0, 0, 0];
    bytes.extend(target.octets());
    bytes.extend([1, 1, 2, 0, 0, 0, 0, 2]);
    bytes
}

fn arp(operation: u16, target: Ipv4Addr) -> Vec<u8> {
    let mut bytes = vec![0, 1, 8, 0, 6, 4];
    bytes.extend(operation.to_be_bytes());
    bytes.extend([2, 0, 0, 0, 0, 2]);
    bytes.extend(OTHER4.octets());
    bytes.extend([0; 6]);
    bytes.extend(target.octets());
    bytes
}

// Shared addresses: only what is bound or reserved.

#[test]
fn tcp_over_ipv4_is_taken_by_port() {
    let mut bench = Bench::new();
    let to = |address, port| ethernet(IPV4, &ipv4(address, TCP, &tcp(12345, port)));
    bench.expect(Redirect, "wildcard port", &to(SHARED4, 80));
    bench.expect(Redirect, "port bound on the address", &to(SHARED4, 443));
    bench.expect(Redirect, "lowest reserved source port", &to(SHARED4, 40000));
    bench.expect(Redirect, "highest reserved source port", &to(SHARED4, 49999));
    bench.expect(Pass, "below the reserved source ports", &to(SHARED4, 39999));
    bench.expect(Pass, "above the reserved source ports", &to(SHARED4, 50000));
    bench.expect(Pass, "SSH", &to(SHARED4, 22));
    bench.expect(Pass, "bound on IPv6 only", &to(SHARED4, 8080));
    bench.expect(Pass, "wildcard port, not an own address", &to(OTHER4, 80));
    bench.expect(Pass, "reserved source port, not an own address", &to(OTHER4, 40000));
    bench.expect(Pass, "broadcast", &to(Ipv4Addr::BROADCAST, 80));
    let udp = ethernet(IPV4, &ipv4(SHARED4, UDP, &tcp(12345, 80)));
    bench.expect(Pass, "UDP to a bound port", &udp);
}

#[test]
fn tcp_over_ipv6_is_taken_by_port() {
    let mut bench = Bench::new();
    let to = |address, port| ethernet(IPV6, &ipv6(address, TCP, &tcp(12345, port)));
    bench.expect(Redirect, "wildcard port", &to(SHARED6, 8080));
    bench.expect(Redirect, "port bound on the address", &to(SHARED6, 8443));
    bench.expect(Redirect, "reserved source port", &to(SHARED6, 45000));
    bench.expect(Pass, "SSH", &to(SHARED6, 22));
    bench.expect(Pass, "bound on IPv4 only", &to(SHARED6, 80));
    bench.expect(Pass, "not an own address", &to(OTHER6, 8080));
    bench.expect(Pass, "multicast", &to(ALL_NODES6, 8080));
    let udp = ethernet(IPV6, &ipv6(SHARED6, UDP, &tcp(12345, 8080)));
    bench.expect(Pass, "UDP to a bound port", &udp);
}

#[test]
fn two_vlan_tags_are_looked_through() {
    let mut bench = Bench::new();
    let (four, six) = (ipv4(SHARED4, TCP, &tcp(1, 80)), ipv6(SHARED6, TCP, &tcp(1, 8080)));
    let (ssh, arp) = (ipv4(SHARED4, TCP, &tcp(1, 22)), arp(1, SOLE4));
    for tags in [&[][..], &[CUSTOMER_TAG], &[SERVICE_TAG], &[SERVICE_TAG, CUSTOMER_TAG]] {
        bench.expect(Redirect, "tags before IPv4", &tagged(tags, IPV4, &four));
        bench.expect(Redirect, "tags before IPv6", &tagged(tags, IPV6, &six));
        bench.expect(Redirect, "tags before ARP", &tagged(tags, ARP, &arp));
        bench.expect(Pass, "tags before SSH", &tagged(tags, IPV4, &ssh));
    }
    bench.expect(
        Pass,
        "three tags",
        &tagged(&[SERVICE_TAG, CUSTOMER_TAG, CUSTOMER_TAG], IPV4, &four),
    );
}

#[test]
fn ipv4_options_are_skipped() {
    let mut bench = Bench::new();
    for words in 0..=10 {
        let options = vec![1; words * 4];
        let to = |port| ethernet(IPV4, &ipv4_with(SHARED4, TCP, 0, &options, &tcp(1, port)));
        bench.expect(Redirect, "options before a bound port", &to(80));
        bench.expect(Pass, "options before SSH", &to(22));
    }
}

#[test]
fn ipv6_extension_headers_are_skipped() {
    let mut bench = Bench::new();
    let to = |first, payload: &[u8]| ethernet(IPV6, &ipv6(SHARED6, first, payload));
    let (bound, ssh) = (tcp(1, 8080), tcp(1, 22));
    for kind in [HOP_BY_HOP, DESTINATION, ROUTING] {
        for more in [0, 1, 31, 255] {
            bench.expect(Redirect, "one header", &to(kind, &extension(TCP, more, 0, &bound)));
            bench.expect(Pass, "one header, SSH", &to(kind, &extension(TCP, more, 0, &ssh)));
        }
    }
    let mut chain = bound;
    let mut next = TCP;
    for count in 1..=7 {
        chain = extension(next, 1, 0, &chain);
        next = DESTINATION;
        let expected = if count <= 6 { Redirect } else { Pass };
        bench.expect(expected, &format!("{count} headers"), &to(DESTINATION, &chain));
    }
    let on_its_way = extension(TCP, 2, 1, &tcp(1, 8080));
    bench.expect(Pass, "routing header with a stop left", &to(ROUTING, &on_its_way));
    bench.expect(Pass, "authentication header", &to(51, &extension(TCP, 1, 0, &tcp(1, 8080))));
    bench.expect(Pass, "no next header", &to(59, &[]));
}

// Fragments: the first one like any packet; a later one has no ports.

#[test]
fn later_fragments_pass_or_are_dropped() {
    const MORE: u16 = 0x2000;
    const DO_NOT: u16 = 0x4000;
    let mut bench = Bench::new();
    let four = |to, frag| ethernet(IPV4, &ipv4_with(to, TCP, frag, &[], &tcp(1, 80)));
    bench.expect(Redirect, "don't fragment", &four(SHARED4, DO_NOT));
    bench.expect(Redirect, "first fragment", &four(SHARED4, MORE));
    bench.expect(Pass, "middle fragment", &four(SHARED4, MORE | 185));
    bench.expect(Pass, "last fragment", &four(SHARED4, 1));
    bench.expect(Redirect, "first fragment to a sole address", &four(SOLE4, MORE));
    bench.expect(Drop, "later fragment to a sole address", &four(SOLE4, MORE | 185));
    bench.expect(Drop, "last fragment to a sole address", &four(SOLE4, 1));

    let six = |to, offset, more| {
        ethernet(IPV6, &ipv6(to, FRAGMENT, &fragment(TCP, offset, more, &tcp(1, 8080))))
    };
    bench.expect(Redirect, "atomic fragment", &six(SHARED6, 0, false));
    bench.expect(Redirect, "first fragment", &six(SHARED6, 0, true));
    bench.expect(Pass, "later fragment", &six(SHARED6, 185, true));
    bench.expect(Pass, "last fragment", &six(SHARED6, 1, false));
    bench.expect(Drop, "later fragment to a sole address", &six(SOLE6, 1, false));
    let behind = fragment(TCP, 1, false, &tcp(1, 8080));
    let behind = ethernet(IPV6, &ipv6(SOLE6, HOP_BY_HOP, &extension(FRAGMENT, 0, 0, &behind)));
    bench.expect(Drop, "later fragment behind another header, sole", &behind);
}

// ICMP errors: what xlb sent is in them.

#[test]
fn icmp_errors_about_own_packets_are_taken() {
    let mut bench = Bench::new();
    let error = |kind, from: Ipv4Addr, protocol, port, options: &[u8]| {
        let sent = ipv4_from(from, OTHER4, protocol, 0x4000, options, &tcp(port, 5000)[..8]);
        ethernet(IPV4, &ipv4(SHARED4, ICMP, &icmp(kind, 4, &sent)))
    };
    bench.expect(Redirect, "fragmentation needed, bound", &error(3, SHARED4, TCP, 80, &[]));
    bench.expect(Redirect, "fragmentation needed, reserved", &error(3, SHARED4, TCP, 40001, &[]));
    bench.expect(Redirect, "options in what was sent", &error(3, SHARED4, TCP, 80, &[1; 8]));
    bench.expect(Redirect, "time exceeded", &error(11, SHARED4, TCP, 443, &[]));
    bench.expect(Redirect, "parameter problem", &error(12, SHARED4, TCP, 443, &[]));
    bench.expect(Pass, "about SSH", &error(3, SHARED4, TCP, 22, &[]));
    bench.expect(Pass, "about UDP", &error(3, SHARED4, UDP, 80, &[]));
    bench.expect(Pass, "about another address than the error's", &error(3, OTHER4, TCP, 80, &[]));
    bench.expect(Pass, "redirect", &error(5, SHARED4, TCP, 80, &[]));
    let echo = ethernet(IPV4, &ipv4(SHARED4, ICMP, &icmp(8, 0, &[0; 32])));
    bench.expect(Pass, "echo request", &echo);
    let sent = ipv4_from(SHARED4, OTHER4, TCP, 0, &[], &tcp(80, 5000)[..7]);
    let short = ethernet(IPV4, &ipv4(SHARED4, ICMP, &icmp(3, 4, &sent)));
    bench.expect(Pass, "less of the packet than RFC 792 promises", &short);
    let sent = ipv4_from(SHARED4, OTHER4, TCP, 1, &[], &tcp(80, 5000));
    let later = ethernet(IPV4, &ipv4(SHARED4, ICMP, &icmp(3, 4, &sent)));
    bench.expect(Pass, "about a later fragment", &later);
}

#[test]
fn icmpv6_errors_about_own_packets_are_taken() {
    let mut bench = Bench::new();
    let error = |kind, from: Ipv6Addr, protocol, port| {
        let sent = ipv6_from(from, OTHER6, protocol, &tcp(port, 5000));
        ethernet(IPV6, &ipv6(SHARED6, ICMPV6, &icmp(kind, 0, &sent)))
    };
    for kind in 1..=4 {
        bench.expect(Redirect, &format!("error {kind}, bound"), &error(kind, SHARED6, TCP, 8080));
    }
    bench.expect(Redirect, "packet too big, reserved", &error(2, SHARED6, TCP, 40001));
    bench.expect(Pass, "about SSH", &error(2, SHARED6, TCP, 22));
    bench.expect(Pass, "about UDP", &error(2, SHARED6, UDP, 8080));
    bench.expect(Pass, "about another address than the error's", &error(2, OTHER6, TCP, 8080));
    bench.expect(Pass, "type 0", &error(0, SHARED6, TCP, 8080));
    bench.expect(Pass, "type 5", &error(5, SHARED6, TCP, 8080));
    bench.expect(Pass, "echo request", &error(128, SHARED6, TCP, 8080));
}

// Sole addresses: everything.

#[test]
fn all_to_a_sole_address_is_taken() {
    let mut bench = Bench::new();
    let four = |protocol, payload: &[u8]| ethernet(IPV4, &ipv4(SOLE4, protocol, payload));
    bench.expect(Redirect, "TCP to a port that is not bound", &four(TCP, &tcp(1, 22)));
    bench.expect(Redirect, "echo request", &four(ICMP, &icmp(8, 0, &[0; 8])));
    bench.expect(Redirect, "UDP", &four(UDP, &[0; 8]));
    let six = |next, payload: &[u8]| ethernet(IPV6, &ipv6(SOLE6, next, payload));
    bench.expect(Redirect, "TCP to a port that is not bound", &six(TCP, &tcp(1, 22)));
    bench.expect(Redirect, "echo request", &six(ICMPV6, &icmp(128, 0, &[0; 8])));
    bench.expect(Redirect, "solicitation to the address", &six(ICMPV6, &neighbour(135, SOLE6)));
    bench.expect(Redirect, "advertisement to the address", &six(ICMPV6, &neighbour(136, OTHER6)));
    bench.expect(Redirect, "UDP", &six(UDP, &[0; 8]));
    let behind = extension(TCP, 1, 0, &tcp(1, 22));
    bench.expect(Redirect, "TCP behind another header", &six(DESTINATION, &behind));
}

#[test]
fn questions_for_a_sole_address_are_taken() {
    let mut bench = Bench::new();
    for operation in [1, 2] {
        let to = |address| ethernet(ARP, &arp(operation, address));
        bench.expect(Redirect, "ARP for a sole address", &to(SOLE4));
        bench.expect(Pass, "ARP for a shared address", &to(SHARED4));
        bench.expect(Pass, "ARP for another address", &to(OTHER4));
    }
    let mut token_ring = arp(1, SOLE4);
    token_ring[1] = 6;
    bench.expect(Pass, "ARP of another hardware", &ethernet(ARP, &token_ring));

    let group = |group: Ipv6Addr, kind, target| {
        ethernet(IPV6, &ipv6(group, ICMPV6, &neighbour(kind, target)))
    };
    bench.expect(Redirect, "solicitation of a sole address", &group(SOLICITED6[1], 135, SOLE6));
    bench.expect(Pass, "solicitation of a shared address", &group(SOLICITED6[0], 135, SHARED6));
    bench.expect(Pass, "of another address in the same group", &group(SOLICITED6[1], 135, OTHER6));
    bench.expect(Pass, "advertisement to all", &group(ALL_NODES6, 136, SOLE6));
    bench.expect(Pass, "router advertisement", &group(ALL_NODES6, 134, SOLE6));
    bench.expect(Pass, "redirect", &group(ALL_NODES6, 137, SOLE6));
    let shared = ethernet(IPV6, &ipv6(SHARED6, ICMPV6, &neighbour(135, SHARED6)));
    bench.expect(Pass, "solicitation to a shared address itself", &shared);
}

// What is malformed passes.

#[test]
fn truncated_packets_pass() {
    let mut bench = Bench::new();
    let sent4 = ipv4_from(SHARED4, OTHER4, TCP, 0, &[1; 4], &tcp(80, 5000)[..8]);
    let sent6 = ipv6_from(SHARED6, OTHER6, TCP, &tcp(8080, 5000)[..8]);
    let extended = extension(DESTINATION, 1, 0, &extension(TCP, 0, 0, &tcp(1, 8080)));
    let fragmented = fragment(TCP, 0, true, &tcp(1, 8080));
    let packets = [
        ("TCP/IPv4", tagged(&[SERVICE_TAG, CUSTOMER_TAG], IPV4, &ipv4(SHARED4, TCP, &tcp(1, 80)))),
        ("TCP/IPv4 options", ethernet(IPV4, &ipv4_with(SHARED4, TCP, 0, &[1; 40], &tcp(1, 80)))),
        ("TCP/IPv6", ethernet(IPV6, &ipv6(SHARED6, TCP, &tcp(1, 8080)))),
        ("TCP/IPv6 extensions", ethernet(IPV6, &ipv6(SHARED6, HOP_BY_HOP, &extended))),
        ("TCP/IPv6 fragment", ethernet(IPV6, &ipv6(SHARED6, FRAGMENT, &fragmented))),
        ("ICMP", ethernet(IPV4, &ipv4(SHARED4, ICMP, &icmp(3, 4, &sent4)))),
        ("ICMPv6", ethernet(IPV6, &ipv6(SHARED6, ICMPV6, &icmp(2, 0, &sent6)))),
        ("ARP", ethernet(ARP, &arp(1, SOLE4))),
        ("solicitation", {
            let question = &neighbour(135, SOLE6)[..24];
            ethernet(IPV6, &ipv6(SOLICITED6[1], ICMPV6, question))
        }),
    ];
    for (what, packet) in packets {
        bench.expect(Redirect, what, &packet);
        // The kernel runs no program on less than an Ethernet header.
        for len in 14..packet.len() {
            bench.expect(Pass, &format!("{what} cut to {len} of {}", packet.len()), &packet[..len]);
        }
    }
    // Of a packet to a sole address the whole IP header is enough.
    for (packet, enough) in [
        (ethernet(IPV4, &ipv4_with(SOLE4, TCP, 0, &[1; 8], &tcp(1, 22))), 14 + 28),
        (ethernet(IPV6, &ipv6(SOLE6, HOP_BY_HOP, &extension(TCP, 0, 0, &tcp(1, 22)))), 14 + 40),
    ] {
        for len in 14..=packet.len() {
            let expected = if len < enough { Pass } else { Redirect };
            bench.expect(expected, &format!("to a sole address, cut to {len}"), &packet[..len]);
        }
    }
}

#[test]
fn wrong_headers_pass() {
    let mut bench = Bench::new();
    let good = ethernet(IPV4, &ipv4(SHARED4, TCP, &tcp(1, 80)));
    // What a header of four words, or none, would make the port: bytes of the address, the length.
    let mut steering = steering();
    for port in [u16::from_be_bytes([SHARED4.octets()[2], SHARED4.octets()[3]]), 40] {
        steering.listeners.insert(Listener { address: None, ipv6: false, port });
    }
    bench.program.set_steering(&steering).unwrap();
    for first in [0x44, 0x40, 0x55, 0x65, 0x05] {
        let mut packet = good.clone();
        packet[14] = first;
        bench.expect(Pass, &format!("first byte {first:#x} in IPv4"), &packet);
    }
    let mut packet = ethernet(IPV6, &ipv6(SHARED6, TCP, &tcp(1, 8080)));
    packet[14] = 0x45;
    bench.expect(Pass, "version 4 in IPv6", &packet);
    bench.expect(Pass, "another protocol", &ethernet(0x88cc, &[0; 46]));
}

#[test]
fn a_packet_longer_than_a_frame_is_dropped() {
    let mut bench = Bench::new();
    let to = |port, len: usize| {
        let mut payload = tcp(1, port);
        payload.resize(len - 34, 0);
        ethernet(IPV4, &ipv4(SHARED4, TCP, &payload))
    };
    bench.expect(Redirect, "as long as a frame", &to(80, 3840));
    bench.expect(Drop, "one byte longer", &to(80, 3841));
    bench.expect(Drop, "9000 bytes", &to(80, 9014));
    bench.expect(Pass, "9000 bytes of SSH", &to(22, 9014));
}

// Steering changes, sockets and counters.

#[test]
fn steering_changes_take_effect() {
    let mut bench = Bench::new();
    let to = |address, port| ethernet(IPV4, &ipv4(address, TCP, &tcp(1, port)));
    let mut new = steering();
    new.listeners.remove(&Listener { address: None, ipv6: false, port: 80 });
    new.listeners.insert(Listener { address: None, ipv6: false, port: 81 });
    new.addresses.insert(OTHER4.into(), AddressOwner::Shared);
    new.addresses.insert(SOLE4.into(), AddressOwner::Shared);
    new.source_ports = 50000..=50001;
    bench.program.set_steering(&new).unwrap();
    bench.expect(Pass, "port that was bound", &to(SHARED4, 80));
    bench.expect(Redirect, "port that is bound now", &to(SHARED4, 81));
    bench.expect(Redirect, "address that is own now", &to(OTHER4, 81));
    bench.expect(Pass, "address that was sole", &to(SOLE4, 22));
    bench.expect(Redirect, "source port that is reserved now", &to(SHARED4, 50001));
    bench.expect(Pass, "source port that was reserved", &to(SHARED4, 45000));

    bench.program.set_steering(&Steering::default()).unwrap();
    for (address, port) in
        [(SHARED4, 81), (SHARED4, 443), (SOLE4, 22), (SHARED4, 50000), (SHARED4, 0)]
    {
        bench.expect(Pass, "nothing is taken", &to(address, port));
    }
}

#[test]
fn too_many_listeners_change_nothing() {
    let mut bench = Bench::new();
    let mut many = steering();
    for ipv6 in [false, true] {
        many.listeners.extend((1..=65535).map(|port| Listener { address: None, ipv6, port }));
    }
    let error = bench.program.set_steering(&many).unwrap_err().to_string();
    assert!(error.contains("65536") && error.contains(INTERFACE), "{error}");
    bench.expect(Pass, "SSH", &ethernet(IPV4, &ipv4(SHARED4, TCP, &tcp(1, 22))));
    bench.expect(Redirect, "bound", &ethernet(IPV4, &ipv4(SHARED4, TCP, &tcp(1, 80))));
}

#[test]
fn replies_to_addresses_of_others_are_taken_by_server_and_port() {
    let mut bench = Bench::new();
    let client4 = Ipv4Addr::new(203, 0, 113, 7);
    let client6 = Ipv6Addr::new(0x2001, 0xdb8, 1, 0, 0, 0, 0, 7);
    for (what, expected, ports) in [
        ("a source port", Redirect, (9000, 40000)),
        ("another port", Pass, (9000, 39999)),
        ("any port", Redirect, (9001, 5)),
        ("another port of the server", Pass, (9002, 40000)),
    ] {
        let segment = tcp(ports.0, ports.1);
        bench.expect(expected, what, &ethernet(IPV4, &ipv4(client4, TCP, &segment)));
        let of_six = if ports.0 == 9001 { Pass } else { expected };
        bench.expect(of_six, what, &ethernet(IPV6, &ipv6(client6, TCP, &segment)));
    }
    let later = ipv4_with(client4, TCP, 1, &[], &tcp(9001, 5));
    bench.expect(Pass, "a later fragment", &ethernet(IPV4, &later));
    bench.expect(Pass, "UDP", &ethernet(IPV4, &ipv4(client4, UDP, &tcp(9001, 5))));
}

#[test]
fn the_maps_hold_two_full_sets_for_a_moment() {
    let mut bench = Bench::new();
    let full = |ipv6| Steering {
        listeners: (0..=65535).map(|port| Listener { address: None, ipv6, port }).collect(),
        ..steering()
    };
    bench.program.set_steering(&full(false)).unwrap();
    bench.expect(Redirect, "any port", &ethernet(IPV4, &ipv4(SHARED4, TCP, &tcp(1, 7))));
    bench.program.set_steering(&full(true)).unwrap();
    bench.expect(Redirect, "any port", &ethernet(IPV6, &ipv6(SHARED6, TCP, &tcp(1, 7))));
    bench.expect(Pass, "any port", &ethernet(IPV4, &ipv4(SHARED4, TCP, &tcp(1, 7))));
}

#[test]
fn without_a_socket_packets_pass() {
    let Bench { mut program, queue, _lab } = Bench::new();
    let packet = ethernet(IPV4, &ipv4(SHARED4, TCP, &tcp(1, 80)));
    assert_eq!(program.verdict(&packet).unwrap(), Redirect);
    drop(queue);
    // Another test may be between fork and exec, and hold the socket that much longer.
    wait_until("the packet passes", || program.verdict(&packet).unwrap() == Pass);
}

#[test]
fn verdicts_are_counted() {
    let mut bench = Bench::new();
    let packet = |to, port, frag| ethernet(IPV4, &ipv4_with(to, TCP, frag, &[], &tcp(1, port)));
    let before = bench.program.counters().unwrap();
    assert_eq!(before.len(), 1, "one queue");
    for _ in 0..3 {
        bench.expect(Redirect, "bound", &packet(SHARED4, 80, 0));
    }
    for _ in 0..2 {
        bench.expect(Pass, "SSH", &packet(SHARED4, 22, 0));
    }
    bench.expect(Drop, "later fragment, sole", &packet(SOLE4, 80, 1));
    let after = bench.program.counters().unwrap();
    assert_eq!(after[0].redirected - before[0].redirected, 3);
    assert_eq!(after[0].passed - before[0].passed, 2);
    assert_eq!(after[0].dropped - before[0].dropped, 1);
}
