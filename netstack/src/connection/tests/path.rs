//! Segment sizes: black holes (RFC 4821), and the first window after lost SYNs (RFC 6928).

use super::{config, connecting, established, established_with};
use crate::connection::TcpConfig;

const LARGE: &str = "mss 1460,sackOK";

#[test]
fn large_segments_that_vanish_without_a_word_go_again_in_smaller_pieces() {
    established(
        LARGE,
        "write 2920
        > . 1:2921(2920) ack 1
        +20ms
        > . 1461:2921(1460) ack 1
        +200ms
        > . 1:1461(1460) ack 1
        +400ms
        > . 1:1221(1220) ack 1
        +10ms
        < . 1:1(0) ack 1221
        > . 1221:1461(240) ack 1
        > . 1461:2681(1220) ack 1
        +10ms
        < . 1:1(0) ack 2681
        > . 2681:2921(240) ack 1
        < . 1:1(0) ack 2921
        write 2440
        > . 2921:5361(2440) ack 1
        < . 1:1(0) ack 5361",
    );
}

#[test]
fn a_path_that_was_only_down_gets_large_segments_again() {
    established(
        LARGE,
        "write 2920
        > . 1:2921(2920) ack 1
        +20ms
        > . 1461:2921(1460) ack 1
        +200ms
        > . 1:1461(1460) ack 1
        +400ms
        > . 1:1221(1220) ack 1
        < . 1:1(0) ack 1461         # what went in one piece has arrived
        > . 1461:2921(1460) ack 1",
    );
}

#[test]
fn after_ten_minutes_the_path_is_asked_again() {
    established(
        LARGE,
        "write 1460
        > . 1:1461(1460) ack 1
        +60ms
        > . 1:1461(1460) ack 1
        +200ms
        > . 1:1461(1460) ack 1
        +400ms
        > . 1:1221(1220) ack 1
        +10ms
        < . 1:1(0) ack 1221
        > . 1221:1461(240) ack 1
        < . 1:1(0) ack 1461
        write 1460
        > . 1461:2921(1460) ack 1
        +10ms
        < . 1:1(0) ack 2921
        +600s
        write 1460
        > . 2921:4381(1460) ack 1",
    );
}

#[test]
fn a_path_that_lost_two_syns_begins_with_one_segment() {
    connecting(
        "> S 0:0(0)
        +1s
        > S 0:0(0)
        +2s
        > S 0:0(0)
        < S. 0:0(0) ack 1 win 60000 <mss 1000,sackOK>
        > . 1:1(0) ack 1
        cwnd 1000",
    );
    connecting(
        "> S 0:0(0)
        +1s
        > S 0:0(0)
        < S. 0:0(0) ack 1 win 60000 <mss 1000,sackOK>
        > . 1:1(0) ack 1
        cwnd 10000",
    );
}

#[test]
fn a_paced_connection_spreads_its_window() {
    let config = TcpConfig { pacing: true, ..config() };
    established_with(
        &config,
        "mss 1000,sackOK",
        "write 10000
        > . 1:3001(3000) ack 1      # 2 bytes per microsecond: two windows per round trip
        +1ms
        > . 3001:5001(2000) ack 1
        +1ms
        > . 5001:7001(2000) ack 1
        +1ms
        > . 7001:9001(2000) ack 1
        +1ms
        > . 9001:10001(1000) ack 1",
    );
}
