//! How many of a thing there may be at a time: of all pods together, and of one.

use std::sync::atomic::{AtomicUsize, Ordering};

/// Places that all pods share.
#[derive(Debug)]
pub struct Places {
    most: usize,
    taken: AtomicUsize,
}

/// One of them, until it is dropped.
#[derive(Debug)]
pub struct Place(&'static Places);

impl Places {
    /// So many, all of them free.
    pub const fn new(most: usize) -> Self {
        Self { most, taken: AtomicUsize::new(0) }
    }

    /// What one pod may have of them: less than all, so that it takes none of the others' away alone, nor with another.
    pub const fn share(&self) -> usize {
        self.most / 4
    }

    /// Takes one, if there is one.
    pub fn take(&'static self) -> Option<Place> {
        let one_more = |taken| (taken < self.most).then_some(taken + 1);
        self.taken.fetch_update(Ordering::Relaxed, Ordering::Relaxed, one_more).ok().map(|_| Place(self))
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.0.taken.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn there_are_so_many_and_a_dropped_one_is_free_again() {
        static PLACES: Places = Places::new(8);
        let mut taken: Vec<_> = std::iter::from_fn(|| PLACES.take()).collect();
        assert_eq!((taken.len(), PLACES.share()), (8, 2));
        taken.pop();
        assert!(PLACES.take().is_some());
    }
}
