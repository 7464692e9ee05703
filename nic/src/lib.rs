//! The wire: queues of frames. Knows no packet, no connection, no clock.
//!
//! In:    descriptors from a driver's receive ring, or from an in-memory wire
//! Out:   `Frame`s, each the permission to touch its bytes, and rings that are kicked once a turn
//! Owns:  UMEM, the four rings of an AF_XDP socket, the XDP program and its maps
//! Never: parses a header; decides who a packet is for
//! Read:  Documentation/networking/af_xdp.rst
//!
//! One interface in production: attach its [`Program`], open an [`XskQueue`] per worker with the
//! program's mode, register each, tell the program what to take ([`Steering`]), and move each queue
//! to its worker, which turns it as [`Wire`] says. Tests use a [`MemoryWire`] instead.

mod frame;
// Asks the driver by ioctl, which has no safe form.
#[allow(unsafe_code)]
mod interface;
mod memory;
mod mode;
mod patience;
mod program;
mod slots;
mod steering;
mod wire;
// The memory that is shared with the kernel, and the socket option that the library lacks.
#[allow(unsafe_code)]
mod xsk;
mod xsk_error;

pub use frame::Frame;
pub use interface::{Interface, InterfaceError, Rss};
pub use memory::{Faults, MemoryConfig, MemoryWire};
pub use mode::Mode;
pub use program::{AttachError, MapsError, Program, QueueCounters, Verdict};
pub use steering::{AddressOwner, Listener, ReplyPorts, Steering};
pub use wire::{Wire, WireStats};
pub use xsk::{XskConfig, XskQueue};
pub use xsk_error::OpenError;
