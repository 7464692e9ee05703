//! Who can be used, and with which weight.
//!
//! Owns:  the counts and sums of active servers and backups
//! Never: knows an algorithm

use super::{ServerEntry, WEIGHT_SCALE};

/// Active servers, or backups.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Group {
    Active,
    Backup,
}

/// Among whom to choose now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Choice {
    Among(Group),
    /// The first backup that can be used: it serves alone.
    Only(usize),
    Nobody,
}

#[derive(Clone, Copy, Debug)]
struct Member {
    entry: ServerEntry,
    eweight: u32,
    is_up: bool,
}

/// The servers of a backend.
#[derive(Debug)]
pub(super) struct Roster {
    members: Vec<Member>,
    all_backups: bool,
    /// By [`Group`]: servers that can be used, and the sum of their weights.
    count: [usize; 2],
    weight: [u32; 2],
    first_backup: Option<usize>,
}

impl Roster {
    pub fn new(servers: &[ServerEntry], all_backups: bool) -> Self {
        let member = |entry: &ServerEntry| Member {
            entry: *entry,
            eweight: entry.weight * WEIGHT_SCALE,
            is_up: true,
        };
        let members = servers.iter().map(member).collect();
        let mut roster =
            Roster { members, all_backups, count: [0; 2], weight: [0; 2], first_backup: None };
        roster.recount();
        roster
    }

    /// States of servers change seldom: counting anew is simple and cannot drift.
    fn recount(&mut self) {
        (self.count, self.weight, self.first_backup) = ([0; 2], [0; 2], None);
        for index in 0..self.members.len() {
            let weight = self.usable_weight(index);
            if weight == 0 {
                continue;
            }
            let group = self.group(index);
            self.count[group as usize] += 1;
            self.weight[group as usize] += weight;
            if group == Group::Backup {
                self.first_backup.get_or_insert(index);
            }
        }
    }

    pub fn set_weight(&mut self, server: usize, eweight: u32) {
        self.members[server].eweight = eweight;
        self.recount();
    }

    pub fn set_up(&mut self, server: usize, is_up: bool) {
        self.members[server].is_up = is_up;
        self.recount();
    }

    pub fn len(&self) -> usize {
        self.members.len()
    }

    pub fn id(&self, server: usize) -> u32 {
        self.members[server].entry.id
    }

    /// The weight in the configuration.
    pub fn stated_weight(&self, server: usize) -> u32 {
        self.members[server].entry.weight
    }

    pub fn group(&self, server: usize) -> Group {
        if self.members[server].entry.is_backup { Group::Backup } else { Group::Active }
    }

    /// The effective weight, whether the server can be used or not.
    pub fn eweight(&self, server: usize) -> u32 {
        self.members[server].eweight
    }

    /// The effective weight of a server that can be used, else 0.
    pub fn usable_weight(&self, server: usize) -> u32 {
        let member = &self.members[server];
        if member.is_up { member.eweight } else { 0 }
    }

    pub fn active(&self) -> usize {
        self.count[Group::Active as usize]
    }

    pub fn backups(&self) -> usize {
        self.count[Group::Backup as usize]
    }

    /// The weights of a group together.
    pub fn weight_of(&self, group: Group) -> u32 {
        self.weight[group as usize]
    }

    /// The weights of a group's servers that stand before this one.
    pub fn weight_before(&self, server: usize) -> u32 {
        let group = self.group(server);
        (0..server).filter(|&at| self.group(at) == group).map(|at| self.usable_weight(at)).sum()
    }

    pub fn choice(&self) -> Choice {
        match self.first_backup {
            _ if self.active() > 0 => Choice::Among(Group::Active),
            Some(first) if !self.all_backups => Choice::Only(first),
            Some(_) => Choice::Among(Group::Backup),
            None => Choice::Nobody,
        }
    }

    /// Servers among which one is chosen now (HAProxy's tot_used).
    pub fn used(&self) -> usize {
        match self.choice() {
            Choice::Among(group) => self.count[group as usize],
            Choice::Only(_) => 1,
            Choice::Nobody => 0,
        }
    }
}
