//! The transport of production: userspace TCP.
//!
//! In:    the proxy's commands
//! Out:   the stack's, word for word
//! Owns:  the stack of one worker
//! Never: adds anything

use std::net::SocketAddr;

use netstack::fib::WireId;
use netstack::{ConnId, ConnectionError, Listen, ListenerId, SourcePort, Stack, State};

use super::{
    ConnOptions, ConnectError, ConnectTo, Ends, Event, Failure, Keepalive, ListenAt, ListenError,
    Place, Remote, Status, Token, Transport,
};
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
        let Place::Wire(place) = &at.place else {
            panic!("{:?} is not a place of the wires", at.place)
        };
        let listen = Listen {
            address: place.address,
            ipv6: place.ipv6,
            port: place.port,
            wire: place.interface.map(WireId),
            backlog: at.backlog,
            user: token.0,
        };
        let listener =
            self.stack.listen(listen).map_err(|netstack::ListenError::InUse| ListenError::InUse)?;
        self.stack.set_listener_mss(listener, at.mss);
        Ok(listener)
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
        to: &ConnectTo,
        token: Token,
        now: Instant,
    ) -> Result<ConnId, ConnectError> {
        let Remote::Wire(remote) = to.remote else {
            panic!("{:?} is not a peer on the wires", to.remote)
        };
        let source = netstack::Source {
            address: to.source.address,
            port: match &to.source.ports {
                None => SourcePort::Own,
                // A client's port is nobody's part of anything.
                Some(ports) if to.source.is_foreign => SourcePort::Exactly(*ports.start()),
                Some(ports) => SourcePort::Among(ports.clone()),
            },
            wire: to.source.interface.map(WireId),
            mss: to.options.mss,
        };
        let conn =
            self.stack.connect_from(remote, &source, token.0, now).map_err(
                |error| match error {
                    netstack::ConnectError::NoRoute => ConnectError::NoRoute,
                    netstack::ConnectError::NoSourcePort => ConnectError::NoSourcePort,
                },
            )?;
        self.configure(conn, &to.options);
        Ok(conn)
    }

    fn configure(&mut self, conn: ConnId, options: &ConnOptions) {
        if let Some(Keepalive { idle, interval, count }) = options.keepalive {
            let usual = netstack::Keepalive::default();
            let keepalive = netstack::Keepalive {
                idle: idle.unwrap_or(usual.idle),
                interval: interval.unwrap_or(usual.interval),
                count: count.map_or(usual.count, |count| count.clamp(1, 127) as u8),
            };
            self.stack.set_keepalive(conn, Some(keepalive));
        }
        if options.user_timeout.is_some() {
            self.stack.set_user_timeout(conn, options.user_timeout);
        }
    }

    fn ends(&self, conn: ConnId) -> Option<Ends> {
        let tuple = self.stack.tuple(conn)?;
        let address = |end: netstack::Endpoint| Some(SocketAddr::new(end.ip, end.port));
        Some(Ends { local: address(tuple.local), remote: address(tuple.remote) })
    }

    fn is_own(&self, address: std::net::IpAddr) -> bool {
        self.stack.is_own(address)
    }

    fn status(&self, conn: ConnId) -> Option<Status> {
        let status = self.stack.status(conn)?;
        Some(Status {
            is_open: !matches!(status.state, State::SynSent | State::SynReceived | State::Closed),
            readable: status.readable,
            eof: status.eof,
            fin: status.fin,
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

    fn peek(&self, conn: ConnId, offset: usize, out: &mut [u8]) -> usize {
        self.stack.peek(conn, offset, out)
    }

    fn recv(&mut self, conn: ConnId, out: &mut [u8], now: Instant) -> usize {
        self.stack.recv(conn, out, now)
    }

    fn send(&mut self, conn: ConnId, bytes: &[u8], now: Instant) -> usize {
        self.stack.send(conn, bytes, now)
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

    fn vanish(&mut self, conn: ConnId, now: Instant) {
        self.stack.silence(conn, now);
    }

    fn poll_event(&mut self) -> Option<Event> {
        Some(match self.stack.poll_event()? {
            netstack::Event::Accept(_, user) => Event::Accept(Token(user)),
            netstack::Event::Connection(_, user) => Event::Connection(Token(user)),
        })
    }
}
