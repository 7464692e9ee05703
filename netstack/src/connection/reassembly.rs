//! Bytes that came before their turn, and the SACK blocks that tell the peer of them.
//!
//! In:    segments beyond RCV.NXT
//! Out:   bytes in order, once the gap is filled; SACK blocks
//! Owns:  the ranges, sorted, disjoint, never touching
//! Never: holds more than `RANGES_MAX` ranges, or bytes outside the advertised window
//! Read:  RFC 2018, section 4

use crate::buffer::{BufferPool, Queue};
use crate::segment::{SACK_BLOCKS_MAX, SackBlocks};
use crate::seq::SeqNumber;

/// Gaps that are kept track of. A peer that makes more is not helped by more memory.
pub(super) const RANGES_MAX: usize = 64;

#[derive(Debug)]
struct Range {
    start: SeqNumber,
    bytes: Queue,
    /// When it was touched last, in insertions.
    touched: u32,
}

impl Range {
    fn end(&self) -> SeqNumber {
        self.start + self.bytes.len() as u32
    }
}

/// Ranges beyond RCV.NXT.
#[derive(Debug, Default)]
pub(crate) struct Reassembly {
    ranges: Vec<Range>,
    /// Insertions so far.
    insertions: u32,
}

/// What became of bytes that came before their turn.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Inserted {
    /// All of them are held now.
    pub all: bool,
    /// The first stretch of them that was held already.
    pub duplicate: Option<(SeqNumber, SeqNumber)>,
}

impl Reassembly {
    /// Whether no range is held.
    pub fn is_empty(&self) -> bool {
        self.ranges.is_empty()
    }

    /// One past the last byte held.
    pub fn end(&self) -> Option<SeqNumber> {
        self.ranges.last().map(Range::end)
    }

    /// Keeps what of `bytes` is new, as far as buffers are not scarce: what comes in order has to find one.
    pub fn insert(
        &mut self,
        pool: &mut BufferPool,
        mut seq: SeqNumber,
        mut bytes: &[u8],
    ) -> Inserted {
        self.insertions += 1;
        let mut duplicate = None;
        while !bytes.is_empty() {
            // The first range that ends after `seq`: what lies before its start is new.
            let index = self.ranges.partition_point(|range| range.end().at_or_before(seq));
            let gap = match self.ranges.get(index) {
                Some(range) if range.start.at_or_before(seq) => {
                    let held = ((range.end() - seq) as usize).min(bytes.len());
                    duplicate.get_or_insert((seq, seq + held as u32));
                    self.ranges[index].touched = self.insertions;
                    seq += held as u32;
                    bytes = &bytes[held..];
                    continue;
                }
                Some(range) => ((range.start - seq) as usize).min(bytes.len()),
                None => bytes.len(),
            };
            let kept = self.fill(pool, index, seq, &bytes[..gap]);
            if kept < gap {
                return Inserted { all: false, duplicate };
            }
            seq += gap as u32;
            bytes = &bytes[gap..];
        }
        Inserted { all: true, duplicate }
    }

    /// Puts bytes that are new in front of the range `index`; returns how many were kept.
    fn fill(&mut self, pool: &mut BufferPool, index: usize, seq: SeqNumber, bytes: &[u8]) -> usize {
        let extends = index > 0 && self.ranges[index - 1].end() == seq;
        let at = if extends {
            index - 1
        } else {
            if self.ranges.len() == RANGES_MAX {
                return 0;
            }
            self.ranges.insert(index, Range { start: seq, bytes: Queue::default(), touched: 0 });
            index
        };
        self.ranges[at].touched = self.insertions;
        let kept = self.ranges[at].bytes.append_sparing(pool, bytes);
        if self.ranges[at].bytes.is_empty() {
            self.ranges.remove(at);
            return 0;
        }
        if self.ranges.get(at + 1).is_some_and(|next| next.start == self.ranges[at].end()) {
            let mut next = self.ranges.remove(at + 1);
            let len = next.bytes.len();
            let moved = next.bytes.move_to(pool, &mut self.ranges[at].bytes, len);
            if moved < len {
                // No buffer for a partial copy: the peer sends it again.
                next.bytes.clear(pool);
            }
        }
        kept
    }

    /// Moves bytes that are in order now to the end of `to`; returns RCV.NXT after them.
    pub fn take(&mut self, pool: &mut BufferPool, rcv_nxt: SeqNumber, to: &mut Queue) -> SeqNumber {
        let mut next = rcv_nxt;
        while let Some(first) = self.ranges.first_mut() {
            if first.start.after(next) {
                break;
            }
            if first.end().at_or_before(next) {
                first.bytes.clear(pool);
                self.ranges.remove(0);
                continue;
            }
            let overlap = (next - first.start) as usize;
            first.bytes.consume(pool, overlap);
            first.start = next;
            let len = first.bytes.len();
            let moved = first.bytes.move_to(pool, to, len);
            next += moved as u32;
            first.start = next;
            if moved < len {
                break;
            }
            self.ranges.remove(0);
        }
        next
    }

    /// Adds the blocks to report, those first that were touched last: what was reported lately is repeated,
    /// so that a lost acknowledgment takes nothing away (RFC 2018, section 4).
    pub fn report(&self, blocks: &mut SackBlocks) {
        let mut before = u32::MAX;
        for _ in 0..SACK_BLOCKS_MAX.min(self.ranges.len()) {
            let older = self.ranges.iter().filter(|range| range.touched < before);
            let Some(range) = older.max_by_key(|range| range.touched) else { break };
            blocks.push(range.start, range.end());
            before = range.touched;
        }
    }

    /// Bytes held.
    pub fn len(&self) -> usize {
        self.ranges.iter().map(|range| range.bytes.len()).sum()
    }

    /// The ranges: where each begins, and its bytes.
    pub fn ranges(&self) -> impl Iterator<Item = (SeqNumber, &Queue)> {
        self.ranges.iter().map(|range| (range.start, &range.bytes))
    }

    /// Buffers held.
    pub fn buffers(&self, pool: &BufferPool) -> usize {
        self.ranges.iter().map(|range| range.bytes.buffers(pool)).sum()
    }

    /// Gives all buffers back.
    pub fn clear(&mut self, pool: &mut BufferPool) {
        for range in &mut self.ranges {
            range.bytes.clear(pool);
        }
        self.ranges.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Any order, any overlap: the bytes come out once and right.
    #[test]
    fn puts_any_order_right() {
        let data: Vec<u8> = (0..3000_u32).map(|i| (i * 31 % 253) as u8).collect();
        for seed in 1..300_u64 {
            let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15);
            let mut random = move |below: usize| {
                state ^= state << 13;
                state ^= state >> 7;
                state ^= state << 17;
                (state % below as u64) as usize
            };
            let base = SeqNumber(u32::MAX - 1500);
            let mut pool = BufferPool::new(1000, 0);
            let mut reassembly = Reassembly::default();
            let mut out = Queue::default();
            let mut next = base;
            while (next - base) < 3000 {
                let start = random(3000);
                let len = random(400).min(3000 - start);
                let seq = base + start as u32;
                let segment = &data[start..start + len];
                if seq.after(next) {
                    reassembly.insert(&mut pool, seq, segment);
                } else if (seq + len as u32).after(next) {
                    let skip = (next - seq) as usize;
                    out.append(&mut pool, &segment[skip..]);
                    next = seq + len as u32;
                    next = reassembly.take(&mut pool, next, &mut out);
                }
                for window in reassembly.ranges.windows(2) {
                    assert!(window[0].end().before(window[1].start), "seed {seed}: ranges touch");
                }
                assert!(reassembly.ranges.len() <= RANGES_MAX);
            }
            let mut got = vec![0; 3000];
            assert_eq!(out.read(&mut pool, &mut got), 3000);
            assert_eq!(got, data, "seed {seed}");
            reassembly.clear(&mut pool);
            assert_eq!(pool.stats().used, 0);
        }
    }

    #[test]
    fn reports_the_most_recent_block_first() {
        let mut pool = BufferPool::new(100, 0);
        let mut reassembly = Reassembly::default();
        for seq in [100, 300, 500, 700] {
            reassembly.insert(&mut pool, SeqNumber(seq), &[0; 100]);
        }
        reassembly.insert(&mut pool, SeqNumber(350), &[0; 10]);
        let mut blocks = SackBlocks::default();
        reassembly.report(&mut blocks);
        assert_eq!(blocks.as_slice()[0], (SeqNumber(300), SeqNumber(400)));
        let second = (SeqNumber(700), SeqNumber(800));
        assert_eq!(blocks.as_slice()[1], second);
        reassembly.clear(&mut pool);
    }
}
