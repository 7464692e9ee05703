//! The stack: packets in, packets out, byte streams up. Sans-IO: no NIC, no clock, no threads.
//!
//! In:    frames, the time, randomness, commands on connections
//! Out:   frames, events on connections
//! Owns:  connections, their timers, their buffers
//! Never: reads a clock, blocks, knows a proxy
//! Read:  RFC 9293 (TCP); RFC 1122

pub mod buffer;
mod checksum;
pub mod connection;
pub mod counters;
pub mod fib;
pub mod flow;
mod handshake;
mod neighbor;
mod packet;
pub mod rss;
mod segment;
pub mod seq;
mod silenced;
mod stack;
mod syn_cookie;
pub mod time;
mod time_wait;
pub mod wheel;

pub use connection::snapshot::RestoreError;
pub use connection::{
    Algorithm, ConnectionError, Description, Keepalive, State, Status, TcpConfig,
};
pub use flow::{ConnId, Endpoint, FourTuple, Secret};
pub use handshake::{Listen, ListenerId};
pub use neighbor::Resolve;
pub use stack::{
    Arrival, ConnectError, Disposition, Event, ListenError, Source, SourcePort, Stack, StackConfig,
    StackStats, Transmit,
};
pub use time::Instant;
