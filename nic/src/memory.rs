//! The wire in memory: two ends, a clock of its own, and faults from one seed.
//!
//! In:    frames submitted at one end; the time
//! Out:   the frames at the other end, late, lost, twice, out of order or with a bit flipped
//! Owns:  each end's memory; both directions between them
//! Never: reads a clock; waits; differs between two runs with the same seed and calls

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::frame::{Frame, Slot};
use crate::slots::{Place, Slots};
use crate::{Wire, WireStats};

/// What both ends of a wire in memory are like.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MemoryConfig {
    /// Slots of memory at each end.
    pub frames: u32,
    /// Longest frame, in bytes.
    pub frame_len_max: usize,
    /// Frames that each direction holds on their way; more are lost.
    pub capacity: usize,
    /// What happens on the way from the first end to the second.
    pub forth: Faults,
    /// What happens on the way from the second end to the first.
    pub back: Faults,
}

/// What one direction does to frames. Chances are in parts per million.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Faults {
    /// Time that each frame takes.
    pub delay_us: u64,
    /// A random part of the delay, up to this, on top. Frames overtake each other by it.
    pub jitter_us: u64,
    /// Chance that a frame is lost.
    pub loss_ppm: u32,
    /// Chance that a frame comes twice.
    pub duplicate_ppm: u32,
    /// Chance that one bit of a frame is flipped.
    pub corrupt_ppm: u32,
    /// Chance that a frame is held back by `reorder_us`, so that later ones overtake it.
    pub reorder_ppm: u32,
    /// How long a frame that is held back takes longer.
    pub reorder_us: u64,
}

impl Default for MemoryConfig {
    /// A wire without faults, of the size that tests of one connection need.
    fn default() -> Self {
        Self {
            frames: 512,
            frame_len_max: 1514,
            capacity: 4096,
            forth: Faults::default(),
            back: Faults::default(),
        }
    }
}

/// One end of a wire in memory.
///
/// The time starts at 0 and is moved by [`MemoryWire::advance`], at either end, for both. A frame is
/// on its way from the `flush` that follows its `submit`; the `reclaim` after that completes it.
#[derive(Debug)]
pub struct MemoryWire {
    slots: Slots,
    memory: Box<[u8]>,
    frame_len_max: usize,
    /// Bytes of each slot's packet, while it is held or in transmission.
    len: Box<[usize]>,
    submitted: Vec<Slot>,
    flushed: Vec<Slot>,
    out: Arc<Mutex<Direction>>,
    inward: Arc<Mutex<Direction>>,
    stats: WireStats,
}

/// One way. Frames leave in the order of their due time, and of their sending among equals.
#[derive(Debug)]
struct Direction {
    faults: Faults,
    random: Random,
    now_us: u64,
    capacity: usize,
    sent: u64,
    on_the_way: BTreeMap<(u64, u64), Vec<u8>>,
    lost: u64,
}

impl MemoryWire {
    /// Two ends of one wire. The same seed and the same calls give the same faults.
    pub fn pair(config: &MemoryConfig, seed: u64) -> (Self, Self) {
        let mut seeds = Random(seed);
        let forth = Direction::shared(config, config.forth, seeds.next());
        let back = Direction::shared(config, config.back, seeds.next());
        (Self::new(config, &forth, &back), Self::new(config, &back, &forth))
    }

    fn new(
        config: &MemoryConfig,
        out: &Arc<Mutex<Direction>>,
        inward: &Arc<Mutex<Direction>>,
    ) -> Self {
        let frames = config.frames as usize;
        Self {
            slots: Slots::new(config.frames),
            memory: vec![0; frames * config.frame_len_max].into(),
            frame_len_max: config.frame_len_max,
            len: vec![0; frames].into(),
            submitted: Vec::new(),
            flushed: Vec::new(),
            out: Arc::clone(out),
            inward: Arc::clone(inward),
            stats: WireStats::default(),
        }
    }

    /// Moves the time of both directions to `now_us`, unless it is later already.
    pub fn advance(&mut self, now_us: u64) {
        for direction in [&self.out, &self.inward] {
            let mut direction = lock(direction);
            direction.now_us = direction.now_us.max(now_us);
        }
    }

    /// When the next frame arrives at this end, `None` if none is on its way to it.
    pub fn next_arrival_us(&self) -> Option<u64> {
        lock(&self.inward).on_the_way.first_key_value().map(|((due_us, _), _)| *due_us)
    }

    /// Frames that were lost on the way out of this end.
    pub fn lost(&self) -> u64 {
        lock(&self.out).lost
    }

    fn range(&self, slot: Slot) -> std::ops::Range<usize> {
        let start = slot.index() * self.frame_len_max;
        start..start + self.len[slot.index()]
    }
}

impl Wire for MemoryWire {
    fn reclaim(&mut self) -> usize {
        let completed = self.flushed.len();
        for slot in self.flushed.drain(..) {
            self.slots.put(slot, Place::Transmit);
        }
        completed
    }

    fn next(&mut self) -> Option<Frame> {
        let mut inward = lock(&self.inward);
        if !inward.has_due() {
            return None;
        }
        // Nowhere to put it: it stays on its way, as in a full receive ring.
        let Some(slot) = self.slots.take(Place::Held) else {
            self.stats.rx_fill_ring_empty += 1;
            return None;
        };
        let bytes = inward.take_due();
        drop(inward);
        self.len[slot.index()] = bytes.len();
        let range = self.range(slot);
        self.memory[range].copy_from_slice(&bytes);
        self.stats.rx_frames += 1;
        self.stats.rx_bytes += bytes.len() as u64;
        Some(self.slots.frame(slot, bytes.len() as u32))
    }

    fn reserve(&mut self) -> Option<Frame> {
        let Some(slot) = self.slots.take(Place::Held) else {
            self.stats.no_frame += 1;
            return None;
        };
        self.len[slot.index()] = self.frame_len_max;
        Some(self.slots.frame(slot, self.frame_len_max as u32))
    }

    fn bytes<'a>(&'a self, frame: &'a Frame) -> &'a [u8] {
        self.slots.check(frame);
        &self.memory[self.range(frame.slot)]
    }

    fn bytes_mut<'a>(&'a mut self, frame: &'a mut Frame) -> &'a mut [u8] {
        self.slots.check(frame);
        let range = self.range(frame.slot);
        &mut self.memory[range]
    }

    fn submit(&mut self, frame: Frame, len: usize) -> Result<(), Frame> {
        self.slots.check(&frame);
        assert!(len > 0 && len <= self.frame_len_max, "{len} bytes do not fit {frame:?}");
        // No ring bounds this wire but its memory, half of which stays for receiving.
        if self.slots.count(Place::Transmit) >= self.slots.len() / 2 {
            self.stats.tx_full += 1;
            return Err(frame);
        }
        let slot = frame.into_slot();
        self.len[slot.index()] = len;
        self.slots.shift(slot, Place::Held, Place::Transmit);
        self.submitted.push(slot);
        self.stats.tx_frames += 1;
        self.stats.tx_bytes += len as u64;
        Ok(())
    }

    fn release(&mut self, frame: Frame) {
        self.slots.check(&frame);
        self.slots.put(frame.into_slot(), Place::Held);
    }

    fn flush(&mut self) {
        let mut out = lock(&self.out);
        for slot in &self.submitted {
            out.send(&self.memory[self.range(*slot)]);
        }
        drop(out);
        self.flushed.append(&mut self.submitted);
    }

    fn in_flight(&self) -> usize {
        self.slots.count(Place::Transmit)
    }

    fn frame_len_max(&self) -> usize {
        self.frame_len_max
    }

    fn assert_conserved(&mut self, held: usize) {
        self.slots.assert_conserved(held);
        assert_eq!(self.in_flight(), self.submitted.len() + self.flushed.len(), "in flight");
    }

    fn stats(&self) -> WireStats {
        WireStats {
            frames: self.slots.len() as u64,
            frames_free: self.slots.count(Place::Free) as u64,
            ..self.stats
        }
    }
}

impl Direction {
    fn shared(config: &MemoryConfig, faults: Faults, seed: u64) -> Arc<Mutex<Self>> {
        Arc::new(Mutex::new(Self {
            faults,
            random: Random(seed),
            now_us: 0,
            capacity: config.capacity,
            sent: 0,
            on_the_way: BTreeMap::new(),
            lost: 0,
        }))
    }

    /// Every frame draws the same numbers in the same order, whatever befalls it: changing one
    /// fault's chance leaves the others' choices as they were.
    fn send(&mut self, bytes: &[u8]) {
        let faults = self.faults;
        let is_lost = self.random.happens(faults.loss_ppm);
        let is_duplicated = self.random.happens(faults.duplicate_ppm);
        let is_corrupted = self.random.happens(faults.corrupt_ppm);
        let is_held_back = self.random.happens(faults.reorder_ppm);
        let bit = self.random.below(bytes.len() as u64 * 8);
        let delays = [self.delay_us(is_held_back), self.delay_us(false)];

        if is_lost {
            self.lost += 1;
            return;
        }
        let mut bytes = bytes.to_vec();
        if is_corrupted {
            bytes[bit as usize / 8] ^= 1 << (bit % 8);
        }
        if is_duplicated {
            self.enqueue(delays[1], bytes.clone());
        }
        self.enqueue(delays[0], bytes);
    }

    fn delay_us(&mut self, is_held_back: bool) -> u64 {
        let jitter_us = self.random.below(self.faults.jitter_us + 1);
        let held_back_us = if is_held_back { self.faults.reorder_us } else { 0 };
        self.faults.delay_us + jitter_us + held_back_us
    }

    fn enqueue(&mut self, delay_us: u64, bytes: Vec<u8>) {
        if self.on_the_way.len() >= self.capacity {
            self.lost += 1;
            return;
        }
        self.on_the_way.insert((self.now_us + delay_us, self.sent), bytes);
        self.sent += 1;
    }

    fn has_due(&self) -> bool {
        self.on_the_way.first_key_value().is_some_and(|((due_us, _), _)| *due_us <= self.now_us)
    }

    fn take_due(&mut self) -> Vec<u8> {
        let (_, bytes) = self.on_the_way.pop_first().expect("a frame is due");
        bytes
    }
}

/// A panic in one test's end must not hide behind a second one.
fn lock(direction: &Mutex<Direction>) -> MutexGuard<'_, Direction> {
    direction.lock().unwrap_or_else(PoisonError::into_inner)
}

/// SplitMix64 (Steele, Lea, Flood 2014): small, and the same everywhere.
#[derive(Debug)]
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// A number below `limit`, which is not 0. Multiplying is even enough for small limits.
    fn below(&mut self, limit: u64) -> u64 {
        ((u128::from(self.next()) * u128::from(limit)) >> 64) as u64
    }

    fn happens(&mut self, ppm: u32) -> bool {
        self.below(1_000_000) < u64::from(ppm)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// When, and what.
    type Arrival = (u64, Vec<u8>);

    /// Sends `count` numbered frames, one each 10 us, and returns what arrives, with its time.
    fn run(faults: Faults, seed: u64, count: u32) -> Vec<Arrival> {
        let config = MemoryConfig { forth: faults, ..MemoryConfig::default() };
        let (mut a, mut b) = MemoryWire::pair(&config, seed);
        let mut arrived = Vec::new();
        for number in 0..count {
            a.reclaim();
            let mut frame = a.reserve().unwrap();
            a.bytes_mut(&mut frame)[..4].copy_from_slice(&number.to_be_bytes());
            a.submit(frame, 64).unwrap();
            a.flush();
            advance_to(&mut b, u64::from(number) * 10, &mut arrived);
            a.assert_conserved(0);
            b.assert_conserved(0);
        }
        while let Some(due_us) = b.next_arrival_us() {
            advance_to(&mut b, due_us, &mut arrived);
        }
        a.reclaim();
        assert_eq!(a.in_flight(), 0);
        arrived
    }

    fn advance_to(b: &mut MemoryWire, now_us: u64, arrived: &mut Vec<Arrival>) {
        b.advance(now_us);
        while let Some(frame) = b.next() {
            arrived.push((now_us, b.bytes(&frame).to_vec()));
            b.release(frame);
        }
    }

    fn numbers(arrived: &[Arrival]) -> Vec<u32> {
        let number = |bytes: &[u8]| u32::from_be_bytes(bytes[..4].try_into().unwrap());
        arrived.iter().map(|(_, bytes)| number(bytes)).collect()
    }

    const ALL: Faults = Faults {
        delay_us: 500,
        jitter_us: 100,
        loss_ppm: 100_000,
        duplicate_ppm: 100_000,
        corrupt_ppm: 100_000,
        reorder_ppm: 100_000,
        reorder_us: 300,
    };

    #[test]
    fn without_faults_all_arrive_in_order() {
        let arrived = run(Faults::default(), 1, 1000);
        assert_eq!(numbers(&arrived), (0..1000).collect::<Vec<_>>());
        assert!(arrived.iter().all(|(_, bytes)| bytes.len() == 64));
    }

    #[test]
    fn the_seed_decides_everything() {
        assert_eq!(run(ALL, 7, 500), run(ALL, 7, 500));
        assert_ne!(run(ALL, 7, 500), run(ALL, 8, 500));
    }

    #[test]
    fn delay_is_kept_to_the_microsecond() {
        let arrived = run(Faults { delay_us: 123, ..Faults::default() }, 1, 1);
        assert_eq!(arrived[0].0, 123);
    }

    #[test]
    fn loss_loses_about_its_share() {
        let arrived = numbers(&run(Faults { loss_ppm: 200_000, ..Faults::default() }, 3, 2000));
        assert!((1500..1700).contains(&arrived.len()), "{} of 2000 arrived", arrived.len());
        assert!(arrived.is_sorted());
    }

    #[test]
    fn duplicates_come_twice() {
        let arrived =
            numbers(&run(Faults { duplicate_ppm: 200_000, ..Faults::default() }, 3, 2000));
        assert!((2300..2500).contains(&arrived.len()), "{} of 2000 arrived", arrived.len());
        let mut once = arrived;
        once.dedup();
        assert_eq!(once, (0..2000).collect::<Vec<_>>());
    }

    #[test]
    fn corruption_flips_one_bit() {
        let clean = run(Faults::default(), 3, 500);
        let dirty = run(Faults { corrupt_ppm: 500_000, ..Faults::default() }, 3, 500);
        let flips = |(a, b): (&Arrival, &Arrival)| -> u32 {
            a.1.iter().zip(&b.1).map(|(x, y)| (x ^ y).count_ones()).sum()
        };
        let flips: Vec<u32> = clean.iter().zip(&dirty).map(flips).collect();
        assert!(flips.iter().all(|&n| n <= 1), "{flips:?}");
        let corrupted = flips.iter().filter(|&&n| n == 1).count();
        assert!((200..300).contains(&corrupted), "{corrupted} of 500 corrupted");
    }

    #[test]
    fn reordering_lets_later_frames_overtake() {
        let faults = Faults { reorder_ppm: 100_000, reorder_us: 45, ..Faults::default() };
        let mut arrived = numbers(&run(faults, 3, 500));
        assert!(!arrived.is_sorted());
        arrived.sort_unstable();
        assert_eq!(arrived, (0..500).collect::<Vec<_>>());
    }

    #[test]
    fn memory_is_finite() {
        let config = MemoryConfig { frames: 8, ..MemoryConfig::default() };
        let (mut a, _b) = MemoryWire::pair(&config, 1);
        let frames: Vec<Frame> = std::iter::from_fn(|| a.reserve()).collect();
        assert_eq!((frames.len(), a.stats().no_frame), (8, 1));
        let mut refused = Vec::new();
        for frame in frames {
            refused.extend(a.submit(frame, 60).err());
        }
        assert_eq!((refused.len(), a.stats().tx_full), (4, 4), "half is for receiving");
        a.assert_conserved(4);
        for frame in refused {
            a.release(frame);
        }
        a.flush();
        assert_eq!((a.in_flight(), a.reclaim()), (4, 4));
        a.assert_conserved(0);
    }

    #[test]
    fn a_full_direction_loses() {
        let config = MemoryConfig { capacity: 2, ..MemoryConfig::default() };
        let (mut a, mut b) = MemoryWire::pair(&config, 1);
        for _ in 0..3 {
            let frame = a.reserve().unwrap();
            a.submit(frame, 60).unwrap();
        }
        a.flush();
        let mut arrived = Vec::new();
        advance_to(&mut b, 0, &mut arrived);
        assert_eq!((arrived.len(), a.lost()), (2, 1));
    }
}
