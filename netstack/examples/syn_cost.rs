//! What a SYN costs the stack: nanoseconds for one, from its frame to the frame of the SYN-ACK, in memory.
//!
//!     cargo run --release -p xlb-netstack --example syn_cost
//!     valgrind --tool=callgrind target/release/examples/syn_cost 200000
//!
//! Two numbers: with a record for each handshake, and by cookies once the records are taken. Not for what a wire adds,
//! which is more, nor for caches that others have filled.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Instant as Clock;

use netstack::fib::{Address, Fib, Link, LinkId, Origin, Ownership, Route, WireId};
use netstack::{Arrival, Instant, Listen, Secret, Stack, StackConfig, Transmit};
use smoltcp::wire::{IpAddress, IpProtocol, Ipv4Packet, TcpOption, TcpPacket, TcpSeqNumber};

/// Records of the listener.
const BACKLOG: usize = 65_536;
/// SYNs prepared, and given again and again with other ports: the frames stay in the cache, as a ring's do.
const FRAMES: usize = 200;
const OWN: [u8; 4] = [10, 0, 0, 1];
const ROUTER: [u8; 4] = [10, 0, 0, 2];
const MAC: [u8; 6] = [2, 0, 0, 0, 0, 1];

/// Frames are written, and forgotten.
struct Sink {
    frame: [u8; 128],
    count: usize,
}

impl Transmit for Sink {
    fn has_room(&mut self, _: WireId) -> bool {
        true
    }

    fn send(&mut self, _: WireId, len: usize, fill: impl FnOnce(&mut [u8])) {
        fill(&mut self.frame[..len]);
        self.count += 1;
    }
}

fn main() {
    let syns = std::env::args().nth(1).and_then(|count| count.parse().ok()).unwrap_or(4_000_000);
    let mut stack = stack();
    let by_record = flood(&mut stack, 0, BACKLOG);
    let by_cookie = flood(&mut stack, BACKLOG, syns);
    assert_eq!(stack.counters().cookies_sent, syns as u64);
    assert_eq!(stack.stats().half_open, BACKLOG);
    println!("by record {by_record:.0} ns, by cookie {by_cookie:.0} ns");
}

/// Nanoseconds for each of `count` SYNs.
fn flood(stack: &mut Stack, first: usize, count: usize) -> f64 {
    let now = Instant::from_millis(1000);
    let mut sink = Sink { frame: [0; 128], count: 0 };
    let mut taken = 0;
    let mut spent = 0;
    while taken < count {
        let batch: Vec<Vec<u8>> =
            (taken..count.min(taken + FRAMES)).map(|number| syn((first + number) as u32)).collect();
        let start = Clock::now();
        for frame in &batch {
            stack.handle_frame(WireId(0), frame, Arrival::Wire, now);
        }
        stack.poll_transmit(batch.len(), &mut sink, now);
        spent += start.elapsed().as_nanos();
        taken += batch.len();
    }
    assert_eq!(sink.count, count, "each SYN has its answer");
    spent as f64 / count as f64
}

fn stack() -> Stack {
    let mut stack = Stack::new(StackConfig::new(Secret([7; 16])));
    let link = Link { wire: WireId(0), vlan: None, mac: MAC, mtu: 1500, partial_checksums: false };
    let route = |prefix: &str, gateway: Option<IpAddr>| Route {
        prefix: prefix.parse().expect("a prefix"),
        link: LinkId(0),
        gateway,
        source: None,
        metric: 0,
        origin: Origin::Kernel,
    };
    let own = Address {
        link: LinkId(0),
        net: "10.0.0.1/24".parse().expect("a network"),
        ownership: Ownership::Shared,
    };
    let routes = vec![route("10.0.0.0/24", None), route("0.0.0.0/0", Some(ROUTER.into()))];
    let now = Instant::from_millis(1000);
    stack.set_fib(Arc::new(Fib::new(vec![link], vec![own], routes)), now);
    stack.set_neighbor(LinkId(0), ROUTER.into(), Some([2, 0, 0, 0, 0, 2]), now);
    let listen =
        Listen { address: None, ipv6: false, port: 80, wire: None, backlog: BACKLOG, user: 0 };
    stack.listen(listen).expect("nobody else listens");
    stack
}

/// As Linux sends it, from a source and a port that are this number's.
fn syn(number: u32) -> Vec<u8> {
    let random = number.wrapping_mul(0x9e37_79b1);
    let options = [
        TcpOption::MaxSegmentSize(1460),
        TcpOption::SackPermitted,
        TcpOption::TimeStamp { tsval: number, tsecr: 0 },
        TcpOption::NoOperation,
        TcpOption::WindowScale(7),
    ];
    let source = (0xc612_0000 | (random >> 15)).to_be_bytes();
    let mut frame = vec![0; 14 + 20 + 40];
    frame[..12].copy_from_slice(&[MAC, [2, 0, 0, 0, 0, 2]].concat());
    frame[12..14].copy_from_slice(&[0x08, 0x00]);
    let mut ip = Ipv4Packet::new_unchecked(&mut frame[14..]);
    ip.set_version(4);
    ip.set_header_len(20);
    ip.set_total_len(60);
    ip.set_hop_limit(64);
    ip.set_next_header(IpProtocol::Tcp);
    ip.set_src_addr(source.into());
    ip.set_dst_addr(OWN.into());
    ip.fill_checksum();
    let mut tcp = TcpPacket::new_unchecked(ip.payload_mut());
    tcp.set_src_port(1024 + (number >> 16) as u16 + (random & 0x7fff) as u16);
    tcp.set_dst_port(80);
    tcp.set_seq_number(TcpSeqNumber(random as i32));
    tcp.set_header_len(40);
    tcp.set_syn(true);
    tcp.set_window_len(64_240);
    let mut place = tcp.options_mut();
    for option in options {
        place = option.emit(place);
    }
    let (source, own) = (IpAddr::from(source), IpAddr::from(OWN));
    tcp.fill_checksum(&IpAddress::from(source), &IpAddress::from(own));
    frame
}
