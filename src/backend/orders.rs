//! What an operator orders of a backend's servers while they work.
//!
//! In:    weights, limits, addresses, states, and whether checks run
//! Out:   sentences for the log, where a state changes
//! Never: decides whether an order may be given: the runtime interface does

use std::net::SocketAddr;

use super::{Backend, Effect};
use crate::clock::Instant;
use crate::health::{Checker, Operation};

impl Backend {
    /// Sets the weight that a server has now, in sixteenths of a weight.
    pub fn set_weight(&self, server: usize, weight: u32, now: Instant) {
        let mut state = self.lock();
        state.members[server].weight = weight;
        self.apply(&mut state, server, now, &mut Effect::default());
    }

    /// Sets the limit of a server.
    pub fn set_maxconn(&self, server: usize, maxconn: u32) {
        let mut state = self.lock();
        state.members[server].maxconn = maxconn;
        self.serve_waiting(&mut state, server);
    }

    /// New connections to a server go there.
    pub fn move_to(&self, server: usize, address: SocketAddr) {
        self.lock().members[server].moved_to = Some(address);
    }

    /// Where an operator has put a server.
    pub fn moved_to(&self, server: usize) -> Option<SocketAddr> {
        self.lock().members[server].moved_to
    }

    /// Lets a check run, or no more.
    pub fn set_watched(&self, server: usize, checker: Checker, is_watched: bool) {
        self.lock().members[server].is_watched[checker as usize] = is_watched;
    }

    /// Whether a check runs.
    pub fn is_watched(&self, server: usize, checker: Checker) -> bool {
        self.lock().members[server].is_watched[checker as usize]
    }

    /// Has a server be so, as if its checks had said it.
    pub fn force(
        &self,
        server: usize,
        checker: Checker,
        operation: Operation,
        now: Instant,
    ) -> Effect {
        let mut state = self.lock();
        let mut effect = Effect::default();
        let changed = state.members[server].health.force(checker, operation, now);
        if let Some(operation) = changed {
            self.changed(&mut state, server, operation, ", changed from CLI", now, &mut effect);
        }
        effect
    }
}
