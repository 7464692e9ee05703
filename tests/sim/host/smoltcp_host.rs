//! A host that speaks smoltcp's complete stack: a second implementation of TCP, written by others.
//!
//! In:    frames, commands
//! Out:   frames
//! Owns:  an interface, its sockets, and the listening sockets that smoltcp needs one of per connection

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::time::Duration;

use netstack::Instant;
use smoltcp::iface::{Config, Interface, SocketHandle, SocketSet};
use smoltcp::phy::{self, Device, DeviceCapabilities, Medium};
use smoltcp::socket::tcp;
use smoltcp::time;
use smoltcp::wire::{EthernetAddress, HardwareAddress, IpCidr};

use super::{Condition, Host, Place, Socket};
use crate::network::{self, Flow};

/// smoltcp retransmits without end unless it is told.
const TIMEOUT: time::Duration = time::Duration::from_secs(300);
/// smoltcp says "now" when it cannot tell a time: looked at again after this.
const IMPATIENCE: Duration = Duration::from_millis(1);
/// The first port of its own ends; each is used once.
const FIRST_PORT: u16 = 30_000;

/// A host with smoltcp.
pub struct SmoltcpHost {
    interface: Interface,
    device: Queues,
    sockets: SocketSet<'static>,
    /// Bytes of each buffer of a socket.
    buffer: usize,
    port: Option<u16>,
    /// The socket that waits for the next peer, and those in a handshake.
    listening: Vec<SocketHandle>,
    accepted: VecDeque<Socket>,
    /// smoltcp's names by [`Socket`]; handles of sockets that are gone are used again.
    handles: Vec<Option<SocketHandle>>,
    shut: Vec<bool>,
    /// The program has left these.
    closing: Vec<Socket>,
    next_port: u16,
}

impl SmoltcpHost {
    pub fn new(place: Place, mtu: u16, buffer: usize, seed: u64) -> Self {
        let mut device = Queues { rx: VecDeque::new(), tx: Vec::new(), mtu: usize::from(mtu) + 14 };
        let mut config = Config::new(HardwareAddress::Ethernet(EthernetAddress(place.mac)));
        config.random_seed = seed;
        let mut interface = Interface::new(config, &mut device, time::Instant::ZERO);
        interface.update_ip_addrs(|addresses| {
            let prefix = if place.ip.is_ipv6() { 64 } else { 24 };
            addresses.push(IpCidr::new(place.ip.into(), prefix)).expect("room for one address");
        });
        SmoltcpHost {
            interface,
            device,
            sockets: SocketSet::new(Vec::new()),
            buffer,
            port: None,
            listening: Vec::new(),
            accepted: VecDeque::new(),
            handles: Vec::new(),
            shut: Vec::new(),
            closing: Vec::new(),
            next_port: FIRST_PORT,
        }
    }

    fn new_socket(&mut self) -> SocketHandle {
        let buffer = || tcp::SocketBuffer::new(vec![0; self.buffer]);
        let mut socket = tcp::Socket::new(buffer(), buffer());
        socket.set_timeout(Some(TIMEOUT));
        socket.set_nagle_enabled(false);
        self.sockets.add(socket)
    }

    fn name(&mut self, handle: SocketHandle) -> Socket {
        self.handles.push(Some(handle));
        self.shut.push(false);
        Socket(self.handles.len() - 1)
    }

    fn socket(&mut self, socket: Socket) -> Option<&mut tcp::Socket<'static>> {
        let handle = self.handles[socket.0]?;
        Some(self.sockets.get_mut(handle))
    }

    /// One socket listens at any time; those that met a peer are accepted once they are open.
    fn tend_listeners(&mut self) {
        let Some(port) = self.port else { return };
        for handle in std::mem::take(&mut self.listening) {
            match self.sockets.get::<tcp::Socket<'_>>(handle).state() {
                tcp::State::Listen | tcp::State::SynReceived => self.listening.push(handle),
                tcp::State::Closed => {
                    self.sockets.remove(handle);
                }
                _ => {
                    let socket = self.name(handle);
                    self.accepted.push_back(socket);
                }
            }
        }
        let is_free = |handle: &SocketHandle| {
            self.sockets.get::<tcp::Socket<'_>>(*handle).state() == tcp::State::Listen
        };
        if !self.listening.iter().any(is_free) {
            let handle = self.new_socket();
            let listened = self.sockets.get_mut::<tcp::Socket<'_>>(handle).listen(port);
            listened.expect("a new socket can listen");
            self.listening.push(handle);
        }
    }

    /// Whether a socket has this flow. smoltcp gives a SYN to the first socket that would take it: one
    /// that comes twice can take a second listening socket, and both answer from then on.
    fn knows(&self, flow: &Flow) -> bool {
        self.sockets.iter().any(|(_, socket)| match socket {
            smoltcp::socket::Socket::Tcp(tcp) => {
                tcp.local_endpoint() == Some(flow.destination.into())
                    && tcp.remote_endpoint() == Some(flow.source.into())
            }
        })
    }

    fn bury(&mut self) {
        let sockets = &mut self.sockets;
        let handles = &mut self.handles;
        self.closing.retain(|socket| {
            let handle = handles[socket.0].expect("a socket is buried once");
            let tcp = sockets.get::<tcp::Socket<'_>>(handle);
            // While it still knows its peer, it has a RST to send.
            let is_gone = tcp.state() == tcp::State::Closed && tcp.remote_endpoint().is_none();
            if is_gone {
                sockets.remove(handle);
                handles[socket.0] = None;
            }
            !is_gone
        });
    }

    fn turn(&mut self, now: Instant) {
        let now = time::Instant::from_micros(now.micros() as i64);
        self.interface.poll(now, &mut self.device, &mut self.sockets);
        self.tend_listeners();
    }
}

impl Host for SmoltcpHost {
    fn receive(&mut self, frame: &[u8], now: Instant) {
        if network::opens(frame).is_some_and(|flow| self.knows(&flow)) {
            return;
        }
        self.device.rx.push_back(frame.to_vec());
        // A SYN takes the listening socket: the next frame must find another.
        self.turn(now);
    }

    fn poll(&mut self, now: Instant, out: &mut Vec<Vec<u8>>) {
        self.turn(now);
        self.bury();
        out.append(&mut self.device.tx);
    }

    fn poll_at(&mut self, now: Instant) -> Option<Instant> {
        let at = self
            .interface
            .poll_at(time::Instant::from_micros(now.micros() as i64), &self.sockets)?;
        let at = Instant::from_micros(at.total_micros().max(0) as u64);
        Some(if at > now { at } else { now + IMPATIENCE })
    }

    fn listen(&mut self, port: u16) {
        self.port = Some(port);
        self.tend_listeners();
    }

    fn accept(&mut self) -> Option<Socket> {
        self.accepted.pop_front()
    }

    fn connect(&mut self, to: SocketAddr, _: Instant) -> Option<Socket> {
        let handle = self.new_socket();
        let socket = self.sockets.get_mut::<tcp::Socket<'_>>(handle);
        let connected = socket.connect(self.interface.context(), to, self.next_port);
        connected.expect("a new socket can connect");
        self.next_port += 1;
        Some(self.name(handle))
    }

    fn send(&mut self, socket: Socket, bytes: &[u8], _: Instant) -> usize {
        self.socket(socket).and_then(|tcp| tcp.send_slice(bytes).ok()).unwrap_or(0)
    }

    fn recv(&mut self, socket: Socket, out: &mut [u8], _: Instant) -> usize {
        self.socket(socket).and_then(|tcp| tcp.recv_slice(out).ok()).unwrap_or(0)
    }

    fn condition(&mut self, socket: Socket) -> Condition {
        let is_shut = self.shut[socket.0];
        let Some(tcp) = self.socket(socket) else {
            return Condition { failed: true, ..Condition::default() };
        };
        let state = tcp.state();
        let eof = tcp.peek(1) == Err(tcp::RecvError::Finished);
        let is_open =
            !matches!(state, tcp::State::SynSent | tcp::State::SynReceived | tcp::State::Closed);
        // Closed in order means: by both, and all was read.
        let has_unread = tcp.recv_queue() > 0;
        let failed = state == tcp::State::Closed && !has_unread && !(eof && is_shut);
        Condition { is_open, eof, failed }
    }

    fn ends(&mut self, socket: Socket) -> Option<(SocketAddr, SocketAddr)> {
        let tcp = self.socket(socket)?;
        let (local, remote) = (tcp.local_endpoint()?, tcp.remote_endpoint()?);
        Some((
            SocketAddr::new(local.addr.into(), local.port),
            SocketAddr::new(remote.addr.into(), remote.port),
        ))
    }

    fn shut(&mut self, socket: Socket, _: Instant) {
        self.shut[socket.0] = true;
        if let Some(tcp) = self.socket(socket) {
            tcp.close();
        }
    }

    fn close(&mut self, socket: Socket, now: Instant) {
        self.shut(socket, now);
        self.closing.push(socket);
    }

    fn abort(&mut self, socket: Socket, _: Instant) {
        if let Some(tcp) = self.socket(socket) {
            tcp.abort();
        }
        self.closing.push(socket);
    }
}

/// The device of an interface: two queues.
struct Queues {
    rx: VecDeque<Vec<u8>>,
    tx: Vec<Vec<u8>>,
    mtu: usize,
}

struct RxToken(Vec<u8>);
struct TxToken<'a>(&'a mut Vec<Vec<u8>>);

impl Device for Queues {
    type RxToken<'a> = RxToken;
    type TxToken<'a> = TxToken<'a>;

    fn receive(&mut self, _: time::Instant) -> Option<(RxToken, TxToken<'_>)> {
        let frame = self.rx.pop_front()?;
        Some((RxToken(frame), TxToken(&mut self.tx)))
    }

    fn transmit(&mut self, _: time::Instant) -> Option<TxToken<'_>> {
        Some(TxToken(&mut self.tx))
    }

    fn capabilities(&self) -> DeviceCapabilities {
        let mut capabilities = DeviceCapabilities::default();
        capabilities.medium = Medium::Ethernet;
        capabilities.max_transmission_unit = self.mtu;
        capabilities
    }
}

impl phy::RxToken for RxToken {
    fn consume<R, F: FnOnce(&[u8]) -> R>(self, f: F) -> R {
        f(&self.0)
    }
}

impl phy::TxToken for TxToken<'_> {
    fn consume<R, F: FnOnce(&mut [u8]) -> R>(self, len: usize, f: F) -> R {
        let mut bytes = vec![0; len];
        let result = f(&mut bytes);
        self.0.push(bytes);
        result
    }
}
