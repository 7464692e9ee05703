//! From a stream without a server to an open connection.
//!
//! In:    what the backend assigns; how attempts go
//! Out:   an open connection, or how the stream ended without one
//! Owns:  the place on a server, and the ticket, until they are given back
//! Never: chooses: the backend does

use std::time::Duration;

use super::{Cause, End, Outcome, Phase, Reply, State, Stream, World};
use crate::backend::{
    Assigned, Demand, Tried, Turn, Waiter, is_undetermined, moves_on, server_address,
};
use crate::clock::Instant;
use crate::config::model::{
    Carrier, Observe, Proxy, Redispatch, Server, ServerId, ServerSource, SourceAddress, SourcePorts,
};
use crate::proxy_protocol;
use crate::transport::{
    ConnOptions, ConnectError, ConnectTo, Keepalive, Remote, Source, Transport,
};

/// Longest pause before the same server is tried again (HAProxy: a second, or the connect timeout).
const TURN_AROUND: Duration = Duration::from_secs(1);

/// How far an attempt is.
enum Attempt {
    Open,
    Waits(Option<Instant>),
    Failed(Cause),
}

impl<C: Copy + Eq + std::fmt::Debug> Stream<C> {
    /// Works towards an open connection to a server; `None` when it is open.
    pub(super) fn open_back<T: Transport<Conn = C>>(
        &mut self,
        world: &mut World<'_, T>,
        now: Instant,
    ) -> Option<Outcome> {
        loop {
            let failed = match self.state {
                State::Assign => {
                    if let Some(outcome) = self.assign(world, now) {
                        return Some(outcome);
                    }
                    None
                }
                State::Queued { ticket, deadline } => {
                    let turns = world.shared.backend(self.backend).turns(ticket);
                    match world.shared.backend(self.backend).turn(ticket) {
                        Turn::Server(server) => {
                            self.turns += turns;
                            self.take(server, world, now);
                            None
                        }
                        Turn::AskAgain => {
                            self.turns += turns;
                            self.state = State::Assign;
                            self.bound = None;
                            None
                        }
                        Turn::Wait if deadline.is_some_and(|at| at <= now) => {
                            return ended(Cause::ServerTimeout, Phase::Queue);
                        }
                        Turn::Wait => return Some(Outcome::Wait(deadline)),
                    }
                }
                State::Assigned => self.connect(world, now).err(),
                State::TurnAround { until, .. } if now < until => {
                    return Some(Outcome::Wait(Some(until)));
                }
                State::TurnAround { goes_elsewhere: true, .. } => {
                    self.state = State::Assign;
                    None
                }
                State::TurnAround { .. } => self.connect(world, now).err(),
                State::Connecting { deadline } => match self.attempt(world, deadline, now) {
                    Attempt::Open => {
                        self.opened(world, now);
                        return None;
                    }
                    Attempt::Waits(until) => return Some(Outcome::Wait(until)),
                    Attempt::Failed(cause) => Some(cause),
                },
                State::Established
                | State::Greeting(_)
                | State::Session
                | State::Inspect(_)
                | State::Serve(_) => {
                    return None;
                }
            };
            if let Some(cause) = failed
                && let Some(outcome) = self.retry(cause, world, now)
            {
                return Some(outcome);
            }
        }
    }

    /// Asks the backend for a server.
    fn assign<T: Transport<Conn = C>>(
        &mut self,
        world: &mut World<'_, T>,
        now: Instant,
    ) -> Option<Outcome> {
        let backend = world.shared.backend(self.backend).clone();
        let key = self.balance_key(world);
        let demand = Demand {
            key: key.as_deref(),
            avoid: self.server,
            server: self.bound,
            priority: self.priority,
            waiter: Waiter { worker: world.worker, token: self.token },
        };
        match backend.assign(&demand, &mut || world.random.u32(..), now) {
            Assigned::Server(server) => self.take(server, world, now),
            Assigned::Queued(ticket) => {
                let wait = backend.config.timeouts.queue.or(backend.config.timeouts.connect);
                let deadline = wait.map(|wait| now + wait);
                self.state = State::Queued { ticket, deadline };
            }
            Assigned::QueueFull
                if self.bound.is_some() && backend.config.redispatch != Redispatch::Never =>
            {
                self.bound = None;
            }
            Assigned::QueueFull => return ended(Cause::Server, Phase::Queue),
            Assigned::Nobody => return ended(Cause::Server, Phase::Connect),
        }
        None
    }

    /// A place on a server is ours.
    fn take<T: Transport<Conn = C>>(
        &mut self,
        server: usize,
        world: &mut World<'_, T>,
        now: Instant,
    ) {
        assert!(self.slot.is_none(), "{:?} has two places", self.token);
        if let Some(before) = self.server.filter(|&before| self.retries > 0 && before != server) {
            for counters in world.counters.backs(self.backend, Some(before)) {
                counters.redispatched += 1;
            }
            self.is_redispatched = true;
        }
        // The server may be one that its configuration did not have.
        self.edition = world.editions.renew(self.edition);
        self.moved_to = world.shared.backend(self.backend).arrived(server, now);
        for counters in world.counters.backs(self.backend, Some(server)) {
            counters.chosen += 1;
        }
        self.server = Some(server);
        self.slot = Some(server);
        self.assigned_at = Some(now);
        self.state = State::Assigned;
    }

    /// Gives the place back, if there is one.
    pub(super) fn give_back<T: Transport<Conn = C>>(&mut self, world: &World<'_, T>) {
        if let Some(server) = self.slot.take() {
            world.shared.backend(self.backend).release(server);
        }
    }

    /// Begins a connection to the chosen server; returns why if that fails at once.
    fn connect<T: Transport<Conn = C>>(
        &mut self,
        world: &mut World<'_, T>,
        now: Instant,
    ) -> Result<(), Cause> {
        let config = world.backend(self).clone();
        let index = self.server.expect("a server is chosen before it is connected to");
        let to = self.connect_to(&config, &config.servers[index], world);
        let deadline = config.timeouts.connect.map(|wait| now + wait);
        self.state = State::Connecting { deadline };
        let to = to.ok_or(Cause::Server)?;
        let mut connected = world.transport.connect(&to, self.token, now);
        if connected == Err(ConnectError::NoSourcePort) && to.source.is_foreign {
            // The client's own port is taken towards this server: another one of his address serves.
            let source = Source { ports: None, ..to.source };
            connected = world.transport.connect(&ConnectTo { source, ..to }, self.token, now);
        }
        match connected {
            Ok(conn) => {
                self.back = Some(conn);
                let counters = world.counters.server(self.backend, index);
                counters.sessions += 1;
                counters.last_at = Some(now);
                Ok(())
            }
            Err(error) => Err(error.into()),
        }
    }

    fn connect_to<T: Transport<Conn = C>>(
        &self,
        config: &Proxy,
        server: &Server,
        world: &World<'_, T>,
    ) -> Option<ConnectTo> {
        let remote = match &server.carrier {
            Carrier::Unix(address) => Remote::Unix(address.clone()),
            carrier => {
                let configured = || server_address(server, self.destination(world.transport));
                let at = self.moved_to.or_else(configured)?;
                if *carrier == Carrier::Kernel { Remote::Kernel(at) } else { Remote::Wire(at) }
            }
        };
        let keepalive = config.server_keepalive.map(|times| Keepalive {
            idle: times.idle,
            interval: times.interval,
            count: times.count,
        });
        let options = ConnOptions { keepalive, user_timeout: server.user_timeout, mss: None };
        let stated = config.source_of(server);
        let source = stated.map(|stated| self.source_of(stated, world)).unwrap_or_default();
        Some(ConnectTo { remote, source, options })
    }

    /// Where a connection comes from that `source` speaks of.
    fn source_of<T: Transport<Conn = C>>(
        &self,
        stated: &ServerSource,
        world: &World<'_, T>,
    ) -> Source {
        let client = self.source(world.transport);
        let ports = match (&stated.ports, stated.address, client) {
            (_, SourceAddress::Client, Some(client)) => Some(client.port()..=client.port()),
            (SourcePorts::Range(range), ..) => Some(range.clone()),
            (SourcePorts::Any, ..) => None,
        };
        let client = client.map(|client| client.ip().to_canonical());
        let (address, is_foreign) = match stated.address {
            SourceAddress::Any => (None, false),
            SourceAddress::Fixed(ip) => (Some(ip), false),
            SourceAddress::Foreign(ip) => (Some(ip), true),
            SourceAddress::Client | SourceAddress::ClientIp => (client, true),
        };
        let interface = stated.interface.as_deref().and_then(|name| world.shared.interface(name));
        Source { address, ports, is_foreign, interface }
    }

    fn attempt<T: Transport<Conn = C>>(
        &self,
        world: &World<'_, T>,
        deadline: Option<Instant>,
        now: Instant,
    ) -> Attempt {
        let status = self.back.and_then(|back| world.transport.status(back)).unwrap_or_default();
        if status.is_open {
            return Attempt::Open;
        }
        if status.failure.is_some() {
            return Attempt::Failed(Cause::Server);
        }
        if deadline.is_some_and(|at| at <= now) {
            return Attempt::Failed(Cause::ServerTimeout);
        }
        Attempt::Waits(deadline)
    }

    fn opened<T: Transport<Conn = C>>(&mut self, world: &mut World<'_, T>, now: Instant) {
        self.state = State::Established;
        self.connected_at = Some(now);
        self.active_at = now;
        self.log_connected(world, now);
        if !world.backend(self).tcp_rules.response.is_empty() {
            self.reply = Reply::Inspected(None);
        }
        if let Some(server) = self.server {
            for counters in world.counters.backs(self.backend, Some(server)) {
                counters.opened += 1;
                counters.current += 1;
            }
            self.observe(server, true, world, now);
            if let Some(version) = world.backend(self).servers[server].send_proxy {
                self.preface = proxy_protocol::header(version, self.ends(world.transport));
            }
        }
    }

    /// What traffic tells of a server, for those that want to know (`observe`).
    fn observe<T: Transport<Conn = C>>(
        &self,
        server: usize,
        ok: bool,
        world: &mut World<'_, T>,
        now: Instant,
    ) {
        let checked = &world.backend(self).servers[server].check;
        if checked.as_ref().is_some_and(|times| times.observe == Observe::Layer4) {
            let id = ServerId { proxy: self.backend, index: server };
            world.said.extend(world.shared.observed(id, ok, now));
        }
    }

    /// An attempt failed: tries again, here or elsewhere, or ends.
    fn retry<T: Transport<Conn = C>>(
        &mut self,
        cause: Cause,
        world: &mut World<'_, T>,
        now: Instant,
    ) -> Option<Outcome> {
        if let Some(back) = self.back.take() {
            self.back_ends = world.transport.ends(back).unwrap_or_default();
            world.transport.close(back, now);
        }
        let config = world.backend(self).clone();
        let backend = world.shared.backend(self.backend).clone();
        let server = self.server.expect("an attempt has a server");
        world.counters.server(self.backend, server).failed_attempts += 1;
        self.observe(server, false, world, now);
        if self.retries >= config.retries || !config.options.retry_on_conn_failure {
            return ended(cause, Phase::Connect);
        }
        self.retries += 1;
        let (active, _) = backend.usable();
        let algorithm = &config.balance.algorithm;
        let tried = Tried { is_up: backend.is_usable(server), is_bound: self.bound.is_some() };
        let goes_elsewhere =
            moves_on(self.retries, config.retries, config.redispatch, algorithm, active, tried);
        if goes_elsewhere {
            self.give_back(world);
            self.bound = None;
        } else {
            for counters in world.counters.backs(self.backend, Some(server)) {
                counters.retries += 1;
            }
        }
        // Who refused would refuse again at once; who did not answer has had his time, and where any other
        // server does nobody waits.
        let may_be_the_same = !goes_elsewhere || !is_undetermined(algorithm) || active <= 1;
        let pause = if cause == Cause::Server && may_be_the_same {
            config.timeouts.connect.unwrap_or(TURN_AROUND).min(TURN_AROUND)
        } else {
            Duration::ZERO
        };
        self.state = State::TurnAround { until: now + pause, goes_elsewhere };
        None
    }
}

fn ended(cause: Cause, phase: Phase) -> Option<Outcome> {
    Some(Outcome::Ended(End { cause, phase }))
}
