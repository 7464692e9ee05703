//! What a configuration says, after parsing: plain data, checked, names resolved.
//!
//! In:    nothing; the parser fills it
//! Out:   read by the boot, and by the diff between two configurations
//! Never: holds a clock, a socket or a default that is not a number

use std::net::IpAddr;
use std::ops::RangeInclusive;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use ipnet::IpNet;

/// maxconn at every level when nothing is said: listener <- proxy <- defaults <- this; global <- this.
pub const MAXCONN_DEFAULT: u32 = 2000;

/// A place in a configuration file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Location {
    /// The file as it was named on the command line.
    pub file: Arc<str>,
    /// Line, from 1.
    pub line: u32,
}

/// A whole configuration.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Config {
    /// The `global` sections.
    pub global: Global,
    /// The proxies in the order of the file; [`ProxyIndex`] is an index into it.
    pub proxies: Vec<Proxy>,
    /// Words that were understood whose behaviour is not active yet: told once at start.
    pub inactive: Vec<Inactive>,
}

/// A word that parses and is not active yet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Inactive {
    /// Where it stands.
    pub at: Location,
    /// The word, e.g. `stats socket`.
    pub word: String,
}

/// An index into [`Config::proxies`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ProxyIndex(pub usize);

/// The `global` sections.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Global {
    /// Concurrent connections of the process.
    pub maxconn: Option<u32>,
    /// Workers, when `--cores` does not say.
    pub nbthread: Option<u32>,
    /// xlb's own: interfaces to take over, in order (`interface eth0 eth1`).
    pub interfaces: Vec<String>,
    /// xlb's own: addresses that only xlb owns (`address 10.0.0.5/24 interface eth0 [vlan 100]`).
    pub addresses: Vec<OwnAddress>,
    /// xlb's own: routes for them (`route 0.0.0.0/0 via 10.0.0.1 [interface eth0] [vlan 100]`).
    pub routes: Vec<StatedRoute>,
    /// xlb's own: source ports towards servers (`source-ports 16384-32767`).
    pub source_ports: Option<RangeInclusive<u16>>,
    /// Where log lines go.
    pub logs: Vec<LogTarget>,
    /// `pidfile`.
    pub pidfile: Option<PathBuf>,
    /// `tune.maxaccept`: connections taken from one listener in a row; -1 for no limit.
    pub maxaccept: Option<i32>,
    /// `tune.maxpollevents`: frames taken from a queue in one turn.
    pub maxpollevents: Option<u32>,
}

/// An address that only xlb owns.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OwnAddress {
    /// Where it is stated.
    pub at: Location,
    /// The address with the prefix of its network.
    pub net: IpNet,
    /// The interface; `None` when there is only one.
    pub interface: Option<String>,
    /// IEEE 802.1Q VLAN identifier, 1-4094.
    pub vlan: Option<u16>,
}

/// A route stated in the configuration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StatedRoute {
    /// Where it is stated.
    pub at: Location,
    /// Destinations; `default` is `0.0.0.0/0` or `::/0` by the family of `via`.
    pub prefix: IpNet,
    /// The router.
    pub via: IpAddr,
    /// The interface; `None` when the router's network tells.
    pub interface: Option<String>,
    /// VLAN of the link to the router.
    pub vlan: Option<u16>,
}

/// A `log` line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogTarget {
    /// Where it stands.
    pub at: Location,
    /// `127.0.0.1:514`, `/dev/log`, `stdout`, as written.
    pub target: String,
    /// Facility, e.g. `local0`.
    pub facility: String,
    /// The words after the facility: level, minimum level.
    pub levels: Vec<String>,
}

/// What a section is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ProxyKind {
    /// `frontend`
    Frontend,
    /// `backend`
    Backend,
    /// `listen`: both in one
    Listen,
}

impl ProxyKind {
    /// Whether it has listeners.
    pub fn is_frontend(self) -> bool {
        matches!(self, ProxyKind::Frontend | ProxyKind::Listen)
    }

    /// Whether it has servers.
    pub fn is_backend(self) -> bool {
        matches!(self, ProxyKind::Backend | ProxyKind::Listen)
    }
}

/// A `frontend`, `backend` or `listen` section with its defaults applied.
#[derive(Clone, Debug, PartialEq)]
pub struct Proxy {
    /// Where the section starts.
    pub at: Location,
    /// Its name.
    pub name: Arc<str>,
    /// What it is.
    pub kind: ProxyKind,
    /// `disabled`
    pub disabled: bool,
    /// Concurrent connections of the frontend.
    pub maxconn: u32,
    /// Connections that wait to be accepted, per listener; `None`: its maxconn.
    pub backlog: Option<u32>,
    /// One per `bind` address and port.
    pub binds: Vec<Bind>,
    /// `default_backend`; for `listen` with servers, itself.
    pub default_backend: Option<ProxyIndex>,
    /// The algorithm.
    pub balance: Balance,
    /// The servers in order.
    pub servers: Vec<Server>,
    /// The timeouts.
    pub timeouts: Timeouts,
    /// `retries`: connection attempts after the first; HAProxy's default is 3.
    pub retries: u32,
    /// `option redispatch`: when the retries move on to another server.
    pub redispatch: Redispatch,
}

/// One listening address and port.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Bind {
    /// Where it stands.
    pub at: Location,
    /// The address; `None` is every own address of the family or families below.
    pub address: Option<IpAddr>,
    /// For a wildcard: which families (`:80` and `*:80` IPv4; `[::]:80` IPv6; `[::]:80 v4v6` both).
    pub families: Families,
    /// The port.
    pub port: u16,
    /// Concurrent connections of this listener.
    pub maxconn: u32,
    /// Connections that wait to be accepted.
    pub backlog: Option<u32>,
    /// `name`
    pub name: Option<String>,
    /// `interface`: only connections that arrive there.
    pub interface: Option<String>,
    /// `nice`, -1024 to 1024.
    pub nice: i32,
}

/// Address families of a wildcard.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Families {
    /// IPv4 only.
    V4,
    /// IPv6 only.
    V6,
    /// Both.
    Both,
}

/// `balance`
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Balance {
    /// Weighted round robin, smooth.
    #[default]
    RoundRobin,
}

/// A server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Server {
    /// Where it stands.
    pub at: Location,
    /// Its name.
    pub name: Arc<str>,
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
}

/// The port of a server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ServerPort {
    /// This one.
    Fixed(u16),
    /// The port that the client used, plus or minus something (`+0` when none is written).
    Offset(i32),
}

/// Timeouts; `None` is infinite, as in HAProxy.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Timeouts {
    /// `timeout connect`
    pub connect: Option<Duration>,
    /// `timeout client`
    pub client: Option<Duration>,
    /// `timeout server`
    pub server: Option<Duration>,
    /// `timeout client-fin`
    pub client_fin: Option<Duration>,
    /// `timeout server-fin`
    pub server_fin: Option<Duration>,
    /// `timeout tunnel`
    pub tunnel: Option<Duration>,
}

/// `option redispatch [interval]`
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Redispatch {
    /// Every attempt goes to the same server.
    #[default]
    Never,
    /// Every nth retry goes to another server (1: each of them).
    Every(u32),
    /// The nth retry before the last does (1: the last, HAProxy's default when the option is set).
    BeforeLast(u32),
}
