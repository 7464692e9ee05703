//! Who waits for a place on a server, and whose turn it is.
//!
//! In:    streams that found no place; places that come free
//! Out:   words to the streams whose turn has come
//! Owns:  a ticket for each stream that waits
//! Never: gives a place to a stream that came later than another of the same class

use super::{Demand, State};
use crate::clock::Instant;
use crate::config::model::{Proxy, Redispatch};
use crate::queue::{Place, Queue, TicketId};
use crate::shared::{Mail, News};
use crate::transport::Token;

/// A stream that waits, by its worker and its name there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Waiter {
    /// The worker.
    pub worker: usize,
    /// The stream.
    pub token: Token,
}

impl Waiter {
    /// Tells the stream to look at its ticket.
    pub fn tell(self, mail: &Mail) {
        mail.tell(self.worker, News::Ticket(self.token));
    }
}

/// What has become of a ticket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Turn {
    /// Nothing yet.
    Wait,
    /// A place on this server is the stream's.
    Server(usize),
    /// The server that it waited for takes nobody any more: it should ask again.
    AskAgain,
}

/// A stream's ticket.
#[derive(Debug)]
pub(super) struct Ticket {
    waiter: Waiter,
    /// The server whose queue it stands in; `None`: the backend's.
    server: Option<usize>,
    place: Place,
    /// How many had had their turn in its queue when it came.
    served_before: u64,
    turn: Turn,
    /// How many had their turn while it waited, itself included; known once it waits no longer.
    served_since: Option<u64>,
}

/// Which turn of a queue a stream's was, from 1: in the queue of a server and in the backend's; 0: it did not wait
/// there.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Turns {
    /// In the queue of a server.
    pub at_server: u32,
    /// In the queue of the backend.
    pub at_backend: u32,
}

impl std::ops::AddAssign for Turns {
    fn add_assign(&mut self, other: Turns) {
        self.at_server += other.at_server;
        self.at_backend += other.at_backend;
    }
}

impl State {
    /// Lets a stream wait, for one server or for any.
    pub(super) fn wait(
        &mut self,
        server: Option<usize>,
        demand: &Demand<'_>,
        now: Instant,
    ) -> TicketId {
        let place = self.numbers.place(demand.priority, now);
        let ticket = Ticket {
            waiter: demand.waiter,
            server,
            place,
            served_before: self.queue_at(server).served(),
            turn: Turn::Wait,
            served_since: None,
        };
        let id = self.tickets.insert(ticket);
        match server {
            None => {
                self.queue.insert(place, id);
                self.peak_queued = self.peak_queued.max(self.queue.len() as u32);
            }
            Some(server) => {
                self.members[server].queue.insert(place, id);
                self.load_changed(server);
            }
        }
        id
    }

    pub(super) fn turn(&mut self, id: TicketId) -> Turn {
        let turn = self.tickets.get(id).map_or(Turn::AskAgain, |ticket| ticket.turn);
        if turn != Turn::Wait {
            self.tickets.remove(id);
        }
        turn
    }

    /// Forgets a ticket; returns the server on which a place was kept for it.
    pub(super) fn cancel(&mut self, id: TicketId) -> Option<usize> {
        let ticket = self.tickets.remove(id)?;
        match ticket.turn {
            Turn::Server(server) => return Some(server),
            Turn::AskAgain => return None,
            Turn::Wait => {}
        }
        self.leave_queue(ticket.server, ticket.place, Queue::remove);
        None
    }

    /// How many have had their turn since a stream came to its queue, itself included.
    pub(super) fn turns(&self, id: TicketId) -> Turns {
        let Some(ticket) = self.tickets.get(id) else { return Turns::default() };
        let since = ticket.served_since.unwrap_or_else(|| self.served_since(ticket));
        let turn = u32::try_from(since).unwrap_or(u32::MAX);
        match ticket.server {
            Some(_) => Turns { at_server: turn, at_backend: 0 },
            None => Turns { at_server: 0, at_backend: turn },
        }
    }

    /// The same while it waits.
    fn served_since(&self, ticket: &Ticket) -> u64 {
        self.queue_at(ticket.server).served() - ticket.served_before + 1
    }

    fn queue_at(&self, server: Option<usize>) -> &Queue {
        server.map_or(&self.queue, |server| &self.members[server].queue)
    }

    /// Takes a stream out of its queue: `serve` or `remove`.
    fn leave_queue(&mut self, server: Option<usize>, place: Place, leave: fn(&mut Queue, Place)) {
        match server {
            None => leave(&mut self.queue, place),
            Some(server) => {
                leave(&mut self.members[server].queue, place);
                self.load_changed(server);
            }
        }
    }

    /// Gives a place on `server` to the first who waits for it, or for any server if it serves those too.
    pub(super) fn grant(&mut self, server: usize, serves_all: bool) -> Option<Waiter> {
        let own = self.members[server].queue.first();
        let any = if serves_all { self.queue.first() } else { None };
        let id = match (own, any) {
            (Some(own), Some(any)) => own.min(any).1,
            (own, any) => own.or(any)?.1,
        };
        let served_since = Some(self.served_since(&self.tickets[id]));
        let ticket = &mut self.tickets[id];
        ticket.turn = Turn::Server(server);
        ticket.served_since = served_since;
        let Ticket { waiter, server: from, place, .. } = *ticket;
        self.leave_queue(from, place, Queue::serve);
        self.take(server);
        Some(waiter)
    }

    /// Lets those who wait for a server alone ask again, if they may move on; how many do.
    pub(super) fn redistribute(&mut self, server: usize, config: &Proxy, mail: &Mail) -> usize {
        if config.redispatch == Redispatch::Never {
            return 0;
        }
        self.ask_again(server, mail)
    }

    /// Lets those who wait for a server alone ask again; how many do.
    pub(super) fn ask_again(&mut self, server: usize, mail: &Mail) -> usize {
        let mut count = 0;
        for id in self.members[server].queue.drain() {
            let ticket = &mut self.tickets[id];
            ticket.turn = Turn::AskAgain;
            ticket.waiter.tell(mail);
            count += 1;
        }
        self.load_changed(server);
        count
    }
}
