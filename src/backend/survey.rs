//! What an operator sees of a backend and its servers, at one moment.
//!
//! In:    the time
//! Out:   a copy of everything that changes, taken under one lock
//! Never: changes anything but what was counted, when that is to be forgotten

use std::net::SocketAddr;
use std::sync::atomic::Ordering;
use std::time::Duration;

use super::{Backend, Peaks, WEIGHT_SCALE};
use crate::clock::Instant;
use crate::health::{Admin, Counter, History, Operation};

/// A backend at one moment.
#[derive(Clone, Debug)]
pub struct Survey {
    /// Streams in it, working or waiting.
    pub streams: u32,
    /// Streams that wait for any server.
    pub queued: u32,
    /// The most of these.
    pub peaks: Peaks,
    /// `fullconn`
    pub fullconn: u32,
    /// Active servers and backups that can be used.
    pub usable: (usize, usize),
    /// The weights of those that are used.
    pub weight: u32,
    /// Since when there is a server, or none.
    pub standing: History,
    /// How long it had none.
    pub down_for: Duration,
    /// Streams that came within the last second, and the most of them.
    pub rate: (u32, u32),
    /// Its servers, by place.
    pub servers: Vec<ServerSurvey>,
}

/// A server at one moment.
#[derive(Clone, Debug)]
pub struct ServerSurvey {
    /// Places taken on it.
    pub served: u32,
    /// Streams that wait for it alone.
    pub queued: u32,
    /// The most of these.
    pub peaks: Peaks,
    /// `maxconn`, 0: none.
    pub maxconn: u32,
    /// The weight that counts now, and the one that was set.
    pub weights: (u32, u32),
    /// Between 0 and 100 while it warms up.
    pub warmth: u32,
    /// What it does, whatever is wanted of it.
    pub operation: Operation,
    /// What is wanted of it.
    pub own: Admin,
    /// What is wanted of the one that it tracks.
    pub inherited: Admin,
    /// The counters of its check, and of its agent's.
    pub counters: [Option<Counter>; 2],
    /// Whether these run.
    pub is_watched: [bool; 2],
    /// What has become of it so far.
    pub history: History,
    /// How long it was down.
    pub down_for: Duration,
    /// Places given on it within the last second, and the most of them.
    pub rate: (u32, u32),
    /// Where an operator has put it.
    pub moved_to: Option<SocketAddr>,
}

impl ServerSurvey {
    /// Whether it is in maintenance, by its own or by the one that it tracks.
    pub fn is_maintained(&self) -> bool {
        self.own.maintenance || self.inherited.maintenance
    }
}

impl Backend {
    /// How it is.
    pub fn survey(&self, now: Instant) -> Survey {
        let state = self.lock();
        let usable = (state.seats.active(), state.seats.backups());
        let is_used = |place: usize| {
            let is_active = !self.config.servers[place].backup;
            state.members[place].is_usable && (is_active || usable.0 == 0)
        };
        let used = self.config.servers.placed().map(|(place, _)| place).filter(|&at| is_used(at));
        let weight: u32 = used.map(|place| state.members[place].effective_weight()).sum();
        let has_server = usable != (0, 0) || self.config.servers.is_empty();
        let down_now =
            if has_server { Duration::ZERO } else { now.since(state.standing.changed_at) };
        let server = |member: &super::Member| {
            let (own, inherited) = member.health.wishes();
            ServerSurvey {
                served: member.served,
                queued: member.queue.len() as u32,
                peaks: member.peaks,
                maxconn: member.maxconn,
                weights: (
                    member.effective_weight().div_ceil(WEIGHT_SCALE),
                    member.weight.div_ceil(WEIGHT_SCALE),
                ),
                warmth: member.warmth,
                operation: member.health.operation(),
                own,
                inherited,
                counters: member.health.counters(),
                is_watched: member.is_watched,
                history: member.health.history().clone(),
                down_for: member.health.down_for(now),
                rate: (member.arrivals.per_second(now), member.arrivals.max()),
                moved_to: member.moved_to,
            }
        };
        Survey {
            streams: self.streams(),
            queued: state.queue.len() as u32,
            peaks: Peaks {
                streams: self.core.peak_streams.load(Ordering::Relaxed),
                queued: state.peak_queued,
            },
            fullconn: self.fullconn,
            usable,
            weight: weight.div_ceil(WEIGHT_SCALE),
            down_for: state.standing.down_for + down_now,
            standing: state.standing.clone(),
            rate: (self.core.arrivals.per_second(now), self.core.arrivals.max()),
            servers: state.members.iter().map(server).collect(),
        }
    }

    /// Forgets what was greatest; `all`: and what was counted.
    pub fn clear(&self, all: bool) {
        let mut state = self.lock();
        self.core.arrivals.clear_max();
        self.core.peak_streams.store(self.streams(), Ordering::Relaxed);
        state.peak_queued = state.queue.len() as u32;
        if all {
            state.standing.falls = 0;
            state.standing.down_for = Duration::ZERO;
        }
        for member in &mut state.members {
            member.arrivals.clear_max();
            member.peaks = Peaks { streams: member.served, queued: member.queue.len() as u32 };
            if all {
                member.health.clear();
            }
        }
    }
}
