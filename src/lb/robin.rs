//! Weighted round robin whose weights may change at any time: each server's turns are spread evenly.
//!
//! In:    weights, who has room
//! Out:   the server whose turn it is
//! Owns:  the position of each server's next turn
//! Never: walks the servers, but for those without room
//!
//! ```text
//!   curr   servers in this round, by position
//!   init   servers that have not had a turn in this round, by weight
//!   next   servers that are due in the next round, by weight; it becomes `init` when the round ends
//! ```
//! A round is as long as the weights together; a server's turns are `round / weight` apart, and what the
//! division leaves is carried along.

use std::collections::BTreeSet;

use super::roster::{Choice, Roster};
use super::{Request, WEIGHT_SCALE};

/// Largest effective weight.
const EWEIGHT_MAX: u32 = 256 * WEIGHT_SCALE;
/// Positions and weights share a key: the first in units of the largest weight.
const POSITION_UNIT: u32 = 256;

/// A place in a tree: the key, then who came to it first.
type Place = (u32, u64, usize);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Tree {
    Curr,
    Init,
    Next,
}

#[derive(Clone, Copy, Debug, Default)]
struct Member {
    /// Position of the next turn, of the last one, and what is carried along.
    npos: u32,
    lpos: u32,
    rest: u32,
    at: Option<(TreeIndex, Place)>,
}

/// Which of a group's three sets; `Init` and `Next` change places at the end of a round.
type TreeIndex = usize;

#[derive(Debug, Default)]
struct Round {
    trees: [BTreeSet<Place>; 3],
    /// Whether `Init` is the third set instead of the second.
    is_swapped: bool,
    curr_weight: u32,
    curr_pos: u32,
    next_weight: u32,
}

impl Round {
    fn index(&self, tree: Tree) -> TreeIndex {
        match tree {
            Tree::Curr => 0,
            Tree::Init => 1 + usize::from(self.is_swapped),
            Tree::Next => 2 - usize::from(self.is_swapped),
        }
    }

    fn first(&self, tree: Tree) -> Option<usize> {
        self.trees[self.index(tree)].first().map(|&(_, _, server)| server)
    }
}

/// The turns of a backend's servers.
#[derive(Debug)]
pub(super) struct Robin {
    /// By [`super::roster::Group`].
    rounds: [Round; 2],
    members: Vec<Member>,
    arrivals: u64,
}

impl Robin {
    pub fn new(roster: &Roster) -> Self {
        let mut robin = Robin {
            rounds: Default::default(),
            members: vec![Member::default(); roster.len()],
            arrivals: 0,
        };
        for server in 0..roster.len() {
            let weight = roster.usable_weight(server);
            if weight > 0 {
                let round = &mut robin.rounds[roster.group(server) as usize];
                round.next_weight += weight;
                robin.queue_by_weight(server, Tree::Init, roster);
            }
        }
        for round in &mut robin.rounds {
            round.curr_weight = round.next_weight;
            round.curr_pos = round.next_weight;
        }
        robin
    }

    /// A server came, went, or has another weight; 0 is one that cannot be used.
    pub fn changed(&mut self, server: usize, old: u32, new: u32, roster: &Roster) {
        let group = roster.group(server) as usize;
        let round = &mut self.rounds[group];
        round.next_weight = round.next_weight - old + new;
        let (curr_pos, next_weight, curr_weight) =
            (round.curr_pos, round.next_weight, round.curr_weight);
        match (old, new) {
            (_, 0) => self.dequeue(server, group),
            (0, _) => {
                let member = &mut self.members[server];
                let ahead = (next_weight + curr_weight).wrapping_sub(curr_pos);
                member.npos = curr_pos.wrapping_add(ahead / new);
                self.queue(server, new, roster);
            }
            _ => self.reweighed(server, new, roster),
        }
    }

    fn reweighed(&mut self, server: usize, eweight: u32, roster: &Roster) {
        let group = roster.group(server) as usize;
        let round = &self.rounds[group];
        let (init, next) = (round.index(Tree::Init), round.index(Tree::Next));
        let tree = self.members[server].at.map(|(tree, _)| tree);
        if tree == Some(init) {
            self.dequeue(server, group);
            self.queue_by_weight(server, Tree::Init, roster);
            return;
        }
        let (curr_pos, curr_weight) = (round.curr_pos, round.curr_weight);
        let step = round.next_weight / eweight;
        let member = &mut self.members[server];
        if tree == Some(next) {
            member.npos = member.npos.wrapping_add(curr_weight);
        }
        // It keeps its turn, or has an earlier one.
        member.npos = member.npos.min(member.lpos.wrapping_add(step));
        member.rest = 0;
        if member.npos < curr_pos.wrapping_add(2) {
            member.npos = curr_pos.wrapping_add(step);
        }
        self.dequeue(server, group);
        self.queue(server, eweight, roster);
    }

    fn dequeue(&mut self, server: usize, group: usize) {
        if let Some((tree, place)) = self.members[server].at.take() {
            self.rounds[group].trees[tree].remove(&place);
        }
    }

    fn insert(&mut self, server: usize, tree: Tree, key: u32, roster: &Roster) {
        self.arrivals += 1;
        let round = &mut self.rounds[roster.group(server) as usize];
        let (tree, place) = (round.index(tree), (key, self.arrivals, server));
        round.trees[tree].insert(place);
        self.members[server].at = Some((tree, place));
    }

    fn queue_by_weight(&mut self, server: usize, tree: Tree, roster: &Roster) {
        self.insert(server, tree, EWEIGHT_MAX - roster.usable_weight(server), roster);
    }

    /// Queues a server by its position: into this round, or into the next if its turn is beyond it.
    fn queue(&mut self, server: usize, eweight: u32, roster: &Roster) {
        let round = &self.rounds[roster.group(server) as usize];
        let (curr, next) = (round.curr_weight, round.next_weight);
        let member = &mut self.members[server];
        if member.npos >= 2 * curr || member.npos >= curr + next {
            member.npos -= curr;
            self.queue_by_weight(server, Tree::Next, roster);
        } else {
            let key =
                POSITION_UNIT * member.npos + (EWEIGHT_MAX + member.rest - eweight) / WEIGHT_SCALE;
            self.insert(server, Tree::Curr, key, roster);
        }
    }

    /// The server whose turn it is among those that have room; the one to avoid only if no other has.
    pub fn next(
        &mut self,
        choice: Choice,
        roster: &Roster,
        request: &Request<'_>,
    ) -> Option<usize> {
        let Choice::Among(group) = choice else { return None };
        let group = group as usize;
        let mut is_switched = false;
        let mut avoided = None;
        let mut passed_over = Vec::new();
        let chosen = loop {
            let round = &mut self.rounds[group];
            if round.curr_weight == 0 {
                round.curr_weight = round.next_weight;
                round.curr_pos = round.next_weight;
            }
            let Some(server) = self.due(group) else {
                if is_switched {
                    break avoided;
                }
                is_switched = true;
                let round = &mut self.rounds[group];
                round.is_swapped = !round.is_swapped;
                round.curr_weight = round.next_weight;
                round.curr_pos = round.curr_weight;
                continue;
            };
            self.advance(server, group, roster);
            self.dequeue(server, group);
            self.rounds[group].curr_pos += 1;
            if request.is_free(server) {
                if Some(server) != request.avoid || avoided.is_some() {
                    break Some(server);
                }
                avoided = Some(server);
            }
            passed_over.push(server);
        };
        if let Some(server) = chosen {
            self.queue(server, roster.usable_weight(server), roster);
        }
        for server in passed_over.into_iter().rev().filter(|&server| Some(server) != chosen) {
            // After the end of a round only weights matter.
            if is_switched {
                self.queue_by_weight(server, Tree::Init, roster);
            } else {
                self.queue(server, roster.usable_weight(server), roster);
            }
        }
        chosen
    }

    /// Who is due: the first of this round if its position has come, else one that has had no turn yet.
    fn due(&mut self, group: usize) -> Option<usize> {
        let round = &self.rounds[group];
        let first = round.first(Tree::Curr);
        if let Some(server) = first
            && self.members[server].npos <= round.curr_pos
        {
            return first;
        }
        let Some(server) = round.first(Tree::Init) else { return first };
        (self.members[server].npos, self.members[server].rest) = (0, 0);
        Some(server)
    }

    /// Sets the position of a server's turn after this one.
    fn advance(&mut self, server: usize, group: usize, roster: &Roster) {
        let round = &self.rounds[group];
        let eweight = roster.usable_weight(server);
        let member = &mut self.members[server];
        if member.npos == 0 {
            member.npos = round.curr_pos;
        }
        member.lpos = member.npos;
        member.npos += round.next_weight / eweight;
        member.rest += round.next_weight % eweight;
        if member.rest >= eweight {
            member.rest -= eweight;
            member.npos += 1;
        }
    }
}
