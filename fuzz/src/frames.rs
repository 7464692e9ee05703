//! Arbitrary frames against the parser and the demultiplexer.
//!
//! In:    records of a header and a frame
//! Out:   a panic if the stack breaks, holds something at the end, or sends what it cannot have meant
//! Owns:  a stack of two workers' first, with links of all kinds, a listener and an open connection
//!
//! A record is a control byte, a byte of time, a length of two bytes (little endian) and the frame:
//!
//! ```text
//!  bit 0      the wire that the frame comes in by
//!  bits 1, 2  its arrival: from the wire, handed over and asked once or twice, a copy
//!  bit 3      checksums are made right
//!  bit 4      sequence numbers are meant from where the stack is in the flow, not from 0
//!  bits 5-7   what a user does after it
//! ```

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use ipnet::IpNet;
use netstack::fib::{Address, Fib, Link, LinkId, Origin, Ownership, Route, WireId};
use netstack::{Arrival, ConnId, Disposition, ListenerId};

use crate::common::lab::Lab;
use crate::common::repair::{repair, shift};
use crate::common::{OWN, PEER, PEER_MAC, SHARED, fib, link, see};
use crate::{assert_nothing_stays, speak};

/// Records of a run.
const RECORDS_MAX: usize = 200;

/// Numbers of a flow that the peer last heard: the acknowledgment, and the end of what was said.
#[derive(Clone, Copy)]
struct Heard {
    ipv6: bool,
    /// The peer's port and the stack's.
    ports: [u8; 4],
    ack: u32,
    end: u32,
}

struct Siege {
    lab: Lab,
    listener: ListenerId,
    users: Vec<ConnId>,
    heard: Vec<Heard>,
}

/// Runs the records of `data`.
pub fn run(data: &[u8]) {
    let mut siege = Siege::new();
    let mut rest = data;
    for _ in 0..RECORDS_MAX {
        let [control, time, low, high, frames @ ..] = rest else { break };
        let len = usize::from(u16::from_le_bytes([*low, *high])).min(frames.len());
        let (frame, next) = frames.split_at(len);
        siege.give(*control, *time, frame);
        rest = next;
    }
    siege.end();
}

/// A wire with two networks on it, and another whose peers leave checksums to their NIC.
fn links() -> Fib {
    let simple = fib(link());
    let tagged = Link { vlan: Some(5), ..link() };
    let second = Link { wire: WireId(1), partial_checksums: true, ..link() };
    let mut addresses = simple.addresses().to_vec();
    let mut routes = Vec::new();
    let prefixes = ["10.0.0.0/24", "10.0.5.0/24", "10.1.0.0/24", "fd00::/64", "fd05::/64"];
    for (prefix, link) in prefixes.into_iter().zip([0, 1, 2, 0, 1]) {
        routes.push(Route {
            prefix: prefix.parse().expect("a prefix"),
            link: LinkId(link),
            gateway: None,
            source: None,
            metric: 0,
            origin: if link == 2 { Origin::Kernel } else { Origin::Stated },
        });
    }
    for (net, link, ownership) in [
        ("10.0.5.1/24", 1, Ownership::Sole),
        ("fd05::1/64", 1, Ownership::Sole),
        ("10.1.0.1/24", 2, Ownership::Shared),
    ] {
        let net: IpNet = net.parse().expect("an address");
        addresses.push(Address { link: LinkId(link), net, ownership });
    }
    Fib::new(vec![link(), tagged, second], addresses, routes)
}

impl Siege {
    fn new() -> Siege {
        let mut lab = Lab::with(link(), |config| {
            config.workers = 2;
            config.source_ports = 20_000..=20_007;
            config.buffers = 64;
            config.time_wait_max = 4;
        });
        lab.stack.set_fib(Arc::new(links()), lab.now);
        for address in PEER {
            lab.stack.set_neighbor(LinkId(0), address, Some(PEER_MAC), lab.now);
        }
        let listener = lab.listen(4);
        let (client, _) = lab.open(listener, 4000);
        let mut siege = Siege { lab, listener, users: vec![client], heard: Vec::new() };
        for remote in [PEER[1], OWN[0], SHARED[0]] {
            let opened =
                siege.lab.stack.connect(SocketAddr::new(remote, 81), None, 2, siege.lab.now);
            siege.users.extend(opened);
        }
        siege.lab.stack.send(client, &[7; 3000], siege.lab.now);
        siege.speak();
        siege
    }

    fn give(&mut self, control: u8, time: u8, frame: &[u8]) {
        self.lab.now += Duration::from_micros(1 << (time % 28));
        self.lab.stack.handle_timers(self.lab.now);
        let mut frame = frame.to_vec();
        if control & 0x10 != 0 {
            self.aim(&mut frame);
        }
        if control & 8 != 0 {
            repair(&mut frame);
        }
        let arrival = match control >> 1 & 3 {
            0 => Arrival::Wire,
            3 => Arrival::Copy,
            asked => Arrival::Handed { asked },
        };
        let wire = WireId(control & 1);
        let disposition = self.lab.stack.handle_frame(wire, &frame, arrival, self.lab.now);
        match disposition {
            Disposition::Done => {}
            Disposition::HandTo(worker) => assert_eq!(worker, 1, "handed to itself or to nobody"),
            Disposition::HandOn => assert_eq!(arrival, Arrival::Wire, "both were asked"),
            Disposition::CopyToAll => assert_eq!(arrival, Arrival::Wire, "a copy of a copy"),
        }
        self.speak();
        self.act(control >> 5);
        self.speak();
    }

    /// Makes numbers that are meant from where the flow is what they are on the wire.
    fn aim(&self, frame: &mut [u8]) {
        for heard in &self.heard {
            shift(frame, heard.ipv6, heard.ports, heard.ack, heard.end);
        }
    }

    fn act(&mut self, act: u8) {
        let Siege { lab, listener, users, .. } = self;
        while lab.stack.poll_event().is_some() {}
        while let Some(id) = lab.stack.accept(*listener, 3) {
            users.push(id);
        }
        let (Some(&first), Some(&last)) = (users.first(), users.last()) else { return };
        match act {
            1 => {
                lab.stack.recv(last, &mut [0; 2000], lab.now);
            }
            2 => {
                lab.stack.send(last, &[1; 5000], lab.now);
            }
            3 => lab.stack.shut(last, lab.now),
            4 => {
                lab.stack.close(last, lab.now);
                users.pop();
            }
            5 if first != last => {
                lab.stack.forward(first, last, 10_000, lab.now);
            }
            6 => users.rotate_left(1),
            7 => {
                let remote = SocketAddr::new(PEER[0], 4000);
                users.extend(lab.stack.connect(remote, None, 2, lab.now));
            }
            _ => {}
        }
    }

    fn speak(&mut self) {
        for mut frame in speak(&mut self.lab) {
            if frame[12..14] == [0x81, 0x00] {
                frame.drain(12..16);
            }
            self.listen_to(&frame);
        }
    }

    fn listen_to(&mut self, frame: &[u8]) {
        let Some(seen) = see(frame) else { return };
        let ipv6 = frame[12] != 0x08;
        let tcp = if ipv6 { 54 } else { 34 };
        let [a, b, c, d]: [u8; 4] = frame[tcp..tcp + 4].try_into().expect("two ports");
        let (ports, end) = ([c, d, a, b], seen.seq.wrapping_add(seen.len as u32));
        let heard = Heard { ipv6, ports, ack: seen.ack, end };
        self.heard.retain(|known| (known.ipv6, known.ports) != (ipv6, ports));
        self.heard.push(heard);
        if self.heard.len() > 16 {
            self.heard.remove(0);
        }
    }

    fn end(&mut self) {
        self.act(0);
        for id in std::mem::take(&mut self.users) {
            self.lab.stack.close(id, self.lab.now);
        }
        self.lab.stack.unlisten(self.listener, self.lab.now);
        self.speak();
        // A listener that is gone resets who waits in its queue; the other family's stays.
        self.lab.stack.abort_all(self.lab.now);
        self.speak();
        assert_nothing_stays(&mut self.lab);
    }
}
