//! Limits and times of connections.
//!
//! Read:  RFC 9293, section 3.8.3 (R1 and R2); Linux's ip-sysctl.rst, which most defaults are named after

use std::time::Duration;

use super::congestion::Algorithm;
use super::liveness::Keepalive;

/// Limits and times of a connection.
#[derive(Clone, Debug)]
pub struct TcpConfig {
    /// First receive window, bytes.
    pub receive_buffer_initial: u32,
    /// What the receive window may grow to, bytes.
    pub receive_buffer_max: u32,
    /// What may wait to be sent or acknowledged, bytes.
    pub send_buffer_max: u32,
    /// How long an acknowledgment may wait for company (RFC 1122, section 4.2.3.2: under 500 ms).
    pub ack_delay: Duration,
    /// The algorithm of congestion control.
    pub congestion: Algorithm,
    /// Segments leave at the rate of the window, not in bursts.
    pub pacing: bool,
    /// Segments are no larger, in either direction and whatever the link takes: bytes of payload and options.
    pub mss_max: u16,
    /// Retransmissions of a SYN before giving up.
    pub syn_retries: u8,
    /// Timeouts in a row before giving up (as Linux's tcp_retries2).
    pub retries: u8,
    /// The same once the user has left.
    pub orphan_retries: u8,
    /// How long bytes may stay unacknowledged (RFC 5482); `None`: until `retries` are used up.
    pub user_timeout: Option<Duration>,
    /// How long a peer that answers may keep its window closed while bytes wait for it (RFC 6429); `None`:
    /// for ever.
    pub persist_max: Option<Duration>,
    /// The same once the user has left.
    pub orphan_persist_max: Duration,
    /// Probes of idle connections; `None`: none, unless a connection asks for them.
    pub keepalive: Option<Keepalive>,
    /// How long FIN-WAIT-2 lasts once the user has left.
    pub fin_wait_2: Duration,
    /// 2 MSL.
    pub time_wait: Duration,
}

impl Default for TcpConfig {
    fn default() -> Self {
        TcpConfig {
            receive_buffer_initial: 64 * 1024,
            receive_buffer_max: 4 * 1024 * 1024,
            send_buffer_max: 4 * 1024 * 1024,
            ack_delay: Duration::from_millis(40),
            congestion: Algorithm::default(),
            pacing: false,
            mss_max: u16::MAX,
            syn_retries: 6,
            retries: 15,
            orphan_retries: 8,
            user_timeout: None,
            // What 15 retransmissions of the least timeout come to (Linux's tcp_retries2).
            persist_max: Some(Duration::from_secs(924)),
            // Eight probes of the least timeout come to 102 s, and the first may be late.
            orphan_persist_max: Duration::from_secs(180),
            keepalive: None,
            fin_wait_2: Duration::from_secs(60),
            time_wait: Duration::from_secs(60),
        }
    }
}
