//! One end of a flow on netstack.
//!
//! In:    frames, bytes of the user, the time
//! Out:   frames, bytes for the user
//! Owns:  a stack with one connection
//! Never: does less than a worker's turn does with the stack

use std::hint::black_box;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;

use netstack::fib::{Address, Fib, Link, LinkId, Origin, Ownership, Route, WireId};
use netstack::{Arrival, ConnId, Event, Instant, Listen, Secret, Stack, StackConfig};

use super::frames::{Frames, MTU};
use super::pair::{Place, Side};

/// One end.
pub struct Ours {
    stack: Stack,
    connection: Option<ConnId>,
}

impl Side for Ours {
    fn new(place: Place) -> Ours {
        let mut stack = Stack::new(StackConfig::new(Secret([7; 16])));
        stack.set_fib(Arc::new(fib(place.mac, place.ip, &[])), Instant::ZERO);
        Ours { stack, connection: None }
    }

    fn listen(&mut self, port: u16) {
        let listen = Listen { address: None, ipv6: false, port, wire: None, backlog: 1, user: 0 };
        self.stack.listen(listen).expect("nobody else listens");
    }

    fn connect(&mut self, ip: Ipv4Addr, port: u16, now_us: u64) {
        let remote = SocketAddr::new(ip.into(), port);
        let id = self.stack.connect(remote, None, 0, Instant::from_micros(now_us));
        self.connection = Some(id.expect("there is a route"));
    }

    fn is_open(&self) -> bool {
        let status = self.connection.and_then(|id| self.stack.status(id));
        status.is_some_and(|status| status.state == netstack::State::Established)
    }

    #[inline(never)]
    fn ingest(&mut self, rx: &mut Frames, _: &mut Frames, now_us: u64) {
        let now = Instant::from_micros(now_us);
        while let Some(frame) = rx.pop() {
            self.stack.handle_frame(WireId(0), frame, Arrival::Wire, now);
        }
        self.stack.handle_timers(now);
        while let Some(event) = self.stack.poll_event() {
            match event {
                Event::Accept(listener, _) => self.connection = self.stack.accept(listener, 0),
                news @ Event::Connection(..) => {
                    black_box(news);
                }
            }
        }
    }

    #[inline(never)]
    fn emit(&mut self, _: &mut Frames, tx: &mut Frames, budget: usize, now_us: u64) {
        let now = Instant::from_micros(now_us);
        assert!(self.stack.poll_resolve().is_none(), "neighbours are resolved by ARP");
        let mut left = budget;
        while left > 0 {
            let sent = self.stack.poll_transmit(left, tx, now);
            if sent == 0 {
                break;
            }
            left -= sent;
        }
    }

    #[inline(never)]
    fn write(&mut self, bytes: &[u8], now_us: u64) -> usize {
        let Some(id) = self.connection else { return 0 };
        self.stack.send(id, bytes, Instant::from_micros(now_us))
    }

    #[inline(never)]
    fn read(&mut self, out: &mut [u8], now_us: u64) -> usize {
        let Some(id) = self.connection else { return 0 };
        self.stack.recv(id, out, Instant::from_micros(now_us))
    }
}

/// A forwarding table of one link that owns `ip` alone, and routes to `beyond` by the gateways given.
pub fn fib(mac: [u8; 6], ip: Ipv4Addr, beyond: &[(&str, Ipv4Addr)]) -> Fib {
    let link = Link { wire: WireId(0), vlan: None, mac, mtu: MTU, partial_checksums: false };
    let network = format!("{ip}/24");
    let own = Address {
        link: LinkId(0),
        net: network.parse().expect("a network"),
        ownership: Ownership::Sole,
    };
    let route = |prefix: &str, gateway: Option<IpAddr>| Route {
        prefix: prefix.parse::<ipnet::IpNet>().expect("a network").trunc(),
        link: LinkId(0),
        gateway,
        source: None,
        metric: 0,
        origin: Origin::Stated,
    };
    let mut routes = vec![route(&network, None)];
    routes.extend(beyond.iter().map(|&(prefix, gateway)| route(prefix, Some(gateway.into()))));
    Fib::new(vec![link], vec![own], routes)
}
