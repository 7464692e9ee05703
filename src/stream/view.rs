//! What an operator sees of a stream.
//!
//! In:    a stream, at one moment
//! Out:   a copy of what is known of it
//! Never: changes anything
//! Read:  docs/management.md, "show sess"

use std::sync::Arc;
use std::time::Duration;

use super::{State, Stream, World};
use crate::clock::Instant;
use crate::config::model::{Bind, ProxyIndex};
use crate::transport::{Ends, Status, Transport};

/// A stream at one moment.
#[derive(Clone, Debug)]
pub struct StreamView {
    /// Its worker, and its name there.
    pub id: (usize, u64),
    /// Its number in the process.
    pub number: u64,
    /// Where it came in.
    pub frontend: ProxyIndex,
    /// Where its servers are, once that is decided.
    pub backend: Option<ProxyIndex>,
    /// Its server.
    pub server: Option<usize>,
    /// Its listener.
    pub bind: Arc<Bind>,
    /// The client, and where it came to.
    pub client: Ends,
    /// The server's connection.
    pub back: Ends,
    /// What it does, in a word.
    pub state: &'static str,
    /// How old it is.
    pub age: Duration,
    /// How often it ran.
    pub calls: u32,
    /// Attempts after the first.
    pub retries: u32,
    /// Bytes from the client and from the server that were moved.
    pub moved: [u64; 2],
    /// Whether the client has closed, and the server.
    pub shut: [bool; 2],
    /// What is known of both connections.
    pub connections: [Option<Status>; 2],
    /// How long nothing has moved.
    pub idle: Duration,
    /// When it is to run again without an event.
    pub expires_in: Option<Duration>,
    /// `nice` of its task.
    pub nice: i32,
}

impl<C: Copy + Eq + std::fmt::Debug> Stream<C> {
    /// What is known of it; `until`: when it runs again without an event.
    pub fn view<T: Transport<Conn = C>>(
        &self,
        until: Option<Instant>,
        world: &World<'_, T>,
        now: Instant,
    ) -> StreamView {
        let state = match self.state {
            State::Greeting(_) => "GRT",
            State::Session => "SES",
            State::Inspect(_) => "INS",
            State::Assign => "REQ",
            State::Queued { .. } => "QUE",
            State::Assigned => "ASS",
            State::TurnAround { .. } => "TAR",
            State::Connecting { .. } => "CON",
            State::Established => "EST",
            State::Serve(_) => "SRV",
        };
        let transport = &*world.transport;
        let back = self.back.and_then(|back| transport.ends(back));
        StreamView {
            id: (world.worker, self.token.0),
            number: self.number,
            frontend: self.frontend,
            backend: self.has_entered.then_some(self.backend),
            server: self.server,
            bind: self.entrance.bind.clone(),
            client: self.ends(transport),
            back: back.unwrap_or(self.back_ends),
            state,
            age: now.since(self.accepted_at),
            calls: self.calls,
            retries: self.retries,
            moved: [self.request.total, self.response.total],
            shut: [self.request.is_shut, self.response.is_shut],
            connections: [
                transport.status(self.front),
                self.back.and_then(|back| transport.status(back)),
            ],
            idle: now.since(self.active_at),
            expires_in: until.map(|until| until.since(now)),
            nice: self.entrance.bind.nice,
        }
    }
}
