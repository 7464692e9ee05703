//! Our stack and Linux over a bad wire, both ways, byte by byte.
//!
//! In:    the programs of this package, namespaces of its own
//! Out:   whether all bytes arrived that were sent, and in their order
//! Owns:  one lab, named after the process
//! Never: looks at how fast it was
//!
//! Needs root, ip, ethtool, sysctl and setpriv; fails without.

use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use xlb_bench::wire_lab::{FAR, FAR_MAC, OWN, Room, Running, WireLab, figures_of};

const PEER: &str = env!("CARGO_BIN_EXE_tcp-peer");
const WIRE: &str = env!("CARGO_BIN_EXE_faulty-wire");

/// Bytes of each flow.
const BYTES: u64 = 3 << 20;
const FLOWS: u64 = 2;
/// Far more than a good run takes (some seconds): a lost SYN of a lost SYN is 3 s.
const PATIENCE: Duration = Duration::from_secs(60);

const OURS: [&str; 1] = ["--interface=eth0"];
const LINUX: [&str; 1] = ["--kernel"];

#[test]
fn every_byte_arrives_over_a_bad_wire_both_ways() {
    // One after the other: two cores carry one lab at a time.
    let lab = WireLab::up(&format!("t{}", std::process::id())).expect("a lab can be built");
    transfer(&lab, (Room::Near, &OURS), (Room::Far, &LINUX), FAR);
    transfer(&lab, (Room::Far, &LINUX), (Room::Near, &OURS), OWN);
}

fn transfer(lab: &WireLab, from: (Room, &[&str]), to: (Room, &[&str]), address: Ipv4Addr) {
    let mut wire = lab.command(Room::Wire, WIRE);
    wire.args(["--a=near", "--b=far", "--loss=1%", "--delay-us=5000", "--duplicate=1%"]);
    wire.args(["--reorder=2%", "--reorder-us=2000", "--corrupt=1%"]);
    let mut wire = start("faulty-wire", &mut wire);
    line(&mut wire);

    let at = SocketAddr::new(address.into(), 5001).to_string();
    let flows = FLOWS.to_string();
    let mut sink = lab.command(to.0, PEER);
    let mut sink =
        start("the sink", sink.args(["sink", "--on", &at, "--flows", &flows]).args(own(to.1)));
    assert_eq!(line(&mut sink), "ready");
    let mut source = lab.command(from.0, PEER);
    source.args(["source", "--to", &at, "--flows", &flows, "--bytes", &BYTES.to_string()]);
    let mut source = start("the source", source.args(own(from.1)));

    let [sent, received] =
        figures_of([&mut source, &mut sink], PATIENCE).unwrap_or_else(|error| panic!("{error}"));
    let bytes = (FLOWS * BYTES) as f64;
    assert_eq!((sent.figure("bytes"), received.figure("bytes")), (bytes, bytes));
    assert!(sent.figure("retransmits") > 0.0, "the wire was to lose something: {sent}");
    let counters = wire.stop(PATIENCE).expect("the wire ends in good order");
    for fault in ["lost", "reordered", "duplicated", "corrupted"] {
        let none = format!("{fault}=0");
        let happened = counters.iter().all(|line| !line.split(' ').any(|word| word == none));
        assert!(happened && !counters.is_empty(), "nothing was {fault}: {counters:?}");
    }
}

/// What an end of ours has to know beside its interface.
fn own(seat: &[&str]) -> Vec<String> {
    let mut arguments: Vec<String> = seat.iter().map(|&word| word.to_owned()).collect();
    if seat == OURS {
        arguments.push(format!("--address={OWN}/24"));
        arguments.push(format!("--neighbor={FAR}={FAR_MAC}"));
    }
    arguments
}

fn start(name: &str, command: &mut std::process::Command) -> Running {
    Running::start(name, command).unwrap_or_else(|error| panic!("{error}"))
}

fn line(program: &mut Running) -> String {
    program.line(PATIENCE).unwrap_or_else(|error| panic!("{error}"))
}
