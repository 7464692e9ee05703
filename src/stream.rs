//! A stream: a client's connection, a server's connection, and a channel each way. One task.
//!
//! In:    wake-ups by events of either connection, by a word from the queue, or by a deadline
//! Out:   bytes moved; when to be run again; how it ended
//! Owns:  both connections, its place on a server, its ticket in a queue
//! Never: blocks; knows a packet
//!
//! By phase: [`greeting`] (what a connection begins with), [`rules`] (what is decided of it), [`connect`] (a server, and a connection to it), [`exchange`] (bytes), [`end`] (how it ended), [`count`] (what is counted of it).

mod connect;
mod count;
mod end;
mod exchange;
mod greeting;
mod record;
mod rules;
mod serve;
mod view;

use std::net::SocketAddr;
use std::sync::Arc;

pub use end::{Cause, End, Phase};
pub use greeting::Greeting;
pub use record::{StreamRecord, Tells};
pub use rules::Admission;
use rules::{Inspection, Reply};
use serve::Service;
pub use serve::ServiceCall;
pub use view::StreamView;

use crate::backend::Turns;
use crate::channel::Channel;
use crate::clock::Instant;
use crate::config::model::{Algorithm, Proxy, ProxyIndex};
use crate::counters::Counters;
use crate::edition::Editions;
use crate::queue::{Priority, TicketId};
use crate::sample::{Entrance, Variables};
use crate::shared::{Parting, Saying, Shared};
use crate::transport::{ConnectError, Ends, Token, Transport};

/// How far a stream is.
///
/// ```text
///  Greeting ──► Session ──► Inspect
///    ┌───────────────────────┘
///    ▼
///  Assign ──► Queued ──► Assigned ──► Connecting ──► Established ──► (ended)
///    ▲  └──────────────────▲              │ failed
///    └──── TurnAround ◄────┴──────────────┘
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// The client's connection has not yet said what it must begin with.
    Greeting(Greeting),
    /// It may say more; rules of sessions have not been followed.
    Session,
    /// Rules look at what the client says.
    Inspect(Inspection),
    /// It needs a server.
    Assign,
    /// It waits for a place on a server.
    Queued { ticket: TicketId, deadline: Option<Instant> },
    /// It has a place and is to connect.
    Assigned,
    /// It waits before it tries the same server again, or asks for another.
    TurnAround { until: Instant, goes_elsewhere: bool },
    /// The server's connection is being opened.
    Connecting { deadline: Option<Instant> },
    /// Both connections are open.
    Established,
    /// Its server is xlb itself.
    Serve(Service),
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

/// What a stream finds around it while it runs.
pub struct World<'a, T> {
    /// What carries its bytes.
    pub transport: &'a mut T,
    /// What proxies are, by the configuration that a stream works under.
    pub editions: &'a Editions,
    /// What all workers share.
    pub shared: &'a Shared,
    /// What this worker counts.
    pub counters: &'a mut Counters,
    /// Chance.
    pub random: &'a mut fastrand::Rng,
    /// Which worker this is.
    pub worker: usize,
    /// What is to be told.
    pub said: &'a mut Vec<Saying>,
    /// What the log is told of streams.
    pub records: &'a mut Vec<StreamRecord>,
    /// What others are to answer.
    pub calls: &'a mut Vec<ServiceCall>,
}

impl<'a, T> World<'a, T> {
    /// By [`ProxyIndex`].
    fn proxies<C>(&self, stream: &Stream<C>) -> &'a [Arc<Proxy>] {
        self.editions.of(stream.edition)
    }

    fn frontend<C>(&self, stream: &Stream<C>) -> &'a Arc<Proxy> {
        &self.proxies(stream)[stream.frontend.0]
    }

    fn backend<C>(&self, stream: &Stream<C>) -> &'a Arc<Proxy> {
        &self.proxies(stream)[stream.backend.0]
    }
}

/// A stream.
///
/// Invariants: `back` is there in `Connecting` and `Established` only; `slot` from `Assigned` on, and then it
/// is `server`.
#[derive(Debug)]
pub struct Stream<C> {
    /// The client's connection.
    front: C,
    /// The server's connection.
    back: Option<C>,
    state: State,
    token: Token,
    /// The listener that it came in by.
    pub entrance: Arc<Entrance>,
    /// The number of the configuration that it works under.
    pub edition: u32,
    /// Where it came in.
    pub frontend: ProxyIndex,
    /// Where its servers are.
    pub backend: ProxyIndex,
    /// The server of the last attempt, by its place in the backend.
    pub server: Option<usize>,
    /// The server that it has a place on.
    slot: Option<usize>,
    /// Where an operator has put that server.
    moved_to: Option<SocketAddr>,
    /// The server that a rule wants it on.
    bound: Option<usize>,
    priority: Priority,
    /// Attempts after the first.
    pub retries: u32,
    /// One of them went to another server.
    pub is_redispatched: bool,
    /// Of the queues that it has left.
    turns: Turns,
    /// From the client to the server.
    pub request: Channel,
    /// From the server to the client.
    pub response: Channel,
    /// When it was accepted.
    pub accepted_at: Instant,
    /// When it became a stream: what it had to begin with was there.
    session_at: Option<Instant>,
    /// When it had a place on a server, of the last attempt.
    pub assigned_at: Option<Instant>,
    /// When the server's connection was open.
    pub connected_at: Option<Instant>,
    /// How often it ran.
    calls: u32,
    /// When something last moved.
    active_at: Instant,
    /// The client's ends as a PROXY header told them.
    told_ends: Option<Box<Ends>>,
    /// A PROXY header has come.
    has_proxy_header: bool,
    /// What the server is to have before the client's bytes, as far as it was not sent yet.
    preface: Vec<u8>,
    /// What rules have stored.
    variables: Variables,
    /// Rules of responses.
    reply: Reply,
    /// It counts in its backend.
    has_entered: bool,
    /// The client is left without a word.
    vanishes: bool,
    /// `set-nice`, until the scheduler knows.
    pub nice: Option<i32>,
    /// `set-log-level`; `Some(None)`: no line.
    pub log_level: Option<Option<u8>>,
    /// Its number in the process.
    number: u64,
    /// Its line was written, or was not to be.
    is_logged: bool,
    /// Its line was written before its end.
    is_early: bool,
    /// Bytes of a PROXY header that have come.
    greeting_len: usize,
    /// The ends of the last connection to a server.
    back_ends: Ends,
    /// What xlb itself answers.
    answer: Vec<u8>,
}

impl<C: Copy + Eq + std::fmt::Debug> Stream<C> {
    /// A stream for a client that was accepted just now.
    pub fn new(
        front: C,
        token: Token,
        greeting: Option<Greeting>,
        (edition, frontend, entrance): (u32, ProxyIndex, Arc<Entrance>),
        now: Instant,
    ) -> Self {
        Stream {
            front,
            back: None,
            state: greeting.map_or(State::Session, State::Greeting),
            token,
            entrance,
            edition,
            frontend,
            backend: frontend,
            server: None,
            slot: None,
            moved_to: None,
            bound: None,
            priority: Priority::default(),
            retries: 0,
            is_redispatched: false,
            turns: Turns::default(),
            request: Channel::default(),
            response: Channel::default(),
            accepted_at: now,
            session_at: None,
            assigned_at: None,
            connected_at: None,
            calls: 0,
            active_at: now,
            told_ends: None,
            has_proxy_header: false,
            preface: Vec::new(),
            variables: Variables::default(),
            reply: Reply::Passed,
            has_entered: false,
            vanishes: false,
            nice: None,
            log_level: None,
            number: 0,
            is_logged: false,
            is_early: false,
            greeting_len: 0,
            back_ends: Ends::default(),
            answer: Vec::new(),
        }
    }

    /// The client's connection.
    pub fn front(&self) -> C {
        self.front
    }

    /// Whether it moves bytes.
    pub fn is_established(&self) -> bool {
        self.state == State::Established
    }

    /// Where the client is, and where it came to: as a PROXY header told it, else as the connection has it.
    pub fn ends<T: Transport<Conn = C>>(&self, transport: &T) -> Ends {
        let told = self.told_ends.as_deref().copied();
        told.or_else(|| transport.ends(self.front)).unwrap_or_default()
    }

    /// Where the client is.
    pub fn source<T: Transport<Conn = C>>(&self, transport: &T) -> Option<SocketAddr> {
        self.ends(transport).remote
    }

    /// Where the client came to.
    pub fn destination<T: Transport<Conn = C>>(&self, transport: &T) -> Option<SocketAddr> {
        self.ends(transport).local
    }

    /// Does what can be done now.
    pub fn process<T: Transport<Conn = C>>(
        &mut self,
        world: &mut World<'_, T>,
        now: Instant,
    ) -> Outcome {
        self.calls += 1;
        if let State::Greeting(greeting) = self.state
            && let Some(outcome) = self.greet(greeting, world, now)
        {
            return outcome;
        }
        if self.state == State::Session
            && let Some(outcome) = self.begin_session(world, now)
        {
            return outcome;
        }
        if let State::Inspect(inspection) = self.state
            && let Some(outcome) = self.inspect(inspection, world, now)
        {
            return outcome;
        }
        if let State::Serve(service) = self.state {
            return self.serve(service, world, now);
        }
        if self.state != State::Established {
            if let Some(end) = self.client_gave_up(world, now) {
                return Outcome::Ended(end);
            }
            match self.open_back(world, now) {
                None => {}
                Some(Outcome::Wait(until)) => {
                    let client = self.client_deadline(world);
                    return Outcome::Wait([until, client].into_iter().flatten().min());
                }
                Some(outcome) => return outcome,
            }
        }
        self.exchange(world, now)
    }

    /// Whether the client is not to be waited for any longer, before there is a server: it reset, it closed and
    /// there is nothing to be sent for it (or `option abortonclose`), or it said nothing for too long.
    fn client_gave_up<T: Transport<Conn = C>>(
        &self,
        world: &World<'_, T>,
        now: Instant,
    ) -> Option<End> {
        let status = world.transport.status(self.front).unwrap_or_default();
        let end = |cause, phase| Some(End { cause, phase });
        if !status.is_open || status.failure.is_some() {
            return end(Cause::Client, Phase::Data);
        }
        let phase = match self.state {
            State::Queued { .. } => Phase::Queue,
            _ => Phase::Connect,
        };
        let gives_up = status.readable == 0 || world.backend(self).options.abortonclose;
        if status.fin && gives_up && self.state != State::Assign {
            return end(Cause::Client, phase);
        }
        if self.client_deadline(world).is_some_and(|at| at <= now) {
            return end(Cause::ClientTimeout, phase);
        }
        None
    }

    /// Until when the client may be silent while it has no server.
    fn client_deadline<T: Transport<Conn = C>>(&self, world: &World<'_, T>) -> Option<Instant> {
        let status = world.transport.status(self.front).unwrap_or_default();
        let is_awaited = status.readable == 0 && !status.fin;
        let timeout = world.frontend(self).timeouts.client.filter(|_| is_awaited)?;
        Some(self.active_at + timeout)
    }

    /// What the backend's algorithm hashes.
    fn balance_key<T: Transport<Conn = C>>(&self, world: &World<'_, T>) -> Option<Vec<u8>> {
        match &world.backend(self).balance.algorithm {
            Algorithm::Source => match self.source(world.transport)?.ip() {
                std::net::IpAddr::V4(ip) => Some(ip.octets().to_vec()),
                std::net::IpAddr::V6(ip) => Some(ip.octets().to_vec()),
            },
            Algorithm::RdpCookie(name) => self.rdp_key(name, world),
            _ => None,
        }
    }

    /// Whether it works with this server, and so has to leave when the server's streams are to leave.
    pub fn uses(&self, backend: ProxyIndex, server: usize) -> bool {
        self.slot == Some(server) && self.backend == backend && self.back.is_some()
    }

    /// Why it ends when an operator ends it.
    pub fn killing(&self) -> End {
        let phase = match self.state {
            State::Established => Phase::Data,
            State::Queued { .. } => Phase::Queue,
            State::Greeting(_) | State::Session | State::Inspect(_) => Phase::Request,
            _ => Phase::Connect,
        };
        End { cause: Cause::Operator, phase }
    }

    /// Why it ends when it must leave its server.
    pub fn parting(&self, why: Parting) -> End {
        let cause = match why {
            Parting::Down => Cause::ServerDown,
            Parting::ActiveUp => Cause::ActiveUp,
        };
        End { cause, phase: Phase::None }
    }

    /// Leaves both connections, as the end asks for it.
    pub fn leave<T: Transport<Conn = C>>(
        &mut self,
        end: End,
        world: &mut World<'_, T>,
        now: Instant,
    ) {
        self.log_end(end, world, now);
        // While the connections are there, with what they hold.
        self.count_end(end, world, now);
        if let State::Queued { ticket, .. } = self.state {
            world.shared.backend(self.backend).cancel(ticket);
        }
        // What the server said before it failed is still the client's; nobody reads what it says after
        // the client has failed.
        if self.vanishes {
            world.transport.vanish(self.front, now);
        } else if world.frontend(self).options.nolinger {
            world.transport.abort(self.front, now);
        } else {
            world.transport.close(self.front, now);
        }
        if let Some(back) = self.back.take() {
            if end.cause == Cause::Client || world.backend(self).options.nolinger {
                world.transport.abort(back, now);
            } else {
                world.transport.close(back, now);
            }
        }
        self.give_back(world);
        if self.has_entered {
            world.shared.backend(self.backend).leave();
        }
    }
}

impl From<ConnectError> for Cause {
    fn from(error: ConnectError) -> Self {
        match error {
            ConnectError::NoRoute | ConnectError::Refused => Cause::Server,
            ConnectError::NoSourcePort | ConnectError::NoSocket => Cause::Resource,
        }
    }
}
