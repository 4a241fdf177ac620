//! Which warning of a credential's end is due: a pure function of the time that is left.

use jiff::SignedDuration;
use postroom_model::Timestamp;

/// Days before the end at which it is told; 0 says that it has ended.
pub const WARN_DAYS: [u32; 6] = [60, 30, 14, 7, 1, 0];

/// The warning that the time left calls for: the smallest number of days that it fits into. None while there is more.
pub fn warning(left: SignedDuration) -> Option<u32> {
    let fits = |days: &u32| left <= SignedDuration::from_hours(24 * i64::from(*days));
    WARN_DAYS.into_iter().rev().find(fits)
}

/// Whole days left, rounded up; 0 when it has ended.
pub fn days_left(expires_at: Timestamp, now: Timestamp) -> u32 {
    let seconds = expires_at.duration_since(now).as_secs().max(0);
    u32::try_from(seconds.saturating_add(86_399) / 86_400).unwrap_or(u32::MAX)
}

/// `ends in 30 days, on 2027-03-14`, or `ended on 2027-03-14`.
pub fn words(expires_at: Timestamp, now: Timestamp) -> String {
    let day = jiff::tz::TimeZone::UTC.to_datetime(expires_at).date();
    if expires_at <= now {
        return format!("ended on {day}");
    }
    match days_left(expires_at, now) {
        1 => format!("ends within one day, on {day}"),
        days => format!("ends in {days} days, on {day}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn warnings_and_words() {
        let now = Timestamp::from_second(1_795_428_000).unwrap();
        for (hours, due, days, sentence) in [
            (61 * 24, None, 61, "ends in 61 days, on 2027-01-23"),
            (60 * 24 + 1, None, 61, "ends in 61 days, on 2027-01-22"),
            (60 * 24, Some(60), 60, "ends in 60 days, on 2027-01-22"),
            (30 * 24 + 1, Some(60), 31, "ends in 31 days, on 2026-12-23"),
            (14 * 24, Some(14), 14, "ends in 14 days, on 2026-12-07"),
            (8 * 24, Some(14), 8, "ends in 8 days, on 2026-12-01"),
            (2 * 24, Some(7), 2, "ends in 2 days, on 2026-11-25"),
            (5, Some(1), 1, "ends within one day, on 2026-11-23"),
            (0, Some(0), 0, "ended on 2026-11-23"),
            (-48, Some(0), 0, "ended on 2026-11-21"),
        ] {
            let left = SignedDuration::from_hours(hours);
            let end = now.saturating_add(left).unwrap();
            assert_eq!(warning(left), due, "{hours}");
            assert_eq!(days_left(end, now), days, "{hours}");
            assert_eq!(words(end, now), sentence, "{hours}");
        }
    }
}
