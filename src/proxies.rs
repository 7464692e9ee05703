//! All proxies of one worker: listeners, streams, backends, and the order in which tasks run.
//!
//! In:    events of the transport, the time, listeners to open and to close
//! Out:   commands to the transport
//! Owns:  the streams of this worker
//! Never: names a packet, a NIC or a socket; blocks

mod adoption;

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use slotmap::{Key, SlotMap};

use crate::clock::Instant;
use crate::config::model::{Bind, Config, Proxy, ProxyIndex, ServerId};
use crate::counters::{Counters, ProxyCounters};
use crate::edition::Editions;
use crate::latency::Latencies;
use crate::limit::Limit;
use crate::listener::{Limits, Listener, ListenerState};
use crate::log;
use crate::sample::Entrance;
use crate::shared::{FrontendState, News, Parting, Saying, Shared};
use crate::stream::{
    Admission, End, Greeting, Outcome, ServiceCall, Stream, StreamRecord, StreamView, World,
};
use crate::task::Scheduler;
use crate::transport::{
    ConnOptions, Ends, Event, Keepalive, ListenAt, ListenError, Token, Transport,
};
use crate::watch::{Assignment, Surroundings, Watch};

slotmap::new_key_type! {
    /// A task of a worker: a stream, or a server that is watched.
    pub struct TaskId;
}

/// Tasks run in a turn, when `tune.runqueue-depth` does not say.
const RUN_BUDGET: usize = 200;

/// How long `defer-accept` waits for a first byte.
const DEFERRED: Duration = Duration::from_secs(3);

/// What a worker runs.
#[expect(clippy::large_enum_variant, reason = "nearly every task is a stream")]
enum Task<C> {
    Stream(Stream<C>),
    Watch(Box<Watch<C>>),
}

impl<C> Task<C> {
    fn stream(&self) -> Option<&Stream<C>> {
        match self {
            Task::Stream(stream) => Some(stream),
            Task::Watch(_) => None,
        }
    }
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
    /// The place of its `bind` among those of the frontend.
    pub place: usize,
    /// Where it listens.
    pub at: ListenAt,
}

impl ListenerPlan {
    fn entrance(&self) -> Arc<Entrance> {
        let (bind, limit) = (self.bind.clone(), self.limit.clone());
        Arc::new(Entrance { bind, limit, place: self.place })
    }
}

/// What a worker reports of a proxy.
#[derive(Clone, Debug)]
pub struct ProxyReport {
    /// Its configuration.
    pub config: Arc<Proxy>,
    /// What is counted of it.
    pub counters: ProxyCounters,
}

/// What a worker's part of the proxies is made with.
#[derive(Clone, Copy, Debug)]
pub struct Post {
    /// Which worker this is.
    pub worker: usize,
    /// What its random numbers begin with.
    pub seed: u64,
    /// `-d`: a line on stderr when a stream begins and when it ends.
    pub debug: bool,
}

/// All proxies of one worker.
pub struct Proxies<T: Transport> {
    shared: Arc<Shared>,
    post: Post,
    editions: Editions,
    counters: Counters,
    listeners: Vec<Listener<T::Listener>>,
    /// Listeners with connections to take.
    accepting: VecDeque<usize>,
    /// When listeners whose limit is one of time should try again.
    resume_at: Option<Instant>,
    tasks: SlotMap<TaskId, Task<T::Conn>>,
    /// Servers that this worker watches.
    watches: Vec<(ServerId, TaskId)>,
    /// Sentences that the control thread is to tell.
    said: Vec<Saying>,
    /// What the log is to be told.
    records: Vec<StreamRecord>,
    /// What others are to answer.
    calls: Vec<ServiceCall>,
    /// `spread-checks`, percent.
    spread_checks: u32,
    scheduler: Scheduler<TaskId>,
    random: fastrand::Rng,
    room_epoch: u64,
    maxaccept: usize,
    run_budget: usize,
}

impl<T: Transport> Proxies<T> {
    /// The proxies of a worker, without listeners yet.
    pub fn new(config: &Config, shared: Arc<Shared>, post: Post) -> Self {
        Proxies {
            editions: Editions::new(&shared),
            counters: Counters {
                proxies: config.proxies.all().iter().map(ProxyCounters::new).collect(),
                latencies: Latencies::default(),
            },
            listeners: Vec::new(),
            accepting: VecDeque::new(),
            resume_at: None,
            tasks: SlotMap::with_key(),
            watches: Vec::new(),
            said: Vec::new(),
            records: Vec::new(),
            calls: Vec::new(),
            spread_checks: config.global.spread_checks,
            scheduler: Scheduler::default(),
            random: fastrand::Rng::with_seed(post.seed),
            room_epoch: shared.room_epoch(),
            maxaccept: config.global.maxaccept_of(shared.mail.workers()),
            run_budget: config.global.runqueue_depth.map_or(RUN_BUDGET, |depth| depth as usize),
            shared,
            post,
        }
    }

    /// Opens a listener.
    pub fn listen(&mut self, plan: &ListenerPlan, transport: &mut T) -> Result<(), ListenError> {
        let is_over = |listener: &Listener<_>| listener.state == ListenerState::Stopped;
        let index = self.listeners.iter().position(is_over).unwrap_or(self.listeners.len());
        let handle = transport.listen(&plan.at, Token(index as u64))?;
        let listener = Listener {
            handle,
            place: plan.at.place.clone(),
            entrance: plan.entrance(),
            frontend: plan.frontend,
            state: ListenerState::Ready,
            is_queued: self.listeners.get(index).is_some_and(|before| before.is_queued),
        };
        match self.listeners.get_mut(index) {
            Some(before) => *before = listener,
            None => self.listeners.push(listener),
        }
        Ok(())
    }

    /// Takes connections of a frontend again, lets who comes wait, or stops listening; streams go on.
    pub fn set_frontend(
        &mut self,
        frontend: ProxyIndex,
        to: FrontendState,
        transport: &mut T,
        now: Instant,
    ) {
        if to == FrontendState::Stopped {
            // The places of the others stay: their tokens name them.
            for listener in self.listeners.iter_mut().filter(|one| one.frontend == frontend) {
                if listener.state != ListenerState::Stopped {
                    listener.state = ListenerState::Stopped;
                    transport.unlisten(listener.handle, now);
                }
            }
            return;
        }
        for index in 0..self.listeners.len() {
            let listener = &mut self.listeners[index];
            if listener.frontend != frontend || listener.state == ListenerState::Stopped {
                continue;
            }
            match to {
                FrontendState::Paused => listener.state = ListenerState::Paused,
                _ if listener.state == ListenerState::Paused => {
                    listener.state = ListenerState::Ready;
                    if transport.has_waiting(listener.handle) {
                        self.queue_listener(index);
                    }
                }
                _ => {}
            }
        }
    }

    /// Stops listening everywhere; streams go on.
    pub fn unlisten_all(&mut self, transport: &mut T, now: Instant) {
        self.shared.stop();
        for listener in self.listeners.drain(..) {
            if listener.state != ListenerState::Stopped {
                transport.unlisten(listener.handle, now);
            }
        }
        self.accepting.clear();
    }

    /// Streams now.
    pub fn streams_len(&self) -> usize {
        self.tasks.len() - self.watches.len()
    }

    /// Streams that memory is held for.
    pub fn streams_allocated(&self) -> usize {
        self.tasks.capacity()
    }

    /// Bytes of one stream.
    pub fn stream_size(&self) -> usize {
        size_of::<Task<T::Conn>>()
    }

    /// What this worker counts of its proxies.
    pub fn report(&self) -> Vec<ProxyReport> {
        let configs = self.editions.of(self.editions.current());
        let report = |index: usize| ProxyReport {
            config: configs[index].clone(),
            counters: self.counters.proxies[index].clone(),
        };
        (0..configs.len()).map(report).collect()
    }

    /// Turns events, news of other workers and due times into runnable tasks; returns whether there were any.
    pub fn wake(&mut self, transport: &mut T, now: Instant) -> bool {
        let mut woken = false;
        while let Some(event) = transport.poll_event() {
            woken = true;
            match event {
                Event::Connection(token) => self.scheduler.wake(id_of(token)),
                Event::Accept(Token(index)) => self.queue_listener(index as usize),
            }
        }
        while let Some(news) = self.shared.mail.next(self.post.worker) {
            woken = true;
            match news {
                News::Ticket(token) => self.scheduler.wake(id_of(token)),
                News::Leave(server, why) => self.leave_server(server, why, transport, now),
                News::Hurry(server) => self.hurry(server, now),
            }
        }
        let epoch = self.shared.room_epoch();
        let is_due = self.resume_at.is_some_and(|at| at <= now);
        if epoch != self.room_epoch || is_due {
            self.room_epoch = epoch;
            self.resume_at = None;
            self.resume_listeners(transport);
        }
        self.scheduler.handle_timers(now);
        woken
    }

    /// When something is to be done without an event.
    pub fn poll_at(&self) -> Option<Instant> {
        [self.scheduler.poll_at(), self.resume_at].into_iter().flatten().min()
    }

    /// Whether other workers have said something that was not heard yet.
    pub fn has_news(&self) -> bool {
        self.shared.room_epoch() != self.room_epoch || self.shared.mail.has_some(self.post.worker)
    }

    /// Whether something can be done now.
    pub fn has_work(&self) -> bool {
        self.scheduler.has_runnable() || !self.accepting.is_empty()
    }

    /// Runs tasks, and takes connections from each listener in turn; returns how much was done.
    pub fn run(&mut self, transport: &mut T, now: Instant) -> usize {
        let mut done = 0;
        for _ in 0..self.accepting.len() {
            let Some(index) = self.accepting.pop_front() else { break };
            self.listeners[index].is_queued = false;
            if self.listeners[index].state != ListenerState::Ready {
                continue;
            }
            done += self.accept(index, transport, now);
        }
        // Tasks of different importance need short rounds: who comes meanwhile can overtake (HAProxy's rule).
        let budget =
            if self.scheduler.has_niced() { self.run_budget.div_ceil(4) } else { self.run_budget };
        // Who has more to do than one run takes it in the next turn, when others have been heard.
        for _ in 0..budget.min(self.scheduler.runnable_len()) {
            let Some(id) = self.scheduler.poll_next() else { break };
            self.run_task(id, transport, now);
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
            if matches!(listener.state, ListenerState::Paused | ListenerState::Stopped) {
                continue;
            }
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
            if let Err(pause) = self.limits(index).take(now) {
                self.listeners[index].state = pause.state;
                let due = [self.resume_at, pause.until];
                self.resume_at = due.into_iter().flatten().min();
                return count;
            }
            self.open_stream(index, transport, now);
        }
        self.queue_listener(index);
        self.maxaccept
    }

    fn limits(&self, listener: usize) -> Limits<'_> {
        let Listener { entrance, frontend, .. } = &self.listeners[listener];
        Limits {
            listener: &entrance.limit,
            shared: &self.shared,
            frontend: self.shared.frontend(*frontend),
        }
    }

    fn open_stream(&mut self, index: usize, transport: &mut T, now: Instant) {
        let Listener { handle, frontend, ref entrance, .. } = self.listeners[index];
        let entrance = entrance.clone();
        let edition = self.editions.enter();
        let proxy = self.editions.of(edition)[frontend.0].clone();
        let greeting = greeting(&proxy, &entrance.bind, now);
        let id = self.tasks.insert_with_key(|id| {
            let token = token_of(id);
            let front = transport.accept(handle, token).expect("a connection waits");
            let from = (edition, frontend, entrance.clone());
            Task::Stream(Stream::new(front, token, greeting, from, now))
        });
        for counters in self.counters.fronts(frontend, entrance.place) {
            counters.connections += 1;
        }
        self.shared.frontend(frontend).arrivals.count(now);
        let (front, admission) = self.admit(id, transport, now);
        if admission != Admission::Granted {
            self.turn_away(id, index, admission, transport, now);
            return;
        }
        configure_front(&proxy, &entrance.bind, front, transport);
        self.scheduler.add(id, entrance.bind.nice);
        self.scheduler.wake(id);
        for counters in self.counters.fronts(frontend, entrance.place) {
            counters.admitted += 1;
            counters.current += 1;
        }
        if self.post.debug
            && let Some(Ends { local: Some(local), remote: Some(remote) }) = transport.ends(front)
        {
            let (id, name) = (short(id), &proxy.name);
            log::plain(format_args!("{id:08x}:{name}.accept from [{remote}] on [{local}]\n"));
        }
    }

    fn admit(&mut self, id: TaskId, transport: &mut T, now: Instant) -> (T::Conn, Admission) {
        let Proxies {
            editions, shared, counters, random, post, tasks, said, records, calls, ..
        } = self;
        let worker = post.worker;
        let mut world =
            World { transport, editions, shared, counters, random, worker, said, records, calls };
        let Task::Stream(stream) = &mut tasks[id] else { unreachable!("it was just made") };
        (stream.front(), stream.admit(&mut world, now))
    }

    /// A rule at the door is against a connection: it never was a session.
    fn turn_away(
        &mut self,
        id: TaskId,
        listener: usize,
        admission: Admission,
        transport: &mut T,
        now: Instant,
    ) {
        let Some(Task::Stream(stream)) = self.tasks.remove(id) else { return };
        self.editions.leave(stream.edition);
        match admission {
            Admission::Refused => transport.abort(stream.front(), now),
            Admission::Dropped => transport.vanish(stream.front(), now),
            Admission::Monitor | Admission::Granted => transport.close(stream.front(), now),
        }
        if admission != Admission::Monitor {
            for counters in self.counters.fronts(stream.frontend, stream.entrance.place) {
                counters.denied_connections += 1;
            }
        }
        let limits = self.limits(listener);
        limits.undo_session();
        if limits.give() {
            self.shared.announce_room();
        }
    }

    // What an operator sees and does.

    /// Streams from this place on, at most so many; and the place where the next ones begin, if there are any.
    pub fn views(
        &mut self,
        from: usize,
        most: usize,
        transport: &mut T,
        now: Instant,
    ) -> (Vec<StreamView>, Option<usize>) {
        let Proxies {
            editions, shared, counters, random, post, tasks, said, records, calls, ..
        } = self;
        let worker = post.worker;
        let world =
            World { transport, editions, shared, counters, random, worker, said, records, calls };
        let mut views = Vec::new();
        let mut taken = 0;
        for (id, task) in tasks.iter().skip(from).take(most) {
            taken += 1;
            let until = self.scheduler.deadline(id);
            views.extend(task.stream().map(|stream| stream.view(until, &world, now)));
        }
        (views, (taken == most).then_some(from + most))
    }

    /// Ends a stream, as an operator asks for it; whether there is one.
    pub fn end_by_token(&mut self, token: Token, transport: &mut T, now: Instant) -> bool {
        let id = id_of(token);
        let Some(stream) = self.tasks.get(id).and_then(Task::stream) else { return false };
        let end = stream.killing();
        self.end_stream(id, end, transport, now);
        true
    }

    /// Ends the streams of a server, as an operator asks for it; how many.
    pub fn end_of_server(&mut self, server: ServerId, transport: &mut T, now: Instant) -> usize {
        let uses = |(id, task): (TaskId, &Task<T::Conn>)| {
            let stream = task.stream()?;
            stream.uses(server.proxy, server.index).then(|| (id, stream.killing()))
        };
        let ending: Vec<_> = self.tasks.iter().filter_map(uses).collect();
        let count = ending.len();
        for (id, end) in ending {
            self.end_stream(id, end, transport, now);
        }
        count
    }

    /// Ends the streams of these proxies: they are gone, and the time for that is over.
    pub fn end_in(&mut self, gone: &[ProxyIndex], transport: &mut T, now: Instant) {
        let is_in = |(id, task): (TaskId, &Task<T::Conn>)| {
            let stream = task.stream()?;
            let is_there = gone.contains(&stream.frontend) || gone.contains(&stream.backend);
            is_there.then(|| (id, stream.killing()))
        };
        let ending: Vec<_> = self.tasks.iter().filter_map(is_in).collect();
        for (id, end) in ending {
            self.end_stream(id, end, transport, now);
        }
    }

    /// Forgets what was greatest; `all`: and what was counted.
    pub fn clear_counters(&mut self, all: bool) {
        self.counters.proxies.iter_mut().for_each(|proxy| proxy.clear(all));
        if all {
            self.counters.latencies = Latencies::default();
        }
    }

    /// How long things took.
    pub fn latencies(&self) -> &Latencies {
        &self.counters.latencies
    }

    /// Tasks, and of these those that are to run.
    pub fn tasks(&self) -> (usize, usize) {
        (self.tasks.len(), self.scheduler.runnable_len())
    }

    // Servers that are watched.

    /// Begins to watch a server, in addition to what is watched of it already.
    pub fn watch(&mut self, assignment: Assignment, now: Instant) {
        let Assignment { id: server, checker, delay } = assignment;
        let known = self.watches.iter().find(|(watched, _)| *watched == server);
        let task = known.map(|(_, task)| *task).unwrap_or_else(|| {
            let task = self
                .tasks
                .insert_with_key(|id| Task::Watch(Box::new(Watch::new(server, token_of(id)))));
            self.scheduler.add(task, 0);
            self.watches.push((server, task));
            task
        });
        if let Some(Task::Watch(watch)) = self.tasks.get_mut(task) {
            watch.add(checker, &self.shared, delay, now);
        }
        self.scheduler.wake(task);
    }

    /// Watches a server no more.
    pub fn unwatch(&mut self, server: ServerId, transport: &mut T, now: Instant) {
        let Some(at) = self.watches.iter().position(|(watched, _)| *watched == server) else {
            return;
        };
        let (_, task) = self.watches.swap_remove(at);
        if let Some(Task::Watch(mut watch)) = self.tasks.remove(task) {
            watch.leave(transport, now);
        }
        self.scheduler.remove(task);
    }

    fn hurry(&mut self, server: ServerId, now: Instant) {
        let Some((_, task)) = self.watches.iter().find(|(watched, _)| *watched == server) else {
            return;
        };
        if let Some(Task::Watch(watch)) = self.tasks.get_mut(*task) {
            watch.hurry(now);
            self.scheduler.wake(*task);
        }
    }

    /// What the log is to be told of streams, since the last call.
    pub fn take_records(&mut self) -> Vec<StreamRecord> {
        std::mem::take(&mut self.records)
    }

    /// What others are to answer, since the last call.
    pub fn take_calls(&mut self) -> Vec<ServiceCall> {
        std::mem::take(&mut self.calls)
    }

    /// An answer is there for a stream, if it has not ended meanwhile.
    pub fn answer(&mut self, token: Token, answer: Vec<u8>) {
        let id = id_of(token);
        if let Some(Task::Stream(stream)) = self.tasks.get_mut(id) {
            stream.answer(answer);
            self.scheduler.wake(id);
        }
    }

    /// Leaves words for all workers.
    pub fn tell(&self, news: &[News]) {
        news.iter().for_each(|news| self.shared.mail.tell_all(*news));
    }

    /// Sentences for the log since the last call.
    pub fn take_said(&mut self) -> Vec<Saying> {
        std::mem::take(&mut self.said)
    }

    fn run_task(&mut self, id: TaskId, transport: &mut T, now: Instant) {
        let Proxies {
            editions, shared, counters, random, post, tasks, said, records, calls, ..
        } = self;
        match &mut tasks[id] {
            Task::Watch(watch) => {
                let spread = self.spread_checks;
                let mut around = Surroundings { transport, shared, random, spread, said };
                if let Some(until) = watch.process(&mut around, now) {
                    self.scheduler.wake_at(id, until);
                }
            }
            Task::Stream(stream) => {
                let mut world = World {
                    transport,
                    editions,
                    shared,
                    counters,
                    random,
                    worker: post.worker,
                    said,
                    records,
                    calls,
                };
                let outcome = stream.process(&mut world, now);
                if let Some(nice) = stream.nice.take() {
                    self.scheduler.set_nice(id, nice);
                }
                match outcome {
                    Outcome::Wait(None) => {}
                    Outcome::Wait(Some(until)) => self.scheduler.wake_at(id, until),
                    Outcome::Again => self.scheduler.wake(id),
                    Outcome::Ended(end) => self.end_stream(id, end, transport, now),
                }
            }
        }
    }

    // Streams.

    /// Ends the streams that work with a server. A walk over all streams: servers seldom go down.
    fn leave_server(&mut self, server: ServerId, why: Parting, transport: &mut T, now: Instant) {
        let leaves = |(id, task): (TaskId, &Task<T::Conn>)| {
            let stream = task.stream()?;
            let uses = stream.uses(server.proxy, server.index);
            uses.then(|| (id, stream.parting(why)))
        };
        let leaving: Vec<_> = self.tasks.iter().filter_map(leaves).collect();
        for (id, end) in leaving {
            self.end_stream(id, end, transport, now);
        }
    }

    fn end_stream(&mut self, id: TaskId, end: End, transport: &mut T, now: Instant) {
        let Some(Task::Stream(mut stream)) = self.tasks.remove(id) else {
            return;
        };
        self.scheduler.remove(id);
        let Proxies { editions, shared, counters, random, post, said, records, calls, .. } = self;
        let worker = post.worker;
        let mut world =
            World { transport, editions, shared, counters, random, worker, said, records, calls };
        stream.leave(end, &mut world, now);
        for counters in self.counters.fronts(stream.frontend, stream.entrance.place) {
            counters.current -= 1;
            counters.failed += u64::from(end != End::NORMAL);
        }
        if self.post.debug {
            let backend = &self.editions.of(stream.edition)[stream.backend.0];
            let server = stream.server.map_or("<NOSRV>", |at| &backend.servers[at].name);
            let (id, name) = (short(id), &backend.name);
            log::plain(format_args!("{id:08x}:{name}/{server}.closed {end}\n"));
        }
        self.editions.leave(stream.edition);
        let frontend = self.shared.frontend(stream.frontend);
        let limit = &stream.entrance.limit;
        let limits = Limits { listener: limit, shared: &self.shared, frontend };
        if limits.give() {
            self.shared.announce_room();
        }
    }
}

/// What a client's connection has to begin with.
fn greeting(proxy: &Proxy, bind: &Bind, now: Instant) -> Option<Greeting> {
    if bind.accept_proxy {
        return Some(Greeting::proxy_header(proxy, now));
    }
    bind.defer_accept.then_some(Greeting::FirstByte { until: now + DEFERRED })
}

/// What the configuration asks of a client's connection.
fn configure_front<T: Transport>(proxy: &Proxy, bind: &Bind, front: T::Conn, transport: &mut T) {
    let keepalive = proxy.client_keepalive.map(|times| Keepalive {
        idle: times.idle,
        interval: times.interval,
        count: times.count,
    });
    let options = ConnOptions { keepalive, user_timeout: bind.user_timeout, mss: None };
    if options != ConnOptions::default() {
        transport.configure(front, &options);
    }
}

fn id_of(token: Token) -> TaskId {
    slotmap::KeyData::from_ffi(token.0).into()
}

fn token_of(id: TaskId) -> Token {
    Token(id.data().as_ffi())
}

/// What `-d` calls a stream.
fn short(id: TaskId) -> u32 {
    id.data().as_ffi() as u32
}
