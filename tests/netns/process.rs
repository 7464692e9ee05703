//! The process among others: in the background, without rights, told by signals, started in another's place.
//!
//! In:    options of the command line and of the global section, signals
//! Out:   what the kernel says of the process, and what becomes of connections
//! Owns:  processes in the background, which end with their test
//! Never: believes that rights are gone because nothing failed

use std::fs;
use std::io::Read;
use std::net::TcpStream;
use std::os::unix::net::UnixDatagram;
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::balancer::{Balancer, DEFAULTS, binary};
use crate::bytes::Server;
use crate::lab::{LB, Lab, PATIENCE, SRV1, address, wait_until};

/// A process that is nobody's child; ended with its owner.
struct Background(Pid);

impl Background {
    /// The one that a pidfile names.
    fn named_in(path: &str) -> Self {
        let text = fs::read_to_string(path).expect("the pidfile is there once it is ready");
        Background(Pid::from_raw(text.trim().parse().expect("a number")))
    }

    fn is_there(&self) -> bool {
        fs::metadata(format!("/proc/{}", self.0)).is_ok()
    }

    /// A line of its status.
    fn status(&self, name: &str) -> String {
        let text = fs::read_to_string(format!("/proc/{}/status", self.0)).expect("it is there");
        let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
        line.expect("the kernel has such a line").split_whitespace().collect::<Vec<_>>().join(" ")
    }

    fn end(&self) {
        let _ = kill(self.0, Signal::SIGTERM);
        wait_until("the process in the background has ended", PATIENCE, || !self.is_there());
    }
}

impl Drop for Background {
    fn drop(&mut self) {
        let _ = kill(self.0, Signal::SIGKILL);
    }
}

fn config(lab: &Lab, global: &str) -> String {
    let text = format!(
        "global\n    interface eth0\n{global}\n{DEFAULTS}\nlisten app\n    bind *:8000\n    server s1 {SRV1}:9001\n"
    );
    lab.file("process.cfg", &text)
}

fn is_served(lab: &Lab) -> bool {
    is_served_at(lab, LB)
}

fn is_served_at(lab: &Lab, host: &str) -> bool {
    let mut name = [0];
    let stream = lab.client.try_connect(address(host, 8000));
    stream.is_ok_and(|mut stream: TcpStream| stream.read_exact(&mut name).is_ok() && name == *b"a")
}

/// The whole thing as a distribution starts it: it comes back when it serves, it is nobody, it has four rights left, and
/// with these it goes on following the kernel's tables.
pub fn in_the_background_and_without_rights() {
    let lab = Lab::up();
    let _server = Server::naming(&lab.srv1, address(SRV1, 9001), "a");
    let (pidfile, root) = (lab.dir.join("xlb.pid"), lab.dir.join("root"));
    fs::create_dir_all(&root).expect("the test's directory can be written to");
    let pidfile = pidfile.display().to_string();
    let file = config(
        &lab,
        &format!(
            "    daemon\n    user nobody\n    group nogroup\n    chroot {}\n    pidfile {pidfile}",
            root.display()
        ),
    );
    let started = lab.lb.output(&binary(), &["--cores", "0-1", "-c", &file]);
    assert!(started.success, "{}", started.text);
    assert!(started.text.contains("xlb is ready"), "{}", started.text);
    let process = Background::named_in(&pidfile);
    // Nothing is waited for: it serves when the one who started it comes back.
    assert!(is_served(&lab));
    let nobody = process.status("Uid");
    assert!(
        !nobody.starts_with("0 ") && nobody.split(' ').all(|id| nobody.starts_with(id)),
        "{nobody}"
    );
    assert_ne!(process.status("Gid").split(' ').next(), Some("0"));
    // CAP_NET_BIND_SERVICE 10, CAP_NET_ADMIN 12, CAP_NET_RAW 13, CAP_BPF 39.
    let four = (1_u64 << 10) | (1 << 12) | (1 << 13) | (1 << 39);
    for set in ["CapPrm", "CapEff"] {
        assert_eq!(u64::from_str_radix(&process.status(set), 16), Ok(four), "{set}");
    }
    let seen = fs::read_link(format!("/proc/{}/root", process.0)).expect("it is there");
    assert_eq!(seen, root);
    // Threads that came later have no more than it.
    for thread in fs::read_dir(format!("/proc/{}/task", process.0)).expect("it is there") {
        let path = thread.expect("an entry").path().join("status");
        let status = fs::read_to_string(&path).expect("a thread is there");
        let line = status.lines().find(|line| line.starts_with("CapEff:")).expect("a line");
        let rights =
            u64::from_str_radix(line.trim_start_matches("CapEff:").trim(), 16).expect("a number");
        assert_eq!(rights & !four, 0, "{}", path.display());
    }
    // A new address of the kernel has to be told to the XDP program.
    lab.lb.run("ip", &["address", "add", "10.77.0.9/24", "dev", "eth0"]);
    wait_until("it is served at its new address", PATIENCE, || is_served_at(&lab, "10.77.0.9"));
    process.end();
}

/// A start that fails says so to the one who waits, and leaves nothing behind.
pub fn a_failure_in_the_background_is_told() {
    let lab = Lab::up();
    for (global, told) in [
        ("    user nobody-of-that-name", "cannot find user id for 'nobody-of-that-name'"),
        ("    interface eth7", "eth7"),
        ("    pidfile /nowhere/x.pid", "cannot create the pidfile /nowhere/x.pid"),
        ("    chroot /nowhere", "cannot chroot to /nowhere"),
    ] {
        let file = config(&lab, global);
        let started = lab.lb.output(&binary(), &["-D", "--cores", "0-1", "-c", &file]);
        assert!(!started.success, "{global}: {}", started.text);
        assert!(started.text.contains(told), "{global}: {}", started.text);
        assert!(!crate::balancer::has_program(&lab.lb), "{global}: a program is left");
    }
}

/// Paused, who comes waits; resumed, he is served. A soft stop has an end.
pub fn signals_pause_resume_and_end() {
    let lab = Lab::up();
    let _server = Server::start(&lab.srv1, address(SRV1, 9001), |mut stream| {
        let _ = std::io::Write::write_all(&mut stream, b"a");
        let _ = stream.read_to_end(&mut Vec::new());
    });
    let text = format!(
        "global\n    hard-stop-after 1s\n{DEFAULTS}\nlisten app\n    bind {LB}:8000\n    server s1 {SRV1}:9001\n"
    );
    let mut balancer = Balancer::start(&lab, &text);
    let mut held = lab.client.connect(address(LB, 8000));
    held.read_exact(&mut [0]).expect("it is served");
    balancer.process().signal(Signal::SIGTTOU);
    balancer.process().wait_for_log("Pausing frontend app.");
    let mut waiting = lab.client.connect(address(LB, 8000));
    waiting.set_read_timeout(Some(Duration::from_millis(300))).expect("an option of the socket");
    assert!(waiting.read(&mut [0]).is_err(), "nobody is served");
    balancer.process().signal(Signal::SIGTTIN);
    waiting.set_read_timeout(Some(PATIENCE)).expect("an option of the socket");
    waiting.read_exact(&mut [0]).expect("who waited is served");
    balancer.process().signal(Signal::SIGUSR1);
    let status = balancer.process().wait(PATIENCE);
    assert!(status.success(), "{status}");
    assert!(
        balancer.process().log().contains("performing a hard-stop"),
        "{}",
        balancer.process().log()
    );
    assert!(!matches!(held.read(&mut [0]), Ok(1..)), "the last ones are cut");
}

/// `-st`: the new process takes over what the old one had.
pub fn one_takes_the_place_of_another() {
    let lab = Lab::up();
    let _server = Server::naming(&lab.srv1, address(SRV1, 9001), "a");
    let file = config(&lab, "");
    let mut old = lab.spawn(&lab.lb, &binary(), &["--cores", "0-1", "-c", &file]);
    old.wait_for_log("xlb is ready");
    let pid = old.pid().to_string();
    let wrong = lab.file("wrong.cfg", "listen\n");
    let refused = lab.lb.output(&binary(), &["--cores", "0-1", "-c", &wrong, "-st", &pid]);
    assert!(!refused.success, "{}", refused.text);
    assert!(is_served(&lab), "a mistake in the new file leaves the old process alone");
    let mut new = lab.spawn(&lab.lb, &binary(), &["--cores", "0-1", "-c", &file, "-st", &pid]);
    new.wait_for_log("xlb is ready");
    assert!(old.wait(PATIENCE).success());
    assert!(is_served(&lab));
    assert!(new.stop(Signal::SIGTERM).success());
}

/// A service manager is told when it serves, and when it ends; conditions have a status.
pub fn managers_and_scripts_are_told() {
    let lab = Lab::up();
    let _server = Server::naming(&lab.srv1, address(SRV1, 9001), "a");
    let path = lab.dir.join("notify.sock");
    let manager = UnixDatagram::bind(&path).expect("a socket of the manager");
    manager.set_read_timeout(Some(PATIENCE)).expect("an option of the socket");
    let file = config(&lab, "");
    let name = format!("NOTIFY_SOCKET={}", path.display());
    let binary = binary();
    let mut xlb =
        lab.spawn(&lab.lb, "env", &[&name, &binary, "--cores", "0-1", "-Ws", "-c", &file]);
    let mut word = [0; 256];
    let mut heard = || {
        let len = manager.recv(&mut word).expect("a word");
        String::from_utf8_lossy(&word[..len]).into_owned()
    };
    assert_eq!(heard(), format!("READY=1\nMAINPID={}\n", xlb.pid()));
    assert!(is_served(&lab), "it is ready when it says so");
    assert!(xlb.stop(Signal::SIGTERM).success());
    assert_eq!(heard(), "STOPPING=1\n");
    for (condition, code) in [("feature(THREAD)", 0), ("!feature(THREAD)", 1), ("nonsense(", 1)] {
        assert_eq!(lab.lb.output(&binary, &["-cc", condition]).code, Some(code), "{condition}");
    }
}

/// At rest a worker takes nothing of its core; told to poll busily, all that it gets; and it says so itself.
pub fn a_worker_at_rest_sleeps() {
    let lab = Lab::up();
    let _server = Server::naming(&lab.srv1, address(SRV1, 9001), "a");
    let socket = lab.dir.join("stats.sock").display().to_string();
    let file = config(&lab, &format!("    stats socket {socket}"));
    for (how, share) in [("adaptive", 0..10), ("sleep", 0..10), ("busy", 20..101)] {
        let arguments = ["--cores", "0-1", "--poll", how, "-c", &file];
        let mut xlb = lab.spawn(&lab.lb, &binary(), &arguments);
        xlb.wait_for_log("xlb is ready");
        // One that never sleeps has begun to.
        wait_until("nothing happens any more", PATIENCE, || {
            ran_percent(xlb.pid()) >= 20 || how != "busy"
        });
        let ran = ran_percent(xlb.pid());
        assert!(share.contains(&ran), "--poll {how}: a worker ran {ran} % of the time");
        let busy = lab.lb.run("sh", &["-c", &format!("echo show info | socat stdio {socket}")]);
        let polls = format!("\nBusyPolling: {}\n", u8::from(how == "busy"));
        assert!(busy.contains(&polls), "{busy}");
        let idle = busy.lines().find_map(|line| line.strip_prefix("Idle_pct: ")).expect("a line");
        assert!(idle.parse::<u32>().is_ok_and(|idle| idle > 80), "at rest it is idle: {idle}");
        assert!(xlb.stop(Signal::SIGTERM).success());
    }
}

/// How much of a second the first worker had a core, percent, by the scheduler.
fn ran_percent(pid: Pid) -> u64 {
    let tasks = fs::read_dir(format!("/proc/{pid}/task")).expect("it is there");
    let worker = tasks
        .map(|task| task.expect("an entry").path())
        .find(|path| fs::read_to_string(path.join("comm")).is_ok_and(|name| name == "worker 0\n"))
        .expect("a worker has a thread");
    let ran = || -> u64 {
        let text = fs::read_to_string(worker.join("schedstat")).expect("the scheduler counts");
        text.split(' ').next().expect("a number").parse().expect("a number")
    };
    let (before, began) = (ran(), std::time::Instant::now());
    std::thread::park_timeout(Duration::from_secs(1));
    (ran() - before) * 100 / began.elapsed().as_nanos() as u64
}
