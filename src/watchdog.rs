//! Notices a worker that is in one turn for too long, and says where.
//!
//! In:    the vitals of all workers
//! Out:   sentences for the operator
//! Owns:  a thread, which ends with the process
//! Never: on a worker's core, where there are others; ends anything

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use crossbeam::channel::{Receiver, RecvTimeoutError};

use crate::clock::{Clock, Instant};
use crate::log;
use crate::vitals::{Stage, Vitals};

/// A turn that takes longer is told of.
const LIMIT: Duration = Duration::from_secs(1);
/// How often it is looked.
const LOOK: Duration = Duration::from_millis(100);

/// What is known of one worker.
struct Patient {
    vitals: Arc<Vitals>,
    place: (u64, Stage),
    since: Instant,
    /// What its thread had used of a processor then, nanoseconds.
    used: Option<u64>,
    /// When it is told of next.
    tell_at: Duration,
}

/// Begins to watch; until whoever holds the other end of `end` lets go of it.
pub fn start(all: Vec<Arc<Vitals>>, clock: Clock, end: Receiver<()>) -> std::io::Result<()> {
    let now = clock.now();
    let mut patients: Vec<Patient> = all
        .into_iter()
        .map(|vitals| Patient {
            place: vitals.place(),
            since: now,
            used: None,
            tell_at: LIMIT,
            vitals,
        })
        .collect();
    let watch = move || {
        while end.recv_timeout(LOOK) == Err(RecvTimeoutError::Timeout) {
            let now = clock.now();
            patients.iter_mut().for_each(|patient| patient.look(now));
        }
    };
    std::thread::Builder::new().name("watchdog".into()).spawn(watch).map(|_| ())
}

impl Patient {
    fn look(&mut self, now: Instant) {
        let place = self.vitals.place();
        let took = now.since(self.since);
        let Vitals { worker, core, .. } = *self.vitals;
        // Stages of one turn are one wait.
        if place.0 != self.place.0 || place.1 == Stage::Rest {
            if self.tell_at > LIMIT {
                log::warning(format_args!(
                    "worker {worker} on core {core} goes on: a turn took {:.1} s",
                    took.as_secs_f64()
                ));
            }
            (self.place, self.since, self.tell_at) = (place, now, LIMIT);
            self.used = used(self.vitals.thread());
            return;
        }
        self.place = place;
        if took < self.tell_at {
            return;
        }
        if self.tell_at == LIMIT {
            self.vitals.stuck.fetch_add(1, Ordering::Relaxed);
        }
        // Again when it has taken twice as long.
        self.tell_at = took * 2;
        let ran = match (self.used, used(self.vitals.thread())) {
            (Some(before), Some(now)) => {
                let ran = Duration::from_nanos(now.saturating_sub(before));
                format!("its thread ran for {:.1} s of them", ran.as_secs_f64())
            }
            _ => "the system does not tell whether its thread ran".into(),
        };
        log::alert(format_args!(
            "a worker is stuck for {:.1} s, {ran}: {}",
            took.as_secs_f64(),
            self.vitals.in_words()
        ));
    }
}

/// What a thread has used of a processor so far, nanoseconds (proc(5), schedstat).
fn used(thread: u32) -> Option<u64> {
    let text = std::fs::read_to_string(format!("/proc/self/task/{thread}/schedstat")).ok()?;
    text.split_whitespace().next()?.parse().ok()
}
