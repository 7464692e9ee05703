//! The configurations that the streams of one worker work under.
//!
//! In:    a new configuration, now and then; streams that begin, move on and end
//! Out:   the configuration of each stream
//! Owns:  a configuration for as long as a stream of this worker works under it
//! Never: changes one: a stream that is connected ends as it began

use std::cell::Cell;
use std::sync::Arc;

use crate::config::model::Proxy;
use crate::shared::Shared;

/// Alive for as long as any worker holds the configuration of this number.
#[derive(Debug)]
pub struct Lease {
    /// Counts configurations, from 0.
    pub number: u32,
}

/// One configuration.
struct Edition {
    lease: Arc<Lease>,
    /// By place.
    proxies: Vec<Arc<Proxy>>,
    /// Streams under it.
    streams: Cell<u32>,
}

/// The configuration of now, and those that streams still work under.
pub struct Editions {
    current: Edition,
    old: Vec<Edition>,
}

impl Edition {
    fn new(shared: &Shared) -> Self {
        let proxies = shared.configs().cloned().collect();
        Edition { lease: shared.edition.clone(), proxies, streams: Cell::new(0) }
    }

    fn is(&self, number: u32) -> bool {
        self.lease.number == number
    }
}

impl Editions {
    /// The first.
    pub fn new(shared: &Shared) -> Self {
        Editions { current: Edition::new(shared), old: Vec::new() }
    }

    /// Streams that begin from now on work under this one.
    pub fn adopt(&mut self, shared: &Shared) {
        let before = std::mem::replace(&mut self.current, Edition::new(shared));
        self.old.extend(Some(before).filter(|edition| edition.streams.get() > 0));
    }

    /// The number of the configuration of now.
    pub fn current(&self) -> u32 {
        self.current.lease.number
    }

    /// What proxies are under the configuration of this number, by place.
    pub fn of(&self, number: u32) -> &[Arc<Proxy>] {
        &self.held(number).proxies
    }

    fn held(&self, number: u32) -> &Edition {
        if self.current.is(number) {
            return &self.current;
        }
        let held = self.old.iter().find(|edition| edition.is(number));
        held.expect("a stream's configuration is held until it ends")
    }

    /// A stream begins; returns the number of its configuration.
    pub fn enter(&self) -> u32 {
        self.current.streams.update(|streams| streams + 1);
        self.current()
    }

    /// A stream goes on under the configuration of now; its number.
    pub fn renew(&self, number: u32) -> u32 {
        self.held(number).streams.update(|streams| streams - 1);
        self.enter()
    }

    /// A stream has ended.
    pub fn leave(&mut self, number: u32) {
        let edition = self.held(number);
        edition.streams.update(|streams| streams - 1);
        if !self.current.is(number) {
            self.old.retain(|edition| edition.streams.get() > 0);
        }
    }
}
