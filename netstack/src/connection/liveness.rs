//! How long a silent peer is borne with.
//!
//! In:    timers that expired
//! Out:   probes; the end of a connection
//! Never: ends a connection whose peer answers and takes what it is sent
//! Read:  RFC 9293, sections 3.8.3 (R1, R2), 3.8.4 (keep-alive), 3.8.6.1 (zero window); RFC 5482 (user timeout);
//!        RFC 6429 (peers that keep their window closed)

use std::num::NonZeroU8;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::{Connection, ConnectionError, Context, SendTimer, State, TcpConfig};
use crate::time::Instant;

/// Probes of an idle connection (RFC 9293, section 3.8.4).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Keepalive {
    /// Silence before the first probe.
    pub idle: Duration,
    /// Between probes.
    pub interval: Duration,
    /// Probes without an answer before the connection ends; at least one.
    pub count: u8,
}

impl Default for Keepalive {
    /// Linux's tcp_keepalive_time, tcp_keepalive_intvl and tcp_keepalive_probes.
    fn default() -> Self {
        Keepalive { idle: Duration::from_secs(7200), interval: Duration::from_secs(75), count: 9 }
    }
}

/// The same in the fields of a connection: whole seconds, rounded up.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct KeepaliveSeconds {
    pub idle: u32,
    pub interval: u32,
    /// One at least.
    pub count: NonZeroU8,
}

impl From<Keepalive> for KeepaliveSeconds {
    fn from(keepalive: Keepalive) -> Self {
        let seconds = |time: Duration| time.as_millis().div_ceil(1000).clamp(1, 1 << 31) as u32;
        KeepaliveSeconds {
            idle: seconds(keepalive.idle),
            interval: seconds(keepalive.interval),
            count: NonZeroU8::new(keepalive.count).unwrap_or(NonZeroU8::MIN),
        }
    }
}

/// A user timeout as a connection keeps it: milliseconds, 0 when there is none.
pub(super) fn user_timeout_ms(timeout: Option<Duration>) -> u32 {
    timeout.map_or(0, |timeout| timeout.as_millis().clamp(1, u32::MAX.into()) as u32)
}

impl Connection {
    /// Probes when idle, or not.
    pub(crate) fn set_keepalive(&mut self, keepalive: Option<Keepalive>, config: &TcpConfig) {
        self.keepalive = keepalive.map(Into::into);
        if matches!(self.send_timer, None | Some((_, SendTimer::Keepalive))) {
            self.send_timer = self.keepalive_deadline(config);
        }
    }

    /// How long bytes may stay unacknowledged; `None` leaves it to the number of retransmissions.
    pub(crate) fn set_user_timeout(&mut self, timeout: Option<Duration>) {
        self.user_timeout_ms = user_timeout_ms(timeout);
    }

    fn user_timeout(&self) -> Option<Duration> {
        (self.user_timeout_ms > 0).then(|| Duration::from_millis(self.user_timeout_ms.into()))
    }

    /// When the retransmission timer is to expire: not beyond the user's patience.
    pub(super) fn timeout_at(&self, cx: &Context<'_>) -> Instant {
        let at = cx.now + self.rtt.rto();
        match self.user_timeout() {
            Some(patience) => at.min((self.progress_at + patience).max(cx.now)),
            None => at,
        }
    }

    /// Whether what is in flight has waited long enough (R2).
    pub(super) fn gives_up(&self, cx: &Context<'_>) -> bool {
        let opening = matches!(self.state, State::SynSent | State::SynReceived);
        if let Some(patience) = self.user_timeout()
            && cx.now.since(self.progress_at) >= patience
        {
            return true;
        }
        let retries = match self.state {
            _ if opening => cx.config.syn_retries,
            _ if self.orphan => cx.config.orphan_retries,
            // A user who is patient says so in time, not in retransmissions (as Linux's TCP_USER_TIMEOUT).
            _ if self.user_timeout_ms > 0 => u8::MAX,
            _ => cx.config.retries,
        };
        self.timeouts >= retries
    }

    /// The window is closed and something waits.
    pub(super) fn handle_persist(&mut self, cx: &mut Context<'_>) {
        let closed_for = cx.now.since(self.progress_at);
        // Nobody waits for the peer once the user has left.
        let orphaned = self.orphan.then_some(cx.config.orphan_persist_max);
        let patience = orphaned.or(cx.config.persist_max);
        if self.gives_up(cx) || patience.is_some_and(|patience| closed_for >= patience) {
            self.abort(cx);
            self.error = Some(ConnectionError::TimedOut);
            return;
        }
        self.timeouts = self.timeouts.saturating_add(1);
        self.rtt.back_off();
        self.probe = Some(SendTimer::Persist);
        self.send_timer = Some((self.timeout_at(cx), SendTimer::Persist));
    }

    /// A peer that answers probes of its closed window is alive. One that answers somebody who has left has
    /// as many probes as a silent one has retransmissions.
    pub(super) fn note_persist_answer(&mut self) {
        if !self.orphan {
            self.timeouts = 0;
        }
        if self.snd_wnd > 0 {
            self.rtt.forget_backoff();
        }
    }

    /// This connection's own wish, or the configuration's.
    fn keepalive_in_force(&self, config: &TcpConfig) -> Option<KeepaliveSeconds> {
        self.keepalive.or(config.keepalive.map(Into::into))
    }

    /// When the next probe of an idle connection is due.
    pub(super) fn keepalive_deadline(&self, config: &TcpConfig) -> Option<(Instant, SendTimer)> {
        let keepalive = self.keepalive_in_force(config)?;
        let open = matches!(self.state, State::Established | State::CloseWait | State::FinWait2);
        if !open {
            return None;
        }
        let wait = match self.keepalive_probes {
            0 => keepalive.idle,
            probes => keepalive.idle.saturating_add(keepalive.interval * u32::from(probes)),
        };
        Some((self.last_heard + Duration::from_secs(wait.into()), SendTimer::Keepalive))
    }

    /// Silence for as long as the user bears it: a probe, or the end.
    pub(super) fn handle_keepalive(&mut self, cx: &mut Context<'_>) {
        let Some((at, _)) = self.keepalive_deadline(cx.config) else { return };
        if at > cx.now {
            // The peer has spoken since the timer was set.
            self.send_timer = Some((at, SendTimer::Keepalive));
            return;
        }
        let Some(KeepaliveSeconds { count, .. }) = self.keepalive_in_force(cx.config) else {
            return;
        };
        let impatient = self.keepalive_probes > 0
            && self.user_timeout().is_some_and(|most| cx.now.since(self.last_heard) >= most);
        if self.keepalive_probes >= count.get() || impatient {
            self.abort(cx);
            self.error = Some(ConnectionError::TimedOut);
            return;
        }
        self.keepalive_probes += 1;
        self.probe = Some(SendTimer::Keepalive);
        self.send_timer = self.keepalive_deadline(cx.config);
    }

    /// The peer said something.
    pub(super) fn note_heard(&mut self, now: Instant) {
        self.last_heard = now;
        self.keepalive_probes = 0;
    }
}
