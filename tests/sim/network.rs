//! The switch between hosts and the balancer's queues, with faults.
//!
//! In:    frames of hosts and of the balancer
//! Out:   the same frames, late, lost, twice, out of order or with a bit flipped, each at its door
//! Owns:  frames on their way; the choice of a queue, as a NIC makes it; a trace of all there was
//! Never: reads a clock

use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashSet};
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use netstack::Instant;
use netstack::rss::Rss;
use smoltcp::wire::{
    EthernetFrame, EthernetProtocol, IpProtocol, Ipv4Packet, Ipv6Packet, PrettyPrinter, TcpPacket,
};

use crate::random::Random;
use crate::scenario::{Faults, Steering};

/// Bits are flipped behind it: the check sequence of the link guards the link's own addresses, and a frame
/// that fails it is a frame that is lost.
const ETHERNET_HEADER: usize = 14;

/// A door of the switch.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Door {
    Host(usize),
    /// A queue of the balancer's interface.
    Queue(usize),
}

/// A TCP flow, in the direction of a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Flow {
    pub source: SocketAddr,
    pub destination: SocketAddr,
}

/// A frame on its way. What arrives first comes first, and what was sent first among equals.
#[derive(PartialEq, Eq, PartialOrd, Ord)]
struct Passing {
    at: Instant,
    order: u64,
    door: Door,
    frame: Vec<u8>,
}

/// The switch.
pub struct Network {
    faults: Faults,
    loses_neighbors: bool,
    steering: Steering,
    rss: Rss,
    hash_key: u64,
    random: Random,
    queues: usize,
    balancer_mac: [u8; 6],
    hosts: Vec<[u8; 6]>,
    /// TCP to or from these addresses gets no answer.
    silent: HashSet<IpAddr>,
    /// Nothing of these flows arrives.
    cut: HashSet<Flow>,
    on_the_way: BinaryHeap<Reverse<Passing>>,
    order: u64,
    /// Hash of every frame that was sent, and of the time of each.
    pub trace: u64,
    /// Frames are printed too.
    is_verbose: bool,
}

impl Network {
    pub fn new(scenario: &crate::scenario::Scenario, balancer_mac: [u8; 6]) -> Self {
        let mut random = Random::new(scenario.seed, 2);
        let hash_key = random.next();
        Network {
            faults: scenario.faults,
            loses_neighbors: scenario.loses_neighbors,
            steering: scenario.steering,
            rss: rss(scenario.seed, scenario.workers),
            hash_key,
            random,
            queues: scenario.workers,
            balancer_mac,
            hosts: Vec::new(),
            silent: HashSet::new(),
            cut: HashSet::new(),
            on_the_way: BinaryHeap::new(),
            order: 0,
            trace: 0,
            is_verbose: std::env::var_os("SIM_TRACE").is_some(),
        }
    }

    /// Hosts are known by their number, in the order in which they come.
    pub fn attach(&mut self, mac: [u8; 6]) {
        self.hosts.push(mac);
    }

    /// TCP to or from this address gets no answer.
    pub fn silence(&mut self, address: IpAddr) {
        self.silent.insert(address);
    }

    /// Nothing of this flow arrives any more, in either direction.
    pub fn cut(&mut self, one: SocketAddr, other: SocketAddr) {
        self.cut.insert(Flow { source: one, destination: other });
        self.cut.insert(Flow { source: other, destination: one });
    }

    /// When the next frame arrives.
    pub fn next_at(&self) -> Option<Instant> {
        self.on_the_way.peek().map(|Reverse(passing)| passing.at)
    }

    /// The next frame that has arrived.
    pub fn poll(&mut self, now: Instant) -> Option<(Door, Vec<u8>)> {
        if self.next_at()? > now {
            return None;
        }
        self.on_the_way.pop().map(|Reverse(passing)| (passing.door, passing.frame))
    }

    /// Takes a frame; `from`: the host that sent it, none for the balancer.
    pub fn send(&mut self, frame: &[u8], from: Option<usize>, now: Instant) {
        self.note(frame, now);
        if self.is_verbose {
            let sender = from.map_or("balancer".to_owned(), |host| format!("host {host}"));
            let text = PrettyPrinter::<EthernetFrame<&[u8]>>::new("", &frame).to_string();
            println!("{now} {sender}: {}", text.replace('\n', " "));
        }
        let flow = flow_of(frame);
        if flow.is_some_and(|flow| self.is_dead(&flow)) {
            return;
        }
        let destination: [u8; 6] = frame[..6].try_into().expect("a frame has a header");
        let is_group = destination[0] & 1 != 0;
        if from.is_some() && (is_group || destination == self.balancer_mac) {
            let queue = self.queue_of(flow.as_ref(), now);
            self.carry(frame, flow.is_some(), Door::Queue(queue), now);
        }
        for host in 0..self.hosts.len() {
            if from != Some(host) && (is_group || destination == self.hosts[host]) {
                self.carry(frame, flow.is_some(), Door::Host(host), now);
            }
        }
    }

    fn is_dead(&self, flow: &Flow) -> bool {
        self.cut.contains(flow)
            || self.silent.contains(&flow.source.ip())
            || self.silent.contains(&flow.destination.ip())
    }

    fn carry(&mut self, frame: &[u8], is_tcp: bool, door: Door, now: Instant) {
        let faults = self.faults;
        let may_lose = is_tcp || self.loses_neighbors;
        if self.random.ppm(faults.loss_ppm) && may_lose {
            return;
        }
        let mut frame = frame.to_vec();
        // ARP has no checksum of its own: what the link's would catch is not for TCP to repair.
        if self.random.ppm(faults.corrupt_ppm) && is_tcp {
            let bits = (frame.len() - ETHERNET_HEADER) as u64 * 8;
            let bit = ETHERNET_HEADER * 8 + self.random.below(bits) as usize;
            frame[bit / 8] ^= 1 << (bit % 8);
        }
        if self.random.ppm(faults.duplicate_ppm) {
            self.enqueue(frame.clone(), door, now);
        }
        self.enqueue(frame, door, now);
    }

    fn enqueue(&mut self, frame: Vec<u8>, door: Door, now: Instant) {
        let delay = self.faults.delay_us + self.random.below(self.faults.jitter_us + 1);
        self.order += 1;
        let (at, order) = (now + Duration::from_micros(delay), self.order);
        self.on_the_way.push(Reverse(Passing { at, order, door, frame }));
    }

    fn queue_of(&mut self, flow: Option<&Flow>, now: Instant) -> usize {
        let Some(flow) = flow else { return self.random.below(self.queues as u64) as usize };
        let hash = self.steering_hash(flow, now);
        hash as usize % self.queues
    }

    fn steering_hash(&mut self, flow: &Flow, now: Instant) -> u64 {
        let Flow { source, destination } = *flow;
        match self.steering {
            Steering::Toeplitz => {
                let (from, to) = (source.port(), destination.port());
                u64::from(self.rss.queue_of(source.ip(), destination.ip(), from, to))
            }
            Steering::Hash => self.hash(flow, 0),
            Steering::Rehash { every_us } => self.hash(flow, now.micros() / every_us),
            Steering::Astray { ppm } if self.random.ppm(ppm) => self.random.next(),
            Steering::Astray { .. } => self.hash(flow, 0),
        }
    }

    fn hash(&self, flow: &Flow, salt: u64) -> u64 {
        let mut hash = mix(self.hash_key, salt);
        for end in [flow.source, flow.destination] {
            let ip = match end.ip() {
                IpAddr::V4(ip) => u64::from(ip.to_bits()),
                IpAddr::V6(ip) => ip.to_bits() as u64,
            };
            hash = mix(hash, ip << 16 | u64::from(end.port()));
        }
        hash
    }

    fn note(&mut self, frame: &[u8], now: Instant) {
        let mut hash = mix(self.trace, now.micros());
        for word in frame.chunks(8) {
            let mut bytes = [0; 8];
            bytes[..word.len()].copy_from_slice(word);
            hash = mix(hash, u64::from_le_bytes(bytes));
        }
        self.trace = hash;
    }
}

/// What the balancer's NIC hashes with.
pub fn rss(seed: u64, queues: usize) -> Rss {
    let mut random = Random::new(seed, 3);
    let key = (0..40).map(|_| random.next() as u8).collect();
    let table = (0..128).map(|index| (index % queues) as u16).collect();
    Rss::new(key, table).expect("a key and a table of the usual size")
}

/// One step of a hash that is the same on every machine.
pub fn mix(hash: u64, word: u64) -> u64 {
    let hash = (hash ^ word).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    hash ^ (hash >> 29)
}

fn flow_of(frame: &[u8]) -> Option<Flow> {
    segment_of(frame).map(|(flow, _)| flow)
}

/// The flow that a frame asks to open.
pub fn opens(frame: &[u8]) -> Option<Flow> {
    segment_of(frame).and_then(|(flow, opens)| opens.then_some(flow))
}

/// The flow of a frame, and whether it is a SYN without an acknowledgment.
fn segment_of(frame: &[u8]) -> Option<(Flow, bool)> {
    let frame = EthernetFrame::new_checked(frame).ok()?;
    match frame.ethertype() {
        EthernetProtocol::Ipv4 => {
            let packet = Ipv4Packet::new_checked(frame.payload()).ok()?;
            let (from, to) = (packet.src_addr().into(), packet.dst_addr().into());
            tcp_of(packet.next_header(), packet.payload(), from, to)
        }
        EthernetProtocol::Ipv6 => {
            let packet = Ipv6Packet::new_checked(frame.payload()).ok()?;
            let (from, to) = (packet.src_addr().into(), packet.dst_addr().into());
            tcp_of(packet.next_header(), packet.payload(), from, to)
        }
        _ => None,
    }
}

fn tcp_of(protocol: IpProtocol, payload: &[u8], from: IpAddr, to: IpAddr) -> Option<(Flow, bool)> {
    if protocol != IpProtocol::Tcp {
        return None;
    }
    let tcp = TcpPacket::new_checked(payload).ok()?;
    let source = SocketAddr::new(from, tcp.src_port());
    let destination = SocketAddr::new(to, tcp.dst_port());
    Some((Flow { source, destination }, tcp.syn() && !tcp.ack()))
}
