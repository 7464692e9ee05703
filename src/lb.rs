//! Choosing a server: pure, no clock, no I/O.
//!
//! In:    weights
//! Out:   the index of a server
//! Owns:  whose turn it is
//! Never: walks the servers

use std::cmp::Reverse;
use std::collections::BinaryHeap;

/// Largest weight that the configuration knows; a server of this weight moves by 256 units a turn.
const WEIGHT_MAX: u64 = 256;
/// Units of position that make one turn of a server of weight 1: divisible by every small weight.
const STRIDE: u64 = WEIGHT_MAX * 720_720;

/// Weighted round robin, smooth: each server's turns are spread evenly (stride scheduling).
#[derive(Debug, Default)]
pub struct RoundRobin {
    /// Where each server has its next turn; ties go to the one that stands first in the configuration.
    turns: BinaryHeap<Reverse<(u64, usize)>>,
    weights: Vec<u32>,
}

impl RoundRobin {
    /// Servers by their weights; those of weight 0 are never chosen.
    pub fn new(weights: Vec<u32>) -> Self {
        let turns = weights
            .iter()
            .enumerate()
            .filter(|&(_, &weight)| weight > 0)
            .map(|(index, &weight)| Reverse((stride(weight), index)))
            .collect();
        RoundRobin { turns, weights }
    }

    /// Servers that can be chosen.
    pub fn len(&self) -> usize {
        self.turns.len()
    }

    /// Whether no server can be chosen.
    pub fn is_empty(&self) -> bool {
        self.turns.is_empty()
    }

    /// The next server; another than `avoid` if there is one.
    pub fn pick(&mut self, avoid: Option<usize>) -> Option<usize> {
        let Reverse(first) = self.turns.pop()?;
        let chosen = if Some(first.1) == avoid && !self.turns.is_empty() {
            // The avoided one keeps its turn.
            let Reverse(second) = self.turns.pop()?;
            self.turns.push(Reverse(first));
            second
        } else {
            first
        };
        let (position, index) = chosen;
        self.turns.push(Reverse((position + stride(self.weights[index]), index)));
        Some(index)
    }
}

fn stride(weight: u32) -> u64 {
    STRIDE / u64::from(weight)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn picks(weights: &[u32], count: usize) -> Vec<usize> {
        let mut robin = RoundRobin::new(weights.to_vec());
        (0..count).map(|_| robin.pick(None).unwrap()).collect()
    }

    #[test]
    fn equal_weights_take_turns_in_order() {
        assert_eq!(picks(&[1, 1, 1], 7), [0, 1, 2, 0, 1, 2, 0]);
    }

    #[test]
    fn weights_are_shares_and_spread() {
        let picks = picks(&[3, 1], 400);
        assert_eq!(picks.iter().filter(|&&index| index == 0).count(), 300);
        assert!(!picks.windows(5).any(|five| five.iter().all(|&index| index == 0)));
    }

    #[test]
    fn weight_zero_is_never_chosen() {
        assert!(picks(&[0, 5, 0], 50).iter().all(|&index| index == 1));
        assert_eq!(RoundRobin::new(vec![0, 0]).pick(None), None);
    }

    #[test]
    fn avoids_the_one_that_failed_unless_it_is_alone() {
        let mut robin = RoundRobin::new(vec![1, 1]);
        assert_eq!(robin.pick(Some(0)), Some(1));
        assert_eq!(robin.pick(None), Some(0));
        let mut alone = RoundRobin::new(vec![1]);
        assert_eq!(alone.pick(Some(0)), Some(0));
    }
}
