//! Connections: how to reach one server or tenant with one credential, and the rules that say what is missing.
//! Field labels and error texts are those of the screens people know (E-mail and Settings for incoming e-mail).

use std::str::FromStr;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use url::Url;

use crate::address::HostName;
use crate::id::ConnectionId;
use crate::polling::PollingInterval;
use crate::problem::Problems;
use crate::{ExposeSecret, SecretString};

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
    /// Plain at first, TLS before anything secret is said.
    Starttls,
    /// No TLS; only to this machine.
    Plain,
}

impl TlsMode {
    /// Every mode.
    pub const ALL: [Self; 3] = [Self::Implicit, Self::Starttls, Self::Plain];

    /// Name in the API and the database.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Implicit => "implicit",
            Self::Starttls => "starttls",
            Self::Plain => "plain",
        }
    }

    /// Label of the drop-down.
    pub fn label(self) -> &'static str {
        match self {
            Self::Implicit => "TLS",
            Self::Starttls => "STARTTLS",
            Self::Plain => "No TLS (this machine only)",
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

/// Which of Microsoft's clouds a tenant lives in, or a set of addresses of one's own (the sandbox).
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Cloud {
    /// Worldwide, and GCC.
    #[default]
    Worldwide,
    /// US Government L4 (GCC High).
    UsGovernment,
    /// US Government L5 (DoD).
    UsGovernmentDod,
    /// China, operated by 21Vianet.
    China,
    /// Addresses of one's own.
    Custom(Endpoints),
}

/// The addresses a cloud is reached at.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Endpoints {
    /// Microsoft Entra: `https://login.microsoftonline.com`.
    pub authority: Url,
    /// Microsoft Graph without version: `https://graph.microsoft.com`.
    pub graph: Url,
}

impl Endpoints {
    /// The OAuth scope for Graph. In Microsoft's clouds this is the address itself plus `/.default`; a custom
    /// Graph keeps the worldwide resource, because that is what tokens there are made for.
    pub fn graph_scope(&self) -> String {
        let microsoft = [
            "graph.microsoft.com",
            "graph.microsoft.us",
            "dod-graph.microsoft.us",
            "microsoftgraph.chinacloudapi.cn",
        ];
        match self.graph.host_str() {
            Some(host) if microsoft.contains(&host) => format!("https://{host}/.default"),
            _ => "https://graph.microsoft.com/.default".to_owned(),
        }
    }
}

impl Cloud {
    /// Hosts of sign-in and Graph. Source: Microsoft, "National cloud deployments"
    /// (<https://learn.microsoft.com/graph/deployments>).
    pub fn endpoints(&self) -> Endpoints {
        let (authority, graph) = match self {
            Self::Worldwide => ("https://login.microsoftonline.com", "https://graph.microsoft.com"),
            Self::UsGovernment => ("https://login.microsoftonline.us", "https://graph.microsoft.us"),
            Self::UsGovernmentDod => ("https://login.microsoftonline.us", "https://dod-graph.microsoft.us"),
            Self::China => {
                ("https://login.partner.microsoftonline.cn", "https://microsoftgraph.chinacloudapi.cn")
            }
            Self::Custom(endpoints) => return endpoints.clone(),
        };
        let constant = |text: &str| Url::parse(text).expect("a constant URL parses");
        Endpoints { authority: constant(authority), graph: constant(graph) }
    }

    /// Microsoft's own clouds.
    pub const MICROSOFT: [Self; 4] =
        [Self::Worldwide, Self::UsGovernment, Self::UsGovernmentDod, Self::China];

    /// Name in the API and the command line.
    pub fn as_str(&self) -> &'static str {
        match self {
            Self::Worldwide => "worldwide",
            Self::UsGovernment => "us-government",
            Self::UsGovernmentDod => "us-government-dod",
            Self::China => "china",
            Self::Custom(_) => "custom",
        }
    }

    /// The cloud a server address of Exchange Online belongs to: `outlook.office365.us`, `smtp.office365.us`, ... None
    /// for a host that is none of Microsoft's, which may be the sandbox or Exchange on premises.
    pub fn from_server_host(host: &str) -> Option<Self> {
        let host = host.trim().trim_end_matches('.').to_ascii_lowercase();
        let within = |domain: &str| host == domain || host.ends_with(&format!(".{domain}"));
        match () {
            // Before the domain both have in common.
            () if host.starts_with("outlook-dod.") && within("office365.us") => Some(Self::UsGovernmentDod),
            () if host.ends_with("-dod.office365.us") => Some(Self::UsGovernmentDod),
            () if within("office365.us") => Some(Self::UsGovernment),
            () if within("partner.outlook.cn") => Some(Self::China),
            () if within("office365.com") || within("outlook.office.com") => Some(Self::Worldwide),
            () => None,
        }
    }

    /// Host of Exchange Online; for addresses of one's own the worldwide one, which tokens there are made for.
    pub fn exchange_host(&self) -> &'static str {
        match self {
            Self::Worldwide | Self::Custom(_) => "outlook.office365.com",
            Self::UsGovernment => "outlook.office365.us",
            Self::UsGovernmentDod => "outlook-dod.office365.us",
            Self::China => "partner.outlook.cn",
        }
    }

    /// The OAuth scope for Exchange Online: EWS, IMAP, POP and SMTP.
    pub fn exchange_scope(&self) -> String {
        format!("https://{}/.default", self.exchange_host())
    }

    /// The audience a federated credential is made for
    /// (<https://learn.microsoft.com/entra/workload-id/workload-identity-federation-considerations>).
    pub fn federated_audience(&self) -> &'static str {
        match self {
            Self::Worldwide | Self::Custom(_) => "api://AzureADTokenExchange",
            Self::UsGovernment | Self::UsGovernmentDod => "api://AzureADTokenExchangeUSGov",
            Self::China => "api://AzureADTokenExchangeChina",
        }
    }

    /// The portal an administrator opens: `https://entra.microsoft.com`.
    pub fn portal(&self) -> &'static str {
        match self {
            Self::Worldwide | Self::Custom(_) => "https://entra.microsoft.com",
            Self::UsGovernment | Self::UsGovernmentDod => "https://portal.azure.us",
            Self::China => "https://portal.azure.cn",
        }
    }
}

/// The settings of a connection as a person fills them in: may be incomplete, never holds a secret.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ConnectionSettings {
    /// Name shown to people, at most 100 characters; blank takes the kind's label.
    #[serde(default)]
    pub name: String,
    /// What it leads to.
    pub kind: ConnectionKind,
    /// Server address as typed: a host name or a URL whose host counts.
    #[serde(default)]
    pub server: String,
    /// TCP port; 0 means the standard port of the kind and TLS mode.
    #[serde(default)]
    pub port: u16,
    /// Protection of the line.
    #[serde(default)]
    pub tls: TlsMode,
    /// Directory (tenant) ID: a GUID or a verified domain.
    #[serde(default)]
    pub tenant_id: String,
    /// Application (client) ID: a GUID.
    #[serde(default)]
    pub application_id: String,
    /// Authentication flow.
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
            server: server.to_owned(),
            port: 0,
            tls: TlsMode::default(),
            tenant_id: String::new(),
            application_id: String::new(),
            flow: AuthenticationFlow::default(),
            user_name: String::new(),
            polling_interval: PollingInterval::default(),
            max_size_mb: Self::DEFAULT_MAX_SIZE_MB,
            cloud: Cloud::default(),
        }
    }

    /// The port in use: what was typed, or the standard port of kind and TLS mode (RFC 8314 for mail).
    pub fn effective_port(&self) -> u16 {
        match (self.port, self.kind, self.tls) {
            (0, ConnectionKind::ExchangeOnline | ConnectionKind::Exchange, _) => 443,
            (0, ConnectionKind::Imap, TlsMode::Implicit) => 993,
            (0, ConnectionKind::Imap, _) => 143,
            (0, ConnectionKind::Smtp, TlsMode::Implicit) => 465,
            (0, ConnectionKind::Smtp, TlsMode::Starttls) => 587,
            (0, ConnectionKind::Smtp, TlsMode::Plain) => 25,
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

    /// Everything that is wrong, at its field. Errors block saving, warnings do not.
    pub fn validate(&self, secret: SecretField<'_>) -> Problems {
        let mut problems = Problems::new();
        if self.name.chars().count() > 100 || self.name.chars().any(char::is_control) {
            problems.error("name", "Name is too long or holds control characters (at most 100 characters)");
        }
        self.validate_server(&mut problems);
        if !(1..=150).contains(&self.max_size_mb) {
            problems.error("max_size_mb", "Maximum size for files in e-mail must be 1 to 150 MB");
        }
        match self.kind {
            ConnectionKind::ExchangeOnline => self.validate_application(secret, &mut problems),
            ConnectionKind::Exchange | ConnectionKind::Imap | ConnectionKind::Smtp => {
                if !self.user_name.trim().is_empty() && matches!(secret, SecretField::Missing) {
                    problems.error("secret", "Password is missing");
                }
            }
        }
        problems
    }

    fn validate_server(&self, problems: &mut Problems) {
        if self.server.trim().is_empty() {
            problems.error("server", "Server address is missing");
            return;
        }
        let host = match HostName::from_pasted(&self.server) {
            Ok(host) => host,
            Err(error) => {
                problems.error("server", error.to_string());
                return;
            }
        };
        if self.tls == TlsMode::Plain && !is_loopback(host.as_str()) {
            problems
                .error("tls", "Without TLS only this machine can be reached")
                .hint("Choose TLS or STARTTLS; passwords and mail would cross the network readable.");
        }
    }

    fn validate_application(&self, secret: SecretField<'_>, problems: &mut Problems) {
        let application = self.application_id.trim();
        if application.is_empty() {
            problems.error("application_id", "Application (client) ID is missing");
        } else if !is_guid(application) {
            problems
                .error("application_id", "Application (client) ID is not a GUID")
                .hint("Copy it from the app registration's Overview page; it has the form 1b2c3d4e-....");
        }
        let tenant = self.tenant_id.trim().to_ascii_lowercase();
        if tenant.is_empty() {
            problems.error("tenant_id", "Directory (tenant) ID is missing");
        } else if ["common", "organizations", "consumers"].contains(&tenant.as_str()) {
            problems
                .error("tenant_id", format!("Directory (tenant) ID cannot be `{tenant}`"))
                .hint("An application signs in to one tenant: copy the Directory (tenant) ID, or type a verified domain.");
        } else if !is_guid(&tenant) && !is_domain(&tenant) {
            problems
                .error("tenant_id", "Directory (tenant) ID is neither a GUID nor a domain")
                .hint("Copy it from the app registration's Overview page.");
        } else if !application.is_empty() && tenant == application.to_ascii_lowercase() {
            problems
                .error("tenant_id", "Directory (tenant) ID is the same as Application (client) ID")
                .hint("One of the two was pasted twice.");
        }
        match self.flow {
            AuthenticationFlow::ClientSecret => validate_secret(secret, problems),
            AuthenticationFlow::Password => problems
                .warning(
                    "flow",
                    "User name/Password is discouraged: it fails with multi-factor authentication",
                )
                .hint("Choose Client secret."),
            AuthenticationFlow::Certificate => validate_certificate(secret, problems),
            AuthenticationFlow::Federated => validate_federated(secret, problems),
        }
        if let Cloud::Custom(endpoints) = &self.cloud {
            for (field, url) in [("authority", &endpoints.authority), ("graph", &endpoints.graph)] {
                let https = url.scheme() == "https";
                let loopback = url.scheme() == "http" && url.host_str().is_some_and(is_loopback);
                if !https && !loopback {
                    problems.error(field, format!("{url} is not https, and not on this machine"));
                }
            }
        }
    }
}

/// The secret's *Value* is wanted; its *ID* is a GUID and stands right beside it in the portal.
fn validate_secret(secret: SecretField<'_>, problems: &mut Problems) {
    match secret {
        SecretField::Missing => {
            problems.error("secret", "Client secret is missing");
        }
        SecretField::Typed(text) if text.expose_secret().trim().is_empty() => {
            problems.error("secret", "Client secret is missing");
        }
        SecretField::Typed(text) if is_guid(text.expose_secret().trim()) => {
            problems
                .error("secret", "Client secret looks like the Secret ID")
                .hint("This is the Secret ID; copy the Value column. It is shown only once: if it is gone, make a new secret.");
        }
        SecretField::Typed(text) if text.expose_secret().chars().any(char::is_whitespace) => {
            problems
                .error("secret", "Client secret holds a blank or a line end")
                .hint("Copy the Value again, without what stands around it.");
        }
        SecretField::Stored | SecretField::Typed(_) => {}
    }
}

/// Certificate and private key in one PEM text. What is in the blocks is judged where it is read.
fn validate_certificate(secret: SecretField<'_>, problems: &mut Problems) {
    let text = match secret {
        SecretField::Stored => return,
        SecretField::Missing => "",
        SecretField::Typed(text) => text.expose_secret().trim(),
    };
    let hint = "Paste both blocks of the PEM text, give a PFX file, or let Postroom make the certificate.";
    if text.is_empty() {
        problems.error("secret", "Certificate is missing");
    } else if !text.contains("-----BEGIN CERTIFICATE-----") {
        problems.error("secret", "Certificate is not in the text: no BEGIN CERTIFICATE").hint(hint);
    } else if !text.contains("PRIVATE KEY-----") {
        problems.error("secret", "Certificate has no private key beside it").hint(hint);
    } else if text.contains("-----BEGIN ENCRYPTED PRIVATE KEY-----") {
        problems
            .error("secret", "The certificate's private key is encrypted")
            .hint("Give a PFX file with its password, or decrypt the key first.");
    }
}

/// A place where another identity provider's token is found: `file:/path` or `env:NAME`.
fn validate_federated(secret: SecretField<'_>, problems: &mut Problems) {
    let text = match secret {
        SecretField::Stored => return,
        SecretField::Missing => "",
        SecretField::Typed(text) => text.expose_secret().trim(),
    };
    let good = match text.split_once(':') {
        Some(("file", path)) => path.trim().starts_with('/') || path.trim().get(1..3) == Some(":\\"),
        Some(("env", name)) => !name.trim().is_empty() && !name.contains('='),
        _ => false,
    };
    if text.is_empty() {
        problems.error("secret", "Federated credential is missing");
    } else if !good {
        problems.error("secret", "Federated credential is not a place where the token is found").hint(
            "Write file:/path/of/the/token or env:NAME. The token itself is read there at each sign-in.",
        );
    }
}

/// Whether `text` has the shape of a GUID: 8-4-4-4-12 hexadecimal digits.
pub fn is_guid(text: &str) -> bool {
    text.len() == 36 && uuid::Uuid::try_parse(text).is_ok()
}

/// Whether `text` has the shape of a domain: a host name of at least two labels.
fn is_domain(text: &str) -> bool {
    text.contains('.') && text.parse::<HostName>().is_ok()
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

#[cfg(test)]
mod tests {
    use super::*;

    const APPLICATION: &str = "5a1b2c3d-0000-4000-8000-00000000a001";
    const TENANT: &str = "5a1b2c3d-0000-4000-8000-00000000b001";

    fn messages(settings: &ConnectionSettings, secret: SecretField<'_>) -> Vec<String> {
        settings.validate(secret).errors().map(|problem| problem.message.clone()).collect()
    }

    #[test]
    fn the_guides_errors_appear_and_vanish_in_its_order() {
        let mut settings = ConnectionSettings::new(ConnectionKind::ExchangeOnline);
        let missing = SecretField::Missing;
        assert_eq!(
            messages(&settings, missing),
            ["Application (client) ID is missing", "Directory (tenant) ID is missing"]
        );
        settings.application_id = APPLICATION.into();
        assert_eq!(messages(&settings, missing), ["Directory (tenant) ID is missing"]);
        settings.tenant_id = TENANT.into();
        assert!(messages(&settings, missing).is_empty());
        settings.flow = AuthenticationFlow::ClientSecret;
        assert_eq!(messages(&settings, missing), ["Client secret is missing"]);
        let secret = SecretString::from("nQ3~invented.value_for-tests");
        assert!(messages(&settings, SecretField::Typed(&secret)).is_empty());
    }

    #[test]
    fn what_is_commonly_mixed_up_is_named() {
        let mut settings = ConnectionSettings::new(ConnectionKind::ExchangeOnline);
        settings.application_id = APPLICATION.into();
        settings.flow = AuthenticationFlow::ClientSecret;
        for (tenant, message) in [
            ("common", "Directory (tenant) ID cannot be `common`"),
            (APPLICATION, "Directory (tenant) ID is the same as Application (client) ID"),
            ("contoso", "Directory (tenant) ID is neither a GUID nor a domain"),
        ] {
            settings.tenant_id = tenant.into();
            assert_eq!(messages(&settings, SecretField::Stored), [message]);
        }
        settings.tenant_id = "contoso.example".into();
        let secret_id = SecretString::from("b5622740-d85f-4526-9d37-080000000000");
        assert_eq!(
            messages(&settings, SecretField::Typed(&secret_id)),
            ["Client secret looks like the Secret ID"]
        );
    }

    #[test]
    fn a_certificate_needs_its_key_and_a_federated_credential_a_place() {
        let mut settings = ConnectionSettings::new(ConnectionKind::ExchangeOnline);
        settings.application_id = APPLICATION.into();
        settings.tenant_id = TENANT.into();
        let first = |settings: &ConnectionSettings, text: &str| {
            messages(settings, SecretField::Typed(&SecretString::from(text))).into_iter().next()
        };
        settings.flow = AuthenticationFlow::Certificate;
        let certificate = "-----BEGIN CERTIFICATE-----\nx\n-----END CERTIFICATE-----\n";
        let key = "-----BEGIN PRIVATE KEY-----\nx\n-----END PRIVATE KEY-----\n";
        assert_eq!(first(&settings, &format!("{certificate}{key}")), None);
        for text in
            ["", "secret", certificate, key, &format!("{certificate}-----BEGIN ENCRYPTED PRIVATE KEY-----")]
        {
            assert!(first(&settings, text).is_some(), "{text}");
        }
        settings.flow = AuthenticationFlow::Federated;
        for (text, good) in [
            ("file:/var/run/secrets/token", true),
            ("file:C:\\tokens\\token", true),
            ("env:AZURE_TOKEN", true),
            ("file:token", false),
            ("eyJhbGciOi.eyJh.c2ln", false),
            ("", false),
        ] {
            assert_eq!(first(&settings, text).is_none(), good, "{text}");
        }
        assert!(messages(&settings, SecretField::Stored).is_empty());
    }

    #[test]
    fn a_server_address_tells_its_cloud() {
        for (host, cloud) in [
            ("outlook.office365.com", Some(Cloud::Worldwide)),
            ("smtp.office365.com", Some(Cloud::Worldwide)),
            ("Outlook.Office365.US", Some(Cloud::UsGovernment)),
            ("smtp.office365.us", Some(Cloud::UsGovernment)),
            ("outlook-dod.office365.us", Some(Cloud::UsGovernmentDod)),
            ("partner.outlook.cn", Some(Cloud::China)),
            ("smtp.partner.outlook.cn", Some(Cloud::China)),
            ("mail.contoso.example", None),
            ("outlook.office365.com.contoso.example", None),
            ("notoffice365.us", None),
        ] {
            assert_eq!(Cloud::from_server_host(host), cloud, "{host}");
        }
        for cloud in Cloud::MICROSOFT {
            assert_eq!(Cloud::from_server_host(cloud.exchange_host()), Some(cloud.clone()));
            let graph = cloud.endpoints().graph_scope();
            assert_eq!(graph, format!("{}.default", cloud.endpoints().graph));
            assert!(cloud.exchange_scope().ends_with("/.default"));
        }
    }

    #[test]
    fn without_tls_only_this_machine() {
        let mut settings = ConnectionSettings::new(ConnectionKind::Smtp);
        settings.server = "smtp.fabrikam.example".into();
        settings.tls = TlsMode::Plain;
        assert_eq!(
            messages(&settings, SecretField::Missing),
            ["Without TLS only this machine can be reached"]
        );
        settings.server = "127.0.0.1".into();
        assert!(messages(&settings, SecretField::Missing).is_empty());
        assert_eq!(settings.effective_port(), 25);
    }
}
