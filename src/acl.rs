//! ACLs and conditions: whether they hold.
//!
//! In:    a condition, the ACLs it names, a scene
//! Out:   an [`Answer`]
//! Never: waits

use crate::config::model::{
    Acl, AclLine, Condition, IntRange, Matcher, TextMatch, TextMethod, Value,
};
use crate::sample::{Scene, cast, evaluate};

/// Whether something holds. The order counts: of alternatives the greatest is the answer, of terms the least.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Answer {
    /// It does not.
    No,
    /// That depends on bytes that have not come.
    NotYet,
    /// It does.
    Yes,
}

impl From<bool> for Answer {
    fn from(holds: bool) -> Self {
        if holds { Answer::Yes } else { Answer::No }
    }
}

impl std::ops::Not for Answer {
    type Output = Answer;

    fn not(self) -> Answer {
        match self {
            Answer::No => Answer::Yes,
            Answer::NotYet => Answer::NotYet,
            Answer::Yes => Answer::No,
        }
    }
}

/// Whether a condition holds; without one it does.
pub fn holds(condition: Option<&Condition>, acls: &[Acl], scene: &mut Scene<'_>) -> Answer {
    let Some(condition) = condition else { return Answer::Yes };
    let mut answer = Answer::No;
    for group in &condition.groups {
        let mut all = Answer::Yes;
        for term in group {
            let one = one_of(&acls[term.acl], scene);
            all = all.min(if term.is_negated { !one } else { one });
            if all == Answer::No {
                break;
            }
        }
        answer = answer.max(all);
        if answer == Answer::Yes {
            break;
        }
    }
    if condition.is_unless { !answer } else { answer }
}

/// Whether one line of an ACL holds.
fn one_of(acl: &Acl, scene: &mut Scene<'_>) -> Answer {
    let mut answer = Answer::No;
    for line in &acl.lines {
        answer = answer.max(line_holds(line, scene));
        if answer == Answer::Yes {
            break;
        }
    }
    answer
}

fn line_holds(line: &AclLine, scene: &mut Scene<'_>) -> Answer {
    let sample = evaluate(&line.expression, scene);
    if sample.value.is_some_and(|value| matches(&line.matcher, &value)) {
        return Answer::Yes;
    }
    if sample.may_change && !scene.heard.is_final { Answer::NotYet } else { Answer::No }
}

/// Whether a value is as it must be.
pub fn matches(matcher: &Matcher, value: &Value) -> bool {
    let as_kind = |kind| cast(value.clone(), kind);
    use crate::config::model::Kind;
    match matcher {
        Matcher::Found => true,
        Matcher::Bool(wanted) => match as_kind(Kind::Bool) {
            Some(Value::Bool(value)) if wanted.is_empty() => value,
            Some(Value::Bool(value)) => wanted.contains(&value),
            _ => false,
        },
        Matcher::Int(ranges) => match as_kind(Kind::Int) {
            Some(Value::Int(number)) => lies_in(number, ranges),
            _ => false,
        },
        Matcher::Ip(networks) => match as_kind(Kind::Ip) {
            Some(Value::Ip(ip)) => networks.contains(ip),
            _ => false,
        },
        Matcher::Text(texts) => match as_kind(Kind::Text) {
            Some(Value::Text(text)) => text_matches(texts, text),
            _ => false,
        },
        Matcher::Regex(regexes) => match as_kind(Kind::Text) {
            Some(Value::Text(text)) => regexes.iter().any(|regex| regex.is_match(&text)),
            _ => false,
        },
        Matcher::Bytes(all) => match as_kind(Kind::Bytes) {
            Some(Value::Bytes(bytes)) => all.iter().any(|one| **one == *bytes),
            _ => false,
        },
        Matcher::Len(ranges) => match as_kind(Kind::Text) {
            Some(Value::Text(text)) => lies_in(text.len() as i64, ranges),
            _ => false,
        },
    }
}

fn lies_in(number: i64, ranges: &[IntRange]) -> bool {
    ranges.iter().any(|range| (range.low..=range.high).contains(&number))
}

fn text_matches(matcher: &TextMatch, mut text: Vec<u8>) -> bool {
    if matcher.ignores_case {
        text.make_ascii_lowercase();
    }
    let any = |is: &dyn Fn(&[u8]) -> bool| matcher.texts.iter().any(|one| is(one));
    match matcher.method {
        TextMethod::Is => matcher.texts.contains(&text),
        TextMethod::Begins => any(&|one| text.starts_with(one)),
        TextMethod::Ends => any(&|one| text.ends_with(one)),
        TextMethod::Contains => any(&|one| find(&text, one, 0).is_some()),
        TextMethod::Directory => any(&|one| has_word(&text, one, b"/?")),
        TextMethod::Domain => any(&|one| has_word(&text, one, b"/?.:")),
    }
}

fn find(text: &[u8], one: &[u8], from: usize) -> Option<usize> {
    if one.is_empty() {
        return Some(from);
    }
    text[from..].windows(one.len()).position(|window| window == one).map(|at| from + at)
}

/// Whether a word stands in a text with a delimiter or an end on either side; its own delimiters do not count.
fn has_word(text: &[u8], word: &[u8], delimiters: &[u8]) -> bool {
    let is_delimiter = |byte: Option<&u8>| byte.is_none_or(|byte| delimiters.contains(byte));
    let Some(first) = word.iter().position(|byte| !delimiters.contains(byte)) else { return false };
    let last = word.iter().rposition(|byte| !delimiters.contains(byte)).expect("there is one");
    let word = &word[first..=last];
    let mut from = 0;
    while from + word.len() <= text.len() {
        let Some(at) = find(text, word, from) else { return false };
        let before = at.checked_sub(1).and_then(|before| text.get(before));
        if is_delimiter(before) && is_delimiter(text.get(at + word.len())) {
            return true;
        }
        from = at + 1;
    }
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(method: TextMethod, one: &str) -> TextMatch {
        TextMatch { method, ignores_case: false, texts: [one.as_bytes().to_vec()].into() }
    }

    #[test]
    fn texts_are_compared_in_many_ways() {
        let is = |method, one: &str, with: &str| text_matches(&text(method, one), with.into());
        assert!(is(TextMethod::Is, "a", "a") && !is(TextMethod::Is, "a", "ab"));
        assert!(is(TextMethod::Begins, "a", "ab") && !is(TextMethod::Begins, "b", "ab"));
        assert!(is(TextMethod::Ends, "b", "ab") && !is(TextMethod::Ends, "a", "ab"));
        assert!(is(TextMethod::Contains, "b", "abc") && !is(TextMethod::Contains, "ac", "abc"));
        assert!(is(TextMethod::Directory, "/img/", "/a/img/x"));
        assert!(!is(TextMethod::Directory, "img", "/a/imgs/x"));
        assert!(is(TextMethod::Domain, "example", "www.example.org"));
        assert!(!is(TextMethod::Domain, "xample", "www.example.org"));
        let mut any_case = text(TextMethod::Is, "a");
        any_case.ignores_case = true;
        assert!(text_matches(&any_case, b"A".to_vec()));
    }

    #[test]
    fn booleans_need_no_pattern() {
        assert!(matches(&Matcher::Bool(vec![]), &Value::Int(2)));
        assert!(!matches(&Matcher::Bool(vec![]), &Value::Bool(false)));
        assert!(matches(&Matcher::Bool(vec![false]), &Value::Bool(false)));
        assert!(matches(
            &Matcher::Len(vec![IntRange { low: 2, high: 3 }]),
            &Value::Text(b"ab".to_vec())
        ));
        assert!(!matches(&Matcher::Int(vec![]), &Value::Int(0)));
    }

    #[test]
    fn what_is_not_known_yet_stays_so() {
        assert_eq!(!Answer::NotYet, Answer::NotYet);
        assert_eq!(Answer::NotYet.max(Answer::Yes), Answer::Yes);
        assert_eq!(Answer::NotYet.min(Answer::No), Answer::No);
    }
}
