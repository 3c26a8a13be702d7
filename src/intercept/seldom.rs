//! What a tracee can make us complain of as often as it likes is written down once in a while.

use std::time::{Duration, Instant};

const WHILE: Duration = Duration::from_secs(10);

/// One kind of complaint.
#[derive(Debug, Default)]
pub struct Seldom {
    last: Option<Instant>,
    left_out: u64,
}

impl Seldom {
    /// Whether to complain `now`, and how many complaints were left out since the last one.
    pub fn due(&mut self, now: Instant) -> Option<u64> {
        if self.last.is_some_and(|last| now.duration_since(last) < WHILE) {
            self.left_out += 1;
            return None;
        }
        self.last = Some(now);
        Some(std::mem::take(&mut self.left_out))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_of_many_is_due_and_the_rest_are_counted() {
        let (mut seldom, start) = (Seldom::default(), Instant::now());
        assert_eq!(seldom.due(start), Some(0));
        assert!((0..1000).all(|_| seldom.due(start).is_none()));
        assert_eq!(seldom.due(start + WHILE), Some(1000));
        assert_eq!(seldom.due(start + 2 * WHILE), Some(0));
    }
}
