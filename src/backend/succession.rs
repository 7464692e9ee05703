//! What becomes of a backend when another configuration replaces its own.
//!
//! In:    the new configuration; the moment from which it holds
//! Out:   the same places and queues under it; sentences for the log; words to streams that are to ask again
//! Owns:  nothing of its own: the state of the backend's servers
//! Never: takes a place from a stream that has one
//!
//! Workers take a configuration one after the other. So a server that is new has room first ([`Backend::make_room`]), is known to
//! all workers next, and is chosen only then ([`Backend::take_effect`]): none of them is ever given a server that it does not know.

use std::sync::Arc;

use super::{Backend, Effect, Member, Seats, State};
use crate::clock::Instant;
use crate::config::model::{Config, Proxy, ProxyIndex, Server};
use crate::lb::WEIGHT_SCALE;

impl Backend {
    /// The same backend as a new configuration has it.
    pub fn successor(&self, config: &Config, index: ProxyIndex) -> Self {
        let proxy = Arc::new(config.proxies[index.0].clone());
        Backend {
            fullconn: proxy.fullconn.unwrap_or_else(|| config.fullconn_of(index)),
            config: proxy,
            index,
            core: self.core.clone(),
        }
    }

    /// Whether streams are in it, or work with one of its servers.
    pub fn is_deserted(&self) -> bool {
        self.streams() == 0 && self.served() == 0
    }

    /// Whether no stream works with a server or waits for it.
    pub fn is_idle(&self, server: usize) -> bool {
        let state = self.lock();
        state.members.get(server).is_none_or(|one| one.served == 0 && one.queue.is_empty())
    }

    /// Makes room for servers that are new; nobody is given to them yet.
    pub fn make_room(&self) {
        let mut state = self.lock();
        for (place, server) in self.config.servers.all().iter().enumerate() {
            if place == state.members.len() {
                state.members.push(Member::new(server));
            } else if !state.seats.has(place) && self.config.servers.has(place) {
                state.members[place] = Member::new(server);
            }
        }
    }

    /// From now on servers are chosen as this configuration says; before it was `old`.
    pub fn take_effect(&self, old: &Proxy, now: Instant) -> Effect {
        let mut state = self.lock();
        let mut effect = Effect::default();
        let gone: Vec<usize> = {
            let places = state.seats.places().iter().copied();
            places.filter(|&place| !self.config.servers.has(place)).collect()
        };
        for (place, server) in self.config.servers.placed() {
            if state.seats.has(place) {
                state.members[place].reconfigure(&old.servers[place], server);
            }
        }
        let is_seated_anew = old.servers != self.config.servers
            || old.balance != self.config.balance
            || old.options.allbackups != self.config.options.allbackups;
        if is_seated_anew {
            let before = state.has_server();
            self.seat_anew(&mut state);
            let after = state.has_server();
            state.note_standing(before, after, now);
        }
        for place in gone {
            state.members[place].is_usable = false;
            state.ask_again(place, &self.core.mail);
        }
        for (place, _) in self.config.servers.placed() {
            self.apply(&mut state, place, now, &mut effect);
        }
        effect
    }

    fn seat_anew(&self, state: &mut State) {
        state.seats = Seats::new(&self.config);
        for (place, _) in self.config.servers.placed() {
            let member = &state.members[place];
            let (weight, load) = (member.effective_weight(), member.load());
            let is_usable = member.is_usable;
            state.seats.set_weight(place, weight);
            state.seats.set_usable(place, is_usable);
            state.seats.load_changed(place, load);
        }
    }
}

impl Member {
    /// What the file changes is changed; what an operator or a check has changed stays as it is.
    fn reconfigure(&mut self, old: &Server, new: &Server) {
        if old.maxconn != new.maxconn {
            self.maxconn = new.maxconn;
        }
        (self.minconn, self.maxqueue) = (new.minconn, new.maxqueue);
        if old.weight != new.weight {
            self.weight = new.weight * WEIGHT_SCALE;
        }
        let place = |server: &Server| (server.address, server.port, server.carrier.clone());
        if place(old) != place(new) {
            self.moved_to = None;
        }
        let asked = |server: &Server| [server.check.is_some(), server.agent.is_some()];
        for checker in [0, 1] {
            if asked(old)[checker] != asked(new)[checker] {
                self.is_watched[checker] = asked(new)[checker];
            }
        }
        self.health.reconfigure(new);
    }
}
