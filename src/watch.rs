//! Watching a server: its checks and its agent's, again and again, and its warming up. One task.
//!
//! In:    the time, events of the checks' connections
//! Out:   outcomes, to the server's backend and to those that track it
//! Owns:  the checks that run, and when the next ones do
//! Never: runs on two workers: each server is watched by one
//! Read:  docs/configuration.md, "Health checks"

use std::collections::HashSet;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use crate::backend::server_address;
use crate::check::{AgentVerdict, AgentWord, Check, Plan, Step, agent_words};
use crate::clock::Instant;
use crate::config::model::{
    AgentCheck, Answer, Carrier, CheckAction, CheckConnect, CheckKind, CheckStatus, CheckStep,
    CheckTimes, Config, Expect, HealthCheck, Proxy, ProxyIndex, Server, ServerId, ServerSource,
    SourceAddress, Told,
};
use crate::health::{Admin, Checker, Outcome};
use crate::shared::{Saying, Shared};
use crate::transport::{ConnOptions, ConnectTo, Remote, Source, Token, Transport};

/// The least interval that first checks are spread by (HAProxy's SRV_CHK_INTER_THRES).
const SPREAD_MIN: Duration = Duration::from_secs(1);

/// A server that a worker watches, and when it begins to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Assignment {
    /// The server.
    pub id: ServerId,
    /// Which of its checks.
    pub checker: Checker,
    /// How long after the start its first check runs.
    pub delay: Duration,
}

/// All checks of a configuration, spread over the time of the shortest interval, with the worker of each.
pub fn assignments(config: &Config, workers: usize) -> Vec<(usize, Assignment)> {
    let mut all = Vec::new();
    for (index, proxy) in config.proxies.placed().filter(|(_, proxy)| !proxy.disabled) {
        for (place, server) in proxy.servers.placed() {
            let id = ServerId { proxy: ProxyIndex(index), index: place };
            let inter = server.check.as_ref().map(|times| (Checker::Health, times.inter));
            let agent = server.agent.as_ref().map(|agent| (Checker::Agent, agent.inter));
            all.extend(inter.into_iter().chain(agent).map(|(checker, inter)| (id, checker, inter)));
        }
    }
    let shortest = all.iter().map(|(_, _, inter)| *inter).filter(|inter| *inter >= SPREAD_MIN);
    let shortest = shortest.min().unwrap_or_default();
    let count = all.len().max(1) as u32;
    let most = config.global.max_spread_checks.unwrap_or(Duration::MAX);
    let place = |(position, (id, checker, inter)): (usize, (ServerId, Checker, Duration))| {
        let delay = shortest.max(inter).min(most) * position as u32 / count;
        // Both kinds of one server are one worker's.
        let worker = (id.proxy.0 + id.index) % workers.max(1);
        (worker, Assignment { id, checker, delay })
    };
    all.into_iter().enumerate().map(place).collect()
}

/// What a reload changes for those who watch.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Changes {
    /// Servers that are watched no more, or in another way, by worker.
    pub end: Vec<(usize, ServerId)>,
    /// What begins, by worker.
    pub begin: Vec<(usize, Assignment)>,
}

/// What changes from one configuration to the next. A check that nothing changes goes on as it was.
pub fn changes(old: &Config, new: &Config, workers: usize) -> Changes {
    let (before, after) = (assignments(old, workers), assignments(new, workers));
    let goes_on = |id: ServerId| {
        let (old, new) = (&old.proxies[id.proxy.0], &new.proxies[id.proxy.0]);
        let times = |proxy: &Proxy| (proxy.timeouts.connect, proxy.timeouts.check);
        let server = |proxy: &Proxy| {
            let Server { check, agent, .. } = &proxy.servers[id.index];
            (check.clone(), agent.clone())
        };
        old.health_check == new.health_check
            && times(old) == times(new)
            && server(old) == server(new)
    };
    let ids = |list: &[(usize, Assignment)]| -> HashSet<ServerId> {
        list.iter().map(|(_, one)| one.id).collect()
    };
    let (known, wanted) = (ids(&before), ids(&after));
    let is_over = |(_, one): &&(usize, Assignment)| !wanted.contains(&one.id) || !goes_on(one.id);
    let mut end: Vec<_> =
        before.iter().filter(is_over).map(|(worker, one)| (*worker, one.id)).collect();
    // A server with two checks is one.
    end.dedup();
    let is_new = |(_, one): &(usize, Assignment)| !known.contains(&one.id) || !goes_on(one.id);
    let begin = after.into_iter().filter(is_new).collect();
    Changes { end, begin }
}

/// One kind of check of a server.
#[derive(Debug)]
struct Probe<C> {
    checker: Checker,
    plan: Plan,
    inter: Duration,
    others: (Option<Duration>, Option<Duration>),
    next: Instant,
    running: Option<Check<C>>,
}

/// What a watch finds around it while it runs.
pub struct Surroundings<'a, T> {
    /// What carries checks.
    pub transport: &'a mut T,
    /// What all workers share.
    pub shared: &'a Shared,
    /// Chance.
    pub random: &'a mut fastrand::Rng,
    /// `spread-checks`, percent.
    pub spread: u32,
    /// What is to be told.
    pub said: &'a mut Vec<Saying>,
}

/// A server that is watched.
#[derive(Debug)]
pub struct Watch<C> {
    id: ServerId,
    token: Token,
    probes: Vec<Probe<C>>,
}

impl<C: Copy + Eq + std::fmt::Debug> Watch<C> {
    /// Nothing is watched yet.
    pub fn new(id: ServerId, token: Token) -> Self {
        Watch { id, token, probes: Vec::new() }
    }

    /// The server.
    pub fn id(&self) -> ServerId {
        self.id
    }

    /// Begins with a kind of check after `delay`.
    pub fn add(&mut self, checker: Checker, shared: &Shared, delay: Duration, now: Instant) {
        let config = &shared.backend(self.id.proxy).config;
        let server = &config.servers[self.id.index];
        let (plan, inter, others) = match checker {
            Checker::Health => {
                let times = server.check.as_ref().expect("it is checked");
                let health_check = Arc::new(config.health_check.clone());
                let connect = config.timeouts.connect.filter(|_| config.timeouts.check.is_some());
                let plan = Plan {
                    health_check,
                    connect_timeout: connect.unwrap_or(times.inter).min(times.inter),
                    check_timeout: config.timeouts.check,
                };
                (plan, times.inter, (times.fastinter, times.downinter))
            }
            Checker::Agent => {
                let agent = server.agent.as_ref().expect("it has an agent");
                (agent_plan(agent), agent.inter, (None, None))
            }
        };
        self.probes.push(Probe { checker, plan, inter, others, next: now + delay, running: None });
    }

    /// Does what is due; when to come again.
    pub fn process<T: Transport<Conn = C>>(
        &mut self,
        around: &mut Surroundings<'_, T>,
        now: Instant,
    ) -> Option<Instant> {
        let backend = around.shared.backend(self.id.proxy).clone();
        let mut due = backend.warm(self.id.index, now);
        for probe in &mut self.probes {
            let at = probe.process(self.id, &backend.config, self.token, around, now);
            due = Some(due.map_or(at, |due| due.min(at)));
        }
        // A check may just have brought it up.
        let warming = backend.warm(self.id.index, now);
        [due, warming].into_iter().flatten().min()
    }

    /// Lets go of checks that run.
    pub fn leave<T: Transport<Conn = C>>(&mut self, transport: &mut T, now: Instant) {
        self.probes.iter_mut().filter_map(|probe| probe.running.as_mut()).for_each(|check| {
            check.leave(transport, now);
        });
    }

    /// The next check comes as soon as it may: something was observed.
    pub fn hurry(&mut self, now: Instant) {
        for probe in self.probes.iter_mut().filter(|probe| probe.checker == Checker::Health) {
            if let Some(fast) = probe.others.0 {
                probe.next = probe.next.min(now + fast);
            }
        }
    }
}

impl<C: Copy + Eq + std::fmt::Debug> Probe<C> {
    fn process<T: Transport<Conn = C>>(
        &mut self,
        id: ServerId,
        config: &Proxy,
        token: Token,
        around: &mut Surroundings<'_, T>,
        now: Instant,
    ) -> Instant {
        if self.running.is_none() {
            if now < self.next {
                return self.next;
            }
            let backend = around.shared.backend(id.proxy);
            let is_maintained =
                backend.admin(id.index).maintenance && self.checker == Checker::Health;
            if is_maintained || !backend.is_watched(id.index, self.checker) {
                self.next = now + self.inter;
                return self.next;
            }
            self.running = Some(Check::new(&self.plan, now));
        }
        let check = self.running.as_mut().expect("it was begun");
        let server = &config.servers[id.index];
        let source = config.source_of(server);
        let moved_to = around.shared.backend(id.proxy).moved_to(id.index);
        let target =
            |connect: &CheckConnect| target(self.checker, (server, moved_to), source, connect);
        match check.process(&self.plan, target, token, around.transport, now) {
            Step::Wait(until) => until,
            Step::Done(outcome) => {
                self.running = None;
                match self.checker {
                    Checker::Health => {
                        around.said.extend(around.shared.checked(id, self.checker, &outcome, now));
                    }
                    Checker::Agent => heed(id, server, &outcome, around, now),
                }
                self.next = now + self.interval(id, around);
                self.next
            }
        }
    }

    fn interval<T>(&self, id: ServerId, around: &mut Surroundings<'_, T>) -> Duration {
        let backend = around.shared.backend(id.proxy);
        let inter = backend.check_interval(id.index, self.checker, self.inter, self.others);
        let spread = inter * around.spread / 100;
        let moved = Duration::from_secs_f64(2.0 * spread.as_secs_f64() * around.random.f64());
        inter + spread - moved
    }
}

/// Where a check goes, and what its connection begins with.
fn target(
    checker: Checker,
    (server, moved_to): (&Server, Option<SocketAddr>),
    source: Option<&ServerSource>,
    connect: &CheckConnect,
) -> (ConnectTo, Vec<u8>) {
    let times = server.check.as_ref();
    let (address, port) = match checker {
        Checker::Health => {
            (times.and_then(|times| times.address), times.and_then(|times| times.port))
        }
        Checker::Agent => {
            let agent = server.agent.as_ref();
            (agent.and_then(|agent| agent.address), agent.map(|agent| agent.port))
        }
    };
    let (address, port) = (connect.address.or(address), connect.port.or(port));
    let remote = match &server.carrier {
        Carrier::Unix(path) if address.is_none() && port.is_none() => Remote::Unix(path.clone()),
        carrier => {
            let configured = || server_address(server, None);
            let mut at = moved_to.or_else(configured).unwrap_or((server.address, 0).into());
            if let Some(address) = address {
                at.set_ip(address);
            }
            if let Some(port) = port {
                at.set_port(port);
            }
            if *carrier == Carrier::Wire { Remote::Wire(at) } else { Remote::Kernel(at) }
        }
    };
    // Nobody is behind a check: it comes from no client's address.
    let address = match source.map(|source| source.address) {
        Some(SourceAddress::Fixed(ip)) => Some(ip),
        _ => None,
    };
    let source = Source { address, ..Source::default() };
    (ConnectTo { remote, source, options: ConnOptions::default() }, header(connect, times))
}

/// The PROXY header of a check: it tells that nobody is behind it.
fn header(connect: &CheckConnect, times: Option<&CheckTimes>) -> Vec<u8> {
    if connect.send_proxy || times.is_some_and(|times| times.send_proxy) {
        b"PROXY UNKNOWN\r\n".to_vec()
    } else {
        Vec::new()
    }
}

/// What an agent is asked: a line.
fn agent_plan(agent: &AgentCheck) -> Plan {
    let step = |action| CheckStep { action, comment: None };
    let line = Expect { on_success: Told::LineFrom(0), ..Expect::new(Answer::Line) };
    let steps = [
        step(CheckAction::Connect(CheckConnect::implicit())),
        step(CheckAction::Send(agent.send.clone())),
        step(CheckAction::Expect(line)),
    ];
    let health_check =
        HealthCheck { kind: CheckKind::Protocol, steps: Arc::from(steps), disable_on_404: false };
    Plan { health_check: Arc::new(health_check), connect_timeout: agent.inter, check_timeout: None }
}

/// Does what an agent asks for.
fn heed<T>(
    id: ServerId,
    server: &Server,
    outcome: &Outcome,
    around: &mut Surroundings<'_, T>,
    now: Instant,
) {
    if outcome.status != CheckStatus::L7Ok {
        around.said.extend(around.shared.checked(id, Checker::Agent, outcome, now));
        return;
    }
    let (words, verdict) = agent_words(&outcome.info);
    let backend = around.shared.backend(id.proxy).clone();
    // The last of those that an operator would say counts.
    let mut admin = None;
    for word in words {
        match word {
            AgentWord::WeightPercent(percent) => {
                let weight = u64::from(server.weight) * 16 * u64::from(percent) / 100;
                backend.set_weight(id.index, weight.min(256 * 16) as u32, now);
            }
            AgentWord::Weight(weight) => backend.set_weight(id.index, weight * 16, now),
            AgentWord::Maxconn(maxconn) => backend.set_maxconn(id.index, maxconn),
            AgentWord::Ready => admin = Some(Admin::default()),
            AgentWord::Drain => admin = Some(Admin { drain: true, maintenance: false }),
            AgentWord::Maintenance => admin = Some(Admin { drain: false, maintenance: true }),
        }
    }
    if let Some(admin) = admin {
        around.said.extend(around.shared.administer(id, admin, now));
    }
    let Some(AgentVerdict { status, info }) = verdict else { return };
    let outcome = Outcome { status, info, ..outcome.clone() };
    around.said.extend(around.shared.checked(id, Checker::Agent, &outcome, now));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn first_checks_are_spread_over_the_shortest_interval() {
        let loaded = crate::config::load_from(
            &["x".into()],
            &crate::config::Environment::default(),
            &crate::config::Text(
                "backend b\n timeout connect 1s\n timeout server 1s\n default-server check inter 4s\n\
                 server a 192.0.2.1:1\n server b 192.0.2.2:1 inter 8s\n server c 192.0.2.3:1 no-check\n\
                 server d 192.0.2.4:1 agent-check agent-port 9\n"
                    .into(),
            ),
        );
        let config = loaded.unwrap().config;
        let _: &Proxy = &config.proxies[0];
        let all = assignments(&config, 2);
        let delays: Vec<u128> = all.iter().map(|(_, one)| one.delay.as_millis()).collect();
        assert_eq!(delays, [0, 2000, 2000, 3000]);
        let workers: Vec<usize> = all.iter().map(|(worker, _)| *worker).collect();
        assert_eq!(workers, [0, 1, 1, 1]);
    }

    #[test]
    fn only_checks_that_change_begin_anew() {
        let read = |servers: &str| {
            let text = format!("backend b\n timeout connect 1s\n timeout server 1s\n{servers}");
            let text = crate::config::Text(text);
            let read = crate::config::load_from(&["x".into()], &Default::default(), &text);
            read.unwrap().config
        };
        let old = read(
            " server a 192.0.2.1:1 check\n server b 192.0.2.2:1 check\n server c 192.0.2.3:1 check agent-check agent-port 9\n",
        );
        // `a` only moves, `b` is asked more often, `c` has no agent any more, `d` is new.
        let new = read(
            " server a 192.0.2.9:1 check\n server b 192.0.2.2:1 check inter 1s\n server c 192.0.2.3:1 check\n \
             server d 192.0.2.4:1 check\n",
        );
        let Changes { end, begin } = changes(&old, &new, 1);
        let places = |ids: Vec<ServerId>| ids.into_iter().map(|id| id.index).collect::<Vec<_>>();
        assert_eq!(places(end.into_iter().map(|(_, id)| id).collect()), [1, 2]);
        assert_eq!(places(begin.into_iter().map(|(_, one)| one.id).collect()), [1, 2, 3]);
    }
}
