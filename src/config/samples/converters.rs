//! What an expression can make of a value.
//!
//! In:    a name with its arguments
//! Out:   a [`Converter`], the kind that it takes and the kind that it makes
//! Never: converts anything

use std::sync::Arc;

use super::super::model::{Converter, HashOf, Kind, Operand, Operation, Pattern, Split};
use super::super::nearest::suggestion;
use super::super::parser::Context;
use super::super::report::Fault;
use super::{Call, maps, variable};

/// Every converter that is known, but for those of maps; for suggestions.
const NAMES: &[&str] = &[
    "add",
    "and",
    "b64dec",
    "base64",
    "bool",
    "bytes",
    "concat",
    "cpl",
    "crc32",
    "crc32c",
    "cut_crlf",
    "div",
    "djb2",
    "even",
    "field",
    "hex",
    "hex2i",
    "htonl",
    "iif",
    "ipmask",
    "length",
    "lower",
    "ltrim",
    "mod",
    "mul",
    "neg",
    "not",
    "odd",
    "or",
    "regsub",
    "reverse",
    "rtrim",
    "sdbm",
    "set-var",
    "strcmp",
    "sub",
    "ub64dec",
    "ub64enc",
    "unset-var",
    "upper",
    "url_dec",
    "word",
    "wt6",
    "xor",
];

/// Reads a converter.
pub(super) fn converter(
    call: &Call<'_>,
    context: &Context<'_>,
) -> Result<(Converter, Kind, Kind), Fault> {
    use Kind::{Any, Bool, Bytes, Int, Ip, Text};
    if let Some(found) = plain(call.name) {
        call.count(0, 0)?;
        return Ok(found);
    }
    if let Some(operation) = operation(call.name) {
        call.count(1, 1)?;
        let word = call.arguments[0].as_str();
        let operand = match word.parse() {
            Ok(0) if matches!(operation, Operation::Divide | Operation::Modulo) => {
                return Err(call.fault("a division by zero is never possible."));
            }
            Ok(number) => Operand::Number(number),
            Err(_) => Operand::Variable(variable(word)?),
        };
        return Ok((Converter::Arithmetic(operation, operand), Int, Int));
    }
    if let Some(hash) = hash(call.name) {
        call.count(0, 1)?;
        let is_mixed = call.integer(0, 0, 1)? == Some(1);
        return Ok((Converter::Hash(hash, is_mixed), Bytes, Int));
    }
    if call.name == "map" || call.name.starts_with("map_") {
        return maps::map(call, context);
    }
    let text = |index: usize| call.argument(index).unwrap_or_default();
    let bytes = |index: usize| -> Arc<[u8]> { text(index).as_bytes().into() };
    match call.name {
        "bytes" => {
            call.count(1, 2)?;
            let offset = size(call, 0)?.unwrap_or(0);
            Ok((Converter::Part { offset, len: size(call, 1)? }, Bytes, Bytes))
        }
        "concat" => {
            call.count(1, 3)?;
            let name = call.argument(1).filter(|name| !name.is_empty());
            let variable = name.map(variable).transpose()?;
            Ok((Converter::Concat { start: bytes(0), variable, end: bytes(2) }, Text, Text))
        }
        "field" => Ok((Converter::Field(split(call)?), Text, Text)),
        "word" => Ok((Converter::Word(split(call)?), Text, Text)),
        "iif" => {
            call.count(2, 2)?;
            Ok((Converter::Choose(bytes(0), bytes(1)), Bool, Text))
        }
        "ipmask" => {
            call.count(1, 2)?;
            let v4 = prefix(call, 0, 32)?.unwrap_or(32);
            Ok((Converter::IpMask(v4, prefix(call, 1, 128)?), Ip, Ip))
        }
        "ltrim" | "rtrim" => {
            call.count(1, 1)?;
            let trim =
                if call.name == "ltrim" { Converter::TrimLeft } else { Converter::TrimRight };
            Ok((trim(bytes(0)), Text, Text))
        }
        "regsub" => {
            call.count(2, 3)?;
            let (mut flags, mut all) = (String::new(), false);
            for flag in text(2).chars() {
                match flag {
                    'g' => all = true,
                    'i' => flags = "(?i)".into(),
                    flag => return Err(call.fault(&format!("unknown flag '{flag}'."))),
                }
            }
            let regex = Pattern::new(&format!("{flags}{}", text(0)))
                .map_err(|error| call.fault(&format!("bad regular expression: {error}")))?;
            Ok((Converter::Replace { regex, by: bytes(1), all }, Text, Text))
        }
        "set-var" => {
            call.count(1, 1)?;
            Ok((Converter::Store(variable(text(0))?), Any, Any))
        }
        "unset-var" => {
            call.count(1, 1)?;
            Ok((Converter::Forget(variable(text(0))?), Any, Any))
        }
        "strcmp" => {
            call.count(1, 1)?;
            Ok((Converter::Compare(variable(text(0))?), Text, Int))
        }
        "url_dec" => {
            call.count(0, 1)?;
            Ok((Converter::UrlDecode, Text, Text))
        }
        name => {
            let near = suggestion(name, NAMES.iter().copied());
            Err(format!("unknown converter '{name}'{near}").into())
        }
    }
}

/// Those without arguments.
fn plain(name: &str) -> Option<(Converter, Kind, Kind)> {
    use Kind::{Bool, Bytes, Int, Text};
    Some(match name {
        "bool" => (Converter::Bool, Int, Bool),
        "not" => (Converter::Not, Int, Bool),
        "odd" => (Converter::Odd, Int, Bool),
        "even" => (Converter::Even, Int, Bool),
        "neg" => (Converter::Negative, Int, Int),
        "cpl" => (Converter::Complement, Int, Int),
        "lower" => (Converter::Lower, Text, Text),
        "upper" => (Converter::Upper, Text, Text),
        "length" => (Converter::Length, Text, Int),
        "hex" => (Converter::Hex, Bytes, Text),
        "hex2i" => (Converter::HexToInt, Text, Int),
        "base64" => (Converter::Base64, Bytes, Text),
        "ub64enc" => (Converter::Base64Url, Bytes, Text),
        "b64dec" => (Converter::FromBase64, Text, Bytes),
        "ub64dec" => (Converter::FromBase64Url, Text, Bytes),
        "cut_crlf" => (Converter::CutLine, Text, Text),
        "htonl" => (Converter::NetworkOrder, Int, Bytes),
        "reverse" => (Converter::Reverse, Text, Text),
        _ => return None,
    })
}

fn operation(name: &str) -> Option<Operation> {
    Some(match name {
        "add" => Operation::Add,
        "sub" => Operation::Subtract,
        "mul" => Operation::Multiply,
        "div" => Operation::Divide,
        "mod" => Operation::Modulo,
        "and" => Operation::And,
        "or" => Operation::Or,
        "xor" => Operation::Xor,
        _ => return None,
    })
}

fn hash(name: &str) -> Option<HashOf> {
    Some(match name {
        "sdbm" => HashOf::Sdbm,
        "djb2" => HashOf::Djb2,
        "wt6" => HashOf::Wt6,
        "crc32" => HashOf::Crc32,
        "crc32c" => HashOf::Crc32c,
        _ => return None,
    })
}

fn size(call: &Call<'_>, index: usize) -> Result<Option<usize>, Fault> {
    let number = call.integer(index, 0, i64::from(i32::MAX))?;
    Ok(number.map(|number| usize::try_from(number).expect("in range")))
}

/// The length of a prefix, or a mask that is one.
fn prefix(call: &Call<'_>, index: usize, most: u8) -> Result<Option<u8>, Fault> {
    let Some(word) = call.argument(index).filter(|word| !word.is_empty()) else { return Ok(None) };
    if let Ok(mask) = word.parse::<std::net::IpAddr>() {
        let len = ipnet::ip_mask_to_prefix(mask).ok().filter(|_| mask.is_ipv4() == (most == 32));
        return len.map(Some).ok_or_else(|| call.fault(&format!("'{word}' is no such mask.")));
    }
    let number = call.integer(index, 0, i64::from(most))?;
    Ok(number.map(|number| u8::try_from(number).expect("in range")))
}

fn split(call: &Call<'_>) -> Result<Split, Fault> {
    call.count(2, 3)?;
    let most = i64::from(i32::MAX);
    let index = call.integer(0, -most, most)?.filter(|index| *index != 0);
    let index =
        index.ok_or_else(|| call.fault("the index counts from 1, or from -1 backwards."))?;
    let delimiters = call.arguments[1].as_bytes();
    if delimiters.is_empty() {
        return Err(call.fault("missing delimiters."));
    }
    let count = call.integer(2, 0, most)?.unwrap_or(1);
    Ok(Split {
        index,
        delimiters: delimiters.into(),
        count: usize::try_from(count).expect("in range"),
    })
}

#[cfg(test)]
mod tests {
    use super::super::super::parser::tests::with_line;
    use super::super::call;
    use super::*;

    #[test]
    fn every_name_is_read() {
        assert!(NAMES.is_sorted());
        for name in NAMES {
            let arguments = match *name {
                "add" | "and" | "div" | "mod" | "mul" | "or" | "sub" | "xor" | "bytes" => "(3)",
                "concat" | "ltrim" | "rtrim" => "(x)",
                "field" | "word" => "(1,.)",
                "iif" | "regsub" => "(a,b)",
                "ipmask" => "(255.255.0.0,64)",
                "set-var" | "unset-var" | "strcmp" => "(txn.x)",
                _ => "",
            };
            let word = format!("{name}{arguments}");
            let (call, _) = call(&word).unwrap();
            let found = with_line("acl", "", |_, context| converter(&call, context)).0;
            assert!(found.is_ok(), "{word}: {found:?}");
        }
    }

    #[test]
    fn what_is_no_argument() {
        for word in [
            "div(0)",
            "add(x)",
            "field(0,.)",
            "word(1)",
            "ipmask(33)",
            "ipmask(255.0.255.0)",
            "regsub((,x)",
            "regsub(a,b,x)",
            "sdbm(2)",
            "length(1)",
        ] {
            let (call, _) = call(word).unwrap();
            let found = with_line("acl", "", |_, context| converter(&call, context)).0;
            assert!(found.is_err(), "{word}: {found:?}");
        }
    }
}
