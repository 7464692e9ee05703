//! A host that speaks the stack under test.
//!
//! In:    frames, commands
//! Out:   frames
//! Owns:  a stack with one wire

use std::net::SocketAddr;
use std::sync::Arc;

use netstack::fib::{Address, Fib, Link, LinkId, Origin, Ownership, Route, WireId};
use netstack::{
    Arrival, ConnId, Instant, Listen, ListenerId, Secret, Stack, StackConfig, State, Transmit,
};

use super::{Condition, Host, Place, Socket};

/// A host with the stack under test.
pub struct Ours {
    stack: Stack,
    ipv6: bool,
    listener: Option<ListenerId>,
    /// The stack's names by [`Socket`].
    ids: Vec<ConnId>,
}

/// The forwarding table of whoever has these addresses on one link of its own.
pub fn fib(mac: [u8; 6], mtu: u16, addresses: &[std::net::IpAddr]) -> Arc<Fib> {
    let link = Link { wire: WireId(0), vlan: None, mac, mtu, partial_checksums: false };
    let address = |ip: &std::net::IpAddr| Address {
        link: LinkId(0),
        net: format!("{ip}/{}", if ip.is_ipv6() { 64 } else { 24 }).parse().unwrap(),
        ownership: Ownership::Sole,
    };
    let route = |prefix: &str| Route {
        prefix: prefix.parse().unwrap(),
        link: LinkId(0),
        gateway: None,
        source: None,
        metric: 0,
        origin: Origin::Stated,
    };
    let routes = vec![route("10.0.0.0/24"), route("fd00::/64")];
    Arc::new(Fib::new(vec![link], addresses.iter().map(address).collect(), routes))
}

struct Outbox<'a>(&'a mut Vec<Vec<u8>>);

impl Transmit for Outbox<'_> {
    fn has_room(&mut self, _: WireId) -> bool {
        true
    }

    fn send(&mut self, _: WireId, len: usize, fill: impl FnOnce(&mut [u8])) {
        let mut bytes = vec![0; len];
        fill(&mut bytes);
        self.0.push(bytes);
    }
}

impl Ours {
    pub fn new(place: Place, mtu: u16, ports: u16, seed: u64) -> Self {
        let mut config = StackConfig::new(Secret([seed as u8; 16]));
        config.source_ports = 20_000..=20_000 + ports - 1;
        let mut stack = Stack::new(config);
        stack.set_fib(fib(place.mac, mtu, &[place.ip]), Instant::ZERO);
        Ours { stack, ipv6: place.ip.is_ipv6(), listener: None, ids: Vec::new() }
    }

    fn name(&mut self, id: ConnId) -> Socket {
        self.ids.push(id);
        Socket(self.ids.len() - 1)
    }
}

impl Host for Ours {
    fn receive(&mut self, frame: &[u8], now: Instant) {
        self.stack.handle_frame(WireId(0), frame, Arrival::Wire, now);
    }

    fn poll(&mut self, now: Instant, out: &mut Vec<Vec<u8>>) {
        self.stack.handle_timers(now);
        while self.stack.poll_event().is_some() {}
        loop {
            // Who waits for a neighbour makes a frame of the question: once more round.
            let sent = self.stack.poll_transmit(64, &mut Outbox(out), now);
            assert_eq!(self.stack.poll_resolve(), None, "no kernel here");
            if sent == 0 && !self.stack.has_work() {
                break;
            }
        }
    }

    fn poll_at(&mut self, _: Instant) -> Option<Instant> {
        self.stack.poll_at()
    }

    fn listen(&mut self, port: u16) {
        let listen =
            Listen { address: None, ipv6: self.ipv6, port, wire: None, backlog: 1000, user: 0 };
        self.listener = self.stack.listen(listen).ok();
    }

    fn accept(&mut self) -> Option<Socket> {
        let id = self.stack.accept(self.listener?, 0)?;
        Some(self.name(id))
    }

    fn connect(&mut self, to: SocketAddr, now: Instant) -> Option<Socket> {
        let id = self.stack.connect(to, None, 0, now).ok()?;
        Some(self.name(id))
    }

    fn send(&mut self, socket: Socket, bytes: &[u8], now: Instant) -> usize {
        self.stack.send(self.ids[socket.0], bytes, now)
    }

    fn recv(&mut self, socket: Socket, out: &mut [u8], now: Instant) -> usize {
        self.stack.recv(self.ids[socket.0], out, now)
    }

    fn condition(&mut self, socket: Socket) -> Condition {
        let Some(status) = self.stack.status(self.ids[socket.0]) else {
            return Condition { failed: true, ..Condition::default() };
        };
        let is_open = !matches!(status.state, State::SynSent | State::SynReceived | State::Closed);
        Condition { is_open, eof: status.eof, failed: status.error.is_some() }
    }

    fn ends(&mut self, socket: Socket) -> Option<(SocketAddr, SocketAddr)> {
        let tuple = self.stack.tuple(self.ids[socket.0])?;
        let address = |end: netstack::Endpoint| SocketAddr::new(end.ip, end.port);
        Some((address(tuple.local), address(tuple.remote)))
    }

    fn shut(&mut self, socket: Socket, now: Instant) {
        self.stack.shut(self.ids[socket.0], now);
    }

    fn close(&mut self, socket: Socket, now: Instant) {
        self.stack.close(self.ids[socket.0], now);
    }

    fn abort(&mut self, socket: Socket, now: Instant) {
        self.stack.abort(self.ids[socket.0], now);
    }

    fn assert_invariants(&self) {
        self.stack.assert_invariants();
    }
}
