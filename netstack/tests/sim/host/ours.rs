//! The stack under test as a host.
//!
//! In:    as [`Host`]
//! Out:   as [`Host`]; news only of what the stack's events tell
//! Never: looks at a connection that no event told of

use std::collections::{HashMap, VecDeque};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use netstack::fib::{Link, Ownership, WireId};
use netstack::{
    Arrival, ConnId, Event, Instant, Listen, ListenerId, Secret, Stack, StackConfig, State,
};

use super::{Condition, Host, ip, port};
use crate::common::{OWN_MAC, Outbox, PEER_MAC, address, link, network};
use crate::scenario::Scenario;

/// Frames in one call: that is endless talk.
const FRAMES_MAX: usize = 100_000;

pub struct Ours {
    stack: Stack,
    side: usize,
    ipv6: bool,
    listeners: HashMap<ListenerId, usize>,
    conns: HashMap<usize, ConnId>,
    news: VecDeque<usize>,
    buffers: usize,
}

impl Ours {
    pub fn new(scenario: &Scenario, side: usize) -> Ours {
        let means = scenario.means[side];
        let mut config = StackConfig::new(Secret([(scenario.seed * 2 + side as u64) as u8; 16]));
        config.buffers = means.buffers;
        config.tcp.receive_buffer_initial = means.window;
        if !scenario.loses_nothing() {
            // Who has left gives up soon: what an outage and heavy loss together may bring about.
            config.tcp.orphan_retries = config.tcp.retries;
            // The same for a peer that rests, and whose word that it goes on is lost.
            config.tcp.orphan_persist_max = Duration::from_secs(900);
        }
        if scenario.is_simultaneous {
            config.source_ports = port(0)..=port(0);
        }
        let mut stack = Stack::new(config);
        let link = Link { mac: [OWN_MAC, PEER_MAC][side], mtu: means.mtu, ..link() };
        let own = [false, true].map(|ipv6| address(ip(ipv6, side), Ownership::Sole));
        stack.set_fib(Arc::new(network(link, own.to_vec())), Instant::ZERO);
        Ours {
            stack,
            side,
            ipv6: scenario.ipv6,
            listeners: HashMap::new(),
            conns: HashMap::new(),
            news: VecDeque::new(),
            buffers: means.buffers,
        }
    }

    fn take_events(&mut self) {
        while let Some(event) = self.stack.poll_event() {
            match event {
                Event::Connection(_, index) => self.news.push_back(index as usize),
                Event::Accept(listener, _) => self.accept(listener),
            }
        }
    }

    fn accept(&mut self, listener: ListenerId) {
        let index = self.listeners[&listener];
        while let Some(id) = self.stack.accept(listener, index as u64) {
            let before = self.conns.insert(index, id);
            assert_eq!(before, None, "conversation {index} came twice");
            self.news.push_back(index);
        }
    }
}

impl Host for Ours {
    fn receive(&mut self, frame: &[u8], now: Instant) {
        self.stack.handle_frame(WireId(0), frame, Arrival::Wire, now);
    }

    fn poll(&mut self, now: Instant, out: &mut Vec<Vec<u8>>) {
        self.stack.handle_timers(now);
        let before = out.len();
        loop {
            let mut frames = Vec::new();
            self.stack.poll_transmit(64, &mut Outbox(&mut frames), now);
            assert!(self.stack.poll_resolve().is_none(), "no kernel here");
            if frames.is_empty() && !self.stack.has_work() {
                break;
            }
            out.append(&mut frames);
            assert!(out.len() - before < FRAMES_MAX, "it talks without end");
        }
        self.take_events();
    }

    fn poll_at(&mut self, _: Instant) -> Option<Instant> {
        self.stack.poll_at()
    }

    fn poll_news(&mut self) -> Option<usize> {
        self.news.pop_front()
    }

    fn listen(&mut self, index: usize) {
        let listen = Listen {
            address: None,
            ipv6: self.ipv6,
            port: port(index),
            wire: None,
            backlog: 5,
            user: index as u64,
        };
        let listener = self.stack.listen(listen).expect("a port");
        self.listeners.insert(listener, index);
    }

    fn connect(&mut self, index: usize, now: Instant) {
        let remote = SocketAddr::new(ip(self.ipv6, 1 - self.side), port(index));
        let id = self.stack.connect(remote, None, index as u64, now).expect("a port");
        self.conns.insert(index, id);
    }

    fn condition(&mut self, index: usize) -> Condition {
        let status = self.conns.get(&index).and_then(|&id| self.stack.status(id));
        let Some(status) = status else { return Condition::default() };
        Condition {
            is_open: !matches!(status.state, State::SynSent | State::SynReceived),
            eof: status.eof,
            failed: status.error.is_some(),
        }
    }

    fn send(&mut self, index: usize, bytes: &[u8], now: Instant) -> usize {
        self.stack.send(self.conns[&index], bytes, now)
    }

    fn recv(&mut self, index: usize, out: &mut [u8], now: Instant) -> usize {
        self.stack.recv(self.conns[&index], out, now)
    }

    fn shut(&mut self, index: usize, now: Instant) {
        self.stack.shut(self.conns[&index], now);
    }

    fn close(&mut self, index: usize, now: Instant) {
        if let Some(id) = self.conns.remove(&index) {
            self.stack.close(id, now);
        }
    }

    fn abort(&mut self, index: usize, now: Instant) {
        if let Some(id) = self.conns.remove(&index) {
            self.stack.abort(id, now);
        }
    }

    fn is_empty(&self) -> bool {
        let stats = self.stack.stats();
        let is_empty = stats.connections.used == 0 && stats.half_open == 0 && stats.time_wait == 0;
        if is_empty {
            assert_eq!(
                stats.buffers.used, 0,
                "of {} buffers: no connection has them",
                self.buffers
            );
        }
        is_empty && self.stack.poll_at().is_none() && !self.stack.has_work()
    }

    fn assert_invariants(&self) {
        self.stack.assert_invariants();
    }

    fn retransmits(&self) -> u64 {
        self.stack.counters().retransmits
    }
}
