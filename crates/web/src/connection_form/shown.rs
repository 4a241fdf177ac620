//! What the templates are told of a form.

use postroom_model::connection::{
    AuthenticationFlow, Cloud, ConnectionKind, ConnectionSettings, ExchangeApi, TlsMode, WhenUnknown,
};
use serde_json::{Value, json};

use super::{ConnectionForm, FIELDS};
use crate::shown;

const CLOUDS: [(&str, &str); 5] = [
    ("worldwide", "Worldwide"),
    ("us-government", "US Government (GCC High)"),
    ("us-government-dod", "US Government (DoD)"),
    ("china", "China (21Vianet)"),
    ("custom", "Own addresses"),
];

impl ConnectionForm {
    /// For the templates. No secret is in it: only whether one is stored.
    pub(crate) fn shown(&self) -> Value {
        let settings = &self.settings;
        let problems = self.problems();
        let secret_input = self.secret_input();
        let target = |field: &str| if field == "secret" { secret_input.to_owned() } else { field.to_owned() };
        let online = settings.kind == ConnectionKind::ExchangeOnline;
        let smtp = settings.kind == ConnectionKind::Smtp;
        let mut value = json!({
            "id": self.stored.as_ref().map(|stored| stored.id),
            "kind": settings.kind.as_str(),
            "kind_label": settings.kind.label(),
            "name": settings.name,
            "server": settings.server,
            "port": self.raw.port,
            "standard_port": ConnectionSettings { port: 0, ..settings.clone() }.effective_port(),
            "polling_interval": self.raw.polling_interval,
            "max_size_mb": self.raw.max_size_mb,
            "max_files": max_files(settings.max_size_mb),
            "user_name": settings.user_name,
            "application_id": settings.application_id,
            "tenant_id": settings.tenant_id,
            "authority": self.raw.authority,
            "graph": self.raw.graph,
            "exchange": self.raw.exchange,
            "flow": settings.flow.as_str(),
            "flow_label": settings.flow.label(),
            "secret_expires": self.raw.secret_expires,
            "accept_plain": settings.accept_plain,
            "api_label": settings.api.label(),
            "problems": shown::problems(&problems, &FIELDS, target),
        });
        let lists = [
            (
                "flows",
                options(
                    AuthenticationFlow::ALL.map(|one| (one.as_str(), one.label())),
                    settings.flow.as_str(),
                ),
            ),
            ("tls_modes", options(tls_modes(settings.kind), settings.tls.as_str())),
            ("tls_relay", options(relay_modes(settings.kind), settings.tls.as_str())),
            ("clouds", options(CLOUDS, settings.cloud.as_str())),
            ("kinds", options(kinds(), settings.kind.as_str())),
            ("apis", options(ExchangeApi::ALL.map(|one| (one.as_str(), one.label())), settings.api.as_str())),
            (
                "policies",
                options(
                    WhenUnknown::ALL.map(|one| (one.as_str(), one.label())),
                    settings.when_unknown.as_str(),
                ),
            ),
        ];
        let marks = [
            ("custom_cloud", matches!(settings.cloud, Cloud::Custom(_))),
            ("open_advanced", self.needs_application() && settings.cloud != Cloud::Worldwide),
            ("has_application", self.needs_application()),
            ("has_user_name", self.needs_user_name()),
            ("has_password", self.needs_password()),
            ("has_flow", settings.kind != ConnectionKind::Exchange),
            ("has_client_secret", secret_input == "client_secret"),
            ("has_tls", !online),
            ("has_api", online),
            ("has_policy", smtp),
            ("has_advanced", self.needs_application() || smtp),
            ("is_plain", settings.tls == TlsMode::Plain && !online),
            ("can_migrate", online && settings.api == ExchangeApi::Ews && self.stored.is_some()),
            ("stored", self.may_reuse_secret()),
            ("asks_for_expiry", self.asks_for_expiry()),
            // Said where the secret is asked for again although one is stored.
            ("retype", self.has_secret && !self.may_reuse_secret() && self.typed.is_none()),
        ];
        for (name, list) in lists {
            value[name] = list;
        }
        for (name, mark) in marks {
            value[name] = mark.into();
        }
        value
    }
}

fn options<const N: usize>(list: [(&'static str, &'static str); N], chosen: &str) -> Value {
    list.iter()
        .filter(|(value, _)| !value.is_empty())
        .map(|(value, label)| json!({ "value": value, "label": label, "chosen": *value == chosen }))
        .collect()
}

fn kinds() -> [(&'static str, &'static str); 3] {
    [ConnectionKind::Exchange, ConnectionKind::Imap, ConnectionKind::ExchangeOnline]
        .map(|kind| (kind.as_str(), kind.label()))
}

/// The modes to choose from. Exchange speaks HTTP, which has no STARTTLS.
fn tls_modes(kind: ConnectionKind) -> [(&'static str, &'static str); 3] {
    [TlsMode::Implicit, TlsMode::Starttls, TlsMode::Plain].map(|mode| match (mode, kind) {
        (TlsMode::Starttls, ConnectionKind::Exchange) => ("", ""),
        (TlsMode::Implicit, ConnectionKind::Exchange) => (mode.as_str(), "TLS (https)"),
        _ => (mode.as_str(), mode.label()),
    })
}

/// What is for a relay in the house only.
fn relay_modes(kind: ConnectionKind) -> [(&'static str, &'static str); 1] {
    let mode = TlsMode::StarttlsIfOffered;
    [if kind == ConnectionKind::Smtp { (mode.as_str(), mode.label()) } else { ("", "") }]
}

/// How many MB of files fit into a limit: encoded, three bytes become four, and each line of 76 has an end of two.
fn max_files(max_size_mb: u32) -> String {
    let tenths = u64::from(max_size_mb) * 10 * 3 * 76 / (4 * 78);
    format!("{}.{}", tenths / 10, tenths % 10)
}
