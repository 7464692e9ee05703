//! The stack: packets in, packets out, byte streams up. Sans-IO: no NIC, no clock, no threads.
//!
//! In:    frames, the time, randomness, commands on connections
//! Out:   frames, events on connections
//! Owns:  connections, their timers, their buffers
//! Never: reads a clock, blocks, knows a proxy
//! Read:  RFC 9293 (TCP); RFC 1122

pub mod buffer;
pub mod fib;
pub mod seq;
pub mod time;
pub mod wheel;
