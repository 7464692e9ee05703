//! PROXY headers: what a server behind the balancer hears of the client.

use std::io::{Read, Write};

use crate::balancer::{Balancer, Kind, config, kind};
use crate::bytes::Server;
use crate::lab::{CLIENT, LB, Lab, Process, SRV1, SRV2, address};
use crate::traffic::wait_for_listener;

/// nginx that answers with the address and port of the client that a header told.
fn teller(lab: &Lab) -> Process {
    let dir = lab.dir.display();
    let config = lab.file(
        "teller.conf",
        &format!(
            "daemon off; master_process off; pid {dir}/teller.pid; error_log {dir}/teller.err;
             events {{ }}
             http {{ access_log off; server {{ listen 80 proxy_protocol;
                location / {{ return 200 \"$proxy_protocol_addr $proxy_protocol_port\"; }} }} }}"
        ),
    );
    let errors = format!("{dir}/teller.err");
    let process = lab.spawn(&lab.srv1, "nginx", &["-e", &errors, "-c", &config]);
    wait_for_listener(&lab.srv1, SRV1, 80);
    process
}

pub fn servers_hear_of_the_client() {
    let lab = Lab::up();
    let _server = teller(&lab);
    for (first_port, words) in [
        (40_000, "send-proxy"),
        (40_010, "send-proxy-v2"),
        (40_020, "send-proxy-v2 proxy-v2-options crc32c"),
    ] {
        let text = config(&[], &[address(LB, 80)], &[])
            + &format!("    server s1 {} {words}\n", address(SRV1, 80));
        let balancer = Balancer::start(&lab, &text);
        for port in [first_port, first_port + 1] {
            let (local, url) = (port.to_string(), format!("http://{LB}/"));
            let answer =
                lab.client.run("curl", &["-fsS", "-m", "10", "--local-port", &local, &url]);
            assert_eq!(answer, format!("{CLIENT} {port}"), "{words}");
        }
        balancer.wait_until_idle();
        balancer.stop();
    }
}

/// Who a client meant is whom he gets, by address or by port.
pub fn a_header_says_where_to() {
    let lab = Lab::up();
    let _servers = [
        Server::naming(&lab.srv1, address(SRV1, 9000), "one"),
        Server::naming(&lab.srv2, address(SRV2, 9001), "two"),
    ];
    let listen = |port: u16, server: &str| {
        format!("\nlisten l{port}\n    bind {LB}:{port} accept-proxy\n    server s1 {server}\n")
    };
    let by_port = format!("{SRV2}:+1000");
    let text = config(&[], &[address(LB, 79)], &[address(SRV1, 9000)])
        + &listen(80, "0.0.0.0:9000")
        + &listen(81, "*")
        + &listen(82, &by_port);
    let balancer = Balancer::start(&lab, &text);
    for (port, to, name) in [
        (80, format!("{SRV1} 5678 80"), "one"),
        (81, format!("{SRV1} 5678 9000"), "one"),
        (81, format!("{SRV2} 5678 9001"), "two"),
        (82, "198.51.100.1 5678 8001".to_string(), "two"),
    ] {
        let mut client = lab.client.connect(address(LB, port));
        let said = format!("PROXY TCP4 203.0.113.9 {to}\r\n");
        client.write_all(said.as_bytes()).expect("the balancer takes it");
        let mut answer = String::new();
        client.read_to_string(&mut answer).expect("an answer and an end");
        assert_eq!(answer, name, "{port} {to}");
    }
    balancer.wait_until_idle();
    balancer.stop();
}

pub fn a_header_is_passed_on() {
    let lab = Lab::up();
    let _server = teller(&lab);
    let text = config(&["timeout client 1s"], &[], &[])
        + &format!(
            "    bind {LB}:80 accept-proxy\n    server s1 {} send-proxy-v2\n",
            address(SRV1, 80)
        );
    let balancer = Balancer::start(&lab, &text);
    let request = "GET / HTTP/1.0\r\n\r\n";
    // In one piece, and byte by byte: HAProxy takes only what comes whole.
    let pieces: &[usize] = if kind() == Kind::HaProxy { &[1000] } else { &[1000, 1] };
    for &piece in pieces {
        let mut client = lab.client.connect(address(LB, 80));
        let said = format!("PROXY TCP4 203.0.113.9 198.51.100.1 5678 80\r\n{request}");
        for bytes in said.as_bytes().chunks(piece) {
            client.write_all(bytes).expect("the balancer takes it");
        }
        let mut answer = String::new();
        client.read_to_string(&mut answer).expect("an answer and an end");
        assert!(answer.ends_with("\r\n\r\n203.0.113.9 5678"), "{answer}");
    }
    // What does not begin with a header, or with none in time, gets nothing.
    for said in [request, "PROXY TCP4 203.0."] {
        let mut client = lab.client.connect(address(LB, 80));
        client.write_all(said.as_bytes()).expect("the balancer takes it");
        let mut answer = Vec::new();
        // The end may be a reset: bytes of ours were not read.
        _ = client.read_to_end(&mut answer);
        assert!(answer.is_empty(), "{said:?} got {:?}", String::from_utf8_lossy(&answer));
    }
    balancer.wait_until_idle();
    balancer.stop();
}
