//! A wire with faults between two interfaces: see `xlb_bench::faulty_wire`.

use std::process::ExitCode;

use clap::Parser;
use xlb_bench::faulty_wire::{Options, run};

fn main() -> ExitCode {
    match run(&Options::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("faulty-wire: {error}");
            ExitCode::FAILURE
        }
    }
}
