//! Whether a server is up: what its checks, its agent, its operator and its traffic say, together.
//!
//! In:    outcomes of checks, errors of streams, an operator's word, the state of a tracked server
//! Out:   the state, when it changes; the sentences about it, as HAProxy words them
//! Owns:  the counters of each server
//! Never: checks anything; reads a clock
//! Read:  docs/management.md, "States of servers"

use std::fmt::Write;
use std::time::Duration;

use crate::clock::Instant;
use crate::config::model::{CheckStatus, InitState, OnError, Server};

/// A check's counter, 0 to `rise + fall - 1`: from `rise` on the server is up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Counter {
    /// Where it stands.
    pub health: u32,
    /// `rise`
    pub rise: u32,
    /// `fall`
    pub fall: u32,
    /// Failures while it was up.
    pub failures: u64,
}

impl Counter {
    fn new(rise: u32, fall: u32, init: InitState) -> Self {
        let health = match init {
            InitState::FullyUp => rise + fall - 1,
            InitState::Up => rise,
            InitState::Down => rise - 1,
            InitState::FullyDown => 0,
        };
        Counter { health, rise, fall, failures: 0 }
    }

    /// Whether it is on its upper side.
    pub fn is_up(&self) -> bool {
        self.health >= self.rise
    }

    fn is_settled(&self) -> bool {
        self.health == self.rise + self.fall - 1 || self.health == 0
    }

    /// One more success; whether the counter moved.
    fn succeed(&mut self) -> bool {
        let full = self.rise + self.fall - 1;
        let moves = self.health < full;
        if moves {
            self.health += 1;
            if self.is_up() {
                self.health = full;
            }
        }
        moves
    }

    /// One more failure; whether the counter moved.
    fn fail(&mut self) -> bool {
        let moves = self.health > 0;
        self.failures += u64::from(self.is_up());
        if moves {
            self.health -= 1;
            if !self.is_up() {
                self.health = 0;
            }
        }
        moves
    }
}

/// What a server does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Operation {
    /// It takes no stream.
    Stopped,
    /// It finishes what it has, by its own wish (404, or its agent's).
    Stopping,
    /// It serves.
    Running,
}

/// What an operator, or the agent in his place, wants.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Admin {
    /// In maintenance.
    pub maintenance: bool,
    /// No new streams.
    pub drain: bool,
}

/// Which check.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Checker {
    /// `check`
    Health,
    /// `agent-check`
    Agent,
}

/// What a check found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outcome {
    /// In a word.
    pub status: CheckStatus,
    /// The status of the answer, where it has one.
    pub code: u32,
    /// What is told with it.
    pub info: String,
    /// How long it took; `None` for what is no check.
    pub duration: Option<Duration>,
}

impl Outcome {
    /// Whether it is good, and without conditions.
    fn verdict(&self) -> Verdict {
        match self.status {
            CheckStatus::L4Ok | CheckStatus::L6Ok | CheckStatus::L7Ok => Verdict::Passed,
            CheckStatus::L7OkConditional => Verdict::Conditional,
            _ => Verdict::Failed,
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Verdict {
    Passed,
    Conditional,
    Failed,
}

/// How loud a sentence is (RFC 5424, table 2).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Loudness {
    /// The system is unusable.
    Emergency,
    /// Something is to be done at once.
    Alert,
    /// Something to know.
    Notice,
}

impl Loudness {
    /// The number of the level.
    pub fn level(self) -> u8 {
        match self {
            Loudness::Emergency => 0,
            Loudness::Alert => 1,
            Loudness::Notice => 5,
        }
    }
}

/// What a server is, and what is known of it.
#[derive(Clone, Debug)]
pub struct Health {
    check: Option<Counter>,
    agent: Option<Counter>,
    operation: Operation,
    /// What is wanted of it, and of the one that it tracks.
    own: Admin,
    inherited: Admin,
    /// Errors of streams in a row.
    errors: u32,
    /// When it came up last; at start it was up before.
    up_since: Option<Instant>,
    history: History,
}

/// What has become of a server so far.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct History {
    /// When its state changed last.
    pub changed_at: Instant,
    /// How often it went down.
    pub falls: u64,
    /// How long it was down, before the present time if it is down now.
    pub down_for: Duration,
    /// What its last check found, and its agent's.
    pub last: [Option<Outcome>; 2],
}

impl Default for History {
    fn default() -> Self {
        History {
            changed_at: Instant::ZERO,
            falls: 0,
            down_for: Duration::ZERO,
            last: [None, None],
        }
    }
}

/// What a check has changed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    /// The new state, if it is another one.
    pub operation: Option<Operation>,
    /// The counter moved, or the outcome is another than before.
    pub is_news: bool,
}

impl Health {
    /// A server as it starts.
    pub fn new(server: &Server) -> Self {
        let counter = server
            .check
            .as_ref()
            .map(|times| Counter::new(times.rise, times.fall, times.init_state));
        // An agent's word counts at once.
        let agent = server.agent.as_ref().map(|_| Counter::new(1, 1, InitState::Up));
        let is_up = counter.is_none_or(|counter| counter.is_up());
        Health {
            check: counter,
            agent,
            operation: if is_up { Operation::Running } else { Operation::Stopped },
            own: Admin { maintenance: server.disabled, drain: false },
            inherited: Admin::default(),
            errors: 0,
            up_since: None,
            history: History::default(),
        }
    }

    /// Checked from now on as this server says. What is known of it stays: who is up is so in full, and without a check
    /// nobody is down.
    pub fn reconfigure(&mut self, server: &Server) {
        let Health { check, agent, .. } = Health::new(server);
        let is_up = self.operation != Operation::Stopped;
        let keeps = |known: Option<Counter>, fresh: Option<Counter>| {
            let fresh = fresh?;
            let scale = |counter: Counter| (counter.rise, counter.fall);
            match known {
                Some(known) if scale(known) == scale(fresh) => Some(known),
                known => Some(Counter {
                    health: match known.map_or(is_up, |known| known.is_up()) {
                        true => fresh.rise + fresh.fall - 1,
                        false => 0,
                    },
                    failures: known.map_or(0, |known| known.failures),
                    ..fresh
                }),
            }
        };
        self.check = keeps(self.check, check);
        self.agent = keeps(self.agent, agent);
        if server.track.is_none() {
            self.inherited = Admin::default();
            let is_asked = self.check.is_some() || self.agent.is_some();
            if !is_asked && !self.own.maintenance {
                self.operation = Operation::Running;
            }
        }
    }

    /// The counters of its check and of its agent's.
    pub fn counters(&self) -> [Option<Counter>; 2] {
        [self.check, self.agent]
    }

    /// What has become of it so far.
    pub fn history(&self) -> &History {
        &self.history
    }

    /// How long it was down in all.
    pub fn down_for(&self, now: Instant) -> Duration {
        let History { changed_at, down_for, .. } = self.history;
        match self.operation {
            Operation::Stopped => down_for + now.since(changed_at),
            _ => down_for,
        }
    }

    /// What is wanted of it, and what of the one that it tracks.
    pub fn wishes(&self) -> (Admin, Admin) {
        (self.own, self.inherited)
    }

    /// Forgets what was counted.
    pub fn clear(&mut self) {
        self.history.falls = 0;
        self.history.down_for = Duration::ZERO;
        for counter in [&mut self.check, &mut self.agent].into_iter().flatten() {
            counter.failures = 0;
        }
    }

    fn set_operation(&mut self, to: Operation, now: Instant) {
        let from = std::mem::replace(&mut self.operation, to);
        let since = now.since(self.history.changed_at);
        match (from, to) {
            (Operation::Stopped, _) => self.history.down_for += since,
            (_, Operation::Stopped) => self.history.falls += 1,
            _ => {}
        }
        self.history.changed_at = now;
    }

    /// What it does, apart from what an operator wants.
    pub fn operation(&self) -> Operation {
        self.operation
    }

    /// What an operator wants, of it or of the one that it tracks.
    pub fn admin(&self) -> Admin {
        Admin {
            maintenance: self.own.maintenance || self.inherited.maintenance,
            drain: self.own.drain || self.inherited.drain,
        }
    }

    /// When it came up last.
    pub fn up_since(&self) -> Option<Instant> {
        self.up_since
    }

    /// Whether it takes new streams.
    pub fn takes_streams(&self) -> bool {
        self.operation == Operation::Running && self.admin() == Admin::default()
    }

    /// Sets what an operator wants of it, or of the one that it tracks, which then does `tracked`. Maintenance stops a
    /// server; what leaves it is up, but falls with the first check that fails.
    pub fn set_admin(&mut self, admin: Admin, tracked: Option<Operation>, now: Instant) {
        let before = self.admin();
        match tracked {
            None => self.own = admin,
            Some(_) => self.inherited = admin,
        }
        match (before.maintenance, self.admin().maintenance) {
            (false, true) => {
                if let Some(check) = &mut self.check {
                    check.health = 0;
                }
                if self.operation != Operation::Stopped {
                    self.set_operation(Operation::Stopped, now);
                }
            }
            (true, false) => {
                if let Some(check) = &mut self.check {
                    check.health = check.rise;
                }
                if [self.check, self.agent].into_iter().flatten().all(|counter| counter.is_up()) {
                    self.go(tracked.unwrap_or(Operation::Running), now);
                }
            }
            _ => {}
        }
    }

    fn counter(&mut self, checker: Checker) -> Option<&mut Counter> {
        match checker {
            Checker::Health => self.check.as_mut(),
            Checker::Agent => self.agent.as_mut(),
        }
    }

    /// A check has an outcome.
    pub fn checked(&mut self, checker: Checker, outcome: &Outcome, now: Instant) -> Change {
        let verdict = outcome.verdict();
        // An agent that cannot be asked says nothing about the server.
        let says_nothing = checker == Checker::Agent
            && verdict == Verdict::Failed
            && outcome.status != CheckStatus::L7Status;
        if self.counter(checker).is_none() {
            return Change { operation: None, is_news: false };
        }
        let last = self.history.last[checker as usize].replace(outcome.clone());
        let is_other = last.map(|last| last.status) != Some(outcome.status);
        let counter = self.counter(checker).expect("it is checked");
        let moved = match verdict {
            Verdict::Failed if says_nothing => false,
            Verdict::Failed => counter.fail(),
            Verdict::Passed | Verdict::Conditional => counter.succeed(),
        };
        let is_down = counter.health == 0;
        let wanted = match verdict {
            Verdict::Failed if is_down && !says_nothing => Some(Operation::Stopped),
            Verdict::Failed => None,
            Verdict::Passed if checker == Checker::Agent => {
                Some(Operation::Running).filter(|_| self.operation != Operation::Stopping)
            }
            Verdict::Passed => Some(Operation::Running),
            Verdict::Conditional => Some(Operation::Stopping),
        };
        let all_are_up = [self.check, self.agent].into_iter().flatten().all(|c| c.is_up());
        if verdict != Verdict::Failed {
            self.errors = 0;
        }
        let wanted = wanted.filter(|wanted| *wanted == Operation::Stopped || all_are_up);
        Change { operation: wanted.and_then(|to| self.go(to, now)), is_news: is_other || moved }
    }

    /// It is so from now on, as if a check had said it.
    pub fn force(
        &mut self,
        checker: Checker,
        operation: Operation,
        now: Instant,
    ) -> Option<Operation> {
        if let Some(counter) = self.counter(checker) {
            counter.health = match operation {
                Operation::Stopped => 0,
                Operation::Stopping | Operation::Running => counter.rise + counter.fall - 1,
            };
        }
        self.go(operation, now)
    }

    /// The server that it tracks is so from now on.
    pub fn follow(&mut self, operation: Operation, now: Instant) -> Option<Operation> {
        self.go(operation, now)
    }

    fn go(&mut self, to: Operation, now: Instant) -> Option<Operation> {
        if self.admin().maintenance || self.operation == to {
            return None;
        }
        if to == Operation::Running && self.operation == Operation::Stopped {
            self.up_since = Some(now);
        }
        self.set_operation(to, now);
        Some(to)
    }

    /// A stream could not connect, or could. When too many failed in a row, says so: how many, and whether a
    /// check is to count as failed because of it.
    pub fn observed(&mut self, ok: bool, limit: u32, on_error: OnError) -> Option<Observed> {
        if ok {
            self.errors = 0;
            return None;
        }
        self.errors += 1;
        if self.errors < limit {
            return None;
        }
        let errors = std::mem::take(&mut self.errors);
        let counter = self.check.as_mut()?;
        match on_error {
            OnError::FastInter => return Some(Observed { errors, is_failure: false }),
            OnError::FailCheck => {}
            OnError::SuddenDeath => counter.health = counter.health.min(counter.rise + 1),
            OnError::MarkDown => counter.health = counter.health.min(counter.rise),
        }
        Some(Observed { errors, is_failure: true })
    }

    /// How long to wait before the next check: longest when nothing is about to change.
    pub fn interval(
        &self,
        checker: Checker,
        inter: Duration,
        fastinter: Option<Duration>,
        downinter: Option<Duration>,
    ) -> Duration {
        let counter = match checker {
            Checker::Health => self.check,
            Checker::Agent => self.agent,
        };
        match counter {
            Some(counter) if counter.is_settled() && counter.is_up() => inter,
            Some(counter) if counter.is_settled() && self.operation == Operation::Stopped => {
                downinter.unwrap_or(inter)
            }
            _ => fastinter.unwrap_or(inter),
        }
    }

    /// `status: 3/3 UP`: how far the counter is on its side.
    pub fn shown(&self, checker: Checker, weight: u32) -> String {
        let counter = match checker {
            Checker::Health => self.check,
            Checker::Agent => self.agent,
        };
        let Some(Counter { health, rise, fall, .. }) = counter else { return String::new() };
        if health < rise {
            return format!("{health}/{rise} DOWN");
        }
        let state = if weight > 0 { "UP" } else { "DRAIN" };
        format!("{}/{fall} {state}", health - rise + 1)
    }
}

/// Too many errors of streams in a row.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Observed {
    /// How many.
    pub errors: u32,
    /// A check counts as failed.
    pub is_failure: bool,
}

/// `, reason: Layer4 connection problem, info: "...", check duration: 0ms`
pub fn reason(outcome: &Outcome) -> String {
    let mut text = format!(", reason: {}", description(outcome.status));
    let has_code = matches!(
        outcome.status,
        CheckStatus::L7Ok | CheckStatus::L7OkConditional | CheckStatus::L7Status
    );
    // Writing to a string cannot fail.
    if has_code {
        let _ = write!(text, ", code: {}", outcome.code);
    }
    if !outcome.info.is_empty() {
        let _ = write!(text, ", info: \"{}\"", escaped(&outcome.info));
    }
    if let Some(duration) = outcome.duration {
        let _ = write!(text, ", check duration: {}ms", duration.as_millis());
    }
    text
}

/// What HAProxy calls a status in its log.
pub fn description(status: CheckStatus) -> &'static str {
    match status {
        CheckStatus::Hana => "Health analyze",
        CheckStatus::SockErr => "Socket error",
        CheckStatus::L4Ok => "Layer4 check passed",
        CheckStatus::L4TimedOut => "Layer4 timeout",
        CheckStatus::L4Con => "Layer4 connection problem",
        CheckStatus::L6Ok => "Layer6 check passed",
        CheckStatus::L6TimedOut => "Layer6 timeout",
        CheckStatus::L6Rsp => "Layer6 invalid response",
        CheckStatus::L7TimedOut => "Layer7 timeout",
        CheckStatus::L7Rsp => "Layer7 invalid response",
        CheckStatus::L7Ok => "Layer7 check passed",
        CheckStatus::L7OkConditional => "Layer7 check conditionally passed",
        CheckStatus::L7Status => "Layer7 wrong status",
    }
}

/// Quotes and what cannot be printed as `<22>`, in hexadecimal digits.
fn escaped(text: &str) -> String {
    text.bytes().fold(String::new(), |mut out, byte| {
        if byte == b'"' || byte == b'<' || byte == b'>' || !(32..127).contains(&byte) {
            let _ = write!(out, "<{byte:02X}>");
        } else {
            out.push(char::from(byte));
        }
        out
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn health(init: InitState) -> Health {
        let counter = Counter::new(2, 3, init);
        Health {
            check: Some(counter),
            agent: None,
            operation: if counter.is_up() { Operation::Running } else { Operation::Stopped },
            own: Admin::default(),
            inherited: Admin::default(),
            errors: 0,
            up_since: None,
            history: History::default(),
        }
    }

    fn outcome(status: CheckStatus) -> Outcome {
        Outcome { status, code: 0, info: String::new(), duration: Some(Duration::ZERO) }
    }

    const OK: CheckStatus = CheckStatus::L4Ok;
    const BAD: CheckStatus = CheckStatus::L4Con;

    /// The state after each outcome, and what the counter shows.
    fn course(health: &mut Health, outcomes: &[CheckStatus]) -> Vec<(bool, String)> {
        outcomes
            .iter()
            .map(|&status| {
                health.checked(Checker::Health, &outcome(status), Instant::ZERO);
                (health.takes_streams(), health.shown(Checker::Health, 1))
            })
            .collect()
    }

    #[test]
    fn rises_and_falls_as_haproxy_counts() {
        let mut health = health(InitState::Up);
        let course = course(&mut health, &[OK, BAD, BAD, OK, BAD, BAD, BAD, OK, BAD, OK, OK]);
        let expected = [
            (true, "3/3 UP"),
            (true, "2/3 UP"),
            (true, "1/3 UP"),
            (true, "3/3 UP"),
            (true, "2/3 UP"),
            (true, "1/3 UP"),
            (false, "0/2 DOWN"),
            (false, "1/2 DOWN"),
            (false, "0/2 DOWN"),
            (false, "1/2 DOWN"),
            (true, "3/3 UP"),
        ];
        let expected = expected.map(|(up, shown)| (up, shown.to_string()));
        assert_eq!(course, expected);
    }

    #[test]
    fn what_a_server_is_before_its_first_check() {
        for (init, status, up) in [
            (InitState::Up, BAD, false),
            (InitState::FullyUp, BAD, true),
            (InitState::Down, OK, true),
            (InitState::FullyDown, OK, false),
        ] {
            assert_eq!(course(&mut health(init), &[status])[0].0, up, "{init:?}");
        }
    }

    #[test]
    fn a_conditional_success_takes_no_new_streams_until_a_full_one() {
        let mut health = health(InitState::Up);
        let states: Vec<bool> =
            course(&mut health, &[CheckStatus::L7OkConditional, CheckStatus::L7OkConditional, OK])
                .into_iter()
                .map(|(up, _)| up)
                .collect();
        assert_eq!(states, [false, false, true]);
    }

    #[test]
    fn checks_come_faster_while_something_changes() {
        let mut health = health(InitState::FullyUp);
        let seconds = Duration::from_secs;
        let interval = |health: &Health| {
            let (fast, down) = (Some(seconds(1)), Some(seconds(5)));
            health.interval(Checker::Health, seconds(2), fast, down).as_secs()
        };
        assert_eq!(interval(&health), 2);
        course(&mut health, &[BAD]);
        assert_eq!(interval(&health), 1);
        course(&mut health, &[BAD, BAD]);
        assert_eq!(interval(&health), 5);
        course(&mut health, &[OK]);
        assert_eq!(interval(&health), 1);
    }

    #[test]
    fn errors_of_streams_count_as_the_configuration_says() {
        let falls = |on_error| {
            let mut health = health(InitState::FullyUp);
            assert_eq!(health.observed(false, 3, on_error), None);
            health.observed(true, 3, on_error);
            assert_eq!(health.observed(false, 3, on_error), None);
            assert_eq!(health.observed(false, 3, on_error), None);
            let observed = health.observed(false, 3, on_error).unwrap();
            assert_eq!(observed.errors, 3);
            if observed.is_failure {
                course(&mut health, &[CheckStatus::Hana]);
            }
            health.shown(Checker::Health, 1)
        };
        assert_eq!(falls(OnError::FastInter), "3/3 UP");
        assert_eq!(falls(OnError::FailCheck), "2/3 UP");
        assert_eq!(falls(OnError::SuddenDeath), "1/3 UP");
        assert_eq!(falls(OnError::MarkDown), "0/2 DOWN");
    }

    #[test]
    fn an_agent_that_is_not_there_changes_nothing() {
        let mut health = health(InitState::Up);
        health.agent = Some(Counter::new(1, 1, InitState::Up));
        let mut tell = |status| health.checked(Checker::Agent, &outcome(status), Instant::ZERO);
        assert_eq!(tell(CheckStatus::L4Con).operation, None);
        assert_eq!(tell(CheckStatus::L7Status).operation, Some(Operation::Stopped));
        assert_eq!(tell(CheckStatus::L7Ok).operation, Some(Operation::Running));
    }

    #[test]
    fn sentences() {
        let told = Outcome {
            status: CheckStatus::L7Status,
            code: 503,
            info: "no \"way\"".into(),
            duration: Some(Duration::from_millis(7)),
        };
        assert_eq!(
            reason(&told),
            ", reason: Layer7 wrong status, code: 503, info: \"no <22>way<22>\", check duration: 7ms"
        );
    }
}
