//! ESTABLISHED: sequence and acknowledgment numbers at the edges; RFC 5961; delayed acknowledgments.

use super::established;

const PLAIN: &str = "mss 1000";

/// Uses up the acknowledgments that a new connection sends at once.
const QUIET: &str = "
    < . 1:1001(1000) ack 1
    > . 1:1(0) ack 1001
    < . 1001:2001(1000) ack 1
    > . 1:1(0) ack 2001
    < . 2001:3001(1000) ack 1
    > . 1:1(0) ack 3001
    < . 3001:4001(1000) ack 1
    > . 1:1(0) ack 4001
    < . 4001:5001(1000) ack 1
    > . 1:1(0) ack 5001
    < . 5001:6001(1000) ack 1
    > . 1:1(0) ack 6001
    < . 6001:7001(1000) ack 1
    > . 1:1(0) ack 7001
    < . 7001:8001(1000) ack 1
    > . 1:1(0) ack 8001
    read 8000
";

// What is received.

#[test]
fn bytes_arrive_in_order() {
    established(
        PLAIN,
        "< . 1:501(500) ack 1
        > . 1:1(0) ack 501
        event
        readable 500
        < . 501:1501(1000) ack 1
        > . 1:1(0) ack 1501
        read 1500",
    );
}

#[test]
fn an_overlap_is_cut_off_on_the_left() {
    established(
        PLAIN,
        "< . 1:1001(1000) ack 1
        > . 1:1(0) ack 1001
        < . 501:1501(1000) ack 1
        > . 1:1(0) ack 1501
        read 1500",
    );
}

#[test]
fn an_overlap_is_acknowledged_at_once() {
    established(PLAIN, &format!("{QUIET} < . 7501:8501(1000) ack 1\n > . 1:1(0) ack 8501"));
}

#[test]
fn a_repetition_is_acknowledged_at_once() {
    established(
        PLAIN,
        &format!(
            "{QUIET}
            < . 7001:8001(1000) ack 1 !OutOfWindow
            > . 1:1(0) ack 8001
            < . 8000:8001(1) ack 1 !OutOfWindow
            > . 1:1(0) ack 8001
            readable 0"
        ),
    );
}

#[test]
fn the_window_ends_where_it_says() {
    // 65535 bytes from 1 on: 65535 is the last that fits.
    established(
        PLAIN,
        "< . 65536:65537(1) ack 1 !OutOfWindow
        > . 1:1(0) ack 1 win 65535
        < . 65535:65536(1) ack 1
        > . 1:1(0) ack 1
        < . 65530:65540(10) ack 1
        > . 1:1(0) ack 1
        < . 1:65530(65529) ack 1
        > . 1:1(0) ack 65536 win 0
        read 65535
        > . 1:1(0) ack 65536 win 65535",
    );
}

#[test]
fn an_acknowledgment_at_the_right_edge_counts() {
    // A peer that filled the window sends it from there.
    established(
        PLAIN,
        "write 100
        > . 1:101(100) ack 1
        < . 65536:65536(0) ack 101
        unacknowledged 0
        < . 65537:65537(0) ack 101 !OutOfWindow
        > . 101:101(0) ack 1",
    );
}

#[test]
fn a_straddling_segment_is_taken_to_its_end() {
    established(
        PLAIN,
        "< . -9:65591(65600) ack 1
        > . 1:1(0) ack 65591 win 0
        readable 65590",
    );
}

#[test]
fn half_a_circle_behind_is_not_in_the_window() {
    for seq in [-2_147_483_647_i64, -2_147_483_600, -2_147_483_547, -2_147_483_747, -2_147_418_112]
    {
        let end = seq + 100;
        established(
            PLAIN,
            &format!(
                "< F. {seq}:{end}(100) ack 1 !OutOfWindow
                > . 1:1(0) ack 1
                < R {seq}:{seq}(0) !OutOfWindow
                < F. 1:1(0) ack 1
                > . 1:1(0) ack 2
                = CLOSE-WAIT"
            ),
        );
    }
}

#[test]
fn gaps_are_filled_in_any_order() {
    established(
        PLAIN,
        "< . 2001:3001(1000) ack 1
        > . 1:1(0) ack 1
        < . 1001:2001(1000) ack 1
        > . 1:1(0) ack 1
        calm
        readable 0
        < . 1:1001(1000) ack 1
        > . 1:1(0) ack 3001
        event
        read 3000",
    );
}

#[test]
fn an_old_acknowledgment_does_not_take_the_data_with_it() {
    established(
        PLAIN,
        "write 2000
        > . 1:2001(2000) ack 1
        < . 1:1(0) ack 2001
        < . 1:101(100) ack 1001
        +40ms
        > . 2001:2001(0) ack 101
        readable 100",
    );
}

// RFC 5961, section 5: blind data.

#[test]
fn acknowledgments_count_from_a_window_ago_to_snd_nxt() {
    established(
        PLAIN,
        "< . 1:101(100) ack 2 !BadAck
        > . 1:1(0) ack 1
        +500ms
        < . 1:101(100) ack -65535 !BadAck
        > . 1:1(0) ack 1
        < . 1:101(100) ack -65534
        > . 1:1(0) ack 101
        readable 100",
    );
}

#[test]
fn a_segment_far_outside_moves_neither_window_nor_acknowledgment() {
    established(
        PLAIN,
        "write 1000
        > . 1:1001(1000) ack 1
        < . 500000:500100(100) ack 501 win 0 !OutOfWindow
        > . 1001:1001(0) ack 1
        unacknowledged 1000
        < . -500000:-499900(100) ack 501 win 0 !OutOfWindow
        > . 1001:1001(0) ack 1
        unacknowledged 1000
        write 1000
        > . 1001:2001(1000) ack 1",
    );
}

#[test]
fn a_repetition_still_acknowledges() {
    established(
        PLAIN,
        "write 1000
        > . 1:1001(1000) ack 1
        < . 1:101(100) ack 1
        +40ms
        > . 1001:1001(0) ack 101
        < . 1:101(100) ack 1001 !OutOfWindow
        > . 1001:1001(0) ack 101
        unacknowledged 0",
    );
}

#[test]
fn a_segment_without_ack_is_nothing() {
    established(
        PLAIN,
        "< - 1:101(100) !Unexpected\n < F 1:1(0) !Unexpected\n = ESTABLISHED\n readable 0",
    );
}

// RFC 5961, sections 3, 4 and 7: challenges.

#[test]
fn only_the_exact_rst_resets() {
    established(
        PLAIN,
        "< R 0:0(0) !OutOfWindow
        < R 65537:65537(0) !OutOfWindow
        < R 2:2(0) !Challenged
        > . 1:1(0) ack 1
        +500ms
        < R 65535:65535(0) !Challenged
        > . 1:1(0) ack 1
        = ESTABLISHED
        < R 1:1(0)
        = CLOSED Reset
        event
        idle",
    );
}

#[test]
fn a_rst_needs_no_acknowledgment_to_be_right() {
    established(PLAIN, "< R. 1:1(0) ack 77777\n = CLOSED Reset");
}

#[test]
fn a_rst_gives_the_unsent_up_and_leaves_the_unread() {
    established(
        PLAIN,
        "write 20000
        > . 1:10001(10000) ack 1
        < . 1:101(100) ack 1
        < . 201:301(100) ack 1
        > . 10001:10001(0) ack 101
        < R 101:101(0)
        = CLOSED Reset
        unacknowledged 0
        read 100
        close
        finished",
    );
}

#[test]
fn a_syn_is_challenged_wherever_it_lies() {
    for seq in [0, 1, 1000, 65536, 500_000, -500_000] {
        let verdict = if (1..=65535).contains(&seq) { "Challenged" } else { "OutOfWindow" };
        established(
            PLAIN,
            &format!(
                "< S {seq}:{seq}(0) !{verdict}
                > . 1:1(0) ack 1
                = ESTABLISHED
                < S {seq}:{seq}(0) !{verdict}
                +500ms
                < S. {seq}:{seq}(0) ack 1 !{verdict}
                > . 1:1(0) ack 1
                = ESTABLISHED"
            ),
        );
    }
}

#[test]
fn challenges_are_seldom() {
    established(
        PLAIN,
        "< R 2:2(0) !Challenged
        > . 1:1(0) ack 1
        < R 3:3(0) !Challenged
        < . 1:1(0) ack 7 !BadAck
        < . 0:0(0) ack 1 !OutOfWindow
        +499ms
        < S 5:5(0) !Challenged
        +1ms
        < S 5:5(0) !Challenged
        > . 1:1(0) ack 1",
    );
}

#[test]
fn a_keepalive_is_answered() {
    established(PLAIN, "< . 0:0(0) ack 1 !OutOfWindow\n > . 1:1(0) ack 1");
    established(PLAIN, "< . 0:1(1) ack 1 !OutOfWindow\n > . 1:1(0) ack 1");
}

// RFC 5681, section 4.2; RFC 1122, section 4.2.3.2.

#[test]
fn later_acknowledgments_wait_for_company() {
    established(
        PLAIN,
        &format!(
            "{QUIET}
            < . 8001:9001(1000) ack 1
            +39ms
            +1ms
            > . 1:1(0) ack 9001
            +1s
            < . 9001:10001(1000) ack 1
            < . 10001:11001(1000) ack 1
            > . 1:1(0) ack 11001
            < . 11001:11101(100) ack 1
            < . 11101:11201(100) ack 1
            +40ms
            > . 1:1(0) ack 11201"
        ),
    );
}

#[test]
fn data_carries_the_acknowledgment() {
    established(
        PLAIN,
        &format!(
            "{QUIET}
            < . 8001:8101(100) ack 1
            +10ms
            write 50
            > . 1:51(50) ack 8101
            < . 8101:8101(0) ack 51
            +1s"
        ),
    );
}

#[test]
fn one_who_answers_stops_acknowledging_at_once() {
    established(
        PLAIN,
        "write 10
        > . 1:11(10) ack 1
        < . 1:101(100) ack 11
        write 10
        > . 11:21(10) ack 101",
    );
}

#[test]
fn what_is_out_of_order_or_fills_a_gap_is_acknowledged_at_once() {
    established(
        PLAIN,
        &format!(
            "{QUIET}
            < . 9001:9101(100) ack 1
            > . 1:1(0) ack 8001
            < . 8001:9001(1000) ack 1
            > . 1:1(0) ack 9101"
        ),
    );
}

#[test]
fn a_fin_that_came_too_early_is_acknowledged_at_once() {
    established(
        PLAIN,
        &format!(
            "{QUIET}
            < F. 9001:9001(0) ack 1
            > . 1:1(0) ack 8001
            = ESTABLISHED
            < . 8001:9001(1000) ack 1
            > . 1:1(0) ack 9002
            = CLOSE-WAIT"
        ),
    );
}

// Running out.

#[test]
fn sending_stops_at_the_congestion_window_and_a_writer_is_woken() {
    established(
        PLAIN,
        "write 100000 takes 65536
        > . 1:10001(10000) ack 1
        calm
        < . 1:1(0) ack 10001
        > . 10001:30001(20000) ack 1
        < . 1:1(0) ack 30001
        > . 30001:65537(35536) ack 1
        < . 1:1(0) ack 65537
        event",
    );
}
