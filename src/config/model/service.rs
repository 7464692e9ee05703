//! What a frontend answers by itself.

use std::time::Duration;

/// What a frontend answers by itself (`mode http` with `stats` or `http-request use-service`).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Service {
    /// The statistics page.
    pub stats: Option<StatsPage>,
    /// The metrics for Prometheus.
    pub metrics: Option<Metrics>,
}

/// `stats ...`
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StatsPage {
    /// `stats uri`: what the path of the page begins with.
    pub uri: String,
    /// `stats auth`: users with their passwords; nobody: everybody.
    pub accounts: Vec<(String, String)>,
    /// `stats realm`
    pub realm: String,
    /// `stats refresh`
    pub refresh: Option<Duration>,
    /// `stats hide-version`
    pub hides_version: bool,
    /// `stats show-legends`
    pub shows_legends: bool,
    /// `stats show-node [<name>]`; `Some(None)`: the name of the machine.
    pub node: Option<Option<String>>,
    /// `stats show-desc`
    pub description: Option<String>,
    /// `stats admin`: who may change servers by the page.
    pub admin: Option<AdminFrom>,
    /// `stats scope`: the proxies that are shown; none: all. `.` is the one that the page is in.
    pub scopes: Vec<String>,
}

impl Default for StatsPage {
    fn default() -> Self {
        StatsPage {
            uri: "/haproxy?stats".into(),
            accounts: Vec::new(),
            realm: "HAProxy Statistics".into(),
            refresh: None,
            hides_version: false,
            shows_legends: false,
            node: None,
            description: None,
            admin: None,
            scopes: Vec::new(),
        }
    }
}

/// Who may change servers by the page.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AdminFrom {
    /// Whoever may see it.
    Anywhere,
    /// Of these, clients of this host.
    Localhost,
}

/// `http-request use-service prometheus-exporter`
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Metrics {
    /// The path of the page; `None`: any.
    pub path: Option<String>,
}
