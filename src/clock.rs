//! The time: read once a turn, handed down from there.
//!
//! In:    the kernel's monotonic clock
//! Out:   `Instant`
//! Never: read anywhere but in the worker's loop and the control thread

use std::time::Duration;

pub use netstack::Instant;

/// Microseconds of the monotonic clock since this was made.
#[derive(Clone, Copy, Debug)]
pub struct Clock {
    epoch: std::time::Instant,
}

/// Uses the processor for so long.
pub fn spin(time: Duration) {
    let began = std::time::Instant::now();
    while began.elapsed() < time {
        std::hint::spin_loop();
    }
}

impl Clock {
    /// A clock that begins now. Copies of it tell the same time.
    pub fn start() -> Self {
        Clock { epoch: std::time::Instant::now() }
    }

    /// The date: microseconds since 1970, UTC. For what is shown to people only; it may jump.
    pub fn unix_us(&self) -> i64 {
        let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
        since.map_or(0, |since| since.as_micros() as i64)
    }

    /// The processor's time that this thread has used so far, in and out of the kernel.
    pub fn of_thread(&self) -> Duration {
        let time = rustix::time::clock_gettime(rustix::time::ClockId::ThreadCPUTime);
        Duration::new(time.tv_sec as u64, time.tv_nsec as u32)
    }

    /// The kernel's monotonic clock, microseconds: for others who read it too.
    pub fn monotonic_us(&self) -> u64 {
        let time = rustix::time::clock_gettime(rustix::time::ClockId::Monotonic);
        time.tv_sec as u64 * 1_000_000 + time.tv_nsec as u64 / 1_000
    }

    /// The time.
    pub fn now(&self) -> Instant {
        Instant::from_micros(self.epoch.elapsed().as_micros() as u64)
    }
}
