//! Many connections at the same time: opened, idle, used, closed, and everything given back.

use std::fs;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::thread;
use std::time::Duration;

use crate::balancer::{Balancer, Dump, Kind, config, is_on_kernel, kind};
use crate::lab::{LB, Lab, SRV1, SRV2, address};
use crate::peer;

const CROWD: usize = 15_000;
/// HAProxy needs two of its 20,000 files for each.
const CROWD_OF_FILES: usize = 9_000;
/// Connections are opened and used by so many threads.
const OPENERS: usize = 4;
const SETTLE: Duration = Duration::from_secs(30);

pub fn fifteen_thousand_connections() {
    let has_files = kind() == Kind::HaProxy || is_on_kernel();
    let crowd = if has_files { CROWD_OF_FILES } else { CROWD };
    let lab = Lab::up();
    let servers = [address(SRV1, 9000), address(SRV2, 9000)];
    // In processes of their own: one process may not have the files for both ends.
    let _echoes = [
        peer::spawn(&lab, &lab.srv1, "echo", &[&servers[0].to_string()]),
        peer::spawn(&lab, &lab.srv2, "echo", &[&servers[1].to_string()]),
    ];
    let to = address(LB, 9000);
    let limits = format!("global\n    maxconn {}\n", crowd + 100);
    let mut balancer = Balancer::start(
        &lab,
        &(limits + &config(&[&format!("maxconn {}", crowd + 100)], &[to], &servers)),
    );

    let first = open(&lab, to, 16);
    use_all(&first, 1);
    drop(first);
    balancer.wait_until_idle();
    let before = balancer.dump();
    let memory_before = resident(&mut balancer);

    let streams = open(&lab, to, crowd);
    balancer.wait_for_dump("a stream for every client", SETTLE, |dump| {
        dump.sum("worker", "streams") == crowd as f64
    });
    use_all(&streams, 1);
    let memory = resident(&mut balancer);
    println!(
        "    {crowd} idle connections: {} bytes each",
        memory.saturating_sub(memory_before) / crowd as u64
    );
    balancer.wait_for_dump("no buffer held by idle connections", SETTLE, |dump| {
        dump.sum("pool buffers", "used") == 0.0
    });
    use_all(&streams, 2);
    drop(streams);
    balancer
        .wait_for_dump("all streams closed", SETTLE, |dump| dump.sum("worker", "streams") == 0.0);
    if let Some(before) = before {
        let used = |dump: &Dump, pool: &str| dump.sum(&format!("pool {pool}"), "used");
        balancer.wait_for_dump("pools as they were before", SETTLE, |dump| {
            ["buffers", "connections", "streams"]
                .iter()
                .all(|pool| used(dump, pool) <= used(&before, pool))
        });
    }
    // And it serves on.
    use_all(&open(&lab, to, 16), 3);
    balancer.stop();
}

pub fn open(lab: &Lab, to: SocketAddr, count: usize) -> Vec<TcpStream> {
    let share = |opener: usize| count * (opener + 1) / OPENERS - count * opener / OPENERS;
    lab.client.enter(|| {
        thread::scope(|scope| {
            let openers: Vec<_> = (0..OPENERS)
                .map(|opener| {
                    scope.spawn(move || -> Vec<TcpStream> {
                        (0..share(opener)).map(|_| connect(to)).collect()
                    })
                })
                .collect();
            openers.into_iter().flat_map(|opener| opener.join().expect("all connect")).collect()
        })
    })
}

/// A thread that a thread in the namespace starts is in it too.
fn connect(to: SocketAddr) -> TcpStream {
    let stream = TcpStream::connect_timeout(&to, SETTLE)
        .unwrap_or_else(|error| panic!("connecting to {to}: {error}"));
    stream.set_read_timeout(Some(SETTLE)).expect("a socket takes a time limit");
    stream
}

/// A message of its own on each connection, and the same back.
pub fn use_all(streams: &[TcpStream], round: u64) {
    let message = |number: usize| (number as u64 * 10 + round).to_be_bytes();
    for (number, mut stream) in streams.iter().enumerate() {
        stream.write_all(&message(number)).expect("sending on an idle connection");
    }
    for (number, mut stream) in streams.iter().enumerate() {
        let mut answer = [0; 8];
        stream.read_exact(&mut answer).expect("an answer on every connection");
        assert_eq!(answer, message(number), "connection {number} got what belongs to another");
    }
}

/// Bytes of memory that the balancer holds.
pub fn resident(balancer: &mut Balancer) -> u64 {
    let status = fs::read_to_string(format!("/proc/{}/status", balancer.process().pid()))
        .expect("the balancer runs");
    status
        .lines()
        .find_map(|line| {
            line.strip_prefix("VmRSS:")?.split_whitespace().next()?.parse::<u64>().ok()
        })
        .expect("a process has resident memory")
        * 1024
}
