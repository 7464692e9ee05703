//! The table of goodput over bad wires: see `xlb_bench::lossy`.

use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use clap::Parser;
use signal_hook::consts::{SIGINT, SIGTERM};
use xlb_bench::lossy::{Options, run};

fn main() -> ExitCode {
    // The namespaces go with the end of the run that is under way.
    let stop = Arc::new(AtomicBool::new(false));
    for signal in [SIGINT, SIGTERM] {
        if let Err(error) = signal_hook::flag::register(signal, Arc::clone(&stop)) {
            eprintln!("lossy-table: cannot handle signals: {error}");
            return ExitCode::FAILURE;
        }
    }
    match run(&Options::parse(), &stop) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("lossy-table: {error}");
            ExitCode::from(2)
        }
    }
}
