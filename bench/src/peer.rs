//! One end of bulk connections: a source or a sink, over our stack on AF_XDP or over the kernel's sockets.
//!
//! In:    the command line
//! Out:   streams of a known pattern, compared byte by byte; at the end one line of figures
//! Owns:  what both kinds of end have in common: options, the meter, the report
//! Never: says that bytes arrived which were not compared
//!
//! Both ends of a run report alike, whatever carries them, so that the kernel's TCP and ours are measured by the same
//! program. A source connects all its flows, waits until all are open, sends for a time or a number of bytes each,
//! half-closes, and waits for the other side to close. A sink ends when it has seen the end of all flows.

mod kernel;
mod stack;

use std::net::{IpAddr, SocketAddr};
use std::str::FromStr;
use std::time::Duration;

use clap::{Args, Parser, Subcommand};
use ipnet::IpNet;
use nix::sched::{CpuSet, sched_setaffinity};
use nix::sys::resource::{UsageWho, getrusage};
use nix::unistd::Pid;

use crate::figures::Figures;

/// Beyond the time of sending a run takes at most this long: handshakes and the last bytes over a bad wire.
const PATIENCE: Duration = Duration::from_secs(120);

/// Sends or receives bulk data; prints one line of figures when it is done.
#[derive(Clone, Debug, Parser)]
#[command(name = "tcp-peer")]
pub struct Options {
    /// What this end does
    #[command(subcommand)]
    pub role: Role,
    /// Where this end is
    #[command(flatten)]
    pub seat: Seat,
}

/// What an end does.
#[derive(Clone, Debug, Subcommand)]
pub enum Role {
    /// Connects and sends
    Source {
        /// The sink
        #[arg(long)]
        to: SocketAddr,
        /// Connections at the same time
        #[arg(long, default_value_t = 1)]
        flows: usize,
        /// Sends for so many seconds
        #[arg(long, default_value_t = 10.0)]
        seconds: f64,
        /// Sends so many bytes on each connection instead
        #[arg(long)]
        bytes: Option<u64>,
    },
    /// Listens, receives and compares
    Sink {
        /// Where to listen
        #[arg(long)]
        on: SocketAddr,
        /// Connections to wait for
        #[arg(long, default_value_t = 1)]
        flows: usize,
        /// Goodput is what arrives within so many seconds of the first byte
        #[arg(long, default_value_t = 10.0)]
        seconds: f64,
    },
}

/// Where an end is, and what carries its bytes.
#[derive(Args, Clone, Debug)]
pub struct Seat {
    /// Use the kernel's sockets
    #[arg(long, global = true)]
    pub kernel: bool,
    /// The kernel's congestion control
    #[arg(long, global = true, requires = "kernel", default_value = "cubic")]
    pub congestion: String,
    /// Without --kernel: the interface to take over
    #[arg(long, global = true, default_value = "eth0")]
    pub interface: String,
    /// Without --kernel: an address that no kernel has, as 10.0.0.9/24
    #[arg(long, global = true)]
    pub address: Option<IpNet>,
    /// Without --kernel: a neighbour that need not be asked for, as 10.0.0.2=02:00:00:00:00:02
    #[arg(long, global = true)]
    pub neighbor: Vec<Neighbor>,
    /// The core to run on
    #[arg(long, global = true)]
    pub core: Option<usize>,
}

/// An address and its link-layer address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Neighbor {
    /// The address.
    pub ip: IpAddr,
    /// The link-layer address.
    pub mac: [u8; 6],
}

impl FromStr for Neighbor {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || format!("'{text}' is no neighbour: 10.0.0.2=02:00:00:00:00:02 is one");
        let (ip, mac) = text.split_once('=').ok_or_else(wrong)?;
        let octets: Option<Vec<u8>> =
            mac.split(':').map(|octet| u8::from_str_radix(octet, 16).ok()).collect();
        let mac = octets.and_then(|octets| octets.try_into().ok()).ok_or_else(wrong)?;
        Ok(Neighbor { ip: ip.parse().map_err(|_| wrong())?, mac })
    }
}

/// Runs to the end; a sink prints `ready` first, when it can be connected to. Errors are whole sentences.
pub fn run(options: &Options) -> Result<Figures, String> {
    if let Some(core) = options.seat.core {
        let mut cores = CpuSet::new();
        let pinned = cores.set(core).and_then(|()| sched_setaffinity(Pid::from_raw(0), &cores));
        pinned.map_err(|error| format!("cannot run on core {core}: {error}"))?;
    }
    let mut figures = match (&options.role, options.seat.kernel) {
        (role, true) => kernel::run(role, &options.seat)?,
        (role, false) => stack::run(role, &options.seat)?,
    };
    // It fails for an unknown `who` only.
    if let Ok(usage) = getrusage(UsageWho::RUSAGE_SELF) {
        for (name, time) in [("user_s", usage.user_time()), ("system_s", usage.system_time())] {
            figures.push(name, time.tv_sec() as f64 + time.tv_usec() as f64 / 1e6);
        }
    }
    Ok(figures)
}

/// When a source stops.
#[derive(Clone, Copy, Debug)]
enum Limit {
    /// After so long, counted from when all flows are open.
    Time(Duration),
    /// After so many bytes on each flow.
    Bytes(u64),
}

impl Limit {
    fn new(seconds: f64, bytes: Option<u64>) -> Self {
        bytes.map_or(Limit::Time(Duration::from_secs_f64(seconds)), Limit::Bytes)
    }

    /// Bytes that may still be sent on a flow that has sent `sent`.
    fn left(self, sent: u64) -> usize {
        match self {
            Limit::Time(_) => usize::MAX,
            Limit::Bytes(bytes) => bytes.saturating_sub(sent).try_into().unwrap_or(usize::MAX),
        }
    }

    fn is_reached(self, sent: u64, elapsed: Duration) -> bool {
        match self {
            Limit::Time(time) => elapsed >= time,
            Limit::Bytes(bytes) => sent >= bytes,
        }
    }

    /// How long everything may take.
    fn patience(self) -> Duration {
        match self {
            Limit::Time(time) => time + PATIENCE,
            Limit::Bytes(_) => PATIENCE,
        }
    }
}

/// Counts what a sink receives. Times are since any moment that all calls agree on.
#[derive(Clone, Copy, Debug)]
struct Meter {
    window: Duration,
    first: Option<Duration>,
    last: Duration,
    bytes: u64,
    bytes_in_window: u64,
}

impl Meter {
    /// Goodput is taken over `seconds` from the first byte on.
    fn new(seconds: f64) -> Self {
        Meter {
            window: Duration::from_secs_f64(seconds),
            first: None,
            last: Duration::ZERO,
            bytes: 0,
            bytes_in_window: 0,
        }
    }

    fn count(&mut self, bytes: usize, now: Duration) {
        let first = *self.first.get_or_insert(now);
        self.last = now;
        self.bytes += bytes as u64;
        if now - first < self.window {
            self.bytes_in_window += bytes as u64;
        }
    }

    /// Bytes, seconds from the first to the last of them, and goodput: bytes per second within the window, or
    /// until the last byte if that was sooner.
    fn figures(&self) -> Figures {
        let seconds = (self.last - self.first.unwrap_or(self.last)).as_secs_f64();
        let window = self.window.as_secs_f64().min(seconds);
        let mut figures = Figures::default();
        figures.push("bytes", self.bytes as f64);
        figures.push("seconds", seconds);
        let goodput = if window > 0.0 { self.bytes_in_window as f64 / window } else { 0.0 };
        figures.push("goodput", goodput);
        figures
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn neighbours_are_read() {
        let neighbor: Neighbor = "10.0.0.2=02:00:00:00:00:0a".parse().expect("is well written");
        assert_eq!((neighbor.ip, neighbor.mac), ([10, 0, 0, 2].into(), [2, 0, 0, 0, 0, 10]));
        for wrong in ["", "10.0.0.2", "10.0.0.2=02:00", "x=02:00:00:00:00:0a"] {
            assert!(wrong.parse::<Neighbor>().is_err(), "{wrong}");
        }
    }

    #[test]
    fn goodput_is_of_the_window_and_bytes_are_all() {
        let mut meter = Meter::new(2.0);
        for second in 5..10 {
            meter.count(1000, Duration::from_secs(second));
        }
        let figures = meter.figures();
        let read = ["bytes", "seconds", "goodput"].map(|name| figures.figure(name));
        assert_eq!(read, [5000.0, 4.0, 1000.0]);
    }

    #[test]
    fn a_short_run_is_divided_by_its_own_time() {
        let mut meter = Meter::new(100.0);
        meter.count(0, Duration::ZERO);
        meter.count(3000, Duration::from_secs(3));
        assert_eq!(meter.figures().figure("goodput"), 1000.0);
    }
}
