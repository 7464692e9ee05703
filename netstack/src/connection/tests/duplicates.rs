//! What arrives twice: told to the peer (RFC 2883), and learnt from it (RFC 8985, section 6.2, step 4).

use super::established;

const SACK: &str = "mss 1000,sackOK";

#[test]
fn a_repetition_is_told_of_once() {
    established(
        SACK,
        "< . 1:1001(1000) ack 1
        > . 1:1(0) ack 1001 <>
        < . 1:1001(1000) ack 1 !OutOfWindow
        > . 1:1(0) ack 1001 <sack 1:1001>
        < . 1001:2001(1000) ack 1
        > . 1:1(0) ack 2001 <>
        read 2000",
    );
}

#[test]
fn the_part_that_is_old_is_told_of() {
    established(
        SACK,
        "< . 1:1001(1000) ack 1
        > . 1:1(0) ack 1001 <>
        < . 501:1501(1000) ack 1
        > . 1:1(0) ack 1501 <sack 501:1001>
        read 1500",
    );
}

#[test]
fn a_repetition_out_of_order_comes_before_the_block_that_holds_it() {
    established(
        SACK,
        "< . 2001:4001(2000) ack 1
        > . 1:1(0) ack 1 <sack 2001:4001>
        < . 3001:4001(1000) ack 1
        > . 1:1(0) ack 1 <sack 3001:4001 2001:4001>
        < . 3501:4501(1000) ack 1
        > . 1:1(0) ack 1 <sack 3501:4001 2001:4501>",
    );
}

#[test]
fn nothing_is_told_without_leave() {
    established(
        "mss 1000",
        "< . 1:1001(1000) ack 1
        > . 1:1(0) ack 1001 <>
        < . 1:1001(1000) ack 1 !OutOfWindow
        > . 1:1(0) ack 1001 <>
        read 1000",
    );
}

#[test]
fn a_forged_repetition_from_nowhere_is_not_echoed() {
    established(
        SACK,
        "< . -900000:-899000(1000) ack 1 !OutOfWindow
        > . 1:1(0) ack 1 <>",
    );
}

/// The window for reordering is a quarter of a round trip, and grows by as much with each round that we
/// sent again what the peer had.
#[test]
fn a_dsack_widens_the_reordering_window() {
    established(
        SACK,
        "write 6000
        > . 1:6001(6000) ack 1
        +10ms
        < . 1:1(0) ack 1 <sack 1001:2001>
        +2ms                        # less than a quarter of 10 ms: not lost yet
        < . 1:1(0) ack 1 <sack 1001:4001>
        > . 1:1001(1000) ack 1      # three are sure, without a look at the clock
        +1ms
        < . 1:1(0) ack 6001 <sack 1:1001>
        undone 1
        write 6000
        > . 6001:12001(6000) ack 1
        +10ms
        < . 1:1(0) ack 6001 <sack 7001:10001>
        +5ms                        # two quarters by now, however many are sure
        > . 6001:7001(1000) ack 1",
    );
}
