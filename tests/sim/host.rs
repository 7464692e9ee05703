//! A peer of the balancer: a host with a TCP of its own.
//!
//! In:    frames, the time, commands of the programs on it
//! Out:   frames, what became of its connections
//! Never: shares anything with the balancer but frames

mod ours;
mod smoltcp_host;

use std::net::{IpAddr, SocketAddr};

use netstack::Instant;
pub use ours::fib;

use crate::scenario::{HostPlan, Kind};

/// A connection of a host.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Socket(pub usize);

/// What is known of a connection.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Condition {
    pub is_open: bool,
    /// The peer has closed, and all its bytes were read.
    pub eof: bool,
    /// It ended otherwise than by both sides closing.
    pub failed: bool,
}

/// What the programs of a simulation ask of a host.
pub trait Host {
    /// Takes a frame from the network.
    fn receive(&mut self, frame: &[u8], now: Instant);

    /// Does what is due, and gives out what is to be sent.
    fn poll(&mut self, now: Instant, out: &mut Vec<Vec<u8>>);

    /// When [`Host::poll`] has something to do without a frame.
    fn poll_at(&mut self, now: Instant) -> Option<Instant>;

    fn listen(&mut self, port: u16);

    /// The next connection that a peer opened.
    fn accept(&mut self) -> Option<Socket>;

    /// Begins a connection; `None` when no port is free.
    fn connect(&mut self, to: SocketAddr, now: Instant) -> Option<Socket>;

    fn send(&mut self, socket: Socket, bytes: &[u8], now: Instant) -> usize;

    fn recv(&mut self, socket: Socket, out: &mut [u8], now: Instant) -> usize;

    fn condition(&mut self, socket: Socket) -> Condition;

    /// This end and the peer's.
    fn ends(&mut self, socket: Socket) -> Option<(SocketAddr, SocketAddr)>;

    /// Closes this end's direction.
    fn shut(&mut self, socket: Socket, now: Instant);

    /// Leaves in order.
    fn close(&mut self, socket: Socket, now: Instant);

    /// Leaves with a reset.
    fn abort(&mut self, socket: Socket, now: Instant);

    fn assert_invariants(&self) {}
}

/// Where a host is.
#[derive(Clone, Copy, Debug)]
pub struct Place {
    pub mac: [u8; 6],
    pub ip: IpAddr,
}

/// A host as planned. `ports`: how many ports a client has for its own ends.
pub fn new(plan: &HostPlan, place: Place, ports: u16, seed: u64) -> Box<dyn Host> {
    match plan.kind {
        Kind::Netstack => Box::new(ours::Ours::new(place, plan.mtu, ports, seed)),
        Kind::Smoltcp { buffer } => {
            Box::new(smoltcp_host::SmoltcpHost::new(place, plan.mtu, buffer, seed))
        }
    }
}
