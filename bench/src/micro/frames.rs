//! A wire in memory: frames in slots that were there before.
//!
//! In:    frames of one end
//! Out:   the same frames at the other end, in order
//! Owns:  the slots of one direction
//! Never: allocates after it was made; loses a frame
//!
//! Both stacks write into these slots and read from them, so that the wire costs each the same.

use netstack::Transmit;
use netstack::fib::WireId;
use smoltcp::phy::{Device, DeviceCapabilities, Medium, RxToken, TxToken};
use smoltcp::time::Instant;

/// Largest IP packet, bytes: Ethernet's.
pub const MTU: u16 = 1500;
/// Frames under way in one direction at most; a power of two. All of them fit a core's cache.
pub const SLOTS: usize = 64;
/// Bytes of a slot: the headers of Ethernet and the MTU, rounded up.
const SLOT: usize = 2048;
const ETHERNET_HEADER: usize = 14;

/// One direction of a wire.
pub struct Frames {
    slots: Box<[[u8; SLOT]]>,
    lens: [usize; SLOTS],
    head: usize,
    count: usize,
}

impl Default for Frames {
    fn default() -> Self {
        let slots = vec![[0; SLOT]; SLOTS].into_boxed_slice();
        Frames { slots, lens: [0; SLOTS], head: 0, count: 0 }
    }
}

impl Frames {
    /// Frames that one more call of [`Frames::push`] can add to.
    pub fn room(&self) -> usize {
        SLOTS - self.count
    }

    /// Adds a frame of `len` bytes that `fill` writes. Only with room.
    #[inline]
    pub fn push<R>(&mut self, len: usize, fill: impl FnOnce(&mut [u8]) -> R) -> R {
        assert!(self.count < SLOTS, "a frame without room");
        let at = (self.head + self.count) % SLOTS;
        self.count += 1;
        self.lens[at] = len;
        fill(&mut self.slots[at][..len])
    }

    /// Takes the oldest frame.
    #[inline]
    pub fn pop(&mut self) -> Option<&[u8]> {
        if self.count == 0 {
            return None;
        }
        let at = self.head;
        self.head = (self.head + 1) % SLOTS;
        self.count -= 1;
        Some(&self.slots[at][..self.lens[at]])
    }
}

impl Transmit for Frames {
    #[inline]
    fn has_room(&mut self, _: WireId) -> bool {
        self.room() > 0
    }

    #[inline]
    fn send(&mut self, _: WireId, len: usize, fill: impl FnOnce(&mut [u8])) {
        self.push(len, fill);
    }
}

/// Both directions, as smoltcp's end sees them.
pub struct Ends<'a> {
    /// Frames for this end.
    pub rx: &'a mut Frames,
    /// Frames from this end.
    pub tx: &'a mut Frames,
}

/// A frame that arrived.
pub struct Arrived<'a>(&'a [u8]);

/// Room for a frame.
pub struct Room<'a>(&'a mut Frames);

impl Device for Ends<'_> {
    type RxToken<'a>
        = Arrived<'a>
    where
        Self: 'a;
    type TxToken<'a>
        = Room<'a>
    where
        Self: 'a;

    #[inline]
    fn receive(&mut self, _: Instant) -> Option<(Arrived<'_>, Room<'_>)> {
        // smoltcp may answer what it takes at once.
        if self.tx.room() == 0 {
            return None;
        }
        Some((Arrived(self.rx.pop()?), Room(self.tx)))
    }

    #[inline]
    fn transmit(&mut self, _: Instant) -> Option<Room<'_>> {
        (self.tx.room() > 0).then_some(Room(self.tx))
    }

    /// Checksums are smoltcp's default: computed and verified, both.
    fn capabilities(&self) -> DeviceCapabilities {
        let mut capabilities = DeviceCapabilities::default();
        capabilities.medium = Medium::Ethernet;
        capabilities.max_transmission_unit = ETHERNET_HEADER + usize::from(MTU);
        capabilities
    }
}

impl RxToken for Arrived<'_> {
    #[inline]
    fn consume<R, F: FnOnce(&[u8]) -> R>(self, f: F) -> R {
        f(self.0)
    }
}

impl TxToken for Room<'_> {
    #[inline]
    fn consume<R, F: FnOnce(&mut [u8]) -> R>(self, len: usize, f: F) -> R {
        self.0.push(len, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keeps_every_frame_and_their_order() {
        let mut frames = Frames::default();
        for turn in 0..3_u8 {
            while frames.room() > 0 {
                let len = 60 + SLOTS - frames.room();
                frames.push(len, |bytes| bytes.fill(turn));
            }
            for index in 0..SLOTS - usize::from(turn) {
                let frame = frames.pop().expect("a frame");
                // What was left over from the turn before comes first.
                let old = index < usize::from(turn.saturating_sub(1));
                assert_eq!(frame[0], turn - u8::from(old), "frame {index} of turn {turn}");
            }
        }
    }
}
