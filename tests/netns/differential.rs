//! HAProxy and xlb, one after the other, on the same configuration, the same servers and the same clients: what
//! each does is written down, and compared line by line.
//!
//! In:    scenes: a section, and what is done with it
//! Out:   which server each client got, and the log line of each connection, field by field
//! Owns:  nothing of its own: servers, clients and the log are the lab's
//! Never: says what is right; HAProxy does
//!
//! HAProxy has one thread: with two it does some things in either order. xlb has its two workers, by `--cores`.

mod checks;

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream, UdpSocket};
use std::os::fd::{AsRawFd, OwnedFd};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use nix::sys::socket::{AddressFamily, SockFlag, SockType, SockaddrStorage, bind, connect, socket};

use crate::balancer::{Balancer, Kind};
use crate::bytes::Server;
use crate::lab::{LB, Lab, PATIENCE, SRV1, Shape, address, wait_until};
use crate::logs::{next_line, next_line_of_all};

pub use checks::{agents_are_heard_alike, checks_are_alike, what_follows_from_checks_is_alike};

/// Servers `a`, `b` and so on, at ports from this one on. Each says its name, and ends when its client does.
const SERVERS: [&str; 6] = ["a", "b", "c", "d", "e", "f"];
const FIRST_PORT: u16 = 9001;
/// A port where nobody listens.
const NOBODY: u16 = 9999;

/// Where servers say what they are told to.
const CHECK: u16 = 9101;
const AGENT: u16 = 9102;

/// Where log lines go.
const LOG: &str = "127.0.0.1:5140";

/// No line for so long: no more come of what was done. Some checks fit into it.
const QUIET: Duration = Duration::from_millis(400);
/// The first line comes in so long, or there is none.
const SOON: Duration = Duration::from_secs(2);

/// What the servers of checks say, and agents.
type Word = Arc<Mutex<&'static str>>;

/// A section, and what is done with it.
struct Scene {
    name: &'static str,
    /// Lines of its `listen`; `@a` is the address of server `a`, `@check` and `@agent` those of two servers that say
    /// what they are told to: one once it was asked, one at once.
    lines: &'static str,
    act: fn(&mut Stage<'_>),
}

/// One balancer in one scene.
struct Stage<'a> {
    lab: &'a Lab,
    servers: &'a mut BTreeMap<&'static str, Server>,
    /// What the servers of checks and agents say.
    word: &'a Word,
    log: &'a UdpSocket,
    port: u16,
    /// Connections that are open, in the order in which they were opened.
    held: Vec<TcpStream>,
    told: Vec<String>,
}

fn port_of(server: &str) -> u16 {
    let at = SERVERS.iter().position(|name| *name == server).expect("one of the servers");
    FIRST_PORT + at as u16
}

/// Says its name, and ends when its client does.
fn start_server(lab: &Lab, name: &'static str) -> Server {
    Server::start(&lab.srv1, address(SRV1, port_of(name)), move |mut stream| {
        let _ = stream.write_all(name.as_bytes());
        let _ = stream.read_to_end(&mut Vec::new());
    })
}

/// The name of the server, or `-` when the connection ends without one.
fn name_from(stream: &mut TcpStream) -> String {
    let mut name = [0];
    match stream.read(&mut name) {
        Ok(1) => char::from(name[0]).to_string(),
        _ => "-".into(),
    }
}

impl Stage<'_> {
    fn connect(&self) -> TcpStream {
        self.lab.client.connect(address(LB, self.port))
    }

    fn connect_from(&self, from: &str) -> TcpStream {
        let to = address(LB, self.port);
        self.lab.client.enter(|| connect_from(address(from, 0), to))
    }

    /// The next log line.
    fn line(&mut self) {
        self.tell_line(&next_line(self.log));
    }

    /// All lines up to a pause; the first may take a while.
    fn lines(&mut self) {
        self.log.set_read_timeout(Some(SOON)).expect("a socket's option");
        let mut line = next_line_of_all(self.log);
        self.log.set_read_timeout(Some(QUIET)).expect("a socket's option");
        while let Some(text) = line {
            self.tell_line(&text);
            line = next_line_of_all(self.log);
        }
        self.log.set_read_timeout(Some(PATIENCE)).expect("a socket's option");
    }

    fn tell_line(&mut self, line: &str) {
        let line = line.replace(&format!("l{}", self.port), "SCENE");
        let words: Vec<String> = line.split(' ').map(masked).collect();
        self.told.push(words.join(" "));
    }

    /// What checks and agents are told from now on, and the lines that come of it.
    fn say(&mut self, word: &'static str) {
        *self.word.lock().expect("nobody panicked with it") = word;
        self.told.push(format!("{word:?} is said"));
        self.lines();
    }

    fn end(&mut self, mut stream: TcpStream) {
        let _ = stream.shutdown(Shutdown::Write);
        let _ = stream.read_to_end(&mut Vec::new());
        self.line();
    }

    /// Its line is told later, with others.
    fn end_quietly(&mut self, mut stream: TcpStream) {
        self.told.push(name_from(&mut stream));
        let _ = stream.shutdown(Shutdown::Write);
        let _ = stream.read_to_end(&mut Vec::new());
    }

    /// One connection after the other.
    fn ask(&mut self, count: usize) {
        for _ in 0..count {
            let mut stream = self.connect();
            self.told.push(name_from(&mut stream));
            self.end(stream);
        }
    }

    /// The same from an address of the client's.
    fn ask_from(&mut self, from: &str) {
        let mut stream = self.connect_from(from);
        let name = name_from(&mut stream);
        self.told.push(format!("{from} {name}"));
        self.end(stream);
    }

    /// Connections that stay.
    fn hold(&mut self, count: usize) {
        for _ in 0..count {
            let mut stream = self.connect();
            self.told.push(name_from(&mut stream));
            self.held.push(stream);
        }
    }

    /// Connections that have to wait for a server.
    fn wait(&mut self, count: usize) {
        for _ in 0..count {
            let stream = self.connect();
            self.held.push(stream);
        }
    }

    fn wait_from(&mut self, from: &str) {
        let stream = self.connect_from(from);
        self.held.push(stream);
    }

    /// Who of those that are held has got a server and was not told of it yet.
    fn served(&mut self) -> Option<usize> {
        self.held.iter().position(|stream| {
            stream.set_nonblocking(true).expect("a socket's option");
            let is_there = stream.peek(&mut [0]).is_ok_and(|count| count == 1);
            stream.set_nonblocking(false).expect("a socket's option");
            is_there
        })
    }

    /// Waits until somebody gets a server who waited for it; gives his place.
    fn next_served(&mut self) -> usize {
        let mut served = None;
        wait_until("somebody is served", PATIENCE, || {
            served = self.served();
            served.is_some()
        });
        let at = served.expect("the loop ends with one");
        let name = name_from(&mut self.held[at]);
        self.told.push(format!("{at} is served by {name}"));
        at
    }

    /// The connection that is held at this place ends.
    fn release(&mut self, at: usize) {
        let stream = self.held.remove(at);
        self.end(stream);
    }

    /// A server stops listening; what comes of it.
    fn down(&mut self, server: &'static str) {
        self.servers.remove(server);
        self.told.push(format!("{server} is stopped"));
        self.lines();
    }

    /// A server listens again.
    fn up(&mut self, server: &'static str) {
        self.servers.insert(server, start_server(self.lab, server));
        self.told.push(format!("{server} is started"));
        self.lines();
    }
}

/// A word of a log line without the port of another client, and without how many connections the process and the
/// frontend have: HAProxy counts one that has just ended, or does not.
fn masked(word: &str) -> String {
    let counts: Vec<&str> = word.split('/').collect();
    match (word.split_once(':'), &counts[..]) {
        (Some((client, _)), _) if client.starts_with("10.77.0.") => client.into(),
        (_, [_, _, rest @ ..]) if rest.len() == 3 => format!("n/n/{}", rest.join("/")),
        _ => word.into(),
    }
}

/// A connection from an address of one's own.
fn connect_from(from: SocketAddr, to: SocketAddr) -> TcpStream {
    let fd: OwnedFd =
        socket(AddressFamily::Inet, SockType::Stream, SockFlag::empty(), None).expect("a socket");
    bind(fd.as_raw_fd(), &SockaddrStorage::from(from)).expect("an address of this namespace");
    connect(fd.as_raw_fd(), &SockaddrStorage::from(to)).expect("the balancer listens");
    let stream = TcpStream::from(fd);
    stream.set_read_timeout(Some(PATIENCE)).expect("a socket's option");
    stream
}

/// Says a word, once it was asked or at once.
fn start_saying(lab: &Lab, port: u16, word: &Word, is_asked: bool) -> Server {
    let word = word.clone();
    Server::start(&lab.srv1, address(SRV1, port), move |mut stream| {
        if is_asked {
            let _ = stream.read(&mut [0; 1000]);
        }
        let word = *word.lock().expect("nobody panicked with it");
        let _ = stream.write_all(word.as_bytes());
    })
}

fn config_of(scenes: &[Scene]) -> String {
    let mut config = format!(
        "global\n    nbthread 1\n    log {LOG} len 2000 local0\ndefaults\n    mode tcp\n    log global\n    option tcplog\n    timeout connect 2s\n    timeout client 20s\n    timeout server 20s\n"
    );
    for (scene, port) in scenes.iter().zip(80..) {
        let mut lines = scene.lines.to_string();
        let ports = SERVERS.map(|server| (server, port_of(server)));
        // The longer names first: `@a` is the beginning of `@agent`.
        for (name, port) in
            [("nobody", NOBODY), ("check", CHECK), ("agent", AGENT)].iter().chain(&ports)
        {
            lines = lines.replace(&format!("@{name}"), &format!("{SRV1}:{port}"));
        }
        config += &format!("\nlisten l{port}\n    bind {LB}:{port}\n    {lines}\n");
    }
    config
}

/// What a balancer does in each of the scenes, by the name of the scene.
fn play(lab: &Lab, kind: Kind, scenes: &[Scene]) -> Vec<(&'static str, Vec<String>)> {
    let log = lab.lb.enter(|| UdpSocket::bind(LOG)).expect("a port of its own");
    log.set_read_timeout(Some(PATIENCE)).expect("a socket's option");
    let mut servers: BTreeMap<&str, Server> =
        SERVERS.iter().map(|name| (*name, start_server(lab, name))).collect();
    let word = Arc::new(Mutex::new(""));
    let _saying = [(CHECK, true), (AGENT, false)]
        .map(|(port, is_asked)| start_saying(lab, port, &word, is_asked));
    let balancer = Balancer::start_as(lab, kind, &config_of(scenes));
    let mut told = Vec::new();
    for (scene, port) in scenes.iter().zip(80..) {
        let servers = &mut servers;
        let (held, told_here) = (Vec::new(), Vec::new());
        let word = &word;
        let mut stage = Stage { lab, servers, word, log: &log, port, held, told: told_here };
        (scene.act)(&mut stage);
        while !stage.held.is_empty() {
            stage.release(0);
        }
        told.push((scene.name, stage.told));
    }
    balancer.stop();
    told
}

/// Plays the scenes with both, and compares.
fn compare(lab: &Lab, scenes: &[Scene]) {
    let differences = differences(lab, scenes);
    assert!(differences.is_empty(), "{differences}");
}

fn differences(lab: &Lab, scenes: &[Scene]) -> String {
    let expected = play(lab, Kind::HaProxy, scenes);
    let got = play(lab, Kind::Xlb, scenes);
    let mut differences = String::new();
    for ((name, expected), (_, got)) in expected.iter().zip(&got) {
        assert!(expected.len() > 1, "{name}: nothing was told: {expected:?}");
        if expected == got {
            continue;
        }
        differences += &format!("{name}:\n");
        for at in 0..expected.len().max(got.len()) {
            let [expected, got] =
                [expected, got].map(|told| told.get(at).map_or("nothing", String::as_str));
            let mark = if expected == got { ' ' } else { '*' };
            differences += &format!("{mark} {at:3} HAProxy {expected}\n{mark}     xlb     {got}\n");
        }
    }
    differences
}

/// Twenty connections, one after the other.
const ASK: fn(&mut Stage<'_>) = |stage| stage.ask(20);

/// Connections that stay, some that end, and others in their place.
const HOLD: fn(&mut Stage<'_>) = |stage| {
    stage.hold(12);
    for at in [0, 3, 3, 6] {
        stage.release(at);
    }
    stage.hold(7);
    stage.ask(4);
};

/// The last parts of forty addresses.
const CLIENTS: std::ops::Range<u8> = 100..140;

fn add_addresses(lab: &Lab, hosts: std::ops::Range<u8>) {
    for host in hosts {
        lab.client.run("ip", &["addr", "add", &format!("10.77.0.{host}/24"), "dev", "eth0"]);
    }
}

/// Forty clients.
const SOURCES: fn(&mut Stage<'_>) = |stage| {
    for host in CLIENTS {
        stage.ask_from(&format!("10.77.0.{host}"));
    }
};

const EQUAL: &str = "server a @a\n server b @b\n server c @c\n server d @d";
const WEIGHTED: &str =
    "server a @a weight 1\n server b @b weight 5\n server c @c weight 2\n server d @d weight 3";

/// Which server a connection gets: by turns, by load, by order, by a hash, by what is up.
pub fn servers_are_chosen_alike() {
    let lab = Lab::up();
    add_addresses(&lab, CLIENTS);
    let mut scenes = Vec::new();
    for (algorithm, act) in [
        ("roundrobin", ASK),
        ("roundrobin", HOLD),
        ("static-rr", ASK),
        ("static-rr", HOLD),
        ("leastconn", ASK),
        ("leastconn", HOLD),
        ("first", HOLD),
        ("source", SOURCES),
        ("source\n hash-type consistent", SOURCES),
        ("source\n hash-type map-based djb2", SOURCES),
        ("source\n hash-type map-based wt6 avalanche", SOURCES),
        ("source\n hash-type map-based crc32 avalanche", SOURCES),
        ("source\n hash-type consistent crc32", SOURCES),
        ("source\n hash-type consistent djb2 avalanche", SOURCES),
        ("source\n hash-type consistent\n hash-balance-factor 125", HOLD),
    ] {
        for servers in [EQUAL, WEIGHTED] {
            let lines = format!("balance {algorithm}\n {servers}");
            scenes.push(Scene { name: lines.clone().leak(), lines: lines.leak(), act });
        }
    }
    compare(&lab, &scenes);
}

/// Chance gives each server its share with both: of 330 connections as many as its weight has it, give or take what
/// chance gives or takes in all but one of a million runs.
pub fn chance_is_fair_with_both() {
    const COUNT: usize = 330;
    let lab = Lab::up();
    let scenes = ["random", "random(1)", "random(4)"].map(|algorithm| {
        let lines = format!("balance {algorithm}\n {WEIGHTED}");
        Scene { name: algorithm, lines: lines.leak(), act: |stage| stage.ask(COUNT) }
    });
    for kind in [Kind::HaProxy, Kind::Xlb] {
        for (name, told) in play(&lab, kind, &scenes) {
            for (server, weight) in [("a", 1.0), ("b", 5.0), ("c", 2.0), ("d", 3.0)] {
                let got = told.iter().filter(|line| *line == server).count() as f64;
                let share: f64 = weight / 11.0;
                let deviation = (COUNT as f64 * share * (1.0 - share)).sqrt();
                let expected = COUNT as f64 * share;
                let off = (got - expected).abs() / deviation;
                assert!(off < 5.0, "{name}: {server} has {got}, {expected} are its share");
            }
        }
    }
}

/// Servers that are disabled, that stand by, that are full.
pub fn servers_that_are_not_to_be_had_alike() {
    let lab = Lab::up();
    let scenes = [
        ("weights of nothing", "server a @a weight 0\n server b @b weight 4\n server c @c weight 0"),
        ("nothing but weights of nothing", "server a @a weight 0\n server b @b weight 0"),
        ("one stands by", "server a @a disabled\n server b @b backup\n server c @c backup"),
        (
            "all stand by",
            "option allbackups\n server a @a disabled\n server b @b backup\n server c @c backup weight 2",
        ),
        ("none stands by while others serve", "server a @a\n server b @b backup\n server c @c"),
        ("none at all", "server a @a disabled\n server b @b disabled"),
        ("a section without servers", "maxconn 10"),
        ("a default", "default-server weight 3\n server a @a\n server b @b weight 1"),
        ("the same again", "server a @a\n default-server weight 7\n server b @b\n server c @c weight 2"),
        ("refused", "retries 2\n server a @nobody\n server b @b"),
        ("refused and given to another", "option redispatch\n retries 2\n server a @nobody\n server b @b"),
        ("given to another at once", "option redispatch 1\n server a @nobody\n server b @b\n server c @c"),
        ("never given to another", "no option redispatch\n retries 1\n server a @nobody"),
        ("no second try", "retries 0\n server a @nobody\n server b @b"),
        (
            "first with maxconn",
            "balance first\n server a @a maxconn 2\n server b @b maxconn 2\n server c @c maxconn 20",
        ),
        ("leastconn with maxconn", "balance leastconn\n server a @a maxconn 2\n server b @b maxconn 20"),
    ]
    .map(|(name, lines)| Scene {
        name,
        lines,
        act: |stage| {
            stage.ask(6);
            stage.hold(5);
            stage.ask(2);
        },
    });
    compare(&lab, &scenes);
}

/// Who waits for a server, in which order they get one, and what of those who never do.
pub fn queues_are_alike() {
    let lab = Lab::shaped(Shape { queues: 1, ..Shape::default() });
    add_addresses(&lab, 100..102);
    let in_turn: fn(&mut Stage<'_>) = |stage| {
        stage.hold(2);
        stage.wait(4);
        for _ in 0..4 {
            stage.release(0);
            stage.next_served();
        }
    };
    let scenes = [
        Scene { name: "one server", lines: "server a @a maxconn 2", act: in_turn },
        Scene {
            name: "two servers",
            lines: "server a @a maxconn 1\n server b @b maxconn 1",
            act: in_turn,
        },
        Scene {
            name: "a limit of the queue",
            lines: "server a @a maxconn 1 maxqueue 1\n server b @b maxconn 1 maxqueue 1",
            act: in_turn,
        },
        Scene {
            name: "classes",
            lines: "tcp-request content set-priority-class int(-1) if { src 10.77.0.101 }\n tcp-request content set-priority-class int(1) if { src 10.77.0.100 }\n server a @a maxconn 1",
            act: |stage| {
                stage.hold(1);
                stage.wait_from("10.77.0.100");
                stage.wait(1);
                stage.wait_from("10.77.0.101");
                stage.wait_from("10.77.0.101");
                let mut next = 0;
                for _ in 0..4 {
                    stage.release(next);
                    next = stage.next_served();
                }
                stage.release(next);
            },
        },
        Scene {
            name: "too long",
            lines: "timeout queue 300ms\n server a @a maxconn 1",
            act: |stage| {
                stage.hold(1);
                for _ in 0..2 {
                    let mut stream = stage.connect();
                    stage.told.push(name_from(&mut stream));
                    stage.line();
                }
            },
        },
        Scene {
            name: "whoever leaves",
            lines: "server a @a maxconn 1\n option abortonclose",
            act: |stage| {
                stage.hold(1);
                stage.wait(3);
                stage.release(2);
                stage.release(0);
                stage.next_served();
            },
        },
    ];
    compare(&lab, &scenes);
}
