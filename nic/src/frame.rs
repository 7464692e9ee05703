//! A frame: the permission to touch the bytes of one slot of a wire's memory.
//!
//! In:    slots of a wire's memory, wrapped by the wire that owns them
//! Out:   the same slots, given back by value
//! Owns:  nothing but the permission
//! Never: copied, cloned, or dropped outside its wire

/// The permission to read and write one slot of a wire's memory (a UMEM frame).
///
/// Invariants:
/// - exactly one `Frame` exists for a slot that is not in one of the kernel's rings or the free list;
/// - it goes back by value, through [`Wire::submit`](crate::Wire::submit) or
///   [`Wire::release`](crate::Wire::release); dropping it anywhere else is our own mistake and panics.
#[derive(Debug)]
#[must_use = "a frame must be submitted or released"]
pub struct Frame {
    /// Byte address of the payload's first byte within the wire's memory.
    pub(crate) address: u64,
    /// Bytes of payload.
    pub(crate) len: u32,
}

impl Frame {
    /// Bytes of payload: what was received, or what is to be sent.
    pub fn len(&self) -> usize {
        self.len as usize
    }

    /// Whether the frame holds no byte.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }
}

impl Drop for Frame {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            panic!("frame at {:#x} dropped outside its wire", self.address);
        }
    }
}
