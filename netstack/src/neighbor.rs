//! The link-layer addresses of neighbours, and who waits for them.
//!
//! In:    what the kernel knows, what ARP and neighbour discovery say
//! Out:   a link-layer address; or a request to resolve one, and later the flows that waited
//! Owns:  one entry per neighbour, never moved, so that a connection keeps its index
//! Never: talks to the kernel or sends a packet
//! Read:  RFC 826; RFC 4861, section 7

use std::collections::VecDeque;
use std::net::IpAddr;
use std::time::Duration;

use hashbrown::HashMap;

use crate::fib::{LinkId, NextHop, Origin};
use crate::flow::{Flow, Secret};
use crate::time::Instant;

/// Neighbours that are remembered. On-link addresses can be invented by whoever sends us packets.
const NEIGHBORS_MAX: usize = 16_384;
/// Handshakes that wait for one neighbour: their SYN-ACKs go again by themselves. A connection waits once,
/// and has no other hope.
const WAITERS_MAX: usize = 4096;
/// RetransTimer of RFC 4861, section 10.
const RETRY: Duration = Duration::from_secs(1);
/// MAX_UNICAST_SOLICIT of RFC 4861, section 10.
const ATTEMPTS: u8 = 3;
/// How often a neighbour in use is confirmed: within the kernel's 30 s of reachable time.
const REFRESH: Duration = Duration::from_secs(20);

/// A neighbour of a stack, as an index.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct PathId(u32);

/// Someone to be resolved.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Resolve {
    /// The link.
    pub link: LinkId,
    /// The neighbour.
    pub address: IpAddr,
    /// Who resolves it.
    pub origin: Origin,
}

struct Neighbor {
    link: LinkId,
    address: IpAddr,
    origin: Origin,
    mac: Option<[u8; 6]>,
    /// When it was last asked for.
    asked: Option<Instant>,
    attempts: u8,
    /// It stands in `Neighbors::pending`.
    is_pending: bool,
    waiters: Vec<Flow>,
}

/// The neighbours of one worker.
pub(crate) struct Neighbors {
    entries: Vec<Neighbor>,
    index: HashMap<(LinkId, IpAddr), PathId, Secret>,
    /// Unresolved entries in the order in which they are asked for again.
    pending: VecDeque<(Instant, PathId)>,
    requests: VecDeque<Resolve>,
}

impl Neighbors {
    pub fn new(secret: Secret) -> Self {
        Neighbors {
            entries: Vec::new(),
            index: HashMap::with_hasher(secret),
            pending: VecDeque::new(),
            requests: VecDeque::new(),
        }
    }

    /// Bytes that are allocated for neighbours.
    pub fn allocated_bytes(&self) -> usize {
        self.entries.capacity() * size_of::<Neighbor>() + self.index.allocation_size()
    }

    /// The entry of a next hop; `None` when there are too many.
    pub fn intern(&mut self, next_hop: NextHop) -> Option<PathId> {
        let NextHop { link, address, origin } = next_hop;
        if let Some(&id) = self.index.get(&(link, address)) {
            self.entries[id.0 as usize].origin = origin;
            return Some(id);
        }
        if self.entries.len() == NEIGHBORS_MAX {
            return None;
        }
        let id = PathId(self.entries.len() as u32);
        self.entries.push(Neighbor {
            link,
            address,
            origin,
            mac: None,
            asked: None,
            attempts: 0,
            is_pending: false,
            waiters: Vec::new(),
        });
        self.index.insert((link, address), id);
        Some(id)
    }

    /// Forgets all neighbours: links mean something else now. Returns the flows that waited.
    pub fn reset(&mut self) -> Vec<Flow> {
        self.index.clear();
        self.pending.clear();
        self.requests.clear();
        self.entries.drain(..).flat_map(|entry| entry.waiters).collect()
    }

    /// The link of an entry.
    #[inline]
    pub fn link(&self, id: PathId) -> LinkId {
        self.entries[id.0 as usize].link
    }

    /// The address to send to, if it is known. Asks for it when it is not, and now and then when it is.
    #[inline]
    pub fn resolve(&mut self, id: PathId, now: Instant) -> Option<[u8; 6]> {
        let entry = &mut self.entries[id.0 as usize];
        let mac = entry.mac;
        let asked_lately = entry.asked.is_some_and(|at| now.since(at) < REFRESH);
        if mac.is_none() && !entry.is_pending {
            entry.is_pending = true;
            self.pending.push_back((now + RETRY, id));
            self.ask(id, now);
        } else if mac.is_some() && !asked_lately {
            self.ask(id, now);
        }
        mac
    }

    fn ask(&mut self, id: PathId, now: Instant) {
        let entry = &mut self.entries[id.0 as usize];
        entry.asked = Some(now);
        self.requests.push_back(Resolve {
            link: entry.link,
            address: entry.address,
            origin: entry.origin,
        });
    }

    /// Has `flow` told when the neighbour is resolved or given up.
    pub fn wait(&mut self, id: PathId, flow: Flow) {
        let waiters = &mut self.entries[id.0 as usize].waiters;
        if waiters.len() < WAITERS_MAX || matches!(flow, Flow::Connection(_)) {
            waiters.push(flow);
        }
    }

    /// Takes news of a neighbour; returns the flows that waited for them.
    pub fn update(&mut self, link: LinkId, address: IpAddr, mac: Option<[u8; 6]>) -> Vec<Flow> {
        let next_hop = NextHop { link, address, origin: Origin::Kernel };
        let known = self.index.get(&(link, address)).copied();
        let Some(id) = known.or_else(|| mac.and_then(|_| self.intern(next_hop))) else {
            return Vec::new();
        };
        let entry = &mut self.entries[id.0 as usize];
        entry.mac = mac;
        if mac.is_none() {
            return Vec::new();
        }
        entry.attempts = 0;
        std::mem::take(&mut entry.waiters)
    }

    /// Takes news only of a neighbour that is known already.
    pub fn confirm(&mut self, link: LinkId, address: IpAddr, mac: [u8; 6]) -> Vec<Flow> {
        if self.index.contains_key(&(link, address)) {
            self.update(link, address, Some(mac))
        } else {
            Vec::new()
        }
    }

    /// Asks again for those that did not answer; returns the flows of those that never did.
    pub fn handle_timers(&mut self, now: Instant) -> Vec<Flow> {
        let mut given_up = Vec::new();
        while let Some(&(at, id)) = self.pending.front() {
            if at > now {
                break;
            }
            self.pending.pop_front();
            let entry = &mut self.entries[id.0 as usize];
            entry.attempts += 1;
            if entry.mac.is_none() && entry.attempts < ATTEMPTS {
                self.pending.push_back((now + RETRY, id));
                self.ask(id, now);
            } else {
                entry.is_pending = false;
                entry.attempts = 0;
                given_up.append(&mut entry.waiters);
            }
        }
        given_up
    }

    /// When [`Neighbors::handle_timers`] wants to be called.
    pub fn poll_at(&self) -> Option<Instant> {
        self.pending.front().map(|&(at, _)| at)
    }

    /// The next one to be resolved.
    pub fn poll_request(&mut self) -> Option<Resolve> {
        self.requests.pop_front()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hop(last: u8) -> NextHop {
        let address = IpAddr::from([10, 0, 0, last]);
        NextHop { link: LinkId(0), address, origin: Origin::Stated }
    }

    #[test]
    fn asks_three_times_then_gives_up() {
        let mut neighbors = Neighbors::new(Secret([1; 16]));
        let id = neighbors.intern(hop(1)).unwrap();
        assert_eq!(neighbors.resolve(id, Instant::ZERO), None);
        assert_eq!(neighbors.resolve(id, Instant::ZERO), None, "asked once, not twice");
        neighbors.wait(id, Flow::HalfOpen(Default::default()));
        let mut requests = 0;
        let mut given_up = Vec::new();
        for second in 0..5 {
            given_up.extend(neighbors.handle_timers(Instant::from_millis(second * 1000)));
            requests += std::iter::from_fn(|| neighbors.poll_request()).count();
        }
        assert_eq!((requests, given_up.len()), (3, 1));
        assert_eq!(neighbors.poll_at(), None);
    }

    #[test]
    fn wakes_who_waited_and_refreshes_what_is_used() {
        let mut neighbors = Neighbors::new(Secret([1; 16]));
        let id = neighbors.intern(hop(1)).unwrap();
        neighbors.resolve(id, Instant::ZERO);
        neighbors.wait(id, Flow::HalfOpen(Default::default()));
        let mac = [2, 0, 0, 0, 0, 9];
        assert_eq!(neighbors.update(LinkId(0), hop(1).address, Some(mac)).len(), 1);
        assert_eq!(neighbors.resolve(id, Instant::from_millis(1)), Some(mac));
        while neighbors.poll_request().is_some() {}
        neighbors.resolve(id, Instant::from_millis(21_000));
        assert_eq!(neighbors.poll_request().map(|r| r.address), Some(hop(1).address));
        neighbors.update(LinkId(0), hop(1).address, None);
        assert_eq!(neighbors.resolve(id, Instant::from_millis(50_000)), None);
    }
}
