//! The perf lab of xlb: the wires it measures over, and the hosts at their ends.
//!
//! In:    interfaces of a namespace
//! Out:   frames, with faults where they were asked for; connections of the stack and of the kernel; figures of both
//! Owns:  the packet sockets of the lab, its namespaces, its programs
//! Never: part of the balancer; knows the proxy

pub mod faulty_wire;
pub mod figures;
pub mod frame_sender;
pub mod host;
pub mod lossy;
pub mod micro;
pub mod packet_socket;
pub mod pattern;
pub mod peer;
pub mod syn_flood;
pub mod wire_lab;
