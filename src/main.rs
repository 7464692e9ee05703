//! The program: reads the command line and the configuration, boots, and runs.

use std::path::PathBuf;
use std::process::ExitCode;

use xlb::boot::{self, Running};
use xlb::cli::{self, Carriage, Order, RunOrder};
use xlb::clock::Clock;
use xlb::config::{self, Environment, Loaded};
use xlb::control::{self, Signals};
use xlb::cores::has_shared;
use xlb::transport::Place;
use xlb::{kernel_ports, log, version};

fn main() -> ExitCode {
    let order = match cli::parse(std::env::args()) {
        Ok(order) => order,
        Err(error) => {
            // Help goes to stdout with status 0, a mistake to stderr with status 1 as HAProxy has it.
            let _ = error.print();
            return if error.use_stderr() { ExitCode::FAILURE } else { ExitCode::SUCCESS };
        }
    };
    match order {
        Order::Version { full } => {
            print!("{}", if full { version::full() } else { version::short() });
            ExitCode::SUCCESS
        }
        Order::Check(files) => check(&files),
        Order::Run(order) => run(&order),
    }
}

fn load(files: &[PathBuf]) -> Option<Loaded> {
    match config::load(files, &Environment::of_process()) {
        Ok(loaded) => {
            for warning in &loaded.warnings {
                eprintln!("{warning}");
            }
            Some(loaded)
        }
        Err(report) => {
            eprint!("{report}");
            None
        }
    }
}

fn check(files: &[PathBuf]) -> ExitCode {
    let Some(loaded) = load(files) else { return ExitCode::FAILURE };
    if loaded.config.proxies.iter().all(|proxy| proxy.binds.is_empty()) {
        log::alert(format_args!("config : no listener: no section has a 'bind' line"));
        return ExitCode::from(2);
    }
    println!("Configuration file is valid");
    ExitCode::SUCCESS
}

fn run(order: &RunOrder) -> ExitCode {
    let Some(mut loaded) = load(&order.files) else { return ExitCode::FAILURE };
    if order.transport == Carriage::Kernel {
        loaded.config.leave_wires();
    }
    tell_inactive(&loaded);
    // Before the first thread: every thread must leave the signals to the pipe.
    let signals = match Signals::open() {
        Ok(signals) => signals,
        Err(error) => {
            log::alert(format_args!("cannot handle signals: {error}"));
            return ExitCode::FAILURE;
        }
    };
    let running = match boot::boot(&loaded.config, order, Clock::start()) {
        Ok(running) => running,
        Err(error) => {
            log::alert(format_args!("{error}"));
            return ExitCode::FAILURE;
        }
    };
    tell_takeover(&running);
    let signal = control::run(running, signals);
    if order.debug && signal == signal_hook::consts::SIGINT {
        // As HAProxy in debug mode: whoever started it sees that Ctrl-C ended it.
        let _ = signal_hook::low_level::emulate_default_handler(signal);
    }
    ExitCode::SUCCESS
}

/// Words that parse and do nothing yet, once.
fn tell_inactive(loaded: &Loaded) {
    let mut words: Vec<&str> =
        loaded.config.inactive.iter().map(|inactive| inactive.word.as_str()).collect();
    words.sort_unstable();
    words.dedup();
    if !words.is_empty() {
        log::notice(format_args!("accepted and not active yet: {}", words.join(", ")));
    }
}

/// What was taken over, and what is left to the kernel.
fn tell_takeover(running: &Running) {
    let fib = &running.snapshot.fib;
    for (index, taken) in running.taken.iter().enumerate() {
        let interface = &taken.interface;
        log::notice(format_args!(
            "{}: driver {}, mode {}, {} queue{}, MTU {}",
            interface.name,
            if interface.driver.is_empty() { "unknown" } else { &interface.driver },
            taken.mode,
            interface.rx_queues,
            if interface.rx_queues == 1 { "" } else { "s" },
            interface.mtu,
        ));
        if let Some(refusal) = taken.program.driver_refusal() {
            log::notice(format_args!("{}: no driver mode: {refusal}", interface.name));
        }
        for address in fib.addresses() {
            let link = fib.link(address.link);
            if usize::from(link.wire.0) != index {
                continue;
            }
            let vlan = link.vlan.map(|vlan| format!(" vlan {vlan}")).unwrap_or_default();
            log::notice(format_args!(
                "{}{vlan}: address {} {}",
                interface.name,
                address.net,
                match address.ownership {
                    netstack::fib::Ownership::Shared => "shared with the kernel",
                    netstack::fib::Ownership::Sole => "owned by xlb alone",
                }
            ));
        }
    }
    for (worker, core) in running.cores.iter().enumerate() {
        if running.taken.is_empty() {
            log::notice(format_args!("worker {worker} on core {core}"));
        } else {
            log::notice(format_args!("worker {worker} on core {core}, queue {worker}"));
        }
    }
    if has_shared(&running.cores) {
        log::warning(format_args!(
            "workers share a core: they take turns on it, each as slow as the others make it"
        ));
    }
    for plan in &running.listeners {
        let by = if matches!(plan.at.place, Place::Kernel(_)) { " by the kernel" } else { "" };
        let place = boot::place_of(plan);
        log::notice(format_args!("listening on {place}{by}, maxconn {}", plan.bind.maxconn));
    }
    if running.taken.is_empty() {
        log::notice(format_args!("xlb is ready"));
        return;
    }
    let (first, last) = (running.source_ports.start(), running.source_ports.end());
    log::notice(format_args!(
        "source ports {first}-{last}; every other port and protocol of shared addresses stays with the kernel"
    ));
    if !kernel_ports::is_kept_free(&running.source_ports) {
        log::warning(format_args!(
            "the kernel may use source ports {first}-{last} for connections of its own, which would break: \
             reserve them with scripts/setup-xdp.sh or net.ipv4.ip_local_reserved_ports"
        ));
    }
    log::notice(format_args!("xlb is ready"));
}
