//! Streams that wait for a server: in the order of their priority, then of their coming.
//!
//! In:    streams that found no place
//! Out:   the one whose turn it is
//! Owns:  the order
//! Never: knows a server's limit; walks the queue to find the first

use std::collections::BTreeMap;

use crate::clock::Instant;

slotmap::new_key_type! {
    /// A stream's ticket in the queues of a backend.
    pub struct TicketId;
}

/// Where a stream stands among others: `set-priority-class` and `set-priority-offset`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Priority {
    /// Lower goes first, -2047 to 2047.
    pub class: i16,
    /// Milliseconds that are added to the time of coming, -524287 to 524287.
    pub offset_ms: i32,
}

/// The order of a queue: class, then the time of coming with its offset, then who came first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Place {
    class: i16,
    due_ms: i64,
    number: u64,
}

/// Streams that wait.
#[derive(Debug, Default)]
pub struct Queue {
    waiting: BTreeMap<Place, TicketId>,
    /// How many have had their turn so far.
    served: u64,
}

/// What gives out places: one for all queues of a backend, so that places of two of them can be compared.
#[derive(Debug, Default)]
pub struct Numbers {
    next: u64,
}

impl Numbers {
    /// The place of a stream that comes now.
    pub fn place(&mut self, priority: Priority, now: Instant) -> Place {
        self.next += 1;
        let came_ms = (now.micros() / 1000) as i64;
        Place {
            class: priority.class,
            // Without an offset the number alone tells who came first.
            due_ms: came_ms + i64::from(priority.offset_ms),
            number: self.next,
        }
    }
}

impl Queue {
    /// Streams that wait.
    pub fn len(&self) -> usize {
        self.waiting.len()
    }

    /// Whether nobody waits.
    pub fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }

    /// Lets a stream wait at its place.
    pub fn insert(&mut self, place: Place, ticket: TicketId) {
        self.waiting.insert(place, ticket);
    }

    /// Whose turn it is, and the place.
    pub fn first(&self) -> Option<(Place, TicketId)> {
        self.waiting.first_key_value().map(|(place, ticket)| (*place, *ticket))
    }

    /// How many have had their turn so far.
    pub fn served(&self) -> u64 {
        self.served
    }

    /// It is the turn of a stream: takes it out.
    pub fn serve(&mut self, place: Place) {
        self.served += 1;
        self.remove(place);
    }

    /// Takes a stream out before its turn.
    pub fn remove(&mut self, place: Place) {
        self.waiting.remove(&place);
    }

    /// Takes all out, in order.
    pub fn drain(&mut self) -> impl Iterator<Item = TicketId> + use<> {
        std::mem::take(&mut self.waiting).into_values()
    }
}

#[cfg(test)]
mod tests {
    use slotmap::SlotMap;

    use super::*;

    #[test]
    fn class_goes_before_time_and_time_before_number() {
        let mut tickets: SlotMap<TicketId, ()> = SlotMap::with_key();
        let mut numbers = Numbers::default();
        let mut queue = Queue::default();
        let now = Instant::from_millis(1000);
        let mut add = |class, offset_ms, at| {
            let ticket = tickets.insert(());
            queue.insert(numbers.place(Priority { class, offset_ms }, at), ticket);
            ticket
        };
        let first = add(0, 0, now);
        let second = add(0, 0, now);
        let early = add(0, -500, now + std::time::Duration::from_millis(100));
        let urgent = add(-1, 0, now + std::time::Duration::from_millis(200));
        let patient = add(1, -500_000, now);
        let order: Vec<TicketId> = queue.drain().collect();
        assert_eq!(order, [urgent, early, first, second, patient]);
    }
}
