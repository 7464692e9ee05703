//! Commands that show what no tool of the kernel sees: connections, queues, neighbours, ports, cores.
//!
//! In:    reports and pages of the workers, tables of the control thread
//! Out:   lines
//! Never: holds a worker up: long lists come in pages

use std::collections::BTreeMap;
use std::fmt::Write;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use netstack::fib::{Fib, Ownership};
use netstack::rss;

use super::commands::{Call, level_name};
use super::{Runtime, view};
use crate::control::{Question, Tables};
use crate::latency::Latency;
use crate::log_format::Dates;
use crate::report;
use crate::worker::{Command, WorkerReport};

type Answer = Result<String, String>;

/// Writes a line; writing to a string cannot fail.
macro_rules! line {
    ($out:expr, $($text:tt)*) => {{ let _ = writeln!($out, $($text)*); }};
}

/// `show backend`
pub fn backends(call: &mut Call<'_, '_>) -> Answer {
    let mut out = String::from("# name\n");
    let proxies = call.session.runtime.shared.proxies();
    for (_, proxy) in proxies.filter(|(_, proxy)| proxy.kind.is_backend()) {
        line!(out, "{}", proxy.name);
    }
    Ok(out)
}

/// `show cli sockets`
pub fn cli_sockets(call: &mut Call<'_, '_>) -> Answer {
    let mut out = String::from("# socket lvl processes\n");
    for bind in &call.session.runtime.config.global.stats.sockets {
        let place =
            crate::boot::place_in_words(bind, bind.families == crate::config::model::Families::V6);
        let place = if place.starts_with('/') { format!("unix@{place}") } else { place };
        line!(out, "{place} {} all", level_name(bind.level));
    }
    Ok(out)
}

/// `show env [<name>]`
pub fn environment(call: &mut Call<'_, '_>) -> Answer {
    let wanted = call.argument(0);
    let mut out = String::new();
    let mut is_found = wanted.is_none();
    for (name, value) in std::env::vars_os() {
        let (name, value) = (name.to_string_lossy(), value.to_string_lossy());
        if wanted.is_none_or(|wanted| wanted == name) {
            is_found = true;
            line!(out, "{name}={value}");
        }
    }
    if is_found { Ok(out) } else { Err("Variable not found\n".into()) }
}

/// `show errors`: nothing is captured without HTTP.
pub fn errors(call: &mut Call<'_, '_>) -> Answer {
    let date = call.session.runtime.date();
    Ok(format!("Total events captured on [{date}] : 0\n"))
}

/// `show table`: there are none yet.
pub fn tables(call: &mut Call<'_, '_>) -> Answer {
    match call.argument(0) {
        None => Ok(String::new()),
        Some(_) => Err("No such table\n".into()),
    }
}

/// `show pools`
pub fn pools(call: &mut Call<'_, '_>) -> Answer {
    let reports = call.session.runtime.reports();
    let mut out = String::from("Dumping pools usage. Use SIGQUIT to flush them.\n");
    let (mut count, mut allocated, mut used) = (0, 0, 0);
    for (worker, pool) in
        reports.iter().flat_map(|one| report::pools_of(one).map(|pool| (one.worker, pool)))
    {
        let stats = pool.stats;
        count += 1;
        allocated += stats.allocated * stats.size;
        used += stats.used * stats.size;
        line!(
            out,
            "  - Pool {} ({} bytes) : {} allocated ({} bytes), {} used, needed_avg {}, {} failures, 1 users, \
             @worker{worker}",
            pool.name,
            stats.size,
            stats.allocated,
            stats.allocated * stats.size,
            stats.used,
            stats.used,
            stats.failures,
        );
    }
    for report in &reports {
        for (name, _, stats) in &report.queues {
            let busy = stats.frames - stats.frames_free;
            count += 1;
            allocated += (stats.frames * FRAME_BYTES) as usize;
            used += (busy * FRAME_BYTES) as usize;
            line!(
                out,
                "  - Pool frames-{name} ({FRAME_BYTES} bytes) : {} allocated ({} bytes), {busy} used, needed_avg \
                 {busy}, {} failures, 1 users, @worker{}",
                stats.frames,
                stats.frames * FRAME_BYTES,
                stats.no_frame,
                report.worker,
            );
        }
    }
    line!(out, "Total: {count} pools, {allocated} bytes allocated, {used} used.");
    Ok(out)
}

/// Bytes of a frame of a queue.
const FRAME_BYTES: u64 = 4096;

/// One line for each figure: the sum, and each worker's.
fn by_worker(out: &mut String, name: &str, values: &[u64]) {
    let sum: u64 = values.iter().sum();
    let _ = write!(out, "{name}: {sum}");
    if values.len() > 1 {
        let all: Vec<String> = values.iter().map(u64::to_string).collect();
        let _ = write!(out, " [ {} ]", all.join(" "));
    }
    out.push('\n');
}

/// A figure of a worker, and its name.
type Figure = (&'static str, fn(&WorkerReport) -> u64);

/// `show activity`
pub fn activity(call: &mut Call<'_, '_>) -> Answer {
    let runtime = &*call.session.runtime;
    let reports = runtime.reports();
    let mut out = format!("thread_id: 1 (1..{})\n", reports.len());
    let now = runtime.clock.unix_us();
    line!(out, "date_now: {}.{:06}", now / 1_000_000, now % 1_000_000);
    let figures: [Figure; 8] = [
        ("core", |report| report.core as u64),
        ("loops", |report| report.turns),
        ("busy_loops", |report| report.turn_times.count()),
        ("busy_ms", |report| (report.busy_seconds * 1000.0) as u64),
        ("idle_pct", |report| report.idle_pct.round() as u64),
        ("handed_out", |report| report.handed_out),
        ("handed_in", |report| report.handed_in),
        ("handed_full", |report| report.handed_full),
    ];
    for (name, of) in figures {
        let values: Vec<u64> = reports.iter().map(of).collect();
        match name {
            // What does not add up.
            "core" | "idle_pct" => {
                let all: Vec<String> = values.iter().map(u64::to_string).collect();
                line!(out, "{name}: [ {} ]", all.join(" "));
            }
            name => by_worker(&mut out, name, &values),
        }
    }
    let names: Vec<&str> =
        netstack::counters::Counters::default().iter().map(|(name, _)| name).collect();
    for (place, name) in names.into_iter().enumerate() {
        let of =
            |report: &WorkerReport| report.counters.iter().nth(place).map_or(0, |(_, value)| value);
        by_worker(&mut out, name, &reports.iter().map(of).collect::<Vec<_>>());
    }
    Ok(out)
}

/// `show threads`
pub fn threads(call: &mut Call<'_, '_>) -> Answer {
    let mut out = String::new();
    let runtime = &*call.session.runtime;
    for report in runtime.reports() {
        let stuck = &runtime.vitals[report.worker].stuck;
        line!(
            out,
            "  Thread {} : core={} act={} rq={} tasks={} idle_pct={:.1} turns={} busy_s={:.3} stuck={}",
            report.worker + 1,
            report.core,
            u8::from(report.idle_pct < 100.0),
            report.tasks.1,
            report.tasks.0,
            report.idle_pct,
            report.turns,
            report.busy_seconds,
            stuck.load(std::sync::atomic::Ordering::Relaxed),
        );
    }
    Ok(out)
}

/// `debug dev loop [<ms>]`: a worker is in one turn for so long.
pub fn stall(call: &mut Call<'_, '_>) -> Answer {
    let time = call.argument(0).and_then(|word| word.parse().ok()).unwrap_or(0);
    to_worker(call, Command::Stall(Duration::from_millis(time)))
}

/// `debug dev panic`: a worker panics.
pub fn panic(call: &mut Call<'_, '_>) -> Answer {
    to_worker(call, Command::Panic)
}

/// The first worker obeys.
fn to_worker(call: &Call<'_, '_>, command: Command) -> Answer {
    if !call.session.is_expert {
        return Err("This command is restricted to expert mode only.\n".into());
    }
    call.session.runtime.tell(0, command);
    Ok(String::new())
}

/// `show tasks`
pub fn tasks(call: &mut Call<'_, '_>) -> Answer {
    let reports = call.session.runtime.reports();
    let runnable: usize = reports.iter().map(|report| report.tasks.1).sum();
    let all: usize = reports.iter().map(|report| report.tasks.0).sum();
    let streams: usize = reports.iter().map(|report| report.streams[0]).sum();
    let mut out = format!("Running tasks: {runnable} ({} threads)\n", reports.len());
    line!(out, "  function                     tasks");
    line!(out, "  stream                       {streams}");
    line!(out, "  watch                        {}", all - streams.min(all));
    Ok(out)
}

/// `show profiling`
pub fn profiling(call: &mut Call<'_, '_>) -> Answer {
    let (_, turns) = view::latencies(&call.session.runtime.reports());
    let mut out = String::from(
        "Per-task CPU profiling              : off           # turns are always timed, see show latency\n\
         Memory usage profiling              : off           # see show pools\n",
    );
    line!(out, "Turns that found work: {}, {:.1} us on average", turns.count(), turns.mean());
    Ok(out)
}

/// `show latency`
pub fn latency(call: &mut Call<'_, '_>) -> Answer {
    let (streams, turns) = view::latencies(&call.session.runtime.reports());
    let mut out = String::from("# us count mean p50 p90 p99 p99.9 p99.99 max\n");
    let mut row = |name: &str, latency: &Latency| {
        let shares =
            [50.0, 90.0, 99.0, 99.9, 99.99].map(|percent| latency.percentile(percent).to_string());
        line!(
            out,
            "{name} {} {:.0} {} {}",
            latency.count(),
            latency.mean(),
            shares.join(" "),
            latency.max()
        );
    };
    streams.iter().for_each(|(name, latency)| row(name, latency));
    row("turn", &turns);
    Ok(out)
}

/// `show conns [<ip>[:<port>]]`
pub fn connections(call: &mut Call<'_, '_>) -> Answer {
    let runtime = &*call.session.runtime;
    let wanted = match call.argument(0) {
        None => (None, None),
        Some(word) => match (word.parse::<SocketAddr>(), word.parse::<IpAddr>()) {
            (Ok(at), _) => (Some(at.ip()), Some(at.port())),
            (_, Ok(ip)) => (Some(ip), None),
            _ => return Err("'show conns' expects an address, with or without a port.\n".into()),
        },
    };
    let reports = runtime.reports();
    let core = |worker: usize| reports.get(worker).map_or(0, |report| report.core);
    let mut out = String::from("# worker core local remote state queues, as ss -ti has them\n");
    runtime.pages(Command::Connections, |worker, one| {
        let ends = [one.tuple.local, one.tuple.remote];
        let fits = ends.iter().any(|end| {
            wanted.0.is_none_or(|ip| ip == end.ip) && wanted.1.is_none_or(|port| port == end.port)
        });
        if fits {
            line!(out, "{worker} {} {one}", core(worker));
        }
    });
    Ok(out)
}

/// `show nic`
pub fn queues(call: &mut Call<'_, '_>) -> Answer {
    let runtime = &*call.session.runtime;
    let mut out = String::new();
    for report in runtime.reports() {
        for queue in &report.queues {
            let _ = write!(out, "worker={} core={} ", report.worker, report.core);
            report::queue(&mut out, queue);
        }
        line!(
            out,
            "worker={} core={} handed_out={} handed_in={} handed_full={}",
            report.worker,
            report.core,
            report.handed_out,
            report.handed_in,
            report.handed_full
        );
    }
    out.push_str(&runtime.ask_control(Question::Programs).unwrap_or_default());
    Ok(out)
}

fn link_name(tables: &Tables, fib: &Fib, link: netstack::fib::LinkId) -> String {
    let link = fib.link(link);
    let interface = &tables.interfaces[usize::from(link.wire.0)];
    link.vlan.map_or(interface.clone(), |vlan| format!("{interface} vlan {vlan}"))
}

/// `show neighbors`
pub fn neighbors(call: &mut Call<'_, '_>) -> Answer {
    let runtime = &*call.session.runtime;
    let tables =
        runtime.ask_control(Question::Tables).ok_or("The control thread does not answer.\n")?;
    let mut out =
        String::from("# address link-layer-address interface, as the kernel knows them\n");
    for (ip, mac, link) in &tables.neighbors {
        let mac: Vec<String> = mac.iter().map(|byte| format!("{byte:02x}")).collect();
        line!(out, "{ip} {} {}", mac.join(":"), link_name(&tables, &tables.fib, *link));
    }
    Ok(out)
}

/// `show routes`
pub fn routes(call: &mut Call<'_, '_>) -> Answer {
    let runtime = &*call.session.runtime;
    let tables =
        runtime.ask_control(Question::Tables).ok_or("The control thread does not answer.\n")?;
    let fib = &tables.fib;
    let mut out = String::new();
    for address in fib.addresses() {
        let owner = match address.ownership {
            Ownership::Shared => "shared with the kernel",
            Ownership::Sole => "owned by xlb alone",
        };
        line!(out, "address {} dev {} {owner}", address.net, link_name(&tables, fib, address.link));
    }
    for route in fib.routes() {
        let _ = write!(out, "route {} dev {}", route.prefix, link_name(&tables, fib, route.link));
        if let Some(gateway) = route.gateway {
            let _ = write!(out, " via {gateway}");
        }
        if let Some(source) = route.source {
            let _ = write!(out, " src {source}");
        }
        line!(out, " metric {} from {:?}", route.metric, route.origin);
    }
    Ok(out)
}

/// `show ports`
pub fn ports(call: &mut Call<'_, '_>) -> Answer {
    let runtime = &*call.session.runtime;
    let mut out = String::new();
    for plan in &runtime.plans {
        let config = &runtime.shared.backend(plan.frontend).config;
        line!(
            out,
            "listener {} frontend={} conns={} maxconn={}",
            crate::boot::place_of(plan),
            config.name,
            plan.limit.used(),
            plan.limit.max()
        );
    }
    let range = &runtime.source_ports;
    let workers = runtime.workers.len();
    // By worker: connections that have a port of its slice, by where they lead.
    let mut used: Vec<BTreeMap<SocketAddr, u32>> = vec![BTreeMap::new(); workers];
    runtime.pages(Command::Connections, |worker, one| {
        if range.contains(&one.tuple.local.port) {
            let remote = SocketAddr::new(one.tuple.remote.ip, one.tuple.remote.port);
            *used[worker].entry(remote).or_default() += 1;
        }
    });
    for (worker, used) in used.iter().enumerate() {
        let slice = rss::slice(range.clone(), worker, workers);
        let (first, last) = (*slice.start(), *slice.end());
        let ports = u32::from(last - first) + 1;
        line!(
            out,
            "source worker={worker} ports={first}-{last} used={}",
            used.values().sum::<u32>()
        );
        for (remote, count) in used {
            line!(
                out,
                "source worker={worker} to={remote} used={count} free={}",
                ports.saturating_sub(*count)
            );
        }
    }
    Ok(out)
}

impl Runtime {
    /// The date, as HAProxy's answers have it.
    pub(super) fn date(&self) -> String {
        self.date_of(self.clock.unix_us())
    }

    /// A date by its microseconds since 1970, as HAProxy's answers have it.
    pub(super) fn date_of(&self, us: i64) -> String {
        let mut text = Vec::new();
        Dates::new(self.zone.clone()).with_milliseconds(us, &mut text);
        String::from_utf8_lossy(&text).into_owned()
    }
}
