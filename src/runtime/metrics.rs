//! Metrics for Prometheus.
//!
//! In:    figures of the process, rows of `show stat`, reports of the workers
//! Out:   text of the exposition format, by the names that HAProxy's exporter has; behind them xlb's own
//! Never: counts anything itself
//! Read:  Prometheus' exposition formats, version 0.0.4; docs/management.md, "Metrics"

use std::fmt::Write;

use super::info::Figure;
use super::stat::{Column as C, Row, RowKind};
use super::view;
use crate::latency::Latency;
use crate::worker::WorkerReport;

/// The content type of the text.
pub const CONTENT_TYPE: &str = "text/plain; version=0.0.4";

/// A family by the name of its figure: its own name, whether it only grows, what a value is multiplied by.
type Family<K> = (K, &'static str, Growth, f64);

#[derive(Clone, Copy, PartialEq, Eq)]
enum Growth {
    Counter,
    Gauge,
}
use Growth::{Counter, Gauge};

const PROCESS: &[Family<&str>] = &[
    ("Nbthread", "nbthread", Gauge, 1.0),
    ("Nbproc", "nbproc", Gauge, 1.0),
    ("Process_num", "relative_process_id", Gauge, 1.0),
    ("Uptime_sec", "uptime_seconds", Gauge, 1.0),
    ("Start_time_sec", "start_time_seconds", Gauge, 1.0),
    ("Memmax_bytes", "max_memory_bytes", Gauge, 1.0),
    ("PoolAlloc_bytes", "pool_allocated_bytes", Gauge, 1.0),
    ("PoolUsed_bytes", "pool_used_bytes", Gauge, 1.0),
    ("PoolFailed", "pool_failures_total", Counter, 1.0),
    ("Ulimit-n", "max_fds", Gauge, 1.0),
    ("Maxsock", "max_sockets", Gauge, 1.0),
    ("Maxconn", "max_connections", Gauge, 1.0),
    ("Hard_maxconn", "hard_max_connections", Gauge, 1.0),
    ("CurrConns", "current_connections", Gauge, 1.0),
    ("CumConns", "connections_total", Counter, 1.0),
    ("CumReq", "requests_total", Counter, 1.0),
    ("ConnRate", "current_connection_rate", Gauge, 1.0),
    ("ConnRateLimit", "limit_connection_rate", Gauge, 1.0),
    ("MaxConnRate", "max_connection_rate", Gauge, 1.0),
    ("SessRate", "current_session_rate", Gauge, 1.0),
    ("SessRateLimit", "limit_session_rate", Gauge, 1.0),
    ("MaxSessRate", "max_session_rate", Gauge, 1.0),
    ("Tasks", "current_tasks", Gauge, 1.0),
    ("Run_queue", "current_run_queue", Gauge, 1.0),
    ("Idle_pct", "idle_time_percent", Gauge, 1.0),
    ("Stopping", "stopping", Gauge, 1.0),
    ("Jobs", "jobs", Gauge, 1.0),
    ("Listeners", "listeners", Gauge, 1.0),
    ("DroppedLogs", "dropped_logs_total", Counter, 1.0),
    ("BusyPolling", "busy_polling_enabled", Gauge, 1.0),
    ("TotalBytesOut", "bytes_out_total", Counter, 1.0),
];

const MS: f64 = 0.001;

const FRONTS: &[Family<C>] = &[
    (C::scur, "current_sessions", Gauge, 1.0),
    (C::smax, "max_sessions", Gauge, 1.0),
    (C::slim, "limit_sessions", Gauge, 1.0),
    (C::stot, "sessions_total", Counter, 1.0),
    (C::bin, "bytes_in_total", Counter, 1.0),
    (C::bout, "bytes_out_total", Counter, 1.0),
    (C::dreq, "requests_denied_total", Counter, 1.0),
    (C::dresp, "responses_denied_total", Counter, 1.0),
    (C::ereq, "request_errors_total", Counter, 1.0),
    (C::rate, "current_session_rate", Gauge, 1.0),
    (C::rate_lim, "limit_session_rate", Gauge, 1.0),
    (C::rate_max, "max_session_rate", Gauge, 1.0),
    (C::conn_rate_max, "connections_rate_max", Gauge, 1.0),
    (C::conn_tot, "connections_total", Counter, 1.0),
    (C::wrew, "failed_header_rewriting_total", Counter, 1.0),
    (C::eint, "internal_errors_total", Counter, 1.0),
    (C::dcon, "denied_connections_total", Counter, 1.0),
    (C::dses, "denied_sessions_total", Counter, 1.0),
];

const BACKS: &[Family<C>] = &[
    (C::qcur, "current_queue", Gauge, 1.0),
    (C::qmax, "max_queue", Gauge, 1.0),
    (C::scur, "current_sessions", Gauge, 1.0),
    (C::smax, "max_sessions", Gauge, 1.0),
    (C::slim, "limit_sessions", Gauge, 1.0),
    (C::stot, "sessions_total", Counter, 1.0),
    (C::bin, "bytes_in_total", Counter, 1.0),
    (C::bout, "bytes_out_total", Counter, 1.0),
    (C::dreq, "requests_denied_total", Counter, 1.0),
    (C::dresp, "responses_denied_total", Counter, 1.0),
    (C::econ, "connection_errors_total", Counter, 1.0),
    (C::eresp, "response_errors_total", Counter, 1.0),
    (C::wretr, "retry_warnings_total", Counter, 1.0),
    (C::wredis, "redispatch_warnings_total", Counter, 1.0),
    (C::weight, "weight", Gauge, 1.0),
    (C::uweight, "uweight", Gauge, 1.0),
    (C::chkfail, "check_failures_total", Counter, 1.0),
    (C::chkdown, "check_up_down_total", Counter, 1.0),
    (C::lastchg, "check_last_change_seconds", Gauge, 1.0),
    (C::downtime, "downtime_seconds_total", Counter, 1.0),
    (C::check_code, "check_code", Gauge, 1.0),
    (C::check_duration, "check_duration_seconds", Gauge, MS),
    (C::qlimit, "queue_limit", Gauge, 1.0),
    (C::throttle, "current_throttle", Gauge, 1.0),
    (C::lbtot, "loadbalanced_total", Counter, 1.0),
    (C::rate, "current_session_rate", Gauge, 1.0),
    (C::rate_max, "max_session_rate", Gauge, 1.0),
    (C::cli_abrt, "client_aborts_total", Counter, 1.0),
    (C::srv_abrt, "server_aborts_total", Counter, 1.0),
    (C::lastsess, "last_session_seconds", Gauge, 1.0),
    (C::qtime, "queue_time_average_seconds", Gauge, MS),
    (C::ctime, "connect_time_average_seconds", Gauge, MS),
    (C::rtime, "response_time_average_seconds", Gauge, MS),
    (C::ttime, "total_time_average_seconds", Gauge, MS),
    (C::qtime_max, "max_queue_time_seconds", Gauge, MS),
    (C::ctime_max, "max_connect_time_seconds", Gauge, MS),
    (C::rtime_max, "max_response_time_seconds", Gauge, MS),
    (C::ttime_max, "max_total_time_seconds", Gauge, MS),
    (C::connect, "connection_attempts_total", Counter, 1.0),
    (C::reuse, "connection_reuses_total", Counter, 1.0),
    (C::used_conn_cur, "used_connections_current", Gauge, 1.0),
    (C::need_conn_est, "need_connections_current", Gauge, 1.0),
    (C::srv_icur, "idle_connections_current", Gauge, 1.0),
    (C::idle_conn_cur, "unsafe_idle_connections_current", Gauge, 1.0),
    (C::safe_conn_cur, "safe_idle_connections_current", Gauge, 1.0),
    (C::wrew, "failed_header_rewriting_total", Counter, 1.0),
    (C::eint, "internal_errors_total", Counter, 1.0),
];

const SERVER_STATES: [&str; 5] = ["DOWN", "UP", "MAINT", "DRAIN", "NOLB"];

const CHECK_STATES: [&str; 16] = [
    "HANA", "SOCKERR", "L4OK", "L4TOUT", "L4CON", "L6OK", "L6TOUT", "L6RSP", "L7TOUT", "L7RSP",
    "L7OK", "L7OKC", "L7STS", "PROCERR", "PROCTOUT", "PROCOK",
];

/// Buckets of latencies, microseconds.
const BUCKETS: [u64; 13] =
    [50, 100, 250, 500, 1000, 2500, 5000, 10_000, 25_000, 50_000, 100_000, 500_000, 1_000_000];

struct Text(String);

impl Text {
    fn family(&mut self, name: &str, growth: Growth) {
        let kind = if growth == Counter { "counter" } else { "gauge" };
        let words = name.replace('_', " ");
        // Writing to a string cannot fail.
        let _ = writeln!(self.0, "# HELP {name} {words}.\n# TYPE {name} {kind}");
    }

    fn sample(&mut self, name: &str, labels: &[(&str, &str)], value: impl std::fmt::Display) {
        self.0.push_str(name);
        for (at, (label, text)) in labels.iter().enumerate() {
            let escaped = text.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n");
            let _ = write!(self.0, "{}{label}=\"{escaped}\"", if at == 0 { '{' } else { ',' });
        }
        let _ = writeln!(self.0, "{} {value}", if labels.is_empty() { "" } else { "}" });
    }
}

/// All metrics.
pub fn text(figures: &[Figure], rows: &[Row], reports: &[WorkerReport]) -> String {
    let mut text = Text(String::new());
    of_process(&mut text, figures);
    let of = |kind: RowKind| rows.iter().filter(move |row| row.kind == kind).collect::<Vec<_>>();
    of_rows(&mut text, "frontend", &of(RowKind::Frontend), FRONTS);
    of_rows(&mut text, "listener", &of(RowKind::Listener), FRONTS);
    of_rows(&mut text, "backend", &of(RowKind::Backend), BACKS);
    of_rows(&mut text, "server", &of(RowKind::Server), BACKS);
    of_workers(&mut text, reports);
    text.0
}

fn of_process(text: &mut Text, figures: &[Figure]) {
    for (figure, suffix, growth, _) in PROCESS {
        let Some(found) = figures.iter().find(|one| one.name == *figure) else { continue };
        let name = format!("haproxy_process_{suffix}");
        text.family(&name, *growth);
        text.sample(&name, &[], &found.value);
    }
    let version = figures.iter().find(|one| one.name == "Version").map(|one| one.value.to_string());
    text.family("haproxy_process_build_info", Gauge);
    text.sample("haproxy_process_build_info", &[("version", &version.unwrap_or_default())], 1);
}

fn of_rows(text: &mut Text, kind: &str, rows: &[&Row], families: &[Family<C>]) {
    let labels_of = |row: &Row| {
        let mut labels = vec![("proxy", row.text(C::pxname))];
        match row.kind {
            RowKind::Server => labels.push(("server", row.text(C::svname))),
            RowKind::Listener => labels.push(("listener", row.text(C::svname))),
            RowKind::Frontend | RowKind::Backend => {}
        }
        labels
    };
    for (column, suffix, growth, scale) in families {
        let with: Vec<&&Row> = rows.iter().filter(|row| row.get(*column).is_some()).collect();
        if with.is_empty() {
            continue;
        }
        let name = format!("haproxy_{kind}_{suffix}");
        text.family(&name, *growth);
        for row in with {
            text.sample(&name, &borrowed(&labels_of(row)), row.number(*column) * scale);
        }
    }
    if rows.is_empty() {
        return;
    }
    let states = |row: &Row| -> (String, &'static [&'static str]) {
        let status = row.text(C::status);
        match row.kind {
            RowKind::Server => {
                let word = status.split(' ').next().unwrap_or_default();
                let word = if word == "no" { "UP" } else { word };
                (word.to_string(), &SERVER_STATES)
            }
            RowKind::Backend => (status, &["DOWN", "UP"]),
            RowKind::Frontend | RowKind::Listener => {
                let is_up = status == "OPEN" || status == "FULL";
                ((if is_up { "UP" } else { "DOWN" }).to_string(), &["DOWN", "UP"])
            }
        }
    };
    state_family(text, &format!("haproxy_{kind}_status"), rows, labels_of, states);
    if kind == "server" {
        let checked: Vec<&Row> =
            rows.iter().copied().filter(|row| row.get(C::check_status).is_some()).collect();
        if !checked.is_empty() {
            let states = |row: &Row| (row.text(C::check_status), &CHECK_STATES[..]);
            state_family(text, "haproxy_server_check_status", &checked, labels_of, states);
        }
    }
    let counts = match kind {
        "server" => [(C::act, "active"), (C::bck, "backup")],
        "backend" => [(C::act, "active_servers"), (C::bck, "backup_servers")],
        _ => return,
    };
    for (column, suffix) in counts {
        let name = format!("haproxy_{kind}_{suffix}");
        text.family(&name, Gauge);
        for row in rows {
            text.sample(&name, &borrowed(&labels_of(row)), row.number(column));
        }
    }
}

fn borrowed<'a>(labels: &'a [(&'static str, String)]) -> Vec<(&'static str, &'a str)> {
    labels.iter().map(|(name, text)| (*name, text.as_str())).collect()
}

/// A family with a sample for each state that could be: 1 for the one that is.
fn state_family(
    text: &mut Text,
    name: &str,
    rows: &[&Row],
    labels_of: impl Fn(&Row) -> Vec<(&'static str, String)>,
    states: impl Fn(&Row) -> (String, &'static [&'static str]),
) {
    text.family(name, Gauge);
    for row in rows {
        let (now, all) = states(row);
        for state in all {
            let mut labels = labels_of(row);
            labels.push(("state", (*state).to_string()));
            text.sample(name, &borrowed(&labels), u8::from(now == *state));
        }
    }
}

/// xlb's own: what is specific to workers, queues and the userspace TCP.
fn of_workers(text: &mut Text, reports: &[WorkerReport]) {
    type Of = fn(&WorkerReport) -> f64;
    let families: [(&str, Growth, Of); 11] = [
        ("xlb_worker_idle_percent", Gauge, |one| one.idle_pct),
        ("xlb_worker_spin_percent", Gauge, |one| one.spin_pct),
        ("xlb_worker_busy_seconds_total", Counter, |one| one.busy_seconds),
        ("xlb_worker_turns_total", Counter, |one| one.turns as f64),
        ("xlb_worker_handed_out_total", Counter, |one| one.handed_out as f64),
        ("xlb_worker_handed_in_total", Counter, |one| one.handed_in as f64),
        ("xlb_worker_handed_full_total", Counter, |one| one.handed_full as f64),
        ("xlb_worker_streams", Gauge, |one| one.streams[0] as f64),
        ("xlb_worker_connections", Gauge, |one| one.stack.connections.used as f64),
        ("xlb_worker_half_open", Gauge, |one| one.stack.half_open as f64),
        ("xlb_worker_time_wait", Gauge, |one| one.stack.time_wait as f64),
    ];
    let labels = |one: &WorkerReport| (one.worker.to_string(), one.core.to_string());
    for (name, growth, of) in families {
        text.family(name, growth);
        for one in reports {
            let (worker, core) = labels(one);
            text.sample(name, &[("worker", &worker), ("core", &core)], of(one));
        }
    }
    text.family("xlb_stack_total", Counter);
    for one in reports {
        let (worker, _) = labels(one);
        for (counter, value) in one.counters.iter() {
            text.sample("xlb_stack_total", &[("worker", &worker), ("counter", counter)], value);
        }
    }
    for (name, of) in [
        ("xlb_pool_used", (|stats| stats.used) as fn(netstack::buffer::PoolStats) -> usize),
        ("xlb_pool_allocated", |stats| stats.allocated),
    ] {
        text.family(name, Gauge);
        for one in reports {
            let (worker, _) = labels(one);
            for pool in crate::report::pools_of(one) {
                text.sample(name, &[("worker", &worker), ("pool", pool.name)], of(pool.stats));
            }
        }
    }
    of_queues(text, reports);
    let (streams, turns) = view::latencies(reports);
    for (name, latency) in streams.iter() {
        histogram(text, &format!("xlb_stream_{name}_seconds"), latency);
    }
    histogram(text, "xlb_turn_seconds", &turns);
}

fn of_queues(text: &mut Text, reports: &[WorkerReport]) {
    text.family("xlb_queue_total", Counter);
    for one in reports {
        let worker = one.worker.to_string();
        for (queue, mode, counters) in crate::report::queue_counters(one) {
            for (counter, value) in counters {
                let labels =
                    [("worker", &*worker), ("queue", queue), ("mode", mode), ("counter", counter)];
                text.sample("xlb_queue_total", &labels, value);
            }
        }
    }
}

/// A classic histogram, seconds.
fn histogram(text: &mut Text, name: &str, latency: &Latency) {
    let words = name.replace('_', " ");
    let _ = writeln!(text.0, "# HELP {name} {words}.\n# TYPE {name} histogram");
    let bucket = format!("{name}_bucket");
    for micros in BUCKETS {
        let bound = (micros as f64 / 1e6).to_string();
        text.sample(&bucket, &[("le", &bound)], latency.count_up_to(micros));
    }
    text.sample(&bucket, &[("le", "+Inf")], latency.count());
    text.sample(&format!("{name}_sum"), &[], latency.mean() * latency.count() as f64 / 1e6);
    text.sample(&format!("{name}_count"), &[], latency.count());
}

#[cfg(test)]
mod tests {
    use super::super::typed::Value;
    use super::*;

    #[test]
    fn samples_are_escaped_and_histograms_add_up() {
        let mut text = Text(String::new());
        text.sample("x", &[("a", "say \"so\"\\")], 3);
        assert_eq!(text.0, "x{a=\"say \\\"so\\\"\\\\\"} 3\n");
        let mut latency = Latency::default();
        (0..10).for_each(|n| latency.record(std::time::Duration::from_micros(40 + 20 * n)));
        let mut text = Text(String::new());
        histogram(&mut text, "t", &latency);
        assert!(text.0.contains("t_bucket{le=\"0.00005\"} 1\n"), "{}", text.0);
        assert!(text.0.contains("t_bucket{le=\"+Inf\"} 10\n"), "{}", text.0);
        assert!(text.0.contains("t_count 10\n"), "{}", text.0);
    }

    #[test]
    fn the_process_is_told_by_haproxys_names() {
        let figure = |name: &str, value: Value| Figure {
            name: name.into(),
            tags: "MGPV",
            value,
            meaning: "",
        };
        let figures = [figure("CurrConns", 7_u32.into()), figure("Version", "1.2".into())];
        let text = text(&figures, &[], &[]);
        assert!(text.contains("haproxy_process_current_connections 7\n"), "{text}");
        assert!(text.contains("haproxy_process_build_info{version=\"1.2\"} 1\n"), "{text}");
    }
}
