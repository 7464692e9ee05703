//! What a seed stands for: who talks to whom, how, and over what.
//!
//! In:    a seed
//! Out:   [`Scenario`], and what may be expected of it
//! Never: changes once it is made

use crate::common::Random;

/// Who talks to whom.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pairing {
    Ours,
    /// smoltcp's complete stack connects to ours.
    SmoltcpConnects,
    /// Ours connects to smoltcp's.
    SmoltcpListens,
}

/// What the network does to frames.
#[derive(Clone, Debug)]
pub struct Faults {
    pub loss: f64,
    /// Loss that comes in bursts: the chance that one begins with a frame, and how long it lasts.
    pub burst: Option<(f64, u64)>,
    pub duplicate: f64,
    pub corrupt: f64,
    pub delay_us: u64,
    /// Up to so much more, each frame for itself.
    pub jitter_us: u64,
    /// Nothing passes from then on, for so long.
    pub outage: Option<(u64, u64)>,
    pub paths: Vec<PathChange>,
}

/// From then on, packets that a stack of ours sends are this long at most.
#[derive(Clone, Copy, Debug)]
pub struct PathChange {
    pub at_us: u64,
    pub mtu: usize,
    /// The router says so.
    pub is_told: bool,
}

/// What a stack of ours has to work with.
#[derive(Clone, Copy, Debug)]
pub struct Means {
    pub buffers: usize,
    pub window: u32,
    /// smoltcp's: bytes of a socket's buffers.
    pub socket_buffer: usize,
    pub mtu: u16,
}

/// When an end closes its direction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shut {
    AfterSending,
    /// When the other end has closed, and everything is sent.
    AfterEof,
}

/// How one end of a conversation behaves.
#[derive(Clone, Copy, Debug)]
pub struct Manners {
    pub total: usize,
    /// Bytes that it writes, and reads, at a time.
    pub piece: usize,
    /// It rests for so long after each piece that it read.
    pub read_pause_us: Option<u64>,
    /// After so many bytes it reads nothing for so long.
    pub stall: Option<(usize, u64)>,
    pub shut: Shut,
    /// It resets the connection when so many bytes went either way.
    pub aborts_at: Option<usize>,
}

/// One connection: the client's end, then the server's.
#[derive(Clone, Copy, Debug)]
pub struct Conversation {
    pub start_us: u64,
    pub ends: [Manners; 2],
}

/// A whole run.
#[derive(Clone, Debug)]
pub struct Scenario {
    pub seed: u64,
    pub pairing: Pairing,
    pub ipv6: bool,
    pub faults: Faults,
    pub means: [Means; 2],
    pub conversations: Vec<Conversation>,
    /// Both ends connect, at the same moment and from the ports that they connect to.
    pub is_simultaneous: bool,
}

impl Scenario {
    pub fn new(seed: u64) -> Scenario {
        let random = &mut Random(seed.wrapping_mul(0x2545_f491_4f6c_dd1d));
        random.next();
        let pairing = match seed % 3 {
            0 => Pairing::Ours,
            1 => Pairing::SmoltcpConnects,
            _ => Pairing::SmoltcpListens,
        };
        let is_simultaneous = pairing == Pairing::Ours && random.chance(0.1);
        let many = random.chance(0.2) && !is_simultaneous;
        let count = if is_simultaneous { 1 } else { 1 + random.below(if many { 24 } else { 3 }) };
        let size = random.pick(&[0, 100, 5000, 40_000, 40_000, 150_000]) / if many { 5 } else { 1 };
        let all_fair = random.chance(0.7);
        let conversations: Vec<Conversation> =
            (0..count).map(|_| conversation(random, size, all_fair)).collect();
        let ipv6 = random.chance(0.5);
        Scenario {
            seed,
            pairing,
            ipv6,
            faults: faults(random, ipv6),
            means: [(); 2].map(|()| means(random, conversations.len())),
            conversations,
            is_simultaneous,
        }
    }

    /// The network loses nothing that was sent; what finds no buffer is lost all the same, and repaired.
    pub fn loses_nothing(&self) -> bool {
        let Faults { loss, burst, corrupt, outage, paths, .. } = &self.faults;
        *loss == 0.0 && burst.is_none() && *corrupt == 0.0 && outage.is_none() && paths.is_empty()
    }
}

fn faults(random: &mut Random, ipv6: bool) -> Faults {
    let burst = (random.pick(&[0.002, 0.02]), random.pick(&[100, 3000, 100_000]));
    let outage = (random.below(2_000_000), random.pick(&[300_000, 3_000_000, 30_000_000]));
    let mut paths = Vec::new();
    if random.chance(0.25) {
        for _ in 0..1 + random.below(2) {
            let mtu = if ipv6 { 1280 + random.below(220) } else { 576 + random.below(924) };
            // Else it swallows what is too long without a word (RFC 2923, section 2.1).
            let is_told = random.chance(0.5);
            let at_us = random.below(500_000);
            paths.push(PathChange { at_us, mtu: mtu as usize, is_told });
        }
        paths.sort_by_key(|path| path.at_us);
    }
    Faults {
        loss: random.pick(&[0.0, 0.0, 0.005, 0.05, 0.15]),
        burst: random.chance(0.2).then_some(burst),
        duplicate: random.pick(&[0.0, 0.0, 0.03]),
        corrupt: random.pick(&[0.0, 0.0, 0.02]),
        delay_us: random.pick(&[5, 50, 2000, 30_000]),
        jitter_us: random.pick(&[0, 0, 100, 20_000]),
        outage: random.chance(0.15).then_some(outage),
        paths,
    }
}

fn means(random: &mut Random, conversations: usize) -> Means {
    Means {
        buffers: if random.chance(0.25) { 8 + 8 * conversations } else { 8192 },
        window: random.pick(&[1500, 8192, 65_536, 65_536]),
        socket_buffer: random.pick(&[1000, 8192, 65_535, 200_000]),
        mtu: random.pick(&[1280, 1500, 1500]),
    }
}

fn conversation(random: &mut Random, size: u64, all_fair: bool) -> Conversation {
    let mut ends = [(); 2].map(|()| manners(random, size, all_fair));
    // At most one waits for the other.
    match random.below(4) {
        0 => ends[0].shut = Shut::AfterEof,
        1 => ends[1].shut = Shut::AfterEof,
        _ => {}
    }
    Conversation { start_us: random.pick(&[0, 0, random.0 % 1_000_000]), ends }
}

fn manners(random: &mut Random, size: u64, all_fair: bool) -> Manners {
    let total = random.below(size + 1) as usize;
    let at = random.below(2 * size + 1) as usize;
    let pause = random.pick(&[100, 5000, 50_000]);
    let stall = random.pick(&[50_000, 2_000_000, 90_000_000]);
    Manners {
        total,
        piece: random.pick(&[1 + total / 50, 1460, 5000, 20_000]),
        read_pause_us: random.chance(0.15).then_some(pause),
        stall: random.chance(0.1).then_some((at / 2, stall)),
        shut: Shut::AfterSending,
        aborts_at: (!all_fair && random.chance(0.3)).then_some(at),
    }
}
