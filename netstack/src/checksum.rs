//! The internet checksum, in parts that add up.
//!
//! In:    bytes, words
//! Out:   a sum that other parts can be added to, folded at the end
//! Read:  RFC 1071, section 2, for why the order of bytes does not matter, nor the order of parts

/// Bytes of the words that are added.
const WORD: usize = size_of::<u32>();

/// A ones' complement sum under way, in the order of bytes of this machine.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Sum(u64);

impl Sum {
    /// With bytes that begin at an even place of what is summed. Odd lengths only at the end.
    pub fn bytes(self, bytes: &[u8]) -> Sum {
        let (words, rest) = bytes.as_chunks::<WORD>();
        let sum: u64 = words.iter().map(|&word| u64::from(u32::from_ne_bytes(word))).sum();
        let mut last = [0; WORD];
        last[..rest.len()].copy_from_slice(rest);
        Sum(self.0 + sum + u64::from(u32::from_ne_bytes(last)))
    }

    /// With a number of 16 bits.
    pub fn word(self, word: u16) -> Sum {
        Sum(self.0 + u64::from(word.to_be()))
    }

    /// The sum, as it stands in a header that holds it uncomplemented.
    pub fn fold(self) -> u16 {
        // Half of the bits each time, and the carry of it.
        let sum = (self.0 >> 32) + (self.0 & 0xffff_ffff);
        let sum = (sum >> 32) + (sum & 0xffff_ffff);
        let sum = (sum >> 16) + (sum & 0xffff);
        let sum = (sum >> 16) + (sum & 0xffff);
        let sum = (sum >> 16) + (sum & 0xffff);
        u16::from_be(sum as u16)
    }

    /// Whether this is the sum of something with its right checksum in it.
    pub fn is_right(self) -> bool {
        self.fold() == 0xffff
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Word by word, as RFC 1071, section 4.1, has it.
    fn plainly(bytes: &[u8]) -> u16 {
        let mut sum = 0_u64;
        for pair in bytes.chunks(2) {
            sum += u64::from(pair[0]) << 8 | u64::from(pair.get(1).copied().unwrap_or(0));
        }
        while sum > 0xffff {
            sum = (sum >> 16) + (sum & 0xffff);
        }
        sum as u16
    }

    #[test]
    fn is_the_sum_of_rfc_1071() {
        // The example of its section 3.
        let example = [0x00, 0x01, 0xf2, 0x03, 0xf4, 0xf5, 0xf6, 0xf7];
        assert_eq!(Sum::default().bytes(&example).fold(), 0xddf2);
        let bytes: Vec<u8> = (0..3000_u32).map(|at| (at * 167 + at / 251) as u8).collect();
        for len in 0..bytes.len() {
            let sum = Sum::default().bytes(&bytes[..len]);
            assert_eq!(sum.fold(), plainly(&bytes[..len]), "{len} bytes");
            let (head, tail) = bytes[..len].split_at(len / 4 * 2);
            let parts = Sum::default().bytes(head).bytes(tail);
            assert_eq!(parts.fold(), sum.fold(), "{len} bytes in two parts");
        }
        assert_eq!(Sum::default().word(0x1234).word(0xf000).fold(), 0x0235);
    }
}
