//! What goes wrong while a connection is set up.

use postroom_entra::Ids;
use postroom_entra::register::RegisterError;
use postroom_entra::token::TokenError;
use postroom_model::Problems;
use postroom_store::StoreError;

use crate::quote;

/// Why a set-up did not end. What was made until then stands in the journal; the same command goes on from there.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SetupError {
    /// The plan cannot be carried out.
    #[error("the plan of {connection} cannot be carried out: {problems}")]
    Plan {
        /// Name of the connection.
        connection: String,
        /// What is wrong.
        problems: Problems,
    },
    /// A connection of this name was made by somebody else than this set-up.
    #[error("there is already a connection {name}, and no set-up has made it")]
    Taken {
        /// Its name.
        name: String,
    },
    /// An earlier set-up of this connection was made by another plan.
    #[error("the earlier set-up of {name} has {differences}")]
    Differs {
        /// Name of the connection.
        name: String,
        /// What the earlier one has, and what was asked for now.
        differences: String,
    },
    /// The Entra side was taken back, and Exchange was not yet.
    #[error("the earlier set-up of {name} is not yet taken back in Exchange")]
    Remnant {
        /// Name of the connection.
        name: String,
    },
    /// A mailbox of the plan does not exist: waiting would not help.
    #[error("there is no mailbox {mailbox}: {words}")]
    NoMailbox {
        /// Its address.
        mailbox: String,
        /// What Microsoft Graph said.
        words: String,
    },
    /// A working set-up would get other ids.
    #[error("{name} works already, and this line holds another {what}")]
    Works {
        /// Name of the connection.
        name: String,
        /// What is another: the application, its credential.
        what: &'static str,
    },
    /// No set-up of this name is remembered.
    #[error("no set-up of a connection {name} is remembered")]
    Unknown {
        /// The name that was asked for.
        name: String,
    },
    /// The administrator signed in to another tenant than the one this set-up began in.
    #[error(
        "the set-up of {connection} began in tenant {began}, but the administrator signed in to {signed_in}"
    )]
    OtherTenant {
        /// Name of the connection.
        connection: String,
        /// Tenant of the journal.
        began: String,
        /// Tenant of the token.
        signed_in: String,
    },
    /// What it made is in use by something it did not make.
    #[error("connection {name} is used by mailboxes this set-up did not make: {mailboxes}")]
    InUse {
        /// Name of the connection.
        name: String,
        /// Their addresses.
        mailboxes: String,
    },
    /// Microsoft Graph refused a step.
    #[error("the tenant refused a step of the set-up of {connection}")]
    Register {
        /// Name of the connection.
        connection: String,
        /// What it says.
        #[source]
        source: RegisterError,
    },
    /// The application could not sign in in time.
    #[error("application {application} could not sign in after {minutes} minutes")]
    SignIn {
        /// Its Application (client) ID.
        application: String,
        /// How long it was tried.
        minutes: i64,
        /// What the last try said.
        #[source]
        source: Box<TokenError>,
    },
    /// The grants did not arrive in the token in time.
    #[error("after {minutes} minutes the token of application {application} still lacks {missing}")]
    Rights {
        /// Its Application (client) ID.
        application: String,
        /// How long it was waited for.
        minutes: i64,
        /// The permissions.
        missing: String,
    },
    /// Something could not be stored or read.
    #[error("{operation}")]
    Store {
        /// What was to be done.
        operation: &'static str,
        /// What the store says.
        #[source]
        source: StoreError,
    },
    /// The journal holds what this version cannot read.
    #[error("the journal of the set-up of {connection} cannot be read")]
    Journal {
        /// Name of the connection.
        connection: String,
        /// Where it ends to make sense.
        #[source]
        source: serde_json::Error,
    },
    /// A certificate could not be made or read.
    #[error("{operation}")]
    Certificate {
        /// What was to be done.
        operation: &'static str,
        /// What the library says.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// The line that was pasted is not one of ours.
    #[error("the pasted line cannot be read: {reason}")]
    Line {
        /// Why.
        reason: String,
    },
    /// A page could not be filled.
    #[error("the hand-over page could not be filled")]
    Page {
        /// What the template says.
        #[source]
        source: minijinja::Error,
    },
}

impl SetupError {
    /// Whether only time is missing: the same command goes on later.
    pub fn still_waiting(&self) -> bool {
        match self {
            Self::Rights { .. } => true,
            Self::SignIn { source, .. } => source.advice().is_none_or(|advice| advice.waiting),
            _ => false,
        }
    }

    /// What to do next.
    pub fn hint(&self) -> Option<String> {
        let words = match self {
            Self::Plan { problems, .. } => return problems.errors().find_map(|problem| problem.hint.clone()),
            Self::Taken { .. } => "choose another name with --connection",
            Self::Differs { name, .. } => {
                return Some(format!("undo first: postroom setup undo {}", quote::bash(name)));
            }
            Self::Remnant { name } => {
                let name = quote::bash(name);
                return Some(format!(
                    "`postroom setup scope-script --undo --connection {name}` prints the lines; once they ran: \
                     `postroom setup undo {name} --exchange-done`"
                ));
            }
            Self::NoMailbox { .. } => {
                "check the address; what was made is remembered, and the same command with the right --mailbox goes on from there"
            }
            Self::Works { .. } => "to take it in nevertheless: `postroom setup import - --replace`",
            Self::Unknown { .. } => {
                "`postroom connection list` shows the connections; only those made by `postroom setup` can be undone"
            }
            Self::OtherTenant { .. } => {
                "sign in as an administrator of the first tenant, or undo the set-up there before"
            }
            Self::InUse { .. } => "remove these mailboxes first, or move them to another connection",
            Self::Register { source, .. } => {
                let advice = source.advice(&Ids::default()).map(|advice| advice.to_string());
                let again = "what was made is remembered; run the same command again to go on from there";
                return Some(
                    advice.map_or_else(|| again.to_owned(), |advice| format!("{advice} Then {again}.")),
                );
            }
            Self::SignIn { .. } | Self::Rights { .. } => {
                "what was made is remembered; a grant may take longer: run the same command again"
            }
            Self::Store { source, .. } => return source.hint().map(str::to_owned),
            Self::Line { .. } => {
                "paste the whole line that the script printed last; it begins with postroom-setup:v2:"
            }
            Self::Journal { .. } | Self::Certificate { .. } | Self::Page { .. } => return None,
        };
        Some(words.to_owned())
    }
}
