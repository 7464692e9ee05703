//! What a text says: words, Rust without comments and literals, links, headings.

use std::io::Write;
use std::process::{Command, Stdio};

use crate::tree::File;

pub fn is_word(c: char) -> bool {
    c.is_alphanumeric() || c == '_'
}

/// Whether `line` has `word` with nothing of a name on either side.
pub fn has_word(line: &str, word: &str) -> bool {
    line.match_indices(word).any(|(at, _)| {
        let before = line[..at].chars().next_back();
        let after = line[at + word.len()..].chars().next();
        !before.is_some_and(is_word) && !after.is_some_and(is_word)
    })
}

/// Whether a file is the one named, or in the folder named.
pub fn is_at(path: &str, place: &str) -> bool {
    path == place || (place.ends_with('/') && path.starts_with(place))
}

/// Whether a line of a Cargo.toml states a dependency on `package`.
pub fn depends_on(line: &str, package: &str) -> bool {
    let name = line.split(['=', '.', ' ']).next().unwrap_or_default();
    name == package || line.contains(&format!("package = \"{package}\""))
}

/// Rust without its comments and literals, line by line as it was.
pub fn code(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(first) = rest.chars().next() {
        let is_name_before = out.chars().next_back().is_some_and(is_word);
        let len = literal_or_comment(rest, is_name_before);
        if len == 0 {
            out.push(first);
            rest = &rest[first.len_utf8()..];
            continue;
        }
        out.extend(rest[..len].chars().map(|c| if c == '\n' { '\n' } else { ' ' }));
        rest = &rest[len..];
    }
    out
}

/// Length of the comment or literal that `text` begins with, 0 if there is none.
fn literal_or_comment(text: &str, is_name_before: bool) -> usize {
    let until = |end: &str, from: usize| {
        text[from..].find(end).map_or(text.len(), |at| from + at + end.len())
    };
    if text.starts_with("//") {
        return text.find('\n').unwrap_or(text.len());
    }
    if text.starts_with("/*") {
        return until("*/", 2);
    }
    let raw = text.strip_prefix('r').filter(|_| !is_name_before).map(|rest| {
        let hashes = rest.len() - rest.trim_start_matches('#').len();
        (hashes, rest[hashes..].starts_with('"'))
    });
    if let Some((hashes, true)) = raw {
        return until(&format!("\"{}", "#".repeat(hashes)), hashes + 2);
    }
    if text.starts_with('"') {
        return quoted(text, '"');
    }
    // A lifetime has no second quote behind its first character.
    let mut chars = text.chars();
    match (chars.next(), chars.next(), chars.next()) {
        (Some('\''), Some('\\'), _) => quoted(text, '\''),
        (Some('\''), Some(inside), Some('\'')) => 2 + inside.len_utf8(),
        _ => 0,
    }
}

/// Length of a literal with escapes, from its first quote to its last.
fn quoted(text: &str, quote: char) -> usize {
    let mut is_escaped = false;
    for (at, c) in text.char_indices().skip(1) {
        if !is_escaped && c == quote {
            return at + 1;
        }
        is_escaped = !is_escaped && c == '\\';
    }
    text.len()
}

#[test]
fn code_is_what_is_left_of_rust() {
    let text = "let a = \"unsafe \\\" x\"; // unsafe\nlet b = r#\"unsafe\"#; /* unsafe */ let c = '\\'';\n\
                fn f<'a>(x: &'a u8) { real('\"', \"x\") }\n";
    let code = code(text);
    assert!(!code.contains("unsafe"), "{code}");
    assert!(code.contains("let c") && code.contains("<'a>") && code.contains("real("), "{code}");
    assert_eq!(code.lines().count(), text.lines().count());
}

/// What bash says against a script.
pub fn shell_error(script: &str) -> Option<String> {
    let mut bash = Command::new("bash")
        .arg("-n")
        .stdin(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("bash runs");
    // A script that it gives up on is not read to its end.
    let _ = bash.stdin.take().expect("is piped").write_all(script.as_bytes());
    let output = bash.wait_with_output().expect("bash ends");
    (!output.status.success()).then(|| String::from_utf8_lossy(&output.stderr).trim().to_owned())
}

/// Targets of the links of a line of Markdown.
pub fn links(line: &str) -> impl Iterator<Item = &str> {
    line.split("](").skip(1).filter_map(|rest| rest.split(')').next())
}

/// Whether a relative link finds its file, and its heading there.
pub fn leads_somewhere(tree: &[File], from: &File, link: &str) -> bool {
    let (target, heading) = link.split_once('#').unwrap_or((link, ""));
    let mut path: Vec<&str> = from.path.split('/').collect();
    path.pop();
    for part in target.split('/') {
        match part {
            "." | "" => {}
            ".." => {
                path.pop();
            }
            part => path.push(part),
        }
    }
    let path = if target.is_empty() { from.path.clone() } else { path.join("/") };
    let folder = format!("{path}/");
    if heading.is_empty() {
        return tree.iter().any(|file| file.path == path || file.path.starts_with(&folder));
    }
    let has_heading = |file: &File| {
        file.text.lines().filter(|line| line.starts_with('#')).any(|line| slug(line) == heading)
    };
    tree.iter().any(|file| file.path == path && has_heading(file))
}

/// What a heading is called in a link.
fn slug(heading: &str) -> String {
    let text = heading.trim_start_matches('#').trim().to_lowercase();
    let kept = text.chars().filter(|&c| is_word(c) || c == '-' || c == ' ');
    kept.map(|c| if c == ' ' { '-' } else { c }).collect()
}
