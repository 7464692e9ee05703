//! Live connections that move: as bytes, from one stack to another, at any instant of a transfer.

mod common;

use std::sync::Arc;
use std::time::Duration;

use common::Random;
use common::pair::{End, Faults, Pair, byte, fib};
use netstack::{ConnId, Instant, RestoreError, Secret, Stack, StackConfig, State};

const LOSSY: Faults =
    Faults { loss: 0.03, duplicate: 0.01, corrupt: 0.005, delay_us: 5_000, jitter_us: 3_000 };

/// A stack that knows nothing of what was before, under a clock of its own and other keys.
fn successor(side: usize, seed: u64, now: Instant) -> Stack {
    let mut stack = Stack::new(StackConfig::new(Secret([seed as u8 ^ 0x5a; 16])));
    stack.set_fib(Arc::new(fib(side)), now);
    stack
}

/// The connection of `end` goes on in a stack that takes the place of the one it was in.
fn move_to_successor(pair: &mut Pair, end: &mut End, seed: u64) {
    let stack = &mut pair.stacks[end.side];
    let bytes = stack.snapshot(end.id, pair.now).expect("it is open");
    assert_eq!(stack.snapshot(end.id, pair.now).as_ref(), Some(&bytes), "it changes nothing");
    stack.abandon(end.id, pair.now);
    assert_eq!(stack.stats().connections.used, 0);
    assert_eq!(stack.stats().buffers.used, 0);
    let mut next = successor(end.side, seed, pair.now);
    end.id = next.restore(&bytes, 3, pair.now).expect("it was taken from a live one");
    next.assert_invariants();
    pair.stacks[end.side] = next;
}

/// Both ends move again and again, at times that the seed chooses, while both send under loss.
#[test]
fn a_connection_moves_in_mid_transfer_and_loses_no_byte() {
    for seed in 0..60 {
        let mut pair = Pair::new(seed, LOSSY);
        let listener = pair.listen(seed % 2 == 0);
        let ids = pair.open(listener, seed % 2 == 0);
        let mut random = Random(seed + 1);
        let totals = [400_000 + 1000 * seed as usize, 300_000];
        let mut ends = [0, 1].map(|side| End {
            id: ids[side],
            side,
            total: totals[side],
            sent: 0,
            received: 0,
            shut: false,
        });
        let mut moves = 0;
        pair.run_until("the transfer", Duration::from_secs(600), |pair| {
            for end in &mut ends {
                end.turn(pair, 20_000);
                let open = pair
                    .state(end.side, end.id)
                    .is_some_and(|state| !matches!(state, State::TimeWait | State::Closed));
                if open && random.chance(0.01) {
                    move_to_successor(pair, end, seed + moves);
                    moves += 1;
                }
            }
            ends.iter().all(|end| end.is_done(pair))
        });
        assert!(moves > 3, "seed {seed} moved {moves} times");
        for end in &ends {
            assert_eq!(end.received, totals[1 - end.side], "seed {seed}");
        }
    }
}

/// A connection of side 0 with bytes in both queues and in flight.
fn busy(seed: u64) -> (Pair, ConnId) {
    let mut pair = Pair::new(seed, LOSSY);
    let listener = pair.listen(false);
    let [client, server] = pair.open(listener, false);
    let bytes: Vec<u8> = (0..100_000).map(|at| byte(0, at)).collect();
    pair.stacks[0].send(client, &bytes, pair.now);
    pair.stacks[1].send(server, &bytes, pair.now);
    let until = pair.now + Duration::from_millis(30);
    pair.run_until("some of it", Duration::from_secs(1), |pair| pair.now >= until);
    (pair, client)
}

#[test]
fn what_is_restored_is_what_was_taken() {
    for seed in 0..40 {
        let (mut pair, client) = busy(seed);
        let now = pair.now;
        let bytes = pair.stacks[0].snapshot(client, now).unwrap();
        let mut stack = successor(0, seed, now);
        let id = stack.restore(&bytes, 9, now).unwrap();
        assert_eq!(stack.status(id), pair.stacks[0].status(client), "seed {seed}");
        assert_eq!(stack.tuple(id), pair.stacks[0].tuple(client));
        let (old, new) = (pair.stacks[0].describe(client, now), stack.describe(id, now));
        let (old, new) = (old.unwrap(), new.unwrap());
        assert_eq!((new.cwnd, new.srtt, new.in_flight), (old.cwnd, old.srtt, old.in_flight));
        assert_eq!((new.snd_wnd, new.rcv_wnd, new.mss), (old.snd_wnd, old.rcv_wnd, old.mss));
        assert_eq!(new.out_of_order, old.out_of_order);
    }
}

#[test]
fn two_of_one_connection_cannot_be() {
    let (mut pair, client) = busy(1);
    let bytes = pair.stacks[0].snapshot(client, pair.now).unwrap();
    assert_eq!(pair.stacks[0].restore(&bytes, 1, pair.now), Err(RestoreError::InUse));
}

#[test]
fn a_pool_that_is_too_small_takes_nothing() {
    let (pair, client) = busy(2);
    let bytes = pair.stacks[0].snapshot(client, pair.now).unwrap();
    let mut config = StackConfig::new(Secret([1; 16]));
    config.buffers = 3;
    let mut stack = Stack::new(config);
    assert_eq!(stack.restore(&bytes, 1, pair.now), Err(RestoreError::NoBuffers));
    assert_eq!((stack.stats().buffers.used, stack.stats().connections.used), (0, 0));
}

#[test]
fn damage_is_refused_wherever_it_is() {
    let (pair, client) = busy(3);
    let bytes = pair.stacks[0].snapshot(client, pair.now).unwrap();
    let mut stack = successor(0, 3, pair.now);
    let mut random = Random(7);
    for _ in 0..2000 {
        let mut damaged = bytes.clone();
        let bit = random.below(bytes.len() as u64 * 8) as usize;
        damaged[bit / 8] ^= 1 << (bit % 8);
        assert!(stack.restore(&damaged, 1, pair.now).is_err(), "bit {bit}");
    }
    for len in (0..bytes.len()).step_by(97) {
        assert_eq!(stack.restore(&bytes[..len], 1, pair.now), Err(RestoreError::Damaged));
    }
    let mut newer = bytes.clone();
    newer[5] = 2;
    assert_eq!(stack.restore(&newer, 1, pair.now), Err(RestoreError::Version(2)));
    assert_eq!(stack.stats().connections.used, 0);
}

/// With a checksum that is right, only what the bytes say can be refused.
#[test]
fn what_cannot_be_is_refused_and_what_can_be_does_no_harm() {
    let mut random = Random(11);
    let (mut refused, mut taken) = (0, 0);
    for seed in 0..30 {
        let (pair, client) = busy(seed);
        let bytes = pair.stacks[0].snapshot(client, pair.now).unwrap();
        for _ in 0..200 {
            let mut forged = bytes[..bytes.len() - 4].to_vec();
            for _ in 0..1 + random.below(3) {
                // Behind magic and version; most of what is there is payload, so look in front.
                let reach = if random.chance(0.8) { 60 } else { 2000 };
                let place = 6 + random.below(reach) as usize;
                let place = place.min(forged.len() - 1);
                forged[place] = random.next() as u8;
            }
            let crc = crc32fast::hash(&forged);
            forged.extend(crc.to_be_bytes());
            let mut stack = successor(0, seed, pair.now);
            match stack.restore(&forged, 1, pair.now) {
                Err(_) => refused += 1,
                Ok(id) => {
                    taken += 1;
                    run_alone(&mut stack, id, pair.now);
                }
            }
        }
    }
    assert!(refused > 1000 && taken > 100, "{refused} refused, {taken} taken");
}

/// A stack whose peer has vanished: it talks for a while and gives up.
fn run_alone(stack: &mut Stack, id: ConnId, mut now: Instant) {
    let mut out = vec![0; 100_000];
    for _ in 0..400 {
        let mut frames = Vec::new();
        stack.poll_transmit(256, &mut common::Outbox(&mut frames), now);
        stack.recv(id, &mut out, now);
        stack.handle_timers(now);
        stack.assert_invariants();
        let Some(at) = stack.poll_at() else { break };
        now = at.max(now + Duration::from_millis(1));
    }
    stack.abort(id, now);
    stack.assert_invariants();
}
