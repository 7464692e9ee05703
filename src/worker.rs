//! One worker: one core, one queue of each interface, one turn after the other.
//!
//! In:    frames of its wires and of other workers, commands of the control thread, the time
//! Out:   frames; requests to the control thread; reports
//! Owns:  its wires, its stack, its streams
//! Never: shares any of it; waits for anyone but the kernel's word that there is work

use std::net::IpAddr;
use std::os::fd::BorrowedFd;
use std::sync::Arc;
use std::time::Duration;

use crossbeam::channel::{Receiver, Sender};
use netstack::counters::Counters;
use netstack::fib::{Fib, LinkId};
use netstack::{Description, Instant, Resolve, StackStats};
use nic::{Wire, WireStats};

use crate::config::model::{Global, ProxyIndex, ServerId};
use crate::handover::HandOver;
use crate::idle::{IdleMeter, Spent};
use crate::latency::{Latencies, Latency};
use crate::proxies::{ListenerPlan, Proxies, ProxyReport};
use crate::shared::{FrontendState, Saying, Shared, Wake};
use crate::stream::{ServiceCall, StreamView};
use crate::syslog::Logger;
use crate::transport::Token;
use crate::transport::kernel::sockets::KernelListener;
use crate::transport::mixed::MixedTransport;
use crate::vitals::{Stage, Vitals};
use crate::watch::Assignment;
use crate::wires::Wires;

/// Frames taken from a wire in a turn, when `tune.maxpollevents` does not say.
const RX_BURST: usize = 200;
/// Frames given out in a turn.
const TX_BURST: usize = 256;
/// Longest sleep: the idle accounting wants a turn now and then.
const SLEEP_MAX: Duration = Duration::from_millis(100);
/// Streams or connections that are shown in one turn: others have their turn in between.
const PAGE: usize = 128;
/// What is left to say at the end must be said within this time.
const DRAIN_MAX: Duration = Duration::from_millis(500);

/// What the control thread asks of a worker.
pub enum Command {
    /// A new forwarding table, and the neighbours that the kernel knows by its links.
    SetFib(Arc<Fib>, Vec<(LinkId, IpAddr, [u8; 6])>),
    /// News of a neighbour.
    Neighbor(LinkId, IpAddr, Option<[u8; 6]>),
    /// Open a listener.
    Listen(ListenerPlan),
    /// Begin to check a server.
    Watch(Assignment),
    /// Check a server no more.
    Unwatch(ServerId),
    /// Work under another configuration from now on, and say so.
    Adopt(Arc<Adoption>, Sender<()>),
    /// Say how it is.
    Report(Sender<WorkerReport>),
    /// Show streams from this place on, one page of them.
    Streams(usize, Sender<Page<StreamView>>),
    /// Show connections of the stack from this place on, one page of them.
    Connections(usize, Sender<Page<Description>>),
    /// What xlb itself answers to a stream.
    Answer(Token, Vec<u8>),
    /// End the stream of this name; whether there is one.
    EndStream(Token, Sender<bool>),
    /// End the streams of this server; how many.
    EndStreamsOf(ServerId, Sender<usize>),
    /// End the streams of these proxies, whether they came in or work there.
    EndStreamsIn(Vec<ProxyIndex>),
    /// Take connections of a frontend, or no more.
    SetFrontend(ProxyIndex, FrontendState),
    /// Forget what was greatest; `true`: and what was counted.
    ClearCounters(bool),
    /// Be in this turn for so long: for those who try what is told of it.
    Stall(Duration),
    /// Panic, for the same.
    Panic,
    /// Give memory back that nobody uses.
    Trim,
    /// Listen no more, and tell when the last connection has ended.
    SoftStop,
    /// Reset all connections and end.
    Stop,
}

/// Another configuration, as far as workers have to do with it.
pub struct Adoption {
    /// What workers share under it.
    pub shared: Arc<Shared>,
    /// Its global section.
    pub global: Global,
    /// Everything that listens under it.
    pub plans: Vec<ListenerPlan>,
    /// Listening sockets of the kernel, by number.
    pub sockets: Vec<Option<Arc<KernelListener>>>,
    /// Without work a worker spins this long before it sleeps; `None`: for ever.
    pub spin: Option<Duration>,
}

/// A part of a long list: what is shown, and where the next part begins, if there is one.
pub type Page<T> = (Vec<T>, Option<usize>);

/// What a worker asks of the control thread.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Request {
    /// The kernel should resolve a neighbour; the number is the worker's.
    Resolve(usize, Resolve),
    /// After a soft stop: the worker's last connection has ended. It goes on handing packets over.
    Drained,
    /// Something happened that is to be told.
    Say(Saying),
}

/// How a worker is.
#[derive(Clone, Debug)]
pub struct WorkerReport {
    /// Its number.
    pub worker: usize,
    /// The core that it is pinned to.
    pub core: usize,
    /// Percent of the last second without work.
    pub idle_pct: f64,
    /// Of it, percent of the last second spun away.
    pub spin_pct: f64,
    /// Turns so far.
    pub turns: u64,
    /// Frames that it gave to other workers.
    pub handed_out: u64,
    /// Frames that it took over from other workers.
    pub handed_in: u64,
    /// Frames that it could not give because a ring was full.
    pub handed_full: u64,
    /// Streams: now, allocated, bytes of one.
    pub streams: [usize; 3],
    /// Its stack.
    pub stack: StackStats,
    /// Its stack's counters.
    pub counters: Counters,
    /// Its queues: name, mode, counters.
    pub queues: Vec<(String, String, WireStats)>,
    /// Its proxies.
    pub proxies: Vec<ProxyReport>,
    /// How long things took for its streams.
    pub latencies: Latencies,
    /// How long its turns took that found work.
    pub turn_times: Latency,
    /// Tasks, and of these those that are to run.
    pub tasks: (usize, usize),
    /// Seconds in turns that found work, since the start.
    pub busy_seconds: f64,
}

/// How a worker talks to the control thread.
pub struct Mailbox {
    /// What it is asked.
    pub commands: Receiver<Command>,
    /// What it asks.
    pub requests: Sender<Request>,
    /// Wakes the control thread.
    pub control: Arc<dyn Wake>,
    /// The log; a simulation has none.
    pub logger: Option<Logger>,
    /// Who answers what is asked of xlb itself; in a simulation nobody.
    pub services: Option<Sender<ServiceCall>>,
}

/// A worker.
pub struct Worker<W> {
    /// Its number.
    pub number: usize,
    core: usize,
    wires: Wires<W>,
    transport: MixedTransport,
    proxies: Proxies<MixedTransport>,
    handover: HandOver,
    mailbox: Mailbox,
    idle: IdleMeter,
    turns: u64,
    rx_burst: usize,
    /// Without work it spins this long before it sleeps; `None`: for ever.
    spin: Option<Duration>,
    vitals: Arc<Vitals>,
    /// Of turns that found work.
    turn_times: Latency,
    ending: Ending,
}

/// Whether a worker is about to end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Ending {
    No,
    /// It tells when its connections have ended.
    Soft,
    /// It has told; packets of other workers may still come to its queue.
    Drained,
    /// When everything is said, or at this time.
    Hard(Instant),
}

/// What a turn leads to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Turn {
    /// There was work: take the next turn at once.
    Busy,
    /// There was none, and there will be none before this time.
    Idle(Option<Instant>),
    /// The worker is done.
    Ended,
}

/// What a worker is made of.
pub struct Parts<W> {
    /// Its number.
    pub number: usize,
    /// The core that it will be pinned to.
    pub core: usize,
    /// Its wires.
    pub wires: Wires<W>,
    /// Its stack.
    pub transport: MixedTransport,
    /// Its part of the proxy.
    pub proxies: Proxies<MixedTransport>,
    /// Its rings to the other workers.
    pub handover: HandOver,
    /// Its line to the control thread.
    pub mailbox: Mailbox,
    /// What others can see of it.
    pub vitals: Arc<Vitals>,
    /// Frames taken from a wire in a turn.
    pub rx_burst: usize,
    /// Without work it spins this long before it sleeps; `None`: for ever.
    pub spin: Option<Duration>,
}

/// Frames that a worker takes from a wire in a turn: `tune.maxpollevents`.
pub fn rx_burst(global: &Global) -> usize {
    global.maxpollevents.map_or(RX_BURST, |burst| burst.max(1) as usize)
}

impl<W: Wire> Worker<W> {
    /// A worker made of these parts, at `now`.
    pub fn new(parts: Parts<W>, now: Instant) -> Self {
        let Parts {
            number,
            core,
            wires,
            transport,
            proxies,
            handover,
            mailbox,
            vitals,
            rx_burst,
            spin,
        } = parts;
        Worker {
            number,
            core,
            wires,
            transport,
            proxies,
            handover,
            mailbox,
            idle: IdleMeter::new(now),
            turns: 0,
            rx_burst,
            spin,
            vitals,
            turn_times: Latency::default(),
            ending: Ending::No,
        }
    }

    /// One turn. `now` was read once, just before.
    pub fn turn(&mut self, now: Instant) -> Turn {
        self.turns += 1;
        self.vitals.begin(self.turns);
        self.vitals.enter(Stage::Receive);
        self.wires.reclaim();
        let received = self.ingress(now);
        self.vitals.enter(Stage::Wake);
        let woken = self.wake(now);
        self.vitals.enter(Stage::Run);
        let ran = self.proxies.run(&mut self.transport, now);
        self.vitals.enter(Stage::Transmit);
        let sent = self.egress(now);
        self.wires.flush();
        self.handover.flush();
        for record in self.proxies.take_records() {
            if let Some(logger) = &self.mailbox.logger {
                logger.stream(record);
            }
        }
        for saying in self.proxies.take_said() {
            // Before what it leads to: the log tells first of a server, then of the streams that leave it.
            if let Some(logger) = &self.mailbox.logger {
                logger.say(saying.proxy, saying.said.loudness.level(), &saying.said.text);
            }
            self.proxies.tell(&saying.said.then);
            self.request(Request::Say(saying));
        }
        for call in self.proxies.take_calls() {
            // Without anybody to answer the client's timeout ends it.
            if let Some(services) = &self.mailbox.services {
                let _ = services.send(call);
            }
        }
        self.vitals.enter(Stage::Command);
        let commanded = self.control(now);
        if self.is_done(now) {
            return Turn::Ended;
        }
        // What found no room on a wire goes as soon as there is some, which no wire tells of.
        let has_work = self.proxies.has_work()
            || self.transport.wires.stack.has_work()
            || self.transport.kernel.has_work();
        if received + ran + sent + commanded > 0 || woken || has_work {
            Turn::Busy
        } else {
            Turn::Idle(self.poll_at())
        }
    }

    fn ingress(&mut self, now: Instant) -> usize {
        let Worker { wires, transport, handover, rx_burst, vitals, .. } = self;
        let stack = &mut transport.wires.stack;
        let own = wires.ingress(*rx_burst, stack, handover, vitals, now);
        own + wires.ingress_handed(*rx_burst, stack, handover, now)
    }

    fn wake(&mut self, now: Instant) -> bool {
        self.transport.wires.stack.handle_timers(now);
        self.transport.kernel.poll(now);
        self.proxies.wake(&mut self.transport, now)
    }

    fn egress(&mut self, now: Instant) -> usize {
        // Before: what ARP and neighbour discovery are to ask goes out in this turn. After: sending finds
        // out whose neighbour is not known.
        self.ask_for_neighbors();
        let sent = self.transport.wires.stack.poll_transmit(TX_BURST, &mut self.wires, now);
        self.ask_for_neighbors();
        sent
    }

    fn ask_for_neighbors(&mut self) {
        while let Some(resolve) = self.transport.wires.stack.poll_resolve() {
            self.request(Request::Resolve(self.number, resolve));
        }
    }

    fn request(&self, request: Request) {
        // The control thread outlives its workers; when it is gone, so is the process.
        if self.mailbox.requests.send(request).is_ok() {
            self.mailbox.control.wake();
        }
    }

    fn poll_at(&self) -> Option<Instant> {
        [self.transport.wires.stack.poll_at(), self.proxies.poll_at()].into_iter().flatten().min()
    }

    // Commands.

    fn control(&mut self, now: Instant) -> usize {
        let mut count = 0;
        while let Ok(command) = self.mailbox.commands.try_recv() {
            self.obey(command, now);
            count += 1;
        }
        count
    }

    fn obey(&mut self, command: Command, now: Instant) {
        let stack = &mut self.transport.wires.stack;
        match command {
            Command::SetFib(fib, neighbors) => {
                stack.set_fib(fib, now);
                for (link, ip, mac) in neighbors {
                    stack.set_neighbor(link, ip, Some(mac), now);
                }
            }
            Command::Neighbor(link, ip, mac) => stack.set_neighbor(link, ip, mac, now),
            Command::Listen(plan) => {
                // The configuration was checked for doubles before anything was opened.
                let opened = self.proxies.listen(&plan, &mut self.transport);
                assert!(opened.is_ok(), "{:?} is listened on twice", plan.at);
            }
            Command::Watch(assignment) => self.proxies.watch(assignment, now),
            Command::Unwatch(server) => self.proxies.unwatch(server, &mut self.transport, now),
            Command::Adopt(adoption, to) => {
                self.adopt(&adoption, now);
                let _ = to.send(());
            }
            Command::Report(to) => {
                // Who asked may have given up waiting.
                let _ = to.send(self.report());
            }
            Command::Streams(from, to) => {
                let page = self.proxies.views(from, PAGE, &mut self.transport, now);
                let _ = to.send(page);
            }
            Command::Connections(from, to) => {
                let _ = to.send(stack.describe_some(from, PAGE, now));
            }
            Command::Answer(token, answer) => self.proxies.answer(token, answer),
            Command::EndStream(token, to) => {
                let _ = to.send(self.proxies.end_by_token(token, &mut self.transport, now));
            }
            Command::EndStreamsOf(server, to) => {
                let _ = to.send(self.proxies.end_of_server(server, &mut self.transport, now));
            }
            Command::EndStreamsIn(proxies) => {
                self.proxies.end_in(&proxies, &mut self.transport, now);
            }
            Command::SetFrontend(frontend, state) => {
                self.proxies.set_frontend(frontend, state, &mut self.transport, now);
            }
            Command::ClearCounters(all) => {
                self.proxies.clear_counters(all);
                if all {
                    self.turn_times = Latency::default();
                }
            }
            Command::Stall(time) => crate::clock::spin(time),
            Command::Panic => panic!("an operator asked for it"),
            Command::Trim => _ = stack.trim(),
            Command::SoftStop => {
                self.proxies.unlisten_all(&mut self.transport, now);
                self.ending = Ending::Soft;
            }
            Command::Stop => {
                self.proxies.unlisten_all(&mut self.transport, now);
                self.transport.wires.stack.abort_all(now);
                self.transport.kernel.abort_all();
                self.ending = Ending::Hard(now + DRAIN_MAX);
            }
        }
    }

    fn adopt(&mut self, adoption: &Adoption, now: Instant) {
        let Adoption { shared, global, plans, sockets, spin } = adoption;
        self.transport.kernel.set_sockets(sockets.clone());
        let transport = &mut self.transport;
        let adopted = self.proxies.adopt(shared.clone(), global, plans, transport, now);
        // The configuration was checked for doubles before.
        assert!(adopted.is_ok(), "a listener of {plans:?} is there twice");
        self.rx_burst = rx_burst(global);
        self.spin = *spin;
    }

    /// After a stop: everything is said and sent, or the time for it is over.
    fn is_done(&mut self, now: Instant) -> bool {
        let quiet = !self.transport.wires.stack.has_work() && self.wires.in_flight() == 0;
        match self.ending {
            Ending::No | Ending::Drained => false,
            Ending::Soft => {
                let connections = self.transport.wires.stack.stats().connections.used
                    + self.transport.kernel.connections_len();
                if quiet && self.proxies.streams_len() == 0 && connections == 0 {
                    self.ending = Ending::Drained;
                    self.request(Request::Drained);
                }
                false
            }
            Ending::Hard(deadline) => {
                let done = quiet || now >= deadline;
                if done {
                    self.wires.close();
                }
                done
            }
        }
    }

    /// How it is.
    pub fn report(&self) -> WorkerReport {
        let queue = |(name, mode, stats): (&str, &str, WireStats)| {
            (name.to_owned(), mode.to_owned(), stats)
        };
        WorkerReport {
            worker: self.number,
            core: self.core,
            idle_pct: self.idle.idle_pct(),
            spin_pct: self.idle.spin_pct(),
            turns: self.turns,
            handed_out: self.handover.out,
            handed_in: self.handover.taken,
            handed_full: self.handover.full,
            streams: [
                self.proxies.streams_len(),
                self.proxies.streams_allocated(),
                self.proxies.stream_size(),
            ],
            stack: self.transport.wires.stack.stats(),
            counters: *self.transport.wires.stack.counters(),
            queues: self.wires.stats().map(queue).collect(),
            proxies: self.proxies.report(),
            latencies: self.proxies.latencies().clone(),
            turn_times: self.turn_times.clone(),
            tasks: self.proxies.tasks(),
            busy_seconds: self.idle.busy().as_secs_f64(),
        }
    }

    /// Asserts what must hold between turns: for tests.
    pub fn assert_invariants(&self) {
        self.transport.wires.stack.assert_invariants();
    }

    /// Its wires, for a simulation that moves their time.
    pub fn wires_mut(&mut self) -> impl Iterator<Item = &mut W> {
        self.wires.iter_mut()
    }
}

/// Where a worker waits when it has nothing to do.
pub trait Sleep<W> {
    /// Sleeps until a wire or `also` is readable, somebody wakes the worker, or `timeout` is over. Others wake it
    /// from when `has_work` is asked: it does not sleep if that tells of work which came before.
    fn sleep<'a>(
        &mut self,
        wires: impl Iterator<Item = &'a W>,
        also: Option<BorrowedFd<'a>>,
        timeout: Duration,
        has_work: impl FnOnce() -> bool,
    ) where
        W: 'a;
}

impl<W: Wire> Worker<W> {
    /// Takes turns until it is stopped: spins while there is work and a little longer, then sleeps.
    pub fn run(&mut self, clock: &crate::clock::Clock, mut bed: impl Sleep<W>) {
        let mut now = clock.now();
        let mut idle_since: Option<Instant> = None;
        loop {
            let turn = self.turn(now);
            self.vitals.enter(Stage::Rest);
            let before = now;
            now = clock.now();
            let spent = if turn == Turn::Busy { Spent::Busy } else { Spent::Spinning };
            self.idle.spent(spent, now);
            match turn {
                Turn::Ended => return,
                Turn::Busy => {
                    idle_since = None;
                    self.turn_times.record(now.since(before));
                }
                Turn::Idle(next) => {
                    let since = *idle_since.get_or_insert(before);
                    let has_spun = self.spin.is_some_and(|spin| now.since(since) >= spin);
                    if has_spun && !matches!(self.ending, Ending::Hard(_)) {
                        let timeout = next.map_or(SLEEP_MAX, |at| at.since(now)).min(SLEEP_MAX);
                        let has_work = || {
                            self.handover.has_work()
                                || !self.mailbox.commands.is_empty()
                                || self.proxies.has_news()
                        };
                        let also = self.transport.kernel.fd();
                        let before = clock.of_thread();
                        bed.sleep(self.wires.iter(), also, timeout, has_work);
                        now = clock.now();
                        self.idle.slept(clock.of_thread() - before, now);
                    }
                }
            }
        }
    }
}
