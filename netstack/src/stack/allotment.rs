//! Whose window opens while buffers are few: everybody's in turn, as far as there are buffers for what he will send.
//!
//! In:    connections that want a window; buffers that are free
//! Out:   allotments
//! Owns:  the queues; leases, oldest first
//! Never: promises a buffer twice within the time of a lease; lets an idle connection keep others waiting
//! Read:  connection/window.rs

use std::collections::VecDeque;
use std::time::Duration;

use super::Stack;
use crate::buffer::BufferPool;
use crate::connection::{Connection, Grant};
use crate::flow::ConnId;
use crate::time::Instant;

/// Segments of one allotment, at most: the more buffers are free and the fewer wait, the more it is.
const SEGMENTS_MAX: usize = 16;
/// How long buffers are kept for a connection that says nothing: longer than most round trips.
const LEASE: Duration = Duration::from_millis(250);

/// Connections that want a window, and those that have buffers kept for them.
#[derive(Default)]
pub(super) struct Allotments {
    /// Those of clients, and those of servers, whose bytes may take the reserve.
    queues: [VecDeque<Waiting>; 2],
    leases: VecDeque<Lease>,
    serial: u32,
}

struct Waiting {
    id: ConnId,
    /// The least that is of use to it.
    buffers: usize,
}

struct Lease {
    until: Instant,
    id: ConnId,
    serial: u32,
}

impl Allotments {
    fn waiting(&self) -> usize {
        self.queues.iter().map(VecDeque::len).sum()
    }

    /// When something is to be done although nothing happens.
    pub fn poll_at(&self, pool: &BufferPool) -> Option<Instant> {
        if self.waiting() == 0 {
            return None;
        }
        let is_due = |which: usize| {
            let spare = pool.spare(which == 1);
            self.queues[which].front().is_some_and(|first| spare >= first.buffers)
        };
        match is_due(0) || is_due(1) {
            true => Some(Instant::ZERO),
            false => self.leases.front().map(|lease| lease.until),
        }
    }
}

/// Lets a connection that wants a window stand in the queue, once.
#[inline(always)]
pub(super) fn stand_in_line(
    id: ConnId,
    connection: &mut Connection,
    allotments: &mut Allotments,
    pool: &BufferPool,
) {
    if connection.queues_for_window() {
        let is_active = connection.is_active();
        // A segment larger than all buffers together would wait for ever.
        let buffers = connection.buffers_per_segment().min(pool.usable(is_active));
        allotments.queues[usize::from(is_active)].push_back(Waiting { id, buffers });
    }
}

impl Stack {
    /// Opens windows: those of servers and of clients in turn.
    pub(super) fn allot(&mut self, now: Instant) {
        if self.allotments.leases.is_empty() && self.allotments.waiting() == 0 {
            return;
        }
        self.end_leases(now);
        let mut is_done = [false; 2];
        while is_done != [true; 2] {
            for which in [1, 0] {
                is_done[which] = is_done[which] || !self.allot_next(which, now);
            }
        }
    }

    /// Serves the first of a queue; `false`: it is empty, or there are too few buffers.
    fn allot_next(&mut self, which: usize, now: Instant) -> bool {
        let (pool, is_active) = (&mut self.pools.buffers, which == 1);
        let waiting = self.allotments.waiting();
        let Some(&Waiting { id, buffers: least }) = self.allotments.queues[which].front() else {
            return false;
        };
        let spare = pool.spare(is_active);
        if spare < least {
            return false;
        }
        self.allotments.queues[which].pop_front();
        let Some(connection) = self.connections.get_mut(id) else { return true };
        let segments = (spare / (2 * waiting * least)).clamp(1, SEGMENTS_MAX);
        // Windows are rounded up, and who may send a little more than full segments does.
        let buffers = ((segments + 1) * least).min(spare);
        self.allotments.serial = self.allotments.serial.wrapping_add(1);
        let serial = self.allotments.serial;
        connection.allot(Grant { segments, buffers, serial }, pool);
        self.allotments.leases.push_back(Lease { until: now + LEASE, id, serial });
        self.make_ready(id);
        true
    }

    fn end_leases(&mut self, now: Instant) {
        while let Some(&Lease { until, id, serial }) = self.allotments.leases.front() {
            let connection = self.connections.get_mut(id);
            let holder = connection.filter(|connection| connection.has_lease(serial));
            match holder {
                Some(_) if now < until => return,
                Some(connection) => connection.end_lease(serial, &mut self.pools.buffers),
                None => {}
            }
            self.allotments.leases.pop_front();
        }
    }
}
