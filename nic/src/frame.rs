//! A frame: the permission to touch the bytes of one slot of a wire's memory.
//!
//! In:    slots of a wire's memory, wrapped by the wire that owns them
//! Out:   the same slots, given back by value
//! Owns:  nothing but the permission
//! Never: copied, cloned, or dropped outside its wire

use std::mem;

/// The permission to read and write one slot of a wire's memory (a UMEM frame).
///
/// Invariants:
/// - exactly one `Frame` exists for a slot that is not in one of the kernel's rings or the free list;
/// - only the wire that handed it out takes it back or shows its bytes: another one panics;
/// - it goes back by value, through [`Wire::submit`](crate::Wire::submit) or
///   [`Wire::release`](crate::Wire::release); dropping it anywhere else is our own mistake and panics.
#[derive(Debug)]
#[must_use = "a frame must be submitted or released"]
pub struct Frame {
    /// The wire that it belongs to.
    pub(crate) wire: WireId,
    /// Which slot of the wire's memory.
    pub(crate) slot: Slot,
    /// Bytes of payload.
    pub(crate) len: u32,
}

/// Which wire of this process, so that a frame cannot come back to another one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct WireId(pub(crate) u32);

/// Index of a slot of a wire's memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Slot(pub(crate) u32);

impl Slot {
    pub(crate) fn index(self) -> usize {
        self.0 as usize
    }
}

impl Frame {
    /// Bytes of payload: what was received, or the room to write into.
    pub fn len(&self) -> usize {
        self.len as usize
    }

    /// Whether the frame holds no byte.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Ends the permission: the slot is the wire's again.
    pub(crate) fn into_slot(self) -> Slot {
        let slot = self.slot;
        mem::forget(self);
        slot
    }
}

impl Drop for Frame {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            panic!("frame in slot {} dropped outside its wire", self.slot.0);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    #[should_panic(expected = "dropped outside its wire")]
    fn dropping_a_frame_is_a_mistake() {
        drop(Frame { wire: WireId(0), slot: Slot(3), len: 0 });
    }
}
