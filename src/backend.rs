//! A backend on one worker: its servers, and whose turn it is.
//!
//! In:    the configuration
//! Out:   a server for a stream; counts
//! Never: connects

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::config::model::{Proxy, Redispatch, Server, ServerPort};
use crate::lb::RoundRobin;

/// What a worker counts of a server.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ServerCounters {
    /// Streams on it now.
    pub current: u64,
    /// Connections that were opened to it.
    pub total: u64,
    /// Attempts that failed.
    pub failed: u64,
    /// Streams that moved on to another server.
    pub redispatched: u64,
}

/// Whose turn it is among the servers of a backend: one order for all workers, so that servers take
/// turns exactly, as in HAProxy. Held for the time of a choice, once per connection.
pub type Turns = Arc<Mutex<RoundRobin>>;

/// Whose turn it is at first: servers that are neither backups nor disabled.
pub fn turns(proxy: &Proxy) -> Turns {
    let weight = |server: &Server| {
        let takes_turns = !server.backup && !server.disabled;
        if takes_turns { server.weight } else { 0 }
    };
    Arc::new(Mutex::new(RoundRobin::new(proxy.servers.iter().map(weight).collect())))
}

/// A backend on one worker.
#[derive(Debug)]
pub struct Backend {
    turns: Turns,
    /// The first of them that can be used serves when no active one can.
    backups: Vec<usize>,
    /// By the server's place in the configuration.
    pub servers: Vec<ServerCounters>,
}

impl Backend {
    /// The servers of a proxy, with the turns that all workers share.
    pub fn new(proxy: &Proxy, turns: Turns) -> Self {
        let is_backup = |server: &Server| server.backup && !server.disabled && server.weight > 0;
        let backups = (0..proxy.servers.len()).filter(|&at| is_backup(&proxy.servers[at]));
        let backups = backups.collect();
        Backend { turns, backups, servers: vec![ServerCounters::default(); proxy.servers.len()] }
    }

    /// A server for a stream; another than `avoid` if there is one.
    pub fn pick(&mut self, avoid: Option<usize>) -> Option<usize> {
        let active = lock(&self.turns).pick(avoid);
        active.or_else(|| {
            let other = self.backups.iter().copied().find(|&index| Some(index) != avoid);
            other.or_else(|| self.backups.first().copied())
        })
    }

    /// Servers that take turns.
    pub fn active_len(&self) -> usize {
        lock(&self.turns).len()
    }
}

/// A worker that panics ends the process: a poisoned lock is never seen.
fn lock(turns: &Turns) -> MutexGuard<'_, RoundRobin> {
    turns.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Where a server is, for a client that came to `local_port`; `None` when the offset leads out of range.
pub fn server_address(server: &Server, local_port: u16) -> Option<SocketAddr> {
    let port = match server.port {
        ServerPort::Fixed(port) => port,
        ServerPort::Offset(offset) => u16::try_from(i32::from(local_port) + offset).ok()?,
    };
    Some(SocketAddr::new(server.address, port))
}

/// Whether the retry number `retry` (from 1, of `retries`) goes to another server. With the option set,
/// round robin with several servers moves on at every retry, as HAProxy's does; else the interval counts.
pub fn moves_on(retry: u32, retries: u32, redispatch: Redispatch, active: usize) -> bool {
    match redispatch {
        Redispatch::Never => false,
        _ if active > 1 => true,
        Redispatch::Every(interval) => retry.is_multiple_of(interval.max(1)),
        Redispatch::BeforeLast(before) => {
            let interval = (retries + 1).saturating_sub(before);
            interval > 0 && retry.is_multiple_of(interval)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_retry_moves_on_by_default() {
        let moves = |active| {
            (1..=3)
                .map(|retry| moves_on(retry, 3, Redispatch::BeforeLast(1), active))
                .collect::<Vec<_>>()
        };
        assert_eq!(moves(1), [false, false, true]);
        assert_eq!(moves(2), [true, true, true]);
        assert!((1..=3).all(|retry| !moves_on(retry, 3, Redispatch::Never, 5)));
        let every_second: Vec<bool> =
            (1..=4).map(|retry| moves_on(retry, 4, Redispatch::Every(2), 1)).collect();
        assert_eq!(every_second, [false, true, false, true]);
    }
}
