//! How far the clocks of the authorities are from ours.
//!
//! An assertion says from when to when it is good, in the authority's time. Ours may be wrong: so the `Date` of each
//! answer (RFC 9110 section 6.6.1) is compared with our clock, and a difference of more than [`NOTICEABLE`] corrects
//! `nbf`, `iat` and `exp` of the next assertion. Nothing else is corrected: the end of a token always counts by our
//! own clock, from the question it answered.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use jiff::{SignedDuration, Timestamp};
use url::Url;

/// Smaller differences are left alone: the header counts whole seconds, and an answer takes some.
const NOTICEABLE: SignedDuration = SignedDuration::from_secs(30);

/// Authorities remembered at most; there are four in the world.
const MANY: usize = 64;

/// Differences by authority: their time minus ours.
#[derive(Default)]
pub(super) struct Clocks(Mutex<HashMap<String, SignedDuration>>);

impl Clocks {
    /// What the authority's clock shows when ours shows `now`.
    pub(super) fn there(&self, authority: &Url, now: Timestamp) -> Timestamp {
        let known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let difference = known.get(&crate::http::host(authority)).copied().unwrap_or(SignedDuration::ZERO);
        now.saturating_add(difference).unwrap_or(now)
    }

    /// Learns from an answer's date that arrived at `now`. True when the correction changed by more than is
    /// noticeable.
    pub(super) fn learn(&self, authority: &Url, date: Option<Timestamp>, now: Timestamp) -> bool {
        let Some(date) = date else { return false };
        let seen = date.duration_since(now);
        let difference = if seen.abs() > NOTICEABLE { seen } else { SignedDuration::ZERO };
        let host = crate::http::host(authority);
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if known.len() >= MANY && !known.contains_key(&host) {
            known.clear();
        }
        let before = known.insert(host, difference).unwrap_or(SignedDuration::ZERO);
        let changed = difference.saturating_sub(before).abs() > NOTICEABLE;
        if changed {
            tracing::warn!(
                authority = %crate::http::host(authority),
                seconds = difference.as_secs(),
                "the clock of this machine and the authority's differ; set it by NTP"
            );
        }
        changed
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn small_differences_are_left_alone_and_large_ones_corrected_both_ways() {
        let clocks = Clocks::default();
        let authority = Url::parse("https://login.example").unwrap();
        let now: Timestamp = "2026-11-23T10:00:00Z".parse().unwrap();
        assert_eq!(clocks.there(&authority, now), now);
        for (date, expected, changed) in [
            ("2026-11-23T10:00:30Z", "2026-11-23T10:00:00Z", false),
            ("2026-11-23T10:02:00Z", "2026-11-23T10:02:00Z", true),
            ("2026-11-23T10:02:05Z", "2026-11-23T10:02:05Z", false),
            ("2026-11-23T09:58:00Z", "2026-11-23T09:58:00Z", true),
            ("2026-11-23T10:00:10Z", "2026-11-23T10:00:00Z", true),
        ] {
            assert_eq!(clocks.learn(&authority, Some(date.parse().unwrap()), now), changed, "{date}");
            assert_eq!(clocks.there(&authority, now), expected.parse().unwrap(), "{date}");
        }
        assert!(!clocks.learn(&authority, None, now));
    }
}
