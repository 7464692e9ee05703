//! One stack against frames by hand: TCP that has no connection yet or no longer.
//!
//! LISTEN, half-open and TIME-WAIT as RFC 9293, section 3.10.7 has them, and their limits.

mod common;

use std::net::SocketAddr;
use std::time::Duration;

use common::lab::{Lab, offset};
use common::{OWN, PEER, Seen, Tcp, link, see};
use netstack::fib::WireId;
use netstack::{Arrival, Event, Instant, Secret, State};
use smoltcp::wire::TcpOption;

// CLOSED and LISTEN, sections 3.10.7.1 and 3.10.7.2.

#[test]
fn what_nobody_owns_is_reset_and_a_rst_is_not() {
    for listening in [false, true] {
        let mut lab = Lab::new();
        if listening {
            lab.listen(10);
        }
        let reset = |lab: &mut Lab, tcp: &Tcp| {
            let seen = lab.one(tcp);
            assert_eq!((seen.window, seen.len), (0, 0));
            (seen.flags, seen.seq, seen.ack)
        };
        let r = || "R".to_owned();
        assert_eq!(reset(&mut lab, &Tcp::new("", 100, Some(777))), (r(), 777, 0));
        assert_eq!(reset(&mut lab, &Tcp::new("S", 100, Some(777))), (r(), 777, 0));
        assert_eq!(reset(&mut lab, &Tcp::new("F", 100, Some(777))), (r(), 777, 0));
        let data = Tcp { payload: vec![1; 30], ..Tcp::new("", 100, None) };
        assert_eq!(reset(&mut lab, &data), ("R.".to_owned(), 0, 130));
        assert_eq!(reset(&mut lab, &Tcp::new("F", 100, None)), ("R.".to_owned(), 0, 101));
        assert_eq!(reset(&mut lab, &Tcp::new("F", u32::MAX, None)), ("R.".to_owned(), 0, 0));
        lab.silence(&Tcp::new("R", 100, None));
        lab.silence(&Tcp::new("R", 100, Some(777)));
        lab.silence(&Tcp::new("SR", 100, None));
        if !listening {
            assert_eq!(reset(&mut lab, &Tcp::new("S", 100, None)), ("R.".to_owned(), 0, 101));
        }
        assert_eq!(lab.stack.stats().half_open, 0);
    }
}

#[test]
fn resets_are_limited_and_counted() {
    let mut lab = Lab::with(link(), |config| config.resets_per_second = 10);
    lab.now = Instant::from_millis(100_000);
    let said: usize = (0..25).map(|_| lab.hear(&Tcp::new("", 1, Some(1))).len()).sum();
    assert_eq!(said, 10);
    let counters = lab.stack.counters();
    assert_eq!((counters.resets_sent, counters.resets_suppressed), (10, 15));
    lab.pass(Duration::from_millis(500));
    let said: usize = (0..25).map(|_| lab.hear(&Tcp::new("", 1, Some(1))).len()).sum();
    assert_eq!(said, 5);
}

#[test]
fn a_syn_ack_offers_what_the_syn_did() {
    let mut lab = Lab::new();
    lab.listen(10);
    let bare = lab.one(&Tcp::new("S", 99, None));
    assert_eq!((bare.flags.as_str(), bare.ack, bare.mss), ("S.", 100, Some(1460)));
    assert_eq!((bare.scale, bare.sack_permitted, bare.timestamp), (None, false, None));
    assert_eq!(bare.window, 65535);
    let options = vec![
        TcpOption::WindowScale(15),
        TcpOption::SackPermitted,
        TcpOption::TimeStamp { tsval: 77, tsecr: 0 },
    ];
    let full = lab.one(&Tcp { options, ports: [4001, 80], ..Tcp::new("S", u32::MAX, None) });
    assert_eq!((full.ack, full.scale, full.sack_permitted), (0, Some(8), true));
    assert_eq!(full.timestamp.map(|(_, echo)| echo), Some(77));
    assert_ne!(full.seq, bare.seq);
    let addresses = [PEER[1], OWN[1]];
    assert_eq!(lab.one(&Tcp { addresses, ..Tcp::new("S", 5, None) }).mss, Some(1440));
}

/// ECN is not negotiated (RFC 3168, section 6.1.1): a SYN that asks for it is answered by one that does not,
/// and marks that a peer sends all the same change nothing.
#[test]
fn ecn_is_not_negotiated() {
    let mut lab = Lab::new();
    let listener = lab.listen(10);
    let syn_ack = lab.one(&Tcp::new("SEW", 100, None));
    assert_eq!(syn_ack.flags, "S.");
    let iss = syn_ack.seq;
    lab.silence(&Tcp::new("", 101, Some(offset(iss, 1))));
    let id = lab.stack.accept(listener, 1).unwrap();
    let before = lab.stack.describe(id, lab.now).unwrap().cwnd;
    let data = Tcp { payload: vec![7; 10], ..Tcp::new("EW", 101, Some(offset(iss, 1))) };
    assert_eq!(lab.one(&data).flags, ".");
    assert_eq!(lab.stack.describe(id, lab.now).unwrap().cwnd, before);
}

#[test]
fn a_clamp_holds_in_what_is_offered_and_in_what_is_sent() {
    let mut lab = Lab::with(link(), |config| config.tcp.mss_max = 900);
    let listener = lab.listen(10);
    let syn_ack = lab
        .one(&Tcp { options: vec![TcpOption::MaxSegmentSize(1460)], ..Tcp::new("S", 100, None) });
    assert_eq!(syn_ack.mss, Some(900));
    lab.silence(&Tcp::new("", 101, Some(offset(syn_ack.seq, 1))));
    let id = lab.stack.accept(listener, 1).unwrap();
    assert_eq!(lab.stack.send(id, &[0; 1800], lab.now), 1800);
    let sent: Vec<usize> =
        lab.speak().iter().filter_map(|frame| see(frame)).map(|seen| seen.len).collect();
    assert_eq!(sent, [900, 900]);
}

#[test]
fn too_many_that_close_on_their_own_are_reset() {
    let mut lab = Lab::with(link(), |config| config.orphans_max = 1);
    let listener = lab.listen(10);
    let (first, _) = lab.open(listener, 4001);
    let (second, _) = lab.open(listener, 4002);
    lab.stack.close(first, lab.now);
    lab.stack.close(second, lab.now);
    let flags: Vec<String> =
        lab.speak().iter().filter_map(|frame| see(frame)).map(|seen| seen.flags).collect();
    assert_eq!(flags, ["F.", "R."]);
    assert_eq!(lab.stack.counters().orphans_reset, 1);
}

/// What the runtime API is to print, as `ss -ti` does.
#[test]
fn a_connection_describes_itself() {
    let mut lab = Lab::new();
    let listener = lab.listen(10);
    let (id, _) = lab.open(listener, 4001);
    lab.stack.send(id, &[0; 3000], lab.now);
    let data = lab.speak();
    assert_eq!(data.len(), 3);
    let description = lab.stack.describe(id, lab.now).unwrap();
    assert_eq!(description.in_flight, 3000);
    assert_eq!((description.mss, description.pmtu), (1460, 1500));
    let line = description.to_string();
    for word in [
        "10.0.0.1:80",
        "10.0.0.2:4001",
        "ESTABLISHED",
        "send-q:3000",
        "recv-q:0",
        "cubic",
        "wscale:0,0",
        "mss:1460",
        "pmtu:1500",
        "cwnd:14600",
        "inflight:3000",
        "retrans:0",
        "snd_wnd:60000",
        "timer:retransmit,200.000",
    ] {
        assert!(line.contains(word), "no `{word}` in `{line}`");
    }
    assert!(!line.contains("ssthresh"), "no loss yet: {line}");
    assert_eq!(lab.stack.connection_ids().collect::<Vec<_>>(), [id]);
}

#[test]
fn urgent_data_is_data() {
    let mut lab = Lab::new();
    let listener = lab.listen(10);
    let (id, iss) = lab.open(listener, 4000);
    let payload = b"urgent".to_vec();
    let seen = lab.one(&Tcp { payload, ..Tcp::new("U", 1001, Some(offset(iss, 1))) });
    assert_eq!(seen.ack, 1007);
    let mut out = [0; 10];
    assert_eq!(lab.stack.recv(id, &mut out, lab.now), 6);
    assert_eq!(&out[..6], b"urgent");
}

// SYN-RECEIVED of a passive open.

#[test]
fn a_half_open_answers_each_segment_as_it_should() {
    let mut lab = Lab::new();
    let listener = lab.listen(10);
    let syn = Tcp::new("S", 1000, None);
    let first = lab.one(&syn);
    let iss = first.seq;
    let good = Some(offset(iss, 1));
    assert_eq!(lab.one(&syn), first, "a repeated SYN gets the same answer");
    let challenge = lab.one(&Tcp::new("S", 5000, None));
    assert_eq!(
        (challenge.flags.as_str(), challenge.seq, challenge.ack),
        (".", offset(iss, 1), 1001)
    );
    for wrong in [0, 2, 1_000_000] {
        let reset = lab.one(&Tcp::new("", 1001, Some(offset(iss, wrong))));
        assert_eq!((reset.flags.as_str(), reset.seq), ("R", offset(iss, wrong)));
    }
    // No acknowledgment: nothing.
    lab.silence(&Tcp { payload: vec![1], ..Tcp::new("", 1001, None) });
    lab.silence(&Tcp::new("F", 1001, None));
    // Outside the window: the peer has not heard us.
    assert_eq!(lab.one(&Tcp::new("", 1000, good)).flags, "S.");
    assert_eq!(lab.one(&Tcp::new("", 1001 + 65535, good)).flags, "S.");
    for seq in [1000, 1002, 1001 + 65535, 500] {
        lab.silence(&Tcp::new("R", seq, None));
        assert_eq!(lab.stack.stats().half_open, 1, "only the exact RST ends it, not {seq}");
    }
    lab.silence(&Tcp::new("R", 1001, None));
    assert_eq!(lab.stack.stats().half_open, 0);
    assert_eq!(lab.stack.accept(listener, 1), None);
}

#[test]
fn the_last_segment_of_a_handshake_may_carry_data_and_a_fin() {
    let mut lab = Lab::new();
    let listener = lab.listen(10);
    let iss = lab.one(&Tcp::new("S", u32::MAX - 2, None)).seq;
    let payload = b"request".to_vec();
    let last = Tcp { payload, ..Tcp::new("F", u32::MAX - 1, Some(offset(iss, 1))) };
    let seen = lab.one(&last);
    assert_eq!((seen.flags.as_str(), seen.ack), (".", 6));
    assert_eq!(lab.stack.poll_event(), Some(Event::Accept(listener, 7)));
    let id = lab.stack.accept(listener, 1).unwrap();
    let status = lab.stack.status(id).unwrap();
    assert_eq!((status.state, status.readable), (State::CloseWait, 7));
}

#[test]
fn a_syn_ack_goes_again_five_times_and_is_forgotten() {
    let mut lab = Lab::new();
    lab.listen(10);
    let first = lab.one(&Tcp::new("S", 1000, None));
    for wait in [1, 2, 4, 8, 16] {
        assert_eq!(lab.pass(Duration::from_millis(wait * 1000 - 1)), []);
        assert_eq!(lab.pass(Duration::from_millis(1)), std::slice::from_ref(&first));
    }
    assert_eq!(lab.pass(Duration::from_millis(31_999)), []);
    assert_eq!(lab.stack.stats().half_open, 1);
    assert_eq!(lab.pass(Duration::from_millis(1)), []);
    assert_eq!(lab.stack.stats().half_open, 0);
}

#[test]
fn a_path_that_lost_two_syn_acks_begins_with_one_segment() {
    for (losses, segments) in [(0, 10), (1, 10), (2, 1), (3, 1)] {
        let mut lab = Lab::new();
        let listener = lab.listen(10);
        let mss = vec![TcpOption::MaxSegmentSize(1000)];
        let iss = lab.one(&Tcp { options: mss, ..Tcp::new("S", 1000, None) }).seq;
        for loss in 0..losses {
            assert_eq!(lab.pass(Duration::from_secs(1 << loss)).len(), 1);
        }
        lab.silence(&Tcp::new("", 1001, Some(offset(iss, 1))));
        let id = lab.stack.accept(listener, 1).unwrap();
        let cwnd = lab.stack.describe(id, lab.now).unwrap().cwnd;
        assert_eq!(cwnd, segments * 1000, "{losses} lost");
    }
}

#[test]
fn a_full_accept_queue_keeps_the_peer_waiting() {
    let mut lab = Lab::new();
    let listener = lab.listen(1);
    let syn = |port| Tcp { ports: [port, 80], ..Tcp::new("S", 1, None) };
    let ack = |port, iss: u32| Tcp { ports: [port, 80], ..Tcp::new("", 2, Some(offset(iss, 1))) };
    let first = lab.one(&syn(5000)).seq;
    lab.silence(&ack(5000, first));
    // The queue of complete ones is full: no further SYN, as Linux has it.
    lab.silence(&syn(5001));
    assert_eq!(lab.stack.counters().accept_queue_full, 1);
    assert!(lab.stack.accept(listener, 1).is_some());
    // A handshake that was under way by then is completed when there is a place.
    let mut lab = Lab::new();
    let listener = lab.listen(2);
    let [first, second] = [5000, 5001].map(|port| lab.one(&syn(port)).seq);
    lab.silence(&ack(5000, first));
    let third = lab.one(&syn(5002)).seq;
    lab.silence(&ack(5001, second));
    lab.silence(&ack(5002, third));
    assert_eq!(lab.stack.counters().accept_queue_full, 1);
    assert_eq!((lab.stack.accept_queue_len(listener), lab.stack.stats().half_open), (2, 1));
    assert!(lab.stack.accept(listener, 1).is_some());
    let again = lab.pass(Duration::from_secs(1));
    assert_eq!((again.len(), again[0].seq), (1, third));
    lab.silence(&ack(5002, third));
    assert_eq!((lab.stack.accept_queue_len(listener), lab.stack.stats().half_open), (2, 0));
}

// TIME-WAIT, as a record.

#[test]
fn a_record_answers_repetitions_and_ignores_the_rest() {
    let mut lab = Lab::new();
    let listener = lab.listen(10);
    let iss = lab.time_wait(listener, false);
    let known = Some(offset(iss, 2));
    let again = lab.one(&Tcp::new("F", 1001, known));
    assert_eq!((again.flags.as_str(), again.seq, again.ack), (".", offset(iss, 2), 1002));
    lab.silence(&Tcp::new("", 1002, known));
    for seq in [1001, 1003] {
        lab.silence(&Tcp::new("R", seq, None));
    }
    assert_eq!(lab.stack.stats().time_wait, 1, "only the exact RST ends it");
    let old = lab.one(&Tcp::new("S", 900, None));
    assert_eq!((old.flags.as_str(), old.ack), (".", 1002));
    lab.pass(Duration::from_secs(60));
    assert_eq!(lab.stack.stats().time_wait, 0);
    assert_eq!(lab.one(&Tcp::new("F", 1001, known)).flags, "R");

    lab.time_wait(listener, false);
    lab.silence(&Tcp::new("R", 1002, None));
    assert_eq!(lab.stack.stats().time_wait, 0, "the exact one does: its peer has begun anew");
}

#[test]
fn a_new_syn_may_follow_at_once() {
    let mut lab = Lab::new();
    let listener = lab.listen(10);
    let iss = lab.time_wait(listener, false);
    let new = lab.one(&Tcp::new("S", 1003, None));
    assert_eq!((new.flags.as_str(), new.ack), ("S.", 1004));
    let ahead = new.seq.wrapping_sub(iss);
    assert!((65_538..1 << 31).contains(&ahead), "nothing old can reach it: {ahead}");
    assert_eq!((lab.stack.stats().time_wait, lab.stack.stats().half_open), (0, 1));
}

#[test]
fn a_newer_timestamp_makes_up_for_an_older_sequence_number() {
    // RFC 6191.
    for (tsval, flags) in [(501, "S."), (500, "."), (499, ".")] {
        let mut lab = Lab::new();
        let listener = lab.listen(10);
        lab.time_wait(listener, true);
        let options = vec![TcpOption::TimeStamp { tsval, tsecr: 0 }];
        assert_eq!(lab.one(&Tcp { options, ..Tcp::new("S", 900, None) }).flags, flags, "{tsval}");
    }
}

#[test]
fn an_own_port_is_used_again_beyond_what_the_old_connection_sent() {
    let mut lab = Lab::with(link(), |config| config.source_ports = 20_000..=20_000);
    let remote = SocketAddr::new(PEER[0], 80);
    let id = lab.stack.connect(remote, None, 1, lab.now).unwrap();
    let iss = see(&lab.speak()[0]).unwrap().seq;
    let from_peer =
        |flags, seq, ack| Tcp { ports: [80, 20_000], ..Tcp::new(flags, seq, Some(ack)) };
    lab.one(&from_peer("S", 1000, offset(iss, 1)));
    // More than the clock of initial sequence numbers gains in a second.
    let mut end = offset(iss, 1);
    for _ in 0..20 {
        end = offset(end, lab.stack.send(id, &[1; 30_000], lab.now) as u32);
        while let Some(last) = lab.speak().last().and_then(|frame| see(frame)) {
            let ack = from_peer("", 1001, offset(last.seq, last.len as u32));
            lab.stack.handle_frame(WireId(0), &ack.frame(), Arrival::Wire, lab.now);
        }
    }
    lab.stack.close(id, lab.now);
    lab.speak();
    lab.one(&from_peer("F", 1001, offset(end, 1)));
    assert_eq!(lab.stack.stats().time_wait, 1);
    assert!(lab.stack.connect(remote, None, 1, lab.now).is_err(), "not within a second");
    lab.pass(Duration::from_secs(1));
    lab.stack.connect(remote, None, 1, lab.now).unwrap();
    let again = see(&lab.speak()[0]).unwrap().seq;
    assert_eq!(again.wrapping_sub(end), 1 + 65_536 + 2);
}

#[test]
fn records_beyond_their_limit_end_early() {
    let mut lab = Lab::with(link(), |config| config.time_wait_max = 2);
    let listener = lab.listen(10);
    for port in 6000..6005 {
        let (id, iss) = lab.open(listener, port);
        lab.stack.close(id, lab.now);
        lab.speak();
        let fin = Tcp { ports: [port, 80], ..Tcp::new("F", 1001, Some(offset(iss, 2))) };
        assert_eq!(lab.one(&fin).ack, 1002);
    }
    assert_eq!(lab.stack.stats().time_wait, 2);
}

// Buffers.

#[test]
fn a_forward_that_ran_out_of_buffers_is_told_when_there_are_some() {
    let mut lab = Lab::with(link(), |config| config.buffers = 3);
    let listener = lab.listen(10);
    let (from, iss) = lab.open(listener, 4000);
    let (to, _) = lab.open(listener, 4001);
    let hoards = [4002, 4003].map(|port| (port, lab.open(listener, port)));
    let data = |port, iss: u32, seq, len| Tcp {
        ports: [port, 80],
        payload: vec![1; len],
        ..Tcp::new("", seq, Some(offset(iss, 1)))
    };
    lab.hear(&data(4000, iss, 1001, 1000));
    for (port, (_, iss)) in hoards {
        lab.hear(&data(port, iss, 1001, 1000));
    }
    assert_eq!(lab.stack.stats().buffers.used, 3);
    while lab.stack.poll_event().is_some() {}
    // A part of a buffer has to be copied, and there is no buffer to copy it to.
    assert_eq!(lab.stack.forward(from, to, 100, lab.now), 0);
    assert_eq!(lab.stack.poll_event(), None);
    assert_eq!(lab.stack.recv(hoards[0].1.0, &mut [0; 1000], lab.now), 1000);
    assert_eq!(lab.stack.poll_event(), Some(Event::Connection(to, 1)));
    assert_eq!(lab.stack.forward(from, to, 100, lab.now), 100);
}

// What nobody can guess: RFC 6528, and RFC 7323, section 5.4.

#[test]
fn what_a_connection_begins_with_is_its_own_and_follows_the_clock() {
    let stamp = || vec![TcpOption::TimeStamp { tsval: 1, tsecr: 0 }];
    let begin = |lab: &mut Lab, port| {
        let ports = [port, 80];
        let seen = lab.one(&Tcp { ports, options: stamp(), ..Tcp::new("S", 1000, None) });
        lab.silence(&Tcp { ports, ..Tcp::new("R", 1001, None) });
        [seen.seq, seen.timestamp.expect("they were offered").0]
    };
    let mut lab = Lab::new();
    lab.listen(10);
    let first = begin(&mut lab, 4001);
    let other = begin(&mut lab, 4002);
    lab.pass(Duration::from_secs(1));
    let later = begin(&mut lab, 4001);
    let gained = [0, 1].map(|index| later[index].wrapping_sub(first[index]));
    assert_eq!(gained, [250_000, 1000], "4 µs and 1 ms each");
    let mut stranger = Lab::with(link(), |config| config.secret = Secret([8; 16]));
    stranger.listen(10);
    for unrelated in [other, begin(&mut stranger, 4001)] {
        for (ours, theirs) in first.into_iter().zip(unrelated) {
            assert!(ours.abs_diff(theirs) > 1 << 16, "{first:?} tells {unrelated:?}");
        }
    }
}

// What is not there.

#[test]
fn options_that_nobody_knows_and_data_in_a_syn_are_passed_over() {
    // TCP Fast Open, Multipath TCP, AccECN, and the signatures of RFC 2385 and RFC 5925.
    for kind in [34, 30, 172, 19, 29] {
        let mut lab = Lab::new();
        lab.listen(10);
        let options = vec![TcpOption::SackPermitted, TcpOption::Unknown { kind, data: &[0; 8] }];
        let syn = Tcp { options, payload: vec![7; 20], ..Tcp::new("S", 100, None) };
        let seen = lab.one(&syn);
        assert_eq!((seen.flags.as_str(), seen.ack), ("S.", 101), "the data is to come again");
        assert!(seen.sack_permitted, "option {kind} takes nothing away");
    }
}

// Scarce buffers.

#[test]
fn windows_do_not_open_while_buffers_are_scarce() {
    let mut lab = Lab::with(link(), |config| config.buffers = 1024);
    let listener = lab.listen(10);
    let hoarders: Vec<_> = (0..240).map(|at| (4100 + at, lab.open(listener, 4100 + at))).collect();
    let (reader, iss) = lab.open(listener, 4002);
    let mut read = [0; 4 * 4096];
    let segment = |port, iss, seq, len| Tcp {
        ports: [port, 80],
        payload: vec![7; len],
        ..Tcp::new("", seq, Some(offset(iss, 1)))
    };
    for &(port, (_, iss)) in &hoarders {
        for piece in 0..4 {
            lab.hear(&segment(port, iss, 1001 + 4096 * piece, 4096));
        }
    }
    let mut windows = Vec::new();
    for index in 0..4 {
        if index == 2 {
            for &(_, (hoarder, _)) in &hoarders {
                assert_eq!(lab.stack.recv(hoarder, &mut read, lab.now), 4 * 4096);
            }
            lab.speak();
        }
        windows.push(lab.one(&segment(4002, iss, 1001 + 1000 * index, 1000)).window);
        assert_eq!(lab.stack.recv(reader, &mut read, lab.now), 1000);
    }
    assert_eq!(windows, [15_384, 14_384, 15_384, 15_384], "what was promised, and no more");
}

#[test]
fn who_finds_no_buffer_is_told_to_wait_and_then_to_go_on() {
    let mut lab = Lab::with(link(), |config| (config.buffers, config.buffers_reserve) = (4, 2));
    let listener = lab.listen(10);
    let hoarders = [4003, 4004].map(|port| (port, lab.open(listener, port)));
    let (_, iss) = lab.open(listener, 4002);
    let segment = |port, iss, seq, len| Tcp {
        ports: [port, 80],
        payload: vec![7; len],
        ..Tcp::new("", seq, Some(offset(iss, 1)))
    };
    for (port, (_, iss)) in hoarders {
        lab.hear(&segment(port, iss, 1001, 4096));
    }
    // The rest is the reserve, which is not for what clients say.
    let refused = lab.one(&segment(4002, iss, 1001, 1000));
    assert_eq!(
        (refused.ack, refused.window),
        (1001, 0),
        "as if it had not come, and not as a loss"
    );
    for (_, (hoarder, _)) in hoarders {
        assert_eq!(lab.stack.recv(hoarder, &mut [0; 9000], lab.now), 4096);
    }
    let opened = |seen: Vec<Seen>| -> Vec<_> {
        seen.iter().filter(|seen| seen.window > 0).map(|seen| (seen.ack, seen.window)).collect()
    };
    let said = lab.speak().iter().filter_map(|frame| see(frame)).collect();
    let expected = [(1001, 4096)];
    assert_eq!(opened(said), expected, "who has waited longest, and nobody for whom there is none");
    // They say nothing, so the next is served; what they were promised they may still say.
    assert_eq!(opened(lab.pass(Duration::from_millis(249))), []);
    assert_eq!(opened(lab.pass(Duration::from_millis(1))), [(5097, 4096)]);
    assert_eq!(lab.one(&segment(4002, iss, 1001, 1000)).ack, 2001);
}

#[test]
fn what_is_promised_is_there() {
    // Forty peers that say all they may, and users that take it: nothing ever finds no buffer.
    let mut lab = Lab::with(link(), |config| (config.buffers, config.buffers_reserve) = (24, 4));
    let listener = lab.listen(100);
    let mut peers: Vec<_> =
        (0..40).map(|at| (4100 + at, lab.open(listener, 4100 + at), 1001, 5097)).collect();
    let mut frames = Vec::new();
    for round in 0..150 {
        for (port, (id, iss), next, edge) in &mut peers {
            while *next < *edge {
                let len = 1000.min(*edge - *next);
                let (ports, payload) = ([*port, 80], vec![7; len as usize]);
                let tcp = Tcp { ports, payload, ..Tcp::new("", *next, Some(offset(*iss, 1))) };
                frames.extend(lab.exchange(&tcp.frame()));
                *next += len;
            }
            if round == 0 {
                // What each may say at first is promised to all, whether there are buffers or not.
                lab.stack.recv(*id, &mut [0; 70_000], lab.now);
            }
        }
        for (_, (id, _), ..) in &peers {
            lab.stack.recv(*id, &mut [0; 70_000], lab.now);
        }
        frames.extend(lab.speak());
        for frame in frames.drain(..) {
            let (seen, port) = (see(&frame).unwrap(), u16::from_be_bytes([frame[36], frame[37]]));
            let peer = peers.iter_mut().find(|peer| peer.0 == port).expect("one of them");
            peer.3 = peer.3.max(seen.ack + u32::from(seen.window));
        }
    }
    assert_eq!(lab.stack.counters().no_buffer, 0);
    let least = peers.iter().map(|peer| peer.2 - 1001).min();
    assert!(least > Some(20_000), "somebody had no turn: {least:?}");
}
