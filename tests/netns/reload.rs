//! Reload: another configuration for what runs, and nobody notices but who is meant to.
//!
//! In:    configurations, one after the other, under traffic
//! Out:   what clients see; what the operator is told
//! Never: counts a connection that fails as bad luck

use std::fs;
use std::io::Read;
use std::net::UdpSocket;
use std::os::unix::net::UnixStream;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::Instant;

use nix::sys::signal::Signal;

use crate::balancer::{Balancer, DEFAULTS, binary, kind};
use crate::bytes::{Server, is_timeout};
use crate::crowd::{open, use_all};
use crate::lab::{LB, Lab, PATIENCE, SRV1, SRV2, address, wait_until};
use crate::logs::next_line_of_all;
use crate::runtime::{Operator, connected, is_alive, name_of_next, naming_echo};

const RELOADS: usize = 100;
/// Streams that carry bytes all the time.
const LONG: usize = 500;
/// Of these, through a frontend that comes and goes.
const UNSETTLED: usize = 50;
/// New connections in a second, at least.
const RATE: f64 = 500.0;
const CLIENTS: usize = 4;

/// The configurations that take turns: listeners, servers, whole proxies, the algorithm, limits, and the order of it all.
fn variants(operator: &Operator) -> Vec<String> {
    let global = format!("{}    maxconn 20000\n{DEFAULTS}", operator.line());
    let front = format!("frontend short\n    bind {LB}:8000\n    default_backend names\n");
    let names = format!(
        "backend names\n    server a {SRV1}:9001\n    server b {SRV2}:9001\n    server c {SRV2}:9002\n"
    );
    let long = format!("listen long\n    bind {LB}:8001\n    server e {SRV1}:9003\n");
    let unsettled = format!("listen unsettled\n    bind {LB}:8002\n    server e {SRV2}:9003\n");
    vec![
        format!("{global}{front}{names}{long}{unsettled}"),
        // Another listener, a server less, another algorithm, a proxy less.
        format!(
            "{global}{long}backend names\n    balance leastconn\n    server c {SRV2}:9002\n    server a {SRV1}:9001 weight 7\n\
             frontend short\n    bind {LB}:8003\n    bind {LB}:8000 maxconn 5000\n    default_backend names\n"
        ),
        // Everything is somebody else: the listener goes to another frontend, and that to another backend.
        format!(
            "{global}frontend other\n    bind {LB}:8000\n    use_backend pool if TRUE\n\
             backend pool\n    server d {SRV2}:9001 maxconn 300\n    server c {SRV2}:9002\n{long}{unsettled}"
        ),
        format!(
            "{global}    timeout server 50s\n{long}    server f {SRV2}:9003\n{front}{names}    server d {SRV1}:9001 maxconn 2000\n"
        ),
    ]
}

/// New connections and established streams go on as if nothing had happened, a hundred times.
pub fn a_hundred_reloads_lose_nothing() {
    let lab = Lab::up();
    let operator = Operator::of(&lab);
    let _servers = [
        Server::naming(&lab.srv1, address(SRV1, 9001), "a"),
        Server::naming(&lab.srv2, address(SRV2, 9001), "b"),
        Server::naming(&lab.srv2, address(SRV2, 9002), "c"),
        Server::echoing(&lab.srv1, address(SRV1, 9003)),
        Server::echoing(&lab.srv2, address(SRV2, 9003)),
    ];
    let variants = variants(&operator);
    let balancer = Balancer::start(&lab, &variants[0]);
    let long = open(&lab, address(LB, 8001), LONG - UNSETTLED);
    let unsettled = open(&lab, address(LB, 8002), UNSETTLED);
    let (is_over, served, rounds) = (AtomicBool::new(false), AtomicU64::new(0), AtomicU64::new(0));
    let began = Instant::now();
    thread::scope(|scope| {
        for _ in 0..CLIENTS {
            scope.spawn(|| {
                let _over = Over(&is_over);
                while !is_over.load(Ordering::SeqCst) {
                    serve_one(&lab);
                    served.fetch_add(1, Ordering::SeqCst);
                }
            });
        }
        for streams in [&long, &unsettled] {
            scope.spawn(|| {
                let _over = Over(&is_over);
                for round in (0..10).cycle().take_while(|_| !is_over.load(Ordering::SeqCst)) {
                    use_all(streams, round);
                    rounds.fetch_add(1, Ordering::SeqCst);
                }
            });
        }
        for number in 1..=RELOADS {
            if is_over.load(Ordering::SeqCst) {
                break;
            }
            lab.file("test.cfg", &variants[number % variants.len()]);
            let answer = operator.ask("reload");
            assert!(answer.contains("~ "), "reload {number}: {answer}");
            // Each configuration has traffic of its own.
            let (before, round) = (served.load(Ordering::SeqCst), rounds.load(Ordering::SeqCst));
            wait_until("connections and rounds under this configuration", PATIENCE, || {
                let has_both = served.load(Ordering::SeqCst) >= before + 100
                    && rounds.load(Ordering::SeqCst) > round;
                has_both || is_over.load(Ordering::SeqCst)
            });
        }
        is_over.store(true, Ordering::SeqCst);
    });
    let (count, seconds) = (served.load(Ordering::SeqCst), began.elapsed().as_secs_f64());
    println!(
        "    {RELOADS} reloads, {count} connections at {:.0} each second, {} rounds on {LONG} streams",
        count as f64 / seconds,
        rounds.load(Ordering::SeqCst)
    );
    assert!(count as f64 >= RATE * seconds, "{count} connections in {seconds:.1} s are too few");
    // All streams are still there, and nothing is kept of what is gone.
    use_all(&long, 1);
    use_all(&unsettled, 2);
    drop((long, unsettled));
    balancer.wait_until_idle();
    for (row, columns) in operator.stat() {
        for column in ["scur", "qcur"] {
            let value = columns[column].as_str();
            assert!(["", "0"].contains(&value), "{row} has {column} {value}");
        }
    }
    balancer.stop();
}

/// Whoever fails ends the others.
struct Over<'a>(&'a AtomicBool);

impl Drop for Over<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::SeqCst);
    }
}

/// One connection from its beginning to its end in order.
fn serve_one(lab: &Lab) {
    let mut stream = lab.client.connect(address(LB, 8000));
    let mut name = String::new();
    stream.read_to_string(&mut name).expect("a name, and the end");
    assert!(["a", "b", "c"].contains(&&*name), "'{name}' is none of the servers");
}

/// What is wrong is told with its line or its address, and everything is as it was.
pub fn a_bad_file_changes_nothing() {
    let lab = Lab::up();
    let operator = Operator::of(&lab);
    let _server = naming_echo(&lab, SRV1, 9001, "a");
    let text = |more: &str| {
        format!(
            "{}{DEFAULTS}\nlisten app\n    bind {LB}:8000\n{more}    server s1 {SRV1}:9001\n",
            operator.line()
        )
    };
    let mut balancer = Balancer::start(&lab, &text(""));
    let _taken = lab.lb.listen(address(LB, 8010));
    let before = operator.ask("show servers state");
    for (bad, told) in [
        ("    maxcon 7\n", "unknown keyword 'maxcon' in 'listen' section"),
        ("    bind 10.77.0.1:8010\n", "already listens on 10.77.0.1:8010"),
        ("    bind /nowhere/x.sock\n", "cannot listen on /nowhere/x.sock"),
        ("    default_backend none\n", "unable to find required default_backend: 'none'"),
        ("    source 0.0.0.0 usesrc clientip\n", "xlb was started without any: restart it"),
    ] {
        let file = lab.file("test.cfg", &text(bad));
        for command in ["reload", "reload check"] {
            // The second finds what can be told without opening anything.
            if command == "reload check" && !told.contains("unable") && !told.contains("unknown") {
                continue;
            }
            let answer = operator.ask(command);
            assert!(answer.contains(told), "{command} with {bad}: {answer}");
            let line = text(bad).lines().position(|line| bad.trim_end() == line).map(|at| at + 1);
            let place = format!("[{file}:{}]", line.expect("it is there"));
            assert!(answer.contains(&place) || told.contains("restart"), "{place}: {answer}");
        }
        assert_eq!(name_of_next(&lab, 8000), "a");
    }
    let after = operator.ask("show servers state");
    assert_eq!(before.lines().count(), after.lines().count());
    // A global line that has to wait is told as such, and the rest is done.
    let waits = text("    maxconn 99\n").replacen("level admin", "level admin\n    nbthread 1", 1);
    lab.file("test.cfg", &waits);
    let answer = operator.ask("reload");
    assert!(answer.contains("! global: nbthread (at the next start)"), "{answer}");
    assert!(answer.contains("~ listen app: maxconn"), "{answer}");
    assert_eq!(operator.stat()["app/FRONTEND"]["slim"], "99");
    balancer.process().wait_for_log("configuration 1 is in effect");
    // The signal does the same.
    lab.file("test.cfg", &text("    maxconn 77\n"));
    balancer.process().signal(Signal::SIGUSR2);
    balancer.process().wait_for_log("configuration 2 is in effect");
    assert_eq!(operator.stat()["app/FRONTEND"]["slim"], "77");
    assert!(operator.ask("reload").contains("nothing has changed"));
    balancer.stop();
}

/// Streams of what is gone go on; nobody new comes; who waits for a server that is gone gets another.
pub fn what_is_gone_ends_in_good_order() {
    let lab = Lab::up();
    let operator = Operator::of(&lab);
    let _servers = [naming_echo(&lab, SRV1, 9001, "a"), naming_echo(&lab, SRV2, 9001, "b")];
    let head = |more: &str| format!("{}{more}{DEFAULTS}", operator.line());
    let app = |server: &str| format!("listen app\n    bind {LB}:8000\n    server {server}\n");
    let (one, two) = (format!("a {SRV1}:9001 maxconn 1"), format!("b {SRV2}:9001"));
    let old = format!("listen old\n    bind {LB}:8001\n    server a {SRV1}:9001\n");
    let balancer = Balancer::start(&lab, &format!("{}{}{old}", head(""), app(&one)));
    let (mut held, _) = connected(&lab, 8000);
    let mut waiting = lab.client.connect(address(LB, 8000));
    wait_until("one waits", PATIENCE, || operator.number("app/BACKEND", "qcur") == 1.0);
    let (mut of_old, _) = connected(&lab, 8001);
    // The server is another one: who waited for the first gets the second.
    lab.file("test.cfg", &format!("{}{}", head(""), app(&two)));
    let answer = operator.ask("reload");
    assert!(answer.contains("- listen old") && answer.contains("- server a"), "{answer}");
    let mut name = [0];
    waiting.read_exact(&mut name).expect("it is served");
    assert_eq!(&name, b"b");
    assert!(is_alive(&mut held) && is_alive(&mut of_old) && is_alive(&mut waiting));
    assert_eq!(name_of_next(&lab, 8000), "b");
    let rows: Vec<String> = operator.stat().into_keys().collect();
    assert_eq!(rows, ["app/BACKEND", "app/FRONTEND", "app/b"]);
    assert!(lab.client.try_connect(address(LB, 8001)).is_err(), "nobody listens there any more");
    assert!(operator.ask("show sess").contains("old"), "its stream is shown");
    // And back again, as somebody new, while the streams of before are still there.
    lab.file("test.cfg", &format!("{}{}{old}", head(""), app(&one)));
    assert!(operator.ask("reload").contains("+ listen old"));
    assert_eq!(name_of_next(&lab, 8001), "a");
    assert!(is_alive(&mut held) && is_alive(&mut of_old));
    assert_eq!(operator.stat()["old/FRONTEND"]["stot"], "1", "it counts from the beginning");
    drop(waiting);
    // Streams of what is gone have an end.
    lab.file("test.cfg", &format!("{}{}", head("    hard-stop-after 1s\n"), app(&one)));
    assert!(operator.ask("reload").contains("- listen old"));
    let end = of_old.read(&mut [0]);
    assert!(!end.as_ref().is_err_and(is_timeout), "its time is over: {end:?}");
    assert!(is_alive(&mut held), "its proxy is still there");
    balancer.stop();
}

/// What an operator and checks have made of a server outlives its configuration; what the file changes is changed.
pub fn servers_keep_their_state() {
    let lab = Lab::up();
    let operator = Operator::of(&lab);
    let _servers = [naming_echo(&lab, SRV1, 9001, "a"), naming_echo(&lab, SRV2, 9001, "b")];
    let text = |a: &str, more: &str| {
        format!(
            "{}{DEFAULTS}\nlisten app\n    bind {LB}:8000\n{more}    server a {SRV1}:9001 {a}\n    server b {SRV2}:9001\n    \
             server c {SRV1}:9999 check inter 200ms fall 1 rise 50\n",
            operator.line()
        )
    };
    let balancer = Balancer::start(&lab, &text("weight 10", ""));
    operator.wait_for_status("app/c", "DOWN");
    operator.order("set server app/b state maint");
    operator.order("set weight app/a 33");
    operator.order("set maxconn server app/a 44");
    let checks = |column: &str| operator.number("app/c", column);
    let (downs, since) = (checks("chkdown"), checks("chkfail"));
    // The file says something else about what nobody has touched.
    lab.file("test.cfg", &text("weight 10", "    balance leastconn\n    maxconn 55\n"));
    assert!(operator.ask("reload").contains("balance"));
    let stat = operator.stat();
    assert_eq!((&*stat["app/a"]["weight"], &*stat["app/a"]["slim"]), ("33", "44"));
    assert_eq!(stat["app/b"]["status"], "MAINT");
    assert_eq!(stat["app/c"]["status"], "DOWN");
    assert_eq!(name_of_next(&lab, 8000), "a");
    assert_eq!((checks("chkdown"), checks("chkfail") >= since), (downs, true));
    // Now it says something about the weight.
    lab.file("test.cfg", &text("weight 20", "    balance leastconn\n    maxconn 55\n"));
    assert!(operator.ask("reload").contains("weight"));
    let stat = operator.stat();
    assert_eq!((&*stat["app/a"]["weight"], &*stat["app/a"]["slim"]), ("20", "44"));
    // A check that is new begins, one that is gone ends, and a server without any is up.
    let next =
        text("weight 20 check inter 200ms", "").replace(" check inter 200ms fall 1 rise 50", "");
    lab.file("test.cfg", &next);
    assert!(operator.ask("reload").contains("check"));
    operator.wait_for_status("app/a", "UP");
    operator.wait_for_status("app/c", "no check");
    balancer.stop();
}

/// A process that is nobody and sees another root still reads its files.
pub fn without_rights_and_under_another_root() {
    let lab = Lab::up();
    let operator = Operator::of(&lab);
    let _server = naming_echo(&lab, SRV1, 9001, "a");
    let root = lab.dir.join("root");
    fs::create_dir_all(&root).expect("the test's directory can be written to");
    let text = |port: u16| {
        format!(
            "{}    user nobody\n    group nogroup\n    chroot {}\n{DEFAULTS}\nlisten app\n    bind {LB}:{port}\n    \
             server s1 {SRV1}:9001\n",
            operator.line(),
            root.display()
        )
    };
    let balancer = Balancer::start(&lab, &text(80));
    assert_eq!(name_of_next(&lab, 80), "a");
    lab.file("test.cfg", &text(81));
    let answer = operator.ask("reload");
    assert!(answer.contains(&format!("+ bind {LB}:81")), "{answer}");
    assert_eq!(name_of_next(&lab, 81), "a");
    assert!(lab.client.try_connect(address(LB, 80)).is_err(), "nobody listens there any more");
    balancer.stop();
}

/// Runtime sockets, sockets of the kernel and log targets follow the file.
pub fn sockets_and_logs_come_and_go() {
    let lab = Lab::up();
    let operator = Operator::of(&lab);
    let _server = naming_echo(&lab, SRV1, 9001, "a");
    let log = lab.lb.enter(|| UdpSocket::bind("127.0.0.1:5140")).expect("a port of its own");
    let (second, unix) = (lab.dir.join("second.sock"), lab.dir.join("app.sock"));
    let app = format!("listen app\n    bind {LB}:8000\n    server s1 {SRV1}:9001\n");
    let before = format!("{}{DEFAULTS}{app}", operator.line());
    let after = format!(
        "{}    stats socket {} level user\n    log 127.0.0.1:5140 local0\n{DEFAULTS}    log global\n    option tcplog\n{app}    bind {}\n",
        operator.line(),
        second.display(),
        unix.display()
    );
    let balancer = Balancer::start(&lab, &before);
    assert_eq!(name_of_next(&lab, 8000), "a");
    lab.file("test.cfg", &after);
    let answer = operator.ask("reload");
    assert!(answer.contains("stats socket") && answer.contains("+ bind"), "{answer}");
    let another = Operator { path: second.clone() };
    assert!(another.ask("show info").contains("Name: xlb"));
    let by_path = || {
        let mut name = [0];
        UnixStream::connect(&unix).ok()?.read_exact(&mut name).ok()?;
        Some(name)
    };
    assert_eq!(by_path(), Some(*b"a"));
    assert_eq!(name_of_next(&lab, 8000), "a");
    let line = next_line_of_all(&log).expect("streams are logged now");
    assert!(line.contains(" app app/s1 "), "{line}");
    lab.file("test.cfg", &before);
    operator.ask("reload");
    assert!(!second.exists() && UnixStream::connect(&second).is_err(), "it is left");
    assert!(by_path().is_none(), "nobody listens there any more");
    assert_eq!(name_of_next(&lab, 8000), "a");
    balancer.stop();
}

/// Servers come and go by command, as HAProxy's do: in maintenance first, and never while anything works with them.
pub fn servers_come_and_go_by_command() {
    let lab = Lab::up();
    let operator = Operator::of(&lab);
    let _servers = [naming_echo(&lab, SRV1, 9001, "a"), naming_echo(&lab, SRV2, 9001, "b")];
    let text = format!(
        "{}{DEFAULTS}\nfrontend app\n    bind {LB}:8000\n    default_backend pool\nbackend pool\n    balance roundrobin\n    \
         server a {SRV1}:9001\n    server named {SRV1}:9001 disabled\n    use-server named if {{ src 192.0.2.1 }}\n\
         backend fixed\n    balance static-rr\n    server a {SRV1}:9001\n",
        operator.line()
    );
    let balancer = Balancer::start(&lab, &text);
    // What HAProxy answers to these.
    for (command, answer) in [
        ("add server", "Require 'backend/server'."),
        ("add server pool", "Require 'backend/server'."),
        ("add server nope/x 192.0.2.1:1", "No such backend."),
        ("add server pool/a 192.0.2.1:1", "Already exists a server with the same name in backend."),
        (
            "add server fixed/y 192.0.2.1:1",
            "Backend must use a dynamic load balancing to support dynamic servers.",
        ),
        ("add server pool/y", "'server' expects <name> and <addr>[:<port>] as arguments."),
        ("del server nope/x", "No such backend."),
        ("del server pool/q", "No such server."),
    ] {
        assert_eq!(operator.ask(command).trim(), answer, "{command}");
    }
    let bogus = operator.ask("add server pool/y 192.0.2.1:1 bogus");
    assert!(bogus.contains("unknown keyword 'bogus'"), "{bogus}");
    let added = operator.ask(&format!("add server pool/b {SRV2}:9001 weight 5 check inter 200ms"));
    assert_eq!(added.trim(), "New server registered.");
    assert_eq!(operator.stat()["pool/b"]["status"], "MAINT");
    assert_eq!([name_of_next(&lab, 8000), name_of_next(&lab, 8000)], ["a", "a"]);
    operator.order("enable health pool/b");
    operator.order("enable server pool/b");
    operator.wait_for_status("pool/b", "UP");
    operator.order("disable server pool/a");
    let (mut held, name) = connected(&lab, 8000);
    assert_eq!(name, "b");
    // Not while it serves.
    assert_eq!(
        operator.ask("del server pool/b").trim(),
        "Only servers in maintenance mode can be deleted."
    );
    operator.order("set server pool/b state maint");
    assert_eq!(
        operator.ask("del server pool/b").trim(),
        "Server still has connections attached to it, cannot remove it."
    );
    assert!(is_alive(&mut held));
    drop(held);
    wait_until("nobody works with it", PATIENCE, || operator.number("pool/b", "scur") == 0.0);
    assert_eq!(operator.ask("del server pool/b").trim(), "Server deleted.");
    assert!(!operator.stat().contains_key("pool/b"));
    // A rule names this one.
    let named = operator.ask("del server pool/named");
    assert!(named.contains("other configuration elements pointing to it"), "{named}");
    operator.order("enable server pool/a");
    assert_eq!(name_of_next(&lab, 8000), "a");
    // Hundreds of them leave nothing behind.
    for number in 0..200 {
        let added = operator.ask(&format!("add server pool/n{number} {SRV2}:9001"));
        assert_eq!(added.trim(), "New server registered.", "{number}");
        assert_eq!(operator.ask(&format!("del server pool/n{number}")).trim(), "Server deleted.");
    }
    assert_eq!(operator.ask("show servers state pool").lines().count(), 5);
    balancer.stop();
}

/// `xlb --check --diff` tells what a reload would do to the process that runs.
pub fn a_check_tells_the_difference() {
    let lab = Lab::up();
    let operator = Operator::of(&lab);
    let text = |port: u16| {
        format!(
            "{}{DEFAULTS}\nlisten app\n    bind {LB}:{port}\n    server a {SRV1}:9001\n",
            operator.line()
        )
    };
    let file = lab.file("test.cfg", &text(8000));
    let asked = || lab.lb.output(&binary(), &["--check", "--diff", "-f", &file]);
    let nobody = asked();
    assert!(!nobody.success && nobody.text.contains("nobody answers at"), "{}", nobody.text);
    let balancer = Balancer::start(&lab, &text(8000));
    assert!(asked().text.contains("nothing has changed"));
    lab.file("test.cfg", &text(8001));
    let told = asked();
    assert!(told.success, "{}", told.text);
    for line in ["~ listen app", "  - bind 10.77.0.1:8000", "  + bind 10.77.0.1:8001"] {
        assert!(told.text.lines().any(|told| told == line), "{line} is not in {}", told.text);
    }
    assert!(lab.client.try_connect(address(LB, 8001)).is_err(), "it was only asked");
    balancer.stop();
}

/// What ACLs compare with is changed under traffic, with HAProxy's answers.
pub fn acls_are_changed_by_command() {
    let lab = Lab::up();
    let operator = Operator::of(&lab);
    let _server = naming_echo(&lab, SRV1, 9001, "a");
    let file = lab.file("bad.list", "192.0.2.1\n# nobody\n198.51.100.0/24\n");
    let text = format!(
        "{}{DEFAULTS}\nfrontend app\n    bind {LB}:8000\n    acl bad src 192.0.2.7\n    acl bad src -f {file}\n    \
         acl port dst_port gt 9000 9500\n    acl word req.payload(0,0) -m beg -i get 'a b'\n    \
         tcp-request connection reject if bad\n    tcp-request connection reject if port\n    default_backend pool\n\
         backend pool\n    server a {SRV1}:9001\n",
        operator.line()
    );
    let balancer = Balancer::start_as(&lab, kind(), &text);
    let is_served = || {
        let mut name = [0];
        let stream = lab.client.try_connect(address(LB, 8000));
        stream.is_ok_and(|mut stream| stream.read_exact(&mut name).is_ok())
    };
    assert!(is_served());
    let values = |list: &str| -> Vec<String> {
        let text = operator.ask(&format!("show acl {list}"));
        let value = |line: &str| line.split_once(' ').map(|(_, value)| value.to_owned());
        text.lines().filter_map(value).collect()
    };
    assert_eq!(values("#0"), ["192.0.2.7"]);
    assert_eq!(values(&file), ["192.0.2.1", "198.51.100.0/24"]);
    let all = operator.ask("show acl");
    assert!(
        all.contains(&format!("1 ({file}) pattern loaded from file '{file}' used by acl at file")),
        "{all}"
    );
    assert!(all.contains("0 () acl 'src' file "), "{all}");
    for (command, answer) in [
        ("add acl #0 bogus", "'bogus' is not a valid IPv4 or IPv6 address."),
        ("add acl #99 192.0.2.1", "Unknown ACL identifier. Please use #<id> or <file>."),
        ("add acl bad 192.0.2.1", "Unknown ACL identifier. Please use #<id> or <file>."),
        ("add acl", "'add acl' expects two parameters: ACL identifier and pattern."),
        ("add acl #0", "'add acl' expects two parameters: ACL identifier and pattern."),
        ("del acl #0 192.0.2.99", "Key not found."),
        ("del acl #0", "This command expects two parameters: ACL identifier and key."),
        ("clear acl", "Missing ACL identifier."),
        ("show acl #99", "Unknown ACL identifier. Please use #<id> or <file>."),
    ] {
        assert_eq!(operator.ask(command).trim(), answer, "{command}");
    }
    assert!(is_served(), "a mistake changes nothing");
    for list in ["#0", file.as_str()] {
        operator.order(&format!("add acl {list} 10.77.0.0/24"));
        assert!(!is_served(), "the client is among them now: {list}");
        operator.order(&format!("del acl {list} 10.77.0.0/24"));
        assert!(is_served(), "{list}");
    }
    let ports = values("#3").len();
    operator.order("add acl #3 8000");
    assert!(!is_served() && values("#3").len() == ports + 1);
    operator.order("clear acl #3");
    assert!(is_served() && values("#3").is_empty());
    operator.order("add acl #4 post");
    assert_eq!(values("#4"), ["get", "a b", "post"]);
    balancer.stop();
}
