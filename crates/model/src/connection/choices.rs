//! The closed lists of a connection's settings: kinds, methods, TLS modes, flows, interfaces, policies.

use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// What a connection leads to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ConnectionKind {
    /// Microsoft 365, by Microsoft Graph.
    ExchangeOnline,
    /// Exchange on premises, by EWS.
    Exchange,
    /// Any IMAP server; incoming only.
    Imap,
    /// Any SMTP server; outgoing only.
    Smtp,
}

impl ConnectionKind {
    /// Every kind, in the order of the screens.
    pub const ALL: [Self; 4] = [Self::ExchangeOnline, Self::Exchange, Self::Imap, Self::Smtp];

    /// Name in the API, the command line and the database.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::ExchangeOnline => "exchange-online",
            Self::Exchange => "exchange",
            Self::Imap => "imap",
            Self::Smtp => "smtp",
        }
    }

    /// Name under *Service* in the settings for incoming e-mail.
    pub fn label(self) -> &'static str {
        match self {
            Self::ExchangeOnline => "Exchange Online",
            Self::Exchange => "Exchange",
            Self::Imap => "IMAP",
            Self::Smtp => "SMTP",
        }
    }

    /// Whether mail can leave through it.
    pub fn sends(self) -> bool {
        self != Self::Imap
    }

    /// Whether mailboxes can be read through it.
    pub fn receives(self) -> bool {
        self != Self::Smtp
    }
}

impl FromStr for ConnectionKind {
    type Err = UnknownWord;

    fn from_str(text: &str) -> Result<Self, UnknownWord> {
        Self::ALL
            .into_iter()
            .find(|kind| kind.as_str() == text)
            .ok_or_else(|| UnknownWord::new("connection kind", text, &Self::ALL.map(Self::as_str)))
    }
}

/// How a message leaves (row 13 of the system settings).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum EmailMethod {
    /// A ready `.eml` draft, opened by the user's own mail program.
    Outlook,
    /// Through Exchange on premises.
    Exchange,
    /// Through an SMTP server.
    Smtp,
    /// Through Exchange Online.
    ExchangeOnline,
}

impl EmailMethod {
    /// Every method, in the order of the screen.
    pub const ALL: [Self; 4] = [Self::Outlook, Self::Exchange, Self::Smtp, Self::ExchangeOnline];

    /// Name in the API and the database.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Outlook => "outlook",
            Self::Exchange => "exchange",
            Self::Smtp => "smtp",
            Self::ExchangeOnline => "exchange-online",
        }
    }

    /// Label of the drop-down.
    pub fn label(self) -> &'static str {
        match self {
            Self::Outlook => "Client based, via Microsoft Outlook",
            Self::Exchange => "Server based, via Microsoft Exchange",
            Self::Smtp => "Server based, via SMTP",
            Self::ExchangeOnline => "Server based, via Microsoft Exchange Online",
        }
    }

    /// The kind of connection the method sends through; none for drafts.
    pub fn connection_kind(self) -> Option<ConnectionKind> {
        match self {
            Self::Outlook => None,
            Self::Exchange => Some(ConnectionKind::Exchange),
            Self::Smtp => Some(ConnectionKind::Smtp),
            Self::ExchangeOnline => Some(ConnectionKind::ExchangeOnline),
        }
    }
}

impl FromStr for EmailMethod {
    type Err = UnknownWord;

    fn from_str(text: &str) -> Result<Self, UnknownWord> {
        Self::ALL
            .into_iter()
            .find(|method| method.as_str() == text)
            .ok_or_else(|| UnknownWord::new("e-mail method", text, &Self::ALL.map(Self::as_str)))
    }
}

/// How the line is protected. Replaces the old screen's *Use SSL*, which left open which of the two was meant.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum TlsMode {
    /// TLS from the first byte.
    #[default]
    Implicit,
    /// Plain at first, TLS before anything secret is said; without it nothing goes on.
    Starttls,
    /// TLS when the server offers it, else plain: for relays that ask for no password. SMTP only; a password never
    /// crosses an unprotected line.
    StarttlsIfOffered,
    /// No TLS; to this machine, or where [`ConnectionSettings::accept_plain`](super::ConnectionSettings::accept_plain)
    /// says so.
    Plain,
}

impl TlsMode {
    /// Every mode.
    pub const ALL: [Self; 4] = [Self::Implicit, Self::Starttls, Self::StarttlsIfOffered, Self::Plain];

    /// Name in the API and the database.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Implicit => "implicit",
            Self::Starttls => "starttls",
            Self::StarttlsIfOffered => "starttls-if-offered",
            Self::Plain => "plain",
        }
    }

    /// Label of the drop-down.
    pub fn label(self) -> &'static str {
        match self {
            Self::Implicit => "TLS from the first byte",
            Self::Starttls => "STARTTLS (required)",
            Self::StarttlsIfOffered => "STARTTLS if offered (relay without a password)",
            Self::Plain => "No TLS",
        }
    }
}

impl FromStr for TlsMode {
    type Err = UnknownWord;

    fn from_str(text: &str) -> Result<Self, UnknownWord> {
        Self::ALL
            .into_iter()
            .find(|mode| mode.as_str() == text)
            .ok_or_else(|| UnknownWord::new("TLS mode", text, &Self::ALL.map(Self::as_str)))
    }
}

/// How Postroom proves to Microsoft Entra who it is. One is active per connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum AuthenticationFlow {
    /// OAuth 2.0 client credentials with a client secret.
    ClientSecret,
    /// Client credentials with a certificate.
    Certificate,
    /// Client credentials with another identity provider's token.
    Federated,
    /// Resource owner password credentials: discouraged, and the default of the old screen.
    #[default]
    Password,
}

impl AuthenticationFlow {
    /// Every flow.
    pub const ALL: [Self; 4] = [Self::Password, Self::ClientSecret, Self::Certificate, Self::Federated];

    /// Name in the API and the database.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::ClientSecret => "client-secret",
            Self::Certificate => "certificate",
            Self::Federated => "federated",
            Self::Password => "password",
        }
    }

    /// Label of the drop-down.
    pub fn label(self) -> &'static str {
        match self {
            Self::ClientSecret => "Client secret",
            Self::Certificate => "Certificate",
            Self::Federated => "Federated credential",
            Self::Password => "User name/Password",
        }
    }
}

impl FromStr for AuthenticationFlow {
    type Err = UnknownWord;

    fn from_str(text: &str) -> Result<Self, UnknownWord> {
        Self::ALL
            .into_iter()
            .find(|flow| flow.as_str() == text)
            .ok_or_else(|| UnknownWord::new("authentication flow", text, &Self::ALL.map(Self::as_str)))
    }
}

/// A word that is not in a closed list.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{text}` is not a known {list}; known are {known}")]
pub struct UnknownWord {
    list: &'static str,
    text: String,
    known: String,
}

impl UnknownWord {
    /// `text` is none of `known`.
    pub fn new(list: &'static str, text: &str, known: &[&str]) -> Self {
        Self { list, text: text.chars().take(80).collect(), known: known.join(", ") }
    }
}

/// By which interface a mailbox of Exchange Online is reached.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ExchangeApi {
    /// Microsoft Graph.
    #[default]
    Graph,
    /// Exchange Web Services, for tenants that still allow-list the application; ends on 2027-04-01.
    Ews,
}

impl ExchangeApi {
    /// Every interface.
    pub const ALL: [Self; 2] = [Self::Graph, Self::Ews];

    /// Name in the API and the command line.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Graph => "graph",
            Self::Ews => "ews",
        }
    }

    /// Label of the drop-down.
    pub fn label(self) -> &'static str {
        match self {
            Self::Graph => "Microsoft Graph",
            Self::Ews => "Exchange Web Services (until 2027-04-01)",
        }
    }
}

impl FromStr for ExchangeApi {
    type Err = UnknownWord;

    fn from_str(text: &str) -> Result<Self, UnknownWord> {
        Self::ALL
            .into_iter()
            .find(|api| api.as_str() == text)
            .ok_or_else(|| UnknownWord::new("interface", text, &Self::ALL.map(Self::as_str)))
    }
}

/// What is done with a message whose outcome nobody can tell: SMTP has no way to look it up.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum WhenUnknown {
    /// It is not sent again; its sender is told that it may or may not have arrived.
    #[default]
    AtMostOnce,
    /// It is sent again, and may arrive twice.
    AtLeastOnce,
}

impl WhenUnknown {
    /// Every policy.
    pub const ALL: [Self; 2] = [Self::AtMostOnce, Self::AtLeastOnce];

    /// Name in the API and the command line.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::AtMostOnce => "at-most-once",
            Self::AtLeastOnce => "at-least-once",
        }
    }

    /// Label of the drop-down.
    pub fn label(self) -> &'static str {
        match self {
            Self::AtMostOnce => "Do not send again; tell the sender",
            Self::AtLeastOnce => "Send again; it may arrive twice",
        }
    }
}

impl FromStr for WhenUnknown {
    type Err = UnknownWord;

    fn from_str(text: &str) -> Result<Self, UnknownWord> {
        Self::ALL
            .into_iter()
            .find(|policy| policy.as_str() == text)
            .ok_or_else(|| UnknownWord::new("policy", text, &Self::ALL.map(Self::as_str)))
    }
}
