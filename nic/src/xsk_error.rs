//! Why a queue could not be opened, in sentences for the operator.
//!
//! In:    what `xsk` ran into
//! Out:   which interface and queue, what failed, what to try
//! Owns:  nothing
//! Never: decides what happens then

use std::error::Error;
use std::fmt;
use std::io;

use crate::InterfaceError;

/// Why a queue could not be opened. Its text is for the operator.
#[derive(Debug)]
pub enum OpenError {
    /// The interface cannot be read.
    Interface(InterfaceError),
    /// The interface is down.
    Down {
        /// Interface.
        interface: String,
    },
    /// The interface has no such queue.
    NoQueue {
        /// Interface.
        interface: String,
        /// Queue asked for.
        queue: u32,
        /// How many it has.
        queues: u32,
    },
    /// The sizes do not fit each other.
    Config {
        /// Interface.
        interface: String,
        /// Queue.
        queue: u32,
        /// What is wrong.
        reason: String,
    },
    /// The memory could not be had or registered.
    Memory {
        /// Interface.
        interface: String,
        /// Queue.
        queue: u32,
        /// How much.
        bytes: u64,
        /// Whether in huge pages.
        huge_pages: bool,
        /// Reason.
        error: io::Error,
    },
    /// The socket could not be bound to the queue.
    Bind {
        /// Interface.
        interface: String,
        /// Queue.
        queue: u32,
        /// Reason.
        error: io::Error,
    },
}

impl fmt::Display for OpenError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Interface(error) => error.fmt(f),
            Self::Down { interface } => write!(
                f,
                "interface '{interface}' is down: `ip link set dev {interface} up` brings it up"
            ),
            Self::NoQueue { interface, queue, queues } => write!(
                f,
                "interface '{interface}' has {queues} receive queue(s), so there is no queue {queue}: \
                 start fewer cores, or raise the number by `ethtool -L {interface} combined {}` \
                 (for some drivers: `rx {0} tx {0}`)",
                queue + 1
            ),
            Self::Config { interface, queue, reason } => {
                write!(f, "queue {queue} of interface '{interface}': {reason}")
            }
            Self::Memory { interface, queue, bytes, huge_pages, error } => {
                let mib = bytes.div_ceil(1 << 20);
                let hint = if *huge_pages {
                    "set huge pages aside (`sysctl vm.nr_hugepages`) or do without them"
                } else {
                    "raise the locked-memory limit (`ulimit -l`), or use fewer frames"
                };
                write!(
                    f,
                    "no {mib} MiB of frames for queue {queue} of interface '{interface}': {error}; {hint}"
                )
            }
            Self::Bind { interface, queue, error } => {
                let hint = match error.raw_os_error() {
                    Some(libc::EBUSY) => {
                        "; another process has an AF_XDP socket on it (`ss --xdp -p` shows which)"
                    }
                    Some(libc::EPERM) => "; root or CAP_NET_RAW is needed",
                    _ => "",
                };
                write!(
                    f,
                    "cannot open an AF_XDP socket on queue {queue} of interface '{interface}': \
                     {error}{hint}"
                )
            }
        }
    }
}

impl Error for OpenError {}
