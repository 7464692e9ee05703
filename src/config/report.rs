//! What there is to say about a configuration, and how it is said.
//!
//! In:    a place, a sentence, perhaps a line with a column and a hint
//! Out:   text in the form that HAProxy's users and their tools know
//! Never: prints; the caller decides where a report goes

use std::fmt;

use super::model::Location;

/// How much a diagnostic matters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Severity {
    /// Said only in diagnostic mode.
    Diag,
    /// Worth knowing.
    Notice,
    /// Probably a mistake; the configuration loads.
    Warning,
    /// An error; the configuration does not load.
    Alert,
}

impl Severity {
    /// The word between the brackets.
    fn label(self) -> &'static str {
        match self {
            Severity::Diag => "[DIAG]",
            Severity::Notice => "[NOTICE]",
            Severity::Warning => "[WARNING]",
            Severity::Alert => "[ALERT]",
        }
    }
}

/// A line with a mark under one column.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Excerpt {
    /// The line.
    pub line: String,
    /// The column to mark, in characters, from 1.
    pub column: usize,
}

/// Characters of a line that are shown around the mark.
const EXCERPT_WIDTH: usize = 80;

impl fmt::Display for Excerpt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mark = self.column.saturating_sub(1);
        let skipped = mark.saturating_sub(EXCERPT_WIDTH / 2);
        // A control character would move the mark away from its column.
        let shown: String = self
            .line
            .chars()
            .skip(skipped)
            .take(EXCERPT_WIDTH)
            .map(|c| if c.is_control() { ' ' } else { c })
            .collect();
        write!(f, "  {}\n  {:>width$}", shown.trim_end(), "^", width = mark - skipped + 1)
    }
}

/// One thing to say.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Diagnostic {
    /// How much it matters.
    pub severity: Severity,
    /// Where; `None` when no single line is at fault.
    pub at: Option<Location>,
    /// The sentence, with the word at fault in it.
    pub text: String,
    /// The line itself, where a column says more than a word.
    pub excerpt: Option<Excerpt>,
    /// What to do about it.
    pub hint: Option<String>,
}

impl fmt::Display for Diagnostic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:<11}({}) : config : ", self.severity.label(), std::process::id())?;
        if let Some(at) = &self.at {
            write!(f, "parsing [{}:{}] : ", at.file, at.line)?;
        }
        f.write_str(&self.text)?;
        if let Some(excerpt) = &self.excerpt {
            write!(f, "\n{excerpt}")?;
        }
        for line in self.hint.iter().flat_map(|hint| hint.lines()) {
            write!(f, "\n   | {line}")?;
        }
        Ok(())
    }
}

/// Everything there is to say, in the order in which it was found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Report {
    /// The parts.
    pub diagnostics: Vec<Diagnostic>,
}

impl Report {
    /// Whether the configuration must not run.
    pub fn is_fatal(&self) -> bool {
        self.diagnostics.iter().any(|diagnostic| diagnostic.severity == Severity::Alert)
    }

    pub(super) fn push(&mut self, diagnostic: Diagnostic) {
        self.diagnostics.push(diagnostic);
    }

    pub(super) fn say(&mut self, severity: Severity, at: Option<&Location>, text: String) {
        self.push(Diagnostic { severity, at: at.cloned(), text, excerpt: None, hint: None });
    }

    pub(super) fn alert(&mut self, at: Option<&Location>, text: String) {
        self.say(Severity::Alert, at, text);
    }

    pub(super) fn warning(&mut self, at: Option<&Location>, text: String) {
        self.say(Severity::Warning, at, text);
    }

    pub(super) fn fault(&mut self, at: &Location, fault: Fault) {
        self.push(Diagnostic {
            severity: Severity::Alert,
            at: Some(at.clone()),
            text: fault.text,
            excerpt: None,
            hint: fault.hint,
        });
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for diagnostic in &self.diagnostics {
            writeln!(f, "{diagnostic}")?;
        }
        Ok(())
    }
}

impl std::error::Error for Report {}

/// Why a statement is refused; the line it stands on is added by whoever knows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Fault {
    pub(super) text: String,
    pub(super) hint: Option<String>,
}

impl Fault {
    pub(super) fn hinted(text: impl Into<String>, hint: impl Into<String>) -> Self {
        Self { text: text.into(), hint: Some(hint.into()) }
    }
}

impl From<String> for Fault {
    fn from(text: String) -> Self {
        Self { text, hint: None }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn diagnostic(severity: Severity) -> Diagnostic {
        Diagnostic {
            severity,
            at: Some(Location { file: "a.cfg".into(), line: 7 }),
            text: "something".into(),
            excerpt: None,
            hint: Some("one\ntwo".into()),
        }
    }

    #[test]
    fn has_the_form_that_tools_know() {
        let pid = std::process::id();
        assert_eq!(
            diagnostic(Severity::Alert).to_string(),
            format!(
                "[ALERT]    ({pid}) : config : parsing [a.cfg:7] : something\n   | one\n   | two"
            )
        );
        let warning = diagnostic(Severity::Warning).to_string();
        assert!(warning.starts_with(&format!("[WARNING]  ({pid}) : ")), "{warning}");
    }

    #[test]
    fn marks_the_column() {
        let excerpt = Excerpt { line: "ab\tcd".into(), column: 4 };
        assert_eq!(excerpt.to_string(), "  ab cd\n     ^");
    }

    #[test]
    fn shows_a_window_of_a_long_line() {
        let line = format!("{}X{}", "a".repeat(500), "b".repeat(500));
        let shown = Excerpt { line, column: 501 }.to_string();
        let (text, mark) = shown.split_once('\n').unwrap();
        assert_eq!(text.chars().count(), EXCERPT_WIDTH + 2);
        assert_eq!(text.find('X'), mark.find('^'));
    }

    #[test]
    fn only_an_alert_is_fatal() {
        let mut report = Report::default();
        report.push(diagnostic(Severity::Warning));
        assert!(!report.is_fatal());
        report.push(diagnostic(Severity::Alert));
        assert!(report.is_fatal());
    }
}
