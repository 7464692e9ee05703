//! One stack and frames by hand: what a test says and what it is answered.
//!
//! In:    segments and frames from the peer
//! Out:   what the stack says to each
//! Owns:  the stack, the time
//! Never: says anything by itself

use std::sync::Arc;
use std::time::Duration;

use netstack::fib::{Link, LinkId, WireId};
use netstack::{Arrival, ConnId, Instant, Listen, ListenerId, Secret, Stack, StackConfig};
use smoltcp::wire::TcpOption;

use super::{Outbox, PEER, PEER_MAC, Seen, Tcp, fib, link, see};

/// A stack, the time, and what its user knows.
pub struct Lab {
    pub stack: Stack,
    pub now: Instant,
}

impl Lab {
    pub fn new() -> Lab {
        Lab::with(link(), |_| {})
    }

    pub fn with(link: Link, adjust: impl Fn(&mut StackConfig)) -> Lab {
        let mut config = StackConfig::new(Secret([9; 16]));
        adjust(&mut config);
        let mut lab = Lab { stack: Stack::new(config), now: Instant::from_millis(5_000) };
        lab.stack.set_fib(Arc::new(fib(link)), lab.now);
        for address in PEER {
            lab.stack.set_neighbor(LinkId(0), address, Some(PEER_MAC), lab.now);
        }
        lab
    }

    pub fn listen(&mut self, backlog: usize) -> ListenerId {
        let listen = |ipv6| Listen { address: None, ipv6, port: 80, wire: None, backlog, user: 7 };
        self.stack.listen(listen(true)).unwrap();
        self.stack.listen(listen(false)).unwrap()
    }

    /// Gives the stack a frame, and takes what it says to it.
    pub fn exchange(&mut self, frame: &[u8]) -> Vec<Vec<u8>> {
        self.stack.handle_frame(WireId(0), frame, Arrival::Wire, self.now);
        self.speak()
    }

    pub fn speak(&mut self) -> Vec<Vec<u8>> {
        let mut all = Vec::new();
        loop {
            let mut frames = Vec::new();
            self.stack.poll_transmit(64, &mut Outbox(&mut frames), self.now);
            self.stack.assert_invariants();
            if frames.is_empty() {
                return all;
            }
            all.extend(frames);
        }
    }

    /// The segments that answer a segment.
    pub fn hear(&mut self, tcp: &Tcp) -> Vec<Seen> {
        self.exchange(&tcp.frame()).iter().filter_map(|frame| see(frame)).collect()
    }

    /// The one segment that answers.
    pub fn one(&mut self, tcp: &Tcp) -> Seen {
        let mut seen = self.hear(tcp);
        assert_eq!(seen.len(), 1, "{seen:?}");
        seen.remove(0)
    }

    pub fn silence(&mut self, tcp: &Tcp) {
        let seen = self.hear(tcp);
        assert!(seen.is_empty(), "{seen:?}");
    }

    /// The time passes; what is said meanwhile.
    pub fn pass(&mut self, time: Duration) -> Vec<Seen> {
        let end = self.now + time;
        let mut seen = Vec::new();
        while let Some(at) = self.stack.poll_at().filter(|&at| at <= end) {
            self.now = self.now.max(at);
            self.stack.handle_timers(self.now);
            seen.extend(self.speak().iter().filter_map(|frame| see(frame)));
        }
        self.now = end;
        seen
    }

    /// A connection from the peer's port, opened at 1000; with it our ISS.
    pub fn open(&mut self, listener: ListenerId, port: u16) -> (ConnId, u32) {
        let mut syn = Tcp { ports: [port, 80], ..Tcp::new("S", 1000, None) };
        syn.options = vec![TcpOption::MaxSegmentSize(1460)];
        let iss = self.one(&syn).seq;
        self.silence(&Tcp { ports: [port, 80], ..Tcp::new("", 1001, Some(iss.wrapping_add(1))) });
        (self.stack.accept(listener, 1).expect("a connection"), iss)
    }

    /// What is left of a connection that both have closed, we first; with it our ISS.
    pub fn time_wait(&mut self, listener: ListenerId, stamped: bool) -> u32 {
        let stamp = |tsval| stamped.then_some(TcpOption::TimeStamp { tsval, tsecr: 0 });
        let stamp = |tsval| stamp(tsval).into_iter().collect();
        let iss = self.one(&Tcp { options: stamp(500), ..Tcp::new("S", 1000, None) }).seq;
        let after = |count: u32| Some(iss.wrapping_add(count));
        self.silence(&Tcp { options: stamp(500), ..Tcp::new("", 1001, after(1)) });
        let id = self.stack.accept(listener, 1).expect("a connection");
        self.stack.close(id, self.now);
        self.speak();
        let last = self.one(&Tcp { options: stamp(500), ..Tcp::new("F", 1001, after(2)) });
        assert_eq!((last.flags.as_str(), last.ack), (".", 1002));
        assert_eq!((self.stack.stats().connections.used, self.stack.stats().time_wait), (0, 1));
        iss
    }
}

/// A sequence number so far on.
pub fn offset(from: u32, by: u32) -> u32 {
    from.wrapping_add(by)
}
