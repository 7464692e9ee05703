//! Reads configuration files into a [`model::Config`].
//!
//! In:    paths, and an [`Environment`] of variables
//! Out:   [`Loaded`], or a [`Report`] with every error of every file
//! Owns:  the order of the steps: files, lines, words, statements, checks
//! Never: opens a socket, reads a clock, or stops at the first error
//! Read:  docs/configuration.md
//!
//! ```text
//!  reader     lines and conditional blocks     .if .elif .else .endif
//!  words      a line's words                   quotes, escapes, variables
//!  parser     sections                         global, defaults, frontend ...
//!  global     proxy  bind  server              one file per kind of statement
//!  check      what only the whole can tell     names, timeouts, listeners
//! ```

use std::collections::BTreeMap;
use std::io;
use std::net::{IpAddr, ToSocketAddrs};
use std::path::{Path, PathBuf};

use parser::Parser;

pub use address::Family;
pub use keywords::{Keyword, Scope, Standing, keywords};
pub use report::{Diagnostic, Excerpt, Report, Severity};

mod acls;
mod address;
mod balance;
mod bind;
mod check;
mod checks;
mod condition;
mod cpu_map;
pub mod diff;
mod global;
mod keywords;
mod log;
pub mod model;
mod names;
pub mod nearest;
mod options;
mod parser;
mod proxy;
mod reader;
mod report;
mod ring;
mod rules;
mod samples;
mod server;
mod service;
mod source;
pub mod succession;
pub mod units;
mod words;

/// The version of HAProxy whose configuration language this is; what `version_atleast()` compares with.
pub const LANGUAGE_VERSION: &str = "2.6.0";

/// What the command line and the process give to a configuration.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Environment {
    /// The variables that `"${NAME}"` sees.
    pub variables: BTreeMap<String, String>,
    /// `maxconn` of a proxy that states none (`-N`); [`model::MAXCONN_DEFAULT`] when absent.
    pub maxconn: Option<u32>,
}

impl Environment {
    /// The variables of this process. One that is not UTF-8 is left out: no word could hold it.
    pub fn of_process() -> Self {
        let variables = std::env::vars_os()
            .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)))
            .collect();
        Self { variables, maxconn: None }
    }
}

/// A configuration that may run.
#[derive(Clone, Debug, PartialEq)]
pub struct Loaded {
    /// The configuration.
    pub config: model::Config,
    /// What the operator should still hear, in the order in which it was found.
    pub warnings: Vec<Diagnostic>,
}

/// What the loader needs of the machine; tests bring their own.
pub trait Surroundings {
    /// The bytes of a file.
    fn read(&self, path: &Path) -> io::Result<Vec<u8>>;

    /// The files of a directory in any order; `None` when the path is no directory.
    fn list(&self, path: &Path) -> io::Result<Option<Vec<PathBuf>>>;

    /// The addresses of a name, best first.
    fn resolve(&self, name: &str) -> io::Result<Vec<IpAddr>>;
}

/// The machine itself: its file system and its resolver.
#[derive(Clone, Copy, Debug, Default)]
pub struct System;

impl Surroundings for System {
    fn read(&self, path: &Path) -> io::Result<Vec<u8>> {
        std::fs::read(path)
    }

    fn list(&self, path: &Path) -> io::Result<Option<Vec<PathBuf>>> {
        if !std::fs::metadata(path)?.is_dir() {
            return Ok(None);
        }
        let mut files = Vec::new();
        for entry in std::fs::read_dir(path)? {
            let path = entry?.path();
            if path.is_file() {
                files.push(path);
            }
        }
        Ok(Some(files))
    }

    fn resolve(&self, name: &str) -> io::Result<Vec<IpAddr>> {
        Ok((name, 0).to_socket_addrs()?.map(|address| address.ip()).collect())
    }
}

/// A single text, whatever its name, for tests.
#[cfg(test)]
pub(crate) struct Text(pub String);

#[cfg(test)]
impl Surroundings for Text {
    fn read(&self, _: &Path) -> io::Result<Vec<u8>> {
        Ok(self.0.clone().into_bytes())
    }

    fn list(&self, _: &Path) -> io::Result<Option<Vec<PathBuf>>> {
        Ok(None)
    }

    fn resolve(&self, _: &str) -> io::Result<Vec<IpAddr>> {
        Ok(Vec::new())
    }
}

/// Loads files in order; a directory stands for its `*.cfg` files in lexical order.
pub fn load(paths: &[PathBuf], env: &Environment) -> Result<Loaded, Report> {
    load_from(paths, env, &System)
}

/// [`load`] with files and names from somewhere else.
pub fn load_from(
    paths: &[PathBuf],
    env: &Environment,
    surroundings: &dyn Surroundings,
) -> Result<Loaded, Report> {
    let mut report = Report::default();
    let files = expand(paths, surroundings, &mut report);
    let mut parser = Parser::new(env, &files, surroundings, report);
    for path in &files {
        parser.read_file(path);
    }
    parser.finish()
}

/// Evaluates a condition as `.if` would (`-cc`).
pub fn evaluate(condition: &str, env: &Environment) -> Result<bool, Report> {
    condition::evaluate(condition, &env.variables).map_err(|error| {
        let mut report = Report::default();
        report.push(Diagnostic {
            severity: Severity::Alert,
            at: None,
            text: format!("Failed to evaluate condition: {}", error.message),
            excerpt: Some(Excerpt { line: condition.to_string(), column: error.column }),
            hint: None,
        });
        report
    })
}

/// Directories become the files in them that HAProxy would read.
fn expand(paths: &[PathBuf], surroundings: &dyn Surroundings, report: &mut Report) -> Vec<PathBuf> {
    let mut files = Vec::new();
    for path in paths {
        match surroundings.list(path) {
            Ok(None) => files.push(path.clone()),
            Ok(Some(mut entries)) => {
                entries.retain(|entry| is_configuration(entry));
                entries.sort_by(|a, b| a.as_os_str().cmp(b.as_os_str()));
                files.append(&mut entries);
            }
            Err(error) => report.alert(
                None,
                format!("Cannot open configuration file/directory {} : {error}", path.display()),
            ),
        }
    }
    files
}

/// `*.cfg` and not hidden.
fn is_configuration(path: &Path) -> bool {
    path.extension().is_some_and(|extension| extension == "cfg")
        && path.file_name().is_some_and(|name| !name.to_string_lossy().starts_with('.'))
}
