//! Whether an answer is the one that was expected.
//!
//! In:    what the server has said so far, and whether more may come
//! Out:   yes, no, or not yet; and what is told of it
//! Never: waits
//! Read:  docs/configuration.md, "Health checks"

use super::Plan;
use crate::config::model::{
    Answer, CheckKind, CheckStatus, Expect, HeaderMatch, StringMatch, Text, Told,
};

/// What is known of an answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Judgement {
    /// More has to come.
    NeedsMore,
    /// It is as expected: status, code, text.
    Passed(CheckStatus, u32, String),
    /// It is not.
    Failed(CheckStatus, u32, String),
}

/// Whether it matches, as far as one can tell.
enum Match {
    Yes,
    No,
    /// What is there does not match yet.
    NotYet,
    /// It is no answer of its kind at all, and never will be.
    Invalid(String),
}

/// Judges what has come so far. `is_final`: nothing more will come.
pub(super) fn judge(
    expect: &Expect,
    plan: &Plan,
    step: usize,
    bytes: &[u8],
    is_final: bool,
) -> Judgement {
    if bytes.len() < expect.min_recv && !is_final {
        return Judgement::NeedsMore;
    }
    let is_http = plan.health_check.kind == CheckKind::Http;
    if bytes.is_empty() && is_final && !is_http {
        let status = expect.error_status.unwrap_or(CheckStatus::L7Rsp);
        let number = plan.health_check.number_of(step);
        let text = format!("TCPCHK got an empty response at step {number}");
        return Judgement::Failed(status, 0, text + &comment_of(plan, step));
    }
    let http = Http::parse(bytes);
    let code = http.as_ref().map_or(0, |http| u32::from(http.status));
    let matched = match (matches(expect, bytes, http.as_ref(), is_final), is_final) {
        (Match::NotYet, false) => return Judgement::NeedsMore,
        (Match::Invalid(info), _) => return Judgement::Failed(CheckStatus::L7Rsp, 0, info),
        (Match::Yes, _) => true,
        (Match::No | Match::NotYet, _) => false,
    };
    let said = http.as_ref().map(|http| http.reason.clone()).unwrap_or_default();
    let told = |told: &Told, usual: String| match told {
        Told::Usual => usual,
        Told::Text(text) => text.to_string(),
        Told::LineFrom(from) => first_line(bytes.get(*from..).unwrap_or_default()),
    };
    if matched != expect.is_negated {
        let status = expect.ok_status.unwrap_or(CheckStatus::L7Ok);
        return Judgement::Passed(status, code, told(&expect.on_success, String::new()));
    }
    // A server that drains says so with this status.
    if code == 404 && plan.health_check.disable_on_404 {
        return Judgement::Passed(CheckStatus::L7OkConditional, code, String::new());
    }
    if is_http && http.is_none() {
        return Judgement::Failed(CheckStatus::L7Rsp, 0, String::new());
    }
    let usual = match plan.health_check.kind {
        CheckKind::Script => unwanted(expect, plan, step, matched),
        _ if said.is_empty() && is_http => unwanted(expect, plan, step, matched),
        _ => said,
    };
    let usual_status = if is_http { CheckStatus::L7Status } else { CheckStatus::L7Rsp };
    let status = expect.error_status.unwrap_or(usual_status);
    Judgement::Failed(status, code, told(&expect.on_error, usual) + &comment_of(plan, step))
}

fn comment_of(plan: &Plan, step: usize) -> String {
    let comment = plan.health_check.steps[step].comment.as_ref();
    comment.map(|text| format!(" comment: {text}")).unwrap_or_default()
}

fn first_line(bytes: &[u8]) -> String {
    let end = bytes.iter().position(|byte| matches!(byte, b'\r' | b'\n')).unwrap_or(bytes.len());
    String::from_utf8_lossy(&bytes[..end]).trim_start().to_string()
}

fn unwanted(expect: &Expect, plan: &Plan, step: usize, matched: bool) -> String {
    let verb = if matched { "matched unwanted" } else { "did not match" };
    let what = match &expect.answer {
        Answer::Bytes(bytes, Text::Plain) | Answer::HttpBody(bytes) => {
            format!(" '{}'", String::from_utf8_lossy(bytes))
        }
        Answer::Bytes(_, Text::Hexadecimal) => " (binary)".into(),
        Answer::Matches(_, Text::Plain)
        | Answer::HttpStatusMatches(_)
        | Answer::HttpBodyMatches(_) => " (regex)".into(),
        Answer::Matches(_, Text::Hexadecimal) => " (binary regex)".into(),
        Answer::HttpStatus(_) => "(status codes)".into(),
        Answer::HttpHeader(_) => " (header pattern)".into(),
        Answer::MysqlGreeting | Answer::MysqlOk | Answer::LdapBound | Answer::Line => {
            " (custom function)".into()
        }
    };
    format!("TCPCHK {verb} content{what} at step {}", plan.health_check.number_of(step))
}

/// What a step waits for, in a word.
pub(super) fn shown(expect: &Expect) -> String {
    match &expect.answer {
        Answer::Bytes(bytes, Text::Plain) => {
            format!("expect string '{}'", String::from_utf8_lossy(bytes))
        }
        Answer::Bytes(bytes, Text::Hexadecimal) => {
            format!("expect binary '{}'", hexadecimal(bytes))
        }
        Answer::Matches(_, Text::Plain) => "expect regex".into(),
        Answer::Matches(_, Text::Hexadecimal) => "expect binary regex".into(),
        Answer::HttpStatus(_) => "expect HTTP status codes".into(),
        Answer::HttpStatusMatches(_) => "expect HTTP status regex".into(),
        Answer::HttpHeader(_) => "expect HTTP header pattern".into(),
        Answer::HttpBody(bytes) => {
            format!("expect HTTP body content '{}'", String::from_utf8_lossy(bytes))
        }
        Answer::HttpBodyMatches(_) => "expect HTTP body regex".into(),
        Answer::MysqlGreeting | Answer::MysqlOk | Answer::LdapBound | Answer::Line => {
            "expect custom function".into()
        }
    }
}

fn hexadecimal(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02X}")).collect()
}

fn matches(expect: &Expect, bytes: &[u8], http: Option<&Http<'_>>, is_final: bool) -> Match {
    let found = |found: bool| if found { Match::Yes } else { Match::NotYet };
    match &expect.answer {
        Answer::Bytes(wanted, _) => found(contains(bytes, wanted)),
        Answer::Matches(pattern, Text::Plain) => found(pattern.is_match(bytes)),
        Answer::Matches(pattern, Text::Hexadecimal) => {
            found(pattern.is_match(hexadecimal(bytes).as_bytes()))
        }
        Answer::Line => found(is_final || bytes.contains(&b'\n')),
        Answer::MysqlGreeting => mysql_greeting(bytes),
        Answer::MysqlOk => mysql_ok(bytes),
        Answer::LdapBound => ldap_bound(bytes),
        answer => match http {
            None if is_final || !could_be_http(bytes) => Match::Invalid(String::new()),
            None => Match::NotYet,
            Some(http) => http.matches(answer, is_final),
        },
    }
}

fn contains(bytes: &[u8], wanted: &[u8]) -> bool {
    wanted.is_empty() || bytes.windows(wanted.len()).any(|window| window == wanted)
}

// HTTP.

/// An answer of HTTP/1 whose head is complete.
struct Http<'a> {
    status: u16,
    reason: String,
    head: &'a str,
    body: &'a [u8],
}

fn could_be_http(bytes: &[u8]) -> bool {
    let start = b"HTTP/1.";
    bytes.iter().zip(start).all(|(a, b)| a == b)
}

impl<'a> Http<'a> {
    fn parse(bytes: &'a [u8]) -> Option<Self> {
        let end = bytes.windows(4).position(|window| window == b"\r\n\r\n")?;
        let head = std::str::from_utf8(&bytes[..end]).ok()?;
        let (line, head) = head.split_once("\r\n").unwrap_or((head, ""));
        let mut words = line.splitn(3, ' ');
        words.next().filter(|version| version.starts_with("HTTP/1."))?;
        let status = words.next()?.parse().ok().filter(|status| (100..=999).contains(status))?;
        let reason = words.next().unwrap_or_default().trim().to_string();
        Some(Http { status, reason, head, body: &bytes[end + 4..] })
    }

    fn matches(&self, answer: &Answer, is_final: bool) -> Match {
        let settled = |found: bool| if found { Match::Yes } else { Match::No };
        let in_body = |found: bool| match (found, is_final || self.is_whole()) {
            (true, _) => Match::Yes,
            (false, true) => Match::No,
            (false, false) => Match::NotYet,
        };
        match answer {
            Answer::HttpStatus(ranges) => {
                let has = |&(low, high): &(u16, u16)| (low..=high).contains(&self.status);
                settled(ranges.iter().any(has))
            }
            Answer::HttpStatusMatches(pattern) => {
                settled(pattern.is_match(self.status.to_string().as_bytes()))
            }
            Answer::HttpHeader(wanted) => settled(self.has(wanted)),
            Answer::HttpBody(wanted) => in_body(contains(self.body, wanted)),
            Answer::HttpBodyMatches(pattern) => in_body(pattern.is_match(self.body)),
            answer => unreachable!("{answer:?} is not of HTTP"),
        }
    }

    fn headers(&self) -> impl Iterator<Item = (&str, &str)> {
        let lines = self.head.split("\r\n").filter_map(|line| line.split_once(':'));
        lines.map(|(name, value)| (name.trim(), value.trim()))
    }

    /// Whether the body is there in full, as far as its length is told.
    fn is_whole(&self) -> bool {
        let length = self.headers().find(|(name, _)| name.eq_ignore_ascii_case("content-length"));
        length
            .and_then(|(_, value)| value.parse::<usize>().ok())
            .is_some_and(|length| self.body.len() >= length)
    }

    fn has(&self, wanted: &HeaderMatch) -> bool {
        self.headers().any(|(name, value)| {
            let HeaderMatch { name: wanted_name, value: wanted_value, is_full } = wanted;
            // Names are compared without their case.
            wanted_name.is_match(&name.to_ascii_lowercase())
                && wanted_value.as_ref().is_none_or(|wanted| {
                    let whole = wanted.is_match(value);
                    whole || (!is_full && value.split(',').any(|part| wanted.is_match(part.trim())))
                })
        })
    }
}

impl StringMatch {
    fn is_match(&self, text: &str) -> bool {
        match self {
            StringMatch::Is(wanted) => text == &**wanted,
            StringMatch::Begins(wanted) => text.starts_with(&**wanted),
            StringMatch::Ends(wanted) => text.ends_with(&**wanted),
            StringMatch::Contains(wanted) => text.contains(&**wanted),
            StringMatch::Matches(pattern) => pattern.is_match(text.as_bytes()),
        }
    }
}

// MySQL (client/server protocol, "Connection Phase") and LDAP (RFC 4511, section 4.2.2).

/// The payload of the first packet, when it is there in full.
fn mysql_packet(bytes: &[u8]) -> Option<&[u8]> {
    let header = bytes.get(..4)?;
    let length = u32::from_le_bytes([header[0], header[1], header[2], 0]) as usize;
    bytes.get(4..4 + length)
}

/// The text of an error packet.
fn mysql_error(payload: &[u8]) -> String {
    String::from_utf8_lossy(payload.get(7..).unwrap_or_default()).into_owned()
}

fn mysql_greeting(bytes: &[u8]) -> Match {
    match mysql_packet(bytes) {
        None => Match::NotYet,
        Some([0xff, ..]) => Match::Invalid(mysql_error(&bytes[4..])),
        Some([10, ..]) => Match::Yes,
        Some(_) => Match::No,
    }
}

fn mysql_ok(bytes: &[u8]) -> Match {
    // Behind the greeting, which has been judged.
    let Some(greeting) = mysql_packet(bytes) else { return Match::NotYet };
    let rest = &bytes[4 + greeting.len()..];
    match mysql_packet(rest) {
        None => Match::NotYet,
        Some([0xff, ..]) => Match::Invalid(mysql_error(&rest[4..])),
        Some(_) => Match::Yes,
    }
}

fn ldap_bound(bytes: &[u8]) -> Match {
    if bytes.len() < 14 {
        return Match::NotYet;
    }
    // A sequence; a long length has its own bytes.
    if bytes[0] != 0x30 {
        return Match::Invalid("Not LDAPv3 protocol".into());
    }
    let extra = if bytes[1] & 0x80 != 0 { usize::from(bytes[1] & 0x7f) } else { 0 };
    let body = &bytes[2 + extra.min(bytes.len() - 2)..];
    match body {
        [0x02, 0x01, 0x01, 0x61, rest @ ..] => {
            let is_success = rest.windows(3).any(|window| window == [0x0a, 0x01, 0x00]);
            if is_success { Match::Yes } else { Match::Invalid("LDAP bind failed".into()) }
        }
        _ => Match::Invalid("Not LDAPv3 protocol".into()),
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::time::Duration;

    use proptest::prelude::*;

    use super::*;
    use crate::config::model::{CheckAction, CheckStep, HealthCheck, Pattern};

    fn plan(kind: CheckKind, expect: &Expect) -> Plan {
        let step = CheckStep { action: CheckAction::Expect(expect.clone()), comment: None };
        let health_check = HealthCheck { kind, steps: Arc::from([step]), disable_on_404: true };
        let timeout = Duration::from_secs(1);
        Plan { health_check: Arc::new(health_check), connect_timeout: timeout, check_timeout: None }
    }

    fn judged(kind: CheckKind, answer: Answer, bytes: &[u8], is_final: bool) -> Judgement {
        let expect = Expect::new(answer);
        judge(&expect, &plan(kind, &expect), 0, bytes, is_final)
    }

    fn bytes(text: &str) -> Answer {
        Answer::Bytes(Arc::from(text.as_bytes()), Text::Plain)
    }

    #[test]
    fn text_is_waited_for_until_the_end() {
        let script = |said: &str, is_final| {
            judged(CheckKind::Script, bytes("PONG"), said.as_bytes(), is_final)
        };
        assert_eq!(script("+PO", false), Judgement::NeedsMore);
        assert_eq!(
            script("+PONG\r\n", false),
            Judgement::Passed(CheckStatus::L7Ok, 0, String::new())
        );
        assert_eq!(
            script("-ERR", true),
            Judgement::Failed(
                CheckStatus::L7Rsp,
                0,
                "TCPCHK did not match content 'PONG' at step 1".into()
            )
        );
    }

    #[test]
    fn binary_answers() {
        let pattern = Answer::Matches(Pattern::new("^1[56]").unwrap(), Text::Hexadecimal);
        let passed = |said: &[u8]| {
            matches!(
                judged(CheckKind::Protocol, pattern.clone(), said, true),
                Judgement::Passed(..)
            )
        };
        assert!(passed(&[0x16, 3, 1]) && passed(&[0x15]) && !passed(b"H"));
        let greeting = |said: &[u8]| judged(CheckKind::Protocol, Answer::MysqlGreeting, said, true);
        assert!(matches!(greeting(&[2, 0, 0, 0, 10, 0]), Judgement::Passed(..)));
        let error = [9, 0, 0, 0, 0xff, 1, 2, b'#', b'x', b'x', b'x', b'n', b'o'];
        assert!(
            matches!(greeting(&error), Judgement::Failed(CheckStatus::L7Rsp, 0, text) if text == "no")
        );
        let bound = [0x30, 12, 2, 1, 1, 0x61, 7, 0x0a, 1, 0, 4, 0, 4, 0];
        assert!(matches!(
            judged(CheckKind::Protocol, Answer::LdapBound, &bound, false),
            Judgement::Passed(..)
        ));
    }

    #[test]
    fn statuses_of_http() {
        let good = Answer::HttpStatus(Arc::from([(200, 399)]));
        let http =
            |said: &str, is_final| judged(CheckKind::Http, good.clone(), said.as_bytes(), is_final);
        assert_eq!(http("HTTP/1.0 200 O", false), Judgement::NeedsMore);
        assert_eq!(
            http("HTTP/1.0 200 OK\r\n\r\n", false),
            Judgement::Passed(CheckStatus::L7Ok, 200, String::new())
        );
        assert_eq!(
            http("HTTP/1.1 503 Down For Now\r\nA: b\r\n\r\n", false),
            Judgement::Failed(CheckStatus::L7Status, 503, "Down For Now".into())
        );
        assert_eq!(
            http("HTTP/1.1 404 Gone\r\n\r\n", false),
            Judgement::Passed(CheckStatus::L7OkConditional, 404, String::new())
        );
        assert_eq!(http("SSH-2.0", false), Judgement::Failed(CheckStatus::L7Rsp, 0, String::new()));
    }

    #[test]
    fn bodies_and_headers_of_http() {
        let said = b"HTTP/1.1 200 OK\r\nX-State: ready, warm\r\nContent-Length: 5\r\n\r\nhello";
        let passes =
            |answer| matches!(judged(CheckKind::Http, answer, said, false), Judgement::Passed(..));
        assert!(passes(Answer::HttpBody(Arc::from(&b"ell"[..]))));
        assert!(!passes(Answer::HttpBody(Arc::from(&b"bye"[..]))));
        assert!(passes(Answer::HttpBodyMatches(Pattern::new("^h.*o$").unwrap())));
        let header = |value: &str, is_full| {
            Answer::HttpHeader(HeaderMatch {
                name: StringMatch::Is("x-state".into()),
                value: Some(StringMatch::Is(value.into())),
                is_full,
            })
        };
        assert!(passes(header("warm", false)) && !passes(header("warm", true)));
        assert!(passes(header("ready, warm", true)));
    }

    proptest! {
        #[test]
        fn no_answer_panics(said in proptest::collection::vec(any::<u8>(), 0..64), is_final: bool) {
            for answer in [
                bytes("x"),
                Answer::MysqlGreeting,
                Answer::MysqlOk,
                Answer::LdapBound,
                Answer::HttpStatus(Arc::from([(200, 299)])),
            ] {
                let judgement = judged(CheckKind::Protocol, answer, &said, is_final);
                prop_assert!(!is_final || judgement != Judgement::NeedsMore);
            }
        }
    }
}
