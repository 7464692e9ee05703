//! The control thread: signals, the kernel's news, what workers ask.
//!
//! In:    signals, netlink, requests of the workers
//! Out:   commands to the workers; what an operator reads
//! Owns:  everything that runs
//! Never: on a worker's core, or in the way of a packet

use std::io::Read;
use std::net::IpAddr;
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::time::Duration;

use crossbeam::channel::{Sender, unbounded};
use netstack::Resolve;
use netstack::fib::{Fib, LinkId};
use signal_hook::consts::{SIGHUP, SIGINT, SIGQUIT, SIGTERM, SIGTTIN, SIGTTOU, SIGUSR1, SIGUSR2};
use signal_hook::iterator::backend::SignalDelivery;
use signal_hook::iterator::exfiltrator::SignalOnly;

use crate::bell::Bell;
use crate::boot::Running;
use crate::boot::acls::AclEdit;
use crate::clock::Instant;
use crate::config::model::{ProxyIndex, ServerId};
use crate::log;
use crate::netlink::{Changes, NeighborState, NeighborUpdate};
use crate::process::Starter;
use crate::report;
use crate::shared::{FrontendState, Saying, Wake};
use crate::worker::{Command, Request, WorkerReport};

/// What the runtime interface asks of the control thread.
pub enum Question {
    /// What the programs on the interfaces did, by queue, in lines.
    Programs(Sender<String>),
    /// The tables of the wires.
    Tables(Sender<Tables>),
    /// Take the configuration as it is now; what has changed, or why nothing has.
    Reload(Sender<Result<String, String>>),
    /// What that would do.
    Preview(Sender<Result<String, String>>),
    /// Add a server of this name to a backend, by the words of its line.
    AddServer(ProxyIndex, String, Vec<String>, Sender<Result<String, String>>),
    /// Take a server away.
    DelServer(ServerId, Sender<Result<String, String>>),
    /// Change the values of an ACL.
    EditAcl(AclEdit, Sender<Result<String, String>>),
}

/// The tables of the wires at one moment.
pub struct Tables {
    /// Links, addresses and routes.
    pub fib: Fib,
    /// Neighbours that can be sent to: address, link-layer address, link.
    pub neighbors: Vec<(IpAddr, [u8; 6], LinkId)>,
    /// The interfaces, in the order of their wires.
    pub interfaces: Vec<String>,
}

/// A worker answers within a turn; one that does not is not waited for longer.
const REPORT_TIMEOUT: Duration = Duration::from_secs(2);

/// A place where a worker takes commands, and what wakes it.
type Line = (Sender<Command>, Arc<Bell>);

/// Asks all workers how they are.
pub fn ask_reports(workers: &[Line]) -> Vec<WorkerReport> {
    let (sender, receiver) = unbounded();
    for (commands, bell) in workers {
        let _ = commands.send(Command::Report(sender.clone()));
        bell.wake();
    }
    drop(sender);
    let mut reports: Vec<WorkerReport> =
        (0..workers.len()).map_while(|_| receiver.recv_timeout(REPORT_TIMEOUT).ok()).collect();
    reports.sort_by_key(|report| report.worker);
    reports
}

/// The signals that xlb acts upon, as a pipe to poll.
pub struct Signals {
    delivery: SignalDelivery<UnixStream, SignalOnly>,
}

impl Signals {
    /// From now on these signals come here.
    pub fn open() -> std::io::Result<Self> {
        let (read, write) = UnixStream::pair()?;
        let wanted = [SIGINT, SIGTERM, SIGHUP, SIGQUIT, SIGUSR1, SIGUSR2, SIGTTIN, SIGTTOU];
        Ok(Signals { delivery: SignalDelivery::with_pipe(read, write, SignalOnly, wanted)? })
    }

    fn pending(&mut self) -> Vec<i32> {
        // Empties the pipe, and then looks which signals there were.
        match self.delivery.poll_pending(&mut drain) {
            Ok(Some(signals)) => signals.collect(),
            _ => self.delivery.pending().collect(),
        }
    }
}

/// Reads what is there; `false` when nothing is.
fn drain(pipe: &mut UnixStream) -> std::io::Result<bool> {
    pipe.set_nonblocking(true)?;
    let mut bytes = [0; 64];
    match pipe.read(&mut bytes) {
        Ok(count) => Ok(count > 0),
        Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => Ok(false),
        Err(error) => Err(error),
    }
}

/// Runs until a signal ends it; returns that signal.
pub fn run(mut running: Running, mut signals: Signals, starter: &Starter) -> i32 {
    let mut drained = 0;
    // When a soft stop has taken too long.
    let mut hard_stop_at: Option<Instant> = None;
    loop {
        let tidy_in = running.tidy_up();
        let readable = {
            let pipe = signals.delivery.get_read().as_fd();
            let fds = [pipe, running.kernel.fd()];
            let left = hard_stop_at.map(|at| at.since(running.clock.now()));
            let left = [left, tidy_in].into_iter().flatten().min();
            running
                .bell
                .sleep(&fds, left, || !running.requests.is_empty() || !running.questions.is_empty())
        };
        if readable[0] {
            for signal in signals.pending() {
                match signal {
                    SIGHUP => log::plain(format_args!("{}", full_report(&running))),
                    SIGQUIT => {
                        let pools = report::pools_only(&ask_reports(&running.commands));
                        log::plain(format_args!("{pools}"));
                        tell_all(&running, || Command::Trim);
                    }
                    SIGUSR1 => {
                        begin_soft_stop(&running);
                        let now = running.clock.now();
                        let limit = running.config.global.process.hard_stop_after;
                        let deadline = limit.map(|time| now + time);
                        hard_stop_at = hard_stop_at.or(deadline);
                    }
                    SIGUSR2 => _ = reload(&mut running, starter),
                    SIGTTOU => set_frontends(&running, FrontendState::Open, FrontendState::Paused),
                    SIGTTIN => set_frontends(&running, FrontendState::Paused, FrontendState::Open),
                    _ => {
                        stop(running, signal);
                        return signal;
                    }
                }
            }
        }
        while let Ok(request) = running.requests.try_recv() {
            match request {
                Request::Resolve(worker, resolve) => {
                    resolve_neighbor(&mut running, worker, resolve);
                }
                Request::Drained => drained += 1,
                Request::Say(saying) => say(&saying),
            }
        }
        while let Ok(question) = running.questions.try_recv() {
            answer(&mut running, question, starter);
        }
        if readable[1] {
            follow_kernel(&mut running);
        }
        if hard_stop_at.is_some_and(|at| at <= running.clock.now()) {
            log::warning(format_args!("soft-stop running for too long, performing a hard-stop."));
            stop(running, SIGUSR1);
            return SIGUSR1;
        }
        if drained == running.threads.len() {
            stop(running, SIGUSR1);
            return SIGUSR1;
        }
    }
}

/// Tells the operator; the log of the proxy has it from the worker.
fn say(saying: &Saying) {
    log::warning(format_args!("{}", saying.said.text));
}

/// Takes the configuration as it is now; tells what has changed, or why nothing has.
fn reload(running: &mut Running, starter: &Starter) -> Result<String, String> {
    starter
        .tell_manager(&format!("RELOADING=1\nMONOTONIC_USEC={}\n", running.clock.monotonic_us()));
    let outcome = running.reload();
    match &outcome {
        Ok(text) => {
            log::notice(format_args!(
                "configuration {} is in effect",
                running.shared.edition.number
            ));
            text.lines().for_each(|line| log::notice(format_args!("  {line}")));
        }
        Err(text) => {
            log::alert(format_args!(
                "the configuration was not taken: xlb goes on with the one it has"
            ));
            // A report has its own marks.
            log::plain(format_args!("{text}"));
        }
    }
    starter.tell_manager("READY=1\n");
    outcome
}

/// Listens no more; what is established goes on.
fn begin_soft_stop(running: &Running) {
    log::notice(format_args!("SIGUSR1: listening no more, and ending with the last connection"));
    tell_all(running, || Command::SoftStop);
}

/// Pauses frontends, or resumes them: those that are in the state `from`.
fn set_frontends(running: &Running, from: FrontendState, to: FrontendState) {
    for (index, proxy) in running.shared.proxies().filter(|(_, proxy)| proxy.kind.is_frontend()) {
        let frontend = running.shared.frontend(index);
        if frontend.state() == from {
            let what = if to == FrontendState::Open { "Resuming" } else { "Pausing" };
            log::warning(format_args!("{what} frontend {}.", proxy.name));
            frontend.set_state(to);
            tell_all(running, || Command::SetFrontend(index, to));
        }
    }
}

fn tell_all(running: &Running, command: impl Fn() -> Command) {
    for (commands, bell) in &running.commands {
        let _ = commands.send(command());
        bell.wake();
    }
}

/// Workers, queues, pools, proxies and servers, and what the programs on the interfaces did.
fn full_report(running: &Running) -> String {
    let mut text = report::full(&ask_reports(&running.commands));
    text.push_str(&programs(running));
    text.push_str(&report::logs(running.logger.counters()));
    text
}

/// What the programs on the interfaces did.
fn programs(running: &Running) -> String {
    let mut text = String::new();
    for taken in &running.taken {
        match taken.program.counters() {
            Ok(counters) => text.push_str(&report::program(&taken.interface.name, &counters)),
            Err(error) => log::warning(format_args!("{error}")),
        }
    }
    text
}

/// Answers the runtime interface; who asked may have given up waiting.
fn answer(running: &mut Running, question: Question, starter: &Starter) {
    let interfaces = running.taken.iter().map(|taken| taken.interface.name.clone());
    match question {
        Question::Programs(to) => {
            let _ = to.send(programs(running));
        }
        Question::Reload(to) => {
            let _ = to.send(reload(running, starter));
        }
        Question::Preview(to) => {
            let _ = to.send(running.preview());
        }
        Question::AddServer(backend, name, words, to) => {
            let _ = to.send(running.add_server(backend, &name, &words));
        }
        Question::EditAcl(edit, to) => {
            let _ = to.send(running.edit_acl(&edit));
        }
        Question::DelServer(id, to) => {
            let _ = to.send(running.del_server(id));
        }
        Question::Tables(to) => {
            let neighbors = running.neighbors().map(|(link, ip, mac)| (ip, mac, link));
            let _ = to.send(Tables {
                fib: running.snapshot.fib.clone(),
                neighbors: neighbors.collect(),
                interfaces: interfaces.collect(),
            });
        }
    }
}

/// Has the kernel resolve a neighbour; what it knows already goes to the asker at once.
fn resolve_neighbor(running: &mut Running, worker: usize, resolve: Resolve) {
    let Some(interface) = running.snapshot.interface_of(resolve.link) else { return };
    match running.kernel.resolve(interface, resolve.address) {
        Ok(Some(update)) => tell_neighbor(running, update, Some(worker)),
        Ok(None) => {}
        Err(error) => {
            let address = resolve.address;
            log::warning(format_args!("the kernel does not resolve neighbour {address}: {error}"));
        }
    }
}

fn tell_neighbor(running: &Running, update: NeighborUpdate, only: Option<usize>) {
    let Some(link) = running.snapshot.link_of(update.interface) else { return };
    let mac = match update.state {
        NeighborState::Reachable(mac) => Some(mac),
        NeighborState::Gone => None,
    };
    for (number, (commands, bell)) in running.commands.iter().enumerate() {
        if only.is_none_or(|only| only == number) {
            let _ = commands.send(Command::Neighbor(link, update.ip, mac));
            bell.wake();
        }
    }
}

/// Passes on what changed in the kernel's tables.
fn follow_kernel(running: &mut Running) {
    let Changes { tables, neighbors, .. } = match running.kernel.handle_readable() {
        Ok(changes) => changes,
        Err(error) => {
            log::warning(format_args!("cannot follow the kernel's tables: {error}"));
            return;
        }
    };
    if tables {
        match running.stated.snapshot(&running.kernel) {
            Ok(snapshot) => {
                running.snapshot = snapshot;
                running.tell_fib();
                if let Err(error) = running.steer() {
                    log::alert(format_args!("{error}"));
                }
            }
            Err(error) => log::alert(format_args!(
                "the kernel's addresses or routes changed so that they clash with the configuration; \
                 xlb goes on with the old ones: {error}"
            )),
        }
    }
    for update in neighbors {
        tell_neighbor(running, update, None);
    }
}

/// Resets all connections, waits until that is said, and gives the interfaces back.
fn stop(running: Running, signal: i32) {
    let reports = full_report(&running);
    let name = signal_hook::low_level::signal_name(signal).unwrap_or("a signal");
    log::notice(format_args!("{name}: ending all connections and giving the interfaces back"));
    tell_all(&running, || Command::Stop);
    let Running { threads, taken, logger, log_thread, runtime_sockets, .. } = running;
    runtime_sockets.remove_paths();
    for thread in threads {
        // A worker that panicked has ended the process already.
        let _ = thread.join();
    }
    drop(taken);
    // All lines are written first.
    logger.end();
    let _ = log_thread.join();
    log::plain(format_args!("{reports}"));
}
