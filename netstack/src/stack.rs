//! The stack of one worker: the conductor of everything below TCP's user.
//!
//! In:    frames ([`Stack::handle_frame`]), the time ([`Stack::handle_timers`]), commands of the user
//! Out:   frames ([`Stack::poll_transmit`]), events ([`Stack::poll_event`]), [`Stack::poll_at`]
//! Owns:  connections, handshakes, TIME-WAIT records, listeners, neighbours, buffers, timers
//! Never: reads a clock, blocks, walks all connections
//!
//! By concern: [`ingress`] (frames in), [`active`] (connects), [`passive`] (listeners and handshakes), [`egress`] (frames out).

/// What a connection is given for a step: parts of the stack that are not the connection.
macro_rules! context {
    ($stack:expr, $now:expr) => {
        Context { config: &$stack.config.tcp, pools: &mut $stack.pools, now: $now }
    };
}

mod active;
mod allotment;
mod egress;
mod footprint;
mod ingress;
mod passive;

use std::collections::VecDeque;
use std::net::IpAddr;
use std::ops::RangeInclusive;
use std::sync::Arc;
use std::time::Duration;

use hashbrown::HashMap;
use slotmap::{Key, SlotMap};

pub use active::{Source, SourcePort};
use allotment::{Allotments, stand_in_line};
pub use egress::Transmit;
use egress::{Replies, ResetLimit};
pub use ingress::{Arrival, Disposition};

use crate::buffer::{BUFFER_SIZE, PoolStats};
use crate::connection::snapshot::{RestoreError, Snapshot};
use crate::connection::{Connection, Context, Description, Keepalive, Pools, Status, TcpConfig};
use crate::counters::Counters;
use crate::fib::{Fib, Link, LinkId};
use crate::flow::{ConnId, Flow, FlowTable, FourTuple, HalfOpenId, Secret};
use crate::handshake::{HalfOpen, Listener, ListenerId, ListenerKey};
use crate::neighbor::{Neighbors, PathId, Resolve};
use crate::packet::ip_header_len;
use crate::rss::Rss;
use crate::segment::TCP_HEADER_LEN;
use crate::silenced::Silenced;
use crate::syn_cookie::SynCookies;
use crate::time::Instant;
use crate::time_wait::TimeWaits;
use crate::wheel::Wheel;

/// What a stack is made with.
#[derive(Clone)]
pub struct StackConfig {
    /// Which worker this is.
    pub worker: usize,
    /// How many workers there are.
    pub workers: usize,
    /// Keys; the same for all workers.
    pub secret: Secret,
    /// Source ports towards servers, of all workers together.
    pub source_ports: RangeInclusive<u16>,
    /// Parts of it that are divided among workers by themselves: ranges that connections state ([`SourcePort`]).
    pub port_ranges: Vec<RangeInclusive<u16>>,
    /// Whether connections come from addresses that are not ours.
    pub has_foreign_sources: bool,
    /// How each wire's NIC spreads packets, where it is known; by [`crate::fib::WireId`].
    pub rss: Vec<Option<Rss>>,
    /// Limits and times of connections.
    pub tcp: TcpConfig,
    /// Buffers of [`crate::buffer::BUFFER_SIZE`] that there may be.
    pub buffers: usize,
    /// Of these, buffers that only bytes of connections which we began may take when they come.
    pub buffers_reserve: usize,
    /// Handshakes under way that there may be, of all listeners together; each has its own bound too
    /// ([`crate::Listen::backlog`]). Beyond either a SYN is answered by a cookie.
    pub half_open_max: usize,
    /// TIME-WAIT records that there may be.
    pub time_wait_max: usize,
    /// Connections that their users have left and that still close, at most (Linux's tcp_max_orphans).
    pub orphans_max: usize,
    /// RSTs per second for what nobody owns.
    pub resets_per_second: u32,
}

/// First windows that the buffers of a worker have room for, at least.
const FIRST_WINDOWS: usize = 256;

impl StackConfig {
    /// One worker alone, with usual limits.
    pub fn new(secret: Secret) -> Self {
        StackConfig {
            worker: 0,
            workers: 1,
            secret,
            source_ports: 16_384..=32_767,
            port_ranges: Vec::new(),
            has_foreign_sources: false,
            rss: Vec::new(),
            tcp: TcpConfig::default(),
            buffers: 65_536,
            buffers_reserve: 0,
            half_open_max: 65_536,
            time_wait_max: 65_536,
            orphans_max: 65_536,
            resets_per_second: 1000,
        }
    }
}

/// Something happened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Event {
    /// Connections wait in the listener's accept queue.
    Accept(ListenerId, u64),
    /// The connection was opened, received something, found room, or ended: [`Stack::status`] tells.
    Connection(ConnId, u64),
}

/// Why no connection could be begun.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ConnectError {
    /// No route leads there, or no own address can be the source.
    NoRoute,
    /// All source ports towards this peer are in use.
    NoSourcePort,
}

/// Why a listener could not be made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ListenError {
    /// There is one for the same address and port.
    InUse,
}

/// Figures of a stack at one moment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct StackStats {
    /// Connections.
    pub connections: PoolStats,
    /// Handshakes under way.
    pub half_open: usize,
    /// TIME-WAIT records.
    pub time_wait: usize,
    /// Buffers.
    pub buffers: PoolStats,
}

/// The stack of one worker.
pub struct Stack {
    config: StackConfig,
    fib: Arc<Fib>,
    /// Counts changes of `fib`: a path that was found by an older one is looked up again.
    fib_edition: u32,
    neighbors: Neighbors,
    flows: FlowTable,
    connections: SlotMap<ConnId, Connection>,
    /// The connection that the last segment was for.
    last: ConnId,
    half_opens: SlotMap<HalfOpenId, HalfOpen>,
    time_waits: TimeWaits,
    listeners: SlotMap<ListenerId, Listener>,
    listener_keys: HashMap<ListenerKey, ListenerId, Secret>,
    /// Timers of connections and of handshakes, by the index of their key.
    connection_timers: Wheel,
    half_open_timers: Wheel,
    connection_ids: Vec<ConnId>,
    half_open_ids: Vec<HalfOpenId>,
    /// Connections that may have something to send.
    ready: VecDeque<ConnId>,
    events: VecDeque<Event>,
    cookies: SynCookies,
    replies: Replies,
    reset_limit: ResetLimit,
    pools: Pools,
    /// Connections whose user could not write because buffers are scarce.
    buffer_waiters: VecDeque<ConnId>,
    allotments: Allotments,
    /// Peers that are not answered any more, though they do not know it.
    silenced: Silenced,
    /// Connections that their users have left.
    orphans: usize,
    /// Where the search for a source port goes on.
    next_port: u32,
    counters: Counters,
}

impl Stack {
    /// A stack without links, addresses or routes: it drops everything until [`Stack::set_fib`].
    pub fn new(mut config: StackConfig) -> Self {
        // What each peer may send at first must be little where there are few buffers.
        let share = (config.buffers * BUFFER_SIZE / FIRST_WINDOWS).max(BUFFER_SIZE) as u32;
        config.tcp.receive_buffer_initial = config.tcp.receive_buffer_initial.min(share);
        Stack {
            fib: Arc::new(Fib::default()),
            fib_edition: 0,
            neighbors: Neighbors::new(config.secret),
            flows: FlowTable::new(config.secret),
            connections: SlotMap::with_key(),
            last: ConnId::null(),
            half_opens: SlotMap::with_key(),
            time_waits: TimeWaits::new(config.tcp.time_wait, config.time_wait_max),
            listeners: SlotMap::with_key(),
            listener_keys: HashMap::with_hasher(config.secret),
            connection_timers: Wheel::default(),
            half_open_timers: Wheel::default(),
            connection_ids: Vec::new(),
            half_open_ids: Vec::new(),
            ready: VecDeque::new(),
            events: VecDeque::new(),
            cookies: SynCookies::new(config.secret, config.worker),
            replies: Replies::default(),
            reset_limit: ResetLimit::new(config.resets_per_second),
            pools: Pools::new(config.buffers, config.buffers_reserve),
            buffer_waiters: VecDeque::new(),
            allotments: Allotments::default(),
            silenced: Silenced::new(config.secret),
            orphans: 0,
            next_port: 0,
            counters: Counters::default(),
            config,
        }
    }

    /// Whether an address is one of our own.
    pub fn is_own(&self, address: IpAddr) -> bool {
        self.fib.address(address).is_some()
    }

    /// Replaces the forwarding table. When its links are others, neighbours have to be told anew.
    pub fn set_fib(&mut self, fib: Arc<Fib>, now: Instant) {
        let same_links = self.fib.links() == fib.links();
        self.fib = fib;
        self.fib_edition += 1;
        if !same_links {
            self.forget_neighbors(now);
        }
    }

    /// Which worker this is.
    pub fn worker(&self) -> usize {
        self.config.worker
    }

    /// Takes the kernel's word on a neighbour: its link-layer address, or that it has none.
    pub fn set_neighbor(
        &mut self,
        link: LinkId,
        address: IpAddr,
        mac: Option<[u8; 6]>,
        now: Instant,
    ) {
        let waiters = self.neighbors.update(link, address, mac);
        self.resume(waiters, now);
    }

    /// The next neighbour that the kernel is asked to resolve or to confirm.
    pub fn poll_resolve(&mut self) -> Option<Resolve> {
        while let Some(resolve) = self.neighbors.poll_request() {
            match resolve.origin {
                crate::fib::Origin::Kernel => return Some(resolve),
                crate::fib::Origin::Stated => self.solicit(resolve.link, resolve.address),
            }
        }
        None
    }

    /// Counters since the stack was made.
    pub fn counters(&self) -> &Counters {
        &self.counters
    }

    /// Figures at this moment.
    pub fn stats(&self) -> StackStats {
        StackStats {
            connections: PoolStats {
                size: size_of::<Connection>(),
                allocated: self.connections.capacity(),
                used: self.connections.len(),
                limit: 0,
                reserve: 0,
                failures: 0,
            },
            half_open: self.half_opens.len(),
            time_wait: self.time_waits.len(),
            buffers: self.pools.buffers.stats(),
        }
    }

    // Commands of the user.

    /// Copies received bytes from `offset` on, without taking them; returns how many.
    pub fn peek(&self, id: ConnId, offset: usize, out: &mut [u8]) -> usize {
        let connection = self.connections.get(id);
        connection.map_or(0, |connection| connection.peek(offset, out, &self.pools))
    }

    /// Reads received bytes; returns how many.
    pub fn recv(&mut self, id: ConnId, out: &mut [u8], now: Instant) -> usize {
        let Some(connection) = self.connections.get_mut(id) else { return 0 };
        let count = connection.read(out, &mut context!(self, now));
        stand_in_line(id, connection, &mut self.allotments, &self.pools.buffers);
        if connection.owes_ack() {
            self.make_ready(id);
        }
        count
    }

    /// Queues bytes to be sent; returns how many were taken. An event tells of room when not all were.
    pub fn send(&mut self, id: ConnId, bytes: &[u8], now: Instant) -> usize {
        let Some(connection) = self.connections.get_mut(id) else { return 0 };
        let waited = connection.is_write_blocked();
        let count = connection.write(bytes, &mut context!(self, now));
        if !waited && connection.is_write_blocked() && self.pools.buffers.is_scarce() {
            self.buffer_waiters.push_back(id);
        }
        self.make_ready(id);
        count
    }

    /// Moves up to `max` received bytes of `from` to the send queue of `to`; returns how many. Whole
    /// buffers move without a copy. An event of `to` tells of room when its room ended it.
    pub fn forward(&mut self, from: ConnId, to: ConnId, max: usize, now: Instant) -> usize {
        let Some([source, sink]) = self.connections.get_disjoint_mut([from, to]) else { return 0 };
        let waited = sink.is_write_blocked();
        let moved = source.forward_to(sink, max, &mut context!(self, now));
        stand_in_line(from, source, &mut self.allotments, &self.pools.buffers);
        if !waited && sink.is_write_blocked() && self.pools.buffers.is_scarce() {
            self.buffer_waiters.push_back(to);
        }
        if moved > 0 {
            self.make_ready(from);
            self.make_ready(to);
        }
        moved
    }

    /// Closes our direction after what is queued.
    pub fn shut(&mut self, id: ConnId, now: Instant) {
        if let Some(connection) = self.connections.get_mut(id) {
            connection.shut();
            self.settle(id, now);
        }
    }

    /// Leaves a connection: it closes in order, as far as it can, and its identifier is no longer valid
    /// for the user. When too many are being left at once, it ends with a RST instead.
    pub fn close(&mut self, id: ConnId, now: Instant) {
        let Some(connection) = self.connections.get_mut(id) else { return };
        if self.orphans >= self.config.orphans_max && !connection.orphan() {
            self.counters.orphans_reset += 1;
            connection.abort(&mut context!(self, now));
        }
        self.leave(id, now);
    }

    /// Leaves a connection with a RST.
    pub fn abort(&mut self, id: ConnId, now: Instant) {
        if let Some(connection) = self.connections.get_mut(id) {
            connection.abort(&mut context!(self, now));
            self.leave(id, now);
        }
    }

    fn leave(&mut self, id: ConnId, now: Instant) {
        let connection = &mut self.connections[id];
        self.orphans += usize::from(!connection.orphan());
        connection.close(&mut context!(self, now));
        self.settle(id, now);
    }

    /// Resets every connection and forgets every handshake: the process ends.
    pub fn abort_all(&mut self, now: Instant) {
        let ids: Vec<ConnId> = self.connections.keys().collect();
        for id in ids {
            self.abort(id, now);
        }
        let half_opens: Vec<HalfOpenId> = self.half_opens.keys().collect();
        for id in half_opens {
            self.reset_half_open(id);
        }
    }

    /// What is known of a connection; `None` when it is gone.
    pub fn status(&self, id: ConnId) -> Option<Status> {
        self.connections.get(id).map(|connection| connection.status(&self.config.tcp))
    }

    /// Probes a connection that is idle, or not; without a call the configuration counts.
    pub fn set_keepalive(&mut self, id: ConnId, keepalive: Option<Keepalive>) {
        if let Some(connection) = self.connections.get_mut(id) {
            connection.set_keepalive(keepalive, &self.config.tcp);
            self.arm(id);
        }
    }

    /// Ends a connection whose bytes stay unacknowledged for so long (RFC 5482); without a call the
    /// configuration counts.
    pub fn set_user_timeout(&mut self, id: ConnId, timeout: Option<Duration>) {
        if let Some(connection) = self.connections.get_mut(id) {
            connection.set_user_timeout(timeout);
        }
    }

    /// The figures of a connection, for an operator; `None` when it is gone.
    pub fn describe(&mut self, id: ConnId, now: Instant) -> Option<Description> {
        let connection = self.connections.get(id)?;
        let headers = ip_header_len(connection.tuple.remote.ip) + TCP_HEADER_LEN;
        Some(connection.describe(headers as u16, &context!(self, now)))
    }

    /// The figures of connections from this place on, of at most so many; and the place where the next ones begin, if
    /// there are any.
    pub fn describe_some(
        &mut self,
        from: usize,
        most: usize,
        now: Instant,
    ) -> (Vec<Description>, Option<usize>) {
        let ids: Vec<ConnId> = self.connection_ids().skip(from).take(most).collect();
        let next = (ids.len() == most).then_some(from + most);
        (ids.into_iter().filter_map(|id| self.describe(id, now)).collect(), next)
    }

    /// A connection as bytes, for [`Stack::restore`] of this or another process; `None` when it is closed or
    /// gone. It goes on here until [`Stack::abandon`].
    pub fn snapshot(&self, id: ConnId, now: Instant) -> Option<Vec<u8>> {
        self.connections.get(id)?.snapshot(&self.pools.buffers, now)
    }

    /// Lets go of a connection without a word to the peer: somebody else goes on with its snapshot.
    pub fn abandon(&mut self, id: ConnId, now: Instant) {
        self.forget(id, now);
    }

    /// Leaves a connection so that its peer hears nothing more, whatever it sends, for as long as it may try.
    pub fn silence(&mut self, id: ConnId, now: Instant) {
        if let Some(connection) = self.forget(id, now) {
            self.silenced.insert(connection.tuple, now);
        }
    }

    /// Connections of a listener from now on announce no larger segment, bytes of payload.
    pub fn set_listener_mss(&mut self, id: ListenerId, mss: Option<u16>) {
        if let Some(listener) = self.listeners.get_mut(id) {
            listener.mss = mss;
        }
    }

    /// A connection that goes on where a snapshot was taken, under the name `user`. Bytes that say none, or
    /// one that cannot be, are refused, and nothing is changed.
    pub fn restore(
        &mut self,
        bytes: &[u8],
        user: u64,
        now: Instant,
    ) -> Result<ConnId, RestoreError> {
        let snapshot = Snapshot::decode(bytes)?;
        if self.flows.get(&snapshot.tuple()).is_some() {
            return Err(RestoreError::InUse);
        }
        if snapshot.buffers() > self.pools.buffers.available() {
            return Err(RestoreError::NoBuffers);
        }
        let mut connection = Connection::restore(&snapshot, &mut context!(self, now));
        connection.user = user;
        self.orphans += usize::from(snapshot.is_orphan());
        let id = self.insert(connection);
        self.settle(id, now);
        Ok(id)
    }

    /// All connections, in no particular order. A walk over all of them is for operators, not for packets.
    pub fn connection_ids(&self) -> impl Iterator<Item = ConnId> {
        self.connections.keys()
    }

    /// Both ends of a connection.
    pub fn tuple(&self, id: ConnId) -> Option<FourTuple> {
        self.connections.get(id).map(|connection| connection.tuple)
    }

    /// The next event.
    pub fn poll_event(&mut self) -> Option<Event> {
        if !self.buffer_waiters.is_empty() {
            self.wake_buffer_waiters();
        }
        while let Some(event) = self.events.pop_front() {
            match event {
                Event::Connection(id, _) => {
                    let Some(connection) = self.connections.get_mut(id) else { continue };
                    connection.event_pending = false;
                    connection.event_queued = false;
                    if !connection.orphan() {
                        return Some(Event::Connection(id, connection.user));
                    }
                }
                Event::Accept(id, _) => {
                    let Some(listener) = self.listeners.get_mut(id) else { continue };
                    listener.event_pending = false;
                    return Some(event);
                }
            }
        }
        None
    }

    fn wake_buffer_waiters(&mut self) {
        while !self.buffer_waiters.is_empty() && !self.pools.buffers.is_scarce() {
            let Some(id) = self.buffer_waiters.pop_front() else { break };
            if let Some(connection) = self.connections.get_mut(id) {
                connection.wake_writer_for_buffers();
                self.tell(id);
            }
        }
    }

    /// Gives memory back that no buffer in use needs; returns how many buffers there are fewer.
    pub fn trim(&mut self) -> usize {
        self.pools.buffers.trim()
    }

    // Time.

    /// Handles everything whose time has come.
    pub fn handle_timers(&mut self, now: Instant) {
        while let Some(index) = self.connection_timers.poll_expired(now) {
            let id = self.connection_ids[index as usize];
            if let Some(connection) = self.connections.get_mut(id) {
                connection.handle_deadline(&mut context!(self, now));
                self.settle(id, now);
            }
        }
        while let Some(index) = self.half_open_timers.poll_expired(now) {
            self.handle_half_open_timer(self.half_open_ids[index as usize], now);
        }
        while let Some(tuple) = self.time_waits.poll_expired(now) {
            self.flows.remove(&tuple);
        }
        if self.neighbors.poll_at().is_some_and(|at| at <= now) {
            let given_up = self.neighbors.handle_timers(now);
            self.give_up(given_up, now);
        }
    }

    /// When [`Stack::handle_timers`] wants to be called next.
    pub fn poll_at(&self) -> Option<Instant> {
        [
            self.connection_timers.poll_at(),
            self.half_open_timers.poll_at(),
            self.time_waits.poll_at(),
            self.neighbors.poll_at(),
            self.allotments.poll_at(&self.pools.buffers),
        ]
        .into_iter()
        .flatten()
        .min()
    }

    // What follows from a change of a connection.

    fn insert(&mut self, connection: Connection) -> ConnId {
        let tuple = connection.tuple;
        let id = self.connections.insert(connection);
        let index = index_of(id);
        if index >= self.connection_ids.len() {
            self.connection_ids.resize(index + 1, ConnId::null());
        }
        self.connection_ids[index] = id;
        self.flows.insert(tuple, Flow::Connection(id));
        id
    }

    /// Draws the consequences: events, the ready list, the end. Timers are set when it has said what it has
    /// to say, in `after_visit`. One look at the connection: this runs with every segment.
    fn settle(&mut self, id: ConnId, now: Instant) {
        if self.has_ended(id, now) {
            return;
        }
        enlist(id, &mut self.connections[id], &mut self.events, &mut self.ready);
    }

    /// Forgets a connection that needs none any more, for good or for a TIME-WAIT record.
    fn has_ended(&mut self, id: ConnId, now: Instant) -> bool {
        let connection = &self.connections[id];
        // Whoever still has a user is kept.
        if !connection.orphan() {
            return false;
        }
        let (finished, time_wait) = (connection.is_finished(), connection.is_time_wait_only());
        if finished {
            self.forget(id, now);
        } else if time_wait {
            self.enter_time_wait(id, now);
        }
        finished || time_wait
    }

    /// Queues the event of a connection, if it has one.
    fn tell(&mut self, id: ConnId) {
        let Some(connection) = self.connections.get_mut(id) else { return };
        announce(id, connection, &mut self.events);
    }

    /// Sets the wheel. A timer that fires too early is set again then, which is cheaper than to move it
    /// with every acknowledgment.
    fn arm(&mut self, id: ConnId) {
        if let Some(deadline) = self.connections[id].deadline() {
            self.connection_timers.set_earlier(index_of(id) as u32, deadline);
        }
    }

    fn make_ready(&mut self, id: ConnId) {
        enqueue(id, &mut self.connections[id], &mut self.ready);
    }

    fn forget(&mut self, id: ConnId, now: Instant) -> Option<Connection> {
        let mut connection = self.connections.remove(id)?;
        self.orphans -= usize::from(connection.orphan());
        connection.release(&mut context!(self, now));
        self.connection_timers.cancel(index_of(id) as u32);
        self.flows.remove(&connection.tuple);
        Some(connection)
    }

    fn enter_time_wait(&mut self, id: ConnId, now: Instant) {
        let Some(connection) = self.forget(id, now) else { return };
        let (record, evicted) = self.time_waits.insert(connection.tuple, connection.residue(), now);
        if let Some(tuple) = evicted {
            self.flows.remove(&tuple);
        }
        self.flows.insert(connection.tuple, Flow::TimeWait(record));
    }

    /// Where packets to `destination` go.
    fn path_to(&mut self, destination: IpAddr, now: Instant) -> Option<PathId> {
        let next_hop = self.fib.lookup(destination)?;
        if let Some(path) = self.neighbors.intern(next_hop) {
            return Some(path);
        }
        // Whoever is on the link can invent neighbours: the table begins anew, and those in use are asked
        // for again.
        self.forget_neighbors(now);
        self.neighbors.intern(next_hop)
    }

    fn forget_neighbors(&mut self, now: Instant) {
        self.fib_edition += 1;
        let waiters = self.neighbors.reset();
        self.resume(waiters, now);
    }

    /// Asserts what must hold between calls: for tests.
    pub fn assert_invariants(&self) {
        let flows = self.connections.len() + self.half_opens.len() + self.time_waits.len();
        assert_eq!(self.flows.len(), flows, "every flow stands for one thing");
        let mut held = 0;
        for connection in self.connections.values() {
            held += connection.assert_invariants(&self.pools.buffers);
        }
        assert_eq!(self.pools.buffers.stats().used, held, "every buffer is in one queue");
        let leases = self.connections.values().map(Connection::lease).sum();
        assert_eq!(self.pools.buffers.kept(), leases, "what is kept is kept for somebody");
        let orphans = self.connections.values().filter(|connection| connection.orphan()).count();
        assert_eq!(self.orphans, orphans);
        let half_open: usize = self.listeners.values().map(|listener| listener.half_open).sum();
        assert_eq!(half_open, self.half_opens.len(), "every handshake is one of a listener's");
        assert!(half_open <= self.config.half_open_max);
    }
}

/// Puts a connection on the lists that it belongs on now: it may have news for its user and something to say.
#[inline]
fn enlist(
    id: ConnId,
    connection: &mut Connection,
    events: &mut VecDeque<Event>,
    ready: &mut VecDeque<ConnId>,
) {
    announce(id, connection, events);
    enqueue(id, connection, ready);
}

/// Queues the event of a connection, if it has one.
#[inline]
fn announce(id: ConnId, connection: &mut Connection, events: &mut VecDeque<Event>) {
    if connection.event_pending && !connection.event_queued {
        connection.event_queued = true;
        events.push_back(Event::Connection(id, connection.user));
    }
}

/// Puts a connection on the ready list, once.
#[inline]
fn enqueue(id: ConnId, connection: &mut Connection, ready: &mut VecDeque<ConnId>) {
    if !connection.ready {
        connection.ready = true;
        ready.push_back(id);
    }
}

/// Uses of the keyed hash.
pub(crate) mod usage {
    pub const SOURCE_PORT: u8 = 1;
    pub const INITIAL_SEQUENCE: u8 = 2;
    pub const TIMESTAMP: u8 = 3;
    pub const SYN_COOKIE: u8 = 4;
}

/// The largest segment that a link takes, bytes of TCP options and payload.
fn mss_of(link: &Link, peer: IpAddr) -> u16 {
    link.mtu.saturating_sub((ip_header_len(peer) + TCP_HEADER_LEN) as u16)
}

/// The index of a slot: small, dense, used again after the slot is free.
fn index_of(id: impl Key) -> usize {
    (id.data().as_ffi() & 0xffff_ffff) as usize
}
