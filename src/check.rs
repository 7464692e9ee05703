//! One check of a server, from its first step to its outcome.
//!
//! In:    steps, where the server is, events of its connection, the time
//! Out:   an outcome
//! Owns:  the check's connection, and what the server has said on it
//! Never: says what an outcome leads to; waits longer than its times allow
//! Read:  docs/configuration.md, "Health checks"
//!
//! ```text
//!  step:  connect ──► send ──► expect ──► connect ──► ...   each as often as the script says
//! ```

mod agent;
mod answer;

use std::sync::Arc;
use std::time::Duration;

pub use agent::{AgentVerdict, AgentWord, agent_words};
use answer::{Judgement, judge};

use crate::clock::Instant;
use crate::config::model::{CheckAction, CheckConnect, CheckKind, CheckStatus, HealthCheck};
use crate::health::Outcome;
use crate::transport::{ConnectTo, Failure, Token, Transport};

/// Bytes of an answer that are looked at; what comes beyond them is not waited for.
const ANSWER_MAX: usize = 16 * 1024;

/// What is asked, where, and how long it may take.
#[derive(Clone, Debug)]
pub struct Plan {
    /// The steps.
    pub health_check: Arc<HealthCheck>,
    /// How the connection may take until it is open.
    pub connect_timeout: Duration,
    /// How long the rest may take; `None`: `connect_timeout` is for all.
    pub check_timeout: Option<Duration>,
}

/// How a check goes on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// At an event, or at this time.
    Wait(Instant),
    /// It is over.
    Done(Outcome),
}

/// A check of a server that runs.
#[derive(Debug)]
pub struct Check<C> {
    began: Instant,
    deadline: Instant,
    conn: Option<C>,
    is_open: bool,
    /// The step that is being done.
    step: usize,
    /// Bytes of it that are to be sent yet.
    unsent: Vec<u8>,
    /// What the server has said since the connection was opened.
    received: Vec<u8>,
    is_at_end: bool,
    /// Status and text of the last answer that was as expected.
    passed: Option<(CheckStatus, u32, String)>,
}

/// How a step's end leads on.
enum Next {
    Wait,
    Advance,
    Done(CheckStatus, u32, String),
}

impl<C: Copy + Eq + std::fmt::Debug> Check<C> {
    /// A check that begins now.
    pub fn new(plan: &Plan, now: Instant) -> Self {
        Check {
            began: now,
            deadline: now + plan.connect_timeout,
            conn: None,
            is_open: false,
            step: 0,
            unsent: Vec::new(),
            received: Vec::new(),
            is_at_end: false,
            passed: None,
        }
    }

    /// Does what can be done now. `target` says where a connection of the script goes, and what it begins with.
    pub fn process<T: Transport<Conn = C>>(
        &mut self,
        plan: &Plan,
        target: impl Fn(&CheckConnect) -> (ConnectTo, Vec<u8>),
        token: Token,
        transport: &mut T,
        now: Instant,
    ) -> Step {
        loop {
            let steps = &plan.health_check.steps;
            let next = match steps.get(self.step).map(|step| &step.action) {
                None => self.passed_all(plan),
                Some(CheckAction::Connect(connect)) => {
                    self.connect(plan, || target(connect), token, transport, now)
                }
                Some(CheckAction::Send(bytes)) => self.send(bytes, transport, now),
                Some(CheckAction::Expect(expect)) => {
                    self.receive(transport, now);
                    let is_final = self.is_at_end || self.received.len() >= ANSWER_MAX;
                    match judge(expect, plan, self.step, &self.received, is_final) {
                        Judgement::NeedsMore if is_final => {
                            panic!("a final answer is judged: {expect:?}")
                        }
                        Judgement::NeedsMore => Next::Wait,
                        Judgement::Passed(status, code, info) => {
                            self.passed = Some((status, code, info));
                            Next::Advance
                        }
                        Judgement::Failed(status, code, info) => Next::Done(status, code, info),
                    }
                }
            };
            match next {
                Next::Advance => self.advance(),
                Next::Done(status, code, info) => {
                    return self.done((status, code, info), transport, now);
                }
                Next::Wait => {
                    if let Some(failed) = self.failure(plan, transport, now) {
                        return self.done(failed, transport, now);
                    }
                    return Step::Wait(self.deadline);
                }
            }
        }
    }

    fn advance(&mut self) {
        self.step += 1;
        self.unsent.clear();
    }

    fn passed_all(&self, plan: &Plan) -> Next {
        let usual = match plan.health_check.kind {
            CheckKind::Connect => CheckStatus::L4Ok,
            CheckKind::Script if self.passed.is_none() && plan.health_check.steps.len() <= 1 => {
                CheckStatus::L4Ok
            }
            _ => CheckStatus::L7Ok,
        };
        let (status, code, info) = self.passed.clone().unwrap_or((usual, 0, String::new()));
        let info = match plan.health_check.kind {
            CheckKind::Script if info.is_empty() && usual == CheckStatus::L7Ok => {
                "(tcp-check)".into()
            }
            _ => info,
        };
        Next::Done(status, code, info)
    }

    fn connect<T: Transport<Conn = C>>(
        &mut self,
        plan: &Plan,
        target: impl Fn() -> (ConnectTo, Vec<u8>),
        token: Token,
        transport: &mut T,
        now: Instant,
    ) -> Next {
        let is_new = !self.is_open && self.conn.is_none();
        if self.is_open || is_new {
            if let Some(before) = self.conn.take() {
                transport.close(before, now);
            }
            self.is_open = false;
            self.is_at_end = false;
            self.received.clear();
            let (to, header) = target();
            self.unsent = header;
            match transport.connect(&to, token, now) {
                Ok(conn) => self.conn = Some(conn),
                Err(error) => {
                    return Next::Done(CheckStatus::SockErr, 0, format!("{error:?}"));
                }
            }
        }
        let conn = self.conn.expect("it was begun");
        let is_open = transport.status(conn).is_some_and(|status| status.is_open);
        if !is_open {
            return Next::Wait;
        }
        self.is_open = true;
        if let Some(timeout) = plan.check_timeout {
            self.deadline = now + timeout;
        }
        self.push(transport, now)
    }

    /// Sends what is left of the step.
    fn push<T: Transport<Conn = C>>(&mut self, transport: &mut T, now: Instant) -> Next {
        let conn = self.conn.expect("bytes are for somebody");
        let count = transport.send(conn, &self.unsent, now);
        self.unsent.drain(..count);
        if self.unsent.is_empty() { Next::Advance } else { Next::Wait }
    }

    fn send<T: Transport<Conn = C>>(
        &mut self,
        bytes: &[u8],
        transport: &mut T,
        now: Instant,
    ) -> Next {
        if self.unsent.is_empty() {
            self.unsent = bytes.to_vec();
        }
        self.push(transport, now)
    }

    fn receive<T: Transport<Conn = C>>(&mut self, transport: &mut T, now: Instant) {
        let Some(conn) = self.conn else { return };
        let mut buffer = [0; 2048];
        while self.received.len() < ANSWER_MAX {
            let count = transport.recv(conn, &mut buffer, now);
            if count == 0 {
                break;
            }
            self.received.extend_from_slice(&buffer[..count]);
        }
        self.is_at_end = transport.status(conn).is_none_or(|status| status.eof);
    }

    /// Why it is not to be waited for any longer.
    fn failure<T: Transport<Conn = C>>(
        &self,
        plan: &Plan,
        transport: &T,
        now: Instant,
    ) -> Option<(CheckStatus, u32, String)> {
        let status = self.conn.and_then(|conn| transport.status(conn)).unwrap_or_default();
        let place = || self.place(plan);
        if let Some(failure) = status.failure {
            let what = match failure {
                Failure::Refused => "Connection refused",
                Failure::Reset => "Connection reset by peer",
                Failure::TimedOut => "Connection timed out",
                Failure::Unreachable => "No route to host",
            };
            let status = if self.is_open { CheckStatus::L7Rsp } else { CheckStatus::L4Con };
            return Some((status, 0, format!("{what}{}", place())));
        }
        if self.deadline > now {
            return None;
        }
        let expected = match plan.health_check.steps.get(self.step).map(|step| &step.action) {
            Some(CheckAction::Expect(expect)) => expect.timeout_status,
            _ => None,
        };
        let usual = if self.is_open { CheckStatus::L7TimedOut } else { CheckStatus::L4TimedOut };
        Some((expected.unwrap_or(usual), 0, place().trim_start().to_string()))
    }

    /// ` at step 2 of tcp-check (send)`, for scripts of the operator's own.
    fn place(&self, plan: &Plan) -> String {
        let HealthCheck { kind: CheckKind::Script, steps, .. } = &*plan.health_check else {
            return String::new();
        };
        let Some(step) = steps.get(self.step) else { return String::new() };
        let what = match &step.action {
            CheckAction::Connect(CheckConnect { port: Some(port), .. }) => {
                format!("connect port {port}")
            }
            CheckAction::Connect(_) => "connect".into(),
            CheckAction::Send(_) => "send".into(),
            CheckAction::Expect(expect) => answer::shown(expect),
        };
        let comment =
            step.comment.as_ref().map(|text| format!(" comment: '{text}'")).unwrap_or_default();
        match plan.health_check.number_of(self.step) {
            0 => " at initial connection step of tcp-check".into(),
            number => format!(" at step {number} of tcp-check ({what}){comment}"),
        }
    }

    fn done<T: Transport<Conn = C>>(
        &mut self,
        (status, code, info): (CheckStatus, u32, String),
        transport: &mut T,
        now: Instant,
    ) -> Step {
        self.leave(transport, now);
        Step::Done(Outcome { status, code, info, duration: Some(now.since(self.began)) })
    }

    /// Lets go of the connection: nobody needs the server's last words.
    pub fn leave<T: Transport<Conn = C>>(&mut self, transport: &mut T, now: Instant) {
        if let Some(conn) = self.conn.take() {
            transport.abort(conn, now);
        }
    }
}
