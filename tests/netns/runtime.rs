//! The runtime interface: what an operator asks, what he changes, and what it does to traffic.
//!
//! In:    commands on a stats socket, beside connections that go on
//! Out:   answers; where HAProxy has the same command, its answer is the measure
//! Owns:  the socket's path, in the lab's directory
//! Never: trusts an answer alone where traffic can show what has happened

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::{Shutdown, TcpStream};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use crate::balancer::{Balancer, DEFAULTS, Kind, is_on_kernel, kind};
use crate::bytes::Server;
use crate::lab::{LB, Lab, PATIENCE, SRV1, SRV2, address, wait_until};

/// A port where nobody listens.
const NOBODY: u16 = 9999;

/// Somebody at a stats socket.
pub struct Operator {
    pub path: PathBuf,
}

impl Operator {
    /// At the socket of this lab.
    pub fn of(lab: &Lab) -> Self {
        Operator { path: lab.dir.join("stats.sock") }
    }

    /// The line of the configuration.
    pub fn line(&self) -> String {
        format!("global\n    stats socket {} mode 600 level admin\n", self.path.display())
    }

    pub fn connect(&self) -> UnixStream {
        let stream = UnixStream::connect(&self.path).expect("the socket takes clients");
        stream.set_read_timeout(Some(PATIENCE)).expect("an option of the socket");
        stream.set_write_timeout(Some(PATIENCE)).expect("an option of the socket");
        stream
    }

    pub fn ask(&self, line: &str) -> String {
        let mut stream = self.connect();
        writeln!(stream, "{line}").expect("the socket takes a line");
        let mut answer = String::new();
        stream.read_to_string(&mut answer).expect("the socket answers with text");
        answer
    }

    /// Something that is answered by nothing.
    pub fn order(&self, line: &str) {
        assert_eq!(self.ask(line).trim(), "", "{line}");
    }

    /// `show stat` by row name (`app/s1`) and column.
    pub fn stat(&self) -> BTreeMap<String, BTreeMap<String, String>> {
        let text = self.ask("show stat");
        let mut lines = text.lines();
        let header = lines.next().expect("a header").trim_start_matches("# ");
        let names: Vec<&str> = header.split(',').collect();
        let rows = lines.filter(|line| !line.is_empty()).map(|line| {
            // No value of these tests has a comma.
            let values = line.split(',').map(str::to_owned);
            let row: BTreeMap<String, String> =
                names.iter().map(|name| (*name).to_owned()).zip(values).collect();
            (format!("{}/{}", row["pxname"], row["svname"]), row)
        });
        rows.collect()
    }

    pub fn number(&self, row: &str, column: &str) -> f64 {
        self.stat()[row][column].parse().unwrap_or_else(|_| panic!("{row} has no {column}"))
    }

    pub fn wait_for_status(&self, row: &str, status: &str) {
        wait_until(&format!("{row} is {status}"), PATIENCE, || {
            self.stat()[row]["status"] == status
        });
    }
}

/// Says its name, then echoes until the client has closed.
pub fn naming_echo(lab: &Lab, host: &str, port: u16, name: &'static str) -> Server {
    let netns = if host == SRV1 { &lab.srv1 } else { &lab.srv2 };
    Server::start(netns, address(host, port), move |mut stream| {
        let _ = stream.write_all(name.as_bytes());
        let mut bytes = [0; 4096];
        while let Ok(count @ 1..) = stream.read(&mut bytes) {
            if stream.write_all(&bytes[..count]).is_err() {
                return;
            }
        }
    })
}

/// A connection that has a server: its name is read.
pub fn connected(lab: &Lab, port: u16) -> (TcpStream, String) {
    let mut stream = lab.client.connect(address(LB, port));
    let mut name = [0];
    stream.read_exact(&mut name).expect("a server's name");
    (stream, String::from_utf8_lossy(&name).into_owned())
}

pub fn name_of_next(lab: &Lab, port: u16) -> String {
    connected(lab, port).1
}

/// Whether a connection still carries bytes both ways.
pub fn is_alive(stream: &mut TcpStream) -> bool {
    let mut echo = [0; 4];
    stream.write_all(b"ping").is_ok() && stream.read_exact(&mut echo).is_ok() && &echo == b"ping"
}

fn ends(stream: &mut TcpStream) -> bool {
    !matches!(stream.read(&mut [0; 64]), Ok(1..))
}

/// A server's weight, state, limit and address, a stream's end: each order is seen in traffic.
pub fn orders_about_servers_are_followed() {
    let lab = Lab::up();
    let operator = Operator::of(&lab);
    let servers = [(SRV1, 9001, "a"), (SRV2, 9001, "b"), (SRV2, 9002, "c")];
    let _servers = servers.map(|(host, port, name)| naming_echo(&lab, host, port, name));
    let text = format!(
        "{}{DEFAULTS}\nlisten app\n    bind {LB}:8000\n    balance roundrobin\n    option redispatch\n    \
         server s1 {SRV1}:9001\n    server s2 {SRV2}:9001 weight 3\n",
        operator.line()
    );
    let balancer = Balancer::start(&lab, &text);
    assert_eq!(
        operator.ask("show servers state app").lines().count(),
        5,
        "two servers, an empty line"
    );

    let four = |lab: &Lab| (0..4).map(|_| name_of_next(lab, 8000)).collect::<String>();
    assert_eq!(four(&lab).matches('b').count(), 3, "by weight");
    assert_eq!(operator.ask("set server app/s2 weight 0"), "\n");
    assert_eq!(operator.ask("get weight app/s2"), "0 (initial 3)\n\n");
    assert_eq!(four(&lab), "aaaa");
    assert_eq!(operator.ask("set weight app/s2 100%"), "\n");
    assert_eq!(four(&lab).matches('b').count(), 3, "by weight again");

    // Who is there stays, in drain and in maintenance.
    let (mut held, name) = loop {
        let found = connected(&lab, 8000);
        if found.1 == "b" {
            break found;
        }
    };
    assert_eq!(name, "b");
    assert_eq!(operator.ask("set server app/s2 state drain"), "\n");
    operator.wait_for_status("app/s2", "DRAIN");
    assert_eq!(four(&lab), "aaaa");
    assert_eq!(operator.ask("disable server app/s2"), "\n");
    operator.wait_for_status("app/s2", "MAINT");
    assert!(is_alive(&mut held), "maintenance cuts nobody");
    assert_eq!(operator.ask("set server app/s2 state ready"), "\n");
    operator.wait_for_status("app/s2", "no check");

    // Another address, for new connections alone.
    let moved = operator.ask(&format!("set server app/s2 addr {SRV2} port 9002"));
    assert!(moved.contains("port changed from '9001' to '9002'"), "{moved}");
    assert_eq!(four(&lab).matches('c').count(), 3);
    assert_eq!(operator.stat()["app/s2"]["addr"], format!("{SRV2}:9002"));
    assert!(is_alive(&mut held), "its server is where it was");

    // Ends.
    assert_eq!(operator.ask("shutdown sessions server app/s2"), "\n");
    assert!(ends(&mut held), "its streams end");
    assert_eq!(operator.ask("set server app/s2 weight 0"), "\n");
    let (mut one, _) = connected(&lab, 8000);
    let (mut other, _) = connected(&lab, 8000);
    let port = one.local_addr().expect("an address").port();
    let sessions = operator.ask("show sess");
    let line = sessions.lines().find(|line| line.contains(&format!(":{port} "))).expect("its line");
    let id = line.split(':').next().expect("a name");
    assert!(line.contains(" fe=app be=app srv=s1 "), "{line}");
    let full = operator.ask(&format!("show sess {id}"));
    assert!(full.contains("server=s1 (id=1) addr=10.77.0.11:9001"), "{full}");
    assert_eq!(operator.ask(&format!("shutdown session {id}")), "\n");
    assert!(ends(&mut one), "it is ended");
    assert!(is_alive(&mut other), "the other one is not");
    wait_until("it has no name any more", PATIENCE, || {
        let again = operator.ask(&format!("shutdown session {id}"));
        again == "No such session (use 'show sess').\n\n"
    });

    // A limit: who comes next waits for the one who is there.
    assert_eq!(operator.ask("set maxconn server app/s1 1"), "\n");
    let mut waiting = lab.client.connect(address(LB, 8000));
    wait_until("one waits", PATIENCE, || {
        operator.number("app/BACKEND", "qcur") + operator.number("app/s1", "qcur") == 1.0
    });
    let _ = other.shutdown(Shutdown::Both);
    let mut name = [0];
    waiting.read_exact(&mut name).expect("its turn comes");
    balancer.stop();
}

/// Limits and rates of frontends and of the process; frontends that are paused and shut down. Debian's HAProxy cannot be
/// asked: a new limit for a frontend somebody waits at can lock it up (2.6.12), and it resets who comes to a paused one.
pub fn orders_about_frontends_are_followed() {
    let lab = Lab::up();
    let operator = Operator::of(&lab);
    let _server = naming_echo(&lab, SRV1, 9001, "a");
    let text = format!(
        "{}{DEFAULTS}\nfrontend www\n    bind {LB}:8000\n    default_backend app\n\
         backend app\n    server s1 {SRV1}:9001\n",
        operator.line()
    );
    let balancer = Balancer::start(&lab, &text);
    // A limit, and its end.
    let (first, _) = connected(&lab, 8000);
    operator.order("set maxconn frontend www 1");
    let mut waiting = lab.client.connect(address(LB, 8000));
    let frontend = || operator.stat()["www/FRONTEND"].clone();
    assert_eq!((frontend()["scur"].as_str(), frontend()["slim"].as_str()), ("1", "1"));
    operator.order("set maxconn frontend www 100");
    waiting.read_exact(&mut [0]).expect("there is room now");
    drop((first, waiting));

    // The same for the process.
    operator.order("set rate-limit sessions global 1000");
    operator.order("set maxconn global 1");
    let info = operator.ask("show info");
    assert!(info.contains("\nMaxconn: 1\n"), "{info}");
    assert!(info.contains("\nSessRateLimit: 1000\n"), "{info}");
    let (held, _) = connected(&lab, 8000);
    let mut waiting = lab.client.connect(address(LB, 8000));
    operator.order("set maxconn global 1000");
    waiting.read_exact(&mut [0]).expect("there is room now");
    drop((held, waiting));

    // Who comes to a paused frontend waits.
    let (mut held, _) = connected(&lab, 8000);
    operator.order("disable frontend www");
    assert_eq!(frontend()["status"], "PAUSED");
    let mut waiting = lab.client.connect(address(LB, 8000));
    assert!(is_alive(&mut held), "who is there stays");
    assert_eq!(operator.number("www/FRONTEND", "scur"), 1.0, "nobody new is taken");
    operator.order("enable frontend www");
    waiting.read_exact(&mut [0]).expect("who has waited is served");

    let (mut held, _) = connected(&lab, 8000);
    operator.order("shutdown frontend www");
    wait_until("nobody listens", PATIENCE, || lab.client.try_connect(address(LB, 8000)).is_err());
    assert!(is_alive(&mut held), "who is there stays");
    let again = operator.ask("enable frontend www");
    assert_eq!(again, "Frontend was previously shut down, cannot enable.\n\n");
    drop(held);
    balancer.stop();
}

/// What both answer to a mistake, word by word.
const MISTAKES: &[&str] = &[
    "set server",
    "set server app",
    "set server app/s9 state ready",
    "set server nope/s1 state ready",
    "set server app/s1 state bogus",
    "set server app/s1 health bogus",
    "set server app/s1 agent up",
    "set server app/s1 weight 300",
    "set server app/s1 weight -1",
    "set server app/s1 weight 5x",
    "set server app/s1 addr nonsense",
    "set server app/s4 health down",
    "set weight app/s1",
    "get weight app/s9",
    "get weight app/s1",
    "set maxconn server app/s1 x",
    "set maxconn frontend www",
    "set maxconn frontend nope 3",
    "set maxconn global",
    "disable frontend nope",
    "disable frontend",
    "enable frontend www",
    "disable server nope",
    "disable server app/nope",
    "enable agent app/s1",
    "enable health app/s3",
    "shutdown session",
    "shutdown session 0x1",
    "shutdown sessions server app/nope",
    "set timeout cli",
    "set rate-limit sessions global",
    "set severity-output loud",
    "set server app/s1 addr 10.77.0.11",
    "set server app/s1 addr 10.77.0.11 port 9001",
    "show servers state nope",
    "show backend",
    "show cli level",
    "show table",
    "user;set weight app/s1 3",
    "user;show cli level",
    "operator;show cli level;clear counters all",
];

/// Columns whose values are times, rates, or HAProxy's alone.
const UNSTEADY: &[&str] = &[
    "iid",
    "lastchg",
    "downtime",
    "check_duration",
    "lastsess",
    "qtime",
    "ctime",
    "ttime",
    "qtime_max",
    "ctime_max",
    "ttime_max",
    "rate",
    "rate_max",
    "conn_rate",
    "conn_rate_max",
    "need_conn_est",
    "used_conn_cur",
    "",
    // Of the process, which has other defaults here.
    "slim",
    // HAProxy counts a stream while it reads its end; which of two comes first is chance.
    "smax",
];

/// What happens while both count.
fn play(lab: &Lab) {
    // In order, by both sides.
    for _ in 0..5 {
        let (mut stream, _) = connected(lab, 8000);
        assert!(is_alive(&mut stream));
        stream.shutdown(Shutdown::Write).expect("it is open");
        assert!(ends(&mut stream));
    }
    // Refused at the door; refused by what it says; a server that refuses.
    for port in [8001, 8002, 8003] {
        // Some are refused before the client knows that it was connected.
        if let Ok(mut stream) = lab.client.try_connect(address(LB, port)) {
            let _ = stream.write_all(b"bad");
            assert!(ends(&mut stream));
        }
    }
    // A client that resets.
    let (stream, _) = connected(lab, 8000);
    let linger = Some(Duration::ZERO);
    set_linger(&stream, linger);
}

/// Closing it resets it.
fn set_linger(stream: &TcpStream, linger: Option<Duration>) {
    let linger = nix::libc::linger {
        l_onoff: i32::from(linger.is_some()),
        l_linger: linger.map_or(0, |time| time.as_secs() as i32),
    };
    nix::sys::socket::setsockopt(stream, nix::sys::socket::sockopt::Linger, &linger)
        .expect("an option of the socket");
}

/// Figures, forms and words are HAProxy's: the same scene over both, field by field.
pub fn answers_are_haproxys() {
    let lab = Lab::up();
    let operator = Operator::of(&lab);
    let _server = naming_echo(&lab, SRV1, 9001, "a");
    let text = format!(
        "{}{DEFAULTS}    retries 1\n    timeout connect 500ms\n\
         frontend www\n    bind {LB}:8000 name front\n    maxconn 100\n    option socket-stats\n    default_backend app\n\
         frontend door\n    bind {LB}:8001\n    tcp-request connection reject\n    default_backend app\n\
         frontend words\n    bind {LB}:8002\n    tcp-request inspect-delay 5s\n    \
         tcp-request content reject if {{ req.len gt 0 }}\n    default_backend app\n\
         listen none\n    bind {LB}:8003\n    server x {SRV1}:{NOBODY}\n\
         backend app\n    balance roundrobin\n    server s1 {SRV1}:9001 check inter 300ms weight 10 maxconn 50\n    \
         server s2 {SRV1}:{NOBODY} check inter 300ms weight 5 backup\n    server s3 {SRV1}:9001 disabled\n    \
         server s4 {SRV1}:9001 track app/s1 weight 0\n    server s5 {SRV1}:9001 maxqueue 7 weight 0\n",
        operator.line()
    );
    let facts = |kind: Kind| {
        let balancer = Balancer::start_as(&lab, kind, &text);
        operator.wait_for_status("app/s2", "DOWN");
        play(&lab);
        wait_until("all streams have ended", PATIENCE, || {
            let stat = operator.stat();
            stat["app/BACKEND"]["cli_abrt"] == "1" && stat["www/FRONTEND"]["scur"] == "0"
        });
        let stat = operator.stat();
        let states = operator.ask("show servers state");
        let mistakes = MISTAKES.iter().map(|line| (*line, operator.ask(line))).collect::<Vec<_>>();
        let typed = operator.ask("show stat typed");
        let json = operator.ask("show stat json");
        let names = operator.ask("show info");
        balancer.stop();
        (stat, states, mistakes, typed, json, names)
    };
    let (theirs, their_states, their_answers, their_typed, their_json, their_info) =
        facts(Kind::HaProxy);
    let (ours, our_states, our_answers, our_typed, our_json, our_info) = facts(Kind::Xlb);
    let mut differences = Vec::new();
    assert_eq!(ours.keys().collect::<Vec<_>>(), theirs.keys().collect::<Vec<_>>(), "rows");
    for (row, their_row) in &theirs {
        for (column, theirs) in their_row.iter().filter(|(name, _)| is_compared(name)) {
            let ours = ours[row].get(column).unwrap_or_else(|| panic!("no column {column}"));
            if ours != theirs {
                differences.push(format!("{row} {column}: HAProxy {theirs:?}, xlb {ours:?}"));
            }
        }
    }
    for ((line, theirs), (_, ours)) in their_answers.iter().zip(&our_answers) {
        if theirs != ours {
            differences.push(format!("{line}: HAProxy {theirs:?}, xlb {ours:?}"));
        }
    }
    // All but the number of the backend and the time since the last change.
    let steady = |states: &str| -> Vec<Vec<String>> {
        let words = |line: &str| line.split(' ').map(str::to_owned).collect::<Vec<_>>();
        let lines = states.lines().map(words);
        lines
            .map(|mut words| {
                if words.len() > 9 && words[0] != "#" {
                    words[0].clear();
                    words[9].clear();
                }
                words
            })
            .collect()
    };
    for (theirs, ours) in steady(&their_states).iter().zip(&steady(&our_states)) {
        if theirs != ours {
            differences.push(format!("servers state: HAProxy {theirs:?}, xlb {ours:?}"));
        }
    }
    differences.extend(differences_of_types(&their_typed, &our_typed));
    for name in their_info.lines().filter_map(|line| line.split(':').next()) {
        // HAProxy 2.6 has a typing mistake in it, which later versions have not.
        let is_ours = our_info.lines().any(|line| line.split(':').next() == Some(name));
        if !is_ours && name != "TotalSplicdedBytesOut" {
            differences.push(format!("show info has no {name}"));
        }
    }
    let starts = |json: &str| json.split("\"value\":").next().map(|text| text.replace(":4", ":3"));
    let alike = |json: &str| {
        starts(json).map(|text| text.chars().filter(|c| !c.is_ascii_digit()).collect::<String>())
    };
    if alike(&their_json) != alike(&our_json) {
        differences.push(format!(
            "JSON begins: HAProxy {:?}, xlb {:?}",
            starts(&their_json),
            starts(&our_json)
        ));
    }
    assert!(
        differences.is_empty(),
        "{} differences:\n{}",
        differences.len(),
        differences.join("\n")
    );
}

/// Whether a column is to be the same with both.
fn is_compared(name: &str) -> bool {
    let is_of_module = ["h1_", "h2_", "ssl_"].iter().any(|prefix| name.starts_with(prefix));
    !is_of_module && !UNSTEADY.contains(&name)
}

/// Names, natures and types of typed figures: of each row and column `scur:MGP:u32`.
fn differences_of_types(theirs: &str, ours: &str) -> Vec<String> {
    let types = |text: &str| -> BTreeMap<String, String> {
        text.lines()
            .filter_map(|line| {
                let (name, rest) = line.split_once(':')?;
                let parts: Vec<&str> = name.split('.').collect();
                let [kind, _, _, _, column, _] = parts[..] else { return None };
                // Newer versions have a fourth letter.
                let nature = rest.get(..3)?;
                let kind_of_value = rest.split(':').nth(1)?;
                Some((format!("{kind} {column}"), format!("{nature}:{kind_of_value}")))
            })
            .filter(|(name, _)| is_compared(name.split(' ').next_back().unwrap_or_default()))
            .collect()
    };
    let ours = types(ours);
    let differs = |(name, theirs): (String, String)| {
        let ours = ours.get(&name).cloned().unwrap_or_default();
        (ours != theirs).then(|| format!("typed {name}: HAProxy {theirs}, xlb {ours}"))
    };
    types(theirs).into_iter().filter_map(differs).collect()
}

/// What no tool of the kernel shows, with traffic there.
pub fn what_the_kernel_does_not_see_is_shown() {
    let lab = Lab::up();
    let operator = Operator::of(&lab);
    let _server = naming_echo(&lab, SRV1, 9001, "a");
    let text = format!(
        "{}{DEFAULTS}\nlisten app\n    bind {LB}:8000\n    server s1 {SRV1}:9001\n",
        operator.line()
    );
    let balancer = Balancer::start(&lab, &text);
    let held: Vec<_> = (0..300).map(|_| connected(&lab, 8000)).collect();
    let connections = operator.ask("show conns");
    assert_eq!(
        connections.matches(" ESTABLISHED ").count(),
        600,
        "both sides of each: {connections}"
    );
    assert!(connections.contains(" cwnd:"), "{connections}");
    let one = held[7].0.local_addr().expect("an address").to_string();
    assert_eq!(
        operator.ask(&format!("show conns {one}")).lines().count(),
        3,
        "a title, a line, an empty one"
    );
    assert_eq!(operator.ask("show sess").lines().count(), 301);
    let nic = operator.ask("show nic");
    assert!(nic.contains("queue eth0/0 mode=driver-copy"), "{nic}");
    assert!(nic.contains("program eth0/0 redirected="), "{nic}");
    let neighbors = operator.ask("show neighbors");
    assert!(neighbors.contains(SRV1), "{neighbors}");
    let routes = operator.ask("show routes");
    assert!(routes.contains("address 10.77.0.1/") && routes.contains("dev eth0"), "{routes}");
    let ports = operator.ask("show ports");
    let used: u32 = ports
        .lines()
        .filter(|line| line.contains(&format!("to={SRV1}:9001")))
        .filter_map(|line| line.split("used=").nth(1)?.split(' ').next()?.parse::<u32>().ok())
        .sum();
    assert_eq!(used, 300, "{ports}");
    let latency = operator.ask("show latency");
    let connect = latency.lines().find(|line| line.starts_with("connect ")).expect("a line");
    drop(held);
    assert!(connect.starts_with("connect 0 "), "nothing has ended yet: {connect}");
    wait_until("all have been timed", PATIENCE, || {
        operator.ask("show latency").contains("\nconnect 300 ")
    });
    let info = operator.ask("show info");
    assert!(info.contains("\nIdle_pct_core0: "), "{info}");
    assert!(info.contains("\nWire_eth0_0: driver-copy\n"), "{info}");
    balancer.stop();
    assert!(!operator.path.exists(), "the socket's path is left");
}

/// Says at its end that something is over.
struct Over<'a>(&'a AtomicBool);

impl Drop for Over<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// Garbage, endless lines, halves of commands and a crowd at the socket: traffic goes on, and so does the socket.
pub fn bad_input_disturbs_nobody() {
    let lab = Lab::up();
    let operator = Operator::of(&lab);
    let _server = naming_echo(&lab, SRV1, 9001, "a");
    let text = format!(
        "{}    stats timeout 2s\n{DEFAULTS}\nlisten app\n    bind {LB}:8000\n    server s1 {SRV1}:9001\n",
        operator.line()
    );
    let balancer = Balancer::start(&lab, &text);
    let is_over = AtomicBool::new(false);
    thread::scope(|scope| {
        let traffic = scope.spawn(|| {
            let (mut held, _) = connected(&lab, 8000);
            let mut rounds = 0;
            while !is_over.load(Ordering::Relaxed) {
                assert!(is_alive(&mut held), "a connection is cut after {rounds} rounds");
                assert_eq!(name_of_next(&lab, 8000), "a");
                rounds += 1;
            }
            rounds
        });
        // However it ends: the traffic has an end too.
        let over = Over(&is_over);
        let mut random = 12_345_u32;
        for _ in 0..50 {
            let garbage: Vec<u8> = (0..2000)
                .map(|_| {
                    random = random.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                    (random >> 24) as u8
                })
                .collect();
            let mut stream = operator.connect();
            let _ = stream.write_all(&garbage);
            let _ = stream.write_all(b"\n");
            let _ = stream.read(&mut [0; 4096]);
        }
        let mut stream = operator.connect();
        // It is answered, or left, before all of it is there.
        let _ = stream.write_all(&vec![b'x'; 1 << 20]);
        let mut answer = String::new();
        let _ = stream.read_to_string(&mut answer);
        let mut half = operator.connect();
        half.write_all(b"shutdown frontend app").expect("a part of a line");
        half.shutdown(Shutdown::Write).expect("it is open");
        let mut answer = String::new();
        half.read_to_string(&mut answer).expect("an end");
        assert_eq!(answer, "", "half a command is none");
        assert_eq!(operator.stat()["app/FRONTEND"]["status"], "OPEN");
        // Ten at a time are served, the others wait; who says nothing is left after a while.
        let crowd: Vec<UnixStream> = (0..1000).map(|_| operator.connect()).collect();
        for mut client in &crowd {
            let _ = client.write_all(b"show version\n");
        }
        let answered = crowd
            .iter()
            .filter(|client| {
                let mut answer = String::new();
                let mut client: &UnixStream = client;
                client.read_to_string(&mut answer).is_ok() && !answer.is_empty()
            })
            .count();
        assert_eq!(answered, 1000, "all are answered in turn");
        let _silent: Vec<UnixStream> = (0..20).map(|_| operator.connect()).collect();
        assert!(operator.ask("show info").contains("\nUptime_sec: "), "in the end it is our turn");
        drop(over);
        let rounds = traffic.join().expect("traffic goes on");
        assert!(rounds > 10, "{rounds}");
    });
    balancer.stop();
}

/// A program that others have written for HAProxy.
pub fn an_exporter_of_others_reads_it() {
    let lab = Lab::up();
    let operator = Operator::of(&lab);
    let _server = naming_echo(&lab, SRV1, 9001, "a");
    let text = format!(
        "{}{DEFAULTS}\nfrontend www\n    bind {LB}:8000\n    default_backend app\n\
         backend app\n    server s1 {SRV1}:9001 check inter 300ms\n    server s2 {SRV1}:{NOBODY} check inter 300ms\n",
        operator.line()
    );
    let balancer = Balancer::start(&lab, &text);
    operator.wait_for_status("app/s2", "DOWN");
    for _ in 0..7 {
        let (mut stream, _) = connected(&lab, 8000);
        assert!(is_alive(&mut stream));
    }
    let scrape = format!("--haproxy.scrape-uri=unix:{}", operator.path.display());
    let _exporter = lab.spawn(
        &lab.lb,
        "prometheus-haproxy-exporter",
        &[&scrape, "--web.listen-address=127.0.0.1:9101"],
    );
    let mut page = String::new();
    wait_until("the exporter's page", PATIENCE, || {
        let output = lab.lb.output("curl", &["-s", "http://127.0.0.1:9101/metrics"]);
        page = output.text;
        page.contains("haproxy_up 1")
    });
    for line in [
        "haproxy_server_up{backend=\"app\",server=\"s1\"} 1",
        "haproxy_server_up{backend=\"app\",server=\"s2\"} 0",
        "haproxy_frontend_sessions_total{frontend=\"www\"} 7",
        "haproxy_server_sessions_total{backend=\"app\",server=\"s1\"} 7",
        "haproxy_backend_up{backend=\"app\"} 1",
        "haproxy_exporter_csv_parse_failures_total 0",
    ] {
        assert!(page.contains(line), "no '{line}' in\n{page}");
    }
    if kind() == Kind::Xlb && !is_on_kernel() {
        assert!(operator.ask("show nic").contains("queue eth0/0"));
    }
    balancer.stop();
}
