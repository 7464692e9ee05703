//! Where connections to servers come from, and how large their segments are.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr};

use nix::sys::socket::{getsockopt, sockopt};

use crate::balancer::{Balancer, DEFAULTS, is_on_kernel, kind};
use crate::bytes::{MIB, Server, exchange, is_timeout};
use crate::lab::{CLIENT, LB, Lab, SRV1, address};

/// A server that says whom it sees.
fn mirror(lab: &Lab, port: u16) -> Server {
    Server::start(&lab.srv1, address(SRV1, port), |mut stream| {
        let peer = stream.peer_addr().expect("a connection has a peer");
        let _ = stream.write_all(peer.to_string().as_bytes());
    })
}

/// What the server behind a port sees of a client, and where that client is.
fn seen(lab: &Lab, port: u16) -> (SocketAddr, SocketAddr) {
    let mut stream = lab.client.connect(address(LB, port));
    let own = stream.local_addr().expect("a connection has an address");
    let mut text = String::new();
    stream.read_to_string(&mut text).expect("the server's word");
    (text.parse().unwrap_or_else(|_| panic!("no address: {text:?}")), own)
}

/// Servers that see the client's address, his port too, or somebody else's; what they say comes home by routing.
pub fn addresses_of_others() {
    let lab = Lab::up();
    let _mirror = mirror(&lab, 9000);
    let (_server, served) = Server::exchanging(&lab.srv1, address(SRV1, 9001));
    // What is not said to the balancer itself is to go by it.
    lab.srv1.run("ip", &["route", "add", &format!("{CLIENT}/32"), "via", LB]);
    lab.srv1.run("ip", &["route", "add", "203.0.113.0/24", "via", LB]);
    let listen = |port: u16, source: &str, to: u16| {
        format!(
            "\nlisten l{port}\n    bind {LB}:{port}\n    source {source}\n    server s1 {SRV1}:{to}\n"
        )
    };
    let config = [
        DEFAULTS.into(),
        listen(80, "0.0.0.0 usesrc clientip", 9000),
        listen(81, "0.0.0.0 usesrc client", 9000),
        listen(82, "0.0.0.0 usesrc 203.0.113.5", 9000),
        listen(83, "0.0.0.0 usesrc clientip", 9001),
    ]
    .concat();
    let balancer = Balancer::start(&lab, &config);
    let client: Ipv4Addr = CLIENT.parse().expect("an address");
    for _ in 0..16 {
        let (peer, own) = seen(&lab, 80);
        assert_eq!(peer.ip(), client);
        assert!((16_384..=32_767).contains(&peer.port()), "{peer}");
        assert_ne!(peer, own);
        let (peer, own) = seen(&lab, 81);
        assert_eq!(peer, own);
        let (peer, _) = seen(&lab, 82);
        assert_eq!(peer.ip().to_string(), "203.0.113.5");
    }
    exchange(&lab.client.connect(address(LB, 83)), &served, 16 * MIB, 16 * MIB);
    // Client and server still reach each other: the balancer's host, a router here, passes on what is not xlb's.
    lab.lb.run("sysctl", &["-w", "net.ipv4.ip_forward=1"]);
    exchange(&lab.client.connect(address(SRV1, 9001)), &served, MIB, MIB);
    balancer.wait_until_idle();
    balancer.stop();
}

/// A few ports for two workers: each connection has one of them.
pub fn ports_of_a_range() {
    let lab = Lab::up();
    let _mirror = mirror(&lab, 9000);
    let config = format!(
        "{DEFAULTS}\nlisten l\n    bind {LB}:80\n    server s1 {SRV1}:9000 source {LB}:20000-20039\n
listen other\n    bind {LB}:81\n    server s1 {SRV1}:9000\n"
    );
    let balancer = Balancer::start(&lab, &config);
    for _ in 0..20 {
        let (peer, _) = seen(&lab, 80);
        assert!((20_000..=20_039).contains(&peer.port()), "{peer}");
        let (peer, _) = seen(&lab, 81);
        assert!(!(20_000..=20_039).contains(&peer.port()), "{peer} is of the range");
    }
    balancer.wait_until_idle();
    balancer.stop();
}

/// Clients of a listener send no larger segments than it announces.
pub fn a_stated_mss() {
    let lab = Lab::up();
    let _mirror = mirror(&lab, 9000);
    let config =
        format!("{DEFAULTS}\nlisten l\n    bind {LB}:80 mss 1000\n    server s1 {SRV1}:9000\n");
    let balancer = Balancer::start(&lab, &config);
    let stream = lab.client.connect(address(LB, 80));
    let mss = getsockopt(&stream, sockopt::TcpMaxSeg).expect("an option of TCP");
    assert!((900..=1000).contains(&mss), "{mss}");
    balancer.stop();
}

/// Who was dropped without a word hears nothing, whatever he sends.
pub fn silence_lasts() {
    assert!(!is_on_kernel() && kind() == crate::balancer::Kind::Xlb);
    let lab = Lab::up();
    let config = format!(
        "{DEFAULTS}\nfrontend f\n    bind {LB}:80\n    tcp-request connection silent-drop\n"
    );
    let balancer = Balancer::start(&lab, &config);
    for _ in 0..4 {
        let mut stream = lab.client.connect(address(LB, 80));
        stream
            .set_read_timeout(Some(std::time::Duration::from_millis(300)))
            .expect("an option of the socket");
        stream.write_all(b"hello").expect("nobody has said no");
        let heard = stream.read(&mut [0; 1]);
        assert!(heard.as_ref().is_err_and(is_timeout), "{heard:?}");
    }
    balancer.wait_for_dump("segments that nobody answered", crate::lab::PATIENCE, |dump| {
        dump.sum("counters", "silenced") >= 4.0
    });
    balancer.stop();
}
