//! Listeners on one worker: which connections are taken, and when they wait.
//!
//! In:    connections that wait in the transport
//! Out:   leave to take one, with its places in every limit; or a pause
//! Owns:  the state of each listener
//! Never: resets who waits: a paused listener leaves them in the transport's queue

use std::sync::Arc;

use crate::config::model::{Bind, ProxyIndex};
use crate::limit::Limit;

/// The state of a listener, with HAProxy's meanings.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ListenerState {
    /// Connections are taken.
    Ready,
    /// Its own maxconn is reached.
    Full,
    /// The maxconn of the process or of the frontend is reached.
    Limited,
}

/// A listener on one worker.
#[derive(Debug)]
pub struct Listener<L> {
    /// The transport's name for it.
    pub handle: L,
    /// Its configuration.
    pub bind: Arc<Bind>,
    /// The frontend it belongs to.
    pub frontend: ProxyIndex,
    /// Its maxconn, shared by all workers.
    pub limit: Arc<Limit>,
    /// Whether it takes connections.
    pub state: ListenerState,
    /// It stands in the list of those with connections to take.
    pub is_queued: bool,
}

/// The limits that a connection takes a place in.
pub struct Places<'a> {
    /// The listener's.
    pub listener: &'a Limit,
    /// The process's.
    pub global: &'a Limit,
    /// The frontend's.
    pub frontend: &'a Limit,
}

impl Places<'_> {
    /// Takes a place in each, in HAProxy's order; none is kept when one is missing, and the state says which.
    pub fn take(&self) -> Result<(), ListenerState> {
        if !self.listener.take() {
            return Err(ListenerState::Full);
        }
        if !self.global.take() {
            self.listener.undo();
            return Err(ListenerState::Limited);
        }
        if !self.frontend.take() {
            self.global.undo();
            self.listener.undo();
            return Err(ListenerState::Limited);
        }
        Ok(())
    }

    /// Gives all three back; returns whether someone waits for one of them.
    #[must_use]
    pub fn give(&self) -> bool {
        let listener = self.listener.give();
        let global = self.global.give();
        let frontend = self.frontend.give();
        listener || global || frontend
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn takes_all_places_or_none() {
        let (listener, global, frontend) = (Limit::new(2), Limit::new(9), Limit::new(1));
        let places = Places { listener: &listener, global: &global, frontend: &frontend };
        assert_eq!(places.take(), Ok(()));
        assert_eq!(places.take(), Err(ListenerState::Limited));
        assert_eq!((listener.used(), global.used(), frontend.used()), (1, 1, 1));
        assert!(places.give(), "the second taker waits");
        assert_eq!((listener.used(), global.used(), frontend.used()), (0, 0, 0));
    }
}
