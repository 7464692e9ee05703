//! Connections that we begin: source addresses and ports, and what any new connection begins with.
//!
//! Read:  RFC 9293, section 3.10.1 (OPEN); RFC 6056 (ports); RFC 6528 (sequence numbers); RFC 7323, section 5.4

use std::net::{IpAddr, SocketAddr};
use std::ops::RangeInclusive;

use super::{ConnectError, Stack, StackConfig, mss_of, usage};
use crate::connection::{Connection, MSS_MIN};
use crate::fib::{LinkId, WireId};
use crate::flow::{ConnId, Endpoint, Flow, FourTuple};
use crate::rss;
use crate::seq::SeqNumber;
use crate::time::Instant;

/// Source ports among which one is sought whose replies come home by the NIC's hash; the first free one of
/// them serves when none does, rather than a walk over all.
const PORTS_AT_A_TIME: usize = 256;

/// Where a connection comes from, and how it begins; what is `None` is chosen.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Source {
    /// The address. One that is not ours is sent from all the same: replies come if routing leads them here.
    pub address: Option<IpAddr>,
    /// The port.
    pub port: SourcePort,
    /// The wire that it leaves by; where the route leads to another there is none.
    pub wire: Option<WireId>,
    /// The largest segment to announce, bytes of payload.
    pub mss: Option<u16>,
}

/// The port that a connection comes from.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum SourcePort {
    /// One of this worker's.
    #[default]
    Own,
    /// One of this worker's part of this range, which is one of [`StackConfig::port_ranges`].
    Among(RangeInclusive<u16>),
    /// This one.
    Exactly(u16),
}

impl Stack {
    /// Begins a connection to `remote`, from `source` or an address that fits the route. The user is
    /// told by an event when it is open, or why it is not.
    pub fn connect(
        &mut self,
        remote: SocketAddr,
        source: Option<IpAddr>,
        user: u64,
        now: Instant,
    ) -> Result<ConnId, ConnectError> {
        self.connect_from(remote, &Source { address: source, ..Source::default() }, user, now)
    }

    /// As [`Stack::connect`], with more said of where it comes from.
    pub fn connect_from(
        &mut self,
        remote: SocketAddr,
        source: &Source,
        user: u64,
        now: Instant,
    ) -> Result<ConnId, ConnectError> {
        let remote = Endpoint::new(remote.ip(), remote.port());
        let next_hop = self.fib.lookup(remote.ip).ok_or(ConnectError::NoRoute)?;
        let leaves_by = self.fib.link(next_hop.link).wire;
        if source.wire.is_some_and(|wire| wire != leaves_by) {
            return Err(ConnectError::NoRoute);
        }
        let local_ip = source
            .address
            .or_else(|| self.fib.source_for(remote.ip))
            .ok_or(ConnectError::NoRoute)?;
        if local_ip.is_ipv4() != remote.ip.is_ipv4() {
            return Err(ConnectError::NoRoute);
        }
        let tuple = match &source.port {
            SourcePort::Exactly(port) => {
                let tuple = FourTuple { local: Endpoint::new(local_ip, *port), remote };
                (!self.is_in_use(&tuple, now)).then_some(tuple)
            }
            port => self.choose_source_port(local_ip, remote, next_hop.link, port, now),
        };
        let tuple = tuple.ok_or_else(|| {
            self.counters.no_source_port += 1;
            ConnectError::NoSourcePort
        })?;
        let mut iss = self.initial_sequence(&tuple, now);
        if let Some(Flow::TimeWait(id)) = self.flows.get(&tuple)
            && let Some(record) = self.time_waits.remove(id)
        {
            // What is left of the old connection must not reach into the new one.
            iss = iss.max(record.next_iss());
        }
        let mss = self.mss_own(next_hop.link, remote.ip);
        let mss = source.mss.map_or(mss, |stated| mss.min(stated.max(MSS_MIN)));
        let offset = self.timestamp_offset(&tuple);
        let mut connection = Connection::connect(tuple, iss, mss, offset, &self.config.tcp, now);
        connection.user = user;
        let id = self.insert(connection);
        self.counters.active_opens += 1;
        self.make_ready(id);
        Ok(id)
    }

    /// A free source port of this worker's slice, one whose replies come home if the NIC's hash is known.
    fn choose_source_port(
        &mut self,
        local_ip: IpAddr,
        remote: Endpoint,
        link: LinkId,
        port: &SourcePort,
        now: Instant,
    ) -> Option<FourTuple> {
        let StackConfig { worker, workers, .. } = self.config;
        let whole = match port {
            SourcePort::Among(range) => range.clone(),
            _ => self.config.source_ports.clone(),
        };
        let slice = rss::slice(whole, worker, workers);
        let count = slice.clone().count();
        let wire = self.fib.link(link).wire;
        let rss = self.config.rss.get(usize::from(wire.0)).and_then(Option::as_ref);
        // RFC 6056, algorithm 3: an offset that depends on the peer, and a counter.
        let seed = FourTuple { local: Endpoint::new(local_ip, 0), remote };
        let offset = self.config.secret.hash_for(usage::SOURCE_PORT, &seed) as u32;
        let tuple_of = |port| FourTuple { local: Endpoint::new(local_ip, port), remote };
        // Ports of a stated range are for those who state it: they may be another worker's.
        let is_stated =
            |port: &u16| self.config.port_ranges.iter().any(|range| range.contains(port));
        let is_own = *port == SourcePort::Own;
        let in_use =
            |port: u16| (is_own && is_stated(&port)) || self.is_in_use(&tuple_of(port), now);
        let mut tried = 0;
        while tried < count {
            let piece = PORTS_AT_A_TIME.min(count - tried);
            let at = self.next_port.wrapping_add(offset) as usize + tried;
            let candidates = (at..at + piece).map(|index| slice.start() + (index % count) as u16);
            let peer = SocketAddr::new(remote.ip, remote.port);
            let choice = rss::choose_port(rss, candidates, local_ip, peer, worker as u16, in_use);
            if let Some(choice) = choice {
                let place = usize::from(choice.port - slice.start());
                let used = (place + count - at % count) % count;
                self.next_port = self.next_port.wrapping_add((tried + used) as u32 + 1);
                return Some(tuple_of(choice.port));
            }
            tried += piece;
        }
        None
    }

    fn is_in_use(&self, tuple: &FourTuple, now: Instant) -> bool {
        match self.flows.get(tuple) {
            None => false,
            Some(Flow::TimeWait(id)) => {
                !self.time_waits.get(id).is_some_and(|record| record.allows_connect(now))
            }
            Some(_) => true,
        }
    }

    // What a new connection begins with.

    /// RFC 6528: a clock of 4 µs and a keyed hash of the four-tuple.
    pub(super) fn initial_sequence(&self, tuple: &FourTuple, now: Instant) -> SeqNumber {
        let hash = self.config.secret.hash_for(usage::INITIAL_SEQUENCE, tuple);
        SeqNumber((hash as u32).wrapping_add((now.micros() / 4) as u32))
    }

    /// RFC 7323, section 5.4: our clock is nobody's business.
    pub(super) fn timestamp_offset(&self, tuple: &FourTuple) -> u32 {
        self.config.secret.hash_for(usage::TIMESTAMP, tuple) as u32
    }

    /// The largest segment that we take from and send to a peer on a link.
    pub(super) fn mss_own(&self, link: LinkId, peer: IpAddr) -> u16 {
        mss_of(self.fib.link(link), peer).min(self.config.tcp.mss_max)
    }
}
