//! Bytes that tell where in a stream they belong.
//!
//! In:    an offset in a stream
//! Out:   the bytes from there on; whether received ones are the right ones
//! Owns:  one period of the pattern
//! Never: repeats within 65521 bytes: no power of two and no segment size is a multiple of that

/// A prime: a piece that is lost, repeated or moved by less than this is seen.
const PERIOD: usize = 65_521;
/// The longest piece given out at once.
const PIECE: usize = 64 << 10;

/// The endless stream that sources send and sinks expect.
pub struct Pattern {
    /// A period and a piece, so that every piece is contiguous.
    bytes: Box<[u8]>,
}

impl Default for Pattern {
    fn default() -> Self {
        let mut word = 0x2545_f491_4f6c_dd1d_u64;
        let mut next = || {
            // xorshift64: any sequence without short repetitions will do.
            word ^= word << 13;
            word ^= word >> 7;
            word ^= word << 17;
            (word >> 32) as u8
        };
        let mut bytes: Vec<u8> = (0..PERIOD).map(|_| next()).collect();
        bytes.extend_from_within(..);
        bytes.truncate(PERIOD + PIECE);
        Pattern { bytes: bytes.into() }
    }
}

impl Pattern {
    /// Bytes from `offset` on, at most `max` and at most 64 KiB of them.
    pub fn piece(&self, offset: u64, max: usize) -> &[u8] {
        let at = (offset % PERIOD as u64) as usize;
        let end = (at + max.min(PIECE)).min(self.bytes.len());
        &self.bytes[at..end]
    }

    /// Whether `bytes` are the stream's from `offset` on.
    pub fn matches(&self, mut offset: u64, mut bytes: &[u8]) -> bool {
        while !bytes.is_empty() {
            let piece = self.piece(offset, bytes.len());
            if piece != &bytes[..piece.len()] {
                return false;
            }
            offset += piece.len() as u64;
            bytes = &bytes[piece.len()..];
        }
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stream_in_pieces_is_recognised() {
        let pattern = Pattern::default();
        let mut stream = Vec::new();
        while stream.len() < 300_000 {
            stream.extend_from_slice(pattern.piece(stream.len() as u64, 1448));
        }
        assert!(pattern.matches(0, &stream));
        assert!(pattern.matches(123_456, &stream[123_456..]));
    }

    #[test]
    fn what_is_lost_repeated_or_damaged_is_seen() {
        let pattern = Pattern::default();
        let stream = pattern.piece(0, 10_000);
        for shift in [1, 2, 4, 1448, 1460, 4096] {
            assert!(!pattern.matches(shift, &stream[..1448]), "{shift}");
        }
        let mut damaged = stream.to_vec();
        damaged[7000] ^= 1;
        assert!(!pattern.matches(0, &damaged));
    }
}
