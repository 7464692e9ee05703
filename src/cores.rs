//! Which core each worker has.
//!
//! In:    `--cores`, `cpu-map`, `nbthread`, how many queues there are, the cores that the process may run on
//! Out:   one core per worker, or one sentence that says what to change
//! Never: pins anything
//! Read:  docs/configuration.md, "cpu-map"

use rustix::thread::{CpuSet, sched_getaffinity};

/// What is known before the workers are.
#[derive(Debug, Default)]
pub struct Wishes<'a> {
    /// `--cores`: what is told there is done.
    pub told: Option<&'a [usize]>,
    /// `nbthread`
    pub count: Option<usize>,
    /// Receive queues of the interface that has fewest; `None`: there is no interface.
    pub queues: Option<usize>,
    /// `cpu-map`: the cores that each worker may have; none: any.
    pub map: &'a [Vec<usize>],
}

/// The cores that the process may run on, ascending.
pub fn usable() -> Vec<usize> {
    let set = sched_getaffinity(None).unwrap_or_else(|_| CpuSet::new());
    let cores: Vec<usize> = (0..CpuSet::MAX_CPU).filter(|core| set.is_set(*core)).collect();
    if cores.is_empty() { vec![0] } else { cores }
}

/// The core of each worker, the first worker first.
pub fn choose(wishes: &Wishes<'_>, usable: &[usize]) -> Result<Vec<usize>, String> {
    let list = || usable.iter().map(usize::to_string).collect::<Vec<_>>().join(",");
    if let Some(told) = wishes.told {
        return match told.iter().find(|core| !usable.contains(core)) {
            Some(core) => Err(format!(
                "core {core} is not there, or not for this process: it has {}; choose others with --cores",
                list()
            )),
            None => Ok(told.to_vec()),
        };
    }
    // Without an interface there are no queues: a worker on each core, as HAProxy has a thread.
    let most = usable.len();
    let count = wishes.count.unwrap_or(wishes.queues.map_or(most, |queues| queues.min(most)));
    let mut allowed = Vec::new();
    for worker in 0..count {
        let mapped = wishes.map.get(worker).filter(|cores| !cores.is_empty());
        let cores: Vec<usize> = match mapped {
            Some(cores) => usable.iter().filter(|core| cores.contains(core)).copied().collect(),
            None => usable.to_vec(),
        };
        if cores.is_empty() {
            return Err(format!(
                "'cpu-map' puts worker {} on cores that are not there, or not for this process: it has {}",
                worker + 1,
                list()
            ));
        }
        allowed.push(cores);
    }
    Ok(assign(&allowed, usable))
}

/// Cores of their own as long as there are some. The choosiest worker is first: who may have any core
/// takes none from who may have only one.
fn assign(allowed: &[Vec<usize>], usable: &[usize]) -> Vec<usize> {
    let mut workers: Vec<usize> = (0..allowed.len()).collect();
    workers.sort_by_key(|worker| allowed[*worker].len());
    let mut taken = vec![0_usize; usable.last().map_or(0, |last| last + 1)];
    let mut cores = vec![0; allowed.len()];
    for worker in workers {
        let core = allowed[worker].iter().copied().min_by_key(|core| taken[*core]);
        cores[worker] = core.expect("a worker without a core was refused");
        taken[cores[worker]] += 1;
    }
    cores
}

/// Whether two workers have the same core.
pub fn has_shared(cores: &[usize]) -> bool {
    cores.iter().enumerate().any(|(at, core)| cores[..at].contains(core))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn as_many_as_queues_and_cores() {
        let choose_queues =
            |queues, usable: &[usize]| choose(&Wishes { queues, ..Wishes::default() }, usable);
        assert_eq!(choose_queues(None, &[0, 1, 2]), Ok(vec![0, 1, 2]));
        assert_eq!(choose_queues(Some(2), &[0, 1, 2]), Ok(vec![0, 1]));
        assert_eq!(choose_queues(Some(4), &[2, 3]), Ok(vec![2, 3]));
    }

    #[test]
    fn nbthread_counts() {
        let count = |count| Wishes { count: Some(count), queues: Some(1), ..Wishes::default() };
        assert_eq!(choose(&count(2), &[1, 5, 6]), Ok(vec![1, 5]));
        assert_eq!(choose(&count(4), &[1, 5, 6]), Ok(vec![1, 5, 6, 1]), "as HAProxy's threads");
    }

    #[test]
    fn what_is_told_is_done() {
        let map = [vec![1], vec![1]];
        let told = Wishes { told: Some(&[3, 0]), map: &map, count: Some(1), queues: None };
        assert_eq!(choose(&told, &[0, 1, 2, 3]), Ok(vec![3, 0]));
        assert!(choose(&told, &[0, 1]).unwrap_err().starts_with("core 3 is not there"));
    }

    fn mapped(map: &[&[usize]], usable: &[usize]) -> Result<Vec<usize>, String> {
        let map: Vec<Vec<usize>> = map.iter().map(|cores| cores.to_vec()).collect();
        choose(&Wishes { count: Some(map.len()), map: &map, ..Wishes::default() }, usable)
    }

    #[test]
    fn a_map_is_followed() {
        assert_eq!(mapped(&[&[3], &[2]], &[0, 1, 2, 3]), Ok(vec![3, 2]));
        assert_eq!(mapped(&[&[1, 2], &[1, 2]], &[0, 1, 2, 3]), Ok(vec![1, 2]));
        assert_eq!(mapped(&[&[], &[0]], &[0, 1]), Ok(vec![1, 0]), "a worker without wishes yields");
        assert_eq!(mapped(&[&[0, 1, 2, 3], &[0]], &[0, 1]), Ok(vec![1, 0]));
        assert_eq!(mapped(&[&[0], &[0]], &[0, 1]), Ok(vec![0, 0]), "two may share a core");
        assert!(mapped(&[&[0], &[7]], &[0, 1]).unwrap_err().contains("worker 2"));
    }

    #[test]
    fn shared_cores_are_seen() {
        assert!(has_shared(&[1, 2, 1]));
        assert!(!has_shared(&[1, 2, 3]));
    }
}
