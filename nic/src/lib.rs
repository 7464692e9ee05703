//! The wire: queues of frames. Knows no packet, no connection, no clock.
//!
//! In:    descriptors from a driver's receive ring, or from an in-memory wire
//! Out:   `Frame`s, each the permission to touch its bytes, and rings that are kicked once a turn
//! Owns:  UMEM, the four rings of an AF_XDP socket, the XDP program and its maps
//! Never: parses a header; decides who a packet is for
//! Read:  Documentation/networking/af_xdp.rst

mod frame;
mod wire;

pub use frame::Frame;
pub use wire::{Wire, WireStats};
