//! The perf lab of xlb and the wires it measures over.
//!
//! In:    interfaces of a namespace
//! Out:   frames, with faults where they were asked for
//! Owns:  the packet sockets of the lab
//! Never: part of the balancer; knows nothing of its packages but, in `micro`, the stack that it measures

pub mod faulty_wire;
pub mod frame_sender;
pub mod micro;
pub mod packet_socket;
pub mod syn_flood;
