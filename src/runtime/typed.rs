//! Figures with names and types, in the forms that HAProxy has for them.
//!
//! In:    fields: what each is called, what it is, its value
//! Out:   CSV, typed lines, JSON
//! Never: knows what a figure means
//! Read:  HAProxy's management guide, "Typed output format"

use std::fmt::{self, Write};

use serde::Serialize;

/// A value.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(untagged)]
pub enum Value {
    /// `u32`
    U32(u32),
    /// `s32`
    S32(i32),
    /// `u64`
    U64(u64),
    /// `str`
    Str(String),
}

impl Value {
    /// The name of its type.
    pub fn kind(&self) -> &'static str {
        match self {
            Value::U32(_) => "u32",
            Value::S32(_) => "s32",
            Value::U64(_) => "u64",
            Value::Str(_) => "str",
        }
    }
}

impl fmt::Display for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Value::U32(number) => number.fmt(f),
            Value::S32(number) => number.fmt(f),
            Value::U64(number) => number.fmt(f),
            Value::Str(text) => text.fmt(f),
        }
    }
}

impl From<u32> for Value {
    fn from(number: u32) -> Self {
        Value::U32(number)
    }
}

impl From<u64> for Value {
    fn from(number: u64) -> Self {
        Value::U64(number)
    }
}

impl From<usize> for Value {
    fn from(number: usize) -> Self {
        Value::U32(u32::try_from(number).unwrap_or(u32::MAX))
    }
}

impl From<&str> for Value {
    fn from(text: &str) -> Self {
        Value::Str(text.into())
    }
}

impl From<String> for Value {
    fn from(text: String) -> Self {
        Value::Str(text)
    }
}

/// What a figure is, in HAProxy's four letters: origin, nature, scope, and whether it outlives a reload.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tags(pub &'static str);

#[derive(Serialize)]
struct JsonTags {
    origin: &'static str,
    nature: &'static str,
    scope: &'static str,
}

impl Tags {
    fn json(self) -> JsonTags {
        let letter = |at: usize| self.0.as_bytes()[at];
        JsonTags {
            origin: match letter(0) {
                b'M' => "Metric",
                b'S' => "Status",
                b'K' => "Key",
                b'C' => "Config",
                b'P' => "Product",
                other => unreachable!("{} begins with {other}", self.0),
            },
            nature: match letter(1) {
                b'A' => "Age",
                b'a' => "Avg",
                b'C' => "Counter",
                b'D' => "Duration",
                b'G' => "Gauge",
                b'L' => "Limit",
                b'M' => "Max",
                b'N' => "Name",
                b'O' => "Output",
                b'R' => "Rate",
                b'S' => "String",
                other => unreachable!("{} has nature {other}", self.0),
            },
            scope: match letter(2) {
                b'P' => "Process",
                b'S' => "Service",
                other => unreachable!("{} has scope {other}", self.0),
            },
        }
    }
}

/// One figure among those of its table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Field<'a> {
    /// Its place in the table.
    pub position: usize,
    /// Its name.
    pub name: &'a str,
    /// What it is.
    pub tags: Tags,
}

/// Whose figure it is, for JSON.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Owner {
    /// `Frontend`, `Backend`, `Listener` or `Server`.
    pub kind: &'static str,
    /// The number of the proxy.
    pub proxy: u32,
    /// The number of the server or listener.
    pub id: u32,
}

#[derive(Serialize)]
struct JsonField<'a> {
    pos: usize,
    name: &'a str,
}

#[derive(Serialize)]
struct JsonValue<'a> {
    r#type: &'static str,
    value: &'a Value,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct JsonFigure<'f, 'v> {
    #[serde(skip_serializing_if = "Option::is_none")]
    obj_type: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    proxy_id: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    id: Option<u32>,
    field: JsonField<'f>,
    process_num: u32,
    tags: JsonTags,
    value: JsonValue<'v>,
}

/// Figures as a JSON array.
pub fn json<'f, 'v>(
    owner: Option<Owner>,
    figures: impl IntoIterator<Item = (Field<'f>, &'v Value)>,
) -> String {
    let figures = figures.into_iter().map(|(field, value)| JsonFigure {
        obj_type: owner.map(|owner| owner.kind),
        proxy_id: owner.map(|owner| owner.proxy),
        id: owner.map(|owner| owner.id),
        field: JsonField { pos: field.position, name: field.name },
        process_num: 1,
        tags: field.tags.json(),
        value: JsonValue { r#type: value.kind(), value },
    });
    serde_json::to_string(&figures.collect::<Vec<_>>()).expect("strings and numbers serialise")
}

/// `0.pxname.1:KNSV:str:www`, behind what names the owner.
pub fn typed_line(out: &mut String, prefix: &str, field: Field<'_>, value: &Value) {
    let Field { position, name, tags } = field;
    // Writing to a string cannot fail.
    let _ = writeln!(out, "{prefix}{position}.{name}.1:{}:{}:{value}", tags.0, value.kind());
}

/// A value of a CSV line, quoted where it has to be (RFC 4180, section 2).
pub fn csv_value(out: &mut String, value: &Value) {
    match value {
        Value::Str(text) if text.contains([',', '"', '\n', '\r']) => {
            let _ = write!(out, "\"{}\"", text.replace('"', "\"\""));
        }
        value => _ = write!(out, "{value}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FIELD: Field<'static> = Field { position: 4, name: "scur", tags: Tags("MGPV") };

    #[test]
    fn a_figure_in_each_form() {
        let value = Value::from(7_u32);
        let mut typed = String::new();
        typed_line(&mut typed, "F.2.0.", FIELD, &value);
        assert_eq!(typed, "F.2.0.4.scur.1:MGPV:u32:7\n");
        let owner = Owner { kind: "Frontend", proxy: 2, id: 0 };
        assert_eq!(
            json(Some(owner), [(FIELD, &value)]),
            "[{\"objType\":\"Frontend\",\"proxyId\":2,\"id\":0,\"field\":{\"pos\":4,\"name\":\"scur\"},\
             \"processNum\":1,\"tags\":{\"origin\":\"Metric\",\"nature\":\"Gauge\",\"scope\":\"Process\"},\
             \"value\":{\"type\":\"u32\",\"value\":7}}]"
        );
        assert!(json(None, [(FIELD, &value)]).starts_with("[{\"field\":{\"pos\":4"));
    }

    #[test]
    fn csv_is_quoted_where_it_has_to_be() {
        let mut out = String::new();
        for text in ["plain", "a,b", "say \"so\""] {
            csv_value(&mut out, &text.into());
            out.push(',');
        }
        assert_eq!(out, "plain,\"a,b\",\"say \"\"so\"\"\",");
    }
}
