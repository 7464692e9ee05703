//! Workers, queues, and the kernel that shares the interface with them.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::thread;

use crate::balancer::{Balancer, config, has_program};
use crate::bytes::{MIB, Server, exchange, exchange_half, verdict};
use crate::lab::{LB, LB6, Lab, PATIENCE, SRV1, SRV2, address, wait_until};

/// Enough connections that none of two queues stays without one: the chance is 2 in 2^64.
const CONNECTIONS: u32 = 64;

/// A reply to xlb may come in on any queue: the lab hashes like a NIC whose key nobody knows.
pub fn both_queues_carry_traffic() {
    let lab = Lab::up();
    let servers = [address(SRV1, 9000), address(SRV2, 9000)];
    let _one = Server::echoing(&lab.srv1, servers[0]);
    let _two = Server::echoing(&lab.srv2, servers[1]);
    let balancer = Balancer::serving(&lab, &[address(LB, 9000)], &servers);
    let mut streams: Vec<TcpStream> =
        (0..CONNECTIONS).map(|_| lab.client.connect(address(LB, 9000))).collect();
    for _ in 0..4 {
        for (number, stream) in (0..).zip(&mut streams) {
            ask(stream, number);
        }
    }
    let dump = balancer.dump().expect("xlb tells its state");
    for key in ["streams", "rx", "tx"] {
        let values = dump.all("worker", key);
        let idle = values.contains(&0.0);
        assert!(values.len() == 2 && !idle, "{key} of the workers: {values:?}\n{}", dump.text);
    }
    for key in ["rx_frames", "tx_frames"] {
        let values = dump.all("queue", key);
        let idle = values.contains(&0.0);
        assert!(values.len() == 2 && !idle, "{key} of the queues: {values:?}\n{}", dump.text);
    }
    let (out, taken) = (dump.sum("worker", "handed_out"), dump.sum("worker", "handed_in"));
    assert!(out > 0.0 && taken > 0.0, "no reply came in on the wrong queue:\n{}", dump.text);
    assert_eq!(dump.sum("worker", "streams"), f64::from(CONNECTIONS), "{}", dump.text);
    drop(streams);
    balancer.wait_until_idle();
    balancer.stop();
}

pub fn one_worker_on_one_queue() {
    let lab = Lab::shaped(crate::lab::Shape { queues: 1, ..Default::default() });
    let (to, on) = (address(LB, 9000), address(SRV1, 9000));
    let (_server, served) = Server::exchanging(&lab.srv1, on);
    let balancer = Balancer::start_on(&lab, "0", &config(&[], &[to], &[on]));
    exchange(&lab.client.connect(to), &served, 16 * MIB, 16 * MIB);
    balancer.wait_until_idle();
    balancer.stop();
}

/// Three limits, each reached on two workers at once: never one more, and nobody waits for ever.
pub fn maxconn_is_exact() {
    for (place, limited) in [
        ("global", config(&[], &[], &[]).replace("defaults", "global\n    maxconn 5\ndefaults")),
        ("proxy", config(&["maxconn 5"], &[], &[])),
        ("bind", config(&[], &[], &[])),
    ] {
        let lab = Lab::up();
        let on = address(SRV1, 9000);
        let (_server, accepted) = Server::handing_over(&lab.srv1, on);
        // Who waits must not be turned away: the backlog is the listener's maxconn otherwise.
        let maxconn = if place == "bind" { "maxconn 5" } else { "maxconn 100" };
        let bind = format!("bind :9000 {maxconn} backlog 100");
        let text = limited + &format!("    {bind}\n    server s1 {on}\n");
        let balancer = Balancer::start(&lab, &text);
        let mut clients: Vec<TcpStream> =
            (0..20).map(|_| lab.client.connect(address(LB, 9000))).collect();
        let mut servers: Vec<TcpStream> = (0..5)
            .map(|_| accepted.recv_timeout(PATIENCE).expect("as many as the limit come through"))
            .collect();
        // Each end lets one more through, and only one: the fifteen that wait come one by one.
        for _ in 0..15 {
            assert!(accepted.try_recv().is_err(), "{place}: one more than the limit");
            drop(servers.remove(0));
            let mut ended = None;
            wait_until("the client of the server that closed is told", PATIENCE, || {
                ended = clients.iter().position(is_closed);
                ended.is_some()
            });
            drop(ended.map(|at| clients.remove(at)));
            servers.push(accepted.recv_timeout(PATIENCE).expect("the next one comes through"));
        }
        drop((clients, servers));
        balancer.wait_until_idle();
        balancer.stop();
    }
}

fn is_closed(client: &TcpStream) -> bool {
    client.set_nonblocking(true).expect("a socket can be told not to block");
    let read = { client }.read(&mut [0]);
    client.set_nonblocking(false).expect("a socket can be told to block");
    matches!(read, Ok(0))
}

/// Ping, a TCP service on another port and connections from the balancer's host, all while xlb is at work.
pub fn the_kernel_keeps_the_rest() {
    let lab = Lab::up();
    let (to, on) = (address(LB, 9000), address(SRV1, 9000));
    let (_server, served) = Server::exchanging(&lab.srv1, on);
    let (_kernel, _kernel6) =
        (Server::echoing(&lab.lb, address(LB, 2222)), Server::echoing(&lab.lb, address(LB6, 2222)));
    let _elsewhere = Server::echoing(&lab.srv2, address(SRV2, 2222));
    let balancer = Balancer::serving(&lab, &[to], &[on]);
    thread::scope(|scope| {
        scope.spawn(|| exchange_half(&lab.client.connect(to), 256 * MIB, 256 * MIB));
        for host in [LB, LB6] {
            lab.client.run("ping", &["-c", "3", "-i", "0.2", "-W", "5", host]);
            ask(&mut lab.client.connect(address(host, 2222)), 7);
        }
        ask(&mut lab.lb.connect(address(SRV2, 2222)), 8);
    });
    verdict(&served);
    let refused = lab.client.try_connect(address(LB, 9999)).map_err(|error| error.kind());
    assert!(
        matches!(refused, Err(std::io::ErrorKind::ConnectionRefused)),
        "a port that nobody listens on: {refused:?}"
    );
    balancer.stop();
}

pub fn kill_9_leaves_no_program() {
    let lab = Lab::up();
    let (to, on) = (address(LB, 9000), address(SRV1, 9000));
    let _server = Server::echoing(&lab.srv1, on);
    for _ in 0..3 {
        let balancer = Balancer::serving(&lab, &[to], &[on]);
        assert!(has_program(&lab.lb), "xlb runs without an XDP program");
        ask(&mut lab.client.connect(to), 1);
        balancer.kill();
        wait_until("the interface without a program", PATIENCE, || !has_program(&lab.lb));
    }
    lab.client.run("ping", &["-c", "1", "-W", "5", LB]);
}

/// One round trip.
fn ask(stream: &mut TcpStream, number: u32) {
    let mut answer = [0; 4];
    stream.write_all(&number.to_be_bytes()).expect("sending a request");
    stream.read_exact(&mut answer).expect("an answer");
    assert_eq!(number, u32::from_be_bytes(answer));
}
