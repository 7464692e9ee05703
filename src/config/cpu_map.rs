//! The forms of `cpu-map`.
//!
//! In:    `[auto:]<process-set>[/<thread-set>] <cpu-set>...`
//! Out:   nothing, or the reason why the form is invalid
//! Never: pins anything
//! Read:  docs/configuration.md, "cpu-map"

use std::ops::RangeInclusive;

use super::report::Fault;

/// Bits of a machine word: the highest number of a process or a thread.
const IDS_MAX: usize = 64;
/// The highest CPU number.
const CPU_MAX: usize = 1023;

/// Refuses what no version of HAProxy could follow.
pub(super) fn validate(arguments: &[&str]) -> Result<(), Fault> {
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
    let cpus = cpus.iter().flat_map(|word| word.split(',')).map(cpu_range);
    // Listed twice is there once, and the order of the list means nothing.
    let mut set = [false; CPU_MAX + 1];
    for range in cpus {
        set[range?].fill(true);
    }
    let cpus = set.iter().filter(|cpu| **cpu).count();
    let threads = threads.unwrap_or(1);
    if automatic && processes > 1 && threads > 1 {
        return Err(format!(
            "'cpu-map' : '{target}' has a process range and a thread range; 'auto:' permits only one of them."
        )
        .into());
    }
    if automatic && processes.max(threads) != cpus {
        return Err(Fault::hinted(
            "'cpu-map' : PROC/THREAD range and CPU sets must have the same size to be \
             automatically bound.",
            format!("'{target}' counts {} and the CPU set {cpus}.", processes.max(threads)),
        ));
    }
    Ok(())
}

/// How many processes or threads a set has.
fn ids(set: &str) -> Result<usize, Fault> {
    match set {
        "all" => Ok(IDS_MAX),
        "odd" | "even" => Ok(IDS_MAX / 2),
        _ => {
            let range = range(set, IDS_MAX).filter(|range| *range.start() >= 1);
            range.map(|range| range.count()).ok_or_else(|| {
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
        validate(&form.split_whitespace().collect::<Vec<_>>()).is_ok()
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
