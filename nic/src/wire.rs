//! What every wire can do: AF_XDP queues, and the in-memory wire of the tests.
//!
//! In:    frames to send
//! Out:   frames received
//! Never: blocks

use crate::Frame;

/// One queue of frames. The verbs follow one turn of a core:
///
/// ```text
/// reclaim   completion ring -> free frames -> fill ring
/// next      one received frame (call until `None` or the budget is spent)
/// release   a frame that is done with -> free frames
/// reserve   a free frame to write into
/// submit    a written frame -> transmit ring
/// flush     publish, one kick if the ring asks for it
/// ```
pub trait Wire {
    /// Moves completed transmissions to the free list and refills the fill ring from it.
    /// Returns how many transmissions completed.
    fn reclaim(&mut self) -> usize;

    /// The next received frame, or `None` when the receive ring is empty for now.
    fn next(&mut self) -> Option<Frame>;

    /// A free frame to write into, or `None` when all are in use (a state, counted, not an error).
    /// Its length is the room it has; [`Wire::submit`] says how much of it is used.
    fn reserve(&mut self) -> Option<Frame>;

    /// The bytes of a frame of this wire.
    fn bytes<'a>(&'a self, frame: &'a Frame) -> &'a [u8];

    /// The bytes of a frame of this wire, to write.
    fn bytes_mut<'a>(&'a mut self, frame: &'a mut Frame) -> &'a mut [u8];

    /// Queues the first `len` bytes of `frame` for transmission. When the transmit ring is full the
    /// frame comes back.
    fn submit(&mut self, frame: Frame, len: usize) -> Result<(), Frame>;

    /// Gives a frame back to the free list.
    fn release(&mut self, frame: Frame);

    /// Publishes what was submitted and kicks the kernel at most once, and only if it asks for it.
    fn flush(&mut self);

    /// Whether transmissions are still with the kernel (used to drain before the end).
    fn in_flight(&self) -> usize;

    /// The largest frame that can be received or sent, in bytes of Ethernet frame without FCS.
    fn frame_len_max(&self) -> usize;

    /// Asserts that every frame is in exactly one place: free, fill, receive, transmit or completion
    /// ring, or one of `held` frames in the caller's hands.
    fn assert_conserved(&mut self, held: usize);

    /// Counters since the wire was opened.
    fn stats(&self) -> WireStats;
}

/// Counters of one queue since it was opened.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct WireStats {
    /// Frames received.
    pub rx_frames: u64,
    /// Bytes received.
    pub rx_bytes: u64,
    /// Frames given to the driver.
    pub tx_frames: u64,
    /// Bytes given to the driver.
    pub tx_bytes: u64,
    /// Kicks (system calls to make the kernel send or receive).
    pub kicks: u64,
    /// Kicks that the kernel refused for another reason than being busy.
    pub kick_errors: u64,
    /// Times that no free frame was there to send with.
    pub no_frame: u64,
    /// Times that the transmit ring was full.
    pub tx_full: u64,
    /// XDP_STATISTICS: dropped for other reasons than a full ring.
    pub rx_dropped: u64,
    /// XDP_STATISTICS: the fill ring was empty when a packet came.
    pub rx_fill_ring_empty: u64,
    /// XDP_STATISTICS: the receive ring was full when a packet came.
    pub rx_ring_full: u64,
    /// XDP_STATISTICS: descriptors in the fill ring that the kernel refused.
    pub rx_invalid_descriptors: u64,
    /// XDP_STATISTICS: descriptors in the transmit ring that the kernel refused.
    pub tx_invalid_descriptors: u64,
    /// Not a counter: frames there are.
    pub frames: u64,
    /// Not a counter: frames on the free list now.
    pub frames_free: u64,
}
