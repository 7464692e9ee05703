//! Our stack against itself: what goes over the wire, and what happens when it does not.
//!
//! Every byte that one side sends arrives once and in order, whatever the wire does short of silence;
//! invariants of both stacks are asserted as the time goes on.

mod common;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use common::Random;
use common::pair::{CLEAN, Faults, Pair, byte, fib, ip, transfer};
use netstack::{ConnId, ConnectionError, Event, Instant, Secret, Stack, StackConfig, State};

#[test]
fn a_clean_wire_carries_both_ways_in_both_families() {
    for ipv6 in [false, true] {
        let mut pair = Pair::new(1, CLEAN);
        let listener = pair.listen(ipv6);
        let ids = pair.open(listener, ipv6);
        transfer(&mut pair, ids, [3_000_000, 2_000_000], 10_000, Duration::from_secs(20));
        let retransmits: u64 = pair.stacks.iter().map(|stack| stack.counters().retransmits).sum();
        assert_eq!(retransmits, 0, "nothing was lost, nothing goes twice");
    }
}

#[test]
fn any_faults_deliver_every_byte_once_and_in_order() {
    for seed in 0..300 {
        let mut random = Random(seed * 77 + 5);
        let faults = Faults {
            loss: [0.0, 0.01, 0.05, 0.15][random.below(4) as usize],
            duplicate: [0.0, 0.02][random.below(2) as usize],
            corrupt: [0.0, 0.02][random.below(2) as usize],
            delay_us: [50, 2000, 30_000][random.below(3) as usize],
            jitter_us: [0, 100, 20_000][random.below(3) as usize],
        };
        let tight = random.chance(0.3);
        let mut pair = Pair::with(seed, faults, |config| {
            if tight {
                config.buffers = 24;
            }
        });
        let listener = pair.listen(false);
        let ids = pair.open(listener, false);
        let totals = [random.below(200_000) as usize, random.below(200_000) as usize];
        let piece = 1 + random.below(5000) as usize;
        transfer(&mut pair, ids, totals, piece, Duration::from_secs(3600));
    }
}

#[test]
fn loss_is_repaired_without_waiting_for_timeouts() {
    let faults = Faults { loss: 0.01, delay_us: 10_000, ..CLEAN };
    let mut pair = Pair::new(3, faults);
    let listener = pair.listen(false);
    let ids = pair.open(listener, false);
    let began = pair.now;
    transfer(&mut pair, ids, [5_000_000, 0], 20_000, Duration::from_secs(60));
    let seconds = pair.now.since(began).as_secs_f64();
    assert!(seconds < 62.0 + 20.0, "5 MB at 1 % and 20 ms took {seconds} s, TIME-WAIT and all");
}

#[test]
fn a_refused_connection_says_so() {
    let mut pair = Pair::new(4, CLEAN);
    let remote = SocketAddr::new(ip(false, 1), 81);
    let id = pair.stacks[0].connect(remote, None, 1, pair.now).unwrap();
    pair.run_until("the refusal", Duration::from_secs(10), |pair| {
        pair.state(0, id) == Some(State::Closed)
    });
    assert_eq!(pair.stacks[0].status(id).unwrap().error, Some(ConnectionError::Refused));
    assert_eq!(pair.stacks[0].poll_event(), Some(Event::Connection(id, 1)));
    pair.stacks[0].close(id, pair.now);
    assert_eq!(pair.stacks[0].stats().connections.used, 0);
}

#[test]
fn a_silent_neighbor_makes_it_unreachable() {
    let mut pair = Pair::new(5, CLEAN);
    let remote = SocketAddr::new("10.0.0.99".parse().unwrap(), 80);
    let id = pair.stacks[0].connect(remote, None, 1, pair.now).unwrap();
    pair.run_until("giving up", Duration::from_secs(10), |pair| {
        pair.stacks[0].status(id).unwrap().error == Some(ConnectionError::Unreachable)
    });
}

#[test]
fn a_vanished_peer_times_out() {
    let mut pair = Pair::new(6, CLEAN);
    let listener = pair.listen(false);
    let [client, _] = pair.open(listener, false);
    pair.cut = [true; 2];
    pair.stacks[0].send(client, b"is anybody there", pair.now);
    pair.run_until("the timeout", Duration::from_secs(3600), |pair| {
        pair.stacks[0].status(client).unwrap().error == Some(ConnectionError::TimedOut)
    });
}

#[test]
fn an_abort_resets_the_peer() {
    let mut pair = Pair::new(7, CLEAN);
    let listener = pair.listen(false);
    let [client, server] = pair.open(listener, false);
    pair.stacks[0].abort(client, pair.now);
    pair.run_until("the reset", Duration::from_secs(10), |pair| {
        pair.stacks[1].status(server).unwrap().error == Some(ConnectionError::Reset)
    });
    assert_eq!(pair.stacks[0].stats().connections.used, 0);
}

#[test]
fn half_close_leaves_the_other_direction_open() {
    let mut pair = Pair::new(8, CLEAN);
    let listener = pair.listen(false);
    let [client, server] = pair.open(listener, false);
    pair.stacks[0].send(client, b"request", pair.now);
    pair.stacks[0].shut(client, pair.now);
    let mut out = [0; 100];
    pair.run_until("the request", Duration::from_secs(10), |pair| {
        pair.state(1, server) == Some(State::CloseWait)
    });
    assert_eq!(pair.stacks[1].recv(server, &mut out, pair.now), 7);
    assert!(pair.stacks[1].status(server).unwrap().eof);
    pair.run_until("the acknowledgment", Duration::from_secs(10), |pair| {
        pair.state(0, client) == Some(State::FinWait2)
    });
    pair.stacks[1].send(server, b"a late answer", pair.now);
    pair.stacks[1].close(server, pair.now);
    pair.run_until("the answer", Duration::from_secs(10), |pair| {
        pair.stacks[0].status(client).unwrap().readable == 13
    });
}

#[test]
fn a_closed_window_stalls_the_sender_and_reopens() {
    let mut pair = Pair::new(9, CLEAN);
    let listener = pair.listen(false);
    let [client, server] = pair.open(listener, false);
    let mut sent = 0;
    let end = pair.now + Duration::from_secs(30);
    pair.run_until("half a minute", Duration::from_secs(60), |pair| {
        let bytes: Vec<u8> = (sent..sent + 5000).map(|at| byte(0, at)).collect();
        sent += pair.stacks[0].send(client, &bytes, pair.now);
        pair.now >= end
    });
    let held = pair.stacks[1].status(server).unwrap().readable;
    assert!((60_000..70_000).contains(&held), "no more than the window is held: {held}");
    let mut out = vec![0; 1_000_000];
    let mut received = 0;
    pair.run_until("the rest", Duration::from_secs(120), |pair| {
        received += pair.stacks[1].recv(server, &mut out, pair.now);
        received == sent
    });
}

#[test]
fn a_window_that_stays_closed_does_not_hold_a_connection_that_was_left() {
    let mut pair = Pair::new(11, CLEAN);
    let listener = pair.listen(false);
    let [client, _] = pair.open(listener, false);
    let bytes = vec![0; 200_000];
    assert!(pair.stacks[0].send(client, &bytes, pair.now) > 0);
    pair.run_until("a closed window", Duration::from_secs(60), |pair| {
        let sent = pair.stacks[0].send(client, &bytes, pair.now);
        pair.now > Instant::from_millis(20_000) && sent == 0
    });
    pair.stacks[0].close(client, pair.now);
    pair.run_until("giving up", Duration::from_secs(600), |pair| {
        pair.stacks[0].stats().connections.used == 0
    });
    assert_eq!(pair.stacks[0].stats().buffers.used, 0);
}

#[test]
fn source_ports_run_out_and_come_back() {
    let mut pair = Pair::with(10, CLEAN, |config| config.source_ports = 20_000..=20_009);
    pair.listen(false);
    let remote = SocketAddr::new(ip(false, 1), 80);
    let ids: Vec<ConnId> =
        (0..10).map(|_| pair.stacks[0].connect(remote, None, 1, pair.now).unwrap()).collect();
    assert!(pair.stacks[0].connect(remote, None, 1, pair.now).is_err());
    pair.stacks[0].abort(ids[3], pair.now);
    assert!(pair.stacks[0].connect(remote, None, 1, pair.now).is_ok());
}

/// A process that starts again knows nothing of its connections, but its peers do, for a minute.
#[test]
fn who_restarted_connects_at_once_over_what_its_peer_remembers() {
    for seed in 0..40 {
        let one_port = |config: &mut StackConfig| config.source_ports = 20_000..=20_000;
        let mut pair = Pair::with(seed, CLEAN, one_port);
        let listener = pair.listen(false);
        let [client, server] = pair.open(listener, false);
        pair.stacks[1].close(server, pair.now);
        pair.run_until("the server's FIN", Duration::from_secs(1), |pair| {
            pair.stacks[0].status(client).unwrap().eof
        });
        pair.stacks[0].close(client, pair.now);
        pair.run_until("the server's TIME-WAIT", Duration::from_secs(1), |pair| {
            pair.stacks[1].stats().time_wait == 1
        });
        // Another secret: sequence numbers and timestamps begin anywhere.
        let mut config = StackConfig::new(Secret([seed as u8 ^ 0xa5; 16]));
        one_port(&mut config);
        pair.stacks[0] = Stack::new(config);
        pair.stacks[0].set_fib(Arc::new(fib(0)), pair.now);
        let began = pair.now;
        pair.open(listener, false);
        let took = pair.last_frame.since(began);
        assert!(took < Duration::from_millis(100), "seed {seed}: {took:?}");
    }
}
