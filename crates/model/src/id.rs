//! One type per kind of id, so that a mailbox id cannot be passed for a message id. Raw only at the edge:
//! `as_uuid`, `Display`, `FromStr`.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use uuid::Uuid;

/// The text is not a UUID.
#[derive(Debug, thiserror::Error)]
#[error("`{text}` is no {kind} id (a UUID such as 0198c5b0-7a52-7c3e-8a44-3f0f3c1f2a10)")]
pub struct InvalidId {
    /// What the id was meant to name.
    kind: &'static str,
    /// What was given, cut to 80 characters.
    text: String,
}

macro_rules! ids {
    ($($(#[$doc:meta])* $name:ident = $kind:literal;)*) => {$(
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(transparent)]
        pub struct $name(Uuid);

        impl $name {
            /// The raw value, for the edge: a column, a path.
            pub fn as_uuid(self) -> Uuid {
                self.0
            }
        }

        impl From<Uuid> for $name {
            fn from(raw: Uuid) -> Self {
                Self(raw)
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{}:{}", $kind, self.0)
            }
        }

        impl FromStr for $name {
            type Err = InvalidId;

            fn from_str(text: &str) -> Result<Self, InvalidId> {
                Uuid::try_parse(text)
                    .map(Self)
                    .map_err(|_| InvalidId { kind: $kind, text: text.chars().take(80).collect() })
            }
        }
    )*};
}

ids! {
    /// A connection: how to reach one server or tenant.
    ConnectionId = "connection";
    /// A credential of a connection.
    CredentialId = "credential";
    /// A mailbox on a connection.
    MailboxId = "mailbox";
    /// A message accepted for sending.
    OutboxMessageId = "outbox message";
    /// A collected message.
    InboxMessageId = "inbox message";
    /// A mail filed on a record.
    LogEntryId = "log entry";
    /// One append-only fact.
    EventId = "event";
    /// A person who signs in.
    UserId = "user";
    /// A group of users.
    GroupId = "group";
    /// A key of a program.
    ApiKeyId = "API key";
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_survives_print_and_parse_and_refuses_what_is_none() {
        let (env, _) = crate::Env::for_test(3);
        let id: MailboxId = env.new_id();
        assert_eq!(id.to_string().parse::<MailboxId>().unwrap(), id);
        let error = "orders".parse::<MailboxId>().unwrap_err().to_string();
        assert!(error.starts_with("`orders` is no mailbox id"), "{error}");
    }
}
