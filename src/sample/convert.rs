//! Makes one value of another.

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};

use super::value::text;
use super::{Scene, cast};
use crate::acl;
use crate::config::model::{
    Converter, HashFunction, HashOf, Kind, Map, Operand, Operation, Split, Value,
};
use crate::lb;

/// What a converter makes of a value; `None`: nothing.
pub(super) fn convert(converter: &Converter, value: Value, scene: &mut Scene<'_>) -> Option<Value> {
    let int = |value| match cast(value, Kind::Int) {
        Some(Value::Int(number)) => Some(number),
        _ => None,
    };
    Some(match converter {
        Converter::Arithmetic(operation, operand) => {
            let operand = match operand {
                Operand::Number(number) => *number,
                Operand::Variable(variable) => int(scene.variable(variable)?)?,
            };
            Value::Int(arithmetic(*operation, int(value)?, operand))
        }
        Converter::Negative => Value::Int(int(value)?.wrapping_neg()),
        Converter::Complement => Value::Int(!int(value)?),
        Converter::Bool => Value::Bool(int(value)? != 0),
        Converter::Not => Value::Bool(int(value)? == 0),
        Converter::Odd => Value::Bool(int(value)? & 1 == 1),
        Converter::Even => Value::Bool(int(value)? & 1 == 0),
        Converter::Lower => Value::Text(text(value).to_ascii_lowercase()),
        Converter::Upper => Value::Text(text(value).to_ascii_uppercase()),
        Converter::Length => Value::Int(text(value).len() as i64),
        Converter::Part { offset, len } => {
            let Some(Value::Bytes(bytes)) = cast(value, Kind::Bytes) else { return None };
            let rest = bytes.get(*offset..)?;
            Value::Bytes(rest[..len.unwrap_or(rest.len()).min(rest.len())].to_vec())
        }
        Converter::Hex => {
            let Some(Value::Bytes(bytes)) = cast(value, Kind::Bytes) else { return None };
            Value::Text(bytes.iter().flat_map(|byte| format!("{byte:02X}").into_bytes()).collect())
        }
        Converter::HexToInt => {
            let digits = text(value);
            let digits = std::str::from_utf8(&digits).ok()?;
            Value::Int(u64::from_str_radix(digits, 16).ok()? as i64)
        }
        Converter::Base64 => {
            let Some(Value::Bytes(bytes)) = cast(value, Kind::Bytes) else { return None };
            Value::Text(STANDARD.encode(bytes).into_bytes())
        }
        Converter::Base64Url => {
            let Some(Value::Bytes(bytes)) = cast(value, Kind::Bytes) else { return None };
            Value::Text(URL_SAFE_NO_PAD.encode(bytes).into_bytes())
        }
        Converter::FromBase64 => Value::Bytes(STANDARD.decode(text(value)).ok()?),
        Converter::FromBase64Url => Value::Bytes(URL_SAFE_NO_PAD.decode(text(value)).ok()?),
        Converter::Field(split) => Value::Text(fields(&text(value), split, false)?),
        Converter::Word(split) => Value::Text(fields(&text(value), split, true)?),
        Converter::TrimLeft(set) => {
            let text = text(value);
            let start = text.iter().position(|byte| !set.contains(byte)).unwrap_or(text.len());
            Value::Text(text[start..].to_vec())
        }
        Converter::TrimRight(set) => {
            let mut text = text(value);
            let end = text.iter().rposition(|byte| !set.contains(byte)).map_or(0, |at| at + 1);
            text.truncate(end);
            Value::Text(text)
        }
        Converter::CutLine => {
            let mut text = text(value);
            let end = text.iter().position(|byte| matches!(byte, b'\r' | b'\n'));
            text.truncate(end.unwrap_or(text.len()));
            Value::Text(text)
        }
        Converter::Concat { start, variable, end } => {
            let mut joined = text(value);
            joined.extend_from_slice(start);
            let middle = variable.as_ref().and_then(|variable| scene.variable(variable));
            joined.extend(middle.map(text).unwrap_or_default());
            joined.extend_from_slice(end);
            Value::Text(joined)
        }
        Converter::IpMask(v4, v6) => {
            let Value::Ip(ip) = value else { return None };
            let len = if ip.is_ipv4() { Some(*v4) } else { *v6 }?;
            Value::Ip(ipnet::IpNet::new(ip, len).ok()?.trunc().addr())
        }
        Converter::Choose(yes, no) => {
            let chosen = if int(value)? != 0 { yes } else { no };
            Value::Text(chosen.to_vec())
        }
        Converter::Compare(variable) => {
            let other = text(scene.variable(variable)?);
            Value::Int(text(value).cmp(&other) as i64)
        }
        Converter::Replace { regex, by, all } => Value::Text(regex.replace(&text(value), by, *all)),
        Converter::UrlDecode => Value::Text(url_decoded(&text(value))),
        Converter::Hash(function, is_mixed) => {
            let Some(Value::Bytes(bytes)) = cast(value, Kind::Bytes) else { return None };
            let hash = hash(*function, &bytes);
            Value::Int(i64::from(if *is_mixed { lb::avalanche(hash) } else { hash }))
        }
        Converter::Map(map) => return look_up(map, &value),
        Converter::Store(variable) => {
            scene.set_variable(variable, value.clone());
            value
        }
        Converter::Forget(variable) => {
            scene.unset_variable(variable);
            value
        }
        Converter::NetworkOrder => Value::Bytes((int(value)? as u32).to_be_bytes().to_vec()),
        Converter::Reverse => Value::Text(text(value).into_iter().rev().collect()),
    })
}

/// Results beyond the range stay at its end; a division by nothing gives the most there is.
fn arithmetic(operation: Operation, a: i64, b: i64) -> i64 {
    match operation {
        Operation::Add => a.saturating_add(b),
        Operation::Subtract => a.saturating_sub(b),
        Operation::Multiply => a.saturating_mul(b),
        Operation::Divide if b == 0 => i64::MAX,
        Operation::Divide => a.saturating_div(b),
        Operation::Modulo if b == 0 => i64::MAX,
        Operation::Modulo => a.wrapping_rem(b),
        Operation::And => a & b,
        Operation::Or => a | b,
        Operation::Xor => a ^ b,
    }
}

/// Parts between delimiters. Of words those that are empty do not count.
fn fields(text: &[u8], split: &Split, skips_empty: bool) -> Option<Vec<u8>> {
    let is_delimiter = |byte: &u8| split.delimiters.contains(byte);
    // Where each part begins and ends.
    let mut parts = Vec::new();
    let mut begin = 0;
    for end in (0..text.len()).filter(|&at| is_delimiter(&text[at])).chain([text.len()]) {
        if !(skips_empty && begin == end) {
            parts.push(begin..end);
        }
        begin = end + 1;
    }
    let wanted = usize::try_from(split.index.unsigned_abs()).ok()?;
    let count = if split.count == 0 { parts.len() } else { split.count };
    // From the end, the parts before the wanted one belong to it.
    let (first, last) = if split.index > 0 {
        let first = wanted - 1;
        (first, first.saturating_add(count - 1).min(parts.len().checked_sub(1)?))
    } else {
        let last = parts.len().checked_sub(wanted)?;
        (last.saturating_sub(count - 1), last)
    };
    let (first, last) = (parts.get(first)?, parts.get(last)?);
    Some(text[first.start..last.end].to_vec())
}

/// `%41` is `A`, `+` a space; what is no such code stays.
fn url_decoded(text: &[u8]) -> Vec<u8> {
    let digit = |byte: u8| char::from(byte).to_digit(16).map(|digit| digit as u8);
    let mut decoded = Vec::with_capacity(text.len());
    let mut rest = text;
    while let Some((&byte, after)) = rest.split_first() {
        rest = after;
        match (byte, after) {
            (b'+', _) => decoded.push(b' '),
            (b'%', [high, low, after @ ..]) => match (digit(*high), digit(*low)) {
                (Some(high), Some(low)) => {
                    decoded.push(high << 4 | low);
                    rest = after;
                }
                _ => decoded.push(byte),
            },
            _ => decoded.push(byte),
        }
    }
    decoded
}

fn hash(function: HashOf, bytes: &[u8]) -> u32 {
    match function {
        HashOf::Sdbm => HashFunction::Sdbm.apply(bytes),
        HashOf::Djb2 => HashFunction::Djb2.apply(bytes),
        HashOf::Wt6 => HashFunction::Wt6.apply(bytes),
        HashOf::Crc32 => HashFunction::Crc32.apply(bytes),
        HashOf::Crc32c => crc32c::crc32c(bytes),
    }
}

fn look_up(map: &Map, value: &Value) -> Option<Value> {
    let exact = (!map.exact.is_empty()).then(|| map.exact.get(&text(value.clone()))).flatten();
    let found = exact.or_else(|| {
        let entry = map.entries.iter().find(|(matcher, _)| acl::matches(matcher, value));
        entry.map(|(_, found)| found)
    });
    found.or(map.default.as_ref()).cloned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn split(index: i64, count: usize) -> Split {
        Split { index, delimiters: b"."[..].into(), count }
    }

    #[test]
    fn fields_and_words() {
        let field = |text: &str, index, count| {
            fields(text.as_bytes(), &split(index, count), false)
                .map(|text| String::from_utf8(text).unwrap())
        };
        assert_eq!(field("a.b.c", 2, 1).as_deref(), Some("b"));
        assert_eq!(field("a..c", 2, 1).as_deref(), Some(""));
        assert_eq!(field("a.b.c", 2, 0).as_deref(), Some("b.c"));
        assert_eq!(field("a.b.c", -1, 2).as_deref(), Some("b.c"));
        assert_eq!(field("a.b.c", 4, 1), None);
        assert_eq!(field("a.b.c", -4, 1), None);
        let word = |text: &str, index| {
            fields(text.as_bytes(), &split(index, 1), true)
                .map(|text| String::from_utf8(text).unwrap())
        };
        assert_eq!(word("..a..b", 2).as_deref(), Some("b"));
        assert_eq!(word("...", 1), None);
    }

    #[test]
    fn numbers_stay_in_range() {
        assert_eq!(arithmetic(Operation::Add, i64::MAX, 1), i64::MAX);
        assert_eq!(arithmetic(Operation::Divide, 1, 0), i64::MAX);
        assert_eq!(arithmetic(Operation::Divide, i64::MIN, -1), i64::MAX);
        assert_eq!(arithmetic(Operation::Modulo, i64::MIN, -1), 0);
        assert_eq!(arithmetic(Operation::Xor, 6, 3), 5);
    }

    #[test]
    fn codes_of_urls() {
        assert_eq!(url_decoded(b"a%41+%zz%4"), b"aA %zz%4");
    }
}
