//! Network namespaces for the tests: a veth pair between two, gone when the test ends.
//!
//! In:    root, and iproute2
//! Out:   two namespaces with an interface each; this thread inside either
//! Owns:  the namespaces that it made
//! Never: skips: a machine that cannot do this fails the test and says why

use std::fs::File;
use std::net::Ipv4Addr;
use std::os::fd::AsFd;
use std::process::{self, Command};
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use nic::{AddressOwner, Mode, Program, Steering, Wire, XskConfig, XskQueue};
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};

/// Name of the interface in each namespace.
pub const INTERFACE: &str = "veth0";

/// Nothing that the tests wait for takes a tenth of this.
pub const PATIENCE: Duration = Duration::from_secs(10);

/// An address that is on no interface.
pub const SOLE: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 2);

/// Two namespaces with a veth pair between them.
pub struct Lab {
    /// The namespace of the one end.
    pub a: String,
    /// The namespace of the other end.
    pub b: String,
}

impl Lab {
    /// A lab whose interfaces have `queues` queues and this MTU.
    pub fn new(queues: u32, mtu: u32) -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let name = |end: &str| format!("nicx-{}-{number}{end}", process::id());
        let lab = Self { a: name("a"), b: name("b") };
        for namespace in [&lab.a, &lab.b] {
            ip(&format!("netns add {namespace}"));
            // Or the kernel's own neighbour discovery mixes with the frames that are counted.
            run(
                "ip",
                &format!("netns exec {namespace} sysctl -qw net.ipv6.conf.default.disable_ipv6=1"),
            );
        }
        ip(&format!(
            "link add {INTERFACE} netns {} mtu {mtu} numrxqueues {queues} numtxqueues {queues} \
             type veth peer name {INTERFACE} netns {} mtu {mtu} numrxqueues {queues} \
             numtxqueues {queues}",
            lab.a, lab.b
        ));
        for namespace in [&lab.a, &lab.b] {
            ip(&format!("-n {namespace} link set {INTERFACE} up"));
        }
        lab
    }
}

/// A program on this thread's interface that takes what is sent to [`SOLE`], and its queues.
pub struct End {
    pub program: Program,
    pub queues: Vec<XskQueue>,
}

impl End {
    /// In the best mode up to `prefer`.
    pub fn new(namespace: &str, queues: u32, prefer: Mode) -> Self {
        enter(namespace);
        let mut program = Program::attach(INTERFACE, prefer).unwrap();
        let open = |queue| {
            let config = XskConfig { prefer: program.mode(), ..XskConfig::new(INTERFACE, queue) };
            XskQueue::open(&config).unwrap()
        };
        let queues: Vec<_> = (0..queues).map(open).collect();
        for queue in &queues {
            program.register(queue).unwrap();
        }
        let addresses = [(SOLE.into(), AddressOwner::Sole)].into();
        program.set_steering(&Steering { addresses, ..Steering::default() }).unwrap();
        Self { program, queues }
    }
}

/// A frame to [`SOLE`] that carries a number.
pub fn numbered(number: u32, len: usize) -> Vec<u8> {
    let mut frame = vec![0; len];
    frame[..14].copy_from_slice(&[2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2, 8, 0]);
    frame[14] = 0x45;
    frame[16..18].copy_from_slice(&((len - 14) as u16).to_be_bytes());
    // 253: for experiments (RFC 3692).
    frame[22..24].copy_from_slice(&[64, 253]);
    frame[26..30].copy_from_slice(&[192, 0, 2, 1]);
    frame[30..34].copy_from_slice(&SOLE.octets());
    frame[34..38].copy_from_slice(&number.to_be_bytes());
    frame
}

/// Queues a frame with these bytes.
#[track_caller]
pub fn send(wire: &mut impl Wire, bytes: &[u8]) {
    let mut frame = wire.reserve().expect("a free frame");
    wire.bytes_mut(&mut frame)[..bytes.len()].copy_from_slice(bytes);
    if let Err(frame) = wire.submit(frame, bytes.len()) {
        wire.release(frame);
        panic!("the transmit ring is full");
    }
}

impl Drop for Lab {
    fn drop(&mut self) {
        for namespace in [&self.a, &self.b] {
            // A failure here is one of a test that has failed already, or of the next run.
            let _ = Command::new("ip").args(["netns", "del", namespace]).status();
        }
    }
}

/// Moves this thread into a namespace. Tests have a thread each.
pub fn enter(namespace: &str) {
    let path = format!("/run/netns/{namespace}");
    let file = File::open(&path).unwrap_or_else(|error| panic!("{path}: {error}"));
    move_into_link_name_space(file.as_fd(), Some(LinkNameSpaceType::Network))
        .unwrap_or_else(|error| panic!("cannot enter {namespace} (root is needed): {error}"));
}

/// Runs `ip`, which must succeed.
pub fn ip(arguments: &str) -> String {
    run("ip", arguments)
}

fn run(command: &str, arguments: &str) -> String {
    let output = Command::new(command)
        .args(arguments.split_whitespace())
        .output()
        .unwrap_or_else(|error| panic!("{command}: {error}"));
    assert!(
        output.status.success(),
        "{command} {arguments}: {}",
        String::from_utf8_lossy(&output.stderr)
    );
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// Waits until `condition` holds, and fails when it does not in time.
#[track_caller]
pub fn wait_until(what: &str, mut condition: impl FnMut() -> bool) {
    let give_up = Instant::now() + PATIENCE;
    while !condition() {
        assert!(Instant::now() < give_up, "still not, after {PATIENCE:?}: {what}");
        thread::yield_now();
    }
}
