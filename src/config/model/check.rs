//! How servers are checked.
//!
//! Read:  docs/configuration.md, "Health checks"

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

/// What a backend asks its servers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HealthCheck {
    /// What kind of check it is: how its outcome is told depends on it.
    pub kind: CheckKind,
    /// Its steps; the first is a connection.
    pub steps: Arc<[CheckStep]>,
    /// `http-check disable-on-404`: a server that answers so is up and takes no new stream.
    pub disable_on_404: bool,
}

impl HealthCheck {
    /// The number of a step as HAProxy counts: from 1; 0 is a connection that no line of the script asks for.
    pub fn number_of(&self, step: usize) -> usize {
        let is_implicit = |step: &CheckStep| {
            matches!(step.action, CheckAction::Connect(CheckConnect { is_implicit: true, .. }))
        };
        step + 1 - usize::from(self.steps.first().is_some_and(is_implicit))
    }
}

impl Default for HealthCheck {
    /// Nothing beyond the connection.
    fn default() -> Self {
        let connect =
            CheckStep { action: CheckAction::Connect(CheckConnect::implicit()), comment: None };
        HealthCheck { kind: CheckKind::Connect, steps: Arc::from([connect]), disable_on_404: false }
    }
}

/// A kind of check.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CheckKind {
    /// A connection.
    Connect,
    /// `option tcp-check`
    Script,
    /// `option httpchk`
    Http,
    /// One of a protocol: its script is ours, so outcomes name no step.
    Protocol,
}

/// A step of a check.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CheckStep {
    /// What is done.
    pub action: CheckAction,
    /// `comment`
    pub comment: Option<Arc<str>>,
}

/// What a step does.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CheckAction {
    /// Opens a connection; one that is open is closed.
    Connect(CheckConnect),
    /// Sends bytes.
    Send(Arc<[u8]>),
    /// Waits for an answer.
    Expect(Expect),
}

/// `tcp-check connect`: what is `None` is the server's.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CheckConnect {
    /// `addr`
    pub address: Option<IpAddr>,
    /// `port`
    pub port: Option<u16>,
    /// `send-proxy`
    pub send_proxy: bool,
    /// No line asks for it: the script begins with something else.
    pub is_implicit: bool,
}

impl CheckConnect {
    /// The connection of a script that does not begin with one.
    pub fn implicit() -> Self {
        CheckConnect { is_implicit: true, ..CheckConnect::default() }
    }
}

/// An answer that is waited for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Expect {
    /// What it looks like.
    pub answer: Answer,
    /// It must not look so.
    pub is_negated: bool,
    /// `min-recv`: bytes that are to be there before anybody looks.
    pub min_recv: usize,
    /// `ok-status`, `error-status` and `tout-status`: what the outcome is called; `None`: as is usual.
    pub ok_status: Option<CheckStatus>,
    /// See `ok_status`.
    pub error_status: Option<CheckStatus>,
    /// See `ok_status`.
    pub timeout_status: Option<CheckStatus>,
    /// `on-success`: what is told of a success.
    pub on_success: Told,
    /// `on-error`: what is told of a failure.
    pub on_error: Told,
}

impl Expect {
    /// This answer, with nothing special about it.
    pub fn new(answer: Answer) -> Self {
        Expect {
            answer,
            is_negated: false,
            min_recv: 0,
            ok_status: None,
            error_status: None,
            timeout_status: None,
            on_success: Told::Usual,
            on_error: Told::Usual,
        }
    }
}

/// What is told of an answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Told {
    /// What is usual for the kind of check.
    Usual,
    /// A text.
    Text(Arc<str>),
    /// What the server said, from this byte on, up to the end of its line.
    LineFrom(usize),
}

/// What an answer looks like.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    /// These bytes are in it: `string` and `binary`.
    Bytes(Arc<[u8]>, Text),
    /// It matches: `rstring`; or its hexadecimal digits do: `rbinary`.
    Matches(Pattern, Text),
    /// Its status is one of these (`status`); ranges.
    HttpStatus(Arc<[(u16, u16)]>),
    /// Its status matches (`rstatus`).
    HttpStatusMatches(Pattern),
    /// Its body has these bytes (`string`).
    HttpBody(Arc<[u8]>),
    /// Its body matches (`rstring`).
    HttpBodyMatches(Pattern),
    /// It has such a header (`hdr`, `fhdr`).
    HttpHeader(HeaderMatch),
    /// It is the greeting of a MySQL server.
    MysqlGreeting,
    /// It is the OK packet of a MySQL server.
    MysqlOk,
    /// It is an LDAPv3 bind response that says success.
    LdapBound,
    /// A line, or what there is at the end.
    Line,
}

/// Whether a step was written as text or as hexadecimal digits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Text {
    /// As text.
    Plain,
    /// As digits.
    Hexadecimal,
}

/// `http-check expect hdr name ... value ...`
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HeaderMatch {
    /// The name.
    pub name: StringMatch,
    /// The value; `None`: any.
    pub value: Option<StringMatch>,
    /// The whole line counts, not its parts between commas (`fhdr`).
    pub is_full: bool,
}

/// How a text is compared.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum StringMatch {
    /// `-m str`
    Is(Arc<str>),
    /// `-m beg`
    Begins(Arc<str>),
    /// `-m end`
    Ends(Arc<str>),
    /// `-m sub`
    Contains(Arc<str>),
    /// `-m reg`
    Matches(Pattern),
}

/// A regular expression, compiled once; two are equal when their texts are.
#[derive(Clone, Debug)]
pub struct Pattern {
    text: Arc<str>,
    regex: regex::bytes::Regex,
}

impl Pattern {
    /// Compiles a text, or says what is wrong with it.
    pub fn new(text: &str) -> Result<Self, String> {
        let regex = regex::bytes::Regex::new(text).map_err(|error| error.to_string())?;
        Ok(Pattern { text: text.into(), regex })
    }

    /// Bytes with what matches replaced, once or everywhere; `\1` stands for a group.
    pub fn replace(&self, bytes: &[u8], by: &[u8], all: bool) -> Vec<u8> {
        let replacement = |captures: &regex::bytes::Captures<'_>| {
            let mut made = Vec::new();
            let mut rest = by.iter();
            while let Some(&byte) = rest.next() {
                match (byte, rest.as_slice().first()) {
                    (b'\\', Some(digit)) if digit.is_ascii_digit() => {
                        let group = captures.get(usize::from(digit - b'0'));
                        made.extend(group.map_or(&b""[..], |group| group.as_bytes()));
                        rest.next();
                    }
                    (b'\\', Some(&other)) => {
                        made.push(other);
                        rest.next();
                    }
                    _ => made.push(byte),
                }
            }
            made
        };
        self.regex.replacen(bytes, usize::from(!all), replacement).into_owned()
    }

    /// Whether bytes match.
    pub fn is_match(&self, bytes: &[u8]) -> bool {
        self.regex.is_match(bytes)
    }
}

impl PartialEq for Pattern {
    fn eq(&self, other: &Self) -> bool {
        self.text == other.text
    }
}

impl Eq for Pattern {}

/// What a check found, by HAProxy's names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CheckStatus {
    /// Errors of traffic were observed.
    Hana,
    /// No connection could be begun.
    SockErr,
    /// The connection was opened.
    L4Ok,
    /// It was not, in time.
    L4TimedOut,
    /// It was refused or reset.
    L4Con,
    /// The session above it was.
    L6Ok,
    /// It was not, in time.
    L6TimedOut,
    /// It was not.
    L6Rsp,
    /// The answer did not come in time.
    L7TimedOut,
    /// The answer is none.
    L7Rsp,
    /// The answer is as expected.
    L7Ok,
    /// The answer asks to send no new stream.
    L7OkConditional,
    /// The answer is another one.
    L7Status,
}

impl CheckStatus {
    /// HAProxy's code, as in its statistics.
    pub fn code(self) -> &'static str {
        match self {
            CheckStatus::Hana => "HANA",
            CheckStatus::SockErr => "SOCKERR",
            CheckStatus::L4Ok => "L4OK",
            CheckStatus::L4TimedOut => "L4TOUT",
            CheckStatus::L4Con => "L4CON",
            CheckStatus::L6Ok => "L6OK",
            CheckStatus::L6TimedOut => "L6TOUT",
            CheckStatus::L6Rsp => "L6RSP",
            CheckStatus::L7TimedOut => "L7TOUT",
            CheckStatus::L7Rsp => "L7RSP",
            CheckStatus::L7Ok => "L7OK",
            CheckStatus::L7OkConditional => "L7OKC",
            CheckStatus::L7Status => "L7STS",
        }
    }
}

/// Times and counts of a server's checks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CheckTimes {
    /// `inter`: between checks.
    pub inter: Duration,
    /// `fastinter`: between checks of a server that is on its way to another state.
    pub fastinter: Option<Duration>,
    /// `downinter`: between checks of a server that is down.
    pub downinter: Option<Duration>,
    /// `rise`: successes in a row that make it up.
    pub rise: u32,
    /// `fall`: failures in a row that make it down.
    pub fall: u32,
    /// `addr`: the address that is checked instead of the server's.
    pub address: Option<IpAddr>,
    /// `port`: the port that is checked instead of the server's.
    pub port: Option<u16>,
    /// `observe`
    pub observe: Observe,
    /// `on-error`: what too many observed errors lead to.
    pub on_error: OnError,
    /// `error-limit`: observed errors in a row that are too many.
    pub error_limit: u32,
    /// `check-send-proxy`
    pub send_proxy: bool,
    /// `init-state`
    pub init_state: InitState,
}

impl Default for CheckTimes {
    fn default() -> Self {
        CheckTimes {
            inter: Duration::from_secs(2),
            fastinter: None,
            downinter: None,
            rise: 2,
            fall: 3,
            address: None,
            port: None,
            observe: Observe::Nothing,
            on_error: OnError::FailCheck,
            error_limit: 10,
            send_proxy: false,
            init_state: InitState::Up,
        }
    }
}

/// `agent-check` and its kin.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AgentCheck {
    /// `agent-inter`
    pub inter: Duration,
    /// `agent-addr`; `None`: the server's address.
    pub address: Option<IpAddr>,
    /// `agent-port`
    pub port: u16,
    /// `agent-send`
    pub send: Arc<[u8]>,
}

/// `observe`: errors of traffic count like failed checks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Observe {
    /// They do not.
    #[default]
    Nothing,
    /// Those of connections do.
    Layer4,
}

/// `on-error`
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum OnError {
    /// Checks come faster.
    FastInter,
    /// A check counts as failed.
    #[default]
    FailCheck,
    /// As `FailCheck`, and one more failure makes it down.
    SuddenDeath,
    /// It is down at once.
    MarkDown,
}

/// `init-state`: what a checked server is before its first check.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum InitState {
    /// Up; one failed check makes it down (HAProxy's way without the word).
    #[default]
    Up,
    /// Up, and it takes `fall` failures to make it down.
    FullyUp,
    /// Down; one successful check makes it up.
    Down,
    /// Down, and it takes `rise` successes to make it up.
    FullyDown,
}
