//! Hash functions of keys, by HAProxy's names.
//!
//! Read:  HAProxy's configuration manual, "hash-type"

use super::roster::Roster;
use crate::config::model::{Algorithm, HashFunction, HashMethod, HashType};

/// How keys are hashed.
#[derive(Clone, Copy, Debug)]
pub(super) struct Hash {
    function: HashFunction,
    avalanche: bool,
}

impl Hash {
    pub fn new(hash_type: HashType) -> Self {
        let HashType { method, function, avalanche } = hash_type;
        Hash {
            function: function.unwrap_or(HashFunction::Sdbm),
            // A ring wants its keys well spread: it gets that unless a function is stated.
            avalanche: avalanche || (function.is_none() && method == HashMethod::Consistent),
        }
    }

    /// The hash of a key. An address is folded to 32 bits instead; and with one server there is nothing to choose.
    pub fn of(self, algorithm: &Algorithm, key: &[u8], roster: &Roster) -> u32 {
        if roster.used() == 1 {
            return 0;
        }
        let hash = match algorithm {
            Algorithm::Source => fold(key),
            _ => self.function.apply(key),
        };
        if self.avalanche { avalanche(hash) } else { hash }
    }
}

/// The exclusive or of the words of an address.
fn fold(address: &[u8]) -> u32 {
    let words = address.chunks_exact(4);
    words.map(|word| u32::from_be_bytes([word[0], word[1], word[2], word[3]])).fold(0, |a, b| a ^ b)
}

impl HashFunction {
    /// The hash of a key.
    pub(crate) fn apply(self, key: &[u8]) -> u32 {
        match self {
            HashFunction::Sdbm => sdbm(key),
            HashFunction::Djb2 => djb2(key),
            HashFunction::Wt6 => wt6(key),
            HashFunction::Crc32 => crc32fast::hash(key),
            HashFunction::None => number(key),
        }
    }
}

fn sdbm(key: &[u8]) -> u32 {
    key.iter().fold(0, |hash: u32, &byte| {
        u32::from(byte).wrapping_add(hash << 6).wrapping_add(hash << 16).wrapping_sub(hash)
    })
}

fn djb2(key: &[u8]) -> u32 {
    key.iter().fold(5381, |hash: u32, &byte| hash.wrapping_mul(33).wrapping_add(u32::from(byte)))
}

fn wt6(key: &[u8]) -> u32 {
    let (mut h0, mut h1): (u32, u32) = (0xa53c_965a, 0x5ca6_953a);
    let (mut step0, mut step1) = (6, 18);
    for &byte in key {
        h0 = !(h0 ^ u32::from(byte));
        h1 = !h1.wrapping_add(u32::from(byte));
        (h0, h1) = (h1.rotate_left(step0), h0.rotate_left(step1));
        let mixed = ((h0 >> 16) ^ h1) & 0xffff;
        (step0, step1) = (mixed & 0x1f, mixed >> 11);
    }
    h0 ^ h1
}

/// The key as a decimal number, as far as it is one.
fn number(key: &[u8]) -> u32 {
    let (negative, digits) = match key {
        [b'-', rest @ ..] => (true, rest),
        [b'+', rest @ ..] => (false, rest),
        _ => (false, key),
    };
    let digits = digits.iter().take_while(|byte| byte.is_ascii_digit());
    let value = digits
        .fold(0_u64, |value, digit| value.wrapping_mul(10).wrapping_add(u64::from(digit - b'0')));
    if negative { value.wrapping_neg() as u32 } else { value as u32 }
}

/// A bijection of 32 bits that changes about half of them for one that differs (R. Jenkins, six shifts), as
/// HAProxy's modifier of this name.
pub(crate) fn avalanche(value: u32) -> u32 {
    let mut a = value;
    a = a.wrapping_add(0x7ed5_5d16).wrapping_add(a << 12);
    a = (a ^ 0xc761_c23c) ^ (a >> 19);
    a = a.wrapping_add(0x1656_67b1).wrapping_add(a << 5);
    a = a.wrapping_add(0xd3a2_646c) ^ (a << 9);
    a = a.wrapping_add(0xfd70_46c5).wrapping_add(a << 3);
    a = (a ^ 0xb55a_4f09) ^ (a >> 16);
    // Low bits would be much alike for neighbours: a factor spreads them.
    a.wrapping_mul(3_221_225_473)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn known_values() {
        assert_eq!(sdbm(b"a"), 97);
        assert_eq!(djb2(b""), 5381);
        assert_eq!(djb2(b"a"), 177_670);
        assert_eq!(HashFunction::Crc32.apply(b"123456789"), 0xcbf4_3926);
        assert_eq!((number(b"42x"), number(b"-1"), number(b"x")), (42, u32::MAX, 0));
        assert_ne!(wt6(b"abc"), wt6(b"acb"));
        assert_eq!(fold(&[1, 2, 3, 4]), 0x0102_0304);
    }
}
