//! The XDP program of one interface: attached, steered, counted.
//!
//! In:    an interface; the sockets of its queues; what to take (`Steering`)
//! Out:   packets that are xlb's, in those sockets; counters per queue
//! Owns:  the program, its link and its maps
//! Never: replaces another owner's program; stays behind when the process ends
//! Read:  bpf/xlb.bpf.c; bpf(2), BPF_LINK_CREATE

use std::error::Error;
use std::fmt;
use std::os::fd::AsRawFd;

use aya::maps::{Array, HashMap, Map, MapData, MapError, PerCpuArray, XskMap};
use aya::programs::links::FdLink;
use aya::programs::{ProgramError, Xdp, XdpMode};
use aya::{Ebpf, TestRun, TestRunOptions, include_bytes_aligned};

use crate::patience::{PATIENCE, retry_while_busy};
use crate::steering::{
    ADDRESSES_MAX, AddressKey, Change, ConfigValue, Contents, LISTENERS_MAX, ListenerKey,
    config_value,
};
use crate::xsk::FRAME_LEN_MAX;
use crate::{Interface, InterfaceError, Mode, Steering, XskQueue};

/// The program of one interface.
///
/// Invariants:
/// - the link is a file descriptor, so the kernel detaches the program with the process, however
///   that ends;
/// - `contents` is what the maps hold, also after a change that failed half-way.
pub struct Program {
    /// Closing it detaches.
    _link: FdLink,
    ebpf: Ebpf,
    mode: Mode,
    driver_refusal: Option<String>,
    interface: String,
    queues: u32,
    maps: Maps,
    contents: Contents,
}

struct Maps {
    xsks: XskMap<MapData>,
    addresses: HashMap<MapData, AddressKey, u8>,
    listeners: HashMap<MapData, ListenerKey, u8>,
    servers: HashMap<MapData, ListenerKey, u8>,
    config: Array<MapData, ConfigValue>,
    counters: PerCpuArray<MapData, [u64; 3]>,
}

/// What the program did with the packets of one queue since it was attached.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct QueueCounters {
    /// Given to xlb.
    pub redirected: u64,
    /// Left to the kernel.
    pub passed: u64,
    /// xlb's, but no use to it: later fragments, and packets longer than a frame.
    pub dropped: u64,
}

/// What the program does with a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Gives it to xlb.
    Redirect,
    /// Leaves it to the kernel.
    Pass,
    /// Drops it.
    Drop,
}

/// Why the program could not be attached. Its text is for the operator.
#[derive(Debug)]
pub enum AttachError {
    /// The interface cannot be read.
    Interface(InterfaceError),
    /// The kernel did not load the program.
    Load {
        /// Where it was to go.
        interface: String,
        /// Reason.
        reason: String,
    },
    /// Another program is there.
    Occupied {
        /// Where it was to go.
        interface: String,
    },
    /// The kernel or the driver refused.
    Refused {
        /// Where it was to go.
        interface: String,
        /// Reason, per mode that was tried.
        reason: String,
    },
}

/// Why the maps of the program could not be read or written. Its text is for the operator.
#[derive(Debug)]
pub enum MapsError {
    /// More than the maps hold. Nothing was changed.
    Full {
        /// Interface.
        interface: String,
        /// What there are too many of.
        what: &'static str,
        /// How many there may be.
        max: usize,
    },
    /// The kernel refused.
    Refused {
        /// Interface.
        interface: String,
        /// Which map.
        what: &'static str,
        /// Reason.
        error: MapError,
    },
}

/// Most queues of an interface. bpf/xlb.bpf.c has the same number.
const QUEUES_MAX: u32 = 256;

/// enum xdp_action, as far as the program knows it.
const XDP_DROP: u32 = 1;
const XDP_PASS: u32 = 2;
const XDP_REDIRECT: u32 = 4;

static OBJECT: &[u8] = include_bytes_aligned!(concat!(env!("OUT_DIR"), "/xlb.bpf.o"));

impl Program {
    /// Attaches the program to `interface`, in the driver if that can and `prefer` is not
    /// [`Mode::Generic`], else in the kernel. It takes nothing until [`Program::set_steering`].
    pub fn attach(interface: &str, prefer: Mode) -> Result<Self, AttachError> {
        let facts = Interface::read(interface).map_err(AttachError::Interface)?;
        let load_error = |reason| AttachError::Load { interface: interface.into(), reason };
        let mut ebpf = load().map_err(load_error)?;
        let maps = Maps::take(&mut ebpf).map_err(load_error)?;
        let attached = attach_best(&mut ebpf, &facts, prefer)?;
        Ok(Self {
            _link: attached.link,
            ebpf,
            mode: attached.mode.min(prefer),
            driver_refusal: attached.driver_refusal,
            interface: facts.name,
            queues: facts.rx_queues.min(QUEUES_MAX),
            maps,
            contents: Contents::of(&Steering::default()),
        })
    }

    /// The best mode that a queue of this interface can be opened with: [`Mode::Generic`] where the
    /// driver did not take the program, else what was preferred.
    pub fn mode(&self) -> Mode {
        self.mode
    }

    /// Why the driver did not take the program, where it was asked and did not.
    pub fn driver_refusal(&self) -> Option<&str> {
        self.driver_refusal.as_deref()
    }

    /// Gives the packets that arrive on the queue of `queue` to it from now on.
    pub fn register(&mut self, queue: &XskQueue) -> Result<(), MapsError> {
        assert_eq!(queue.interface(), self.interface, "queue and program of different interfaces");
        let result = self.maps.xsks.set(queue.queue(), queue.fd().as_raw_fd(), 0);
        result.map_err(|error| self.maps_error("sockets", error))
    }

    /// Takes what `steering` says from now on. Additions are made before removals, so what is in
    /// both the old and the new is never left out.
    pub fn set_steering(&mut self, steering: &Steering) -> Result<(), MapsError> {
        let new = Contents::of(steering);
        self.assure_room("addresses", new.addresses.len(), ADDRESSES_MAX)?;
        self.assure_room("bound ports", new.listeners.len(), LISTENERS_MAX)?;
        for change in self.contents.diff(&new) {
            let (what, result) = self.maps.apply(change);
            result.map_err(|error| self.maps_error(what, error))?;
            self.contents.record(change);
        }
        Ok(())
    }

    /// Counters by queue, for the queues that the interface had when the program was attached.
    pub fn counters(&self) -> Result<Vec<QueueCounters>, MapsError> {
        let error = |error| self.maps_error("counters", error);
        (0..self.queues).map(|queue| self.maps.counters_of(queue).map_err(error)).collect()
    }

    /// What the program would do with `packet` if it arrived on queue 0 now, without sending it
    /// anywhere; it counts like a packet. The kernel wants an Ethernet header at least.
    pub fn verdict(&mut self, packet: &[u8]) -> Result<Verdict, ProgramError> {
        // The program writes no packet, but the kernel insists on saying what it left.
        let mut left = vec![0; packet.len()];
        let options = TestRunOptions {
            data_in: Some(packet),
            data_out: Some(&mut left),
            ..TestRunOptions::default()
        };
        match program_of(&mut self.ebpf).test_run(options)?.return_value {
            XDP_REDIRECT => Ok(Verdict::Redirect),
            XDP_DROP => Ok(Verdict::Drop),
            XDP_PASS => Ok(Verdict::Pass),
            action => panic!("the XDP program answered {action}, which it does not know"),
        }
    }

    fn assure_room(&self, what: &'static str, len: usize, max: usize) -> Result<(), MapsError> {
        if len > max {
            return Err(MapsError::Full { interface: self.interface.clone(), what, max });
        }
        Ok(())
    }

    fn maps_error(&self, what: &'static str, error: MapError) -> MapsError {
        MapsError::Refused { interface: self.interface.clone(), what, error }
    }
}

impl fmt::Debug for Program {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Program")
            .field("interface", &self.interface)
            .field("mode", &self.mode)
            .field("contents", &self.contents)
            .finish_non_exhaustive()
    }
}

impl Maps {
    fn take(ebpf: &mut Ebpf) -> Result<Self, String> {
        Ok(Self {
            xsks: take_map(ebpf, "xsks")?,
            addresses: take_map(ebpf, "addresses")?,
            listeners: take_map(ebpf, "listeners")?,
            servers: take_map(ebpf, "servers")?,
            config: {
                let mut config: Array<_, ConfigValue> = take_map(ebpf, "config")?;
                let (low, high) = Contents::of(&Steering::default()).source_ports;
                let value = config_value(low, high, FRAME_LEN_MAX as u32);
                config.set(0, value, 0).map_err(|error| chain(&error))?;
                config
            },
            counters: take_map(ebpf, "counters")?,
        })
    }

    /// Makes one write, and names the map.
    fn apply(&mut self, change: Change) -> (&'static str, Result<(), MapError>) {
        match change {
            Change::SetAddress(address, owner) => {
                ("addresses", self.addresses.insert(address, owner, 0))
            }
            Change::SetSourcePorts(low, high) => {
                let value = config_value(low, high, FRAME_LEN_MAX as u32);
                ("source ports", self.config.set(0, value, 0))
            }
            Change::AddListener(listener) => ("bound ports", self.listeners.insert(listener, 1, 0)),
            Change::RemoveListener(listener) => ("bound ports", self.listeners.remove(&listener)),
            Change::SetServer(server, ports) => ("servers", self.servers.insert(server, ports, 0)),
            Change::RemoveServer(server) => ("servers", self.servers.remove(&server)),
            Change::RemoveAddress(address) => ("addresses", self.addresses.remove(&address)),
        }
    }

    fn counters_of(&self, queue: u32) -> Result<QueueCounters, MapError> {
        let mut sum = QueueCounters::default();
        for [redirected, passed, dropped] in self.counters.get(&queue, 0)?.iter() {
            sum.redirected += redirected;
            sum.passed += passed;
            sum.dropped += dropped;
        }
        Ok(sum)
    }
}

fn load() -> Result<Ebpf, String> {
    let mut ebpf = Ebpf::load(OBJECT).map_err(|error| chain(&error))?;
    program_of(&mut ebpf).load().map_err(|error| chain(&error))?;
    Ok(ebpf)
}

/// The one program of the object: the build made it, so that it is there is our own affair.
fn program_of(ebpf: &mut Ebpf) -> &mut Xdp {
    let program = ebpf.program_mut("xlb").expect("the object holds the program xlb");
    program.try_into().expect("the program xlb is an XDP program")
}

fn take_map<M>(ebpf: &mut Ebpf, name: &str) -> Result<M, String>
where
    M: TryFrom<Map, Error = MapError>,
{
    let map = ebpf.take_map(name).ok_or_else(|| format!("the object holds no map {name}"))?;
    M::try_from(map).map_err(|error| format!("map {name}: {}", chain(&error)))
}

struct Attached {
    link: FdLink,
    mode: Mode,
    driver_refusal: Option<String>,
}

/// Why one mode did not work.
enum ModeError {
    Occupied,
    Refused(String),
}

/// The driver first, unless generic is preferred; then the kernel.
fn attach_best(ebpf: &mut Ebpf, facts: &Interface, prefer: Mode) -> Result<Attached, AttachError> {
    let program = program_of(ebpf);
    let mut driver_refusal = None;
    if prefer > Mode::Generic {
        match attach_patiently(program, facts.index, XdpMode::Driver) {
            Ok(link) => return Ok(Attached { link, mode: Mode::ZeroCopy, driver_refusal }),
            Err(ModeError::Refused(reason)) => driver_refusal = Some(reason),
            Err(ModeError::Occupied) => return Err(occupied(facts)),
        }
    }
    match attach_patiently(program, facts.index, XdpMode::Skb) {
        Ok(link) => Ok(Attached { link, mode: Mode::Generic, driver_refusal }),
        Err(ModeError::Occupied) => Err(occupied(facts)),
        Err(ModeError::Refused(reason)) => Err(AttachError::Refused {
            interface: facts.name.clone(),
            reason: match driver_refusal {
                Some(driver) => format!("driver mode: {driver}; generic mode: {reason}"),
                None => format!("generic mode: {reason}"),
            },
        }),
    }
}

fn occupied(facts: &Interface) -> AttachError {
    AttachError::Occupied { interface: facts.name.clone() }
}

/// Attaches in one mode, waiting for the link of a process that has just ended.
fn attach_patiently(program: &mut Xdp, index: u32, mode: XdpMode) -> Result<FdLink, ModeError> {
    let is_busy = |error: &ModeError| matches!(error, ModeError::Occupied);
    retry_while_busy(PATIENCE, is_busy, || attach_once(program, index, mode))
}

fn attach_once(program: &mut Xdp, index: u32, mode: XdpMode) -> Result<FdLink, ModeError> {
    let id = match program.attach_to_if_index(index, mode) {
        Ok(id) => id,
        // EEXIST: a program is there in the other mode.
        Err(ProgramError::SyscallError(error))
            if matches!(error.io_error.raw_os_error(), Some(libc::EBUSY | libc::EEXIST)) =>
        {
            return Err(ModeError::Occupied);
        }
        Err(error) => return Err(ModeError::Refused(chain(&error))),
    };
    let link = program.take_link(id).map_err(|error| ModeError::Refused(chain(&error)))?;
    // A program that was attached without a link would outlive the process.
    FdLink::try_from(link).map_err(|error| ModeError::Refused(chain(&error)))
}

/// An error with its causes, which hold the errno.
fn chain(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        let cause_text = cause.to_string();
        if !text.contains(&cause_text) {
            text = format!("{text}: {cause_text}");
        }
        source = cause.source();
    }
    text
}

impl fmt::Display for AttachError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Interface(error) => error.fmt(f),
            Self::Load { interface, reason } => write!(
                f,
                "the kernel did not load the XDP program for interface '{interface}' (Linux 5.18 or \
                 later and root, or CAP_BPF with CAP_NET_ADMIN, are needed): {reason}"
            ),
            Self::Occupied { interface } => write!(
                f,
                "another XDP program is attached to interface '{interface}', and xlb does not \
                 replace it: see `ip link show dev {interface}`"
            ),
            Self::Refused { interface, reason } => write!(
                f,
                "the XDP program cannot be attached to interface '{interface}': {reason} (a smaller \
                 MTU, or fewer queues by `ethtool -L {interface}`, may help)"
            ),
        }
    }
}

impl Error for AttachError {}

impl fmt::Display for MapsError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Full { interface, what, max } => {
                write!(f, "too many {what} for interface '{interface}': at most {max}")
            }
            Self::Refused { interface, what, error } => write!(
                f,
                "cannot access the XDP program's {what} on interface '{interface}': {}",
                chain(error)
            ),
        }
    }
}

impl Error for MapsError {}
