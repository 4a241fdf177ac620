//! Mailboxes: one e-mail account on a connection, what it receives, who may see it, what becomes of its mail at the
//! provider (`handling`), how it fares.

mod handling;

use std::collections::BTreeSet;
use std::fmt;
use std::str::FromStr;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::address::EmailAddress;
use crate::connection::{ConnectionSettings, UnknownWord, validate_user_name};
use crate::id::{ConnectionId, GroupId, MailboxId, UserId};
use crate::people::{Role, Viewer};
use crate::polling::PollingInterval;
use crate::problem::Problems;
use crate::{ExposeSecret, SecretString};

pub use handling::{AfterProcessing, InvalidAfterProcessing, InvalidOldMail, OldMail};

/// What a mailbox receives. The eleven of the known screen, in its order; a record has one of them too.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum MailType {
    /// Machine-readable documents between two systems.
    MonitorToMonitor,
    /// Customer relations.
    Crm,
    /// Supplier relations.
    Srm,
    /// Part.
    Part,
    /// Customer order.
    CustomerOrder,
    /// Case.
    Case,
    /// Quote.
    Quote,
    /// Purchase order.
    PurchaseOrder,
    /// Inquiry.
    Inquiry,
    /// Personnel: never available to all.
    Personnel,
    /// Project.
    Project,
}

impl MailType {
    /// Every type, in the order of the screen.
    pub const ALL: [Self; 11] = [
        Self::MonitorToMonitor,
        Self::Crm,
        Self::Srm,
        Self::Part,
        Self::CustomerOrder,
        Self::Case,
        Self::Quote,
        Self::PurchaseOrder,
        Self::Inquiry,
        Self::Personnel,
        Self::Project,
    ];

    /// Name in the API, the command line and the database.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::MonitorToMonitor => "monitor-to-monitor",
            Self::Crm => "crm",
            Self::Srm => "srm",
            Self::Part => "part",
            Self::CustomerOrder => "customer-order",
            Self::Case => "case",
            Self::Quote => "quote",
            Self::PurchaseOrder => "purchase-order",
            Self::Inquiry => "inquiry",
            Self::Personnel => "personnel",
            Self::Project => "project",
        }
    }

    /// Label on the screen.
    pub fn label(self) -> &'static str {
        match self {
            Self::MonitorToMonitor => "Monitor-to-Monitor",
            Self::Crm => "CRM",
            Self::Srm => "SRM",
            Self::Part => "Part",
            Self::CustomerOrder => "Customer order",
            Self::Case => "Case",
            Self::Quote => "Quote",
            Self::PurchaseOrder => "Purchase order",
            Self::Inquiry => "Inquiry",
            Self::Personnel => "Personnel",
            Self::Project => "Project",
        }
    }
}

impl FromStr for MailType {
    type Err = UnknownWord;

    /// Reads the name or the label, in any case.
    fn from_str(text: &str) -> Result<Self, UnknownWord> {
        let text = text.trim();
        Self::ALL
            .into_iter()
            .find(|known| {
                known.as_str().eq_ignore_ascii_case(text) || known.label().eq_ignore_ascii_case(text)
            })
            .ok_or_else(|| UnknownWord::new("type", text, &Self::ALL.map(Self::as_str)))
    }
}

impl fmt::Display for MailType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.label())
    }
}

/// Who may see a mailbox.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Availability {
    /// Every signed-in user.
    All,
    /// Members of any of these, and nobody else; empty means nobody.
    Only {
        /// Groups.
        #[serde(default)]
        groups: BTreeSet<GroupId>,
        /// Roles.
        #[serde(default)]
        roles: BTreeSet<Role>,
        /// Single users.
        #[serde(default)]
        users: BTreeSet<UserId>,
    },
}

impl Availability {
    /// Nobody.
    pub fn nobody() -> Self {
        Self::Only { groups: BTreeSet::new(), roles: BTreeSet::new(), users: BTreeSet::new() }
    }

    /// What a new mailbox of these types gets: all, as people know it, but nobody as soon as it is Personnel.
    pub fn default_for(types: &BTreeSet<MailType>) -> Self {
        if types.contains(&MailType::Personnel) { Self::nobody() } else { Self::All }
    }

    /// Whether `viewer` is among those it names. The store asks the same question in its queries.
    pub fn allows(&self, viewer: &Viewer) -> bool {
        match self {
            Self::All => true,
            Self::Only { groups, roles, users } => {
                users.contains(&viewer.user)
                    || viewer.groups.iter().any(|group| groups.contains(group))
                    || viewer.roles.iter().any(|role| roles.contains(role))
            }
        }
    }
}

/// The settings of a mailbox as a person fills them in.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MailboxSettings {
    /// E-mail address as typed.
    pub address: String,
    /// User name, where the flow needs one.
    #[serde(default)]
    pub user_name: String,
    /// What it receives; at least one.
    #[serde(default)]
    pub types: BTreeSet<MailType>,
    /// Who may see it.
    pub availability: Availability,
    /// How often it is read; blank takes the connection's interval.
    #[serde(default)]
    pub polling_interval: PollingInterval,
    /// How much of the mail is taken that was there before the mailbox was added.
    #[serde(default)]
    pub old_mail: OldMail,
    /// What becomes of a mail at the provider once it was processed.
    #[serde(default)]
    pub after_processing: AfterProcessing,
}

impl MailboxSettings {
    /// Settings for this address and these types, with the availability such a mailbox starts with.
    pub fn new(address: impl Into<String>, types: impl IntoIterator<Item = MailType>) -> Self {
        let types: BTreeSet<MailType> = types.into_iter().collect();
        Self {
            address: address.into(),
            user_name: String::new(),
            availability: Availability::default_for(&types),
            types,
            polling_interval: PollingInterval::Default,
            old_mail: OldMail::default(),
            after_processing: AfterProcessing::default(),
        }
    }

    /// What is wrong with a password of its own that was typed for a mailbox of `connection`.
    pub fn validate_password(connection: &ConnectionSettings, password: &SecretString) -> Problems {
        let mut problems = Problems::new();
        if !connection.mailboxes_sign_in() {
            problems
                .error("password", "Mailboxes of this connection have no password of their own")
                .hint("The credential of the connection opens them all.");
        } else if password.expose_secret().is_empty() {
            problems.error("password", "Password is missing");
        } else if password.expose_secret().chars().any(char::is_control) {
            problems.error("password", "Password holds a line end or another control character");
        }
        problems
    }

    /// Everything that is wrong, at its field.
    pub fn validate(&self) -> Problems {
        let mut problems = Problems::new();
        if let Err(error) = self.address.parse::<EmailAddress>() {
            problems.error("address", error.to_string());
        }
        validate_user_name(&self.user_name, &mut problems);
        if self.types.is_empty() {
            problems.error("types", "Type is missing").hint("Tick at least one, for example Customer order.");
        }
        if self.types.contains(&MailType::Personnel) && self.availability == Availability::All {
            problems
                .error("availability", "A Personnel mailbox cannot be available to all")
                .hint("Choose the groups, roles or users who may read it.");
        }
        if self.availability == Availability::nobody() {
            problems
                .warning("availability", "Nobody may see this mailbox")
                .hint("Its mail is collected and kept; choose groups, roles or users to show it.");
        }
        self.after_processing.validate(&mut problems);
        problems
    }
}

/// How a mailbox fares. Nothing here switches it off: a failing mailbox is read more slowly and recovers alone.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum MailboxState {
    /// Saved, not read yet.
    New,
    /// The last reading worked.
    Running,
    /// The last reading failed; the next one is due later.
    Failing,
}

impl MailboxState {
    /// Name in the API and the database.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::New => "new",
            Self::Running => "running",
            Self::Failing => "failing",
        }
    }
}

/// Result of *Validate selected address*.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Validation {
    /// When it ran.
    pub at: Timestamp,
    /// Whether the mailbox could be opened and read.
    pub ok: bool,
    /// One sentence: what was found, or cause and next step.
    pub words: String,
}

/// A saved mailbox.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Mailbox {
    /// Its id.
    pub id: MailboxId,
    /// The connection it is reached by.
    pub connection: ConnectionId,
    /// Its address, unique on the connection.
    pub address: EmailAddress,
    /// Its settings; they were valid when saved.
    pub settings: MailboxSettings,
    /// Whether it has a password of its own.
    #[serde(default)]
    pub has_password: bool,
    /// When it was added, or added again after it was removed: mail received before is old.
    pub begun_at: Timestamp,
    /// How it fares.
    pub state: MailboxState,
    /// Why the last reading failed.
    pub last_error: Option<String>,
    /// Failed readings in a row.
    pub failures: u32,
    /// When it was last read with success.
    pub last_success_at: Option<Timestamp>,
    /// When it is read next; none while polling is off.
    pub next_due_at: Option<Timestamp>,
    /// The last validation.
    pub validation: Option<Validation>,
    /// When it was removed: no longer read nor shown among the settings; its mail stays with those who may see it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub removed_at: Option<Timestamp>,
}

impl Mailbox {
    /// A mailbox as it would be, before it is saved: to be looked into.
    pub fn unsaved(id: MailboxId, connection: ConnectionId, address: EmailAddress, now: Timestamp) -> Self {
        Self {
            id,
            connection,
            settings: MailboxSettings::new(address.as_str(), []),
            address,
            has_password: false,
            begun_at: now,
            state: MailboxState::New,
            last_error: None,
            failures: 0,
            last_success_at: None,
            next_due_at: None,
            validation: None,
            removed_at: None,
        }
    }

    /// Mail received before this instant is passed over; none when nothing is.
    pub fn floor(&self) -> Option<Timestamp> {
        self.settings.old_mail.floor(self.begun_at)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::connection::{AuthenticationFlow, ConnectionKind};

    #[test]
    fn a_personnel_mailbox_is_never_available_to_all() {
        let fresh = MailboxSettings::new("hr@contoso.example", [MailType::Personnel]);
        assert_eq!(fresh.availability, Availability::nobody());
        let open = MailboxSettings { availability: Availability::All, ..fresh };
        let problems = open.validate();
        assert_eq!(
            problems.at("availability").unwrap().message,
            "A Personnel mailbox cannot be available to all"
        );
        assert!(problems.blocks());
    }

    #[test]
    fn only_mailboxes_that_sign_in_themselves_have_a_password() {
        let password = |text: &str| SecretString::from(text);
        let imap = ConnectionSettings::new(ConnectionKind::Imap);
        let online = ConnectionSettings::new(ConnectionKind::ExchangeOnline);
        let token = ConnectionSettings { flow: AuthenticationFlow::ClientSecret, ..imap.clone() };
        let wrong =
            |connection, text| MailboxSettings::validate_password(connection, &password(text)).blocks();
        assert!(!wrong(&imap, "s3cret"));
        assert!(wrong(&imap, "") && wrong(&imap, "two\nlines"));
        assert!(wrong(&online, "s3cret") && wrong(&token, "s3cret"));
        let named = MailboxSettings {
            user_name: "erp\r\nLOGIN".into(),
            ..MailboxSettings::new("a@b.example", [MailType::Crm])
        };
        assert!(named.validate().at("user_name").is_some());
    }

    #[test]
    fn types_are_read_by_name_and_by_label() {
        for known in MailType::ALL {
            assert_eq!(known.as_str().parse::<MailType>().unwrap(), known);
            assert_eq!(known.label().parse::<MailType>().unwrap(), known);
        }
        assert!("Order".parse::<MailType>().unwrap_err().to_string().contains("customer-order"));
    }

    #[test]
    fn availability_is_any_of_groups_roles_users() {
        let (env, _) = crate::Env::for_test(5);
        let (user, other, group): (UserId, UserId, GroupId) = (env.new_id(), env.new_id(), env.new_id());
        let viewer = |user, groups: &[GroupId], roles: &[Role]| Viewer {
            user,
            groups: groups.to_vec(),
            roles: roles.to_vec(),
        };
        let only = Availability::Only {
            groups: [group].into(),
            roles: [Role::MailboxManager].into(),
            users: [user].into(),
        };
        assert!(only.allows(&viewer(user, &[], &[])));
        assert!(only.allows(&viewer(other, &[group], &[])));
        assert!(only.allows(&viewer(other, &[], &[Role::MailboxManager])));
        assert!(!only.allows(&viewer(other, &[], &[Role::Administrator])));
        assert!(!Availability::nobody().allows(&viewer(user, &[group], &Role::ALL)));
    }
}
