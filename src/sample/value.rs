//! Values of one kind taken as another.

use std::net::IpAddr;

use crate::config::model::{Kind, Value};

/// A value as one of another kind; `None` where it has no meaning there.
pub fn cast(value: Value, kind: Kind) -> Option<Value> {
    if value.kind() == kind || kind == Kind::Any {
        return Some(value);
    }
    Some(match kind {
        Kind::Bool => Value::Bool(int(&value)? != 0),
        Kind::Int => Value::Int(int(&value)?),
        Kind::Ip => {
            let (Value::Text(text) | Value::Bytes(text)) = &value else { return None };
            Value::Ip(std::str::from_utf8(text).ok()?.parse().ok()?)
        }
        Kind::Text => Value::Text(text(value)),
        Kind::Bytes => Value::Bytes(bytes(value)),
        Kind::Any => value,
    })
}

/// A value as a number.
fn int(value: &Value) -> Option<i64> {
    match value {
        Value::Bool(value) => Some(i64::from(*value)),
        Value::Int(value) => Some(*value),
        Value::Ip(IpAddr::V4(ip)) => Some(i64::from(u32::from(*ip))),
        Value::Ip(IpAddr::V6(_)) => None,
        Value::Text(text) | Value::Bytes(text) => Some(number(text)),
    }
}

/// The number that a text begins with; 0 if it begins with none.
fn number(text: &[u8]) -> i64 {
    let (sign, digits) = match text {
        [b'-', rest @ ..] => (-1, rest),
        [b'+', rest @ ..] => (1, rest),
        _ => (1, text),
    };
    let digits = digits.iter().take_while(|byte| byte.is_ascii_digit());
    digits.fold(0_i64, |value, digit| {
        value.saturating_mul(10).saturating_add(sign * i64::from(digit - b'0'))
    })
}

/// A value as it is written.
pub(super) fn text(value: Value) -> Vec<u8> {
    match value {
        Value::Bool(value) => if value { b"1" } else { b"0" }.to_vec(),
        Value::Int(value) => value.to_string().into_bytes(),
        Value::Ip(ip) => ip.to_string().into_bytes(),
        Value::Text(text) | Value::Bytes(text) => text,
    }
}

/// A value as bytes in network order.
fn bytes(value: Value) -> Vec<u8> {
    match value {
        Value::Bool(value) => i64::from(value).to_be_bytes().to_vec(),
        Value::Int(value) => value.to_be_bytes().to_vec(),
        Value::Ip(IpAddr::V4(ip)) => ip.octets().to_vec(),
        Value::Ip(IpAddr::V6(ip)) => ip.octets().to_vec(),
        Value::Text(text) | Value::Bytes(text) => text,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kinds_become_others() {
        let text = |text: &str| Value::Text(text.into());
        let ip = Value::Ip("192.0.2.1".parse().unwrap());
        assert_eq!(cast(text("42x"), Kind::Int), Some(Value::Int(42)));
        assert_eq!(cast(text("-7"), Kind::Int), Some(Value::Int(-7)));
        assert_eq!(cast(text("192.0.2.1"), Kind::Ip), Some(ip.clone()));
        assert_eq!(cast(text("x"), Kind::Ip), None);
        assert_eq!(cast(ip.clone(), Kind::Text), Some(text("192.0.2.1")));
        assert_eq!(cast(ip.clone(), Kind::Int), Some(Value::Int(0xc000_0201)));
        assert_eq!(cast(ip, Kind::Bytes), Some(Value::Bytes(vec![192, 0, 2, 1])));
        assert_eq!(cast(Value::Bool(true), Kind::Text), Some(text("1")));
        assert_eq!(cast(Value::Int(5), Kind::Bool), Some(Value::Bool(true)));
    }
}
