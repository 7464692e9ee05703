//! Addresses that only the balancer has, with and without a VLAN, and peers behind a router.

use std::io::{ErrorKind, Read};

use crate::balancer::{Balancer, config};
use crate::bytes::{MIB, Server, exchange};
use crate::lab::{FAR, FAR6, LB, LB6, Lab, SRV1, SRV1_6, address};
use crate::tagged;

const OWN: &str = "10.77.0.100";
const OWN6: &str = "fd77::100";
const OWN_TAGGED: &str = "10.79.0.1";
const PEER_TAGGED: &str = "10.79.0.2";
const VLAN: u16 = 100;

pub fn an_address_of_its_own() {
    let lab = Lab::up();
    let global = format!(
        "global\n    address {OWN}/24 interface eth0\n    address {OWN6}/64 interface eth0\n"
    );
    let (to, to6) = (address(OWN, 9000), address(OWN6, 9000));
    let on = address(SRV1, 9000);
    let (_server, served) = Server::exchanging(&lab.srv1, on);
    let balancer = Balancer::start(&lab, &(global + &config(&[], &[to, to6], &[on])));

    let kernel = lab.lb.run("ip", &["addr", "show"]);
    assert!(
        !kernel.contains(OWN) && !kernel.contains(OWN6),
        "the kernel has the address: {kernel}"
    );
    for host in [OWN, OWN6] {
        lab.client.run("ping", &["-c", "2", "-i", "0.2", "-W", "5", host]);
        lab.client.run("ping", &["-c", "1", "-s", "1400", "-W", "5", host]);
        lab.far.run("ping", &["-c", "2", "-i", "0.2", "-W", "5", host]);
        let neighbour = lab.client.run("ip", &["neigh", "show", host]);
        let hardware = lab.lb.run("cat", &["/sys/class/net/eth0/address"]);
        assert!(neighbour.contains(hardware.trim()), "'{neighbour}' is not {hardware}");
        let refused = lab.client.try_connect(address(host, 9999)).map_err(|error| error.kind());
        assert!(
            matches!(refused, Err(ErrorKind::ConnectionRefused)),
            "a port of {host} that is not bound: {refused:?}"
        );
    }
    for to in [to, to6] {
        exchange(&lab.client.connect(to), &served, 16 * MIB, 16 * MIB);
        exchange(&lab.far.connect(to), &served, 4 * MIB, 4 * MIB);
    }
    balancer.wait_until_idle();
    balancer.stop();
}

/// This needs no VLAN support of the kernel: the peer makes its tags itself.
pub fn an_address_in_a_vlan() {
    let lab = Lab::up();
    let global = format!("global\n    address {OWN_TAGGED}/24 interface eth0 vlan {VLAN}\n");
    let to = address(OWN_TAGGED, 9000);
    let on = address(SRV1, 9000);
    let _server = Server::start(&lab.srv1, on, |mut stream| {
        let mut request = [0; 5];
        stream.read_exact(&mut request).expect("a request");
        assert_eq!(&request, b"hello");
        std::io::Write::write_all(&mut stream, &[b'x'; 100_000]).expect("an answer");
    });
    let balancer = Balancer::start(&lab, &(global + &config(&[], &[to], &[on])));
    let answer = lab.client.enter(|| tagged::ask(VLAN, PEER_TAGGED, to, b"hello"));
    assert!(
        answer.len() == 100_000 && answer.iter().all(|&byte| byte == b'x'),
        "{} bytes",
        answer.len()
    );
    // The same address does not answer outside of its VLAN.
    let untagged = lab.client.output("ping", &["-c", "1", "-W", "1", OWN_TAGGED]);
    assert!(!untagged.success, "{}", untagged.text);
    balancer.wait_until_idle();
    balancer.stop();
}

pub fn clients_behind_a_router() {
    let lab = Lab::up();
    let (to, to6) = (address(LB, 9000), address(LB6, 9000));
    let on = address(SRV1, 9000);
    let (_server, served) = Server::exchanging(&lab.srv1, on);
    let balancer = Balancer::serving(&lab, &[to, to6], &[on]);
    for to in [to, to6] {
        exchange(&lab.far.connect(to), &served, 16 * MIB, 16 * MIB);
    }
    balancer.wait_until_idle();
    balancer.stop();
}

pub fn servers_behind_a_router() {
    let lab = Lab::up();
    for (to, far, near) in [(LB, FAR, SRV1), (LB6, FAR6, SRV1_6)] {
        let to = address(to, 9000);
        let (_far, served_far) = Server::exchanging(&lab.far, address(far, 9000));
        let (_near, served_near) = Server::exchanging(&lab.srv1, address(near, 9000));
        for (server, served) in [(far, &served_far), (near, &served_near)] {
            let balancer = Balancer::serving(&lab, &[to], &[address(server, 9000)]);
            exchange(&lab.client.connect(to), served, 16 * MIB, 16 * MIB);
            balancer.wait_until_idle();
            balancer.stop();
        }
    }
}
