//! All proxies of one worker: listeners, streams, backends, and the order in which tasks run.
//!
//! In:    events of the transport, the time, listeners to open and to close
//! Out:   commands to the transport
//! Owns:  the streams of this worker
//! Never: names a packet, a NIC or a socket; blocks

use std::collections::VecDeque;
use std::sync::Arc;

use slotmap::{Key, SlotMap};

use crate::backend::{Backend, ServerCounters};
use crate::clock::Instant;
use crate::config::model::{Bind, Config, Proxy, ProxyIndex};
use crate::limit::Limit;
use crate::listener::{Listener, ListenerState, Places};
use crate::shared::Shared;
use crate::stream::{End, Outcome, Stream};
use crate::task::Scheduler;
use crate::transport::{Ends, Event, ListenAt, ListenError, Token, Transport};

slotmap::new_key_type! {
    /// A stream of a worker.
    pub struct StreamId;
}

/// Streams and listeners are both told of events: the highest bit tells them apart.
const LISTENER_BIT: u64 = 1 << 63;

/// Connections taken from one listener before other work, when the configuration does not say.
const MAXACCEPT_DEFAULT: usize = 64;

/// A stream, and where it came in.
struct Entry<C> {
    stream: Stream<C>,
    frontend: ProxyIndex,
    backend: ProxyIndex,
    /// The maxconn of its listener, in which it holds a place.
    limit: Arc<Limit>,
}

/// What a worker counts of a frontend.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct FrontendCounters {
    /// Streams now.
    pub current: u64,
    /// Connections accepted.
    pub total: u64,
    /// Bytes from clients.
    pub bytes_in: u64,
    /// Bytes to clients.
    pub bytes_out: u64,
    /// Streams that ended otherwise than by both sides closing.
    pub failed: u64,
}

/// One listener for all workers: what a diff of configurations asks to be opened.
#[derive(Clone, Debug)]
pub struct ListenerPlan {
    /// The frontend.
    pub frontend: ProxyIndex,
    /// Its configuration.
    pub bind: Arc<Bind>,
    /// Its maxconn, shared by all workers.
    pub limit: Arc<Limit>,
    /// Where it listens.
    pub at: ListenAt,
}

/// What a worker reports of a proxy.
#[derive(Clone, Debug)]
pub struct ProxyReport {
    /// Its configuration.
    pub config: Arc<Proxy>,
    /// As a frontend.
    pub frontend: FrontendCounters,
    /// Its servers.
    pub servers: Vec<ServerCounters>,
}

/// All proxies of one worker.
pub struct Proxies<T: Transport> {
    shared: Arc<Shared>,
    /// By [`ProxyIndex`]: what the proxies are, and what they do as backends and as frontends.
    proxies: Vec<Arc<Proxy>>,
    backends: Vec<Backend>,
    frontends: Vec<FrontendCounters>,
    listeners: Vec<Listener<T::Listener>>,
    /// Listeners with connections to take.
    accepting: VecDeque<usize>,
    streams: SlotMap<StreamId, Entry<T::Conn>>,
    scheduler: Scheduler<StreamId>,
    room_epoch: u64,
    maxaccept: usize,
    /// `-d`: a line on stderr when a stream begins and when it ends.
    debug: bool,
}

impl<T: Transport> Proxies<T> {
    /// The proxies of a worker, without listeners yet.
    pub fn new(config: &Config, shared: Arc<Shared>, debug: bool) -> Self {
        Proxies {
            proxies: config.proxies.iter().map(|proxy| Arc::new(proxy.clone())).collect(),
            backends: config
                .proxies
                .iter()
                .enumerate()
                .map(|(index, proxy)| Backend::new(proxy, shared.turns(ProxyIndex(index))))
                .collect(),
            frontends: vec![FrontendCounters::default(); config.proxies.len()],
            listeners: Vec::new(),
            accepting: VecDeque::new(),
            streams: SlotMap::with_key(),
            scheduler: Scheduler::default(),
            room_epoch: shared.room_epoch(),
            maxaccept: match config.global.maxaccept {
                None | Some(0) => MAXACCEPT_DEFAULT,
                Some(count) => usize::try_from(count).unwrap_or(usize::MAX),
            },
            shared,
            debug,
        }
    }

    /// Opens a listener.
    pub fn listen(&mut self, plan: &ListenerPlan, transport: &mut T) -> Result<(), ListenError> {
        let index = self.listeners.len();
        let handle = transport.listen(&plan.at, Token(LISTENER_BIT | index as u64))?;
        self.listeners.push(Listener {
            handle,
            bind: plan.bind.clone(),
            frontend: plan.frontend,
            limit: plan.limit.clone(),
            state: ListenerState::Ready,
            is_queued: false,
        });
        Ok(())
    }

    /// Stops listening everywhere; streams go on.
    pub fn unlisten_all(&mut self, transport: &mut T, now: Instant) {
        for listener in self.listeners.drain(..) {
            transport.unlisten(listener.handle, now);
        }
        self.accepting.clear();
    }

    /// Streams now.
    pub fn streams_len(&self) -> usize {
        self.streams.len()
    }

    /// Streams that memory is held for.
    pub fn streams_allocated(&self) -> usize {
        self.streams.capacity()
    }

    /// Bytes of one stream.
    pub fn stream_size(&self) -> usize {
        size_of::<Entry<T::Conn>>()
    }

    /// What this worker counts of its proxies.
    pub fn report(&self) -> Vec<ProxyReport> {
        let report = |index: usize| ProxyReport {
            config: self.proxies[index].clone(),
            frontend: self.frontends[index],
            servers: self.backends[index].servers.clone(),
        };
        (0..self.proxies.len()).map(report).collect()
    }

    /// Turns events and due times into runnable tasks; returns whether there were any.
    pub fn wake(&mut self, transport: &mut T, now: Instant) -> bool {
        let mut woken = false;
        while let Some(event) = transport.poll_event() {
            woken = true;
            match event {
                Event::Connection(Token(token)) => {
                    self.scheduler.wake(slotmap::KeyData::from_ffi(token).into());
                }
                Event::Accept(Token(token)) => {
                    self.queue_listener((token & !LISTENER_BIT) as usize);
                }
            }
        }
        let epoch = self.shared.room_epoch();
        if epoch != self.room_epoch {
            self.room_epoch = epoch;
            self.resume_listeners(transport);
        }
        self.scheduler.handle_timers(now);
        woken
    }

    /// When something is to be done without an event.
    pub fn poll_at(&self) -> Option<Instant> {
        self.scheduler.poll_at()
    }

    /// Whether a place was announced that was not looked for yet.
    pub fn has_news(&self) -> bool {
        self.shared.room_epoch() != self.room_epoch
    }

    /// Whether something can be done now.
    pub fn has_work(&self) -> bool {
        self.scheduler.has_runnable() || !self.accepting.is_empty()
    }

    /// Runs at most `budget` tasks, and takes connections from each listener in turn; returns how much was done.
    pub fn run(&mut self, transport: &mut T, budget: usize, now: Instant) -> usize {
        let mut done = 0;
        for _ in 0..self.accepting.len() {
            let Some(index) = self.accepting.pop_front() else { break };
            self.listeners[index].is_queued = false;
            done += self.accept(index, transport, now);
        }
        while done < budget {
            let Some(id) = self.scheduler.poll_next() else { break };
            self.run_stream(id, transport, now);
            done += 1;
        }
        done
    }

    // Listeners.

    fn queue_listener(&mut self, index: usize) {
        let Some(listener) = self.listeners.get_mut(index) else { return };
        if listener.state == ListenerState::Ready && !listener.is_queued {
            listener.is_queued = true;
            self.accepting.push_back(index);
        }
    }

    fn resume_listeners(&mut self, transport: &T) {
        for index in 0..self.listeners.len() {
            let listener = &mut self.listeners[index];
            listener.state = ListenerState::Ready;
            if transport.has_waiting(listener.handle) {
                self.queue_listener(index);
            }
        }
    }

    /// Takes connections from a listener as its limits allow; returns how many.
    fn accept(&mut self, index: usize, transport: &mut T, now: Instant) -> usize {
        for count in 0..self.maxaccept {
            let listener = &self.listeners[index];
            if !transport.has_waiting(listener.handle) {
                return count;
            }
            let taken = self.places(index).take();
            if let Err(state) = taken {
                self.listeners[index].state = state;
                return count;
            }
            self.open_stream(index, transport, now);
        }
        self.queue_listener(index);
        self.maxaccept
    }

    fn places(&self, listener: usize) -> Places<'_> {
        let listener = &self.listeners[listener];
        Places {
            listener: &listener.limit,
            global: &self.shared.global,
            frontend: self.shared.frontend(listener.frontend),
        }
    }

    fn open_stream(&mut self, index: usize, transport: &mut T, now: Instant) {
        let listener = &self.listeners[index];
        let Listener { handle, frontend, .. } = *listener;
        let proxy = &self.proxies[frontend.0];
        let id = self.streams.insert_with_key(|id| {
            let token = token_of(id);
            let front = transport.accept(handle, token).expect("a connection waits");
            Entry {
                stream: Stream::new(front, token, listener.bind.port, now),
                frontend,
                // A frontend without a default backend has nowhere to send: itself has no servers.
                backend: proxy.default_backend.unwrap_or(frontend),
                limit: listener.limit.clone(),
            }
        });
        self.scheduler.add(id, listener.bind.nice);
        self.scheduler.wake(id);
        let counters = &mut self.frontends[frontend.0];
        counters.total += 1;
        counters.current += 1;
        if self.debug
            && let Some(Ends { local: Some(local), remote: Some(remote) }) =
                transport.ends(self.streams[id].stream.front())
        {
            eprintln!("{:08x}:{}.accept from [{remote}] on [{local}]", short(id), proxy.name);
        }
    }

    // Streams.

    fn run_stream(&mut self, id: StreamId, transport: &mut T, now: Instant) {
        let Entry { stream, frontend, backend, .. } = &mut self.streams[id];
        let frontend = &self.proxies[frontend.0];
        let backend = (&*self.proxies[backend.0], &mut self.backends[backend.0]);
        match stream.process(transport, frontend, backend, now) {
            Outcome::Wait(None) => {}
            Outcome::Wait(Some(until)) => self.scheduler.wake_at(id, until),
            Outcome::Again => self.scheduler.wake(id),
            Outcome::Ended(end) => self.end_stream(id, end, transport, now),
        }
    }

    fn end_stream(&mut self, id: StreamId, end: End, transport: &mut T, now: Instant) {
        let Some(mut entry) = self.streams.remove(id) else { return };
        self.scheduler.remove(id);
        entry.stream.leave(end, transport, &mut self.backends[entry.backend.0], now);
        let counters = &mut self.frontends[entry.frontend.0];
        counters.current -= 1;
        counters.bytes_in += entry.stream.request.total;
        counters.bytes_out += entry.stream.response.total;
        counters.failed += u64::from(end != End::Normal);
        if self.debug {
            let server = entry.stream.server.map(|at| &self.proxies[entry.backend.0].servers[at]);
            let server = server.map_or("<NOSRV>", |server| &server.name);
            let name = &self.proxies[entry.backend.0].name;
            eprintln!("{:08x}:{name}/{server}.closed {}", short(id), end.code());
        }
        let places = Places {
            listener: &entry.limit,
            global: &self.shared.global,
            frontend: self.shared.frontend(entry.frontend),
        };
        if places.give() {
            self.shared.announce_room();
        }
    }
}

fn token_of(id: StreamId) -> Token {
    Token(id.data().as_ffi())
}

/// What `-d` calls a stream.
fn short(id: StreamId) -> u32 {
    id.data().as_ffi() as u32
}
