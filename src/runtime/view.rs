//! Everything that is shown of proxies, gathered at one moment.
//!
//! In:    what workers have counted, what all of them share
//! Out:   a [`View`]
//! Never: changes anything

use std::sync::Arc;

use crate::backend::Survey;
use crate::clock::Instant;
use crate::config::model::{Proxy, ProxyIndex};
use crate::counters::ProxyCounters;
use crate::latency::{Latencies, Latency};
use crate::proxies::ListenerPlan;
use crate::report;
use crate::shared::{FrontendState, Shared};
use crate::worker::WorkerReport;

/// All proxies at one moment.
pub struct View {
    /// The moment.
    pub now: Instant,
    /// By [`ProxyIndex`].
    pub proxies: Vec<ProxyView>,
    /// In the order of the configuration.
    order: Vec<ProxyIndex>,
}

/// A proxy at one moment.
pub struct ProxyView {
    /// What it is.
    pub config: Arc<Proxy>,
    /// What all workers have counted of it.
    pub counters: ProxyCounters,
    /// As a frontend.
    pub front: FrontView,
    /// Its listeners, by place.
    pub listeners: Vec<Places>,
    /// As a backend.
    pub survey: Survey,
}

/// A frontend at one moment.
pub struct FrontView {
    /// Connections now.
    pub current: u32,
    /// The most at once.
    pub peak: u32,
    /// `maxconn`
    pub maxconn: u32,
    /// Sessions within the last second, and the most of them.
    pub session_rate: (u32, u32),
    /// `rate-limit sessions`, 0: none.
    pub session_limit: u32,
    /// Connections within the last second, and the most of them.
    pub connection_rate: (u32, u32),
    /// Whether it takes connections.
    pub state: FrontendState,
}

/// The places of a listener.
#[derive(Clone, Copy, Debug, Default)]
pub struct Places {
    /// Taken now.
    pub current: u32,
    /// The most at once.
    pub peak: u32,
    /// Places there are.
    pub maxconn: u32,
}

impl View {
    /// How everything is at `now`.
    pub fn gather(
        shared: &Shared,
        plans: &[ListenerPlan],
        reports: &[WorkerReport],
        now: Instant,
    ) -> Self {
        let mut sums = report::sums(reports).into_iter();
        let proxies = (0..shared.extent()).map(|index| {
            let index = ProxyIndex(index);
            let config = shared.backend(index).config.clone();
            let mut counters = ProxyCounters::new(&config);
            if let Some((_, sum)) = sums.next() {
                counters += &sum;
            }
            let mut listeners = vec![Places::default(); config.binds.extent()];
            for plan in plans.iter().filter(|plan| plan.frontend == index) {
                let limit = &plan.limit;
                listeners[plan.place] =
                    Places { current: limit.used(), peak: limit.peak(), maxconn: limit.max() };
            }
            let survey = shared.backend(index).survey(now);
            ProxyView { config, counters, front: front(shared, index, now), listeners, survey }
        });
        let order = shared.proxies().map(|(index, _)| index).collect();
        View { now, proxies: proxies.collect(), order }
    }

    /// The proxies of the configuration, in its order.
    pub fn shown(&self) -> impl Iterator<Item = (ProxyIndex, &ProxyView)> {
        self.order.iter().map(|&index| (index, &self.proxies[index.0]))
    }
}

fn front(shared: &Shared, index: ProxyIndex, now: Instant) -> FrontView {
    let frontend = shared.frontend(index);
    FrontView {
        current: frontend.connections.used(),
        peak: frontend.connections.peak(),
        maxconn: frontend.connections.max(),
        session_rate: (frontend.sessions.per_second(now), frontend.sessions.max()),
        session_limit: frontend.sessions.limit(),
        connection_rate: (frontend.arrivals.per_second(now), frontend.arrivals.max()),
        state: frontend.state(),
    }
}

/// How long things took, for all workers: what streams waited for, and turns.
pub fn latencies(reports: &[WorkerReport]) -> (Latencies, Latency) {
    let (mut streams, mut turns) = (Latencies::default(), Latency::default());
    for report in reports {
        streams.add(&report.latencies);
        turns.add(&report.turn_times);
    }
    (streams, turns)
}
