//! The values that an ACL compares with.
//!
//! In:    words, and lines of files
//! Out:   a [`Matcher`]
//! Never: compares

use std::collections::HashSet;
use std::path::Path;
use std::sync::Arc;

use ipnet::IpNet;

use super::super::model::{IntRange, IpSet, Kind, Matcher, Pattern, TextMatch, TextMethod};
use super::super::parser::Context;
use super::super::report::Fault;

/// How values are compared (`-m`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in super::super) enum Method {
    Found,
    Bool,
    Int,
    Ip,
    Bytes,
    Len,
    Regex,
    Text(TextMethod),
}

impl Method {
    pub(super) const NAMES: &'static [&'static str] = &[
        "beg", "bin", "bool", "dir", "dom", "end", "found", "int", "ip", "len", "reg", "str", "sub",
    ];

    /// By HAProxy's name.
    pub(in super::super) fn named(name: &str) -> Option<Method> {
        Some(match name {
            "found" => Method::Found,
            "bool" => Method::Bool,
            "int" => Method::Int,
            "ip" => Method::Ip,
            "bin" => Method::Bytes,
            "len" => Method::Len,
            "reg" => Method::Regex,
            "str" => Method::Text(TextMethod::Is),
            "beg" => Method::Text(TextMethod::Begins),
            "end" => Method::Text(TextMethod::Ends),
            "sub" => Method::Text(TextMethod::Contains),
            "dir" => Method::Text(TextMethod::Directory),
            "dom" => Method::Text(TextMethod::Domain),
            _ => return None,
        })
    }

    pub(super) fn name(self) -> &'static str {
        let named = |name: &&&str| Method::named(name) == Some(self);
        Self::NAMES.iter().find(named).expect("each has a name")
    }

    /// What a value is taken as.
    pub(super) fn takes(self) -> Kind {
        match self {
            Method::Found => Kind::Any,
            Method::Bool => Kind::Bool,
            Method::Int => Kind::Int,
            Method::Ip => Kind::Ip,
            Method::Bytes => Kind::Bytes,
            Method::Len | Method::Regex | Method::Text(_) => Kind::Text,
        }
    }
}

/// Values while they are read.
pub(in super::super) struct Patterns {
    method: Method,
    ignores_case: bool,
    bools: Vec<bool>,
    ranges: Vec<IntRange>,
    networks: IpSet,
    regexes: Vec<Pattern>,
    bytes: Vec<Arc<[u8]>>,
    texts: HashSet<Vec<u8>>,
}

impl Patterns {
    pub(in super::super) fn new(method: Method, ignores_case: bool) -> Self {
        Patterns {
            method,
            ignores_case,
            bools: Vec::new(),
            ranges: Vec::new(),
            networks: IpSet::default(),
            regexes: Vec::new(),
            bytes: Vec::new(),
            texts: HashSet::new(),
        }
    }

    /// Adds the values of a line; before numbers operators may stand, each for all that follow it. The values, each with its
    /// operator.
    pub(super) fn add_words(
        &mut self,
        words: &[&str],
        context: &Context<'_>,
    ) -> Result<Vec<Arc<str>>, Fault> {
        let mut values: Vec<Arc<str>> = Vec::new();
        let mut operator = None;
        let mut words = words.iter();
        while let Some(word) = words.next() {
            let is_number = matches!(self.method, Method::Int | Method::Len);
            match *word {
                "eq" | "ge" | "gt" | "le" | "lt" if is_number => {
                    operator = Some(*word);
                    if words.as_slice().is_empty() {
                        return Err(format!("'{word}' expects a number.").into());
                    }
                }
                word if is_number => {
                    self.ranges.push(range(word, operator)?);
                    let value = operator.map(|operator| format!("{operator} {word}"));
                    values.push(value.map_or_else(|| word.into(), Into::into));
                }
                word => {
                    self.add(word, context)?;
                    values.push(word.into());
                }
            }
        }
        Ok(values)
    }

    /// Adds one value.
    pub(in super::super) fn add(&mut self, word: &str, context: &Context<'_>) -> Result<(), Fault> {
        match self.method {
            Method::Found => {
                return Err(format!("'-m found' takes no value, found '{word}'.").into());
            }
            Method::Bool => self.bools.push(match word {
                "1" | "true" | "yes" | "on" => true,
                "0" | "false" | "no" | "off" => false,
                _ => return Err(format!("'{word}' is no boolean: 'true' or 'false'.").into()),
            }),
            Method::Int | Method::Len => self.ranges.push(range(word, None)?),
            Method::Ip => self.network(word, context)?,
            Method::Bytes => self.bytes.push(super::super::checks::binary(word)?),
            Method::Regex => {
                let case = if self.ignores_case { "(?i)" } else { "" };
                let regex = Pattern::new(&format!("{case}{word}"));
                self.regexes.push(regex.map_err(|error| {
                    Fault::from(format!("regex '{word}' is invalid : {error}"))
                })?);
            }
            Method::Text(_) => {
                let text =
                    if self.ignores_case { word.to_ascii_lowercase() } else { word.to_string() };
                self.texts.insert(text.into_bytes());
            }
        }
        Ok(())
    }

    /// An address, a network with a prefix or a mask, or a name.
    fn network(&mut self, word: &str, context: &Context<'_>) -> Result<(), Fault> {
        let is_wrong = || Fault::from(format!("'{word}' is not a valid IPv4 or IPv6 address."));
        let (host, prefix) = word.split_once('/').map_or((word, None), |(h, p)| (h, Some(p)));
        let is_name =
            |host: &str| host.contains(|c: char| c.is_ascii_alphabetic()) && !host.contains(':');
        let addresses = match host.parse() {
            Ok(address) => vec![address],
            Err(_) if is_name(host) => context.resolve_all(host, None)?,
            Err(_) => return Err(is_wrong()),
        };
        for address in addresses {
            let most = if address.is_ipv4() { 32 } else { 128 };
            let len = match prefix {
                None => most,
                Some(prefix) => match prefix.parse() {
                    Ok(len) => len,
                    Err(_) => {
                        let mask = prefix.parse().map_err(|_| is_wrong())?;
                        ipnet::ip_mask_to_prefix(mask).map_err(|_| is_wrong())?
                    }
                },
            };
            self.networks.insert(IpNet::new(address, len).map_err(|_| is_wrong())?);
        }
        Ok(())
    }

    pub(in super::super) fn finish(self) -> Matcher {
        match self.method {
            Method::Found => Matcher::Found,
            Method::Bool => Matcher::Bool(self.bools),
            Method::Int => Matcher::Int(self.ranges),
            Method::Len => Matcher::Len(self.ranges),
            Method::Ip => Matcher::Ip(self.networks),
            Method::Bytes => Matcher::Bytes(self.bytes),
            Method::Regex => Matcher::Regex(self.regexes),
            Method::Text(method) => Matcher::Text(TextMatch {
                method,
                ignores_case: self.ignores_case,
                texts: self.texts,
            }),
        }
    }
}

/// `5`, `5:9`, `:9`, `5:`; `3.1` is a version of TLS.
fn range(word: &str, operator: Option<&str>) -> Result<IntRange, Fault> {
    let is_wrong = || {
        Fault::hinted(
            format!("integer value expected instead of '{word}'."),
            "a number, or a range as '1024:65535', ':100' or '10:'.",
        )
    };
    let number = |text: &str| -> Result<i64, Fault> {
        match text.split_once('.') {
            None => text.parse().map_err(|_| is_wrong()),
            Some((major, minor)) => {
                let (major, minor): (u16, u16) = (
                    major.parse().map_err(|_| is_wrong())?,
                    minor.parse().map_err(|_| is_wrong())?,
                );
                Ok(i64::from(major) << 16 | i64::from(minor))
            }
        }
    };
    let (low, high) = match word.split_once(':') {
        None => (number(word)?, number(word)?),
        Some(("", "")) => return Err(is_wrong()),
        Some(("", high)) => (i64::MIN, number(high)?),
        Some((low, "")) => (number(low)?, i64::MAX),
        Some((low, high)) => (number(low)?, number(high)?),
    };
    let is_range = low != high;
    match operator {
        None | Some("eq") => Ok(IntRange { low, high }),
        Some(operator) if is_range => {
            Err(format!("'{operator}' expects a number, and '{word}' is a range.").into())
        }
        Some("ge") => Ok(IntRange { low, high: i64::MAX }),
        Some("gt") => Ok(IntRange { low: low.saturating_add(1), high: i64::MAX }),
        Some("le") => Ok(IntRange { low: i64::MIN, high }),
        Some(_) => Ok(IntRange { low: i64::MIN, high: high.saturating_sub(1) }),
    }
}

/// The lines of a file that say something, with their numbers.
pub(in super::super) fn lines_of(
    file: &str,
    context: &Context<'_>,
) -> Result<Vec<(usize, String)>, Fault> {
    let bytes = context
        .surroundings
        .read(Path::new(file))
        .map_err(|error| format!("failed to open pattern file '{file}' : {error}."))?;
    let text = String::from_utf8(bytes)
        .map_err(|_| format!("pattern file '{file}' is not valid UTF-8."))?;
    let lines = text.lines().enumerate().map(|(index, line)| (index + 1, line.trim()));
    let says = |line: &str| !line.is_empty() && !line.starts_with('#');
    Ok(lines
        .filter(|(_, line)| says(line))
        .map(|(number, line)| (number, line.to_string()))
        .collect())
}
