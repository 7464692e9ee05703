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

mod balance;
mod check;
mod log;
mod places;
mod rule;
mod sample;
mod server;
mod service;

pub use balance::{Algorithm, Balance, HashFunction, HashMethod, HashType};
pub use check::{
    AgentCheck, Answer, CheckAction, CheckConnect, CheckKind, CheckStatus, CheckStep, CheckTimes,
    Expect, HeaderMatch, HealthCheck, InitState, Observe, OnError, Pattern, StringMatch, Text,
    Told,
};
pub use log::{
    LogAddress, LogFraming, LogIdentity, LogLine, LogTarget, LogTransport, Logs, Ring, RingServer,
    Sampling,
};
pub use places::Places;
pub use rule::{
    Acl, AclLine, Action, BackendChoice, Condition, EndField, IntRange, IpSet, Matcher, NamePart,
    PatternList, Rule, TcpRules, Term, TextMatch, TextMethod, UseBackend, UseServer, Written,
};
pub use sample::{
    Converter, Expression, Fetch, HashOf, Kind, LvStart, Map, Operand, Operation, Part, ProxyFact,
    ProxyName, ServerFact, ServerName, Split, TimeoutOf, TlsFact, Value, Variable, VariableScope,
    Way, Whose,
};
pub use server::{
    ProxyHeader, Server, ServerId, ServerPort, ServerSource, SourceAddress, SourcePorts,
};

pub use service::{AdminFrom, Metrics, Service, StatsPage};

/// maxconn at every level when nothing is said: listener <- proxy <- defaults <- this; global <- this.
pub const MAXCONN_DEFAULT: u32 = 2000;

/// `tune.bufsize` when nothing is said, bytes.
pub const BUFSIZE_DEFAULT: u32 = 16_384;

/// `tune.buffers.reserve` when nothing is said.
pub const BUFFERS_RESERVE_DEFAULT: u32 = 2;

/// A place in a configuration file. All are equal: what a configuration says is the same wherever it stands.
#[derive(Clone, Debug)]
pub struct Location {
    /// The file as it was named on the command line.
    pub file: Arc<str>,
    /// Line, from 1.
    pub line: u32,
}

impl PartialEq for Location {
    fn eq(&self, _: &Self) -> bool {
        true
    }
}

impl Eq for Location {}

impl Location {
    /// What tells it from others.
    pub fn key(&self) -> (Arc<str>, u32) {
        (self.file.clone(), self.line)
    }
}

/// A whole configuration.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Config {
    /// The `global` sections.
    pub global: Global,
    /// The proxies in the order of the file; [`ProxyIndex`] is an index into it.
    pub proxies: Places<Proxy>,
    /// The `ring` sections.
    pub rings: Vec<Ring>,
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

impl Config {
    /// Has the kernel's TCP carry what the wires were to carry (`--transport kernel`).
    pub fn leave_wires(&mut self) {
        for proxy in self.proxies.values_mut() {
            let binds = proxy.binds.values_mut().map(|bind| &mut bind.carrier);
            let servers = proxy.servers.values_mut().map(|server| &mut server.carrier);
            binds.chain(servers).filter(|carrier| **carrier == Carrier::Wire).for_each(|carrier| {
                *carrier = Carrier::Kernel;
            });
        }
    }

    /// Whether any listener or server is on the wires.
    pub fn needs_wires(&self) -> bool {
        let on_wires = |carrier: &Carrier| *carrier == Carrier::Wire;
        self.proxies.values().filter(|proxy| !proxy.disabled).any(|proxy| {
            proxy.binds.values().any(|bind| on_wires(&bind.carrier))
                || proxy.servers.values().any(|server| on_wires(&server.carrier))
        })
    }

    /// `fullconn` of a backend that states none: a tenth of the maxconn of all frontends that may use it.
    pub fn fullconn_of(&self, backend: ProxyIndex) -> u32 {
        let uses = |proxy: &&Proxy| {
            let is_named = |rule: &UseBackend| match &rule.backend {
                BackendChoice::Fixed(name) => name.index == Some(backend),
                BackendChoice::Made(_) => false,
            };
            proxy.default_backend == Some(backend) || proxy.use_backend.iter().any(is_named)
        };
        let total: u64 =
            self.proxies.values().filter(uses).map(|proxy| u64::from(proxy.maxconn)).sum();
        u32::try_from(total.div_ceil(10)).unwrap_or(u32::MAX).max(1)
    }
}

impl Global {
    /// Bytes of one side of a stream that rules can look at: `tune.bufsize` (16384) less `tune.maxrewrite` (1024, or
    /// half of a small buffer).
    pub fn inspected_max(&self) -> usize {
        let bufsize = self.bufsize.unwrap_or(BUFSIZE_DEFAULT);
        let maxrewrite = self.maxrewrite.unwrap_or(1024).min(bufsize / 2);
        (bufsize - maxrewrite) as usize
    }

    /// Connections that a worker takes from one listener in a row: `tune.maxaccept`, or 64 for one worker and
    /// half of a fair share of that for each of more.
    pub fn maxaccept_of(&self, workers: usize) -> usize {
        match self.maxaccept {
            None | Some(0) if workers <= 1 => 64,
            None | Some(0) => (64 / 2 / workers).max(1),
            Some(count) => usize::try_from(count).unwrap_or(usize::MAX),
        }
    }
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
    /// What log lines call program and host.
    pub log_identity: LogIdentity,
    /// What it is among other processes.
    pub process: Process,
    /// `tune.maxaccept`: connections taken from one listener in a row; -1 for no limit.
    pub maxaccept: Option<i32>,
    /// `tune.maxpollevents`: frames taken from a queue in one turn.
    pub maxpollevents: Option<u32>,
    /// `maxconnrate`: connections per second; 0 or nothing: no limit.
    pub maxconnrate: Option<u32>,
    /// `maxsessrate`: sessions per second.
    pub maxsessrate: Option<u32>,
    /// `maxsslrate`: TLS sessions per second.
    pub maxsslrate: Option<u32>,
    /// `tune.runqueue-depth`: tasks run in a turn.
    pub runqueue_depth: Option<u32>,
    /// `tune.bufsize`: bytes that rules can look at, and what a buffer of the limits below counts for.
    pub bufsize: Option<u32>,
    /// `tune.maxrewrite`: bytes of a buffer kept for rewriting.
    pub maxrewrite: Option<u32>,
    /// `tune.buffers.limit`: buffers of the process, of `bufsize` each; 0 or nothing: no limit.
    pub buffers_limit: Option<u32>,
    /// `tune.buffers.reserve`: buffers that only responses may take.
    pub buffers_reserve: Option<u32>,
    /// `spread-checks`: percent by which checks are moved apart, 0-50.
    pub spread_checks: u32,
    /// `max-spread-checks`: the span over which first checks are spread.
    pub max_spread_checks: Option<Duration>,
    /// `stats socket`, `stats timeout`, `stats maxconn`.
    pub stats: Stats,
    /// `cpu-map`: the cores that each worker may run on when `--cores` says nothing; none: any.
    pub cpu_map: Vec<Vec<usize>>,
}

/// What the process is among others.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Process {
    /// `daemon`: in the background.
    pub daemon: bool,
    /// `busy-polling`: workers without work spin for ever.
    pub busy_polling: bool,
    /// `quiet`: says only what is wrong.
    pub quiet: bool,
    /// `pidfile`: the file that names it.
    pub pidfile: Option<PathBuf>,
    /// `user`: whom to become once everything is open.
    pub user: Option<String>,
    /// `group`
    pub group: Option<String>,
    /// `uid`
    pub uid: Option<u32>,
    /// `gid`
    pub gid: Option<u32>,
    /// `chroot`: the directory that it sees as the whole file system from then on.
    pub chroot: Option<PathBuf>,
    /// `hard-stop-after`: how long a soft stop may take.
    pub hard_stop_after: Option<Duration>,
    /// `node`: its name; `None`: the machine's.
    pub node: Option<String>,
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

/// What a section is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
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
    pub binds: Places<Bind>,
    /// `default_backend`; for `listen` with servers, itself.
    pub default_backend: Option<ProxyIndex>,
    /// The algorithm.
    pub balance: Balance,
    /// The servers in order.
    pub servers: Places<Server>,
    /// The timeouts.
    pub timeouts: Timeouts,
    /// `retries`: connection attempts after the first; HAProxy's default is 3.
    pub retries: u32,
    /// `option redispatch`: when the retries move on to another server.
    pub redispatch: Redispatch,
    /// `rate-limit sessions`: sessions per second of the frontend.
    pub rate_limit_sessions: Option<u32>,
    /// `fullconn`: connections of the backend at which its servers are granted their `maxconn`; `None`: a
    /// tenth of the maxconn of all frontends that may use it.
    pub fullconn: Option<u32>,
    /// `id`, or the place among the proxies, from 1.
    pub id: u32,
    /// `hash-preserve-affinity`, `retry-on` and other options of its streams.
    pub options: ProxyOptions,
    /// Probes of idle connections of clients.
    pub client_keepalive: Option<KeepaliveTimes>,
    /// Probes of idle connections to servers.
    pub server_keepalive: Option<KeepaliveTimes>,
    /// What servers that are checked are asked.
    pub health_check: HealthCheck,
    /// `source` of the backend, for servers without one.
    pub source: Option<ServerSource>,
    /// What it logs, and where.
    pub logs: Logs,
    /// Its ACLs, those between braces among them.
    pub acls: Vec<Acl>,
    /// `tcp-request`, `tcp-response`
    pub tcp_rules: TcpRules,
    /// Some of its rules look at what the client says.
    pub looks_at_bytes: bool,
    /// `use_backend`, in order.
    pub use_backend: Vec<UseBackend>,
    /// `use-server`, in order.
    pub use_server: Vec<UseServer>,
    /// `monitor-net`: who comes from there is a monitor: accepted, closed, not counted.
    pub monitor_nets: IpSet,
    /// `persist rdp-cookie(<name>)`: a stream goes to the server that this cookie names.
    pub persist: Option<Arc<str>>,
    /// What it answers by itself, instead of forwarding.
    pub service: Option<Service>,
}

impl Proxy {
    /// Where connections to one of its servers come from, if anything says so.
    pub fn source_of<'a>(&'a self, server: &'a Server) -> Option<&'a ServerSource> {
        server.source.as_ref().or(self.source.as_ref())
    }
}

/// Options of a proxy that are on or off.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ProxyOptions {
    /// `option abortonclose`: a client that half-closes while it waits has given up.
    pub abortonclose: bool,
    /// `option nolinger`: connections are left with a reset.
    pub nolinger: bool,
    /// `option allbackups`: all backups share the load, not only the first.
    pub allbackups: bool,
    /// `option log-health-checks`
    pub log_health_checks: bool,
    /// `option socket-stats`: listeners are shown one by one.
    pub socket_stats: bool,
    /// `retry-on conn-failure` (the default) or `retry-on none`.
    pub retry_on_conn_failure: bool,
    /// `option persist`: rules and cookies send streams to their server even if it is down.
    pub persist: bool,
}

impl Default for ProxyOptions {
    fn default() -> Self {
        ProxyOptions {
            abortonclose: false,
            nolinger: false,
            allbackups: false,
            log_health_checks: false,
            socket_stats: false,
            retry_on_conn_failure: true,
            persist: false,
        }
    }
}

/// `option tcpka` and its kin with `clitcpka-*`, `srvtcpka-*`; what is `None` is the stack's default.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct KeepaliveTimes {
    /// Silence before the first probe.
    pub idle: Option<Duration>,
    /// From one probe to the next.
    pub interval: Option<Duration>,
    /// Probes without an answer.
    pub count: Option<u32>,
}

/// What clients of a runtime socket may do.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Level {
    /// Read what is no secret.
    User,
    /// Read all, and do what changes no service.
    #[default]
    Operator,
    /// Everything.
    Admin,
}

/// The runtime sockets: `stats socket` and its limits.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stats {
    /// `stats socket`, one for each address.
    pub sockets: Vec<Bind>,
    /// `stats timeout`: silence that ends a session.
    pub timeout: Duration,
    /// `stats maxconn`: sessions at once.
    pub maxconn: u32,
}

impl Default for Stats {
    fn default() -> Self {
        Stats { sockets: Vec::new(), timeout: Duration::from_secs(10), maxconn: 10 }
    }
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
    /// `id`, or the place among the listeners of its proxy, from 1.
    pub id: u32,
    /// `interface`: only connections that arrive there.
    pub interface: Option<String>,
    /// `nice`, -1024 to 1024.
    pub nice: i32,
    /// What carries its connections.
    pub carrier: Carrier,
    /// Rights of a UNIX socket.
    pub rights: SocketRights,
    /// `level`: what clients may do, where this is a runtime socket.
    pub level: Level,
    /// `accept-proxy`: each connection begins with a PROXY header.
    pub accept_proxy: bool,
    /// `defer-accept`: a connection is one once the client has said something.
    pub defer_accept: bool,
    /// `mss`: the largest segment to announce, bytes of payload.
    pub mss: Option<u16>,
    /// `tcp-ut`: bytes that stay unacknowledged for so long end the connection.
    pub user_timeout: Option<Duration>,
}

/// What carries the connections of a listener, or those to a server.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub enum Carrier {
    /// Our own TCP over the wires.
    #[default]
    Wire,
    /// The kernel's TCP: loopback addresses, and those written `kernel@...` (xlb's own).
    Kernel,
    /// A UNIX socket: `/path`, `unix@/path`, `abns@name`.
    Unix(UnixAddress),
    /// A listening socket that the process inherited: `fd@3`.
    Fd(i32),
}

/// The address of a UNIX socket.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum UnixAddress {
    /// A path of the file system.
    Path(PathBuf),
    /// A name in Linux's abstract namespace (`abns@`), padded as HAProxy pads it or not (`abnsz@`).
    Abstract {
        /// The name, without the NUL in front of it.
        name: String,
        /// The address ends with the name instead of being filled up with NULs.
        is_short: bool,
    },
}

/// Rights of a UNIX socket: `user`, `group`, `uid`, `gid`, `mode`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SocketRights {
    /// Owner, by name.
    pub user: Option<String>,
    /// Group, by name.
    pub group: Option<String>,
    /// Owner, by number.
    pub uid: Option<u32>,
    /// Group, by number.
    pub gid: Option<u32>,
    /// Permission bits.
    pub mode: Option<u32>,
}

/// Address families of a wildcard.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Families {
    /// IPv4 only.
    V4,
    /// IPv6 only.
    V6,
    /// Both.
    Both,
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
    /// `timeout queue`; `None`: as `timeout connect`.
    pub queue: Option<Duration>,
    /// `timeout check`: a check's time once it is connected.
    pub check: Option<Duration>,
    /// `timeout client-hs`: until a PROXY header or a TLS handshake is complete.
    pub client_hs: Option<Duration>,
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
