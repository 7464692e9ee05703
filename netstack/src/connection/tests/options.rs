//! RFC 7323 (timestamps, PAWS, window scale) and the receiver's half of RFC 2018.

use super::{accepted, established};

const STAMPED: &str = "mss 1000,TS val 100 ecr 0";
const SACK: &str = "mss 1000,sackOK";

// Timestamps.

#[test]
fn every_segment_is_stamped_and_echoes() {
    established(
        STAMPED,
        "< . 1:101(100) ack 1 <TS val 110 ecr 10>
        > . 1:1(0) ack 101 <TS val 10 ecr 110>
        +5ms
        write 100
        > . 1:101(100) ack 101 <TS val 15 ecr 110>
        abort
        > R. 101:101(0) ack 101",
    );
}

#[test]
fn paws_drops_what_is_older_than_ts_recent() {
    established(
        STAMPED,
        "< . 1:101(100) ack 1 <TS val 99 ecr 0> !OldTimestamp
        > . 1:1(0) ack 1 <TS val 10 ecr 100>
        readable 0
        < . 1:101(100) ack 1 <TS val 100 ecr 0>
        > . 1:1(0) ack 101
        readable 100",
    );
}

#[test]
fn paws_does_not_stop_a_rst() {
    established(STAMPED, "< R 1:1(0) <TS val 5 ecr 0>\n = CLOSED Reset");
    established(STAMPED, "< R 1:1(0)\n = CLOSED Reset");
}

#[test]
fn paws_takes_no_acknowledgment_from_the_past() {
    established(
        STAMPED,
        "write 100
        > . 1:101(100) ack 1
        < . 1:1(0) ack 101 <TS val 99 ecr 10> !OldTimestamp
        > . 101:101(0) ack 1
        unacknowledged 100",
    );
}

#[test]
fn paws_compares_on_the_circle() {
    established(
        STAMPED,
        "< . 1:101(100) ack 1 <TS val 2147483747 ecr 0>
        > . 1:1(0) ack 101 <TS val 10 ecr 2147483747>
        < . 101:201(100) ack 1 <TS val 2147483746 ecr 0> !OldTimestamp
        > . 1:1(0) ack 101",
    );
}

#[test]
fn ts_recent_comes_from_what_covers_the_last_acknowledgment() {
    // RFC 7323, section 4.3: a gap's later side does not, and its filling does.
    established(
        STAMPED,
        "< . 1001:2001(1000) ack 1 <TS val 150 ecr 0>
        > . 1:1(0) ack 1 <TS val 10 ecr 100>
        < . 1:1001(1000) ack 1 <TS val 140 ecr 0>
        > . 1:1(0) ack 2001 <TS val 10 ecr 140>",
    );
}

#[test]
fn a_delayed_acknowledgment_echoes_the_earliest_it_covers() {
    established(
        STAMPED,
        "write 10
        > . 1:11(10) ack 1
        < . 1:989(988) ack 11 <TS val 120 ecr 10>
        +3ms
        < . 989:1977(988) ack 11 <TS val 123 ecr 10>
        > . 11:11(0) ack 1977 <TS val 13 ecr 120>",
    );
}

#[test]
fn timestamps_that_were_not_agreed_on_are_ignored() {
    established(
        "mss 1000",
        "< . 1:101(100) ack 1 <TS val 5 ecr 0>
        > . 1:1(0) ack 101 <>
        < . 101:201(100) ack 1 <TS val 1 ecr 0>
        > . 1:1(0) ack 201 <>",
    );
}

#[test]
fn an_accepted_connection_echoes_the_syn_first() {
    accepted(STAMPED, "write 10\n > . 1:11(10) ack 1 <TS val 0 ecr 100>");
}

// Window scale.

#[test]
fn windows_are_scaled_both_ways() {
    established(
        "mss 1000,wscale 14",
        "< . 1:1(0) ack 1 win 1
        write 20000
        > . 1:10001(10000) ack 1 win 256
        < . 1:1(0) ack 10001 win 0
        < . 1:513(512) ack 10001 win 0
        +40ms
        > . 10001:10001(0) ack 513 win 254",
    );
}

#[test]
fn what_rounding_hides_is_still_taken() {
    // 65535 bytes are offered before the window has a scale: the last 255 of them are less than a unit.
    established(
        "mss 1000,wscale 0",
        "< . 1:65281(65280) ack 1
        > . 1:1(0) ack 65281 win 1
        < . 65281:65381(100) ack 1
        > . 1:1(0) ack 65381 win 1
        < . 65381:65537(156) ack 1
        > . 1:1(0) ack 65537 win 1
        readable 65536",
    );
}

// SACK, received data.

#[test]
fn gaps_are_told_of_the_most_recent_block_first() {
    established(
        SACK,
        "< . 1001:2001(1000) ack 1
        > . 1:1(0) ack 1 <sack 1001:2001>
        < . 5001:6001(1000) ack 1
        > . 1:1(0) ack 1 <sack 5001:6001 1001:2001>
        < . 3001:4001(1000) ack 1
        > . 1:1(0) ack 1 <sack 3001:4001 5001:6001 1001:2001>
        < . 7001:8001(1000) ack 1
        > . 1:1(0) ack 1 <sack 7001:8001 3001:4001 5001:6001 1001:2001>
        < . 2001:3001(1000) ack 1
        > . 1:1(0) ack 1 <sack 1001:4001 7001:8001 5001:6001>
        < . 1:1001(1000) ack 1
        > . 1:1(0) ack 4001 <sack 7001:8001 5001:6001>
        < . 4001:7001(3000) ack 1
        > . 1:1(0) ack 8001 <>
        read 8000",
    );
}

/// Reordering delays acknowledgments too: a late one may tell of a block, and nothing else.
#[test]
fn a_late_duplicate_is_heard_and_late_data_is_not() {
    established(
        "mss 1012,sackOK,TS val 0 ecr 0",
        "write 3000
        > . 1:3001(3000) ack 1
        +10ms
        < . 1:1(0) ack 1 <TS val 50 ecr 10,sack 2001:3001>
        < . 1:1(0) ack 1 <TS val 49 ecr 10,sack 1001:2001>
        < . 1:101(100) ack 1 <TS val 48 ecr 10> !OldTimestamp
        > . 3001:3001(0) ack 1 <TS val 20 ecr 50>",
    );
}

#[test]
fn blocks_fit_beside_timestamps() {
    established(
        "mss 1000,sackOK,TS val 0 ecr 0",
        "< . 1001:1101(100) ack 1 <TS val 1 ecr 0>
        > . 1:1(0) ack 1 <sack 1001:1101,TS val 10 ecr 0>
        < . 2001:2101(100) ack 1 <TS val 1 ecr 0>
        > . 1:1(0) ack 1 <sack 2001:2101 1001:1101,TS val 10 ecr 0>
        < . 3001:3101(100) ack 1 <TS val 1 ecr 0>
        > . 1:1(0) ack 1 <sack 3001:3101 2001:2101 1001:1101,TS val 10 ecr 0>",
    );
}

#[test]
fn a_full_segment_leaves_no_room_for_blocks_and_a_short_one_does() {
    established(
        SACK,
        "< . 1001:2001(1000) ack 1
        > . 1:1(0) ack 1 <sack 1001:2001>
        write 1010
        > . 1:1001(1000) ack 1 <>
        > . 1001:1011(10) ack 1 <sack 1001:2001>",
    );
}

#[test]
fn no_blocks_without_leave() {
    established("mss 1000", "< . 1001:2001(1000) ack 1\n > . 1:1(0) ack 1 <>");
}

#[test]
fn a_timestamp_from_before_a_long_silence_is_no_reason_to_drop() {
    // RFC 7323, section 5.5: the peer's clock may have gone round meanwhile.
    for (silence, verdict) in [("2073599s", "!OldTimestamp"), ("2073600s", "!Accepted")] {
        let script = format!("+{silence}\n < . 1:101(100) ack 1 <TS val 0 ecr 0> {verdict}");
        established(STAMPED, &format!("{script}\n > . 1:1(0)"));
    }
}
