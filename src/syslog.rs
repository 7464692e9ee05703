//! The log: its thread, its queue, its targets.
//!
//! In:    records of streams, sentences about proxies
//! Out:   lines, to the targets of their proxies
//! Owns:  the sockets that lines leave by; a thread of its own
//! Never: keeps a worker waiting: what finds no room in the queue is counted and gone

mod frame;
mod ring;
mod sink;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread::JoinHandle;

use crossbeam::channel::{Receiver, Sender, bounded};
use jiff::tz::TimeZone;

use crate::clock::{Clock, Instant};
use crate::config::model::{
    Config, Global, LogAddress, LogLine, LogTarget, Logs, Proxy, ProxyIndex, Ring as RingConfig,
};
use crate::log_format::{Dates, Endpoint, Process, Record};
use crate::stream::{StreamRecord, Tells};
use crate::transport::Ends;
use frame::{Frame, Names};
use ring::Rings;
use sink::Sinks;

/// Records that may wait for the thread.
const QUEUE_MAX: usize = 16_384;

/// What the thread is told.
enum Entry {
    Stream(Box<StreamRecord>),
    /// Of a proxy; the level and the sentence.
    Said(ProxyIndex, u8, String),
    /// Another configuration holds from now on; its rings, if they are others.
    Adopt(Box<Config>, Option<Rings>),
    /// There is nothing more to tell.
    End,
}

/// What became of lines.
#[derive(Debug, Default)]
pub struct LogCounters {
    /// Records that found no room in the queue.
    dropped: AtomicU64,
    /// Lines that a target took.
    sent: AtomicU64,
    /// Lines that a target did not take.
    failed: AtomicU64,
}

impl LogCounters {
    /// Lines sent, lines that a target did not take, records that found no room.
    pub fn read(&self) -> [u64; 3] {
        [&self.sent, &self.failed, &self.dropped].map(|counter| counter.load(Ordering::Relaxed))
    }
}

/// A way to the log. Copies of it lead to the same thread.
#[derive(Clone)]
pub struct Logger {
    sender: Sender<Entry>,
    counters: Arc<LogCounters>,
}

impl Logger {
    /// Starts the thread for the targets of a configuration.
    pub fn start(
        config: &Config,
        clock: Clock,
        zone: TimeZone,
    ) -> std::io::Result<(Logger, JoinHandle<()>)> {
        let (sender, receiver) = bounded(QUEUE_MAX);
        let counters = Arc::new(LogCounters::default());
        let writer = Writer::new(config, clock, zone, counters.clone())?;
        let thread =
            std::thread::Builder::new().name("log".into()).spawn(move || writer.run(&receiver))?;
        Ok((Logger { sender, counters }, thread))
    }

    /// Tells of a stream.
    pub fn stream(&self, record: StreamRecord) {
        self.tell(Entry::Stream(Box::new(record)));
    }

    /// Tells a sentence about a proxy, without a full stop.
    pub fn say(&self, proxy: ProxyIndex, level: u8, text: &str) {
        self.tell(Entry::Said(proxy, level, text.to_string()));
    }

    /// Lines of what comes from now on go where this configuration says. Fails when its rings cannot be begun.
    pub fn adopt(&self, old: &Config, new: &Config) -> std::io::Result<()> {
        let rings = match old.rings == new.rings {
            true => Ok(None),
            false => Rings::start(&new.rings).map(Some),
        };
        let (rings, failed) = match rings {
            Ok(rings) => (rings, Ok(())),
            Err(error) => (None, Err(error)),
        };
        // Not to be lost like a line: waits for room.
        let _ = self.sender.send(Entry::Adopt(Box::new(new.clone()), rings));
        failed
    }

    /// What became of lines.
    pub fn counters(&self) -> &LogCounters {
        &self.counters
    }

    /// Ends the thread once it has written what it was told before.
    pub fn end(&self) {
        let _ = self.sender.send(Entry::End);
    }

    fn tell(&self, entry: Entry) {
        if self.sender.try_send(entry).is_err() {
            self.counters.dropped.fetch_add(1, Ordering::Relaxed);
        }
    }
}

/// What the thread works with.
struct Writer {
    proxies: Vec<Arc<Proxy>>,
    /// Lines of each frontend so far.
    lines: Vec<u64>,
    names: Names,
    sinks: Sinks,
    dates: Dates,
    clock: Clock,
    counters: Arc<LogCounters>,
    text: Vec<u8>,
    structured: Vec<u8>,
}

impl Writer {
    fn new(
        config: &Config,
        clock: Clock,
        zone: TimeZone,
        counters: Arc<LogCounters>,
    ) -> std::io::Result<Self> {
        let proxies = proxies(config);
        let rings = Rings::start(&config.rings)?;
        Ok(Writer {
            lines: vec![0; proxies.len()],
            sinks: Sinks::new(proxies.iter().flat_map(|proxy| &proxy.logs.targets), rings),
            names: names(&config.global),
            proxies,
            dates: Dates::new(zone),
            clock,
            counters,
            text: Vec::new(),
            structured: Vec::new(),
        })
    }

    fn run(mut self, entries: &Receiver<Entry>) {
        while let Ok(entry) = entries.recv() {
            self.text.clear();
            self.structured.clear();
            match entry {
                Entry::End => return,
                Entry::Adopt(config, rings) => self.adopt(&config, rings),
                Entry::Said(proxy, level, text) => {
                    self.text.extend_from_slice(text.as_bytes());
                    self.send(proxy, level);
                }
                Entry::Stream(record) => {
                    self.render(&record);
                    self.send(record.frontend, record.level);
                }
            }
        }
    }

    fn adopt(&mut self, config: &Config, rings: Option<Rings>) {
        self.proxies = proxies(config);
        self.lines.resize(self.proxies.len(), 0);
        self.names = names(&config.global);
        let targets = self.proxies.iter().flat_map(|proxy| &proxy.logs.targets);
        self.sinks.adopt(targets, rings);
    }

    /// Makes the text of a record.
    fn render(&mut self, record: &StreamRecord) {
        let frontend = self.proxies[record.frontend.0].clone();
        let backend = self.proxies[record.backend.0].clone();
        let server = record.server.map(|at| &*backend.servers[at].name);
        let line = &mut self.lines[record.frontend.0];
        let facts = facts(record, &frontend.name, &backend.name, server, &self.names);
        let facts =
            Record { accepted_us: unix_us(&self.clock, record.accepted_at), line: *line, ..facts };
        *line += 1;
        let Logs { line, structured, error, .. } = &frontend.logs;
        match (record.tells, line, error) {
            (Tells::Line, Some(line), _) => {
                render(line, &record.values[0], &facts, &mut self.dates, &mut self.text);
            }
            (Tells::NoStream(_), _, Some(line)) => {
                render(line, &[], &facts, &mut self.dates, &mut self.text);
            }
            (Tells::NoStream(why), ..) => {
                let (id, name) = &record.listener;
                let name = name.clone().unwrap_or_else(|| id.to_string());
                self.text.extend(format!("{} [", shown(record.client.remote, *id)).into_bytes());
                self.dates.with_milliseconds(facts.accepted_us, &mut self.text);
                self.text.extend(format!("] {}/{name}: {why}", frontend.name).into_bytes());
            }
            _ => {
                let (id, _) = &record.listener;
                let Ends { local, remote } = record.client;
                let sentence = if record.is_unix {
                    format!("Connect from unix:{id} ({}/TCP)", frontend.name)
                } else {
                    format!(
                        "Connect from {} to {} ({}/TCP)",
                        shown(remote, *id),
                        shown(local, *id),
                        frontend.name
                    )
                };
                self.text.extend(sentence.into_bytes());
            }
        }
        if let Some(line) = structured {
            render(line, &record.values[1], &facts, &mut self.dates, &mut self.structured);
        }
    }

    /// Sends the text to the targets of a proxy.
    fn send(&mut self, proxy: ProxyIndex, level: u8) {
        let now_us = unix_us(&self.clock, self.clock.now());
        let proxy = self.proxies[proxy.0].clone();
        for target in &proxy.logs.targets {
            if level > target.level || !self.sinks.is_sampled(target) {
                continue;
            }
            let frame = Frame {
                level: level.max(target.min_level),
                now_us,
                tag: proxy.logs.tag.as_deref(),
                structured: &self.structured,
                text: &self.text,
            };
            let bytes = frame.render(target, &self.names, &mut self.dates);
            let counter = match self.sinks.send(target, &bytes) {
                Ok(()) => &self.counters.sent,
                Err(_) => &self.counters.failed,
            };
            counter.fetch_add(1, Ordering::Relaxed);
        }
    }
}

/// What proxies are for the log, by place.
fn proxies(config: &Config) -> Vec<Arc<Proxy>> {
    let mut proxies = config.proxies.all().to_vec();
    for target in proxies.iter_mut().flat_map(|proxy| &mut proxy.logs.targets) {
        as_the_ring_has_it(target, &config.rings);
    }
    proxies.into_iter().map(Arc::new).collect()
}

/// What a target does not say its ring does.
fn as_the_ring_has_it(target: &mut LogTarget, rings: &[RingConfig]) {
    let LogAddress::Ring(name) = &target.address else { return };
    if let Some(ring) = rings.iter().find(|ring| ring.name == *name) {
        target.format = target.format.or(Some(ring.framing));
        target.max_len = target.max_len.min(ring.max_len);
    }
}

/// The date of a moment.
fn unix_us(clock: &Clock, at: Instant) -> i64 {
    clock.unix_us() - clock.now().since(at).as_micros() as i64
}

fn names(global: &Global) -> Names {
    let identity = &global.log_identity;
    let system = rustix::system::uname().nodename().to_string_lossy().into_owned();
    Names {
        tag: identity.tag.as_deref().unwrap_or("xlb").to_string(),
        told: identity.hostname.as_ref().map(|name| name.as_deref().unwrap_or(&system).to_string()),
        system,
        pid: std::process::id(),
    }
}

/// An end, or what stands for one that has no address.
fn shown(end: Option<std::net::SocketAddr>, listener: u32) -> String {
    end.map_or_else(
        || format!("unix:{listener}"),
        |end| format!("{}:{}", end.ip().to_canonical(), end.port()),
    )
}

fn facts<'a>(
    record: &StreamRecord,
    frontend: &'a str,
    backend: &'a str,
    server: Option<&'a str>,
    names: &'a Names,
) -> Record<'a> {
    let end = |end: Option<std::net::SocketAddr>| {
        let canonical = |end: std::net::SocketAddr| (end.ip().to_canonical(), end.port()).into();
        end.map(canonical).map(Endpoint::Inet)
    };
    let of_client = |address| if record.is_unix { Some(Endpoint::Unix) } else { end(address) };
    Record {
        process: Process { hostname: &names.system, pid: names.pid },
        client: of_client(record.client.remote),
        frontend_address: of_client(record.client.local),
        backend_address: end(record.back.local),
        server_address: end(record.back.remote),
        listener: record.listener.0,
        frontend,
        is_tls: false,
        tls_version: None,
        tls_cipher: None,
        backend,
        server,
        accepted_us: 0,
        course: record.course,
        request: record.number,
        line: 0,
        unique_id: None,
    }
}

fn render(
    line: &LogLine,
    values: &[Option<Vec<u8>>],
    facts: &Record<'_>,
    dates: &mut Dates,
    out: &mut Vec<u8>,
) {
    line.format.render_with(facts, dates, out, |index, out| match values.get(index) {
        Some(Some(value)) => {
            out.extend_from_slice(value);
            true
        }
        _ => false,
    });
}
