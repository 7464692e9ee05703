//! Two ends of one flow in one process, and what is measured with them.
//!
//! In:    two sides of one kind
//! Out:   transactions and transfers, every byte of which arrived
//! Owns:  the two directions of the wire, the virtual time
//! Never: reads a clock

use std::net::Ipv4Addr;

use super::frames::{Frames, SLOTS};

/// Bytes of a request, and of its response.
pub const REQUEST: usize = 64;
/// Bytes that the user of a bulk transfer reads or writes at a time.
const PIECE: usize = 64 * 1024;
/// Virtual time of one transaction, µs: about what a transaction over a short cable takes.
const TRANSACTION_US: u64 = 10;
/// Virtual time of one turn of a bulk transfer, µs: 64 full frames at 40 Gbit/s.
const TURN_US: u64 = 20;
const PORT: u16 = 80;
/// A pair that has nothing more to say within so many turns has lost something.
const TURNS_WITHOUT_NEWS_MAX: usize = 100_000;

/// Who an end is.
#[derive(Clone, Copy, Debug)]
pub struct Place {
    /// Its link-layer address.
    pub mac: [u8; 6],
    /// Its address, in a network of 24 bits.
    pub ip: Ipv4Addr,
}

const PLACES: [Place; 2] = [
    Place { mac: [2, 0, 0, 0, 0, 1], ip: Ipv4Addr::new(10, 0, 0, 1) },
    Place { mac: [2, 0, 0, 0, 0, 2], ip: Ipv4Addr::new(10, 0, 0, 2) },
];

/// One end of one flow. Times are virtual, in µs.
pub trait Side {
    /// An end without a flow.
    fn new(place: Place) -> Self;

    /// Waits for a connection.
    fn listen(&mut self, port: u16);

    /// Begins one.
    fn connect(&mut self, ip: Ipv4Addr, port: u16, now_us: u64);

    /// Whether the flow is established.
    fn is_open(&self) -> bool;

    /// Takes all frames of `rx`, and the time.
    fn ingest(&mut self, rx: &mut Frames, tx: &mut Frames, now_us: u64);

    /// Sends what there is to send, at most `budget` frames.
    fn emit(&mut self, rx: &mut Frames, tx: &mut Frames, budget: usize, now_us: u64);

    /// Queues bytes; returns how many were taken.
    fn write(&mut self, bytes: &[u8], now_us: u64) -> usize;

    /// Takes bytes; returns how many there were.
    fn read(&mut self, out: &mut [u8], now_us: u64) -> usize;
}

/// A flow between two sides.
pub struct Pair<S> {
    client: S,
    server: S,
    /// Frames for the server, and for the client.
    there: Frames,
    back: Frames,
    now_us: u64,
    /// Transactions so far: each says another thing.
    count: u64,
    /// Bytes of bulk so far: where the pattern goes on.
    offset: usize,
    source: Box<[u8]>,
    sink: Box<[u8]>,
}

impl<S: Side> Pair<S> {
    /// A flow that is established.
    pub fn open() -> Pair<S> {
        // The pattern repeats after a prime, so that no piece looks like the next.
        let source: Vec<u8> = (0..PIECE + PATTERN).map(pattern).collect();
        let mut pair = Pair {
            client: S::new(PLACES[0]),
            server: S::new(PLACES[1]),
            there: Frames::default(),
            back: Frames::default(),
            now_us: 1_000_000,
            count: 0,
            offset: 0,
            source: source.into_boxed_slice(),
            sink: vec![0; PIECE].into_boxed_slice(),
        };
        pair.server.listen(PORT);
        pair.client.connect(PLACES[1].ip, PORT, pair.now_us);
        let mut turns = 0;
        while !(pair.client.is_open() && pair.server.is_open()) {
            turns += 1;
            assert!(turns < TURNS_WITHOUT_NEWS_MAX, "the handshake does not end");
            // Whoever waits for a neighbour asks again after a while.
            pair.turn(1000);
        }
        // What the handshake has left to say is not part of the first transaction.
        for _ in 0..4 {
            pair.turn(1000);
        }
        pair
    }

    fn turn(&mut self, turn_us: u64) {
        self.client.emit(&mut self.back, &mut self.there, SLOTS, self.now_us);
        self.server.ingest(&mut self.there, &mut self.back, self.now_us);
        self.server.emit(&mut self.there, &mut self.back, SLOTS, self.now_us);
        self.client.ingest(&mut self.back, &mut self.there, self.now_us);
        self.now_us += turn_us;
    }

    /// A request and its response. Each side takes one frame and sends one: an acknowledgment alone is
    /// never due.
    #[inline(never)]
    pub fn transact(&mut self) {
        self.count += 1;
        let mut request = [0x5a; REQUEST];
        request[..8].copy_from_slice(&self.count.to_le_bytes());
        let mut got = [0; 2 * REQUEST];
        let now = self.now_us;

        assert_eq!(self.client.write(&request, now), REQUEST);
        let count = carry(
            &mut self.client,
            &mut self.server,
            &mut self.there,
            &mut self.back,
            &mut got,
            now,
        );
        assert_eq!(got[..count], request, "request {}", self.count);

        assert_eq!(self.server.write(&got[..count], now), REQUEST);
        let count = carry(
            &mut self.server,
            &mut self.client,
            &mut self.back,
            &mut self.there,
            &mut got,
            now,
        );
        assert_eq!(got[..count], request, "response {}", self.count);
        self.now_us += TRANSACTION_US;
    }

    /// Sends `total` bytes from client to server; `taken` sees where each piece begins and what it is.
    #[inline(never)]
    pub fn transfer(&mut self, total: usize, mut taken: impl FnMut(usize, &[u8])) {
        let begin = self.offset;
        let (mut sent, mut received) = (begin, begin);
        let end = begin + total;
        let mut turns = 0;
        while received < end {
            while sent < end {
                let at = sent % PATTERN;
                let piece = &self.source[at..at + PIECE.min(end - sent)];
                let count = self.client.write(piece, self.now_us);
                sent += count;
                if count < piece.len() {
                    break;
                }
            }
            self.turn(TURN_US);
            loop {
                let count = self.server.read(&mut self.sink, self.now_us);
                taken(received, &self.sink[..count]);
                received += count;
                if count < PIECE {
                    turns = if count > 0 { 0 } else { turns + 1 };
                    break;
                }
            }
            assert!(turns < TURNS_WITHOUT_NEWS_MAX, "{} of {total} arrived", received - begin);
        }
        self.offset = end;
    }
}

/// One frame from `from` to `to`, and what its user reads then. Now and then a stack spends the frame on a
/// question of its own (ARP): then there is another one.
#[inline(always)]
fn carry<S: Side>(
    from: &mut S,
    to: &mut S,
    there: &mut Frames,
    back: &mut Frames,
    out: &mut [u8],
    now_us: u64,
) -> usize {
    for _ in 0..QUESTIONS_MAX {
        from.emit(back, there, 1, now_us);
        to.ingest(there, back, now_us);
        let count = to.read(out, now_us);
        if count > 0 {
            return count;
        }
        from.ingest(back, there, now_us);
    }
    panic!("{QUESTIONS_MAX} frames, and no byte arrived");
}

/// Frames without a byte that may go before the one with the bytes.
const QUESTIONS_MAX: usize = 4;

/// After so many bytes the pattern repeats: a prime, longer than a frame.
const PATTERN: usize = 8191;

/// The byte at an offset of a bulk transfer.
fn pattern(offset: usize) -> u8 {
    let place = offset % PATTERN;
    (place.wrapping_mul(31) ^ (place >> 8).wrapping_mul(17)) as u8
}

#[cfg(test)]
mod tests {
    use super::super::{ours::Ours, theirs::Theirs};
    use super::*;

    fn transacts<S: Side>() {
        let mut pair = Pair::<S>::open();
        for _ in 0..5000 {
            pair.transact();
        }
    }

    fn transfers<S: Side>() {
        let mut pair = Pair::<S>::open();
        for total in [1, 1460, 3_000_000] {
            let mut next = pair.offset;
            let end = next + total;
            pair.transfer(total, |at, bytes| {
                assert_eq!(at, next);
                for (index, byte) in bytes.iter().enumerate() {
                    assert_eq!(*byte, pattern(at + index), "byte {}", at + index);
                }
                next += bytes.len();
            });
            assert_eq!(next, end, "every byte, and no more");
        }
    }

    #[test]
    fn ours_answers_requests() {
        transacts::<Ours>();
    }

    #[test]
    fn smoltcp_answers_requests() {
        transacts::<Theirs<false>>();
        transacts::<Theirs<true>>();
    }

    #[test]
    fn ours_carries_every_byte() {
        transfers::<Ours>();
    }

    #[test]
    fn smoltcp_carries_every_byte() {
        transfers::<Theirs<false>>();
        transfers::<Theirs<true>>();
    }
}
