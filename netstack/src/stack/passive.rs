//! Listeners and handshakes.
//!
//! Read:  RFC 9293, sections 3.10.7.2 (LISTEN) and 3.10.7.4 (SYN-RECEIVED); RFC 5961; RFC 4987

use std::net::IpAddr;
use std::time::Duration;

use slotmap::Key;

use super::ingress::Tcp;
use super::{Event, ListenError, Stack, index_of};
use crate::connection::{Connection, Handshake, MSS_MIN};
use crate::fib::{LinkId, WireId};
use crate::flow::{ConnId, Endpoint, Flow, HalfOpenId};
use crate::handshake::{
    HalfOpen, Listen, Listener, ListenerId, SYN_ACK_RETRIES, SYN_ACK_RETRIES_SCARCE, SynAck,
    SynOptions,
};
use crate::segment::{Flags, Header, Options, Segment};
use crate::seq::SeqNumber;
use crate::time::Instant;

impl Stack {
    /// Listens. SYNs are answered from now on; [`Event::Accept`] tells of connections.
    pub fn listen(&mut self, listen: Listen) -> Result<ListenerId, ListenError> {
        let key = listen.key();
        if self.listener_keys.contains_key(&key) {
            return Err(ListenError::InUse);
        }
        let id = self.listeners.insert(Listener::new(listen));
        self.listener_keys.insert(key, id);
        Ok(id)
    }

    /// Stops listening. Handshakes under way are forgotten, connections not yet accepted are reset.
    pub fn unlisten(&mut self, id: ListenerId, now: Instant) {
        let Some(listener) = self.listeners.remove(id) else { return };
        self.listener_keys.remove(&listener.listen.key());
        let half_opens: Vec<HalfOpenId> = self
            .half_opens
            .iter()
            .filter(|(_, half_open)| half_open.listener == id)
            .map(|(id, _)| id)
            .collect();
        for half_open in half_opens {
            self.forget_half_open(half_open);
        }
        for connection in listener.accept_queue {
            self.abort(connection, now);
        }
    }

    /// The next connection of a listener, named `user` for its events.
    pub fn accept(&mut self, id: ListenerId, user: u64) -> Option<ConnId> {
        let listener = self.listeners.get_mut(id)?;
        let id = listener.accept_queue.pop_front()?;
        if let Some(connection) = self.connections.get_mut(id) {
            connection.user = user;
        }
        Some(id)
    }

    /// Connections that wait to be accepted.
    pub fn accept_queue_len(&self, id: ListenerId) -> usize {
        self.listeners.get(id).map_or(0, |listener| listener.accept_queue.len())
    }

    pub(super) fn listener_for(&self, local: Endpoint, wire: WireId) -> Option<ListenerId> {
        Listen::keys_for(local).into_iter().find_map(|key| {
            let id = *self.listener_keys.get(&key)?;
            let only = self.listeners[id].listen.wire;
            only.is_none_or(|only| only == wire).then_some(id)
        })
    }

    /// A SYN for a listener: a record, and a SYN-ACK. Beyond the bounds of records, only a SYN-ACK.
    pub(super) fn handle_syn(
        &mut self,
        listener_id: ListenerId,
        tcp: &Tcp<'_>,
        segment: &Segment<'_>,
        least_iss: Option<SeqNumber>,
        now: Instant,
    ) {
        let listener = &mut self.listeners[listener_id];
        if listener.is_accept_queue_full() {
            // As Linux: whoever completes a handshake could not be taken in.
            self.counters.accept_queue_full += 1;
            return;
        }
        if listener.is_half_open_full() || self.half_opens.len() >= self.config.half_open_max {
            self.send_cookie(listener_id, tcp, segment, now);
            return;
        }
        let tuple = tcp.tuple;
        let Some(route) = self.fib.lookup(tuple.remote.ip) else {
            self.counters.not_for_us += 1;
            return;
        };
        listener.half_open += 1;
        self.counters.passive_opens += 1;
        let iss = self.initial_sequence(&tuple, now);
        let half_open = HalfOpen {
            tuple,
            iss: least_iss.map_or(iss, |least| iss.max(least)),
            irs: segment.seq,
            syn: SynOptions::of(&segment.options),
            mss: self.mss_own(route.link, tuple.remote.ip),
            mss_own: self.mss_of_listener(listener_id, tcp.link, tuple.remote.ip),
            timestamp_offset: self.timestamp_offset(&tuple),
            listener: listener_id,
            sent_at: now,
            retries: 0,
            retries_max: SYN_ACK_RETRIES,
        };
        let deadline = half_open.deadline();
        let id = self.half_opens.insert(half_open);
        let index = index_of(id);
        if index >= self.half_open_ids.len() {
            self.half_open_ids.resize(index + 1, HalfOpenId::null());
        }
        self.half_open_ids[index] = id;
        self.half_open_timers.set(index as u32, deadline);
        self.flows.insert(tuple, Flow::HalfOpen(id));
        self.send_syn_ack(id, now);
    }

    pub(super) fn send_syn_ack(&mut self, id: HalfOpenId, now: Instant) {
        let Some(half_open) = self.half_opens.get(id) else { return };
        let header = half_open.syn_ack(self.first_window(), now).header();
        self.replies.push_segment(half_open.tuple, header, &mut self.counters);
    }

    /// The largest segment that a SYN-ACK announces.
    fn mss_of_listener(&self, listener: ListenerId, link: LinkId, peer: IpAddr) -> u16 {
        let mss = self.mss_own(link, peer);
        let stated = self.listeners.get(listener).and_then(|listener| listener.mss);
        stated.map_or(mss, |stated| mss.min(stated.max(MSS_MIN)))
    }

    /// The window of a SYN-ACK.
    fn first_window(&self) -> u16 {
        self.config.tcp.receive_buffer_initial.min(65535) as u16
    }

    // SYN cookies: RFC 4987, section 3.6.

    /// Answers a SYN and forgets it.
    fn send_cookie(
        &mut self,
        listener: ListenerId,
        tcp: &Tcp<'_>,
        segment: &Segment<'_>,
        now: Instant,
    ) {
        let (tuple, irs) = (tcp.tuple, segment.seq);
        let syn = SynOptions::of(&segment.options);
        // What the connection will go on from: it finds the same offset again.
        let tsval = (now.millis() as u32).wrapping_add(self.timestamp_offset(&tuple));
        let syn_ack = SynAck {
            iss: self.cookies.make(&tuple, irs, &syn, now),
            irs,
            syn,
            mss_own: self.mss_of_listener(listener, tcp.link, tuple.remote.ip),
            tsval,
            window: self.first_window(),
        };
        self.counters.cookies_sent += 1;
        self.replies.push_cookie(tuple, syn_ack.header(), &mut self.counters);
    }

    /// Whether an acknowledgment of an unknown flow may complete a handshake that was answered by a cookie,
    /// and whose.
    pub(super) fn listener_for_cookie(&self, tcp: &Tcp<'_>, now: Instant) -> Option<ListenerId> {
        let Flags { syn, rst, ack, .. } = tcp.segment.flags;
        let may_be = ack && !syn && !rst && self.cookies.are_out(now);
        may_be.then(|| self.listener_for(tcp.tuple.local, tcp.wire)).flatten()
    }

    /// An acknowledgment that may bring a cookie back. Returns whether it did; if not, another worker may know
    /// its flow.
    pub(super) fn handle_cookie(
        &mut self,
        listener_id: ListenerId,
        tcp: &Tcp<'_>,
        now: Instant,
    ) -> bool {
        let (tuple, segment) = (tcp.tuple, &tcp.segment);
        let (iss, irs) = (segment.ack - 1, segment.seq - 1);
        let Some(syn) = self.cookies.open(&tuple, irs, iss, now) else { return false };
        if self.listeners[listener_id].is_accept_queue_full() {
            // The peer sends again: the cookie counts a while.
            self.counters.accept_queue_full += 1;
            return true;
        }
        let Some(route) = self.fib.lookup(tuple.remote.ip) else {
            self.counters.not_for_us += 1;
            return true;
        };
        // A SYN that came again may have found a record meanwhile.
        if let Some(Flow::HalfOpen(id)) = self.flows.get(&tuple) {
            self.forget_half_open(id);
        }
        self.counters.cookies_accepted += 1;
        let handshake = Handshake {
            tuple,
            iss,
            irs,
            peer: Options { timestamp: segment.options.timestamp, ..syn.options() },
            mss: self.mss_own(route.link, tuple.remote.ip),
            // Nobody remembers.
            retries: 0,
            timestamp_offset: self.timestamp_offset(&tuple),
        };
        self.establish(listener_id, &handshake, None, segment, now);
        true
    }

    /// A segment of a handshake: RFC 9293, section 3.10.7.4, as far as it concerns SYN-RECEIVED.
    /// Returns whether it was understood; if not, another worker may know more.
    #[cold]
    pub(super) fn handle_half_open(
        &mut self,
        id: HalfOpenId,
        segment: &Segment<'_>,
        now: Instant,
    ) -> bool {
        let half_open = &self.half_opens[id];
        let HalfOpen { iss, irs, tuple, .. } = *half_open;
        let expected = irs + 1;
        let window = self.config.tcp.receive_buffer_initial.min(65535);
        let in_window = !segment.seq.before(expected) && segment.seq.before(expected + window);
        if segment.flags.rst {
            if segment.seq == expected {
                self.forget_half_open(id);
            }
            return in_window;
        }
        if segment.flags.syn {
            if segment.seq == irs {
                self.send_syn_ack(id, now);
            } else {
                // RFC 5961, section 4: a peer that restarted answers this with a RST.
                let ack = Header::bare(iss + 1, expected, Flags::ACK);
                self.replies.push_segment(tuple, ack, &mut self.counters);
            }
            return true;
        }
        if !segment.flags.ack {
            return true;
        }
        if segment.ack != iss + 1 {
            return false;
        }
        if !in_window {
            self.send_syn_ack(id, now);
            return true;
        }
        self.complete(id, segment, now);
        true
    }

    /// The handshake is done, if there is a place for the connection.
    fn complete(&mut self, id: HalfOpenId, segment: &Segment<'_>, now: Instant) {
        let listener_id = self.half_opens[id].listener;
        if self.listeners[listener_id].is_accept_queue_full() {
            // As Linux: the peer sends again, and may find a place then.
            self.counters.accept_queue_full += 1;
            return;
        }
        let Some(half_open) = self.take_half_open(id) else { return };
        let (handshake, rtt) = (half_open.handshake(), half_open.rtt(now));
        self.establish(listener_id, &handshake, rtt, segment, now);
    }

    /// A connection, for the accept queue. `segment` completed its handshake.
    fn establish(
        &mut self,
        listener_id: ListenerId,
        handshake: &Handshake,
        rtt: Option<Duration>,
        segment: &Segment<'_>,
        now: Instant,
    ) {
        let connection = Connection::accept(handshake, segment, rtt, &self.config.tcp, now);
        let id = self.insert(connection);
        self.counters.accepted += 1;
        let listener = &mut self.listeners[listener_id];
        listener.accept_queue.push_back(id);
        if !listener.event_pending {
            listener.event_pending = true;
            self.events.push_back(Event::Accept(listener_id, listener.listen.user));
        }
        self.handle_connection(id, segment, now);
    }

    pub(super) fn handle_half_open_timer(&mut self, id: HalfOpenId, now: Instant) {
        let is_scarce = 2 * self.half_opens.len() > self.config.half_open_max;
        let Some(half_open) = self.half_opens.get_mut(id) else { return };
        let is_scarce = is_scarce || self.listeners[half_open.listener].is_half_open_scarce();
        if is_scarce {
            half_open.retries_max = SYN_ACK_RETRIES_SCARCE;
        }
        if half_open.retries >= half_open.retries_max {
            self.forget_half_open(id);
            return;
        }
        half_open.retries += 1;
        half_open.sent_at = now;
        let deadline = half_open.deadline();
        self.half_open_timers.set(index_of(id) as u32, deadline);
        self.counters.retransmits += 1;
        self.send_syn_ack(id, now);
    }

    pub(super) fn forget_half_open(&mut self, id: HalfOpenId) {
        if let Some(half_open) = self.take_half_open(id) {
            self.flows.remove(&half_open.tuple);
        }
    }

    /// The process ends: the peer is told.
    pub(super) fn reset_half_open(&mut self, id: HalfOpenId) {
        let Some(half_open) = self.half_opens.get(id) else { return };
        let HalfOpen { iss, irs, tuple, .. } = *half_open;
        let header = Header::bare(iss + 1, irs + 1, Flags::RST_ACK);
        self.replies.push_segment(tuple, header, &mut self.counters);
        self.forget_half_open(id);
    }

    fn take_half_open(&mut self, id: HalfOpenId) -> Option<HalfOpen> {
        let half_open = self.half_opens.remove(id)?;
        self.half_open_timers.cancel(index_of(id) as u32);
        if let Some(listener) = self.listeners.get_mut(half_open.listener) {
            listener.half_open -= 1;
        }
        Some(half_open)
    }
}
