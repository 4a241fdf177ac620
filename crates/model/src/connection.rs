//! Connections: how to reach one server or tenant with one credential, and the rules that say what is missing.
//! Field labels and error texts are those of the screens people know (E-mail and Settings for incoming e-mail).

mod choices;
mod cloud;
mod secret;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use url::Url;

use crate::SecretString;
use crate::address::HostName;
use crate::id::ConnectionId;
use crate::polling::PollingInterval;
use crate::problem::Problems;

pub use choices::{
    AuthenticationFlow, ConnectionKind, EmailMethod, ExchangeApi, TlsMode, UnknownWord, WhenUnknown,
};
pub use cloud::{Cloud, Endpoints};
use secret::{validate_certificate, validate_federated, validate_secret};

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
