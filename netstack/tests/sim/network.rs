//! The network between two hosts, with faults.
//!
//! In:    frames
//! Out:   the same frames: late, lost, twice, out of order, with a bit flipped; a router's word on those too long
//! Owns:  frames on their way; a trace of all there was
//! Never: reads a clock; touches ARP and neighbour discovery, which TCP cannot repair

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::time::Duration;

use netstack::Instant;
use smoltcp::wire::{EthernetFrame, IpProtocol, PrettyPrinter};

use crate::common::repair::repair;
use crate::common::{OWN_MAC, PEER_MAC, Random, ip_frame};
use crate::host::ip;
use crate::scenario::{Faults, PathChange, Scenario};

const ETHERNET_HEADER: usize = 14;

/// Bytes of a packet that a router quotes.
const QUOTE: usize = 68;

/// A frame on its way. What arrives first comes first, and what was sent first among equals.
#[derive(PartialEq, Eq, PartialOrd, Ord)]
struct Passing {
    at: Instant,
    order: u64,
    to: usize,
    frame: Vec<u8>,
}

/// What the network did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Deeds {
    pub lost: u64,
    pub duplicated: u64,
    pub corrupted: u64,
    pub too_long: u64,
    /// Hash of every frame that was sent, and of the time of each.
    pub trace: u64,
}

pub struct Network {
    faults: Faults,
    /// Sides whose packets a path may be too short for: smoltcp takes no word of a router's.
    follows_paths: [bool; 2],
    ipv6: bool,
    random: Random,
    began: Instant,
    /// When the last burst of loss ends, by direction, in microseconds.
    burst_until: [u64; 2],
    on_the_way: BinaryHeap<Reverse<Passing>>,
    order: u64,
    pub deeds: Deeds,
    is_verbose: bool,
}

impl Network {
    pub fn new(scenario: &Scenario, follows_paths: [bool; 2], began: Instant) -> Network {
        Network {
            faults: scenario.faults.clone(),
            follows_paths,
            ipv6: scenario.ipv6,
            random: Random(!scenario.seed),
            began,
            burst_until: [0; 2],
            on_the_way: BinaryHeap::new(),
            order: 0,
            deeds: Deeds::default(),
            is_verbose: std::env::var_os("SIM_TRACE").is_some(),
        }
    }

    /// When the next frame arrives.
    pub fn next_at(&self) -> Option<Instant> {
        self.on_the_way.peek().map(|Reverse(passing)| passing.at)
    }

    /// The next frame that has arrived, and the side that it has come to.
    pub fn poll(&mut self, now: Instant) -> Option<(usize, Vec<u8>)> {
        if self.next_at()? > now {
            return None;
        }
        self.on_the_way.pop().map(|Reverse(passing)| (passing.to, passing.frame))
    }

    /// Takes a frame of side `from`.
    pub fn send(&mut self, from: usize, frame: Vec<u8>, now: Instant) {
        self.note(&frame, now);
        if self.is_verbose {
            let text = PrettyPrinter::<EthernetFrame<&[u8]>>::new("", &&frame[..]).to_string();
            println!("{now} side {from}: {}", text.replace('\n', " "));
        }
        if !is_tcp(&frame) {
            return self.enqueue(1 - from, frame, now);
        }
        if let Some(path) = self.path(now).filter(|path| frame.len() - ETHERNET_HEADER > path.mtu)
            && self.follows_paths[from]
        {
            self.deeds.too_long += 1;
            if path.is_told {
                let word = self.too_long(from, &frame, path.mtu);
                self.carry(from, word, now);
            }
            return;
        }
        self.carry(1 - from, frame, now);
    }

    fn path(&self, now: Instant) -> Option<PathChange> {
        let at = now.since(self.began).as_micros() as u64;
        self.faults.paths.iter().rev().find(|path| path.at_us <= at).copied()
    }

    /// A router's word on a frame that is too long for its next link (RFC 1191, RFC 8201).
    fn too_long(&self, from: usize, frame: &[u8], mtu: usize) -> Vec<u8> {
        let quoted = &frame[ETHERNET_HEADER..ETHERNET_HEADER + QUOTE];
        let mtu = (mtu as u16).to_be_bytes();
        let (protocol, kind) = if self.ipv6 {
            (IpProtocol::Icmpv6, [2, 0, 0, 0, 0, 0, mtu[0], mtu[1]])
        } else {
            (IpProtocol::Icmp, [3, 4, 0, 0, 0, 0, mtu[0], mtu[1]])
        };
        let addresses = [ip(self.ipv6, 1 - from), ip(self.ipv6, from)];
        let mut word = ip_frame(addresses, protocol, 64, None, &[&kind, quoted].concat());
        // Frames by hand go to the client's address.
        let macs = if from == 0 { [OWN_MAC, PEER_MAC] } else { [PEER_MAC, OWN_MAC] };
        word[..12].copy_from_slice(&macs.concat());
        repair(&mut word);
        word
    }

    fn carry(&mut self, to: usize, mut frame: Vec<u8>, now: Instant) {
        if self.is_lost(to, now) {
            self.deeds.lost += 1;
            return;
        }
        if self.random.chance(self.faults.corrupt) {
            // Nothing but the link itself guards its own header.
            let bits = (frame.len() - ETHERNET_HEADER) as u64 * 8;
            let bit = ETHERNET_HEADER * 8 + self.random.below(bits) as usize;
            frame[bit / 8] ^= 1 << (bit % 8);
            self.deeds.corrupted += 1;
        }
        if self.random.chance(self.faults.duplicate) {
            self.deeds.duplicated += 1;
            self.enqueue(to, frame.clone(), now);
        }
        self.enqueue(to, frame, now);
    }

    fn is_lost(&mut self, to: usize, now: Instant) -> bool {
        let at = now.since(self.began).as_micros() as u64;
        if self.faults.outage.is_some_and(|(from, len)| (from..from + len).contains(&at)) {
            return true;
        }
        if let Some((chance, len)) = self.faults.burst
            && self.random.chance(chance)
        {
            self.burst_until[to] = at + len;
        }
        at < self.burst_until[to] || self.random.chance(self.faults.loss)
    }

    fn enqueue(&mut self, to: usize, frame: Vec<u8>, now: Instant) {
        let delay = self.faults.delay_us + self.random.below(self.faults.jitter_us + 1);
        self.order += 1;
        let (at, order) = (now + Duration::from_micros(delay), self.order);
        self.on_the_way.push(Reverse(Passing { at, order, to, frame }));
    }

    fn note(&mut self, frame: &[u8], now: Instant) {
        let mut hash = mix(self.deeds.trace, now.micros());
        for word in frame.chunks(8) {
            let mut bytes = [0; 8];
            bytes[..word.len()].copy_from_slice(word);
            hash = mix(hash, u64::from_le_bytes(bytes));
        }
        self.deeds.trace = hash;
    }
}

/// One step of a hash that is the same on every machine.
fn mix(hash: u64, word: u64) -> u64 {
    let hash = (hash ^ word).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    hash ^ (hash >> 29)
}

fn is_tcp(frame: &[u8]) -> bool {
    match frame[12..14] {
        [0x08, 0x00] => frame[23] == 6,
        [0x86, 0xdd] => frame[20] == 6,
        _ => false,
    }
}
