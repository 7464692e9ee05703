//! Micro-benchmarks of the stack: see `bench/README.md`.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, ValueEnum};
use xlb_bench::micro::measures::{Effort, bulk, flat, memory, request_response};
use xlb_bench::micro::rounds::{json, table};

/// Measures netstack in memory, beside smoltcp's own sockets in the same run.
#[derive(Debug, Parser)]
#[command(name = "netstack-bench")]
struct Options {
    /// What to measure; all of it when nothing is said
    what: Vec<What>,
    /// Small and fast: whether it works, and roughly how well
    #[arg(long)]
    quick: bool,
    /// Rounds of each measure
    #[arg(long, value_parser = clap::value_parser!(u16).range(1..))]
    rounds: Option<u16>,
    /// Connections of the largest crowd
    #[arg(long, value_parser = clap::value_parser!(u32).range(64..=2_000_000))]
    connections: Option<u32>,
    /// Writes every round there
    #[arg(long)]
    json: Option<PathBuf>,
    /// Ends with a failure when a demand is missed
    #[arg(long)]
    strict: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum What {
    RequestResponse,
    Bulk,
    Flat,
    Memory,
}

fn main() -> ExitCode {
    let options = Options::parse();
    let mut effort = if options.quick { Effort::QUICK } else { Effort::FULL };
    effort.rounds = options.rounds.map_or(effort.rounds, usize::from);
    effort.connections = options.connections.map_or(effort.connections, |count| count as usize);
    let wanted = |what| options.what.is_empty() || options.what.contains(&what);
    let (mut measures, mut figures) = (Vec::new(), Vec::new());
    // First, while nothing else was allocated in this process.
    let crowd = (wanted(What::Memory) || wanted(What::Flat)).then(|| {
        let (held, crowd) = memory(&effort);
        if wanted(What::Memory) {
            figures = held;
        }
        crowd
    });
    if wanted(What::RequestResponse) {
        measures.extend(request_response(&effort));
    }
    if wanted(What::Bulk) {
        measures.extend(bulk(&effort));
    }
    if let Some(crowd) = crowd.filter(|_| wanted(What::Flat)) {
        measures.extend(flat(&effort, crowd));
    }
    print!("{}", table(&measures, &figures));
    if let Some(path) = &options.json
        && let Err(error) = std::fs::write(path, json(&measures, &figures))
    {
        eprintln!("netstack-bench: {}: {error}", path.display());
        return ExitCode::FAILURE;
    }
    let missed = measures.iter().any(|measure| measure.is_missed())
        || figures.iter().any(|figure| figure.is_missed());
    if options.strict && missed { ExitCode::FAILURE } else { ExitCode::SUCCESS }
}
