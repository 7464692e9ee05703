//! What the fuzzer does with the stack: one function per target, from bytes to a run that must not fail.
//!
//! In:    bytes, from libFuzzer, from the corpus or from a seed
//! Out:   nothing, or a panic with what was broken
//! Owns:  the end of every run: nothing may be held after it
//! Never: a clock, a thread, chance: the same bytes do the same
//! Read:  `scripts/fuzz`; `tests/replay.rs`

#[path = "../../netstack/tests/common/mod.rs"]
mod common;
pub mod frames;
pub mod segments;
pub mod snapshot;

use std::time::Duration;

use common::lab::Lab;

/// Longer than any connection lives once its user has left and its peer is silent.
const LONG: Duration = Duration::from_secs(2 * 3600);

/// More timers than all connections of a run can have in that time.
const TIMERS_MAX: usize = 20_000;

/// More frames than all connections of a run can send at once.
const FRAMES_MAX: usize = 100_000;

/// EtherType of a tag (IEEE 802.1Q).
const VLAN: [u8; 2] = [0x81, 0x00];

/// The peer falls silent, and every user has left: in the end nothing is held and nothing is due.
fn assert_nothing_stays(lab: &mut Lab) {
    let end = lab.now + LONG;
    speak(lab);
    let mut timers = 0;
    while let Some(at) = lab.stack.poll_at() {
        assert!(at <= end, "due {at}, when nobody has been there for {LONG:?}");
        timers += 1;
        assert!(timers < TIMERS_MAX, "it never comes to rest: {:?}", lab.stack.stats());
        lab.now = lab.now.max(at);
        lab.stack.handle_timers(lab.now);
        speak(lab);
    }
    let stats = lab.stack.stats();
    let flows = [stats.connections.used, stats.half_open, stats.time_wait];
    assert_eq!((flows, stats.buffers.used), ([0; 3], 0), "{stats:?}");
    assert!(!lab.stack.has_work(), "something is left to say: {stats:?}");
}

/// All that the stack has to say now, questions for neighbours included; there is no kernel to ask.
fn speak(lab: &mut Lab) -> Vec<Vec<u8>> {
    let mut frames = lab.speak();
    while lab.stack.poll_resolve().is_some() || lab.stack.has_work() {
        frames.extend(lab.speak());
        assert!(frames.len() < FRAMES_MAX, "it talks without end");
    }
    for frame in &frames {
        let header = if frame[12..14] == VLAN { 18 } else { 14 };
        let len = frame.len() - header;
        assert!(
            len <= usize::from(common::link().mtu),
            "the link does not take {len}: {frame:02x?}"
        );
    }
    frames
}
