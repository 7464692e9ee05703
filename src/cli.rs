//! The command line.
//!
//! In:    arguments
//! Out:   what to do: run, check, or tell something
//! Never: reads a file

use std::path::PathBuf;
use std::time::Duration;

use clap::{ArgAction, Parser};

/// The command line as clap reads it.
#[derive(Debug, Parser)]
#[command(
    name = "xlb",
    disable_version_flag = true,
    about = "A kernel-bypass TCP load balancer that speaks HAProxy's configuration language",
    long_about = "A kernel-bypass TCP load balancer that speaks HAProxy's configuration language.\n\n\
        xlb takes TCP connections off the queues of network interfaces (AF_XDP), runs its own TCP on\n\
        one pinned core per queue, and forwards them to servers over the same interfaces. The kernel\n\
        keeps everything else on the interface: SSH, ARP, routing.",
    after_help = "Examples:\n  \
        scripts/setup-xdp.sh eth0                      prepare the interface: queues, offloads, ports\n  \
        xlb --cores 0-3 -c configs/l4.cfg              run on four cores, one queue each\n  \
        xlb --cores 2,3 --interface eth1 -f /etc/xlb   run with all *.cfg of a directory\n  \
        xlb --transport kernel -f l4.cfg               run on ordinary sockets: no interface, no root\n  \
        xlb -c -f configs/l4.cfg                       check a configuration; exit status 1 if it is wrong\n\n\
        Signals: INT and TERM reset all connections, drain the queues and end with status 0;\n\
        USR1 listens no more and ends with the last connection; TTOU pauses all frontends, TTIN\n\
        resumes them; HUP writes the state of workers, queues, pools, proxies and servers to\n\
        stderr, QUIT that of the pools.\n\n\
        HAProxy's other options of one dash (-W, -Ws, -S, -db, -dM, ...) are taken and mean\n\
        nothing here."
)]
struct Arguments {
    /// Cores to run on, one worker and one queue of each interface per core: 0-3, or 0,2,4-5
    #[arg(long, value_name = "LIST")]
    cores: Option<String>,

    /// Run this configuration; with -f, as in HAProxy, check instead of run
    #[arg(short = 'c', value_name = "FILE", num_args = 0..=1, require_equals = false)]
    config: Option<Option<PathBuf>>,

    /// Configuration file or directory of *.cfg files; may be repeated
    #[arg(short = 'f', value_name = "FILE")]
    files: Vec<PathBuf>,

    /// Check the configuration and end: status 0 if it is valid, 1 if not
    #[arg(long)]
    check: bool,

    /// With --check: tell too what a reload would change in the running process, by its stats socket
    #[arg(long, requires = "check")]
    diff: bool,

    /// Interface to take over; may be repeated; wins over `interface` in the configuration
    #[arg(long, value_name = "NAME")]
    interface: Vec<String>,

    /// What carries connections: xdp, or the kernel's own sockets for all of them
    #[arg(long, value_enum, value_name = "NAME", default_value = "xdp")]
    transport: Carriage,

    /// What a worker does when it finds no work: spin for a moment and sleep, spin for ever, or sleep at once
    #[arg(long, value_enum, value_name = "HOW")]
    poll: Option<Poll>,

    /// In the background: wait until it is ready, then leave it to itself
    #[arg(short = 'D')]
    daemon: bool,

    /// File for the number of the process
    #[arg(short = 'p', value_name = "FILE")]
    pidfile: Option<PathBuf>,

    /// Quiet: tell only what does not work
    #[arg(short = 'q')]
    quiet: bool,

    /// Verbose: the contrary of -q and of `quiet`
    #[arg(short = 'V')]
    verbose: bool,

    /// Go to this directory first
    #[arg(short = 'C', value_name = "DIRECTORY")]
    directory: Option<PathBuf>,

    /// The name of this node among its peers
    #[arg(short = 'L', value_name = "NAME")]
    localpeer: Option<String>,

    /// Connections of the process; wins over `maxconn` of the global section
    #[arg(short = 'n', value_name = "NUMBER")]
    maxconn: Option<u32>,

    /// Connections of each proxy that does not say
    #[arg(short = 'N', value_name = "NUMBER")]
    proxy_maxconn: Option<u32>,

    /// End these processes first, their connections with them (HAProxy's -st)
    #[arg(long = "terminate", value_name = "PID", num_args = 0..)]
    terminate: Vec<i32>,

    /// HAProxy's -sf
    #[arg(long = "finish", hide = true, num_args = 0..)]
    finish: Option<Vec<i32>>,

    /// Evaluate a condition as `.if` has it, and end: status 0 if it holds, 1 if not
    #[arg(long = "condition", value_name = "CONDITION")]
    condition: Option<String>,

    /// The process was started in the background by another one.
    #[arg(long = "in-background", hide = true)]
    in_background: bool,

    /// Debug: tell on stderr when a connection begins and how it ended
    #[arg(short = 'd')]
    debug: bool,

    /// Tell the version; twice: how it was built and what it would use
    #[arg(short = 'v', action = ArgAction::Count)]
    version: u8,

    /// More configuration files
    #[arg(last = true, value_name = "FILE")]
    more: Vec<PathBuf>,
}

/// What carries connections that the configuration does not give to something else.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum Carriage {
    /// AF_XDP and userspace TCP.
    #[default]
    Xdp,
    /// The kernel's sockets.
    Kernel,
}

/// What a worker does when it finds no work.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum Poll {
    /// It looks for some for 50 microseconds, then sleeps until there is some.
    #[default]
    Adaptive,
    /// It goes on looking.
    Busy,
    /// It sleeps at once: the least of the processor's time, and the most to wait.
    Sleep,
}

/// Spinning bridges the gaps between packets of one exchange: a sleep and its end cost some tens of microseconds each.
const SPIN: Duration = Duration::from_micros(50);

impl Poll {
    /// How long to look for work before sleeping; `None`: for ever.
    pub fn spin(self) -> Option<Duration> {
        match self {
            Poll::Adaptive => Some(SPIN),
            Poll::Busy => None,
            Poll::Sleep => Some(Duration::ZERO),
        }
    }
}

/// What to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Order {
    /// Tell the version, in full if so asked.
    Version {
        /// How it was built, and what it would use.
        full: bool,
    },
    /// Check these files.
    Check {
        /// The configuration.
        files: Vec<PathBuf>,
        /// Say only what is wrong.
        quiet: bool,
        /// Tell what a reload would change.
        diff: bool,
    },
    /// Tell whether a condition holds.
    Condition(String),
    /// Run.
    Run(RunOrder),
}

/// How to run.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RunOrder {
    /// The configuration.
    pub files: Vec<PathBuf>,
    /// One worker per core.
    pub cores: Option<Vec<usize>>,
    /// The interfaces to take over; empty: the configuration says.
    pub interfaces: Vec<String>,
    /// `--transport`
    pub transport: Carriage,
    /// `-d`
    pub debug: bool,
    /// `--poll`
    pub poll: Option<Poll>,
    /// `-D`
    pub daemon: bool,
    /// The process was started in the background by another one.
    pub in_background: bool,
    /// `-p`
    pub pidfile: Option<PathBuf>,
    /// `-q`, and not `-V`; `Some(false)`: `-V`.
    pub quiet: Option<bool>,
    /// `-n`
    pub maxconn: Option<u32>,
    /// `-N`
    pub proxy_maxconn: Option<u32>,
    /// `-L`
    pub localpeer: Option<String>,
    /// `-st`
    pub terminate: Vec<i32>,
}

/// Reads the arguments, the first being the program's name.
pub fn parse(arguments: impl IntoIterator<Item = String>) -> Result<Order, clap::Error> {
    let arguments = Arguments::try_parse_from(translated(arguments))?;
    // The child in the background is where its parent has gone to.
    if let Some(directory) = arguments.directory.as_ref().filter(|_| !arguments.in_background)
        && let Err(error) = std::env::set_current_dir(directory)
    {
        let text = format!("-C: cannot go to {}: {error}\n", directory.display());
        return Err(clap::Error::raw(clap::error::ErrorKind::ValueValidation, text));
    }
    order(arguments).map_err(|message| {
        clap::Error::raw(clap::error::ErrorKind::ValueValidation, format!("{message}\n"))
    })
}

/// HAProxy's options of several letters behind one dash, as options of their own; those that mean nothing here are left
/// out, with their values.
fn translated(arguments: impl IntoIterator<Item = String>) -> Vec<String> {
    let mut translated = Vec::new();
    let mut arguments = arguments.into_iter().peekable();
    while let Some(argument) = arguments.next() {
        match argument.as_str() {
            "--" => {
                translated.push(argument);
                translated.extend(arguments.by_ref());
            }
            "-cc" => translated.push("--condition".into()),
            "-st" => translated.push("--terminate".into()),
            "-sf" => translated.push("--finish".into()),
            // The process is one, and in the foreground unless it is told otherwise.
            "-W" | "-Ws" => {}
            "-S" | "-m" | "-x" => _ = arguments.next(),
            "-d" => translated.push(argument),
            debug if debug.starts_with("-d") => {}
            _ => translated.push(argument),
        }
    }
    translated
}

fn order(arguments: Arguments) -> Result<Order, String> {
    let Arguments {
        cores,
        config,
        mut files,
        check,
        interface,
        transport,
        debug,
        version,
        more,
        condition,
        ..
    } = arguments;
    if let Some(condition) = condition {
        return Ok(Order::Condition(condition));
    }
    if version > 0 {
        return Ok(Order::Version { full: version > 1 });
    }
    // `-c` alone is HAProxy's check; with a file and no `-f` it runs the file.
    let with_files = !files.is_empty() || !more.is_empty();
    let check = check || (config.is_some() && with_files);
    files.extend(config.flatten());
    files.extend(more);
    if files.is_empty() {
        return Err("no configuration: give one with `-c FILE` or `-f FILE` (see --help)".into());
    }
    if check {
        let quiet = arguments.quiet && !arguments.verbose;
        return Ok(Order::Check { files, quiet, diff: arguments.diff });
    }
    let cores = cores.as_deref().map(parse_cores).transpose()?;
    if arguments.finish.is_some_and(|pids| !pids.is_empty()) {
        return Err(
            "-sf: an old process that finishes its connections has the interface until they have ended; \
             end it with -st instead, or send it SIGUSR1 and start the new one when it is gone"
                .into(),
        );
    }
    let quiet = match (arguments.quiet, arguments.verbose) {
        (_, true) => Some(false),
        (true, false) => Some(true),
        (false, false) => None,
    };
    Ok(Order::Run(RunOrder {
        files,
        cores,
        interfaces: interface,
        transport,
        debug,
        poll: arguments.poll,
        daemon: arguments.daemon,
        in_background: arguments.in_background,
        pidfile: arguments.pidfile,
        quiet,
        maxconn: arguments.maxconn,
        proxy_maxconn: arguments.proxy_maxconn,
        localpeer: arguments.localpeer,
        terminate: arguments.terminate,
    }))
}

/// Numbers and ranges, separated by commas; in the order given.
fn parse_cores(text: &str) -> Result<Vec<usize>, String> {
    let wrong = |part: &str| {
        format!(
            "--cores: '{part}' is neither a core nor a range of cores; write for example 0-3 or 0,2,4-5"
        )
    };
    let mut cores = Vec::new();
    for part in text.split(',') {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        let first: usize = first.trim().parse().map_err(|_| wrong(part))?;
        let last: usize = last.trim().parse().map_err(|_| wrong(part))?;
        if last < first || last >= CORES_MAX {
            return Err(wrong(part));
        }
        for core in first..=last {
            if cores.contains(&core) {
                return Err(format!("--cores: core {core} is named twice in '{text}'"));
            }
            cores.push(core);
        }
    }
    Ok(cores)
}

/// Cores that an affinity mask holds.
const CORES_MAX: usize = 1024;

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(line: &str) -> Result<Order, String> {
        let arguments = std::iter::once("xlb").chain(line.split_whitespace()).map(str::to_owned);
        parse(arguments).map_err(|error| error.to_string())
    }

    fn files(names: &[&str]) -> Vec<PathBuf> {
        names.iter().map(PathBuf::from).collect()
    }

    fn checks(names: &[&str]) -> Order {
        Order::Check { files: files(names), quiet: false, diff: false }
    }

    #[test]
    fn dash_c_with_a_file_runs_it() {
        let order = parsed("--cores 0-3 -c l4.cfg").unwrap();
        let run = RunOrder {
            files: files(&["l4.cfg"]),
            cores: Some(vec![0, 1, 2, 3]),
            ..RunOrder::default()
        };
        assert_eq!(order, Order::Run(run));
    }

    #[test]
    fn dash_c_with_dash_f_checks_as_haproxy_does() {
        assert_eq!(parsed("-c -f a.cfg -f b").unwrap(), checks(&["a.cfg", "b"]));
        assert_eq!(parsed("-f a.cfg -c").unwrap(), checks(&["a.cfg"]));
        let quiet = Order::Check { files: files(&["a.cfg"]), quiet: true, diff: false };
        assert_eq!(parsed("-c -q -f a.cfg").unwrap(), quiet);
        assert_eq!(parsed("--check -c a.cfg").unwrap(), checks(&["a.cfg"]));
        assert_eq!(parsed("-c -f a -- b c").unwrap(), checks(&["a", "b", "c"]));
    }

    #[test]
    fn cores_are_lists_and_ranges() {
        assert_eq!(parse_cores("0,2,4-5"), Ok(vec![0, 2, 4, 5]));
        for wrong in ["", "a", "3-1", "1-", "0,0", "0-1,1", "99999"] {
            assert!(parse_cores(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn haproxys_other_options_are_taken() {
        let line =
            "-Ws -db -dM -S /run/master.sock -D -p /run/x.pid -q -n 50 -N 20 -L me -f x -st 12 34";
        let Order::Run(run) = parsed(line).unwrap() else { panic!("runs") };
        assert_eq!((run.daemon, run.quiet), (true, Some(true)));
        assert_eq!((run.maxconn, run.proxy_maxconn), (Some(50), Some(20)));
        assert_eq!(run.pidfile.as_deref(), Some(std::path::Path::new("/run/x.pid")));
        assert_eq!((run.localpeer.as_deref(), run.terminate), (Some("me"), vec![12, 34]));
        assert!(matches!(parsed("-V -f x -sf"), Ok(Order::Run(run)) if run.quiet == Some(false)));
        assert!(parsed("-f x -sf 12").unwrap_err().contains("-st"));
        let condition = Order::Condition("feature(THREAD)".into());
        assert_eq!(parsed("-cc feature(THREAD)").unwrap(), condition);
    }

    #[test]
    fn versions_interfaces_and_nothing() {
        assert_eq!(parsed("-vv").unwrap(), Order::Version { full: true });
        let Order::Run(run) = parsed("-d --interface eth0 --interface eth1 -f x").unwrap() else {
            panic!("runs");
        };
        assert_eq!((run.interfaces, run.debug), (vec!["eth0".into(), "eth1".into()], true));
        assert!(parsed("").unwrap_err().contains("no configuration"));
        assert!(parsed("-c").unwrap_err().contains("no configuration"));
    }
}
