//! smoltcp's complete stack as the other end, over a wire that loses, repeats, delays and reorders.
//!
//! A second opinion on TCP: what two of our own stacks agree on might still be wrong. smoltcp is client and
//! server, in both families; every byte arrives once and in order, both ways, and both ends close.

mod common;

use std::collections::{BinaryHeap, VecDeque};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use common::{OWN, Outbox, PEER, PEER_MAC, Random, fib, link};
use netstack::fib::WireId;
use netstack::{
    Arrival, ConnId, ConnectionError, Event, Instant, Listen, Secret, Stack, StackConfig,
};
use smoltcp::iface::{Config, Interface, SocketHandle, SocketSet};
use smoltcp::phy::{Device, DeviceCapabilities, Medium, RxToken, TxToken};
use smoltcp::socket::tcp;
use smoltcp::time::Instant as PeerInstant;
use smoltcp::wire::{EthernetAddress, HardwareAddress, IpCidr};

/// smoltcp's side of the wire.
#[derive(Default)]
struct Port {
    received: VecDeque<Vec<u8>>,
    sent: Vec<Vec<u8>>,
}

struct Received(Vec<u8>);
struct Place<'a>(&'a mut Vec<Vec<u8>>);

impl Device for Port {
    type RxToken<'a> = Received;
    type TxToken<'a> = Place<'a>;

    fn receive(&mut self, _: PeerInstant) -> Option<(Received, Place<'_>)> {
        Some((Received(self.received.pop_front()?), Place(&mut self.sent)))
    }

    fn transmit(&mut self, _: PeerInstant) -> Option<Place<'_>> {
        Some(Place(&mut self.sent))
    }

    fn capabilities(&self) -> DeviceCapabilities {
        let mut capabilities = DeviceCapabilities::default();
        capabilities.medium = Medium::Ethernet;
        capabilities.max_transmission_unit = 1514;
        capabilities
    }
}

impl RxToken for Received {
    fn consume<R, F: FnOnce(&[u8]) -> R>(self, f: F) -> R {
        f(&self.0)
    }
}

impl TxToken for Place<'_> {
    fn consume<R, F: FnOnce(&mut [u8]) -> R>(self, len: usize, f: F) -> R {
        let mut bytes = vec![0; len];
        let result = f(&mut bytes);
        self.0.push(bytes);
        result
    }
}

#[derive(Clone, Copy, Debug)]
struct Faults {
    loss: f64,
    duplicate: f64,
    corrupt: f64,
    delay_us: u64,
    jitter_us: u64,
}

/// A frame under way: the earliest, and of those the first sent, is the greatest.
#[derive(PartialEq, Eq, PartialOrd, Ord)]
struct InTransit {
    due: std::cmp::Reverse<(u64, u64)>,
    to_us: bool,
    bytes: Vec<u8>,
}

/// How far one direction of bytes is.
#[derive(Default)]
struct Flow {
    total: usize,
    sent: usize,
    received: usize,
    /// Sender: closed. Receiver: seen.
    shut: bool,
    ended: bool,
}

fn byte(ours: bool, offset: usize) -> u8 {
    (offset.wrapping_mul(31) ^ (offset >> 8).wrapping_mul(17)) as u8 ^ if ours { 0 } else { 0x5a }
}

fn check(ours: bool, at: usize, bytes: &[u8]) {
    for (index, got) in bytes.iter().enumerate() {
        assert_eq!(*got, byte(ours, at + index), "byte {} of {ours}", at + index);
    }
}

struct Encounter {
    stack: Stack,
    conn: Option<ConnId>,
    interface: Interface,
    sockets: SocketSet<'static>,
    socket: SocketHandle,
    device: Port,
    wire: BinaryHeap<InTransit>,
    frames: u64,
    faults: Faults,
    random: Random,
    now: Instant,
    ours: Flow,
    theirs: Flow,
}

fn peer_time(now: Instant) -> PeerInstant {
    PeerInstant::from_micros(now.micros() as i64)
}

impl Encounter {
    fn new(seed: u64, faults: Faults, totals: [usize; 2]) -> Encounter {
        let mut random = Random(seed);
        let now = Instant::from_millis(1000 + random.below(1 << 32));
        let mut stack = Stack::new(StackConfig::new(Secret([seed as u8; 16])));
        stack.set_fib(Arc::new(fib(link())), now);
        let mut device = Port::default();
        let mut config = Config::new(HardwareAddress::Ethernet(EthernetAddress(PEER_MAC)));
        config.random_seed = seed;
        let mut interface = Interface::new(config, &mut device, peer_time(now));
        interface.update_ip_addrs(|addresses| {
            addresses.push(IpCidr::new(PEER[0].into(), 24)).expect("room");
            addresses.push(IpCidr::new(PEER[1].into(), 64)).expect("room");
        });
        let size = random.pick(&[2_000, 20_000, 200_000]);
        let buffer = || tcp::SocketBuffer::new(vec![0; size]);
        let mut socket = tcp::Socket::new(buffer(), buffer());
        socket.set_nagle_enabled(random.chance(0.5));
        let mut sockets = SocketSet::new(Vec::new());
        let socket = sockets.add(socket);
        let flow = |total| Flow { total, ..Flow::default() };
        Encounter {
            stack,
            conn: None,
            interface,
            sockets,
            socket,
            device,
            wire: BinaryHeap::new(),
            frames: 0,
            faults,
            random,
            now,
            ours: flow(totals[0]),
            theirs: flow(totals[1]),
        }
    }

    /// One side listens, the other connects.
    fn open(&mut self, family: usize, we_connect: bool) {
        let socket = self.sockets.get_mut::<tcp::Socket>(self.socket);
        if we_connect {
            socket.listen(80).expect("listening");
            let remote = SocketAddr::new(PEER[family], 80);
            self.conn = Some(self.stack.connect(remote, None, 1, self.now).unwrap());
        } else {
            let ipv6 = family == 1;
            let listen = Listen { address: None, ipv6, port: 80, wire: None, backlog: 5, user: 1 };
            self.stack.listen(listen).unwrap();
            let context = self.interface.context();
            socket.connect(context, (OWN[family], 80), 40_000).expect("connecting");
        }
    }

    fn put(&mut self, to_us: bool, mut bytes: Vec<u8>) {
        let faults = self.faults;
        if self.random.chance(faults.loss) {
            return;
        }
        if self.random.chance(faults.corrupt) {
            // Within IP and beyond: nothing guards a link-layer address but the link itself.
            let bit = 14 * 8 + self.random.below((bytes.len() as u64 - 14) * 8) as usize;
            bytes[bit / 8] ^= 1 << (bit % 8);
        }
        for _ in 0..1 + usize::from(self.random.chance(faults.duplicate)) {
            let jitter = self.random.below(faults.jitter_us + 1);
            self.frames += 1;
            let due =
                std::cmp::Reverse((self.now.micros() + faults.delay_us + jitter, self.frames));
            self.wire.push(InTransit { due, to_us, bytes: bytes.clone() });
        }
    }

    fn step(&mut self) {
        while self.wire.peek().is_some_and(|frame| frame.due.0.0 <= self.now.micros()) {
            let Some(InTransit { to_us, bytes, .. }) = self.wire.pop() else { break };
            if to_us {
                self.stack.handle_frame(WireId(0), &bytes, Arrival::Wire, self.now);
            } else {
                self.device.received.push_back(bytes);
            }
        }
        self.stack.handle_timers(self.now);
        self.interface.poll(peer_time(self.now), &mut self.device, &mut self.sockets);
        self.use_ours();
        self.use_theirs();
        self.interface.poll(peer_time(self.now), &mut self.device, &mut self.sockets);
        self.speak();
        self.stack.assert_invariants();
        let theirs = self.interface.poll_at(peer_time(self.now), &self.sockets);
        let next = [
            self.wire.peek().map(|frame| frame.due.0.0),
            self.stack.poll_at().map(Instant::micros),
            theirs.map(|at| at.total_micros() as u64),
        ];
        let next = next.into_iter().flatten().min().unwrap_or(0);
        self.now = Instant::from_micros(next.max(self.now.micros() + 1));
    }

    fn speak(&mut self) {
        loop {
            assert!(self.stack.poll_resolve().is_none(), "no kernel here");
            let mut frames = Vec::new();
            self.stack.poll_transmit(64, &mut Outbox(&mut frames), self.now);
            if frames.is_empty() {
                break;
            }
            for frame in frames {
                self.put(false, frame);
            }
        }
        for frame in std::mem::take(&mut self.device.sent) {
            self.put(true, frame);
        }
    }

    fn use_ours(&mut self) {
        while let Some(event) = self.stack.poll_event() {
            if let Event::Accept(listener, _) = event {
                self.conn = self.conn.or(self.stack.accept(listener, 1));
            }
        }
        let Some(id) = self.conn else { return };
        let status = self.stack.status(id).expect("it is ours");
        if status.error == Some(ConnectionError::Unreachable) {
            // Three requests for a neighbour can be lost in a row: as a user would, try again.
            let remote = self.stack.tuple(id).expect("it is ours").remote;
            self.stack.close(id, self.now);
            let remote = SocketAddr::new(remote.ip, remote.port);
            self.conn = Some(self.stack.connect(remote, None, 1, self.now).unwrap());
            (self.ours.sent, self.ours.shut) = (0, false);
            return;
        }
        assert_eq!(status.error, None);
        while self.ours.sent < self.ours.total {
            let end = self.ours.total.min(self.ours.sent + 5000);
            let bytes: Vec<u8> = (self.ours.sent..end).map(|at| byte(true, at)).collect();
            let taken = self.stack.send(id, &bytes, self.now);
            self.ours.sent += taken;
            if taken < bytes.len() {
                break;
            }
        }
        if self.ours.sent == self.ours.total && !self.ours.shut {
            self.ours.shut = true;
            self.stack.shut(id, self.now);
        }
        let mut out = [0; 3000];
        loop {
            let count = self.stack.recv(id, &mut out, self.now);
            check(false, self.theirs.received, &out[..count]);
            self.theirs.received += count;
            if count == 0 {
                break;
            }
        }
        self.theirs.ended |= self.stack.status(id).is_some_and(|status| status.eof);
    }

    fn use_theirs(&mut self) {
        let socket = self.sockets.get_mut::<tcp::Socket>(self.socket);
        while self.theirs.sent < self.theirs.total && socket.can_send() {
            let end = self.theirs.total.min(self.theirs.sent + 5000);
            let bytes: Vec<u8> = (self.theirs.sent..end).map(|at| byte(false, at)).collect();
            self.theirs.sent += socket.send_slice(&bytes).expect("it can send");
        }
        if self.theirs.sent == self.theirs.total && !self.theirs.shut && socket.may_send() {
            self.theirs.shut = true;
            socket.close();
        }
        let mut out = [0; 3000];
        while socket.can_recv() {
            let count = socket.recv_slice(&mut out).expect("it can receive");
            check(true, self.ours.received, &out[..count]);
            self.ours.received += count;
        }
        let opened = self.theirs.shut || socket.may_send();
        self.ours.ended |= opened && !socket.may_recv() && self.ours.received == self.ours.total;
    }

    fn is_done(&self) -> bool {
        [&self.ours, &self.theirs].iter().all(|flow| flow.ended && flow.received == flow.total)
    }

    fn run(&mut self, what: &str) {
        let deadline = self.now + Duration::from_secs(7200);
        while !self.is_done() {
            assert!(
                self.now < deadline,
                "{what}: {} of {} and {} of {} bytes; {:?}, {:?}",
                self.ours.received,
                self.ours.total,
                self.theirs.received,
                self.theirs.total,
                self.conn.and_then(|id| self.stack.status(id)),
                self.sockets.get::<tcp::Socket>(self.socket).state()
            );
            self.step();
        }
        let id = self.conn.expect("a connection");
        self.stack.close(id, self.now);
        let deadline = self.now + Duration::from_secs(1200);
        while self.stack.stats().connections.used > 0 {
            assert!(self.now < deadline, "{what}: {:?}", self.stack.status(id));
            self.step_after();
        }
        assert_eq!(self.stack.stats().buffers.used, 0, "{what}: all buffers are back");
    }

    /// As `step`, when nobody uses the connection any more.
    fn step_after(&mut self) {
        self.conn = None;
        self.step();
    }
}

#[test]
fn smoltcp_and_we_understand_each_other() {
    for seed in 0..200 {
        let mut random = Random(seed * 31 + 7);
        let faults = Faults {
            loss: random.pick(&[0.0, 0.01, 0.05, 0.15]),
            duplicate: random.pick(&[0.0, 0.03]),
            corrupt: random.pick(&[0.0, 0.02]),
            delay_us: random.pick(&[50, 2000, 30_000]),
            jitter_us: random.pick(&[0, 100, 20_000]),
        };
        let totals = [random.below(60_000) as usize, random.below(60_000) as usize];
        let (family, we_connect) = (random.below(2) as usize, random.chance(0.5));
        let what = format!("seed {seed}, family {family}, we connect: {we_connect}, {faults:?}");
        let mut encounter = Encounter::new(seed, faults, totals);
        encounter.open(family, we_connect);
        encounter.run(&what);
    }
}
