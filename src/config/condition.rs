//! The conditions of `.if` and `.elif`.
//!
//! In:    an expression, and the variables
//! Out:   whether it holds, or the column at fault
//! Never: reads anything; every predicate looks at its arguments and at constants
//! Read:  docs/configuration.md, "Conditional blocks"
//!
//! ```text
//!  or   = and { "||" and }
//!  and  = term { "&&" term }
//!  term = { "!" } ( integer | "(" or ")" | predicate "(" argument { "," argument } ")" )
//! ```

use std::cmp::Ordering;
use std::collections::BTreeMap;

use super::LANGUAGE_VERSION;
use super::nearest::suggestion;

/// Parentheses within parentheses; a limit, because the parser descends into them.
const DEPTH_MAX: usize = 100;

/// What `feature()` finds.
const FEATURES: &[&str] = &["THREAD", "XDP"];

/// What `enabled()` may ask for, and whether it is.
const ENABLED: &[(&str, bool)] = &[
    ("EPOLL", false),
    ("EVPORTS", false),
    ("FAST-FORWARD", true),
    ("GETADDRINFO", true),
    ("KQUEUE", false),
    ("POLL", true),
    ("REUSEPORT", false),
    ("SERVER-SSL-VERIFY-NONE", false),
    ("SPLICE", false),
];

/// Names of the predicates with the number of their arguments.
const PREDICATES: &[(&str, usize)] = &[
    ("defined", 1),
    ("enabled", 1),
    ("feature", 1),
    ("openssl_version_atleast", 1),
    ("openssl_version_before", 1),
    ("ssllib_name_startswith", 1),
    ("streq", 2),
    ("strneq", 2),
    ("strstr", 2),
    ("version_atleast", 1),
    ("version_before", 1),
];

/// Why a condition has no value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct ConditionError {
    pub(super) message: String,
    /// From 1, in characters of the expression.
    pub(super) column: usize,
}

/// Whether `expression` holds; an empty one does not.
pub(super) fn evaluate(
    expression: &str,
    variables: &BTreeMap<String, String>,
) -> Result<bool, ConditionError> {
    if expression.trim().is_empty() {
        return Ok(false);
    }
    let mut parser = Parser { text: expression, next: 0, variables };
    let value = parser.or(0)?;
    parser.skip_blanks();
    match parser.peek() {
        None => Ok(value),
        Some(c) => Err(parser.error(format!(
            "unexpected character '{c}' at the end of conditional expression '{expression}'"
        ))),
    }
}

struct Parser<'a> {
    text: &'a str,
    next: usize,
    variables: &'a BTreeMap<String, String>,
}

impl Parser<'_> {
    // Both sides are always read, so that an error behind a decided condition is seen too.

    fn or(&mut self, depth: usize) -> Result<bool, ConditionError> {
        let mut value = self.and(depth)?;
        while self.skip("||") {
            value |= self.and(depth)?;
        }
        Ok(value)
    }

    fn and(&mut self, depth: usize) -> Result<bool, ConditionError> {
        let mut value = self.term(depth)?;
        while self.skip("&&") {
            value &= self.term(depth)?;
        }
        Ok(value)
    }

    fn term(&mut self, depth: usize) -> Result<bool, ConditionError> {
        let mut negated = false;
        while self.skip("!") {
            negated = !negated;
        }
        self.skip_blanks();
        let value = match self.peek() {
            Some('(') => self.parenthesis(depth)?,
            Some(c) if c.is_ascii_digit() || c == '-' || c == '+' => self.integer()?,
            _ => self.predicate()?,
        };
        Ok(value != negated)
    }

    fn parenthesis(&mut self, depth: usize) -> Result<bool, ConditionError> {
        let open = self.next;
        if depth == DEPTH_MAX {
            return Err(self.error(format!("more than {DEPTH_MAX} nested parentheses")));
        }
        self.next += 1;
        let value = self.or(depth + 1)?;
        if !self.skip(")") {
            let expression = &self.text[open..];
            return Err(self.error_at(
                open,
                format!("expected ')' after conditional expression '{expression}'"),
            ));
        }
        Ok(value)
    }

    fn integer(&mut self) -> Result<bool, ConditionError> {
        let rest = &self.text[self.next..];
        let signed = usize::from(rest.starts_with(['-', '+']));
        let digits = rest[signed..].find(|c: char| !c.is_ascii_digit());
        let length = digits.map_or(rest.len(), |digits| signed + digits);
        let Ok(number) = rest[..length].parse::<i64>() else {
            return Err(self.unparsable());
        };
        self.next += length;
        Ok(number != 0)
    }

    fn predicate(&mut self) -> Result<bool, ConditionError> {
        let start = self.next;
        let rest = &self.text[start..];
        let end = rest.find(|c: char| !c.is_ascii_alphanumeric() && c != '_');
        let name = &rest[..end.unwrap_or(rest.len())];
        let Some(&(name, expected)) = PREDICATES.iter().find(|(known, _)| *known == name) else {
            let names = PREDICATES.iter().map(|(known, _)| *known);
            let mut error = self.unparsable();
            error.message.push_str(&suggestion(name, names));
            return Err(error);
        };
        self.next += name.len();
        if self.peek() != Some('(') {
            return Err(self.error(format!("expected '(' after predicate '{name}'")));
        }
        self.next += 1;
        let arguments = self.arguments(name)?;
        if arguments.len() != expected {
            return Err(self.error_at(
                start,
                format!(
                    "predicate '{name}' expects {expected} argument(s) and has {}",
                    arguments.len()
                ),
            ));
        }
        self.apply(name, &arguments).map_err(|message| self.error_at(start, message))
    }

    /// Up to the closing parenthesis. Blanks belong to the arguments, as in HAProxy.
    fn arguments(&mut self, predicate: &str) -> Result<Vec<String>, ConditionError> {
        let mut arguments = vec![String::new()];
        let mut quote = None;
        while let Some(c) = self.peek() {
            self.next += c.len_utf8();
            let argument = arguments.last_mut().expect("starts with one");
            match (quote, c) {
                (None, ')') => return Ok(arguments),
                (None, ',') => arguments.push(String::new()),
                (None, '"' | '\'') => quote = Some(c),
                (Some(open), _) if open == c => quote = None,
                (Some('"'), '\\') => {
                    let escaped = self.peek().unwrap_or('\\');
                    self.next += self.peek().map_or(0, char::len_utf8);
                    argument.push(escaped);
                }
                _ => argument.push(c),
            }
        }
        Err(self.error(format!("expected ')' after the arguments of predicate '{predicate}'")))
    }

    fn apply(&self, name: &str, arguments: &[String]) -> Result<bool, String> {
        let first = arguments[0].as_str();
        Ok(match name {
            "defined" => self.variables.contains_key(first),
            "enabled" => {
                let known = ENABLED.iter().find(|(known, _)| *known == first);
                known.ok_or_else(|| format!("nothing named '{first}' can be enabled"))?.1
            }
            "feature" => FEATURES.contains(&first),
            "streq" => first == arguments[1],
            "strneq" => first != arguments[1],
            "strstr" => first.contains(&arguments[1]),
            "version_atleast" => compare_with_ours(first)? != Ordering::Less,
            "version_before" => compare_with_ours(first)? == Ordering::Less,
            // xlb is built without OpenSSL: its version is neither new nor old.
            "openssl_version_atleast" | "openssl_version_before" | "ssllib_name_startswith" => {
                false
            }
            _ => unreachable!("'{name}' is in PREDICATES"),
        })
    }

    fn peek(&self) -> Option<char> {
        self.text[self.next..].chars().next()
    }

    fn skip_blanks(&mut self) {
        let rest = &self.text[self.next..];
        self.next += rest.len() - rest.trim_start().len();
    }

    /// Skips `token` and the blanks before it, if it comes next.
    fn skip(&mut self, token: &str) -> bool {
        self.skip_blanks();
        let found = self.text[self.next..].starts_with(token);
        self.next += if found { token.len() } else { 0 };
        found
    }

    fn unparsable(&self) -> ConditionError {
        self.error(format!("unparsable conditional expression '{}'", &self.text[self.next..]))
    }

    fn error(&self, message: String) -> ConditionError {
        self.error_at(self.next, message)
    }

    fn error_at(&self, index: usize, message: String) -> ConditionError {
        ConditionError { message, column: self.text[..index].chars().count() + 1 }
    }
}

/// How our version stands to `wanted`.
fn compare_with_ours(wanted: &str) -> Result<Ordering, String> {
    let ours = version(LANGUAGE_VERSION).expect("our own version is one");
    let wanted = version(wanted).ok_or_else(|| format!("'{wanted}' is not a version"))?;
    Ok(ours.cmp(&wanted))
}

/// `2.6`, `2.6.12`, `2.7-dev3`, `2.6.12-1+deb`: a release comes after its development versions.
fn version(text: &str) -> Option<(u32, u32, bool, u32)> {
    let (numbers, suffix) = text.split_once('-').unwrap_or((text, ""));
    let mut numbers = numbers.split('.').map(|number| number.parse::<u32>().ok());
    let (major, minor) = (numbers.next()??, numbers.next()??);
    let patch = numbers.next().unwrap_or(Some(0))?;
    match suffix.strip_prefix("dev") {
        Some(development) => Some((major, minor, false, development.parse().unwrap_or(0))),
        None => Some((major, minor, true, patch)),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn value(expression: &str) -> Result<bool, ConditionError> {
        let variables = [("HOME".to_string(), "/root".to_string())].into();
        evaluate(expression, &variables)
    }

    fn holds(expression: &str) -> bool {
        value(expression).unwrap_or_else(|error| panic!("{expression}: {error:?}"))
    }

    #[test]
    fn integers_and_operators() {
        assert!(!holds("") && !holds("  ") && !holds("0") && holds("1") && holds("2"));
        assert!(holds("!0") && holds("!!1") && holds("! 0") && holds("-1"));
        assert!(holds("1&&1") && !holds("1 && 0") && holds("0 || 1") && !holds("0||0"));
        assert!(holds("1 || 1 && 0") && holds("1 && 0 || 1") && !holds("(1 || 1) && 0"));
        assert!(holds("!(0) && ( 0 || !0 )"));
    }

    #[test]
    fn predicates() {
        assert!(holds("defined(HOME)") && !holds("defined(NOPE)") && !holds("defined( HOME )"));
        assert!(holds("streq(a,a)") && !holds("streq(a, a)") && holds("streq(,)"));
        assert!(holds("strneq(a,b)") && holds("strstr(abc,b)") && !holds("strstr(abc,x)"));
        assert!(holds(r#"streq("a,b",'a,b')"#) && holds(r#"streq("a\"b",'a"b')"#));
        assert!(holds("feature(THREAD)") && !holds("feature(OPENSSL)"));
        assert!(holds("enabled(GETADDRINFO)") && !holds("enabled(SPLICE)"));
        assert!(!holds("openssl_version_atleast(1.1)") && !holds("openssl_version_before(1.1)"));
        assert!(!holds("ssllib_name_startswith(OpenSSL)"));
    }

    #[test]
    fn versions() {
        assert!(holds("version_atleast(2.4)") && holds("version_atleast(2.6)"));
        assert!(holds("version_atleast(2.6-dev3)") && !holds("version_atleast(2.6.1)"));
        assert!(!holds("version_atleast(2.7-dev1)") && holds("version_before(2.7-dev1)"));
        assert!(!holds("version_before(2.6)") && holds("version_before(3.0)"));
        assert!(!holds("version_before(2.6-dev1)") && holds("version_atleast(1.9.9)"));
    }

    #[test]
    fn errors_point_at_the_column() {
        let at = |expression| value(expression).expect_err(expression).column;
        assert_eq!(at("foo(x)"), 1);
        assert_eq!(at("(1"), 1);
        assert_eq!(at("1)"), 2);
        assert_eq!(at("1 x"), 3);
        assert_eq!(at("3x"), 2);
        assert_eq!(at("1 &&"), 5);
        assert_eq!(at("0 && foo(x)"), 6);
        assert_eq!(at("streq(a)"), 1);
        assert_eq!(at("streq(a,b,c)"), 1);
        assert_eq!(at("defined"), 8);
        assert_eq!(at("defined(HOME"), 13);
        assert_eq!(at("enabled(FOO)"), 1);
        assert_eq!(at("version_atleast(x)"), 1);
        assert_eq!(at("!"), 2);
        assert_eq!(at(&"(".repeat(1_000)), DEPTH_MAX + 1);
        assert!(value("defind(X)").unwrap_err().message.contains("did you mean 'defined'?"));
    }

    proptest! {
        #[test]
        fn nothing_panics(expression in r#"[ ()!&|,"'\\0-9.a-eé-]{0,40}|(!|streq\(|a,|\)|\(|1|&&){0,12}"#) {
            let _ = value(&expression);
        }

        #[test]
        fn a_negation_negates(expression in "(1|0|\\(1 && 0\\)|streq\\(a,a\\))( (&&|\\|\\|) (1|0|!0)){0,5}") {
            prop_assert_eq!(value(&format!("!({expression})")), Ok(!holds(&expression)));
        }
    }
}
