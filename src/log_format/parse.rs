//! Reads formats.
//!
//! In:    `%ci:%cp [%t] %{+Q}f %[src]`
//! Out:   a [`Format`], or what is wrong in HAProxy's words
//! Never: reads an expression: it finds where one ends and keeps its text

use std::fmt;

use super::{FIELDS, Flags, Format, HTTP_FIELDS, Item};

/// Why a text is no format.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ParseError {
    /// It ends within a variable: what came last.
    Truncated(String),
    /// Flags with nothing to set: the flags.
    FlagsAlone(String),
    /// No name can begin with this character; where it is, in bytes from 0.
    Unexpected(char, usize),
    /// No variable has this name.
    Unknown(String),
    /// A variable of HTTP.
    OfHttp(String),
    /// An expression without an end: its text.
    Unclosed(String),
    /// `%[]`
    NoFetch,
}

impl fmt::Display for ParseError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ParseError::Truncated(last) => write!(f, "truncated line after '{last}'"),
            ParseError::FlagsAlone(flags) => {
                write!(f, "parse argument modifier without variable name near '%{{{flags}}}'")
            }
            ParseError::Unexpected(c, at) => write!(
                f,
                "unexpected variable name near '{c}' at position {at}. Maybe you want to write a single '%', \
                 use the syntax '%%'"
            ),
            ParseError::Unknown(name) => write!(
                f,
                "no such format variable '{name}'. If you wanted to emit the '%' character verbatim, you need to \
                 use '%%'"
            ),
            ParseError::OfHttp(name) => {
                write!(f, "format variable '{name}' is reserved for HTTP mode")
            }
            ParseError::Unclosed(text) => write!(f, "missing ']' after '{text}'"),
            ParseError::NoFetch => write!(f, "missing fetch method in '%[]'"),
        }
    }
}

impl std::error::Error for ParseError {}

/// Reads a format whose items have `flags` unless they say otherwise.
pub(super) fn format(text: &str, flags: Flags) -> Result<Format, ParseError> {
    let mut reader = Reader {
        text,
        at: 0,
        flags,
        format: Format { items: Vec::new(), expressions: Vec::new() },
    };
    while let Some(c) = reader.next() {
        match c {
            ' ' => reader.blank(),
            '%' => reader.variable()?,
            c => reader.text(c),
        }
    }
    Ok(reader.format)
}

struct Reader<'a> {
    text: &'a str,
    at: usize,
    flags: Flags,
    format: Format,
}

impl<'a> Reader<'a> {
    fn rest(&self) -> &'a str {
        &self.text[self.at..]
    }

    fn next(&mut self) -> Option<char> {
        let c = self.rest().chars().next()?;
        self.at += c.len_utf8();
        Some(c)
    }

    fn blank(&mut self) {
        if self.format.items.last() != Some(&Item::Blank) {
            self.format.items.push(Item::Blank);
        }
    }

    fn text(&mut self, c: char) {
        match self.format.items.last_mut() {
            Some(Item::Text(text)) => text.push(c),
            _ => self.format.items.push(Item::Text(c.into())),
        }
    }

    /// What follows a `%`.
    fn variable(&mut self) -> Result<(), ParseError> {
        let rest = self.rest();
        let Some(first) = rest.chars().next() else {
            return Err(ParseError::Truncated("%".into()));
        };
        match first {
            '%' => {
                self.at += 1;
                self.text('%');
            }
            '{' => {
                let end = rest.find('}').ok_or_else(|| ParseError::Truncated(rest[1..].into()))?;
                let words = &rest[1..end];
                self.at += end + 1;
                let flags = self.flags.changed(words);
                match self.rest().chars().next() {
                    Some('[') => self.expression(flags)?,
                    Some(c) if c.is_ascii_alphabetic() => self.name(flags)?,
                    _ => return Err(ParseError::FlagsAlone(words.into())),
                }
            }
            '[' => self.expression(self.flags)?,
            c if c.is_ascii_alphabetic() => self.name(self.flags)?,
            c if c == ' ' || c.is_ascii_digit() => return Err(ParseError::Unexpected(c, self.at)),
            // Before any other character HAProxy leaves a lone `%` out.
            _ => {}
        }
        Ok(())
    }

    fn name(&mut self, flags: Flags) -> Result<(), ParseError> {
        let rest = self.rest();
        let end = rest.find(|c: char| !c.is_ascii_alphanumeric()).unwrap_or(rest.len());
        let name = &rest[..end];
        self.at += end;
        if name == "o" {
            self.flags = flags;
            return Ok(());
        }
        if HTTP_FIELDS.contains(&name) {
            return Err(ParseError::OfHttp(name.into()));
        }
        let (_, field) = FIELDS
            .iter()
            .find(|(known, _)| *known == name)
            .ok_or_else(|| ParseError::Unknown(name.into()))?;
        self.format.items.push(Item::Field(*field, flags));
        Ok(())
    }

    /// `[...]`: brackets within parentheses or quotes belong to the expression.
    fn expression(&mut self, flags: Flags) -> Result<(), ParseError> {
        let inside = &self.rest()[1..];
        let end = expression_end(inside).ok_or_else(|| ParseError::Unclosed(inside.into()))?;
        let text = inside[..end].trim();
        if text.is_empty() {
            return Err(ParseError::NoFetch);
        }
        self.at += end + 2;
        self.format.items.push(Item::Expression(self.format.expressions.len(), flags));
        self.format.expressions.push(text.into());
        Ok(())
    }
}

/// Where the bracket is that closes an expression.
fn expression_end(text: &str) -> Option<usize> {
    let (mut depth, mut quote, mut is_escaped) = (0_u32, None, false);
    for (at, c) in text.char_indices() {
        match (c, quote) {
            _ if is_escaped => is_escaped = false,
            ('\\', None | Some('"')) if depth > 0 => is_escaped = true,
            (c, Some(open)) => quote = Some(open).filter(|open| *open != c),
            ('"' | '\'', None) if depth > 0 => quote = Some(c),
            ('(', None) => depth += 1,
            (')', None) => depth = depth.saturating_sub(1),
            (']', None) if depth == 0 => return Some(at),
            _ => {}
        }
    }
    None
}

impl Flags {
    /// These flags after `+Q,-X`; what is no flag changes nothing, as in HAProxy.
    fn changed(mut self, words: &str) -> Self {
        let mut value = None;
        for c in words.chars() {
            let flag = match c {
                '+' | '-' => {
                    value = Some(c == '+');
                    continue;
                }
                ',' | ' ' => {
                    value = None;
                    continue;
                }
                'Q' => &mut self.quote,
                'X' => &mut self.hex,
                'E' => &mut self.escape,
                'M' => &mut self.dash,
                _ => continue,
            };
            if let Some(value) = value {
                *flag = value;
            }
        }
        self
    }
}
