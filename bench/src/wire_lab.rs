//! Two hosts and a wire between them, in namespaces.
//!
//! ```text
//! PREFIX-near eth0 10.99.0.1 --- near | PREFIX-wire | far --- eth0 10.99.0.2 PREFIX-far
//!              and 10.99.0.9: no kernel's            ^ faulty-wire joins these two
//! ```
//!
//! In:    a prefix
//! Out:   commands that run in one of the namespaces; programs that are started, heard and ended
//! Owns:  the namespaces; they go when it is dropped
//! Never: touches the host's own network
//!
//! One frame on the wire is one packet of TCP: all offloads are off. Neighbours are given, so that a lost ARP reply is
//! no part of any result. The kernels remember nothing of one connection for the next.

use std::io::{BufRead, BufReader, Read};
use std::net::Ipv4Addr;
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::figures::Figures;

/// The near kernel's address.
pub const NEAR: Ipv4Addr = Ipv4Addr::new(10, 99, 0, 1);
/// The far kernel's address.
pub const FAR: Ipv4Addr = Ipv4Addr::new(10, 99, 0, 2);
/// An address at the near end that no kernel has: for a stack of our own.
pub const OWN: Ipv4Addr = Ipv4Addr::new(10, 99, 0, 9);
/// Link-layer addresses of the two ends.
pub const NEAR_MAC: &str = "02:00:00:00:00:01";
/// The far one.
pub const FAR_MAC: &str = "02:00:00:00:00:02";

/// net.ipv4.tcp_rmem and tcp_wmem of both kernels: room for a Gbit/s over 100 ms, twice.
pub const TCP_RMEM: &str = "4096 131072 33554432";
/// The same for sending.
pub const TCP_WMEM: &str = "4096 65536 33554432";

/// Which namespace.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Room {
    /// Where the kernel and our own stack share an interface.
    Near,
    /// Between the two.
    Wire,
    /// Where there is only the kernel.
    Far,
}

impl Room {
    const ALL: [Room; 3] = [Room::Near, Room::Wire, Room::Far];

    fn name(self) -> &'static str {
        match self {
            Room::Near => "near",
            Room::Wire => "wire",
            Room::Far => "far",
        }
    }
}

/// The namespaces.
pub struct WireLab {
    prefix: String,
}

impl WireLab {
    /// Builds the namespaces; errors are whole sentences.
    pub fn up(prefix: &str) -> Result<Self, String> {
        for room in Room::ALL {
            let name = format!("{prefix}-{}", room.name());
            if Path::new("/run/netns").join(&name).exists() {
                return Err(format!(
                    "there is a namespace {name}: `ip netns del {name}` removes it"
                ));
            }
        }
        // From here on, whatever fails, dropping it removes what there is.
        let lab = WireLab { prefix: prefix.to_owned() };
        for room in Room::ALL {
            ip(&["netns", "add", &lab.name(room)])?;
            lab.run(room, "sysctl", &["-q", "-w", "net.ipv6.conf.default.disable_ipv6=1"])?;
            lab.run(room, "ip", &["link", "set", "lo", "up"])?;
        }
        lab.cable(Room::Near, NEAR_MAC, &format!("{NEAR}/24"))?;
        lab.cable(Room::Far, FAR_MAC, &format!("{FAR}/24"))?;
        for own in [NEAR, OWN] {
            lab.neighbor(Room::Far, own, NEAR_MAC)?;
        }
        lab.neighbor(Room::Near, FAR, FAR_MAC)?;
        lab.wait_for_links()?;
        Ok(lab)
    }

    fn name(&self, room: Room) -> String {
        format!("{}-{}", self.prefix, room.name())
    }

    /// Joins a room to the wire's, tells its kernel how to behave.
    fn cable(&self, room: Room, mac: &str, address: &str) -> Result<(), String> {
        let (end, wire) = (room.name(), self.name(Room::Wire));
        let near = "link add eth0 numrxqueues 1 numtxqueues 1 type veth peer name";
        let far = "numrxqueues 1 numtxqueues 1 netns";
        let link = format!("{near} {end} {far} {wire}");
        self.run(room, "ip", &link.split(' ').collect::<Vec<_>>())?;
        let plain = ["tx", "off", "tso", "off", "gso", "off", "gro", "off"];
        self.run(room, "ethtool", &[&["-K", "eth0"], &plain[..]].concat())?;
        self.run(Room::Wire, "ethtool", &[&["-K", end], &plain[..]].concat())?;
        self.run(room, "ip", &["link", "set", "eth0", "address", mac])?;
        self.run(room, "ip", &["addr", "add", address, "dev", "eth0"])?;
        self.run(room, "ip", &["link", "set", "eth0", "up"])?;
        self.run(Room::Wire, "ip", &["link", "set", end, "up"])?;
        let settings = [
            "net.ipv4.tcp_no_metrics_save=1",
            &format!("net.ipv4.tcp_rmem={TCP_RMEM}"),
            &format!("net.ipv4.tcp_wmem={TCP_WMEM}"),
        ];
        self.run(room, "sysctl", &[&["-q", "-w"], &settings[..]].concat())
    }

    fn neighbor(&self, room: Room, address: Ipv4Addr, mac: &str) -> Result<(), String> {
        let address = address.to_string();
        let entry =
            ["neigh", "replace", &address, "lladdr", mac, "dev", "eth0", "nud", "permanent"];
        self.run(room, "ip", &entry)
    }

    /// An interface goes into operation a moment after it is set up.
    fn wait_for_links(&self) -> Result<(), String> {
        let deadline = Instant::now() + Duration::from_secs(10);
        for room in [Room::Near, Room::Far] {
            loop {
                let output = self.command(room, "ip").args(["-o", "link", "show", "eth0"]).output();
                let text = output.map_err(|error| format!("cannot run ip: {error}"))?.stdout;
                if String::from_utf8_lossy(&text).contains("state UP") {
                    break;
                }
                if Instant::now() > deadline {
                    return Err(format!("eth0 of {} does not come up", self.name(room)));
                }
                thread::park_timeout(Duration::from_millis(10));
            }
        }
        Ok(())
    }

    /// A program in a namespace, which ends with the thread that starts it.
    pub fn command(&self, room: Room, program: &str) -> Command {
        let mut command = Command::new("ip");
        let name = self.name(room);
        command.args(["netns", "exec", &name, "setpriv", "--pdeathsig", "KILL", program]);
        command
    }

    fn run(&self, room: Room, program: &str, arguments: &[&str]) -> Result<(), String> {
        finish(self.command(room, program).args(arguments))
    }
}

impl Drop for WireLab {
    fn drop(&mut self) {
        for room in Room::ALL {
            // Those that were not made yet are not there to be removed.
            let _ = ip(&["netns", "del", &self.name(room)]);
        }
    }
}

/// The line of figures that each of two ends of a run prints; where one fails, what both say about it.
pub fn figures_of(ends: [&mut Running; 2], patience: Duration) -> Result<[Figures; 2], String> {
    let read = |end: &mut Running| end.line(patience).and_then(|line| line.parse::<Figures>());
    match ends.map(read) {
        [Ok(first), Ok(second)] => Ok([first, second]),
        results => {
            let said: Vec<String> = results.into_iter().filter_map(Result::err).collect();
            Err(said.join("; "))
        }
    }
}

fn ip(arguments: &[&str]) -> Result<(), String> {
    finish(Command::new("ip").args(arguments))
}

fn finish(command: &mut Command) -> Result<(), String> {
    let output = command.output().map_err(|error| format!("cannot run {command:?}: {error}"))?;
    if output.status.success() {
        return Ok(());
    }
    Err(format!("{command:?} failed: {}", String::from_utf8_lossy(&output.stderr).trim()))
}

/// A program that runs beside; it is killed when dropped.
pub struct Running {
    name: String,
    child: Child,
    lines: Receiver<String>,
    errors: Option<JoinHandle<String>>,
}

impl Running {
    /// Starts it. `name` is for messages.
    pub fn start(name: &str, command: &mut Command) -> Result<Self, String> {
        let mut child = command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .map_err(|error| format!("cannot start {name}: {error}"))?;
        let (stdout, mut stderr) = match (child.stdout.take(), child.stderr.take()) {
            (Some(stdout), Some(stderr)) => (stdout, stderr),
            _ => unreachable!("both were asked for"),
        };
        let (to, lines) = mpsc::channel();
        thread::spawn(move || {
            for line in BufReader::new(stdout).lines().map_while(Result::ok) {
                // Nobody listens any more once the program is given up.
                let _ = to.send(line);
            }
        });
        let errors = thread::spawn(move || {
            let mut text = String::new();
            let _ = stderr.read_to_string(&mut text);
            text
        });
        Ok(Running { name: name.to_owned(), child, lines, errors: Some(errors) })
    }

    /// The next line that it prints.
    pub fn line(&mut self, patience: Duration) -> Result<String, String> {
        match self.lines.recv_timeout(patience) {
            Ok(line) => Ok(line),
            Err(RecvTimeoutError::Timeout) => {
                Err(format!("{} said nothing for {patience:?}", self.name))
            }
            Err(RecvTimeoutError::Disconnected) => {
                let _ = self.child.kill();
                let said = self.errors.take().and_then(|thread| thread.join().ok());
                Err(format!("{} ended: {}", self.name, said.unwrap_or_default().trim()))
            }
        }
    }

    /// Asks it to end; what it still printed.
    pub fn stop(mut self, patience: Duration) -> Result<Vec<String>, String> {
        let pid = i32::try_from(self.child.id()).expect("process ids are positive");
        kill(Pid::from_raw(pid), Signal::SIGTERM)
            .map_err(|error| format!("cannot end {}: {error}", self.name))?;
        let mut said = Vec::new();
        let deadline = Instant::now() + patience;
        loop {
            match self.lines.recv_timeout(deadline.saturating_duration_since(Instant::now())) {
                Ok(line) => said.push(line),
                Err(RecvTimeoutError::Disconnected) => break,
                Err(RecvTimeoutError::Timeout) => {
                    return Err(format!("{} does not end", self.name));
                }
            }
        }
        let status: ExitStatus = self.child.wait().map_err(|error| error.to_string())?;
        if status.success() { Ok(said) } else { Err(format!("{} ended: {status}", self.name)) }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
