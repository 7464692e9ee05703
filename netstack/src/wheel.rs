//! Timers: a hierarchical wheel, O(1) to set and to cancel.
//!
//! In:    deadlines, one per entity (an index such as a connection's)
//! Out:   entities whose deadline has come
//! Owns:  the order of deadlines
//! Never: reads a clock; fires early; walks what is not due
//! Read:  Varghese and Lauck, "Hashed and Hierarchical Timing Wheels", scheme 7

use crate::time::Instant;

/// Slots of a level; one bit each in a word.
const SLOTS: usize = 64;
/// Levels: ticks of 1 ms, 64 ms, 4 s, 4.4 min and 4.7 h.
const LEVELS: usize = 5;
/// Bits of a tick that one level takes.
const SLOT_BITS: u32 = SLOTS.trailing_zeros();
/// Ticks that the wheel spans; later deadlines wait in the last slot and are set again from there.
const SPAN: u64 = 1 << (SLOT_BITS * LEVELS as u32);

const NONE: u32 = u32::MAX;
/// Later than any clock.
const FOREVER: Instant = Instant::from_micros(u64::MAX);

/// Where an entity hangs: links of a ring-less doubly linked list.
#[derive(Clone, Copy)]
struct Node {
    /// The deadline in ticks, and in the lowest bits `level * SLOTS + slot`, or `NOWHERE`: one word for
    /// both, since there is a node for each of a million connections.
    place: u64,
    next: u32,
    prev: u32,
}

/// In the place of a slot: no timer is set.
const NOWHERE: u16 = u16::MAX;
/// Ticks beyond this count as this: nine thousand years.
const TICK_MAX: u64 = u64::MAX >> u16::BITS;
const IDLE: Node = Node { place: NOWHERE as u64, next: NONE, prev: NONE };

impl Node {
    fn deadline(&self) -> u64 {
        self.place >> u16::BITS
    }

    fn slot(&self) -> u16 {
        self.place as u16
    }

    fn is_set(&self) -> bool {
        self.slot() != NOWHERE
    }

    fn set_slot(&mut self, slot: u16) {
        self.place = self.deadline() << u16::BITS | u64::from(slot);
    }

    fn set_deadline(&mut self, tick: u64) {
        self.place = tick << u16::BITS | u64::from(self.slot());
    }
}

/// A wheel of timers with a resolution of one millisecond. A timer fires at the first
/// [`Wheel::poll_expired`] at or after its deadline, rounded up to the next millisecond.
pub struct Wheel {
    nodes: Vec<Node>,
    heads: [u32; SLOTS * LEVELS],
    occupied: [u64; LEVELS],
    /// All ticks up to and including this one have been handled.
    tick: u64,
    armed: usize,
    /// Nothing is due, nor to be hung into a finer level, before this.
    quiet_until: Instant,
}

impl Default for Wheel {
    fn default() -> Self {
        Wheel {
            nodes: Vec::new(),
            heads: [NONE; SLOTS * LEVELS],
            occupied: [0; LEVELS],
            tick: 0,
            armed: 0,
            quiet_until: Instant::ZERO,
        }
    }
}

impl Wheel {
    /// Timers that are set.
    pub fn armed(&self) -> usize {
        self.armed
    }

    /// Bytes that are allocated for timers, set or not.
    pub fn allocated_bytes(&self) -> usize {
        self.nodes.capacity() * size_of::<Node>()
    }

    /// Sets the timer of `entity`, in place of one that it may have.
    pub fn set(&mut self, entity: u32, deadline: Instant) {
        let index = entity as usize;
        if index >= self.nodes.len() {
            self.nodes.resize(index + 1, IDLE);
        }
        let tick = deadline.micros().div_ceil(1000).min(TICK_MAX);
        let node = &self.nodes[index];
        if node.is_set() {
            if node.deadline() == tick {
                return;
            }
            self.unlink(entity);
        }
        // To be looked at again: `poll_at` is early for coarse slots, and never later than this.
        self.quiet_until = Instant::ZERO;
        self.nodes[index].set_deadline(tick);
        self.link(entity);
        self.armed += 1;
    }

    /// As [`Wheel::set`], unless the timer of `entity` fires at `deadline` or before as it is. Who asks
    /// often asks for later: that costs a comparison.
    pub fn set_earlier(&mut self, entity: u32, deadline: Instant) {
        let armed = self.nodes.get(entity as usize).filter(|node| node.is_set());
        if armed.is_none_or(|node| deadline.micros() + 1000 <= node.deadline() * 1000) {
            self.set(entity, deadline);
        }
    }

    /// Takes the timer of `entity` away, if it has one.
    pub fn cancel(&mut self, entity: u32) {
        if self.nodes.get(entity as usize).is_some_and(Node::is_set) {
            self.unlink(entity);
        }
    }

    /// The deadline of `entity`, if it has one; in whole milliseconds.
    pub fn deadline(&self, entity: u32) -> Option<Instant> {
        let node = self.nodes.get(entity as usize)?;
        node.is_set().then(|| Instant::from_millis(node.deadline()))
    }

    /// The next entity that is due, its timer taken away. Call until `None`.
    pub fn poll_expired(&mut self, now: Instant) -> Option<u32> {
        if now < self.quiet_until {
            return None;
        }
        let now_tick = now.millis();
        loop {
            // Every occupied slot of level 0 at or before `now` is due.
            if let Some(entity) = self.take_due(now_tick) {
                return Some(entity);
            }
            if self.tick >= now_tick {
                // Turns are much shorter than ticks: most of them end with a look at this.
                self.quiet_until = self.poll_at().unwrap_or(FOREVER);
                return None;
            }
            self.advance(now_tick);
        }
    }

    /// No timer fires before this moment. It may be early (the end of a coarse slot), never late.
    pub fn poll_at(&self) -> Option<Instant> {
        if self.armed == 0 {
            return None;
        }
        let mut earliest = u64::MAX;
        for level in 0..LEVELS {
            let Some(distance) = self.first_slot(level) else { continue };
            let shift = SLOT_BITS * level as u32;
            let at = ((self.tick >> shift) + distance) << shift;
            earliest = earliest.min(at.max(self.tick));
        }
        Some(Instant::from_millis(earliest))
    }

    /// How many slots ahead of the current one the first occupied slot of a level is.
    fn first_slot(&self, level: usize) -> Option<u64> {
        let bits = self.occupied[level];
        if bits == 0 {
            return None;
        }
        let current = ((self.tick >> (SLOT_BITS * level as u32)) as u32) % SLOTS as u32;
        let mut ahead = bits.rotate_right(current);
        if level > 0 {
            // The current slot of a coarse level has been spread out already: what hangs there is a
            // whole round ahead, behind all others.
            ahead &= !1;
        }
        Some(u64::from(ahead.trailing_zeros()))
    }

    fn take_due(&mut self, now_tick: u64) -> Option<u32> {
        let slot = (self.tick % SLOTS as u64) as usize;
        let entity = self.heads[slot];
        if entity == NONE || self.tick > now_tick {
            return None;
        }
        self.unlink(entity);
        Some(entity)
    }

    /// Steps to the next tick at which something happens, or to `now_tick`.
    fn advance(&mut self, now_tick: u64) {
        let next = self.poll_at().map_or(now_tick, Instant::millis).min(now_tick);
        let next = next.max(self.tick + 1).min(now_tick);
        let previous = self.tick;
        self.tick = next;
        for level in (1..LEVELS).rev() {
            let shift = SLOT_BITS * level as u32;
            if previous >> shift != next >> shift {
                self.spread(level);
            }
        }
    }

    /// Hangs the entities of a level's current slot where they belong now: in finer levels.
    fn spread(&mut self, level: usize) {
        let slot = ((self.tick >> (SLOT_BITS * level as u32)) % SLOTS as u64) as usize;
        let head = level * SLOTS + slot;
        let mut entity = self.heads[head];
        self.heads[head] = NONE;
        self.occupied[level] &= !(1 << slot);
        while entity != NONE {
            let next = self.nodes[entity as usize].next;
            self.nodes[entity as usize].set_slot(NOWHERE);
            self.link(entity);
            entity = next;
        }
    }

    fn link(&mut self, entity: u32) {
        let deadline = self.nodes[entity as usize].deadline().max(self.tick);
        let ahead = (deadline - self.tick).min(SPAN - 1);
        let at = self.tick + ahead;
        // The finest level in which the deadline is less than a round away.
        let level = (0..LEVELS - 1)
            .find(|&level| {
                let shift = SLOT_BITS * level as u32;
                (at >> shift) - (self.tick >> shift) < SLOTS as u64
            })
            .unwrap_or(LEVELS - 1);
        let slot = ((at >> (SLOT_BITS * level as u32)) % SLOTS as u64) as usize;
        let head = level * SLOTS + slot;
        let first = self.heads[head];
        if first != NONE {
            self.nodes[first as usize].prev = entity;
        }
        let node = &mut self.nodes[entity as usize];
        node.next = first;
        node.prev = NONE;
        node.set_slot(head as u16);
        self.heads[head] = entity;
        self.occupied[level] |= 1 << slot;
    }

    fn unlink(&mut self, entity: u32) {
        let node = self.nodes[entity as usize];
        let Node { next, prev, .. } = node;
        let head = usize::from(node.slot());
        if prev == NONE {
            self.heads[head] = next;
        } else {
            self.nodes[prev as usize].next = next;
        }
        if next != NONE {
            self.nodes[next as usize].prev = prev;
        }
        if self.heads[head] == NONE {
            self.occupied[head / SLOTS] &= !(1 << (head % SLOTS));
        }
        self.nodes[entity as usize].set_slot(NOWHERE);
        self.armed -= 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn expired(wheel: &mut Wheel, now: Instant) -> Vec<u32> {
        std::iter::from_fn(|| wheel.poll_expired(now)).collect()
    }

    #[test]
    fn fires_at_its_deadline_and_not_before() {
        let mut wheel = Wheel::default();
        for (entity, ms) in
            [0, 1, 63, 64, 65, 4095, 4096, 300_000, 20_000_000].into_iter().enumerate()
        {
            wheel.set(entity as u32, Instant::from_millis(ms));
        }
        for (entity, ms) in
            [0, 1, 63, 64, 65, 4095, 4096, 300_000, 20_000_000].into_iter().enumerate()
        {
            if ms > 0 {
                assert!(
                    expired(&mut wheel, Instant::from_millis(ms - 1)).is_empty(),
                    "{ms} fired early"
                );
            }
            assert!(wheel.poll_at().unwrap() <= Instant::from_millis(ms));
            assert_eq!(expired(&mut wheel, Instant::from_millis(ms)), [entity as u32], "at {ms}");
        }
        assert_eq!(wheel.armed(), 0);
        assert_eq!(wheel.poll_at(), None);
    }

    #[test]
    fn rounds_up_to_a_millisecond() {
        let mut wheel = Wheel::default();
        wheel.set(0, Instant::from_micros(1500));
        assert!(expired(&mut wheel, Instant::from_micros(1999)).is_empty());
        assert_eq!(expired(&mut wheel, Instant::from_micros(2000)), [0]);
    }

    #[test]
    fn sets_earlier_and_never_later() {
        let mut wheel = Wheel::default();
        let micros = Instant::from_micros;
        for (asked, fires_ms) in
            [(9_500, 10), (20_000, 10), (10_000, 10), (9_001, 10), (9_000, 9), (0, 0), (5_000, 0)]
        {
            wheel.set_earlier(0, micros(asked));
            assert_eq!(
                wheel.deadline(0),
                Some(Instant::from_millis(fires_ms)),
                "asked for {asked}"
            );
        }
        wheel.cancel(0);
        wheel.set_earlier(0, micros(70_000));
        assert_eq!(wheel.deadline(0), Some(Instant::from_millis(70)), "none was set");
    }

    /// Against a plain list, under many seeds: same set fired, never early, `poll_at` never late.
    #[test]
    fn agrees_with_a_list() {
        for seed in 1..200_u64 {
            let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15);
            let mut random = move |below: u64| {
                state ^= state << 13;
                state ^= state >> 7;
                state ^= state << 17;
                state % below
            };
            let mut wheel = Wheel::default();
            let mut list = [None::<u64>; 40];
            let mut now = random(1 << 33);
            for _ in 0..400 {
                let entity = random(40) as usize;
                match random(4) {
                    0 => {
                        wheel.cancel(entity as u32);
                        list[entity] = None;
                    }
                    1 | 2 => {
                        let bits = random(31);
                        let at = now + random(1 << bits);
                        wheel.set(entity as u32, Instant::from_millis(at));
                        list[entity] = Some(at);
                    }
                    _ => {
                        let bits = random(24);
                        now += random(1 << bits);
                        let mut fired = expired(&mut wheel, Instant::from_millis(now));
                        fired.sort_unstable();
                        let due: Vec<u32> = (0..40)
                            .filter(|&i| list[i as usize].is_some_and(|at| at <= now))
                            .collect();
                        assert_eq!(fired, due, "seed {seed}, now {now}");
                        for entity in fired {
                            list[entity as usize] = None;
                        }
                    }
                }
                if let Some(first) = list.iter().flatten().min() {
                    assert!(
                        wheel.poll_at().unwrap().millis() <= *first,
                        "seed {seed}: poll_at is late"
                    );
                }
                assert_eq!(wheel.armed(), list.iter().flatten().count());
            }
        }
    }
}
