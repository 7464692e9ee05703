//! Listeners on one worker: which connections are taken, and when they wait.
//!
//! In:    connections that wait in the transport
//! Out:   leave to take one, with its places in every limit; or a pause
//! Owns:  the state of each listener
//! Never: resets who waits: a paused listener leaves them in the transport's queue

use std::sync::Arc;
use std::time::Duration;

use crate::clock::Instant;
use crate::config::model::ProxyIndex;
use crate::limit::Limit;
use crate::rate::RateLimit;
use crate::sample::Entrance;
use crate::shared::{Frontend, Shared};
use crate::transport::Place;

/// The state of a listener, with HAProxy's meanings.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ListenerState {
    /// Connections are taken.
    Ready,
    /// Its own maxconn is reached.
    Full,
    /// A limit of the process or of the frontend is reached.
    Limited,
    /// An operator has paused its frontend.
    Paused,
    /// It listens no more.
    Stopped,
}

/// A listener on one worker.
#[derive(Debug)]
pub struct Listener<L> {
    /// The transport's name for it.
    pub handle: L,
    /// Where it listens.
    pub place: Place,
    /// Its configuration and its maxconn, shared by all workers.
    pub entrance: Arc<Entrance>,
    /// The frontend it belongs to.
    pub frontend: ProxyIndex,
    /// Whether it takes connections.
    pub state: ListenerState,
    /// It stands in the list of those with connections to take.
    pub is_queued: bool,
}

/// The limits that a connection has to pass, in HAProxy's order: the listener's maxconn; sessions and
/// connections per second of the process; sessions per second of the frontend; maxconn of the process and of
/// the frontend.
pub struct Limits<'a> {
    /// The listener's maxconn.
    pub listener: &'a Limit,
    /// Those of the process.
    pub shared: &'a Shared,
    /// Those of the frontend.
    pub frontend: &'a Frontend,
}

/// When a listener that the maxconn of the process has paused tries again at the latest.
const RETRY: Duration = Duration::from_secs(1);

/// A limit is reached: the listener pauses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pause {
    /// The state it is in from now on.
    pub state: ListenerState,
    /// When it tries again, unless a place is announced before; `None`: only then.
    pub until: Option<Instant>,
}

impl Limits<'_> {
    /// Takes a place in each and counts in each rate; nothing is kept when one has none.
    pub fn take(&self, now: Instant) -> Result<(), Pause> {
        let Shared { session_rate, connection_rate, global, .. } = self.shared;
        let Frontend { sessions, connections, .. } = self.frontend;
        let gates: [&dyn Gate; 6] = [
            &OfListener(self.listener),
            &**session_rate,
            &**connection_rate,
            sessions,
            &OfProcess(global),
            &OfFrontend(connections),
        ];
        for (index, gate) in gates.iter().enumerate() {
            if let Err(pause) = gate.pass(now) {
                gates[..index].iter().for_each(|gate| gate.undo());
                return Err(pause);
            }
        }
        Ok(())
    }

    /// The connection was refused by a rule before it was a session.
    pub fn undo_session(&self) {
        self.shared.session_rate.undo();
        self.frontend.sessions.undo();
    }

    /// Gives all places back; returns whether someone waits for one of them.
    #[must_use]
    pub fn give(&self) -> bool {
        let listener = self.listener.give();
        let global = self.shared.global.give();
        let frontend = self.frontend.connections.give();
        listener || global || frontend
    }
}

/// One of the limits.
trait Gate {
    fn pass(&self, now: Instant) -> Result<(), Pause>;
    fn undo(&self);
}

/// The maxconn of the listener.
struct OfListener<'a>(&'a Limit);
/// The maxconn of the process.
struct OfProcess<'a>(&'a Limit);
/// The maxconn of the frontend.
struct OfFrontend<'a>(&'a Limit);

fn limited(until: Option<Instant>) -> Pause {
    Pause { state: ListenerState::Limited, until }
}

impl Gate for OfListener<'_> {
    fn pass(&self, _: Instant) -> Result<(), Pause> {
        self.0.take().then_some(()).ok_or(Pause { state: ListenerState::Full, until: None })
    }

    fn undo(&self) {
        self.0.undo();
    }
}

impl Gate for OfProcess<'_> {
    fn pass(&self, now: Instant) -> Result<(), Pause> {
        // HAProxy looks again after a second: not all that holds a place tells when it gives it back.
        self.0.take().then_some(()).ok_or(limited(Some(now + RETRY)))
    }

    fn undo(&self) {
        self.0.undo();
    }
}

impl Gate for OfFrontend<'_> {
    fn pass(&self, _: Instant) -> Result<(), Pause> {
        self.0.take().then_some(()).ok_or(limited(None))
    }

    fn undo(&self) {
        self.0.undo();
    }
}

impl Gate for RateLimit {
    fn pass(&self, now: Instant) -> Result<(), Pause> {
        self.take(now).map_err(|at| limited(Some(at)))
    }

    fn undo(&self) {
        RateLimit::undo(self);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::model::{Config, Global};

    fn shared(global: Global) -> Shared {
        Shared::new(&Config { global, ..Config::default() }, Vec::new())
    }

    fn frontend(connections: u32, sessions: u32) -> Frontend {
        Frontend::new(connections, sessions)
    }

    #[test]
    fn takes_all_places_or_none() {
        let (listener, shared) = (Limit::new(2), shared(Global::default()));
        let frontend = frontend(1, 0);
        let limits = Limits { listener: &listener, shared: &shared, frontend: &frontend };
        let now = Instant::from_millis(5);
        assert_eq!(limits.take(now), Ok(()));
        let pause = Pause { state: ListenerState::Limited, until: None };
        assert_eq!(limits.take(now), Err(pause));
        let used = || (listener.used(), shared.global.used(), frontend.connections.used());
        assert_eq!(used(), (1, 1, 1));
        assert_eq!(shared.connection_rate.per_second(now), 1, "what was refused is not counted");
        assert!(limits.give(), "the second taker waits");
        assert_eq!(used(), (0, 0, 0));
    }

    #[test]
    fn each_limit_pauses_in_its_own_way() {
        let now = Instant::from_millis(500);
        let state = |global: Global, frontend: Frontend, listener: u32| {
            let (listener, shared) = (Limit::new(listener), shared(global));
            let limits = Limits { listener: &listener, shared: &shared, frontend: &frontend };
            assert_eq!(limits.take(now), Ok(()));
            let pause = limits.take(now).unwrap_err();
            assert_eq!(listener.used(), 1);
            (pause.state, pause.until.map(|until| until.since(now).as_millis()))
        };
        use ListenerState::{Full, Limited};
        let global = Global::default;
        assert_eq!(state(global(), frontend(9, 0), 1), (Full, None));
        let rate = Global { maxconnrate: Some(1), ..global() };
        assert_eq!(state(rate, frontend(9, 0), 9), (Limited, Some(500)));
        let rate = Global { maxsessrate: Some(1), ..global() };
        assert_eq!(state(rate, frontend(9, 0), 9), (Limited, Some(500)));
        assert_eq!(state(global(), frontend(9, 1), 9), (Limited, Some(500)));
        let few = Global { maxconn: Some(1), ..global() };
        assert_eq!(state(few, frontend(9, 0), 9), (Limited, Some(1000)));
        assert_eq!(state(global(), frontend(1, 0), 9), (Limited, None));
    }
}
