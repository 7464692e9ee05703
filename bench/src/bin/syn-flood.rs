//! A flood of SYNs with invented sources: see `xlb_bench::syn_flood`.

use std::process::ExitCode;

use clap::Parser;
use xlb_bench::syn_flood::{Options, run};

fn main() -> ExitCode {
    match run(&Options::parse()) {
        Ok(report) => {
            println!("{report}");
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("syn-flood: {error}");
            ExitCode::FAILURE
        }
    }
}
