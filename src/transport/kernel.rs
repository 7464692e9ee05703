//! A transport of the kernel's own sockets: TCP of the kernel, UNIX sockets, sockets that were inherited.
//!
//! In:    the proxy's commands; readiness, asked for once a turn
//! Out:   system calls on sockets that never block; events
//! Owns:  the connections of one worker, and what they have received that nobody has taken yet
//! Never: waits; makes a listening socket: those are opened once for all workers ([`sockets`])

mod connection;
pub mod sockets;

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::mem::MaybeUninit;
use std::net::{IpAddr, SocketAddr};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;
use std::time::Duration;

use rustix::event::epoll;
use rustix::io::Errno;
use rustix::net::{
    AddressFamily, SocketAddrAny, SocketAddrUnix, SocketFlags, SocketType, acceptfrom_with,
};
use slotmap::{Key, SlotMap};

use super::{
    ConnOptions, ConnectError, ConnectTo, Ends, Event, ListenAt, ListenError, Place, Remote,
    Status, Token, Transport,
};
use crate::clock::Instant;
use connection::Connection;
use sockets::KernelListener;

slotmap::new_key_type! {
    /// A connection of the kernel.
    pub struct KernelConn;
}

/// How long a listener waits for a descriptor (HAProxy's time).
const STARVED: Duration = Duration::from_millis(100);

/// Readiness that is asked for at once.
const EVENTS_MAX: usize = 256;

/// A listener on this worker.
struct Listening {
    socket: Arc<KernelListener>,
    /// This worker's own descriptor of it: what it waits for is its own too.
    fd: OwnedFd,
    token: Token,
    /// A connection that was taken from the kernel, to know that there is one.
    held: RefCell<Option<(OwnedFd, Option<SocketAddrAny>)>>,
}

/// The kernel's sockets, as a transport.
pub struct KernelTransport {
    epoll: OwnedFd,
    /// Listening sockets of the process, by the number that a [`Place`] has.
    sockets: Vec<Option<Arc<KernelListener>>>,
    listeners: Vec<Option<Listening>>,
    connections: SlotMap<KernelConn, Connection>,
    events: VecDeque<Event>,
    /// The kernel had no descriptor left for one who waits: listeners are asked again after a while.
    starved: Cell<bool>,
    ask_again_at: Instant,
    /// Where the search for a source port begins, where a range of them is stated.
    next_port: u32,
}

/// What epoll gives back for a listener: its place. Keys of connections have a version above that.
const LISTENER_MAX: u64 = 1 << 32;

impl KernelTransport {
    /// A transport for a worker, with the listening sockets that all of them share.
    pub fn new(sockets: Vec<Option<Arc<KernelListener>>>) -> std::io::Result<Self> {
        Ok(KernelTransport {
            epoll: epoll::create(epoll::CreateFlags::CLOEXEC)?,
            sockets,
            listeners: Vec::new(),
            connections: SlotMap::with_key(),
            events: VecDeque::new(),
            starved: Cell::new(false),
            ask_again_at: Instant::from_micros(0),
            next_port: 0,
        })
    }

    /// The listening sockets are these from now on; those that are listened on stay until they are left.
    pub fn set_sockets(&mut self, sockets: Vec<Option<Arc<KernelListener>>>) {
        self.sockets = sockets;
    }

    /// What to sleep on, if there is any socket.
    pub fn fd(&self) -> Option<BorrowedFd<'_>> {
        let has_some = !self.connections.is_empty() || !self.listeners.is_empty();
        has_some.then(|| self.epoll.as_fd())
    }

    /// Connections.
    pub fn connections_len(&self) -> usize {
        self.connections.len()
    }

    /// Whether events wait to be taken.
    pub fn has_work(&self) -> bool {
        !self.events.is_empty()
    }

    /// Resets all connections.
    pub fn abort_all(&mut self) {
        for (_, connection) in self.connections.drain() {
            connection.abort();
        }
    }

    /// Asks the kernel what has happened; one system call, and none without sockets.
    pub fn poll(&mut self, now: Instant) {
        if self.fd().is_none() {
            return;
        }
        if self.starved.get() && self.ask_again_at <= now {
            self.starved.set(false);
            self.ask_again_at = now + STARVED;
            let tokens = self.listeners.iter().flatten().map(|listening| listening.token);
            self.events.extend(tokens.map(Event::Accept));
        }
        let mut ready = [MaybeUninit::<epoll::Event>::uninit(); EVENTS_MAX];
        let timeout = rustix::time::Timespec { tv_sec: 0, tv_nsec: 0 };
        // A signal in between is no harm: the next turn asks again.
        let Ok((ready, _)) = epoll::wait(&self.epoll, &mut ready, Some(&timeout)) else { return };
        for &mut epoll::Event { flags, data } in ready {
            let data = data.u64();
            if data < LISTENER_MAX {
                let listener = self.listeners.get(data as usize).and_then(Option::as_ref);
                self.events.extend(listener.map(|listener| Event::Accept(listener.token)));
                continue;
            }
            let key = KernelConn::from(slotmap::KeyData::from_ffi(data));
            if let Some(connection) = self.connections.get_mut(key) {
                connection.is_ready(flags);
                connection.fill();
                self.events.push_back(Event::Connection(connection.token));
            }
        }
    }

    fn add(&mut self, connection: Connection) -> std::io::Result<KernelConn> {
        let key = self.connections.insert(connection);
        let flags = epoll::EventFlags::IN
            | epoll::EventFlags::OUT
            | epoll::EventFlags::RDHUP
            | epoll::EventFlags::ET;
        let data = epoll::EventData::new_u64(key.data().as_ffi());
        let added = epoll::add(&self.epoll, self.connections[key].fd(), data, flags);
        if added.is_err() {
            self.connections.remove(key);
        }
        added.map(|()| key).map_err(Into::into)
    }

    /// Takes received bytes as they lie, and gives them to `sink`, which says how many it took.
    pub(super) fn drain(
        &mut self,
        from: KernelConn,
        max: usize,
        mut sink: impl FnMut(&mut Self, &[u8]) -> usize,
    ) -> usize {
        let mut moved = 0;
        loop {
            let Some(source) = self.connections.get_mut(from) else { return moved };
            source.fill();
            let bytes = source.take_received();
            let len = bytes.len().min(max - moved);
            let taken = if len > 0 { sink(self, &bytes[..len]) } else { 0 };
            let source = self.connections.get_mut(from).expect("a sink leaves it where it is");
            source.give_back(bytes, taken);
            moved += taken;
            // A sink that took less is full; bytes behind these are there if any were.
            if taken == 0 || taken < len || moved == max {
                return moved;
            }
        }
    }
}

impl Transport for KernelTransport {
    type Conn = KernelConn;
    type Listener = usize;

    fn listen(&mut self, at: &ListenAt, token: Token) -> Result<usize, ListenError> {
        let Place::Kernel(number) = at.place else {
            panic!("{:?} is not a socket of the kernel", at.place)
        };
        let socket = self.sockets[number].clone().ok_or(ListenError::InUse)?;
        let fd = socket.share().map_err(|_| ListenError::InUse)?;
        let index = self.listeners.len();
        // One worker is woken for a connection, not all of them.
        let flags = epoll::EventFlags::IN | epoll::EventFlags::ET | epoll::EventFlags::EXCLUSIVE;
        let data = epoll::EventData::new_u64(index as u64);
        epoll::add(&self.epoll, &fd, data, flags).map_err(|_| ListenError::InUse)?;
        self.listeners.push(Some(Listening { socket, fd, token, held: None.into() }));
        // Who has come before would not be told of.
        self.events.push_back(Event::Accept(token));
        Ok(index)
    }

    fn unlisten(&mut self, listener: usize, _: Instant) {
        if let Some(listening) = self.listeners[listener].take() {
            // The descriptor may be shared with other workers, and epoll knows it by that.
            let _ = epoll::delete(&self.epoll, &listening.fd);
            listening.socket.stop();
        }
    }

    fn has_waiting(&self, listener: usize) -> bool {
        let Some(listening) = &self.listeners[listener] else { return false };
        let mut held = listening.held.borrow_mut();
        if held.is_none() {
            let flags = SocketFlags::NONBLOCK | SocketFlags::CLOEXEC;
            match acceptfrom_with(&listening.fd, flags) {
                Ok(accepted) => *held = Some(accepted),
                // Who waits is not told of again by the kernel.
                Err(Errno::MFILE | Errno::NFILE | Errno::NOBUFS | Errno::NOMEM) => {
                    self.starved.set(true);
                }
                Err(_) => {}
            }
        }
        held.is_some()
    }

    fn accept(&mut self, listener: usize, token: Token) -> Option<KernelConn> {
        if !self.has_waiting(listener) {
            return None;
        }
        let held = self.listeners[listener].as_ref()?.held.borrow_mut().take();
        let (fd, peer) = held?;
        let peer = peer.and_then(|peer| SocketAddr::try_from(peer).ok());
        let local = rustix::net::getsockname(&fd).ok();
        let local = local.and_then(|local| SocketAddr::try_from(local).ok());
        let canonical = |end: SocketAddr| SocketAddr::new(end.ip().to_canonical(), end.port());
        let ends = Ends { local: local.map(canonical), remote: peer.map(canonical) };
        if ends.remote.is_some() {
            let _ = rustix::net::sockopt::set_tcp_nodelay(&fd, true);
        }
        self.add(Connection::accepted(fd, token, ends)).ok()
    }

    fn connect(
        &mut self,
        to: &ConnectTo,
        token: Token,
        _: Instant,
    ) -> Result<KernelConn, ConnectError> {
        let connection = match &to.remote {
            Remote::Kernel(remote) | Remote::Wire(remote) => {
                let domain =
                    if remote.is_ipv6() { AddressFamily::INET6 } else { AddressFamily::INET };
                let fd = socket(domain)?;
                let _ = rustix::net::sockopt::set_tcp_nodelay(&fd, true);
                sockets::set_options(&fd, &to.options);
                sockets::bind_source(&fd, &to.source, remote, &mut self.next_port)?;
                Connection::connecting(fd, token, remote)?
            }
            Remote::Unix(address) => {
                let fd = socket(AddressFamily::UNIX)?;
                let address: SocketAddrUnix =
                    sockets::unix_address(address).map_err(|_| ConnectError::Refused)?;
                Connection::connecting(fd, token, &address)?
            }
        };
        self.add(connection).map_err(|_| ConnectError::NoSocket)
    }

    fn configure(&mut self, conn: KernelConn, options: &ConnOptions) {
        if let Some(connection) = self.connections.get(conn) {
            sockets::set_options(connection.fd(), options);
        }
    }

    fn ends(&self, conn: KernelConn) -> Option<Ends> {
        self.connections.get(conn).map(Connection::ends)
    }

    fn is_own(&self, address: IpAddr) -> bool {
        // An address of this host is one that a socket can have.
        let domain = if address.is_ipv6() { AddressFamily::INET6 } else { AddressFamily::INET };
        socket(domain).is_ok_and(|fd| rustix::net::bind(&fd, &SocketAddr::new(address, 0)).is_ok())
    }

    fn status(&self, conn: KernelConn) -> Option<Status> {
        self.connections.get(conn).map(Connection::status)
    }

    fn forward(&mut self, from: KernelConn, to: KernelConn, max: usize, now: Instant) -> usize {
        self.drain(from, max, |transport, bytes| transport.send(to, bytes, now))
    }

    fn peek(&self, conn: KernelConn, offset: usize, out: &mut [u8]) -> usize {
        self.connections.get(conn).map_or(0, |connection| connection.peek(offset, out))
    }

    fn recv(&mut self, conn: KernelConn, out: &mut [u8], _: Instant) -> usize {
        self.connections.get_mut(conn).map_or(0, |connection| connection.recv(out))
    }

    fn send(&mut self, conn: KernelConn, bytes: &[u8], _: Instant) -> usize {
        self.connections.get_mut(conn).map_or(0, |connection| connection.send(bytes))
    }

    fn shut(&mut self, conn: KernelConn, _: Instant) {
        if let Some(connection) = self.connections.get_mut(conn) {
            connection.shut();
        }
    }

    fn close(&mut self, conn: KernelConn, _: Instant) {
        // What was sent is the kernel's to deliver; the descriptor leaves epoll as it closes.
        self.connections.remove(conn);
    }

    fn abort(&mut self, conn: KernelConn, _: Instant) {
        if let Some(connection) = self.connections.remove(conn) {
            connection.abort();
        }
    }

    fn vanish(&mut self, conn: KernelConn, _: Instant) {
        if let Some(connection) = self.connections.remove(conn) {
            connection.vanish();
        }
    }

    fn poll_event(&mut self) -> Option<Event> {
        self.events.pop_front()
    }
}

fn socket(domain: AddressFamily) -> Result<OwnedFd, ConnectError> {
    let flags = SocketFlags::NONBLOCK | SocketFlags::CLOEXEC;
    rustix::net::socket_with(domain, SocketType::STREAM, flags, None)
        .map_err(|_| ConnectError::NoSocket)
}

#[cfg(test)]
mod tests;
