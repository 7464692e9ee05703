//! One connection of the kernel.
//!
//! In:    readiness, commands
//! Out:   bytes; what is known of it
//! Owns:  the descriptor, and received bytes that were not taken yet
//! Never: waits, or loses a byte that the kernel gave it

use std::net::SocketAddr;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::Duration;

use rustix::event::epoll::EventFlags;
use rustix::io::Errno;
use rustix::net::addr::SocketAddrArg;
use rustix::net::{RecvFlags, SendFlags, Shutdown, sockopt};

use crate::transport::{ConnectError, Ends, Failure, Status, Token};

/// Bytes that are taken from the kernel before somebody wants them: more than rules can look at.
const RECEIVED_MAX: usize = 64 * 1024;

/// A connection.
pub(super) struct Connection {
    fd: OwnedFd,
    pub(super) token: Token,
    ends: Ends,
    is_open: bool,
    /// The kernel may have bytes for us.
    can_read: bool,
    /// Received and not taken, from `taken` on.
    received: Vec<u8>,
    taken: usize,
    /// The peer has closed.
    fin: bool,
    /// And the kernel has no more of it.
    has_end: bool,
    is_shut: bool,
    failure: Option<Failure>,
}

impl Connection {
    pub(super) fn accepted(fd: OwnedFd, token: Token, ends: Ends) -> Self {
        let mut connection = Self::new(fd, token, ends);
        connection.is_open = true;
        connection
    }

    /// Begins a connection; readiness tells how it went.
    pub(super) fn connecting(
        fd: OwnedFd,
        token: Token,
        to: &impl SocketAddrArg,
    ) -> Result<Self, ConnectError> {
        let is_open = match rustix::net::connect(&fd, to) {
            Ok(()) => true,
            Err(Errno::INPROGRESS) => false,
            Err(Errno::ADDRNOTAVAIL) => return Err(ConnectError::NoSourcePort),
            Err(Errno::NETUNREACH | Errno::HOSTUNREACH) => return Err(ConnectError::NoRoute),
            // Of a UNIX socket: nobody listens, or more wait already than may.
            Err(_) => return Err(ConnectError::Refused),
        };
        let local = rustix::net::getsockname(&fd).ok();
        let local = local.and_then(|local| SocketAddr::try_from(local).ok());
        let remote = rustix::net::getpeername(&fd).ok().flatten();
        let remote = remote.and_then(|remote| SocketAddr::try_from(remote).ok());
        let mut connection = Self::new(fd, token, Ends { local, remote });
        connection.is_open = is_open;
        Ok(connection)
    }

    fn new(fd: OwnedFd, token: Token, ends: Ends) -> Self {
        Connection {
            fd,
            token,
            ends,
            is_open: false,
            can_read: false,
            received: Vec::new(),
            taken: 0,
            fin: false,
            has_end: false,
            is_shut: false,
            failure: None,
        }
    }

    pub(super) fn fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }

    /// Both ends; that of a server is known once it is connected.
    pub(super) fn ends(&self) -> Ends {
        let remote = || SocketAddr::try_from(rustix::net::getpeername(&self.fd).ok()??).ok();
        Ends { remote: self.ends.remote.or_else(remote), ..self.ends }
    }

    /// The kernel tells of readiness.
    pub(super) fn is_ready(&mut self, flags: EventFlags) {
        if flags.intersects(EventFlags::ERR)
            && let Ok(Err(error)) = sockopt::socket_error(&self.fd)
        {
            self.fail(error);
        }
        if flags.contains(EventFlags::OUT) && self.failure.is_none() {
            self.is_open = true;
        }
        if flags.intersects(EventFlags::RDHUP | EventFlags::HUP) && self.is_open {
            self.fin = true;
        }
        if flags.intersects(EventFlags::IN | EventFlags::RDHUP | EventFlags::HUP) {
            self.can_read = true;
        }
    }

    fn fail(&mut self, error: Errno) {
        self.failure.get_or_insert(match error {
            Errno::CONNREFUSED | Errno::NOENT => Failure::Refused,
            Errno::TIMEDOUT => Failure::TimedOut,
            Errno::HOSTUNREACH | Errno::NETUNREACH => Failure::Unreachable,
            _ => Failure::Reset,
        });
    }

    /// Takes from the kernel what it has, as far as there is room.
    pub(super) fn fill(&mut self) {
        if self.taken == self.received.len() {
            self.received.clear();
            self.taken = 0;
        }
        while self.can_read && self.is_open && !self.has_end {
            if self.taken > 0 {
                self.received.drain(..self.taken);
                self.taken = 0;
            }
            let len = self.received.len();
            if len == RECEIVED_MAX {
                return;
            }
            self.received.reserve_exact(RECEIVED_MAX - len);
            let room = rustix::buffer::spare_capacity(&mut self.received);
            match rustix::net::recv(&self.fd, room, RecvFlags::empty()) {
                Ok((0, _)) => {
                    self.fin = true;
                    self.has_end = true;
                }
                Ok(_) => {}
                Err(Errno::AGAIN) => self.can_read = false,
                Err(Errno::INTR) => {}
                Err(error) => {
                    self.fail(error);
                    self.can_read = false;
                }
            }
        }
        if self.received.is_empty() {
            // An idle connection holds no memory.
            self.received = Vec::new();
        }
    }

    /// Bytes of memory that received bytes take.
    #[cfg(test)]
    pub(super) fn held(&self) -> usize {
        self.received.capacity()
    }

    pub(super) fn status(&self) -> Status {
        let readable = self.received.len() - self.taken;
        Status {
            is_open: self.is_open && self.failure.is_none(),
            readable,
            eof: self.has_end && readable == 0,
            fin: self.fin,
            failure: self.failure,
        }
    }

    pub(super) fn peek(&self, offset: usize, out: &mut [u8]) -> usize {
        let bytes = self.received.get(self.taken + offset..).unwrap_or_default();
        let len = bytes.len().min(out.len());
        out[..len].copy_from_slice(&bytes[..len]);
        len
    }

    pub(super) fn recv(&mut self, out: &mut [u8]) -> usize {
        let len = self.peek(0, out);
        self.taken += len;
        self.fill();
        len
    }

    /// Received bytes, out of the connection for as long as somebody reads them.
    pub(super) fn take_received(&mut self) -> Vec<u8> {
        if self.taken > 0 {
            self.received.drain(..self.taken);
            self.taken = 0;
        }
        std::mem::take(&mut self.received)
    }

    /// Gives them back, the first `taken` of which are done with.
    pub(super) fn give_back(&mut self, bytes: Vec<u8>, taken: usize) {
        self.received = bytes;
        self.taken = taken;
        self.fill();
    }

    pub(super) fn send(&mut self, bytes: &[u8]) -> usize {
        let mut sent = 0;
        while sent < bytes.len() && self.failure.is_none() && self.is_open {
            match rustix::net::send(&self.fd, &bytes[sent..], SendFlags::NOSIGNAL) {
                Ok(count) => sent += count,
                Err(Errno::INTR) => {}
                Err(Errno::AGAIN) => break,
                Err(error) => self.fail(error),
            }
        }
        sent
    }

    pub(super) fn shut(&mut self) {
        if !std::mem::replace(&mut self.is_shut, true) {
            let _ = rustix::net::shutdown(&self.fd, Shutdown::Write);
        }
    }

    /// Leaves with a reset.
    pub(super) fn abort(self) {
        let _ = sockopt::set_socket_linger(&self.fd, Some(Duration::ZERO));
    }

    /// Leaves without a word: in repair mode the kernel forgets a connection silently. Who may not ask for that has
    /// the last segment end at the first router.
    pub(super) fn vanish(self) {
        if nix::sys::socket::setsockopt(&self.fd, nix::sys::socket::sockopt::TcpRepair, &1).is_err()
        {
            let _ = sockopt::set_ip_ttl(&self.fd, 1);
            let _ = sockopt::set_ipv6_unicast_hops(&self.fd, Some(1));
        }
    }
}
