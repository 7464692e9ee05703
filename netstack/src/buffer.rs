//! Buffers from a pool, and the queues of bytes that connections make of them.
//!
//! In:    bytes, copied once from a frame
//! Out:   bytes, copied once into a frame; or whole buffers, moved from queue to queue without a copy
//! Owns:  the memory of all buffers of one worker
//! Never: knows a connection; gives a buffer to an empty queue

use std::fmt;

/// Bytes of one buffer. Two full segments of an Ethernet MTU fit, and a jumbo frame takes three: small
/// enough that a 64-byte request does not hold much, large enough that a bulk queue has few links.
pub const BUFFER_SIZE: usize = 4096;

/// Buffers that the pool allocates at a time.
const BLOCK: usize = 64;

/// A pool of so few buffers is tight from the beginning: a few first windows would take them all.
const SMALL_POOL: usize = 512;

/// Queues copy rather than link when a buffer holds less than this, so that many small writes do not
/// pin a buffer each.
const LINK_MIN: usize = BUFFER_SIZE / 4;

/// An index into the pool.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct BufferId(u32);

const NONE: BufferId = BufferId(u32::MAX);

/// What the pool knows of one buffer.
#[derive(Clone, Copy, Debug)]
struct Meta {
    /// The next buffer of the queue or of the free list.
    next: BufferId,
    /// First byte in use.
    start: u16,
    /// One past the last byte in use.
    end: u16,
}

impl Meta {
    fn len(&self) -> usize {
        usize::from(self.end - self.start)
    }

    fn room(&self) -> usize {
        BUFFER_SIZE - usize::from(self.end)
    }
}

/// The buffers of one worker: allocated in blocks up to a limit, handed out last in, first out.
pub struct BufferPool {
    blocks: Vec<Box<[[u8; BUFFER_SIZE]]>>,
    meta: Vec<Meta>,
    free: BufferId,
    used: usize,
    limit: usize,
    /// Of these, buffers that only some may take.
    reserve: usize,
    /// Promised to somebody who has not used them yet; they are free.
    kept: usize,
    failures: u64,
    /// Blocks whose memory was given back: their numbers are used again.
    trimmed: Vec<usize>,
}

/// The figures of a pool.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PoolStats {
    /// Bytes of one element.
    pub size: usize,
    /// Elements that memory is held for.
    pub allocated: usize,
    /// Elements in use.
    pub used: usize,
    /// Elements that there may be.
    pub limit: usize,
    /// Of these, elements that only some may take.
    pub reserve: usize,
    /// Requests that found none.
    pub failures: u64,
}

impl BufferPool {
    /// A pool of at most `limit` buffers, none allocated yet, the last `reserve` of which are for those who
    /// ask whether it is [reserved](BufferPool::is_reserved) and may go on nevertheless.
    pub fn new(limit: usize, reserve: usize) -> Self {
        BufferPool {
            blocks: Vec::new(),
            meta: Vec::new(),
            free: NONE,
            used: 0,
            limit,
            reserve: reserve.min(limit / 2),
            kept: 0,
            failures: 0,
            trimmed: Vec::new(),
        }
    }

    /// The figures.
    pub fn stats(&self) -> PoolStats {
        PoolStats {
            size: BUFFER_SIZE,
            allocated: self.allocated(),
            used: self.used,
            limit: self.limit,
            reserve: self.reserve,
            failures: self.failures,
        }
    }

    fn allocated(&self) -> usize {
        self.meta.len() - self.trimmed.iter().map(|&block| self.block_len(block)).sum::<usize>()
    }

    fn block_len(&self, block: usize) -> usize {
        BLOCK.min(self.meta.len() - block * BLOCK)
    }

    /// Whether only the reserve is left.
    pub fn is_reserved(&self) -> bool {
        self.available() <= self.reserve
    }

    /// Gives back the memory of blocks none of whose buffers is in use; returns how many buffers that were.
    pub fn trim(&mut self) -> usize {
        let mut free = vec![0; self.blocks.len()];
        let mut id = self.free;
        while id != NONE {
            free[id.0 as usize / BLOCK] += 1;
            id = self.meta[id.0 as usize].next;
        }
        let before = self.allocated();
        for (block, &free) in free.iter().enumerate() {
            if free > 0 && free == self.block_len(block) {
                self.blocks[block] = Box::default();
                self.trimmed.push(block);
            }
        }
        // The free list without them, in its order.
        let mut rest = std::mem::replace(&mut self.free, NONE);
        let mut last = NONE;
        while rest != NONE {
            let next = self.meta[rest.0 as usize].next;
            if !self.blocks[rest.0 as usize / BLOCK].is_empty() {
                if last == NONE {
                    self.free = rest;
                } else {
                    self.meta[last.0 as usize].next = rest;
                }
                self.meta[rest.0 as usize].next = NONE;
                last = rest;
            }
            rest = next;
        }
        before - self.allocated()
    }

    /// Buffers that can still be had.
    pub fn available(&self) -> usize {
        self.limit - self.used
    }

    /// Whether only what receiving needs is left: who sends waits, so that two peers whose buffers are
    /// full of what they send can still read what frees them.
    pub fn is_scarce(&self) -> bool {
        self.available() <= self.scarce_at()
    }

    /// With so many left, or fewer, buffers are scarce.
    #[inline]
    fn scarce_at(&self) -> usize {
        (self.limit / 8).max(self.reserve)
    }

    /// Whether windows are opened only as far as there are buffers for them: few are left, or there are few at all.
    #[inline]
    pub fn is_tight(&self) -> bool {
        let left = self.available().saturating_sub(self.kept);
        left <= self.scarce_at() || self.limit <= SMALL_POOL
    }

    /// Buffers that one may ever have who may take the reserve, or may not.
    pub fn usable(&self, takes_reserve: bool) -> usize {
        self.limit - if takes_reserve { 0 } else { self.reserve }
    }

    /// Buffers that such a one can be promised now.
    pub fn spare(&self, takes_reserve: bool) -> usize {
        let kept = self.kept + if takes_reserve { 0 } else { self.reserve };
        self.available().saturating_sub(kept)
    }

    /// Keeps so many for bytes that a peer is told it may send.
    pub fn keep(&mut self, count: usize) {
        self.kept += count;
    }

    /// Buffers that are promised to somebody.
    pub fn kept(&self) -> usize {
        self.kept
    }

    /// Keeps so many no longer.
    pub fn give_back(&mut self, count: usize) {
        self.kept -= count;
    }

    #[inline]
    fn take(&mut self) -> Option<BufferId> {
        if self.free == NONE && !self.grow() {
            self.failures += 1;
            return None;
        }
        let id = self.free;
        let meta = &mut self.meta[id.0 as usize];
        self.free = meta.next;
        *meta = Meta { next: NONE, start: 0, end: 0 };
        self.used += 1;
        Some(id)
    }

    fn give(&mut self, id: BufferId) {
        self.meta[id.0 as usize].next = self.free;
        self.free = id;
        self.used -= 1;
    }

    #[cold]
    fn grow(&mut self) -> bool {
        let (first, count) = if let Some(block) = self.trimmed.pop() {
            let count = self.block_len(block);
            self.blocks[block] = vec![[0; BUFFER_SIZE]; count].into_boxed_slice();
            (block * BLOCK, count)
        } else {
            let first = self.meta.len();
            let count = BLOCK.min(self.limit - first);
            if count == 0 {
                return false;
            }
            // Whole blocks only, so that an index divides into block and place; the last one may be short.
            self.blocks.push(vec![[0; BUFFER_SIZE]; count].into_boxed_slice());
            self.meta.resize(first + count, Meta { next: NONE, start: 0, end: 0 });
            (first, count)
        };
        for index in (first..first + count).rev() {
            self.meta[index].next = self.free;
            self.free = BufferId(index as u32);
        }
        true
    }

    fn bytes(&self, id: BufferId) -> &[u8; BUFFER_SIZE] {
        let index = id.0 as usize;
        &self.blocks[index / BLOCK][index % BLOCK]
    }

    fn bytes_mut(&mut self, id: BufferId) -> &mut [u8; BUFFER_SIZE] {
        let index = id.0 as usize;
        &mut self.blocks[index / BLOCK][index % BLOCK]
    }
}

/// A place in a [`Queue`], kept by a reader that goes forward (the next byte to send).
///
/// Bytes consumed from the front move it: [`Cursor::consumed`]. Bytes appended do not.
#[derive(Clone, Copy, Debug)]
pub struct Cursor {
    buffer: BufferId,
    /// Bytes of the queue before the first byte in use of `buffer`.
    base: u32,
}

impl Cursor {
    /// The same place after `count` bytes were consumed from the front of `queue`.
    pub fn consumed(self, queue: &Queue, count: u32) -> Cursor {
        match self.base.checked_sub(count) {
            Some(base) => Cursor { base, ..self },
            None => queue.start(),
        }
    }
}

/// A queue of bytes in linked buffers of a pool.
///
/// Invariants: it holds buffers only while it holds bytes; every buffer of it holds at least one byte;
/// `len` is the sum over its buffers. A queue must be emptied before it is dropped.
pub struct Queue {
    head: BufferId,
    tail: BufferId,
    len: u32,
}

impl Default for Queue {
    fn default() -> Self {
        Queue { head: NONE, tail: NONE, len: 0 }
    }
}

impl fmt::Debug for Queue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Queue({} bytes)", self.len)
    }
}

impl Queue {
    /// Bytes held.
    pub fn len(&self) -> usize {
        self.len as usize
    }

    /// Whether no byte is held (and so no buffer).
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Buffers held: counted by walking them, for assertions.
    pub fn buffers(&self, pool: &BufferPool) -> usize {
        let mut count = 0;
        let mut len = 0;
        let mut id = self.head;
        while id != NONE {
            let meta = &pool.meta[id.0 as usize];
            assert!(meta.len() > 0, "an empty buffer in {self:?}");
            len += meta.len();
            count += 1;
            id = meta.next;
        }
        assert_eq!(len, self.len());
        count
    }

    /// Appends as much of `bytes` as the pool has room for; returns how much.
    #[inline]
    pub fn append(&mut self, pool: &mut BufferPool, bytes: &[u8]) -> usize {
        // A message into an empty queue: what requests and responses are.
        if self.tail == NONE && !bytes.is_empty() && bytes.len() <= BUFFER_SIZE {
            let Some(id) = pool.take() else { return 0 };
            (self.head, self.tail, self.len) = (id, id, bytes.len() as u32);
            pool.meta[id.0 as usize].end = bytes.len() as u16;
            pool.bytes_mut(id)[..bytes.len()].copy_from_slice(bytes);
            return bytes.len();
        }
        self.append_long(pool, bytes)
    }

    #[inline(never)]
    fn append_long(&mut self, pool: &mut BufferPool, mut bytes: &[u8]) -> usize {
        let mut appended = 0;
        while !bytes.is_empty() {
            if self.tail == NONE || pool.meta[self.tail.0 as usize].room() == 0 {
                let Some(id) = pool.take() else { break };
                self.link(pool, id);
            }
            let id = self.tail;
            let meta = &mut pool.meta[id.0 as usize];
            let at = usize::from(meta.end);
            let count = bytes.len().min(meta.room());
            meta.end += count as u16;
            pool.bytes_mut(id)[at..at + count].copy_from_slice(&bytes[..count]);
            bytes = &bytes[count..];
            appended += count;
        }
        self.len += appended as u32;
        appended
    }

    /// As [`Queue::append`], but stops when buffers are scarce.
    #[inline]
    pub fn append_sparing(&mut self, pool: &mut BufferPool, bytes: &[u8]) -> usize {
        if bytes.len() <= BUFFER_SIZE {
            return if pool.is_scarce() { 0 } else { self.append(pool, bytes) };
        }
        self.append_long_sparing(pool, bytes)
    }

    #[inline(never)]
    fn append_long_sparing(&mut self, pool: &mut BufferPool, bytes: &[u8]) -> usize {
        let mut appended = 0;
        for piece in bytes.chunks(BUFFER_SIZE) {
            if pool.is_scarce() {
                break;
            }
            appended += self.append(pool, piece);
        }
        appended
    }

    /// Links a buffer at the end. Its bytes are not added to `len`.
    fn link(&mut self, pool: &mut BufferPool, id: BufferId) {
        if self.tail == NONE {
            self.head = id;
        } else {
            pool.meta[self.tail.0 as usize].next = id;
        }
        self.tail = id;
    }

    /// Copies bytes from `offset` on into `out`; returns how many there were.
    #[inline]
    pub fn copy_out(&self, pool: &BufferPool, offset: usize, out: &mut [u8]) -> usize {
        if self.copy_from_first(pool, offset, out) {
            return out.len();
        }
        let cursor = self.start();
        self.copy_from(pool, cursor, offset, out)
    }

    /// A copy of all bytes.
    pub fn to_vec(&self, pool: &BufferPool) -> Vec<u8> {
        let mut bytes = vec![0; self.len()];
        self.copy_out(pool, 0, &mut bytes);
        bytes
    }

    /// The place of the first byte.
    pub fn start(&self) -> Cursor {
        Cursor { buffer: self.head, base: 0 }
    }

    /// The place of `offset`, sought from `hint` when it is not behind it.
    pub fn seek(&self, pool: &BufferPool, hint: Cursor, offset: usize) -> Cursor {
        let mut cursor =
            if hint.buffer != NONE && hint.base as usize <= offset { hint } else { self.start() };
        while cursor.buffer != NONE {
            let meta = &pool.meta[cursor.buffer.0 as usize];
            if offset < cursor.base as usize + meta.len() || meta.next == NONE {
                break;
            }
            cursor = Cursor { buffer: meta.next, base: cursor.base + meta.len() as u32 };
        }
        cursor
    }

    /// Copies bytes from `offset` on into all of `out`, if the first buffer has them: what requests and
    /// responses are. Whether it has.
    #[inline]
    pub fn copy_from_first(&self, pool: &BufferPool, offset: usize, out: &mut [u8]) -> bool {
        let Some(meta) = pool.meta.get(self.head.0 as usize) else { return false };
        let from = usize::from(meta.start) + offset;
        let fits = from + out.len() <= usize::from(meta.end);
        if fits {
            out.copy_from_slice(&pool.bytes(self.head)[from..from + out.len()]);
        }
        fits
    }

    /// As [`Queue::copy_out`], sought from `cursor`.
    #[inline(never)]
    pub fn copy_from(
        &self,
        pool: &BufferPool,
        cursor: Cursor,
        offset: usize,
        out: &mut [u8],
    ) -> usize {
        let place = self.seek(pool, cursor, offset);
        let mut id = place.buffer;
        let mut skip = offset - place.base as usize;
        let mut copied = 0;
        while id != NONE && copied < out.len() {
            let meta = &pool.meta[id.0 as usize];
            let held = &pool.bytes(id)[usize::from(meta.start)..usize::from(meta.end)];
            let held = &held[skip.min(held.len())..];
            let count = held.len().min(out.len() - copied);
            out[copied..copied + count].copy_from_slice(&held[..count]);
            copied += count;
            skip = 0;
            id = meta.next;
        }
        copied
    }

    /// Drops the first `count` bytes; buffers that become empty go back to the pool.
    #[inline]
    pub fn consume(&mut self, pool: &mut BufferPool, count: usize) {
        assert!(count <= self.len(), "consume {count} of {self:?}");
        if count == self.len() && self.head == self.tail && self.head != NONE {
            pool.give(self.head);
            *self = Queue::default();
            return;
        }
        self.consume_long(pool, count);
    }

    #[inline(never)]
    fn consume_long(&mut self, pool: &mut BufferPool, count: usize) {
        self.len -= count as u32;
        let mut left = count;
        while left > 0 {
            let id = self.head;
            let meta = &mut pool.meta[id.0 as usize];
            let held = meta.len();
            if left < held {
                meta.start += left as u16;
                return;
            }
            left -= held;
            self.head = meta.next;
            pool.give(id);
        }
        if self.head == NONE {
            self.tail = NONE;
        }
    }

    /// Drops all bytes.
    pub fn clear(&mut self, pool: &mut BufferPool) {
        self.consume(pool, self.len());
    }

    /// Takes bytes from the front into `out`; returns how many.
    #[inline]
    pub fn read(&mut self, pool: &mut BufferPool, out: &mut [u8]) -> usize {
        let most = out.len().min(self.len());
        let count = self.copy_out(pool, 0, &mut out[..most]);
        self.consume(pool, count);
        count
    }

    /// Moves up to `max` bytes from the front of `self` to the end of `to`: whole buffers by linking,
    /// small or partial ones by copying. Returns how many bytes moved; fewer when the pool runs out.
    pub fn move_to(&mut self, pool: &mut BufferPool, to: &mut Queue, max: usize) -> usize {
        let mut moved = 0;
        while moved < max && self.head != NONE {
            let id = self.head;
            let meta = pool.meta[id.0 as usize];
            let held = meta.len();
            let tail_room = if to.tail == NONE { 0 } else { pool.meta[to.tail.0 as usize].room() };
            let small = held < LINK_MIN && held <= tail_room;
            if held <= max - moved && !small {
                self.unlink_head(pool);
                pool.meta[id.0 as usize].next = NONE;
                to.link(pool, id);
                to.len += held as u32;
                self.len -= held as u32;
                moved += held;
                continue;
            }
            let count = held.min(max - moved);
            let mut bytes = [0; BUFFER_SIZE];
            let start = usize::from(meta.start);
            bytes[..count].copy_from_slice(&pool.bytes(id)[start..start + count]);
            let copied = to.append(pool, &bytes[..count]);
            self.consume(pool, copied);
            moved += copied;
            if copied < count {
                break;
            }
        }
        moved
    }

    fn unlink_head(&mut self, pool: &BufferPool) {
        self.head = pool.meta[self.head.0 as usize].next;
        if self.head == NONE {
            self.tail = NONE;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pattern(len: usize, from: usize) -> Vec<u8> {
        (from..from + len).map(|i| (i * 7 % 251) as u8).collect()
    }

    #[test]
    fn holds_buffers_only_while_it_holds_bytes() {
        let mut pool = BufferPool::new(100, 0);
        let mut queue = Queue::default();
        assert_eq!(queue.append(&mut pool, &pattern(10_000, 0)), 10_000);
        assert_eq!(pool.stats().used, 3);
        let mut out = vec![0; 10_000];
        assert_eq!(queue.read(&mut pool, &mut out), 10_000);
        assert_eq!(out, pattern(10_000, 0));
        assert_eq!(pool.stats().used, 0);
    }

    #[test]
    fn refuses_beyond_its_limit_and_recovers() {
        let mut pool = BufferPool::new(2, 0);
        let mut queue = Queue::default();
        assert_eq!(queue.append(&mut pool, &pattern(10_000, 0)), 2 * BUFFER_SIZE);
        assert_eq!(pool.stats().failures, 1);
        queue.consume(&mut pool, BUFFER_SIZE);
        assert_eq!(queue.append(&mut pool, &[1, 2, 3]), 3);
        queue.clear(&mut pool);
        assert_eq!(pool.available(), 2);
    }

    #[test]
    fn memory_that_nobody_uses_goes_back_and_can_be_had_again() {
        let mut pool = BufferPool::new(BLOCK * 3 + 10, 0);
        let (mut kept, mut gone) = (Queue::default(), Queue::default());
        kept.append(&mut pool, &pattern(BUFFER_SIZE, 0));
        gone.append(&mut pool, &pattern(BUFFER_SIZE * (BLOCK * 3 + 9), 1));
        assert_eq!(pool.available(), 0);
        assert_eq!(pool.trim(), 0);
        gone.clear(&mut pool);
        assert_eq!(pool.trim(), BLOCK * 2 + 10);
        assert_eq!(pool.stats().allocated, BLOCK);
        assert_eq!(
            gone.append(&mut pool, &pattern(BUFFER_SIZE * 500, 2)),
            BUFFER_SIZE * (BLOCK * 3 + 9)
        );
        assert_eq!(gone.to_vec(&pool)[..5000], pattern(5000, 2));
        assert_eq!(kept.to_vec(&pool), pattern(BUFFER_SIZE, 0));
        gone.clear(&mut pool);
        kept.clear(&mut pool);
        assert_eq!((pool.trim(), pool.stats().allocated), (BLOCK * 3 + 10, 0));
    }

    #[test]
    fn the_reserve_is_told() {
        let mut pool = BufferPool::new(4, 2);
        let mut queue = Queue::default();
        queue.append(&mut pool, &pattern(BUFFER_SIZE, 0));
        assert!(!pool.is_reserved() && !pool.is_scarce());
        queue.append(&mut pool, &pattern(BUFFER_SIZE, 0));
        assert!(pool.is_reserved() && pool.is_scarce());
        queue.clear(&mut pool);
    }

    #[test]
    fn moves_whole_buffers_without_copying_and_keeps_order() {
        let mut pool = BufferPool::new(100, 0);
        let (mut from, mut to) = (Queue::default(), Queue::default());
        to.append(&mut pool, &pattern(100, 0));
        from.append(&mut pool, &pattern(20_000, 100));
        let used = pool.stats().used;
        assert_eq!(from.move_to(&mut pool, &mut to, 12_345), 12_345);
        assert!(pool.stats().used <= used + 1, "linking allocates nothing but for the partial end");
        assert_eq!(from.move_to(&mut pool, &mut to, usize::MAX), 20_000 - 12_345);
        assert!(from.is_empty());
        let mut out = vec![0; 30_000];
        assert_eq!(to.copy_out(&pool, 0, &mut out), 20_100);
        assert_eq!(out[..20_100], pattern(20_100, 0));
        to.clear(&mut pool);
        assert_eq!(pool.stats().used, 0);
    }

    #[test]
    fn small_writes_share_a_buffer_after_a_move() {
        let mut pool = BufferPool::new(100, 0);
        let (mut from, mut to) = (Queue::default(), Queue::default());
        for i in 0..40 {
            from.append(&mut pool, &pattern(100, i * 100));
            from.move_to(&mut pool, &mut to, 100);
        }
        assert_eq!(pool.stats().used, 1);
        to.clear(&mut pool);
    }

    #[test]
    fn a_cursor_finds_offsets_going_forward_and_back() {
        let mut pool = BufferPool::new(100, 0);
        let mut queue = Queue::default();
        queue.append(&mut pool, &pattern(50_000, 0));
        let mut cursor = queue.start();
        for offset in [0, 1000, 4095, 4096, 20_000, 49_999, 300] {
            cursor = queue.seek(&pool, cursor, offset);
            let mut out = [0; 1];
            assert_eq!(queue.copy_from(&pool, cursor, offset, &mut out), 1);
            assert_eq!(out[0], pattern(1, offset)[0], "offset {offset}");
        }
        queue.clear(&mut pool);
    }
}
