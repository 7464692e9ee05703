//! The kernel's tables as xlb sees them change, on a veth pair between two namespaces.
//!
//! Needs root and iproute2. Without root each test says on the terminal that it was skipped.

use std::fs::{self, File};
use std::io::Write;
use std::net::IpAddr;
use std::os::fd::AsFd;
use std::panic;
use std::process::{self, Command};
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use netstack::fib::{LinkId, Ownership, WireId};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};
use xlb::netlink::{Changes, KernelTables, NeighborState, NeighborUpdate, Snapshot, Wire};

/// Two namespaces, `eth0` in each: 10.77.0.1/24 and 2001:db8:77::1/64 near, .2 and ::2 far.
struct Lab {
    near: String,
    far: String,
}

impl Lab {
    fn new() -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let name = format!("nlk-{}-{}", process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
        let lab = Lab { near: format!("{name}n"), far: format!("{name}f") };
        ip(&format!("netns add {}", lab.near));
        ip(&format!("netns add {}", lab.far));
        let Lab { near, far } = &lab;
        ip(&format!("link add eth0 netns {near} type veth peer name eth0 netns {far}"));
        for (namespace, host) in [(near, 1), (far, 2)] {
            ip(&format!("-n {namespace} link set eth0 addrgenmode none"));
            ip(&format!("-n {namespace} address add 10.77.0.{host}/24 dev eth0"));
            ip(&format!("-n {namespace} address add 2001:db8:77::{host}/64 dev eth0 nodad"));
            // The kernel solicits IPv6 neighbours from its link-local address, or not at all.
            ip(&format!("-n {namespace} address add fe80::{host}/64 dev eth0 nodad"));
            // Gives up after three times 200 ms: soon, and not before a busy machine can answer.
            for table in ["arp_cache", "ndisc_cache"] {
                let times = "retrans 200 delay_probe 50";
                ip(&format!("-n {namespace} ntable change name {table} dev eth0 {times}"));
            }
            ip(&format!("-n {namespace} link set eth0 up"));
        }
        lab
    }

    /// Moves the calling thread, and the processes it starts, into the near namespace.
    fn enter(&self) {
        let namespace = File::open(format!("/run/netns/{}", self.near)).unwrap();
        let network = Some(LinkNameSpaceType::Network);
        move_into_link_name_space(namespace.as_fd(), network).unwrap();
    }

    fn far(&self, command: &str) {
        ip(&format!("-n {} {command}", self.far));
    }

    fn far_mac(&self) -> [u8; 6] {
        let link = ip(&format!("-n {} -o link show eth0", self.far));
        let mac = link.split_whitespace().skip_while(|word| *word != "link/ether").nth(1).unwrap();
        parse_mac(mac)
    }
}

impl Drop for Lab {
    fn drop(&mut self) {
        for namespace in [&self.near, &self.far] {
            // A panic here would hide the one that brought us here.
            let _ = Command::new("ip").args(["netns", "delete", namespace]).status();
        }
    }
}

/// Runs a test on a thread of its own, inside the near namespace.
fn in_lab(test: fn(&Lab, &mut KernelTables)) {
    if !rustix::process::geteuid().is_root() {
        let mut terminal = std::io::stderr();
        writeln!(terminal, "SKIPPED: network namespaces need root").unwrap();
        return;
    }
    let outcome = thread::spawn(move || {
        let lab = Lab::new();
        lab.enter();
        let mut kernel = KernelTables::open().unwrap();
        test(&lab, &mut kernel);
    })
    .join();
    if let Err(panic) = outcome {
        panic::resume_unwind(panic);
    }
}

fn ip(arguments: &str) -> String {
    let output = Command::new("ip").args(arguments.split_whitespace()).output().unwrap();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "ip {arguments}: {errors}");
    String::from_utf8(output.stdout).unwrap()
}

fn ip_of(text: &str) -> IpAddr {
    text.parse().unwrap()
}

fn parse_mac(text: &str) -> [u8; 6] {
    let bytes: Vec<_> = text.split(':').map(|byte| u8::from_str_radix(byte, 16).unwrap()).collect();
    bytes.try_into().unwrap()
}

fn eth0(kernel: &KernelTables) -> u32 {
    kernel.interface_named("eth0").unwrap().index
}

fn snapshot(kernel: &KernelTables) -> Snapshot {
    let wire = Wire {
        index: eth0(kernel),
        id: WireId(0),
        mac: [0; 6],
        mtu: 3498,
        partial_checksums: true,
    };
    kernel.snapshot(&[wire], &[], &[]).unwrap()
}

/// Takes in announcements until `done`; fails when the kernel falls silent before that.
fn wait_until(
    kernel: &mut KernelTables,
    what: &str,
    mut done: impl FnMut(&KernelTables, &Changes) -> bool,
) {
    let deadline = Instant::now() + Duration::from_secs(20);
    loop {
        let left = deadline.saturating_duration_since(Instant::now());
        let timeout = Timespec::try_from(left).unwrap();
        let readable =
            poll(&mut [PollFd::new(&kernel.fd(), PollFlags::IN)], Some(&timeout)).unwrap();
        assert!(readable > 0, "no announcement: {what}");
        let changes = kernel.handle_readable().unwrap();
        if done(kernel, &changes) {
            return;
        }
    }
}

fn wait_for_update(kernel: &mut KernelTables, ip: IpAddr, state: NeighborState) {
    let update = NeighborUpdate { interface: eth0(kernel), ip, state };
    let what = format!("{update:?}");
    wait_until(kernel, &what, |_, changes| changes.neighbors.contains(&update));
}

fn known(kernel: &KernelTables, ip: IpAddr) -> Option<NeighborState> {
    kernel.neighbors().find(|neighbor| neighbor.ip == ip).map(|neighbor| neighbor.state)
}

/// The kernel's own word for the state of a neighbour.
fn nud(ip_text: &str) -> String {
    let line = ip(&format!("neighbour show to {ip_text} dev eth0"));
    line.split_whitespace().last().unwrap_or_default().to_owned()
}

#[test]
fn first_reading() {
    in_lab(|_, kernel| {
        let snapshot = snapshot(kernel);
        assert_eq!(snapshot.interface_of(LinkId(0)), Some(eth0(kernel)));
        let address = snapshot.fib.address(ip_of("10.77.0.1")).unwrap();
        assert_eq!(address.ownership, Ownership::Shared);
        assert!(snapshot.fib.address(ip_of("2001:db8:77::1")).is_some());
        for near in ["10.77.0.9", "2001:db8:77::9"] {
            let hop = snapshot.fib.lookup(ip_of(near)).unwrap();
            assert_eq!((hop.link, hop.address), (LinkId(0), ip_of(near)));
        }
        assert_eq!(snapshot.fib.lookup(ip_of("192.0.2.1")), None);
    });
}

#[test]
fn addresses_and_routes_come_and_go() {
    in_lab(|_, kernel| {
        ip("address add 10.78.0.1/24 dev eth0");
        wait_until(kernel, "address", |kernel, changes| {
            changes.tables && snapshot(kernel).fib.address(ip_of("10.78.0.1")).is_some()
        });
        for (route, far) in [
            ("default via 10.77.0.254 dev eth0", "192.0.2.1"),
            ("2001:db8:99::/48 via 2001:db8:77::254 dev eth0", "2001:db8:99::1"),
        ] {
            ip(&format!("route add {route}"));
            wait_until(kernel, "route", |kernel, _| {
                snapshot(kernel).fib.lookup(ip_of(far)).is_some()
            });
            ip(&format!("route delete {route}"));
            wait_until(kernel, "no route", |kernel, _| {
                snapshot(kernel).fib.lookup(ip_of(far)).is_none()
            });
        }
        ip("address delete 10.78.0.1/24 dev eth0");
        wait_until(kernel, "no address", |kernel, changes| {
            changes.tables && snapshot(kernel).fib.address(ip_of("10.78.0.1")).is_none()
        });
    });
}

#[test]
fn a_replaced_route_is_replaced() {
    in_lab(|_, kernel| {
        let router = |kernel: &KernelTables| {
            snapshot(kernel).fib.lookup(ip_of("192.0.2.1")).map(|hop| hop.address)
        };
        ip("route add default via 10.77.0.254 dev eth0");
        wait_until(kernel, "route", |kernel, _| router(kernel) == Some(ip_of("10.77.0.254")));
        ip("route replace default via 10.77.0.253 dev eth0");
        wait_until(kernel, "other", |kernel, _| router(kernel) == Some(ip_of("10.77.0.253")));
        ip(
            "route replace default nexthop via 10.77.0.252 dev eth0 nexthop via 10.77.0.251 dev eth0",
        );
        wait_until(kernel, "several", |kernel, _| router(kernel) == Some(ip_of("10.77.0.252")));
        ip("route replace blackhole default");
        wait_until(kernel, "blackhole", |kernel, _| router(kernel).is_none());
    });
}

#[test]
fn routes_change_with_their_next_hop_object() {
    in_lab(|_, kernel| {
        let router = |kernel: &KernelTables| {
            snapshot(kernel).fib.lookup(ip_of("192.0.2.1")).map(|hop| hop.address)
        };
        ip("nexthop add id 77 via 10.77.0.254 dev eth0");
        ip("route add default nhid 77");
        wait_until(kernel, "route", |kernel, _| router(kernel) == Some(ip_of("10.77.0.254")));
        ip("nexthop replace id 77 via 10.77.0.253 dev eth0");
        wait_until(kernel, "other", |kernel, _| router(kernel) == Some(ip_of("10.77.0.253")));
        ip("nexthop delete id 77");
        wait_until(kernel, "no route", |kernel, _| router(kernel).is_none());
    });
}

/// The kernel takes IPv4 routes away with their interface and announces only the interface.
#[test]
fn routes_go_with_their_interface() {
    in_lab(|_, kernel| {
        ip("route add 10.99.0.0/16 via 10.77.0.254 dev eth0");
        wait_until(kernel, "route", |kernel, _| {
            snapshot(kernel).fib.lookup(ip_of("10.99.0.1")).is_some()
        });
        ip("link set eth0 down");
        wait_until(kernel, "no route", |kernel, _| {
            let fib = snapshot(kernel).fib;
            fib.lookup(ip_of("10.99.0.1")).is_none() && fib.lookup(ip_of("10.77.0.9")).is_none()
        });
        assert!(!kernel.interface_named("eth0").unwrap().up);
    });
}

#[test]
fn mac_and_mtu_follow_the_interface() {
    in_lab(|_, kernel| {
        ip("link set eth0 mtu 1400");
        wait_until(kernel, "mtu", |kernel, _| snapshot(kernel).fib.link(LinkId(0)).mtu == 1400);
        ip("link set eth0 address 02:00:00:00:00:77");
        let mac = parse_mac("02:00:00:00:00:77");
        wait_until(kernel, "mac", |kernel, _| snapshot(kernel).fib.link(LinkId(0)).mac == mac);
    });
}

#[test]
fn neighbors_come_change_and_go() {
    in_lab(|_, kernel| {
        for address in ["10.77.0.7", "2001:db8:77::7"] {
            let at = format!("neighbour replace {address} dev eth0 nud permanent lladdr");
            for mac in ["02:00:00:00:00:07", "02:00:00:00:00:08"] {
                ip(&format!("{at} {mac}"));
                let state = NeighborState::Reachable(parse_mac(mac));
                wait_for_update(kernel, ip_of(address), state);
                assert_eq!(known(kernel, ip_of(address)), Some(state));
            }
            ip(&format!("neighbour delete {address} dev eth0"));
            wait_for_update(kernel, ip_of(address), NeighborState::Gone);
            assert_eq!(known(kernel, ip_of(address)), None);
        }
    });
}

#[test]
fn resolve_asks_for_an_unknown_neighbor() {
    in_lab(|lab, kernel| {
        let reachable = NeighborState::Reachable(lab.far_mac());
        for address in ["10.77.0.2", "2001:db8:77::2"].map(ip_of) {
            let interface = eth0(kernel);
            assert_eq!(kernel.resolve(interface, address).unwrap(), None);
            wait_for_update(kernel, address, reachable);
            // Known from now on, and told at once: no news will come of it.
            let update = NeighborUpdate { interface, ip: address, state: reachable };
            assert_eq!(kernel.resolve(interface, address).unwrap(), Some(update));
        }
    });
}

#[test]
fn resolve_asks_again_for_a_failed_neighbor() {
    in_lab(|lab, kernel| {
        let reachable = NeighborState::Reachable(lab.far_mac());
        for (address, add) in [
            ("10.77.0.3", "address add 10.77.0.3/24 dev eth0"),
            ("2001:db8:77::3", "address add 2001:db8:77::3/64 dev eth0 nodad"),
        ] {
            // Each failure is told, not only the first.
            for _ in 0..2 {
                kernel.resolve(eth0(kernel), ip_of(address)).unwrap();
                wait_for_update(kernel, ip_of(address), NeighborState::Gone);
            }
            assert_eq!(nud(address), "FAILED");
            lab.far(add);
            kernel.resolve(eth0(kernel), ip_of(address)).unwrap();
            wait_for_update(kernel, ip_of(address), reachable);
        }
    });
}

#[test]
fn resolve_probes_a_stale_neighbor() {
    in_lab(|lab, kernel| {
        let mac = lab.far_mac();
        for address in ["10.77.0.2", "2001:db8:77::2"] {
            kernel.resolve(eth0(kernel), ip_of(address)).unwrap();
            wait_for_update(kernel, ip_of(address), NeighborState::Reachable(mac));
            ip(&format!("neighbour change {address} dev eth0 nud stale"));
            assert_eq!(nud(address), "STALE");
            let told = kernel.resolve(eth0(kernel), ip_of(address)).unwrap();
            assert_eq!(told.unwrap().state, NeighborState::Reachable(mac), "usable meanwhile");
            wait_until(kernel, "probe answered", |_, _| nud(address) == "REACHABLE");
        }
    });
}

#[test]
fn a_stale_neighbor_that_does_not_answer_the_probe_is_gone() {
    in_lab(|_, kernel| {
        for address in ["10.77.0.6", "2001:db8:77::6"] {
            ip(&format!("neighbour add {address} dev eth0 lladdr 02:00:00:00:00:06 nud stale"));
            let state = NeighborState::Reachable(parse_mac("02:00:00:00:00:06"));
            wait_for_update(kernel, ip_of(address), state);
            kernel.resolve(eth0(kernel), ip_of(address)).unwrap();
            wait_for_update(kernel, ip_of(address), NeighborState::Gone);
        }
    });
}

#[test]
fn resolve_leaves_a_permanent_neighbor_alone() {
    in_lab(|_, kernel| {
        ip("neighbour add 10.77.0.7 dev eth0 lladdr 02:00:00:00:00:07 nud permanent");
        let state = NeighborState::Reachable(parse_mac("02:00:00:00:00:07"));
        wait_for_update(kernel, ip_of("10.77.0.7"), state);
        let told = kernel.resolve(eth0(kernel), ip_of("10.77.0.7")).unwrap();
        assert_eq!(told.unwrap().state, state);
        assert_eq!(nud("10.77.0.7"), "PERMANENT");
    });
}

#[test]
fn resolve_on_an_interface_that_is_not_there_fails() {
    in_lab(|_, kernel| {
        assert!(kernel.resolve(9999, ip_of("10.77.0.2")).is_err());
        // And the next one is not confused by it.
        assert_eq!(kernel.resolve(eth0(kernel), ip_of("10.77.0.2")).unwrap(), None);
    });
}

/// More announcements than the socket holds.
#[test]
fn nothing_is_missed_when_announcements_are_dropped() {
    const NEIGHBORS: usize = 20_000;
    in_lab(|lab, kernel| {
        let address = |i: usize| format!("10.77.{}.{}", 10 + i / 200, 1 + i % 200);
        let batch = |verb: &str, numbers: std::ops::Range<usize>, tail: &str| {
            let path = std::env::temp_dir().join(format!("{}-batch", lab.near));
            let lines: String = numbers
                .map(|i| format!("neighbour {verb} {} dev eth0 {tail}\n", address(i)))
                .collect();
            fs::write(&path, lines).unwrap();
            ip(&format!("-batch {}", path.display()));
            fs::remove_file(path).unwrap();
        };
        let permanent = "lladdr 02:00:00:00:00:07 nud permanent";
        batch("add", 0..1, permanent);
        let state = NeighborState::Reachable(parse_mac("02:00:00:00:00:07"));
        wait_for_update(kernel, ip_of(&address(0)), state);

        batch("add", 1..NEIGHBORS, permanent);
        batch("delete", 0..1, "");
        ip("route add default via 10.77.0.254 dev eth0");
        assert!(drops() > 0, "the socket held all announcements: nothing is tested");

        let changes = kernel.handle_readable().unwrap();
        assert!(changes.tables);
        assert!(snapshot(kernel).fib.lookup(ip_of("192.0.2.1")).is_some());
        let known = kernel.neighbors().filter(|neighbor| neighbor.state == state);
        assert_eq!(known.count(), NEIGHBORS - 1);
        let gone = changes.neighbors.iter().find(|update| update.state == NeighborState::Gone);
        assert_eq!(gone.unwrap().ip, ip_of(&address(0)));
    });
}

/// Announcements that sockets of this namespace lost so far.
fn drops() -> u64 {
    let table = fs::read_to_string("/proc/thread-self/net/netlink").unwrap();
    let drops_of = |line: &str| line.split_whitespace().nth(8)?.parse::<u64>().ok();
    table.lines().filter_map(drops_of).sum()
}
