//! The program: reads the command line and the configuration, boots, and runs.

use std::path::PathBuf;
use std::process::ExitCode;

use xlb::boot::{self, Running};
use xlb::cli::{self, Order, RunOrder};
use xlb::clock::Clock;
use xlb::config::{self, Environment, Loaded, Report};
use xlb::control::{self, Signals};
use xlb::cores::has_shared;
use xlb::process::{self, Starter};
use xlb::runtime::client;
use xlb::source::ConfigSource;
use xlb::transport::Place;
use xlb::vitals;
use xlb::{log, version};

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
        Order::Check { files, quiet, diff } => check(&files, quiet, diff),
        Order::Condition(condition) => holds(&condition),
        Order::Run(order) => run(&order),
    }
}

/// `-cc`: status 0 if it holds, 1 if not or if it makes no sense.
fn holds(condition: &str) -> ExitCode {
    match config::evaluate(condition, &Environment::of_process()) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(report) => {
            eprint!("{report}");
            ExitCode::FAILURE
        }
    }
}

/// What was read; what there is to be said of it goes to stderr.
fn told(read: Result<Loaded, Report>) -> Option<Loaded> {
    match read {
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

fn check(files: &[PathBuf], quiet: bool, diff: bool) -> ExitCode {
    let environment = Environment::of_process();
    let read = config::load(files, &environment);
    let Some(loaded) = told(read) else { return ExitCode::FAILURE };
    if loaded.config.proxies.values().all(|proxy| proxy.binds.is_empty()) {
        log::alert(format_args!("config : no listener: no section has a 'bind' line"));
        return ExitCode::from(2);
    }
    if !quiet {
        println!("Configuration file is valid");
    }
    if diff { tell_difference(&loaded) } else { ExitCode::SUCCESS }
}

/// What a reload would do, as the running process tells it.
fn tell_difference(loaded: &Loaded) -> ExitCode {
    match client::ask(&loaded.config.global.stats, "reload check") {
        Ok(text) => {
            print!("{text}");
            ExitCode::SUCCESS
        }
        Err(error) => {
            log::alert(format_args!("cannot ask the running process what would change: {error}"));
            ExitCode::FAILURE
        }
    }
}

fn run(order: &RunOrder) -> ExitCode {
    vitals::tell_of_panics();
    if order.in_background {
        process::leave_terminal();
    }
    let source = match ConfigSource::new(order) {
        Ok(source) => source,
        Err(error) => {
            log::alert(format_args!("cannot see the working directory: {error}"));
            return ExitCode::FAILURE;
        }
    };
    let Some(loaded) = told(source.read()) else { return ExitCode::FAILURE };
    let global = &loaded.config.global;
    if order.quiet.unwrap_or(global.process.quiet) {
        log::be_quiet();
    }
    let goes_away = (order.daemon || global.process.daemon) && !order.debug;
    if goes_away && !order.in_background {
        return process::go_to_background().unwrap_or_else(|error| {
            log::alert(format_args!("cannot start a process in the background: {error}"));
            ExitCode::FAILURE
        });
    }
    tell_inactive(&loaded);
    let opened =
        Starter::open(loaded.config.global.process.pidfile.as_deref(), order.in_background);
    let mut starter = match opened.and_then(|starter| {
        process::end_others(&order.terminate)?;
        Ok(starter)
    }) {
        Ok(starter) => starter,
        Err(error) => {
            log::alert(format_args!("{error}"));
            return ExitCode::FAILURE;
        }
    };
    // Before the first thread: every thread must leave the signals to the pipe.
    let signals = match Signals::open() {
        Ok(signals) => signals,
        Err(error) => {
            log::alert(format_args!("cannot handle signals: {error}"));
            return ExitCode::FAILURE;
        }
    };
    let running = match boot::boot(loaded.config, source, Clock::start()) {
        Ok(running) => running,
        Err(error) => {
            log::alert(format_args!("{error}"));
            return ExitCode::FAILURE;
        }
    };
    tell_takeover(&running);
    if let Err(error) = starter.ready() {
        log::warning(format_args!("cannot tell that xlb is ready: {error}"));
    }
    let signal = control::run(running, signals, &starter);
    starter.tell_manager("STOPPING=1\n");
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
    for plan in &running.listening.plans {
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
    if !running.has_ports_kept_free {
        log::warning(format_args!(
            "the kernel may use source ports {first}-{last} for connections of its own, which would break: \
             reserve them with scripts/setup-xdp.sh or net.ipv4.ip_local_reserved_ports"
        ));
    }
    log::notice(format_args!("xlb is ready"));
}
