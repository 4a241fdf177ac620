//! When to try again: pure functions, with their tables in their tests.

use jiff::SignedDuration;

/// Waits after the first, second, ... failed attempt, in seconds; the last one repeats.
const WAITS: [i64; 8] = [10, 30, 60, 300, 900, 1_800, 3_600, 7_200];
/// Longest `Retry-After` that is believed: what comes from outside is bounded.
const MAX_RETRY_AFTER: SignedDuration = SignedDuration::from_hours(24);
/// Shortest and longest wait while a person is needed.
const HOLD: (SignedDuration, SignedDuration) = (SignedDuration::from_mins(1), SignedDuration::from_mins(15));

/// How long to wait after attempt number `attempt` (from 1), at most `longest`. `after` is what `Retry-After` said: a
/// floor, up to a day, even above `longest`. `jitter` in \[0, 1) adds up to a tenth, so that what failed together does
/// not come back together; it never makes the wait shorter.
pub fn next_attempt(
    attempt: u32,
    after: Option<SignedDuration>,
    longest: SignedDuration,
    jitter: f64,
) -> SignedDuration {
    let index = usize::try_from(attempt.saturating_sub(1)).unwrap_or(usize::MAX).min(WAITS.len() - 1);
    let usual = SignedDuration::from_secs(WAITS[index]).min(longest);
    spread(after.map_or(usual, |after| usual.max(after.min(MAX_RETRY_AFTER))), jitter)
}

/// How long to wait when trying again by the clock would not help soon, because a person must set something right:
/// as [`next_attempt`], but 1 to 15 minutes, so that it goes on by itself soon after it was set right.
pub fn next_attempt_on_hold(attempt: u32, jitter: f64) -> SignedDuration {
    let (shortest, longest) = HOLD;
    spread(next_attempt(attempt, None, longest, 0.0).max(shortest), jitter)
}

fn spread(wait: SignedDuration, jitter: f64) -> SignedDuration {
    let jitter = if jitter.is_finite() { jitter.clamp(0.0, 1.0) } else { 0.0 };
    wait + wait.mul_f64(jitter / 10.0)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const LONGEST: SignedDuration = SignedDuration::from_hours(2);

    #[test]
    fn the_table() {
        let seconds = |attempt, after: Option<i64>, jitter| {
            next_attempt(attempt, after.map(SignedDuration::from_secs), LONGEST, jitter).as_secs()
        };
        for (attempt, expected) in
            [(1, 10), (2, 30), (3, 60), (4, 300), (5, 900), (6, 1_800), (7, 3_600), (8, 7_200), (9, 7_200)]
        {
            assert_eq!(seconds(attempt, None, 0.0), expected, "attempt {attempt}");
        }
        assert_eq!(seconds(0, None, 0.0), 10);
        assert_eq!(seconds(u32::MAX, None, 0.0), 7_200);
        assert_eq!(seconds(1, Some(120), 0.0), 120, "Retry-After is a floor");
        assert_eq!(seconds(4, Some(120), 0.0), 300, "and not a ceiling");
        assert_eq!(seconds(1, Some(-5), 0.0), 10);
        assert_eq!(seconds(1, Some(10_000_000), 0.0), 86_400, "a day at most");
        assert_eq!(seconds(4, None, 0.5), 315);
        let short = |after| next_attempt(4, after, SignedDuration::from_secs(20), 0.0).as_secs();
        assert_eq!(short(None), 20, "as long as is configured at most");
        assert_eq!(short(Some(SignedDuration::from_secs(60))), 60, "unless the provider asks for more");
    }

    #[test]
    fn on_hold_one_to_fifteen_minutes() {
        let seconds = |attempt| next_attempt_on_hold(attempt, 0.0).as_secs();
        assert_eq!([1, 2, 3, 4, 5, 6, 99].map(seconds), [60, 60, 60, 300, 900, 900, 900]);
    }

    proptest! {
        #[test]
        fn never_sooner_than_asked_and_never_beyond_a_tenth_more(attempt: u32, after in -10i64..200_000, jitter: f64) {
            let after = SignedDuration::from_secs(after);
            let wait = next_attempt(attempt, Some(after), LONGEST, jitter);
            prop_assert!(wait >= after.min(MAX_RETRY_AFTER));
            prop_assert!(wait <= MAX_RETRY_AFTER + MAX_RETRY_AFTER / 10);
        }
    }
}
