//! Bad paths between the balancer and everybody else: every byte arrives once and in order.

use std::net::TcpStream;
use std::thread;

use nix::sys::signal::Signal;

use crate::balancer::Balancer;
use crate::bytes::{MIB, Server, exchange_half, verdict};
use crate::lab::{LB, LB6, Lab, SRV1, SRV1_6, Shape, address};
use crate::peer;

/// Connections at the same time: one that waits for a timer must not make the test wait alone.
const CONNECTIONS: usize = 4;

/// What the other tests of this file are to be compared with.
pub fn clean() {
    transfer(&[], &[], false, 32 * MIB);
}

pub fn one_percent_loss() {
    transfer(&["--loss=1%"], &["lost"], false, 8 * MIB);
}

pub fn five_percent_loss() {
    transfer(&["--loss=5%"], &["lost"], false, 2 * MIB);
}

pub fn reordering() {
    transfer(&["--reorder=3%", "--reorder-us=1000"], &["reordered"], false, 8 * MIB);
}

pub fn duplication() {
    transfer(&["--duplicate=5%"], &["duplicated"], false, 16 * MIB);
}

pub fn corruption() {
    transfer(&["--corrupt=1%"], &["corrupted"], false, 8 * MIB);
}

pub fn all_at_once_over_ipv6() {
    let faults = ["--loss=1%", "--reorder=1%", "--duplicate=1%", "--corrupt=1%", "--delay-us=500"];
    transfer(&faults, &["lost", "reordered", "duplicated", "corrupted"], true, 4 * MIB);
}

/// Both sides of the balancer run over the same wire. `counted` are the faults that must have happened.
fn transfer(faults: &[&str], counted: &[&str], ipv6: bool, length: u64) {
    let lab = Lab::shaped(Shape { wire: true, ..Shape::default() });
    let mut wire =
        peer::spawn(&lab, &lab.net, "faulty-wire", &[&["--a=lb", "--b=gap"], faults].concat());
    let on = address(if ipv6 { SRV1_6 } else { SRV1 }, 9000);
    let to = address(if ipv6 { LB6 } else { LB }, 9000);
    let (_server, served) = Server::exchanging(&lab.srv1, on);
    let balancer = Balancer::serving(&lab, &[to], &[on]);
    let start = std::time::Instant::now();
    let streams: Vec<TcpStream> = (0..CONNECTIONS).map(|_| lab.client.connect(to)).collect();
    thread::scope(|scope| {
        for stream in &streams {
            scope.spawn(|| exchange_half(stream, length, length));
        }
    });
    for _ in &streams {
        verdict(&served);
    }
    let bits = (length * 8 * CONNECTIONS as u64) as f64;
    println!("    {:.0} Mbit/s each way", bits / 1e6 / start.elapsed().as_secs_f64());
    balancer.wait_until_idle();
    balancer.stop();
    let status = wire.stop(Signal::SIGTERM);
    let log = wire.log();
    assert!(status.success(), "the wire broke: {log}");
    for fault in counted {
        let happened = log.lines().filter(|line| line.contains("->")).all(|line| {
            line.contains(&format!("{fault}=")) && !line.contains(&format!("{fault}=0 "))
        });
        assert!(happened, "nothing was {fault}: {log}");
    }
    assert_eq!(log.matches("overrun=0").count(), 2, "the wire could not keep up: {log}");
}
