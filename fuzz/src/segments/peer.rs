//! The peer of one connection: what it knows, and the segments that it makes of it.
//!
//! In:    what the stack says; plans of segments
//! Out:   segments
//! Owns:  both sequence spaces as the peer sees them
//! Never: sends anything itself

use std::net::IpAddr;

use smoltcp::wire::TcpOption;

use super::program::{AckBase, Distance, SegmentPlan, SeqBase, Setting, Size};
use crate::common::{Seen, Tcp};

/// Flags of a segment, by the lower bits of a plan's.
const FLAGS: [&str; 16] = [
    "", "F", "S", "SF", "R", "RF", "RS", "RSF", "U", "UF", "US", "USF", "UR", "URF", "URS", "URSF",
];

/// Further than this from the first byte, a segment is not of this stream.
const REACH: u32 = 1 << 30;

/// One connection from the peer's end.
pub struct Peer {
    addresses: [IpAddr; 2],
    /// The peer's port and the stack's.
    pub ports: [u16; 2],
    isn: u32,
    /// The next byte to be sent in order.
    next: u32,
    has_fin: bool,
    mss: Option<u16>,
    /// Window scale of its SYN.
    scale: Option<u8>,
    stamps: bool,
    sack: bool,
    clock: u32,

    // What the stack said.
    /// Window scale of its SYN; it counts only when the peer's SYN had one.
    stack_scale: Option<u8>,
    /// The stack's SYN, once there was one.
    iss: Option<u32>,
    /// The byte before the first of the stream that the stack receives.
    irs: Option<u32>,
    /// The end of all that was said, and of what the peer heard of it.
    sent: u32,
    heard: u32,
    /// What the stack acknowledged last, and the right edge of its window; the furthest that ever was told.
    acked: u32,
    edge: u32,
    edge_max: Option<u32>,
    tsval: u32,
    /// The stack has few buffers: it may tell a window of nothing where it has none left.
    may_starve: bool,

    // What the peer said.
    /// The end of all that may be acknowledged, from `irs`.
    reach: u32,
    /// Its SYNs: their sequence numbers, and whether they had a window scale.
    syns: Vec<(u32, bool)>,
    /// What the peer acknowledged last.
    acknowledged: u32,
    /// It said a FIN, honest or not: what window it is told after that means nothing.
    said_fin: bool,

    /// What the stack says is compared with what it should: its connection was not tampered with.
    pub is_checked: bool,
}

impl Peer {
    pub fn new(addresses: [IpAddr; 2], ports: [u16; 2], setting: &Setting) -> Peer {
        let isn = setting.isn.wrapping_add(u32::from(ports[0]));
        Peer {
            addresses,
            ports,
            isn,
            next: isn.wrapping_add(1),
            has_fin: false,
            mss: setting.mss,
            scale: setting.scale,
            stamps: setting.stamps,
            sack: setting.sack,
            clock: isn,
            stack_scale: None,
            iss: None,
            irs: None,
            sent: 0,
            heard: 0,
            acked: isn.wrapping_add(1),
            edge: isn.wrapping_add(1),
            edge_max: None,
            tsval: 0,
            may_starve: !matches!(setting.buffers, Size::Large),
            reach: 0,
            syns: Vec::new(),
            acknowledged: 0,
            said_fin: false,
            is_checked: true,
        }
    }

    /// The stack connects from this port: nothing is known of its numbers yet.
    pub fn begin(&mut self, port: u16) {
        self.ports[1] = port;
        (self.iss, self.irs, self.edge_max) = (None, None, None);
    }

    // What was said.

    /// Takes note of a segment of the peer.
    pub fn note_said(&mut self, tcp: &Tcp) {
        let count = |letter| u32::from(tcp.flags.contains(letter));
        let end = tcp.seq.wrapping_add(tcp.payload.len() as u32 + count('S') + count('F'));
        if let Some(irs) = self.irs {
            let reach = end.wrapping_sub(irs);
            if reach < REACH {
                self.reach = self.reach.max(reach);
            }
        }
        if let Some(ack) = tcp.ack {
            self.acknowledged = ack;
        }
        if tcp.flags.contains('S') {
            let is_scale = |option: &TcpOption<'_>| matches!(option, TcpOption::WindowScale(_));
            self.syns.push((tcp.seq, tcp.options.iter().any(is_scale)));
        }
        self.said_fin |= tcp.flags.contains('F');
        self.clock = self.clock.wrapping_add(1);
    }

    /// Takes note of a segment of the stack; `heard`: it reached the peer.
    pub fn note_heard(&mut self, seen: &Seen, heard: bool) {
        let has = |letter| seen.flags.contains(letter);
        if has('R') {
            return;
        }
        let is_other = has('.') && self.irs != Some(seen.ack.wrapping_sub(1));
        let begins = has('S') && (self.iss != Some(seen.seq) || is_other);
        if begins {
            self.iss = Some(seen.seq);
            (self.irs, self.edge_max) = (None, None);
            self.sent = seen.seq;
            self.heard = seen.seq;
            self.stack_scale = seen.scale;
        }
        let Some(iss) = self.iss else { return };
        if has('.') {
            self.note_acknowledgment(seen);
        }
        let space = seen.len as u32 + u32::from(has('S')) + u32::from(has('F'));
        let end = seen.seq.wrapping_add(space);
        for (known, counts) in [(&mut self.sent, true), (&mut self.heard, heard)] {
            if counts && end.wrapping_sub(iss) > known.wrapping_sub(iss) {
                *known = end;
            }
        }
        if let (Some((tsval, _)), true) = (seen.timestamp, heard) {
            self.tsval = tsval;
        }
    }

    /// What the stack acknowledges was sent; its window never shrinks, unless to nothing for want of buffers.
    fn note_acknowledgment(&mut self, seen: &Seen) {
        let is_syn = seen.flags.contains('S');
        let irs = match self.irs {
            Some(irs) if !is_syn => irs,
            _ => {
                let irs = seen.ack.wrapping_sub(1);
                self.irs = Some(irs);
                self.reach = 1;
                irs
            }
        };
        let progress = seen.ack.wrapping_sub(irs);
        let is_said = progress <= self.reach || !self.is_checked;
        assert!(is_said, "{progress} of {} is acknowledged: {seen:?}", self.reach);
        self.acked = seen.ack;
        if is_syn || self.said_fin {
            return;
        }
        let Some(scale) = self.scale_from(irs) else { return };
        self.edge = seen.ack.wrapping_add(u32::from(seen.window) << scale);
        let edge_max = self.edge_max.get_or_insert(self.edge);
        let back = edge_max.wrapping_sub(self.edge);
        let is_starved = seen.window == 0 && self.may_starve;
        if back > REACH {
            *edge_max = self.edge;
        } else {
            assert!(
                back == 0 || is_starved || !self.is_checked,
                "the window shrank by {back}: {seen:?}"
            );
        }
    }

    /// The shift of the windows that the stack tells, unless SYNs with the same number disagree.
    fn scale_from(&self, irs: u32) -> Option<u8> {
        let mut said = self.syns.iter().filter(|syn| syn.0 == irs).map(|syn| syn.1);
        let has_scale = said.next()?;
        let shift = if has_scale { self.stack_scale.unwrap_or(0) } else { 0 };
        said.all(|other| other == has_scale).then_some(shift)
    }

    /// Where the payload of a segment of the stack is in its user's stream.
    pub fn offset_of(&self, seen: &Seen) -> Option<usize> {
        let says = seen.len > 0 || seen.flags.contains('F');
        let first = self.iss?.wrapping_add(1);
        says.then(|| seen.seq.wrapping_sub(first) as usize)
    }

    /// The stack has acknowledged something: where its stream begins is known.
    pub fn is_acknowledged(&self) -> bool {
        self.irs.is_some()
    }

    /// What the stack's user reads from `from` on.
    pub fn bytes(&self, from: u32, count: usize) -> Vec<u8> {
        // Nothing was acknowledged, so nothing can be there.
        let Some(irs) = self.irs else { return Vec::new() };
        let first = irs.wrapping_add(1).wrapping_add(from);
        (0..count as u32).map(|index| byte_at(first.wrapping_add(index))).collect()
    }

    // Segments.

    fn tcp(&self, flags: &'static str, seq: u32, ack: Option<u32>, len: usize) -> Tcp {
        let first = seq.wrapping_add(u32::from(flags.contains('S')));
        let byte = |index| byte_at(first.wrapping_add(index));
        let mut options = Vec::new();
        if self.stamps {
            options.push(TcpOption::TimeStamp { tsval: self.clock, tsecr: self.tsval });
        }
        Tcp {
            addresses: self.addresses,
            ports: self.ports,
            payload: (0..len as u32).map(byte).collect(),
            options,
            ..Tcp::new(flags, seq, ack)
        }
    }

    pub fn syn(&self, answers: bool) -> Tcp {
        let mut tcp = self.tcp("S", self.isn, answers.then_some(self.heard), 0);
        tcp.options.extend(self.mss.map(TcpOption::MaxSegmentSize));
        tcp.options.extend(self.scale.map(TcpOption::WindowScale));
        tcp.options.extend(self.sack.then_some(TcpOption::SackPermitted));
        tcp
    }

    pub fn data(&mut self, len: u16, hole: u8) -> Tcp {
        self.next = self.next.wrapping_add(u32::from(hole) * 536);
        let len = usize::from(len).min(1448);
        let tcp = self.tcp("", self.next, Some(self.heard), len);
        self.next = self.next.wrapping_add(len as u32);
        tcp
    }

    pub fn repeat(&self, len: u16) -> Tcp {
        let left = self.next.wrapping_sub(self.acked);
        let len = if left < REACH { left.min(u32::from(len)).min(1448) } else { 0 };
        self.tcp("", self.acked, Some(self.heard), len as usize)
    }

    pub fn ack(&self, behind: u16, block: Option<(u16, u16)>, window: u16) -> Tcp {
        let ack = self.heard.wrapping_sub(u32::from(behind));
        let mut tcp = self.tcp("", self.next, Some(ack), 0);
        tcp.window = window;
        if let Some((from, len)) = block {
            let left = ack.wrapping_add(u32::from(from));
            let block = (left, left.wrapping_add(u32::from(len)));
            tcp.options.push(TcpOption::SackRange([Some(block), None, None]));
        }
        tcp
    }

    /// An acknowledgment of all that was heard, and word of what came twice (RFC 2883): so many bytes
    /// behind it. The second block is beyond the acknowledgment, or around the first.
    pub fn dsack(&self, behind: u16, len: u16, block: Option<(i16, u16)>) -> Tcp {
        let mut tcp = self.tcp("", self.next, Some(self.heard), 0);
        let range = |left: u32, len: u16| Some((left, left.wrapping_add(u32::from(len))));
        let first = range(self.heard.wrapping_sub(u32::from(behind)), len);
        let second = block.and_then(|(from, len)| range(self.heard.wrapping_add(from as u32), len));
        tcp.options.push(TcpOption::SackRange([first, second, None]));
        tcp
    }

    pub fn fin(&mut self) -> Tcp {
        let seq = if self.has_fin { self.next.wrapping_sub(1) } else { self.next };
        let tcp = self.tcp("F", seq, Some(self.heard), 0);
        if !self.has_fin {
            self.has_fin = true;
            self.next = self.next.wrapping_add(1);
        }
        tcp
    }

    pub fn reset(&self) -> Tcp {
        self.tcp("R", self.acked, None, 0)
    }

    pub fn segment(&self, plan: &SegmentPlan) -> Tcp {
        let (base, distance) = plan.seq;
        let seq = distance.from(match base {
            SeqBase::Acked => self.acked,
            SeqBase::Next => self.next,
            SeqBase::Edge => self.edge,
            SeqBase::First => self.isn,
        });
        let ack = plan.ack.map(|(base, distance)| {
            distance.from(match base {
                AckBase::Sent => self.sent,
                AckBase::Heard => self.heard,
                AckBase::Acked => self.acknowledged,
                AckBase::First => self.iss.unwrap_or(0),
            })
        });
        let flags = FLAGS[usize::from(plan.flags & 15)];
        let len = usize::from(plan.len) % [1, 1, 4, 1449][usize::from(plan.flags >> 6)];
        let mut tcp = self.tcp(flags, seq, ack, len);
        tcp.window = plan.window;
        if let Some(distance) = plan.stamp {
            let tsval = distance.from(self.clock);
            tcp.options = vec![TcpOption::TimeStamp { tsval, tsecr: self.tsval }];
        }
        tcp.options.extend(plan.mss.map(TcpOption::MaxSegmentSize));
        tcp.options.extend(plan.scale.map(TcpOption::WindowScale));
        if let Some(blocks) = plan.sack {
            let block = |(distance, len): (Distance, u16)| {
                let left = distance.from(self.heard);
                Some((left, left.wrapping_add(u32::from(len))))
            };
            tcp.options.push(TcpOption::SackRange([block(blocks[0]), block(blocks[1]), None]));
        }
        tcp
    }
}

/// The byte of the peer's stream with this sequence number.
fn byte_at(seq: u32) -> u8 {
    (seq.wrapping_mul(0x9e37_79b1) >> 23) as u8
}
