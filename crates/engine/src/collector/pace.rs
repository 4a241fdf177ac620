//! When a mailbox is read again: pure functions, with their table in their test.

use jiff::SignedDuration;

/// Longest wait between two readings of a failing mailbox, unless its own interval is longer.
const LONGEST: SignedDuration = SignedDuration::from_hours(1);
/// Longest wait before a mailbox is listened to again.
const LONGEST_DEAFNESS: SignedDuration = SignedDuration::from_mins(15);
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

/// How long to wait before a mailbox is listened to again after `failures` failures in a row: 1 second doubled with each
/// failure, up to 15 minutes, and up to a fifth more by `jitter` (0 to 1), so that the mailboxes of a server that was
/// restarted do not come back all at once. `after` is what `Retry-After` said: a floor, up to a day.
pub fn next_listening(failures: u32, after: Option<SignedDuration>, jitter: f64) -> SignedDuration {
    let doubled =
        2i64.checked_pow(failures.saturating_sub(1)).map_or(LONGEST_DEAFNESS, SignedDuration::from_secs);
    let wait = doubled.min(LONGEST_DEAFNESS);
    let wait = after.map_or(wait, |after| wait.max(after.min(MAX_RETRY_AFTER)));
    let jitter = if jitter.is_finite() { jitter.clamp(0.0, 1.0) } else { 0.0 };
    wait + wait.mul_f64(jitter / 5.0)
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

    #[test]
    fn listening_comes_back_soon_and_then_seldom() {
        let seconds = |failures, after: Option<i64>, jitter| {
            next_listening(failures, after.map(SignedDuration::from_secs), jitter).as_secs()
        };
        for (failures, expected) in [(0, 1), (1, 1), (2, 2), (5, 16), (10, 512), (11, 900), (u32::MAX, 900)] {
            assert_eq!(seconds(failures, None, 0.0), expected, "{failures} failures");
        }
        assert_eq!(seconds(1, Some(120), 0.0), 120, "Retry-After is a floor");
        assert_eq!(seconds(11, Some(120), 0.0), 900, "and not a ceiling");
        assert_eq!(seconds(1, Some(10_000_000), 0.0), 86_400, "a day at most");
        assert_eq!(
            (seconds(11, None, 0.5), seconds(11, None, 7.0), seconds(11, None, f64::NAN)),
            (990, 1_080, 900)
        );
    }
}
