//! What a client's connection has to say before a server is sought for it.
//!
//! In:    the first bytes of the client
//! Out:   the client's ends as a PROXY header tells them; or how the stream ended without one
//! Never: takes a byte that is the client's own

use super::{Cause, End, Outcome, Phase, State, Stream, World};
use crate::clock::Instant;
use crate::config::model::Proxy;
use crate::proxy_protocol::{self, Parsed};
use crate::transport::Transport;

/// Bytes that are looked at: the longest PROXY header that is taken.
const LOOKED_AT: usize = 4096 + 16;

/// What a connection has to begin with, and until when.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Greeting {
    /// A PROXY header (`accept-proxy`), or it ends.
    ProxyHeader {
        /// `None`: whenever it comes.
        until: Option<Instant>,
    },
    /// Anything at all (`defer-accept`), or it goes on without.
    FirstByte {
        /// The kernel's TCP_DEFER_ACCEPT gives up as well.
        until: Instant,
    },
}

impl Greeting {
    /// A PROXY header, within the time of this proxy.
    pub fn proxy_header(proxy: &Proxy, now: Instant) -> Self {
        let wait = proxy.timeouts.client_hs.or(proxy.timeouts.client);
        Greeting::ProxyHeader { until: wait.map(|wait| now + wait) }
    }
}

impl<C: Copy + Eq + std::fmt::Debug> Stream<C> {
    /// From now on the connection has to begin with a PROXY header.
    pub(super) fn expect_proxy(&mut self, proxy: &Proxy, now: Instant) {
        self.state = State::Greeting(Greeting::proxy_header(proxy, now));
    }

    /// Looks whether the connection has said what it must; `None` when it has.
    pub(super) fn greet<T: Transport<Conn = C>>(
        &mut self,
        greeting: Greeting,
        world: &mut World<'_, T>,
        now: Instant,
    ) -> Option<Outcome> {
        let status = world.transport.status(self.front).unwrap_or_default();
        if !status.is_open || status.failure.is_some() {
            return ended(Cause::Client);
        }
        match greeting {
            Greeting::FirstByte { until } => {
                if status.readable == 0 && !status.fin && now < until {
                    return Some(Outcome::Wait(Some(until)));
                }
            }
            Greeting::ProxyHeader { until } => {
                let mut bytes = [0; LOOKED_AT];
                let len = world.transport.peek(self.front, 0, &mut bytes);
                self.greeting_len = len;
                match proxy_protocol::parse(&bytes[..len]) {
                    Parsed::Header { len, ends } => {
                        let taken = world.transport.recv(self.front, &mut bytes[..len], now);
                        assert_eq!(taken, len, "a header that was seen can be taken");
                        self.has_proxy_header = true;
                        if let Some(ends) = ends {
                            self.told_ends = Some(Box::new(ends));
                        }
                    }
                    Parsed::Invalid => return ended(Cause::Rule),
                    Parsed::Incomplete if status.fin => return ended(Cause::Client),
                    Parsed::Incomplete if until.is_some_and(|until| until <= now) => {
                        return ended(Cause::ClientTimeout);
                    }
                    Parsed::Incomplete => return Some(Outcome::Wait(until)),
                }
            }
        }
        self.state = State::Session;
        self.active_at = now;
        None
    }

    /// Sends what the server is to have first; whether nothing of it is left.
    pub(super) fn send_preface<T: Transport<Conn = C>>(
        &mut self,
        world: &mut World<'_, T>,
        now: Instant,
    ) -> bool {
        if let Some(back) = self.back
            && !self.preface.is_empty()
        {
            let sent = world.transport.send(back, &self.preface, now);
            self.preface.drain(..sent);
        }
        self.preface.is_empty()
    }
}

fn ended(cause: Cause) -> Option<Outcome> {
    Some(Outcome::Ended(End { cause, phase: Phase::Request }))
}
