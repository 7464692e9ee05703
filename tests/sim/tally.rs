//! What happened in a run, or in many.
//!
//! In:    fates of clients, counters of the balancer
//! Out:   sums, and whether every kind of trouble occurred at all
//! Owns:  the list of what a simulation must have seen to be worth its time

use std::collections::BTreeMap;
use std::time::Duration;

use xlb::worker::WorkerReport;

use crate::program::Fate;
use crate::scenario::Scenario;

/// Sums.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    /// Hash of all that was on the wire, of all bytes delivered, and of the time.
    pub trace: u64,
    pub steps: u64,
    pub virtual_time: Duration,
    /// Most streams at a time.
    pub streams_max: u64,
    counts: BTreeMap<String, u64>,
}

/// What happens in any thousand seeds, by the names that [`Tally`] counts it under.
const MUST_OCCUR: &[&str] = &[
    "client Complete",
    "client Short",
    "client Failed",
    "client Aborted",
    "client Vanished",
    "client Stalled",
    "frames handed over",
    "frames without memory or room",
    "failed attempts at a server",
    "redispatches",
    "stream failures",
    "runs stopped in the middle",
    "buffer shortages",
    "retransmits",
    "resets_sent",
    "challenged",
    "no_source_port",
    "no_buffer",
    "cookies_accepted",
    "accept_queue_full",
    "handed_to_owner",
    "handed_on",
];

impl Tally {
    pub fn add_clients(&mut self, fates: &BTreeMap<Fate, u64>) {
        for (fate, count) in fates {
            self.count(&format!("client {fate:?}"), *count);
        }
    }

    pub fn add_balancer(&mut self, scenario: &Scenario, reports: &[WorkerReport]) {
        self.count("runs stopped in the middle", u64::from(scenario.stop.is_some()));
        for report in reports {
            self.count("frames handed over", report.handed_in);
            self.count("buffer shortages", report.stack.buffers.failures);
            for (_, _, wire) in &report.queues {
                self.count("frames without memory or room", wire.no_frame + wire.tx_full);
            }
            for proxy in &report.proxies {
                self.count("stream failures", proxy.counters.frontend.failed);
                self.count(
                    "failed attempts at a server",
                    proxy.counters.servers.iter().map(|s| s.failed_attempts).sum(),
                );
                self.count(
                    "redispatches",
                    proxy.counters.servers.iter().map(|s| s.redispatched).sum(),
                );
            }
            for (name, value) in report.counters.iter() {
                self.count(name, value);
            }
        }
    }

    /// Adds the sums of another run.
    pub fn add(&mut self, other: &Tally) {
        self.trace ^= other.trace;
        self.steps += other.steps;
        self.virtual_time += other.virtual_time;
        self.streams_max = self.streams_max.max(other.streams_max);
        for (name, count) in &other.counts {
            self.count(name, *count);
        }
    }

    /// A simulation that no longer sees a kind of trouble tests less than its reader believes.
    pub fn assert_variety(&self) {
        let missing: Vec<&&str> = MUST_OCCUR
            .iter()
            .filter(|name| self.counts.get(**name).is_none_or(|n| *n == 0))
            .collect();
        assert!(missing.is_empty(), "never occurred: {missing:?} in {self:#?}");
    }

    fn count(&mut self, name: &str, count: u64) {
        *self.counts.entry(name.to_owned()).or_default() += count;
    }
}
