//! How often a mailbox is read.

use std::fmt;
use std::str::FromStr;

use jiff::SignedDuration;
use serde::{Deserialize, Serialize};

/// How often a mailbox is read, as people type it: decimal minutes with comma or point. Blank means the default,
/// 0 means off. Milliseconds inside.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum PollingInterval {
    /// The default of the connection, or of Postroom ([`PollingInterval::DEFAULT_MINUTES`]).
    #[default]
    Default,
    /// Not read by timer; *Check now* still works.
    Off,
    /// Every so many milliseconds, 600 to 604,800,000 (0.01 minutes to a week).
    Every(u32),
}

impl PollingInterval {
    /// What blank means.
    pub const DEFAULT_MINUTES: u32 = 2;
    const MIN_MILLIS: f64 = 600.0;
    const MAX_MILLIS: f64 = 604_800_000.0;

    /// The interval, with `default` standing in for [`PollingInterval::Default`]; none when polling is off.
    pub fn resolve(self, default: PollingInterval) -> Option<SignedDuration> {
        match (self, default) {
            (Self::Every(millis), _) | (Self::Default, Self::Every(millis)) => {
                Some(SignedDuration::from_millis(i64::from(millis)))
            }
            (Self::Off, _) | (Self::Default, Self::Off) => None,
            (Self::Default, Self::Default) => {
                Some(SignedDuration::from_mins(i64::from(Self::DEFAULT_MINUTES)))
            }
        }
    }
}

/// Why a text is no polling interval.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvalidInterval {
    /// Not a number.
    #[error("`{0}` is not a number of minutes (such as 60,00 or 0.5)")]
    Number(String),
    /// Outside 0.01 minutes to a week.
    #[error("a polling interval of {0} minutes is not possible: 0 (off) or 0.01 to 10080 minutes")]
    Range(String),
}

impl FromStr for PollingInterval {
    type Err = InvalidInterval;

    fn from_str(text: &str) -> Result<Self, InvalidInterval> {
        let text = text.trim();
        if text.is_empty() {
            return Ok(Self::Default);
        }
        let plain_number =
            text.len() <= 12 && text.chars().all(|c| c.is_ascii_digit() || c == ',' || c == '.');
        let minutes: f64 = Some(text)
            .filter(|_| plain_number)
            .and_then(|text| text.replace(',', ".").parse().ok())
            .ok_or_else(|| InvalidInterval::Number(text.chars().take(40).collect()))?;
        let millis = (minutes * 60_000.0).round();
        if millis == 0.0 && minutes == 0.0 {
            return Ok(Self::Off);
        }
        if !(Self::MIN_MILLIS..=Self::MAX_MILLIS).contains(&millis) {
            return Err(InvalidInterval::Range(text.to_owned()));
        }
        Ok(Self::Every(millis as u32))
    }
}

impl fmt::Display for PollingInterval {
    /// As typed: minutes with two places, more where two would lose something; blank for the default.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Default => Ok(()),
            Self::Off => f.write_str("0"),
            Self::Every(millis) if millis % 600 == 0 => write!(f, "{:.2}", f64::from(*millis) / 60_000.0),
            Self::Every(millis) => write!(f, "{:.5}", f64::from(*millis) / 60_000.0),
        }
    }
}

impl TryFrom<String> for PollingInterval {
    type Error = InvalidInterval;

    fn try_from(text: String) -> Result<Self, InvalidInterval> {
        text.parse()
    }
}

impl From<PollingInterval> for String {
    fn from(interval: PollingInterval) -> Self {
        interval.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn intervals_are_read_as_people_type_them() {
        let minutes = |text: &str| {
            text.parse::<PollingInterval>().map(|interval| interval.resolve(PollingInterval::Default))
        };
        assert_eq!(minutes("60,00"), Ok(Some(SignedDuration::from_mins(60))));
        assert_eq!(minutes("60.00"), Ok(Some(SignedDuration::from_mins(60))));
        assert_eq!(minutes("0,5"), Ok(Some(SignedDuration::from_secs(30))));
        assert_eq!(minutes(""), Ok(Some(SignedDuration::from_mins(2))));
        assert_eq!(minutes("0"), Ok(None));
        assert_eq!(minutes("0,00"), Ok(None));
        for wrong in ["hourly", "-1", "1e3", "0.001", "10081", "1,000,5"] {
            assert!(minutes(wrong).is_err(), "{wrong}");
        }
        for text in ["60.00", "0.50", "0", "", "0.01667"] {
            assert_eq!(text.parse::<PollingInterval>().unwrap().to_string(), text);
        }
    }
}
