//! Splits a line into words.
//!
//! In:    the bytes of one line, and the variables
//! Out:   words with their columns, or the column at fault
//! Never: knows what a word means
//! Read:  docs/configuration.md, "Words, quotes and variables"
//!
//! ```text
//!             blank   #        \x      $VAR    "       '
//!  outside    ends    comment  escape  as is   opens   opens
//!  "weak"     as is   as is    escape  value   closes  as is
//!  'strong'   as is   as is    as is   as is   as is   closes
//! ```

use std::collections::BTreeMap;

/// Words of a line; more is taken for a mistake, as HAProxy takes it.
pub(super) const WORDS_MAX: usize = 64;

/// A word and where it starts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Word {
    pub(super) text: String,
    /// From 1, in bytes of the line.
    pub(super) column: usize,
}

/// Why a line has no words.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct WordError {
    pub(super) message: String,
    /// From 1, in bytes of the line.
    pub(super) column: usize,
}

/// Splits `line`, which holds no line feed.
pub(super) fn split(
    line: &[u8],
    variables: &BTreeMap<String, String>,
) -> Result<Vec<Word>, WordError> {
    let line = line.strip_suffix(b"\r").unwrap_or(line);
    Splitter { line, variables, next: 0, word: None, words: Vec::new() }.run()
}

/// Writes `text` so that [`split`] reads it back as one word.
#[cfg(test)]
pub(super) fn quote(text: &str) -> String {
    format!("'{}'", text.replace('\'', r"'\''"))
}

/// Where the splitter stands; the value is the index of the quote that opened it.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Quoting {
    Outside,
    Weak(usize),
    Strong(usize),
}

struct Splitter<'a> {
    line: &'a [u8],
    variables: &'a BTreeMap<String, String>,
    next: usize,
    /// The word being read; `Some` and empty after `""`.
    word: Option<(usize, Vec<u8>)>,
    words: Vec<Word>,
}

impl Splitter<'_> {
    fn run(mut self) -> Result<Vec<Word>, WordError> {
        let mut quoting = Quoting::Outside;
        while let Some(&byte) = self.line.get(self.next) {
            quoting = match (quoting, byte) {
                (_, 0) => return Err(error("stray NUL character", self.next)),
                (Quoting::Strong(_), b'\'') | (Quoting::Weak(_), b'"') => {
                    self.next += 1;
                    Quoting::Outside
                }
                (Quoting::Strong(_), _) => self.take(byte, quoting),
                (Quoting::Outside, b'#') => break,
                (Quoting::Outside, b'"' | b'\'') => self.open(byte),
                (Quoting::Outside, _) if is_blank(byte) => {
                    self.next += 1;
                    self.end_word()?;
                    quoting
                }
                (_, b'\\') => {
                    self.escape(quoting)?;
                    quoting
                }
                (Quoting::Weak(_), b'$') => {
                    self.variable()?;
                    quoting
                }
                _ => self.take(byte, quoting),
            };
        }
        match quoting {
            Quoting::Outside => {
                self.end_word()?;
                Ok(self.words)
            }
            Quoting::Weak(at) | Quoting::Strong(at) => Err(error("unmatched quote", at)),
        }
    }

    fn take(&mut self, byte: u8, quoting: Quoting) -> Quoting {
        self.emit(&[byte]);
        self.next += 1;
        quoting
    }

    fn open(&mut self, quote: u8) -> Quoting {
        let at = self.next;
        self.emit(&[]);
        self.next += 1;
        if quote == b'"' { Quoting::Weak(at) } else { Quoting::Strong(at) }
    }

    fn emit(&mut self, bytes: &[u8]) {
        self.word.get_or_insert_with(|| (self.next, Vec::new())).1.extend_from_slice(bytes);
    }

    fn end_word(&mut self) -> Result<(), WordError> {
        let Some((at, bytes)) = self.word.take() else { return Ok(()) };
        let text = String::from_utf8(bytes).map_err(|_| error("word is not valid UTF-8", at))?;
        if self.words.len() == WORDS_MAX {
            return Err(error(format!("too many words, at most {WORDS_MAX} are permitted"), at));
        }
        self.words.push(Word { text, column: at + 1 });
        Ok(())
    }

    /// A backslash; what follows it decides whether it is one.
    fn escape(&mut self, quoting: Quoting) -> Result<(), WordError> {
        let (byte, length) = match self.line.get(self.next + 1) {
            Some(&byte @ (b' ' | b'\\' | b'#' | b'"' | b'\'')) => (byte, 2),
            Some(b'n') => (b'\n', 2),
            Some(b'r') => (b'\r', 2),
            Some(b't') => (b'\t', 2),
            Some(b'x') => (self.hexadecimal()?, 4),
            // Outside weak quotes a dollar needs no protection, so the backslash is one.
            Some(b'$') if quoting != Quoting::Outside => (b'$', 2),
            _ => (b'\\', 1),
        };
        self.emit(&[byte]);
        self.next += length;
        Ok(())
    }

    fn hexadecimal(&self) -> Result<u8, WordError> {
        self.line
            .get(self.next + 2..self.next + 4)
            .filter(|digits| digits.iter().all(u8::is_ascii_hexdigit))
            .and_then(|digits| std::str::from_utf8(digits).ok())
            .and_then(|digits| u8::from_str_radix(digits, 16).ok())
            .ok_or_else(|| error("truncated or invalid hexadecimal sequence", self.next))
    }

    /// `$NAME`, `${NAME}`, `${NAME-default}`, `${NAME[*]}`
    fn variable(&mut self) -> Result<(), WordError> {
        let mut at = self.next + 1;
        let brace = (self.line.get(at) == Some(&b'{')).then_some(at);
        at += usize::from(brace.is_some());
        let line = self.line;
        let name = variable_name(line, at)?;
        at += name.len();
        let mut spread = false;
        let mut default = None;
        if let Some(brace) = brace {
            let unmatched = || error("unmatched brace in environment variable name", brace);
            if self.line[at..].starts_with(b"[*]") {
                spread = true;
                at += 3;
            }
            if self.line.get(at) == Some(&b'-') {
                let length = self.line[at..].iter().position(|&b| b == b'}');
                let end = at + length.ok_or_else(unmatched)?;
                default = Some(&self.line[at + 1..end]);
                at = end;
            }
            if self.line.get(at) != Some(&b'}') {
                return Err(unmatched());
            }
            at += 1;
        }
        let value = self.variables.get(name).map(String::as_bytes).or(default).unwrap_or(b"");
        if spread {
            self.emit_spread(value)?;
        } else {
            self.emit(value);
        }
        self.next = at;
        Ok(())
    }

    /// A value whose blanks separate words.
    fn emit_spread(&mut self, value: &[u8]) -> Result<(), WordError> {
        for (index, part) in value.split(|&b| is_blank(b)).filter(|p| !p.is_empty()).enumerate() {
            if index > 0 {
                self.end_word()?;
            }
            self.emit(part);
        }
        Ok(())
    }
}

/// The name that starts at `at`.
fn variable_name(line: &[u8], at: usize) -> Result<&str, WordError> {
    let rest = &line[at..];
    let length = rest.iter().take_while(|b| b.is_ascii_alphanumeric() || **b == b'_').count();
    if length == 0 || rest[0].is_ascii_digit() {
        return Err(error("forbidden first character in environment variable name", at));
    }
    Ok(std::str::from_utf8(&rest[..length]).expect("letters, digits and underscores are ASCII"))
}

fn error(message: impl Into<String>, index: usize) -> WordError {
    WordError { message: message.into(), column: index + 1 }
}

fn is_blank(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t' | b'\r' | 0x0b | 0x0c)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn variables() -> BTreeMap<String, String> {
        [("NAME", "value"), ("LIST", " a  b\tc "), ("EMPTY", "")]
            .map(|(name, value)| (name.to_string(), value.to_string()))
            .into()
    }

    fn words(line: &str) -> Vec<String> {
        let words = split(line.as_bytes(), &variables()).expect(line);
        words.into_iter().map(|word| word.text).collect()
    }

    fn fault(line: &str) -> (String, usize) {
        let error = split(line.as_bytes(), &variables()).expect_err(line);
        (error.message, error.column)
    }

    #[test]
    fn blanks_separate_words_and_a_sharp_ends_the_line() {
        assert_eq!(words("  bind\t:80  # web"), ["bind", ":80"]);
        assert_eq!(words("a#b"), ["a"]);
        assert_eq!(words("bind :80\r"), ["bind", ":80"]);
        assert!(words("").is_empty() && words(" \t").is_empty() && words("# x").is_empty());
    }

    #[test]
    fn quotes_hold_words_together() {
        assert_eq!(words(r#"a "b c" 'd e' f"g h"'i j'"#), ["a", "b c", "d e", "fg hi j"]);
        assert_eq!(words(r#""a'b" 'c"d' "e#f" 'g#h'"#), ["a'b", "c\"d", "e#f", "g#h"]);
        assert_eq!(words(r#"a "" ''"#), ["a", "", ""]);
    }

    #[test]
    fn escapes() {
        assert_eq!(words(r"a\ b \# \\ \n\r\t \x41\x7e"), ["a b", "#", "\\", "\n\r\t", "A~"]);
        assert_eq!(words(r#"\" \' "\"" "\$NAME" \$NAME"#), ["\"", "'", "\"", "$NAME", "\\$NAME"]);
        assert_eq!(words(r"tim\eout \1 end\"), ["tim\\eout", "\\1", "end\\"]);
        assert_eq!(words(r"'a\tb' 'c\'"), ["a\\tb", "c\\"]);
    }

    #[test]
    fn variables_have_values_inside_weak_quotes_only() {
        assert_eq!(
            words(r#""$NAME" "${NAME}s" '$NAME' $NAME"#),
            ["value", "values", "$NAME", "$NAME"]
        );
        assert_eq!(
            words(r#""$NOPE" "${NOPE-x y}" "${NAME-x}" "${EMPTY-x}""#),
            ["", "x y", "value", ""]
        );
        assert_eq!(words(r#"x"${LIST[*]}"y"#), ["xa", "b", "cy"]);
        assert_eq!(words(r#""${NOPE[*]-p q}" z"#), ["p", "q", "z"]);
    }

    #[test]
    fn errors_point_at_the_column() {
        assert_eq!(fault("  description \"abc"), ("unmatched quote".into(), 15));
        assert_eq!(fault("a 'b"), ("unmatched quote".into(), 3));
        let hexadecimal = "truncated or invalid hexadecimal sequence".to_string();
        assert_eq!(fault(r"  description a\xZZ"), (hexadecimal.clone(), 16));
        assert_eq!(fault(r"\x4"), (hexadecimal.clone(), 1));
        assert_eq!(fault(r"\x+4"), (hexadecimal, 1));
        let brace = "unmatched brace in environment variable name".to_string();
        assert_eq!(fault(r#"  description "${FOO""#), (brace.clone(), 17));
        assert_eq!(fault(r#""${FOO-bar""#), (brace.clone(), 3));
        assert_eq!(fault(r#""${FOO.x}""#), (brace, 3));
        assert_eq!(fault(r#""$1""#).1, 3);
        assert_eq!(fault(r#""a$""#).1, 4);
        assert_eq!(fault("a \0"), ("stray NUL character".into(), 3));
        assert_eq!(fault(&"w ".repeat(WORDS_MAX + 1)).1, 2 * WORDS_MAX + 1);
        assert_eq!(words(&"w ".repeat(WORDS_MAX)).len(), WORDS_MAX);
    }

    proptest! {
        #[test]
        fn no_bytes_panic(line in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = split(&line, &variables());
        }

        #[test]
        fn no_special_characters_panic(line in r#"[ "'\\\\#${}\[\]*xA-F-]{0,40}"#) {
            if let Ok(words) = split(line.as_bytes(), &variables()) {
                prop_assert!(words.iter().all(|word| (1..=line.len()).contains(&word.column)));
            }
        }

        #[test]
        fn quoting_round_trips(texts in proptest::collection::vec("[^\0]{0,20}", 0..10)) {
            let line = texts.iter().map(|text| quote(text)).collect::<Vec<_>>().join(" ");
            prop_assert_eq!(words(&line), texts);
        }
    }
}
