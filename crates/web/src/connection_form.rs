//! The fields of a connection as a form, shared by the outgoing and the incoming settings: from what is stored, from
//! what was posted, to what the templates show (`shown`). A secret goes in and never comes out.

mod shown;

use postroom_model::connection::{
    AuthenticationFlow, Cloud, Connection, ConnectionKind, ConnectionSettings, Endpoints, SecretField,
};
use postroom_model::credential::{Credential, CredentialState};
use postroom_model::{Problems, SecretString, Timestamp};
use postroom_store::{NewCredential, Store, StoreError};
use url::Url;

use crate::fields::Fields;

/// Fields that a problem can be shown at.
const FIELDS: [&str; 18] = [
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
    "exchange",
    "api",
    "accept_plain",
    "when_unknown",
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
    exchange: String,
}

impl Raw {
    fn of(settings: &ConnectionSettings) -> Self {
        let (authority, graph, exchange) = match &settings.cloud {
            Cloud::Custom(endpoints) => (
                endpoints.authority.to_string(),
                endpoints.graph.to_string(),
                endpoints.exchange.as_ref().map(Url::to_string).unwrap_or_default(),
            ),
            _ => Default::default(),
        };
        Self {
            secret_expires: String::new(),
            port: settings.port.to_string(),
            polling_interval: settings.polling_interval.to_string().replace('.', ","),
            max_size_mb: settings.max_size_mb.to_string(),
            authority,
            graph,
            exchange,
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
        choose(fields, "flow", &mut settings.flow);
        choose(fields, "tls", &mut settings.tls);
        choose(fields, "api", &mut settings.api);
        choose(fields, "when_unknown", &mut settings.when_unknown);
        // A check box that is not ticked is not sent, so the form says whether it asked.
        if fields.find("accept_plain_asked").is_some() {
            settings.accept_plain = fields.find("accept_plain").is_some();
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
        if let Some(text) = fields.find("exchange") {
            text.clone_into(&mut self.raw.exchange);
        }
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
        let exchange = match self.raw.exchange.trim() {
            "" => None,
            text => match text.parse::<Url>() {
                Ok(url) if url.has_host() => Some(url),
                _ => {
                    let message = "Exchange address is not an address such as https://mail.contoso.example";
                    self.unread.error("exchange", message);
                    None
                }
            },
        };
        Cloud::Custom(Endpoints { authority, graph, exchange })
    }

    /// Which input takes the secret: `password` (row 17) or `client_secret` (row 23).
    fn secret_input(&self) -> &'static str {
        if self.needs_application() && !self.needs_password() { "client_secret" } else { "password" }
    }

    fn needs_application(&self) -> bool {
        self.settings.uses_entra()
    }

    /// Whether a user's password is what it signs in with.
    fn needs_password(&self) -> bool {
        self.settings.flow == AuthenticationFlow::Password || !self.needs_application()
    }

    /// IMAP and SMTP name the mailbox that a token is used for, too; without it, it is that of the account or sender.
    fn needs_user_name(&self) -> bool {
        self.settings.kind != ConnectionKind::ExchangeOnline || self.needs_password()
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
            kind: self.settings.credential_kind(),
            secret,
            expires_at: self.expires_at(),
            key_id: None,
        })
    }
}

/// What was chosen in a closed list; a word that is none of it, or none at all, changes nothing.
fn choose<T: std::str::FromStr>(fields: &Fields, name: &str, place: &mut T) {
    if let Some(chosen) = fields.find(name).and_then(|text| text.parse().ok()) {
        *place = chosen;
    }
}

/// The credential in use, when it fits kind and flow.
async fn current(
    store: &dyn Store,
    settings: &ConnectionSettings,
    stored: Option<&Connection>,
) -> Result<Option<Credential>, StoreError> {
    let Some(stored) = stored else { return Ok(None) };
    let kind = settings.credential_kind();
    let credentials = store.credentials(stored.id).await?;
    Ok(credentials.into_iter().find(|known| known.state == CredentialState::Current && known.kind == kind))
}
