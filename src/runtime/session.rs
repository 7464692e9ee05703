//! One client of the runtime interface: its lines, and what is answered.
//!
//! In:    lines of commands, separated by `;`; payloads behind `<<`
//! Out:   answers, each ended by an empty line
//! Owns:  what the client may do, and how it wants to be spoken to
//! Never: keeps more of a line than a command may have
//! Read:  HAProxy's management guide, "Unix Socket commands"

use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::time::Duration;

use super::{Operators, Runtime, commands};
use crate::config::model::Level;

/// Bytes of a line: what HAProxy's buffer holds.
const LINE_MAX: usize = 16_384;
/// Bytes of a payload.
const PAYLOAD_MAX: usize = 1 << 20;

/// A connection of a client.
pub trait Client: Read + Write + Send {
    /// Another handle of it, to write with.
    fn second(&self) -> io::Result<Box<dyn Write + Send>>;
    /// How long it may be silent, and how long it may take no byte.
    fn set_timeout(&self, time: Duration) -> io::Result<()>;
}

impl Client for UnixStream {
    fn second(&self) -> io::Result<Box<dyn Write + Send>> {
        Ok(Box::new(self.try_clone()?))
    }

    fn set_timeout(&self, time: Duration) -> io::Result<()> {
        self.set_read_timeout(Some(time))?;
        self.set_write_timeout(Some(time))
    }
}

impl Client for TcpStream {
    fn second(&self) -> io::Result<Box<dyn Write + Send>> {
        Ok(Box::new(self.try_clone()?))
    }

    fn set_timeout(&self, time: Duration) -> io::Result<()> {
        self.set_read_timeout(Some(time))?;
        self.set_write_timeout(Some(time))
    }
}

/// How messages are marked (`set severity-output`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Severity {
    /// Not at all.
    #[default]
    None,
    /// `[3]:`
    Number,
    /// `[err]:`
    Text,
}

/// What is known of a client.
pub struct Session<'a> {
    operators: &'a Operators,
    /// What commands can reach: one command sees one configuration.
    pub runtime: Arc<Runtime>,
    /// What it may do.
    pub level: Level,
    /// It is asked for the next command by `> `, and not left after one.
    pub is_interactive: bool,
    /// How messages are marked.
    pub severity: Severity,
    /// How long it may be silent.
    pub timeout: Duration,
    /// It may try what is dangerous (`expert-mode on`).
    pub is_expert: bool,
    /// It wants to go.
    pub is_over: bool,
}

/// What has come of a line.
enum Arrival {
    Line(String),
    TooLong,
    End,
}

impl<'a> Session<'a> {
    /// A client that may do so much.
    pub fn new(operators: &'a Operators, level: Level) -> Self {
        let runtime = operators.current();
        let timeout = runtime.config.global.stats.timeout;
        Session {
            operators,
            runtime,
            level,
            is_interactive: false,
            severity: Severity::None,
            timeout,
            is_expert: false,
            is_over: false,
        }
    }

    /// Serves the client until it goes, is silent for too long, or has had its one answer.
    pub fn serve(mut self, client: Box<dyn Client>) {
        // A client that is gone is no fault of anybody.
        let _ = self.talk(client);
    }

    fn talk(&mut self, client: Box<dyn Client>) -> io::Result<()> {
        let mut out = client.second()?;
        client.set_timeout(self.timeout)?;
        let mut reader = BufReader::new(client);
        loop {
            let line = match read_line(&mut reader)? {
                Arrival::Line(line) => line,
                Arrival::TooLong => {
                    return out.write_all(b"The command is too long for the buffer size. Please \
                        change the configuration parameter 'tune.bufsize' to use a longer command.\n");
                }
                Arrival::End => return Ok(()),
            };
            let line = match line.strip_suffix("<<") {
                Some(line) if line.is_empty() || line.ends_with(' ') => {
                    // No command takes one yet, but its lines are no commands.
                    if !skip_payload(&mut reader)? {
                        return out.write_all(b"The payload is too long.\n");
                    }
                    line.to_string()
                }
                _ => line,
            };
            let before = self.timeout;
            for command in split_commands(&line) {
                let answer = self.answer(&command);
                out.write_all(answer.as_bytes())?;
                out.write_all(b"\n")?;
                if self.is_over {
                    return Ok(());
                }
            }
            if before != self.timeout {
                reader.get_ref().set_timeout(self.timeout)?;
            }
            if !self.is_interactive {
                return Ok(());
            }
            out.write_all(b"> ")?;
            out.flush()?;
        }
    }

    /// What is answered to a command, without the empty line at its end.
    pub fn answer(&mut self, command: &str) -> String {
        let mut words = split_words(command);
        // HAProxy's master sends a command on to the process that it names; here there is one.
        words.retain(|word| !word.starts_with('@'));
        if words.is_empty() && command.trim_start().starts_with('@') {
            return String::new();
        }
        self.runtime = self.operators.current();
        commands::run(self, &words)
    }
}

fn read_line(reader: &mut impl BufRead) -> io::Result<Arrival> {
    let mut bytes = Vec::new();
    let read = reader.by_ref().take(LINE_MAX as u64 + 1).read_until(b'\n', &mut bytes)?;
    if read == 0 {
        return Ok(Arrival::End);
    }
    if bytes.pop_if(|byte| *byte == b'\n').is_none() {
        // Half a command is none: who knows what the other half was.
        return Ok(if read > LINE_MAX { Arrival::TooLong } else { Arrival::End });
    }
    bytes.pop_if(|byte| *byte == b'\r');
    Ok(Arrival::Line(String::from_utf8_lossy(&bytes).trim_end().to_string()))
}

/// Reads the lines up to an empty one; whether they were not too many.
fn skip_payload(reader: &mut impl BufRead) -> io::Result<bool> {
    let mut len = 0;
    while len < PAYLOAD_MAX {
        match read_line(reader)? {
            Arrival::Line(line) if line.is_empty() => return Ok(true),
            Arrival::End => return Ok(true),
            Arrival::TooLong => return Ok(false),
            Arrival::Line(line) => len += line.len(),
        }
    }
    Ok(false)
}

/// Commands between semicolons that no backslash stands before.
fn split_commands(line: &str) -> Vec<String> {
    let mut commands = vec![String::new()];
    let mut chars = line.chars();
    while let Some(char) = chars.next() {
        let last = commands.last_mut().expect("there is one at least");
        match char {
            '\\' => {
                last.push(char);
                last.extend(chars.next());
            }
            ';' => commands.push(String::new()),
            char => last.push(char),
        }
    }
    commands
}

/// Words between blanks that no backslash stands before.
fn split_words(command: &str) -> Vec<String> {
    let mut words = Vec::new();
    let mut word: Option<String> = None;
    let mut chars = command.chars();
    while let Some(char) = chars.next() {
        match char {
            ' ' | '\t' => words.extend(word.take()),
            '\\' => word.get_or_insert_default().extend(chars.next()),
            char => word.get_or_insert_default().push(char),
        }
    }
    words.extend(word);
    words
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commands_and_words_are_split_but_where_a_backslash_keeps_them() {
        assert_eq!(split_commands("show info;show stat"), ["show info", "show stat"]);
        assert_eq!(split_commands(r"add acl a\;b c;x"), [r"add acl a\;b c", "x"]);
        assert_eq!(split_words("  set  server a/b "), ["set", "server", "a/b"]);
        assert_eq!(split_words(r"add acl a\ b\;c"), ["add", "acl", "a b;c"]);
        assert!(split_words(" ").is_empty());
    }

    #[test]
    fn a_line_has_an_end_and_so_has_a_payload() {
        let mut long: &[u8] = &[b'x'; LINE_MAX + 10];
        assert!(matches!(read_line(&mut long), Ok(Arrival::TooLong)));
        let mut text: &[u8] = b"show info\r\nrest\nhalf";
        assert!(matches!(read_line(&mut text), Ok(Arrival::Line(line)) if line == "show info"));
        assert!(matches!(read_line(&mut text), Ok(Arrival::Line(line)) if line == "rest"));
        assert!(matches!(read_line(&mut text), Ok(Arrival::End)));
        let mut payload: &[u8] = b"a\nb\n\nc\n";
        assert!(skip_payload(&mut payload).unwrap());
        assert!(matches!(read_line(&mut payload), Ok(Arrival::Line(line)) if line == "c"));
        let line = "y".repeat(1000) + "\n";
        let many = line.repeat(2000);
        assert!(!skip_payload(&mut many.as_bytes()).unwrap());
    }
}
