//! The tree that the rules are tried on: every file of the repository, or a small one with a mistake planted in it.

use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use crate::SELF;
use crate::text::{code, has_word, is_word};

/// A file of the repository.
pub struct File {
    /// From the root of the repository.
    pub path: String,
    pub text: String,
    pub is_executable: bool,
}

/// Finds what breaks a rule in a tree.
pub type Rule = fn(&[File]) -> Vec<String>;

/// A tree with a mistake in it: paths and texts.
pub type Planted<'a> = &'a [(&'a str, &'a str)];

/// Asserts that a rule sees each planted mistake, and that nothing in the repository breaks it.
#[track_caller]
pub fn holds(rule: Rule, planted: &[Planted<'_>]) {
    for mistake in planted {
        let file = |&(path, text): &(&str, &str)| File {
            path: path.to_owned(),
            text: text.to_owned(),
            is_executable: false,
        };
        let tree: Vec<File> = mistake.iter().map(file).collect();
        assert!(!rule(&tree).is_empty(), "the rule does not see this: {mistake:?}");
    }
    let broken = rule(&repository());
    assert!(broken.is_empty(), "{} times:\n  {}", broken.len(), broken.join("\n  "));
}

/// Every file that people write: not what is built, not what a tool keeps for itself.
pub fn repository() -> Vec<File> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut files = Vec::new();
    let mut folders = vec![root.to_path_buf()];
    while let Some(folder) = folders.pop() {
        for entry in folder.read_dir().expect("a folder of the repository can be read") {
            let path = entry.expect("an entry can be read").path();
            let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
            let is_hidden = name.starts_with('.') && name != ".ci";
            if is_hidden || name == "target" || name == "Cargo.lock" {
                continue;
            }
            if path.is_dir() {
                folders.push(path);
                continue;
            }
            // A file that another process has just removed is no file of the repository.
            let (Ok(bytes), Ok(facts)) = (std::fs::read(&path), path.metadata()) else { continue };
            let Ok(text) = String::from_utf8(bytes) else { continue };
            let path = path.strip_prefix(root).expect("below the root").display().to_string();
            files.push(File { path, text, is_executable: facts.permissions().mode() & 0o111 != 0 });
        }
    }
    assert!(files.iter().any(|file| file.path == SELF), "this is not the repository: {root:?}");
    files.sort_by(|a, b| a.path.cmp(&b.path));
    files
}

impl File {
    pub fn is_rust(&self) -> bool {
        self.path.ends_with(".rs")
    }

    pub fn is_script(&self) -> bool {
        // An inner attribute of a Rust crate starts like a script.
        self.text.starts_with("#!") && !self.text.starts_with("#![")
    }

    /// Lines of text that `is_broken` says are broken.
    pub fn lines_where(&self, is_broken: impl Fn(&str) -> bool) -> Vec<String> {
        let lines = (1..).zip(self.text.lines());
        lines
            .filter(|(_, line)| is_broken(line))
            .map(|(number, line)| format!("{}:{number}: {}", self.path, line.trim()))
            .collect()
    }

    /// Lines of code, without comments and literals, that name `word`.
    pub fn code_with(&self, word: &str) -> Vec<String> {
        self.named_in(&code(&self.text), word)
    }

    /// The same, but for the unit tests at the file's end.
    pub fn production_with(&self, word: &str) -> Vec<String> {
        let tests = self.text.find("mod tests {").unwrap_or(self.text.len());
        self.named_in(&code(&self.text[..tests]), word)
    }

    pub fn named_in(&self, code: &str, word: &str) -> Vec<String> {
        let lines = (1..).zip(code.lines());
        lines
            .filter(|(_, line)| has_word(line, word))
            .map(|(number, _)| format!("{}:{number} names {word}", self.path))
            .collect()
    }
}

/// The text of all files whose path is wanted.
pub fn texts(tree: &[File], is_wanted: impl Fn(&str) -> bool) -> String {
    tree.iter().filter(|file| is_wanted(&file.path)).map(|file| file.text.as_str()).collect()
}

/// The code of all files below a path, its white space as one blank.
pub fn code_of(tree: &[File], under: &str) -> String {
    let text = texts(tree, |path| path.starts_with(under));
    code(&text).split_whitespace().collect::<Vec<_>>().join(" ")
}

/// The counters of netstack, in the macro that declares them.
pub fn counters(tree: &[File]) -> Vec<String> {
    names_within(tree, "netstack/src/counters.rs", "\ncounters! {")
}

/// Names that a line of a block begins with and a comma or a type follows.
pub fn names_within(tree: &[File], path: &str, opening: &str) -> Vec<String> {
    // The opening may be the first thing in the file.
    let text = format!("\n{}", texts(tree, |other| other == path));
    let Some((_, block)) = text.split_once(opening) else { return Vec::new() };
    let block = block.split("\n}").next().unwrap_or_default();
    let name = |line: &str| {
        let line = line.trim().trim_start_matches("pub ").trim_end_matches(',');
        let name = line.split(':').next().unwrap_or_default();
        (!name.is_empty() && name.chars().all(is_word)).then(|| name.to_owned())
    };
    block.lines().filter_map(name).collect()
}
