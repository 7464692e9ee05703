//! How servers are checked.
//!
//! Read:  docs/configuration.md, "Health checks"

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

/// What a backend asks its servers: nothing beyond the connection unless an option says so.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct HealthCheck {}

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
