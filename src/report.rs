//! What an operator reads: how workers, queues, pools, proxies and servers are.
//!
//! In:    reports of the workers
//! Out:   lines of `key=value`
//! Never: asks anyone

use std::fmt::Write;
use std::sync::Arc;

use netstack::buffer::PoolStats;

use crate::config::model::Proxy;
use crate::counters::ProxyCounters;
use crate::proxies::ProxyReport;
use crate::syslog::LogCounters;
use crate::worker::WorkerReport;

/// The whole state, as SIGHUP writes it.
pub fn full(reports: &[WorkerReport]) -> String {
    let mut out = String::new();
    for report in reports {
        worker(&mut out, report);
        for queue in &report.queues {
            self::queue(&mut out, queue);
        }
    }
    pools(&mut out, reports);
    proxies(&mut out, reports);
    out
}

/// Only the pools, as SIGQUIT writes them.
pub fn pools_only(reports: &[WorkerReport]) -> String {
    let mut out = String::new();
    pools(&mut out, reports);
    out
}

fn line(out: &mut String, text: std::fmt::Arguments<'_>) {
    // Writing to a string cannot fail.
    let _ = out.write_fmt(text);
    out.push('\n');
}

fn worker(out: &mut String, report: &WorkerReport) {
    let rx: u64 = report.queues.iter().map(|(_, _, stats)| stats.rx_frames).sum();
    let tx: u64 = report.queues.iter().map(|(_, _, stats)| stats.tx_frames).sum();
    line(
        out,
        format_args!(
            "worker {} core={} idle_pct={:.1} spin_pct={:.1} turns={} rx={rx} tx={tx} handed_out={} handed_in={} \
             handed_full={} streams={} connections={} half_open={} time_wait={}",
            report.worker,
            report.core,
            report.idle_pct,
            report.spin_pct,
            report.turns,
            report.handed_out,
            report.handed_in,
            report.handed_full,
            report.streams[0],
            report.stack.connections.used,
            report.stack.half_open,
            report.stack.time_wait,
        ),
    );
    let mut counters = format!("counters worker={}", report.worker);
    for (name, value) in report.counters.iter().filter(|&(_, value)| value > 0) {
        let _ = write!(counters, " {name}={value}");
    }
    line(out, format_args!("{counters}"));
}

/// Counters of the queues of a worker: name, mode, and each counter with its name.
pub fn queue_counters(
    report: &WorkerReport,
) -> impl Iterator<Item = (&str, &str, [(&'static str, u64); 11])> {
    report.queues.iter().map(|(name, mode, stats)| {
        let counters = [
            ("rx_frames", stats.rx_frames),
            ("rx_bytes", stats.rx_bytes),
            ("tx_frames", stats.tx_frames),
            ("tx_bytes", stats.tx_bytes),
            ("kicks", stats.kicks),
            ("kick_errors", stats.kick_errors),
            ("no_frame", stats.no_frame),
            ("tx_full", stats.tx_full),
            ("rx_dropped", stats.rx_dropped),
            ("rx_fill_ring_empty", stats.rx_fill_ring_empty),
            ("rx_ring_full", stats.rx_ring_full),
        ];
        (name.as_str(), mode.as_str(), counters)
    })
}

/// A queue of an interface.
pub fn queue(out: &mut String, (name, mode, stats): &(String, String, nic::WireStats)) {
    line(
        out,
        format_args!(
            "queue {name} mode={mode} rx_frames={} rx_bytes={} tx_frames={} tx_bytes={} kicks={} kick_errors={} \
             rx_dropped={} rx_fill_ring_empty={} rx_ring_full={} no_frame={} tx_full={} invalid={} frames={} \
             free={}",
            stats.rx_frames,
            stats.rx_bytes,
            stats.tx_frames,
            stats.tx_bytes,
            stats.kicks,
            stats.kick_errors,
            stats.rx_dropped,
            stats.rx_fill_ring_empty,
            stats.rx_ring_full,
            stats.no_frame,
            stats.tx_full,
            stats.rx_invalid_descriptors + stats.tx_invalid_descriptors,
            stats.frames,
            stats.frames_free,
        ),
    );
}

/// What the XDP program of an interface did, by queue.
pub fn program(interface: &str, counters: &[nic::QueueCounters]) -> String {
    let mut out = String::new();
    for (queue, counters) in counters.iter().enumerate() {
        line(
            &mut out,
            format_args!(
                "program {interface}/{queue} redirected={} passed={} dropped={}",
                counters.redirected, counters.passed, counters.dropped
            ),
        );
    }
    out
}

/// What became of log lines.
pub fn logs(counters: &LogCounters) -> String {
    let [sent, failed, dropped] = counters.read();
    format!("logs sent={sent} failed={failed} dropped={dropped}\n")
}

/// A pool of a worker.
pub struct Pool {
    /// What is in it.
    pub name: &'static str,
    /// How full it is.
    pub stats: PoolStats,
}

/// The pools of a worker.
pub fn pools_of(report: &WorkerReport) -> [Pool; 3] {
    let [used, allocated, size] = report.streams;
    let streams = PoolStats { size, allocated, used, ..PoolStats::default() };
    [
        Pool { name: "buffers", stats: report.stack.buffers },
        Pool { name: "connections", stats: report.stack.connections },
        Pool { name: "streams", stats: streams },
    ]
}

fn pools(out: &mut String, reports: &[WorkerReport]) {
    for (worker, pool) in
        reports.iter().flat_map(|one| pools_of(one).map(|pool| (one.worker, pool)))
    {
        let Pool { name, stats } = pool;
        line(
            out,
            format_args!(
                "pool {name} worker={worker} size={} allocated={} used={} limit={} reserve={} failures={}",
                stats.size, stats.allocated, stats.used, stats.limit, stats.reserve, stats.failures
            ),
        );
    }
}

fn proxies(out: &mut String, reports: &[WorkerReport]) {
    for (config, counters) in sums(reports) {
        if config.kind.is_frontend() {
            let front = counters.frontend;
            line(
                out,
                format_args!(
                    "proxy {} frontend conns={} total={} bytes_in={} bytes_out={} denied={} failed={}",
                    config.name,
                    front.current,
                    front.admitted,
                    front.bytes_in,
                    front.bytes_out,
                    front.denied_connections,
                    front.failed
                ),
            );
        }
        for (place, server) in config.servers.placed() {
            let back = &counters.servers[place];
            line(
                out,
                format_args!(
                    "server {}/{} conns={} total={} failed={} redispatched={}",
                    config.name,
                    server.name,
                    back.current,
                    back.opened,
                    back.failed_attempts,
                    back.redispatched
                ),
            );
        }
    }
}

/// What all workers have counted, by proxy.
pub fn sums(reports: &[WorkerReport]) -> Vec<(Arc<Proxy>, ProxyCounters)> {
    let Some((first, others)) = reports.split_first() else { return Vec::new() };
    let sum = |(index, proxy): (usize, &ProxyReport)| {
        let mut sum = proxy.counters.clone();
        for report in others.iter().filter_map(|report| report.proxies.get(index)) {
            sum += &report.counters;
        }
        (proxy.config.clone(), sum)
    };
    first.proxies.iter().enumerate().map(sum).collect()
}
