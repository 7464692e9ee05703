//! What the proxy asks of the world below it: byte streams to peers.
//!
//! In:    commands on connections, each with the time
//! Out:   events, and what is known of a connection
//! Never: says how: userspace TCP in production, kernel sockets where the configuration names one

pub mod kernel;
pub mod mixed;
pub mod stack;

use std::fmt::Debug;
use std::net::{IpAddr, SocketAddr};
use std::ops::RangeInclusive;
use std::time::Duration;

use crate::clock::Instant;
use crate::config::model::UnixAddress;

/// What the user calls a connection or a listener; given back with every event.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Token(pub u64);

/// Where to listen, and how.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ListenAt {
    /// The place.
    pub place: Place,
    /// Connections that may wait to be accepted.
    pub backlog: usize,
    /// The largest segment to announce to clients, bytes of payload; `None`: what the path takes.
    pub mss: Option<u16>,
}

/// A place to listen at.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Place {
    /// An address of the wires.
    Wire(WirePlace),
    /// A listening socket of the kernel, by its number in the transport: it is opened once for all workers.
    Kernel(usize),
}

/// An address and port of the wires.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WirePlace {
    /// The address; `None` is every own address of the family.
    pub address: Option<IpAddr>,
    /// The family of a wildcard.
    pub ipv6: bool,
    /// The port.
    pub port: u16,
    /// Only what arrives on this interface, by its place among those taken over.
    pub interface: Option<u8>,
}

/// Where to connect, and how.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConnectTo {
    /// The peer.
    pub remote: Remote,
    /// Where the connection comes from.
    pub source: Source,
    /// How it behaves.
    pub options: ConnOptions,
}

impl ConnectTo {
    /// To an address on the wires, from wherever fits, with nothing special about it.
    pub fn wire(remote: SocketAddr) -> Self {
        ConnectTo {
            remote: Remote::Wire(remote),
            source: Source::default(),
            options: ConnOptions::default(),
        }
    }
}

/// A peer to connect to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Remote {
    /// By our own TCP over the wires.
    Wire(SocketAddr),
    /// By the kernel's TCP.
    Kernel(SocketAddr),
    /// A UNIX socket of this machine.
    Unix(UnixAddress),
}

/// Where a connection comes from. What is `None` is chosen: the address by the route, the port among the
/// worker's own.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Source {
    /// The source address.
    pub address: Option<IpAddr>,
    /// The source port is one of these; of a foreign address the first.
    pub ports: Option<RangeInclusive<u16>>,
    /// The address is not ours but a client's or any other (`usesrc`, full transparency).
    pub is_foreign: bool,
    /// Leaves by this interface, by its place among those taken over.
    pub interface: Option<u8>,
}

/// How a connection behaves; what is `None` is the transport's default.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ConnOptions {
    /// Probes of an idle connection.
    pub keepalive: Option<Keepalive>,
    /// Bytes that stay unacknowledged for so long end the connection (`tcp-ut`, RFC 5482).
    pub user_timeout: Option<Duration>,
    /// The largest segment to announce, bytes of payload.
    pub mss: Option<u16>,
}

/// Probes of an idle connection (RFC 9293, section 3.8.4); what is `None` is the transport's default.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Keepalive {
    /// Idle for so long, it is probed.
    pub idle: Option<Duration>,
    /// From one probe to the next.
    pub interval: Option<Duration>,
    /// Probes without an answer that end it.
    pub count: Option<u32>,
}

/// Both ends of a connection; `None` where an end has no address, as UNIX sockets have none.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Ends {
    /// Ours.
    pub local: Option<SocketAddr>,
    /// The peer's.
    pub remote: Option<SocketAddr>,
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
    /// The peer has closed; bytes of it may still be there to read.
    pub fin: bool,
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
    /// The kernel has no socket for us.
    NoSocket,
    /// The peer refused at once: a UNIX socket that nobody listens on.
    Refused,
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
        to: &ConnectTo,
        token: Token,
        now: Instant,
    ) -> Result<Self::Conn, ConnectError>;

    /// Changes how a connection behaves; the largest segment is settled by then.
    fn configure(&mut self, conn: Self::Conn, options: &ConnOptions);

    /// Both ends.
    fn ends(&self, conn: Self::Conn) -> Option<Ends>;

    /// Whether an address is one of our own.
    fn is_own(&self, address: IpAddr) -> bool;

    /// What is known of a connection; `None` when it is gone.
    fn status(&self, conn: Self::Conn) -> Option<Status>;

    /// Moves up to `max` bytes received from one peer to the other; returns how many. When the sink had
    /// no room for more, an event of the sink tells of room.
    fn forward(&mut self, from: Self::Conn, to: Self::Conn, max: usize, now: Instant) -> usize;

    /// Copies received bytes from `offset` on, without taking them; returns how many.
    fn peek(&self, conn: Self::Conn, offset: usize, out: &mut [u8]) -> usize;

    /// Takes up to `out.len()` received bytes; returns how many.
    fn recv(&mut self, conn: Self::Conn, out: &mut [u8], now: Instant) -> usize;

    /// Queues bytes to be sent; returns how many were taken. When not all were, an event tells of room.
    fn send(&mut self, conn: Self::Conn, bytes: &[u8], now: Instant) -> usize;

    /// Closes our direction, after what is queued.
    fn shut(&mut self, conn: Self::Conn, now: Instant);

    /// Leaves a connection in order: what is queued is still sent.
    fn close(&mut self, conn: Self::Conn, now: Instant);

    /// Leaves a connection with a reset.
    fn abort(&mut self, conn: Self::Conn, now: Instant);

    /// Leaves a connection without a word to the peer, who finds out by himself.
    fn vanish(&mut self, conn: Self::Conn, now: Instant);

    /// The next event.
    fn poll_event(&mut self) -> Option<Event>;
}
