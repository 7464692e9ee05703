//! ACLs, conditions and rules.
//!
//! Read:  docs/configuration.md, "ACLs", "Rules"

use std::collections::{BTreeMap, HashSet};
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use ipnet::IpNet;

use super::{Expression, Location, Pattern, ProxyName, ServerName, Variable};

/// An `acl`: true when one of its lines is.
#[derive(Clone, Debug, PartialEq)]
pub struct Acl {
    /// Its name; empty for one between braces.
    pub name: Arc<str>,
    /// Its lines.
    pub lines: Vec<AclLine>,
}

/// One line of an ACL.
#[derive(Clone, Debug, PartialEq)]
pub struct AclLine {
    /// Where it stands.
    pub at: Location,
    /// What is looked at.
    pub expression: Expression,
    /// What it must be.
    pub matcher: Arc<Matcher>,
    /// The same as it was written.
    pub written: Written,
}

/// What an `acl` line compares with, as it was written: what operators see and change.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Written {
    /// The word that says what is looked at, e.g. `src`.
    pub criterion: Arc<str>,
    /// How values are compared: the word behind `-m`.
    pub method: &'static str,
    /// `-i`
    pub ignores_case: bool,
    /// The values of each file, and those of the line itself, which come last.
    pub lists: Vec<PatternList>,
}

/// Values that an ACL compares with.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PatternList {
    /// The file that they are of.
    pub file: Option<Arc<str>>,
    /// Before numbers an operator may stand.
    pub values: Vec<Arc<str>>,
}

/// What a value must be.
#[derive(Clone, Debug, PartialEq)]
pub enum Matcher {
    /// It is there (`-m found`).
    Found,
    /// It is true, or is one of these (`-m bool`).
    Bool(Vec<bool>),
    /// It lies in one of these ranges (`-m int`).
    Int(Vec<IntRange>),
    /// It lies in one of these networks (`-m ip`).
    Ip(IpSet),
    /// It is a text like one of these.
    Text(TextMatch),
    /// It matches one of these (`-m reg`).
    Regex(Vec<Pattern>),
    /// It is one of these (`-m bin`).
    Bytes(Vec<Arc<[u8]>>),
    /// Its length lies in one of these ranges (`-m len`).
    Len(Vec<IntRange>),
}

impl Matcher {
    /// Whether nothing can match, for lack of patterns.
    pub fn is_empty(&self) -> bool {
        match self {
            Matcher::Found | Matcher::Bool(_) => false,
            Matcher::Int(ranges) | Matcher::Len(ranges) => ranges.is_empty(),
            Matcher::Ip(networks) => networks.is_empty(),
            Matcher::Text(texts) => texts.texts.is_empty(),
            Matcher::Regex(regexes) => regexes.is_empty(),
            Matcher::Bytes(all) => all.is_empty(),
        }
    }
}

/// From `low` to `high`, both included.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct IntRange {
    /// The least.
    pub low: i64,
    /// The most.
    pub high: i64,
}

/// Networks, looked up by the lengths of their prefixes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct IpSet {
    nets: BTreeMap<(bool, u8), HashSet<IpNet>>,
}

impl IpSet {
    /// Adds a network.
    pub fn insert(&mut self, net: IpNet) {
        let key = (net.addr().is_ipv6(), net.prefix_len());
        self.nets.entry(key).or_default().insert(net.trunc());
    }

    /// Whether one of the networks has this address; an IPv4 address is looked for among IPv6 networks too, as
    /// `::ffff:a.b.c.d`, and the other way round.
    pub fn contains(&self, address: IpAddr) -> bool {
        let other = match address {
            IpAddr::V4(v4) => Some(IpAddr::V6(v4.to_ipv6_mapped())),
            IpAddr::V6(v6) => v6.to_ipv4_mapped().map(IpAddr::V4),
        };
        self.has(address) || other.is_some_and(|other| self.has(other))
    }

    fn has(&self, address: IpAddr) -> bool {
        let family = (address.is_ipv6(), 0)..=(address.is_ipv6(), u8::MAX);
        self.nets.range(family).any(|((_, len), nets)| {
            IpNet::new(address, *len).is_ok_and(|net| nets.contains(&net.trunc()))
        })
    }

    /// Whether there are no networks.
    pub fn is_empty(&self) -> bool {
        self.nets.is_empty()
    }
}

/// Texts, and how they are compared.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TextMatch {
    /// How.
    pub method: TextMethod,
    /// The case of letters does not matter (`-i`): the texts are in lower case then.
    pub ignores_case: bool,
    /// The texts.
    pub texts: HashSet<Vec<u8>>,
}

/// How texts are compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TextMethod {
    /// `-m str`: the same.
    Is,
    /// `-m beg`
    Begins,
    /// `-m end`
    Ends,
    /// `-m sub`
    Contains,
    /// `-m dir`: a part between slashes.
    Directory,
    /// `-m dom`: a part between dots, too.
    Domain,
}

/// `if` or `unless`, and what follows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Condition {
    /// True when it does not hold (`unless`).
    pub is_unless: bool,
    /// Terms of which all must hold, and of such groups one.
    pub groups: Vec<Vec<Term>>,
}

/// An ACL within a condition.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Term {
    /// Its place in [`Proxy::acls`](super::Proxy::acls).
    pub acl: usize,
    /// It must not hold (`!`).
    pub is_negated: bool,
}

/// A rule: what to do, and when.
#[derive(Clone, Debug, PartialEq)]
pub struct Rule {
    /// Where it stands.
    pub at: Location,
    /// What to do.
    pub action: Action,
    /// `None`: always.
    pub condition: Option<Condition>,
}

/// What a rule does.
#[derive(Clone, Debug, PartialEq)]
pub enum Action {
    /// No rule of this list after it counts.
    Accept,
    /// The connection ends, with a reset.
    Reject,
    /// The connection ends without a word to the client.
    SilentDrop,
    /// `close`: the server's connection ends; the client has what came before.
    CloseServer,
    /// The connection begins with a PROXY header.
    ExpectProxy,
    /// `set-src`, `set-dst`, `set-src-port`, `set-dst-port`
    SetEnd(EndField, Expression),
    /// `set-var`
    SetVariable(Variable, Expression),
    /// `unset-var`
    UnsetVariable(Variable),
    /// `set-priority-class`
    SetPriorityClass(Expression),
    /// `set-priority-offset`
    SetPriorityOffset(Expression),
    /// `set-nice`
    SetNice(i32),
    /// `set-log-level`: 0 to 7; `None`: no line (`silent`).
    SetLogLevel(Option<u8>),
}

/// A part of what is known of the client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EndField {
    /// Its address.
    Source,
    /// Its port.
    SourcePort,
    /// The address that it came to.
    Destination,
    /// The port.
    DestinationPort,
}

/// The rules of a proxy in TCP mode, each list in order.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct TcpRules {
    /// `tcp-request connection`: before there is a session.
    pub connection: Vec<Rule>,
    /// `tcp-request session`: once there is one.
    pub session: Vec<Rule>,
    /// `tcp-request content`: with what the client says.
    pub content: Vec<Rule>,
    /// `tcp-response content`: with what the server says.
    pub response: Vec<Rule>,
    /// `tcp-request inspect-delay`: how long content rules may wait for bytes.
    pub inspect_delay: Option<Duration>,
    /// `tcp-response inspect-delay`
    pub response_delay: Option<Duration>,
}

/// `use_backend`
#[derive(Clone, Debug, PartialEq)]
pub struct UseBackend {
    /// Where it stands.
    pub at: Location,
    /// Which one.
    pub backend: BackendChoice,
    /// `None`: always.
    pub condition: Option<Condition>,
}

/// The backend of a `use_backend`.
#[derive(Clone, Debug, PartialEq)]
pub enum BackendChoice {
    /// This one.
    Fixed(ProxyName),
    /// The one whose name this makes, texts and expressions in turn; if there is none the rule does not count.
    Made(Vec<NamePart>),
}

/// A part of a name that is made for each stream.
#[derive(Clone, Debug, PartialEq)]
pub enum NamePart {
    /// As it stands.
    Text(Arc<str>),
    /// What `%[...]` is.
    Expression(Expression),
}

/// `use-server`
#[derive(Clone, Debug, PartialEq)]
pub struct UseServer {
    /// Where it stands.
    pub at: Location,
    /// Which one.
    pub server: ServerName,
    /// `None`: always.
    pub condition: Option<Condition>,
}
