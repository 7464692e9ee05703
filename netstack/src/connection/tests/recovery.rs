//! What is in flight and lost: RTO (RFC 6298), RACK-TLP (RFC 8985), NewReno (RFC 6582), path MTU (RFC 1191).

use super::{config, established, established_with};
use crate::connection::{Algorithm, TcpConfig};

const PLAIN: &str = "mss 1000";
const SACK: &str = "mss 1000,sackOK";

// The timeout.

#[test]
fn a_timeout_sends_the_first_segment_again_and_slow_starts() {
    established(
        PLAIN,
        "write 5000
        > . 1:5001(5000) ack 1
        +199ms
        +1ms
        > . 1:1001(1000) ack 1
        cwnd 1000
        +10ms
        < . 1:1(0) ack 1001
        > . 1001:3001(2000) ack 1
        cwnd 2000
        < . 1:1(0) ack 3001
        > . 3001:5001(2000) ack 1
        < . 1:1(0) ack 5001
        unacknowledged 0
        idle
        retransmits 5",
    );
}

#[test]
fn timeouts_double_and_end() {
    established(
        PLAIN,
        "write 100
        > . 1:101(100) ack 1
        +200ms
        > . 1:101(100) ack 1
        +400ms
        > . 1:101(100) ack 1
        +800ms
        > . 1:101(100) ack 1
        +1600ms
        > R. 101:101(0) ack 1
        = CLOSED TimedOut
        event
        idle",
    );
}

#[test]
fn progress_forgives_timeouts() {
    established(
        PLAIN,
        "write 2000
        > . 1:2001(2000) ack 1
        +200ms
        > . 1:1001(1000) ack 1
        +400ms
        > . 1:1001(1000) ack 1
        +800ms
        > . 1:1001(1000) ack 1
        < . 1:1(0) ack 1001
        > . 1001:2001(1000) ack 1
        +1600ms                 # backed off until there is a sample (Karn)
        > . 1001:2001(1000) ack 1
        < . 1:1(0) ack 2001
        write 100
        > . 2001:2101(100) ack 1
        +10ms
        < . 1:1(0) ack 2101
        write 100
        > . 2101:2201(100) ack 1
        +200ms
        > . 2101:2201(100) ack 1",
    );
}

#[test]
fn the_timer_starts_again_with_what_is_newly_acknowledged() {
    established(
        PLAIN,
        "write 2000
        > . 1:2001(2000) ack 1
        +150ms
        < . 1:1(0) ack 1001
        +199ms
        +1ms
        > . 1001:2001(1000) ack 1",
    );
}

#[test]
fn part_of_a_segment_can_be_acknowledged() {
    established(
        PLAIN,
        "write 1000
        > . 1:1001(1000) ack 1
        +10ms
        < . 1:1(0) ack 301
        unacknowledged 700
        +200ms
        > . 301:1001(700) ack 1",
    );
}

#[test]
fn a_fin_goes_again() {
    established(
        PLAIN,
        "write 100
        > . 1:101(100) ack 1
        shut
        > F. 101:101(0) ack 1
        +10ms
        < . 1:1(0) ack 101
        +200ms
        > F. 101:101(0) ack 1
        < . 1:1(0) ack 102
        = FIN-WAIT-2
        idle",
    );
}

/// An acknowledgment is no data: who only listened for a timeout was idle (RFC 5681, section 4.1).
#[test]
fn a_listener_is_idle_however_often_it_acknowledges() {
    established(
        PLAIN,
        "write 10000
        > . 1:10001(10000) ack 1
        +10ms
        < . 1:1(0) ack 10001
        cwnd 20000
        +150ms
        < . 1:1001(1000) ack 10001
        < . 1001:2001(1000) ack 10001
        > . 10001:10001(0) ack 2001
        read 2000
        +150ms
        < . 2001:3001(1000) ack 10001
        < . 3001:4001(1000) ack 10001
        > . 10001:10001(0) ack 4001
        read 2000
        write 20000
        > . 10001:20001(10000) ack 4001
        cwnd 10000",
    );
}

#[test]
fn an_idle_connection_starts_from_the_initial_window() {
    established(
        PLAIN,
        "write 10000
        > . 1:10001(10000) ack 1
        +10ms
        < . 1:1(0) ack 10001
        cwnd 20000
        +1s
        write 20000
        > . 10001:20001(10000) ack 1
        cwnd 10000",
    );
}

// Without SACK.

#[test]
fn two_duplicates_let_two_new_segments_go_and_the_third_the_lost_one() {
    established(
        PLAIN,
        "write 15000
        > . 1:10001(10000) ack 1
        +10ms
        < . 1:1(0) ack 1
        > . 10001:11001(1000) ack 1
        < . 1:1(0) ack 1
        > . 11001:12001(1000) ack 1
        < . 1:1(0) ack 1
        > . 1:1001(1000) ack 1
        cwnd 7000
        < . 1:1(0) ack 1
        < . 1:1(0) ack 1
        < . 1:1(0) ack 1
        > . 12001:13001(1000) ack 1
        < . 1:1(0) ack 12001
        > . 13001:15001(2000) ack 1
        retransmits 1",
    );
}

#[test]
fn a_partial_acknowledgment_names_the_next_hole() {
    established(
        PLAIN,
        "write 10000
        > . 1:10001(10000) ack 1
        +10ms
        < . 1:1(0) ack 1
        < . 1:1(0) ack 1
        < . 1:1(0) ack 1
        > . 1:1001(1000) ack 1
        < . 1:1(0) ack 3001
        > . 3001:4001(1000) ack 1
        < . 1:1(0) ack 7001
        > . 7001:8001(1000) ack 1
        < . 1:1(0) ack 10001
        retransmits 3
        cwnd 7000
        idle",
    );
}

#[test]
fn only_a_bare_acknowledgment_of_the_same_window_is_a_duplicate() {
    established(
        PLAIN,
        "write 10000
        > . 1:10001(10000) ack 1
        < . 1:1(0) ack 1 win 50000
        < . 1:1(0) ack 1 win 40000
        < . 1:1(0) ack 1 win 30000
        < . 1:1(0) ack 1 win 20000
        < . 1:101(100) ack 1 win 20000
        < . 101:201(100) ack 1 win 20000
        < . 201:301(100) ack 1 win 20000
        +40ms
        > . 10001:10001(0) ack 301
        retransmits 0",
    );
}

#[test]
fn more_duplicates_than_segments_are_not_believed() {
    established(
        PLAIN,
        "write 65000
        > . 1:10001(10000) ack 1
        < . 1:1(0) ack 1
        > . 10001:11001(1000) ack 1
        < . 1:1(0) ack 1
        > . 11001:12001(1000) ack 1
        < . 1:1(0) ack 1
        > . 1:1001(1000) ack 1
        < . 1:1(0) ack 1
        < . 1:1(0) ack 1
        < . 1:1(0) ack 1
        > . 12001:13001(1000) ack 1
        < . 1:1(0) ack 1
        > . 13001:14001(1000) ack 1
        < . 1:1(0) ack 1
        > . 14001:15001(1000) ack 1
        < . 1:1(0) ack 1
        > . 15001:16001(1000) ack 1
        < . 1:1(0) ack 1
        > . 16001:17001(1000) ack 1
        < . 1:1(0) ack 1
        > . 17001:18001(1000) ack 1
        < . 1:1(0) ack 1
        > . 18001:19001(1000) ack 1",
    );
}

// With SACK.

#[test]
fn three_blocks_name_a_loss_at_once() {
    established(
        SACK,
        "write 20000
        > . 1:10001(10000) ack 1
        +10ms
        < . 1:1(0) ack 1 <sack 1001:2001>
        > . 10001:11001(1000) ack 1
        < . 1:1(0) ack 1 <sack 1001:3001>
        > . 11001:12001(1000) ack 1
        < . 1:1(0) ack 1 <sack 1001:4001>
        > . 1:1001(1000) ack 1
        ssthresh 7000
        retransmits 1",
    );
}

#[test]
fn one_block_names_a_loss_after_a_quarter_of_the_round_trip() {
    established(
        SACK,
        "write 3000
        > . 1:3001(3000) ack 1
        +10ms
        < . 1:1(0) ack 1 <sack 1001:2001>
        +2499us
        +1us
        > . 1:1001(1000) ack 1
        < . 1:1(0) ack 3001
        idle",
    );
}

#[test]
fn only_what_was_sent_before_the_newest_delivery_is_lost() {
    established(
        SACK,
        "write 2000
        > . 1:2001(2000) ack 1
        +5ms
        write 3000
        > . 2001:5001(3000) ack 1
        +10ms
        < . 1:1(0) ack 1 <sack 1001:2001 3001:4001>
        > . 1:1001(1000) ack 1       # sent 5 ms before the newest delivery
        +2499us
        +1us
        > . 2001:3001(1000) ack 1    # sent just before it
        retransmits 2",
    );
}

#[test]
fn a_lost_retransmission_goes_again_without_a_timeout() {
    established(
        SACK,
        "write 20000
        > . 1:10001(10000) ack 1
        +10ms
        < . 1:1(0) ack 1 <sack 1001:6001>
        > . 1:1001(1000) ack 1
        > . 10001:12001(2000) ack 1
        +10ms
        < . 1:1(0) ack 1 <sack 1001:12001>
        > . 1:1001(1000) ack 1
        > . 12001:18001(6000) ack 1
        retransmits 2",
    );
}

#[test]
fn nonsense_blocks_are_ignored() {
    established(
        SACK,
        "write 3000
        > . 1:3001(3000) ack 1
        +10ms
        < . 1:1(0) ack 1 <sack -1000:1>
        < . 1:1(0) ack 1 <sack 2001:1001>
        < . 1:1(0) ack 1 <sack 2001:3002>
        < . 1:1(0) ack 1 <sack 1001:1001>
        < . 1:1(0) ack 1 <sack 1:2147483649>
        < . 1:1(0) ack 1 <sack 1101:1901>
        +10ms                         # the probe of the tail, no loss
        > . 2001:3001(1000) ack 1",
    );
}

#[test]
fn a_peer_that_takes_its_blocks_back_gets_everything_again() {
    // RFC 2018, section 8.
    established(
        SACK,
        "write 3000
        > . 1:3001(3000) ack 1
        +10ms
        < . 1:1(0) ack 1 <sack 1001:3001>
        +2500us
        > . 1:1001(1000) ack 1
        < . 1:1(0) ack 1001
        +200ms
        > . 1001:2001(1000) ack 1
        < . 1:1(0) ack 2001
        > . 2001:3001(1000) ack 1",
    );
}

// Tail probes.

#[test]
fn the_tail_is_probed_after_two_round_trips_and_only_once() {
    established(
        SACK,
        "write 2000
        > . 1:2001(2000) ack 1
        +20ms
        > . 1001:2001(1000) ack 1
        +200ms
        > . 1:1001(1000) ack 1",
    );
}

#[test]
fn an_answer_to_less_than_the_probe_is_no_leave_for_another() {
    established(
        SACK,
        "write 3000
        > . 1:3001(3000) ack 1
        +20ms
        > . 2001:3001(1000) ack 1
        < . 1:1(0) ack 1001
        +199ms
        +1ms
        > . 1001:2001(1000) ack 1",
    );
}

#[test]
fn a_lone_segment_may_wait_for_a_delayed_acknowledgment() {
    established(SACK, "write 100\n > . 1:101(100) ack 1\n +59ms\n +1ms\n > . 1:101(100) ack 1");
}

#[test]
fn a_probe_that_is_answered_by_a_block_repairs_the_rest() {
    established(
        SACK,
        "write 3000
        > . 1:3001(3000) ack 1
        +20ms
        > . 2001:3001(1000) ack 1
        +10ms
        < . 1:1(0) ack 1001 <sack 2001:3001>
        > . 1001:2001(1000) ack 1
        < . 1:1(0) ack 3001
        idle",
    );
}

#[test]
fn new_data_is_the_better_probe() {
    established(
        SACK,
        "write 15000
        > . 1:10001(10000) ack 1
        +20ms
        > . 10001:11001(1000) ack 1
        +10ms
        < . 1:1(0) ack 11001
        > . 11001:15001(4000) ack 1
        retransmits 0",
    );
}

#[test]
fn without_sack_nothing_is_probed() {
    established(
        PLAIN,
        "write 2000\n > . 1:2001(2000) ack 1\n +199ms\n +1ms\n > . 1:1001(1000) ack 1",
    );
}

// Path MTU.

#[test]
fn a_smaller_path_splits_what_is_in_flight() {
    established(
        SACK,
        "write 3000
        > . 1:3001(3000) ack 1
        mss 600
        > . 1:601(600) ack 1
        > . 601:1001(400) ack 1
        > . 1001:1601(600) ack 1
        > . 1601:2001(400) ack 1
        > . 2001:2601(600) ack 1
        > . 2601:3001(400) ack 1
        < . 1:1(0) ack 3001
        write 1000
        > . 3001:3601(600) ack 1
        > . 3601:4001(400) ack 1",
    );
}

#[test]
fn a_smaller_path_is_no_congestion() {
    established(
        SACK,
        "write 10000
        > . 1:10001(10000) ack 1
        mss 900
        > . 1:901(900) ack 1
        > . 901:1001(100) ack 1
        > . 1001:1901(900) ack 1
        > . 1901:2001(100) ack 1
        > . 2001:2901(900) ack 1
        > . 2901:3001(100) ack 1
        > . 3001:3901(900) ack 1
        > . 3901:4001(100) ack 1
        > . 4001:4901(900) ack 1
        > . 4901:5001(100) ack 1
        > . 5001:5901(900) ack 1
        > . 5901:6001(100) ack 1
        > . 6001:6901(900) ack 1
        > . 6901:7001(100) ack 1
        > . 7001:7901(900) ack 1
        > . 7901:8001(100) ack 1
        > . 8001:8901(900) ack 1
        > . 8901:9001(100) ack 1
        > . 9001:9901(900) ack 1
        cwnd 10000
        < . 1:1(0) ack 10001
        idle
        cwnd 20000",
    );
}

#[test]
fn a_larger_or_ridiculous_path_is_not_believed() {
    established(
        SACK,
        "write 100
        > . 1:101(100) ack 1
        mss 2000
        mss 10
        > . 1:89(88) ack 1
        > . 89:101(12) ack 1
        < . 1:1(0) ack 101
        write 100
        > . 101:189(88) ack 1
        > . 189:201(12) ack 1",
    );
}

#[test]
fn a_split_segment_keeps_its_fin() {
    established(
        PLAIN,
        "< . 1:1(0) ack 1 win 0
        write 1000
        shut
        < . 1:1(0) ack 1
        > F. 1:1001(1000) ack 1
        mss 600
        > . 1:601(600) ack 1
        > F. 601:1001(400) ack 1
        < . 1:1(0) ack 1002
        = FIN-WAIT-2",
    );
}

#[test]
fn reno_halves_its_window_and_gains_a_segment_per_round_trip() {
    let config = TcpConfig { congestion: Algorithm::Reno, ..config() };
    established_with(
        &config,
        SACK,
        "write 40000
        > . 1:10001(10000) ack 1
        +10ms
        < . 1:1(0) ack 1 <sack 1001:10001>
        > . 1:1001(1000) ack 1
        > . 10001:14001(4000) ack 1
        +10ms
        < . 1:1(0) ack 10001
        > . 14001:15001(1000) ack 1
        cwnd 5000
        +10ms
        < . 1:1(0) ack 15001
        > . 15001:21001(6000) ack 1
        cwnd 6000",
    );
}
