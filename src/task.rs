//! Tasks: which run next, and which wait for a time.
//!
//! In:    wake-ups, deadlines
//! Out:   tasks to run, in the order of their turn and their nice value
//! Owns:  the run queue and the wait queue
//! Never: knows what a task does; reads a clock

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use netstack::wheel::Wheel;
use slotmap::{Key, SecondaryMap};

use crate::clock::Instant;

/// The tasks of one worker, named by the keys of what they run.
pub struct Scheduler<K: Key> {
    /// Ordered by turn: a lower nice value stands further in front.
    run_queue: BinaryHeap<Reverse<(i64, u64)>>,
    turn: i64,
    /// Tasks in the run queue that are nicer or less nice than others.
    niced: usize,
    states: SecondaryMap<K, State>,
    wait_queue: Wheel,
    /// The key of each index of the wait queue.
    keys: Vec<K>,
}

#[derive(Clone, Copy, Default)]
struct State {
    /// It stands in the run queue.
    runnable: bool,
    nice: i32,
}

impl<K: Key> Default for Scheduler<K> {
    fn default() -> Self {
        Scheduler {
            run_queue: BinaryHeap::new(),
            turn: 0,
            niced: 0,
            states: SecondaryMap::new(),
            wait_queue: Wheel::default(),
            keys: Vec::new(),
        }
    }
}

impl<K: Key> Scheduler<K> {
    /// Makes a task known. `nice` from -1024 (first) to 1024 (last).
    pub fn add(&mut self, task: K, nice: i32) {
        self.states.insert(task, State { runnable: false, nice });
        let index = index_of(task);
        if index >= self.keys.len() {
            self.keys.resize(index + 1, K::null());
        }
        self.keys[index] = task;
    }

    /// Changes the nice value of a task, from its next turn on.
    pub fn set_nice(&mut self, task: K, nice: i32) {
        if let Some(state) = self.states.get_mut(task) {
            if state.runnable {
                self.niced -= usize::from(state.nice != 0);
                self.niced += usize::from(nice != 0);
            }
            state.nice = nice;
        }
    }

    /// Forgets a task, wherever it stands.
    pub fn remove(&mut self, task: K) {
        if let Some(state) = self.states.remove(task) {
            self.niced -= usize::from(state.runnable && state.nice != 0);
        }
        self.wait_queue.cancel(index_of(task) as u32);
    }

    /// Puts a task into the run queue. Twice is once.
    pub fn wake(&mut self, task: K) {
        let Some(state) = self.states.get_mut(task) else { return };
        if state.runnable {
            return;
        }
        state.runnable = true;
        self.niced += usize::from(state.nice != 0);
        self.turn += 1;
        // HAProxy's rule: a nice value moves a task by its share of the queue's length.
        let queue = self.run_queue.len() as i64;
        let key = self.turn + queue * i64::from(state.nice) / 32;
        self.run_queue.push(Reverse((key, task.data().as_ffi())));
    }

    /// Wakes a task at `deadline` at the latest. A task that is woken too early asks again.
    pub fn wake_at(&mut self, task: K, deadline: Instant) {
        let index = index_of(task) as u32;
        if self.wait_queue.deadline(index).is_none_or(|set| deadline < set) {
            self.wait_queue.set(index, deadline);
        }
    }

    /// When a task is woken at the latest.
    pub fn deadline(&self, task: K) -> Option<Instant> {
        self.wait_queue.deadline(index_of(task) as u32)
    }

    /// Moves tasks whose time has come to the run queue.
    pub fn handle_timers(&mut self, now: Instant) {
        while let Some(index) = self.wait_queue.poll_expired(now) {
            self.wake(self.keys[index as usize]);
        }
    }

    /// When [`Scheduler::handle_timers`] wants to be called next.
    pub fn poll_at(&self) -> Option<Instant> {
        self.wait_queue.poll_at()
    }

    /// Tasks in the run queue, and some that were removed meanwhile.
    pub fn runnable_len(&self) -> usize {
        self.run_queue.len()
    }

    /// The next task to run, taken out of the run queue.
    pub fn poll_next(&mut self) -> Option<K> {
        while let Some(Reverse((_, ffi))) = self.run_queue.pop() {
            let task = K::from(slotmap::KeyData::from_ffi(ffi));
            // A task that was removed stays in the heap until its turn.
            if let Some(state) = self.states.get_mut(task) {
                state.runnable = false;
                self.niced -= usize::from(state.nice != 0);
                return Some(task);
            }
        }
        None
    }

    /// Whether a task with a nice value is ready to run.
    pub fn has_niced(&self) -> bool {
        self.niced > 0
    }

    /// Whether a task is ready to run.
    pub fn has_runnable(&self) -> bool {
        !self.run_queue.is_empty()
    }
}

/// The index of a slot: small, dense, used again after the slot is free.
fn index_of(task: impl Key) -> usize {
    (task.data().as_ffi() & 0xffff_ffff) as usize
}

#[cfg(test)]
mod tests {
    use super::*;
    use slotmap::{DefaultKey, SlotMap};

    fn scheduler(nices: &[i32]) -> (Scheduler<DefaultKey>, Vec<DefaultKey>) {
        let mut slots = SlotMap::new();
        let mut scheduler = Scheduler::default();
        let keys = nices.iter().map(|&nice| {
            let key = slots.insert(());
            scheduler.add(key, nice);
            key
        });
        let keys = keys.collect();
        (scheduler, keys)
    }

    fn order(scheduler: &mut Scheduler<DefaultKey>) -> Vec<DefaultKey> {
        std::iter::from_fn(|| scheduler.poll_next()).collect()
    }

    #[test]
    fn first_come_first_served_and_once() {
        let (mut scheduler, keys) = scheduler(&[0, 0, 0]);
        for index in [2, 0, 2, 1] {
            scheduler.wake(keys[index]);
        }
        assert_eq!(order(&mut scheduler), [keys[2], keys[0], keys[1]]);
    }

    #[test]
    fn a_low_nice_value_overtakes_and_a_high_one_falls_behind() {
        let (mut scheduler, keys) = scheduler(&[0, 0, 0, 1024, -1024, 0]);
        for key in &keys {
            scheduler.wake(*key);
        }
        let order = order(&mut scheduler);
        assert_eq!(order[0], keys[4]);
        assert_eq!(*order.last().unwrap(), keys[3]);
    }

    #[test]
    fn a_removed_task_never_runs() {
        let (mut scheduler, keys) = scheduler(&[0, 0]);
        scheduler.wake(keys[0]);
        scheduler.wake(keys[1]);
        scheduler.wake_at(keys[0], Instant::from_millis(5));
        scheduler.remove(keys[0]);
        scheduler.handle_timers(Instant::from_millis(10));
        assert_eq!(order(&mut scheduler), [keys[1]]);
    }

    #[test]
    fn deadlines_wake_in_time() {
        let (mut scheduler, keys) = scheduler(&[0, 0]);
        scheduler.wake_at(keys[1], Instant::from_millis(20));
        scheduler.wake_at(keys[0], Instant::from_millis(10));
        scheduler.handle_timers(Instant::from_millis(15));
        assert_eq!(order(&mut scheduler), [keys[0]]);
        scheduler.handle_timers(Instant::from_millis(20));
        assert_eq!(order(&mut scheduler), [keys[1]]);
    }
}
