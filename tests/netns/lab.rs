//! A network of namespaces for one test, and what runs in it.
//!
//! In:    `scripts/lab`, which builds the network
//! Out:   sockets and processes inside of its namespaces
//! Owns:  the namespaces, the processes and a directory for files; all of it goes when the test ends, however it ends
//! Never: waits without a deadline; touches what another run has made

use std::fs::{self, File};
use std::io::{self, Read};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use nix::sched::{CloneFlags, setns};
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use nix::sys::signal::{Signal, kill};
use nix::sys::socket::{Backlog, listen};
use nix::unistd::Pid;

/// The balancer's own addresses, shared with its kernel.
pub const LB: &str = "10.77.0.1";
/// The host that clients are on.
pub const CLIENT: &str = "10.77.0.2";
pub const LB6: &str = "fd77::1";
/// Addresses of the servers.
pub const SRV1: &str = "10.77.0.11";
pub const SRV2: &str = "10.77.0.12";
pub const SRV1_6: &str = "fd77::11";
/// The host behind the router.
pub const FAR: &str = "10.78.0.2";
pub const FAR6: &str = "fd78::2";

/// Long enough for anything on this machine that is going to happen at all.
pub const PATIENCE: Duration = Duration::from_secs(20);
/// How often a condition that nobody announces is looked at.
const LOOK_AGAIN: Duration = Duration::from_millis(10);

/// Two cores carry one lab at a time.
static ONE_LAB: Mutex<()> = Mutex::new(());

/// How a lab differs from the usual one.
#[derive(Clone, Copy)]
pub struct Shape {
    pub queues: u32,
    pub mtu: u32,
    /// Leaves a gap between the balancer and the bridge for a faulty wire.
    pub wire: bool,
}

impl Default for Shape {
    fn default() -> Self {
        Self { queues: 2, mtu: 1500, wire: false }
    }
}

pub struct Lab {
    pub client: Netns,
    pub lb: Netns,
    pub net: Netns,
    pub srv1: Netns,
    pub srv2: Netns,
    pub far: Netns,
    pub shape: Shape,
    pub dir: PathBuf,
    _one: MutexGuard<'static, ()>,
}

impl Lab {
    pub fn up() -> Self {
        Self::shaped(Shape::default())
    }

    pub fn shaped(shape: Shape) -> Self {
        let one = ONE_LAB.lock().unwrap_or_else(PoisonError::into_inner);
        let prefix = prefix();
        let (queues, mtu) = (shape.queues.to_string(), shape.mtu.to_string());
        let mut arguments =
            vec!["up", "--name", &prefix, "--queues", &queues, "--servers", "2", "--mtu", &mtu];
        if shape.wire {
            arguments.push("--wire");
        }
        let netns = |role: &str| Netns { name: format!("{prefix}-{role}") };
        lab_script(&arguments);
        let dir = std::env::temp_dir().join(&prefix);
        fs::create_dir_all(&dir).expect("a directory for the test's files");
        Self {
            client: netns("client"),
            lb: netns("lb"),
            net: netns("net"),
            srv1: netns("srv1"),
            srv2: netns("srv2"),
            far: netns("far"),
            shape,
            dir,
            _one: one,
        }
    }

    /// Writes a file for a process of the lab to read.
    pub fn file(&self, name: &str, text: &str) -> String {
        let path = self.dir.join(name);
        fs::write(&path, text).expect("the test's directory can be written to");
        path.to_str().expect("the path was made from plain names").to_owned()
    }

    /// Starts a program in a namespace; it is killed when the `Process` is dropped.
    pub fn spawn(&self, netns: &Netns, program: &str, arguments: &[&str]) -> Process {
        Process::spawn(&self.dir, program, netns.command(program).args(arguments))
    }
}

impl Drop for Lab {
    fn drop(&mut self) {
        remove(&prefix());
    }
}

/// Takes every lab away that this process may have up: for an end by a signal.
pub fn remove_own() {
    remove(&prefix());
}

/// Takes away what runs left behind that were killed.
pub fn remove_stale() {
    let output = Command::new("ip").args(["netns", "list"]).output().expect("ip can be run");
    let list = String::from_utf8_lossy(&output.stdout).into_owned();
    let mut stale: Vec<&str> = list
        .lines()
        .filter_map(|line| line.strip_prefix("xlb-t")?.split('-').next())
        .filter(|pid| !Path::new("/proc").join(pid).exists())
        .collect();
    stale.dedup();
    for pid in stale {
        remove(&format!("xlb-t{pid}"));
    }
}

/// Raises the number of open files as far as it goes.
pub fn raise_file_limit() {
    let (_, hard) = getrlimit(Resource::RLIMIT_NOFILE).expect("the limit can be read");
    setrlimit(Resource::RLIMIT_NOFILE, hard, hard).expect("the soft limit may become the hard one");
}

fn remove(prefix: &str) {
    lab_script(&["down", "--name", prefix]);
    // Not there if the lab did not get that far.
    let _ = fs::remove_dir_all(std::env::temp_dir().join(prefix));
}

fn prefix() -> String {
    format!("xlb-t{}", std::process::id())
}

fn lab_script(arguments: &[&str]) {
    let script = repository().join("scripts/lab");
    let output = Command::new(script).args(arguments).output().expect("scripts/lab can be started");
    assert!(
        output.status.success() || thread::panicking(),
        "scripts/lab {} failed: {}",
        arguments.join(" "),
        String::from_utf8_lossy(&output.stderr)
    );
}

pub fn repository() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// One network namespace.
pub struct Netns {
    name: String,
}

impl Netns {
    /// Its name for `ip netns`.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Runs `work` inside: sockets that it makes stay in the namespace wherever they are used.
    pub fn enter<T: Send>(&self, work: impl FnOnce() -> T + Send) -> T {
        thread::scope(|scope| {
            let inside = scope.spawn(|| {
                let file = File::open(Path::new("/run/netns").join(&self.name))
                    .expect("the lab's namespace exists");
                setns(file, CloneFlags::CLONE_NEWNET).expect("root may enter a namespace");
                work()
            });
            inside.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
        })
    }

    pub fn try_connect(&self, to: SocketAddr) -> io::Result<TcpStream> {
        let stream = self.enter(|| TcpStream::connect_timeout(&to, PATIENCE))?;
        stream.set_read_timeout(Some(PATIENCE))?;
        stream.set_write_timeout(Some(PATIENCE))?;
        Ok(stream)
    }

    /// A connection on which nothing waits longer than `PATIENCE`.
    pub fn connect(&self, to: SocketAddr) -> TcpStream {
        self.try_connect(to).unwrap_or_else(|error| panic!("connecting to {to}: {error}"))
    }

    pub fn listen(&self, on: SocketAddr) -> TcpListener {
        let listener = self
            .enter(|| TcpListener::bind(on))
            .unwrap_or_else(|error| panic!("listening on {on}: {error}"));
        listen(&listener, Backlog::MAXALLOWABLE).expect("a listening socket can listen again");
        listener
    }

    /// A command that runs inside, and ends with the thread that starts it if it is not ended before.
    pub fn command(&self, program: &str) -> Command {
        let mut command = Command::new("ip");
        command.args(["netns", "exec", &self.name, "setpriv", "--pdeathsig", "KILL", program]);
        command
    }

    /// Runs a program to its end, which must be a good one, and gives what it printed.
    pub fn run(&self, program: &str, arguments: &[&str]) -> String {
        let output = self.output(program, arguments);
        assert!(output.success, "{program} {} failed: {}", arguments.join(" "), output.text);
        output.text
    }

    /// Runs a program to its end within `PATIENCE`.
    pub fn output(&self, program: &str, arguments: &[&str]) -> Output {
        // `timeout` keeps a program that hangs from holding the whole run.
        let limit = format!("{}", 3 * PATIENCE.as_secs());
        let output = self
            .command("timeout")
            .args(["--signal=KILL", &limit, program])
            .args(arguments)
            .output()
            .expect("ip can be started");
        let text = String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned();
        Output { success: output.status.success(), code: output.status.code(), text }
    }
}

/// What a program printed, on both ways out, and how it ended.
pub struct Output {
    pub success: bool,
    pub code: Option<i32>,
    pub text: String,
}

/// A program that runs beside the test.
pub struct Process {
    name: String,
    child: Child,
    log: PathBuf,
}

impl Process {
    pub fn spawn(dir: &Path, name: &str, command: &mut Command) -> Self {
        let name = Path::new(name).file_name().map_or(name.into(), |base| base.to_string_lossy());
        let log = (0..)
            .map(|n| dir.join(format!("{name}.{n}.log")))
            .find(|path| !path.exists())
            .expect("the numbers do not run out");
        let file = File::create(&log).expect("the test's directory can be written to");
        let child = command
            .stdin(Stdio::null())
            .stdout(file.try_clone().expect("a file can be opened twice"))
            .stderr(file)
            .spawn()
            .unwrap_or_else(|error| panic!("{name} cannot be started: {error}"));
        Self { name: name.into_owned(), child, log }
    }

    pub fn pid(&self) -> Pid {
        Pid::from_raw(i32::try_from(self.child.id()).expect("process ids are positive"))
    }

    pub fn signal(&self, signal: Signal) {
        kill(self.pid(), signal)
            .unwrap_or_else(|error| panic!("{signal} to {}: {error}", self.name));
    }

    /// All that it printed so far.
    pub fn log(&self) -> String {
        let mut bytes = Vec::new();
        File::open(&self.log)
            .and_then(|mut file| file.read_to_end(&mut bytes))
            .expect("the log was made when the process was started");
        String::from_utf8_lossy(&bytes).into_owned()
    }

    pub fn wait_for_log(&mut self, wanted: &str) {
        wait_until(&format!("'{wanted}' from {}", self.name), PATIENCE, || {
            if let Some(status) = self.child.try_wait().expect("a child can be waited for") {
                panic!("{} ended ({status}) before '{wanted}': {}", self.name, self.log());
            }
            self.log().contains(wanted)
        });
    }

    /// Waits for its end.
    pub fn wait(&mut self, patience: Duration) -> ExitStatus {
        let mut status = None;
        wait_until(&format!("the end of {}", self.name), patience, || {
            status = self.child.try_wait().expect("a child can be waited for");
            status.is_some()
        });
        status.expect("the loop ends with a status")
    }

    pub fn stop(&mut self, signal: Signal) -> ExitStatus {
        self.signal(signal);
        self.wait(PATIENCE)
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        if thread::panicking() {
            let log = self.log();
            let from = log.lines().count().saturating_sub(40);
            let tail: Vec<&str> = log.lines().skip(from).collect();
            eprintln!("--- {} said last:\n{}\n---", self.name, tail.join("\n"));
        }
        // It may have ended by itself.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Looks until the condition holds; the test fails if it does not in time.
pub fn wait_until(what: &str, patience: Duration, mut holds: impl FnMut() -> bool) {
    let deadline = Instant::now() + patience;
    while !holds() {
        assert!(Instant::now() < deadline, "{what}: not within {patience:?}");
        thread::park_timeout(LOOK_AGAIN);
    }
}

pub fn address(host: &str, port: u16) -> SocketAddr {
    SocketAddr::new(host.parse().expect("the lab's addresses are written well"), port)
}
