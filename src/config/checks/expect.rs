//! `tcp-check expect` and `http-check expect`.
//!
//! In:    the words after `expect`
//! Out:   an [`Expect`]
//! Never: looks at an answer

use std::sync::Arc;

use super::super::model::{
    Answer, CheckStatus, Expect, HeaderMatch, Pattern, StringMatch, Text, Told,
};
use super::super::report::Fault;
use super::super::units;

/// Whose words they are: some mean another thing in HTTP.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Flavour {
    Tcp,
    Http,
}

impl Flavour {
    fn name(self) -> &'static str {
        match self {
            Flavour::Tcp => "tcp-check expect",
            Flavour::Http => "http-check expect",
        }
    }
}

/// `[min-recv <n>] [comment <text>] [ok-status|error-status|tout-status <status>] [on-success|on-error <text>]
/// [!] <match> <pattern>`
pub(super) fn expect(
    flavour: Flavour,
    mut words: &[&str],
) -> Result<(Expect, Option<Arc<str>>), Fault> {
    let name = flavour.name();
    let mut answer: Option<(Answer, bool)> = None;
    let mut other = Expect::new(Answer::MysqlOk);
    let mut comment = None;
    while let Some((word, rest)) = words.split_first() {
        let value = rest.first().copied();
        let text =
            || value.ok_or_else(|| Fault::from(format!("'{name}' : '{word}' expects a value.")));
        let mut taken = 1;
        match *word {
            "comment" => comment = Some(Arc::from(text()?)),
            "min-recv" => {
                let count = units::integer(value, -1..=i64::from(i32::MAX), "min-recv")?;
                other.min_recv = usize::try_from(count).unwrap_or(0);
            }
            "ok-status" => other.ok_status = Some(status(name, text()?)?),
            "error-status" => other.error_status = Some(status(name, text()?)?),
            "tout-status" => other.timeout_status = Some(status(name, text()?)?),
            "on-success" => other.on_success = Told::Text(text()?.into()),
            "on-error" => other.on_error = Told::Text(text()?.into()),
            "status-code" => return Err(not_yet(name, word)),
            _ => {
                if answer.is_some() {
                    return Err(
                        format!("'{name}' : a pattern stands before '{word}' already.").into()
                    );
                }
                let (negated, kind, rest) = match *word {
                    "!" => {
                        let (kind, rest) = rest.split_first().ok_or_else(|| missing(name))?;
                        (true, *kind, rest)
                    }
                    word => match word.strip_prefix('!') {
                        Some(kind) => (true, kind, rest),
                        None => (false, word, rest),
                    },
                };
                let (found, used) = pattern(flavour, kind, rest)?;
                answer = Some((found, negated));
                words = &rest[used..];
                continue;
            }
        }
        if taken > rest.len() {
            taken = rest.len();
        }
        words = &rest[taken..];
    }
    let (answer, is_negated) = answer.ok_or_else(|| missing(name))?;
    Ok((Expect { answer, is_negated, ..other }, comment))
}

fn missing(name: &str) -> Fault {
    Fault::hinted(
        format!("'{name}' expects a pattern."),
        "for example: 'tcp-check expect string PONG', 'http-check expect status 200-299'.",
    )
}

fn not_yet(name: &str, word: &str) -> Fault {
    format!("'{name}' : '{word}' is not supported by xlb yet.").into()
}

/// The pattern and how many of the words are its own.
fn pattern(flavour: Flavour, kind: &str, rest: &[&str]) -> Result<(Answer, usize), Fault> {
    let name = flavour.name();
    if matches!((flavour, kind), (Flavour::Http, "hdr" | "fhdr")) {
        let (header, used) = header(name, rest, kind == "fhdr")?;
        return Ok((Answer::HttpHeader(header), used));
    }
    let text = rest
        .first()
        .copied()
        .ok_or_else(|| Fault::from(format!("'{name} {kind}' expects a pattern.")))?;
    let regex = || {
        Pattern::new(text).map_err(|error| {
            Fault::from(format!("'{name} {kind}' : bad regular expression '{text}': {error}"))
        })
    };
    let answer = match (flavour, kind) {
        (Flavour::Tcp, "string") => Answer::Bytes(Arc::from(text.as_bytes()), Text::Plain),
        (Flavour::Tcp, "rstring") => Answer::Matches(regex()?, Text::Plain),
        (Flavour::Tcp, "binary") => Answer::Bytes(binary(text)?, Text::Hexadecimal),
        (Flavour::Tcp, "rbinary") => Answer::Matches(regex()?, Text::Hexadecimal),
        (Flavour::Http, "status") => Answer::HttpStatus(statuses(text)?),
        (Flavour::Http, "rstatus") => Answer::HttpStatusMatches(regex()?),
        (Flavour::Http, "string") => Answer::HttpBody(Arc::from(text.as_bytes())),
        (Flavour::Http, "rstring") => Answer::HttpBodyMatches(regex()?),
        (_, "string-lf" | "binary-lf") => return Err(not_yet(name, kind)),
        (Flavour::Tcp, kind) => {
            return Err(Fault::hinted(
                format!("'{name}' : unknown pattern '{kind}'."),
                "'[!]string', '[!]rstring', '[!]binary' and '[!]rbinary' are known.",
            ));
        }
        (Flavour::Http, kind) => {
            return Err(Fault::hinted(
                format!("'{name}' : unknown pattern '{kind}'."),
                "'[!]status', '[!]rstatus', '[!]hdr', '[!]fhdr', '[!]string' and '[!]rstring' are known.",
            ));
        }
    };
    Ok((answer, 1))
}

/// Pairs of hexadecimal digits.
pub(in super::super) fn binary(text: &str) -> Result<Arc<[u8]>, Fault> {
    let digits = text.as_bytes();
    let is_whole = digits.len().is_multiple_of(2) && digits.iter().all(u8::is_ascii_hexdigit);
    if !is_whole || digits.is_empty() {
        return Err(format!("'{text}' is not a string of pairs of hexadecimal digits.").into());
    }
    let digit = |byte: u8| char::from(byte).to_digit(16).expect("it is a digit") as u8;
    Ok(digits.chunks_exact(2).map(|pair| digit(pair[0]) << 4 | digit(pair[1])).collect())
}

/// `200`, `200-299`, `200,301-399`
fn statuses(text: &str) -> Result<Arc<[(u16, u16)]>, Fault> {
    let invalid =
        || Fault::from(format!("invalid status codes '{text}': numbers from 100 to 999."));
    let status = |text: &str| {
        text.parse::<u16>().ok().filter(|status| (100..=999).contains(status)).ok_or_else(invalid)
    };
    text.split(',')
        .map(|part| {
            let (low, high) = part.split_once('-').unwrap_or((part, part));
            let (low, high) = (status(low)?, status(high)?);
            if low > high { Err(invalid()) } else { Ok((low, high)) }
        })
        .collect()
}

fn status(name: &str, text: &str) -> Result<CheckStatus, Fault> {
    Ok(match text {
        "L7OK" => CheckStatus::L7Ok,
        "L7OKC" => CheckStatus::L7OkConditional,
        "L7RSP" => CheckStatus::L7Rsp,
        "L7STS" => CheckStatus::L7Status,
        "L7TOUT" => CheckStatus::L7TimedOut,
        "L6OK" => CheckStatus::L6Ok,
        "L6RSP" => CheckStatus::L6Rsp,
        "L6TOUT" => CheckStatus::L6TimedOut,
        "L4OK" => CheckStatus::L4Ok,
        "L4CON" => CheckStatus::L4Con,
        "L4TOUT" => CheckStatus::L4TimedOut,
        text => {
            return Err(Fault::hinted(
                format!("'{name}' : unknown status '{text}'."),
                "'L7OK', 'L7OKC', 'L7RSP', 'L7STS', 'L7TOUT', and the same of L6 and L4.",
            ));
        }
    })
}

/// `name [-m <method>] <text> [value [-m <method>] <text>]`
fn header(name: &str, words: &[&str], is_full: bool) -> Result<(HeaderMatch, usize), Fault> {
    let kind = if is_full { "fhdr" } else { "hdr" };
    let expects = || {
        Fault::hinted(
            format!("'{name} {kind}' expects 'name [-m <method>] <text>'."),
            "for example: 'http-check expect hdr name server value -m beg nginx'.",
        )
    };
    let ["name", rest @ ..] = words else { return Err(expects()) };
    let (header, used) = string_match(rest, true).ok_or_else(expects)??;
    let mut taken = 1 + used;
    let mut value = None;
    if words.get(taken) == Some(&"value") {
        let (found, used) = string_match(&words[taken + 1..], false).ok_or_else(expects)??;
        value = Some(found);
        taken += 1 + used;
    }
    Ok((HeaderMatch { name: header, value, is_full }, taken))
}

/// A text with the method of its comparison; names are compared in lower case.
fn string_match(words: &[&str], is_name: bool) -> Option<Result<(StringMatch, usize), Fault>> {
    let (method, text, used) = match words {
        ["-m", method, text, ..] => (*method, *text, 3),
        [text, ..] => ("str", *text, 1),
        [] => return None,
    };
    let text = if is_name { text.to_ascii_lowercase() } else { text.to_string() };
    let found = match method {
        "str" => StringMatch::Is(text.into()),
        "beg" => StringMatch::Begins(text.into()),
        "end" => StringMatch::Ends(text.into()),
        "sub" => StringMatch::Contains(text.into()),
        "reg" => match Pattern::new(&text) {
            Ok(pattern) => StringMatch::Matches(pattern),
            Err(error) => {
                return Some(Err(format!("bad regular expression '{text}': {error}").into()));
            }
        },
        method => return Some(Err(format!("unknown matching method '{method}'.").into())),
    };
    Some(Ok((found, used)))
}
