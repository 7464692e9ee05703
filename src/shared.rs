//! What workers share: limits, the turns of servers, and a word that somebody waits for has come true.
//!
//! In:    the configuration; places taken and given back
//! Out:   limits; a number that changes when paused listeners should try again
//! Owns:  every count that must be exact over all workers
//! Never: locked for longer than a choice of a server takes

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::backend::{Turns, turns};
use crate::config::model::{Config, MAXCONN_DEFAULT, ProxyIndex};
use crate::limit::Limit;

/// Wakes a worker that may be asleep.
pub trait Wake: Send + Sync {
    /// Wakes it; does nothing much when it is awake.
    fn wake(&self);
}

/// What workers share.
pub struct Shared {
    /// maxconn of the process.
    pub global: Limit,
    frontends: HashMap<ProxyIndex, Arc<Limit>>,
    /// By [`ProxyIndex`].
    turns: Vec<Turns>,
    /// Counts the occasions at which paused listeners should try again.
    room_epoch: AtomicU64,
    workers: Vec<Box<dyn Wake>>,
}

impl Shared {
    /// The limits of a configuration, for these workers.
    pub fn new(config: &Config, workers: Vec<Box<dyn Wake>>) -> Self {
        let frontends = config
            .proxies
            .iter()
            .enumerate()
            .filter(|(_, proxy)| proxy.kind.is_frontend())
            .map(|(index, proxy)| (ProxyIndex(index), Arc::new(Limit::new(proxy.maxconn))))
            .collect();
        Shared {
            global: Limit::new(config.global.maxconn.unwrap_or(MAXCONN_DEFAULT)),
            frontends,
            turns: config.proxies.iter().map(turns).collect(),
            room_epoch: AtomicU64::new(0),
            workers,
        }
    }

    /// maxconn of a frontend.
    pub fn frontend(&self, index: ProxyIndex) -> &Arc<Limit> {
        &self.frontends[&index]
    }

    /// Whose turn it is among a backend's servers.
    pub fn turns(&self, index: ProxyIndex) -> Turns {
        self.turns[index.0].clone()
    }

    /// A place is free that somebody waits for: paused listeners of all workers try again.
    pub fn announce_room(&self) {
        self.room_epoch.fetch_add(1, Ordering::SeqCst);
        for worker in &self.workers {
            worker.wake();
        }
    }

    /// Changes with each announcement.
    pub fn room_epoch(&self) -> u64 {
        self.room_epoch.load(Ordering::Acquire)
    }
}
