//! Servers.
//!
//! Read:  docs/configuration.md, "server"

use std::net::IpAddr;
use std::ops::RangeInclusive;
use std::sync::Arc;
use std::time::Duration;

use super::{AgentCheck, Carrier, CheckTimes, Location, ProxyIndex};

/// A server of a backend.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ServerId {
    /// The backend.
    pub proxy: ProxyIndex,
    /// Its place among the servers of the backend.
    pub index: usize,
}

/// A server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Server {
    /// Where it stands.
    pub at: Location,
    /// Its name.
    pub name: Arc<str>,
    /// `id`, or the first free number from 1 in the order of the lines.
    pub id: u32,
    /// What carries connections to it; with a UNIX socket address and port mean nothing.
    pub carrier: Carrier,
    /// Its address; names are resolved while parsing.
    pub address: IpAddr,
    /// Its port.
    pub port: ServerPort,
    /// 0-256; 0 takes no new connection.
    pub weight: u32,
    /// `disabled`: in maintenance from the start.
    pub disabled: bool,
    /// `backup`: used only when no other server is.
    pub backup: bool,
    /// `maxconn`: connections to it; 0: no limit.
    pub maxconn: u32,
    /// `minconn`: the same while the backend has little load; 0: always `maxconn`.
    pub minconn: u32,
    /// `maxqueue`: streams that may wait for it alone; 0: no limit.
    pub maxqueue: u32,
    /// `slowstart`: how long weight and maxconn grow after it came up.
    pub slowstart: Option<Duration>,
    /// `check` with its times.
    pub check: Option<CheckTimes>,
    /// `agent-check`
    pub agent: Option<AgentCheck>,
    /// `track`: it is what that server is.
    pub track: Option<ServerId>,
    /// `on-marked-down shutdown-sessions`
    pub shutdown_when_down: bool,
    /// `on-marked-up shutdown-backup-sessions`
    pub shutdown_backups_when_up: bool,
    /// `send-proxy` and its kin.
    pub send_proxy: Option<ProxyHeader>,
    /// `source`
    pub source: Option<ServerSource>,
    /// `tcp-ut`: bytes that stay unacknowledged for so long end the connection.
    pub user_timeout: Option<Duration>,
}

/// The port of a server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ServerPort {
    /// This one.
    Fixed(u16),
    /// The port that the client used, plus or minus something (`+0` when none is written).
    Offset(i32),
}

/// The PROXY header that a connection to a server begins with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ProxyHeader {
    /// `send-proxy`: version 1.
    V1,
    /// `send-proxy-v2` with `proxy-v2-options`.
    V2 {
        /// `crc32c`
        crc32c: bool,
        /// `unique-id`
        unique_id: bool,
    },
}

/// `source <addr>[:<port>[-<port>]] [usesrc ...] [interface <name>]`
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServerSource {
    /// Whose address it is.
    pub address: SourceAddress,
    /// Which ports.
    pub ports: SourcePorts,
    /// `interface`
    pub interface: Option<String>,
}

/// The address that connections to servers come from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SourceAddress {
    /// By the route (`0.0.0.0`).
    Any,
    /// This one.
    Fixed(IpAddr),
    /// `usesrc clientip`: the client's address.
    ClientIp,
    /// `usesrc client`: the client's address and port.
    Client,
    /// `usesrc <addr>`: an address that need not be ours.
    Foreign(IpAddr),
}

/// The ports that connections to servers come from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SourcePorts {
    /// Among the worker's own.
    Any,
    /// Among these.
    Range(RangeInclusive<u16>),
}
