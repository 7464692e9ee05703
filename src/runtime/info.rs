//! `show info`: the process.
//!
//! In:    reports of the workers, limits, what the process knows of itself
//! Out:   figures by HAProxy's names, and behind them xlb's own
//! Never: counts anything itself
//! Read:  HAProxy's management guide, "show info"; docs/management.md, "show info"

use std::fmt::Write;

use super::Runtime;
use super::typed::{self, Field, Tags, Value};
use crate::config::model::MAXCONN_DEFAULT;
use crate::report;
use crate::worker::WorkerReport;

/// A figure of the process, with what it means.
pub struct Figure {
    /// Its name.
    pub name: String,
    /// What it is.
    pub tags: &'static str,
    /// Its value.
    pub value: Value,
    /// What it means, in a sentence without a full stop.
    pub meaning: &'static str,
}

/// The figures at this moment.
pub fn figures(runtime: &Runtime, reports: &[WorkerReport]) -> Vec<Figure> {
    let mut list = List(Vec::new());
    of_process(&mut list, runtime, reports);
    of_limits(&mut list, runtime, reports);
    of_work(&mut list, runtime, reports);
    of_wires(&mut list, reports);
    list.0
}

struct List(Vec<Figure>);

impl List {
    fn add(
        &mut self,
        name: &str,
        tags: &'static str,
        value: impl Into<Value>,
        meaning: &'static str,
    ) {
        self.0.push(Figure { name: name.into(), tags, value: value.into(), meaning });
    }

    /// What there is none of here: HAProxy's name, and 0.
    fn none(&mut self, names: &[(&'static str, &'static str)]) {
        for (name, tags) in names {
            self.add(name, tags, 0_u32, "Not part of this version: always 0");
        }
    }
}

const MIB: u64 = 1 << 20;

fn of_process(list: &mut List, runtime: &Runtime, reports: &[WorkerReport]) {
    let version = env!("CARGO_PKG_VERSION");
    let up = runtime.clock.now().micros() / 1_000_000;
    let (days, rest) = (up / 86_400, up % 86_400);
    let uptime = format!("{days}d {}h{:02}m{:02}s", rest / 3600, rest % 3600 / 60, rest % 60);
    let (allocated, used, failures) = pools(reports);
    list.add("Name", "POSV", "xlb", "Name of the product");
    list.add("Version", "POSV", version, "Version of the product");
    list.add("Release_date", "POSV", crate::version::RELEASE_DATE, "Date of the version");
    list.add(
        "Nbthread",
        "CGSV",
        reports.len(),
        "Workers: one core and one queue of each interface",
    );
    list.add("Nbproc", "CGSV", 1_u32, "Processes, always 1");
    list.add("Process_num", "KGPV", 1_u32, "Number of the process, always 1");
    list.add("Pid", "SGPV", std::process::id(), "The process's number in the system");
    list.add("Uptime", "MDPV", uptime, "Time since the start");
    list.add("Uptime_sec", "MDPV", up as u32, "The same in seconds");
    list.none(&[("Memmax_MB", "CLPV")]);
    list.add("PoolAlloc_MB", "MGPV", (allocated / MIB) as u32, "Memory allocated in pools, MiB");
    list.add("PoolUsed_MB", "MGPV", (used / MIB) as u32, "Of it in use, MiB");
    list.add("PoolFailed", "MCPV", failures as u32, "Requests that a pool could not fulfil");
    let files = rustix::process::getrlimit(rustix::process::Resource::Nofile).current;
    let files = files.map_or(u32::MAX, |files| u32::try_from(files).unwrap_or(u32::MAX));
    list.add("Ulimit-n", "CLPV", files, "Open files that the system allows");
    list.add("Maxsock", "CLPV", files, "The same: connections of the wires need no file");
}

fn of_limits(list: &mut List, runtime: &Runtime, reports: &[WorkerReport]) {
    let shared = &runtime.shared;
    let now = runtime.clock.now();
    let fronts = report::sums(reports);
    let connections: u64 = fronts.iter().map(|(_, proxy)| proxy.frontend.connections).sum();
    let sessions: u64 = fronts.iter().map(|(_, proxy)| proxy.frontend.sessions).sum();
    let maxconn = shared.global.max();
    list.add("Maxconn", "CLPV", maxconn, "Connections that the process takes at once");
    let hard = runtime.config.global.maxconn.unwrap_or(MAXCONN_DEFAULT);
    list.add("Hard_maxconn", "CLPV", hard, "The same, as it was at the start");
    list.add("CurrConns", "MGPV", shared.global.used(), "Connections of clients now");
    list.add("CumConns", "MCPV", connections as u32, "Connections of clients since the start");
    list.add("CumReq", "MCPV", sessions as u32, "Sessions since the start");
    list.none(&[("MaxSslConns", "CLPV"), ("CurrSslConns", "MGPV"), ("CumSslConns", "MCPV")]);
    list.none(&[("Maxpipes", "CLPV"), ("PipesUsed", "MGPV"), ("PipesFree", "MGPV")]);
    let rates = [
        ("ConnRate", "ConnRateLimit", "MaxConnRate", &shared.connection_rate),
        ("SessRate", "SessRateLimit", "MaxSessRate", &shared.session_rate),
    ];
    for (rate, limit, most, limited) in rates {
        list.add(rate, "MRPV", limited.per_second(now), "Accepted within the last second");
        list.add(limit, "CLPV", limited.limit(), "The limit of it, 0: none");
        list.add(most, "MMPV", limited.max(), "The highest it was");
    }
    list.none(&[
        ("SslRate", "MRPV"),
        ("SslRateLimit", "CLPV"),
        ("MaxSslRate", "MMPV"),
        ("SslFrontendKeyRate", "MRPV"),
        ("SslFrontendMaxKeyRate", "MMPV"),
        ("SslFrontendSessionReuse_pct", "MGPV"),
        ("SslBackendKeyRate", "MRPV"),
        ("SslBackendMaxKeyRate", "MMPV"),
        ("SslCacheLookups", "MCPV"),
        ("SslCacheMisses", "MCPV"),
        ("CompressBpsIn", "MRPV"),
        ("CompressBpsOut", "MRPV"),
        ("CompressBpsRateLim", "CLPV"),
    ]);
}

fn of_work(list: &mut List, runtime: &Runtime, reports: &[WorkerReport]) {
    let shared = &runtime.shared;
    let tasks: usize = reports.iter().map(|report| report.tasks.0).sum();
    let runnable: usize = reports.iter().map(|report| report.tasks.1).sum();
    let streams: usize = reports.iter().map(|report| report.streams[0]).sum();
    let sums = report::sums(reports);
    let bytes: u64 =
        sums.iter().map(|(_, proxy)| proxy.frontend.bytes_out + proxy.backend.bytes_in).sum();
    let dropped = runtime.logger.counters().read()[2];
    let listeners = runtime.plans.len() as u32;
    let jobs = shared.global.used() + listeners;
    list.add("Tasks", "MGPV", tasks, "Tasks: streams, and servers that are watched");
    list.add("Run_queue", "MGPV", runnable, "Tasks that are to run now");
    let idle = idle_pct(reports);
    list.add(
        "Idle_pct",
        "MaPV",
        idle.round() as u32,
        "Percent of the last second without work, all workers",
    );
    list.add("node", "COSV", runtime.node.as_str(), "Name of the node");
    let stopping = u32::from(shared.is_stopping());
    list.add("Stopping", "MGPV", stopping, "1 while the process ends with its last connection");
    list.add("Jobs", "MGPV", jobs, "Connections of clients, and listeners");
    list.none(&[("Unstoppable Jobs", "MGPV")]);
    list.add("Listeners", "MGPV", listeners, "Listeners");
    list.none(&[("ActivePeers", "MGPV"), ("ConnectedPeers", "MGPV")]);
    list.add(
        "DroppedLogs",
        "MCPV",
        dropped as u32,
        "Log records dropped because the log was too far behind",
    );
    let is_busy = u32::from(runtime.is_polling_busily);
    list.add("BusyPolling", "CGSV", is_busy, "1 if workers without work spin for ever");
    list.none(&[("FailedResolutions", "MCPV")]);
    list.add("TotalBytesOut", "MCPV", bytes, "Bytes sent to clients and servers");
    list.none(&[("TotalSplicedBytesOut", "MCPV"), ("BytesOutRate", "MRPV")]);
    list.none(&[("DebugCommandsIssued", "MCPV"), ("CumRecvLogs", "MCPV")]);
    list.add("Build info", "POSV", env!("CARGO_PKG_VERSION"), "How it was built");
    let (allocated, used, _) = pools(reports);
    list.none(&[("Memmax_bytes", "CLPV")]);
    list.add("PoolAlloc_bytes", "MGPV", allocated, "Memory allocated in pools, bytes");
    list.add("PoolUsed_bytes", "MGPV", used, "Of it in use, bytes");
    let started = (runtime.clock.unix_us() - runtime.clock.now().micros() as i64) / 1_000_000;
    list.add("Start_time_sec", "MDPV", started as u32, "When it was started, seconds since 1970");
    list.none(&[("Tainted", "SGPV"), ("TotalWarnings", "MCPV")]);
    list.add(
        "MaxconnReached",
        "MCPV",
        shared.global.refused() as u32,
        "How often Maxconn kept a connection waiting",
    );
    list.add("CurrStreams", "MGPV", streams, "Streams now");
    list.add("CumStreams", "MCPV", shared.streams_so_far(), "Streams since the start");
}

/// xlb's own: cores and queues.
fn of_wires(list: &mut List, reports: &[WorkerReport]) {
    for report in reports {
        let name = format!("Idle_pct_core{}", report.core);
        list.add(
            &name,
            "MaPV",
            report.idle_pct.round() as u32,
            "Percent of the last second without work, one worker",
        );
        let name = format!("Spin_pct_core{}", report.core);
        let spin = report.spin_pct.round() as u32;
        list.add(&name, "MaPV", spin, "Of it, percent of the last second spun away");
    }
    for (name, mode, _) in reports.iter().flat_map(|report| &report.queues) {
        let name = format!("Wire_{}", name.replace('/', "_"));
        list.add(&name, "POSV", mode.as_str(), "How frames of this queue come and go");
    }
}

/// Percent of the last second without work, over all workers.
pub fn idle_pct(reports: &[WorkerReport]) -> f64 {
    let sum: f64 = reports.iter().map(|report| report.idle_pct).sum();
    if reports.is_empty() { 100.0 } else { sum / reports.len() as f64 }
}

/// Bytes allocated in pools, bytes in use, requests that failed.
fn pools(reports: &[WorkerReport]) -> (u64, u64, u64) {
    let mut sums = (0, 0, 0);
    for pool in reports.iter().flat_map(report::pools_of) {
        sums.0 += (pool.stats.allocated * pool.stats.size) as u64;
        sums.1 += (pool.stats.used * pool.stats.size) as u64;
        sums.2 += pool.stats.failures;
    }
    sums
}

/// `Name: value` lines; `desc`: with what each means.
pub fn plain(figures: &[Figure], desc: bool) -> String {
    figures.iter().fold(String::new(), |mut out, Figure { name, value, meaning, .. }| {
        // Writing to a string cannot fail.
        let _ = match desc {
            true => writeln!(out, "{name}: {value}:\"{meaning}\""),
            false => writeln!(out, "{name}: {value}"),
        };
        out
    })
}

/// Typed lines: `0.Name.1:POSV:str:xlb`.
pub fn typed(figures: &[Figure]) -> String {
    figures.iter().enumerate().fold(String::new(), |mut out, (position, figure)| {
        let Figure { name, tags, value, .. } = figure;
        let _ = writeln!(out, "{position}.{name}.1:{tags}:{}:{value}", value.kind());
        out
    })
}

/// A JSON array.
pub fn json(figures: &[Figure]) -> String {
    let figures = figures.iter().enumerate().map(|(position, figure)| {
        (Field { position, name: &figure.name, tags: Tags(figure.tags) }, &figure.value)
    });
    typed::json(None, figures) + "\n"
}
