//! Sample expressions: `src,ipmask(24)`.
//!
//! In:    a word
//! Out:   an [`Expression`], with the names of proxies and servers still to be found
//! Never: evaluates anything; that is `sample`
//! Read:  docs/configuration.md, "Samples"

use super::model::{Expression, Kind, NamePart, Variable, VariableScope};
use super::parser::Context;
use super::report::Fault;

mod converters;
mod fetches;
mod maps;

pub(super) use fetches::acl_alias;

/// A name with what stands between its parentheses.
struct Call<'a> {
    name: &'a str,
    arguments: Vec<String>,
}

impl Call<'_> {
    fn fault(&self, text: &str) -> Fault {
        format!("'{}' : {text}", self.name).into()
    }

    /// Refuses more than `most` arguments and fewer than `least`.
    fn count(&self, least: usize, most: usize) -> Result<(), Fault> {
        let count = self.arguments.len();
        if count > most {
            let extra = &self.arguments[most];
            return Err(match most {
                0 => self.fault(&format!("it takes no argument, found '{extra}'.")),
                _ => self.fault(&format!("too many arguments, '{extra}' is not expected.")),
            });
        }
        if count < least {
            return Err(self.fault(&format!("missing arguments (got {count}/{least}).")));
        }
        Ok(())
    }

    fn argument(&self, index: usize) -> Option<&str> {
        self.arguments.get(index).map(String::as_str)
    }

    fn integer(&self, index: usize, low: i64, high: i64) -> Result<Option<i64>, Fault> {
        let Some(word) = self.argument(index).filter(|word| !word.is_empty()) else {
            return Ok(None);
        };
        super::units::integer(Some(word), low..=high, self.name).map(Some)
    }
}

/// Reads a word that is an expression and nothing else.
pub(super) fn expression(word: &str, context: &Context<'_>) -> Result<Expression, Fault> {
    let (call, mut rest) = call(word)?;
    if call.name.is_empty() {
        return Err(format!("missing fetch method in sample expression '{word}'.").into());
    }
    let (fetch, mut kind) = fetches::fetch(&call, context)?;
    let mut list = Vec::new();
    while !rest.is_empty() {
        let Some(next) = rest.strip_prefix(',') else {
            return Err(format!(
                "unexpected '{rest}' in sample expression '{word}', a comma may follow."
            )
            .into());
        };
        let (call, after) = self::call(next)?;
        // `src,` is `src`, as in HAProxy.
        if call.name.is_empty() && after.is_empty() {
            break;
        }
        let (converter, takes, makes) = converters::converter(&call, context)?;
        if !kind.becomes(takes) {
            return Err(format!(
                "converter '{}' cannot be applied to {} in sample expression '{word}'.",
                call.name,
                kind.name()
            )
            .into());
        }
        kind = if makes == Kind::Any { kind } else { makes };
        list.push(converter);
        rest = after;
    }
    Ok(Expression { text: word.into(), fetch, converters: list, kind })
}

/// The name at the start of a text, its arguments, and what follows.
fn call(text: &str) -> Result<(Call<'_>, &str), Fault> {
    let is_of_name = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '.' | '-' | '+');
    let end = text.find(|c| !is_of_name(c)).unwrap_or(text.len());
    let (name, rest) = text.split_at(end);
    let Some(inner) = rest.strip_prefix('(') else {
        return Ok((Call { name, arguments: Vec::new() }, rest));
    };
    let mut arguments = vec![String::new()];
    let mut quote = None;
    let mut characters = inner.char_indices();
    while let Some((at, c)) = characters.next() {
        let last = arguments.last_mut().expect("there is one");
        match (quote, c) {
            (Some(q), c) if c == q => quote = None,
            (Some('\''), c) => last.push(c),
            (_, '\\') => match characters.next() {
                // A backslash protects what would end something; others are for whom the text is for.
                Some((_, c @ ('\\' | ',' | '(' | ')' | '"' | '\'' | ' '))) => last.push(c),
                Some((_, c)) => last.extend(['\\', c]),
                None => break,
            },
            (Some(_), c) => last.push(c),
            (None, '"' | '\'') => quote = Some(c),
            (None, ',') => arguments.push(String::new()),
            (None, ')') => {
                if arguments.len() == 1 && arguments[0].is_empty() {
                    arguments.clear();
                }
                return Ok((Call { name, arguments }, &inner[at + 1..]));
            }
            (None, c) => last.push(c),
        }
    }
    Err(Fault::hinted(
        format!("missing closing ')' after arguments to '{name}' in '{text}'."),
        "a space ends a word: quote an argument that holds one.",
    ))
}

/// `<scope>.<name>`
pub(super) fn variable(text: &str) -> Result<Variable, Fault> {
    let (scope, name) = text.split_once('.').unwrap_or((text, ""));
    let scope = match scope {
        "proc" => VariableScope::Process,
        "sess" => VariableScope::Session,
        "txn" => VariableScope::Transaction,
        "req" => VariableScope::Request,
        "res" => VariableScope::Response,
        _ => {
            return Err(Fault::hinted(
                format!("invalid variable name '{text}'."),
                "it is written <scope>.<name>, the scope being 'proc', 'sess', 'txn', 'req' or 'res'.",
            ));
        }
    };
    let is_valid = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '.');
    match name.chars().find(|c| !is_valid(*c)) {
        None if !name.is_empty() => Ok(Variable { scope, name: name.into() }),
        None => Err(format!("invalid variable name '{text}': nothing follows the scope.").into()),
        Some(c) => Err(format!("invalid variable name '{text}' at character '{c}'.").into()),
    }
}

/// A text in which `%[...]` stands for the value of an expression.
pub(super) fn made_name(text: &str, context: &Context<'_>) -> Result<Vec<NamePart>, Fault> {
    let mut parts = Vec::new();
    let mut plain = String::new();
    let mut rest = text;
    while let Some(at) = rest.find('%') {
        plain.push_str(&rest[..at]);
        let after = &rest[at + 1..];
        if let Some(after) = after.strip_prefix('%') {
            plain.push('%');
            rest = after;
            continue;
        }
        let Some(inner) = after.strip_prefix('[') else {
            return Err(Fault::hinted(
                format!("'%' in '{text}' begins nothing that is known here."),
                "'%[...]' is the value of an expression, '%%' a percent sign.",
            ));
        };
        let end =
            closing_bracket(inner).ok_or_else(|| format!("missing closing ']' in '{text}'."))?;
        if !plain.is_empty() {
            parts.push(NamePart::Text(std::mem::take(&mut plain).into()));
        }
        parts.push(NamePart::Expression(expression(&inner[..end], context)?));
        rest = &inner[end + 1..];
    }
    plain.push_str(rest);
    if !plain.is_empty() {
        parts.push(NamePart::Text(plain.into()));
    }
    Ok(parts)
}

/// The first `]` that no quotes hold.
fn closing_bracket(text: &str) -> Option<usize> {
    let mut quote = None;
    for (at, c) in text.char_indices() {
        match quote {
            Some(q) if c == q => quote = None,
            Some(_) => {}
            None if c == ']' => return Some(at),
            None if matches!(c, '"' | '\'') => quote = Some(c),
            None => {}
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::super::model::{Converter, Fetch, Value, Whose};
    use super::super::parser::tests::with_line;
    use super::*;

    fn read(word: &str) -> Result<Expression, Fault> {
        with_line("acl", "", |_, context| expression(word, context)).0
    }

    #[test]
    fn fetches_and_converters_in_a_row() {
        let read_src = read("src,ipmask(24)").unwrap();
        assert_eq!(read_src.fetch, Fetch::Address(Whose::Source));
        assert_eq!(read_src.converters, [Converter::IpMask(24, None)]);
        assert_eq!(read_src.kind, Kind::Ip);
        assert_eq!(read("src,").unwrap().converters, []);
        let text = read("str('a,b)\\'),upper,length").unwrap();
        assert_eq!(text.fetch, Fetch::Constant(Value::Text(b"a,b)\\".to_vec())));
        assert_eq!(text.kind, Kind::Int);
        let quoted = read(r#"str("a\"\,b\n")"#).unwrap();
        assert_eq!(quoted.fetch, Fetch::Constant(Value::Text(br#"a",b\n"#.to_vec())));
    }

    #[test]
    fn faults_name_what_is_wrong() {
        let text = |word| read(word).unwrap_err().text;
        assert_eq!(text("sorc"), "unknown fetch method 'sorc'; did you mean 'src'?");
        assert_eq!(text("src(x)"), "'src' : it takes no argument, found 'x'.");
        assert_eq!(text("src,uper"), "unknown converter 'uper'; did you mean 'upper'?");
        assert_eq!(
            text("src,ipmask(24"),
            "missing closing ')' after arguments to 'ipmask' in 'ipmask(24'."
        );
        assert_eq!(text("src,ipmask"), "'ipmask' : missing arguments (got 0/1).");
        assert!(text("bool(1),ipmask(3)").contains("cannot be applied to bool"));
        assert!(text("src lower").contains("unexpected ' lower'"));
        assert!(text("hdr(host)").contains("'mode http'"));
        assert!(text("var(x.y)").contains("invalid variable name 'x.y'"));
        assert!(text("payload(0)").contains("missing arguments (got 1/2)"));
    }

    #[test]
    fn names_are_made_of_parts() {
        let parts = |text: &str| with_line("use_backend", "", |_, c| made_name(text, c)).0;
        let made = parts("to_%[src_port]_100%%").unwrap();
        let [NamePart::Text(first), NamePart::Expression(port), NamePart::Text(last)] = &made[..]
        else {
            panic!("{made:?}");
        };
        assert_eq!((&**first, &*port.text, &**last), ("to_", "src_port", "_100%"));
        assert_eq!(parts("plain").unwrap(), [NamePart::Text("plain".into())]);
        assert!(parts("%ci").is_err() && parts("%[src").is_err());
    }
}
