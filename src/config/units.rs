//! Numbers, times and sizes.
//!
//! In:    a word such as `30s`, `16k`, `2000`
//! Out:   its value, or what is wrong with it
//! Read:  docs/configuration.md, "Numbers, times and sizes"

use std::ops::RangeInclusive;
use std::time::Duration;

use super::report::Fault;

/// The longest time: a signed 32-bit number of milliseconds, as in HAProxy.
const TIME_MS_MAX: u64 = i32::MAX as u64;

/// Why a word is not a time or a size.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum UnitError {
    /// More than can be.
    Overflow,
    /// This character stands there.
    Unexpected(char),
    /// There is no number.
    Missing,
}

impl UnitError {
    /// The sentence about a time `word` that is an argument of `keyword`.
    pub(super) fn of_time(self, word: &str, keyword: &str) -> Fault {
        match self {
            UnitError::Overflow => format!(
                "timer overflow in argument '{word}' to '{keyword}' \
                 (maximum value is {TIME_MS_MAX} ms or ~24.8 days)."
            ),
            UnitError::Unexpected(c) => {
                return Fault::hinted(
                    format!("unexpected character '{c}' in argument '{word}' to '{keyword}'."),
                    "a time is a number and one of 'us', 'ms', 's', 'm', 'h', 'd' (default 'ms').",
                );
            }
            UnitError::Missing => {
                format!("'{keyword}' expects an integer value (in milliseconds).")
            }
        }
        .into()
    }

    /// The sentence about a size `word` that is an argument of `keyword`.
    pub(super) fn of_size(self, word: &str, keyword: &str) -> Fault {
        match self {
            UnitError::Overflow => {
                format!("size overflow in argument '{word}' to '{keyword}'.").into()
            }
            UnitError::Unexpected(c) => Fault::hinted(
                format!("unexpected character '{c}' in argument '{word}' to '{keyword}'."),
                "a size is a number of bytes, perhaps with one of 'k', 'm', 'g'.",
            ),
            UnitError::Missing => format!("'{keyword}' expects a size.").into(),
        }
    }
}

/// The same, where a number without a unit is one of seconds.
pub fn time_in_seconds(word: &str) -> Result<Duration, UnitError> {
    let is_bare = !word.is_empty() && word.bytes().all(|byte| byte.is_ascii_digit());
    if is_bare { time(&format!("{word}s")) } else { time(word) }
}

/// A time in whole milliseconds, rounded up; without a unit it is in milliseconds.
pub fn time(word: &str) -> Result<Duration, UnitError> {
    let (number, unit) = number_and_unit(word)?;
    let us = match unit {
        "us" => Some(number),
        "" | "ms" => number.checked_mul(1_000),
        "s" => number.checked_mul(1_000_000),
        "m" => number.checked_mul(60_000_000),
        "h" => number.checked_mul(3_600_000_000),
        "d" => number.checked_mul(86_400_000_000),
        _ => return Err(unexpected(unit, &["us", "ms", "s", "m", "h", "d"])),
    };
    let us = us.ok_or(UnitError::Overflow)?;
    let ms = us.div_ceil(1_000);
    if ms > TIME_MS_MAX {
        return Err(UnitError::Overflow);
    }
    Ok(Duration::from_millis(ms))
}

/// A number of bytes.
pub(super) fn size(word: &str) -> Result<u32, UnitError> {
    let (number, unit) = number_and_unit(word)?;
    let factor = match unit {
        "" => 1,
        "k" | "K" => 1 << 10,
        "m" | "M" => 1 << 20,
        "g" | "G" => 1 << 30,
        _ => return Err(unexpected(unit, &["k", "m", "g"])),
    };
    number.checked_mul(factor).and_then(|bytes| bytes.try_into().ok()).ok_or(UnitError::Overflow)
}

/// A decimal number within `range`; `keyword` is for the sentence when it is not.
pub(super) fn integer(
    word: Option<&str>,
    range: RangeInclusive<i64>,
    keyword: &str,
) -> Result<i64, Fault> {
    let word = word.ok_or_else(|| format!("'{keyword}' expects an integer argument."))?;
    let digits = word.strip_prefix(['-', '+']).unwrap_or(word);
    if digits.is_empty() || !digits.bytes().all(|b| b.is_ascii_digit()) {
        return Err(format!("'{keyword}' expects an integer argument, found '{word}'.").into());
    }
    word.parse().ok().filter(|number| range.contains(number)).ok_or_else(|| {
        let (low, high) = range.into_inner();
        format!("'{keyword}' : invalid value '{word}', permitted are {low} to {high}.").into()
    })
}

fn number_and_unit(word: &str) -> Result<(u64, &str), UnitError> {
    let end = word.find(|c: char| !c.is_ascii_digit()).unwrap_or(word.len());
    if end == 0 {
        return Err(word.chars().next().map_or(UnitError::Missing, UnitError::Unexpected));
    }
    let number = word[..end].parse().map_err(|_| UnitError::Overflow)?;
    Ok((number, &word[end..]))
}

/// The first character that cannot belong to any of the units.
fn unexpected(unit: &str, units: &[&str]) -> UnitError {
    let known = units.iter().filter(|known| unit.starts_with(**known)).map(|known| known.len());
    let rest = &unit[known.max().unwrap_or(0)..];
    UnitError::Unexpected(rest.chars().next().expect("a known unit is no error"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ms(word: &str) -> u128 {
        time(word).expect(word).as_millis()
    }

    #[test]
    fn times() {
        assert_eq!(ms("0"), 0);
        assert_eq!(ms("50"), 50);
        assert_eq!(ms("50ms"), 50);
        assert_eq!((ms("1us"), ms("1500us")), (1, 2));
        assert_eq!(ms("30s"), 30_000);
        assert_eq!(ms("5m"), 300_000);
        assert_eq!(ms("2h"), 7_200_000);
        assert_eq!(ms("24d"), 2_073_600_000);
        assert_eq!(ms("2147483647"), 2_147_483_647);
    }

    #[test]
    fn what_is_no_time() {
        assert_eq!(time("2147483648"), Err(UnitError::Overflow));
        assert_eq!(time("25d"), Err(UnitError::Overflow));
        assert_eq!(time("99999999999999999999"), Err(UnitError::Overflow));
        assert_eq!(time("99999999999999999d"), Err(UnitError::Overflow));
        assert_eq!(time("3x"), Err(UnitError::Unexpected('x')));
        assert_eq!(time("3sx"), Err(UnitError::Unexpected('x')));
        assert_eq!(time("3msé"), Err(UnitError::Unexpected('é')));
        assert_eq!(time("-3"), Err(UnitError::Unexpected('-')));
        assert_eq!(time(""), Err(UnitError::Missing));
    }

    #[test]
    fn sizes() {
        assert_eq!(size("16384"), Ok(16_384));
        assert_eq!(size("16k"), Ok(16_384));
        assert_eq!(size("1m"), Ok(1 << 20));
        assert_eq!(size("4g"), Err(UnitError::Overflow));
        assert_eq!(size("16kb"), Err(UnitError::Unexpected('b')));
    }

    #[test]
    fn integers() {
        assert_eq!(integer(Some("7"), 0..=9, "x"), Ok(7));
        assert_eq!(integer(Some("-7"), -9..=9, "x"), Ok(-7));
        for word in [None, Some(""), Some("x"), Some("10"), Some("0x1"), Some("1 "), Some("--1")] {
            assert!(integer(word, 0..=9, "x").is_err(), "{word:?}");
        }
        let fault = integer(Some("10"), 0..=9, "nice").unwrap_err();
        assert_eq!(fault.text, "'nice' : invalid value '10', permitted are 0 to 9.");
    }
}
