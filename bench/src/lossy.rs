//! Goodput over bad wires: our stack against Linux, in the same run over the same wire.
//!
//! In:    wires (loss, delay, reordering), rounds, seconds
//! Out:   a table: goodput, and its ratio to Linux-to-Linux, for each wire and direction
//! Owns:  the order of the runs: all pairs of a wire one after the other, round by round
//! Never: judges a single run: random losses make one differ from the next; bytes are summed over flows and rounds
//!
//! See bench/lossy.md.

use std::fmt;
use std::io::{self, Write};
use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use clap::{Parser, ValueEnum};

use crate::wire_lab::{
    FAR, FAR_MAC, NEAR, OWN, Room, Running, TCP_RMEM, TCP_WMEM, WireLab, figures_of,
};

/// What the project asks for, as a share of Linux-to-Linux.
const WANTED: f64 = 0.80;
/// A source goes on for this long after the sink's window, so that the window is full.
const SURPLUS: f64 = 0.5;
/// Longest wait for a program's next line, beyond the time of sending.
const PATIENCE: Duration = Duration::from_secs(130);
/// The first port; each run has its own, so that no end remembers another run.
const PORT: u16 = 5001;

/// Measures goodput over bad wires, ours against Linux, and prints a table; the exit status is 1 when a cell is below
/// 80 % of Linux-to-Linux.
#[derive(Clone, Debug, Parser)]
#[command(name = "lossy-table")]
pub struct Options {
    /// Rounds; each runs every pair of every wire once
    #[arg(long, default_value_t = 3)]
    pub rounds: u64,
    /// Seconds of each run, from the first byte that arrives
    #[arg(long, default_value_t = 8.0)]
    pub seconds: f64,
    /// Connections of each run
    #[arg(long, default_value_t = 16)]
    pub flows: usize,
    /// Five wires, one round of 5 seconds
    #[arg(long)]
    pub quick: bool,
    /// Only wires whose name contains this; may be given more than once
    #[arg(long)]
    pub only: Vec<String>,
    /// Measure a Linux sender with BBR too, for information: it takes no loss for congestion
    #[arg(long)]
    pub bbr: bool,
    /// Rate of the wire in each direction, Mbit/s; 0 is as fast as this machine carries frames
    #[arg(long, default_value_t = 500)]
    pub rate_mbit: u64,
    /// Prefix of the namespaces
    #[arg(long, default_value = "lossy")]
    pub name: String,
    /// Start of the random sequences
    #[arg(long, default_value_t = 1)]
    pub seed: u64,
    /// Core of the wire
    #[arg(long, default_value_t = 1)]
    pub wire_core: usize,
    /// Core of both ends
    #[arg(long, default_value_t = 0)]
    pub core: usize,
    /// Print the figures of every run, on standard error
    #[arg(long)]
    pub verbose: bool,
}

/// A wire: one cell of the table for each pair.
#[derive(Clone, Copy, Debug)]
struct Cell {
    name: &'static str,
    /// Percent of frames lost, each way.
    loss: f64,
    /// Delay each way, milliseconds: half of what delay makes of the round trip.
    delay_ms: u64,
    /// Percent of frames that come late, and by how many milliseconds.
    late: (f64, u64),
    quick: bool,
}

const fn cell(name: &'static str, loss: f64, delay_ms: u64, late: (f64, u64), quick: bool) -> Cell {
    Cell { name, loss, delay_ms, late, quick }
}

/// Late frames are 2 ms late at 20 ms and 10 ms late at 100 ms: a tenth of the round trip, past hundreds of frames at
/// full speed.
const CELLS: [Cell; 12] = [
    cell("no faults", 0.0, 0, (0.0, 0), true),
    cell("no delay, loss 0.1%", 0.1, 0, (0.0, 0), false),
    cell("no delay, loss 1%", 1.0, 0, (0.0, 0), true),
    cell("no delay, loss 5%", 5.0, 0, (0.0, 0), false),
    cell("20 ms, late 1%", 0.0, 10, (1.0, 2), true),
    cell("20 ms, late 1%, loss 0.1%", 0.1, 10, (1.0, 2), false),
    cell("20 ms, late 1%, loss 1%", 1.0, 10, (1.0, 2), true),
    cell("20 ms, late 1%, loss 5%", 5.0, 10, (1.0, 2), true),
    cell("100 ms, late 1%", 0.0, 50, (1.0, 10), false),
    cell("100 ms, late 1%, loss 0.1%", 0.1, 50, (1.0, 10), false),
    cell("100 ms, late 1%, loss 1%", 1.0, 50, (1.0, 10), false),
    cell("100 ms, late 1%, loss 5%", 5.0, 50, (1.0, 10), false),
];

/// Who sends to whom. The far end is always Linux.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Pair {
    LinuxToLinux,
    OursToLinux,
    LinuxToOurs,
    BbrToLinux,
}

/// Runs the table; whether every cell is good enough. Errors are whole sentences.
pub fn run(options: &Options, stop: &AtomicBool) -> Result<bool, String> {
    let mut options = options.clone();
    if options.quick {
        (options.rounds, options.seconds) = (1, 5.0);
    }
    let cells: Vec<Cell> = CELLS
        .into_iter()
        .filter(|cell| !options.quick || cell.quick)
        .filter(|cell| {
            options.only.is_empty() || options.only.iter().any(|part| cell.name.contains(part))
        })
        .collect();
    let mut pairs = vec![Pair::LinuxToLinux, Pair::OursToLinux, Pair::LinuxToOurs];
    if options.bbr {
        pairs.push(Pair::BbrToLinux);
    }
    let lab = WireLab::up(&options.name)?;
    let mut bench = Bench { lab, options, port: PORT, stop };
    bench.print_head(&pairs);
    let mut all_good = true;
    for cell in cells {
        let mut row = Row { cell, goodput: pairs.iter().map(|_| Vec::new()).collect() };
        for round in 0..bench.options.rounds {
            for (&pair, goodput) in pairs.iter().zip(&mut row.goodput) {
                goodput.push(bench.measure(cell, pair, round)?);
            }
        }
        println!("{row}");
        // A pipe that is closed must not end the measurement half-way.
        let _ = io::stdout().flush();
        all_good &= row.is_good();
    }
    Ok(all_good)
}

struct Bench<'a> {
    lab: WireLab,
    options: Options,
    port: u16,
    stop: &'a AtomicBool,
}

impl Bench<'_> {
    fn print_head(&self, pairs: &[Pair]) {
        let Options { rounds, seconds, flows, seed, rate_mbit, .. } = self.options;
        println!(
            "goodput in Mbit/s: {flows} flows, {rounds} rounds of {seconds} s, medians; ratios to Linux -> Linux from \
             the sums of all rounds (of single rounds)"
        );
        let rate = if rate_mbit == 0 { "any rate".into() } else { format!("{rate_mbit} Mbit/s") };
        println!(
            "Linux: cubic, no offloads, tcp_rmem {TCP_RMEM}, tcp_wmem {TCP_WMEM}; wire: {rate}, seed {seed}"
        );
        let bbr = if pairs.contains(&Pair::BbrToLinux) { "   Linux BBR -> Linux" } else { "" };
        println!(
            "{:<28}{:>14}{:>30}{:>30}{bbr}",
            "wire (round trip)", "Linux -> Linux", "ours -> Linux", "Linux -> ours"
        );
    }

    /// Goodput of one run, Mbit/s.
    fn measure(&mut self, cell: Cell, pair: Pair, round: u64) -> Result<f64, String> {
        if self.stop.load(Ordering::Relaxed) {
            return Err("interrupted".into());
        }
        self.port += 1;
        let wire = self.start_wire(cell, self.options.seed + round)?;
        let window = self.options.seconds;
        let patience = Duration::from_secs_f64(window) + PATIENCE;
        let (mut sink, mut source) = self.start_ends(pair, window)?;
        let [sent, received] = figures_of([&mut source, &mut sink], patience)?;
        let counters = wire.stop(Duration::from_secs(10))?;
        if sent.figure("bytes") != received.figure("bytes") {
            return Err(format!("{pair:?} over {}: sent {sent}, received {received}", cell.name));
        }
        let goodput = received.figure("goodput") * 8.0 / 1e6;
        if self.options.verbose {
            eprintln!("{} {pair:?} round {round}: {goodput:.2} Mbit/s", cell.name);
            eprintln!("  source {sent}\n  sink {received}\n  wire {}", counters.join("\n  wire "));
        }
        Ok(goodput)
    }

    fn start_wire(&self, cell: Cell, seed: u64) -> Result<Running, String> {
        let program = sibling("faulty-wire")?;
        let mut command = self.lab.command(Room::Wire, &program.to_string_lossy());
        command.args(["--a=near", "--b=far"]);
        command.args([
            format!("--loss={}%", cell.loss),
            format!("--delay-us={}", cell.delay_ms * 1000),
            format!("--reorder={}%", cell.late.0),
            format!("--reorder-us={}", cell.late.1 * 1000),
            format!("--rate-mbit={}", self.options.rate_mbit),
            format!("--seed={seed}"),
            format!("--core={}", self.options.wire_core),
        ]);
        let mut wire = Running::start("faulty-wire", &mut command)?;
        wire.line(PATIENCE)?;
        Ok(wire)
    }

    fn start_ends(&self, pair: Pair, window: f64) -> Result<(Running, Running), String> {
        let near = if pair == Pair::OursToLinux || pair == Pair::LinuxToOurs { OWN } else { NEAR };
        // Towards ours the far kernel sends; else it receives.
        let (from, at, to) = match pair {
            Pair::LinuxToOurs => (Room::Far, Room::Near, near),
            _ => (Room::Near, Room::Far, FAR),
        };
        let to = SocketAddr::new(IpAddr::V4(to), self.port).to_string();
        let flows = self.options.flows.to_string();
        let mut sink = self.end(pair, at)?;
        sink.args(["sink", "--on", &to, "--flows", &flows, "--seconds", &window.to_string()]);
        let mut sink = Running::start("the sink", &mut sink)?;
        sink.line(PATIENCE)?;
        let seconds = (window + SURPLUS).to_string();
        let mut source = self.end(pair, from)?;
        source.args(["source", "--to", &to, "--flows", &flows, "--seconds", &seconds]);
        Ok((sink, Running::start("the source", &mut source)?))
    }

    /// An end in `room`, its role not yet said.
    fn end(&self, pair: Pair, room: Room) -> Result<std::process::Command, String> {
        let program = sibling("tcp-peer")?;
        let mut command = self.lab.command(room, &program.to_string_lossy());
        command.arg(format!("--core={}", self.options.core));
        if room == Room::Near && matches!(pair, Pair::OursToLinux | Pair::LinuxToOurs) {
            command.args([format!("--address={OWN}/24"), format!("--neighbor={FAR}={FAR_MAC}")]);
        } else {
            let congestion = if pair == Pair::BbrToLinux { "bbr" } else { "cubic" };
            command.args(["--kernel", "--congestion", congestion]);
        }
        Ok(command)
    }
}

/// A program that was built beside this one.
fn sibling(name: &str) -> Result<PathBuf, String> {
    let own = std::env::current_exe().map_err(|error| format!("cannot find itself: {error}"))?;
    let path = own.parent().unwrap_or(Path::new(".")).join(name);
    if path.exists() {
        Ok(path)
    } else {
        Err(format!("there is no {}: build all programs of xlb-bench", path.display()))
    }
}

/// A line of the table: goodput by pair and round.
struct Row {
    cell: Cell,
    goodput: Vec<Vec<f64>>,
}

impl Row {
    fn ratio(&self, pair: usize) -> f64 {
        ratio(self.goodput[pair].iter().sum(), self.goodput[0].iter().sum())
    }

    /// The lowest and the highest ratio of single rounds.
    fn range(&self, pair: usize) -> (f64, f64) {
        let rounds = self.goodput[pair].iter().zip(&self.goodput[0]);
        rounds.fold((f64::INFINITY, 0.0), |(low, high), (&ours, &linux)| {
            let ratio = ratio(ours, linux);
            (low.min(ratio), f64::max(high, ratio))
        })
    }

    fn is_good(&self) -> bool {
        self.ratio(1) >= WANTED && self.ratio(2) >= WANTED
    }
}

fn ratio(ours: f64, linux: f64) -> f64 {
    if linux > 0.0 { ours / linux } else { 0.0 }
}

impl fmt::Display for Row {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:<28}{:>14.1}", self.cell.name, median(&self.goodput[0]))?;
        for pair in 1..self.goodput.len() {
            let (low, high) = self.range(pair);
            let ratio = self.ratio(pair);
            let mark = if ratio < WANTED && pair < 3 { '<' } else { ' ' };
            let goodput = median(&self.goodput[pair]);
            write!(f, "{goodput:>10.1} {ratio:>5.2} ({low:.2}-{high:.2}){mark}")?;
        }
        Ok(())
    }
}

fn median(values: &[f64]) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let (low, high) = (sorted.len().saturating_sub(1) / 2, sorted.len() / 2);
    match (sorted.get(low), sorted.get(high)) {
        (Some(low), Some(high)) => (low + high) / 2.0,
        _ => 0.0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(goodput: [&[f64]; 3]) -> Row {
        Row { cell: CELLS[0], goodput: goodput.map(<[f64]>::to_vec).to_vec() }
    }

    #[test]
    fn a_ratio_is_of_sums_and_its_range_of_rounds() {
        let row = row([&[10.0, 30.0], &[20.0, 20.0], &[5.0, 30.0]]);
        assert_eq!((row.ratio(1), row.ratio(2)), (1.0, 0.875));
        assert_eq!(row.range(2), (0.5, 1.0));
        assert!(row.is_good());
    }

    #[test]
    fn a_cell_below_the_mark_is_marked_and_not_good() {
        let row = row([&[100.0], &[79.0], &[81.0]]);
        assert!(!row.is_good());
        assert_eq!(row.to_string().matches('<').count(), 1, "{row}");
    }

    #[test]
    fn medians() {
        assert_eq!(median(&[3.0, 1.0, 2.0]), 2.0);
        assert_eq!(median(&[4.0, 1.0]), 2.5);
        assert_eq!(median(&[]), 0.0);
    }
}
