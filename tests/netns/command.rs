//! The command line, signals, and the scripts beside the program.

use std::io::{ErrorKind, Read, Write};
use std::net::TcpStream;

use nix::sys::signal::Signal;

use crate::balancer::{Balancer, Kind, binary, check, config, has_program, kind};
use crate::bytes::{MIB, Server, ends, exchange, receive_bytes, send_bytes};
use crate::lab::{LB, Lab, PATIENCE, SRV1, address, repository, wait_until};

/// A wrong line in the place of `WRONG`, and the word at fault.
const MISTAKES: &[(&str, &str)] = &[
    ("blind 10.77.0.1:9001", "blind"),
    ("bind 10.77.0.1:9001 backlock 5", "backlock"),
    ("bind 10.77.0.1:99999", "99999"),
    ("balance roundabout", "roundabout"),
    ("timeout client soon", "soon"),
    ("server s9 10.77.0.12:80 wait 10", "wait"),
    ("mode tpc", "tpc"),
];

pub fn a_mistake_is_named() {
    let lab = Lab::up();
    for (mistake, word) in MISTAKES {
        let mut text = config(&[], &[address(LB, 9000)], &[address(SRV1, 9000)]);
        let line = text.lines().count() + 1;
        text += &format!("    {mistake}\n");
        let file = lab.file("wrong.cfg", &text);
        let output = check(&lab, &file);
        let place = format!("wrong.cfg:{line}");
        assert_eq!(output.code, Some(1), "'{mistake}': {}", output.text);
        assert!(output.text.contains(&place), "'{mistake}': no '{place}' in: {}", output.text);
        if kind() == Kind::Xlb {
            assert!(output.text.contains(word), "'{mistake}': no '{word}' in: {}", output.text);
            let run = lab.lb.output(&binary(), &["--interface", "eth0", "-f", &file]);
            assert_eq!(run.code, Some(1), "run with '{mistake}': {}", run.text);
            assert!(!has_program(&lab.lb), "'{mistake}' was refused, but a program is attached");
        }
    }
    let missing = check(&lab, "/nowhere/at-all.cfg");
    assert_eq!(missing.code, Some(1), "{}", missing.text);
    assert!(missing.text.contains("/nowhere/at-all.cfg"), "{}", missing.text);
}

pub fn a_good_configuration_passes() {
    let lab = Lab::up();
    let file = lab.file("right.cfg", &config(&[], &[address(LB, 9000)], &[address(SRV1, 9000)]));
    let output = check(&lab, &file);
    assert_eq!(output.code, Some(0), "{}", output.text);
    assert!(!has_program(&lab.lb), "a check has attached a program");
}

/// `Balancer::stop` looks at the status and at what is left on the interface; this looks at the clients.
pub fn sigterm_ends_in_good_order() {
    let lab = Lab::up();
    let (to, on) = (address(LB, 9000), address(SRV1, 9000));
    let (_server, accepted) = Server::handing_over(&lab.srv1, on);
    let balancer = Balancer::serving(&lab, &[to], &[on]);
    let client = lab.client.connect(to);
    let server = accepted.recv_timeout(PATIENCE).expect("the server is connected to");
    send_bytes(&client, MIB).expect("the client sends");
    receive_bytes(&server, MIB).expect("the server receives");
    balancer.stop();
    assert!(ends(&client), "the client was not told that the balancer is gone");
    assert!(ends(&server), "the server was not told that the balancer is gone");
}

/// USR1: who is connected stays until the end, who comes is refused, and then xlb ends by itself.
pub fn sigusr1_ends_with_the_last_connection() {
    let lab = Lab::up();
    let (to, on) = (address(LB, 9000), address(SRV1, 9000));
    let _server = Server::echoing(&lab.srv1, on);
    let mut balancer = Balancer::serving(&lab, &[to], &[on]);
    let mut streams: Vec<TcpStream> = (0..8).map(|_| lab.client.connect(to)).collect();
    streams.iter_mut().for_each(echoes);
    balancer.process().signal(Signal::SIGUSR1);
    balancer.process().wait_for_log("listening no more");
    wait_until("a new connection is refused", PATIENCE, || {
        lab.client.try_connect(to).is_err_and(|error| error.kind() == ErrorKind::ConnectionRefused)
    });
    streams.iter_mut().for_each(echoes);
    drop(streams);
    let status = balancer.process().wait(PATIENCE);
    assert!(status.success(), "USR1 ended xlb with {status}");
    assert!(!has_program(&lab.lb), "an XDP program is left on the interface");
}

fn echoes(stream: &mut TcpStream) {
    stream.write_all(b"still there").expect("an established connection takes bytes");
    let mut answer = [0; 11];
    stream.read_exact(&mut answer).expect("an established connection gives them back");
    assert_eq!(&answer, b"still there");
}

pub fn sighup_tells_its_state() {
    let lab = Lab::up();
    let (to, on) = (address(LB, 9000), address(SRV1, 9000));
    let (_server, served) = Server::exchanging(&lab.srv1, on);
    let mut balancer = Balancer::serving(&lab, &[to], &[on]);
    exchange(&lab.client.connect(to), &served, MIB, MIB);
    let idle = lab.client.connect(to);
    balancer.wait_for_dump("the one stream that is open", PATIENCE, |dump| {
        dump.sum("worker", "streams") == 1.0 && dump.sum("worker", "connections") == 2.0
    });
    let dump = balancer.dump().expect("xlb tells its state");
    for (subject, key) in [
        ("worker", "idle_pct"),
        ("worker", "turns"),
        ("worker", "time_wait"),
        ("worker", "half_open"),
        ("queue", "rx_dropped"),
        ("queue", "free"),
        ("pool buffers", "allocated"),
        ("pool connections", "used"),
        ("pool streams", "used"),
        ("server", "failed"),
    ] {
        dump.all(subject, key);
    }
    assert_eq!(dump.sum("server", "total"), 2.0, "{}", dump.text);
    assert!(dump.text.contains("mode="), "no mode of the queues in:\n{}", dump.text);
    // It goes on with its work.
    drop(idle);
    let unused = served.recv_timeout(PATIENCE).expect("the server finishes with the idle one");
    assert!(unused.is_err(), "the idle connection asked for nothing");
    exchange(&lab.client.connect(to), &served, MIB, MIB);
    assert!(balancer.process().log().contains("xlb is ready"));
    balancer.wait_until_idle();
    balancer.stop();
}

/// On an interface of the lab; threads of the whole machine are left alone.
pub fn setup_script_restores() {
    let lab = Lab::up();
    let script = repository().join("scripts/setup-xdp.sh").display().to_string();
    let ports = "/proc/sys/net/ipv4/ip_local_reserved_ports";
    let state = || {
        let offloads = lab.lb.run("ethtool", &["-k", "eth0"]);
        let queues = lab.lb.run("ethtool", &["-l", "eth0"]);
        (offloads, queues, lab.lb.run("cat", &[ports]))
    };
    let setup = |options: &[&str]| {
        let fixed = ["eth0", "--rt-softirq", "0", "--queues", "1", "--source-ports", "20000-20999"];
        lab.lb.run(&script, &[&fixed, options].concat())
    };
    lab.lb.run("sysctl", &["-w", "net.ipv4.ip_local_reserved_ports=8080,20500-22000"]);
    lab.lb.run("ethtool", &["-K", "eth0", "gro", "on"]);
    let before = state();
    setup(&["--dry-run"]);
    assert_eq!(state(), before, "--dry-run has changed something");
    let report = setup(&[]);
    assert!(report.contains("generic-receive-offload: on -> off"), "{report}");
    let after = state();
    assert_eq!(after.2.trim(), "8080,20000-22000");
    assert_ne!((&after.0, &after.1), (&before.0, &before.1));
    let again = setup(&[]);
    assert!(!again.lines().any(|line| line.starts_with("set ")), "a second run changes: {again}");
    setup(&["--undo"]);
    assert_eq!(state(), before, "--undo does not restore");
}
