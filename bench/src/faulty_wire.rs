//! A wire between two interfaces that loses, delays, reorders, duplicates and corrupts frames.
//!
//! In:    frames from both ends
//! Out:   the same frames at the other end, but for the faults that were asked for
//! Owns:  two packet sockets, the frames that are being held back, one random sequence for each direction
//! Never: looks into a frame, except to flip a bit behind the Ethernet header
//!
//! A kernel without netem still needs bad paths. The same seed gives the same fate to the n-th frame of a direction.

use std::collections::VecDeque;
use std::fmt;
use std::io;
use std::os::fd::AsFd;
use std::str::FromStr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use clap::Parser;
use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, ppoll};
use nix::sched::{CpuSet, sched_setaffinity};
use nix::sys::time::TimeSpec;
use nix::unistd::Pid;

use crate::packet_socket::PacketSocket;

/// Frames taken from one end before the other has its turn.
const BURST: usize = 64;
/// Frames that are held at a time, on time and late ones each: a Gbit/s for more than half a second.
const HELD_MAX: usize = 65_536;
/// The queue in front of a wire that has a rate: more than a burst of a round trip, less than a buffer that hides loss.
const QUEUE_MAX: Duration = Duration::from_millis(20);
/// Preamble, frame check sequence and gap: what a frame takes of an Ethernet beside itself.
const FRAMING: usize = 24;
/// A signal may fall between the look at the flag and the wait.
const WAIT_MAX: Duration = Duration::from_millis(50);
/// Flips behind the two addresses and the type: every one of them is covered by a checksum, or does no harm.
const ETHERNET_HEADER: usize = 14;

/// Joins two interfaces by a wire with faults; prints its counters when it is ended by SIGTERM or SIGINT.
#[derive(Clone, Debug, Parser)]
#[command(name = "faulty-wire")]
pub struct Options {
    /// Interface at one end
    #[arg(long)]
    pub a: String,
    /// Interface at the other end
    #[arg(long)]
    pub b: String,
    /// What happens on the way, in both directions
    #[command(flatten)]
    pub faults: Faults,
    /// Start of the random sequences
    #[arg(long, default_value_t = 1)]
    pub seed: u64,
    /// The core to run on
    #[arg(long)]
    pub core: Option<usize>,
}

/// How often what goes wrong.
#[derive(Clone, Copy, Debug, clap::Args)]
pub struct Faults {
    /// Share of frames that vanish, as 1% or 0.01
    #[arg(long, default_value = "0")]
    pub loss: Probability,
    /// Share of frames that arrive twice
    #[arg(long, default_value = "0")]
    pub duplicate: Probability,
    /// Share of frames with one flipped bit
    #[arg(long, default_value = "0")]
    pub corrupt: Probability,
    /// Share of frames that arrive late, behind later ones
    #[arg(long, default_value = "0")]
    pub reorder: Probability,
    /// By how much they are late, in microseconds
    #[arg(long, default_value_t = 2000)]
    pub reorder_us: u64,
    /// Delay of every frame, in microseconds
    #[arg(long, default_value_t = 0)]
    pub delay_us: u64,
    /// Rate of each direction, Mbit/s; 0 is as fast as it goes. What does not leave within 20 ms is dropped
    #[arg(long, default_value_t = 0)]
    pub rate_mbit: u64,
}

/// A number from 0 to 1.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Probability(f64);

impl FromStr for Probability {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (number, unit) = text.strip_suffix('%').map_or((text, 1.0), |percent| (percent, 100.0));
        let value = number.trim().parse::<f64>().map_err(|_| format!("'{text}' is no number"))?;
        if (0.0..=unit).contains(&value) {
            Ok(Self(value / unit))
        } else {
            Err(format!("'{text}' is not between 0 and 1, or 0% and 100%"))
        }
    }
}

/// Runs until SIGTERM or SIGINT.
pub fn run(options: &Options) -> io::Result<()> {
    if let Some(core) = options.core {
        let mut cores = CpuSet::new();
        cores.set(core)?;
        sched_setaffinity(Pid::from_raw(0), &cores)?;
    }
    let stop = Arc::new(AtomicBool::new(false));
    for signal in [signal_hook::consts::SIGTERM, signal_hook::consts::SIGINT] {
        signal_hook::flag::register(signal, Arc::clone(&stop))?;
    }
    let mut ends = [PacketSocket::open(&options.a)?, PacketSocket::open(&options.b)?];
    let mut directions = [0, 1].map(|from| Direction::new(options.faults, options.seed, from));
    println!("faulty-wire is ready");
    while !stop.load(Ordering::Relaxed) {
        let wait = directions.iter().filter_map(Direction::due).min();
        wait_for_frames(&ends, wait)?;
        let now = Instant::now();
        for (from, direction) in directions.iter_mut().enumerate() {
            carry_burst(&mut ends, from, direction, now)?;
        }
    }
    for (from, direction) in directions.iter_mut().enumerate() {
        direction.counters.overrun = u64::from(ends[from].take_overruns()?);
        let (from, to) = if from == 0 { ("a", "b") } else { ("b", "a") };
        println!("{from}->{to} {}", direction.counters);
    }
    Ok(())
}

fn wait_for_frames(ends: &[PacketSocket; 2], due: Option<Instant>) -> io::Result<()> {
    let until_due = due.map(|due| due.saturating_duration_since(Instant::now()));
    let timeout = TimeSpec::from_duration(until_due.unwrap_or(WAIT_MAX).min(WAIT_MAX));
    let mut fds = ends.each_ref().map(|end| PollFd::new(end.as_fd(), PollFlags::POLLIN));
    match ppoll(&mut fds, Some(timeout), None) {
        Ok(_) | Err(Errno::EINTR) => Ok(()),
        Err(error) => Err(error.into()),
    }
}

fn carry_burst(
    ends: &mut [PacketSocket; 2],
    from: usize,
    direction: &mut Direction,
    now: Instant,
) -> io::Result<()> {
    let [a, b] = ends;
    let (source, target) = if from == 0 { (a, b) } else { (b, a) };
    while let Some(frame) = direction.pop_due(now) {
        direction.counters.count_sent(target.send(&frame)?);
    }
    for _ in 0..BURST {
        let Some(frame) = source.recv()? else { break };
        let Some(fate) = direction.judge(frame) else { continue };
        for _ in 0..fate.copies {
            let Some(queued) = direction.enqueue(frame.len(), now) else { continue };
            let hold = queued + fate.hold;
            if hold.is_zero() {
                direction.counters.count_sent(target.send(frame)?);
            } else {
                direction.hold(frame, fate.late, now + hold);
            }
        }
    }
    Ok(())
}

/// What becomes of a frame that is not lost.
struct Fate {
    copies: usize,
    late: bool,
    hold: Duration,
}

/// One way along the wire.
struct Direction {
    faults: Faults,
    random: Random,
    /// In order of arrival, which within each of the two is the order of what is due: frames that are on time,
    /// and late ones.
    held: [VecDeque<Held>; 2],
    /// When the last frame has left, where there is a rate.
    free_at: Option<Instant>,
    counters: Counters,
}

struct Held {
    due: Instant,
    frame: Vec<u8>,
}

impl Direction {
    fn new(faults: Faults, seed: u64, from: u64) -> Self {
        Self {
            faults,
            random: Random(seed.wrapping_mul(2).wrapping_add(from)),
            held: Default::default(),
            free_at: None,
            counters: Counters::default(),
        }
    }

    /// Nothing if the frame is lost. May flip a bit of it.
    fn judge(&mut self, frame: &mut [u8]) -> Option<Fate> {
        self.counters.received += 1;
        // All draws for every frame, so that one fault's share does not shift the fate of later frames.
        let [lost, corrupt, duplicate, late] =
            [self.faults.loss, self.faults.corrupt, self.faults.duplicate, self.faults.reorder]
                .map(|share| self.random.happens(share));
        let bit = self.random.next();
        if lost {
            self.counters.lost += 1;
            return None;
        }
        if corrupt && frame.len() > ETHERNET_HEADER {
            let at = ETHERNET_HEADER + (bit / 8) as usize % (frame.len() - ETHERNET_HEADER);
            frame[at] ^= 1 << (bit % 8);
            self.counters.corrupted += 1;
        }
        let mut hold = Duration::from_micros(self.faults.delay_us);
        if late {
            hold += Duration::from_micros(self.faults.reorder_us);
            self.counters.reordered += 1;
        }
        self.counters.duplicated += u64::from(duplicate);
        Some(Fate { copies: 1 + usize::from(duplicate), late, hold })
    }

    /// How long a frame of `len` bytes takes to leave, behind those before it; nothing if the queue is full.
    fn enqueue(&mut self, len: usize, now: Instant) -> Option<Duration> {
        if self.faults.rate_mbit == 0 {
            return Some(Duration::ZERO);
        }
        let start = self.free_at.map_or(now, |free_at| free_at.max(now));
        if start - now > QUEUE_MAX {
            self.counters.overflowed += 1;
            return None;
        }
        let bits = (len + FRAMING) as u64 * 8;
        let end = start + Duration::from_nanos(bits * 1000 / self.faults.rate_mbit);
        self.free_at = Some(end);
        Some(end - now)
    }

    /// Keeps a frame until it is due, or drops it when too many are kept.
    fn hold(&mut self, frame: &[u8], late: bool, due: Instant) {
        let queue = &mut self.held[usize::from(late)];
        if queue.len() < HELD_MAX {
            queue.push_back(Held { due, frame: frame.to_vec() });
        } else {
            self.counters.overflowed += 1;
        }
    }

    fn due(&self) -> Option<Instant> {
        self.held.iter().filter_map(VecDeque::front).map(|held| held.due).min()
    }

    fn pop_due(&mut self, now: Instant) -> Option<Vec<u8>> {
        let due = self.due().filter(|&due| due <= now)?;
        let mut queues = self.held.iter_mut();
        let queue = queues.find(|queue| queue.front().is_some_and(|held| held.due == due))?;
        queue.pop_front().map(|held| held.frame)
    }
}

#[derive(Default)]
struct Counters {
    received: u64,
    sent: u64,
    lost: u64,
    duplicated: u64,
    corrupted: u64,
    reordered: u64,
    refused: u64,
    overflowed: u64,
    overrun: u64,
}

impl Counters {
    fn count_sent(&mut self, sent: bool) {
        *(if sent { &mut self.sent } else { &mut self.refused }) += 1;
    }
}

impl fmt::Display for Counters {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            received,
            sent,
            lost,
            duplicated,
            corrupted,
            reordered,
            refused,
            overflowed,
            overrun,
        } = self;
        write!(
            f,
            "received={received} sent={sent} lost={lost} duplicated={duplicated} corrupted={corrupted} \
             reordered={reordered} refused={refused} overflowed={overflowed} overrun={overrun}"
        )
    }
}

/// splitmix64: one word of state, any seed will do.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn happens(&mut self, share: Probability) -> bool {
        // The upper 53 bits, as a fraction.
        ((self.next() >> 11) as f64) < share.0 * (1u64 << 53) as f64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn faults(arguments: &[&str]) -> Faults {
        let fixed = ["faulty-wire", "--a", "x", "--b", "y"];
        Options::parse_from(fixed.iter().chain(arguments)).faults
    }

    fn direction(arguments: &[&str], seed: u64) -> Direction {
        Direction::new(faults(arguments), seed, 0)
    }

    #[test]
    fn shares_are_read_as_percent_or_fraction() {
        assert_eq!("1%".parse(), Ok(Probability(0.01)));
        assert_eq!("0.25".parse(), Ok(Probability(0.25)));
        assert_eq!("100%".parse(), Ok(Probability(1.0)));
        for wrong in ["101%", "1.5", "-1%", "many", "", "nan"] {
            assert!(wrong.parse::<Probability>().is_err(), "{wrong}");
        }
    }

    #[test]
    fn faults_come_as_often_as_asked() {
        let mut wire =
            direction(&["--loss=5%", "--duplicate=1%", "--corrupt=2%", "--reorder=10%"], 7);
        for _ in 0..100_000 {
            wire.judge(&mut [0; 64]);
        }
        let near = |count: u64, share: f64| (count as f64 / 100_000.0 - share).abs() < share / 10.0;
        let counters = &wire.counters;
        assert!(near(counters.lost, 0.05), "{counters}");
        assert!(near(counters.duplicated, 0.01 * 0.95), "{counters}");
        assert!(near(counters.corrupted, 0.02 * 0.95), "{counters}");
        assert!(near(counters.reordered, 0.1 * 0.95), "{counters}");
    }

    #[test]
    fn a_seed_repeats_itself_and_a_share_of_zero_never_happens() {
        let fates = |seed| {
            let mut wire = direction(&["--loss=50%"], seed);
            (0..64).map(|_| wire.judge(&mut [0; 64]).is_none()).collect::<Vec<_>>()
        };
        assert_eq!(fates(3), fates(3));
        assert_ne!(fates(3), fates(4));
        let mut clean = direction(&[], 3);
        let all_pass = (0..1000).all(|_| {
            let mut frame = [0; 64];
            let fate = clean.judge(&mut frame);
            fate.is_some_and(|fate| fate.copies == 1 && fate.hold.is_zero()) && frame == [0; 64]
        });
        assert!(all_pass);
    }

    #[test]
    fn corruption_flips_one_bit_behind_the_header() {
        let mut wire = direction(&["--corrupt=100%"], 1);
        for _ in 0..1000 {
            let mut frame = [0u8; 60];
            wire.judge(&mut frame);
            assert_eq!(frame.iter().map(|byte| byte.count_ones()).sum::<u32>(), 1);
            assert_eq!(frame[..ETHERNET_HEADER], [0; ETHERNET_HEADER]);
        }
    }

    #[test]
    fn a_rate_spaces_frames_and_bounds_their_queue() {
        // 1000 bytes with framing at 8 Mbit/s: a millisecond each.
        let mut wire = direction(&["--rate-mbit=8"], 1);
        let start = Instant::now();
        let ms = Duration::from_millis;
        let mut enqueue = |at| wire.enqueue(1000 - FRAMING, start + at);
        assert_eq!(enqueue(ms(0)), Some(ms(1)));
        assert_eq!(enqueue(ms(0)), Some(ms(2)));
        assert_eq!(enqueue(ms(5)), Some(ms(1)), "an idle wire saves nothing up");
        let queued = (0..100).filter(|_| enqueue(ms(5)).is_some()).count();
        assert_eq!(queued, 20);
        assert_eq!(wire.counters.overflowed, 80);
    }

    #[test]
    fn what_is_held_is_bounded() {
        let mut wire = direction(&[], 1);
        let due = Instant::now();
        for _ in 0..HELD_MAX + 3 {
            wire.hold(b"x", false, due);
        }
        wire.hold(b"x", true, due);
        assert_eq!(wire.counters.overflowed, 3);
    }

    #[test]
    fn held_frames_come_out_by_time_then_by_arrival() {
        let mut wire = direction(&[], 1);
        let start = Instant::now();
        let late = start + Duration::from_millis(2);
        wire.hold(b"late", true, late);
        wire.hold(b"first", false, start);
        wire.hold(b"second", false, start);
        assert_eq!(wire.pop_due(start).as_deref(), Some(b"first".as_slice()));
        assert_eq!(wire.pop_due(start).as_deref(), Some(b"second".as_slice()));
        assert_eq!(wire.pop_due(start), None);
        assert_eq!(wire.pop_due(late).as_deref(), Some(b"late".as_slice()));
    }
}
