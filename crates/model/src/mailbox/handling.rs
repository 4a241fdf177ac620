//! What is done with the mail of a mailbox at its provider: how much old mail is taken, and what becomes of a mail that
//! was processed.

use std::fmt;
use std::str::FromStr;

use jiff::civil::Date;
use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};

use crate::problem::Problems;

/// How much of the mail is taken that was in the mailbox before it was added. Old mail is marked as old and never
/// triggers an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum OldMail {
    /// None: reading begins when the mailbox is added.
    None,
    /// What was received on this day (UTC) or later.
    Since(Date),
    /// All of it: the default where nobody is asked, because it misses nothing.
    #[default]
    All,
}

/// How far the provider's clock may be behind ours without new mail being taken for old mail that is passed over.
const CLOCKS_DIFFER: SignedDuration = SignedDuration::from_mins(2);

impl OldMail {
    /// Mail received before this instant is passed over; none when nothing is. `begun` is when the mailbox was added;
    /// two minutes before it are taken with every answer, because clocks differ.
    pub fn floor(self, begun: Timestamp) -> Option<Timestamp> {
        match self {
            Self::None => Some(begun.saturating_sub(CLOCKS_DIFFER).unwrap_or(Timestamp::MIN)),
            // A day that no clock can show is as good as none.
            Self::Since(day) => day.to_zoned(jiff::tz::TimeZone::UTC).ok().map(|at| at.timestamp()),
            Self::All => None,
        }
    }
}

/// The text is none of `none`, a date and `all`.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is neither none, nor all, nor a date such as 2026-01-31")]
pub struct InvalidOldMail(String);

impl FromStr for OldMail {
    type Err = InvalidOldMail;

    /// `none`, `all`, or a date with or without `since ` before it.
    fn from_str(text: &str) -> Result<Self, InvalidOldMail> {
        let text = text.trim();
        match text {
            "none" => Ok(Self::None),
            "all" => Ok(Self::All),
            day => {
                let day = day.strip_prefix("since ").unwrap_or(day).trim();
                let wrong = || InvalidOldMail(text.chars().take(40).collect());
                let plain = day.len() == 10 && day.is_ascii();
                plain.then(|| day.parse().ok()).flatten().map(Self::Since).ok_or_else(wrong)
            }
        }
    }
}

impl fmt::Display for OldMail {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::None => f.write_str("none"),
            Self::Since(day) => write!(f, "{day}"),
            Self::All => f.write_str("all"),
        }
    }
}

impl TryFrom<String> for OldMail {
    type Error = InvalidOldMail;

    fn try_from(text: String) -> Result<Self, InvalidOldMail> {
        text.parse()
    }
}

impl From<OldMail> for String {
    fn from(old_mail: OldMail) -> Self {
        old_mail.to_string()
    }
}

/// What becomes of a mail at the provider once it was processed here. Never before it is stored, and never of a mail in
/// quarantine.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum AfterProcessing {
    /// It stays as it is.
    #[default]
    Leave,
    /// It is marked as read.
    MarkRead,
    /// It is moved to the folder of this name, which is beside the inbox.
    Move(String),
}

impl AfterProcessing {
    /// Longest name of a folder, in characters.
    pub const MAX_FOLDER: usize = 200;
    const MOVE: &'static str = "move:";

    /// What is wrong with it, at the field `after_processing`.
    pub fn validate(&self, problems: &mut Problems) {
        let Self::Move(folder) = self else { return };
        let name = folder.trim();
        if name.is_empty() {
            problems
                .error("after_processing", "Folder is missing")
                .hint("Name the folder that processed mail is moved to, for example Processed.");
        } else if name.chars().count() > Self::MAX_FOLDER || name.chars().any(char::is_control) {
            problems.error(
                "after_processing",
                format!("Folder is longer than {} characters or holds a line end", Self::MAX_FOLDER),
            );
        } else if name.eq_ignore_ascii_case("inbox") {
            problems.error("after_processing", "Processed mail cannot be moved to the inbox it comes from");
        }
    }
}

/// The text is none of `leave`, `mark-read` and `move:FOLDER`.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is neither leave, nor mark-read, nor move:FOLDER")]
pub struct InvalidAfterProcessing(String);

impl FromStr for AfterProcessing {
    type Err = InvalidAfterProcessing;

    fn from_str(text: &str) -> Result<Self, InvalidAfterProcessing> {
        match text.trim() {
            "leave" => Ok(Self::Leave),
            "mark-read" => Ok(Self::MarkRead),
            text => match text.strip_prefix(Self::MOVE) {
                Some(folder) => Ok(Self::Move(folder.trim().to_owned())),
                None => Err(InvalidAfterProcessing(text.chars().take(40).collect())),
            },
        }
    }
}

impl fmt::Display for AfterProcessing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Leave => f.write_str("leave"),
            Self::MarkRead => f.write_str("mark-read"),
            Self::Move(folder) => write!(f, "{}{folder}", Self::MOVE),
        }
    }
}

impl TryFrom<String> for AfterProcessing {
    type Error = InvalidAfterProcessing;

    fn try_from(text: String) -> Result<Self, InvalidAfterProcessing> {
        text.parse()
    }
}

impl From<AfterProcessing> for String {
    fn from(after: AfterProcessing) -> Self {
        after.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_are_read_as_they_are_written() {
        for text in ["none", "all", "2026-01-31"] {
            assert_eq!(text.parse::<OldMail>().unwrap().to_string(), text);
        }
        assert_eq!("since 2026-01-31".parse(), "2026-01-31".parse::<OldMail>());
        for wrong in ["", "some", "2026-02-30", "31.01.2026", "20260131", "2026-01-31T00:00:00Z"] {
            assert!(wrong.parse::<OldMail>().is_err(), "{wrong}");
        }
        for text in ["leave", "mark-read", "move:Processed", "move:Erledigt/2026"] {
            assert_eq!(text.parse::<AfterProcessing>().unwrap().to_string(), text);
        }
        assert!("delete".parse::<AfterProcessing>().is_err());
        for (folder, is_fine) in [("Processed", true), (" ", false), ("a\r\nb", false), ("Inbox", false)] {
            let mut problems = Problems::new();
            AfterProcessing::Move(folder.into()).validate(&mut problems);
            assert_eq!(problems.blocks(), !is_fine, "{folder:?}");
        }
    }

    #[test]
    fn what_is_passed_over() {
        let begun: Timestamp = "2026-11-23T10:00:00Z".parse().unwrap();
        assert_eq!(OldMail::All.floor(begun), None);
        assert_eq!(OldMail::None.floor(begun).unwrap().to_string(), "2026-11-23T09:58:00Z");
        let since: OldMail = "2026-11-01".parse().unwrap();
        assert_eq!(since.floor(begun).unwrap().to_string(), "2026-11-01T00:00:00Z");
    }
}
