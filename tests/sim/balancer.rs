//! The balancer under test: workers as the program puts them together, on queues in memory.
//!
//! In:    frames, the time
//! Out:   frames; what its counters say
//! Owns:  the workers, and who of them is asleep
//! Never: a thread; a wake-up that the workers do not ask for

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use crossbeam::channel::{Receiver, Sender, unbounded};
use netstack::fib::Ownership;
use netstack::{Instant, Secret, Stack, StackConfig};
use nic::{Frame, MemoryConfig, MemoryWire, Wire, WireStats};
use xlb::config::model::{Config, Global, ProxyIndex};
use xlb::config::{Environment, Surroundings, load_from};
use xlb::handover;
use xlb::limit::Limit;
use xlb::proxies::{ListenerPlan, Post, Proxies};
use xlb::shared::{Shared, Wake};
use xlb::transport::kernel::KernelTransport;
use xlb::transport::mixed::MixedTransport;
use xlb::transport::stack::StackTransport;
use xlb::transport::{ListenAt, Place, WirePlace};
use xlb::wires::{NamedWire, Wires};
use xlb::worker::{Command, Mailbox, Parts, Request, Turn, Worker, WorkerReport};

use crate::host::fib;
use crate::network;
use crate::random::Random;
use crate::scenario::{Scenario, Steering, Stop, balancer_ip};

/// The balancer's address on the link.
pub const MAC: [u8; 6] = [2, 0, 0, 0, 0, 1];
/// Its MTU.
const MTU: u16 = 1500;
/// Its first port towards servers.
const FIRST_PORT: u16 = 16_384;
/// Frames held by a worker between two turns: at most the one that it writes next.
const HELD_MAX: usize = 1;

/// The balancer.
pub struct Balancer {
    pub shared: Arc<Shared>,
    /// The limit of its one listener.
    pub listener: Arc<Limit>,
    berths: Vec<Berth>,
    requests: Receiver<Request>,
}

/// A worker, and the other end of its queue.
struct Berth {
    worker: Worker<Queue>,
    far: MemoryWire,
    bell: Arc<Bell>,
    commands: Sender<Command>,
    sleep: Sleep,
}

/// What a worker waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Sleep {
    Awake,
    /// A frame, the bell, or this time.
    Until(Option<Instant>),
    Ended,
}

impl Balancer {
    pub fn new(scenario: &Scenario, now: Instant) -> Self {
        let config = load(&scenario.config());
        let bells: Vec<Arc<Bell>> = (0..scenario.workers).map(|_| Arc::default()).collect();
        let wakes: Vec<Arc<dyn Wake>> = bells.iter().map(|bell| bell.clone() as _).collect();
        let ringers =
            bells.iter().map(|bell| Box::new(Ringer(bell.clone())) as Box<dyn Wake>).collect();
        let shared = Arc::new(Shared::new(&config, ringers));
        let (to_control, requests) = unbounded();
        let listener = Arc::new(Limit::new(config.proxies[0].binds[0].maxconn));
        let mut berths = Vec::new();
        for (number, handover) in handover::connect(&wakes).into_iter().enumerate() {
            let memory = MemoryConfig { frames: scenario.wire_frames, ..MemoryConfig::default() };
            let (near, far) = MemoryWire::pair(&memory, 0);
            let queue = Queue {
                wire: near,
                held: 0,
                trouble_ppm: scenario.wire_trouble_ppm,
                random: Random::new(scenario.seed, 10 + number as u64),
            };
            let (commands, inbox) = unbounded();
            let global = Global { maxpollevents: scenario.rx_burst, ..Global::default() };
            let worker = Worker::new(
                Parts {
                    number,
                    core: number,
                    wires: Wires::new(vec![NamedWire::new("sim".into(), "memory".into(), queue)]),
                    transport: MixedTransport {
                        wires: StackTransport { stack: Stack::new(stack_config(scenario, number)) },
                        kernel: KernelTransport::new(Vec::new()).expect("an epoll descriptor"),
                    },
                    proxies: Proxies::new(
                        &config,
                        shared.clone(),
                        Post { worker: number, seed: number as u64, debug: false },
                    ),
                    handover,
                    mailbox: Mailbox {
                        commands: inbox,
                        requests: to_control.clone(),
                        control: Arc::new(Bell::default()),
                        logger: None,
                        services: None,
                    },
                    vitals: Arc::new(xlb::vitals::Vitals::new(number, number)),
                    spin: Some(Duration::ZERO),
                    rx_burst: xlb::worker::rx_burst(&global),
                },
                now,
            );
            let bell = bells[number].clone();
            berths.push(Berth { worker, far, bell, commands, sleep: Sleep::Awake });
        }
        let balancer = Balancer { shared, listener, berths, requests };
        balancer.open(&config);
        balancer
    }

    /// What the boot does once workers run: addresses, then listeners.
    fn open(&self, config: &Config) {
        let bind = Arc::new(config.proxies[0].binds[0].clone());
        let plan = ListenerPlan {
            frontend: ProxyIndex(0),
            limit: self.listener.clone(),
            place: 0,
            at: ListenAt {
                place: Place::Wire(WirePlace {
                    address: bind.address,
                    ipv6: bind.address.is_some_and(|ip| ip.is_ipv6()),
                    port: bind.port,
                    interface: None,
                }),
                backlog: bind.backlog.unwrap_or(bind.maxconn).max(1) as usize,
                mss: None,
            },
            bind,
        };
        let fib = fib(MAC, MTU, &[balancer_ip(false), balancer_ip(true)]);
        assert!(fib.addresses().iter().all(|address| address.ownership == Ownership::Sole));
        self.command_all(|| Command::SetFib(fib.clone(), Vec::new()));
        self.command_all(|| Command::Listen(plan.clone()));
    }

    fn command_all(&self, command: impl Fn() -> Command) {
        for berth in &self.berths {
            berth.commands.send(command()).expect("a worker lives as long as the simulation");
            berth.bell.wake();
        }
    }

    /// Tells every worker to end.
    pub fn stop(&self, stop: Stop) {
        self.command_all(|| match stop {
            Stop::Soft => Command::SoftStop,
            Stop::Hard => Command::Stop,
        });
    }

    /// A frame arrives at a queue.
    pub fn receive(&mut self, queue: usize, bytes: &[u8]) {
        let far = &mut self.berths[queue].far;
        far.reclaim();
        let mut frame = far.reserve().expect("the far end holds no frames");
        far.bytes_mut(&mut frame)[..bytes.len()].copy_from_slice(bytes);
        far.submit(frame, bytes.len()).expect("the far end has no other frame on its way");
        far.flush();
    }

    /// A turn of every worker that is awake, beginning with `first`; their frames go to `out`.
    pub fn turn(&mut self, first: usize, now: Instant, out: &mut Vec<Vec<u8>>) {
        let count = self.berths.len();
        for index in 0..count {
            self.berths[(first + index) % count].turn(now, out);
        }
    }

    /// Whether a worker takes its next turn as soon as this one is over.
    pub fn is_busy(&self) -> bool {
        self.berths.iter().any(|berth| berth.sleep == Sleep::Awake || berth.bell.is_rung())
    }

    /// When a worker that is asleep wants to wake by itself.
    pub fn poll_at(&self) -> Option<Instant> {
        self.berths
            .iter()
            .filter_map(|berth| match berth.sleep {
                Sleep::Until(at) => at,
                _ => None,
            })
            .min()
    }

    pub fn has_ended(&self) -> bool {
        self.berths.iter().all(|berth| berth.sleep == Sleep::Ended)
    }

    /// Requests of workers to the control thread.
    pub fn requests(&self) -> Vec<Request> {
        self.requests.try_iter().collect()
    }

    pub fn reports(&self) -> Vec<WorkerReport> {
        self.berths.iter().map(|berth| berth.worker.report()).collect()
    }

    fn limits(&self) -> [(&'static str, &Limit); 3] {
        [
            ("maxconn of the process", &self.shared.global),
            ("maxconn of the frontend", &self.shared.frontend(ProxyIndex(0)).connections),
            ("maxconn of the listener", &self.listener),
        ]
    }

    /// Whether another connection may be served.
    pub fn has_places(&self) -> bool {
        self.limits().iter().all(|(_, limit)| limit.used() < limit.max())
    }

    /// What must hold between any two turns.
    pub fn assert_invariants(&mut self) {
        for (name, limit) in self.limits() {
            assert!(limit.used() <= limit.max(), "{name}: {} of {}", limit.used(), limit.max());
        }
        let used = self.shared.global.used();
        assert_eq!(used, self.listener.used(), "places of the process and of its one listener");
        for berth in &mut self.berths {
            berth.worker.assert_invariants();
            for queue in berth.worker.wires_mut() {
                let held = queue.held;
                assert!(held <= HELD_MAX, "{held} frames are held between two turns");
                queue.wire.assert_conserved(held);
            }
        }
    }
}

impl Berth {
    fn turn(&mut self, now: Instant, out: &mut Vec<Vec<u8>>) {
        self.far.advance(now.micros());
        if !self.is_awake(now) {
            return;
        }
        self.sleep = match self.worker.turn(now) {
            Turn::Busy => Sleep::Awake,
            Turn::Idle(at) => Sleep::Until(at),
            Turn::Ended => Sleep::Ended,
        };
        while let Some(frame) = self.far.next() {
            out.push(self.far.bytes(&frame).to_vec());
            self.far.release(frame);
        }
    }

    fn is_awake(&mut self, now: Instant) -> bool {
        let rung = self.bell.take();
        let is_readable =
            |queue: &mut Queue| queue.wire.next_arrival_us().is_some_and(|at| at <= now.micros());
        match self.sleep {
            Sleep::Ended => false,
            Sleep::Awake => true,
            Sleep::Until(at) => {
                rung || at.is_some_and(|at| at <= now) || self.worker.wires_mut().any(is_readable)
            }
        }
    }
}

/// Wakes a worker: without it, one that sleeps does not see what others did for it.
#[derive(Default)]
struct Bell(AtomicBool);

impl Bell {
    fn is_rung(&self) -> bool {
        self.0.load(Ordering::SeqCst)
    }

    fn take(&self) -> bool {
        self.0.swap(false, Ordering::SeqCst)
    }
}

impl Wake for Bell {
    fn wake(&self) {
        self.0.store(true, Ordering::SeqCst);
    }
}

/// A reference to a bell is a bell: [`Shared`] owns what it rings.
struct Ringer(Arc<Bell>);

impl Wake for Ringer {
    fn wake(&self) {
        self.0.wake();
    }
}

/// A queue in memory that counts the frames in its user's hands, and has trouble now and then.
struct Queue {
    wire: MemoryWire,
    held: usize,
    trouble_ppm: u32,
    random: Random,
}

impl Wire for Queue {
    fn reclaim(&mut self) -> usize {
        self.wire.reclaim()
    }

    fn next(&mut self) -> Option<Frame> {
        let frame = self.wire.next()?;
        self.held += 1;
        Some(frame)
    }

    fn reserve(&mut self) -> Option<Frame> {
        if self.random.ppm(self.trouble_ppm) {
            return None;
        }
        let frame = self.wire.reserve()?;
        self.held += 1;
        Some(frame)
    }

    fn bytes<'a>(&'a self, frame: &'a Frame) -> &'a [u8] {
        self.wire.bytes(frame)
    }

    fn bytes_mut<'a>(&'a mut self, frame: &'a mut Frame) -> &'a mut [u8] {
        self.wire.bytes_mut(frame)
    }

    fn submit(&mut self, frame: Frame, len: usize) -> Result<(), Frame> {
        if self.random.ppm(self.trouble_ppm) {
            return Err(frame);
        }
        self.wire.submit(frame, len)?;
        self.held -= 1;
        Ok(())
    }

    fn release(&mut self, frame: Frame) {
        self.held -= 1;
        self.wire.release(frame);
    }

    fn flush(&mut self) {
        self.wire.flush();
    }

    fn in_flight(&self) -> usize {
        self.wire.in_flight()
    }

    fn frame_len_max(&self) -> usize {
        self.wire.frame_len_max()
    }

    fn assert_conserved(&mut self, held: usize) {
        self.wire.assert_conserved(held);
    }

    fn stats(&self) -> WireStats {
        self.wire.stats()
    }
}

fn stack_config(scenario: &Scenario, worker: usize) -> StackConfig {
    let knows_hash = scenario.steering == Steering::Toeplitz;
    StackConfig {
        worker,
        workers: scenario.workers,
        buffers: scenario.buffers,
        source_ports: FIRST_PORT..=FIRST_PORT + scenario.balancer_ports - 1,
        rss: vec![knows_hash.then(|| network::rss(scenario.seed, scenario.workers))],
        ..StackConfig::new(Secret(Random::new(scenario.seed, 4).bytes()))
    }
}

/// One file, and nothing else.
struct Text<'a>(&'a str);

impl Surroundings for Text<'_> {
    fn read(&self, _: &Path) -> std::io::Result<Vec<u8>> {
        Ok(self.0.as_bytes().to_vec())
    }

    fn list(&self, _: &Path) -> std::io::Result<Option<Vec<PathBuf>>> {
        Ok(None)
    }

    fn resolve(&self, name: &str) -> std::io::Result<Vec<std::net::IpAddr>> {
        Err(std::io::Error::other(format!("there is no resolver to ask for {name}")))
    }
}

fn load(text: &str) -> Config {
    let loaded = load_from(&["sim.cfg".into()], &Environment::default(), &Text(text));
    let loaded = loaded.unwrap_or_else(|report| panic!("{report:?}\n{text}"));
    loaded.config
}
