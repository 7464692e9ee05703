//! Turns a file into statements.
//!
//! In:    a file's bytes
//! Out:   one statement per line that says something and is not switched off by `.if`
//! Owns:  the conditional blocks of one file
//! Never: knows a section or a keyword
//! Read:  docs/configuration.md, "Conditional blocks"

use std::path::Path;
use std::sync::Arc;

use super::condition;
use super::model::Location;
use super::parser::{Parser, Statement};
use super::report::{Diagnostic, Excerpt, Severity};
use super::words::{self, Word};

/// Bytes of one line; a longer one is a file that is no configuration.
const LINE_MAX: usize = 65_536;

impl Parser<'_> {
    /// Reads a whole file; what is wrong with it goes into the report.
    pub(super) fn read_file(&mut self, path: &Path) {
        let file: Arc<str> = path.to_string_lossy().into();
        let before = self.alerts();
        match self.context.surroundings.read(path) {
            Ok(text) => self.read_text(&file, &text),
            Err(error) => {
                let text = format!("Could not open configuration file {file} : {error}");
                self.context.report.alert(None, text);
            }
        }
        if self.alerts() > before {
            let text = format!("Error(s) found in configuration file : {file}");
            self.context.report.alert(None, text);
        }
    }

    fn alerts(&self) -> usize {
        let diagnostics = &self.context.report.diagnostics;
        diagnostics.iter().filter(|one| one.severity == Severity::Alert).count()
    }

    fn read_text(&mut self, file: &Arc<str>, text: &[u8]) {
        self.leave_section();
        let mut blocks = Blocks::default();
        let mut at = Location { file: file.clone(), line: 0 };
        for line in text.split_inclusive(|&byte| byte == b'\n') {
            at.line += 1;
            let Some(line) = line.strip_suffix(b"\n") else {
                let text = "Missing LF on last line, file might have been truncated";
                self.excerpt(Severity::Alert, &at, text, line, line.len() + 1);
                break;
            };
            self.read_line(&mut blocks, &at, line);
        }
        for opened in blocks.unfinished() {
            let text = format!("non-terminated '.if' block (opened at line {opened}).");
            self.context.report.alert(Some(&at), text);
        }
    }

    fn read_line(&mut self, blocks: &mut Blocks, at: &Location, line: &[u8]) {
        if line.len() > LINE_MAX {
            let text = format!("line too long, limit: {LINE_MAX} bytes");
            self.excerpt(Severity::Alert, at, &text, line, LINE_MAX + 1);
            return;
        }
        let words = match words::split(line, &self.context.variables) {
            Ok(words) => words,
            Err(error) => {
                self.excerpt(Severity::Alert, at, &error.message, line, error.column);
                return;
            }
        };
        match words.first() {
            None => {}
            Some(first) if first.text.starts_with('.') => self.directive(blocks, at, &words),
            Some(_) if !blocks.is_active() => {}
            Some(first) => {
                let outdented = first.column == 1;
                let words = words.into_iter().map(|word| word.text).collect();
                self.statement(&Statement { at: at.clone(), words, outdented });
            }
        }
    }

    /// A line that starts with a dot.
    fn directive(&mut self, blocks: &mut Blocks, at: &Location, words: &[Word]) {
        let name = words[0].text.as_str();
        // Quotes are gone by now: a condition is its words with one blank between them.
        let arguments: Vec<&str> = words[1..].iter().map(|word| word.text.as_str()).collect();
        let rest = arguments.join(" ");
        let outcome = match name {
            ".if" => {
                let value = blocks.is_active().then(|| self.condition(at, name, &rest));
                blocks.open(at.line, value);
                Ok(())
            }
            ".elif" => {
                let value = blocks.is_waiting().then(|| self.condition(at, name, &rest));
                blocks.other(value)
            }
            ".else" | ".endif" if !rest.is_empty() => {
                Err(format!("Unexpected argument '{}' for '{name}'.", arguments[0]))
            }
            ".else" => blocks.otherwise(),
            ".endif" => blocks.close(),
            ".alert" | ".warning" | ".notice" | ".diag" => {
                if blocks.is_active() {
                    let severity = match name {
                        ".alert" => Severity::Alert,
                        ".warning" => Severity::Warning,
                        ".notice" => Severity::Notice,
                        _ => Severity::Diag,
                    };
                    self.context.report.say(severity, Some(at), format!("'{rest}'."));
                }
                Ok(())
            }
            _ if blocks.is_active() => Err(format!("unknown directive '{name}'.")),
            _ => Ok(()),
        };
        if let Err(text) = outcome {
            self.context.report.alert(Some(at), text);
        }
    }

    /// `None` when the condition cannot be read, which is then in the report.
    fn condition(&mut self, at: &Location, directive: &str, text: &str) -> Option<bool> {
        match condition::evaluate(text, &self.context.variables) {
            Ok(value) => Some(value),
            Err(error) => {
                let line = format!("{directive} {text}");
                let column = directive.len() + 1 + error.column;
                let message = format!("{} in '{directive}'", error.message);
                self.excerpt(Severity::Alert, at, &message, line.as_bytes(), column);
                None
            }
        }
    }

    /// Says something about one column, in bytes from 1, of a line.
    fn excerpt(
        &mut self,
        severity: Severity,
        at: &Location,
        text: &str,
        line: &[u8],
        column: usize,
    ) {
        let before = String::from_utf8_lossy(&line[..(column - 1).min(line.len())]);
        let column = before.chars().count() + 1;
        self.context.report.push(Diagnostic {
            severity,
            at: Some(at.clone()),
            text: format!("{text} at position {column}:"),
            excerpt: Some(Excerpt { line: String::from_utf8_lossy(line).into_owned(), column }),
            hint: None,
        });
    }
}

/// The `.if` blocks around a line.
///
/// ```text
///             true          .elif, .else
///   .if ──────────► Taken ──────────────► Done
///    │  false                              ▲
///    ├──────────► Waiting ── .elif true ──►│ (by way of Taken)
///    │ unreadable, or inside a block that is off
///    └──────────► Off      until .endif
/// ```
#[derive(Default)]
struct Blocks {
    stack: Vec<Block>,
}

struct Block {
    line: u32,
    state: State,
    has_else: bool,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum State {
    /// Its lines are read.
    Taken,
    /// No branch was taken so far.
    Waiting,
    /// A branch was taken before.
    Done,
    /// No branch will be.
    Off,
}

impl Blocks {
    fn is_active(&self) -> bool {
        self.stack.last().is_none_or(|block| block.state == State::Taken)
    }

    /// Whether the condition of an `.elif` matters.
    fn is_waiting(&self) -> bool {
        self.stack.last().is_some_and(|block| block.state == State::Waiting && !block.has_else)
    }

    /// `.if`; the value is `None` inside a block that is off, `Some(None)` when it cannot be read.
    fn open(&mut self, line: u32, value: Option<Option<bool>>) {
        let state = match value.flatten() {
            Some(true) => State::Taken,
            Some(false) => State::Waiting,
            None => State::Off,
        };
        self.stack.push(Block { line, state, has_else: false });
    }

    fn other(&mut self, value: Option<Option<bool>>) -> Result<(), String> {
        let block = self.branch(".elif")?;
        block.state = match (block.state, value) {
            (State::Waiting, Some(Some(true))) => State::Taken,
            (State::Waiting, Some(None)) => State::Off,
            (State::Taken, _) => State::Done,
            (state, _) => state,
        };
        Ok(())
    }

    fn otherwise(&mut self) -> Result<(), String> {
        let block = self.branch(".else")?;
        block.has_else = true;
        block.state = match block.state {
            State::Waiting => State::Taken,
            State::Taken => State::Done,
            state => state,
        };
        Ok(())
    }

    fn close(&mut self) -> Result<(), String> {
        let lone = || "lone '.endif' with no matching '.if'.".to_string();
        self.stack.pop().map(|_| ()).ok_or_else(lone)
    }

    fn branch(&mut self, directive: &str) -> Result<&mut Block, String> {
        let lone = || format!("lone '{directive}' with no matching '.if'.");
        let block = self.stack.last_mut().ok_or_else(lone)?;
        if block.has_else {
            block.state = State::Off;
            return Err(format!("'{directive}' after '.else' is not permitted."));
        }
        Ok(block)
    }

    /// Lines of the blocks that nobody closed.
    fn unfinished(&self) -> impl Iterator<Item = u32> {
        self.stack.iter().map(|block| block.line)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn active(blocks: &Blocks) -> bool {
        blocks.is_active()
    }

    #[test]
    fn the_first_true_branch_is_taken() {
        let mut blocks = Blocks::default();
        blocks.open(1, Some(Some(false)));
        assert!(!active(&blocks) && blocks.is_waiting());
        blocks.other(Some(Some(true))).unwrap();
        assert!(active(&blocks));
        blocks.other(None).unwrap();
        assert!(!active(&blocks) && !blocks.is_waiting());
        blocks.otherwise().unwrap();
        assert!(!active(&blocks));
        blocks.close().unwrap();
        assert!(active(&blocks));
    }

    #[test]
    fn nothing_inside_a_block_that_is_off_is_taken() {
        let mut blocks = Blocks::default();
        blocks.open(1, Some(Some(false)));
        blocks.open(2, None);
        blocks.otherwise().unwrap();
        assert!(!active(&blocks));
        blocks.close().unwrap();
        blocks.otherwise().unwrap();
        assert!(active(&blocks));
    }

    #[test]
    fn an_unreadable_condition_takes_no_branch() {
        let mut blocks = Blocks::default();
        blocks.open(1, Some(None));
        blocks.otherwise().unwrap();
        assert!(!active(&blocks));
        assert_eq!(blocks.unfinished().collect::<Vec<_>>(), [1]);
    }

    #[test]
    fn nesting_errors() {
        let mut blocks = Blocks::default();
        assert!(blocks.close().is_err() && blocks.otherwise().is_err());
        assert!(blocks.other(None).is_err());
        blocks.open(1, Some(Some(true)));
        blocks.otherwise().unwrap();
        assert!(blocks.otherwise().is_err());
        assert!(blocks.other(None).is_err());
        assert!(!active(&blocks));
    }
}
