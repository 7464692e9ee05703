//! Round-trip time and the retransmission timeout drawn from it.
//!
//! In:    round trips of segments that were sent once
//! Out:   SRTT, RTTVAR, the least round trip, RTO
//! Never: takes a sample of a segment that was sent twice (Karn)
//! Read:  RFC 6298

use crate::time::Micros;

/// RFC 6298 asks for 1 s as the first timeout.
const RTO_INITIAL: Micros = Micros::from_secs(1);
/// Linux's floor; RFC 6298 section 2.4 says 1 s, which no data centre can live with.
const RTO_MIN: Micros = Micros::from_millis(200);
/// The least that the timeout is beyond the round trip, in round trips, and the most that this comes to: a
/// steady path lets RTTVAR shrink to nothing, and the first delayed acknowledgment, longer queue or second loss
/// would be a timeout. Linux keeps these 200 ms whatever the round trip.
const DISTANCE_ROUND_TRIPS: u64 = 2;
const DISTANCE_MAX: Micros = Micros::from_millis(200);
/// RFC 6298 section 2.5 allows a ceiling of 60 s or more; this is Linux's.
const RTO_MAX: Micros = Micros::from_secs(120);
/// A longer round trip than this is none: it would not fit the field, and no timeout follows it.
const SAMPLE_MAX: Micros = RTO_MAX;
/// The least round trip is believed for so long: paths change (RFC 8985, section 6.2 wants a recent one).
/// As Linux's tcp_min_rtt_wlen.
const MIN_RTT_WINDOW_S: u32 = 300;

/// The estimate of one connection. Times in microseconds; zero is no sample yet.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct RttEstimator {
    srtt: u32,
    rttvar: u32,
    min_rtt: u32,
    /// When `min_rtt` was measured, seconds of the clock.
    min_rtt_at: u32,
    /// How often the timeout has been doubled since the last sample.
    backoff: u8,
}

impl RttEstimator {
    /// Takes a sample of a segment that was sent once; `now_s` is the clock in seconds.
    pub fn sample(&mut self, rtt: Micros, now_s: u32) {
        let rtt = rtt.clamp(Micros(1), SAMPLE_MAX).0 as u32;
        let aged = now_s.wrapping_sub(self.min_rtt_at) > MIN_RTT_WINDOW_S;
        if self.min_rtt == 0 || rtt <= self.min_rtt || aged {
            self.min_rtt = rtt;
            self.min_rtt_at = now_s;
        }
        self.backoff = 0;
        if self.srtt == 0 {
            self.srtt = rtt;
            self.rttvar = rtt / 2;
        } else {
            self.rttvar = (self.rttvar * 3 + self.srtt.abs_diff(rtt)) / 4;
            self.srtt = ((u64::from(self.srtt) * 7 + u64::from(rtt)) / 8).max(1) as u32;
        }
    }

    /// Takes a sample in whole milliseconds of a timestamp's echo, for want of a better one.
    pub fn sample_coarse(&mut self, rtt: Micros, now_s: u32) {
        // Below a millisecond the clock of timestamps says zero; and what it truncates is no least.
        let min = (self.min_rtt, self.min_rtt_at);
        if rtt <= SAMPLE_MAX {
            self.sample(rtt.max(Micros::from_millis(1)), now_s);
            if min.0 > 0 {
                (self.min_rtt, self.min_rtt_at) = min;
            }
        }
    }

    /// The retransmission timeout, backed off.
    pub fn rto(&self) -> Micros {
        let base = match self.srtt() {
            None => RTO_INITIAL,
            Some(srtt) => {
                let distance = (srtt * DISTANCE_ROUND_TRIPS).min(DISTANCE_MAX);
                (srtt + (self.rttvar() * 4).max(distance)).clamp(RTO_MIN, RTO_MAX)
            }
        };
        (base * (1 << self.backoff.min(10))).min(RTO_MAX)
    }

    /// Doubles the timeout until the next sample.
    pub fn back_off(&mut self) {
        self.backoff = self.backoff.saturating_add(1);
    }

    /// The peer is there again: what doubled the timeout is over.
    pub fn forget_backoff(&mut self) {
        self.backoff = 0;
    }

    /// SRTT, once there was a sample.
    pub fn srtt(&self) -> Option<Micros> {
        (self.srtt > 0).then(|| Micros(self.srtt.into()))
    }

    /// RTTVAR.
    pub fn rttvar(&self) -> Micros {
        Micros(self.rttvar.into())
    }

    /// The least sample of late.
    pub fn min_rtt(&self) -> Option<Micros> {
        (self.min_rtt > 0).then(|| Micros(self.min_rtt.into()))
    }

    /// SRTT, RTTVAR and the least sample, microseconds: for a snapshot.
    pub fn parts(&self) -> [u32; 3] {
        [self.srtt, self.rttvar, self.min_rtt]
    }

    /// An estimate of these parts.
    pub fn from_parts([srtt, rttvar, min_rtt]: [u32; 3], now_s: u32) -> Self {
        let most = SAMPLE_MAX.0 as u32;
        RttEstimator {
            srtt: srtt.min(most),
            rttvar: rttvar.min(most),
            min_rtt: min_rtt.min(most),
            min_rtt_at: now_s,
            backoff: 0,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn follows_rfc_6298() {
        let mut rtt = RttEstimator::default();
        assert_eq!(rtt.rto(), Micros::from_secs(1));
        rtt.sample(Micros::from_millis(100), 0);
        assert_eq!(rtt.srtt(), Some(Micros::from_millis(100)));
        assert_eq!(rtt.rto(), Micros::from_millis(300));
        rtt.back_off();
        rtt.back_off();
        assert_eq!(rtt.rto(), Micros::from_millis(1200));
        rtt.sample(Micros::from_millis(100), 0);
        assert_eq!(rtt.rto(), Micros::from_millis(300));
        for _ in 0..20 {
            rtt.back_off();
        }
        assert_eq!(rtt.rto(), RTO_MAX);
        rtt.forget_backoff();
        assert_eq!(rtt.rto(), Micros::from_millis(300));
    }

    #[test]
    fn has_a_floor() {
        let mut rtt = RttEstimator::default();
        for _ in 0..50 {
            rtt.sample(Micros(40), 0);
        }
        assert_eq!(rtt.rto(), RTO_MIN);
    }

    #[test]
    fn keeps_its_distance_from_a_long_and_steady_round_trip() {
        for (round_trip_ms, rto_ms) in [(10, 200), (80, 240), (100, 300), (300, 500)] {
            let mut rtt = RttEstimator::default();
            for _ in 0..100 {
                rtt.sample(Micros::from_millis(round_trip_ms), 0);
            }
            assert_eq!(rtt.rto(), Micros::from_millis(rto_ms));
        }
    }

    #[test]
    fn forgets_the_least_round_trip_of_a_path_that_is_gone() {
        let mut rtt = RttEstimator::default();
        rtt.sample(Micros::from_millis(10), 0);
        rtt.sample(Micros::from_millis(80), 200);
        assert_eq!(rtt.min_rtt(), Some(Micros::from_millis(10)));
        rtt.sample(Micros::from_millis(80), 301);
        assert_eq!(rtt.min_rtt(), Some(Micros::from_millis(80)));
    }
}
