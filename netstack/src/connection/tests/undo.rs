//! Recoveries that were none: RFC 3522 (Eifel), RFC 3708 (DSACK), RFC 5682 (F-RTO), and PRR (RFC 9937) where
//! they were.

use super::established;

const SACK: &str = "mss 1000,sackOK";
const STAMPED: &str = "mss 1012,sackOK,TS val 0 ecr 0";

#[test]
fn an_old_echo_after_a_timeout_says_that_nothing_was_lost() {
    established(
        STAMPED,
        "write 5000
        > . 1:5001(5000) ack 1 <TS val 10 ecr 0>
        +20ms
        > . 4001:5001(1000) ack 1 <TS val 30 ecr 0>
        +200ms
        > . 1:1001(1000) ack 1 <TS val 230 ecr 0>
        cwnd 1012
        +5ms                        # the originals were late, all of them
        < . 1:1(0) ack 1001 <TS val 230 ecr 10>
        cwnd 10120
        undone 1
        < . 1:1(0) ack 5001 <TS val 230 ecr 10>
        unacknowledged 0
        retransmits 2",
    );
}

#[test]
fn a_new_echo_after_a_timeout_says_that_it_was_right() {
    established(
        STAMPED,
        "write 5000
        > . 1:5001(5000) ack 1
        +20ms
        > . 4001:5001(1000) ack 1
        +200ms
        > . 1:1001(1000) ack 1 <TS val 230 ecr 0>
        +5ms
        < . 1:1(0) ack 1001 <TS val 230 ecr 230>
        > . 1001:3001(2000) ack 1
        undone 0",
    );
}

#[test]
fn reordering_that_looked_like_a_loss_is_taken_back() {
    established(
        STAMPED,
        "write 6000
        > . 1:6001(6000) ack 1
        +10ms
        < . 1:1(0) ack 1 <TS val 10 ecr 10,sack 1001:4001>
        > . 1:1001(1000) ack 1 <TS val 20 ecr 10>
        ssthresh 7084
        +1ms
        < . 1:1(0) ack 4001 <TS val 11 ecr 10>
        undone 1
        ssthresh 4294967295
        cwnd 10120",
    );
}

#[test]
fn without_timestamps_a_dsack_for_each_retransmission_takes_it_back() {
    established(
        SACK,
        "write 8000
        > . 1:8001(8000) ack 1
        +10ms
        < . 1:1(0) ack 1 <sack 1001:2001 3001:5001>
        > . 1:1001(1000) ack 1
        > . 2001:3001(1000) ack 1
        < . 1:1(0) ack 1 <sack 1001:2001 3001:6001>
        ssthresh 7000
        +1ms
        < . 1:1(0) ack 6001
        undone 0
        +10ms
        < . 1:1(0) ack 6001 <sack 1:1001>
        undone 0
        < . 1:1(0) ack 6001 <sack 2001:3001>
        undone 1
        ssthresh 4294967295",
    );
}

/// F-RTO: what was never sent again is acknowledged, so it was not lost.
#[test]
fn without_timestamps_an_original_that_arrives_after_a_timeout_takes_it_back() {
    established(
        SACK,
        "write 5000
        > . 1:5001(5000) ack 1
        +20ms
        > . 4001:5001(1000) ack 1
        +200ms
        > . 1:1001(1000) ack 1
        cwnd 1000
        +5ms
        < . 1:1(0) ack 2001
        undone 1
        cwnd 10000",
    );
}

#[test]
fn a_head_that_alone_is_acknowledged_takes_nothing_back() {
    established(
        SACK,
        "write 5000
        > . 1:5001(5000) ack 1
        +20ms
        > . 4001:5001(1000) ack 1
        +200ms
        > . 1:1001(1000) ack 1
        +5ms
        < . 1:1(0) ack 1001
        > . 1001:3001(2000) ack 1
        undone 0",
    );
}

// Recovery that was needed.

/// One of ten is lost: the window goes from 10 to 7 without silence and without a burst.
#[test]
fn recovery_sends_in_proportion_to_what_arrives() {
    established(
        SACK,
        "write 20000
        > . 1:10001(10000) ack 1
        +10ms
        < . 1:1(0) ack 1 <sack 1001:2001>
        > . 10001:11001(1000) ack 1         # RFC 3042: it left the network
        < . 1:1(0) ack 1 <sack 1001:3001>
        > . 11001:12001(1000) ack 1
        < . 1:1(0) ack 1 <sack 1001:4001>
        > . 1:1001(1000) ack 1
        ssthresh 7000
        < . 1:1(0) ack 1 <sack 1001:5001>
        < . 1:1(0) ack 1 <sack 1001:6001>
        < . 1:1(0) ack 1 <sack 1001:7001>
        > . 12001:13001(1000) ack 1
        < . 1:1(0) ack 1 <sack 1001:8001>
        > . 13001:14001(1000) ack 1
        < . 1:1(0) ack 1 <sack 1001:9001>
        > . 14001:15001(1000) ack 1
        < . 1:1(0) ack 1 <sack 1001:10001>
        > . 15001:16001(1000) ack 1
        +10ms
        < . 1:1(0) ack 12001
        > . 16001:19001(3000) ack 1
        cwnd 7000",
    );
}

/// RFC 8985, section 7.4: a tail probe that repairs a loss hides it from everybody else.
#[test]
fn a_loss_that_the_probe_repaired_reduces_the_window() {
    established(
        SACK,
        "write 2000
        > . 1:2001(2000) ack 1
        +10ms
        < . 1:1(0) ack 1001
        +20ms
        +40ms
        > . 1001:2001(1000) ack 1
        +10ms
        < . 1:1(0) ack 2001
        ssthresh 4294967295
        write 1000
        > . 2001:3001(1000) ack 1
        +10ms
        < . 1:1(0) ack 3001
        ssthresh 7000",
    );
}

#[test]
fn a_probe_that_was_needless_changes_nothing() {
    established(
        SACK,
        "write 2000
        > . 1:2001(2000) ack 1
        +10ms
        < . 1:1(0) ack 1001
        +20ms
        +40ms
        > . 1001:2001(1000) ack 1
        < . 1:1(0) ack 2001
        < . 1:1(0) ack 2001 <sack 1001:2001>
        write 1000
        > . 2001:3001(1000) ack 1
        +10ms
        < . 1:1(0) ack 3001
        ssthresh 4294967295",
    );
}
