//! One side of the network: a TCP and the ends of the conversations that are on it.
//!
//! In:    frames, the time, commands on conversations, by their number
//! Out:   frames, which conversations have news
//! Never: shares anything with the other side but frames

mod ours;
mod smoltcp_host;

use std::net::IpAddr;

use netstack::Instant;
pub use ours::Ours;
pub use smoltcp_host::SmoltcpHost;

use crate::common::{OWN, PEER};
use crate::scenario::{Pairing, Scenario};

/// What is known of a connection.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Condition {
    pub is_open: bool,
    /// The peer has closed, and all its bytes were read.
    pub eof: bool,
    /// It ended otherwise than by both sides closing.
    pub failed: bool,
}

/// What the ends of conversations ask of a host. Conversation `index` is listened for on [`port`].
pub trait Host {
    /// Takes a frame from the network.
    fn receive(&mut self, frame: &[u8], now: Instant);

    /// Does what is due, and gives out what is to be sent.
    fn poll(&mut self, now: Instant, out: &mut Vec<Vec<u8>>);

    /// When [`Host::poll`] has something to do without a frame.
    fn poll_at(&mut self, now: Instant) -> Option<Instant>;

    /// A conversation that has news.
    fn poll_news(&mut self) -> Option<usize>;

    fn listen(&mut self, index: usize);

    fn connect(&mut self, index: usize, now: Instant);

    fn condition(&mut self, index: usize) -> Condition;

    /// Returns how many bytes were taken; when not all were, there is news once there is room.
    fn send(&mut self, index: usize, bytes: &[u8], now: Instant) -> usize;

    fn recv(&mut self, index: usize, out: &mut [u8], now: Instant) -> usize;

    /// Closes this end's direction.
    fn shut(&mut self, index: usize, now: Instant);

    /// Leaves in order.
    fn close(&mut self, index: usize, now: Instant);

    /// Leaves with a reset.
    fn abort(&mut self, index: usize, now: Instant);

    /// Everybody has left, and it has forgotten them.
    fn is_empty(&self) -> bool;

    fn assert_invariants(&self);

    /// Segments that it sent more than once.
    fn retransmits(&self) -> u64;
}

/// The port that a conversation is listened for on.
pub fn port(index: usize) -> u16 {
    8000 + index as u16
}

/// The address of a side.
pub fn ip(ipv6: bool, side: usize) -> IpAddr {
    [OWN, PEER][side][usize::from(ipv6)]
}

/// The client's host and the server's.
pub fn hosts(scenario: &Scenario) -> [Box<dyn Host>; 2] {
    [0, 1].map(|side| {
        let is_smoltcp = match scenario.pairing {
            Pairing::Ours => false,
            Pairing::SmoltcpConnects => side == 0,
            Pairing::SmoltcpListens => side == 1,
        };
        let host: Box<dyn Host> = if is_smoltcp {
            Box::new(SmoltcpHost::new(scenario, side))
        } else {
            Box::new(Ours::new(scenario, side))
        };
        host
    })
}
