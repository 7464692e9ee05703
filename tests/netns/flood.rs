//! A flood of SYNs from addresses that nobody has: clients get through, and nothing is left of it.

use std::io::Read;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use crate::balancer::{Balancer, DEFAULTS};
use crate::bytes::Server;
use crate::crowd::resident;
use crate::lab::{LB, Lab, Netns, PATIENCE, SRV1, address};
use crate::peer;

const SYNS: &str = "200000";
/// Spread over some seconds, so that many connections begin in the middle of it.
const RATE: &str = "50000";
/// A router that does not exist: the bridge knows it at the balancer's port, and drops what comes from there.
const NOWHERE: [&str; 2] = ["10.77.0.253", "02:00:00:00:00:fd"];
/// Records of a flood are given up after three seconds, and others after 63.
const FORGOTTEN: Duration = Duration::from_secs(30);

pub fn clients_get_through_and_nothing_is_left() {
    let lab = Lab::up();
    sources_lead_nowhere(&lab);
    let (to, on) = (address(LB, 9000), address(SRV1, 9000));
    let _server = Server::naming(&lab.srv1, on, "here");
    // Few records: the flood fills them with its first milliseconds.
    let proxy = format!("listen test\n    bind {to} backlog 64\n    server s1 {on}\n");
    let mut balancer = Balancer::start(&lab, &format!("{DEFAULTS}\n{proxy}"));
    serve(&lab);
    let memory_before = resident(&mut balancer);

    let target = to.to_string();
    let mac = mac_of(&lab.lb);
    let arguments =
        ["--interface=eth0", "--target", &target, "--mac", &mac, "--count", SYNS, "--rate", RATE];
    let over = AtomicBool::new(false);
    let served = std::thread::scope(|scope| {
        let clients = scope.spawn(|| {
            let mut served = 0;
            while !over.load(Ordering::Relaxed) {
                serve(&lab);
                served += 1;
            }
            served
        });
        let mut flood = peer::start(&lab, &lab.srv2, "syn-flood", &arguments);
        let status = flood.wait(2 * PATIENCE);
        over.store(true, Ordering::Relaxed);
        assert!(status.success(), "the generator ended with {status}: {}", flood.log());
        assert!(flood.log().contains(&format!("sent={SYNS}")), "{}", flood.log());
        clients.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    });

    let dump = balancer.dump().expect("xlb tells its state");
    let sent = dump.sum("counters", "cookies_sent");
    println!("    {served} served meanwhile, {sent} cookies");
    assert!(sent > 10_000.0, "the flood was not answered by cookies:\n{}", dump.text);
    assert!(served > 0 && dump.sum("counters", "cookies_accepted") > 0.0, "{}", dump.text);
    assert!(dump.sum("worker", "half_open") <= 128.0, "more records than places:\n{}", dump.text);
    balancer.wait_for_dump("no record of the flood", FORGOTTEN, |dump| {
        dump.sum("worker", "half_open") == 0.0
    });
    balancer.wait_until_idle();
    let memory = resident(&mut balancer);
    assert!(
        memory < memory_before + (4 << 20),
        "{} kB more than before the flood",
        memory.saturating_sub(memory_before) / 1024
    );
    serve(&lab);
    balancer.stop();
}

/// One connection, from its SYN to its end. A kernel repeats a SYN that was lost after a second.
fn serve(lab: &Lab) {
    let mut answer = String::new();
    let mut stream = lab.client.connect(address(LB, 9000));
    stream.read_to_string(&mut answer).expect("an answer during the flood");
    assert_eq!(answer, "here");
}

fn sources_lead_nowhere(lab: &Lab) {
    let [router, mac] = NOWHERE;
    lab.net.run("bridge", &["fdb", "add", mac, "dev", "lb", "master", "static"]);
    let neighbour = ["neigh", "add", router, "lladdr", mac, "nud", "permanent", "dev", "eth0"];
    lab.lb.run("ip", &neighbour);
    lab.lb.run("ip", &["route", "add", "198.18.0.0/15", "via", router]);
}

fn mac_of(netns: &Netns) -> String {
    let links = netns.run("ip", &["-j", "link", "show", "eth0"]);
    let mac = links.split("\"address\":\"").nth(1).and_then(|rest| rest.split('"').next());
    mac.unwrap_or_else(|| panic!("no link-layer address in {links}")).to_owned()
}
