//! Rounds of two measurements, and what is said of them.
//!
//! In:    two things to measure, in turn
//! Out:   medians, ranges, the ratio of each round; a table, JSON
//! Owns:  the clock: time that this thread had a core
//! Never: compares rounds of different runs
//!
//! A machine with other work changes its mind by the second. So both things are measured in each round, in
//! changing order, and the ratio is taken within the round.

use std::fmt::Write;

use nix::time::{ClockId, clock_gettime};

/// What a ratio must be, as it was asked for.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Demand {
    /// Below this.
    Below(f64),
    /// Above this.
    Above(f64),
    /// It is for comparison.
    None,
}

impl Demand {
    /// Whether a figure does it; `None` when nothing was asked for.
    pub fn is_met_by(self, figure: f64) -> Option<bool> {
        match self {
            Demand::Below(limit) => Some(figure < limit),
            Demand::Above(limit) => Some(figure > limit),
            Demand::None => None,
        }
    }

    fn text(self, figure: f64) -> String {
        let verdict = match self.is_met_by(figure) {
            Some(true) => "met",
            Some(false) => "MISSED",
            None => return String::new(),
        };
        match self {
            Demand::Below(limit) => format!("< {limit} {verdict}"),
            Demand::Above(limit) => format!("> {limit} {verdict}"),
            Demand::None => String::new(),
        }
    }
}

/// One measure: ours, what it is compared with, round by round.
#[derive(Clone, Debug)]
pub struct Measure {
    /// What was measured.
    pub what: String,
    /// Unit of both.
    pub unit: &'static str,
    /// What ours is compared with.
    pub against: String,
    /// Ours, in each round.
    pub ours: Vec<f64>,
    /// The other, in each round.
    pub other: Vec<f64>,
    /// What ours divided by the other must be.
    pub demand: Demand,
}

impl Measure {
    /// A measure without a round yet.
    pub fn new(
        what: impl Into<String>,
        unit: &'static str,
        against: impl Into<String>,
        demand: Demand,
    ) -> Measure {
        let (ours, other) = (Vec::new(), Vec::new());
        Measure { what: what.into(), unit, against: against.into(), ours, other, demand }
    }

    /// Ours divided by the other, in each round.
    pub fn ratios(&self) -> Vec<f64> {
        self.ours.iter().zip(&self.other).map(|(ours, other)| ours / other).collect()
    }

    /// Whether the median of the ratios is not what was asked for.
    pub fn is_missed(&self) -> bool {
        self.demand.is_met_by(median(&self.ratios())) == Some(false)
    }
}

/// One figure that is compared with a limit, not with another program.
#[derive(Clone, Debug)]
pub struct Figure {
    /// What it is.
    pub what: String,
    /// Its unit.
    pub unit: &'static str,
    /// The figure.
    pub value: f64,
    /// What it must be.
    pub demand: Demand,
}

impl Figure {
    /// Whether it is not what was asked for.
    pub fn is_missed(&self) -> bool {
        self.demand.is_met_by(self.value) == Some(false)
    }
}

/// Seconds that this thread had a core, since some moment.
pub fn cpu_seconds() -> f64 {
    let time = clock_gettime(ClockId::CLOCK_THREAD_CPUTIME_ID).expect("Linux has this clock");
    time.tv_sec() as f64 + time.tv_nsec() as f64 / 1e9
}

/// Nanoseconds of one of `count` calls.
pub fn ns_per_call(count: usize, mut call: impl FnMut()) -> f64 {
    let begin = cpu_seconds();
    for _ in 0..count {
        call();
    }
    (cpu_seconds() - begin) * 1e9 / count as f64
}

/// The middle of some figures.
pub fn median(figures: &[f64]) -> f64 {
    let mut sorted = figures.to_vec();
    sorted.sort_unstable_by(f64::total_cmp);
    let middle = sorted.len() / 2;
    if sorted.len() % 2 == 1 { sorted[middle] } else { (sorted[middle - 1] + sorted[middle]) / 2.0 }
}

fn range(figures: &[f64]) -> (f64, f64) {
    let least = figures.iter().copied().fold(f64::INFINITY, f64::min);
    (least, figures.iter().copied().fold(f64::NEG_INFINITY, f64::max))
}

/// The table for a person.
pub fn table(measures: &[Measure], figures: &[Figure]) -> String {
    let mut text = String::new();
    if !measures.is_empty() {
        let head = ["what", "ours", "other", "unit", "ratio (range)", "demanded", "other is"];
        push_row(&mut text, head.map(String::from));
        for measure in measures {
            let ratios = measure.ratios();
            let (least, most) = range(&ratios);
            let ratio = median(&ratios);
            push_row(
                &mut text,
                [
                    measure.what.clone(),
                    format!("{:.1}", median(&measure.ours)),
                    format!("{:.1}", median(&measure.other)),
                    measure.unit.to_owned(),
                    format!("{ratio:.2} ({least:.2}-{most:.2})"),
                    measure.demand.text(ratio),
                    measure.against.clone(),
                ],
            );
        }
    }
    for figure in figures {
        let demand = figure.demand.text(figure.value);
        let line =
            format!("{:<52} {:>9.1} {:<24} {demand}", figure.what, figure.value, figure.unit);
        text.push_str(line.trim_end());
        text.push('\n');
    }
    text
}

fn push_row(text: &mut String, cells: [String; 7]) {
    let [what, ours, other, unit, ratio, demand, against] = cells;
    let line =
        format!("{what:<38} {ours:>8} {other:>8} {unit:<16} {ratio:<18} {demand:<12} {against}");
    text.push_str(line.trim_end());
    text.push('\n');
}

/// The same for a program: every round.
pub fn json(measures: &[Measure], figures: &[Figure]) -> String {
    let mut text = String::from("{\n  \"measures\": [");
    for (index, measure) in measures.iter().enumerate() {
        let ratios = measure.ratios();
        let _ = write!(
            text,
            "{}\n    {{\"what\": {:?}, \"unit\": {:?}, \"against\": {:?}, \"ratio\": {:.4}, \"met\": {}, \
             \"ours\": {:?}, \"other\": {:?}}}",
            if index > 0 { "," } else { "" },
            measure.what,
            measure.unit,
            measure.against,
            median(&ratios),
            met(measure.demand, median(&ratios)),
            measure.ours,
            measure.other,
        );
    }
    text.push_str("\n  ],\n  \"figures\": [");
    for (index, figure) in figures.iter().enumerate() {
        let _ = write!(
            text,
            "{}\n    {{\"what\": {:?}, \"unit\": {:?}, \"value\": {:?}, \"met\": {}}}",
            if index > 0 { "," } else { "" },
            figure.what,
            figure.unit,
            figure.value,
            met(figure.demand, figure.value),
        );
    }
    text.push_str("\n  ]\n}\n");
    text
}

fn met(demand: Demand, figure: f64) -> &'static str {
    match demand.is_met_by(figure) {
        Some(true) => "true",
        Some(false) => "false",
        None => "null",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn measure() -> Measure {
        Measure {
            ours: vec![1.0, 4.0, 9.0],
            other: vec![2.0, 2.0, 3.0],
            ..Measure::new("a", "ns", "b", Demand::Below(1.5))
        }
    }

    #[test]
    fn the_ratio_is_taken_within_a_round() {
        assert_eq!(measure().ratios(), [0.5, 2.0, 3.0]);
        assert_eq!(median(&[3.0, 1.0, 2.0]), 2.0);
        assert_eq!(median(&[4.0, 1.0, 2.0, 3.0]), 2.5);
        let table = table(&[measure()], &[]);
        assert!(table.contains("2.00 (0.50-3.00)") && table.contains("< 1.5 MISSED"), "{table}");
    }

    #[test]
    fn json_has_every_round() {
        let figure =
            Figure { what: "c".into(), unit: "bytes", value: 3.0, demand: Demand::Above(1.0) };
        let json = json(&[measure()], &[figure]);
        assert!(
            json.contains("\"ours\": [1.0, 4.0, 9.0]") && json.contains("\"met\": true"),
            "{json}"
        );
        assert_eq!(json.matches('{').count(), json.matches('}').count());
    }
}
