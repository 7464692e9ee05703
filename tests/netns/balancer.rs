//! The balancer under test: xlb, or HAProxy in its place to try the tests themselves.
//!
//! In:    a configuration
//! Out:   a process in the balancer's namespace that serves it, and what it says of itself on SIGHUP
//! Owns:  that process
//! Never: knows what a test is about
//!
//! `XLB_TEST_BALANCER=haproxy` runs the tests over HAProxy: a test that fails there is wrong itself. What HAProxy does
//! not have (dumps, own addresses, XDP) is left out, and counted as ignored.
//! `XLB_TEST_TRANSPORT=kernel` runs xlb with `--transport kernel`: what is about AF_XDP is left out then, and counted.
//! `XLB_TEST_BINARY=PATH` runs another xlb than the one that cargo built for the tests.

use std::collections::HashMap;
use std::fs;
use std::net::SocketAddr;
use std::time::Duration;

use nix::sys::signal::Signal;

use crate::lab::{Lab, Netns, Output, PATIENCE, Process, wait_until};

/// Where every configuration of the tests begins.
pub const DEFAULTS: &str = "\
defaults
    mode tcp
    timeout connect 5s
    timeout client 60s
    timeout server 60s
";

/// A dump is complete when nothing more came for so long.
const DUMP_QUIET: Duration = Duration::from_millis(60);

#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    Xlb,
    HaProxy,
}

pub fn kind() -> Kind {
    match std::env::var("XLB_TEST_BALANCER").as_deref() {
        Err(_) | Ok("" | "xlb") => Kind::Xlb,
        Ok("haproxy") => Kind::HaProxy,
        Ok(other) => panic!("XLB_TEST_BALANCER is xlb or haproxy, not '{other}'"),
    }
}

/// Whether xlb is to run on the kernel's sockets.
pub fn is_on_kernel() -> bool {
    match std::env::var("XLB_TEST_TRANSPORT").as_deref() {
        Err(_) | Ok("" | "xdp") => false,
        Ok("kernel") => true,
        Ok(other) => panic!("XLB_TEST_TRANSPORT is xdp or kernel, not '{other}'"),
    }
}

/// A configuration with one proxy; `options` are lines of that proxy.
pub fn config(options: &[&str], binds: &[SocketAddr], servers: &[SocketAddr]) -> String {
    let mut text = format!("{DEFAULTS}\nlisten test\n    balance roundrobin\n");
    for option in options {
        text += &format!("    {option}\n");
    }
    for bind in binds {
        text += &format!("    bind {bind}\n");
    }
    for (number, server) in (1..).zip(servers) {
        text += &format!("    server s{number} {server}\n");
    }
    text
}

pub struct Balancer<'a> {
    lab: &'a Lab,
    kind: Kind,
    process: Process,
}

impl<'a> Balancer<'a> {
    /// Forwards from `binds` to `servers`, and nothing else about it.
    pub fn serving(lab: &'a Lab, binds: &[SocketAddr], servers: &[SocketAddr]) -> Self {
        Self::start(lab, &config(&[], binds, servers))
    }

    /// With a worker for each of the two queues, as far as there are cores.
    pub fn start(lab: &'a Lab, config: &str) -> Self {
        Self::start_as(lab, kind(), config)
    }

    /// One of the two, whichever is under test.
    pub fn start_as(lab: &'a Lab, kind: Kind, config: &str) -> Self {
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        let is_single = lab.shape.queues == 1 || cores == 1;
        Self::start_kind_on(lab, kind, if is_single { "0" } else { "0-1" }, config)
    }

    /// On eth0, unless the configuration names its interfaces.
    pub fn start_on(lab: &'a Lab, cores: &str, config: &str) -> Self {
        Self::start_kind_on(lab, kind(), cores, config)
    }

    fn start_kind_on(lab: &'a Lab, kind: Kind, cores: &str, config: &str) -> Self {
        let file = lab.file("test.cfg", config);
        let process = match kind {
            Kind::Xlb => {
                let mut arguments = vec!["--cores", cores, "-c", &file];
                if is_on_kernel() {
                    arguments.extend(["--transport", "kernel"]);
                } else if !config.contains("\n    interface ") {
                    arguments.extend(["--interface", "eth0"]);
                }
                lab.spawn(&lab.lb, &binary(), &arguments)
            }
            Kind::HaProxy => lab.spawn(&lab.lb, "haproxy", &["-db", "-f", &file]),
        };
        let mut balancer = Self { lab, kind, process };
        match kind {
            Kind::Xlb => balancer.process.wait_for_log("xlb is ready"),
            Kind::HaProxy => balancer.wait_for_kernel_listeners(config),
        }
        balancer
    }

    /// Ends it as an operator does, and looks at what it leaves.
    pub fn stop(mut self) {
        let status = self.process.stop(Signal::SIGTERM);
        let log = self.process.log();
        assert!(!log.contains("panicked"), "the balancer panicked: {log}");
        if self.kind == Kind::Xlb {
            assert!(status.success(), "SIGTERM ended xlb with {status}: {log}");
            assert!(!has_program(&self.lab.lb), "an XDP program is left on the interface");
        }
    }

    pub fn kill(mut self) {
        self.process.stop(Signal::SIGKILL);
    }

    pub fn process(&mut self) -> &mut Process {
        &mut self.process
    }

    /// What it says of itself; HAProxy says nothing.
    pub fn dump(&self) -> Option<Dump> {
        (self.kind == Kind::Xlb).then(|| {
            let before = self.process.log().len();
            self.process.signal(Signal::SIGHUP);
            let mut text = String::new();
            wait_until("the dump on SIGHUP", PATIENCE, || {
                let length = text.len();
                text = self.process.log().split_off(before);
                if text.len() == length && text.contains("worker ") && text.ends_with('\n') {
                    return true;
                }
                std::thread::park_timeout(DUMP_QUIET);
                false
            });
            Dump::parse(&text)
        })
    }

    /// Waits for its numbers to come to a state; with HAProxy there is nothing to wait for.
    pub fn wait_for_dump(&self, what: &str, patience: Duration, holds: impl Fn(&Dump) -> bool) {
        if self.kind == Kind::HaProxy {
            return;
        }
        let mut last = None;
        let deadline = std::time::Instant::now() + patience;
        while std::time::Instant::now() < deadline {
            match self.dump() {
                Some(dump) if holds(&dump) => return,
                dump => last = dump,
            }
        }
        panic!("{what}: not within {patience:?}; the last dump was:\n{}", last.unwrap().text);
    }

    /// Waits until no stream is left and no buffer is in use: what was taken has been given back.
    pub fn wait_until_idle(&self) {
        self.wait_for_dump("no stream and no buffer in use", PATIENCE, |dump| {
            dump.sum("worker", "streams") == 0.0 && dump.sum("pool buffers", "used") == 0.0
        });
    }

    fn wait_for_kernel_listeners(&mut self, config: &str) {
        let wanted: Vec<u16> = config
            .lines()
            .filter_map(|line| line.trim().strip_prefix("bind ")?.split(' ').next())
            .filter_map(|address| address.rsplit(':').next()?.parse().ok())
            .collect();
        assert!(!wanted.is_empty(), "the configuration binds nothing");
        wait_until("HAProxy's listeners", PATIENCE, || {
            let listening = kernel_listeners(self.process.pid().as_raw());
            wanted.iter().all(|port| listening.contains(port))
        });
    }
}

/// Checks a configuration, as `-c -f` does.
pub fn check(lab: &Lab, file: &str) -> Output {
    let program = if kind() == Kind::Xlb { binary() } else { "haproxy".into() };
    lab.lb.output(&program, &["-c", "-f", file])
}

pub fn binary() -> String {
    std::env::var("XLB_TEST_BINARY")
        .ok()
        .or_else(|| option_env!("CARGO_BIN_EXE_xlb").map(str::to_owned))
        .expect("cargo builds a binary `xlb` beside these tests, or XLB_TEST_BINARY names one")
}

pub fn has_program(netns: &Netns) -> bool {
    let links = netns.run("ip", &["-j", "link", "show", "eth0"]);
    assert!(links.contains("\"ifname\":\"eth0\""), "no interface in {links}");
    links.contains("\"xdp\"")
}

/// Ports that the kernel of the process's namespace listens on.
fn kernel_listeners(pid: i32) -> Vec<u16> {
    const LISTEN: &str = "0A";
    ["tcp", "tcp6"]
        .iter()
        .filter_map(|table| fs::read_to_string(format!("/proc/{pid}/net/{table}")).ok())
        .flat_map(|table| {
            table
                .lines()
                .skip(1)
                .filter_map(|line| {
                    let words: Vec<&str> = line.split_whitespace().collect();
                    let port = words.get(1)?.rsplit(':').next()?;
                    (*words.get(3)? == LISTEN).then(|| u16::from_str_radix(port, 16).ok())?
                })
                .collect::<Vec<_>>()
        })
        .collect()
}

/// Lines of `key=value` pairs, each led by what it is about.
pub struct Dump {
    pub text: String,
    lines: Vec<Line>,
}

struct Line {
    /// `worker 0`, `pool buffers`, `proxy www frontend`
    subject: String,
    values: HashMap<String, f64>,
}

impl Dump {
    fn parse(text: &str) -> Self {
        let lines = text
            .lines()
            .map(|line| {
                let (pairs, words): (Vec<&str>, Vec<&str>) =
                    line.split_whitespace().partition(|word| word.contains('='));
                let values = pairs
                    .iter()
                    .filter_map(|pair| pair.split_once('='))
                    .filter_map(|(key, value)| Some((key.to_owned(), value.parse().ok()?)))
                    .collect();
                Line { subject: words.join(" "), values }
            })
            .collect();
        Self { text: text.to_owned(), lines }
    }

    /// The value in each line about `subject` (`worker`, `pool buffers`); there must be one at least.
    pub fn all(&self, subject: &str, key: &str) -> Vec<f64> {
        let values: Vec<f64> = self
            .lines
            .iter()
            .filter(|line| {
                line.subject
                    .strip_prefix(subject)
                    .is_some_and(|rest| rest.is_empty() || rest.starts_with(' '))
            })
            .filter_map(|line| line.values.get(key).copied())
            .collect();
        assert!(!values.is_empty(), "no '{subject} ... {key}=' in the dump:\n{}", self.text);
        values
    }

    pub fn sum(&self, subject: &str, key: &str) -> f64 {
        self.all(subject, key).iter().sum()
    }
}
