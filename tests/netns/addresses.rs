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

/// Clients on one interface, servers on another, both named in the configuration.
pub fn two_interfaces() {
    let lab = Lab::up();
    let lb = lab.lb.name();
    let peer = ["peer", "name", "eth1", "numrxqueues", "2", "numtxqueues", "2", "netns", lb];
    lab.srv1.run(
        "ip",
        &[
            &["link", "add", "eth1", "numrxqueues", "2", "numtxqueues", "2", "type", "veth"],
            &peer[..],
        ]
        .concat(),
    );
    for (side, host) in [(&lab.lb, "10.80.0.1/24"), (&lab.srv1, "10.80.0.11/24")] {
        side.run("ethtool", &["-K", "eth1", "tx", "off", "gso", "off", "tso", "off", "gro", "off"]);
        side.run("ip", &["addr", "add", host, "dev", "eth1"]);
        side.run("ip", &["link", "set", "eth1", "up"]);
    }
    let (to, on) = (address(LB, 9000), address("10.80.0.11", 9000));
    let (_server, served) = Server::exchanging(&lab.srv1, on);
    let global = "global\n    interface eth0\n    interface eth1\n".to_owned();
    let balancer = Balancer::start(&lab, &(global + &config(&[], &[to], &[on])));
    for _ in 0..8 {
        exchange(&lab.client.connect(to), &served, 4 * MIB, 4 * MIB);
    }
    balancer.wait_until_idle();
    let dump = balancer.dump().expect("xlb tells its state");
    assert_eq!(dump.all("queue", "rx_frames").len(), 4, "two queues each:\n{}", dump.text);
    balancer.stop();
    for interface in ["eth0", "eth1"] {
        let link = lab.lb.run("ip", &["link", "show", interface]);
        assert!(!link.contains("xdp"), "a program is left: {link}");
    }
}

/// The kernel has neither address nor route: everything is stated, and ARP and neighbour discovery are ours.
pub fn an_interface_of_its_own() {
    let lab = Lab::up();
    lab.lb.run("ip", &["addr", "flush", "dev", "eth0"]);
    let global = format!(
        "global\n    address {OWN}/24\n    address {OWN6}/64\n    route 10.78.0.0/24 via 10.77.0.254\n    \
         route default via fd77::254\n"
    );
    let (to, to6) = (address(OWN, 9000), address(OWN6, 9000));
    for on in [address(SRV1, 9000), address(SRV1_6, 9000)] {
        let (_server, served) = Server::exchanging(&lab.srv1, on);
        let balancer = Balancer::start(&lab, &(global.clone() + &config(&[], &[to, to6], &[on])));
        for client in [&lab.client, &lab.far] {
            for to in [to, to6] {
                exchange(&client.connect(to), &served, MIB, MIB);
            }
        }
        balancer.wait_until_idle();
        balancer.stop();
    }
}

/// `bind` to an address that no interface has: xlb owns it, without being told so elsewhere.
pub fn a_bound_address_that_nobody_has() {
    let lab = Lab::up();
    let (to, on) = (address(OWN, 9000), address(SRV1, 9000));
    let (_server, served) = Server::exchanging(&lab.srv1, on);
    let mut balancer = Balancer::serving(&lab, &[to], &[on]);
    assert!(balancer.process().log().contains("10.77.0.100/32 owned by xlb alone"));
    lab.client.run("ping", &["-c", "2", "-i", "0.2", "-W", "5", OWN]);
    exchange(&lab.client.connect(to), &served, 4 * MIB, 4 * MIB);
    exchange(&lab.far.connect(to), &served, MIB, MIB);
    balancer.wait_until_idle();
    balancer.stop();
}

/// An address on `lo` that routers send here, as with anycast; and every address at once.
pub fn an_address_on_lo_and_wildcards() {
    const VIP: &str = "10.99.0.1";
    let lab = Lab::up();
    lab.lb.run("ip", &["addr", "add", "10.99.0.1/32", "dev", "lo"]);
    lab.client.run("ip", &["route", "add", "10.99.0.1/32", "via", LB]);
    let on = address(SRV1, 9000);
    let (_server, served) = Server::exchanging(&lab.srv1, on);
    let text = config(&[], &[], &[on])
        .replace("    balance", "    bind :9000\n    bind [::]:9000\n    bind *:9001\n    balance");
    let balancer = Balancer::start(&lab, &text);
    for to in [(VIP, 9000), (LB, 9000), (LB6, 9000), (LB, 9001), (VIP, 9001)] {
        exchange(&lab.client.connect(address(to.0, to.1)), &served, MIB, MIB);
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
