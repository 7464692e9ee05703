//! The proxy: HAProxy's configuration language and model over a transport of its own.
//!
//! In:    a configuration, packets of network interfaces
//! Out:   packets
//! Owns:  listeners, streams, backends; and, at the edges, threads, signals and the kernel's tables
//! Never: lets the proxy core know what carries its byte streams
//!
//! The rooms, from the outside in: [`cli`], [`config`], [`boot`], [`control`], [`process`] (the process); [`worker`],
//! [`wires`], [`handover`] (one core); [`runtime`] (what an operator asks); [`transport`] (the seam); [`proxies`], [`listener`], [`stream`],
//! [`channel`], [`backend`], [`lb`], [`task`] (the proxy core).

pub mod acl;
pub mod backend;
pub mod bell;
pub mod boot;
pub mod channel;
pub mod check;
pub mod cli;
pub mod clock;
pub mod config;
pub mod control;
pub mod cores;
pub mod counters;
pub mod edition;
pub mod handover;
pub mod health;
pub mod idle;
pub mod kernel_ports;
pub mod latency;
pub mod lb;
pub mod limit;
pub mod listener;
pub mod log;
pub mod log_format;
pub mod netlink;
pub mod process;
pub mod proxies;
pub mod proxy_protocol;
pub mod queue;
pub mod rate;
pub mod report;
pub mod runtime;
pub mod sample;
pub mod shared;
pub mod source;
pub mod stream;
pub mod syslog;
pub mod task;
pub mod transport;
pub mod version;
pub mod vitals;
pub mod watch;
pub mod watchdog;
pub mod wires;
pub mod worker;
