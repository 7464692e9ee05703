//! What log lines tell of.
//!
//! In:    nothing; the stream fills it when its line is due
//! Out:   read by `render`
//! Never: owns anything: it lives as long as one line is written

use std::net::SocketAddr;

/// One end of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Endpoint {
    /// An address and a port.
    Inet(SocketAddr),
    /// A UNIX socket: it shows as `unix`, and its port is the number of the listener.
    Unix,
}

/// What is the same for all lines of a process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Process<'a> {
    /// `%H`: what the system calls this host.
    pub hostname: &'a str,
    /// `%pid`
    pub pid: u32,
}

/// How a stream went. Durations are milliseconds, -1 where the stream never came so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Course {
    /// `%Th`: until a PROXY header or a TLS handshake was complete.
    pub handshake_ms: i64,
    /// `%Tw`: in queues.
    pub wait_ms: i64,
    /// `%Tc`: until the server's connection was open.
    pub connect_ms: i64,
    /// `%Td`: from then until the end.
    pub data_ms: i64,
    /// `%Tt`, `%Tu`: from the accept to now.
    pub total_ms: i64,
    /// `option logasap` is set: `%Tt`, `%Tu` and `%B` have a plus in front.
    pub asap: bool,
    /// `%B`: from the server to the client.
    pub bytes_down: u64,
    /// `%U`: from the client to the server.
    pub bytes_up: u64,
    /// `%ts`: who ended it, and when.
    pub end: [u8; 2],
    /// `%ac`: connections of the process.
    pub process_connections: u32,
    /// `%fc`
    pub frontend_connections: u32,
    /// `%bc`
    pub backend_connections: u32,
    /// `%sc`
    pub server_connections: u32,
    /// `%rc`
    pub retries: u32,
    /// `%rc` has a plus in front: it moved on to another server.
    pub is_redispatched: bool,
    /// `%sq`: which turn of the server's queue was its, from 1; 0: it did not wait there.
    pub server_queue: u32,
    /// `%bq`: which turn of the backend's queue was its.
    pub backend_queue: u32,
}

/// The facts of one connection or stream. Times of the clock are microseconds since 1970, UTC.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Record<'a> {
    /// `%H`, `%pid`
    pub process: Process<'a>,
    /// `%ci`, `%cp`: the client, as the PROXY header says if there is one.
    pub client: Option<Endpoint>,
    /// `%fi`, `%fp`: where the client came to.
    pub frontend_address: Option<Endpoint>,
    /// `%bi`, `%bp`: where the connection to the server comes from; `None` before there is one.
    pub backend_address: Option<Endpoint>,
    /// `%si`, `%sp`: the server; `None` before one was chosen.
    pub server_address: Option<Endpoint>,
    /// The number of the listener in its frontend, from 1 (`id` of a `bind` line, or its place).
    pub listener: u32,
    /// `%f`
    pub frontend: &'a str,
    /// The client's side is TLS: `%ft` ends with a tilde.
    pub is_tls: bool,
    /// `%sslv`, e.g. `TLSv1.3`
    pub tls_version: Option<&'a str>,
    /// `%sslc`
    pub tls_cipher: Option<&'a str>,
    /// `%b`: the backend; the frontend as long as none was chosen.
    pub backend: &'a str,
    /// `%s`; `None` shows as `<NOSRV>`.
    pub server: Option<&'a str>,
    /// `%t`, `%T`, `%Tl`, `%Ts`, `%ms`: when the client was accepted.
    pub accepted_us: i64,
    /// How it went.
    pub course: Course,
    /// `%rt`: streams of the process before this one.
    pub request: u64,
    /// `%lc`: lines that the frontend wrote before this one.
    pub line: u64,
    /// `%ID`: what `unique-id-format` made.
    pub unique_id: Option<&'a str>,
}
