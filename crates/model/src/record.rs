//! Records of the business software, and mails filed on them.

use std::fmt;
use std::str::FromStr;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::id::{InboxMessageId, LogEntryId, OutboxMessageId};
use crate::mailbox::MailType;

/// Names a record: its type and its number, such as `Customer order 4711`.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct RecordRef {
    /// What it is.
    #[serde(rename = "type")]
    pub kind: MailType,
    /// Its number: 1 to 64 characters without control characters.
    pub number: String,
}

/// Why a text names no record.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "`{0}` does not name a record: write a type and a number, such as `Customer order 4711` or `case:118`"
)]
pub struct InvalidRecord(String);

impl FromStr for RecordRef {
    type Err = InvalidRecord;

    /// Reads `Customer order 4711` and `customer-order:4711`.
    fn from_str(text: &str) -> Result<Self, InvalidRecord> {
        let refuse = || InvalidRecord(text.chars().take(80).collect());
        let (kind, number) =
            text.trim().split_once(':').or_else(|| text.trim().rsplit_once(' ')).ok_or_else(refuse)?;
        let kind = kind.parse().map_err(|_| refuse())?;
        let number = number.trim();
        if number.is_empty() || number.chars().count() > 64 || number.chars().any(char::is_control) {
            return Err(refuse());
        }
        Ok(Self { kind, number: number.to_owned() })
    }
}

impl fmt::Display for RecordRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.kind.label(), self.number)
    }
}

/// Which way a filed mail went.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Direction {
    /// Received.
    In,
    /// Sent.
    Out,
}

/// The mail a log entry stands for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum FiledMail {
    /// A collected message.
    Inbox(InboxMessageId),
    /// A sent message.
    Outbox(OutboxMessageId),
}

/// A mail filed on a record, with the columns of *Logging of e-mail*.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LogEntry {
    /// Its id.
    pub id: LogEntryId,
    /// The record.
    pub record: RecordRef,
    /// The mail.
    pub mail: FiledMail,
    /// Which way it went.
    pub direction: Direction,
    /// When it was filed.
    pub time: Timestamp,
    /// From.
    pub from: String,
    /// To.
    pub to: String,
    /// Cc.
    pub cc: String,
    /// Bcc.
    pub bcc: String,
    /// Subject.
    pub subject: String,
    /// Who filed it.
    pub filed_by: String,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_is_named_as_people_say_it_and_as_programs_write_it() {
        let record = RecordRef { kind: MailType::CustomerOrder, number: "4711".into() };
        assert_eq!("Customer order 4711".parse(), Ok(record.clone()));
        assert_eq!("customer-order:4711".parse(), Ok(record.clone()));
        assert_eq!(record.to_string(), "Customer order 4711");
        for wrong in ["4711", "Customer order", "Order 4711", "case:"] {
            assert!(wrong.parse::<RecordRef>().is_err(), "{wrong}");
        }
    }
}
