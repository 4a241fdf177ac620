//! Everything that happens by chance comes from one seed, so that a schedule can be had again. What the system does
//! between two steps of it is the system's: the same seed gives the same schedule, not the same run.

use std::ops::Range;
use std::time::Duration;

use postroom_model::Random;
use postroom_model::env::SeededRandom;

/// One source. Parts that run at the same time have one each, made by [`Chance::fork`].
pub(crate) struct Chance(SeededRandom);

impl Chance {
    pub(crate) fn new(seed: u64) -> Self {
        Self(SeededRandom::new(seed))
    }

    /// A source of its own for one part.
    pub(crate) fn fork(&self) -> Self {
        Self::new(self.next())
    }

    pub(crate) fn next(&self) -> u64 {
        let mut bytes = [0; 8];
        self.0.fill(&mut bytes);
        u64::from_le_bytes(bytes)
    }

    /// A number of the range, which must not be empty.
    pub(crate) fn within(&self, range: Range<u64>) -> u64 {
        range.start + self.next() % (range.end - range.start)
    }

    /// True once in `times`.
    pub(crate) fn once_in(&self, times: u64) -> bool {
        self.within(0..times) == 0
    }

    pub(crate) fn millis(&self, range: Range<u64>) -> Duration {
        Duration::from_millis(self.within(range))
    }

    pub(crate) fn one_of<'a, T>(&self, all: &'a [T]) -> &'a T {
        &all[usize::try_from(self.within(0..all.len() as u64)).unwrap_or_default()]
    }

    /// So many lower-case letters and digits.
    pub(crate) fn text(&self, length: usize) -> String {
        const LETTERS: &[u8; 32] = b"abcdefghijklmnopqrstuvwxyz234567";
        let mut bytes = vec![0; length];
        self.0.fill(&mut bytes);
        bytes.iter().map(|byte| char::from(LETTERS[usize::from(byte % 32)])).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seed_gives_the_same_again_and_parts_differ() {
        let draw = |chance: &Chance| (chance.within(0..1_000_000), chance.text(12));
        assert_eq!(draw(&Chance::new(7)), draw(&Chance::new(7)));
        let whole = Chance::new(7);
        assert_ne!(draw(&whole.fork()), draw(&whole.fork()));
    }
}
