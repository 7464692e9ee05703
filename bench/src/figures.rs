//! Figures that one program prints on a line and another reads.
//!
//! In:    names and numbers
//! Out:   a JSON object of numbers, on one line; and back
//! Never: reads other JSON than its own

use std::fmt;
use std::str::FromStr;

/// Names and numbers, in order.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Figures(Vec<(String, f64)>);

impl Figures {
    /// Appends a figure.
    pub fn push(&mut self, name: &str, value: f64) {
        self.0.push((name.to_owned(), value));
    }

    /// The figure of this name; 0 where there is none, as of a counter that never counted.
    pub fn figure(&self, name: &str) -> f64 {
        self.0.iter().find(|(known, _)| known == name).map_or(0.0, |(_, value)| *value)
    }
}

impl fmt::Display for Figures {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("{")?;
        for (index, (name, value)) in self.0.iter().enumerate() {
            let comma = if index > 0 { "," } else { "" };
            write!(f, "{comma}\"{name}\":{value}")?;
        }
        f.write_str("}")
    }
}

impl FromStr for Figures {
    type Err = String;

    fn from_str(line: &str) -> Result<Self, String> {
        let wrong = || format!("'{line}' is no object of numbers");
        let inner = line.trim().strip_prefix('{').and_then(|rest| rest.strip_suffix('}'));
        let pairs = inner.ok_or_else(wrong)?.split(',').filter(|pair| !pair.is_empty());
        let read = pairs.map(|pair| {
            let (name, value) = pair.split_once(':')?;
            let name = name.strip_prefix('"')?.strip_suffix('"')?;
            Some((name.to_owned(), value.parse().ok()?))
        });
        read.collect::<Option<Vec<_>>>().map(Figures).ok_or_else(wrong)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_printed_is_read() {
        let mut figures = Figures::default();
        figures.push("bytes", 3e9);
        figures.push("seconds", 1.25);
        let line = figures.to_string();
        assert_eq!(line, r#"{"bytes":3000000000,"seconds":1.25}"#);
        assert_eq!(line.parse(), Ok(figures.clone()));
        assert_eq!("{}".parse(), Ok(Figures::default()));
        assert_eq!((figures.figure("seconds"), figures.figure("retransmits")), (1.25, 0.0));
    }

    #[test]
    fn anything_else_is_refused() {
        for wrong in ["", "{\"a\":\"b\"}", "a=1", "{\"a\":1", "{a:1}"] {
            assert!(wrong.parse::<Figures>().is_err(), "{wrong}");
        }
    }
}
