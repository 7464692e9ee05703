//! Two stacks and a wire between them, in virtual time, from one seed.
//!
//! Every byte that one side sends arrives once and in order, whatever the wire does short of silence;
//! invariants of both stacks are asserted as the time goes on.

mod common;

use std::collections::BinaryHeap;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use common::{OWN, OWN_MAC, Outbox, PEER, PEER_MAC, Random, address, link, network};
use netstack::fib::{Fib, Link, Ownership, WireId};
use netstack::{
    Arrival, ConnId, ConnectionError, Event, Instant, Listen, ListenerId, Secret, Stack,
    StackConfig, State,
};

#[derive(Clone, Copy)]
struct Faults {
    loss: f64,
    duplicate: f64,
    corrupt: f64,
    delay_us: u64,
    jitter_us: u64,
}

const CLEAN: Faults =
    Faults { loss: 0.0, duplicate: 0.0, corrupt: 0.0, delay_us: 50, jitter_us: 0 };

/// Frames under way to one side, the earliest first.
#[derive(PartialEq, Eq)]
struct InTransit {
    at: u64,
    order: u64,
    to: usize,
    bytes: Vec<u8>,
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

struct Pair {
    stacks: [Stack; 2],
    wire: BinaryHeap<InTransit>,
    faults: Faults,
    random: Random,
    now: Instant,
    frames: u64,
    last_frame: Instant,
    /// Nothing passes to this side.
    cut: [bool; 2],
}

fn ip(ipv6: bool, side: usize) -> IpAddr {
    [OWN, PEER][side][usize::from(ipv6)]
}

fn fib(side: usize) -> Fib {
    let link = Link { mac: [OWN_MAC, PEER_MAC][side], ..link() };
    let own = [false, true].map(|ipv6| address(ip(ipv6, side), Ownership::Sole));
    network(link, own.to_vec())
}

impl Pair {
    fn new(seed: u64, faults: Faults) -> Pair {
        Pair::with(seed, faults, |_| {})
    }

    fn with(seed: u64, faults: Faults, adjust: impl Fn(&mut StackConfig)) -> Pair {
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

    fn put(&mut self, to: usize, mut bytes: Vec<u8>) {
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
    fn step(&mut self) {
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

    fn speak(&mut self, side: usize) {
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

    fn run_until(&mut self, what: &str, limit: Duration, mut done: impl FnMut(&mut Pair) -> bool) {
        let deadline = self.now + limit;
        while !done(self) {
            assert!(self.now < deadline, "not in time: {what}, at {}", self.now);
            self.step();
        }
    }

    fn listen(&mut self, ipv6: bool) -> ListenerId {
        let listen = Listen { address: None, ipv6, port: 80, wire: None, backlog: 100, user: 7 };
        self.stacks[1].listen(listen).unwrap()
    }

    /// A connection from side 0 to side 1, open on both.
    fn open(&mut self, listener: ListenerId, ipv6: bool) -> [ConnId; 2] {
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

    fn state(&self, side: usize, id: ConnId) -> Option<State> {
        self.stacks[side].status(id).map(|status| status.state)
    }
}

/// The byte at an offset of a stream.
fn byte(side: usize, offset: usize) -> u8 {
    (offset.wrapping_mul(31) ^ (offset >> 8).wrapping_mul(17) ^ (side * 101)) as u8
}

/// One end of a transfer: what it has sent and received.
struct End {
    id: ConnId,
    side: usize,
    total: usize,
    sent: usize,
    received: usize,
    shut: bool,
}

impl End {
    fn turn(&mut self, pair: &mut Pair, piece: usize) {
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

    fn is_done(&self, pair: &Pair) -> bool {
        pair.stacks[self.side].status(self.id).is_some_and(|status| status.eof) && self.shut
    }
}

fn transfer(pair: &mut Pair, ids: [ConnId; 2], totals: [usize; 2], piece: usize, limit: Duration) {
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

#[test]
fn a_clean_wire_carries_both_ways_in_both_families() {
    for ipv6 in [false, true] {
        let mut pair = Pair::new(1, CLEAN);
        let listener = pair.listen(ipv6);
        let ids = pair.open(listener, ipv6);
        transfer(&mut pair, ids, [3_000_000, 2_000_000], 10_000, Duration::from_secs(20));
        let retransmits: u64 = pair.stacks.iter().map(|stack| stack.counters().retransmits).sum();
        assert_eq!(retransmits, 0, "nothing was lost, nothing goes twice");
    }
}

#[test]
fn any_faults_deliver_every_byte_once_and_in_order() {
    for seed in 0..300 {
        let mut random = Random(seed * 77 + 5);
        let faults = Faults {
            loss: [0.0, 0.01, 0.05, 0.15][random.below(4) as usize],
            duplicate: [0.0, 0.02][random.below(2) as usize],
            corrupt: [0.0, 0.02][random.below(2) as usize],
            delay_us: [50, 2000, 30_000][random.below(3) as usize],
            jitter_us: [0, 100, 20_000][random.below(3) as usize],
        };
        let tight = random.chance(0.3);
        let mut pair = Pair::with(seed, faults, |config| {
            if tight {
                config.buffers = 24;
            }
        });
        let listener = pair.listen(false);
        let ids = pair.open(listener, false);
        let totals = [random.below(200_000) as usize, random.below(200_000) as usize];
        let piece = 1 + random.below(5000) as usize;
        transfer(&mut pair, ids, totals, piece, Duration::from_secs(3600));
    }
}

#[test]
fn loss_is_repaired_without_waiting_for_timeouts() {
    let faults = Faults { loss: 0.01, delay_us: 10_000, ..CLEAN };
    let mut pair = Pair::new(3, faults);
    let listener = pair.listen(false);
    let ids = pair.open(listener, false);
    let began = pair.now;
    transfer(&mut pair, ids, [5_000_000, 0], 20_000, Duration::from_secs(60));
    let seconds = pair.now.since(began).as_secs_f64();
    assert!(seconds < 62.0 + 20.0, "5 MB at 1 % and 20 ms took {seconds} s, TIME-WAIT and all");
}

#[test]
fn a_refused_connection_says_so() {
    let mut pair = Pair::new(4, CLEAN);
    let remote = SocketAddr::new(ip(false, 1), 81);
    let id = pair.stacks[0].connect(remote, None, 1, pair.now).unwrap();
    pair.run_until("the refusal", Duration::from_secs(10), |pair| {
        pair.state(0, id) == Some(State::Closed)
    });
    assert_eq!(pair.stacks[0].status(id).unwrap().error, Some(ConnectionError::Refused));
    assert_eq!(pair.stacks[0].poll_event(), Some(Event::Connection(id, 1)));
    pair.stacks[0].close(id, pair.now);
    assert_eq!(pair.stacks[0].stats().connections.used, 0);
}

#[test]
fn a_silent_neighbor_makes_it_unreachable() {
    let mut pair = Pair::new(5, CLEAN);
    let remote = SocketAddr::new("10.0.0.99".parse().unwrap(), 80);
    let id = pair.stacks[0].connect(remote, None, 1, pair.now).unwrap();
    pair.run_until("giving up", Duration::from_secs(10), |pair| {
        pair.stacks[0].status(id).unwrap().error == Some(ConnectionError::Unreachable)
    });
}

#[test]
fn a_vanished_peer_times_out() {
    let mut pair = Pair::new(6, CLEAN);
    let listener = pair.listen(false);
    let [client, _] = pair.open(listener, false);
    pair.cut = [true; 2];
    pair.stacks[0].send(client, b"is anybody there", pair.now);
    pair.run_until("the timeout", Duration::from_secs(3600), |pair| {
        pair.stacks[0].status(client).unwrap().error == Some(ConnectionError::TimedOut)
    });
}

#[test]
fn an_abort_resets_the_peer() {
    let mut pair = Pair::new(7, CLEAN);
    let listener = pair.listen(false);
    let [client, server] = pair.open(listener, false);
    pair.stacks[0].abort(client, pair.now);
    pair.run_until("the reset", Duration::from_secs(10), |pair| {
        pair.stacks[1].status(server).unwrap().error == Some(ConnectionError::Reset)
    });
    assert_eq!(pair.stacks[0].stats().connections.used, 0);
}

#[test]
fn half_close_leaves_the_other_direction_open() {
    let mut pair = Pair::new(8, CLEAN);
    let listener = pair.listen(false);
    let [client, server] = pair.open(listener, false);
    pair.stacks[0].send(client, b"request", pair.now);
    pair.stacks[0].shut(client, pair.now);
    let mut out = [0; 100];
    pair.run_until("the request", Duration::from_secs(10), |pair| {
        pair.state(1, server) == Some(State::CloseWait)
    });
    assert_eq!(pair.stacks[1].recv(server, &mut out, pair.now), 7);
    assert!(pair.stacks[1].status(server).unwrap().eof);
    pair.run_until("the acknowledgment", Duration::from_secs(10), |pair| {
        pair.state(0, client) == Some(State::FinWait2)
    });
    pair.stacks[1].send(server, b"a late answer", pair.now);
    pair.stacks[1].close(server, pair.now);
    pair.run_until("the answer", Duration::from_secs(10), |pair| {
        pair.stacks[0].status(client).unwrap().readable == 13
    });
}

#[test]
fn a_closed_window_stalls_the_sender_and_reopens() {
    let mut pair = Pair::new(9, CLEAN);
    let listener = pair.listen(false);
    let [client, server] = pair.open(listener, false);
    let mut sent = 0;
    let end = pair.now + Duration::from_secs(30);
    pair.run_until("half a minute", Duration::from_secs(60), |pair| {
        let bytes: Vec<u8> = (sent..sent + 5000).map(|at| byte(0, at)).collect();
        sent += pair.stacks[0].send(client, &bytes, pair.now);
        pair.now >= end
    });
    let held = pair.stacks[1].status(server).unwrap().readable;
    assert!((60_000..70_000).contains(&held), "no more than the window is held: {held}");
    let mut out = vec![0; 1_000_000];
    let mut received = 0;
    pair.run_until("the rest", Duration::from_secs(120), |pair| {
        received += pair.stacks[1].recv(server, &mut out, pair.now);
        received == sent
    });
}

#[test]
fn a_window_that_stays_closed_does_not_hold_a_connection_that_was_left() {
    let mut pair = Pair::new(11, CLEAN);
    let listener = pair.listen(false);
    let [client, _] = pair.open(listener, false);
    let bytes = vec![0; 200_000];
    assert!(pair.stacks[0].send(client, &bytes, pair.now) > 0);
    pair.run_until("a closed window", Duration::from_secs(60), |pair| {
        let sent = pair.stacks[0].send(client, &bytes, pair.now);
        pair.now > Instant::from_millis(20_000) && sent == 0
    });
    pair.stacks[0].close(client, pair.now);
    pair.run_until("giving up", Duration::from_secs(600), |pair| {
        pair.stacks[0].stats().connections.used == 0
    });
    assert_eq!(pair.stacks[0].stats().buffers.used, 0);
}

#[test]
fn source_ports_run_out_and_come_back() {
    let mut pair = Pair::with(10, CLEAN, |config| config.source_ports = 20_000..=20_009);
    pair.listen(false);
    let remote = SocketAddr::new(ip(false, 1), 80);
    let ids: Vec<ConnId> =
        (0..10).map(|_| pair.stacks[0].connect(remote, None, 1, pair.now).unwrap()).collect();
    assert!(pair.stacks[0].connect(remote, None, 1, pair.now).is_err());
    pair.stacks[0].abort(ids[3], pair.now);
    assert!(pair.stacks[0].connect(remote, None, 1, pair.now).is_ok());
}

/// A process that starts again knows nothing of its connections, but its peers do, for a minute.
#[test]
fn who_restarted_connects_at_once_over_what_its_peer_remembers() {
    for seed in 0..40 {
        let one_port = |config: &mut StackConfig| config.source_ports = 20_000..=20_000;
        let mut pair = Pair::with(seed, CLEAN, one_port);
        let listener = pair.listen(false);
        let [client, server] = pair.open(listener, false);
        pair.stacks[1].close(server, pair.now);
        pair.run_until("the server's FIN", Duration::from_secs(1), |pair| {
            pair.stacks[0].status(client).unwrap().eof
        });
        pair.stacks[0].close(client, pair.now);
        pair.run_until("the server's TIME-WAIT", Duration::from_secs(1), |pair| {
            pair.stacks[1].stats().time_wait == 1
        });
        // Another secret: sequence numbers and timestamps begin anywhere.
        let mut config = StackConfig::new(Secret([seed as u8 ^ 0xa5; 16]));
        one_port(&mut config);
        pair.stacks[0] = Stack::new(config);
        pair.stacks[0].set_fib(Arc::new(fib(0)), pair.now);
        let began = pair.now;
        pair.open(listener, false);
        let took = pair.last_frame.since(began);
        assert!(took < Duration::from_millis(100), "seed {seed}: {took:?}");
    }
}
