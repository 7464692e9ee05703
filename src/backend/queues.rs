//! Who waits for a place on a server, and whose turn it is.
//!
//! In:    streams that found no place; places that come free
//! Out:   words to the streams whose turn has come
//! Owns:  a ticket for each stream that waits
//! Never: gives a place to a stream that came later than another of the same class

use super::{Demand, State};
use crate::clock::Instant;
use crate::config::model::{Proxy, Redispatch};
use crate::queue::{Place, TicketId};
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
    turn: Turn,
}

impl Ticket {
    /// The server whose queue it stands in; `None`: the backend's.
    pub(super) fn server(&self) -> Option<usize> {
        self.server
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
        let ticket = Ticket { waiter: demand.waiter, server, place, turn: Turn::Wait };
        let id = self.tickets.insert(ticket);
        match server {
            None => self.queue.insert(place, id),
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
        self.leave_queue(ticket.server, ticket.place);
        None
    }

    fn leave_queue(&mut self, server: Option<usize>, place: Place) {
        match server {
            None => self.queue.remove(place),
            Some(server) => {
                self.members[server].queue.remove(place);
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
        let ticket = &mut self.tickets[id];
        ticket.turn = Turn::Server(server);
        let Ticket { waiter, server: from, place, .. } = *ticket;
        self.leave_queue(from, place);
        self.take(server);
        Some(waiter)
    }

    /// Lets those who wait for a server alone ask again, if they may move on; how many do.
    pub(super) fn redistribute(&mut self, server: usize, config: &Proxy, mail: &Mail) -> usize {
        if config.redispatch == Redispatch::Never {
            return 0;
        }
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
