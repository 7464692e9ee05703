//! What others can see of a worker while it is in a turn: where it is, and the packet that it received last.
//!
//! In:    marks of the worker
//! Out:   the same, to the watchdog, and to whoever tells of a panic
//! Owns:  a few words of memory that one worker writes
//! Never: makes a worker wait: marks are plain stores

use std::cell::RefCell;
use std::fmt::Write;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, AtomicU32, AtomicU64, Ordering};

use crate::log;

/// Where a worker is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Stage {
    /// Between turns, or asleep.
    Rest,
    /// It takes frames from its wires.
    Receive,
    /// It handles timers, events and news.
    Wake,
    /// It runs tasks: streams and checks.
    Run,
    /// It sends.
    Transmit,
    /// It obeys commands.
    Command,
}

const STAGES: [Stage; 6] =
    [Stage::Rest, Stage::Receive, Stage::Wake, Stage::Run, Stage::Transmit, Stage::Command];

impl Stage {
    /// In a word.
    pub fn name(self) -> &'static str {
        match self {
            Stage::Rest => "rest",
            Stage::Receive => "receive",
            Stage::Wake => "wake",
            Stage::Run => "run",
            Stage::Transmit => "transmit",
            Stage::Command => "command",
        }
    }
}

/// Bytes of the last packet that are kept, in words of eight.
const PACKET_WORDS: usize = 8;

/// The vitals of one worker, apart from those of others.
#[derive(Debug)]
#[repr(align(128))]
pub struct Vitals {
    /// The worker.
    pub worker: usize,
    /// Its core.
    pub core: usize,
    thread: AtomicU32,
    turn: AtomicU64,
    stage: AtomicU8,
    packet_len: AtomicU64,
    packet: [AtomicU64; PACKET_WORDS],
    /// How often it was found stuck.
    pub stuck: AtomicU64,
}

impl Vitals {
    /// Of a worker that has not begun.
    pub fn new(worker: usize, core: usize) -> Self {
        Vitals {
            worker,
            core,
            thread: AtomicU32::new(0),
            turn: AtomicU64::new(0),
            stage: AtomicU8::new(Stage::Rest as u8),
            packet_len: AtomicU64::new(0),
            packet: Default::default(),
            stuck: AtomicU64::new(0),
        }
    }

    /// A turn begins.
    pub fn begin(&self, turn: u64) {
        self.turn.store(turn, Ordering::Relaxed);
    }

    /// It is there now.
    pub fn enter(&self, stage: Stage) {
        self.stage.store(stage as u8, Ordering::Relaxed);
    }

    /// The first packet of a burst came: its beginning is kept.
    pub fn received(&self, bytes: &[u8]) {
        for (kept, chunk) in self.packet.iter().zip(bytes.chunks_exact(8)) {
            kept.store(u64::from_be_bytes(chunk.try_into().expect("eight")), Ordering::Relaxed);
        }
        self.packet_len.store(bytes.len() as u64, Ordering::Relaxed);
    }

    /// The turn, and where it is in it.
    pub fn place(&self) -> (u64, Stage) {
        let stage = STAGES[usize::from(self.stage.load(Ordering::Relaxed)) % STAGES.len()];
        (self.turn.load(Ordering::Relaxed), stage)
    }

    /// The system's number of its thread.
    pub fn thread(&self) -> u32 {
        self.thread.load(Ordering::Relaxed)
    }

    /// Where it is, in words, and the packet that came last.
    pub fn in_words(&self) -> String {
        let (turn, stage) = self.place();
        let Vitals { worker, core, .. } = self;
        let len = self.packet_len.load(Ordering::Relaxed) as usize;
        let mut text = format!(
            "worker {worker} on core {core}, turn {turn}, stage {}; the last burst of packets began with one of {len} bytes",
            stage.name()
        );
        let words = self.packet.iter().take(len / 8).map(|word| word.load(Ordering::Relaxed));
        for (at, word) in words.enumerate() {
            // Writing to a string cannot fail.
            let _ = write!(text, "{}{word:016x}", if at == 0 { ": " } else { " " });
        }
        text
    }
}

thread_local! {
    /// Those of the worker that this thread is.
    static OWN: RefCell<Option<Arc<Vitals>>> = const { RefCell::new(None) };
}

/// This thread is the worker from now on.
pub fn become_worker(vitals: &Arc<Vitals>) {
    let thread = rustix::thread::gettid().as_raw_nonzero().get();
    vitals.thread.store(u32::try_from(thread).unwrap_or(0), Ordering::Relaxed);
    OWN.with(|own| *own.borrow_mut() = Some(vitals.clone()));
}

/// From now on a panic tells the version too, and where the worker was.
pub fn tell_of_panics() {
    let usual = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |info| {
        usual(info);
        let version = env!("CARGO_PKG_VERSION");
        log::plain(format_args!("xlb {version} ({})\n", crate::version::RELEASE_DATE));
        let own = OWN.try_with(|own| own.try_borrow().ok().and_then(|own| own.clone()));
        if let Ok(Some(own)) = own {
            log::plain(format_args!("{}\n", own.in_words()));
        }
    }));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn says_where_a_worker_is_and_what_came_last() {
        let vitals = Vitals::new(1, 3);
        vitals.begin(77);
        vitals.enter(Stage::Run);
        vitals.received(&[0x0a; 20]);
        assert_eq!(vitals.place(), (77, Stage::Run));
        let text = vitals.in_words();
        let kept = "of 20 bytes: 0a0a0a0a0a0a0a0a 0a0a0a0a0a0a0a0a";
        assert!(
            text.starts_with("worker 1 on core 3, turn 77, stage run") && text.ends_with(kept),
            "{text}"
        );
        assert!(STAGES.iter().enumerate().all(|(at, stage)| *stage as usize == at));
    }
}
