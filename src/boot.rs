//! From a configuration to running workers.
//!
//! In:    a checked configuration, the command line, the machine
//! Out:   workers on their cores, the interfaces taken over; or one sentence that says what to change
//! Owns:  the order of things: nothing is taken over before all that can fail has been tried
//! Never: touches a packet

pub mod acls;
mod plan;
pub mod reload;
mod servers;

use std::fmt;
use std::io::Read;
use std::net::IpAddr;
use std::ops::RangeInclusive;
use std::sync::Arc;
use std::thread::JoinHandle;

use crossbeam::channel::{Receiver, Sender, unbounded};
use jiff::tz::TimeZone;
use netstack::buffer::BUFFER_SIZE;
use netstack::fib::LinkId;
use netstack::rss::Rss;
use netstack::{Secret, Stack, StackConfig};
use nic::{Interface, Mode, Program, XskConfig, XskQueue};

use crate::bell::Bell;
use crate::cli::{Poll, RunOrder};
use crate::clock::Clock;
use crate::config::model::{
    BUFFERS_RESERVE_DEFAULT, BUFSIZE_DEFAULT, Bind, Config, Families, MAXCONN_DEFAULT,
};
use crate::control::Question;
use crate::cores::{self, Wishes};
use crate::handover;
use crate::kernel_ports;
use crate::log;
use crate::netlink::{KernelTables, Snapshot, StatedAddress, StatedRoute, Wire as KernelWire};
use crate::process::Identity;
use crate::proxies::{ListenerPlan, Post, Proxies};
use crate::runtime::socket::RuntimeSockets;
use crate::runtime::{self, Operators, Runtime};
use crate::shared::{Shared, Wake};
use crate::source::ConfigSource;
use crate::syslog::Logger;
use crate::transport::Place;
use crate::transport::kernel::KernelTransport;
use crate::transport::mixed::MixedTransport;
use crate::transport::stack::StackTransport;
use crate::vitals::{self, Vitals};
use crate::watch;
use crate::watchdog;
use crate::wires::{NamedWire, Wires};
pub use plan::Listening;
use plan::Sources;
use reload::Succession;

use crate::worker::{Command, Mailbox, Parts, Request, Worker, rx_burst};

/// Source ports towards servers when the configuration does not say: below the kernel's own range.
pub const SOURCE_PORTS: RangeInclusive<u16> = 16_384..=32_767;

/// Why xlb does not start: a whole sentence, and what to do about it.
#[derive(Debug)]
pub struct BootError(String);

impl BootError {
    fn new(text: impl fmt::Display) -> Self {
        BootError(text.to_string())
    }
}

impl fmt::Display for BootError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for BootError {}

/// An interface that is taken over.
pub struct Taken {
    /// What is known of it.
    pub interface: Interface,
    /// The program on it; dropping it detaches.
    pub program: Program,
    /// How its queues hand frames over.
    pub mode: Mode,
}

/// Everything that runs.
pub struct Running {
    /// The interfaces, in order of their [`WireId`].
    pub taken: Vec<Taken>,
    /// The kernel's tables.
    pub kernel: KernelTables,
    /// The forwarding table that the workers have.
    pub snapshot: Snapshot,
    /// What was stated, to make the next snapshot with.
    pub stated: Stated,
    /// Where each worker takes commands.
    pub commands: Vec<(Sender<Command>, Arc<Bell>)>,
    /// What workers ask.
    pub requests: Receiver<Request>,
    /// What workers share.
    pub shared: Arc<Shared>,
    /// The time.
    pub clock: Clock,
    /// Sockets of the runtime interface.
    pub runtime_sockets: RuntimeSockets,
    /// What the runtime interface asks.
    pub questions: Receiver<Question>,
    /// Wakes the control thread.
    pub bell: Arc<Bell>,
    /// The threads.
    pub threads: Vec<JoinHandle<()>>,
    /// The cores, by worker.
    pub cores: Vec<usize>,
    /// What can be seen of the workers.
    pub vitals: Vec<Arc<Vitals>>,
    /// Ends the watchdog with this.
    _watched: Sender<()>,
    /// The configuration that holds.
    pub config: Arc<Config>,
    /// Where the next one comes from.
    pub source: ConfigSource,
    /// Everything that listens.
    pub listening: Listening,
    /// What is left of the configurations before it.
    succession: Succession,
    /// What commands can reach.
    pub operators: Arc<Operators>,
    /// Source ports towards servers.
    pub source_ports: RangeInclusive<u16>,
    /// Whether the kernel leaves them alone.
    pub has_ports_kept_free: bool,
    /// What `source` lines ask of the wires.
    sources: Sources,
    /// The log.
    pub logger: Logger,
    /// Its thread.
    pub log_thread: JoinHandle<()>,
}

/// Addresses and routes that are stated, not the kernel's; and the interfaces they are on.
pub struct Stated {
    wires: Vec<KernelWire>,
    addresses: Vec<StatedAddress>,
    routes: Vec<StatedRoute>,
}

impl Stated {
    /// The same, and addresses that `other` states: streams may still be there.
    fn with_addresses_of(mut self, other: &Stated) -> Self {
        let is_new = |address: &&StatedAddress| {
            self.addresses.iter().all(|known| known.net.addr() != address.net.addr())
        };
        let more: Vec<StatedAddress> = other.addresses.iter().filter(is_new).cloned().collect();
        self.addresses.extend(more);
        self
    }

    /// The forwarding table of this moment.
    pub fn snapshot(&self, kernel: &KernelTables) -> Result<Snapshot, BootError> {
        kernel.snapshot(&self.wires, &self.addresses, &self.routes).map_err(BootError::new)
    }
}

/// Takes over the interfaces and starts the workers.
pub fn boot(config: Config, source: ConfigSource, clock: Clock) -> Result<Running, BootError> {
    let (config, order) = (Arc::new(config), source.order().clone());
    let identity = Identity::look_up(&config.global.process).map_err(BootError)?;
    let interfaces = read_interfaces(&config)?;
    let wishes = Wishes {
        told: order.cores.as_deref(),
        count: config.global.nbthread.map(|count| count as usize),
        queues: interfaces.iter().map(|interface| interface.rx_queues as usize).min(),
        map: &config.global.cpu_map,
    };
    let cores = cores::choose(&wishes, &cores::usable()).map_err(BootError)?;
    if !interfaces.is_empty() {
        check_queues(&interfaces, cores.len())?;
    }
    let kernel = KernelTables::open().map_err(|error| {
        BootError(format!("cannot read the kernel's routes by netlink: {error}"))
    })?;
    let stated = plan::state(&config, &interfaces, &kernel)?;
    let snapshot = stated.snapshot(&kernel)?;
    let source_ports = config.global.source_ports.clone().unwrap_or(SOURCE_PORTS);
    let listening = plan::listeners(&config, &interfaces, &Listening::default())?;
    let sources = plan::sources(&config, &interfaces, &source_ports)?;
    if !interfaces.is_empty() {
        plan::check_ports(&listening.plans, &source_ports, &snapshot.fib)?;
    }

    let mut taken = Vec::new();
    let mut queues: Vec<Vec<XskQueue>> = cores.iter().map(|_| Vec::new()).collect();
    for interface in &interfaces {
        taken.push(take_over(interface, &mut queues)?);
    }
    let bells: Vec<Arc<Bell>> =
        cores.iter().map(|_| Bell::new()).collect::<Result<_, _>>().map_err(BootError::new)?;
    let bell = Bell::new().map_err(BootError::new)?;
    let mut shared = Shared::new(
        &config,
        bells.iter().map(|bell| Box::new(bell.clone()) as Box<dyn Wake>).collect(),
    );
    shared.interfaces = interfaces.iter().map(|interface| interface.name.clone()).collect();
    let shared = Arc::new(shared);
    let runtime_sockets = RuntimeSockets::default().successor(&config).map_err(BootError)?;
    if !listening.sockets.is_empty() {
        raise_file_limit(&config);
    }
    let form_token = form_token().map_err(BootError::new)?;
    let secret = Secret(random().map_err(BootError::new)?);
    let seed = u64::from_le_bytes(random().map_err(BootError::new)?);
    let rss = taken.iter().map(|taken| rss_of(&taken.interface)).collect();
    let base = StackConfig {
        workers: cores.len(),
        source_ports: source_ports.clone(),
        port_ranges: sources.port_ranges.clone(),
        has_foreign_sources: !sources.servers.is_empty(),
        rss,
        ..with_buffers(&config, StackConfig::new(secret), cores.len())
    };
    let wakes: Vec<Arc<dyn Wake>> =
        bells.iter().map(|bell| bell.clone() as Arc<dyn Wake>).collect();
    let (to_control, requests) = unbounded();
    let (asks_control, questions) = unbounded();
    let (to_services, calls) = unbounded();
    let zone = TimeZone::system();
    let is_kept_free = kernel_ports::is_kept_free(&source_ports);
    keep_off(&cores);
    // Before the first thread: all are to have no more rights than this one.
    identity.assume().map_err(BootError)?;
    let (logger, log_thread) = Logger::start(&config, clock, zone.clone())
        .map_err(|error| BootError(format!("cannot start the log's thread: {error}")))?;
    let (senders, receivers): (Vec<_>, Vec<_>) = cores.iter().map(|_| unbounded()).unzip();
    let commands: Vec<_> = senders.into_iter().zip(bells.iter().cloned()).collect();
    let number = |(worker, &core): (usize, &usize)| Arc::new(Vitals::new(worker, core));
    let vitals: Vec<_> = cores.iter().enumerate().map(number).collect();
    let (watched, end) = unbounded();
    watchdog::start(vitals.clone(), clock, end)
        .map_err(|error| BootError(format!("cannot start the watchdog's thread: {error}")))?;
    let operators = Arc::new(Operators::new(Runtime {
        config: config.clone(),
        shared: shared.clone(),
        plans: listening.plans.clone(),
        workers: commands.clone(),
        vitals: vitals.clone(),
        control: (asks_control, bell.clone()),
        logger: logger.clone(),
        clock,
        node: node_of(&config),
        zone,
        source_ports: source_ports.clone(),
        is_polling_busily: poll_of(&config, &order) == Poll::Busy,
        form_token,
    }));
    let mut running = Running {
        taken,
        kernel,
        snapshot,
        stated,
        commands,
        requests,
        shared: shared.clone(),
        clock,
        runtime_sockets,
        questions,
        bell,
        threads: Vec::new(),
        cores: cores.clone(),
        vitals,
        _watched: watched,
        succession: Succession::new(&shared),
        operators,
        config: config.clone(),
        source,
        listening,
        source_ports,
        has_ports_kept_free: is_kept_free,
        sources,
        logger,
        log_thread,
    };
    let per_worker = queues.into_iter().zip(handover::connect(&wakes)).zip(receivers).enumerate();
    for (number, ((queues, handover), commands)) in per_worker {
        let stack = Stack::new(StackConfig { worker: number, ..base.clone() });
        let parts = Parts {
            number,
            core: cores[number],
            wires: Wires::new(queues.into_iter().map(wire_of).collect()),
            transport: MixedTransport {
                wires: StackTransport { stack },
                kernel: KernelTransport::new(running.listening.sockets.clone())
                    .map_err(BootError::new)?,
            },
            proxies: Proxies::new(
                &config,
                shared.clone(),
                Post { worker: number, seed: seed ^ number as u64, debug: order.debug },
            ),
            handover,
            mailbox: Mailbox {
                commands,
                requests: to_control.clone(),
                control: running.bell.clone(),
                logger: Some(running.logger.clone()),
                services: Some(to_services.clone()),
            },
            vitals: running.vitals[number].clone(),
            rx_burst: rx_burst(&config.global),
            spin: poll_of(&config, &order).spin(),
        };
        running.threads.push(spawn(parts, bells[number].clone(), clock)?);
    }
    running.tell_fib();
    for plan in &running.listening.plans {
        for (sender, bell) in &running.commands {
            let _ = sender.send(Command::Listen(plan.clone()));
            bell.wake();
        }
    }
    // Every worker listens before the first packet is steered to one.
    let _ = crate::control::ask_reports(&running.commands);
    running.steer()?;
    // Before that, what servers answer to checks would reach the kernel, which resets it.
    for (worker, assignment) in watch::assignments(&config, running.commands.len()) {
        let (sender, bell) = &running.commands[worker];
        let _ = sender.send(Command::Watch(assignment));
        bell.wake();
    }
    let served = runtime::http::serve(calls, running.operators.clone());
    served.and_then(|()| running.runtime_sockets.serve(&running.operators)).map_err(|error| {
        BootError(format!("cannot start a thread of the runtime interface: {error}"))
    })?;
    Ok(running)
}

/// Keeps this thread and those that come from it off the workers' cores, as far as there are others. Workers pin themselves.
fn keep_off(workers: &[usize]) {
    let others: Vec<usize> =
        cores::usable().into_iter().filter(|core| !workers.contains(core)).collect();
    if others.is_empty() {
        return;
    }
    let mut mask = rustix::thread::CpuSet::new();
    others.iter().for_each(|core| mask.set(*core));
    // Where that is not permitted, the system's scheduler decides.
    let _ = rustix::thread::sched_setaffinity(None, &mask);
}

/// `node`, or the machine's name.
fn node_of(config: &Config) -> String {
    let named = config.global.process.node.clone();
    named.unwrap_or_else(|| rustix::system::uname().nodename().to_string_lossy().into_owned())
}

/// The command line wins over `busy-polling`.
fn poll_of(config: &Config, order: &RunOrder) -> Poll {
    let configured = if config.global.process.busy_polling { Poll::Busy } else { Poll::Adaptive };
    order.poll.unwrap_or(configured)
}

/// Buffers of a worker by `tune.buffers.limit` and `tune.buffers.reserve`, which are for the process and of
/// `tune.bufsize` each.
fn with_buffers(config: &Config, usual: StackConfig, workers: usize) -> StackConfig {
    let global = &config.global;
    let bufsize = u64::from(global.bufsize.unwrap_or(BUFSIZE_DEFAULT));
    let share = |count: u64| {
        let bytes = count * bufsize;
        usize::try_from(bytes.div_ceil(BUFFER_SIZE as u64 * workers as u64)).unwrap_or(usize::MAX)
    };
    let reserve = share(u64::from(global.buffers_reserve.unwrap_or(BUFFERS_RESERVE_DEFAULT)));
    // Fewer could not carry one stream's bytes both ways.
    let limit = global.buffers_limit.filter(|limit| *limit > 0);
    let buffers = limit.map_or(usual.buffers, |limit| share(u64::from(limit)).max(2 * reserve));
    StackConfig { buffers, buffers_reserve: reserve, ..usual }
}

/// Files of one connection of the kernel: that of the client and that to the server.
const FILES_PER_STREAM: u64 = 2;
/// Files of everything else.
const OTHER_FILES: u64 = 100;

/// Raises the number of open files as far as it goes, and tells if that is too few.
fn raise_file_limit(config: &Config) {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let Rlimit { maximum, .. } = getrlimit(Resource::Nofile);
    // What it was stays, if that is not permitted.
    let _ = setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum });
    let limit = getrlimit(Resource::Nofile).current;
    let maxconn = u64::from(config.global.maxconn.unwrap_or(MAXCONN_DEFAULT));
    let needed = maxconn * FILES_PER_STREAM + OTHER_FILES;
    if let Some(limit) = limit.filter(|limit| *limit < needed) {
        log::warning(format_args!(
            "{limit} open files are too few for maxconn {maxconn}, which may need {needed}: raise `ulimit -n`, \
             or lower the global maxconn; connections beyond that wait to be accepted"
        ));
    }
}

/// Where a socket of the kernel listens, in words; `ipv6`: the family of a wildcard.
pub fn place_in_words(bind: &Bind, ipv6: bool) -> String {
    plan::place_of(bind, ipv6)
}

/// Where a listener listens, in words.
pub fn place_of(plan: &ListenerPlan) -> String {
    let ipv6 = match &plan.at.place {
        Place::Wire(place) => place.ipv6,
        Place::Kernel(_) => plan.bind.families == Families::V6,
    };
    plan::place_of(&plan.bind, ipv6)
}

impl Running {
    fn interfaces(&self) -> Vec<Interface> {
        self.taken.iter().map(|taken| taken.interface.clone()).collect()
    }

    /// Gives all workers the forwarding table, and the neighbours by its links.
    pub fn tell_fib(&self) {
        let fib = Arc::new(self.snapshot.fib.clone());
        let neighbors: Vec<_> = self.neighbors().collect();
        for (sender, bell) in &self.commands {
            let _ = sender.send(Command::SetFib(fib.clone(), neighbors.clone()));
            bell.wake();
        }
    }

    /// Neighbours that can be sent to, by their links.
    pub fn neighbors(&self) -> impl Iterator<Item = (LinkId, IpAddr, [u8; 6])> {
        self.kernel.neighbors().filter_map(|update| match update.state {
            crate::netlink::NeighborState::Reachable(mac) => {
                Some((self.snapshot.link_of(update.interface)?, update.ip, mac))
            }
            crate::netlink::NeighborState::Gone => None,
        })
    }

    /// Tells the programs on all interfaces what to take.
    pub fn steer(&mut self) -> Result<(), BootError> {
        let steering =
            plan::steering(&self.snapshot.fib, self.steered(), &self.source_ports, &self.sources);
        for taken in &mut self.taken {
            taken.program.set_steering(&steering).map_err(|error| {
                BootError(format!("cannot steer packets of {}: {error}", taken.interface.name))
            })?;
        }
        Ok(())
    }
}

// Interfaces and cores.

fn read_interfaces(config: &Config) -> Result<Vec<Interface>, BootError> {
    let names = &config.global.interfaces;
    if !config.needs_wires() {
        return Ok(Vec::new());
    }
    if names.is_empty() {
        return Err(BootError::new(
            "no interface to take over: name one with `--interface eth0`, or with `interface eth0` in \
             the global section; or let the kernel carry all connections with `--transport kernel`",
        ));
    }
    names
        .iter()
        .map(|name| {
            let interface = Interface::read(name).map_err(BootError::new)?;
            if !interface.up {
                return Err(BootError(format!(
                    "interface {name} is down: bring it up with `ip link set dev {name} up`"
                )));
            }
            Ok(interface)
        })
        .collect()
}

/// Each queue has its worker and each worker its queue: a packet on a queue that nobody serves would
/// reach the kernel, which resets what it does not know.
fn check_queues(interfaces: &[Interface], workers: usize) -> Result<(), BootError> {
    match interfaces.iter().find(|interface| interface.rx_queues as usize != workers) {
        Some(Interface { name, rx_queues, .. }) => Err(BootError(format!(
            "{name} has {rx_queues} receive queue{} but there {} {workers} worker{}: set the queues with \
             `ethtool -L {name} combined {workers}` (scripts/setup-xdp.sh {name} --queues {workers} does \
             it), or give as many cores as there are queues with --cores",
            if *rx_queues == 1 { "" } else { "s" },
            if workers == 1 { "is" } else { "are" },
            if workers == 1 { "" } else { "s" },
        ))),
        None => Ok(()),
    }
}

/// Attaches the program and opens one queue per worker.
fn take_over(interface: &Interface, queues: &mut [Vec<XskQueue>]) -> Result<Taken, BootError> {
    let mut program = Program::attach(&interface.name, Mode::ZeroCopy).map_err(BootError::new)?;
    let mut mode = program.mode();
    for (number, worker) in queues.iter_mut().enumerate() {
        let config =
            XskConfig { prefer: program.mode(), ..XskConfig::new(&interface.name, number as u32) };
        let queue = XskQueue::open(&config).map_err(BootError::new)?;
        program.register(&queue).map_err(BootError::new)?;
        mode = queue.mode();
        worker.push(queue);
    }
    Ok(Taken { interface: interface.clone(), program, mode })
}

fn wire_of(queue: XskQueue) -> NamedWire<XskQueue> {
    let name = format!("{}/{}", queue.interface(), queue.queue());
    NamedWire::new(name, queue.mode().to_string().replace(' ', "-"), queue)
}

fn rss_of(interface: &Interface) -> Option<Rss> {
    let rss = interface.rss.as_ref()?;
    let indirection = rss.indirection.iter().map(|&queue| queue as u16).collect();
    Rss::new(rss.key.clone(), indirection).ok()
}

fn random<const N: usize>() -> std::io::Result<[u8; N]> {
    let mut bytes = [0; N];
    std::fs::File::open("/dev/urandom")?.read_exact(&mut bytes)?;
    Ok(bytes)
}

/// Somebody who has not seen it cannot guess it.
fn form_token() -> std::io::Result<String> {
    let bytes: [u8; 16] = random()?;
    Ok(format!("{:032x}", u128::from_le_bytes(bytes)))
}

fn spawn(
    parts: Parts<XskQueue>,
    bell: Arc<Bell>,
    clock: Clock,
) -> Result<JoinHandle<()>, BootError> {
    let (number, core) = (parts.number, parts.core);
    std::thread::Builder::new()
        .name(format!("worker {number}"))
        .spawn(move || {
            vitals::become_worker(&parts.vitals);
            let mut mask = rustix::thread::CpuSet::new();
            mask.set(core);
            // Without queues of its own a worker may run anywhere.
            let pinned = rustix::thread::sched_setaffinity(None, &mask);
            assert!(
                pinned.is_ok() || parts.wires.iter().next().is_none(),
                "cannot pin worker {number} to core {core}: {pinned:?}"
            );
            Worker::new(parts, clock.now()).run(&clock, bell);
        })
        .map_err(|error| BootError(format!("cannot start worker {number}: {error}")))
}
