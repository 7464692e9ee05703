//! Round-trip time and the retransmission timeout drawn from it.
//!
//! Read:  RFC 6298

use std::time::Duration;

/// RFC 6298 asks for 1 s as the first timeout.
const RTO_INITIAL: Duration = Duration::from_secs(1);
/// Linux's floor; RFC 6298 section 2.4 says 1 s, which no data centre can live with.
const RTO_MIN: Duration = Duration::from_millis(200);
/// RFC 6298 section 2.5 allows a ceiling of 60 s or more.
const RTO_MAX: Duration = Duration::from_secs(60);

/// The estimate of one connection.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct RttEstimator {
    /// SRTT, or `None` before the first sample.
    srtt: Option<Duration>,
    rttvar: Duration,
    /// The least sample so far.
    min_rtt: Option<Duration>,
    /// How often the timeout has been doubled since the last sample.
    backoff: u8,
}

impl RttEstimator {
    /// Takes a sample of a segment that was sent once.
    pub fn sample(&mut self, rtt: Duration) {
        let rtt = rtt.max(Duration::from_micros(1));
        self.min_rtt = Some(self.min_rtt.map_or(rtt, |least| least.min(rtt)));
        self.backoff = 0;
        match self.srtt {
            None => {
                self.srtt = Some(rtt);
                self.rttvar = rtt / 2;
            }
            Some(srtt) => {
                self.rttvar = (self.rttvar * 3 + srtt.abs_diff(rtt)) / 4;
                self.srtt = Some((srtt * 7 + rtt) / 8);
            }
        }
    }

    /// The retransmission timeout, backed off.
    pub fn rto(&self) -> Duration {
        let base = match self.srtt {
            None => RTO_INITIAL,
            Some(srtt) => (srtt + self.rttvar * 4).clamp(RTO_MIN, RTO_MAX),
        };
        (base * (1 << u32::from(self.backoff.min(10)))).min(RTO_MAX)
    }

    /// Doubles the timeout until the next sample.
    pub fn back_off(&mut self) {
        self.backoff = self.backoff.saturating_add(1);
    }

    /// SRTT.
    pub fn srtt(&self) -> Option<Duration> {
        self.srtt
    }

    /// The least sample so far.
    pub fn min_rtt(&self) -> Option<Duration> {
        self.min_rtt
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn follows_rfc_6298() {
        let mut rtt = RttEstimator::default();
        assert_eq!(rtt.rto(), Duration::from_secs(1));
        rtt.sample(Duration::from_millis(100));
        assert_eq!(rtt.srtt(), Some(Duration::from_millis(100)));
        assert_eq!(rtt.rto(), Duration::from_millis(300));
        rtt.back_off();
        rtt.back_off();
        assert_eq!(rtt.rto(), Duration::from_millis(1200));
        rtt.sample(Duration::from_millis(100));
        assert_eq!(rtt.rto(), Duration::from_millis(250));
        for _ in 0..20 {
            rtt.back_off();
        }
        assert_eq!(rtt.rto(), RTO_MAX);
    }

    #[test]
    fn has_a_floor() {
        let mut rtt = RttEstimator::default();
        for _ in 0..50 {
            rtt.sample(Duration::from_micros(40));
        }
        assert_eq!(rtt.rto(), RTO_MIN);
    }
}
