//! A source or a sink of bulk connections: see `xlb_bench::peer`.

use std::process::ExitCode;

use clap::Parser;
use xlb_bench::peer::{Options, run};

fn main() -> ExitCode {
    match run(&Options::parse()) {
        Ok(figures) => {
            println!("{figures}");
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("tcp-peer: {error}");
            ExitCode::FAILURE
        }
    }
}
