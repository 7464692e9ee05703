//! FIN-WAIT-1 to TIME-WAIT, RST, and leaving. RFC 9293, sections 3.6 and 3.10.4; RFC 1122, section 4.2.2.13.

use super::{config, established, established_with};
use crate::connection::TcpConfig;

const PLAIN: &str = "mss 1000";

#[test]
fn we_close_first() {
    established(
        PLAIN,
        "shut
        > F. 1:1(0) ack 1
        = FIN-WAIT-1
        < . 1:1(0) ack 2
        = FIN-WAIT-2
        idle
        < F. 1:1(0) ack 2
        > . 2:2(0) ack 2
        = TIME-WAIT
        event
        eof
        +59999ms
        = TIME-WAIT
        +1ms
        = CLOSED",
    );
}

#[test]
fn the_peer_closes_first() {
    established(
        PLAIN,
        "< F. 1:1(0) ack 1
        > . 1:1(0) ack 2
        = CLOSE-WAIT
        event
        eof
        write 100
        > . 1:101(100) ack 2
        < . 2:2(0) ack 101
        shut
        > F. 101:101(0) ack 2
        = LAST-ACK
        < . 2:2(0) ack 102
        = CLOSED
        idle",
    );
}

#[test]
fn both_close_at_once() {
    established(
        PLAIN,
        "shut
        > F. 1:1(0) ack 1
        < F. 1:1(0) ack 1
        > . 2:2(0) ack 2
        = CLOSING
        < . 2:2(0) ack 2
        = TIME-WAIT
        +60s
        = CLOSED",
    );
}

#[test]
fn one_segment_acknowledges_the_fin_and_closes() {
    established(
        PLAIN,
        "shut\n > F. 1:1(0) ack 1\n < F. 1:1(0) ack 2\n > . 2:2(0) ack 2\n = TIME-WAIT",
    );
}

#[test]
fn a_closed_half_still_receives() {
    established(
        PLAIN,
        "shut
        > F. 1:1(0) ack 1
        < . 1:101(100) ack 1            # in FIN-WAIT-1
        > . 2:2(0) ack 101
        < . 101:201(100) ack 2
        > . 2:2(0) ack 201
        = FIN-WAIT-2
        < . 201:301(100) ack 2
        > . 2:2(0) ack 301
        < F. 301:401(100) ack 2
        > . 2:2(0) ack 402
        = TIME-WAIT
        read 400
        eof",
    );
}

#[test]
fn nothing_can_be_written_after_the_end() {
    established(
        PLAIN,
        "shut
        > F. 1:1(0) ack 1
        write 100 takes 0
        shut
        < F. 1:1(0) ack 2
        > . 2:2(0) ack 2
        write 100 takes 0",
    );
}

#[test]
fn a_fin_brings_data() {
    established(
        PLAIN,
        "< F. 1:101(100) ack 1\n > . 1:1(0) ack 102\n = CLOSE-WAIT\n read 100\n eof",
    );
}

#[test]
fn a_fin_that_came_too_early_waits_for_the_bytes_before_it() {
    established(
        PLAIN,
        "< F. 1001:1101(100) ack 1
        > . 1:1(0) ack 1
        = ESTABLISHED
        < . 1:1001(1000) ack 1
        > . 1:1(0) ack 1102
        = CLOSE-WAIT
        read 1100
        eof",
    );
}

#[test]
fn a_fin_that_does_not_fit_is_left_to_its_repetition() {
    established(
        PLAIN,
        "< F. 11:65546(65535) ack 1
        > . 1:1(0) ack 1
        < . 1:11(10) ack 1
        > . 1:1(0) ack 65536 win 0
        = ESTABLISHED
        read 65535
        > . 1:1(0) ack 65536 win 65535
        < F. 65536:65546(10) ack 1
        > . 1:1(0) ack 65547
        = CLOSE-WAIT",
    );
}

#[test]
fn a_fin_behind_what_is_due_is_taken_with_it() {
    established(
        PLAIN,
        "< F. 1:65537(65536) ack 1
        > . 1:1(0) ack 65538 win 0
        = CLOSE-WAIT
        read 65536
        > . 1:1(0) ack 65538",
    );
}

#[test]
fn a_fin_repeated_with_its_data_is_acknowledged_again() {
    established(
        PLAIN,
        "< F. 1:101(100) ack 1
        > . 1:1(0) ack 102
        < F. 1:101(100) ack 1 !OutOfWindow
        > . 1:1(0) ack 102
        < F. 101:101(0) ack 1 !OutOfWindow
        > . 1:1(0) ack 102
        read 100",
    );
}

#[test]
fn nothing_follows_a_fin() {
    // A peer that says so contradicts itself: what it closed first stands.
    established(
        PLAIN,
        "< F. 101:101(0) ack 1
        > . 1:1(0) ack 1
        < . 1:301(300) ack 1
        > . 1:1(0) ack 102
        = CLOSE-WAIT
        < . 102:202(100) ack 1
        read 100
        eof",
    );
    established(
        PLAIN,
        "< . 201:301(100) ack 1
        > . 1:1(0) ack 1
        < F. 101:101(0) ack 1
        > . 1:1(0) ack 1
        < . 1:201(200) ack 1
        > . 1:1(0) ack 301
        = ESTABLISHED
        < F. 301:301(0) ack 1
        > . 1:1(0) ack 302
        = CLOSE-WAIT
        read 300
        eof",
    );
}

#[test]
fn a_fin_repeated_in_time_wait_starts_it_again() {
    established(
        PLAIN,
        "shut
        > F. 1:1(0) ack 1
        < F. 1:1(0) ack 2
        > . 2:2(0) ack 2
        +50s
        < F. 1:1(0) ack 2 !OutOfWindow
        > . 2:2(0) ack 2
        +59999ms
        = TIME-WAIT
        +1ms
        = CLOSED",
    );
}

// RST.

#[test]
fn a_rst_ends_every_state() {
    for (script, next, end) in [
        ("", 1, "CLOSED Reset"),
        ("shut\n > F. 1:1(0) ack 1", 1, "CLOSED Reset"),
        ("shut\n > F. 1:1(0) ack 1\n < . 1:1(0) ack 2", 1, "CLOSED Reset"),
        ("< F. 1:1(0) ack 1\n > . 1:1(0) ack 2", 2, "CLOSED Reset"),
        ("shut\n > F. 1:1(0) ack 1\n < F. 1:1(0) ack 1\n > . 2:2(0) ack 2", 2, "CLOSED"),
        ("< F. 1:1(0) ack 1\n > . 1:1(0) ack 2\n shut\n > F. 1:1(0) ack 2", 2, "CLOSED"),
        ("shut\n > F. 1:1(0) ack 1\n < F. 1:1(0) ack 2\n > . 2:2(0) ack 2", 2, "CLOSED"),
    ] {
        established(PLAIN, &format!("{script}\n < R {next}:{next}(0)\n = {end}\n idle"));
    }
}

// Leaving.

#[test]
fn an_abort_says_so_and_forgets_everything() {
    established(
        PLAIN,
        "write 20000
        > . 1:10001(10000) ack 1
        < . 1:101(100) ack 1
        < . 201:301(100) ack 1
        > . 10001:10001(0) ack 101
        abort
        > R. 10001:10001(0) ack 101
        = CLOSED
        close
        finished
        idle",
    );
}

#[test]
fn leaving_in_order_sends_what_is_queued() {
    established(
        PLAIN,
        "write 20000
        > . 1:10001(10000) ack 1
        close
        = FIN-WAIT-1
        < . 1:1(0) ack 10001
        > F. 10001:20001(10000) ack 1
        < . 1:1(0) ack 20002
        = FIN-WAIT-2
        < F. 1:1(0) ack 20002
        > . 20002:20002(0) ack 2
        = TIME-WAIT",
    );
}

#[test]
fn leaving_bytes_unread_resets() {
    established(
        PLAIN,
        "< . 1:101(100) ack 1
        > . 1:1(0) ack 101
        close
        > R. 1:1(0) ack 101
        = CLOSED
        finished",
    );
}

#[test]
fn leaving_bytes_unread_in_time_wait_tells_nobody() {
    established(
        PLAIN,
        "shut
        > F. 1:1(0) ack 1
        < F. 1:101(100) ack 2
        > . 2:2(0) ack 102
        close
        = TIME-WAIT",
    );
}

#[test]
fn data_for_one_who_left_resets() {
    established(
        PLAIN,
        "close
        > F. 1:1(0) ack 1
        < . 1:1(0) ack 2
        = FIN-WAIT-2
        < . 1:101(100) ack 2 !Unexpected
        > R. 2:2(0) ack 1
        = CLOSED
        finished",
    );
}

#[test]
fn a_repetition_for_one_who_left_does_not_reset() {
    // Its acknowledgment was lost, and the peer sends it again together with its FIN.
    established(
        PLAIN,
        "< . 1:101(100) ack 1
        > . 1:1(0) ack 101
        read 100
        close
        > F. 1:1(0) ack 101
        < . 1:101(100) ack 2 !OutOfWindow
        > . 2:2(0) ack 101
        = FIN-WAIT-2
        < F. 1:101(100) ack 2
        > . 2:2(0) ack 102
        = TIME-WAIT",
    );
}

#[test]
fn one_who_left_waits_for_the_peers_fin_only_so_long() {
    let config = TcpConfig { fin_wait_2: std::time::Duration::from_secs(5), ..config() };
    for script in [
        "close\n > F. 1:1(0) ack 1\n < . 1:1(0) ack 2",
        "shut\n > F. 1:1(0) ack 1\n < . 1:1(0) ack 2\n idle\n close",
    ] {
        established_with(
            &config,
            PLAIN,
            &format!(
                "{script}\n = FIN-WAIT-2\n +4999ms\n = FIN-WAIT-2\n +1ms\n = CLOSED\n finished"
            ),
        );
    }
}

#[test]
fn one_who_left_gives_up_sooner() {
    established(
        PLAIN,
        "close
        > F. 1:1(0) ack 1
        +200ms
        > F. 1:1(0) ack 1
        +400ms
        > F. 1:1(0) ack 1
        +800ms
        > R. 2:2(0) ack 1
        finished",
    );
}

#[test]
fn closing_and_last_ack_send_their_fin_again() {
    for (script, next) in [
        ("shut\n > F. 1:1(0) ack 1\n < F. 1:1(0) ack 1\n > . 2:2(0) ack 2", 2),
        ("< F. 1:1(0) ack 1\n > . 1:1(0) ack 2\n shut\n > F. 1:1(0) ack 2", 2),
    ] {
        established(PLAIN, &format!("{script}\n +200ms\n > F. 1:1(0) ack {next}"));
    }
}
