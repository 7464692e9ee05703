//! smoltcp's complete stack as a host: a second opinion on TCP.
//!
//! In:    as [`Host`]
//! Out:   as [`Host`]; there is always news of every conversation
//! Owns:  a socket for each conversation

use std::collections::{HashMap, HashSet, VecDeque};

use netstack::Instant;
use smoltcp::iface::{Config, Interface, SocketHandle, SocketSet};
use smoltcp::phy::{Device, DeviceCapabilities, Medium, RxToken, TxToken};
use smoltcp::socket::tcp::{self, State};
use smoltcp::time::{Duration, Instant as PeerInstant};
use smoltcp::wire::{EthernetAddress, HardwareAddress, IpCidr};

use super::{Condition, Host, ip, port};
use crate::common::{OWN_MAC, PEER_MAC};
use crate::scenario::Scenario;

/// The first port of its own ends.
const FIRST_PORT: u16 = 40_000;

/// Between its keepalives.
const KEEP_ALIVE: Duration = Duration::from_secs(5);

pub struct SmoltcpHost {
    interface: Interface,
    sockets: SocketSet<'static>,
    /// By conversation.
    handles: HashMap<usize, SocketHandle>,
    /// Conversations that were about to end in order.
    ended: HashSet<usize>,
    /// What they have not read yet: a socket forgets it when its TIME-WAIT is over.
    unread: HashMap<usize, VecDeque<u8>>,
    device: Port,
    side: usize,
    ipv6: bool,
    socket_buffer: usize,
    news: VecDeque<usize>,
}

/// Its end of the wire.
#[derive(Default)]
struct Port {
    received: VecDeque<Vec<u8>>,
    sent: Vec<Vec<u8>>,
    mtu: usize,
}

struct Received(Vec<u8>);
struct Place<'a>(&'a mut Vec<Vec<u8>>);

impl Device for Port {
    type RxToken<'a> = Received;
    type TxToken<'a> = Place<'a>;

    fn receive(&mut self, _: PeerInstant) -> Option<(Received, Place<'_>)> {
        Some((Received(self.received.pop_front()?), Place(&mut self.sent)))
    }

    fn transmit(&mut self, _: PeerInstant) -> Option<Place<'_>> {
        Some(Place(&mut self.sent))
    }

    fn capabilities(&self) -> DeviceCapabilities {
        let mut capabilities = DeviceCapabilities::default();
        capabilities.medium = Medium::Ethernet;
        capabilities.max_transmission_unit = self.mtu + 14;
        capabilities
    }
}

impl RxToken for Received {
    fn consume<R, F: FnOnce(&[u8]) -> R>(self, f: F) -> R {
        f(&self.0)
    }
}

impl TxToken for Place<'_> {
    fn consume<R, F: FnOnce(&mut [u8]) -> R>(self, len: usize, f: F) -> R {
        let mut bytes = vec![0; len];
        let result = f(&mut bytes);
        self.0.push(bytes);
        result
    }
}

fn peer_time(now: Instant) -> PeerInstant {
    PeerInstant::from_micros(now.micros() as i64)
}

impl SmoltcpHost {
    pub fn new(scenario: &Scenario, side: usize) -> SmoltcpHost {
        let means = scenario.means[side];
        let mut device = Port { mtu: usize::from(means.mtu), ..Port::default() };
        let mac = EthernetAddress([OWN_MAC, PEER_MAC][side]);
        let mut config = Config::new(HardwareAddress::Ethernet(mac));
        config.random_seed = scenario.seed;
        let mut interface = Interface::new(config, &mut device, PeerInstant::ZERO);
        interface.update_ip_addrs(|addresses| {
            addresses.push(IpCidr::new(ip(false, side).into(), 24)).expect("room");
            addresses.push(IpCidr::new(ip(true, side).into(), 64)).expect("room");
        });
        SmoltcpHost {
            interface,
            sockets: SocketSet::new(Vec::new()),
            handles: HashMap::new(),
            ended: HashSet::new(),
            unread: HashMap::new(),
            device,
            side,
            ipv6: scenario.ipv6,
            socket_buffer: means.socket_buffer,
            news: VecDeque::new(),
        }
    }

    fn add(&mut self, index: usize) -> SocketHandle {
        let buffer = || tcp::SocketBuffer::new(vec![0; self.socket_buffer]);
        let mut socket = tcp::Socket::new(buffer(), buffer());
        socket.set_nagle_enabled(index.is_multiple_of(2));
        // It forgets its retransmission timer when a window closes over what is in flight (as an old window
        // that comes late does): the answers to its keepalives then make it repeat what was lost.
        socket.set_keep_alive(Some(KEEP_ALIVE));
        let handle = self.sockets.add(socket);
        self.handles.insert(index, handle);
        handle
    }

    fn socket(&mut self, index: usize) -> Option<&mut tcp::Socket<'static>> {
        let handle = *self.handles.get(&index)?;
        Some(self.sockets.get_mut::<tcp::Socket>(handle))
    }
}

impl Host for SmoltcpHost {
    fn receive(&mut self, frame: &[u8], _: Instant) {
        self.device.received.push_back(frame.to_vec());
    }

    fn poll(&mut self, now: Instant, out: &mut Vec<Vec<u8>>) {
        self.interface.poll(peer_time(now), &mut self.device, &mut self.sockets);
        out.append(&mut self.device.sent);
        for (&index, &handle) in &self.handles {
            let socket = self.sockets.get_mut::<tcp::Socket>(handle);
            if socket.state() == State::TimeWait {
                let unread = self.unread.entry(index).or_default();
                while let Ok(1..) = socket.recv(|bytes| {
                    unread.extend(&*bytes);
                    (bytes.len(), bytes.len())
                }) {}
            }
        }
        self.news.extend(self.handles.keys());
        self.news.make_contiguous().sort_unstable();
    }

    fn poll_at(&mut self, now: Instant) -> Option<Instant> {
        let at = self.interface.poll_at(peer_time(now), &self.sockets)?;
        Some(Instant::from_micros(at.total_micros() as u64))
    }

    fn poll_news(&mut self) -> Option<usize> {
        self.news.pop_front()
    }

    fn listen(&mut self, index: usize) {
        self.add(index);
        self.socket(index).expect("it was just added").listen(port(index)).expect("listening");
    }

    fn connect(&mut self, index: usize, _: Instant) {
        let handle = self.add(index);
        let remote = (ip(self.ipv6, 1 - self.side), port(index));
        let context = self.interface.context();
        let socket = self.sockets.get_mut::<tcp::Socket>(handle);
        socket.connect(context, remote, FIRST_PORT + index as u16).expect("connecting");
    }

    fn condition(&mut self, index: usize) -> Condition {
        let has_unread = self.unread.get(&index).is_some_and(|bytes| !bytes.is_empty());
        let Some(socket) = self.socket(index) else { return Condition::default() };
        let (state, may_recv) = (socket.state(), socket.may_recv() || has_unread);
        let is_opening = matches!(state, State::Listen | State::SynSent | State::SynReceived);
        // A socket goes to CLOSED in order from these alone.
        if matches!(state, State::LastAck | State::Closing | State::TimeWait) {
            self.ended.insert(index);
        }
        let failed = state == State::Closed && !self.ended.contains(&index);
        Condition { is_open: !is_opening, eof: !is_opening && !failed && !may_recv, failed }
    }

    fn send(&mut self, index: usize, bytes: &[u8], _: Instant) -> usize {
        self.socket(index).map_or(0, |socket| socket.send_slice(bytes).unwrap_or(0))
    }

    fn recv(&mut self, index: usize, out: &mut [u8], _: Instant) -> usize {
        let unread = self.unread.entry(index).or_default();
        if unread.is_empty() {
            return self.socket(index).map_or(0, |socket| socket.recv_slice(out).unwrap_or(0));
        }
        let count = out.len().min(unread.len());
        for (place, byte) in out.iter_mut().zip(unread.drain(..count)) {
            *place = byte;
        }
        count
    }

    fn shut(&mut self, index: usize, _: Instant) {
        if let Some(socket) = self.socket(index) {
            socket.close();
        }
    }

    fn close(&mut self, index: usize, now: Instant) {
        self.shut(index, now);
        self.handles.remove(&index);
    }

    fn abort(&mut self, index: usize, _: Instant) {
        if let Some(socket) = self.socket(index) {
            socket.abort();
        }
        self.handles.remove(&index);
    }

    /// What it does after its users have left is its own affair.
    fn is_empty(&self) -> bool {
        true
    }

    fn assert_invariants(&self) {}

    fn retransmits(&self) -> u64 {
        0
    }
}
