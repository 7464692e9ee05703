//! Two stacks and a wire between them, in virtual time, from one seed.
//!
//! In:    what a test does to either stack, and what the wire does to frames
//! Out:   every byte that one side sends, once and in order, or a panic
//! Owns:  both stacks, the frames under way, the time
//! Never: steps without asserting the invariants of both stacks

use std::collections::BinaryHeap;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use netstack::fib::{Fib, Link, Ownership, WireId};
use netstack::{
    Arrival, ConnId, ConnectionError, Instant, Listen, ListenerId, Secret, Stack, StackConfig,
    State,
};

use super::{OWN, OWN_MAC, Outbox, PEER, PEER_MAC, Random, address, link, network};

#[derive(Clone, Copy)]
pub struct Faults {
    pub loss: f64,
    pub duplicate: f64,
    pub corrupt: f64,
    pub delay_us: u64,
    pub jitter_us: u64,
}

pub const CLEAN: Faults =
    Faults { loss: 0.0, duplicate: 0.0, corrupt: 0.0, delay_us: 50, jitter_us: 0 };

/// Frames under way to one side, the earliest first.
#[derive(PartialEq, Eq)]
pub struct InTransit {
    pub at: u64,
    pub order: u64,
    pub to: usize,
    pub bytes: Vec<u8>,
}

impl Ord for InTransit {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        (other.at, other.order).cmp(&(self.at, self.order))
    }
}

impl PartialOrd for InTransit {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

pub struct Pair {
    pub stacks: [Stack; 2],
    pub wire: BinaryHeap<InTransit>,
    pub faults: Faults,
    pub random: Random,
    pub now: Instant,
    pub frames: u64,
    pub last_frame: Instant,
    /// Nothing passes to this side.
    pub cut: [bool; 2],
}

pub fn ip(ipv6: bool, side: usize) -> IpAddr {
    [OWN, PEER][side][usize::from(ipv6)]
}

pub fn fib(side: usize) -> Fib {
    let link = Link { mac: [OWN_MAC, PEER_MAC][side], ..link() };
    let own = [false, true].map(|ipv6| address(ip(ipv6, side), Ownership::Sole));
    network(link, own.to_vec())
}

impl Pair {
    pub fn new(seed: u64, faults: Faults) -> Pair {
        Pair::with(seed, faults, |_| {})
    }

    pub fn with(seed: u64, faults: Faults, adjust: impl Fn(&mut StackConfig)) -> Pair {
        let stacks = [0, 1].map(|side| {
            let mut config = StackConfig::new(Secret([(seed as u8).wrapping_add(side as u8); 16]));
            adjust(&mut config);
            let mut stack = Stack::new(config);
            stack.set_fib(Arc::new(fib(side)), Instant::ZERO);
            stack
        });
        Pair {
            stacks,
            wire: BinaryHeap::new(),
            faults,
            random: Random(seed),
            now: Instant::from_millis(1000 + seed),
            frames: 0,
            last_frame: Instant::ZERO,
            cut: [false; 2],
        }
    }

    pub fn put(&mut self, to: usize, mut bytes: Vec<u8>) {
        self.frames += 1;
        self.last_frame = self.now;
        let faults = self.faults;
        if self.cut[to] || self.random.chance(faults.loss) {
            return;
        }
        if self.random.chance(faults.corrupt) {
            let bit = self.random.below(bytes.len() as u64 * 8) as usize;
            bytes[bit / 8] ^= 1 << (bit % 8);
        }
        let copies = 1 + usize::from(self.random.chance(faults.duplicate));
        for _ in 0..copies {
            let jitter = self.random.below(faults.jitter_us + 1);
            let at = self.now.micros() + faults.delay_us + jitter;
            let order = self.frames * 2 + copies as u64;
            self.wire.push(InTransit { at, order, to, bytes: bytes.clone() });
        }
    }

    /// One step: what is due is delivered, both stacks speak, and the time moves to what is next.
    pub fn step(&mut self) {
        while self.wire.peek().is_some_and(|frame| frame.at <= self.now.micros()) {
            let frame = self.wire.pop().unwrap();
            self.stacks[frame.to].handle_frame(WireId(0), &frame.bytes, Arrival::Wire, self.now);
        }
        for side in 0..2 {
            self.stacks[side].handle_timers(self.now);
            self.speak(side);
            self.stacks[side].assert_invariants();
        }
        let due = self.wire.peek().map(|frame| frame.at);
        let timers = self.stacks.iter().filter_map(|stack| stack.poll_at().map(|at| at.micros()));
        let next = timers.chain(due).min().unwrap_or(self.now.micros() + 1000);
        self.now = Instant::from_micros(next.max(self.now.micros() + 1));
    }

    pub fn speak(&mut self, side: usize) {
        loop {
            let mut frames = Vec::new();
            self.stacks[side].poll_transmit(64, &mut Outbox(&mut frames), self.now);
            // Makes requests of those whose neighbour is not known.
            assert!(self.stacks[side].poll_resolve().is_none(), "no kernel here");
            if frames.is_empty() && !self.stacks[side].has_work() {
                break;
            }
            for bytes in frames {
                self.put(1 - side, bytes);
            }
        }
    }

    pub fn run_until(
        &mut self,
        what: &str,
        limit: Duration,
        mut done: impl FnMut(&mut Pair) -> bool,
    ) {
        let deadline = self.now + limit;
        while !done(self) {
            assert!(self.now < deadline, "not in time: {what}, at {}", self.now);
            self.step();
        }
    }

    pub fn listen(&mut self, ipv6: bool) -> ListenerId {
        let listen = Listen { address: None, ipv6, port: 80, wire: None, backlog: 100, user: 7 };
        self.stacks[1].listen(listen).unwrap()
    }

    /// A connection from side 0 to side 1, open on both.
    pub fn open(&mut self, listener: ListenerId, ipv6: bool) -> [ConnId; 2] {
        let remote = SocketAddr::new(ip(ipv6, 1), 80);
        let mut client = self.stacks[0].connect(remote, None, 1, self.now).unwrap();
        let mut server = None;
        self.run_until("the handshake", Duration::from_secs(240), |pair| {
            // Three requests for a neighbour can be lost in a row: as a user would, try again.
            if pair.stacks[0].status(client).unwrap().error == Some(ConnectionError::Unreachable) {
                pair.stacks[0].close(client, pair.now);
                client = pair.stacks[0].connect(remote, None, 1, pair.now).unwrap();
            }
            server = server.or_else(|| pair.stacks[1].accept(listener, 2));
            pair.state(0, client) == Some(State::Established) && server.is_some()
        });
        [client, server.unwrap()]
    }

    pub fn state(&self, side: usize, id: ConnId) -> Option<State> {
        self.stacks[side].status(id).map(|status| status.state)
    }
}

/// The byte at an offset of a stream.
pub fn byte(side: usize, offset: usize) -> u8 {
    (offset.wrapping_mul(31) ^ (offset >> 8).wrapping_mul(17) ^ (side * 101)) as u8
}

/// One end of a transfer: what it has sent and received.
pub struct End {
    pub id: ConnId,
    pub side: usize,
    pub total: usize,
    pub sent: usize,
    pub received: usize,
    pub shut: bool,
}

impl End {
    pub fn turn(&mut self, pair: &mut Pair, piece: usize) {
        let stack = &mut pair.stacks[self.side];
        while self.sent < self.total {
            let count = piece.min(self.total - self.sent);
            let bytes: Vec<u8> =
                (self.sent..self.sent + count).map(|at| byte(self.side, at)).collect();
            let taken = stack.send(self.id, &bytes, pair.now);
            self.sent += taken;
            if taken < count {
                break;
            }
        }
        if self.sent == self.total && !self.shut {
            stack.shut(self.id, pair.now);
            self.shut = true;
        }
        let mut out = vec![0; piece];
        loop {
            let count = stack.recv(self.id, &mut out, pair.now);
            if count == 0 {
                break;
            }
            for (index, got) in out[..count].iter().enumerate() {
                assert_eq!(
                    *got,
                    byte(1 - self.side, self.received + index),
                    "at {}",
                    self.received
                );
            }
            self.received += count;
        }
    }

    pub fn is_done(&self, pair: &Pair) -> bool {
        pair.stacks[self.side].status(self.id).is_some_and(|status| status.eof) && self.shut
    }
}

pub fn transfer(
    pair: &mut Pair,
    ids: [ConnId; 2],
    totals: [usize; 2],
    piece: usize,
    limit: Duration,
) {
    let mut ends = [0, 1].map(|side| End {
        id: ids[side],
        side,
        total: totals[side],
        sent: 0,
        received: 0,
        shut: false,
    });
    pair.run_until("the transfer", limit, |pair| {
        for end in &mut ends {
            end.turn(pair, piece);
        }
        while pair.stacks[0].poll_event().is_some() {}
        while pair.stacks[1].poll_event().is_some() {}
        ends.iter().all(|end| end.is_done(pair))
    });
    for end in &ends {
        assert_eq!(end.received, totals[1 - end.side]);
        assert_eq!(pair.stacks[end.side].status(end.id).unwrap().error, None);
        pair.stacks[end.side].close(end.id, pair.now);
    }
    pair.run_until("the end of both", Duration::from_secs(600), |pair| {
        pair.stacks.iter().all(|stack| stack.stats().connections.used == 0)
    });
    for stack in &pair.stacks {
        assert_eq!(stack.stats().buffers.used, 0, "all buffers are back");
    }
}
