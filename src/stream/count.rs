//! What is counted of a stream when it moves bytes and when it ends.
//!
//! In:    bytes moved; how it ended, and in which state
//! Out:   counters of its frontend, listener, backend and server, by HAProxy's definitions
//! Never: decides anything
//! Read:  docs/management.md, "show stat"

use super::{Cause, End, Inspection, Phase, State, Stream, World};
use crate::clock::Instant;
use crate::transport::Transport;

impl<C: Copy + Eq + std::fmt::Debug> Stream<C> {
    /// Bytes have moved.
    pub(super) fn count_bytes<T>(
        &mut self,
        request: u64,
        response: u64,
        world: &mut World<'_, T>,
        now: Instant,
    ) {
        if request + response == 0 {
            return;
        }
        for counters in world.counters.fronts(self.frontend, self.entrance.place) {
            counters.bytes_in += request;
            counters.bytes_out += response;
        }
        for counters in world.counters.backs(self.backend, self.server) {
            counters.bytes_in += request;
            counters.bytes_out += response;
        }
        if response > 0
            && self.response.total == response
            && let Some(connected_at) = self.connected_at
        {
            world.counters.latencies.first_byte.record(now.since(connected_at));
        }
    }

    /// It ends.
    pub(super) fn count_end<T: Transport<Conn = C>>(
        &self,
        end: End,
        world: &mut World<'_, T>,
        now: Instant,
    ) {
        self.count_unmoved(world);
        if self.state == State::Established {
            for counters in world.counters.backs(self.backend, self.server) {
                counters.current -= 1;
            }
        }
        self.count_cause(end, world);
        self.count_times(world, now);
    }

    /// Bytes that had come and went nowhere.
    fn count_unmoved<T: Transport<Conn = C>>(&self, world: &mut World<'_, T>) {
        let waiting = |conn| world.transport.status(conn).unwrap_or_default().readable as u64;
        let (request, response) = (waiting(self.front), self.back.map_or(0, waiting));
        for counters in world.counters.fronts(self.frontend, self.entrance.place) {
            counters.bytes_in += request;
            counters.bytes_out += response;
        }
        if self.has_entered {
            for counters in world.counters.backs(self.backend, self.server) {
                counters.bytes_in += request;
                counters.bytes_out += response;
            }
        }
    }

    fn count_cause<T>(&self, end: End, world: &mut World<'_, T>) {
        let place = self.entrance.place;
        match (end.cause, self.state) {
            (Cause::Rule, State::Session) => {
                for counters in world.counters.fronts(self.frontend, place) {
                    counters.denied_sessions += 1;
                }
                return;
            }
            (Cause::Rule, State::Inspect(Inspection { of_backend, .. })) => {
                for counters in world.counters.fronts(self.frontend, place) {
                    counters.denied_requests += 1;
                }
                if of_backend {
                    for counters in world.counters.backs(self.backend, None) {
                        counters.denied_requests += 1;
                    }
                }
                return;
            }
            (Cause::Rule, State::Established) => {
                for counters in world.counters.fronts(self.frontend, place) {
                    counters.denied_responses += 1;
                }
            }
            (Cause::Client | Cause::ClientTimeout, State::Inspect(_)) => {
                for counters in world.counters.fronts(self.frontend, place) {
                    counters.failed_requests += 1;
                }
            }
            _ => {}
        }
        if !self.has_entered {
            return;
        }
        let moves_bytes = matches!(end.phase, Phase::Data | Phase::Last);
        for counters in world.counters.backs(self.backend, self.server) {
            match end.cause {
                Cause::Rule => counters.denied_responses += 1,
                Cause::Client | Cause::ClientTimeout => counters.client_aborts += 1,
                Cause::Server | Cause::ServerTimeout if moves_bytes => counters.server_aborts += 1,
                Cause::Server | Cause::ServerTimeout | Cause::Resource => {
                    counters.failed_connections += 1;
                }
                Cause::Nobody | Cause::ServerDown | Cause::ActiveUp | Cause::Operator => {}
            }
        }
    }

    fn count_times<T>(&self, world: &mut World<'_, T>, now: Instant) {
        let total = now.since(self.accepted_at);
        world.counters.latencies.session.record(total);
        let (Some(session), Some(assigned), Some(connected)) =
            (self.session_at, self.assigned_at, self.connected_at)
        else {
            return;
        };
        let (queue, connect) = (assigned.since(session), connected.since(assigned));
        world.counters.latencies.queue.record(queue);
        world.counters.latencies.connect.record(connect);
        let millis = |time: std::time::Duration| time.as_millis() as u64;
        for counters in world.counters.backs(self.backend, self.server) {
            counters.queue_ms.record(millis(queue));
            counters.connect_ms.record(millis(connect));
            counters.total_ms.record(millis(total));
        }
    }
}
