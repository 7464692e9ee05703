//! Workers that are stuck, and workers that panic: what the operator is told.
//!
//! In:    `debug dev` commands, for what should never happen by itself
//! Out:   sentences with the worker, its place and its last packet
//! Never: takes the sentence for granted: the other worker has to go on meanwhile

use std::io::{self, BufRead, BufReader};
use std::process::Stdio;

use crate::balancer::{Balancer, DEFAULTS, binary};
use crate::lab::{LB, Lab, PATIENCE, SRV1, address, wait_until};
use crate::runtime::{Operator, name_of_next, naming_echo};

fn config(operator: &Operator) -> String {
    format!(
        "{}{DEFAULTS}\nlisten app\n    bind {LB}:8000\n    server s1 {SRV1}:9001\n",
        operator.line()
    )
}

/// It is told where a worker is stuck while it is, and when it goes on.
pub fn a_stuck_worker_is_told_of() {
    let lab = Lab::up();
    let operator = Operator::of(&lab);
    let _server = naming_echo(&lab, SRV1, 9001, "a");
    let mut balancer = Balancer::start_on(&lab, "0-1", &config(&operator));
    assert_eq!(name_of_next(&lab, 8000), "a");
    let refused = operator.ask("debug dev loop 10");
    assert_eq!(refused.trim(), "This command is restricted to expert mode only.");
    assert_eq!(operator.ask("expert-mode").trim(), "expert-mode is OFF");
    assert_eq!(operator.ask("expert-mode on; expert-mode").trim(), "expert-mode is ON");
    assert!(!balancer.process().log().contains("stuck"));
    operator.ask("expert-mode on; debug dev loop 2500");
    balancer.process().wait_for_log("a worker is stuck for 1.");
    balancer.process().wait_for_log("worker 0 on core 0 goes on: a turn took 2.");
    let log = balancer.process().log();
    let told: Vec<&str> = log.lines().filter(|line| line.contains("stuck for")).collect();
    assert_eq!(told.len(), 2, "after one second, and after twice as long: {log}");
    for line in told {
        assert!(
            line.contains("worker 0 on core 0, turn ") && line.contains(", stage command;"),
            "{line}"
        );
        assert!(line.contains("its thread ran for "), "{line}");
    }
    assert_eq!(name_of_next(&lab, 8000), "a");
    let threads = operator.ask("show threads");
    let counts: Vec<&str> =
        threads.lines().filter_map(|line| line.split("stuck=").nth(1)).collect();
    assert_eq!(counts, ["1", "0"], "{threads}");
    balancer.stop();
}

/// A worker that panics takes the process along; before, it tells its version, where it was, and the packet that came last.
pub fn a_panic_names_the_last_packet() {
    let lab = Lab::up();
    let operator = Operator::of(&lab);
    let _server = naming_echo(&lab, SRV1, 9001, "a");
    let mut balancer = Balancer::start_on(&lab, "0-1", &config(&operator));
    // Each worker has had a packet.
    for _ in 0..32 {
        assert_eq!(name_of_next(&lab, 8000), "a");
    }
    operator.ask("expert-mode on; debug dev panic");
    wait_until("the process has ended", PATIENCE, || {
        lab.client.try_connect(address(LB, 8000)).is_err()
    });
    let log = balancer.process().log();
    assert!(log.contains("thread 'worker 0'") && log.contains("an operator asked for it"), "{log}");
    let version = format!("xlb {} (", env!("CARGO_PKG_VERSION"));
    assert!(log.lines().any(|line| line.starts_with(&version)), "{log}");
    let place = log.lines().find(|line| line.starts_with("worker 0 on core 0, turn "));
    let place = place.expect("where it was");
    assert!(place.contains(", stage command;"), "{place}");
    // An Ethernet frame of IPv4 or IPv6.
    let packet = place.split(" bytes: ").nth(1).expect("a packet").replace(' ', "");
    assert!(["0800", "86dd", "0806"].contains(&&packet[24..28]), "{packet}");
    balancer.kill();
}

/// Whoever read what it says has gone: it serves on.
pub fn a_lost_stderr_ends_nothing() {
    let lab = Lab::up();
    let operator = Operator::of(&lab);
    let _server = naming_echo(&lab, SRV1, 9001, "a");
    let file = lab.file("test.cfg", &config(&operator));
    let mut command = lab.lb.command(&binary());
    command.args(["--cores", "0-1", "--interface", "eth0", "-c", &file]);
    let mut xlb = command.stderr(Stdio::piped()).spawn().expect("it can be started");
    let lines = BufReader::new(xlb.stderr.take().expect("a pipe")).lines();
    let is_ready = |line: io::Result<String>| line.is_ok_and(|line| line.contains("xlb is ready"));
    assert!(lines.into_iter().any(is_ready), "it has ended");
    // Nobody reads any more.
    operator.order("disable server app/s1");
    operator.order("enable server app/s1");
    operator.ask("reload");
    assert!(xlb.try_wait().expect("it is a child").is_none(), "it has ended");
    assert_eq!(name_of_next(&lab, 8000), "a");
    let _ = xlb.kill();
    let _ = xlb.wait();
}
