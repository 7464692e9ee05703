//! The data phase: bytes both ways, until both sides have closed or one fails.
//!
//! In:    two open connections
//! Out:   bytes moved; when nothing may have moved until; how it ended
//! Never: copies a byte; the transport moves them

use super::rules::{Reply, ReplyWaits};
use super::{Cause, End, Outcome, Phase, Stream, World};
use crate::channel::Progress;
use crate::clock::Instant;
use crate::config::model::Timeouts;
use crate::transport::Transport;

impl<C: Copy + Eq + std::fmt::Debug> Stream<C> {
    /// Moves bytes both ways, and sees the end of either side.
    pub(super) fn exchange<T: Transport<Conn = C>>(
        &mut self,
        world: &mut World<'_, T>,
        now: Instant,
    ) -> Outcome {
        let (front, back) = (self.front, self.back.expect("an established stream has a server"));
        // An event tells when the server has room for the rest.
        let request = if self.send_preface(world, now) {
            self.request.pump(world.transport, front, back, now)
        } else {
            Progress { is_stuck: true, ..Progress::default() }
        };
        let mut inspected_until = None;
        if let Reply::Inspected(since) = self.reply {
            match self.inspect_reply(since, world, now) {
                Ok(()) => {}
                Err(ReplyWaits::Until(until)) => inspected_until = until,
                Err(ReplyWaits::Rejected) => {
                    return Outcome::Ended(End { cause: Cause::Rule, phase: Phase::Data });
                }
            }
        }
        let response = match self.reply {
            Reply::Inspected(_) => Progress::default(),
            Reply::Passed | Reply::Closing => self.response.pump(world.transport, back, front, now),
        };
        if self.reply == Reply::Closing && !response.unfinished && !response.is_stuck {
            return Outcome::Ended(End { cause: Cause::Rule, phase: Phase::Data });
        }
        if request.moved > 0 || response.moved > 0 {
            self.active_at = now;
            self.count_bytes(request.moved as u64, response.moved as u64, world, now);
        }
        let phase =
            if self.response.is_shut && self.request.is_shut { Phase::Last } else { Phase::Data };
        // Bytes that arrived before a reset have been passed on above.
        let has_failed = |transport: &T, conn| {
            transport.status(conn).is_none_or(|status| status.failure.is_some())
        };
        if has_failed(world.transport, front) {
            return Outcome::Ended(End { cause: Cause::Client, phase });
        }
        if has_failed(world.transport, back) {
            return Outcome::Ended(End { cause: Cause::Server, phase });
        }
        if self.request.is_shut && self.response.is_shut {
            return Outcome::Ended(End::NORMAL);
        }
        if request.unfinished || response.unfinished {
            return Outcome::Again;
        }
        let timeouts = (world.frontend(self).timeouts, world.backend(self).timeouts);
        match self.wait(timeouts, request, response, now) {
            Outcome::Wait(until) => {
                Outcome::Wait([until, inspected_until].into_iter().flatten().min())
            }
            outcome => outcome,
        }
    }

    /// Until which time nothing may move.
    ///
    /// A side's time runs while something is expected of it: bytes, unless it has closed or what it says
    /// finds no room on the other side; or room for bytes that wait for it. Once our direction towards a side
    /// is closed its `-fin` time counts; else the tunnel's, for both.
    fn wait(
        &self,
        (front, back): (Timeouts, Timeouts),
        request: Progress,
        response: Progress,
        now: Instant,
    ) -> Outcome {
        let client_is_awaited = response.is_stuck || !(self.request.is_shut || request.is_stuck);
        let server_is_awaited = request.is_stuck || !(self.response.is_shut || response.is_stuck);
        let usual_client = back.tunnel.or(front.client);
        let usual_server = back.tunnel.or(back.server);
        let client =
            if self.response.is_shut { front.client_fin.or(usual_client) } else { usual_client };
        let server =
            if self.request.is_shut { back.server_fin.or(usual_server) } else { usual_server };
        let client = client.filter(|_| client_is_awaited).map(|time| self.active_at + time);
        let server = server.filter(|_| server_is_awaited).map(|time| self.active_at + time);
        if client.is_some_and(|at| at <= now) {
            return Outcome::Ended(End { cause: Cause::ClientTimeout, phase: Phase::Data });
        }
        if server.is_some_and(|at| at <= now) {
            return Outcome::Ended(End { cause: Cause::ServerTimeout, phase: Phase::Data });
        }
        Outcome::Wait([client, server].into_iter().flatten().min())
    }
}
