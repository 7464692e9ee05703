//! What the log is told of a stream.
//!
//! In:    a stream, when its line is due
//! Out:   a [`StreamRecord`], which the log's thread makes a line of
//! Never: writes a text

use std::time::Duration;

use super::{Cause, End, State, Stream, World};
use crate::clock::Instant;
use crate::config::model::{Carrier, Expression, Kind, Logs, ProxyIndex, Value, Way};
use crate::log_format::{Course, Stage};
use crate::sample::{Heard, evaluate_as};
use crate::transport::{Ends, Transport};

/// Severity of what is only information (RFC 5424, table 2).
const INFO: u8 = 6;
/// Severity of an error.
const ERROR: u8 = 3;

/// What a line tells.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tells {
    /// The frontend's format.
    Line,
    /// Without a format: that a client has come.
    Connected,
    /// That there was no stream, and why.
    NoStream(&'static str),
}

/// The facts of a stream at one moment.
#[derive(Clone, Debug, PartialEq)]
pub struct StreamRecord {
    /// What is told.
    pub tells: Tells,
    /// Severity (RFC 5424, table 2).
    pub level: u8,
    /// The moment.
    pub at: Instant,
    /// The number of the stream in the process.
    pub number: u64,
    /// Where it came in.
    pub frontend: ProxyIndex,
    /// Where its servers are.
    pub backend: ProxyIndex,
    /// Its server.
    pub server: Option<usize>,
    /// The number of its listener, and its name.
    pub listener: (u32, Option<String>),
    /// The client came by a UNIX socket.
    pub is_unix: bool,
    /// The client, and where it came to.
    pub client: Ends,
    /// The server's connection.
    pub back: Ends,
    /// When the client was accepted.
    pub accepted_at: Instant,
    /// How it went.
    pub course: Course,
    /// What the expressions of the format, and of `log-format-sd`, found.
    pub values: [Vec<Option<Vec<u8>>>; 2],
}

impl<C: Copy + Eq + std::fmt::Debug> Stream<C> {
    /// It has become a stream: a line may be due.
    pub(super) fn log_begin<T: Transport<Conn = C>>(
        &mut self,
        world: &mut World<'_, T>,
        now: Instant,
    ) {
        self.session_at = Some(now);
        self.number = world.shared.next_stream();
        let logs = &world.frontend(self).logs;
        if logs.targets.is_empty() {
            return;
        }
        match logs.line.as_ref().map(|line| line.format.stage(logs.asap)) {
            None => self.tell(Tells::Connected, INFO, End::NORMAL, world, now),
            Some(Stage::Accepted) => self.log_line(End::NORMAL, true, world, now),
            Some(_) => {}
        }
    }

    /// The server is connected: a line may be due.
    pub(super) fn log_connected<T: Transport<Conn = C>>(
        &mut self,
        world: &mut World<'_, T>,
        now: Instant,
    ) {
        let logs = &world.frontend(self).logs;
        let stage = logs.line.as_ref().map(|line| line.format.stage(logs.asap));
        if !logs.targets.is_empty() && stage == Some(Stage::Connected) {
            self.log_line(End::NORMAL, logs.asap, world, now);
        }
    }

    /// It has ended: a line is due, unless there was one.
    pub(super) fn log_end<T: Transport<Conn = C>>(
        &mut self,
        end: End,
        world: &mut World<'_, T>,
        now: Instant,
    ) {
        let logs = &world.frontend(self).logs;
        if logs.targets.is_empty() {
            return;
        }
        match self.state {
            State::Greeting(_) => {
                // Who leaves without a word, or is silent, is not worth a line there.
                let (text, is_null) = match end.cause {
                    Cause::Client | Cause::ClientTimeout if self.greeting_len > 0 => {
                        ("Truncated PROXY protocol header received", false)
                    }
                    Cause::Client => {
                        ("Connection closed while waiting for PROXY protocol header", true)
                    }
                    Cause::ClientTimeout => {
                        ("Timeout while waiting for PROXY protocol header", false)
                    }
                    _ => (
                        "Received something which does not look like a PROXY protocol header",
                        false,
                    ),
                };
                if !(is_null && logs.ignores_null) {
                    let level = if logs.separates_errors { ERROR } else { INFO };
                    self.tell(Tells::NoStream(text), level, end, world, now);
                }
            }
            State::Session => {}
            _ if logs.line.is_some() => self.log_line(end, false, world, now),
            _ => {}
        }
    }

    fn log_line<T: Transport<Conn = C>>(
        &mut self,
        end: End,
        asap: bool,
        world: &mut World<'_, T>,
        now: Instant,
    ) {
        if std::mem::replace(&mut self.is_logged, true) {
            return;
        }
        let logs = &world.frontend(self).logs;
        let has_failed = end.cause != Cause::Nobody || self.retries > 0 || self.is_redispatched;
        let level = match (logs, self.log_level) {
            (_, Some(None)) => return,
            (Logs { ignores_null: true, .. }, _) if self.heard(world) == 0 => return,
            (Logs { ignores_normal: true, .. }, _) if !has_failed => return,
            (_, Some(Some(level))) => level,
            (Logs { separates_errors: true, .. }, _) if has_failed => ERROR,
            _ => INFO,
        };
        self.is_early = asap;
        self.tell(Tells::Line, level, end, world, now);
    }

    /// Bytes that the client has sent.
    fn heard<T: Transport<Conn = C>>(&self, world: &World<'_, T>) -> u64 {
        let waiting = world.transport.status(self.front).unwrap_or_default().readable;
        self.request.total + waiting as u64
    }

    fn tell<T: Transport<Conn = C>>(
        &mut self,
        tells: Tells,
        level: u8,
        end: End,
        world: &mut World<'_, T>,
        now: Instant,
    ) {
        let values = self.values(world, now);
        let millis = |time: Duration| time.as_millis() as i64;
        let since = |from: Option<Instant>, to: Option<Instant>| match (from, to) {
            (Some(from), Some(to)) => millis(to.since(from)),
            _ => -1,
        };
        let session_at = self.session_at;
        let mut turns = self.turns;
        let mut waited_until = self.assigned_at;
        if let State::Queued { ticket, .. } = self.state {
            turns += world.shared.backend(self.backend).turns(ticket);
            waited_until = waited_until.or(Some(now));
        }
        // What has been left by then counts the others only, as in HAProxy.
        let others = u32::from(!self.is_early);
        let of_backend = match self.has_entered {
            true => world.shared.backend(self.backend).streams().saturating_sub(others),
            false => 0,
        };
        let of_server = self.slot.map_or(0, |server| {
            world.shared.backend(self.backend).load(server).served.saturating_sub(others)
        });
        let bind = &self.entrance.bind;
        let is_unix = match &bind.carrier {
            Carrier::Unix(_) => true,
            Carrier::Fd(_) => {
                world.transport.ends(self.front).is_none_or(|ends| ends.remote.is_none())
            }
            _ => false,
        };
        let course = Course {
            handshake_ms: since(Some(self.accepted_at), session_at),
            wait_ms: since(session_at, waited_until),
            connect_ms: since(self.assigned_at, self.connected_at),
            data_ms: since(self.connected_at, Some(now)),
            total_ms: millis(now.since(self.accepted_at)),
            asap: self.is_early,
            bytes_down: self.response.total,
            bytes_up: self.request.total,
            end: end.letters(),
            process_connections: world.shared.global.used(),
            frontend_connections: world.shared.frontend(self.frontend).connections.used(),
            backend_connections: of_backend,
            server_connections: of_server,
            retries: self.retries,
            is_redispatched: self.is_redispatched,
            server_queue: turns.at_server,
            backend_queue: turns.at_backend,
        };
        world.records.push(StreamRecord {
            tells,
            level,
            at: now,
            number: self.number,
            frontend: self.frontend,
            backend: self.backend,
            server: self.server,
            listener: (bind.id, bind.name.clone()),
            is_unix,
            client: self.ends(world.transport),
            back: self.back.and_then(|back| world.transport.ends(back)).unwrap_or(self.back_ends),
            accepted_at: self.accepted_at,
            course,
            values,
        });
    }

    /// What the expressions of the frontend's formats find now.
    fn values<T: Transport<Conn = C>>(
        &mut self,
        world: &mut World<'_, T>,
        now: Instant,
    ) -> [Vec<Option<Vec<u8>>>; 2] {
        let frontend = world.frontend(self).clone();
        let logs = &frontend.logs;
        [&logs.line, &logs.structured].map(|line| {
            let Some(line) = line.as_ref().filter(|line| !line.expressions.is_empty()) else {
                return Vec::new();
            };
            let heard = Heard { way: Way::Request, bytes: &[], is_final: true, most: 0 };
            self.with_scene(self.frontend, heard, world, now, |scene| {
                let text =
                    |expression: &Expression| match evaluate_as(expression, Kind::Text, scene) {
                        Some(Value::Text(text)) => Some(text),
                        _ => None,
                    };
                line.expressions.iter().map(text).collect()
            })
        })
    }
}
