//! A backend: its servers, who of them has room, and who waits for them. One for all workers.
//!
//! In:    streams that want a server; streams that leave one; what checks and operators say of a server
//! Out:   a server, or a ticket for the queue; words to streams whose turn has come
//! Owns:  the places on every server, exactly; the queues
//! Never: connects; is locked for longer than one choice takes
//! Read:  docs/configuration.md, "Choosing a server"
//!
//! One lock, taken when a stream comes and when it leaves: places, queues and whose turn it is change
//! together, so that no two workers give the same place away and nobody is overtaken.

mod facts;
mod orders;
mod queues;
mod retry;
mod seats;
mod standing;
mod succession;
mod survey;
#[cfg(test)]
mod tests;

use std::net::SocketAddr;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use slotmap::SlotMap;

pub use queues::{Turn, Turns, Waiter};
pub use retry::{Tried, is_undetermined, moves_on};
pub use standing::{Effect, Said, Tracked};
pub use survey::{ServerSurvey, Survey};

use queues::Ticket;
use seats::{Seats, Wanted};

use crate::clock::Instant;
use crate::config::model::{Algorithm, Config, Proxy, ProxyIndex, Server, ServerId, ServerPort};
use crate::health::{Health, History};
use crate::lb::{self, Pick, Room, WEIGHT_SCALE};
use crate::queue::{Numbers, Priority, Queue, TicketId};
use crate::rate::{Rate, RateLimit};
use crate::shared::Mail;

/// What a stream wants of a backend.
pub struct Demand<'a> {
    /// What is hashed by algorithms that hash.
    pub key: Option<&'a [u8]>,
    /// The server on which an attempt has just failed.
    pub avoid: Option<usize>,
    /// This one, whatever the algorithm says (`use-server`, persistence).
    pub server: Option<usize>,
    /// Where it stands in a queue.
    pub priority: Priority,
    /// Who is told when a place is there.
    pub waiter: Waiter,
}

/// What a stream gets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Assigned {
    /// A place on this server.
    Server(usize),
    /// A ticket: a word comes when there is a place.
    Queued(TicketId),
    /// Nothing: the wanted server's own queue is full.
    QueueFull,
    /// Nothing: no server can be used.
    Nobody,
}

/// A server while it works.
#[derive(Debug)]
struct Member {
    maxconn: u32,
    minconn: u32,
    maxqueue: u32,
    /// In sixteenths.
    weight: u32,
    /// Places taken on it.
    served: u32,
    /// Streams that wait for it alone.
    queue: Queue,
    /// It takes streams: it is up and not to be drained.
    is_usable: bool,
    /// It was to finish what it had.
    was_stopping: bool,
    health: Health,
    /// Between 0 and 100 while it warms up (`slowstart`).
    warmth: u32,
    /// Places given on it.
    arrivals: Rate,
    /// The most places taken on it, and the most streams that waited for it.
    peaks: Peaks,
    /// Where an operator has put it.
    moved_to: Option<SocketAddr>,
    /// Its check runs, and its agent's.
    is_watched: [bool; 2],
}

/// The most of two things at once.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Peaks {
    /// Streams at work; of a backend: in it.
    pub streams: u32,
    /// Streams waiting.
    pub queued: u32,
}

struct State {
    seats: Seats,
    members: Vec<Member>,
    /// Streams that wait for any server.
    queue: Queue,
    /// Places taken on all servers.
    served: u32,
    tickets: SlotMap<TicketId, Ticket>,
    numbers: Numbers,
    /// The most streams that waited for any server.
    peak_queued: u32,
    /// Whether there is a server, since when, and how it was before.
    standing: History,
}

/// A backend, as one configuration has it.
pub struct Backend {
    /// What it is.
    pub config: Arc<Proxy>,
    index: ProxyIndex,
    fullconn: u32,
    core: Arc<Core>,
}

/// What stays of a backend when another configuration replaces its own.
struct Core {
    /// Streams in it, working or waiting (HAProxy's beconn).
    streams: AtomicU32,
    /// The most of them at once.
    peak_streams: AtomicU32,
    /// Streams that came.
    arrivals: RateLimit,
    state: Mutex<State>,
    mail: Arc<Mail>,
}

impl Backend {
    /// The backend of a proxy.
    pub fn new(config: &Config, index: ProxyIndex, mail: Arc<Mail>) -> Self {
        let proxy = Arc::new(config.proxies[index.0].clone());
        let mut seats = Seats::new(&proxy);
        let members: Vec<Member> = proxy.servers.all().iter().map(Member::new).collect();
        for (server, member) in members.iter().enumerate() {
            seats.set_usable(server, member.is_usable);
        }
        let state = State {
            seats,
            members,
            queue: Queue::default(),
            served: 0,
            tickets: SlotMap::with_key(),
            numbers: Numbers::default(),
            peak_queued: 0,
            standing: History::default(),
        };
        let core = Core {
            streams: AtomicU32::new(0),
            peak_streams: AtomicU32::new(0),
            arrivals: RateLimit::new(0),
            state: Mutex::new(state),
            mail,
        };
        Backend {
            fullconn: proxy.fullconn.unwrap_or_else(|| config.fullconn_of(index)),
            config: proxy,
            index,
            core: Arc::new(core),
        }
    }

    /// Its place among the proxies.
    pub fn index(&self) -> ProxyIndex {
        self.index
    }

    /// A stream comes.
    pub fn enter(&self, now: Instant) {
        // Without a limit there is always leave.
        let _ = self.core.arrivals.take(now);
        let streams = self.core.streams.fetch_add(1, Ordering::SeqCst) + 1;
        if streams > self.core.peak_streams.load(Ordering::Relaxed) {
            self.core.peak_streams.fetch_max(streams, Ordering::Relaxed);
        }
    }

    /// A stream has got a place on a server; returns where an operator has put that, if it was moved.
    pub fn arrived(&self, server: usize, now: Instant) -> Option<SocketAddr> {
        let mut state = self.lock();
        let member = &mut state.members[server];
        member.arrivals.count(now);
        member.moved_to
    }

    /// A stream has ended.
    pub fn leave(&self) {
        let before = self.core.streams.fetch_sub(1, Ordering::SeqCst);
        assert!(before > 0, "more streams left {} than came", self.config.name);
    }

    /// Streams in it, working or waiting.
    pub fn streams(&self) -> u32 {
        self.core.streams.load(Ordering::SeqCst)
    }

    /// A place on a server for a stream, or a ticket.
    pub fn assign(
        &self,
        demand: &Demand<'_>,
        random: &mut dyn FnMut() -> u32,
        now: Instant,
    ) -> Assigned {
        let streams = self.streams();
        let mut state = self.lock();
        let picked = match demand.server {
            Some(server) => Pick::Server(server),
            None => self.pick(&mut state, demand, random, streams),
        };
        match picked {
            Pick::Nobody => Assigned::Nobody,
            Pick::Full => Assigned::Queued(state.wait(None, demand, now)),
            Pick::Server(server) => {
                let member = &state.members[server];
                if member.room(streams, self.fullconn) == Room::Free {
                    state.take(server);
                    return Assigned::Server(server);
                }
                if member.maxqueue > 0 && member.queue.len() >= member.maxqueue as usize {
                    return Assigned::QueueFull;
                }
                Assigned::Queued(state.wait(Some(server), demand, now))
            }
        }
    }

    fn pick(
        &self,
        state: &mut State,
        demand: &Demand<'_>,
        random: &mut dyn FnMut() -> u32,
        streams: u32,
    ) -> Pick {
        let State { seats, members, queue, served, .. } = state;
        // Nobody who comes later is served before those who wait for any server: some algorithms hand
        // out any free server, and then a queue means that there is none.
        let takes_any = matches!(
            self.config.balance.algorithm,
            Algorithm::RoundRobin | Algorithm::StaticRr | Algorithm::First
        );
        let waiting = queue.len() as u32;
        let has_some = seats.active() + seats.backups() > 0;
        if has_some && takes_any && waiting > 0 && waiting != streams {
            return Pick::Full;
        }
        let fullconn = self.fullconn;
        seats.pick(Wanted {
            key: demand.key,
            avoid: demand.avoid,
            random,
            room: &|server| members[server].room(streams, fullconn),
            load: &|server| members[server].load(),
            served: *served,
        })
    }

    /// A stream gives its place on a server back; whose turn it is then is told.
    pub fn release(&self, server: usize) {
        let mut state = self.lock();
        state.give(server);
        self.serve_waiting(&mut state, server);
    }

    /// What has become of a ticket. Anything but [`Turn::Wait`] is the last word on it.
    pub fn turn(&self, ticket: TicketId) -> Turn {
        self.lock().turn(ticket)
    }

    /// Which turn of its queue a ticket's is, or would be now; ask before [`Backend::turn`] has said its last word.
    pub fn turns(&self, ticket: TicketId) -> Turns {
        self.lock().turns(ticket)
    }

    /// A stream waits no longer; if a place was kept for it, the next one gets it.
    pub fn cancel(&self, ticket: TicketId) {
        let mut state = self.lock();
        if let Some(server) = state.cancel(ticket) {
            state.give(server);
            self.serve_waiting(&mut state, server);
        }
    }

    /// Servers that can be used: active ones and backups.
    pub fn usable(&self) -> (usize, usize) {
        let state = self.lock();
        (state.seats.active(), state.seats.backups())
    }

    /// Whether a server takes streams.
    pub fn is_usable(&self, server: usize) -> bool {
        self.lock().members[server].is_usable
    }

    /// Places taken on a server, and streams that wait for it alone.
    pub fn load(&self, server: usize) -> lb::Load {
        self.lock().members[server].load()
    }

    /// Streams that wait for any server.
    pub fn queue_len(&self) -> usize {
        self.lock().queue.len()
    }

    /// Places taken on all servers.
    pub fn served(&self) -> u32 {
        self.lock().served
    }

    /// Gives free places of a server to those whose turn it is; how many got one.
    fn serve_waiting(&self, state: &mut State, server: usize) -> usize {
        let streams = self.streams();
        // A server that is not chosen does not serve those who wait for any: no backup while an active
        // one works, no server without a weight.
        let serves_all = state.members[server].effective_weight() > 0
            && state.members[server].is_usable
            && (!self.config.servers[server].backup || state.seats.active() == 0);
        let mut served = 0;
        while !state.members[server].has_no_place(streams, self.fullconn) {
            let Some(waiter) = state.grant(server, serves_all) else { break };
            waiter.tell(&self.core.mail);
            served += 1;
        }
        served
    }

    /// A worker that panics ends the process: a poisoned lock is never seen.
    fn lock(&self) -> MutexGuard<'_, State> {
        self.core.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The name of a server of it.
    pub fn id_of(&self, server: usize) -> ServerId {
        ServerId { proxy: self.index, index: server }
    }
}

impl std::fmt::Debug for Backend {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Backend({})", self.config.name)
    }
}

impl State {
    fn take(&mut self, server: usize) {
        self.members[server].served += 1;
        self.served += 1;
        self.load_changed(server);
    }

    fn give(&mut self, server: usize) {
        let member = &mut self.members[server];
        assert!(member.served > 0, "a place on server {server} was given back that nobody took");
        member.served -= 1;
        self.served -= 1;
        self.load_changed(server);
    }

    fn load_changed(&mut self, server: usize) {
        let member = &mut self.members[server];
        let load = member.load();
        member.peaks.streams = member.peaks.streams.max(load.served);
        member.peaks.queued = member.peaks.queued.max(load.queued);
        self.seats.load_changed(server, load);
    }
}

impl Member {
    fn new(server: &Server) -> Self {
        let health = Health::new(server);
        Member {
            maxconn: server.maxconn,
            minconn: server.minconn,
            maxqueue: server.maxqueue,
            weight: server.weight * WEIGHT_SCALE,
            served: 0,
            queue: Queue::default(),
            is_usable: health.takes_streams(),
            was_stopping: false,
            health,
            warmth: 100,
            arrivals: Rate::default(),
            peaks: Peaks::default(),
            moved_to: None,
            is_watched: [server.check.is_some(), server.agent.is_some()],
        }
    }

    fn load(&self) -> lb::Load {
        lb::Load { served: self.served, queued: self.queue.len() as u32 }
    }

    /// Whether it takes one more.
    fn room(&self, streams: u32, fullconn: u32) -> Room {
        if self.maxconn == 0 {
            return Room::Free;
        }
        let max = self.maxconn_now(streams, fullconn);
        let lb::Load { served, queued } = self.load();
        match (served < max && queued == 0, served + queued < max + self.maxqueue) {
            (true, _) => Room::Free,
            (false, true) => Room::InQueue,
            (false, false) => Room::None,
        }
    }

    fn has_no_place(&self, streams: u32, fullconn: u32) -> bool {
        self.maxconn > 0 && self.served >= self.maxconn_now(streams, fullconn)
    }

    /// The limit at this load of the backend: between `minconn` and `maxconn`, and less while it warms up.
    fn maxconn_now(&self, streams: u32, fullconn: u32) -> u32 {
        let max = if self.minconn == 0 || streams >= fullconn {
            self.maxconn
        } else {
            let share = u64::from(streams) * u64::from(self.maxconn) / u64::from(fullconn);
            (share as u32).max(self.minconn)
        };
        if self.warmth >= 100 { max } else { (max * self.warmth / 100).max(1) }
    }

    /// The weight in sixteenths, less while it warms up.
    fn effective_weight(&self) -> u32 {
        (self.weight * self.warmth).div_ceil(100)
    }
}

/// Where a server is, for a client that aimed at this address and port; `None` when that leads nowhere.
pub fn server_address(server: &Server, aimed_at: Option<SocketAddr>) -> Option<SocketAddr> {
    let port = match (server.port, aimed_at) {
        (ServerPort::Fixed(port), _) => port,
        (ServerPort::Offset(offset), Some(aimed_at)) => {
            u16::try_from(i32::from(aimed_at.port()) + offset).ok()?
        }
        (ServerPort::Offset(_), None) => return None,
    };
    let ip = match aimed_at {
        Some(aimed_at) if server.address.is_unspecified() => aimed_at.ip(),
        _ => server.address,
    };
    Some(SocketAddr::new(ip, port))
}

/// How warm a server is, in percent, that came up so long ago.
pub fn warmth(slowstart: Option<Duration>, since_up: Duration) -> u32 {
    match slowstart {
        Some(span) if since_up < span => {
            let percent = since_up.as_millis() * 100 / span.as_millis().max(1);
            (percent as u32).clamp(1, 100)
        }
        _ => 100,
    }
}
