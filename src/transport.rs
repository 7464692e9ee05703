//! What the proxy asks of the world below it: byte streams to peers.
//!
//! In:    commands on connections, each with the time
//! Out:   events, and what is known of a connection
//! Never: says how: userspace TCP in production, pipes in tests

pub mod stack;

use std::fmt::Debug;
use std::net::{IpAddr, SocketAddr};

use crate::clock::Instant;

/// What the user calls a connection or a listener; given back with every event.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Token(pub u64);

/// Where to listen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ListenAt {
    /// The address; `None` is every own address of the family.
    pub address: Option<IpAddr>,
    /// The family of a wildcard.
    pub ipv6: bool,
    /// The port.
    pub port: u16,
    /// Only what arrives on this interface, by its place among those taken over.
    pub interface: Option<u8>,
    /// Connections that may wait to be accepted.
    pub backlog: usize,
}

/// Something happened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Event {
    /// Connections wait at a listener.
    Accept(Token),
    /// The connection was opened, received something, found room, or ended.
    Connection(Token),
}

/// Why a connection ended otherwise than in order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Failure {
    /// The peer refused it.
    Refused,
    /// The peer reset it.
    Reset,
    /// The peer did not answer for too long.
    TimedOut,
    /// There is no way to the peer.
    Unreachable,
}

/// What is known of a connection.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Status {
    /// The handshake is done.
    pub is_open: bool,
    /// Bytes to read.
    pub readable: usize,
    /// The peer has closed, and all its bytes were read.
    pub eof: bool,
    /// Why it ended.
    pub failure: Option<Failure>,
}

/// Why no connection could be begun.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ConnectError {
    /// No route leads there.
    NoRoute,
    /// All source ports towards the peer are in use.
    NoSourcePort,
}

/// Why a listener could not be made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ListenError {
    /// There is one for the same address and port.
    InUse,
}

/// Byte streams to peers, as the proxy uses them.
pub trait Transport {
    /// A connection.
    type Conn: Copy + Eq + Debug;
    /// A listener.
    type Listener: Copy + Eq + Debug;

    /// Listens; [`Event::Accept`] tells of connections.
    fn listen(&mut self, at: &ListenAt, token: Token) -> Result<Self::Listener, ListenError>;

    /// Stops listening: who waits to be accepted is reset.
    fn unlisten(&mut self, listener: Self::Listener, now: Instant);

    /// Whether a connection waits at a listener.
    fn has_waiting(&self, listener: Self::Listener) -> bool;

    /// Takes the next connection of a listener, to be called `token`.
    fn accept(&mut self, listener: Self::Listener, token: Token) -> Option<Self::Conn>;

    /// Begins a connection, to be called `token`; an event tells how it went.
    fn connect(
        &mut self,
        remote: SocketAddr,
        token: Token,
        now: Instant,
    ) -> Result<Self::Conn, ConnectError>;

    /// This end and the peer's.
    fn ends(&self, conn: Self::Conn) -> Option<(SocketAddr, SocketAddr)>;

    /// What is known of a connection; `None` when it is gone.
    fn status(&self, conn: Self::Conn) -> Option<Status>;

    /// Moves up to `max` bytes received from one peer to the other; returns how many. When the sink had
    /// no room for more, an event of the sink tells of room.
    fn forward(&mut self, from: Self::Conn, to: Self::Conn, max: usize, now: Instant) -> usize;

    /// Closes our direction, after what is queued.
    fn shut(&mut self, conn: Self::Conn, now: Instant);

    /// Leaves a connection in order: what is queued is still sent.
    fn close(&mut self, conn: Self::Conn, now: Instant);

    /// Leaves a connection with a reset.
    fn abort(&mut self, conn: Self::Conn, now: Instant);

    /// The next event.
    fn poll_event(&mut self) -> Option<Event>;
}
