//! What workers share from one configuration to the next.
//!
//! In:    the configuration of now and the next one, by the same places
//! Out:   what workers share under the next one; sentences for the log once it holds
//! Never: resets a count or a limit that the file does not change

use std::sync::Arc;

use super::{Frontend, FrontendState, Renewed, Saying, Shared, by_name, trackers};
use crate::backend::{Backend, Effect};
use crate::clock::Instant;
use crate::config::model::{Config, MAXCONN_DEFAULT, ProxyIndex, ServerId};
use crate::edition::Lease;
use crate::health::Admin;

impl Shared {
    /// What workers share under the next configuration. Servers that are new have room in their backends, and are not chosen
    /// before [`Shared::take_effect`].
    pub fn successor(&self, old: &Config, new: &Config) -> Self {
        let stays = |index: usize| old.proxies.has(index) && new.proxies.has(index);
        let was_gone = |index: usize| index < old.proxies.extent() && !new.proxies.has(index);
        let frontends = (0..new.proxies.extent()).map(|index| match self.frontends.get(index) {
            Some(frontend) if stays(index) || was_gone(index) => frontend.clone(),
            _ => Arc::new(Frontend::of(&new.proxies[index])),
        });
        let backends = (0..new.proxies.extent()).map(|index| {
            let place = ProxyIndex(index);
            Arc::new(match self.backends.get(index) {
                Some(backend) if stays(index) || was_gone(index) => backend.successor(new, place),
                _ => Backend::new(new, place, self.mail.clone()),
            })
        });
        let backends: Vec<Arc<Backend>> = backends.collect();
        backends.iter().for_each(|backend| backend.make_room());
        Shared {
            edition: Arc::new(Lease { number: self.edition.number + 1 }),
            global: self.global.clone(),
            connection_rate: self.connection_rate.clone(),
            session_rate: self.session_rate.clone(),
            inspected_max: new.global.inspected_max(),
            interfaces: self.interfaces.clone(),
            by_name: by_name(new),
            order: new.proxies.placed().map(|(index, _)| ProxyIndex(index)).collect(),
            frontends: frontends.collect(),
            backends,
            mail: self.mail.clone(),
            trackers: trackers(new),
            room_epoch: self.room_epoch.clone(),
            variables: self.variables.clone(),
            is_stopping: self.is_stopping.clone(),
            streams: self.streams.clone(),
            renewed: renewed(old, new),
        }
    }

    /// All workers have it: from now on it holds. What is to be said of it.
    pub fn take_effect(&self, old: &Config, new: &Config, now: Instant) -> Vec<Saying> {
        self.set_limits(old, new);
        let mut sayings = Vec::new();
        for (index, proxy) in new.proxies.placed() {
            if !old.proxies.has(index) {
                continue;
            }
            let before = &old.proxies[index];
            let effect = self.backends[index].take_effect(before, now);
            let proxy_index = ProxyIndex(index);
            sayings.extend(effect.said.into_iter().map(|said| Saying { proxy: proxy_index, said }));
            for (place, server) in proxy.servers.placed() {
                let was = before.servers.get(place).filter(|_| before.servers.has(place));
                if was.is_some_and(|was| was.disabled != server.disabled) {
                    let admin = Admin { maintenance: server.disabled, drain: false };
                    let id = ServerId { proxy: proxy_index, index: place };
                    sayings.extend(self.administer(id, admin, now));
                }
            }
        }
        for id in self.trackers.keys() {
            let backend = self.backend(id.proxy);
            let effect = Effect {
                operation: Some(backend.operation(id.index)),
                admin: Some(backend.admin(id.index)),
                ..Effect::default()
            };
            sayings.extend(self.spread(*id, effect, now));
        }
        // Limits may have grown.
        self.announce_room();
        sayings
    }

    /// Limits that the file changes; what an operator has set stays where it does not.
    fn set_limits(&self, old: &Config, new: &Config) {
        let (before, after) = (&old.global, &new.global);
        if before.maxconn != after.maxconn {
            self.global.set_max(after.maxconn.unwrap_or(MAXCONN_DEFAULT));
        }
        if before.maxconnrate != after.maxconnrate {
            self.connection_rate.set_limit(after.maxconnrate.unwrap_or(0));
        }
        if before.maxsessrate != after.maxsessrate {
            self.session_rate.set_limit(after.maxsessrate.unwrap_or(0));
        }
        for (index, proxy) in new.proxies.placed().filter(|(index, _)| old.proxies.has(*index)) {
            let (before, frontend) = (&old.proxies[index], &self.frontends[index]);
            if before.maxconn != proxy.maxconn {
                frontend.connections.set_max(proxy.maxconn);
            }
            if before.rate_limit_sessions != proxy.rate_limit_sessions {
                frontend.sessions.set_limit(proxy.rate_limit_sessions.unwrap_or(0));
            }
            // Who was shut down is in the file again.
            if frontend.state() == FrontendState::Stopped {
                frontend.set_state(FrontendState::Open);
            }
        }
    }
}

/// Places that somebody else had before.
fn renewed(old: &Config, new: &Config) -> Renewed {
    let mut renewed = Renewed::default();
    for (index, proxy) in new.proxies.placed().filter(|(index, _)| *index < old.proxies.extent()) {
        let place = ProxyIndex(index);
        if !old.proxies.has(index) {
            renewed.proxies.push(place);
            continue;
        }
        let before = &old.proxies[index];
        let is_renewed = |at: usize, extent: usize, had: bool| at < extent && !had;
        let servers = proxy.servers.placed().map(|(at, _)| at);
        let servers =
            servers.filter(|&at| is_renewed(at, before.servers.extent(), before.servers.has(at)));
        renewed.servers.extend(servers.map(|index| ServerId { proxy: place, index }));
        let listeners = proxy.binds.placed().map(|(at, _)| at);
        let listeners =
            listeners.filter(|&at| is_renewed(at, before.binds.extent(), before.binds.has(at)));
        renewed.listeners.extend(listeners.map(|at| (place, at)));
    }
    renewed
}
