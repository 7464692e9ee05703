//! Waking threads that sleep in poll(): workers and the control thread.
//!
//! In:    wake-ups by any thread
//! Out:   the end of a sleep
//! Owns:  an eventfd per thread
//! Never: a system call for a thread that is awake

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering, fence};
use std::time::Duration;

use nic::XskQueue;
use rustix::event::{EventfdFlags, PollFd, PollFlags, Timespec, eventfd, poll};

use crate::shared::Wake;
use crate::worker::Sleep;

/// What wakes one thread.
pub struct Bell {
    fd: OwnedFd,
    asleep: AtomicBool,
}

impl Bell {
    /// A bell for a thread that is awake.
    pub fn new() -> io::Result<Arc<Self>> {
        let fd = eventfd(0, EventfdFlags::NONBLOCK | EventfdFlags::CLOEXEC)?;
        Ok(Arc::new(Bell { fd, asleep: AtomicBool::new(false) }))
    }

    /// Polls `fds` and the bell, unless `has_work` says that something came in the meantime.
    /// Returns which of `fds` are readable.
    pub fn sleep(
        &self,
        fds: &[BorrowedFd<'_>],
        timeout: Option<Duration>,
        has_work: impl FnOnce() -> bool,
    ) -> Vec<bool> {
        self.asleep.store(true, Ordering::SeqCst);
        // Pairs with the fence in `wake`: either the waker sees us asleep, or we see its work.
        fence(Ordering::SeqCst);
        let mut readable = vec![false; fds.len()];
        if !has_work() {
            let mut polled: Vec<PollFd<'_>> =
                fds.iter().map(|fd| PollFd::from_borrowed_fd(*fd, PollFlags::IN)).collect();
            polled.push(PollFd::new(&self.fd, PollFlags::IN));
            let timeout = timeout.map(|timeout| Timespec {
                tv_sec: timeout.as_secs() as i64,
                tv_nsec: i64::from(timeout.subsec_nanos()),
            });
            // A signal ends the sleep early, which is no harm: the caller looks for work again.
            if poll(&mut polled, timeout.as_ref()).is_ok() {
                for (readable, polled) in readable.iter_mut().zip(&polled) {
                    *readable = !polled.revents().is_empty();
                }
            }
        }
        self.asleep.store(false, Ordering::SeqCst);
        // The count says nothing; only that it is not zero does.
        let mut count = [0; 8];
        let _ = rustix::io::read(&self.fd, &mut count);
        readable
    }
}

impl Wake for Bell {
    fn wake(&self) {
        fence(Ordering::SeqCst);
        if self.asleep.load(Ordering::SeqCst) {
            // It fails only when the count is at its limit: then the sleeper wakes anyway.
            let _ = rustix::io::write(&self.fd, &1_u64.to_ne_bytes());
        }
    }
}

impl AsFd for Bell {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

impl Sleep<XskQueue> for Arc<Bell> {
    fn sleep<'a>(
        &mut self,
        wires: impl Iterator<Item = &'a XskQueue>,
        also: Option<BorrowedFd<'a>>,
        timeout: Duration,
        has_work: impl FnOnce() -> bool,
    ) {
        let fds: Vec<BorrowedFd<'_>> = wires.map(XskQueue::fd).chain(also).collect();
        Bell::sleep(self, &fds, Some(timeout), has_work);
    }
}

impl Wake for Arc<Bell> {
    fn wake(&self) {
        Bell::wake(self);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wake_up_before_or_during_a_sleep_ends_it() {
        let bell = Bell::new().unwrap();
        let word = Arc::new(AtomicBool::new(false));
        for _ in 0..2000 {
            let (bell_there, word_there) = (bell.clone(), word.clone());
            let waker = std::thread::spawn(move || {
                word_there.store(true, Ordering::SeqCst);
                bell_there.wake();
            });
            let began = std::time::Instant::now();
            while !word.swap(false, Ordering::SeqCst) {
                Bell::sleep(&bell, &[], Some(Duration::from_secs(10)), || {
                    word.load(Ordering::SeqCst)
                });
            }
            assert!(began.elapsed() < Duration::from_secs(5), "slept through a wake-up");
            waker.join().unwrap();
        }
    }
}
