//! The fields of a connection as a form, shared by the outgoing and the incoming settings: from what is stored, from
//! what was posted, to what the templates show. A secret goes in and never comes out.

use postroom_model::connection::{
    AuthenticationFlow, Cloud, Connection, ConnectionKind, ConnectionSettings, Endpoints, SecretField,
    TlsMode,
};
use postroom_model::credential::{Credential, CredentialKind, CredentialState};
use postroom_model::{Problems, SecretString, Timestamp};
use postroom_store::{NewCredential, Store, StoreError};
use serde_json::{Value, json};
use url::Url;

use crate::fields::Fields;
use crate::shown;

/// Fields that a problem can be shown at.
const FIELDS: [&str; 14] = [
    "name",
    "server",
    "port",
    "tls",
    "tenant_id",
    "application_id",
    "flow",
    "user_name",
    "secret",
    "secret_expires",
    "polling_interval",
    "max_size_mb",
    "authority",
    "graph",
];

/// A connection as it stands in a form.
pub(crate) struct ConnectionForm {
    pub(crate) settings: ConnectionSettings,
    /// The saved connection that the form is about.
    pub(crate) stored: Option<Connection>,
    /// Whether a secret is stored that fits kind and flow.
    has_secret: bool,
    /// The secret typed now.
    typed: Option<SecretString>,
    /// When the client secret ends, as far as it is known.
    expires_at: Option<Timestamp>,
    /// What could not be read, as it was typed, beside the problem it makes.
    raw: Raw,
    unread: Problems,
}

/// Fields that are not text inside, as they are typed.
struct Raw {
    secret_expires: String,
    port: String,
    polling_interval: String,
    max_size_mb: String,
    authority: String,
    graph: String,
}

impl Raw {
    fn of(settings: &ConnectionSettings) -> Self {
        let (authority, graph) = match &settings.cloud {
            Cloud::Custom(endpoints) => (endpoints.authority.to_string(), endpoints.graph.to_string()),
            _ => Default::default(),
        };
        Self {
            secret_expires: String::new(),
            port: settings.port.to_string(),
            polling_interval: settings.polling_interval.to_string().replace('.', ","),
            max_size_mb: settings.max_size_mb.to_string(),
            authority,
            graph,
        }
    }
}

impl ConnectionForm {
    /// What is stored, or a fresh connection of `kind`.
    pub(crate) async fn open(
        store: &dyn Store,
        kind: ConnectionKind,
        stored: Option<Connection>,
    ) -> Result<Self, StoreError> {
        let settings =
            stored.as_ref().map_or_else(|| ConnectionSettings::new(kind), |known| known.settings.clone());
        let current = current(store, &settings, stored.as_ref()).await?;
        let mut raw = Raw::of(&settings);
        let expires_at = current.as_ref().and_then(|credential| credential.expires_at);
        raw.secret_expires = expires_at.map(|end| end.strftime("%Y-%m-%d").to_string()).unwrap_or_default();
        let has_secret = current.is_some();
        Ok(Self { settings, stored, has_secret, typed: None, expires_at, raw, unread: Problems::new() })
    }

    /// What was posted. A field that was not sent (switched off) keeps its stored value.
    pub(crate) async fn posted(
        store: &dyn Store,
        kind: ConnectionKind,
        stored: Option<Connection>,
        fields: &Fields,
    ) -> Result<Self, StoreError> {
        let mut form = Self::open(store, kind, stored).await?;
        form.settings.kind = kind;
        form.read_texts(fields);
        form.read_numbers(fields);
        form.read_cloud(fields);
        form.settings = form.settings.trimmed();
        form.has_secret = current(store, &form.settings, form.stored.as_ref()).await?.is_some();
        form.typed = fields.secret(form.secret_input());
        form.read_expiry(fields);
        Ok(form)
    }

    fn read_texts(&mut self, fields: &Fields) {
        let settings = &mut self.settings;
        for (name, place) in [
            ("name", &mut settings.name),
            ("server", &mut settings.server),
            ("tenant_id", &mut settings.tenant_id),
            ("application_id", &mut settings.application_id),
            ("user_name", &mut settings.user_name),
        ] {
            if let Some(text) = fields.find(name) {
                text.clone_into(place);
            }
        }
        if let Some(flow) = fields.find("flow").and_then(|text| text.parse().ok()) {
            settings.flow = flow;
        }
        if let Some(tls) = fields.find("tls").and_then(|text| text.parse().ok()) {
            settings.tls = tls;
        }
    }

    fn read_numbers(&mut self, fields: &Fields) {
        if let Some(text) = fields.find("port") {
            text.clone_into(&mut self.raw.port);
            match text.trim().parse().or(if text.trim().is_empty() { Ok(0) } else { Err(()) }) {
                Ok(port) => self.settings.port = port,
                Err(()) => self
                    .unread
                    .error("port", "Port must be 0 (standard) to 65535")
                    .hint("0 means the standard port."),
            }
        }
        if let Some(text) = fields.find("max_size_mb") {
            text.clone_into(&mut self.raw.max_size_mb);
            match text.trim().parse() {
                Ok(size) => self.settings.max_size_mb = size,
                Err(_) => {
                    self.unread.error(
                        "max_size_mb",
                        "Maximum size for files in e-mail must be a whole number of MB",
                    );
                }
            }
        }
        if let Some(text) = fields.find("polling_interval") {
            text.clone_into(&mut self.raw.polling_interval);
            match text.parse() {
                Ok(interval) => self.settings.polling_interval = interval,
                Err(error) => {
                    self.unread.error("polling_interval", format!("Polling interval: {error}"));
                }
            }
        }
    }

    /// A day as the portal shows it; the secret works to its beginning.
    fn read_expiry(&mut self, fields: &Fields) {
        let Some(text) = fields.find("secret_expires") else { return };
        // The same day again: the known instant is more exact than it.
        if text.trim() == self.raw.secret_expires {
            return;
        }
        text.trim().clone_into(&mut self.raw.secret_expires);
        self.expires_at = None;
        if text.trim().is_empty() {
            return;
        }
        match format!("{}T00:00:00Z", text.trim()).parse() {
            Ok(end) => self.expires_at = Some(end),
            Err(_) => {
                self.unread.error("secret_expires", "Client secret ends on: write a day such as 2027-05-22");
            }
        }
    }

    fn read_cloud(&mut self, fields: &Fields) {
        let Some(cloud) = fields.find("cloud") else { return };
        self.settings.cloud = match cloud {
            "us-government" => Cloud::UsGovernment,
            "us-government-dod" => Cloud::UsGovernmentDod,
            "china" => Cloud::China,
            "custom" => self.read_endpoints(fields),
            _ => Cloud::Worldwide,
        };
    }

    fn read_endpoints(&mut self, fields: &Fields) -> Cloud {
        fields.get("authority").clone_into(&mut self.raw.authority);
        fields.get("graph").clone_into(&mut self.raw.graph);
        let defaults = Cloud::Worldwide.endpoints();
        let mut read = |field: &str, label: &str, default: Url| match fields.get(field).trim().parse::<Url>()
        {
            Ok(url) if url.has_host() => url,
            _ => {
                self.unread.error(field, format!("{label} is not an address such as https://login.example"));
                default
            }
        };
        let authority = read("authority", "Sign-in address", defaults.authority);
        let graph = read("graph", "Graph address", defaults.graph);
        Cloud::Custom(Endpoints { authority, graph, exchange: None })
    }

    /// Which input takes the secret: `password` (row 17) or `client_secret` (row 23).
    fn secret_input(&self) -> &'static str {
        if self.needs_application() && self.settings.flow != AuthenticationFlow::Password {
            "client_secret"
        } else {
            "password"
        }
    }

    fn needs_application(&self) -> bool {
        self.settings.kind == ConnectionKind::ExchangeOnline
    }

    fn needs_user_name(&self) -> bool {
        !self.needs_application() || self.settings.flow == AuthenticationFlow::Password
    }

    /// Whether the stored secret is used when none is typed.
    pub(crate) fn may_reuse_secret(&self) -> bool {
        let stored = self.stored.as_ref().filter(|_| self.has_secret);
        stored.is_some_and(|stored| self.settings.may_keep_secret_of(&stored.settings))
    }

    fn secret_field(&self) -> SecretField<'_> {
        match &self.typed {
            Some(typed) => SecretField::Typed(typed),
            None if self.may_reuse_secret() => SecretField::Stored,
            None => SecretField::Missing,
        }
    }

    /// Everything that is wrong.
    pub(crate) fn problems(&self) -> Problems {
        let mut problems = self.unread.clone();
        if let Some(stored) = &self.stored {
            problems.extend(self.settings.may_replace(&stored.settings));
        }
        problems.extend(self.settings.validate(self.secret_field()));
        if self.typed.is_some() && self.asks_for_expiry() && self.raw.secret_expires.is_empty() {
            problems
                .warning("secret_expires", "Nobody will be told before the client secret ends")
                .hint("The day stands beside the secret in the portal, under Expires.");
        }
        problems
    }

    /// Whether the end of the credential is asked for: a certificate tells its own.
    fn asks_for_expiry(&self) -> bool {
        self.needs_application() && self.settings.flow == AuthenticationFlow::ClientSecret
    }

    /// The end of the client secret, where the form knows it.
    pub(crate) fn expires_at(&self) -> Option<Timestamp> {
        self.expires_at.filter(|_| self.asks_for_expiry())
    }

    /// The typed secret, to be tested.
    pub(crate) fn typed_secret(&self) -> Option<SecretString> {
        self.typed.clone()
    }

    /// What is to be stored beside the settings; none leaves the stored secret alone.
    pub(crate) fn new_credential(&self) -> Option<NewCredential> {
        let secret = self.typed.clone()?;
        Some(NewCredential {
            kind: credential_kind(&self.settings),
            secret,
            expires_at: self.expires_at(),
            key_id: None,
        })
    }

    /// For the templates. No secret is in it: only whether one is stored.
    pub(crate) fn shown(&self) -> Value {
        let settings = &self.settings;
        let problems = self.problems();
        let secret_input = self.secret_input();
        let target = |field: &str| if field == "secret" { secret_input.to_owned() } else { field.to_owned() };
        let options = |list: &[(&str, &str)], chosen: &str| -> Value {
            list.iter()
                .map(|(value, label)| json!({ "value": value, "label": label, "chosen": *value == chosen }))
                .collect()
        };
        json!({
            "kind": settings.kind.as_str(),
            "name": settings.name,
            "server": settings.server,
            "port": self.raw.port,
            "standard_port": ConnectionSettings { port: 0, ..settings.clone() }.effective_port(),
            "polling_interval": self.raw.polling_interval,
            "max_size_mb": self.raw.max_size_mb,
            "user_name": settings.user_name,
            "application_id": settings.application_id,
            "tenant_id": settings.tenant_id,
            "authority": self.raw.authority,
            "graph": self.raw.graph,
            "custom_cloud": matches!(settings.cloud, Cloud::Custom(_)),
            "other_cloud": settings.cloud != Cloud::Worldwide,
            "flow": settings.flow.as_str(),
            "flow_label": settings.flow.label(),
            "flows": options(&AuthenticationFlow::ALL.map(|flow| (flow.as_str(), flow.label())), settings.flow.as_str()),
            "tls_modes": options(&TlsMode::ALL.map(|mode| (mode.as_str(), mode.label())), settings.tls.as_str()),
            "clouds": options(&CLOUDS, cloud_name(&settings.cloud)),
            "kinds": options(
                &[ConnectionKind::Exchange, ConnectionKind::Imap, ConnectionKind::ExchangeOnline]
                    .map(|kind| (kind.as_str(), kind.label())),
                settings.kind.as_str(),
            ),
            "has_application": self.needs_application(),
            "has_user_name": self.needs_user_name(),
            "has_client_secret": secret_input == "client_secret",
            "has_tls": matches!(settings.kind, ConnectionKind::Smtp | ConnectionKind::Imap),
            "stored": self.may_reuse_secret(),
            "asks_for_expiry": self.asks_for_expiry(),
            "secret_expires": self.raw.secret_expires,
            // Said where the secret is asked for again although one is stored.
            "retype": self.has_secret && !self.may_reuse_secret() && self.typed.is_none(),
            "problems": shown::problems(&problems, &FIELDS, target),
        })
    }
}

const CLOUDS: [(&str, &str); 5] = [
    ("worldwide", "Worldwide"),
    ("us-government", "US Government (GCC High)"),
    ("us-government-dod", "US Government (DoD)"),
    ("china", "China (21Vianet)"),
    ("custom", "Own addresses"),
];

fn cloud_name(cloud: &Cloud) -> &'static str {
    match cloud {
        Cloud::Worldwide => "worldwide",
        Cloud::UsGovernment => "us-government",
        Cloud::UsGovernmentDod => "us-government-dod",
        Cloud::China => "china",
        Cloud::Custom(_) => "custom",
    }
}

fn credential_kind(settings: &ConnectionSettings) -> CredentialKind {
    match (settings.kind, settings.flow) {
        (ConnectionKind::ExchangeOnline, AuthenticationFlow::ClientSecret) => CredentialKind::ClientSecret,
        (ConnectionKind::ExchangeOnline, AuthenticationFlow::Certificate) => CredentialKind::Certificate,
        (ConnectionKind::ExchangeOnline, AuthenticationFlow::Federated) => CredentialKind::FederatedToken,
        _ => CredentialKind::Password,
    }
}

/// The credential in use, when it fits kind and flow.
async fn current(
    store: &dyn Store,
    settings: &ConnectionSettings,
    stored: Option<&Connection>,
) -> Result<Option<Credential>, StoreError> {
    let Some(stored) = stored else { return Ok(None) };
    let kind = credential_kind(settings);
    let credentials = store.credentials(stored.id).await?;
    Ok(credentials.into_iter().find(|known| known.state == CredentialState::Current && known.kind == kind))
}
