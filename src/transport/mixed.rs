//! The transport of a worker: userspace TCP, and the kernel's sockets beside it.
//!
//! In:    the proxy's commands
//! Out:   the same, to the one that carries the connection
//! Owns:  both
//! Never: loses a byte between them: what one does not take stays with the other

use std::net::IpAddr;

use netstack::{ConnId, ListenerId};

use super::kernel::{KernelConn, KernelTransport};
use super::stack::StackTransport;
use super::{
    ConnOptions, ConnectError, ConnectTo, Ends, Event, ListenAt, ListenError, Place, Remote,
    Status, Token, Transport,
};
use crate::clock::Instant;

/// Bytes that are carried over at a time.
const CHUNK: usize = 16 * 1024;

/// Both transports.
pub struct MixedTransport {
    /// Userspace TCP.
    pub wires: StackTransport,
    /// The kernel's sockets.
    pub kernel: KernelTransport,
}

/// A connection of either.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MixedConn {
    /// Of userspace TCP.
    Wire(ConnId),
    /// Of the kernel.
    Kernel(KernelConn),
}

/// A listener of either.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MixedListener {
    /// Of userspace TCP.
    Wire(ListenerId),
    /// Of the kernel.
    Kernel(usize),
}

use MixedConn::{Kernel, Wire};

impl MixedTransport {
    /// Moves bytes from the wires to a socket.
    fn wire_to_kernel(&mut self, from: ConnId, to: KernelConn, max: usize, now: Instant) -> usize {
        let mut moved = 0;
        let mut chunk = [0; CHUNK];
        while moved < max {
            let len = self.wires.peek(from, 0, &mut chunk[..CHUNK.min(max - moved)]);
            let taken = self.kernel.send(to, &chunk[..len], now);
            self.wires.recv(from, &mut chunk[..taken], now);
            moved += taken;
            if taken == 0 || taken < len {
                break;
            }
        }
        moved
    }
}

impl Transport for MixedTransport {
    type Conn = MixedConn;
    type Listener = MixedListener;

    fn listen(&mut self, at: &ListenAt, token: Token) -> Result<MixedListener, ListenError> {
        match at.place {
            Place::Wire(_) => self.wires.listen(at, token).map(MixedListener::Wire),
            Place::Kernel(_) => self.kernel.listen(at, token).map(MixedListener::Kernel),
        }
    }

    fn unlisten(&mut self, listener: MixedListener, now: Instant) {
        match listener {
            MixedListener::Wire(listener) => self.wires.unlisten(listener, now),
            MixedListener::Kernel(listener) => self.kernel.unlisten(listener, now),
        }
    }

    fn has_waiting(&self, listener: MixedListener) -> bool {
        match listener {
            MixedListener::Wire(listener) => self.wires.has_waiting(listener),
            MixedListener::Kernel(listener) => self.kernel.has_waiting(listener),
        }
    }

    fn accept(&mut self, listener: MixedListener, token: Token) -> Option<MixedConn> {
        match listener {
            MixedListener::Wire(listener) => self.wires.accept(listener, token).map(Wire),
            MixedListener::Kernel(listener) => self.kernel.accept(listener, token).map(Kernel),
        }
    }

    fn connect(
        &mut self,
        to: &ConnectTo,
        token: Token,
        now: Instant,
    ) -> Result<MixedConn, ConnectError> {
        match to.remote {
            Remote::Wire(_) => self.wires.connect(to, token, now).map(Wire),
            Remote::Kernel(_) | Remote::Unix(_) => self.kernel.connect(to, token, now).map(Kernel),
        }
    }

    fn configure(&mut self, conn: MixedConn, options: &ConnOptions) {
        match conn {
            Wire(conn) => self.wires.configure(conn, options),
            Kernel(conn) => self.kernel.configure(conn, options),
        }
    }

    fn ends(&self, conn: MixedConn) -> Option<Ends> {
        match conn {
            Wire(conn) => self.wires.ends(conn),
            Kernel(conn) => self.kernel.ends(conn),
        }
    }

    fn is_own(&self, address: IpAddr) -> bool {
        self.wires.is_own(address) || self.kernel.is_own(address)
    }

    fn status(&self, conn: MixedConn) -> Option<Status> {
        match conn {
            Wire(conn) => self.wires.status(conn),
            Kernel(conn) => self.kernel.status(conn),
        }
    }

    fn forward(&mut self, from: MixedConn, to: MixedConn, max: usize, now: Instant) -> usize {
        match (from, to) {
            (Wire(from), Wire(to)) => self.wires.forward(from, to, max, now),
            (Kernel(from), Kernel(to)) => self.kernel.forward(from, to, max, now),
            (Wire(from), Kernel(to)) => self.wire_to_kernel(from, to, max, now),
            (Kernel(from), Wire(to)) => {
                let wires = &mut self.wires;
                self.kernel.drain(from, max, |_, bytes| wires.send(to, bytes, now))
            }
        }
    }

    fn peek(&self, conn: MixedConn, offset: usize, out: &mut [u8]) -> usize {
        match conn {
            Wire(conn) => self.wires.peek(conn, offset, out),
            Kernel(conn) => self.kernel.peek(conn, offset, out),
        }
    }

    fn recv(&mut self, conn: MixedConn, out: &mut [u8], now: Instant) -> usize {
        match conn {
            Wire(conn) => self.wires.recv(conn, out, now),
            Kernel(conn) => self.kernel.recv(conn, out, now),
        }
    }

    fn send(&mut self, conn: MixedConn, bytes: &[u8], now: Instant) -> usize {
        match conn {
            Wire(conn) => self.wires.send(conn, bytes, now),
            Kernel(conn) => self.kernel.send(conn, bytes, now),
        }
    }

    fn shut(&mut self, conn: MixedConn, now: Instant) {
        match conn {
            Wire(conn) => self.wires.shut(conn, now),
            Kernel(conn) => self.kernel.shut(conn, now),
        }
    }

    fn close(&mut self, conn: MixedConn, now: Instant) {
        match conn {
            Wire(conn) => self.wires.close(conn, now),
            Kernel(conn) => self.kernel.close(conn, now),
        }
    }

    fn abort(&mut self, conn: MixedConn, now: Instant) {
        match conn {
            Wire(conn) => self.wires.abort(conn, now),
            Kernel(conn) => self.kernel.abort(conn, now),
        }
    }

    fn vanish(&mut self, conn: MixedConn, now: Instant) {
        match conn {
            Wire(conn) => self.wires.vanish(conn, now),
            Kernel(conn) => self.kernel.vanish(conn, now),
        }
    }

    fn poll_event(&mut self) -> Option<Event> {
        self.wires.poll_event().or_else(|| self.kernel.poll_event())
    }
}
