//! Whether servers take streams, as their checks and operators say, and what follows a change.
//!
//! In:    outcomes of checks, errors of streams, an operator's word, the state of a tracked server
//! Out:   sentences for the log; words to streams that are to leave
//! Owns:  nothing of its own: the state of the backend's servers
//! Never: checks anything

use std::time::Duration;

use super::{Backend, State, warmth};
use crate::clock::Instant;
use crate::config::model::{CheckStatus, CheckTimes, Observe};
use crate::health::{Admin, Checker, Loudness, Operation, Outcome, reason};
use crate::lb::Load;
use crate::shared::{News, Parting};

/// How often a server that warms up is given more.
const WARMING: Duration = Duration::from_secs(1);

/// A sentence about a server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Said {
    /// How loud.
    pub loudness: Loudness,
    /// The sentence.
    pub text: String,
    /// What is told to all workers once it is said.
    pub then: Vec<News>,
}

impl Said {
    /// `text` has no full stop yet.
    fn new(loudness: Loudness, text: String) -> Self {
        let stop = if text.ends_with('!') { "" } else { "." };
        Said { loudness, text: text + stop, then: Vec::new() }
    }
}

/// What an event leads to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Effect {
    /// What is told of it.
    pub said: Vec<Said>,
    /// The server's new state, which those that track it follow.
    pub operation: Option<Operation>,
    /// What is wanted of it now, which those that track it follow too.
    pub admin: Option<Admin>,
    /// Checks should come sooner than they were to.
    pub hurry: bool,
}

/// The server that another one tracks.
#[derive(Clone, Copy, Debug)]
pub struct Tracked<'a> {
    /// Its backend's name and its own.
    pub name: &'a str,
    /// What it does.
    pub operation: Operation,
}

impl Backend {
    /// A check of a server has an outcome.
    pub fn checked(
        &self,
        server: usize,
        checker: Checker,
        outcome: &Outcome,
        now: Instant,
    ) -> Effect {
        let mut state = self.lock();
        let mut effect = Effect::default();
        let health = &mut state.members[server].health;
        let change = health.checked(checker, outcome, now);
        let logs_checks = self.config.options.log_health_checks;
        if logs_checks && change.is_news {
            effect.said.push(self.check_said(&state, server, checker, outcome));
        }
        if let Some(operation) = change.operation {
            let why = if logs_checks { String::new() } else { reason(outcome) };
            self.changed(&mut state, server, operation, &why, now, &mut effect);
        }
        effect
    }

    /// A server goes where the one that it tracks has gone; `tracked` is that one's name.
    pub fn follow(
        &self,
        server: usize,
        operation: Operation,
        tracked: &str,
        now: Instant,
    ) -> Effect {
        let mut state = self.lock();
        let mut effect = Effect::default();
        if let Some(operation) = state.members[server].health.follow(operation, now) {
            let why = format!(" via {tracked}");
            self.changed(&mut state, server, operation, &why, now, &mut effect);
        }
        effect
    }

    /// A stream could connect to a server, or could not.
    pub fn observed(&self, server: usize, ok: bool, now: Instant) -> Effect {
        let Some(CheckTimes { observe: Observe::Layer4, error_limit, on_error, .. }) =
            &self.config.servers[server].check
        else {
            return Effect::default();
        };
        let observed = {
            let mut state = self.lock();
            state.members[server].health.observed(ok, *error_limit, *on_error)
        };
        let Some(observed) = observed else { return Effect::default() };
        let mut effect = Effect::default();
        if observed.is_failure {
            let outcome = Outcome {
                status: CheckStatus::Hana,
                code: 0,
                info: format!(
                    "Detected {} consecutive errors, last one was: L4 unsuccessful connection",
                    observed.errors
                ),
                duration: None,
            };
            effect = self.checked(server, Checker::Health, &outcome, now);
        }
        effect.hurry = true;
        effect
    }

    /// What an operator, or an agent in his place, wants of a server, or of the one that it tracks.
    pub fn administer(
        &self,
        server: usize,
        admin: Admin,
        tracked: Option<Tracked<'_>>,
        now: Instant,
    ) -> Effect {
        let mut state = self.lock();
        let mut effect = Effect::default();
        let health = &mut state.members[server].health;
        let (before, was) = (health.admin(), health.operation());
        health.set_admin(admin, tracked.map(|tracked| tracked.operation), now);
        let admin = health.admin();
        if before == admin {
            return effect;
        }
        effect.admin = Some(admin);
        let is_down = health.operation() == Operation::Stopped;
        let moved = self.apply(&mut state, server, now, &mut effect);
        let name = self.name_of(server);
        let up = if is_down { "DOWN" } else { "UP" };
        let via = tracked.map(|tracked| format!(" via {}", tracked.name)).unwrap_or_default();
        let tally = |operation| self.tally(&state, server, operation, moved);
        let mut loudness = Loudness::Notice;
        let text = match (before, admin) {
            (Admin { maintenance: false, .. }, Admin { maintenance: true, .. }) => match was {
                Operation::Stopped => format!("{name} was DOWN and now enters maintenance"),
                _ => {
                    if was == Operation::Running {
                        loudness = Loudness::Alert;
                    }
                    let tally = tally(Operation::Stopped);
                    format!("{name} is going DOWN for maintenance{via}{tally}")
                }
            },
            (Admin { maintenance: true, .. }, _) => {
                let ready = if admin.drain { "DRAIN" } else { "READY" };
                let forced = if tracked.is_none() { "forced " } else { "" };
                format!("{name} is {up}/{ready} (leaving {forced}maintenance)")
            }
            (Admin { drain: false, .. }, _) => {
                format!("{name} enters drain state{via}{}", tally(was))
            }
            (Admin { drain: true, .. }, _) => format!("{name} is {up} (leaving forced drain)"),
        };
        let mut said = Said::new(loudness, text);
        if admin.maintenance && was != Operation::Stopped {
            said.then = self.partings(server, Operation::Stopped);
        }
        effect.said.insert(0, said);
        effect
    }

    /// What a server does, whatever an operator wants.
    pub fn operation(&self, server: usize) -> Operation {
        self.lock().members[server].health.operation()
    }

    /// What an operator wants of a server.
    pub fn admin(&self, server: usize) -> Admin {
        self.lock().members[server].health.admin()
    }

    /// Gives a server that warms up what it has earned; when to come again.
    pub fn warm(&self, server: usize, now: Instant) -> Option<Instant> {
        let slowstart = self.config.servers[server].slowstart?;
        let mut state = self.lock();
        let up_since = state.members[server].health.up_since()?;
        if state.members[server].warmth >= 100 {
            return None;
        }
        self.apply(&mut state, server, now, &mut Effect::default());
        let is_cold = now < up_since + slowstart;
        is_cold.then_some(now + WARMING.min(slowstart / 20).max(Duration::from_millis(50)))
    }

    /// How long to wait before the next check of a server.
    pub fn check_interval(
        &self,
        server: usize,
        checker: Checker,
        inter: Duration,
        (fastinter, downinter): (Option<Duration>, Option<Duration>),
    ) -> Duration {
        self.lock().members[server].health.interval(checker, inter, fastinter, downinter)
    }

    fn name_of(&self, server: usize) -> String {
        let config = &self.config.servers[server];
        let prefix = if config.backup { "Backup " } else { "" };
        format!("{prefix}Server {}/{}", self.config.name, config.name)
    }

    fn check_said(
        &self,
        state: &State,
        server: usize,
        checker: Checker,
        outcome: &Outcome,
    ) -> Said {
        let config = &self.config.servers[server];
        let kind = if checker == Checker::Agent { "Agent" } else { "Health" };
        let backup = if config.backup { "backup " } else { "" };
        let ended = match outcome.status {
            CheckStatus::L4Ok | CheckStatus::L6Ok | CheckStatus::L7Ok => "succeeded",
            CheckStatus::L7OkConditional => "conditionally succeeded",
            _ => "failed",
        };
        let shown = state.members[server].health.shown(checker, config.weight);
        let (proxy, name, why) = (&self.config.name, &config.name, reason(outcome));
        let text =
            format!("{kind} check for {backup}server {proxy}/{name} {ended}{why}, status: {shown}");
        Said::new(Loudness::Notice, text)
    }

    /// A server's state is another one: what follows, and what is told.
    pub(super) fn changed(
        &self,
        state: &mut State,
        server: usize,
        operation: Operation,
        why: &str,
        now: Instant,
        effect: &mut Effect,
    ) {
        let was_stopping = state.members[server].was_stopping;
        state.members[server].was_stopping = operation == Operation::Stopping;
        effect.operation = Some(operation);
        let place = effect.said.len();
        let moved = self.apply(state, server, now, effect);
        let name = self.name_of(server);
        let (word, loudness) = match operation {
            Operation::Stopped if was_stopping => ("DOWN", Loudness::Notice),
            Operation::Stopped => ("DOWN", Loudness::Alert),
            Operation::Stopping => ("stopping", Loudness::Notice),
            Operation::Running => ("UP", Loudness::Notice),
        };
        let text = format!("{name} is {word}{why}{}", self.tally(state, server, operation, moved));
        let then = self.partings(server, operation);
        effect.said.insert(place, Said { then, ..Said::new(loudness, text) });
    }

    /// The servers and streams that are left after a change.
    fn tally(&self, state: &State, server: usize, operation: Operation, moved: usize) -> String {
        let (active, backups) = (state.seats.active(), state.seats.backups());
        let on_backup = if active == 0 && backups > 0 { " Running on backup." } else { "" };
        let Load { served, queued } = state.members[server].load();
        match operation {
            Operation::Stopped => format!(
                ". {active} active and {backups} backup servers left.{on_backup} {served} sessions active, \
                 {moved} requeued, {queued} remaining in queue"
            ),
            _ => format!(
                ". {active} active and {backups} backup servers online.{on_backup} {moved} sessions requeued, \
                 {queued} total in queue"
            ),
        }
    }

    /// What makes streams leave because of a change.
    fn partings(&self, server: usize, operation: Operation) -> Vec<News> {
        let config = &self.config.servers[server];
        match operation {
            Operation::Stopped if config.shutdown_when_down => {
                vec![News::Leave(self.id_of(server), Parting::Down)]
            }
            Operation::Running if config.shutdown_backups_when_up && !config.backup => {
                let all = self.config.servers.placed();
                let backups = all.filter(|(_, other)| other.backup);
                let leave = |(at, _)| News::Leave(self.id_of(at), Parting::ActiveUp);
                backups.map(leave).collect()
            }
            _ => Vec::new(),
        }
    }

    /// Brings what the balancer knows of a server up to date; how many streams moved because of it.
    pub(super) fn apply(
        &self,
        state: &mut State,
        server: usize,
        now: Instant,
        effect: &mut Effect,
    ) -> usize {
        let before = state.has_server();
        let member = &mut state.members[server];
        let (takes, up_since) = (member.health.takes_streams(), member.health.up_since());
        let was_usable = std::mem::replace(&mut member.is_usable, takes);
        member.warmth = up_since
            .map_or(100, |since| warmth(self.config.servers[server].slowstart, now.since(since)));
        let weight = member.effective_weight();
        state.seats.set_weight(server, weight);
        state.seats.set_usable(server, takes);
        let moved = if was_usable && !takes {
            state.redistribute(server, &self.config, &self.core.mail)
        } else if takes {
            self.serve_waiting(state, server)
        } else {
            0
        };
        let after = state.has_server();
        state.note_standing(before, after, now);
        if before && !after {
            let kind = if self.config.kind.is_frontend() { "proxy" } else { "backend" };
            let text = format!("{kind} {} has no server available!", self.config.name);
            effect.said.push(Said::new(Loudness::Emergency, text));
        }
        moved
    }
}

impl State {
    /// Whether any server can be used.
    pub(super) fn has_server(&self) -> bool {
        self.seats.active() + self.seats.backups() > 0
    }

    /// Whether there is a server has changed, or not.
    pub(super) fn note_standing(&mut self, before: bool, after: bool, now: Instant) {
        if before == after {
            return;
        }
        let since = now.since(self.standing.changed_at);
        match after {
            true => self.standing.down_for += since,
            false => self.standing.falls += 1,
        }
        self.standing.changed_at = now;
    }
}
