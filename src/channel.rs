//! One direction of a stream.
//!
//! In:    what one peer sent
//! Out:   the same, to the other peer
//! Owns:  nothing: bytes wait in the transport, in buffers that move from one side to the other
//! Never: decides when to stop; the stream does

use crate::clock::Instant;
use crate::transport::Transport;

/// Bytes that one run of a task moves in one direction: beyond it others have their turn.
const FORWARD_MAX: usize = 256 * 1024;

/// One direction of a stream.
#[derive(Debug, Default)]
pub struct Channel {
    /// Bytes forwarded so far.
    pub total: u64,
    /// The producer has closed, and the consumer was told.
    pub is_shut: bool,
}

/// What one run of a channel did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Progress {
    /// Bytes moved.
    pub moved: usize,
    /// There may be more to move now.
    pub unfinished: bool,
    /// Bytes are left that found no room.
    pub is_stuck: bool,
}

impl Channel {
    /// Moves what can be moved, and passes the end on.
    pub fn pump<T: Transport>(
        &mut self,
        transport: &mut T,
        from: T::Conn,
        to: T::Conn,
        now: Instant,
    ) -> Progress {
        let moved = transport.forward(from, to, FORWARD_MAX, now);
        self.total += moved as u64;
        let status = transport.status(from).unwrap_or_default();
        if status.eof && !self.is_shut {
            transport.shut(to, now);
            self.is_shut = true;
        }
        Progress { moved, unfinished: moved == FORWARD_MAX, is_stuck: status.readable > 0 }
    }
}
