//! The command line.
//!
//! In:    arguments
//! Out:   what to do: run, check, or tell something
//! Never: reads a file

use std::path::PathBuf;

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
        USR1 listens no more and ends with the last connection; HUP writes the state of workers,\n\
        queues, pools, proxies and servers to stderr, QUIT that of the pools."
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

    /// Interface to take over; may be repeated; wins over `interface` in the configuration
    #[arg(long, value_name = "NAME")]
    interface: Vec<String>,

    /// What carries connections: xdp, or the kernel's own sockets for all of them
    #[arg(long, value_enum, value_name = "NAME", default_value = "xdp")]
    transport: Carriage,

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

/// What to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Order {
    /// Tell the version, in full if so asked.
    Version {
        /// How it was built, and what it would use.
        full: bool,
    },
    /// Check these files.
    Check(Vec<PathBuf>),
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
}

/// Reads the arguments, the first being the program's name.
pub fn parse(arguments: impl IntoIterator<Item = String>) -> Result<Order, clap::Error> {
    let arguments = Arguments::try_parse_from(arguments)?;
    order(arguments).map_err(|message| {
        clap::Error::raw(clap::error::ErrorKind::ValueValidation, format!("{message}\n"))
    })
}

fn order(arguments: Arguments) -> Result<Order, String> {
    let Arguments { cores, config, mut files, check, interface, transport, debug, version, more } =
        arguments;
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
        return Ok(Order::Check(files));
    }
    let cores = cores.as_deref().map(parse_cores).transpose()?;
    Ok(Order::Run(RunOrder { files, cores, interfaces: interface, transport, debug }))
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
        assert_eq!(parsed("-c -f a.cfg -f b").unwrap(), Order::Check(files(&["a.cfg", "b"])));
        assert_eq!(parsed("-f a.cfg -c").unwrap(), Order::Check(files(&["a.cfg"])));
        assert_eq!(parsed("--check -c a.cfg").unwrap(), Order::Check(files(&["a.cfg"])));
        assert_eq!(parsed("-c -f a -- b c").unwrap(), Order::Check(files(&["a", "b", "c"])));
    }

    #[test]
    fn cores_are_lists_and_ranges() {
        assert_eq!(parse_cores("0,2,4-5"), Ok(vec![0, 2, 4, 5]));
        for wrong in ["", "a", "3-1", "1-", "0,0", "0-1,1", "99999"] {
            assert!(parse_cores(wrong).is_err(), "{wrong}");
        }
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
