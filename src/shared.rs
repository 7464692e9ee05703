//! What workers share: limits, rates, backends, and the words that they leave for each other.
//!
//! In:    the configuration; places taken and given back; news for a worker
//! Out:   limits; a number that changes when paused listeners should try again; news
//! Owns:  every count that must be exact over all workers
//! Never: locked for longer than a choice of a server takes

mod succession;

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use crossbeam::queue::SegQueue;

use crate::backend::{Backend, Effect, Said, Tracked};
use crate::clock::Instant;
use crate::config::model::{Config, MAXCONN_DEFAULT, Proxy, ProxyIndex, ServerId};
use crate::edition::Lease;
use crate::health::{Admin, Checker, Operation, Outcome};
use crate::limit::Limit;
use crate::rate::RateLimit;
use crate::sample::ProcessVariables;
use crate::transport::Token;

/// Wakes a worker that may be asleep.
pub trait Wake: Send + Sync {
    /// Wakes it; does nothing much when it is awake.
    fn wake(&self);
}

/// What one worker tells another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum News {
    /// The queue has a word for this stream: it should look at its ticket.
    Ticket(Token),
    /// Streams of this server end: it went down, or is to be left.
    Leave(ServerId, Parting),
    /// Who watches this server should check it soon.
    Hurry(ServerId),
}

/// Why streams leave a server that works for them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Parting {
    /// It went down (`on-marked-down shutdown-sessions`).
    Down,
    /// It is a backup, and an active server came up (`on-marked-up shutdown-backup-sessions`).
    ActiveUp,
}

/// A sentence for the log of a proxy, and for the operator.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Saying {
    /// The proxy.
    pub proxy: ProxyIndex,
    /// The sentence.
    pub said: Said,
}

/// Boxes for news, one per worker.
pub struct Mail {
    boxes: Vec<(SegQueue<News>, Box<dyn Wake>)>,
}

impl Mail {
    /// Boxes of these workers.
    pub fn new(workers: Vec<Box<dyn Wake>>) -> Self {
        Mail { boxes: workers.into_iter().map(|worker| (SegQueue::new(), worker)).collect() }
    }

    /// Leaves a word for a worker.
    pub fn tell(&self, worker: usize, news: News) {
        let (news_box, wake) = &self.boxes[worker];
        news_box.push(news);
        wake.wake();
    }

    /// Leaves a word for all workers.
    pub fn tell_all(&self, news: News) {
        (0..self.boxes.len()).for_each(|worker| self.tell(worker, news));
    }

    /// The next word for a worker.
    pub fn next(&self, worker: usize) -> Option<News> {
        self.boxes[worker].0.pop()
    }

    /// Whether there is a word for a worker.
    pub fn has_some(&self, worker: usize) -> bool {
        !self.boxes[worker].0.is_empty()
    }

    /// How many workers there are.
    pub fn workers(&self) -> usize {
        self.boxes.len()
    }

    fn wake_all(&self) {
        self.boxes.iter().for_each(|(_, wake)| wake.wake());
    }
}

/// Whether a frontend takes connections.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FrontendState {
    /// It does.
    Open,
    /// An operator has paused it: who comes waits.
    Paused,
    /// It listens no more.
    Stopped,
}

/// What all workers share of a proxy as a frontend.
#[derive(Debug)]
pub struct Frontend {
    /// maxconn
    pub connections: Limit,
    /// `rate-limit sessions`
    pub sessions: RateLimit,
    /// Connections that came, those that rules refused as well.
    pub arrivals: RateLimit,
    /// Whether it takes connections, by an operator's word.
    state: Mutex<FrontendState>,
}

impl Frontend {
    /// A frontend that takes connections.
    pub fn new(maxconn: u32, sessions_per_second: u32) -> Self {
        Frontend {
            connections: Limit::new(maxconn),
            sessions: RateLimit::new(sessions_per_second),
            arrivals: RateLimit::new(0),
            state: Mutex::new(FrontendState::Open),
        }
    }

    fn of(proxy: &Proxy) -> Self {
        Frontend::new(proxy.maxconn, proxy.rate_limit_sessions.unwrap_or(0))
    }

    /// Whether it takes connections, by an operator's word.
    pub fn state(&self) -> FrontendState {
        *self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// An operator's word; the workers have to be told too.
    pub fn set_state(&self, state: FrontendState) {
        *self.state.lock().unwrap_or_else(PoisonError::into_inner) = state;
    }

    /// Forgets what was greatest.
    pub fn clear(&self) {
        self.connections.clear_peak();
        self.sessions.clear_max();
        self.arrivals.clear_max();
    }
}

/// What workers share under one configuration. What is behind an [`Arc`] goes on under the next one.
pub struct Shared {
    /// The configuration, as streams hold it.
    pub edition: Arc<Lease>,
    /// maxconn of the process.
    pub global: Arc<Limit>,
    /// `maxconnrate`
    pub connection_rate: Arc<RateLimit>,
    /// `maxsessrate`
    pub session_rate: Arc<RateLimit>,
    /// Bytes of one side that rules can look at.
    pub inspected_max: usize,
    /// The interfaces that are taken over, in the order of their wires.
    pub interfaces: Vec<String>,
    /// Backends by name.
    by_name: HashMap<Arc<str>, ProxyIndex>,
    /// In the order of the configuration.
    order: Vec<ProxyIndex>,
    /// By [`ProxyIndex`].
    frontends: Vec<Arc<Frontend>>,
    backends: Vec<Arc<Backend>>,
    /// Words from worker to worker.
    pub mail: Arc<Mail>,
    /// By the server that they track.
    trackers: HashMap<ServerId, Vec<ServerId>>,
    /// Counts the occasions at which paused listeners should try again.
    room_epoch: Arc<AtomicU64>,
    /// `proc.` variables.
    pub variables: Arc<ProcessVariables>,
    /// The process takes no new connections.
    is_stopping: Arc<AtomicBool>,
    /// Counts streams, for their unique numbers.
    streams: Arc<AtomicU64>,
    /// Places that another had before: what was counted there is none of theirs.
    pub renewed: Renewed,
}

/// Places of a configuration that are given anew.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Renewed {
    /// Proxies.
    pub proxies: Vec<ProxyIndex>,
    /// Servers.
    pub servers: Vec<ServerId>,
    /// Listeners, by frontend and place.
    pub listeners: Vec<(ProxyIndex, usize)>,
}

impl Shared {
    /// The limits of a configuration, for these workers.
    pub fn new(config: &Config, workers: Vec<Box<dyn Wake>>) -> Self {
        let global = &config.global;
        let mail = Arc::new(Mail::new(workers));
        let frontends = config.proxies.all().iter().map(|proxy| Arc::new(Frontend::of(proxy)));
        let backends = (0..config.proxies.extent())
            .map(|index| Arc::new(Backend::new(config, ProxyIndex(index), mail.clone())));
        let shared = Shared {
            edition: Arc::new(Lease { number: 0 }),
            global: Arc::new(Limit::new(global.maxconn.unwrap_or(MAXCONN_DEFAULT))),
            connection_rate: Arc::new(RateLimit::new(global.maxconnrate.unwrap_or(0))),
            session_rate: Arc::new(RateLimit::new(global.maxsessrate.unwrap_or(0))),
            inspected_max: global.inspected_max(),
            interfaces: global.interfaces.clone(),
            by_name: by_name(config),
            order: config.proxies.placed().map(|(index, _)| ProxyIndex(index)).collect(),
            frontends: frontends.collect(),
            backends: backends.collect(),
            mail,
            trackers: trackers(config),
            room_epoch: Arc::default(),
            variables: Arc::default(),
            is_stopping: Arc::default(),
            streams: Arc::default(),
            renewed: Renewed::default(),
        };
        shared.inherit();
        shared
    }

    /// A proxy as a frontend.
    pub fn frontend(&self, index: ProxyIndex) -> &Frontend {
        &self.frontends[index.0]
    }

    /// A proxy as a backend.
    pub fn backend(&self, index: ProxyIndex) -> &Arc<Backend> {
        &self.backends[index.0]
    }

    /// The place of an interface among those that are taken over.
    pub fn interface(&self, name: &str) -> Option<u8> {
        let at = self.interfaces.iter().position(|known| known == name)?;
        u8::try_from(at).ok()
    }

    /// What all proxies are or were, by place.
    pub fn configs(&self) -> impl Iterator<Item = &Arc<Proxy>> {
        self.backends.iter().map(|backend| &backend.config)
    }

    /// All proxies in the order of the configuration: what they are.
    pub fn proxies(&self) -> impl Iterator<Item = (ProxyIndex, &Arc<Proxy>)> {
        self.order.iter().map(|&index| (index, &self.backends[index.0].config))
    }

    /// Places of proxies that were ever given: all are below this.
    pub fn extent(&self) -> usize {
        self.backends.len()
    }

    /// The backend of this name.
    pub fn backend_named(&self, name: &str) -> Option<ProxyIndex> {
        self.by_name.get(name).copied()
    }

    /// A check of a server has an outcome: its backend and all who track it are told. What is to be said of it.
    pub fn checked(
        &self,
        id: ServerId,
        checker: Checker,
        outcome: &Outcome,
        now: Instant,
    ) -> Vec<Saying> {
        let effect = self.backend(id.proxy).checked(id.index, checker, outcome, now);
        self.spread(id, effect, now)
    }

    /// A stream could connect to a server, or could not.
    pub fn observed(&self, id: ServerId, ok: bool, now: Instant) -> Vec<Saying> {
        let effect = self.backend(id.proxy).observed(id.index, ok, now);
        if effect.hurry {
            self.mail.tell_all(News::Hurry(id));
        }
        self.spread(id, effect, now)
    }

    /// What an operator, or an agent in his place, wants of a server.
    pub fn administer(&self, id: ServerId, admin: Admin, now: Instant) -> Vec<Saying> {
        let effect = self.backend(id.proxy).administer(id.index, admin, None, now);
        self.spread(id, effect, now)
    }

    /// An operator says how a server is, in place of its checks.
    pub fn force(
        &self,
        id: ServerId,
        checker: Checker,
        operation: Operation,
        now: Instant,
    ) -> Vec<Saying> {
        let effect = self.backend(id.proxy).force(id.index, checker, operation, now);
        self.spread(id, effect, now)
    }

    /// Servers that track one follow it, and so on.
    fn spread(&self, id: ServerId, effect: Effect, now: Instant) -> Vec<Saying> {
        let saying = |said| Saying { proxy: id.proxy, said };
        let mut sayings: Vec<Saying> = effect.said.into_iter().map(saying).collect();
        let Some(followers) = self.trackers.get(&id) else { return sayings };
        let (backend, config) = (self.backend(id.proxy), &self.backend(id.proxy).config);
        let name = format!("{}/{}", config.name, config.servers[id.index].name);
        for follower in followers {
            let of_follower = self.backend(follower.proxy);
            if let Some(operation) = effect.operation {
                let effect = of_follower.follow(follower.index, operation, &name, now);
                sayings.extend(self.spread(*follower, effect, now));
            }
            if let Some(admin) = effect.admin {
                let tracked = Tracked { name: &name, operation: backend.operation(id.index) };
                let effect = of_follower.administer(follower.index, admin, Some(tracked), now);
                sayings.extend(self.spread(*follower, effect, now));
            }
        }
        sayings
    }

    /// Servers that track one that is disabled are so from the beginning, without a word.
    fn inherit(&self) {
        for id in self.trackers.keys() {
            let admin = self.backend(id.proxy).admin(id.index);
            if admin != Admin::default() {
                let effect = Effect { admin: Some(admin), ..Effect::default() };
                self.spread(*id, effect, Instant::ZERO);
            }
        }
    }

    /// Forgets what was greatest; `all`: and what was counted.
    pub fn clear(&self, all: bool) {
        self.global.clear_peak();
        self.connection_rate.clear_max();
        self.session_rate.clear_max();
        self.frontends.iter().for_each(|frontend| frontend.clear());
        self.backends.iter().for_each(|backend| backend.clear(all));
    }

    /// The number of the next stream, from 0.
    pub fn next_stream(&self) -> u64 {
        self.streams.fetch_add(1, Ordering::Relaxed)
    }

    /// Streams so far.
    pub fn streams_so_far(&self) -> u64 {
        self.streams.load(Ordering::Relaxed)
    }

    /// From now on no new connections are taken.
    pub fn stop(&self) {
        self.is_stopping.store(true, Ordering::Relaxed);
    }

    /// Whether no new connections are taken.
    pub fn is_stopping(&self) -> bool {
        self.is_stopping.load(Ordering::Relaxed)
    }

    /// A place is free that somebody waits for: paused listeners of all workers try again.
    pub fn announce_room(&self) {
        self.room_epoch.fetch_add(1, Ordering::SeqCst);
        self.mail.wake_all();
    }

    /// Changes with each announcement.
    pub fn room_epoch(&self) -> u64 {
        self.room_epoch.load(Ordering::Acquire)
    }
}

fn by_name(config: &Config) -> HashMap<Arc<str>, ProxyIndex> {
    let backends = config.proxies.placed().filter(|(_, proxy)| proxy.kind.is_backend());
    backends.map(|(index, proxy)| (proxy.name.clone(), ProxyIndex(index))).collect()
}

/// Who tracks whom, the other way round.
fn trackers(config: &Config) -> HashMap<ServerId, Vec<ServerId>> {
    let mut trackers: HashMap<ServerId, Vec<ServerId>> = HashMap::new();
    for (proxy, config) in config.proxies.placed() {
        for (index, server) in config.servers.placed() {
            if let Some(tracked) = server.track {
                let id = ServerId { proxy: ProxyIndex(proxy), index };
                trackers.entry(tracked).or_default().push(id);
            }
        }
    }
    trackers
}
