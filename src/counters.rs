//! What one worker counts of its proxies: private words, added up by whoever asks.
//!
//! In:    what happens to streams
//! Out:   sums, averages of late, times of the last event
//! Never: shared between workers: what has to be exact over all of them is in `limit`, `rate` and `backend`
//! Read:  docs/management.md, "show stat"

use std::ops::AddAssign;

use crate::clock::Instant;
use crate::config::model::{Proxy, ProxyIndex};
use crate::latency::Latencies;
use crate::shared::{Renewed, Shared};

/// Streams that an average looks back upon (HAProxy's TIME_STATS_SAMPLES).
const SAMPLES: u64 = 512;

/// What is counted of a frontend, and of each of its listeners.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct FrontCounters {
    /// Streams now.
    pub current: u64,
    /// Connections accepted (`conn_tot`).
    pub connections: u64,
    /// Connections that no rule refused at the door.
    pub admitted: u64,
    /// Of these, those that no rule refused as sessions (`stot`).
    pub sessions: u64,
    /// Bytes from clients (`bin`).
    pub bytes_in: u64,
    /// Bytes to clients (`bout`).
    pub bytes_out: u64,
    /// Connections that `tcp-request connection` refused (`dcon`).
    pub denied_connections: u64,
    /// Sessions that `tcp-request session` refused (`dses`).
    pub denied_sessions: u64,
    /// Streams that `tcp-request content` refused (`dreq`).
    pub denied_requests: u64,
    /// Streams that `tcp-response content` refused (`dresp`).
    pub denied_responses: u64,
    /// Streams that ended before they had a backend, by fault of the client (`ereq`).
    pub failed_requests: u64,
    /// Streams that ended otherwise than by both sides closing.
    pub failed: u64,
}

impl AddAssign for FrontCounters {
    fn add_assign(&mut self, other: Self) {
        self.current += other.current;
        self.connections += other.connections;
        self.admitted += other.admitted;
        self.sessions += other.sessions;
        self.bytes_in += other.bytes_in;
        self.bytes_out += other.bytes_out;
        self.denied_connections += other.denied_connections;
        self.denied_sessions += other.denied_sessions;
        self.denied_requests += other.denied_requests;
        self.denied_responses += other.denied_responses;
        self.failed_requests += other.failed_requests;
        self.failed += other.failed;
    }
}

/// What is counted of a backend, and of each of its servers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct BackCounters {
    /// Streams connected now.
    pub current: u64,
    /// Of a backend: streams that came; of a server: connections begun to it (`stot`).
    pub sessions: u64,
    /// Connections that were opened.
    pub opened: u64,
    /// Places given by choice (`lbtot`).
    pub chosen: u64,
    /// Bytes from clients (`bin`).
    pub bytes_in: u64,
    /// Bytes to clients (`bout`).
    pub bytes_out: u64,
    /// Streams that `tcp-request content` refused (`dreq`).
    pub denied_requests: u64,
    /// Streams that `tcp-response content` refused (`dresp`).
    pub denied_responses: u64,
    /// Attempts to connect that failed.
    pub failed_attempts: u64,
    /// Streams that found no server in the end (`econ`).
    pub failed_connections: u64,
    /// Attempts that were repeated (`wretr`).
    pub retries: u64,
    /// Streams that moved on to another server (`wredis`).
    pub redispatched: u64,
    /// Streams that their client ended, or whose client was silent for too long (`cli_abrt`).
    pub client_aborts: u64,
    /// Streams that their server ended, or whose server was silent for too long (`srv_abrt`).
    pub server_aborts: u64,
    /// Milliseconds in the queue (`qtime`).
    pub queue_ms: Times,
    /// Milliseconds to connect (`ctime`).
    pub connect_ms: Times,
    /// Milliseconds of whole streams (`ttime`).
    pub total_ms: Times,
    /// When a stream came last (`lastsess`).
    pub last_at: Option<Instant>,
}

impl AddAssign for BackCounters {
    fn add_assign(&mut self, other: Self) {
        self.current += other.current;
        self.sessions += other.sessions;
        self.opened += other.opened;
        self.chosen += other.chosen;
        self.bytes_in += other.bytes_in;
        self.bytes_out += other.bytes_out;
        self.denied_requests += other.denied_requests;
        self.denied_responses += other.denied_responses;
        self.failed_attempts += other.failed_attempts;
        self.failed_connections += other.failed_connections;
        self.retries += other.retries;
        self.redispatched += other.redispatched;
        self.client_aborts += other.client_aborts;
        self.server_aborts += other.server_aborts;
        self.queue_ms += other.queue_ms;
        self.connect_ms += other.connect_ms;
        self.total_ms += other.total_ms;
        self.last_at = self.last_at.max(other.last_at);
    }
}

/// An average over the last streams, and the greatest value.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Times {
    /// The average, as often as `weight` says.
    sum: u64,
    weight: u64,
    /// The greatest value.
    pub max: u64,
}

impl Times {
    /// One more value.
    pub fn record(&mut self, value: u64) {
        if self.weight < SAMPLES {
            self.weight += 1;
        } else {
            self.sum -= self.sum.div_ceil(SAMPLES);
        }
        self.sum += value;
        self.max = self.max.max(value);
    }

    /// The average; 0 without a value.
    pub fn average(&self) -> u64 {
        self.sum.div_ceil(self.weight.max(1))
    }
}

impl AddAssign for Times {
    /// Averages of several workers: each counts by its values.
    fn add_assign(&mut self, other: Self) {
        self.sum += other.sum;
        self.weight += other.weight;
        self.max = self.max.max(other.max);
    }
}

/// What a worker counts of one proxy.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ProxyCounters {
    /// As a frontend.
    pub frontend: FrontCounters,
    /// Its listeners, by the place of their `bind`.
    pub listeners: Vec<FrontCounters>,
    /// As a backend.
    pub backend: BackCounters,
    /// Its servers, by place.
    pub servers: Vec<BackCounters>,
}

impl ProxyCounters {
    /// Nothing counted yet.
    pub fn new(proxy: &Proxy) -> Self {
        ProxyCounters {
            listeners: vec![FrontCounters::default(); proxy.binds.extent()],
            servers: vec![BackCounters::default(); proxy.servers.extent()],
            ..ProxyCounters::default()
        }
    }

    /// Forgets what was greatest; `all`: and what was counted, but for what is there now.
    pub fn clear(&mut self, all: bool) {
        let fronts = std::iter::once(&mut self.frontend).chain(&mut self.listeners);
        for front in fronts.filter(|_| all) {
            *front = FrontCounters { current: front.current, ..FrontCounters::default() };
        }
        for back in std::iter::once(&mut self.backend).chain(&mut self.servers) {
            if all {
                let BackCounters { current, last_at, .. } = *back;
                *back = BackCounters { current, last_at, ..BackCounters::default() };
            }
            for times in [&mut back.queue_ms, &mut back.connect_ms, &mut back.total_ms] {
                times.max = 0;
            }
        }
    }
}

impl AddAssign<&ProxyCounters> for ProxyCounters {
    fn add_assign(&mut self, other: &ProxyCounters) {
        self.frontend += other.frontend;
        self.backend += other.backend;
        add_each(&mut self.listeners, &other.listeners);
        add_each(&mut self.servers, &other.servers);
    }
}

fn add_each<T: AddAssign + Copy + Default>(sums: &mut Vec<T>, others: &[T]) {
    sums.resize(sums.len().max(others.len()), T::default());
    for (sum, other) in sums.iter_mut().zip(others) {
        *sum += *other;
    }
}

/// What a worker counts.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Counters {
    /// By [`ProxyIndex`].
    pub proxies: Vec<ProxyCounters>,
    /// Of all streams.
    pub latencies: Latencies,
}

impl Counters {
    /// Counts under another configuration: places that are new begin with nothing, others go on.
    pub fn adopt(&mut self, shared: &Shared) {
        let Renewed { proxies, servers, listeners } = &shared.renewed;
        for index in proxies {
            self.proxies[index.0] = ProxyCounters::default();
        }
        for id in servers {
            self.proxies[id.proxy.0].servers[id.index] = BackCounters::default();
        }
        for (proxy, place) in listeners {
            self.proxies[proxy.0].listeners[*place] = FrontCounters::default();
        }
        self.proxies.resize(shared.extent(), ProxyCounters::default());
        for (counters, config) in self.proxies.iter_mut().zip(shared.configs()) {
            counters.listeners.resize(config.binds.extent(), FrontCounters::default());
            counters.servers.resize(config.servers.extent(), BackCounters::default());
        }
    }

    /// A frontend and the listener at this place: both are counted together.
    pub fn fronts(
        &mut self,
        index: ProxyIndex,
        listener: usize,
    ) -> impl Iterator<Item = &mut FrontCounters> {
        let ProxyCounters { frontend, listeners, .. } = &mut self.proxies[index.0];
        [frontend, &mut listeners[listener]].into_iter()
    }

    /// A backend and, if there is one, its server: both are counted together.
    pub fn backs(
        &mut self,
        index: ProxyIndex,
        server: Option<usize>,
    ) -> impl Iterator<Item = &mut BackCounters> {
        let ProxyCounters { backend, servers, .. } = &mut self.proxies[index.0];
        std::iter::once(backend).chain(server.and_then(|server| servers.get_mut(server)))
    }

    /// A server.
    pub fn server(&mut self, index: ProxyIndex, server: usize) -> &mut BackCounters {
        &mut self.proxies[index.0].servers[server]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn averages_look_back_and_workers_count_by_their_values() {
        let mut times = Times::default();
        assert_eq!(times.average(), 0);
        (0..100).for_each(|_| times.record(10));
        assert_eq!((times.average(), times.max), (10, 10));
        let mut other = Times::default();
        (0..300).for_each(|_| other.record(50));
        let mut both = times;
        both += other;
        assert_eq!((both.average(), both.max), (40, 50));
        (0..5000).for_each(|_| other.record(7));
        assert!((7..=8).contains(&other.average()), "{}", other.average());
    }

    #[test]
    fn clearing_keeps_what_is_there_now() {
        let mut counters = ProxyCounters {
            frontend: FrontCounters { current: 3, sessions: 9, ..FrontCounters::default() },
            ..ProxyCounters::default()
        };
        counters.backend.total_ms.record(8);
        counters.clear(false);
        assert_eq!((counters.frontend.sessions, counters.backend.total_ms.max), (9, 0));
        assert_eq!(counters.backend.total_ms.average(), 8);
        counters.clear(true);
        assert_eq!((counters.frontend.current, counters.frontend.sessions), (3, 0));
    }
}
