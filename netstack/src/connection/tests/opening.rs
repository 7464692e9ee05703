//! SYN-SENT, SYN-RECEIVED: RFC 9293, sections 3.10.7.3 and 3.5.

use super::{accepted, connecting, established};

#[test]
fn the_syn_offers_everything() {
    connecting("> S 0:0(0) win 65535 <mss 1460,wscale 8,sackOK,TS val 0 ecr 0>");
}

#[test]
fn a_syn_goes_again_after_1_2_and_4_seconds_and_then_no_more() {
    connecting(
        "> S 0:0(0)
        +1s
        > S 0:0(0)
        +2s
        > S 0:0(0)
        +3999ms
        = SYN-SENT
        +1ms
        = CLOSED TimedOut
        event
        idle",
    );
}

#[test]
fn a_retransmitted_syn_is_no_sample_of_the_round_trip() {
    connecting(
        "> S 0:0(0)
        +1s
        > S 0:0(0)
        +10ms
        < S. 0:0(0) ack 1 win 60000 <mss 1000>
        > . 1:1(0) ack 1
        write 100
        > . 1:101(100) ack 1
        +1999ms               # RFC 6298, section 5.5: backed off until there is a sample
        +1ms
        > . 1:101(100) ack 1",
    );
}

#[test]
fn syn_sent_refuses_acknowledgments_of_what_was_not_sent() {
    connecting(
        "> S 0:0(0)
        < S. 0:0(0) ack 0 !Stale(
        > S 0:0(0)                  # at once behind the RST, once
        < S. 0:0(0) ack 2 !Stale(
        < . 0:0(0) ack 2 !Stale(
        < . 7:107(100) ack -1 !Stale(
        < R. 0:0(0) ack 2 !BadAck
        < R. 0:0(0) ack 0 !BadAck
        = SYN-SENT
        < S. 0:0(0) ack 1
        > . 1:1(0) ack 1
        = ESTABLISHED",
    );
}

#[test]
fn syn_sent_ignores_what_neither_opens_nor_refuses() {
    connecting(
        "> S 0:0(0)
        < R 0:0(0) !Unexpected      # a RST that acknowledges nothing
        < . 0:0(0) ack 1 !Unexpected
        < . 1:101(100) ack 1 !Unexpected
        < F. 1:1(0) ack 1 !Unexpected
        < F 1:1(0) !Unexpected
        = SYN-SENT",
    );
}

#[test]
fn a_rst_that_acknowledges_the_syn_refuses() {
    connecting(
        "> S 0:0(0)
        < R. 0:0(0) ack 1
        = CLOSED Refused
        event
        idle
        < S. 0:0(0) ack 1 !Unexpected",
    );
}

#[test]
fn the_window_of_a_syn_is_not_scaled_and_later_ones_are() {
    connecting(
        "> S 0:0(0)
        < S. 0:0(0) ack 1 win 1000 <mss 1000,wscale 7>
        > . 1:1(0) ack 1 win 256        # ours: 65535 in units of 256
        write 3000
        > . 1:1001(1000) ack 1
        < . 1:1(0) ack 1001 win 16
        > . 1001:3001(2000) ack 1",
    );
}

#[test]
fn a_peer_that_does_not_scale_gets_no_scaled_windows() {
    connecting(
        "> S 0:0(0)
        < S. 0:0(0) ack 1 win 1000 <mss 1000>
        > . 1:1(0) ack 1 win 65535
        write 3000
        > . 1:1001(1000) ack 1
        < . 1:1(0) ack 1001 win 1000
        > . 1001:2001(1000) ack 1",
    );
}

#[test]
fn data_written_early_and_the_fin_follow_the_handshake() {
    connecting(
        "> S 0:0(0)
        write 500
        shut
        = SYN-SENT
        < S. 0:0(0) ack 1
        > F. 1:501(500) ack 1
        = FIN-WAIT-1",
    );
}

#[test]
fn leaving_in_syn_sent_is_silent() {
    connecting(
        "> S 0:0(0)
        write 500
        close
        = CLOSED
        finished",
    );
    connecting(
        "> S 0:0(0)
        abort
        = CLOSED",
    );
}

#[test]
fn a_simultaneous_open_opens() {
    connecting(
        "> S 0:0(0)
        < S 0:0(0) win 1000 <mss 1000,sackOK>
        > S. 0:0(0) ack 1 win 65535 <mss 1460,sackOK>
        = SYN-RECEIVED
        < S. 0:0(0) ack 1 win 1000 <mss 1000,sackOK> !OutOfWindow
        > . 1:1(0) ack 1
        < . 1:1(0) ack 1 win 2000
        = ESTABLISHED
        event
        write 3000
        > . 1:2001(2000) ack 1",
    );
}

#[test]
fn a_simultaneous_open_repeats_its_syn_and_gives_up() {
    connecting(
        "> S 0:0(0)
        < S 0:0(0) <mss 1000>
        > S. 0:0(0) ack 1
        +1s
        > S. 0:0(0) ack 1
        +2s
        > S. 0:0(0) ack 1
        +4s
        > R. 1:1(0) ack 1
        = CLOSED TimedOut
        idle",
    );
}

#[test]
fn syn_received_wants_its_syn_acknowledged_by_an_acceptable_segment() {
    connecting(
        "> S 0:0(0)
        < S 0:0(0) <mss 1000>
        > S. 0:0(0) ack 1
        < . 1:1(0) ack 2 !Stale(
        < . 1:1(0) ack 0 !Stale(
        < F 1:1(0) !Unexpected
        < . -99:1(100) ack 1 !OutOfWindow
        > . 1:1(0) ack 1
        = SYN-RECEIVED
        < . 1:101(100) ack 1
        > . 1:1(0) ack 101
        = ESTABLISHED
        readable 100",
    );
}

#[test]
fn a_rst_in_syn_received_refuses() {
    connecting(
        "> S 0:0(0)
        < S 0:0(0) <mss 1000>
        > S. 0:0(0) ack 1
        < R 2:2(0) !Challenged
        > . 1:1(0) ack 1
        < R 1:1(0)
        = CLOSED Refused",
    );
}

#[test]
fn closing_in_syn_received_waits_for_the_handshake() {
    for end in ["shut", "close"] {
        connecting(&format!(
            "> S 0:0(0)
            write 100
            < S 0:0(0) <mss 1000>
            > S. 0:0(0) ack 1
            {end}
            = SYN-RECEIVED
            +1s
            > S. 0:0(0) ack 1
            < . 1:1(0) ack 1
            > F. 1:101(100) ack 1
            = FIN-WAIT-1"
        ));
    }
}

#[test]
fn a_fin_in_syn_received_closes_the_peers_half() {
    connecting(
        "> S 0:0(0)
        < S 0:0(0) <mss 1000>
        > S. 0:0(0) ack 1
        < F. 1:1(0) ack 1
        > . 1:1(0) ack 2
        = CLOSE-WAIT
        eof",
    );
}

#[test]
fn an_accepted_connection_is_open_both_ways() {
    accepted(
        "mss 1000,sackOK,wscale 7,TS val 10 ecr 0",
        "= ESTABLISHED
        < . 1:101(100) ack 1 win 10 <TS val 11 ecr 0>
        > . 1:1(0) ack 101 win 256 <TS val 0 ecr 11>
        write 2000
        > . 1:989(988) ack 101      # 1280 fit, but no crumbs",
    );
}

// RFC 9293, section 3.7.1.

#[test]
fn a_peer_that_names_no_mss_gets_536() {
    established("", "write 1000\n > . 1:537(536) ack 1\n > . 537:1001(464) ack 1");
}

#[test]
fn the_smaller_mss_counts() {
    established("mss 9000", "write 2000\n > . 1:1461(1460) ack 1\n > . 1461:2001(540) ack 1");
    established("mss 600", "write 1000\n > . 1:601(600) ack 1\n > . 601:1001(400) ack 1");
}

#[test]
fn options_come_out_of_the_mss() {
    established(
        "mss 1000,TS val 0 ecr 0",
        "write 1000\n > . 1:989(988) ack 1\n > . 989:1001(12) ack 1",
    );
}

#[test]
fn a_ridiculous_mss_is_not_obeyed() {
    established("mss 1", "write 100\n > . 1:89(88) ack 1\n > . 89:101(12) ack 1");
    established("mss 0,TS val 0 ecr 0", "write 100\n > . 1:77(76) ack 1\n > . 77:101(24) ack 1");
}

/// A SYN takes the first number, whatever follows it.
#[test]
fn bytes_behind_a_repeated_syn_are_taken_in_their_place() {
    connecting(
        "> S 0:0(0)
        < S 0:0(0) win 60000 <mss 1000>
        > S. 0:0(0) ack 1
        < S. 0:100(100) ack 1
        > . 1:1(0) ack 101
        = ESTABLISHED
        event
        read 100",
    );
}
