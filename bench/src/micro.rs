//! Micro-benchmarks of the stack in memory: no kernel, no queue, no other core.
//!
//! In:    what to measure, how often
//! Out:   a table of ratios, and the same as JSON
//! Owns:  the measures
//! Never: part of the balancer; judges by one round
//!
//! `bench/README.md` says what each measure is and what it is not for.

pub mod crowd;
pub mod frames;
pub mod measures;
pub mod ours;
pub mod pair;
pub mod rounds;
pub mod theirs;
