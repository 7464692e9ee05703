//! The whole path in memory: clients, servers and the balancer's workers, from one seed, in virtual time.
//!
//! In:    seeds; `SIM_SEED` for one, `SIM_SEEDS` for how many
//! Out:   a seed that fails, and the command that repeats it
//! Owns:  nothing: every run makes its own world
//! Never: a thread, a clock, a socket
//! Read:  `scenario` for what a seed can bring, `simulation` for what is asserted
//!
//! ```text
//!  program   program            program   program
//!     │         │                  │         │
//!   host      host    (clients)  host      host    (servers: the stack under test, or smoltcp's)
//!     └────┬────┘                  └────┬────┘
//!          └───────── network ──────────┘     loses, repeats, delays, flips a bit, chooses a queue
//!                    │       │
//!                 queue 0  queue 1
//!                 worker 0 worker 1           balancer: as the program puts it together
//! ```

mod balancer;
mod host;
mod network;
mod program;
mod random;
mod scenario;
mod simulation;
mod tally;

use std::panic::{catch_unwind, resume_unwind};

use scenario::{Manners, PORTS, Scenario};
use simulation::Simulation;
use tally::Tally;

/// Seeds of the ordinary run.
const SEEDS: u64 = 1000;

/// The run of a seed, with a word on how to repeat it if it fails.
fn run(seed: u64) -> Tally {
    let outcome = catch_unwind(|| Simulation::new(Scenario::new(seed)).run());
    outcome.unwrap_or_else(|cause| {
        eprintln!("to repeat it: SIM_SEED={seed} cargo test --test sim any_seed");
        eprintln!("with every frame: SIM_TRACE=1 before it, and `-- --nocapture` behind it");
        resume_unwind(cause)
    })
}

fn number_of(variable: &str) -> Option<u64> {
    let text = std::env::var(variable).ok()?;
    Some(text.parse().unwrap_or_else(|_| panic!("{variable}={text} is not a number")))
}

#[test]
fn any_seed_delivers_every_byte_or_tells_both_sides() {
    if let Some(seed) = number_of("SIM_SEED") {
        let scenario = Scenario::new(seed);
        println!("{scenario:#?}\n{}", scenario.config());
        println!("{:#?}", run(seed));
        return;
    }
    let mut tally = Tally::default();
    let seeds = number_of("SIM_SEEDS").unwrap_or(SEEDS);
    for seed in 0..seeds {
        tally.add(&run(seed));
    }
    if seeds >= SEEDS {
        tally.assert_variety();
    }
    println!("{seeds} seeds: {tally:#?}");
}

#[test]
fn a_seed_decides_everything() {
    for seed in 0..20 {
        assert_eq!(run(seed), run(seed), "two runs of seed {seed}");
    }
    assert_ne!(run(1).trace, run(3).trace);
}

// What once went wrong, and more of it than a seed brings by itself.

/// A worker that found no room on its wire slept on what it had to send.
#[test]
fn wires_without_room_cost_time_and_nothing_else() {
    for seed in 0..40 {
        let mut scenario = Scenario::new(seed);
        scenario.wire_trouble_ppm = 400_000;
        scenario.wire_frames = 16;
        // Questions for neighbours get lost too, three in a row: nothing is promised.
        scenario.is_gentle = false;
        Simulation::new(scenario).run();
    }
}

/// A connection that the proxy had left waited for the window of its peer for ever.
#[test]
fn who_never_reads_again_holds_nothing_for_ever() {
    for seed in 0..40 {
        let mut scenario = Scenario::new(seed);
        scenario.client_ports = PORTS;
        for plan in &mut scenario.connections {
            plan.response += 100_000;
            plan.client_manners =
                Manners { stall: Some((plan.request, None)), ..Manners::default() };
        }
        Simulation::new(scenario).run();
    }
}
