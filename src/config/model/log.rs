//! Where log lines go, and what is in them.
//!
//! Read:  docs/configuration.md, "Logging"

use std::net::SocketAddr;
use std::ops::RangeInclusive;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use super::{Expression, Location};
use crate::log_format::Format;

/// A `log` line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogTarget {
    /// Where it stands.
    pub at: Location,
    /// Where lines are sent.
    pub address: LogAddress,
    /// `len`: the longest line, bytes, its header among them.
    pub max_len: usize,
    /// `format`: what stands before a line; `None`: as `log-send-hostname` has it.
    pub format: Option<LogFraming>,
    /// Facility (RFC 5424, table 1).
    pub facility: u8,
    /// The least important level that is sent (RFC 5424, table 2: 0 is an emergency, 7 is for debugging).
    pub level: u8,
    /// Levels more important than this are sent as if they were this.
    pub min_level: u8,
    /// `sample`: of each so many lines only those with these numbers, from 1.
    pub sample: Option<Sampling>,
}

/// Where lines are sent.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum LogAddress {
    /// Datagrams of UDP.
    Udp(SocketAddr),
    /// Datagrams of a UNIX socket.
    Unix(PathBuf),
    /// An open file: 1 is `stdout`, 2 is `stderr`.
    Fd(i32),
    /// A `ring` section.
    Ring(Arc<str>),
}

/// A `ring` section.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ring {
    /// Where it begins.
    pub at: Location,
    /// Its name.
    pub name: Arc<str>,
    /// `format`: what stands before a line whose `log` line does not say.
    pub framing: LogFraming,
    /// `maxlen`: the longest line, bytes.
    pub max_len: usize,
    /// `size`: bytes that its lines may have.
    pub size: usize,
    /// `timeout connect`
    pub connect_timeout: Option<Duration>,
    /// `timeout server`: how long a server may take nothing.
    pub server_timeout: Option<Duration>,
    /// Who is told its lines.
    pub servers: Vec<RingServer>,
}

/// A `server` line of a ring.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RingServer {
    /// Its name.
    pub name: Arc<str>,
    /// Where it listens, by TCP.
    pub address: SocketAddr,
    /// `log-proto`
    pub transport: LogTransport,
}

/// How lines are told apart in a stream (RFC 6587, section 3.4).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogTransport {
    /// A line feed behind each.
    Legacy,
    /// Its length before each.
    OctetCount,
}

/// What stands before a line, by HAProxy's names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogFraming {
    /// RFC 3164 without the name of the host.
    Local,
    /// RFC 3164
    Rfc3164,
    /// RFC 5424
    Rfc5424,
    /// Facility and level.
    Priority,
    /// The level.
    Short,
    /// The level and the time.
    Timed,
    /// The time.
    Iso,
    /// Nothing.
    Raw,
}

/// `sample <ranges>:<size>`
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sampling {
    /// Numbers of lines, from 1.
    pub ranges: Arc<[RangeInclusive<u32>]>,
    /// After so many it begins anew.
    pub size: u32,
}

/// `log-tag`, `log-send-hostname`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LogIdentity {
    /// What the program is called; `None`: `xlb`.
    pub tag: Option<Arc<str>>,
    /// Lines name the host: so, or as the system does.
    pub hostname: Option<Option<Arc<str>>>,
}

/// What a frontend logs of its streams.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Logs {
    /// Where to, those of `global` among them.
    pub targets: Vec<LogTarget>,
    /// `log-format`, `option tcplog`; `None`: a sentence when a client comes.
    pub line: Option<Arc<LogLine>>,
    /// `log-format-sd`
    pub structured: Option<Arc<LogLine>>,
    /// `error-log-format`: of connections that end before they are streams.
    pub error: Option<Arc<LogLine>>,
    /// `log-tag`
    pub tag: Option<Arc<str>>,
    /// `option logasap`: a line is written when the server is connected.
    pub asap: bool,
    /// `option dontlognull`: nothing of clients that said nothing.
    pub ignores_null: bool,
    /// `option dontlog-normal`: only what went wrong.
    pub ignores_normal: bool,
    /// `option log-separate-errors`: what went wrong has the level of an error.
    pub separates_errors: bool,
}

/// A format with its expressions read.
#[derive(Clone, Debug, PartialEq)]
pub struct LogLine {
    /// The format.
    pub format: Format,
    /// By the index of [`Format::expressions`].
    pub expressions: Vec<Expression>,
}
