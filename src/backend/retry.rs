//! Where the next attempt goes when one has failed.
//!
//! In:    how often it was tried, and what the backend is
//! Out:   the same server, or another
//! Never: chooses which other

use crate::config::model::{Algorithm, Redispatch};

/// Whether the retry number `retry` (from 1, of `retries`) goes to another server, as HAProxy decides:
/// with the option set, when the server has gone down, at the stated retries, or at each of them where any
/// other active server does as well and the stream is not bound to this one.
pub fn moves_on(
    retry: u32,
    retries: u32,
    redispatch: Redispatch,
    algorithm: &Algorithm,
    active: usize,
    server: Tried,
) -> bool {
    let at_this_retry = match redispatch {
        Redispatch::Never => return false,
        Redispatch::Every(interval) => retry.is_multiple_of(interval.max(1)),
        Redispatch::BeforeLast(before) => {
            let interval = (retries + 1).saturating_sub(before);
            interval > 0 && retry.is_multiple_of(interval)
        }
    };
    let any_does = is_undetermined(algorithm) && active > 1 && !server.is_bound;
    !server.is_up || at_this_retry || any_does
}

/// The server on which an attempt failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tried {
    /// It still takes streams.
    pub is_up: bool,
    /// The stream was sent to it by a rule, not by the algorithm.
    pub is_bound: bool,
}

/// Algorithms for which one server is as good as another (HAProxy's round-robin kind).
pub fn is_undetermined(algorithm: &Algorithm) -> bool {
    matches!(algorithm, Algorithm::RoundRobin | Algorithm::StaticRr | Algorithm::Random { .. })
}

#[cfg(test)]
mod tests {
    use super::*;

    const UP: Tried = Tried { is_up: true, is_bound: false };

    fn moves(redispatch: Redispatch, algorithm: &Algorithm, active: usize) -> Vec<bool> {
        (1..=4).map(|retry| moves_on(retry, 4, redispatch, algorithm, active, UP)).collect()
    }

    #[test]
    fn the_last_retry_moves_on_by_default_and_each_where_any_server_does() {
        let robin = Algorithm::RoundRobin;
        let last = Redispatch::BeforeLast(1);
        assert_eq!(moves(last, &robin, 1), [false, false, false, true]);
        assert_eq!(moves(last, &robin, 2), [true; 4]);
        assert_eq!(moves(last, &Algorithm::LeastConn, 2), [false, false, false, true]);
        assert_eq!(moves(Redispatch::Never, &robin, 5), [false; 4]);
        assert_eq!(moves(Redispatch::Every(2), &robin, 1), [false, true, false, true]);
    }

    #[test]
    fn a_server_that_went_down_is_left_and_a_bound_stream_stays() {
        let last = Redispatch::BeforeLast(1);
        let tried = |is_up, is_bound| {
            moves_on(1, 3, last, &Algorithm::RoundRobin, 3, Tried { is_up, is_bound })
        };
        assert!(tried(false, true), "it is down");
        assert!(!tried(true, true), "a rule has chosen it");
        assert!(!moves_on(1, 3, Redispatch::Never, &Algorithm::Source, 3, UP));
    }
}
