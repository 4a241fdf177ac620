//! When a mailbox is read again: pure functions, with their table in their test.

use jiff::SignedDuration;

/// Longest wait between two readings of a failing mailbox, unless its own interval is longer.
const LONGEST: SignedDuration = SignedDuration::from_hours(1);
/// Longest `Retry-After` that is believed.
const MAX_RETRY_AFTER: SignedDuration = SignedDuration::from_hours(24);

/// How long to wait after `failures` failed readings in a row of a mailbox that is read every `interval`: the interval
/// doubled with each failure, up to an hour, never shorter than the interval and never off. `after` is what
/// `Retry-After` said: a floor, up to a day.
pub fn next_reading(
    interval: SignedDuration,
    failures: u32,
    after: Option<SignedDuration>,
) -> SignedDuration {
    let doubled = 2i32.checked_pow(failures).and_then(|factor| interval.checked_mul(factor));
    let slowed = doubled.unwrap_or(LONGEST).min(LONGEST).max(interval);
    after.map_or(slowed, |after| slowed.max(after.min(MAX_RETRY_AFTER)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table() {
        let minutes = |interval, failures, after: Option<i64>| {
            let after = after.map(SignedDuration::from_mins);
            next_reading(SignedDuration::from_mins(interval), failures, after).as_mins()
        };
        for (failures, expected) in
            [(0, 2), (1, 4), (2, 8), (3, 16), (4, 32), (5, 60), (6, 60), (31, 60), (u32::MAX, 60)]
        {
            assert_eq!(minutes(2, failures, None), expected, "{failures} failures");
        }
        assert_eq!(minutes(1_440, 3, None), 1_440, "never faster than its interval");
        assert_eq!(minutes(2, 1, Some(10)), 10, "Retry-After is a floor");
        assert_eq!(minutes(2, 5, Some(10)), 60, "and not a ceiling");
        assert_eq!(minutes(2, 1, Some(100_000)), 1_440, "a day at most");
    }
}
