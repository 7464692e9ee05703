//! The ledger of a wire's memory: where each slot is, and which are free.
//!
//! In:    moves of slots from place to place, by the wire that owns them
//! Out:   free slots; counts per place; a panic at the first move that cannot be
//! Owns:  one byte per slot, and the free list
//! Never: touches the bytes of a slot

use std::sync::atomic::{AtomicU32, Ordering};

use crate::frame::{Frame, Slot, WireId};

/// Where a slot is.
///
/// ```text
///            refill              received
///    Free ----------> Receive ------------> Held
///     ^  \               reserve            ^ |
///     |   \---------------------------------/ | submit
///     |<---------------- release ------------/ v
///     +<----------- completed ----------- Transmit
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Place {
    /// On the free list.
    Free,
    /// In the fill ring or the receive ring: the kernel's, to receive into.
    Receive,
    /// In the hands of the wire's user, as a [`Frame`], or about to be.
    Held,
    /// Submitted and not completed.
    Transmit,
}

const PLACES: usize = 4;

/// The ledger.
///
/// Invariants:
/// - every slot is in exactly one place, and moves only along the arrows of [`Place`];
/// - `count[p]` is the number of slots in place `p`, and the counts add up to all slots;
/// - `free` holds exactly the slots whose place is `Free`.
///
/// A slot number that comes from the kernel is checked here before anything is indexed by it.
#[derive(Debug)]
pub(crate) struct Slots {
    wire: WireId,
    place: Box<[Place]>,
    free: Vec<Slot>,
    count: [usize; PLACES],
}

impl Slots {
    pub(crate) fn new(len: u32) -> Self {
        static NEXT_WIRE: AtomicU32 = AtomicU32::new(0);
        let mut count = [0; PLACES];
        count[Place::Free as usize] = len as usize;
        Self {
            wire: WireId(NEXT_WIRE.fetch_add(1, Ordering::Relaxed)),
            place: vec![Place::Free; len as usize].into(),
            // Reversed: low slots first, which keeps a quiet wire in few cache lines and pages.
            free: (0..len).rev().map(Slot).collect(),
            count,
        }
    }

    pub(crate) fn len(&self) -> usize {
        self.place.len()
    }

    pub(crate) fn count(&self, place: Place) -> usize {
        self.count[place as usize]
    }

    /// Takes a free slot. Last in, first out: its bytes are the likeliest to be in the cache.
    pub(crate) fn take(&mut self, to: Place) -> Option<Slot> {
        let slot = self.free.pop()?;
        self.relocate(slot, Place::Free, to);
        Some(slot)
    }

    pub(crate) fn put(&mut self, slot: Slot, from: Place) {
        self.relocate(slot, from, Place::Free);
        self.free.push(slot);
    }

    /// Moves a slot that is neither free nor becomes so.
    pub(crate) fn shift(&mut self, slot: Slot, from: Place, to: Place) {
        debug_assert!(from != Place::Free && to != Place::Free);
        self.relocate(slot, from, to);
    }

    /// The permission for a slot that was put into `Held`.
    pub(crate) fn frame(&self, slot: Slot, len: u32) -> Frame {
        debug_assert_eq!(self.place[slot.index()], Place::Held);
        Frame { wire: self.wire, slot, len }
    }

    /// Asserts that `frame` is of this wire.
    pub(crate) fn check(&self, frame: &Frame) {
        assert_eq!(frame.wire, self.wire, "a frame of another wire: {frame:?}");
    }

    /// Asserts that every slot is in one place, `held` of them with the wire's user.
    pub(crate) fn assert_conserved(&self, held: usize) {
        let mut found = [0; PLACES];
        for place in &self.place {
            found[*place as usize] += 1;
        }
        assert_eq!(found, self.count, "counts of slots by place (free, receive, held, transmit)");
        assert_eq!(self.free.len(), self.count(Place::Free), "length of the free list");
        assert!(
            self.free.iter().all(|slot| self.place[slot.index()] == Place::Free),
            "a slot on the free list is elsewhere too"
        );
        assert_eq!(
            held,
            self.count(Place::Held),
            "frames held; by place (free, receive, held, transmit): {found:?}"
        );
    }

    fn relocate(&mut self, slot: Slot, from: Place, to: Place) {
        let place = self.place.get_mut(slot.index());
        assert!(place.is_some(), "slot {} does not exist, moving {from:?} -> {to:?}", slot.0);
        if let Some(place) = place {
            assert_eq!(*place, from, "slot {} is not there, moving it to {to:?}", slot.0);
            *place = to;
            self.count[from as usize] -= 1;
            self.count[to as usize] += 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_slot_comes_back() {
        let mut slots = Slots::new(4);
        let a = slots.take(Place::Held).unwrap();
        let b = slots.take(Place::Receive).unwrap();
        slots.assert_conserved(1);
        slots.shift(a, Place::Held, Place::Transmit);
        slots.shift(b, Place::Receive, Place::Held);
        slots.assert_conserved(1);
        slots.put(a, Place::Transmit);
        slots.put(b, Place::Held);
        slots.assert_conserved(0);
        assert_eq!(slots.count(Place::Free), 4);
    }

    #[test]
    fn running_out_is_a_state() {
        let mut slots = Slots::new(1);
        assert!(slots.take(Place::Held).is_some());
        assert!(slots.take(Place::Held).is_none());
        slots.assert_conserved(1);
    }

    #[test]
    #[should_panic(expected = "is not there")]
    fn completing_a_slot_twice_is_caught() {
        let mut slots = Slots::new(2);
        let slot = slots.take(Place::Transmit).unwrap();
        slots.put(slot, Place::Transmit);
        slots.put(slot, Place::Transmit);
    }

    #[test]
    #[should_panic(expected = "does not exist")]
    fn a_slot_number_out_of_range_is_caught() {
        Slots::new(2).put(Slot(2), Place::Transmit);
    }

    #[test]
    #[should_panic(expected = "a frame of another wire")]
    fn a_frame_of_another_wire_is_caught() {
        let mut one = Slots::new(1);
        let other = Slots::new(1);
        let slot = one.take(Place::Held).unwrap();
        let frame = one.frame(slot, 0);
        other.check(&frame);
    }

    #[test]
    #[should_panic(expected = "frames held")]
    fn a_lost_frame_is_caught() {
        let mut slots = Slots::new(2);
        slots.take(Place::Held).unwrap();
        slots.assert_conserved(0);
    }
}
