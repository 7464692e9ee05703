//! What expressions look at: fetches, what converters make of them, and values.
//!
//! Read:  docs/configuration.md, "Samples"

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::Arc;

use super::{Matcher, Pattern, ProxyIndex, ServerId};

/// A value that a fetch finds, or that a converter makes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Value {
    /// True or false.
    Bool(bool),
    /// A whole number.
    Int(i64),
    /// An address.
    Ip(IpAddr),
    /// A text; it need not be UTF-8.
    Text(Vec<u8>),
    /// Bytes.
    Bytes(Vec<u8>),
}

impl Value {
    /// What it is.
    pub fn kind(&self) -> Kind {
        match self {
            Value::Bool(_) => Kind::Bool,
            Value::Int(_) => Kind::Int,
            Value::Ip(_) => Kind::Ip,
            Value::Text(_) => Kind::Text,
            Value::Bytes(_) => Kind::Bytes,
        }
    }
}

/// What a value is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// [`Value::Bool`]
    Bool,
    /// [`Value::Int`]
    Int,
    /// [`Value::Ip`]
    Ip,
    /// [`Value::Text`]
    Text,
    /// [`Value::Bytes`]
    Bytes,
    /// Whatever it was.
    Any,
}

impl Kind {
    /// Whether a value of this kind can be taken as one of another.
    pub fn becomes(self, other: Kind) -> bool {
        match (self, other) {
            (Kind::Any, _) | (_, Kind::Any | Kind::Text | Kind::Bytes) => true,
            (Kind::Ip, Kind::Int) | (Kind::Text, Kind::Bool | Kind::Int | Kind::Ip) => true,
            (Kind::Bool, Kind::Int) | (Kind::Int, Kind::Bool) => true,
            (from, to) => from == to,
        }
    }

    /// HAProxy's name for it.
    pub fn name(self) -> &'static str {
        match self {
            Kind::Bool => "bool",
            Kind::Int => "sint",
            Kind::Ip => "addr",
            Kind::Text => "str",
            Kind::Bytes => "bin",
            Kind::Any => "any",
        }
    }
}

/// `src,ipmask(24)`
#[derive(Clone, Debug, PartialEq)]
pub struct Expression {
    /// As it was written.
    pub text: Arc<str>,
    /// What is looked at.
    pub fetch: Fetch,
    /// What is made of it, in order.
    pub converters: Vec<Converter>,
    /// What comes out.
    pub kind: Kind,
}

impl Expression {
    /// Whether it looks at what one side of a stream has said.
    pub fn looks_at_bytes(&self) -> bool {
        matches!(
            self.fetch,
            Fetch::Len(_)
                | Fetch::Payload { .. }
                | Fetch::PayloadLv { .. }
                | Fetch::Tls(..)
                | Fetch::RdpCookie(_)
                | Fetch::RdpCookieCount(_)
        )
    }
}

/// What an expression looks at.
#[derive(Clone, Debug, PartialEq)]
pub enum Fetch {
    /// `always_true`, `bool`, `int`, `str`, `bin`, `ipv4`, `ipv6`, `env`, `proc`: known from the start.
    Constant(Value),
    /// `rand`: below this number.
    Random(u64),
    /// `act_conn`: connections of the process.
    ActiveConns,
    /// `thread`: the number of the worker.
    Thread,
    /// `nbthread`: workers.
    Threads,
    /// `stopping`: the process is to end.
    Stopping,
    /// `src`, `dst`, `fc_src` and so on.
    Address(Whose),
    /// The same, its port.
    Port(Whose),
    /// The same, whether it is one of our own.
    IsLocal(Whose),
    /// `fe_id`, `be_id`, `so_id`, `srv_id`
    Id(Part),
    /// `fe_name`, `be_name`, `so_name`, `srv_name`
    Name(Part),
    /// Facts of a proxy; that of the rule, or of the stream, unless one is named.
    Proxy(ProxyFact, Option<ProxyName>),
    /// Facts of a server.
    Server(ServerFact, ServerName),
    /// `dst_conn`: connections of the listener.
    ListenerConns,
    /// `prio_class`
    PriorityClass,
    /// `prio_offset`
    PriorityOffset,
    /// `var`
    Variable(Variable),
    /// `be_server_timeout`, `be_tunnel_timeout`, `fe_client_timeout`, milliseconds.
    Timeout(TimeoutOf),
    /// `req.len`, `res.len`
    Len(Way),
    /// `payload`, `req.payload`, `res.payload`: so many bytes from an offset on; 0: all that are there.
    Payload {
        /// Of whom.
        way: Way,
        /// The first byte.
        offset: usize,
        /// How many.
        len: usize,
    },
    /// `payload_lv`: bytes whose number is in the bytes.
    PayloadLv {
        /// Of whom.
        way: Way,
        /// Where the number is.
        offset: usize,
        /// Bytes of the number, big-endian.
        size: usize,
        /// Where the bytes begin.
        from: LvStart,
    },
    /// Facts of a TLS hello.
    Tls(Way, TlsFact),
    /// `rdp_cookie`: the cookie of this name, or of any.
    RdpCookie(Option<Arc<str>>),
    /// `rdp_cookie_cnt`
    RdpCookieCount(Option<Arc<str>>),
    /// `wait_end`: once there is nothing more to wait for.
    WaitEnd,
    /// `fc_rcvd_proxy`: the connection began with a PROXY header.
    ReceivedProxy,
}

/// One end of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Whose {
    /// `src`: the client, as a PROXY header or a rule has it.
    Source,
    /// `dst`: where it came to, as a PROXY header or a rule has it.
    Destination,
    /// `fc_src`: the peer of the client's connection itself.
    FrontSource,
    /// `fc_dst`
    FrontDestination,
    /// `bc_src`: our end of the server's connection.
    BackSource,
    /// `bc_dst`
    BackDestination,
}

impl Whose {
    /// It is an end of the server's connection.
    pub fn is_of_server(self) -> bool {
        matches!(self, Whose::BackSource | Whose::BackDestination)
    }
}

/// What has a number and a name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    /// The proxy that the client came to.
    Frontend,
    /// The one that has the servers.
    Backend,
    /// The `bind` line.
    Listener,
    /// The server.
    Server,
    /// `default_backend` of the frontend: it has a name only.
    DefaultBackend,
}

/// What is known of a proxy.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ProxyFact {
    /// `fe_conn`
    FrontendConns,
    /// `fe_sess_rate`
    FrontendRate,
    /// `be_conn`
    BackendConns,
    /// `be_conn_free`: connections that its servers have room for; -1: one of them has no limit.
    FreeConns,
    /// `be_sess_rate`
    BackendRate,
    /// `connslots`: the same with room in queues; -1: one of them has no limit.
    ConnSlots,
    /// `queue`: streams that wait, all in all.
    Queue,
    /// `avg_queue`: the same for each usable server.
    AverageQueue,
    /// `nbsrv`: servers that can be used.
    UsableServers,
}

/// What is known of a server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ServerFact {
    /// `srv_conn`
    Conns,
    /// `srv_conn_free`: -1 when it has no limit.
    FreeConns,
    /// `srv_is_up`
    IsUp,
    /// `srv_queue`
    Queue,
    /// `srv_sess_rate`
    Rate,
    /// `srv_weight`: what counts now.
    Weight,
    /// `srv_iweight`: what the configuration says.
    InitialWeight,
    /// `srv_uweight`: what an operator or an agent says.
    UserWeight,
}

/// A timeout that can be asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TimeoutOf {
    /// `fe_client_timeout`
    Client,
    /// `be_server_timeout`
    Server,
    /// `be_tunnel_timeout`
    Tunnel,
}

/// A proxy that is named.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProxyName {
    /// Its name.
    pub name: Arc<str>,
    /// Which it is, once the whole configuration is known.
    pub index: Option<ProxyIndex>,
}

/// A server that is named: `backend/server`, or one of the proxy's own.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServerName {
    /// As it is written.
    pub name: Arc<str>,
    /// Which it is, once the whole configuration is known.
    pub id: Option<ServerId>,
}

/// A direction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    /// From the client.
    Request,
    /// From the server.
    Response,
    /// That of the rule.
    OfRule,
}

/// Where the bytes of a `payload_lv` begin.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LvStart {
    /// So many bytes behind the number; 0 unless stated.
    BehindNumber(i64),
    /// At this offset.
    At(usize),
}

/// What a TLS hello says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TlsFact {
    /// `ssl_hello_type`: 1 of a client, 2 of a server.
    HelloType,
    /// `ssl_ver`: major version in the upper 16 bits.
    Version,
    /// `ssl_sni`
    Sni,
    /// `ssl_alpn`: the names with commas between.
    Alpn,
    /// `ssl_ec_ext`: it has supported groups.
    Groups,
}

/// The name of a variable: its scope, and the rest.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Variable {
    /// How long it lives.
    pub scope: VariableScope,
    /// What follows the scope.
    pub name: Arc<str>,
}

/// How long a variable lives.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum VariableScope {
    /// As long as the process, for all.
    Process,
    /// As long as the client's connection.
    Session,
    /// As long as the stream.
    Transaction,
    /// Until the server's connection is open.
    Request,
    /// From then on.
    Response,
}

/// What is made of a value.
#[derive(Clone, Debug, PartialEq)]
pub enum Converter {
    /// `add`, `sub`, `mul`, `div`, `mod`, `and`, `or`, `xor`
    Arithmetic(Operation, Operand),
    /// `neg`
    Negative,
    /// `cpl`: every bit.
    Complement,
    /// `bool`
    Bool,
    /// `not`
    Not,
    /// `odd`
    Odd,
    /// `even`
    Even,
    /// `lower`
    Lower,
    /// `upper`
    Upper,
    /// `length`
    Length,
    /// `bytes(offset[,length])`
    Part {
        /// The first byte.
        offset: usize,
        /// At most so many; `None`: all.
        len: Option<usize>,
    },
    /// `hex`
    Hex,
    /// `hex2i`
    HexToInt,
    /// `base64`
    Base64,
    /// `ub64enc`
    Base64Url,
    /// `b64dec`
    FromBase64,
    /// `ub64dec`
    FromBase64Url,
    /// `field(index,delimiters[,count])`
    Field(Split),
    /// `word(index,delimiters[,count])`
    Word(Split),
    /// `ltrim`
    TrimLeft(Arc<[u8]>),
    /// `rtrim`
    TrimRight(Arc<[u8]>),
    /// `cut_crlf`
    CutLine,
    /// `concat(start,variable,end)`
    Concat {
        /// Before the variable.
        start: Arc<[u8]>,
        /// The variable.
        variable: Option<Variable>,
        /// Behind it.
        end: Arc<[u8]>,
    },
    /// `ipmask(mask4[,mask6])`
    IpMask(u8, Option<u8>),
    /// `iif(true,false)`
    Choose(Arc<[u8]>, Arc<[u8]>),
    /// `strcmp(variable)`
    Compare(Variable),
    /// `regsub(regex,replacement[,flags])`
    Replace {
        /// What is replaced.
        regex: Pattern,
        /// By what, `\1` being a group.
        by: Arc<[u8]>,
        /// All of them.
        all: bool,
    },
    /// `url_dec`
    UrlDecode,
    /// `sdbm`, `djb2`, `wt6`, `crc32`, `crc32c`, with the avalanche or not.
    Hash(HashOf, bool),
    /// `map`: the value behind the pattern that matches.
    Map(Arc<Map>),
    /// `set-var`
    Store(Variable),
    /// `unset-var`
    Forget(Variable),
    /// `htonl`
    NetworkOrder,
    /// `reverse`
    Reverse,
}

/// Two numbers into one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Operation {
    /// `add`
    Add,
    /// `sub`
    Subtract,
    /// `mul`
    Multiply,
    /// `div`
    Divide,
    /// `mod`
    Modulo,
    /// `and`
    And,
    /// `or`
    Or,
    /// `xor`
    Xor,
}

/// A number, or the variable that holds it.
#[derive(Clone, Debug, PartialEq)]
pub enum Operand {
    /// The number.
    Number(i64),
    /// The variable.
    Variable(Variable),
}

/// Which part of a text between delimiters.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Split {
    /// From 1; negative from the end.
    pub index: i64,
    /// Any of these ends a part.
    pub delimiters: Arc<[u8]>,
    /// So many parts; 0: all that follow.
    pub count: usize,
}

/// A hash function.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HashOf {
    /// `sdbm`
    Sdbm,
    /// `djb2`
    Djb2,
    /// `wt6`
    Wt6,
    /// `crc32`
    Crc32,
    /// `crc32c`
    Crc32c,
}

/// `map_str(file[,default])` and its kin.
#[derive(Clone, Debug, PartialEq)]
pub struct Map {
    /// Whole texts, each with its value (`map`, `map_str`): the first of each in the file.
    pub exact: HashMap<Vec<u8>, Value>,
    /// Other patterns, in order, each with its value.
    pub entries: Vec<(Matcher, Value)>,
    /// The value when none matches.
    pub default: Option<Value>,
}
