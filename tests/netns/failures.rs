//! Peers that refuse, stay silent, die, vanish, close one half or reset: each side is told, nothing hangs.

use std::io::Read;
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use nix::libc;
use nix::sys::signal::Signal;
use nix::sys::socket::{setsockopt, sockopt};

use crate::balancer::{Balancer, config};
use crate::bytes::{MIB, Server, ends, expect_end, receive_bytes, receive_some, send_bytes};
use crate::lab::{LB, Lab, Netns, PATIENCE, SRV1, SRV2, address};
use crate::peer;

/// Of connections through a balancer with one bad and one good server, so that each worker meets the bad one.
const TRIES: usize = 8;
/// A second server is tried as soon as the first is known to be bad.
const NEXT_SERVER: &[&str] = &["retries 1", "option redispatch", "timeout connect 500ms"];
/// In the tests the connection that waits must end by its own timeout, long before any other.
const SHORT: &str = "1s";

pub fn a_server_that_refuses() {
    let lab = Lab::up();
    next_server_is_tried(&lab, address(SRV1, 9000));
}

pub fn a_server_that_drops_syns() {
    let lab = Lab::up();
    let rules = "add table inet lab
        add chain inet lab input { type filter hook input priority 0; }
        add rule inet lab input tcp dport 9000 drop";
    lab.srv1.run("nft", &["-f", &lab.file("drop.nft", rules)]);
    next_server_is_tried(&lab, address(SRV1, 9000));
}

pub fn a_server_that_is_not_there() {
    let lab = Lab::up();
    // On the segment, but nobody answers for it.
    next_server_is_tried(&lab, address("10.77.0.99", 9000));
}

fn next_server_is_tried(lab: &Lab, bad: SocketAddr) {
    let good = address(SRV2, 9000);
    let _server = Server::naming(&lab.srv2, good, "good");
    let to = address(LB, 9000);
    let balancer = Balancer::start(lab, &config(NEXT_SERVER, &[to], &[bad, good]));
    for _ in 0..TRIES {
        let start = Instant::now();
        let mut answer = String::new();
        lab.client.connect(to).read_to_string(&mut answer).expect("an answer");
        assert_eq!(answer, "good", "after {:?}", start.elapsed());
        assert!(start.elapsed() < Duration::from_secs(5), "it took {:?}", start.elapsed());
    }
    balancer.wait_until_idle();
    balancer.stop();
}

pub fn no_server_at_all() {
    let lab = Lab::up();
    let to = address(LB, 9000);
    let balancer = Balancer::start(&lab, &config(NEXT_SERVER, &[to], &[address(SRV1, 9000)]));
    assert!(ends(&lab.client.connect(to)), "the client waits, though no server takes it");
    balancer.wait_until_idle();
    balancer.stop();
}

pub fn a_server_killed_in_mid_transfer() {
    let lab = Lab::up();
    let (to, on) = (address(LB, 9000), address(SRV1, 9000));
    let mut server = peer::spawn(&lab, &lab.srv1, "pour", &[&on.to_string()]);
    let balancer = Balancer::serving(&lab, &[to], &[on]);
    let stream = lab.client.connect(to);
    receive_bytes(&stream, 8 * MIB).expect("the beginning arrives");
    server.stop(Signal::SIGKILL);
    assert!(ends(&stream), "the client waits for a server that is dead");
    // Its kernel closed for the dead server: the client may still send, until it closes too.
    drop(stream);
    balancer.wait_until_idle();
    balancer.stop();
}

pub fn a_server_that_resets() {
    let lab = Lab::up();
    let (to, on) = (address(LB, 9000), address(SRV1, 9000));
    let _server = Server::start(&lab.srv1, on, |stream| {
        send_bytes(&stream, 8 * MIB).expect("sending before the reset");
        reset(stream);
    });
    let balancer = Balancer::serving(&lab, &[to], &[on]);
    let stream = lab.client.connect(to);
    let (right, result) = receive_some(&stream, 8 * MIB + 1);
    println!("    {right} bytes right, then {result:?}");
    // A reset may overtake data, but must not put other bytes in its place, nor leave the client waiting.
    let stalled_or_wrong = result.is_err_and(|error| {
        crate::bytes::is_timeout(&error) || error.kind() == std::io::ErrorKind::InvalidData
    });
    assert!(!stalled_or_wrong && right > 0, "after {right} bytes");
    balancer.wait_until_idle();
    balancer.stop();
}

pub fn a_server_whose_link_goes_down() {
    let lab = Lab::up();
    let (to, on) = (address(LB, 9000), address(SRV1, 9000));
    let _server = peer::spawn(&lab, &lab.srv1, "pour", &[&on.to_string()]);
    let options = [format!("timeout server {SHORT}")];
    let balancer = Balancer::start(&lab, &config(&[&options[0]], &[to], &[on]));
    let stream = lab.client.connect(to);
    receive_bytes(&stream, MIB).expect("the beginning arrives");
    link_down(&lab.srv1);
    assert!(ends(&stream), "the client waits for a server that is gone");
    balancer.wait_until_idle();
    balancer.stop();
}

pub fn a_client_that_vanishes_idle() {
    client_vanishes(|_| {});
}

pub fn a_client_that_vanishes_busy() {
    client_vanishes(|server| {
        // More than all windows and buffers on the way hold.
        let error = send_bytes(server, 1024 * MIB).expect_err("nobody reads all this");
        assert!(!crate::bytes::is_timeout(&error), "the server is left waiting: {error}");
    });
}

fn client_vanishes(meanwhile: impl FnOnce(&TcpStream)) {
    let lab = Lab::up();
    let (to, on) = (address(LB, 9000), address(SRV1, 9000));
    let (_server, accepted) = Server::handing_over(&lab.srv1, on);
    let options = [format!("timeout client {SHORT}")];
    let balancer = Balancer::start(&lab, &config(&[&options[0]], &[to], &[on]));
    let client = lab.client.connect(to);
    let server = accepted.recv_timeout(PATIENCE).expect("the server is connected to");
    send_bytes(&server, MIB).expect("the server sends while the client is there");
    receive_bytes(&client, MIB).expect("and the client receives");
    let start = Instant::now();
    link_down(&lab.client);
    meanwhile(&server);
    assert!(ends(&server), "the server waits for a client that is gone");
    assert!(start.elapsed() < Duration::from_secs(10), "it took {:?}", start.elapsed());
    balancer.wait_until_idle();
    balancer.stop();
}

pub fn a_client_that_resets() {
    let lab = Lab::up();
    let (to, on) = (address(LB, 9000), address(SRV1, 9000));
    let (_server, accepted) = Server::handing_over(&lab.srv1, on);
    let balancer = Balancer::serving(&lab, &[to], &[on]);
    let client = lab.client.connect(to);
    send_bytes(&client, MIB).expect("the client sends");
    let server = accepted.recv_timeout(PATIENCE).expect("the server is connected to");
    receive_bytes(&server, MIB).expect("the server receives");
    reset(client);
    assert!(ends(&server), "the server waits for a client that has reset its connection");
    balancer.wait_until_idle();
    balancer.stop();
}

/// A half-closed connection carries data the other way for as long as it takes.
pub fn client_closes_first() {
    half_close(|client, server| {
        close_half(client, server);
        close_half(server, client);
    });
}

pub fn server_closes_first() {
    half_close(|client, server| {
        close_half(server, client);
        close_half(client, server);
    });
}

fn half_close(script: impl FnOnce(&TcpStream, &TcpStream)) {
    let lab = Lab::up();
    let (to, on) = (address(LB, 9000), address(SRV1, 9000));
    let (_server, accepted) = Server::handing_over(&lab.srv1, on);
    let balancer = Balancer::serving(&lab, &[to], &[on]);
    let client = lab.client.connect(to);
    let server = accepted.recv_timeout(PATIENCE).expect("the server is connected to");
    script(&client, &server);
    drop((client, server));
    balancer.wait_until_idle();
    balancer.stop();
}

/// Sends a MiB and the end of the stream; the other side gets exactly that.
fn close_half(from: &TcpStream, to: &TcpStream) {
    std::thread::scope(|scope| {
        scope.spawn(|| {
            send_bytes(from, MIB).expect("sending on the half that is open");
            from.shutdown(Shutdown::Write).expect("closing the half");
        });
        receive_bytes(to, MIB).expect("receiving on the half that is open");
        expect_end(to).expect("the end of the half");
    });
}

/// Closes by RST.
fn reset(stream: TcpStream) {
    let linger = libc::linger { l_onoff: 1, l_linger: 0 };
    setsockopt(&stream, sockopt::Linger, &linger).expect("a socket takes the option");
    drop(stream);
}

fn link_down(netns: &Netns) {
    netns.run("ip", &["link", "set", "eth0", "down"]);
}
