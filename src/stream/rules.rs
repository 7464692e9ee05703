//! Rules on the way to a server and back.
//!
//! In:    what the client's connection is, what either side has said
//! Out:   whether the stream goes on, waits for bytes, or ends; its backend and its server
//! Never: takes a byte

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use super::serve::Service;
use super::{Cause, End, Outcome, Phase, State, Stream, World};
use crate::acl::{self, Answer};
use crate::backend::Backend;
use crate::clock::Instant;
use crate::config::model::{
    Action, BackendChoice, EndField, Expression, Kind, NamePart, Proxy, ProxyIndex, Rule, Value,
    VariableScope, Way,
};
use crate::sample::{self, Heard, Scene, Whereabouts, evaluate_as};
use crate::transport::{Ends, Transport};

/// Whose `tcp-request content` rules are followed, and since when.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Inspection {
    /// Those of the backend; before, those of the frontend.
    pub of_backend: bool,
    /// When bytes were first missing.
    pub since: Option<Instant>,
    /// Bytes that had come then.
    pub heard: usize,
}

/// How far the `tcp-response content` rules are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Reply {
    /// They were followed, or there are none.
    Passed,
    /// They are to be followed; since when bytes were missing.
    Inspected(Option<Instant>),
    /// The server's connection is closed once this is true: what had come is with the client.
    Closing,
}

/// What rules at the door have decided.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Admission {
    /// The connection is a stream.
    Granted,
    /// It is to be reset.
    Refused,
    /// It is to end without a word.
    Dropped,
    /// It comes from a monitor (`monitor-net`): it is closed, and nobody counts it.
    Monitor,
}

/// What a list of rules has decided.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Verdict {
    Passed,
    NotYet,
    Rejected,
    Dropped,
    Closed,
}

/// A list of rules, and what may be looked at.
struct Hearing<'a> {
    asker: ProxyIndex,
    rules: &'a [Rule],
    heard: Heard<'a>,
}

impl<C: Copy + Eq + std::fmt::Debug> Stream<C> {
    /// Follows `tcp-request connection` rules and `monitor-net`, before there is a session.
    pub fn admit<T: Transport<Conn = C>>(
        &mut self,
        world: &mut World<'_, T>,
        now: Instant,
    ) -> Admission {
        let proxy = world.frontend(self).clone();
        let hearing = self.without_bytes(&proxy.tcp_rules.connection);
        match self.follow(&hearing, world, now) {
            Verdict::Rejected => return Admission::Refused,
            Verdict::Dropped => return Admission::Dropped,
            _ => {}
        }
        let source = self.source(world.transport).map(|source| source.ip().to_canonical());
        if !proxy.monitor_nets.is_empty()
            && source.is_some_and(|source| proxy.monitor_nets.contains(source))
        {
            return Admission::Monitor;
        }
        Admission::Granted
    }

    /// Follows `tcp-request session` rules.
    pub(super) fn begin_session<T: Transport<Conn = C>>(
        &mut self,
        world: &mut World<'_, T>,
        now: Instant,
    ) -> Option<Outcome> {
        let proxy = world.frontend(self).clone();
        let hearing = self.without_bytes(&proxy.tcp_rules.session);
        let verdict = self.follow(&hearing, world, now);
        let refused = self.turn_away(verdict);
        if refused.is_none() {
            self.log_begin(world, now);
            for counters in world.counters.fronts(self.frontend, self.entrance.place) {
                counters.sessions += 1;
            }
            self.state = State::Inspect(Inspection { of_backend: false, since: None, heard: 0 });
        }
        refused
    }

    /// Follows `tcp-request content` rules of frontend and backend, and chooses the backend between them; `None`
    /// when a server is to be sought.
    pub(super) fn inspect<T: Transport<Conn = C>>(
        &mut self,
        mut inspection: Inspection,
        world: &mut World<'_, T>,
        now: Instant,
    ) -> Option<Outcome> {
        loop {
            let index = if inspection.of_backend { self.backend } else { self.frontend };
            let proxy = world.proxies(self)[index.0].clone();
            let bytes = self.request_bytes(&proxy, world);
            let status = world.transport.status(self.front).unwrap_or_default();
            if inspection.heard < status.readable {
                inspection.heard = status.readable;
                self.active_at = now;
            }
            let until = proxy.tcp_rules.inspect_delay.map(|d| inspection.since.unwrap_or(now) + d);
            let most = world.shared.inspected_max;
            let is_final =
                status.fin || bytes.len() >= most || until.is_none_or(|until| until <= now);
            let heard = Heard { way: Way::Request, bytes: &bytes, is_final, most };
            let hearing = Hearing { asker: index, rules: &proxy.tcp_rules.content, heard };
            let verdict = self.follow(&hearing, world, now);
            if verdict == Verdict::NotYet {
                if status.failure.is_some() || !status.is_open {
                    return ended(Cause::Client);
                }
                let timeout = world.frontend(self).timeouts.client;
                let client = timeout.map(|timeout| self.active_at + timeout);
                if client.is_some_and(|client| client <= now) {
                    return ended(Cause::ClientTimeout);
                }
                inspection.since = Some(inspection.since.unwrap_or(now));
                self.state = State::Inspect(inspection);
                return Some(Outcome::Wait([until, client].into_iter().flatten().min()));
            }
            if let Some(outcome) = self.turn_away(verdict) {
                return Some(outcome);
            }
            if proxy.service.is_some() {
                self.state = State::Serve(Service::Reading);
                return None;
            }
            if !inspection.of_backend {
                self.choose_backend(&bytes, world, now);
                if self.backend != self.frontend {
                    inspection = Inspection { of_backend: true, since: None, ..inspection };
                    continue;
                }
            }
            self.choose_server(&bytes, world, now);
            self.state = State::Assign;
            return None;
        }
    }

    /// What a rule's refusal leads to.
    fn turn_away(&mut self, verdict: Verdict) -> Option<Outcome> {
        match verdict {
            Verdict::Passed | Verdict::NotYet | Verdict::Closed => None,
            Verdict::Rejected => ended(Cause::Rule),
            Verdict::Dropped => {
                self.vanishes = true;
                ended(Cause::Rule)
            }
        }
    }

    /// Goes to the backend that `use_backend` or `default_backend` names.
    fn choose_backend<T: Transport<Conn = C>>(
        &mut self,
        bytes: &[u8],
        world: &mut World<'_, T>,
        now: Instant,
    ) {
        // Where it goes is what the configuration of now says.
        self.edition = world.editions.renew(self.edition);
        let proxy = world.frontend(self).clone();
        // A frontend without a backend has nowhere to send: itself has no servers.
        let mut chosen = proxy.default_backend.unwrap_or(self.frontend);
        let most = world.shared.inspected_max;
        let heard = Heard { way: Way::Request, bytes, is_final: true, most };
        if !proxy.use_backend.is_empty() {
            let named = self.with_scene(self.frontend, heard, world, now, |scene| {
                proxy.use_backend.iter().find_map(|rule| {
                    let holds = acl::holds(rule.condition.as_ref(), &proxy.acls, scene);
                    (holds == Answer::Yes).then(|| backend_of(&rule.backend, scene)).flatten()
                })
            });
            chosen = named.unwrap_or(chosen);
        }
        self.backend = chosen;
        self.has_entered = true;
        world.shared.backend(chosen).enter(now);
        for counters in world.counters.backs(chosen, None) {
            counters.sessions += 1;
            counters.last_at = Some(now);
        }
    }

    /// Lets `use-server` and `persist` name the server.
    fn choose_server<T: Transport<Conn = C>>(
        &mut self,
        bytes: &[u8],
        world: &mut World<'_, T>,
        now: Instant,
    ) {
        let backend = world.shared.backend(self.backend).clone();
        let proxy = &backend.config;
        if let Some(name) = &proxy.persist
            && let Some(Value::Text(cookie)) = sample::rdp_cookie(Some(name), bytes).value
        {
            self.bound = server_of_cookie(&cookie, &backend);
        }
        if proxy.use_server.is_empty() || self.bound.is_some() {
            return;
        }
        let most = world.shared.inspected_max;
        let heard = Heard { way: Way::Request, bytes, is_final: true, most };
        self.bound = self.with_scene(self.backend, heard, world, now, |scene| {
            proxy.use_server.iter().find_map(|rule| {
                let server = rule.server.id.expect("names are resolved").index;
                let holds = acl::holds(rule.condition.as_ref(), &proxy.acls, scene);
                (holds == Answer::Yes && takes(&backend, server)).then_some(server)
            })
        });
    }

    /// The key of `balance rdp-cookie`.
    pub(super) fn rdp_key<T: Transport<Conn = C>>(
        &self,
        name: &str,
        world: &World<'_, T>,
    ) -> Option<Vec<u8>> {
        let bytes = self.heard_bytes(self.front, world);
        match sample::rdp_cookie(Some(name), &bytes).value {
            Some(Value::Text(cookie)) => Some(cookie),
            _ => None,
        }
    }

    /// Follows `tcp-response content` rules; `None` when bytes may go to the client.
    pub(super) fn inspect_reply<T: Transport<Conn = C>>(
        &mut self,
        since: Option<Instant>,
        world: &mut World<'_, T>,
        now: Instant,
    ) -> Result<(), ReplyWaits> {
        let back = self.back.expect("an established stream has a server");
        let status = world.transport.status(back).unwrap_or_default();
        let backend = world.backend(self).clone();
        let bytes = self.heard_bytes(back, world);
        let most = world.shared.inspected_max;
        let until = backend.tcp_rules.response_delay.map(|delay| since.unwrap_or(now) + delay);
        let has_ended = status.fin || status.failure.is_some();
        // Without a byte there is nothing to judge yet.
        if bytes.is_empty() && !has_ended {
            return Err(ReplyWaits::Until(None));
        }
        let is_final = has_ended || bytes.len() >= most || until.is_none_or(|until| until <= now);
        let heard = Heard { way: Way::Response, bytes: &bytes, is_final, most };
        let rules = &backend.tcp_rules.response;
        match self.follow(&Hearing { asker: self.backend, rules, heard }, world, now) {
            Verdict::Passed => {}
            Verdict::NotYet => {
                self.reply = Reply::Inspected(Some(since.unwrap_or(now)));
                return Err(ReplyWaits::Until(until));
            }
            Verdict::Dropped => {
                self.vanishes = true;
                return Err(ReplyWaits::Rejected);
            }
            Verdict::Rejected => return Err(ReplyWaits::Rejected),
            Verdict::Closed => {
                self.reply = Reply::Closing;
                return Ok(());
            }
        }
        self.reply = Reply::Passed;
        self.variables.forget(VariableScope::Request);
        Ok(())
    }

    fn without_bytes<'a>(&self, rules: &'a [Rule]) -> Hearing<'a> {
        let heard = Heard { way: Way::Request, bytes: &[], is_final: true, most: 0 };
        Hearing { asker: self.frontend, rules, heard }
    }

    /// What the client has said, if any rule of a proxy, or one of the backends it leads to, looks at that.
    fn request_bytes<T: Transport<Conn = C>>(
        &self,
        proxy: &Proxy,
        world: &World<'_, T>,
    ) -> Vec<u8> {
        if !proxy.looks_at_bytes { Vec::new() } else { self.heard_bytes(self.front, world) }
    }

    fn heard_bytes<T: Transport<Conn = C>>(&self, conn: C, world: &World<'_, T>) -> Vec<u8> {
        let status = world.transport.status(conn).unwrap_or_default();
        let mut bytes = vec![0; status.readable.min(world.shared.inspected_max)];
        let len = world.transport.peek(conn, 0, &mut bytes);
        bytes.truncate(len);
        bytes
    }

    fn whereabouts<T: Transport<Conn = C>>(
        &self,
        asker: ProxyIndex,
        world: &World<'_, T>,
        now: Instant,
    ) -> Whereabouts {
        let ends = |conn| world.transport.ends(conn).unwrap_or_default();
        Whereabouts {
            now,
            worker: world.worker,
            asker,
            frontend: self.frontend,
            backend: self.backend,
            server: self.server,
            client: self.ends(world.transport),
            front: ends(self.front),
            back: self.back.map(ends).unwrap_or_default(),
            priority: self.priority,
            has_proxy_header: self.has_proxy_header,
        }
    }

    /// Lets something look at this stream.
    pub(super) fn with_scene<T: Transport<Conn = C>, R>(
        &mut self,
        asker: ProxyIndex,
        heard: Heard<'_>,
        world: &mut World<'_, T>,
        now: Instant,
        look: impl FnOnce(&mut Scene<'_>) -> R,
    ) -> R {
        let at = self.whereabouts(asker, world, now);
        let transport = &*world.transport;
        let mut scene = Scene {
            proxies: world.editions.of(self.edition),
            shared: world.shared,
            random: world.random,
            variables: &mut self.variables,
            is_own: &|address| transport.is_own(address),
            entrance: &self.entrance,
            heard,
            at,
        };
        look(&mut scene)
    }

    /// Follows rules in their order, up to one that decides.
    fn follow<T: Transport<Conn = C>>(
        &mut self,
        hearing: &Hearing<'_>,
        world: &mut World<'_, T>,
        now: Instant,
    ) -> Verdict {
        let Hearing { asker, rules, heard } = hearing;
        if rules.is_empty() {
            return Verdict::Passed;
        }
        let proxy = world.proxies(self)[asker.0].clone();
        for rule in *rules {
            let (answer, effect) = self.with_scene(*asker, *heard, world, now, |scene| {
                let answer = acl::holds(rule.condition.as_ref(), &proxy.acls, scene);
                let effect = (answer == Answer::Yes).then(|| effect_of(&rule.action, scene));
                (answer, effect.flatten())
            });
            match answer {
                Answer::NotYet => return Verdict::NotYet,
                Answer::No => continue,
                Answer::Yes => {}
            }
            match rule.action {
                Action::Accept => return Verdict::Passed,
                Action::Reject => return Verdict::Rejected,
                Action::SilentDrop => return Verdict::Dropped,
                Action::CloseServer => return Verdict::Closed,
                Action::ExpectProxy => self.expect_proxy(&proxy, now),
                Action::SetNice(nice) => self.nice = Some(nice),
                Action::SetLogLevel(level) => self.log_level = Some(level),
                _ => {}
            }
            if let Some(effect) = effect {
                self.apply(effect, world.transport);
            }
        }
        Verdict::Passed
    }

    fn apply<T: Transport<Conn = C>>(&mut self, effect: Effect, transport: &T) {
        match effect {
            Effect::Class(class) => {
                self.priority.class = class.clamp(-2047, 2047) as i16;
            }
            Effect::Offset(offset) => {
                self.priority.offset_ms = offset.clamp(-524_287, 524_287) as i32;
            }
            Effect::End(field, value) => {
                let mut ends = self.ends(transport);
                set_end(&mut ends, field, &value);
                self.told_ends = Some(Box::new(ends));
            }
        }
    }
}

/// Why bytes of a server are not passed on yet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ReplyWaits {
    /// More of them may come until then.
    Until(Option<Instant>),
    /// A rule rejects them.
    Rejected,
}

/// What an action with an expression changes.
enum Effect {
    Class(i64),
    Offset(i64),
    End(EndField, Value),
}

/// What an action asks for; variables are stored at once.
fn effect_of(action: &Action, scene: &mut Scene<'_>) -> Option<Effect> {
    let int = |expression: &Expression, scene: &mut Scene<'_>| match evaluate_as(
        expression,
        Kind::Int,
        scene,
    ) {
        Some(Value::Int(number)) => Some(number),
        _ => None,
    };
    match action {
        Action::SetVariable(variable, expression) => {
            // What finds nothing leaves nothing behind.
            match sample::evaluate(expression, scene).value {
                Some(value) => scene.set_variable(variable, value),
                None => scene.unset_variable(variable),
            }
            None
        }
        Action::UnsetVariable(variable) => {
            scene.unset_variable(variable);
            None
        }
        Action::SetPriorityClass(expression) => int(expression, scene).map(Effect::Class),
        Action::SetPriorityOffset(expression) => int(expression, scene).map(Effect::Offset),
        Action::SetEnd(field, expression) => {
            let kind = match field {
                EndField::Source | EndField::Destination => Kind::Ip,
                EndField::SourcePort | EndField::DestinationPort => Kind::Int,
            };
            evaluate_as(expression, kind, scene).map(|value| Effect::End(*field, value))
        }
        _ => None,
    }
}

/// Changes one part; a port without an address belongs to the unspecified one.
fn set_end(ends: &mut Ends, field: EndField, value: &Value) {
    let end = match field {
        EndField::Source | EndField::SourcePort => &mut ends.remote,
        EndField::Destination | EndField::DestinationPort => &mut ends.local,
    };
    let nowhere = SocketAddr::new(IpAddr::V4(std::net::Ipv4Addr::UNSPECIFIED), 0);
    let end = end.get_or_insert(nowhere);
    match value {
        Value::Ip(ip) => end.set_ip(*ip),
        Value::Int(port) => end.set_port(u16::try_from(*port).unwrap_or(0)),
        _ => {}
    }
}

/// The backend that a rule names; `None`: there is none of the name that it makes.
fn backend_of(choice: &BackendChoice, scene: &mut Scene<'_>) -> Option<ProxyIndex> {
    match choice {
        BackendChoice::Fixed(name) => name.index,
        BackendChoice::Made(parts) => {
            let mut name = Vec::new();
            for part in parts {
                match part {
                    NamePart::Text(text) => name.extend_from_slice(text.as_bytes()),
                    NamePart::Expression(expression) => {
                        match evaluate_as(expression, Kind::Text, scene) {
                            Some(Value::Text(text)) => name.extend(text),
                            _ => return None,
                        }
                    }
                }
            }
            scene.shared.backend_named(std::str::from_utf8(&name).ok()?)
        }
    }
}

/// Whether a rule may send a stream to a server.
fn takes(backend: &Arc<Backend>, server: usize) -> bool {
    backend.config.options.persist || backend.runs(server)
}

/// The server that the cookie of a session broker names: `<address>.<port>.<reserved>`, address and port as
/// numbers whose bytes are in network order (MS-RDPELE).
fn server_of_cookie(cookie: &[u8], backend: &Arc<Backend>) -> Option<usize> {
    let mut parts = std::str::from_utf8(cookie).ok()?.split('.');
    let address: u32 = parts.next()?.parse().ok()?;
    let port: u16 = parts.next()?.parse().ok()?;
    let meant = SocketAddr::new(IpAddr::V4(address.to_le_bytes().into()), port.swap_bytes());
    let is_meant = |server: &crate::config::model::Server| {
        crate::backend::server_address(server, None) == Some(meant)
    };
    let (server, _) = backend.config.servers.placed().find(|(_, server)| is_meant(server))?;
    takes(backend, server).then_some(server)
}

fn ended(cause: Cause) -> Option<Outcome> {
    Some(Outcome::Ended(End { cause, phase: Phase::Request }))
}
