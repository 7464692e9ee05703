//! Frames out.
//!
//! In:    connections that may have something to say, replies
//! Out:   frames, written in place
//! Owns:  the queue of replies
//! Never: sends what a later turn can still combine: one visit says all that a connection has to say

use std::collections::VecDeque;
use std::ops::Range;

use smoltcp::wire::IpProtocol;

use super::allotment::stand_in_line;
use super::{Stack, enqueue, index_of, mss_of};
use crate::connection::{Context, Outgoing};
use crate::counters::Counters;
use crate::fib::WireId;
use crate::flow::{ConnId, Flow, FourTuple};
use crate::neighbor::PathId;
use crate::packet::Envelope;
use crate::segment::Header;
use crate::time::Instant;

/// Replies that wait for room; more are dropped, as a network may drop them.
const REPLIES_MAX: usize = 4096;
/// Place of the checksum in a TCP header (RFC 9293, section 3.1).
const CHECKSUM: Range<usize> = 16..18;
/// Segments that a connection sends before the next has its turn.
const SEGMENTS_PER_VISIT: usize = 32;

/// Where frames are written: the transmit side of all wires of a worker.
pub trait Transmit {
    /// Whether a frame can be sent on `wire` now.
    fn has_room(&mut self, wire: WireId) -> bool;

    /// Sends a frame of `len` bytes that `fill` writes. Only after `has_room`.
    fn send(&mut self, wire: WireId, len: usize, fill: impl FnOnce(&mut [u8]));
}

/// A packet that no connection sends.
enum Reply {
    Segment(FourTuple, Header),
    Frame(WireId, Vec<u8>),
}

/// Packets that no connection sends, until there is room.
#[derive(Default)]
pub(super) struct Replies {
    queue: VecDeque<Reply>,
    /// They took the last room: connections go first the next time.
    yields: bool,
}

impl Replies {
    pub fn push_segment(&mut self, tuple: FourTuple, header: Header, counters: &mut Counters) {
        self.push(Reply::Segment(tuple, header), counters);
    }

    /// The answer to a SYN that may be spoofed: half of the places are kept for what is not.
    pub fn push_cookie(&mut self, tuple: FourTuple, header: Header, counters: &mut Counters) {
        if self.queue.len() < REPLIES_MAX / 2 {
            self.push_segment(tuple, header, counters);
        } else {
            counters.replies_dropped += 1;
        }
    }

    pub fn push_frame(&mut self, wire: WireId, bytes: Vec<u8>, counters: &mut Counters) {
        self.push(Reply::Frame(wire, bytes), counters);
    }

    fn push(&mut self, reply: Reply, counters: &mut Counters) {
        if self.queue.len() < REPLIES_MAX {
            self.queue.push_back(reply);
        } else {
            counters.replies_dropped += 1;
        }
    }
}

/// A token bucket for RSTs: one second's worth at most.
pub(super) struct ResetLimit {
    per_second: u32,
    tokens: f64,
    filled: Instant,
}

impl ResetLimit {
    pub fn new(per_second: u32) -> Self {
        ResetLimit { per_second, tokens: f64::from(per_second), filled: Instant::ZERO }
    }

    pub fn allow(&mut self, now: Instant) -> bool {
        let rate = f64::from(self.per_second);
        let earned = now.since(self.filled).as_secs_f64() * rate;
        self.filled = now;
        self.tokens = (self.tokens + earned).min(rate);
        let allowed = self.tokens >= 1.0;
        if allowed {
            self.tokens -= 1.0;
        }
        allowed
    }
}

impl Stack {
    /// Whether something waits to be sent.
    pub fn has_work(&self) -> bool {
        !self.ready.is_empty() || !self.replies.queue.is_empty()
    }

    /// Writes what is to be sent, at most `budget` frames; returns how many.
    ///
    /// Replies go first: a SYN must not overtake the RST that clears its way. But a flood of SYNs makes as many
    /// replies as there are frames in a turn. So they get half of the budget while connections have something
    /// to say; and when the wire had no room left for those, they go first the next time.
    ///
    /// While buffers are few, this is also where windows are allotted.
    pub fn poll_transmit(&mut self, budget: usize, tx: &mut impl Transmit, now: Instant) -> usize {
        self.allot(now);
        if self.replies.queue.is_empty() {
            let sent = self.visit_ready(budget, tx, now);
            self.counters.frames_out += sent as u64;
            return sent;
        }
        let contended = !self.ready.is_empty();
        let share = if contended { budget.div_ceil(2) } else { budget };
        let yielded = std::mem::take(&mut self.replies.yields);
        let mut sent = 0;
        if yielded {
            sent += self.visit_ready(share, tx, now);
        }
        sent += self.send_replies(share.min(budget - sent), tx, now);
        sent += self.visit_ready(budget - sent, tx, now);
        sent += self.send_replies(budget - sent, tx, now);
        self.replies.yields = contended && !yielded && sent < budget && !self.ready.is_empty();
        self.counters.frames_out += sent as u64;
        sent
    }

    /// Sends replies in their order; returns how many frames.
    fn send_replies(&mut self, budget: usize, tx: &mut impl Transmit, now: Instant) -> usize {
        let mut sent = 0;
        while sent < budget {
            let Some(reply) = self.replies.queue.pop_front() else { break };
            match self.send_reply(reply, tx, now) {
                Ok(count) => sent += count,
                Err(reply) => {
                    self.replies.queue.push_front(reply);
                    break;
                }
            }
        }
        sent
    }

    /// Visits connections that have something to say; returns how many frames.
    fn visit_ready(&mut self, budget: usize, tx: &mut impl Transmit, now: Instant) -> usize {
        let mut sent = 0;
        // A connection that has more to say than a visit allows goes to the end: visit each once.
        let mut visits = self.ready.len();
        while sent < budget && visits > 0 {
            visits -= 1;
            let Some(id) = self.ready.pop_front() else { break };
            match self.visit(id, budget - sent, tx, now) {
                Visit::Said(count) => sent += count,
                Visit::NoRoom(count) => {
                    sent += count;
                    break;
                }
            }
        }
        sent
    }

    /// Sends a reply, or gives it back when there is no room.
    fn send_reply(
        &mut self,
        reply: Reply,
        tx: &mut impl Transmit,
        now: Instant,
    ) -> Result<usize, Reply> {
        match reply {
            Reply::Frame(wire, bytes) => {
                if !tx.has_room(wire) {
                    return Err(Reply::Frame(wire, bytes));
                }
                tx.send(wire, bytes.len(), |frame| frame.copy_from_slice(&bytes));
                Ok(1)
            }
            Reply::Segment(tuple, header) => {
                let Some(path) = self.path_to(tuple.remote.ip, now) else {
                    self.counters.replies_dropped += 1;
                    return Ok(0);
                };
                let link = self.fib.link(self.neighbors.link(path));
                if !tx.has_room(link.wire) {
                    return Err(Reply::Segment(tuple, header));
                }
                let Some(mac) = self.neighbors.resolve(path, now) else {
                    // A handshake is told when the neighbour is there; all else the peer asks for again.
                    if let Some(flow @ Flow::HalfOpen(_)) = self.flows.get(&tuple) {
                        self.neighbors.wait(path, flow);
                    }
                    self.counters.replies_dropped += 1;
                    return Ok(0);
                };
                let (source, destination) = (tuple.local.ip, tuple.remote.ip);
                let envelope = Envelope::new(link, mac, source, destination, IpProtocol::Tcp);
                send_segment(&envelope, &tuple, &header, 0, tx, |_| {});
                self.counters.segments_out += 1;
                Ok(1)
            }
        }
    }

    /// Lets one connection say what it has to say.
    fn visit(&mut self, id: ConnId, budget: usize, tx: &mut impl Transmit, now: Instant) -> Visit {
        let Some(connection) = self.connections.get_mut(id) else { return Visit::Said(0) };
        connection.ready = false;
        if connection.has_nothing_to_say() {
            // Nobody is asked for a neighbour that nothing is to be sent to.
            self.after_visit(id, false, now);
            return Visit::Said(0);
        }
        let path = match connection.path {
            Some((edition, path)) if edition == self.fib_edition => path,
            _ => match self.find_path(id, now) {
                Some(path) => path,
                None => {
                    self.unroutable(id, now);
                    return Visit::Said(0);
                }
            },
        };
        let Some(mac) = self.neighbors.resolve(path, now) else {
            self.wait_for_neighbor(id, path);
            return Visit::Said(0);
        };
        let link_id = self.neighbors.link(path);
        let connection = &mut self.connections[id];
        let tuple = connection.tuple;
        let (source, destination) = (tuple.local.ip, tuple.remote.ip);
        let link = self.fib.link(link_id);
        let mss_own = mss_of(link, destination).min(self.config.tcp.mss_max);
        let retransmits = connection.retransmits();
        let quota = budget.min(SEGMENTS_PER_VISIT);
        let mut envelope = None;
        let mut count = 0;
        let mut room = true;
        while count < quota {
            room = tx.has_room(link.wire);
            if !room {
                break;
            }
            let cx = &mut context!(self, now);
            let Some(outgoing) = connection.poll_segment(mss_own, cx) else { break };
            let envelope = envelope.get_or_insert_with(|| {
                Envelope::new(link, mac, source, destination, IpProtocol::Tcp)
            });
            let Outgoing { header, offset, len } = outgoing;
            let pool = &self.pools.buffers;
            send_segment(envelope, &tuple, &header, len, tx, |payload| {
                connection.copy_payload(pool, offset, payload);
            });
            count += 1;
            if connection.has_nothing_to_say() {
                break;
            }
        }
        self.counters.segments_out += count as u64;
        self.counters.retransmits += u64::from(connection.retransmits() - retransmits);
        self.after_visit(id, !room || count == quota, now);
        if room { Visit::Said(count) } else { Visit::NoRoom(count) }
    }

    /// A connection speaks when its neighbour is known; its timers run meanwhile.
    #[cold]
    fn wait_for_neighbor(&mut self, id: ConnId, path: PathId) {
        // Once, however often it is visited until then.
        if !std::mem::replace(&mut self.connections[id].waits_for_neighbor, true) {
            self.neighbors.wait(path, Flow::Connection(id));
        }
        self.arm(id);
    }

    /// As `settle`, but the connection is ready again only when it was interrupted.
    #[inline(always)]
    fn after_visit(&mut self, id: ConnId, interrupted: bool, now: Instant) {
        if self.connections[id].orphan() && self.has_ended(id, now) {
            return;
        }
        let connection = &mut self.connections[id];
        stand_in_line(id, connection, &mut self.allotments, &self.pools.buffers);
        if let Some(deadline) = connection.deadline() {
            self.connection_timers.set_earlier(index_of(id) as u32, deadline);
        }
        if interrupted {
            enqueue(id, connection, &mut self.ready);
        }
    }

    /// The path of a connection, looked up again because the forwarding table changed.
    #[cold]
    fn find_path(&mut self, id: ConnId, now: Instant) -> Option<PathId> {
        let remote = self.connections[id].tuple.remote.ip;
        let path = self.path_to(remote, now)?;
        let mss = self.mss_own(self.neighbors.link(path), remote);
        let connection = &mut self.connections[id];
        connection.path = Some((self.fib_edition, path));
        connection.limit_mss(mss);
        Some(path)
    }

    /// No route: who is not open yet is told, others wait for one.
    #[cold]
    fn unroutable(&mut self, id: ConnId, now: Instant) {
        let connection = &mut self.connections[id];
        if connection.orphan() || connection.state() == crate::connection::State::SynSent {
            connection.unreachable(&mut context!(self, now));
        }
        self.after_visit(id, false, now);
        self.tell(id);
    }

    /// Flows whose neighbour is known now.
    pub(super) fn resume(&mut self, flows: Vec<Flow>, now: Instant) {
        for flow in flows {
            match flow {
                Flow::Connection(id) => {
                    let Some(connection) = self.connections.get_mut(id) else { continue };
                    connection.waits_for_neighbor = false;
                    self.make_ready(id);
                }
                Flow::HalfOpen(id) => self.send_syn_ack(id, now),
                _ => {}
            }
        }
    }

    /// Flows whose neighbour does not answer: opens fail, the rest asks again.
    pub(super) fn give_up(&mut self, flows: Vec<Flow>, now: Instant) {
        for flow in flows {
            let Flow::Connection(id) = flow else { continue };
            let Some(connection) = self.connections.get_mut(id) else { continue };
            connection.waits_for_neighbor = false;
            self.make_ready(id);
            self.unroutable(id, now);
        }
    }
}

enum Visit {
    /// So many segments.
    Said(usize),
    /// So many, and then there was no room.
    NoRoom(usize),
}

/// Writes one segment into a frame. `payload` fills in the bytes.
fn send_segment(
    envelope: &Envelope,
    tuple: &FourTuple,
    header: &Header,
    payload_len: usize,
    tx: &mut impl Transmit,
    payload: impl FnOnce(&mut [u8]),
) {
    let header_len = header.len();
    let tcp_len = header_len + payload_len;
    tx.send(envelope.wire, envelope.len() + tcp_len, |frame| {
        let tcp = envelope.emit(frame, tcp_len);
        let (head, body) = tcp.split_at_mut(header_len);
        header.emit(head, [tuple.local.port, tuple.remote.port]);
        payload(body);
        let checksum = envelope.checksum(tcp);
        tcp[CHECKSUM].copy_from_slice(&checksum.to_be_bytes());
    });
}
