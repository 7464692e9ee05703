//! What a fuzzer's bytes say: how a connection opens, and what its user, its peer and the network do then.
//!
//! In:    bytes
//! Out:   [`Program`]
//! Never: knows a sequence number: all are meant from where the stack is

use arbitrary::{Arbitrary, Unstructured};

/// Actions of a run.
const ACTIONS_MAX: usize = 150;

/// A run: two connections of the stack, of which the second is open when it begins.
#[derive(Debug)]
pub struct Program {
    pub setting: Setting,
    pub actions: Vec<Action>,
}

/// What is settled before the first action.
#[derive(Arbitrary, Debug)]
pub struct Setting {
    pub ipv6: bool,
    pub opening: Opening,
    /// Options of the peer's SYN; a flag each for timestamps and SACK.
    pub mss: Option<u16>,
    pub scale: Option<u8>,
    pub stamps: bool,
    pub sack: bool,
    /// The peer's first sequence number.
    pub isn: u32,
    /// Few, some or many buffers; a small first window or the usual one.
    pub buffers: Size,
    pub window: Size,
}

#[derive(Arbitrary, Clone, Copy, Debug)]
pub enum Size {
    Small,
    Middle,
    Large,
}

/// How far the first connection is when the actions begin.
#[derive(Arbitrary, Clone, Copy, Debug)]
pub enum Opening {
    /// The peer sent a SYN, and no ACK yet.
    HalfOpen,
    /// The peer connected.
    Passive,
    /// The stack sent a SYN.
    SynSent,
    /// Both sent a SYN.
    Simultaneous,
    /// The stack connected.
    Active,
}

/// One step.
#[derive(Arbitrary, Clone, Copy, Debug)]
pub enum Action {
    /// A segment made of parts; the rest of the peer knows nothing of it.
    Segment(Side, SegmentPlan),
    /// The peer's next bytes, so many segments of its MSS beyond a hole.
    Data {
        side: Side,
        len: u16,
        hole: u8,
    },
    /// The peer repeats from what the stack acknowledged last.
    Repeat {
        side: Side,
        len: u16,
    },
    /// The peer acknowledges all that it heard but so many bytes; with blocks of what it has beyond.
    Ack {
        side: Side,
        behind: u16,
        block: Option<(u16, u16)>,
        window: u16,
    },
    /// The peer closes its direction.
    Fin {
        side: Side,
    },
    /// The peer leaves.
    Reset {
        side: Side,
    },
    /// The user of a connection does something.
    Send {
        side: Side,
        len: u16,
    },
    Recv {
        side: Side,
        len: u16,
    },
    Forward {
        from: Side,
        max: u16,
    },
    Shut {
        side: Side,
    },
    Close {
        side: Side,
    },
    Abort {
        side: Side,
    },
    /// The user connects, or connects again.
    Connect {
        side: Side,
    },
    /// The time passes: two to the power of so many microseconds, with all timers on the way.
    Wait {
        bits: u8,
    },
    /// The next timer.
    Timer,
    /// The peer does not hear the next frames.
    Deaf {
        frames: u8,
    },
    /// A router tells of a frame of the stack's, counted from the last.
    Icmp {
        back: u8,
        code: u8,
        mtu: u16,
    },
    /// The stack's way to its peer is gone, or back.
    Route {
        exists: bool,
    },
    /// The peer tells of bytes that it has received twice, so many behind its acknowledgment.
    Dsack {
        side: Side,
        behind: u16,
        len: u16,
        block: Option<(i16, u16)>,
    },
    /// Probes of an idle peer: silence before the first, time between them, and how many.
    Keepalive {
        side: Side,
        seconds: Option<(u16, u8, u8)>,
    },
    /// The user's patience, two to the power of so many microseconds; none for 0.
    UserTimeout {
        side: Side,
        bits: u8,
    },
    /// Days of silence, with all timers on the way.
    Idle {
        hours: u16,
    },
    /// The connection goes on from a snapshot.
    Move {
        side: Side,
    },
}

/// Which connection.
#[derive(Arbitrary, Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    First,
    Second,
}

/// A segment that need not be honest.
#[derive(Arbitrary, Clone, Copy, Debug)]
pub struct SegmentPlan {
    /// FIN, SYN, RST, URG in the lower bits; a payload of few, some or many bytes in the upper.
    pub flags: u8,
    pub seq: (SeqBase, Distance),
    pub ack: Option<(AckBase, Distance)>,
    pub window: u16,
    pub len: u16,
    pub stamp: Option<Distance>,
    pub sack: Option<[(Distance, u16); 2]>,
    /// MSS, window scale and SACK-permitted, as only a SYN should have them.
    pub mss: Option<u16>,
    pub scale: Option<u8>,
}

#[derive(Arbitrary, Clone, Copy, Debug)]
pub enum SeqBase {
    /// What the stack acknowledged last.
    Acked,
    /// The end of what the peer has sent in order.
    Next,
    /// The right edge of the stack's window.
    Edge,
    /// The peer's SYN.
    First,
}

#[derive(Arbitrary, Clone, Copy, Debug)]
pub enum AckBase {
    /// The end of what the stack has sent.
    Sent,
    /// What the peer has heard.
    Heard,
    /// What the peer acknowledged last.
    Acked,
    /// The stack's SYN.
    First,
}

/// How far from its base a number is.
#[derive(Arbitrary, Clone, Copy, Debug)]
pub enum Distance {
    None,
    Near(i8),
    Far(i16),
    Shifted { by: i8, bits: u8 },
}

impl Distance {
    pub fn from(self, base: u32) -> u32 {
        base.wrapping_add(match self {
            Distance::None => 0,
            Distance::Near(by) => by as u32,
            Distance::Far(by) => by as u32,
            Distance::Shifted { by, bits } => (by as u32) << (bits % 32),
        })
    }
}

impl Program {
    /// Reads as many actions as there are.
    pub fn parse(data: &[u8]) -> Option<Program> {
        let mut bytes = Unstructured::new(data);
        let setting = bytes.arbitrary().ok()?;
        let mut actions = Vec::new();
        while !bytes.is_empty() && actions.len() < ACTIONS_MAX {
            actions.push(bytes.arbitrary().ok()?);
        }
        Some(Program { setting, actions })
    }
}
