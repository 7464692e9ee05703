//! `cpu-map`: which cores a worker may run on.
//!
//! In:    `[auto:]<process-set>[/<thread-set>] <cpu-set>...`
//! Out:   the cores of each worker, or the reason why the form is invalid
//! Never: pins anything
//! Read:  docs/configuration.md, "cpu-map"

use std::ops::RangeInclusive;

use super::report::Fault;

/// Bits of a machine word: the highest number of a process or a thread.
const IDS_MAX: usize = 64;
/// The highest CPU number.
const CPU_MAX: usize = 1023;

/// One line.
#[derive(Debug)]
pub(super) struct CpuMap {
    /// One CPU for each of the set, not all of them for all.
    automatic: bool,
    /// Ascending, as the other two; the first is 1.
    processes: Vec<usize>,
    /// `None`: all.
    threads: Option<Vec<usize>>,
    /// The first is 0.
    cpus: Vec<usize>,
}

impl CpuMap {
    /// Refuses what no version of HAProxy could follow.
    pub(super) fn parse(arguments: &[&str]) -> Result<CpuMap, Fault> {
        let expects = || {
            Fault::hinted(
                "'cpu-map' expects a process set ('all', 'odd', 'even', a number or a range), \
                 perhaps '/' and a thread set, and a CPU set.",
                "for example: 'cpu-map auto:1/1-4 0-3'.",
            )
        };
        let (target, cpus) = arguments.split_first().ok_or_else(expects)?;
        if cpus.is_empty() {
            return Err(expects());
        }
        let (automatic, target) =
            target.strip_prefix("auto:").map_or((false, *target), |target| (true, target));
        let (processes, threads) = match target.split_once('/') {
            Some((processes, threads)) => (ids(processes)?, Some(ids(threads)?)),
            None => (ids(target)?, None),
        };
        // Listed twice is there once, and the order of the list means nothing.
        let mut set = [false; CPU_MAX + 1];
        for word in cpus.iter().flat_map(|word| word.split(',')) {
            set[cpu_range(word)?].fill(true);
        }
        let cpus: Vec<usize> = (0..=CPU_MAX).filter(|cpu| set[*cpu]).collect();
        let counts = [processes.len(), threads.as_ref().map_or(1, Vec::len)];
        if automatic && counts[0] > 1 && counts[1] > 1 {
            return Err(format!(
                "'cpu-map' : '{target}' has a process range and a thread range; 'auto:' permits only one of them."
            )
            .into());
        }
        let count = counts[0].max(counts[1]);
        if automatic && count != cpus.len() {
            return Err(Fault::hinted(
                "'cpu-map' : PROC/THREAD range and CPU sets must have the same size to be \
                 automatically bound.",
                format!("'{target}' counts {count} and the CPU set {}.", cpus.len()),
            ));
        }
        Ok(CpuMap { automatic, processes, threads, cpus })
    }

    /// The CPUs of the process and the thread at these places of their sets.
    fn cpus_of(&self, process: usize, thread: usize) -> &[usize] {
        let place = if self.processes.len() > 1 { process } else { thread };
        match self.automatic {
            true => self.cpus.get(place..=place).unwrap_or(&self.cpus),
            false => &self.cpus,
        }
    }

    fn note(&self, counts_processes: bool, workers: &mut [Vec<usize>]) {
        let every: Vec<usize> = (1..=IDS_MAX).collect();
        for (process_at, process) in self.processes.iter().enumerate() {
            for (thread_at, thread) in self.threads.as_ref().unwrap_or(&every).iter().enumerate() {
                let worker = match (counts_processes, process, thread) {
                    (true, worker, 1) | (false, 1, worker) => worker - 1,
                    _ => continue,
                };
                workers[worker] = self.cpus_of(process_at, thread_at).to_vec();
            }
        }
    }
}

/// The cores that each worker may run on, for as many workers as there can be; none: any. Later lines win. With
/// `nbproc` a worker is a process, else a thread of the first group.
pub(super) fn of_workers(lines: &[CpuMap], counts_processes: bool) -> Vec<Vec<usize>> {
    let mut workers = vec![Vec::new(); if lines.is_empty() { 0 } else { IDS_MAX }];
    lines.iter().for_each(|line| line.note(counts_processes, &mut workers));
    workers
}

/// The processes or threads of a set.
fn ids(set: &str) -> Result<Vec<usize>, Fault> {
    match set {
        "all" => Ok((1..=IDS_MAX).collect()),
        "odd" => Ok((1..=IDS_MAX).step_by(2).collect()),
        "even" => Ok((2..=IDS_MAX).step_by(2).collect()),
        _ => {
            let range = range(set, IDS_MAX).filter(|range| *range.start() >= 1);
            range.map(Iterator::collect).ok_or_else(|| {
                format!(
                    "'cpu-map' : '{set}' is not a valid number/range. It supports numbers from 1 to {IDS_MAX}."
                )
                .into()
            })
        }
    }
}

fn cpu_range(set: &str) -> Result<RangeInclusive<usize>, Fault> {
    let invalid = || {
        format!("'cpu-map' : '{set}' is not a CPU range. It supports numbers from 0 to {CPU_MAX}.")
    };
    match set {
        "all" => Ok(0..=CPU_MAX),
        _ => Ok(range(set, CPU_MAX).ok_or_else(invalid)?),
    }
}

/// `N`, `N-M` in either order, or `N-` up to `max`.
fn range(text: &str, max: usize) -> Option<RangeInclusive<usize>> {
    let number = |text: &str| {
        let digits = !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
        digits.then(|| text.parse().ok()).flatten().filter(|number| *number <= max)
    };
    match text.split_once('-') {
        None => number(text).map(|n| n..=n),
        Some((low, "")) => number(low).map(|low| low..=max),
        Some((a, b)) => {
            let (a, b) = (number(a)?, number(b)?);
            Some(a.min(b)..=a.max(b))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn is_valid(form: &str) -> bool {
        parsed(form).is_ok()
    }

    fn parsed(form: &str) -> Result<CpuMap, Fault> {
        CpuMap::parse(&form.split_whitespace().collect::<Vec<_>>())
    }

    #[track_caller]
    fn assert_workers(forms: &[&str], counts_processes: bool, expected: &[&[usize]]) {
        let lines: Vec<CpuMap> = forms.iter().map(|form| parsed(form).ok().unwrap()).collect();
        let workers = of_workers(&lines, counts_processes);
        assert_eq!(workers[..expected.len()], *expected, "{forms:?}");
    }

    #[test]
    fn threads_of_the_first_group_are_workers() {
        for form in ["auto:1/1-4 0-3", "auto:1/1-4 3 2 1 0", "auto:1/1-4 0-1 2-3"] {
            assert_workers(&[form], false, &[&[0], &[1], &[2], &[3], &[]]);
        }
        for form in ["1/all 1,2", "1 1,2", "1-4 1-2", "all 2,1"] {
            assert_workers(&[form], false, &[&[1, 2], &[1, 2], &[1, 2]]);
        }
        assert_workers(&["auto:1-2 4-5"], false, &[&[4], &[4]]);
        assert_workers(&["auto:1/even 0-31"], false, &[&[], &[0], &[], &[1]]);
        assert_workers(&["2/1 0"], false, &[&[]]);
    }

    #[test]
    fn processes_are_workers() {
        assert_workers(&["auto:1-2 4-5"], true, &[&[4], &[5], &[]]);
        assert_workers(&["auto:odd 32-63"], true, &[&[32], &[], &[33]]);
        assert_workers(&["3 0 2-3"], true, &[&[], &[], &[0, 2, 3]]);
        assert_workers(&["auto:1/1-4 2-5"], true, &[&[2], &[]]);
        assert_workers(&["1/2 7"], true, &[&[]]);
    }

    #[test]
    fn later_lines_win() {
        assert_workers(&["1-4 0", "2/1 7"], true, &[&[0], &[7], &[0], &[0], &[]]);
    }

    #[test]
    fn valid_forms() {
        for form in [
            "1-4 0-3",
            "1/all 0-3",
            "1- 0-",
            "1/1- 0-",
            "all 0",
            "odd 0,2",
            "even 1 3",
            "auto:1-4 0-3",
            "auto:1-4 0-1 2-3",
            "auto:1-4 3 2 1 0",
            "auto:1-4 3,2,1,0",
            "auto:1/1-4 0-3",
            "auto:1/1-4 0-1 2-3",
            "auto:1/1-4 3 2 1 0",
            "auto:all 0-63",
            "auto:even 0-31",
            "auto:odd 32-63",
            "auto:1/all 0-63",
            "1/4-2 0",
            "1 3-1",
            "3 0 2-3",
        ] {
            assert!(is_valid(form), "{form}");
        }
    }

    #[test]
    fn invalid_forms() {
        for form in [
            "",
            "all",
            "1",
            "x 0",
            "1 x",
            "1 -3",
            "1 0-x",
            "65 0",
            "0 0",
            "1/0 0",
            "1/x 0",
            "1 9999",
            "1 0,",
            "auto:1-4 0",
            "auto:1 0-3",
            "auto:all/all 0",
            "auto:all/1-4 0",
            "auto:1-4/all 0",
            "auto:1-4 0 0 0 0",
            "auto:1-2/1-2 0-1",
            "+1 0",
        ] {
            assert!(!is_valid(form), "{form}");
        }
    }
}
