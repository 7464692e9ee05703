//! One run: hosts, network and the ends of all conversations, in virtual time.
//!
//! In:    a scenario
//! Out:   a tally; or a panic with what was broken
//! Owns:  the time
//! Never: lets a run go on when nothing happens any more

use std::time::Duration;

use netstack::Instant;

use crate::end::{End, Phase};
use crate::host::{self, Host};
use crate::network::{Deeds, Network};
use crate::scenario::{Conversation, Pairing, Scenario};

/// Something goes on at least once in this time: it covers the longest outage, the longest pause, and a few of
/// the longest timeouts behind them.
const STALL_MAX: Duration = Duration::from_secs(600);

/// Where nothing gets lost, the other end hears of a reset within this time.
const TELLING_MAX: Duration = Duration::from_secs(120);

/// Hosts forget all connections within this time after the last user has left.
const FORGETTING_MAX: Duration = Duration::from_secs(1800);

/// What runs did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    pub seeds: u64,
    /// Conversations by how they ended.
    pub complete: u64,
    pub aborted: u64,
    /// An end that had to lose patience, for the word of the reset was lost.
    pub untold: u64,
    pub reconnects: u64,
    pub retransmits: u64,
    pub bytes: u64,
    pub deeds: Deeds,
}

impl Tally {
    pub fn add(&mut self, other: &Tally) {
        self.seeds += other.seeds;
        self.complete += other.complete;
        self.aborted += other.aborted;
        self.untold += other.untold;
        self.reconnects += other.reconnects;
        self.retransmits += other.retransmits;
        self.bytes += other.bytes;
        self.deeds.lost += other.deeds.lost;
        self.deeds.duplicated += other.deeds.duplicated;
        self.deeds.corrupted += other.deeds.corrupted;
        self.deeds.too_long += other.deeds.too_long;
    }
}

impl Tally {
    /// The seeds bring what they are meant to bring.
    pub fn assert_variety(&self) {
        let Deeds { lost, duplicated, corrupted, too_long, .. } = self.deeds;
        let deeds = [lost, duplicated, corrupted, too_long, self.retransmits];
        assert!(deeds.iter().all(|&count| count >= self.seeds / 10), "{self:#?}");
        assert!(self.complete > self.seeds && self.aborted > self.seeds / 10, "{self:#?}");
    }
}

pub struct Simulation {
    scenario: Scenario,
    hosts: [Box<dyn Host>; 2],
    network: Network,
    conversations: Vec<[End; 2]>,
    has_begun: Vec<bool>,
    /// When an end first reset its connection, by conversation.
    resets: Vec<Option<Instant>>,
    began: Instant,
    now: Instant,
    /// When a conversation that nobody has reset last went on, and how far it was.
    last_progress: Instant,
    progress: usize,
    untold: u64,
}

impl Simulation {
    pub fn new(scenario: Scenario) -> Simulation {
        // Clocks and sequence numbers begin anywhere.
        let began = Instant::from_micros(
            1 + (scenario.seed + 1).wrapping_mul(0x9e37_79b9_7f4a) % (1 << 43),
        );
        let follows_paths = [
            scenario.pairing != Pairing::SmoltcpConnects,
            scenario.pairing != Pairing::SmoltcpListens,
        ];
        let connects = [true, scenario.is_simultaneous];
        let ends = |(index, plan): (usize, &Conversation)| {
            [0, 1].map(|side| End::new(index, side, connects[side], plan.ends[side]))
        };
        let count = scenario.conversations.len();
        Simulation {
            hosts: host::hosts(&scenario),
            network: Network::new(&scenario, follows_paths, began),
            conversations: scenario.conversations.iter().enumerate().map(ends).collect(),
            has_begun: vec![false; count],
            resets: vec![None; count],
            began,
            now: began,
            last_progress: began,
            progress: 0,
            untold: 0,
            scenario,
        }
    }

    /// Runs to the end.
    pub fn run(mut self) -> Tally {
        if !self.scenario.is_simultaneous {
            (0..self.conversations.len()).for_each(|index| self.hosts[1].listen(index));
        }
        while !self.conversations.iter().flatten().all(End::is_over) {
            self.step();
            self.assert_progress();
            self.tell_of_resets();
        }
        let left = self.now;
        while !self.hosts.iter().all(|host| host.is_empty()) {
            self.step();
            let waited = self.now.since(left);
            assert!(waited < FORGETTING_MAX, "something is still known after {waited:?}");
        }
        self.conclude()
    }

    /// What is due is delivered, everybody acts and speaks, and the time moves to what is next.
    fn step(&mut self) {
        while let Some((to, frame)) = self.network.poll(self.now) {
            self.hosts[to].receive(&frame, self.now);
        }
        self.speak();
        self.begin();
        self.act();
        self.speak();
        for host in &self.hosts {
            host.assert_invariants();
        }
        self.now = self.next();
    }

    fn speak(&mut self) {
        for side in 0..2 {
            let mut frames = Vec::new();
            self.hosts[side].poll(self.now, &mut frames);
            for frame in frames {
                self.network.send(side, frame, self.now);
            }
        }
    }

    fn start_of(&self, index: usize) -> Instant {
        self.began + Duration::from_micros(self.scenario.conversations[index].start_us)
    }

    /// Connects for the conversations whose time has come.
    fn begin(&mut self) {
        for index in 0..self.conversations.len() {
            if self.has_begun[index] || self.now < self.start_of(index) {
                continue;
            }
            self.has_begun[index] = true;
            self.hosts[0].connect(index, self.now);
            if self.scenario.is_simultaneous {
                self.hosts[1].connect(index, self.now);
            }
        }
    }

    fn act(&mut self) {
        for side in 0..2 {
            while let Some(index) = self.hosts[side].poll_news() {
                self.act_for(index, side);
            }
            for index in 0..self.conversations.len() {
                let at = self.conversations[index][side].next_at();
                if at.is_some_and(|at| at <= self.now) {
                    self.act_for(index, side);
                }
            }
        }
    }

    fn act_for(&mut self, index: usize, side: usize) {
        let [end, other] = match (&mut self.conversations[index], side) {
            ([client, server], 0) => [client, server],
            ([client, server], _) => [server, client],
        };
        let was_over = end.is_over();
        end.act(&mut *self.hosts[side], self.now);
        let reset = &mut self.resets[index];
        match end.phase {
            Phase::Aborted if !was_over => {
                reset.get_or_insert(self.now);
            }
            // The last word of a handshake was lost for longer than the listener remembers the first.
            Phase::Failed if reset.is_none() && other.phase == Phase::Waiting => {
                end.start_over(self.now);
            }
            Phase::Failed => assert!(reset.is_some(), "it failed, and nobody reset it: {end:?}"),
            _ => {}
        }
    }

    /// As long as somebody talks, something arrives.
    fn assert_progress(&mut self) {
        let going =
            self.conversations.iter().zip(&self.resets).filter(|(_, reset)| reset.is_none());
        let ends: Vec<&End> = going.flat_map(|(ends, _)| ends).collect();
        let progress: usize =
            ends.iter().map(|end| end.sent + end.received + usize::from(end.is_over())).sum();
        let has_begun = self.has_begun.iter().all(|&begun| begun);
        if progress != self.progress || !has_begun || ends.iter().all(|end| end.is_over()) {
            (self.progress, self.last_progress) = (progress, self.now);
        }
        let quiet = self.now.since(self.last_progress);
        assert!(quiet < STALL_MAX, "nothing went on for {quiet:?}: {ends:#?}");
    }

    /// Who was reset hears of it, or, where the network loses, may never hear.
    fn tell_of_resets(&mut self) {
        for index in 0..self.conversations.len() {
            let Some(at) = self.resets[index].filter(|&at| self.now.since(at) > TELLING_MAX) else {
                continue;
            };
            for side in 0..2 {
                let end = &mut self.conversations[index][side];
                if end.is_over() {
                    continue;
                }
                let may_miss_it = !self.scenario.loses_nothing() || end.phase == Phase::Waiting;
                assert!(may_miss_it, "reset at {at}, and it was not told: {end:?}");
                end.lose_patience(&mut *self.hosts[side], self.now);
                self.untold += 1;
            }
        }
    }

    fn next(&mut self) -> Instant {
        let now = self.now;
        let ends = self.conversations.iter().flatten().filter_map(End::next_at);
        let starts = (0..self.conversations.len())
            .filter(|&index| !self.has_begun[index])
            .map(|index| self.start_of(index));
        let known = ends.chain(starts).chain(self.network.next_at()).min();
        let hosts = self.hosts.iter_mut().filter_map(|host| host.poll_at(now));
        let next = hosts.chain(known).min().unwrap_or(now + Duration::from_secs(1));
        next.max(now + Duration::from_micros(1))
    }

    fn conclude(&self) -> Tally {
        let mut tally = Tally {
            seeds: 1,
            untold: self.untold,
            retransmits: self.hosts.iter().map(|host| host.retransmits()).sum(),
            deeds: self.network.deeds,
            ..Tally::default()
        };
        for (ends, reset) in self.conversations.iter().zip(&self.resets) {
            tally.reconnects += ends.iter().map(|end| end.reconnects).sum::<u64>();
            tally.bytes += ends.iter().map(|end| end.received as u64).sum::<u64>();
            if reset.is_some() {
                tally.aborted += 1;
                continue;
            }
            tally.complete += 1;
            for side in 0..2 {
                ends[side].assert_complete(ends[1 - side].sent);
            }
        }
        tally
    }
}
