//! A stream: a client's connection, a server's connection, and a channel each way. One task.
//!
//! In:    wake-ups by events of either connection or by a deadline
//! Out:   bytes moved; when to be run again; how it ended
//! Owns:  both connections
//! Never: blocks; knows a packet

use std::time::Duration;

use crate::backend::{Backend, moves_on, server_address};
use crate::channel::Channel;
use crate::clock::Instant;
use crate::config::model::{Proxy, Timeouts};
use crate::transport::{ConnectTo, Token, Transport};

/// Longest pause before the same server is tried again (HAProxy: a second, or the connect timeout).
const TURN_AROUND: Duration = Duration::from_secs(1);

/// How far a stream is.
///
/// ```text
///  Assign ──► Connecting ──► Established ──► (ended)
///    ▲            │ failed
///    └─ other ────┤
///  TurnAround ◄───┘ same server
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// It needs a server.
    Assign,
    /// It waits before it tries the same server again.
    TurnAround { until: Instant },
    /// The server's connection is being opened.
    Connecting { deadline: Option<Instant> },
    /// Both connections are open.
    Established,
}

/// How a stream ended, with HAProxy's two letters: who ended it, and when.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// Both sides closed.
    Normal,
    /// The client reset or vanished.
    ClientAborted,
    /// The server reset or vanished.
    ServerAborted,
    /// `timeout client`
    ClientTimeout,
    /// `timeout server`
    ServerTimeout,
    /// The client left before a server was there.
    ClientLeftEarly,
    /// No attempt at a server succeeded: refused, reset, unreachable.
    ConnectFailed,
    /// No attempt at a server succeeded: the last one timed out.
    ConnectTimeout,
    /// No server can be chosen.
    NoServer,
}

impl End {
    /// The first two letters of HAProxy's termination state.
    pub fn code(self) -> &'static str {
        match self {
            End::Normal => "--",
            End::ClientAborted => "CD",
            End::ServerAborted => "SD",
            End::ClientTimeout => "cD",
            End::ServerTimeout => "sD",
            End::ClientLeftEarly => "CC",
            End::ConnectFailed | End::NoServer => "SC",
            End::ConnectTimeout => "sC",
        }
    }
}

/// What a run of a stream leads to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Run it again at an event, or at this time.
    Wait(Option<Instant>),
    /// Run it again soon: it has used up its share of this turn.
    Again,
    /// It is over.
    Ended(End),
}

/// A stream.
///
/// Invariants: `back` is there in `Connecting` and `Established` only; `server` from the first attempt on.
#[derive(Debug)]
pub struct Stream<C> {
    /// The client's connection.
    front: C,
    /// The server's connection.
    back: Option<C>,
    state: State,
    token: Token,
    /// The port that the client came to.
    local_port: u16,
    /// The server's place in the configuration.
    pub server: Option<usize>,
    retries: u32,
    /// From the client to the server.
    pub request: Channel,
    /// From the server to the client.
    pub response: Channel,
    /// When something last moved.
    active_at: Instant,
}

impl<C: Copy + Eq + std::fmt::Debug> Stream<C> {
    /// A stream for a client that was accepted just now.
    pub fn new(front: C, token: Token, local_port: u16, now: Instant) -> Self {
        Stream {
            front,
            back: None,
            state: State::Assign,
            token,
            local_port,
            server: None,
            retries: 0,
            request: Channel::default(),
            response: Channel::default(),
            active_at: now,
        }
    }

    /// The client's connection.
    pub fn front(&self) -> C {
        self.front
    }

    /// Does what can be done now.
    pub fn process<T: Transport<Conn = C>>(
        &mut self,
        transport: &mut T,
        frontend: &Proxy,
        backend: (&Proxy, &mut Backend),
        now: Instant,
    ) -> Outcome {
        let (config, backend) = backend;
        if self.state != State::Established {
            if transport.status(self.front).is_none_or(|front| front.failure.is_some()) {
                return Outcome::Ended(End::ClientLeftEarly);
            }
            if let Some(outcome) = self.open_back(transport, config, backend, now) {
                return outcome;
            }
        }
        self.exchange(transport, frontend.timeouts, config.timeouts, now)
    }

    /// Works towards an open connection to a server; `None` when it is open.
    fn open_back<T: Transport<Conn = C>>(
        &mut self,
        transport: &mut T,
        config: &Proxy,
        backend: &mut Backend,
        now: Instant,
    ) -> Option<Outcome> {
        loop {
            let failed = match self.state {
                State::Assign => {
                    let Some(server) = backend.pick(self.server) else {
                        return Some(Outcome::Ended(End::NoServer));
                    };
                    self.server = Some(server);
                    self.connect(transport, config, now)
                }
                State::TurnAround { until } if now < until => {
                    return Some(Outcome::Wait(Some(until)));
                }
                State::TurnAround { .. } => self.connect(transport, config, now),
                State::Connecting { deadline } => {
                    let status = self.back.and_then(|back| transport.status(back));
                    let status = status.unwrap_or_default();
                    if status.is_open {
                        self.opened(backend, now);
                        return None;
                    }
                    if status.failure.is_some() {
                        Some(End::ConnectFailed)
                    } else if deadline.is_some_and(|at| at <= now) {
                        Some(End::ConnectTimeout)
                    } else {
                        return Some(Outcome::Wait(deadline));
                    }
                }
                State::Established => return None,
            };
            if let Some(why) = failed
                && let Some(outcome) = self.retry(why, transport, config, backend, now)
            {
                return Some(outcome);
            }
        }
    }

    /// Begins a connection to the chosen server; returns why if that fails at once.
    fn connect<T: Transport<Conn = C>>(
        &mut self,
        transport: &mut T,
        config: &Proxy,
        now: Instant,
    ) -> Option<End> {
        let index = self.server.expect("a server is chosen before it is connected to");
        let address = server_address(&config.servers[index], self.local_port);
        let conn =
            address.and_then(|at| transport.connect(&ConnectTo::wire(at), self.token, now).ok());
        self.back = conn;
        self.state = State::Connecting { deadline: config.timeouts.connect.map(|wait| now + wait) };
        if conn.is_none() { Some(End::ConnectFailed) } else { None }
    }

    fn opened(&mut self, backend: &mut Backend, now: Instant) {
        self.state = State::Established;
        self.active_at = now;
        if let Some(server) = self.server {
            backend.servers[server].total += 1;
            backend.servers[server].current += 1;
        }
    }

    /// An attempt failed: tries again, here or elsewhere, or ends.
    fn retry<T: Transport<Conn = C>>(
        &mut self,
        why: End,
        transport: &mut T,
        config: &Proxy,
        backend: &mut Backend,
        now: Instant,
    ) -> Option<Outcome> {
        if let Some(back) = self.back.take() {
            transport.close(back, now);
        }
        let server = self.server.expect("an attempt has a server");
        backend.servers[server].failed += 1;
        if self.retries == config.retries {
            return Some(Outcome::Ended(why));
        }
        self.retries += 1;
        if moves_on(self.retries, config.retries, config.redispatch, backend.active_len()) {
            backend.servers[server].redispatched += 1;
            self.state = State::Assign;
        } else {
            let pause = config.timeouts.connect.unwrap_or(TURN_AROUND).min(TURN_AROUND);
            self.state = State::TurnAround { until: now + pause };
        }
        None
    }

    /// Moves bytes both ways, and sees the end of either side.
    fn exchange<T: Transport<Conn = C>>(
        &mut self,
        transport: &mut T,
        front_timeouts: Timeouts,
        back_timeouts: Timeouts,
        now: Instant,
    ) -> Outcome {
        let (front, back) = (self.front, self.back.expect("an established stream has a server"));
        let request = self.request.pump(transport, front, back, now);
        let response = self.response.pump(transport, back, front, now);
        if request.moved > 0 || response.moved > 0 {
            self.active_at = now;
        }
        // Bytes that arrived before a reset have been passed on above.
        if transport.status(back).is_none_or(|status| status.failure.is_some()) {
            return Outcome::Ended(End::ServerAborted);
        }
        if transport.status(front).is_none_or(|status| status.failure.is_some()) {
            return Outcome::Ended(End::ClientAborted);
        }
        if self.request.is_shut && self.response.is_shut {
            return Outcome::Ended(End::Normal);
        }
        if request.unfinished || response.unfinished {
            return Outcome::Again;
        }
        self.wait(front_timeouts, back_timeouts, now)
    }

    /// Until which time nothing may move.
    fn wait(&self, front: Timeouts, back: Timeouts, now: Instant) -> Outcome {
        let half_closed = self.request.is_shut || self.response.is_shut;
        let (client, server) = match (half_closed, back.tunnel) {
            (true, _) => (front.client_fin.or(front.client), back.server_fin.or(back.server)),
            (false, Some(tunnel)) => (Some(tunnel), Some(tunnel)),
            (false, None) => (front.client, back.server),
        };
        let after = |timeout: Option<Duration>| timeout.map(|timeout| self.active_at + timeout);
        let (client, server) = (after(client), after(server));
        if client.is_some_and(|at| at <= now) {
            return Outcome::Ended(End::ClientTimeout);
        }
        if server.is_some_and(|at| at <= now) {
            return Outcome::Ended(End::ServerTimeout);
        }
        Outcome::Wait([client, server].into_iter().flatten().min())
    }

    /// Leaves both connections, as the end asks for it.
    pub fn leave<T: Transport<Conn = C>>(
        &mut self,
        end: End,
        transport: &mut T,
        backend: &mut Backend,
        now: Instant,
    ) {
        // What the server said before it failed is still the client's; nobody reads what it says after
        // the client has failed.
        transport.close(self.front, now);
        if let Some(back) = self.back.take() {
            match end {
                End::ClientAborted => transport.abort(back, now),
                _ => transport.close(back, now),
            }
        }
        if self.state == State::Established
            && let Some(server) = self.server
        {
            backend.servers[server].current -= 1;
        }
    }
}
