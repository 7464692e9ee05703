//! Silent peers: keep-alive (RFC 9293, section 3.8.4), user timeout (RFC 5482), closed windows (RFC 6429).

use std::time::Duration;

use super::{config, established, established_with};
use crate::connection::TcpConfig;

const PLAIN: &str = "mss 1000";

#[test]
fn an_idle_peer_is_probed_and_heard() {
    established(
        PLAIN,
        "keepalive 10s 2s 3
        +10s
        > . 0:0(0) ack 1
        +1s
        < . 1:1(0) ack 1
        +9s
        +1s
        > . 0:0(0) ack 1
        < . 1:1(0) ack 1
        = ESTABLISHED",
    );
}

#[test]
fn an_idle_peer_that_is_gone_ends_it() {
    established(
        PLAIN,
        "keepalive 10s 2s 3
        +10s
        > . 0:0(0) ack 1
        +2s
        > . 0:0(0) ack 1
        +2s
        > . 0:0(0) ack 1
        +2s
        > R. 1:1(0) ack 1
        = CLOSED TimedOut
        event
        idle",
    );
}

#[test]
fn a_peer_that_talks_is_not_probed() {
    established(
        PLAIN,
        "keepalive 10s 2s 3
        +8s
        < . 1:101(100) ack 1
        > . 1:1(0) ack 101
        +8s
        < . 101:201(100) ack 1
        > . 1:1(0) ack 201
        +9s
        +1s
        > . 0:0(0) ack 201
        read 200",
    );
}

#[test]
fn retransmissions_take_the_place_of_probes() {
    established(
        PLAIN,
        "keepalive 10s 2s 3
        +9s
        write 100
        > . 1:101(100) ack 1
        +10ms
        < . 1:1(0) ack 101
        +10s
        > . 100:100(0) ack 1",
    );
}

#[test]
fn the_configuration_can_ask_for_probes() {
    let keepalive = super::Keepalive {
        idle: Duration::from_secs(30),
        interval: Duration::from_secs(5),
        count: 2,
    };
    let config = TcpConfig { keepalive: Some(keepalive), ..config() };
    established_with(
        &config,
        PLAIN,
        "write 100
        > . 1:101(100) ack 1
        +10ms
        < . 1:1(0) ack 101
        +30s
        > . 100:100(0) ack 1
        +5s
        > . 100:100(0) ack 1
        +5s
        > R. 101:101(0) ack 1
        = CLOSED TimedOut",
    );
}

#[test]
fn a_user_waits_no_longer_than_said() {
    established(
        PLAIN,
        "patience 1s
        write 100
        > . 1:101(100) ack 1
        +200ms
        > . 1:101(100) ack 1
        +400ms
        > . 1:101(100) ack 1
        +400ms
        > R. 101:101(0) ack 1
        = CLOSED TimedOut
        event",
    );
}

/// In retransmissions three would have been the end.
#[test]
fn a_patient_user_waits_longer() {
    established(
        PLAIN,
        "patience 4s
        write 100
        > . 1:101(100) ack 1
        +200ms
        > . 1:101(100) ack 1
        +400ms
        > . 1:101(100) ack 1
        +800ms
        > . 1:101(100) ack 1
        +1600ms
        > . 1:101(100) ack 1
        < . 1:1(0) ack 101
        = ESTABLISHED",
    );
}

#[test]
fn a_window_that_stays_closed_ends_it_however_the_peer_answers() {
    let config = TcpConfig { persist_max: Some(Duration::from_secs(1)), ..config() };
    established_with(
        &config,
        PLAIN,
        "< . 1:1(0) ack 1 win 0
        write 1000
        +200ms
        > . 0:0(0) ack 1
        < . 1:1(0) ack 1 win 0
        +400ms
        > . 0:0(0) ack 1
        < . 1:1(0) ack 1 win 0
        +800ms
        > R. 1:1(0) ack 1
        = CLOSED TimedOut",
    );
}

#[test]
fn a_window_that_opens_again_forgets_the_long_wait() {
    established(
        PLAIN,
        "< . 1:1(0) ack 1 win 0
        write 1000
        +200ms
        > . 0:0(0) ack 1
        < . 1:1(0) ack 1 win 0
        +400ms
        > . 0:0(0) ack 1
        < . 1:1(0) ack 1 win 1000
        > . 1:1001(1000) ack 1
        +200ms
        > . 1:1001(1000) ack 1",
    );
}
