//! A worker's proxies take another configuration.
//!
//! In:    what workers share under it, and what listens
//! Out:   listeners that go on, come and go; streams that go on
//! Never: ends a stream; leaves a gap at a place that is listened at before and after

use std::sync::Arc;

use super::{ListenerPlan, Proxies, RUN_BUDGET};
use crate::clock::Instant;
use crate::config::model::Global;
use crate::listener::{Listener, ListenerState};
use crate::shared::{FrontendState, Shared};
use crate::transport::{ListenError, Place, Transport};

impl<T: Transport> Proxies<T> {
    /// Works under another configuration from now on: streams that have a server go on under theirs. What listens where
    /// something listened before goes on without a gap; who waits at a place that is left is taken first.
    pub fn adopt(
        &mut self,
        shared: Arc<Shared>,
        global: &Global,
        plans: &[ListenerPlan],
        transport: &mut T,
        now: Instant,
    ) -> Result<(), ListenError> {
        self.counters.adopt(&shared);
        self.editions.adopt(&shared);
        self.shared = shared;
        self.settle(global);
        let is_open = |listener: &&Listener<_>| listener.state != ListenerState::Stopped;
        let open: Vec<Place> =
            self.listeners.iter().filter(is_open).map(|one| one.place.clone()).collect();
        for index in 0..self.listeners.len() {
            if self.listeners[index].state == ListenerState::Stopped {
                continue;
            }
            match plans.iter().find(|plan| plan.at.place == self.listeners[index].place) {
                Some(plan) => self.continue_listening(index, plan, transport),
                None => self.leave_listening(index, transport, now),
            }
        }
        // Nothing arrives in between: all of this is one turn.
        for plan in plans.iter().filter(|plan| !open.contains(&plan.at.place)) {
            self.listen(plan, transport)?;
        }
        Ok(())
    }

    fn continue_listening(&mut self, index: usize, plan: &ListenerPlan, transport: &T) {
        let listener = &mut self.listeners[index];
        (listener.entrance, listener.frontend) = (plan.entrance(), plan.frontend);
        listener.state = match self.shared.frontend(plan.frontend).state() {
            FrontendState::Paused => ListenerState::Paused,
            _ => ListenerState::Ready,
        };
        // Its limits may be others.
        if transport.has_waiting(listener.handle) {
            self.queue_listener(index);
        }
    }

    fn leave_listening(&mut self, index: usize, transport: &mut T, now: Instant) {
        let handle = self.listeners[index].handle;
        while transport.has_waiting(handle) && self.limits(index).take(now).is_ok() {
            self.open_stream(index, transport, now);
        }
        self.listeners[index].state = ListenerState::Stopped;
        transport.unlisten(handle, now);
    }

    /// What the global section says of a worker.
    fn settle(&mut self, global: &Global) {
        self.spread_checks = global.spread_checks;
        self.maxaccept = global.maxaccept_of(self.shared.mail.workers());
        self.run_budget = global.runqueue_depth.map_or(RUN_BUDGET, |depth| depth as usize);
    }
}
