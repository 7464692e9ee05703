//! What algorithms promise, whatever HAProxy does.

use proptest::prelude::*;

use super::*;
use crate::config::model::{HashFunction, HashType};

fn servers(weights: &[u32]) -> Vec<ServerEntry> {
    (1..).zip(weights).map(|(id, &weight)| ServerEntry { id, weight, is_backup: false }).collect()
}

fn balancer(algorithm: Algorithm, weights: &[u32]) -> Balancer {
    let balance = Balance { algorithm, ..Balance::default() };
    Balancer::new(&balance, false, &servers(weights))
}

fn ring(weights: &[u32], factor: Option<u32>) -> Balancer {
    let hash_type = HashType {
        method: HashMethod::Consistent,
        function: Some(HashFunction::Crc32),
        avalanche: true,
    };
    let algorithm = Algorithm::RdpCookie("x".into());
    let balance = Balance { algorithm, hash_type, balance_factor: factor };
    Balancer::new(&balance, false, &servers(weights))
}

/// Picks with everything free and nothing to avoid.
fn pick(balancer: &mut Balancer, key: Option<&[u8]>) -> Pick {
    pick_with(balancer, key, None, &|_| Room::Free, &|_| Load::default(), 0)
}

fn pick_with(
    balancer: &mut Balancer,
    key: Option<&[u8]>,
    avoid: Option<usize>,
    room: &dyn Fn(usize) -> Room,
    load: &dyn Fn(usize) -> Load,
    served: u32,
) -> Pick {
    let mut state = 12_345_u32;
    let mut random = move || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        state
    };
    balancer.pick(&mut Request { key, avoid, random: &mut random, room, load, served })
}

fn picks(balancer: &mut Balancer, count: usize) -> Vec<usize> {
    (0..count)
        .map(|_| match pick(balancer, None) {
            Pick::Server(server) => server,
            other => panic!("{other:?}"),
        })
        .collect()
}

/// Shares within one turn of what is due: a change of weights moves where a round begins.
fn assert_shares(picks: &[usize], due: &[usize]) {
    let got = shares(picks, due.len());
    let near = got.iter().zip(due).all(|(got, due)| got.abs_diff(*due) <= 1);
    assert!(near, "{got:?} instead of {due:?}");
}

fn shares(picks: &[usize], servers: usize) -> Vec<usize> {
    (0..servers).map(|server| picks.iter().filter(|&&at| at == server).count()).collect()
}

#[test]
fn equal_weights_take_turns_in_order() {
    for algorithm in [Algorithm::RoundRobin, Algorithm::StaticRr] {
        let mut balancer = balancer(algorithm, &[1, 1, 1]);
        assert_eq!(picks(&mut balancer, 7), [0, 1, 2, 0, 1, 2, 0]);
    }
}

#[test]
fn weights_are_shares_and_spread() {
    for algorithm in [Algorithm::RoundRobin, Algorithm::StaticRr] {
        let mut balancer = balancer(algorithm, &[3, 1]);
        let picks = picks(&mut balancer, 400);
        assert_eq!(shares(&picks, 2), [300, 100]);
        assert!(!picks.windows(5).any(|five| five.iter().all(|&server| server == 0)));
    }
}

#[test]
fn a_weight_may_change_and_a_server_may_go_and_come() {
    let mut balancer = balancer(Algorithm::RoundRobin, &[1, 1, 1]);
    picks(&mut balancer, 10);
    balancer.set_weight(0, 4 * WEIGHT_SCALE);
    picks(&mut balancer, 12);
    assert_shares(&picks(&mut balancer, 600), &[400, 100, 100]);
    balancer.set_usable(0, false);
    assert_shares(&picks(&mut balancer, 100), &[0, 50, 50]);
    balancer.set_usable(0, true);
    balancer.set_weight(1, 0);
    picks(&mut balancer, 12);
    assert_shares(&picks(&mut balancer, 500), &[400, 0, 100]);
    balancer.set_weight(0, 0);
    balancer.set_usable(2, false);
    assert_eq!(pick(&mut balancer, None), Pick::Nobody);
}

#[test]
fn who_has_no_room_is_passed_over_and_who_failed_avoided() {
    for algorithm in
        [Algorithm::RoundRobin, Algorithm::StaticRr, Algorithm::LeastConn, Algorithm::First]
    {
        let mut balancer = balancer(algorithm.clone(), &[1, 1, 1]);
        let room = |server: usize| if server == 1 { Room::None } else { Room::Free };
        let idle = |_| Load::default();
        for _ in 0..20 {
            let picked = pick_with(&mut balancer, None, Some(0), &room, &idle, 0);
            assert_eq!(picked, Pick::Server(2), "{algorithm:?}");
        }
        let only_first = |server: usize| if server == 0 { Room::Free } else { Room::None };
        let picked = pick_with(&mut balancer, None, Some(0), &only_first, &idle, 0);
        assert_eq!(picked, Pick::Server(0), "{algorithm:?} has no other");
        let none = |_| Room::None;
        assert_eq!(pick_with(&mut balancer, None, None, &none, &idle, 0), Pick::Full);
    }
}

#[test]
fn the_least_loaded_for_its_weight_goes_first() {
    let mut balancer = balancer(Algorithm::LeastConn, &[2, 1]);
    let mut loads = [Load::default(); 2];
    let mut order = Vec::new();
    for _ in 0..6 {
        let Pick::Server(server) = pick(&mut balancer, None) else { panic!("one is there") };
        loads[server].served += 1;
        balancer.load_changed(server, loads[server]);
        order.push(server);
    }
    assert_eq!(shares(&order, 2), [4, 2], "{order:?}");
    loads[0].served = 0;
    balancer.load_changed(0, loads[0]);
    assert_eq!(pick(&mut balancer, None), Pick::Server(0));
}

#[test]
fn backups_serve_when_no_active_server_can() {
    let mut entries = servers(&[1, 1, 1]);
    entries[1].is_backup = true;
    entries[2].is_backup = true;
    for (all, expected) in [(false, [20, 0]), (true, [10, 10])] {
        for algorithm in [Algorithm::RoundRobin, Algorithm::StaticRr] {
            let balance = Balance { algorithm, ..Balance::default() };
            let mut balancer = Balancer::new(&balance, all, &entries);
            assert_eq!(picks(&mut balancer, 3), [0, 0, 0]);
            assert_eq!((balancer.active(), balancer.backups()), (1, 2));
            balancer.set_usable(0, false);
            assert_eq!(shares(&picks(&mut balancer, 20), 3)[1..], expected);
            balancer.set_usable(1, false);
            assert_eq!(picks(&mut balancer, 2), [2, 2]);
            balancer.set_usable(0, true);
            assert_eq!(picks(&mut balancer, 2), [0, 0]);
        }
    }
}

#[test]
fn hashes_lead_to_the_same_server_even_without_room() {
    for mut balancer in [ring(&[1, 1, 1], None), balancer(Algorithm::Source, &[1, 1, 1])] {
        let none = |_| Room::None;
        let idle = |_| Load::default();
        for key in 0..50_u32 {
            let key = key.wrapping_mul(2_654_435_761).to_be_bytes();
            let picked = pick(&mut balancer, Some(&key));
            assert_eq!(pick_with(&mut balancer, Some(&key), None, &none, &idle, 0), picked);
        }
    }
}

#[test]
fn no_server_has_more_than_its_bound() {
    let mut balancer = ring(&[1, 1, 2], Some(125));
    let mut loads = [Load::default(); 3];
    for served in 0..400_u32 {
        // One key: without the bound all would go to one server.
        let loads_now = loads;
        let load = |server: usize| loads_now[server];
        let picked = pick_with(&mut balancer, Some(b"key"), None, &|_| Room::Free, &load, served);
        let Pick::Server(server) = picked else { panic!("{picked:?}") };
        loads[server].served += 1;
        let share = f64::from(served + 1) * 1.25 * [0.25, 0.25, 0.5][server];
        assert!(f64::from(loads[server].served) <= share + 2.0, "{server} of {loads:?}");
    }
    assert!(loads.iter().all(|load| load.served > 0), "{loads:?}");
}

proptest! {
    #[test]
    fn shares_follow_weights(weights in proptest::collection::vec(0_u32..=256, 1..9)) {
        let total: u32 = weights.iter().sum();
        prop_assume!(total > 0);
        let mut balancer = balancer(Algorithm::RoundRobin, &weights);
        let got = shares(&picks(&mut balancer, 4 * total as usize), weights.len());
        for (got, weight) in got.iter().zip(&weights) {
            let due = 4 * i64::from(*weight);
            prop_assert!((*got as i64 - due).abs() <= 2, "{got} of {due}: {weights:?}");
        }
    }

    #[test]
    fn a_ring_moves_only_what_belongs_to_the_server_that_goes(
        keys in proptest::collection::vec(any::<[u8; 6]>(), 50),
        gone in 0_usize..5,
    ) {
        let mut balancer = ring(&[3, 5, 8, 1, 10], None);
        let before: Vec<Pick> = keys.iter().map(|key| pick(&mut balancer, Some(key))).collect();
        balancer.set_usable(gone, false);
        for (key, before) in keys.iter().zip(&before) {
            let after = pick(&mut balancer, Some(key));
            prop_assert!(*before == Pick::Server(gone) || after == *before);
            prop_assert!(after != Pick::Server(gone));
        }
        balancer.set_usable(gone, true);
        let back: Vec<Pick> = keys.iter().map(|key| pick(&mut balancer, Some(key))).collect();
        prop_assert_eq!(before, back);
    }

    #[test]
    fn changes_in_any_order_break_nothing(
        changes in proptest::collection::vec((0_usize..4, 0_u32..300, any::<bool>()), 1..60),
        algorithm in 0_usize..5,
    ) {
        let algorithm = [
            Algorithm::RoundRobin,
            Algorithm::StaticRr,
            Algorithm::LeastConn,
            Algorithm::First,
            Algorithm::Random { draws: 2 },
        ][algorithm].clone();
        let mut balancer = balancer(algorithm, &[1, 2, 3, 4]);
        for (server, weight, usable) in changes {
            balancer.set_weight(server, weight * 8);
            balancer.set_usable(server, usable);
            for _ in 0..7 {
                match pick(&mut balancer, None) {
                    Pick::Server(server) => {
                        let usable = balancer.roster.usable_weight(server) > 0;
                        prop_assert!(usable, "{server} cannot be used");
                    }
                    Pick::Nobody => prop_assert_eq!(balancer.active(), 0),
                    Pick::Full => prop_assert!(false, "all are free"),
                }
            }
        }
    }
}
