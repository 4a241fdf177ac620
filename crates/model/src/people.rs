//! Users, groups, roles, and the viewer that every read of mail is made for.

use std::str::FromStr;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::address::EmailAddress;
use crate::connection::UnknownWord;
use crate::id::{ApiKeyId, GroupId, UserId};
use crate::problem::Problems;

/// What a user may do. Seeing mail is not among it: that is a mailbox's availability.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Role {
    /// Changes settings and people.
    Administrator,
    /// Changes mailboxes.
    MailboxManager,
    /// Works with mail.
    User,
    /// Reads what was done.
    Auditor,
}

impl Role {
    /// Every role.
    pub const ALL: [Self; 4] = [Self::Administrator, Self::MailboxManager, Self::User, Self::Auditor];

    /// Name in the API, the command line and the database.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Administrator => "administrator",
            Self::MailboxManager => "mailbox-manager",
            Self::User => "user",
            Self::Auditor => "auditor",
        }
    }

    /// Label on the page.
    pub fn label(self) -> &'static str {
        match self {
            Self::Administrator => "Administrator",
            Self::MailboxManager => "Mailbox manager",
            Self::User => "User",
            Self::Auditor => "Auditor",
        }
    }
}

impl FromStr for Role {
    type Err = UnknownWord;

    fn from_str(text: &str) -> Result<Self, UnknownWord> {
        Self::ALL
            .into_iter()
            .find(|role| role.as_str() == text)
            .ok_or_else(|| UnknownWord::new("role", text, &Self::ALL.map(Self::as_str)))
    }
}

/// A person who signs in.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct User {
    /// The user's id.
    pub id: UserId,
    /// Name to sign in with: 1 to 64 characters, lower case, unique.
    pub name: String,
    /// Name shown to others.
    pub display_name: String,
    /// The user's own address.
    pub address: Option<EmailAddress>,
    /// What the user may do.
    pub roles: Vec<Role>,
    /// Groups the user belongs to.
    pub groups: Vec<GroupId>,
}

impl User {
    /// For whom reads are made when this user asks.
    pub fn viewer(&self) -> Viewer {
        Viewer { user: self.id, groups: self.groups.clone(), roles: self.roles.clone() }
    }

    /// Whether the user has `role`.
    pub fn has(&self, role: Role) -> bool {
        self.roles.contains(&role)
    }
}

/// A group of users.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Group {
    /// The group's id.
    pub id: GroupId,
    /// Its name, unique: 1 to 64 characters.
    pub name: String,
}

impl Group {
    /// Longest name in characters.
    pub const MAX_NAME: usize = 64;

    /// Everything that is wrong, at its field.
    pub fn validate(&self) -> Problems {
        let mut problems = Problems::new();
        if self.name.trim().is_empty() {
            problems.error("name", "Name of the group is missing");
        } else if self.name.chars().count() > Self::MAX_NAME || self.name.chars().any(char::is_control) {
            problems.error(
                "name",
                "Name of the group is too long or holds control characters (at most 64 characters)",
            );
        }
        problems
    }
}

/// For whom a read is made: what availability is compared with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Viewer {
    /// The user.
    pub user: UserId,
    /// The user's groups.
    pub groups: Vec<GroupId>,
    /// The user's roles.
    pub roles: Vec<Role>,
}

/// A key of a program, without the key itself: only its hash is stored.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ApiKey {
    /// Its id.
    pub id: ApiKeyId,
    /// Name given by a person, unique among the keys in use.
    pub name: String,
    /// When it was made.
    pub created_at: Timestamp,
    /// When it was taken away.
    pub revoked_at: Option<Timestamp>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_group_has_a_name_that_can_be_read() {
        let blocks = |name: &str| {
            Group { id: crate::Env::for_test(5).0.new_id(), name: name.into() }.validate().blocks()
        };
        for name in ["", "  ", "Order\ndesk", &"x".repeat(65)] {
            assert!(blocks(name), "{name:?}");
        }
        for name in ["Order desk", "\u{c4}", &"\u{e9}".repeat(64)] {
            assert!(!blocks(name), "{name:?}");
        }
    }
}
