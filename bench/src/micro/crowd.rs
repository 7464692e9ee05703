//! One stack with very many connections, and peers that are a script.
//!
//! In:    how many connections, whose turn it is
//! Out:   requests to one connection after the other; each is answered and acknowledged
//! Owns:  the stack under test; of each peer 12 bytes: its two sequence numbers and a timestamp
//! Never: has a stack for the peers
//!
//! # A transaction
//!
//! ```text
//! request, 64 bytes, acknowledging all before   ──►  event, read, written back
//! echo, 64 bytes                                ◄──
//! ... as many other transactions as `lag` says ...
//! acknowledgment of the echo                    ──►
//! ```
//!
//! So every connection does the same work, however many there are: one record in flight at most, one buffer
//! for the time of the lag. The peers go round a tour, in an order without rhyme; a connection is met again
//! when all others have been.

use std::hint::black_box;
use std::net::Ipv4Addr;
use std::sync::Arc;
use std::time::Duration;

use netstack::fib::{LinkId, WireId};
use netstack::{
    Arrival, ConnId, Event, Instant, Listen, ListenerId, Secret, Stack, StackConfig, Transmit,
};

use super::ours::fib;

/// Bytes of a request.
const REQUEST: usize = 64;
/// Where the peers' addresses begin: 100.64.0.0, behind a router, so that the neighbours are one.
const PEERS: u32 = 0x6440_0000;
/// Connections of one peer's address.
const PORTS: u32 = 256;
const PORT_MIN: u32 = 20_000;
/// Virtual time of one transaction, µs.
const TRANSACTION_US: u64 = 1;
/// Echoes under way at most: each holds a buffer, and their round trip stays below any timer.
const LAG_MAX: usize = 4096;

const OWN_MAC: [u8; 6] = [2, 0, 0, 0, 0, 1];
const ROUTER_MAC: [u8; 6] = [2, 0, 0, 0, 0, 2];
const OWN: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 1);
const ROUTER: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 2);
const SERVICE: u16 = 80;

/// What a peer remembers.
#[derive(Clone, Copy, Default)]
struct Peer {
    /// SND.NXT.
    seq: u32,
    /// RCV.NXT.
    ack: u32,
    /// The newest TSval of the stack.
    echo: u32,
}

/// A tour through some of the connections.
pub struct Tour {
    order: Vec<u32>,
    next: usize,
    lag: usize,
    /// Echoes that are not acknowledged yet: of the steps before `next`.
    pending: usize,
}

impl Tour {
    /// A tour through `size` connections of `of`, in an order that `seed` makes.
    pub fn new(size: usize, of: usize, seed: u64) -> Tour {
        assert!(0 < size && size <= of, "{size} of {of}");
        let mut order: Vec<u32> = (0..of as u32).collect();
        let mut state = seed;
        for index in 0..size {
            let other = index + below(&mut state, of - index);
            order.swap(index, other);
        }
        order.truncate(size);
        order.shrink_to_fit();
        Tour { order, next: 0, lag: (size / 2).min(LAG_MAX), pending: 0 }
    }

    fn at(&self, steps_back: usize) -> usize {
        let size = self.order.len();
        self.order[(self.next + size - steps_back % size) % size] as usize
    }
}

/// SplitMix64.
fn below(state: &mut u64, limit: usize) -> usize {
    *state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let mut z = *state;
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    ((z ^ (z >> 31)) % limit as u64) as usize
}

/// The stack under test and its peers.
pub struct Crowd {
    stack: Stack,
    peers: Vec<Peer>,
    request: Script,
    acknowledgment: Script,
    answer: Answer,
    now: Instant,
}

impl Crowd {
    /// `size` established connections, from as many crafted handshakes. None of them has carried a byte.
    pub fn open(size: usize) -> Crowd {
        let mut crowd = Crowd::empty(size);
        crowd.fill();
        crowd
    }

    /// A stack that listens, and peers that have not spoken.
    pub fn empty(size: usize) -> Crowd {
        let mut stack = Stack::new(StackConfig::new(Secret([11; 16])));
        let now = Instant::from_millis(1000);
        stack.set_fib(Arc::new(fib(OWN_MAC, OWN, &[("100.64.0.0/10", ROUTER)])), now);
        let listen = Listen {
            address: Some(OWN.into()),
            ipv6: false,
            port: SERVICE,
            wire: None,
            backlog: 16,
            user: 0,
        };
        stack.listen(listen).expect("nobody else listens");
        // The stack keeps what it is told until it asks again, which the peers would not answer.
        stack.set_neighbor(LinkId(0), ROUTER.into(), Some(ROUTER_MAC), now);
        Crowd {
            stack,
            peers: vec![Peer { seq: 1, ack: 0, echo: 0 }; size],
            request: Script::new(&[0x5a; REQUEST]),
            acknowledgment: Script::new(&[]),
            answer: Answer::default(),
            now,
        }
    }

    /// Opens all connections.
    pub fn fill(&mut self) {
        for index in 0..self.peers.len() {
            self.shake_hands(index);
        }
    }

    /// Connections.
    pub fn len(&self) -> usize {
        self.peers.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.peers.is_empty()
    }

    /// The stack under test.
    pub fn stack(&self) -> &Stack {
        &self.stack
    }

    fn shake_hands(&mut self, index: usize) {
        let mut syn = Script::syn();
        self.deliver(syn.frame(index, &self.peers[index]));
        assert_eq!(self.speak(), 1, "a SYN-ACK");
        self.hear(index, 1);
        self.peers[index].seq += 1;
        let frame = self.acknowledgment.frame(index, &self.peers[index]);
        self.stack.handle_frame(WireId(0), frame, Arrival::Wire, self.now);
        let accepted =
            std::iter::from_fn(|| self.stack.poll_event()).find_map(|event| match event {
                Event::Accept(listener, _) => Some(listener),
                Event::Connection(..) => None,
            });
        self.accept(accepted.expect("a connection"), index);
        assert_eq!(self.speak(), 0, "the handshake is over");
        // The half-open records' timers are cancelled, so time may stand still but for the ISNs.
        self.now += Duration::from_micros(1);
    }

    fn accept(&mut self, listener: ListenerId, index: usize) -> ConnId {
        self.stack.accept(listener, index as u64).expect("a connection")
    }

    fn deliver(&mut self, frame: &[u8]) {
        self.stack.handle_frame(WireId(0), frame, Arrival::Wire, self.now);
    }

    /// Lets the stack say what it has to say; returns how many frames.
    fn speak(&mut self) -> usize {
        self.stack.poll_transmit(4, &mut self.answer, self.now)
    }

    /// The peer takes the frame that the stack sent last, which must be the next `len` octets to it.
    fn hear(&mut self, index: usize, len: u32) {
        let heard = self.answer.read();
        let peer = &mut self.peers[index];
        assert_eq!(heard.port, port(index), "the frame is for connection {index}");
        assert!(heard.syn || (heard.seq == peer.ack && heard.ack == peer.seq), "{heard:?}");
        assert_eq!(
            heard.len,
            len as usize + HEADERS + heard.options - if heard.syn { 1 } else { 0 }
        );
        peer.ack = heard.seq.wrapping_add(len);
        peer.echo = heard.tsval;
    }

    /// One step of a tour.
    #[inline(never)]
    pub fn step(&mut self, tour: &mut Tour) {
        let index = tour.at(0);
        let frame = self.request.frame(index, &self.peers[index]);
        self.stack.handle_frame(WireId(0), frame, Arrival::Wire, self.now);
        self.peers[index].seq = self.peers[index].seq.wrapping_add(REQUEST as u32);
        self.stack.handle_timers(self.now);
        self.echo(index);
        assert_eq!(self.speak(), 1, "an echo");
        self.hear(index, REQUEST as u32);
        tour.pending += 1;
        tour.next = (tour.next + 1) % tour.order.len();
        if tour.pending > tour.lag {
            self.acknowledge(tour);
        }
        self.now += Duration::from_micros(TRANSACTION_US);
    }

    /// The user reads the request and writes it back.
    fn echo(&mut self, index: usize) {
        let Some(Event::Connection(id, user)) = self.stack.poll_event() else {
            panic!("no event of connection {index}");
        };
        assert_eq!(user, index as u64, "the event is of the connection that the request was for");
        let mut bytes = [0; 2 * REQUEST];
        assert_eq!(self.stack.recv(id, &mut bytes, self.now), REQUEST);
        assert_eq!(self.stack.send(id, &bytes[..REQUEST], self.now), REQUEST);
        assert_eq!(self.stack.poll_event(), None, "one event for one request");
    }

    /// Acknowledges the oldest echo that is not.
    fn acknowledge(&mut self, tour: &mut Tour) {
        let index = tour.at(tour.pending);
        tour.pending -= 1;
        let frame = self.acknowledgment.frame(index, &self.peers[index]);
        self.stack.handle_frame(WireId(0), frame, Arrival::Wire, self.now);
        assert_eq!(self.speak(), 0, "nothing answers an acknowledgment");
    }

    /// The end of a tour: every echo is acknowledged.
    pub fn rest(&mut self, tour: &mut Tour) {
        while tour.pending > 0 {
            self.acknowledge(tour);
        }
    }

    /// What a step costs the script alone: the same frames, and the peer's part of the books. Nothing is
    /// said to the stack, and nothing is remembered of it.
    #[inline(never)]
    pub fn rehearse(&mut self, tour: &mut Tour) {
        let index = tour.at(0);
        black_box(self.request.frame(index, &self.peers[index]));
        let peer = &mut self.peers[index];
        peer.echo = black_box(peer.echo);
        black_box(self.answer.read());
        let index = tour.at(tour.lag);
        black_box(self.acknowledgment.frame(index, &self.peers[index]));
        tour.next = (tour.next + 1) % tour.order.len();
    }
}

fn address(index: usize) -> u32 {
    PEERS + index as u32 / PORTS
}

fn port(index: usize) -> u16 {
    (PORT_MIN + index as u32 % PORTS) as u16
}

const ETHERNET: usize = 14;
const IP: usize = ETHERNET + 20;
/// Bytes in front of the TCP options.
const HEADERS: usize = IP + 20;
/// Two NOPs and a timestamp, as Linux places them.
const STAMP: [u8; 12] = [1, 1, 8, 10, 0, 0, 0, 1, 0, 0, 0, 0];
/// MSS 1460, SACK permitted, a timestamp, a NOP and a window scale of 7.
const SYN_OPTIONS: [u8; 20] = [2, 4, 5, 180, 4, 2, 8, 10, 0, 0, 0, 1, 0, 0, 0, 0, 1, 3, 3, 7];
const ACK: u8 = 0x10;
const PSH_ACK: u8 = 0x18;
const SYN: u8 = 0x02;

/// A frame of which all but the peer and its numbers is written, and most of the checksums added.
struct Script {
    bytes: Vec<u8>,
    /// Where TSecr is.
    echo_at: usize,
    /// Sums of 16-bit words: of the IP header; of the TCP header, what follows it, and the pseudo-header.
    ip_sum: u32,
    tcp_sum: u32,
}

impl Script {
    fn new(payload: &[u8]) -> Script {
        Script::of(if payload.is_empty() { ACK } else { PSH_ACK }, &STAMP, 8, payload)
    }

    fn syn() -> Script {
        Script::of(SYN, &SYN_OPTIONS, 12, &[])
    }

    fn of(flags: u8, options: &[u8], echo_at: usize, payload: &[u8]) -> Script {
        let tcp_len = 20 + options.len() + payload.len();
        let mut bytes = [&OWN_MAC[..], &ROUTER_MAC, &[0x08, 0x00]].concat();
        let ip_len = (20 + tcp_len) as u16;
        bytes.extend([0x45, 0]);
        bytes.extend(ip_len.to_be_bytes());
        bytes.extend([0, 0, 0x40, 0, 64, 6, 0, 0, 0, 0, 0, 0]);
        bytes.extend(OWN.octets());
        bytes.extend([0, 0]);
        bytes.extend(SERVICE.to_be_bytes());
        bytes.extend([0; 8]);
        bytes.extend([((20 + options.len()) / 4 * 16) as u8, flags]);
        // A window of 64 KiB, scaled or not.
        bytes.extend(if flags == SYN { [0xff, 0xff] } else { [0x02, 0x00] });
        bytes.extend([0, 0, 0, 0]);
        bytes.extend(options);
        bytes.extend(payload);
        let pseudo_header = sum(&OWN.octets()) + 6 + tcp_len as u32;
        let (ip_sum, tcp_sum) = (sum(&bytes[ETHERNET..IP]), sum(&bytes[IP..]) + pseudo_header);
        Script { bytes, echo_at: HEADERS + echo_at, ip_sum, tcp_sum }
    }

    /// The frame as this peer says it now.
    #[inline]
    fn frame(&mut self, index: usize, peer: &Peer) -> &[u8] {
        let (address, port) = (address(index), port(index));
        let words = |number: u32| (number >> 16) + (number & 0xffff);
        let varying = words(address) + u32::from(port) + words(peer.seq) + words(peer.ack);
        let ip_sum = folded(self.ip_sum + words(address));
        let tcp_sum = folded(self.tcp_sum + varying + words(peer.echo));
        let echo_at = self.echo_at;
        let mut put =
            |at: usize, value: &[u8]| self.bytes[at..at + value.len()].copy_from_slice(value);
        put(ETHERNET + 10, &ip_sum.to_be_bytes());
        put(ETHERNET + 12, &address.to_be_bytes());
        put(IP, &port.to_be_bytes());
        put(IP + 4, &peer.seq.to_be_bytes());
        put(IP + 8, &peer.ack.to_be_bytes());
        put(IP + 16, &tcp_sum.to_be_bytes());
        put(echo_at, &peer.echo.to_be_bytes());
        &self.bytes
    }
}

/// Sum of 16-bit words, the last padded.
fn sum(bytes: &[u8]) -> u32 {
    let word = |pair: &[u8]| u32::from(pair[0]) << 8 | u32::from(*pair.get(1).unwrap_or(&0));
    bytes.chunks(2).map(word).sum()
}

/// RFC 1071: the complement of the ones' complement sum.
fn folded(sum: u32) -> u16 {
    let sum = (sum >> 16) + (sum & 0xffff);
    !((sum >> 16) + (sum & 0xffff)) as u16
}

/// The last frame that the stack sent.
struct Answer {
    bytes: [u8; 2048],
    len: usize,
}

impl Default for Answer {
    fn default() -> Self {
        Answer { bytes: [0; 2048], len: 0 }
    }
}

impl Transmit for Answer {
    fn has_room(&mut self, _: WireId) -> bool {
        true
    }

    #[inline]
    fn send(&mut self, _: WireId, len: usize, fill: impl FnOnce(&mut [u8])) {
        self.len = len;
        fill(&mut self.bytes[..len]);
    }
}

/// What of it a peer looks at.
#[derive(Debug)]
struct Heard {
    port: u16,
    seq: u32,
    ack: u32,
    syn: bool,
    tsval: u32,
    /// Bytes of TCP options, and of the frame.
    options: usize,
    len: usize,
}

impl Answer {
    #[inline]
    fn read(&self) -> Heard {
        let word = |at: usize| {
            let bytes = &self.bytes[at..at + 4];
            u32::from_be_bytes([bytes[0], bytes[1], bytes[2], bytes[3]])
        };
        let syn = self.bytes[IP + 13] & SYN != 0;
        let options = usize::from(self.bytes[IP + 12] >> 4) * 4 - 20;
        let mut stamp = 0;
        if syn {
            // Where it is in a SYN-ACK is the stack's choice.
            let mut at = HEADERS;
            while at < HEADERS + options && stamp == 0 {
                match self.bytes[at] {
                    8 => stamp = word(at + 2),
                    1 => at += 1,
                    _ => at += usize::from(self.bytes[at + 1]),
                }
            }
        } else {
            // Ours stands first and is padded behind; two NOPs in front of it are Linux's way.
            let at = if self.bytes[HEADERS] == 8 { HEADERS + 2 } else { HEADERS + 4 };
            stamp = word(at);
        }
        Heard {
            port: (word(IP) & 0xffff) as u16,
            seq: word(IP + 4),
            ack: word(IP + 8),
            syn,
            tsval: stamp,
            options,
            len: self.len,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tours(size: usize, of: usize, steps: usize) {
        let mut crowd = Crowd::open(of);
        let mut tour = Tour::new(size, of, 3);
        for _ in 0..steps {
            crowd.step(&mut tour);
        }
        crowd.rest(&mut tour);
        crowd.stack.assert_invariants();
        let stats = crowd.stack.stats();
        assert_eq!(
            (stats.connections.used, stats.buffers.used),
            (of, 0),
            "idle, and without a buffer"
        );
        assert_eq!(crowd.stack.counters().retransmits, 0);
    }

    #[test]
    fn one_connection_answers_every_request() {
        tours(1, 1, 3000);
    }

    #[test]
    fn each_of_many_answers_every_request() {
        tours(1000, 1000, 5000);
    }

    #[test]
    fn a_few_of_many_answer_every_request() {
        tours(64, 1000, 3000);
    }

    #[test]
    fn a_tour_meets_everyone_once() {
        let tour = Tour::new(500, 500, 1);
        let mut order = tour.order;
        assert_ne!(order, (0..500).collect::<Vec<u32>>());
        order.sort_unstable();
        assert_eq!(order, (0..500).collect::<Vec<u32>>());
    }
}
