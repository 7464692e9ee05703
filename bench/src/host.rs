//! A host of its own on an interface: a queue of frames, the stack, one address that no kernel has.
//!
//! In:    an interface, an address, neighbours; what its user does with the stack between two steps of a turn
//! Out:   turns: frames in and timers, then frames out; sleep when there was nothing to do
//! Owns:  the wire, the stack, the XDP program
//! Never: answers for the interface's other addresses; shares its queue: the interface has one
//!
//! For programs that measure or test the stack by itself, without the proxy. A turn is
//!
//! ```text
//! host.receive(now)     frames of the wire, due timers
//! ...                   the user: host.stack.poll_event(), recv, send, shut
//! host.transmit(now)    what the connections have to say; one kick
//! ```

use std::io::{self, Read};
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use ipnet::IpNet;
use netstack::fib::{Address, Fib, Link, LinkId, Origin, Ownership, Route, WireId};
use netstack::{Arrival, Instant, Secret, Stack, StackConfig, Transmit};
use nic::{
    AddressOwner, Frame, Interface, Mode, Program, Steering, Wire, WireStats, XskConfig, XskQueue,
};
use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, ppoll};
use nix::sys::time::TimeSpec;

/// Frames taken from the wire in a turn; as the product's.
const RX_BURST: usize = 200;
/// Frames given out in a turn; as the product's.
const TX_BURST: usize = 256;
/// A turn without work is followed by others for this long, before the host sleeps.
const SPIN: Duration = Duration::from_micros(50);
/// The longest sleep.
const SLEEP_MAX: Duration = Duration::from_millis(100);
/// The only link.
const LINK: LinkId = LinkId(0);
/// The only wire.
const WIRE: WireId = WireId(0);

/// Where a host is.
#[derive(Clone, Debug)]
pub struct Place {
    /// Its address, with the prefix of its network; all else is unreachable.
    pub address: IpNet,
    /// Its link-layer address.
    pub mac: [u8; 6],
    /// Largest IP packet, in bytes.
    pub mtu: u16,
    /// Its neighbours may leave checksums to be filled in (veth).
    pub partial_checksums: bool,
}

/// A wire and a stack.
pub struct Host<W: Wire> {
    /// The stack, for its user.
    pub stack: Stack,
    wire: OneWire<W>,
}

impl<W: Wire> Host<W> {
    /// A host at `place`; `config` as for any stack of one worker.
    pub fn new(wire: W, place: &Place, config: StackConfig, now: Instant) -> Self {
        let mut stack = Stack::new(config);
        stack.set_fib(Arc::new(fib_of(place)), now);
        Host { stack, wire: OneWire { wire, next: None } }
    }

    /// Tells a neighbour's link-layer address, so that nobody has to ask for it over a wire that loses frames.
    pub fn set_neighbor(&mut self, address: IpAddr, mac: [u8; 6], now: Instant) {
        self.stack.set_neighbor(LINK, address, Some(mac), now);
    }

    /// First half of a turn: frames in, due timers. Returns how many frames came.
    pub fn receive(&mut self, now: Instant) -> usize {
        let OneWire { wire, .. } = &mut self.wire;
        wire.reclaim();
        let mut count = 0;
        while count < RX_BURST
            && let Some(frame) = wire.next()
        {
            // One worker alone: there is nobody to hand a frame to.
            let _ = self.stack.handle_frame(WIRE, wire.bytes(&frame), Arrival::Wire, now);
            wire.release(frame);
            count += 1;
        }
        self.stack.handle_timers(now);
        count
    }

    /// Second half of a turn: frames out. Returns how many went.
    pub fn transmit(&mut self, now: Instant) -> usize {
        self.solicit();
        let count = self.stack.poll_transmit(TX_BURST, &mut self.wire, now);
        self.solicit();
        self.wire.wire.flush();
        count
    }

    /// Asks for neighbours: all are on stated networks, so the stack asks by itself, in its next turn.
    fn solicit(&mut self) {
        let asked = self.stack.poll_resolve();
        assert!(asked.is_none(), "{asked:?} is for the kernel, which a host has no part in");
    }

    /// Counters of the wire.
    pub fn wire_stats(&self) -> WireStats {
        self.wire.wire.stats()
    }
}

fn fib_of(place: &Place) -> Fib {
    let link = Link {
        wire: WIRE,
        vlan: None,
        mac: place.mac,
        mtu: place.mtu,
        partial_checksums: place.partial_checksums,
    };
    let address = Address { link: LINK, net: place.address, ownership: Ownership::Sole };
    let route = Route {
        prefix: place.address.trunc(),
        link: LINK,
        gateway: None,
        source: None,
        metric: 0,
        origin: Origin::Stated,
    };
    Fib::new(vec![link], vec![address], vec![route])
}

/// The wire, and the frame that is written next.
struct OneWire<W: Wire> {
    wire: W,
    next: Option<Frame>,
}

impl<W: Wire> Drop for OneWire<W> {
    /// Gives back what is held, and asserts that no frame got lost.
    fn drop(&mut self) {
        if let Some(frame) = self.next.take() {
            self.wire.release(frame);
        }
        if !std::thread::panicking() {
            self.wire.assert_conserved(0);
        }
    }
}

impl<W: Wire> Transmit for OneWire<W> {
    fn has_room(&mut self, _: WireId) -> bool {
        if self.next.is_none() {
            self.next = self.wire.reserve();
        }
        self.next.is_some()
    }

    fn send(&mut self, _: WireId, len: usize, fill: impl FnOnce(&mut [u8])) {
        let mut frame = self.next.take().expect("room was asked for");
        fill(&mut self.wire.bytes_mut(&mut frame)[..len]);
        // A full transmit ring counts and drops, as a wire does; TCP sends again.
        if let Err(frame) = self.wire.submit(frame, len) {
            self.wire.release(frame);
        }
    }
}

/// A host on an interface of the kernel, by AF_XDP.
pub struct XdpHost {
    /// The host.
    pub host: Host<XskQueue>,
    clock: std::time::Instant,
    idle_since: Option<Instant>,
    /// Dropping it detaches the program.
    _program: Program,
}

impl XdpHost {
    /// Takes over `interface` of the current namespace, which has one queue, for all packets to `address`.
    /// Errors are whole sentences.
    pub fn open(interface: &str, address: IpNet, config: StackConfig) -> Result<Self, String> {
        let facts = Interface::read(interface).map_err(|error| error.to_string())?;
        if facts.rx_queues != 1 {
            let queues = facts.rx_queues;
            return Err(format!(
                "{interface} has {queues} queues, and a host serves one: `ethtool -L {interface} combined 1`"
            ));
        }
        let mut program =
            Program::attach(interface, Mode::ZeroCopy).map_err(|error| error.to_string())?;
        let queue = XskConfig { prefer: program.mode(), ..XskConfig::new(interface, 0) };
        let queue = XskQueue::open(&queue).map_err(|error| error.to_string())?;
        program.register(&queue).map_err(|error| error.to_string())?;
        let place = Place {
            address,
            mac: facts.mac,
            mtu: u16::try_from(facts.mtu).unwrap_or(u16::MAX),
            partial_checksums: facts.has_partial_checksums(),
        };
        let host = Host::new(queue, &place, config, Instant::ZERO);
        let steering = Steering {
            addresses: [(address.addr(), AddressOwner::Sole)].into(),
            ..Steering::default()
        };
        program.set_steering(&steering).map_err(|error| error.to_string())?;
        let clock = std::time::Instant::now();
        Ok(XdpHost { host, clock, idle_since: None, _program: program })
    }

    /// The time: microseconds since the host was opened.
    pub fn now(&self) -> Instant {
        Instant::from_micros(self.clock.elapsed().as_micros() as u64)
    }

    /// Ends a turn: returns at once after one with work, and for a little while after that; else sleeps until a
    /// frame comes, a timer is due, or `until`.
    pub fn rest(&mut self, was_busy: bool, until: Option<Instant>) -> io::Result<()> {
        let now = self.now();
        if was_busy || self.host.stack.has_work() {
            self.idle_since = None;
            return Ok(());
        }
        if now.since(*self.idle_since.get_or_insert(now)) < SPIN {
            return Ok(());
        }
        let due = [self.host.stack.poll_at(), until].into_iter().flatten().min();
        let sleep = due.map_or(SLEEP_MAX, |due| due.since(now)).min(SLEEP_MAX);
        let mut fds = [PollFd::new(self.host.wire.wire.fd(), PollFlags::POLLIN)];
        match ppoll(&mut fds, Some(TimeSpec::from_duration(sleep)), None) {
            Ok(_) | Err(Errno::EINTR) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }
}

/// Keys that nobody can guess.
pub fn random_secret() -> io::Result<Secret> {
    let mut secret = [0; 16];
    std::fs::File::open("/dev/urandom")?.read_exact(&mut secret)?;
    Ok(Secret(secret))
}
