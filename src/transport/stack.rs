//! The transport of production: userspace TCP.
//!
//! In:    the proxy's commands
//! Out:   the stack's, word for word
//! Owns:  the stack of one worker
//! Never: adds anything

use std::net::SocketAddr;

use netstack::fib::WireId;
use netstack::{ConnId, ConnectionError, Listen, ListenerId, Stack, State};

use super::{ConnectError, Event, Failure, ListenAt, ListenError, Status, Token, Transport};
use crate::clock::Instant;

/// A stack, as a transport.
pub struct StackTransport {
    /// The stack; the worker feeds it with frames and time.
    pub stack: Stack,
}

impl Transport for StackTransport {
    type Conn = ConnId;
    type Listener = ListenerId;

    fn listen(&mut self, at: &ListenAt, token: Token) -> Result<ListenerId, ListenError> {
        let listen = Listen {
            address: at.address,
            ipv6: at.ipv6,
            port: at.port,
            wire: at.interface.map(WireId),
            backlog: at.backlog,
            user: token.0,
        };
        self.stack.listen(listen).map_err(|netstack::ListenError::InUse| ListenError::InUse)
    }

    fn unlisten(&mut self, listener: ListenerId, now: Instant) {
        self.stack.unlisten(listener, now);
    }

    fn has_waiting(&self, listener: ListenerId) -> bool {
        self.stack.accept_queue_len(listener) > 0
    }

    fn accept(&mut self, listener: ListenerId, token: Token) -> Option<ConnId> {
        self.stack.accept(listener, token.0)
    }

    fn connect(
        &mut self,
        remote: SocketAddr,
        token: Token,
        now: Instant,
    ) -> Result<ConnId, ConnectError> {
        self.stack.connect(remote, None, token.0, now).map_err(|error| match error {
            netstack::ConnectError::NoRoute => ConnectError::NoRoute,
            netstack::ConnectError::NoSourcePort => ConnectError::NoSourcePort,
        })
    }

    fn ends(&self, conn: ConnId) -> Option<(SocketAddr, SocketAddr)> {
        let tuple = self.stack.tuple(conn)?;
        let address = |end: netstack::Endpoint| SocketAddr::new(end.ip, end.port);
        Some((address(tuple.local), address(tuple.remote)))
    }

    fn status(&self, conn: ConnId) -> Option<Status> {
        let status = self.stack.status(conn)?;
        Some(Status {
            is_open: !matches!(status.state, State::SynSent | State::SynReceived | State::Closed),
            readable: status.readable,
            eof: status.eof,
            failure: status.error.map(|error| match error {
                ConnectionError::Refused => Failure::Refused,
                ConnectionError::Reset => Failure::Reset,
                ConnectionError::TimedOut => Failure::TimedOut,
                ConnectionError::Unreachable => Failure::Unreachable,
            }),
        })
    }

    fn forward(&mut self, from: ConnId, to: ConnId, max: usize, now: Instant) -> usize {
        self.stack.forward(from, to, max, now)
    }

    fn shut(&mut self, conn: ConnId, now: Instant) {
        self.stack.shut(conn, now);
    }

    fn close(&mut self, conn: ConnId, now: Instant) {
        self.stack.close(conn, now);
    }

    fn abort(&mut self, conn: ConnId, now: Instant) {
        self.stack.abort(conn, now);
    }

    fn poll_event(&mut self) -> Option<Event> {
        Some(match self.stack.poll_event()? {
            netstack::Event::Accept(_, user) => Event::Accept(Token(user)),
            netstack::Event::Connection(_, user) => Event::Connection(Token(user)),
        })
    }
}
