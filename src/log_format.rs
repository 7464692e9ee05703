//! The text of log lines: what a format says, and what it makes of a connection's facts.
//!
//! In:    the text of a `log-format` line, once; a [`Record`] for each line
//! Out:   a [`Format`]; bytes
//! Owns:  HAProxy's variables
//! Never: reads a clock, opens a socket; allocates while it renders, but for room in the caller's buffer
//! Read:  docs/management.md, "Log lines"
//!
//! ```text
//!  parse    "%ci:%cp [%t]"  ->  items        while the configuration is read
//!  render   items, Record   ->  bytes        in the worker, when a stream ends
//!  date     seconds         ->  "26/Nov/2026:16:08:50"
//! ```

pub use date::Dates;
pub use parse::ParseError;
pub use record::{Course, Endpoint, Process, Record};

mod date;
mod parse;
mod record;
mod render;

#[cfg(test)]
mod tests;

/// `option tcplog`.
pub const TCPLOG: &str = "%ci:%cp [%t] %ft %b/%s %Tw/%Tc/%Tt %B %ts %ac/%fc/%bc/%sc/%rc %sq/%bq";

/// A format that was read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Format {
    items: Vec<Item>,
    expressions: Vec<String>,
}

/// What a format asks for, in order.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Item {
    /// As it stands.
    Text(String),
    /// Blanks: one of them, and none after another.
    Blank,
    /// `%name`
    Field(Field, Flags),
    /// `%[...]`: an index into the expressions.
    Expression(usize, Flags),
}

/// What stands between the braces of `%{+Q,-X}name`, and what a use of formats asks for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Flags {
    /// `Q`: texts within double quotes.
    quote: bool,
    /// `X`: addresses, ports and some numbers in hexadecimal.
    hex: bool,
    /// `E`: `"`, `\` and `]` behind a backslash, as structured data wants them (RFC 5424, section 6.3.3).
    escape: bool,
    /// `M`: a dash for a text that is not there.
    dash: bool,
    /// Characters that a header of HTTP cannot hold, as `%XX`.
    encode: bool,
}

/// When all that a format asks for is known: a line is written then, not later.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Stage {
    /// When the client was accepted.
    Accepted,
    /// When the server's connection is open, or the stream has ended before.
    Connected,
    /// When the stream has ended.
    Ended,
}

impl Format {
    /// Reads the text of `log-format`, `log-format-sd` or `error-log-format`.
    pub fn parse(text: &str) -> Result<Self, ParseError> {
        parse::format(text, Flags { dash: true, ..Flags::default() })
    }

    /// Reads the text of `unique-id-format`.
    pub fn parse_unique_id(text: &str) -> Result<Self, ParseError> {
        parse::format(text, Flags { encode: true, ..Flags::default() })
    }

    /// The format of `option tcplog`.
    pub fn tcplog() -> Self {
        Format::parse(TCPLOG).expect("the format of HAProxy's manual")
    }

    /// The texts of its sample expressions, in the order of their indices.
    pub fn expressions(&self) -> &[String] {
        &self.expressions
    }

    /// Whether it writes `%ID`.
    pub fn names_unique_id(&self) -> bool {
        self.fields().any(|field| field == Field::UniqueId)
    }

    /// When a line can be written; with `asap` (`option logasap`) bytes and the total time are not waited for.
    ///
    /// An expression is taken to need the end, unless `asap`.
    pub fn stage(&self, asap: bool) -> Stage {
        let fields = self.fields().map(Field::stage).max().unwrap_or(Stage::Connected);
        let stage = if self.expressions.is_empty() { fields } else { fields.max(Stage::Ended) };
        // HAProxy writes a line early only for formats that say who the client is.
        let names_client = self.fields().any(|f| matches!(f, Field::ClientIp | Field::ClientPort));
        match stage {
            Stage::Ended if asap => Stage::Connected,
            Stage::Accepted if !names_client => Stage::Connected,
            stage => stage,
        }
    }

    fn fields(&self) -> impl Iterator<Item = Field> {
        self.items.iter().filter_map(|item| match item {
            Item::Field(field, _) => Some(*field),
            _ => None,
        })
    }
}

/// A variable, by HAProxy's name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Field {
    /// `%B`
    BytesDown,
    /// `%H`
    Hostname,
    /// `%ID`
    UniqueId,
    /// `%ST`
    Status,
    /// `%T`
    DateUtc,
    /// `%Tc`
    ConnectTime,
    /// `%Td`
    DataTime,
    /// `%Th`
    HandshakeTime,
    /// `%Tl`
    DateLocal,
    /// `%Ts`
    Seconds,
    /// `%Tt`
    TotalTime,
    /// `%Tu`
    UserTime,
    /// `%Tw`
    WaitTime,
    /// `%U`
    BytesUp,
    /// `%ac`
    ProcessConnections,
    /// `%b`
    Backend,
    /// `%bc`
    BackendConnections,
    /// `%bi`
    BackendIp,
    /// `%bp`
    BackendPort,
    /// `%bq`
    BackendQueue,
    /// `%ci`
    ClientIp,
    /// `%cp`
    ClientPort,
    /// `%f`
    Frontend,
    /// `%fc`
    FrontendConnections,
    /// `%fi`
    FrontendIp,
    /// `%fp`
    FrontendPort,
    /// `%ft`
    FrontendTransport,
    /// `%hr`, `%hrl`, `%hs`, `%hsl`: captured headers, of which TCP has none
    Captures,
    /// `%lc`
    LineNumber,
    /// `%ms`
    Milliseconds,
    /// `%pid`
    Pid,
    /// `%rc`
    Retries,
    /// `%rt`
    RequestNumber,
    /// `%s`
    Server,
    /// `%sc`
    ServerConnections,
    /// `%si`
    ServerIp,
    /// `%sp`
    ServerPort,
    /// `%sq`
    ServerQueue,
    /// `%sslc`
    TlsCipher,
    /// `%sslv`
    TlsVersion,
    /// `%t`
    DateMilliseconds,
    /// `%ts`
    End,
    /// `%tsc`
    EndWithCookie,
}

impl Field {
    /// When its value is known for good.
    fn stage(self) -> Stage {
        match self {
            Field::Hostname
            | Field::DateUtc
            | Field::DateLocal
            | Field::Seconds
            | Field::Frontend
            | Field::FrontendTransport
            | Field::Backend
            | Field::LineNumber
            | Field::Milliseconds
            | Field::Pid
            | Field::DateMilliseconds
            | Field::ClientIp
            | Field::ClientPort
            | Field::EndWithCookie => Stage::Accepted,
            Field::FrontendIp
            | Field::FrontendPort
            | Field::BackendIp
            | Field::BackendPort
            | Field::Server
            | Field::ServerIp
            | Field::ServerPort
            | Field::TlsCipher
            | Field::TlsVersion
            | Field::RequestNumber
            | Field::Captures
            | Field::Status => Stage::Connected,
            _ => Stage::Ended,
        }
    }
}

/// The variables, sorted.
const FIELDS: &[(&str, Field)] = &[
    ("B", Field::BytesDown),
    ("H", Field::Hostname),
    ("ID", Field::UniqueId),
    ("ST", Field::Status),
    ("T", Field::DateUtc),
    ("Tc", Field::ConnectTime),
    ("Td", Field::DataTime),
    ("Th", Field::HandshakeTime),
    ("Tl", Field::DateLocal),
    ("Ts", Field::Seconds),
    ("Tt", Field::TotalTime),
    ("Tu", Field::UserTime),
    ("Tw", Field::WaitTime),
    ("U", Field::BytesUp),
    ("ac", Field::ProcessConnections),
    ("b", Field::Backend),
    ("bc", Field::BackendConnections),
    ("bi", Field::BackendIp),
    ("bp", Field::BackendPort),
    ("bq", Field::BackendQueue),
    ("ci", Field::ClientIp),
    ("cp", Field::ClientPort),
    ("f", Field::Frontend),
    ("fc", Field::FrontendConnections),
    ("fi", Field::FrontendIp),
    ("fp", Field::FrontendPort),
    ("ft", Field::FrontendTransport),
    ("hr", Field::Captures),
    ("hrl", Field::Captures),
    ("hs", Field::Captures),
    ("hsl", Field::Captures),
    ("lc", Field::LineNumber),
    ("ms", Field::Milliseconds),
    ("pid", Field::Pid),
    ("rc", Field::Retries),
    ("rt", Field::RequestNumber),
    ("s", Field::Server),
    ("sc", Field::ServerConnections),
    ("si", Field::ServerIp),
    ("sp", Field::ServerPort),
    ("sq", Field::ServerQueue),
    ("sslc", Field::TlsCipher),
    ("sslv", Field::TlsVersion),
    ("t", Field::DateMilliseconds),
    ("ts", Field::End),
    ("tsc", Field::EndWithCookie),
];

/// Variables that exist in `mode http` only, sorted.
const HTTP_FIELDS: &[&str] = &[
    "CC", "CS", "HM", "HP", "HPO", "HQ", "HU", "HV", "TR", "Ta", "Ti", "Tq", "Tr", "r", "tr",
    "trg", "trl",
];

/// The variables that can be written, without their `%`.
pub fn names() -> impl Iterator<Item = &'static str> {
    FIELDS.iter().map(|(name, _)| *name)
}
