//! What rules can ask of a backend and its servers.
//!
//! In:    the time, where a rate is asked for
//! Out:   numbers, by HAProxy's definitions
//! Never: changes anything

use super::{Backend, Member, State, WEIGHT_SCALE};
use crate::clock::Instant;
use crate::health::Operation;

impl Backend {
    /// `be_sess_rate`: streams that came within the last second.
    pub fn rate(&self, now: Instant) -> u32 {
        self.core.arrivals.per_second(now)
    }

    /// `srv_sess_rate`: places given on a server within the last second.
    pub fn server_rate(&self, server: usize, now: Instant) -> u32 {
        self.lock().members[server].arrivals.per_second(now)
    }

    /// `queue`: streams that wait, for any server or for one.
    pub fn waiting(&self) -> usize {
        let state = self.lock();
        state.queue.len() + state.members.iter().map(|member| member.queue.len()).sum::<usize>()
    }

    /// `nbsrv`: servers that are in use; of backups one, unless all share the load.
    pub fn in_use(&self) -> usize {
        let state = self.lock();
        match (state.seats.active(), state.seats.backups()) {
            (0, 0) => 0,
            (0, backups) if self.config.options.allbackups => backups,
            (0, _) => 1,
            (active, _) => active,
        }
    }

    /// `be_conn_free`: places that servers in use have left; `None`: one of them has no limit.
    pub fn free_places(&self) -> Option<i64> {
        let state = self.lock();
        let is_in_use =
            |&server: &usize| state.members[server].is_usable && self.serves(&state, server);
        let servers = self.config.servers.placed().map(|(server, _)| server);
        servers.filter(is_in_use).map(|server| self.free(&state.members[server])).sum()
    }

    /// `srv_conn_free`: the same of one server.
    pub fn free_places_of(&self, server: usize) -> Option<i64> {
        self.free(&self.lock().members[server])
    }

    /// `connslots`: places on servers and in their queues that are left; `None`: one of them has no limit.
    pub fn slots(&self) -> Option<i64> {
        let state = self.lock();
        let runs = |member: &&Member| member.runs();
        let servers = self.config.servers.placed();
        servers
            .map(|(server, _)| &state.members[server])
            .filter(runs)
            .map(|member| {
                if member.maxconn == 0 || member.maxqueue == 0 {
                    return None;
                }
                let places = i64::from(member.maxconn) - i64::from(member.served);
                let waiting = i64::from(member.maxqueue) - member.queue.len() as i64;
                Some(places + waiting)
            })
            .sum()
    }

    /// `srv_is_up`: it is not in maintenance, and no check has found it down.
    pub fn is_up(&self, server: usize) -> bool {
        let state = self.lock();
        let member = &state.members[server];
        let is_checked = self.config.servers[server].check.is_some();
        if is_checked { member.runs() } else { !member.health.admin().maintenance }
    }

    /// Whether it works, if only for streams that are its already.
    pub fn runs(&self, server: usize) -> bool {
        self.lock().members[server].runs()
    }

    /// `srv_weight` and `srv_uweight`: the weight that counts now, and the one that was set.
    pub fn weights(&self, server: usize) -> (u32, u32) {
        let state = self.lock();
        let member = &state.members[server];
        (member.effective_weight().div_ceil(WEIGHT_SCALE), member.weight.div_ceil(WEIGHT_SCALE))
    }

    /// Whether a server is among those that share the load: no backup while an active server works, and then the first alone.
    fn serves(&self, state: &State, server: usize) -> bool {
        let servers = &self.config.servers;
        if !servers[server].backup {
            return true;
        }
        let is_first = || {
            let usable = |&other: &usize| servers[other].backup && state.members[other].is_usable;
            servers.placed().map(|(other, _)| other).find(usable) == Some(server)
        };
        state.seats.active() == 0 && (self.config.options.allbackups || is_first())
    }

    fn free(&self, member: &Member) -> Option<i64> {
        if member.maxconn == 0 {
            return None;
        }
        let most = member.maxconn_now(self.streams(), self.fullconn);
        Some(i64::from(most.saturating_sub(member.served)))
    }
}

impl Member {
    fn runs(&self) -> bool {
        !self.health.admin().maintenance && self.health.operation() != Operation::Stopped
    }
}
