//! Flow control: zero windows, probes of them, and the silly window on both sides. RFC 9293, section 3.8.6.

use super::{config, established, established_with};
use crate::connection::TcpConfig;

const PLAIN: &str = "mss 1000";

#[test]
fn a_closed_window_is_probed_ever_less_often() {
    established(
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
        > . 0:0(0) ack 1
        < . 1:1(0) ack 1 win 0
        +1600ms
        > . 0:0(0) ack 1
        < . 1:1(0) ack 1 win 0
        +3200ms
        > . 0:0(0) ack 1
        = ESTABLISHED
        < . 1:1(0) ack 1 win 5000
        > . 1:1001(1000) ack 1",
    );
}

#[test]
fn a_peer_that_answers_no_probe_is_given_up() {
    established(
        PLAIN,
        "< . 1:1(0) ack 1 win 0
        write 1000
        +200ms
        > . 0:0(0) ack 1
        +400ms
        > . 0:0(0) ack 1
        +800ms
        > . 0:0(0) ack 1
        +1600ms
        > R. 1:1(0) ack 1
        = CLOSED TimedOut",
    );
}

#[test]
fn a_closed_window_does_not_hold_one_who_left_for_ever() {
    established(
        PLAIN,
        "< . 1:1(0) ack 1 win 0
        write 1000
        close
        +200ms
        > . 0:0(0) ack 1
        < . 1:1(0) ack 1 win 0
        +400ms
        > . 0:0(0) ack 1
        < . 1:1(0) ack 1 win 0
        +800ms
        > R. 1:1(0) ack 1
        finished",
    );
}

#[test]
fn a_window_that_closes_under_way_is_probed_after_it_was_filled() {
    established(
        PLAIN,
        "< . 1:1(0) ack 1 win 2000
        write 5000
        > . 1:2001(2000) ack 1
        +10ms
        < . 1:1(0) ack 2001 win 0
        +200ms
        > . 2000:2000(0) ack 1
        < . 1:1(0) ack 2001 win 1000
        > . 2001:3001(1000) ack 1",
    );
}

#[test]
fn an_older_segment_does_not_close_the_window() {
    established(
        PLAIN,
        "< . 101:201(100) ack 1 win 5000
        > . 1:1(0) ack 1
        < . 1:101(100) ack 1 win 0      # was sent before the one above
        > . 1:1(0) ack 201
        write 1000
        > . 1:1001(1000) ack 201",
    );
}

#[test]
fn a_fin_waits_for_room_in_the_window() {
    // It takes a sequence number: beyond the window it would be dropped, and its timeouts would count
    // against a peer that only reads slowly.
    established(
        PLAIN,
        "< . 1:1(0) ack 1 win 1000
        write 1000
        > . 1:1001(1000) ack 1
        shut
        = FIN-WAIT-1
        < . 1:1(0) ack 1001 win 0
        +200ms
        > . 1000:1000(0) ack 1
        < . 1:1(0) ack 1001 win 0
        +400ms
        > . 1000:1000(0) ack 1
        < . 1:1(0) ack 1001 win 1
        > F. 1001:1001(0) ack 1
        < . 1:1(0) ack 1002 win 0
        = FIN-WAIT-2
        idle",
    );
    established(
        PLAIN,
        "< . 1:1(0) ack 1 win 0
        write 1000
        shut
        < . 1:1(0) ack 1 win 1000
        > . 1:1001(1000) ack 1
        < . 1:1(0) ack 1001 win 1000
        > F. 1001:1001(0) ack 1",
    );
}

// The sender's silly window, section 3.8.6.2.1.

#[test]
fn no_crumbs_into_a_small_opening() {
    established(
        PLAIN,
        "< . 1:1(0) ack 1 win 100
        write 1000
        +200ms                          # what fits goes when the probe is due
        > . 1:101(100) ack 1
        < . 1:1(0) ack 101 win 900      # all there is
        > . 101:1001(900) ack 1",
    );
}

#[test]
fn half_of_the_largest_window_is_no_crumb() {
    super::connecting(
        "> S 0:0(0)
        < S. 0:0(0) ack 1 win 800 <mss 1000>
        > . 1:1(0) ack 1
        write 2000
        > . 1:801(800) ack 1
        < . 1:1(0) ack 801 win 399
        +10ms
        < . 1:1(0) ack 801 win 400
        > . 801:1201(400) ack 1",
    );
}

#[test]
fn a_short_rest_goes_at_once() {
    established(PLAIN, "write 10\n > . 1:11(10) ack 1\n write 10\n > . 11:21(10) ack 1");
}

// The receiver's, section 3.8.6.2.2.

#[test]
fn the_window_closes_byte_by_byte_and_opens_by_segments() {
    established(
        PLAIN,
        "< . 1:60001(60000) ack 1
        > . 1:1(0) ack 60001 win 5535
        < . 60001:65536(5535) ack 1
        > . 1:1(0) ack 65536 win 0
        read 500
        < . 65536:65537(1) ack 1 !OutOfWindow     # a probe
        > . 1:1(0) ack 65536 win 0
        read 65035
        > . 1:1(0) ack 65536 win 65535",
    );
}

#[test]
fn a_small_buffer_reopens_without_being_probed() {
    let config = TcpConfig { receive_buffer_initial: 1000, receive_buffer_max: 1000, ..config() };
    established_with(
        &config,
        PLAIN,
        "< . 1:1001(1000) ack 1
        > . 1:1(0) ack 1001 win 0
        read 400
        read 600
        > . 1:1(0) ack 1001 win 1000",
    );
}

#[test]
fn a_full_window_still_hears_acknowledgments_and_a_rst() {
    established(
        PLAIN,
        "write 100
        > . 1:101(100) ack 1
        < . 1:65536(65535) ack 1
        +40ms
        > . 101:101(0) ack 65536 win 0
        < . 65536:65537(1) ack 101 !OutOfWindow
        > . 101:101(0) ack 65536 win 0
        unacknowledged 0
        < R 65536:65536(0)
        = CLOSED Reset
        read 65535",
    );
}

#[test]
fn a_reader_that_keeps_up_doubles_its_window() {
    established(
        "mss 1000,wscale 0",
        "< . 1:40001(40000) ack 1
        > . 1:1(0) ack 40001 win 100
        read 40000
        > . 1:1(0) ack 40001 win 256
        +10ms
        < . 40001:40002(1) ack 1
        > . 1:1(0) ack 40002 win 512",
    );
}
