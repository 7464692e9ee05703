//! Packets that arrived on another worker's queue, on their way to their owner.
//!
//! In:    frames, by the worker that received them
//! Out:   the same frames, to the worker that owns them
//! Owns:  one bounded ring of bytes per pair of workers: one producer, one consumer
//! Never: blocks, allocates per packet; a full ring drops, and TCP sends again

use std::sync::Arc;

use netstack::fib::WireId;
use rtrb::{Consumer, Producer, RingBuffer, chunks::ChunkError};

use crate::shared::Wake;

/// Bytes of a ring: some hundred full frames.
const RING_BYTES: usize = 1 << 20;
/// Length, wire, how often it was passed on, and whether it is a copy.
const HEADER: usize = 5;

/// How a handed frame is to be taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Handed {
    /// The wire it arrived on.
    pub wire: WireId,
    /// Workers that did not know its flow.
    pub asked: u8,
    /// The receiver has handled it; others may learn from it.
    pub is_copy: bool,
}

/// One worker's ends of the rings to and from all others.
pub struct HandOver {
    /// By worker; the own place is empty.
    to: Vec<Option<Outlet>>,
    from: Vec<Consumer<u8>>,
    scratch: Vec<u8>,
    /// Frames given away.
    pub out: u64,
    /// Frames taken over.
    pub taken: u64,
    /// Frames dropped because a ring was full.
    pub full: u64,
}

struct Outlet {
    ring: Producer<u8>,
    worker: Arc<dyn Wake>,
    /// Something was put in since the worker was last woken.
    is_dirty: bool,
}

/// The hand-over of every worker, given how to wake each.
pub fn connect(workers: &[Arc<dyn Wake>]) -> Vec<HandOver> {
    let count = workers.len();
    let mut ends: Vec<HandOver> = (0..count)
        .map(|_| HandOver {
            to: Vec::new(),
            from: Vec::new(),
            scratch: Vec::new(),
            out: 0,
            taken: 0,
            full: 0,
        })
        .collect();
    for from in 0..count {
        for (to, worker) in workers.iter().enumerate() {
            if from == to {
                ends[from].to.push(None);
                continue;
            }
            let (ring, consumer) = RingBuffer::new(RING_BYTES);
            ends[from].to.push(Some(Outlet { ring, worker: worker.clone(), is_dirty: false }));
            ends[to].from.push(consumer);
        }
    }
    ends
}

impl HandOver {
    /// Workers there are.
    pub fn workers(&self) -> usize {
        self.to.len()
    }

    /// Gives a frame to a worker.
    pub fn give(&mut self, worker: usize, how: Handed, frame: &[u8]) {
        let Some(outlet) = self.to.get_mut(worker).and_then(Option::as_mut) else { return };
        let len = (frame.len() as u16).to_le_bytes();
        let header = [len[0], len[1], how.wire.0, how.asked, u8::from(how.is_copy)];
        match outlet.ring.write_chunk(HEADER + frame.len()) {
            Ok(mut chunk) => {
                let (first, second) = chunk.as_mut_slices();
                write_across(first, second, 0, &header);
                write_across(first, second, HEADER, frame);
                chunk.commit_all();
                outlet.is_dirty = true;
                self.out += 1;
            }
            Err(ChunkError::TooFewSlots(_)) => self.full += 1,
        }
    }

    /// Gives a frame to every other worker.
    pub fn give_to_all(&mut self, how: Handed, frame: &[u8]) {
        for worker in 0..self.to.len() {
            if self.to[worker].is_some() {
                self.give(worker, how, frame);
            }
        }
    }

    /// Wakes the workers that were given something since the last call.
    pub fn flush(&mut self) {
        for outlet in self.to.iter_mut().flatten() {
            if std::mem::take(&mut outlet.is_dirty) {
                outlet.worker.wake();
            }
        }
    }

    /// Takes at most `budget` frames from each other worker; returns how many.
    pub fn take(&mut self, budget: usize, mut handle: impl FnMut(Handed, &[u8])) -> usize {
        let mut count = 0;
        for ring in &mut self.from {
            for _ in 0..budget {
                let Some(how) = read_frame(ring, &mut self.scratch) else { break };
                handle(how, &self.scratch);
                count += 1;
            }
        }
        self.taken += count as u64;
        count
    }

    /// Whether a frame waits.
    pub fn has_work(&self) -> bool {
        self.from.iter().any(|ring| ring.slots() > 0)
    }
}

/// Copies `bytes` to `at` of a region that may lie across the end of the ring.
fn write_across(first: &mut [u8], second: &mut [u8], at: usize, bytes: &[u8]) {
    let split = first.len().saturating_sub(at).min(bytes.len());
    if split > 0 {
        first[at..at + split].copy_from_slice(&bytes[..split]);
    }
    let rest = &bytes[split..];
    let at = (at + split) - first.len().min(at + split);
    second[at..at + rest.len()].copy_from_slice(rest);
}

/// Copies the next frame out of the ring: it may lie across its end.
fn read_frame(ring: &mut Consumer<u8>, frame: &mut Vec<u8>) -> Option<Handed> {
    if ring.slots() < HEADER {
        return None;
    }
    let chunk = ring.read_chunk(HEADER).ok()?;
    let mut header = [0; HEADER];
    for (to, byte) in header.iter_mut().zip(chunk) {
        *to = byte;
    }
    let len = usize::from(u16::from_le_bytes([header[0], header[1]]));
    // Header and frame were published at once: the frame is there.
    let chunk = ring.read_chunk(len).expect("a frame follows its header");
    let (first, second) = chunk.as_slices();
    frame.clear();
    frame.extend_from_slice(first);
    frame.extend_from_slice(second);
    chunk.commit_all();
    Some(Handed { wire: WireId(header[2]), asked: header[3], is_copy: header[4] != 0 })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicU32, Ordering};

    struct Bell(AtomicU32);

    impl Wake for Bell {
        fn wake(&self) {
            self.0.fetch_add(1, Ordering::SeqCst);
        }
    }

    fn how(asked: u8) -> Handed {
        Handed { wire: WireId(3), asked, is_copy: false }
    }

    #[test]
    fn frames_come_out_as_they_went_in_and_a_full_ring_drops() {
        let bells: Vec<Arc<Bell>> = (0..3).map(|_| Arc::new(Bell(AtomicU32::new(0)))).collect();
        let workers: Vec<Arc<dyn Wake>> =
            bells.iter().map(|bell| bell.clone() as Arc<dyn Wake>).collect();
        let mut ends = connect(&workers);
        let frame = |len: usize| (0..len).map(|at| (at * 7) as u8).collect::<Vec<u8>>();
        // Lengths that do not divide the ring: some frames lie across its end.
        for round in 0..3000 {
            let len = 60 + round * 13 % 1440;
            ends[0].give(2, how(1), &frame(len));
            let mut got = Vec::new();
            ends[2].take(10, |how, bytes| got.push((how, bytes.to_vec())));
            assert_eq!(got, [(how(1), frame(len))]);
        }
        ends[0].flush();
        assert_eq!(bells[2].0.load(Ordering::SeqCst), 1);
        for _ in 0..1000 {
            ends[0].give(1, how(0), &frame(1500));
        }
        assert!(ends[0].full > 0 && ends[1].has_work());
        let taken = ends[1].take(10_000, |_, bytes| assert_eq!(bytes, frame(1500)));
        assert_eq!(taken as u64 + ends[0].full, 1000);
    }
}
