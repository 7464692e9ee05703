//! Conversations over a network with faults: our stack with itself, and with smoltcp's in both roles.
//!
//! In:    seeds; `SIM_SEED` for one, `SIM_SEEDS` for how many
//! Out:   a seed that fails, and the command that repeats it
//! Owns:  nothing: every run makes its own world
//! Never: a thread, a clock, a socket
//! Read:  `scenario` for what a seed can bring, `simulation` and `end` for what is asserted
//!
//! What two of our own stacks agree on might still be wrong: so smoltcp's complete stack is client in a third of the
//! seeds, and server in another.

#[path = "../common/mod.rs"]
mod common;
mod end;
mod host;
mod network;
mod scenario;
mod simulation;

use std::panic::{catch_unwind, resume_unwind};

use scenario::{Pairing, Scenario};
use simulation::{Simulation, Tally};

/// Seeds of the ordinary run.
const SEEDS: u64 = 1000;

/// The run of a seed, with a word on how to repeat it if it fails.
fn run(seed: u64) -> Tally {
    let outcome = catch_unwind(|| Simulation::new(Scenario::new(seed)).run());
    outcome.unwrap_or_else(|cause| {
        eprintln!("to repeat it: SIM_SEED={seed} cargo test -p xlb-netstack --test sim seeds");
        eprintln!("with every frame: SIM_TRACE=1 before it, and `-- --nocapture` behind it");
        resume_unwind(cause)
    })
}

fn number_of(variable: &str) -> Option<u64> {
    let text = std::env::var(variable).ok()?;
    Some(text.parse().unwrap_or_else(|_| panic!("{variable}={text} is not a number")))
}

/// The seeds of one pairing.
fn seeds_of(pairing: Pairing) {
    if let Some(seed) = number_of("SIM_SEED") {
        let scenario = Scenario::new(seed);
        if scenario.pairing == pairing {
            println!("{scenario:#?}");
            println!("{:#?}", run(seed));
        }
        return;
    }
    let seeds = number_of("SIM_SEEDS").unwrap_or(SEEDS);
    let mut tally = Tally::default();
    for seed in (0..seeds).filter(|&seed| Scenario::new(seed).pairing == pairing) {
        tally.add(&run(seed));
    }
    println!("{pairing:?}: {tally:#?}");
    if seeds >= SEEDS {
        tally.assert_variety();
    }
}

#[test]
fn seeds_of_our_stack_with_itself() {
    seeds_of(Pairing::Ours);
}

#[test]
fn seeds_of_smoltcp_as_client() {
    seeds_of(Pairing::SmoltcpConnects);
}

#[test]
fn seeds_of_smoltcp_as_server() {
    seeds_of(Pairing::SmoltcpListens);
}

#[test]
fn a_seed_decides_everything() {
    for seed in 0..12 {
        assert_eq!(run(seed), run(seed), "two runs of seed {seed}");
    }
    assert_ne!(run(0).deeds.trace, run(3).deeds.trace);
}
