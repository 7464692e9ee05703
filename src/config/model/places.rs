//! Things that keep their places when one configuration replaces another.
//!
//! In:    the things of a file, in order
//! Out:   the same by place; a place is an index that others may hold on to
//! Never: gives a place away that is still held: the one who replaces says which are free

use std::collections::HashMap;
use std::hash::Hash;
use std::ops::{Index, IndexMut};

/// Things by place, and the order of those that the configuration has.
///
/// What a configuration no longer has stays readable at its place, for streams that still work with it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Places<T> {
    items: Vec<T>,
    /// Whether the configuration has it, by place.
    present: Vec<bool>,
    /// Places, in the order of the file.
    order: Vec<usize>,
}

impl<T> Places<T> {
    /// Those that the configuration has, in its order, with their places.
    pub fn placed(&self) -> impl DoubleEndedIterator<Item = (usize, &T)> + ExactSizeIterator {
        self.order.iter().map(|&place| (place, &self.items[place]))
    }

    /// The same without their places.
    pub fn values(&self) -> impl DoubleEndedIterator<Item = &T> + ExactSizeIterator {
        self.order.iter().map(|&place| &self.items[place])
    }

    /// The same, to be changed; in the order of places.
    pub fn values_mut(&mut self) -> impl Iterator<Item = &mut T> {
        let placed = self.items.iter_mut().zip(&self.present);
        placed.filter(|(_, is_present)| **is_present).map(|(item, _)| item)
    }

    /// How many the configuration has.
    pub fn len(&self) -> usize {
        self.order.len()
    }

    /// Whether it has none.
    pub fn is_empty(&self) -> bool {
        self.order.is_empty()
    }

    /// Places that were ever given: all are below this.
    pub fn extent(&self) -> usize {
        self.items.len()
    }

    /// Whether the configuration has what is at this place.
    pub fn has(&self, place: usize) -> bool {
        self.present.get(place).copied().unwrap_or_default()
    }

    /// What is or was at this place.
    pub fn get(&self, place: usize) -> Option<&T> {
        self.items.get(place)
    }

    /// All that is or was there, by place.
    pub fn all(&self) -> &[T] {
        &self.items
    }

    /// What replaces this: `new` in its order. What has the same key in both keeps its place; what is new takes one
    /// that `is_free`, or a place behind all; what is gone stays readable.
    pub fn replaced<K: Eq + Hash>(
        &self,
        new: Vec<T>,
        key: impl Fn(&T) -> K,
        is_free: impl Fn(usize) -> bool,
    ) -> Self
    where
        T: Clone,
    {
        let mut known: HashMap<K, usize> =
            self.placed().map(|(place, item)| (key(item), place)).collect();
        let mut items = self.items.clone();
        let gone = (0..items.len()).filter(|&place| !self.has(place));
        let mut free = gone.filter(|&place| is_free(place)).collect::<Vec<_>>().into_iter();
        let mut order = Vec::with_capacity(new.len());
        for item in new {
            let kept = known.remove(&key(&item));
            let place = kept.or_else(|| free.next()).unwrap_or(items.len());
            match items.get_mut(place) {
                Some(known) => *known = item,
                None => items.push(item),
            }
            order.push(place);
        }
        let mut present = vec![false; items.len()];
        order.iter().for_each(|&place: &usize| present[place] = true);
        Places { items, present, order }
    }
}

impl<T> Default for Places<T> {
    fn default() -> Self {
        Vec::new().into()
    }
}

impl<T> From<Vec<T>> for Places<T> {
    fn from(items: Vec<T>) -> Self {
        Places { order: (0..items.len()).collect(), present: vec![true; items.len()], items }
    }
}

impl<T> FromIterator<T> for Places<T> {
    fn from_iter<I: IntoIterator<Item = T>>(items: I) -> Self {
        items.into_iter().collect::<Vec<T>>().into()
    }
}

impl<T> Index<usize> for Places<T> {
    type Output = T;

    fn index(&self, place: usize) -> &T {
        &self.items[place]
    }
}

impl<T> IndexMut<usize> for Places<T> {
    fn index_mut(&mut self, place: usize) -> &mut T {
        &mut self.items[place]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(places: &Places<&'static str>) -> Vec<(usize, &'static str)> {
        places.placed().map(|(place, item)| (place, *item)).collect()
    }

    #[test]
    fn what_stays_keeps_its_place_and_the_order_is_the_files() {
        let old: Places<&str> = vec!["a", "b", "c"].into();
        let same = |item: &&'static str| *item;
        let new = old.replaced(vec!["d", "c", "a"], same, |_| false);
        assert_eq!(shown(&new), [(3, "d"), (2, "c"), (0, "a")]);
        assert_eq!((new.len(), new.extent(), new[1]), (3, 4, "b"), "who is gone can be read");
        assert!(!new.has(1) && new.has(3));
        // A place that nobody holds any more is given again.
        let last = new.replaced(vec!["a", "e", "f"], same, |place| place == 1);
        assert_eq!(shown(&last), [(0, "a"), (1, "e"), (4, "f")]);
        // Who comes back is somebody new.
        let back = new.replaced(vec!["b"], same, |_| false);
        assert_eq!(shown(&back), [(4, "b")]);
    }
}
