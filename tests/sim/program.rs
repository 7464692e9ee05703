//! The programs on the hosts: one end of a connection each, with manners.
//!
//! In:    the plan of its connection, what its host says
//! Out:   bytes that its peer can check, and what became of the connection
//! Owns:  the check that every byte arrives once and in order
//! Never: sees the balancer

use std::net::SocketAddr;
use std::time::Duration;

use netstack::Instant;

use crate::host::{Host, Socket};
use crate::scenario::{ConnectionPlan, Manners, ServerPlan};

/// A program leaves a connection on which nothing has happened for so long: longer than any timeout of
/// the balancer and of its TCP.
const PATIENCE: Duration = Duration::from_secs(1800);
/// Bytes given or taken at a time.
const PIECE: usize = 16 * 1024;
/// The number of its connection stands at the front of a request.
const NUMBER_LEN: usize = 4;

/// How an end of a connection came out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Fate {
    /// All bytes both ways, and both closed.
    Complete,
    /// The peer closed before it had sent all that it should have.
    Short,
    /// The connection failed: refused, reset, timed out.
    Failed,
    /// It reset the connection itself, as planned.
    Aborted,
    /// Its packets arrive nowhere, as planned.
    Vanished,
    /// It keeps the connection and reads nothing any more, as planned.
    Stalled,
    /// Nothing happened for too long.
    GaveUp,
}

/// Which end it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    Client,
    /// The server of this number.
    Server(usize),
}

/// What an end asks of the simulation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wish {
    /// Nothing of this connection may arrive any more.
    Cut(SocketAddr, SocketAddr),
}

/// One end of a connection.
#[derive(Debug)]
pub struct End {
    pub role: Role,
    /// The number of the connection; a server learns it from the request.
    pub number: Option<usize>,
    /// A client's: which server it was given.
    pub served_by: Option<usize>,
    pub fate: Option<Fate>,
    pub sent: usize,
    pub received: usize,
    socket: Socket,
    greets: bool,
    front: Vec<u8>,
    is_shut: bool,
    has_stalled: bool,
    /// It reads nothing before.
    read_at: Instant,
    active_at: Instant,
}

/// What all ends look things up in.
#[derive(Clone, Copy)]
pub struct Plans<'a> {
    pub connections: &'a [ConnectionPlan],
    pub servers: &'a [ServerPlan],
}

impl End {
    pub fn client(number: usize, socket: Socket, now: Instant) -> Self {
        End::new(Role::Client, Some(number), socket, false, now)
    }

    pub fn server(server: usize, socket: Socket, greets: bool, now: Instant) -> Self {
        End::new(Role::Server(server), None, socket, greets, now)
    }

    fn new(role: Role, number: Option<usize>, socket: Socket, greets: bool, now: Instant) -> Self {
        End {
            role,
            number,
            served_by: None,
            fate: None,
            sent: 0,
            received: 0,
            socket,
            greets,
            front: Vec::new(),
            is_shut: false,
            has_stalled: false,
            read_at: now,
            active_at: now,
        }
    }

    /// Does what can be done now.
    pub fn turn(&mut self, host: &mut dyn Host, plans: Plans<'_>, now: Instant) -> Option<Wish> {
        self.read(host, plans, now);
        if self.fate.is_some() {
            return None;
        }
        let condition = host.condition(self.socket);
        if condition.failed {
            return self.end(Fate::Failed, host, now);
        }
        if condition.is_open {
            self.write(host, plans, now);
        }
        if let Some(wish) = self.misbehave(host, plans, now) {
            return wish;
        }
        if condition.eof && self.received < self.expected(plans) {
            return self.end(Fate::Short, host, now);
        }
        if condition.is_open && !self.is_shut && self.may_shut(condition.eof, plans) {
            self.is_shut = true;
            host.shut(self.socket, now);
        }
        if condition.eof && self.is_shut {
            return self.end(Fate::Complete, host, now);
        }
        if now >= self.gives_up_at() {
            return self.end(Fate::GaveUp, host, now);
        }
        None
    }

    /// When it wants a turn although its host has nothing new.
    pub fn poll_at(&self, now: Instant) -> Option<Instant> {
        if self.fate.is_some() {
            return None;
        }
        Some(if self.read_at > now { self.read_at } else { self.gives_up_at() })
    }

    fn gives_up_at(&self) -> Instant {
        self.active_at.max(self.read_at) + PATIENCE
    }

    fn end(&mut self, fate: Fate, host: &mut dyn Host, now: Instant) -> Option<Wish> {
        self.fate = Some(fate);
        match fate {
            Fate::Aborted | Fate::GaveUp => host.abort(self.socket, now),
            Fate::Stalled => {}
            _ => host.close(self.socket, now),
        }
        None
    }

    fn plan<'a>(&self, plans: Plans<'a>) -> Option<&'a ConnectionPlan> {
        self.number.map(|number| &plans.connections[number])
    }

    fn manners(&self, plans: Plans<'_>) -> Manners {
        match (self.role, self.plan(plans)) {
            (_, None) => Manners::default(),
            (Role::Client, Some(plan)) => plan.client_manners,
            (Role::Server(_), Some(plan)) => plan.server_manners,
        }
    }

    /// Bytes that are to come.
    fn expected(&self, plans: Plans<'_>) -> usize {
        match (self.role, self.plan(plans)) {
            (_, None) => 0,
            (Role::Client, Some(plan)) => plan.response,
            (Role::Server(_), Some(plan)) => plan.request,
        }
    }

    /// Bytes that may go out by now.
    fn allowed(&self, plans: Plans<'_>) -> usize {
        let greeting = usize::from(self.greets);
        match (self.role, self.plan(plans)) {
            (Role::Client, plan) => plan.map_or(0, |plan| plan.request),
            (Role::Server(_), None) => greeting,
            (Role::Server(_), Some(plan)) => {
                let waits = plan.waits_for_request && self.received < plan.request;
                if waits { greeting } else { plan.response }
            }
        }
    }

    fn may_shut(&self, eof: bool, plans: Plans<'_>) -> bool {
        match (self.role, self.plan(plans)) {
            (_, None) => eof,
            (Role::Client, Some(plan)) => {
                self.sent == plan.request && (plan.shuts_early || self.received >= plan.response)
            }
            (Role::Server(_), Some(plan)) => {
                self.sent == plan.response && (plan.server_shuts_first || eof)
            }
        }
    }

    /// Resets or vanishes, if that is planned for now.
    fn misbehave(
        &mut self,
        host: &mut dyn Host,
        plans: Plans<'_>,
        now: Instant,
    ) -> Option<Option<Wish>> {
        let manners = self.manners(plans);
        let is_due = |at: Option<usize>| at.is_some_and(|at| self.sent + self.received >= at);
        if is_due(manners.aborts_at) {
            return Some(self.end(Fate::Aborted, host, now));
        }
        if is_due(manners.vanishes_at) {
            let (local, remote) = host.ends(self.socket)?;
            self.end(Fate::Vanished, host, now);
            return Some(Some(Wish::Cut(local, remote)));
        }
        None
    }

    // Bytes.

    fn read(&mut self, host: &mut dyn Host, plans: Plans<'_>, now: Instant) {
        let mut piece = [0; PIECE];
        while now >= self.read_at {
            let manners = self.manners(plans);
            if let Some((at, pause_us)) = manners.stall
                && !self.has_stalled
                && self.sent + self.received >= at
            {
                self.has_stalled = true;
                let Some(pause_us) = pause_us else {
                    self.fate = Some(Fate::Stalled);
                    return;
                };
                self.read_at = now + Duration::from_micros(pause_us);
                return;
            }
            let most = if manners.read_chunk > 0 { manners.read_chunk } else { PIECE };
            let count = host.recv(self.socket, &mut piece[..most], now);
            if count == 0 {
                return;
            }
            self.check(&piece[..count], plans);
            self.active_at = now;
            if manners.read_chunk > 0 {
                self.read_at = now + Duration::from_micros(manners.read_pause_us);
            }
        }
    }

    /// The bytes are those that the peer sent, from where the last ones ended.
    fn check(&mut self, bytes: &[u8], plans: Plans<'_>) {
        for &byte in bytes {
            let at = self.received;
            self.received += 1;
            match self.role {
                Role::Client if at == 0 => {
                    let server = usize::from(byte);
                    assert!(server < plans.servers.len(), "{self:?} is served by {server}");
                    self.served_by = Some(server);
                }
                Role::Server(_) if at < NUMBER_LEN => self.learn(byte, plans),
                _ => {
                    let number = self.number.expect("known by now");
                    let direction = Direction::to(self.role);
                    assert_eq!(byte, byte_at(number, direction, at), "byte {at} to {self:?}");
                }
            }
        }
        let plan = self.plan(plans);
        // One that says nothing may be greeted all the same.
        let most = if self.role == Role::Client {
            self.expected(plans).max(1)
        } else {
            self.expected(plans)
        };
        assert!(plan.is_none() || self.received <= most, "more than {most} bytes to {self:?}");
    }

    fn learn(&mut self, byte: u8, plans: Plans<'_>) {
        self.front.push(byte);
        if let Ok(bytes) = self.front.as_slice().try_into() {
            let number = u32::from_le_bytes(bytes) as usize;
            assert!(number < plans.connections.len(), "connection {number} does not exist");
            self.number = Some(number);
        }
    }

    fn write(&mut self, host: &mut dyn Host, plans: Plans<'_>, now: Instant) {
        let allowed = self.allowed(plans);
        while self.sent < allowed {
            let until = allowed.min(self.sent + PIECE);
            let piece: Vec<u8> = (self.sent..until).map(|at| self.outgoing(at)).collect();
            let count = host.send(self.socket, &piece, now);
            self.sent += count;
            if count > 0 {
                self.active_at = now;
            }
            if count < piece.len() {
                return;
            }
        }
    }

    fn outgoing(&self, at: usize) -> u8 {
        match self.role {
            Role::Server(server) if at == 0 => server as u8,
            role => {
                let number = self
                    .number
                    .expect("a server that knows no more than its greeting sends no more");
                if role == Role::Client && at < NUMBER_LEN {
                    (number as u32).to_le_bytes()[at]
                } else {
                    byte_at(number, Direction::from(role), at)
                }
            }
        }
    }
}

#[derive(Clone, Copy)]
enum Direction {
    Request,
    Response,
}

impl Direction {
    fn from(role: Role) -> Self {
        match role {
            Role::Client => Direction::Request,
            Role::Server(_) => Direction::Response,
        }
    }

    fn to(role: Role) -> Self {
        match role {
            Role::Client => Direction::Response,
            Role::Server(_) => Direction::Request,
        }
    }
}

/// The byte at an offset of a stream: another in every stream, direction and place.
fn byte_at(number: usize, direction: Direction, at: usize) -> u8 {
    let place = at as u32 ^ (number as u32) << 24 ^ (direction as u32) << 23;
    (place.wrapping_mul(0x9e37_79b1) >> 22) as u8
}
