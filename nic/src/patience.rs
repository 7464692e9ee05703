//! Waits for what a process that has just ended still occupies.
//!
//! In:    an attempt that may find it busy
//! Out:   what the attempt brought, when it was not busy or time was up
//! Owns:  nothing
//! Never: runs on the packet path: it sleeps

use std::thread::sleep;
use std::time::{Duration, Instant};

/// A link goes with its process at once, a queue about 100 ms later; a loaded machine takes longer.
pub(crate) const PATIENCE: Duration = Duration::from_secs(2);
const PAUSE: Duration = Duration::from_millis(20);

/// Repeats `attempt` while it fails with an error that `is_busy` knows, for as long as `patience`.
pub(crate) fn retry_while_busy<T, E>(
    patience: Duration,
    is_busy: impl Fn(&E) -> bool,
    mut attempt: impl FnMut() -> Result<T, E>,
) -> Result<T, E> {
    let give_up = Instant::now() + patience;
    loop {
        match attempt() {
            Err(error) if is_busy(&error) && Instant::now() < give_up => sleep(PAUSE),
            result => return result,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The number of attempts, and what came of them.
    fn attempts(patience: Duration, answers: &[Result<(), &'static str>]) -> (usize, bool) {
        let mut count = 0;
        let result = retry_while_busy(
            patience,
            |error| *error == "busy",
            || {
                count += 1;
                answers[(count - 1).min(answers.len() - 1)]
            },
        );
        (count, result.is_ok())
    }

    #[test]
    fn what_is_busy_is_tried_again() {
        assert_eq!(attempts(PATIENCE, &[Err("busy"), Err("busy"), Ok(())]), (3, true));
    }

    #[test]
    fn what_is_refused_is_not() {
        assert_eq!(attempts(PATIENCE, &[Err("refused"), Ok(())]), (1, false));
    }

    #[test]
    fn patience_ends() {
        assert_eq!(attempts(Duration::ZERO, &[Err("busy")]), (1, false));
        let (count, is_ok) = attempts(PAUSE, &[Err("busy")]);
        assert!(count >= 2 && !is_ok, "{count}");
    }
}
