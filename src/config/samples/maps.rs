//! Maps: files with a pattern and a value on each line.
//!
//! In:    `map_<method>[_<kind>](<file>[,<default>])`
//! Out:   a [`Map`], its file read
//! Never: reads the file again; what is asked of it is `sample`'s

use std::collections::HashMap;
use std::sync::Arc;

use super::super::acls::{Method, Patterns};
use super::super::model::{Converter, Kind, Map, Value};
use super::super::parser::Context;
use super::super::report::Fault;
use super::Call;

/// Reads a converter of this family.
pub(super) fn map(
    call: &Call<'_>,
    context: &Context<'_>,
) -> Result<(Converter, Kind, Kind), Fault> {
    let unknown = || Fault::from(format!("unknown converter '{}'.", call.name));
    let words: Vec<&str> = call.name.split('_').skip(1).collect();
    let (method, makes) = match words[..] {
        [] => ("str", "str"),
        [method] => (method, "str"),
        [method, makes] => (method, makes),
        _ => return Err(unknown()),
    };
    let makes = match makes {
        "str" => Kind::Text,
        "int" => Kind::Int,
        "ip" => Kind::Ip,
        _ => return Err(unknown()),
    };
    let (method, takes) = match method {
        "str" | "beg" | "end" | "sub" | "dir" | "dom" | "reg" => {
            (Method::named(method).ok_or_else(unknown)?, Kind::Text)
        }
        "int" => (Method::Int, Kind::Int),
        "ip" => (Method::Ip, Kind::Ip),
        _ => return Err(unknown()),
    };
    call.count(1, 2)?;
    let default = call.argument(1).map(|text| value(text, makes, call)).transpose()?;
    let map = Arc::new(load(call, method, makes, default, context)?);
    Ok((Converter::Map(map), takes, makes))
}

fn value(text: &str, kind: Kind, call: &Call<'_>) -> Result<Value, Fault> {
    let found = match kind {
        Kind::Int => text.parse().ok().map(Value::Int),
        Kind::Ip => text.parse().ok().map(Value::Ip),
        _ => Some(Value::Text(text.into())),
    };
    found.ok_or_else(|| call.fault(&format!("'{text}' is no value of type {}.", kind.name())))
}

fn load(
    call: &Call<'_>,
    method: Method,
    makes: Kind,
    default: Option<Value>,
    context: &Context<'_>,
) -> Result<Map, Fault> {
    let mut map = Map { exact: HashMap::new(), entries: Vec::new(), default };
    let file = &call.arguments[0];
    for (number, line) in super::super::acls::lines_of(file, context)? {
        let of_line = |fault: Fault| Fault {
            text: format!("file '{file}' line {number} : {}", fault.text),
            hint: fault.hint,
        };
        let (key, found) = line.split_once([' ', '\t']).unwrap_or((&line, ""));
        let found = value(found.trim_start(), makes, call).map_err(of_line)?;
        if method == Method::Text(super::super::model::TextMethod::Is) {
            map.exact.entry(key.into()).or_insert(found);
            continue;
        }
        let mut patterns = Patterns::new(method, false);
        patterns.add(key, context).map_err(of_line)?;
        map.entries.push((patterns.finish(), found));
    }
    Ok(map)
}
