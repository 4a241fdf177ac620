//! Connections: how to reach one server or tenant with one credential, and the rules that say what is missing.
//! Field labels and error texts are those of the screens people know (E-mail and Settings for incoming e-mail).

mod choices;
mod cloud;
mod secret;
mod validate;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use url::Url;

use crate::SecretString;
use crate::address::HostName;
use crate::credential::CredentialKind;
use crate::id::ConnectionId;
use crate::polling::PollingInterval;

pub use choices::{
    AuthenticationFlow, ConnectionKind, EmailMethod, ExchangeApi, TlsMode, UnknownWord, WhenUnknown,
};
pub use cloud::{Cloud, Endpoints};
pub(crate) use validate::validate_user_name;

/// The settings of a connection as a person fills them in: may be incomplete, never holds a secret.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ConnectionSettings {
    /// Name shown to people, at most 100 characters; blank takes the kind's label.
    #[serde(default)]
    pub name: String,
    /// What it leads to.
    pub kind: ConnectionKind,
    /// By which interface Exchange Online is reached; no other kind asks for it.
    #[serde(default)]
    pub api: ExchangeApi,
    /// Server address as typed: a host name or a URL whose host counts; for Exchange also its path.
    #[serde(default)]
    pub server: String,
    /// TCP port; 0 means the standard port of the kind and TLS mode.
    #[serde(default)]
    pub port: u16,
    /// Protection of the line.
    #[serde(default)]
    pub tls: TlsMode,
    /// Whether a server that is not this machine may be talked to without TLS, password and mail readable on the way.
    #[serde(default)]
    pub accept_plain: bool,
    /// Directory (tenant) ID: a GUID or a verified domain.
    #[serde(default)]
    pub tenant_id: String,
    /// Application (client) ID: a GUID.
    #[serde(default)]
    pub application_id: String,
    /// Authentication flow. IMAP and SMTP sign in with user name and password under `password`, and with a token of
    /// Microsoft Entra under every other flow; Exchange on premises knows `password` only.
    #[serde(default)]
    pub flow: AuthenticationFlow,
    /// User name for SMTP, IMAP and Exchange on premises.
    #[serde(default)]
    pub user_name: String,
    /// How often its mailboxes are read unless a mailbox says otherwise.
    #[serde(default)]
    pub polling_interval: PollingInterval,
    /// Maximum size for files in e-mail, in megabytes of 1,000,000 bytes, counted encoded; 1 to 150.
    #[serde(default = "default_max_size_mb")]
    pub max_size_mb: u32,
    /// Where the tenant lives.
    #[serde(default)]
    pub cloud: Cloud,
    /// What is done with a message whose outcome cannot be found out; only SMTP asks.
    #[serde(default)]
    pub when_unknown: WhenUnknown,
}

fn default_max_size_mb() -> u32 {
    ConnectionSettings::DEFAULT_MAX_SIZE_MB
}

/// What is known of the secret while settings are validated.
#[derive(Debug, Clone, Copy)]
pub enum SecretField<'a> {
    /// Neither stored nor typed.
    Missing,
    /// Stored before and left alone.
    Stored,
    /// Typed now.
    Typed(&'a SecretString),
}

impl ConnectionSettings {
    /// Row 19 of the old screen.
    pub const DEFAULT_MAX_SIZE_MB: u32 = 10;

    /// Empty settings of a kind, with the server address that kind usually has.
    pub fn new(kind: ConnectionKind) -> Self {
        let server = if kind == ConnectionKind::ExchangeOnline { "outlook.office365.com" } else { "" };
        Self {
            name: String::new(),
            kind,
            api: ExchangeApi::default(),
            server: server.to_owned(),
            port: 0,
            tls: TlsMode::default(),
            accept_plain: false,
            tenant_id: String::new(),
            application_id: String::new(),
            flow: AuthenticationFlow::default(),
            user_name: String::new(),
            polling_interval: PollingInterval::default(),
            max_size_mb: Self::DEFAULT_MAX_SIZE_MB,
            cloud: Cloud::default(),
            when_unknown: WhenUnknown::default(),
        }
    }

    /// Whether it signs in with a token of Microsoft Entra.
    pub fn uses_entra(&self) -> bool {
        match self.kind {
            ConnectionKind::ExchangeOnline => true,
            ConnectionKind::Exchange => false,
            ConnectionKind::Imap | ConnectionKind::Smtp => self.flow != AuthenticationFlow::Password,
        }
    }

    /// The kind of credential it signs in with.
    pub fn credential_kind(&self) -> CredentialKind {
        match (self.uses_entra(), self.flow) {
            (true, AuthenticationFlow::ClientSecret) => CredentialKind::ClientSecret,
            (true, AuthenticationFlow::Certificate) => CredentialKind::Certificate,
            (true, AuthenticationFlow::Federated) => CredentialKind::FederatedToken,
            (true, AuthenticationFlow::Password) | (false, _) => CredentialKind::Password,
        }
    }

    /// Whether its mailboxes may have a user name and password of their own: where they sign in to the server itself.
    pub fn mailboxes_sign_in(&self) -> bool {
        self.kind.receives() && !self.uses_entra()
    }

    /// The OAuth scope of its tokens: Microsoft Graph's, or the one that EWS, IMAP and SMTP share.
    pub fn token_scope(&self) -> String {
        match (self.kind, self.api) {
            (ConnectionKind::ExchangeOnline, ExchangeApi::Graph) => self.cloud.endpoints().graph_scope(),
            _ => self.cloud.exchange_scope(),
        }
    }

    /// The address of Exchange Web Services: for Exchange Online that of the cloud, on premises what was typed, with
    /// the usual path when it has none.
    ///
    /// # Errors
    /// A sentence naming what is missing.
    pub fn ews_url(&self) -> Result<Url, String> {
        const PATH: &str = "EWS/Exchange.asmx";
        let parsed =
            |text: String| Url::parse(&text).map_err(|error| format!("{text} is no address: {error}"));
        if self.kind == ConnectionKind::ExchangeOnline {
            return match self.cloud.endpoints().exchange {
                Some(base) => base.join(PATH).map_err(|error| format!("{base} is no address: {error}")),
                None if matches!(self.cloud, Cloud::Custom(_)) => {
                    Err("the address of Exchange is missing in the addresses of this cloud".to_owned())
                }
                None => parsed(format!("https://{}/{PATH}", self.cloud.exchange_host())),
            };
        }
        let host = HostName::from_pasted(&self.server).map_err(|error| error.to_string())?;
        let scheme = if self.tls == TlsMode::Plain { "http" } else { "https" };
        let mut url = parsed(format!("{scheme}://{}:{}/{PATH}", host.as_str(), self.effective_port()))?;
        if let Ok(typed) = Url::parse(self.server.trim())
            && typed.has_host()
            && !["", "/"].contains(&typed.path())
        {
            url.set_path(typed.path());
        }
        Ok(url)
    }

    /// The port in use: what was typed, or the standard port of kind and TLS mode (RFC 8314 for mail).
    pub fn effective_port(&self) -> u16 {
        match (self.port, self.kind, self.tls) {
            (0, ConnectionKind::Exchange, TlsMode::Plain) => 80,
            (0, ConnectionKind::ExchangeOnline | ConnectionKind::Exchange, _) => 443,
            (0, ConnectionKind::Imap, TlsMode::Implicit) => 993,
            (0, ConnectionKind::Imap, _) => 143,
            (0, ConnectionKind::Smtp, TlsMode::Implicit) => 465,
            (0, ConnectionKind::Smtp, TlsMode::Starttls) => 587,
            (0, ConnectionKind::Smtp, TlsMode::Plain | TlsMode::StarttlsIfOffered) => 25,
            (port, _, _) => port,
        }
    }

    /// Name shown to people.
    pub fn display_name(&self) -> &str {
        if self.name.trim().is_empty() { self.kind.label() } else { self.name.trim() }
    }

    /// The largest message this connection takes, in bytes, encoded.
    pub fn max_size_bytes(&self) -> u64 {
        u64::from(self.max_size_mb) * 1_000_000
    }

    /// What was pasted, with blanks and line ends taken off and ids in lower case.
    pub fn trimmed(mut self) -> Self {
        for field in [&mut self.name, &mut self.server, &mut self.user_name] {
            *field = field.trim().to_owned();
        }
        for field in [&mut self.tenant_id, &mut self.application_id] {
            *field = field.trim().to_ascii_lowercase();
        }
        self
    }
}

/// Whether `text` has the shape of a GUID: 8-4-4-4-12 hexadecimal digits.
pub fn is_guid(text: &str) -> bool {
    text.len() == 36 && uuid::Uuid::try_parse(text).is_ok()
}

/// Whether `host` is this machine by name or number.
pub fn is_loopback(host: &str) -> bool {
    let host = host.trim_start_matches('[').trim_end_matches(']');
    host == "localhost" || host.parse::<std::net::IpAddr>().is_ok_and(|address| address.is_loopback())
}

/// A saved connection.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Connection {
    /// Its id.
    pub id: ConnectionId,
    /// Its settings; they were valid when saved.
    pub settings: ConnectionSettings,
    /// When it was first saved.
    pub created_at: Timestamp,
    /// When it was last saved.
    pub updated_at: Timestamp,
}

/// How mail leaves by default: the e-mail method and the connection it uses (system settings, E-mail).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct OutgoingSettings {
    /// E-mail method.
    pub method: EmailMethod,
    /// The connection of that method; none for drafts.
    pub connection: Option<ConnectionId>,
}
