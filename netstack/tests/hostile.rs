//! Frames that no honest peer sends, against a stack with connections in every state.
//!
//! Valid frames with bytes changed, cut, repeated and reordered, most with their checksums made right again
//! so that they get as far as possible; and plain noise. Nothing panics, the invariants hold after each
//! frame, and every buffer and record comes back.

mod common;

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use common::repair::repair;
use common::{OWN, Outbox, PEER, PEER_MAC, Random, Tcp, fib, ip_frame, link, see};
use netstack::fib::{LinkId, WireId};
use netstack::{
    Arrival, ConnId, Disposition, Event, Instant, Listen, ListenerId, Secret, Stack, StackConfig,
};
use smoltcp::wire::{IpProtocol, TcpOption};

/// Frames of one seed.
const FRAMES: u64 = 2500;
const SEEDS: u64 = 40;

/// What the attacker knows of a connection: enough to hit its window.
#[derive(Clone, Copy)]
struct Known {
    addresses: [IpAddr; 2],
    ports: [u16; 2],
    /// Near RCV.NXT and SND.NXT.
    seq: u32,
    ack: u32,
}

struct Siege {
    stack: Stack,
    random: Random,
    now: Instant,
    listener: ListenerId,
    known: Vec<Known>,
    users: Vec<ConnId>,
    /// Frames of the stack itself: turned round they are almost right.
    overheard: Vec<Vec<u8>>,
}

impl Siege {
    fn new(seed: u64) -> Siege {
        let mut random = Random(seed);
        let mut config = StackConfig::new(Secret([seed as u8; 16]));
        config.buffers = random.pick(&[4, 64, 4096]);
        config.time_wait_max = random.pick(&[1, 1000]);
        config.workers = random.pick(&[1, 1, 2]);
        config.half_open_max = random.pick(&[2, 1000]);
        let mut stack = Stack::new(config);
        let now = Instant::from_millis(random.below(1 << 33));
        let partial_checksums = random.chance(0.5);
        stack.set_fib(Arc::new(fib(netstack::fib::Link { partial_checksums, ..link() })), now);
        for address in PEER {
            stack.set_neighbor(LinkId(0), address, Some(PEER_MAC), now);
        }
        let listen =
            |ipv6| Listen { address: None, ipv6, port: 80, wire: None, backlog: 64, user: 1 };
        stack.listen(listen(true)).unwrap();
        let listener = stack.listen(listen(false)).unwrap();
        let (known, users, overheard) = (Vec::new(), Vec::new(), Vec::new());
        Siege { stack, random, now, listener, known, users, overheard }
    }

    /// Hands over a frame, and listens to what is said to it.
    fn give(&mut self, frame: &[u8]) {
        let arrival = match self.random.below(20) {
            0 => Arrival::Copy,
            1 => Arrival::Handed { asked: self.random.below(3) as u8 },
            _ => Arrival::Wire,
        };
        let disposition = self.stack.handle_frame(WireId(0), frame, arrival, self.now);
        assert!(!matches!(disposition, Disposition::HandTo(0)), "to itself");
        self.listen_to_it();
    }

    fn listen_to_it(&mut self) {
        while self.stack.poll_resolve().is_some() {}
        for _ in 0..100 {
            let mut frames = Vec::new();
            self.stack.poll_transmit(64, &mut Outbox(&mut frames), self.now);
            if frames.is_empty() {
                self.stack.assert_invariants();
                return;
            }
            for frame in frames {
                self.learn(&frame);
                self.overheard.push(frame);
            }
        }
        panic!("it talks without end");
    }

    /// Takes note of what a segment of the stack tells.
    fn learn(&mut self, frame: &[u8]) {
        let Some(seen) = see(frame) else { return };
        let header = 14 + if frame[12] == 0x08 { 20 } else { 40 };
        let port = |at: usize| u16::from_be_bytes([frame[at], frame[at + 1]]);
        let ports = [port(header + 2), port(header)];
        let family = usize::from(frame[12] != 0x08);
        let addresses = [PEER[family], OWN[family]];
        let len = seen.len as u32 + u32::from(seen.flags.contains(['S', 'F']));
        let new = Known { addresses, ports, seq: seen.ack, ack: seen.seq.wrapping_add(len) };
        match self
            .known
            .iter_mut()
            .find(|known| known.ports == ports && known.addresses == addresses)
        {
            Some(known) => *known = new,
            None => self.known.push(new),
        }
        if self.known.len() > 64 {
            let place = self.random.below(64) as usize;
            self.known.swap_remove(place);
        }
    }

    /// A segment for one of the connections, about right.
    fn segment(&mut self) -> Tcp {
        let flags = self.random.pick(&["", "", "", "", "F", "R", "S", "SF", "U", "FU", "SR"]);
        let Some(index) = (self.known.len() as u64).checked_sub(1) else {
            return self.syn();
        };
        let index = self.random.below(index + 1) as usize;
        let known = self.known[index];
        let near = |random: &mut Random, around: u32| {
            let by =
                random.pick(&[0, 0, 0, 0, 1, 100, 1460, 30_000, 65_535, 65_536, 1 << 30, 1 << 31]);
            let by = by as u32;
            if random.chance(0.5) { around.wrapping_add(by) } else { around.wrapping_sub(by) }
        };
        let seq = near(&mut self.random, known.seq);
        let ack = self.random.chance(0.95).then(|| near(&mut self.random, known.ack));
        let mut tcp =
            Tcp { addresses: known.addresses, ports: known.ports, ..Tcp::new(flags, seq, ack) };
        tcp.window = self.random.pick(&[0, 1, 100, 1460, 60_000, 65_535]);
        let len = self.random.pick(&[0, 0, 0, 1, 100, 1000, 1460]);
        tcp.payload = vec![7; len];
        tcp.options = self.options(known.ack);
        tcp
    }

    fn syn(&mut self) -> Tcp {
        let family = self.random.below(2) as usize;
        let port = 4000 + self.random.below(40) as u16;
        let seq = self.random.next() as u32;
        let mut tcp = Tcp {
            addresses: [PEER[family], OWN[family]],
            ports: [port, 80],
            ..Tcp::new("S", seq, None)
        };
        tcp.options = self.options(0);
        tcp
    }

    fn options(&mut self, ack: u32) -> Vec<TcpOption<'static>> {
        let mut options = Vec::new();
        if self.random.chance(0.3) {
            options
                .push(TcpOption::MaxSegmentSize(self.random.pick(&[0, 1, 88, 536, 1460, 65_535])));
        }
        if self.random.chance(0.3) {
            options.push(TcpOption::WindowScale(self.random.pick(&[0, 7, 14, 15, 255])));
            options.push(TcpOption::SackPermitted);
        }
        if self.random.chance(0.4) {
            let tsval = self.random.pick(&[0, 1, 1000, 1 << 31, u32::MAX]);
            options.push(TcpOption::TimeStamp { tsval, tsecr: self.random.next() as u32 });
        } else if self.random.chance(0.5) {
            let mut block = || {
                let left = ack.wrapping_sub(self.random.below(20_000) as u32);
                let right = left.wrapping_add(self.random.pick(&[0, 1, 1460, 3000, 1 << 31]));
                self.random.chance(0.7).then_some((left, right))
            };
            options.push(TcpOption::SackRange([Some((ack, ack)), block(), block()]));
        }
        let mut len = 0;
        options.retain(|option| {
            len += option.buffer_len();
            len <= 40
        });
        options
    }

    /// A frame of the stack's, sent back to it; as it was, or quoted in an ICMP error.
    fn echo(&mut self) -> Vec<u8> {
        let Some(last) = (self.overheard.len() as u64).checked_sub(1) else {
            return self.syn().frame();
        };
        let index = last - self.random.below(last.min(50) + 1);
        let frame = self.overheard[index as usize].clone();
        if self.random.chance(0.3) || frame.len() < 54 {
            return frame;
        }
        let quoted = &frame[14..];
        let mut body = vec![0; 8];
        body[4..8]
            .copy_from_slice(&(self.random.next() as u32 >> self.random.below(32)).to_be_bytes());
        body.extend(&quoted[..quoted.len().min(60)]);
        let family = usize::from(frame[12] != 0x08);
        let addresses = [PEER[family], OWN[family]];
        if family == 0 {
            (body[0], body[1]) = (3, self.random.below(6) as u8);
            ip_frame(addresses, IpProtocol::Icmp, 64, None, &body)
        } else {
            body[0] = 1 + self.random.below(2) as u8;
            ip_frame(addresses, IpProtocol::Icmpv6, 64, None, &body)
        }
    }

    /// ARP, neighbour discovery, echo requests.
    fn other(&mut self) -> Vec<u8> {
        let len = self.random.below(80) as usize;
        let mut body: Vec<u8> = (0..len).map(|_| self.random.next() as u8).collect();
        match self.random.below(3) {
            0 => {
                let own = [10, 0, 0, 1];
                let operation = self.random.below(3) as u8;
                let head = [0, 1, 8, 0, 6, 4, 0, operation, 2, 0, 0, 0, 0, 2, 10, 0, 0];
                let asker = self.random.next() as u8;
                let arp = [&head[..], &[asker], &[0; 6], &own, &body].concat();
                common::ethernet(0x0806, None, &arp)
            }
            1 => {
                if let Some(kind) = body.first_mut() {
                    *kind = self.random.pick(&[0, 3, 8]);
                }
                ip_frame([PEER[0], OWN[0]], IpProtocol::Icmp, 64, None, &body)
            }
            _ => {
                let head = [self.random.pick(&[1, 2, 128, 135, 136]), 0, 0, 0, 0, 0, 0, 0];
                let IpAddr::V6(target) = OWN[1] else { unreachable!("OWN[1] is IPv6") };
                let options = [self.random.below(6) as u8, self.random.below(4) as u8];
                let body = [&head[..], &target.octets(), &options, &body].concat();
                ip_frame([PEER[1], OWN[1]], IpProtocol::Icmpv6, 255, None, &body)
            }
        }
    }

    fn noise(&mut self) -> Vec<u8> {
        let len = self.random.below(200) as usize;
        let mut bytes: Vec<u8> = (0..len).map(|_| self.random.next() as u8).collect();
        if len > 20 && self.random.chance(0.8) {
            let head =
                self.random.pick(&[[0x08, 0x00, 0x45], [0x86, 0xdd, 0x60], [0x81, 0x00, 0x00]]);
            bytes[12..15].copy_from_slice(&head);
        }
        bytes
    }

    /// Changes, cuts and lengthens.
    fn spoil(&mut self, frame: &mut Vec<u8>) {
        for _ in 0..self.random.below(4) {
            if frame.is_empty() {
                return;
            }
            let place = self.random.below(frame.len() as u64) as usize;
            match self.random.below(6) {
                0 => frame.truncate(place),
                1 => frame.extend([0xa5; 7]),
                2 => frame[place] = self.random.pick(&[0, 1, 0x7f, 0x80, 0xff]),
                _ => frame[place] ^= 1 << self.random.below(8),
            }
        }
    }

    /// What the user does meanwhile.
    fn act(&mut self) {
        while let Some(event) = self.stack.poll_event() {
            if let Event::Accept(listener, _) = event {
                while let Some(id) = self.stack.accept(listener, 3) {
                    self.users.push(id);
                }
            }
        }
        if self.random.chance(0.05) {
            let family = self.random.below(2) as usize;
            let remote = SocketAddr::new(PEER[family], 4000 + self.random.below(4) as u16);
            self.users.extend(self.stack.connect(remote, None, 2, self.now));
        }
        if self.users.is_empty() {
            return;
        }
        let place = self.random.below(self.users.len() as u64) as usize;
        let id = self.users[place];
        match self.random.below(12) {
            0..3 => {
                let len = self.random.below(20_000) as usize;
                self.stack.send(id, &vec![1; len], self.now);
            }
            3..6 => {
                let len = self.random.below(20_000) as usize;
                self.stack.recv(id, &mut vec![0; len], self.now);
            }
            6 | 7 => {
                let to = self.random.below(self.users.len() as u64) as usize;
                if to != place {
                    let max = self.random.below(100_000) as usize;
                    self.stack.forward(id, self.users[to], max, self.now);
                }
            }
            8 => self.stack.shut(id, self.now),
            9 => {
                self.stack.close(id, self.now);
                self.users.swap_remove(place);
            }
            10 if self.random.chance(0.3) => {
                self.stack.abort(id, self.now);
                self.users.swap_remove(place);
            }
            _ => {
                let bits = self.random.below(26);
                self.now += Duration::from_micros(self.random.below(1 << bits));
                self.stack.handle_timers(self.now);
            }
        }
        self.listen_to_it();
    }

    fn run(&mut self) {
        for _ in 0..FRAMES {
            let mut frame = match self.random.below(20) {
                0 => self.noise(),
                1 | 2 => self.syn().frame(),
                3 => self.other(),
                4 | 5 => self.echo(),
                _ => self.segment().frame(),
            };
            if self.random.chance(0.3) {
                self.spoil(&mut frame);
            }
            if self.random.chance(0.9) {
                repair(&mut frame);
            }
            self.give(&frame);
            self.act();
        }
    }

    /// All leave, the peer is silent: nothing may be left.
    fn end(&mut self) {
        let users = std::mem::take(&mut self.users);
        for id in users {
            self.stack.close(id, self.now);
        }
        self.stack.unlisten(self.listener, self.now);
        self.listen_to_it();
        self.stack.abort_all(self.now);
        self.listen_to_it();
        let end = self.now + Duration::from_secs(600);
        while let Some(at) = self.stack.poll_at().filter(|&at| at <= end) {
            self.now = self.now.max(at);
            self.stack.handle_timers(self.now);
            self.listen_to_it();
        }
        let stats = self.stack.stats();
        assert_eq!((stats.connections.used, stats.half_open, stats.time_wait), (0, 0, 0));
        assert_eq!(stats.buffers.used, 0);
    }
}

#[test]
fn nothing_a_peer_sends_brings_the_stack_down() {
    let mut counted = [0; 4];
    for seed in 0..SEEDS {
        println!("seed {seed}");
        let mut siege = Siege::new(seed);
        siege.run();
        let counters = *siege.stack.counters();
        counted[0] += counters.accepted;
        counted[1] += counters.challenged;
        counted[2] += counters.retransmits;
        counted[3] += counters.out_of_window;
        siege.end();
    }
    // The siege reaches what it is meant to reach.
    assert!(counted.iter().all(|&count| count > 500), "{counted:?}");
}
