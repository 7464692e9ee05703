//! ACLs and conditions.
//!
//! In:    `acl` lines; the words after `if` and `unless`
//! Out:   [`Acl`]s; [`Condition`]s that name them by their places
//! Never: looks at a connection
//! Read:  docs/configuration.md, "ACLs"

use std::sync::Arc;

use super::model::{
    Acl, AclLine, Condition, Expression, Kind, Location, PatternList, Term, Written,
};
use super::nearest::suggestion;
use super::parser::{Context, Line};
use super::report::Fault;
use super::samples;

mod patterns;

pub(super) use patterns::{Method, Patterns, lines_of};

/// ACLs that need no line: the name, and its words.
const PREDEFINED: &[(&str, &[&str])] = &[
    ("FALSE", &["always_false"]),
    ("LOCALHOST", &["src", "127.0.0.1/8", "::1"]),
    ("RDP_COOKIE", &["req_rdp_cookie_cnt", "gt", "0"]),
    ("REQ_CONTENT", &["req_len", "gt", "0"]),
    ("TRUE", &["always_true"]),
    ("WAIT_END", &["wait_end"]),
];

/// Predefined ACLs that look at requests of HTTP.
const OF_HTTP: &[&str] = &[
    "HTTP",
    "HTTP_1.0",
    "HTTP_1.1",
    "HTTP_2.0",
    "HTTP_3.0",
    "HTTP_CONTENT",
    "HTTP_URL_ABS",
    "HTTP_URL_SLASH",
    "HTTP_URL_STAR",
    "METH_CONNECT",
    "METH_DELETE",
    "METH_GET",
    "METH_HEAD",
    "METH_OPTIONS",
    "METH_POST",
    "METH_PUT",
    "METH_TRACE",
];

/// `acl <name> <criterion> [flags] [operator] [<value>...]`
pub(super) fn acl(
    acls: &mut Vec<Acl>,
    line: &Line<'_>,
    context: &mut Context<'_>,
) -> Result<(), Fault> {
    let [name, words @ ..] = line.arguments else {
        return Err("'acl' expects a name and a criterion.".to_string().into());
    };
    if let Some(c) = super::proxy::invalid_character(name) {
        return Err(format!("character '{c}' is not permitted in acl name '{name}'.").into());
    }
    if name.eq_ignore_ascii_case("or") {
        return Err(Fault::hinted(
            format!(
                "acl name '{name}' will never match. 'or' is used to express a disjunctive condition."
            ),
            "give it another name.",
        ));
    }
    let read = acl_line(words, line.at, context).map_err(|fault| Fault {
        text: format!("error detected while parsing ACL '{name}' : {}", fault.text),
        hint: fault.hint,
    })?;
    if read.matcher.is_empty() && words.last() != Some(&"--") {
        let text = format!(
            "acl '{name}' : no pattern to match against was provided, so it will never match; '--' at the end says that this is meant."
        );
        context.report.warning(Some(line.at), text);
    }
    match acls.iter_mut().find(|acl| &*acl.name == *name) {
        Some(acl) => acl.lines.push(read),
        None => acls.push(Acl { name: (*name).into(), lines: vec![read] }),
    }
    Ok(())
}

/// The words of one line, after its name.
fn acl_line(words: &[&str], at: &Location, context: &Context<'_>) -> Result<AclLine, Fault> {
    let (criterion, mut words) =
        words.split_first().ok_or_else(|| "missing criterion.".to_string())?;
    let (expression, mut method) = criterion_of(criterion, context)?;
    let mut ignores_case = false;
    let mut files = Vec::new();
    loop {
        words = match words {
            ["-i", rest @ ..] => {
                ignores_case = true;
                rest
            }
            // Names are looked up only where addresses are expected, and then `-n` forbids it: nothing to do here.
            ["-n", rest @ ..] => rest,
            ["-u", _, rest @ ..] => rest,
            ["-m", name, rest @ ..] => {
                method = Some(Method::named(name).ok_or_else(|| {
                    let known = suggestion(name, Method::NAMES.iter().copied());
                    Fault::from(format!("unknown matching method '{name}'{known}"))
                })?);
                rest
            }
            ["-f", file, rest @ ..] => {
                files.push(*file);
                rest
            }
            [flag @ ("-m" | "-f" | "-u")] => {
                return Err(format!("'{flag}' expects an argument.").into());
            }
            ["-M", ..] => {
                return Err("flag '-M' is not supported by xlb yet.".to_string().into());
            }
            ["--", rest @ ..] => {
                words = rest;
                break;
            }
            _ => break,
        };
    }
    let method = method.or_else(|| Method::of_kind(expression.kind)).ok_or_else(|| {
        Fault::hinted(
            format!("missing matching method for '{criterion}'."),
            "say which with '-m': 'bin', 'beg', 'end', 'sub', 'reg', 'len', 'found' and others.",
        )
    })?;
    if !expression.kind.becomes(method.takes()) {
        return Err(format!(
            "matching method '{}' cannot be used with '{criterion}', which is of type {}.",
            method.name(),
            expression.kind.name()
        )
        .into());
    }
    let mut patterns = Patterns::new(method, ignores_case);
    let mut lists = Vec::new();
    for file in files {
        let mut list = PatternList { file: Some(file.into()), values: Vec::new() };
        for (number, line) in lines_of(file, context)? {
            list.values.push(line.as_str().into());
            patterns.add(&line, context).map_err(|fault| Fault {
                text: format!("file '{file}' line {number} : {}", fault.text),
                hint: fault.hint,
            })?;
        }
        lists.push(list);
    }
    lists.push(PatternList { file: None, values: patterns.add_words(words, context)? });
    let matcher = Arc::new(patterns.finish());
    let name = criterion.split(['(', ',']).next().unwrap_or_default().into();
    let written = Written { criterion: name, method: method.name(), ignores_case, lists };
    Ok(AclLine { at: at.clone(), expression, matcher, written })
}

/// What a line looks at, with the method of matching that its name asks for.
fn criterion_of(
    criterion: &str,
    context: &Context<'_>,
) -> Result<(Expression, Option<Method>), Fault> {
    let end = criterion.find(['(', ',']).unwrap_or(criterion.len());
    let (name, rest) = criterion.split_at(end);
    let (word, method) = match samples::acl_alias(name) {
        // With a converter behind it, the name is only a fetch.
        Some((fetch, method)) if !rest.contains("),") && !rest.starts_with(',') => {
            (format!("{fetch}{rest}"), Method::named(method))
        }
        _ => (criterion.to_string(), None),
    };
    Ok((samples::expression(&word, context)?, method))
}

/// `if <condition>`, `unless <condition>`, or nothing.
pub(super) fn condition(
    acls: &mut Vec<Acl>,
    words: &[&str],
    at: &Location,
    context: &Context<'_>,
) -> Result<Option<Condition>, Fault> {
    let (is_unless, words) = match words {
        [] => return Ok(None),
        ["if", rest @ ..] => (false, rest),
        ["unless", rest @ ..] => (true, rest),
        [word, ..] => {
            return Err(format!("expects 'if' or 'unless' but found '{word}'.").into());
        }
    };
    let groups = groups(acls, words, at, context).map_err(|fault| Fault {
        text: format!("error detected while parsing condition : {}", fault.text),
        hint: fault.hint,
    })?;
    Ok(Some(Condition { is_unless, groups }))
}

fn groups(
    acls: &mut Vec<Acl>,
    mut words: &[&str],
    at: &Location,
    context: &Context<'_>,
) -> Result<Vec<Vec<Term>>, Fault> {
    let mut groups = vec![Vec::new()];
    let mut is_negated = false;
    while let Some((word, rest)) = words.split_first() {
        words = rest;
        if word.eq_ignore_ascii_case("or") || *word == "||" {
            if is_negated || groups.last().is_some_and(Vec::is_empty) {
                return Err(format!("nothing stands before '{word}'.").into());
            }
            groups.push(Vec::new());
            continue;
        }
        let bare = word.trim_start_matches('!');
        is_negated ^= (word.len() - bare.len()) % 2 == 1;
        let acl = match bare {
            "" => continue,
            "{" => {
                let end = words.iter().position(|word| *word == "}").ok_or_else(|| {
                    Fault::hinted(
                        "missing closing '}' in condition.",
                        "'}' is a word: a space stands before it.",
                    )
                })?;
                let line = acl_line(&words[..end], at, context)?;
                words = &words[end + 1..];
                acls.push(Acl { name: "".into(), lines: vec![line] });
                acls.len() - 1
            }
            name => known(acls, name, at, context)?,
        };
        groups.last_mut().expect("there is one").push(Term { acl, is_negated });
        is_negated = false;
    }
    if is_negated || groups.last().is_some_and(Vec::is_empty) {
        return Err("a term is missing at its end.".to_string().into());
    }
    Ok(groups)
}

/// The place of an ACL that a condition names.
fn known(
    acls: &mut Vec<Acl>,
    name: &str,
    at: &Location,
    context: &Context<'_>,
) -> Result<usize, Fault> {
    if let Some(index) = acls.iter().position(|acl| &*acl.name == name) {
        return Ok(index);
    }
    if let Some((_, words)) = PREDEFINED.iter().find(|(known, _)| *known == name) {
        let line = acl_line(words, at, context).expect("predefined ACLs can be read");
        acls.push(Acl { name: name.into(), lines: vec![line] });
        return Ok(acls.len() - 1);
    }
    if OF_HTTP.contains(&name) {
        return Err(format!("ACL '{name}' needs 'mode http', which xlb does not have yet.").into());
    }
    let names = acls.iter().map(|acl| &*acl.name).filter(|name| !name.is_empty());
    let names: Vec<&str> = names.chain(PREDEFINED.iter().map(|(name, _)| *name)).collect();
    Err(format!("no such ACL : '{name}'{}", suggestion(name, names)).into())
}

/// The kind that a condition's method takes when its expression says nothing.
impl Method {
    pub(super) fn of_kind(kind: Kind) -> Option<Method> {
        Some(match kind {
            Kind::Bool => Method::Bool,
            Kind::Int => Method::Int,
            Kind::Ip => Method::Ip,
            Kind::Text => Method::Text(super::model::TextMethod::Is),
            Kind::Bytes | Kind::Any => return None,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::super::model::{IntRange, Matcher};
    use super::super::parser::tests::with_line;
    use super::*;

    fn read(words: &str) -> Result<Acl, Fault> {
        let mut acls = Vec::new();
        with_line("acl", words, |line, context| acl(&mut acls, line, context)).0?;
        Ok(acls.remove(0))
    }

    fn read_condition(words: &str) -> Result<(Condition, Vec<Acl>), Fault> {
        let mut acls =
            vec![read("web dst_port 80").unwrap(), read("local src 10.0.0.0/8").unwrap()];
        let read = with_line("use_backend", words, |line, context| {
            condition(&mut acls, line.arguments, line.at, context)
        });
        Ok((read.0?.expect("there is one"), acls))
    }

    #[test]
    fn numbers_have_operators_and_ranges() {
        let ranges = |words: &str| match &*read(words).unwrap().lines.remove(0).matcher {
            Matcher::Int(ranges) => ranges.clone(),
            other => panic!("{other:?}"),
        };
        let range = |low, high| IntRange { low, high };
        assert_eq!(ranges("x dst_port 80 1000:2000"), [range(80, 80), range(1000, 2000)]);
        assert_eq!(ranges("x nbsrv(b) lt 2"), [range(i64::MIN, 1)]);
        assert_eq!(ranges("x dst_port ge 5 le 3"), [range(5, i64::MAX), range(i64::MIN, 3)]);
        assert_eq!(ranges("x req_ssl_ver 3.1:3.3"), [range(0x30001, 0x30003)]);
    }

    #[test]
    fn faults_name_the_word() {
        let text = |words| read(words).unwrap_err().text;
        assert!(text("x").contains("missing criterion"), "{}", text("x"));
        assert!(text("x/y src 1.2.3.4").contains("character '/' is not permitted"));
        assert!(text("or src 1.2.3.4").contains("will never match"));
        assert!(text("x src 1.2.3").contains("'1.2.3'"), "{}", text("x src 1.2.3"));
        assert!(text("x src -m nope 1").contains("unknown matching method 'nope'"));
        assert!(read("x payload(0,1),upper x").is_ok());
        assert!(text("x res.payload(0,1) x").contains("missing matching method"));
        assert!(text("x dst_port abc").contains("'abc'"));
        assert!(text("x src -f").contains("'-f' expects an argument"));
        assert!(text("x always_true -m ip 1.2.3.4").contains("cannot be used"));
    }

    #[test]
    fn conditions_are_groups_of_terms() {
        let (condition, acls) =
            read_condition("unless web !local or !{ src_port gt 9 } || ! TRUE").unwrap();
        let term = |acl, is_negated| Term { acl, is_negated };
        let groups =
            vec![vec![term(0, false), term(1, true)], vec![term(2, true)], vec![term(3, true)]];
        assert_eq!(condition, Condition { is_unless: true, groups });
        assert_eq!(acls.len(), 4);
        for words in [
            "when web",
            "if",
            "if web or",
            "if or web",
            "if !",
            "if { src 1.2.3.4",
            "if nope",
            "if HTTP",
            "if { }",
        ] {
            assert!(read_condition(words).is_err(), "{words}");
        }
        let fault = read_condition("if lokal").unwrap_err();
        assert!(
            fault.text.ends_with("no such ACL : 'lokal'; did you mean 'local'?"),
            "{}",
            fault.text
        );
    }
}
