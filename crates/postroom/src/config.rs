//! `postroom.toml`, the environment, and what is checked in them. Every key is in [`REFERENCE`], which is also what
//! `postroom config show` prints; a test holds the two together.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsString;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use postroom_engine::watch::WatchSettings;
use postroom_engine::watch::mail::MailSettings;
use postroom_engine::{EngineSettings, Pressure};
use postroom_model::mailbox::MailType;
use postroom_model::{EmailAddress, SecretString};
use postroom_store::Retention;
use serde::Deserialize;

/// The file as it is documented: every key with its default.
pub(crate) const REFERENCE: &str = include_str!("../postroom.toml");

/// A hundred years.
const MOST_DAYS: u64 = 36_500;

/// What can be configured. Missing keys take their defaults; unknown keys are errors.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Config {
    pub(crate) data_dir: PathBuf,
    pub(crate) key_file: Option<PathBuf>,
    pub(crate) listen: SocketAddr,
    pub(crate) public_url: Option<String>,
    pub(crate) secure_cookies: bool,
    pub(crate) retention: Kept,
    pub(crate) stop: Stop,
    pub(crate) metrics: Metrics,
    pub(crate) traces: Traces,
    pub(crate) store: Store,
    pub(crate) log: Log,
    pub(crate) limits: Limits,
    pub(crate) engine: Engine,
    pub(crate) credentials: Credentials,
    pub(crate) alerts: Alerts,
    pub(crate) watch: Watch,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            data_dir: PathBuf::from("postroom-data"),
            key_file: None,
            listen: SocketAddr::from(([127, 0, 0, 1], 8025)),
            public_url: None,
            secure_cookies: false,
            retention: Kept::default(),
            stop: Stop::default(),
            metrics: Metrics::default(),
            traces: Traces::default(),
            store: Store::default(),
            log: Log::default(),
            limits: Limits::default(),
            engine: Engine::default(),
            credentials: Credentials::default(),
            alerts: Alerts::default(),
            watch: Watch::default(),
        }
    }
}

/// How many days messages are kept; 0 for ever.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Kept {
    pub(crate) sent_days: u32,
    pub(crate) failed_days: u32,
    pub(crate) received_days: u32,
    pub(crate) types: BTreeMap<MailType, u32>,
}

/// How a first signal to stop is obeyed.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Stop {
    pub(crate) drain_seconds: u32,
    pub(crate) finish_seconds: u32,
}

impl Default for Stop {
    fn default() -> Self {
        Self { drain_seconds: 0, finish_seconds: 60 }
    }
}

/// Who may read the figures, and how many mailboxes are told one by one.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Metrics {
    pub(crate) read: MetricsReader,
    pub(crate) bearer_file: Option<PathBuf>,
    pub(crate) mailboxes: u32,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum MetricsReader {
    Off,
    #[default]
    Loopback,
    Bearer,
}

/// Where traces go; nowhere without an endpoint.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Traces {
    pub(crate) endpoint: Option<String>,
}

/// The database; one file in the data folder without an address.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Store {
    #[serde(deserialize_with = "secret")]
    pub(crate) url: Option<SecretString>,
    pub(crate) url_file: Option<PathBuf>,
    pub(crate) connections: u32,
}

impl Default for Store {
    fn default() -> Self {
        Self { url: None, url_file: None, connections: 10 }
    }
}

impl Store {
    /// The longest address that is read from a file, in bytes.
    const MAX_URL: u64 = 4096;

    /// Whether other nodes may work on the same database.
    pub(crate) fn is_shared(&self) -> bool {
        self.url.is_some() || self.url_file.is_some()
    }

    /// The address of the database; none where it is a file.
    pub(crate) fn url(&self) -> Result<Option<SecretString>, ConfigError> {
        match (&self.url, &self.url_file) {
            (Some(url), _) => Ok(Some(url.clone())),
            (None, Some(path)) => Self::read_url(path).map(Some),
            (None, None) => Ok(None),
        }
    }

    /// The address that a file holds.
    pub(crate) fn read_url(path: &Path) -> Result<SecretString, ConfigError> {
        let read = std::fs::File::open(path).and_then(|file| {
            let mut text = String::new();
            std::io::Read::read_to_string(&mut std::io::Read::take(file, Self::MAX_URL), &mut text)?;
            Ok(SecretString::from(text.trim()))
        });
        read.map_err(|source| ConfigError::Read { path: path.to_owned(), source })
    }
}

fn secret<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<Option<SecretString>, D::Error> {
    Option::<String>::deserialize(deserializer).map(|text| text.map(SecretString::from))
}

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Log {
    pub(crate) level: String,
    pub(crate) format: LogFormat,
}

impl Default for Log {
    fn default() -> Self {
        Self { level: "info".to_owned(), format: LogFormat::Text }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
pub(crate) enum LogFormat {
    /// One line for people
    Text,
    /// One JSON object on each line
    Json,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Limits {
    pub(crate) max_request_mb: u32,
    pub(crate) max_collect_mb: u32,
    pub(crate) max_waiting: u32,
    pub(crate) max_stall_ms: u32,
}

impl Default for Limits {
    fn default() -> Self {
        let Pressure { waiting, stall_ms } = Pressure::default();
        Self { max_request_mb: 50, max_collect_mb: 150, max_waiting: waiting, max_stall_ms: stall_ms }
    }
}

/// Bytes of a megabyte of memory.
const MIB: u64 = 1_048_576;

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Engine {
    pub(crate) send_parallel: u32,
    pub(crate) send_memory_mb: u32,
    pub(crate) collect_parallel: u32,
    pub(crate) idle_poll_ms: u64,
    pub(crate) lease_seconds: u32,
    pub(crate) retry_window_hours: u32,
    pub(crate) retry_longest_seconds: u32,
}

impl Default for Engine {
    fn default() -> Self {
        let defaults = EngineSettings::default();
        Self {
            send_parallel: defaults.send_parallel,
            send_memory_mb: u32::try_from(defaults.send_memory_bytes / MIB).unwrap_or(u32::MAX),
            collect_parallel: defaults.collect_parallel,
            idle_poll_ms: defaults.idle_poll_ms,
            lease_seconds: defaults.lease_seconds,
            retry_window_hours: defaults.retry_window_hours,
            retry_longest_seconds: defaults.retry_longest_seconds,
        }
    }
}

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Credentials {
    pub(crate) renew: bool,
    pub(crate) renew_days_before: u32,
    pub(crate) scope_minutes: u32,
}

impl Default for Credentials {
    fn default() -> Self {
        let WatchSettings { renew, renew_days_before, scope_minutes, .. } = WatchSettings::default();
        Self { renew, renew_days_before, scope_minutes }
    }
}

/// Warnings by mail; none without `mail_to`.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Alerts {
    pub(crate) mail_to: Option<EmailAddress>,
    pub(crate) mail_from: Option<EmailAddress>,
    pub(crate) connection: Option<String>,
}

/// What is watched although nobody asks.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Watch {
    pub(crate) failing_minutes: u32,
    pub(crate) silence_hours: u32,
    pub(crate) reconcile_hour: u32,
    pub(crate) reconcile_days: u32,
    pub(crate) clock: bool,
    pub(crate) disk_warn_mb: u64,
    pub(crate) disk_refuse_mb: u64,
}

impl Default for Watch {
    fn default() -> Self {
        let defaults = WatchSettings::default();
        Self {
            failing_minutes: defaults.failing_minutes,
            silence_hours: defaults.silence_hours,
            reconcile_hour: defaults.reconcile_hour,
            reconcile_days: defaults.reconcile_days,
            clock: defaults.clock,
            disk_warn_mb: defaults.disk_warn_bytes / 1_000_000,
            disk_refuse_mb: defaults.disk_refuse_bytes / 1_000_000,
        }
    }
}

/// Why the configuration is not accepted.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ConfigError {
    #[error("read the configuration file {}", path.display())]
    Read {
        path: PathBuf,
        #[source]
        source: std::io::Error,
    },
    /// `postroom.toml:3:1: key `lisen`: unknown field ...`
    #[error("{place}: key `{key}`: {message}")]
    Wrong { place: String, key: String, message: String },
}

impl Config {
    /// Reads the file named by `path`, or `postroom.toml` in the working folder when there is one, and lays the
    /// `POSTROOM_*` variables over it.
    pub(crate) fn load(
        path: Option<&Path>,
        variables: impl Iterator<Item = (OsString, OsString)>,
    ) -> Result<Self, ConfigError> {
        let default = Path::new("postroom.toml");
        let file = path.or_else(|| default.exists().then_some(default));
        let text = match file {
            Some(path) => std::fs::read_to_string(path)
                .map_err(|source| ConfigError::Read { path: path.to_owned(), source })?,
            None => String::new(),
        };
        let name = file.map_or_else(|| "defaults".to_owned(), |path| path.display().to_string());
        let mut config: Self = toml::from_str(&text).map_err(|error| wrong(&name, &text, &error))?;
        let overridden = config.apply(variables)?;
        config.check(&name, &text, &overridden)?;
        Ok(config)
    }

    /// Each variable is the key in capitals, sections joined with an underscore: `POSTROOM_LOG_LEVEL`. Gives the
    /// variables that were used.
    fn apply(
        &mut self,
        variables: impl Iterator<Item = (OsString, OsString)>,
    ) -> Result<BTreeSet<String>, ConfigError> {
        let mut used = BTreeSet::new();
        for (name, value) in variables {
            let Some(name) = name.to_str().filter(|name| name.starts_with("POSTROOM_")) else { continue };
            let key = &name["POSTROOM_".len()..];
            // Container platforms announce a service of this name in these; they are no settings.
            if key == "PORT" || key.starts_with("PORT_") || key.starts_with("SERVICE_") {
                continue;
            }
            let fail = |message: String| ConfigError::Wrong {
                place: "environment".to_owned(),
                key: name.to_owned(),
                message,
            };
            let Ok(value) = value.into_string() else { return Err(fail("it is not UTF-8".to_owned())) };
            if value.trim().is_empty() {
                return Err(fail("it is blank; unset it to take the default".to_owned()));
            }
            used.insert(name.to_owned());
            match key {
                "DATA_DIR" => self.data_dir = PathBuf::from(value),
                "KEY_FILE" => self.key_file = Some(PathBuf::from(value)),
                "LISTEN" => self.listen = parse(&value).map_err(fail)?,
                "PUBLIC_URL" => self.public_url = Some(value),
                "SECURE_COOKIES" => self.secure_cookies = parse(&value).map_err(fail)?,
                "RETENTION_SENT_DAYS" => self.retention.sent_days = parse(&value).map_err(fail)?,
                "RETENTION_FAILED_DAYS" => self.retention.failed_days = parse(&value).map_err(fail)?,
                "RETENTION_RECEIVED_DAYS" => self.retention.received_days = parse(&value).map_err(fail)?,
                "STOP_DRAIN_SECONDS" => self.stop.drain_seconds = parse(&value).map_err(fail)?,
                "STOP_FINISH_SECONDS" => self.stop.finish_seconds = parse(&value).map_err(fail)?,
                "METRICS_READ" => {
                    self.metrics.read = match value.as_str() {
                        "off" => MetricsReader::Off,
                        "loopback" => MetricsReader::Loopback,
                        "bearer" => MetricsReader::Bearer,
                        _ => return Err(fail(format!("`{value}` is none of off, loopback, bearer"))),
                    }
                }
                "METRICS_BEARER_FILE" => self.metrics.bearer_file = Some(PathBuf::from(value)),
                "METRICS_MAILBOXES" => self.metrics.mailboxes = parse(&value).map_err(fail)?,
                "TRACES_ENDPOINT" => self.traces.endpoint = Some(value),
                "STORE_URL" => self.store.url = Some(SecretString::from(value)),
                "STORE_URL_FILE" => self.store.url_file = Some(PathBuf::from(value)),
                "STORE_CONNECTIONS" => self.store.connections = parse(&value).map_err(fail)?,
                "LOG_LEVEL" => self.log.level = value,
                "LOG_FORMAT" => {
                    self.log.format = match value.as_str() {
                        "text" => LogFormat::Text,
                        "json" => LogFormat::Json,
                        _ => return Err(fail(format!("`{value}` is neither text nor json"))),
                    }
                }
                "LIMITS_MAX_REQUEST_MB" => self.limits.max_request_mb = parse(&value).map_err(fail)?,
                "LIMITS_MAX_COLLECT_MB" => self.limits.max_collect_mb = parse(&value).map_err(fail)?,
                "LIMITS_MAX_WAITING" => self.limits.max_waiting = parse(&value).map_err(fail)?,
                "LIMITS_MAX_STALL_MS" => self.limits.max_stall_ms = parse(&value).map_err(fail)?,
                "ENGINE_SEND_PARALLEL" => self.engine.send_parallel = parse(&value).map_err(fail)?,
                "ENGINE_SEND_MEMORY_MB" => self.engine.send_memory_mb = parse(&value).map_err(fail)?,
                "ENGINE_COLLECT_PARALLEL" => self.engine.collect_parallel = parse(&value).map_err(fail)?,
                "ENGINE_IDLE_POLL_MS" => self.engine.idle_poll_ms = parse(&value).map_err(fail)?,
                "ENGINE_LEASE_SECONDS" => self.engine.lease_seconds = parse(&value).map_err(fail)?,
                "ENGINE_RETRY_WINDOW_HOURS" => {
                    self.engine.retry_window_hours = parse(&value).map_err(fail)?
                }
                "ENGINE_RETRY_LONGEST_SECONDS" => {
                    self.engine.retry_longest_seconds = parse(&value).map_err(fail)?
                }
                "CREDENTIALS_RENEW" => self.credentials.renew = parse(&value).map_err(fail)?,
                "CREDENTIALS_RENEW_DAYS_BEFORE" => {
                    self.credentials.renew_days_before = parse(&value).map_err(fail)?
                }
                "CREDENTIALS_SCOPE_MINUTES" => {
                    self.credentials.scope_minutes = parse(&value).map_err(fail)?
                }
                "WATCH_FAILING_MINUTES" => self.watch.failing_minutes = parse(&value).map_err(fail)?,
                "WATCH_SILENCE_HOURS" => self.watch.silence_hours = parse(&value).map_err(fail)?,
                "WATCH_RECONCILE_HOUR" => self.watch.reconcile_hour = parse(&value).map_err(fail)?,
                "WATCH_RECONCILE_DAYS" => self.watch.reconcile_days = parse(&value).map_err(fail)?,
                "WATCH_CLOCK" => self.watch.clock = parse(&value).map_err(fail)?,
                "WATCH_DISK_WARN_MB" => self.watch.disk_warn_mb = parse(&value).map_err(fail)?,
                "WATCH_DISK_REFUSE_MB" => self.watch.disk_refuse_mb = parse(&value).map_err(fail)?,
                "ALERTS_MAIL_TO" => self.alerts.mail_to = Some(parse(&value).map_err(fail)?),
                "ALERTS_MAIL_FROM" => self.alerts.mail_from = Some(parse(&value).map_err(fail)?),
                "ALERTS_CONNECTION" => self.alerts.connection = Some(value),
                // Names the file itself; read by the command line.
                "CONFIG" => {}
                _ => {
                    return Err(fail(
                        "there is no such setting; `postroom config show` lists them".to_owned(),
                    ));
                }
            }
        }
        Ok(used)
    }

    fn check(&self, name: &str, text: &str, overridden: &BTreeSet<String>) -> Result<(), ConfigError> {
        // What a variable says is wrong in the variable, whatever stands in the file.
        let wrong = |section: &str, key: &str, message: String| {
            let variable = format!("POSTROOM_{section}_{key}").to_ascii_uppercase();
            if overridden.contains(&variable) {
                return ConfigError::Wrong { place: "environment".to_owned(), key: variable, message };
            }
            ConfigError::Wrong { place: place_of(name, text, key), key: key.to_owned(), message }
        };
        let ranges = [
            ("store", "connections", u64::from(self.store.connections), 2, 200),
            ("limits", "max_request_mb", u64::from(self.limits.max_request_mb), 1, 500),
            ("limits", "max_collect_mb", u64::from(self.limits.max_collect_mb), 1, 500),
            ("limits", "max_waiting", u64::from(self.limits.max_waiting), 1, 100_000),
            ("limits", "max_stall_ms", u64::from(self.limits.max_stall_ms), 100, 600_000),
            ("retention", "received_days", u64::from(self.retention.received_days), 0, MOST_DAYS),
            ("stop", "drain_seconds", u64::from(self.stop.drain_seconds), 0, 300),
            ("stop", "finish_seconds", u64::from(self.stop.finish_seconds), 1, 3_600),
            ("metrics", "mailboxes", u64::from(self.metrics.mailboxes), 0, 1_000),
            ("engine", "send_parallel", u64::from(self.engine.send_parallel), 1, 256),
            ("engine", "send_memory_mb", u64::from(self.engine.send_memory_mb), 1, 65_536),
            ("engine", "collect_parallel", u64::from(self.engine.collect_parallel), 1, 256),
            ("engine", "idle_poll_ms", self.engine.idle_poll_ms, 50, 600_000),
            ("engine", "lease_seconds", u64::from(self.engine.lease_seconds), 10, 3_600),
            ("engine", "retry_window_hours", u64::from(self.engine.retry_window_hours), 1, 720),
            ("engine", "retry_longest_seconds", u64::from(self.engine.retry_longest_seconds), 1, 86_400),
            ("credentials", "renew_days_before", u64::from(self.credentials.renew_days_before), 1, 365),
            ("credentials", "scope_minutes", u64::from(self.credentials.scope_minutes), 1, 10_080),
            ("watch", "failing_minutes", u64::from(self.watch.failing_minutes), 1, 10_080),
            ("watch", "silence_hours", u64::from(self.watch.silence_hours), 0, 168),
            ("watch", "reconcile_hour", u64::from(self.watch.reconcile_hour), 0, 23),
            ("watch", "reconcile_days", u64::from(self.watch.reconcile_days), 0, 90),
            ("watch", "disk_warn_mb", self.watch.disk_warn_mb, 0, 1_000_000_000),
            ("watch", "disk_refuse_mb", self.watch.disk_refuse_mb, 0, 1_000_000_000),
        ];
        for (section, key, value, least, most) in ranges {
            if !(least..=most).contains(&value) {
                return Err(wrong(section, key, format!("{value} is outside {least} to {most}")));
            }
        }
        if self.store.url.is_some() && self.store.url_file.is_some() {
            return Err(wrong("store", "url_file", "url is given too: one of them is enough".to_owned()));
        }
        let half = match (&self.alerts.mail_to, &self.alerts.mail_from) {
            (Some(_), None) => Some(("mail_to", "mail_from")),
            (None, Some(_)) => Some(("mail_from", "mail_to")),
            _ => None,
        };
        if let Some((key, missing)) = half {
            return Err(wrong("alerts", key, format!("{missing} is missing: a mail needs both")));
        }
        for (key, days) in
            [("sent_days", self.retention.sent_days), ("failed_days", self.retention.failed_days)]
        {
            if days != 0 && !(7..=MOST_DAYS).contains(&u64::from(days)) {
                return Err(wrong("retention", key, format!("{days} is neither 0 nor 7 to {MOST_DAYS}")));
            }
        }
        if let Some((kind, days)) =
            self.retention.types.iter().find(|(_, days)| u64::from(**days) > MOST_DAYS)
        {
            let message = format!("{days} is outside 0 to {MOST_DAYS}");
            return Err(wrong("retention", kind.as_str(), message));
        }
        if self.metrics.read == MetricsReader::Bearer && self.metrics.bearer_file.is_none() {
            return Err(wrong(
                "metrics",
                "read",
                "bearer_file is missing: it holds what readers show".to_owned(),
            ));
        }
        if let Some(endpoint) = &self.traces.endpoint
            && !url::Url::parse(endpoint).is_ok_and(|url| postroom_entra::http::is_private(&url))
        {
            let message =
                format!("`{endpoint}` is neither an https address nor an http address of this machine");
            return Err(wrong("traces", "endpoint", message));
        }
        if let Some(address) = &self.public_url
            && !is_public_address(address)
        {
            let message = format!(
                "`{address}` is no https address without query, such as https://mail.contoso.example"
            );
            // The section is empty: the key stands at the top.
            let variable = "POSTROOM_PUBLIC_URL".to_owned();
            return Err(match overridden.contains(&variable) {
                true => ConfigError::Wrong { place: "environment".to_owned(), key: variable, message },
                false => ConfigError::Wrong {
                    place: place_of(name, text, "public_url"),
                    key: "public_url".to_owned(),
                    message,
                },
            });
        }
        if self.log.level.parse::<tracing_subscriber::EnvFilter>().is_err() {
            let message = format!("`{}` is not a log filter such as info or postroom=debug", self.log.level);
            return Err(wrong("log", "level", message));
        }
        Ok(())
    }

    /// Where the key is: as configured, else in the data folder.
    pub(crate) fn key_file(&self) -> PathBuf {
        self.key_file.clone().unwrap_or_else(|| self.data_dir.join("postroom.key"))
    }

    /// Where warnings are mailed to, if anywhere.
    pub(crate) fn mail_alerts(&self) -> Option<MailSettings> {
        let Alerts { mail_to, mail_from, connection } = self.alerts.clone();
        Some(MailSettings { to: mail_to?, from: mail_from?, connection })
    }

    /// How long messages are kept.
    pub(crate) fn retention(&self) -> Retention {
        let days = |days: u32| (days > 0).then_some(days);
        Retention {
            sent_days: days(self.retention.sent_days),
            failed_days: days(self.retention.failed_days),
            received_days: days(self.retention.received_days),
            types: self.retention.types.iter().map(|(kind, kept)| (*kind, days(*kept))).collect(),
        }
    }

    pub(crate) fn engine_settings(&self) -> EngineSettings {
        EngineSettings {
            send_parallel: self.engine.send_parallel,
            send_memory_bytes: u64::from(self.engine.send_memory_mb) * MIB,
            collect_parallel: self.engine.collect_parallel,
            idle_poll_ms: self.engine.idle_poll_ms,
            lease_seconds: self.engine.lease_seconds,
            retry_window_hours: self.engine.retry_window_hours,
            retry_longest_seconds: self.engine.retry_longest_seconds,
            max_collect_bytes: u64::from(self.limits.max_collect_mb) * 1_000_000,
            retention: self.retention(),
            pressure: Pressure { waiting: self.limits.max_waiting, stall_ms: self.limits.max_stall_ms },
            watch: WatchSettings {
                renew: self.credentials.renew,
                renew_days_before: self.credentials.renew_days_before,
                scope_minutes: self.credentials.scope_minutes,
                public_url: self.public_url.clone(),
                failing_minutes: self.watch.failing_minutes,
                silence_hours: self.watch.silence_hours,
                reconcile_hour: self.watch.reconcile_hour,
                reconcile_days: self.watch.reconcile_days,
                clock: self.watch.clock,
                data_folder: Some(self.data_dir.clone()),
                disk_warn_bytes: self.watch.disk_warn_mb * 1_000_000,
                disk_refuse_bytes: self.watch.disk_refuse_mb * 1_000_000,
            },
            ..EngineSettings::default()
        }
    }
}

/// An address that a provider can call: https, or http on this machine for trying it out.
fn is_public_address(address: &str) -> bool {
    url::Url::parse(address).is_ok_and(|url| {
        postroom_entra::http::is_private(&url) && url.query().is_none() && url.fragment().is_none()
    })
}

fn parse<T: std::str::FromStr>(value: &str) -> Result<T, String>
where
    T::Err: std::fmt::Display,
{
    value.trim().parse().map_err(|error| format!("`{value}`: {error}"))
}

/// Where the parser stopped, and the key on that line.
fn wrong(name: &str, text: &str, error: &toml::de::Error) -> ConfigError {
    let offset = error.span().map_or(0, |span| span.start.min(text.len()));
    let before = text.get(..offset).unwrap_or_default();
    let line = before.matches('\n').count() + 1;
    let column = offset - before.rfind('\n').map_or(0, |at| at + 1) + 1;
    let key = text.lines().nth(line - 1).unwrap_or_default();
    let key = key.split('=').next().unwrap_or_default().trim().to_owned();
    let message = error.message().lines().collect::<Vec<_>>().join(" ");
    ConfigError::Wrong { place: format!("{name}:{line}:{column}"), key, message }
}

/// File and line of a key, or the file alone when a default or a variable set it.
fn place_of(name: &str, text: &str, key: &str) -> String {
    let at = text.lines().position(|line| line.split('=').next().is_some_and(|word| word.trim() == key));
    at.map_or_else(|| name.to_owned(), |index| format!("{name}:{}:1", index + 1))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn load(text: &str, variables: &[(&str, &str)]) -> Result<Config, ConfigError> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("postroom.toml");
        std::fs::write(&path, text).unwrap();
        let owned = variables.iter().map(|(name, value)| (OsString::from(name), OsString::from(value)));
        Config::load(Some(&path), owned.collect::<Vec<_>>().into_iter())
    }

    fn said(text: &str, variables: &[(&str, &str)]) -> String {
        let error = load(text, variables).unwrap_err().to_string();
        error.rsplit_once('/').map_or(error.clone(), |(_, rest)| rest.to_owned())
    }

    #[test]
    fn the_documented_file_is_the_defaults() {
        let documented = load(REFERENCE, &[]).unwrap();
        assert_eq!(format!("{documented:?}"), format!("{:?}", Config::default()));
        // Every key of the structure is documented: the line of each stands in the file, as it is or commented out.
        for key in [
            "data_dir",
            "key_file",
            "listen",
            "public_url",
            "secure_cookies",
            "level",
            "format",
            "url",
            "url_file",
            "connections",
            "max_request_mb",
            "renew_days_before",
        ] {
            assert!(REFERENCE.contains(&format!("{key} = ")), "{key}");
        }
    }

    #[test]
    fn a_broken_line_is_named_by_file_line_and_key() {
        let unknown = said("listen = \"127.0.0.1:0\"\nlisen = 1\n", &[]);
        assert!(unknown.starts_with("postroom.toml:2:1: key `lisen`: unknown field `lisen`"), "{unknown}");
        let kind = said("[limits]\nmax_request_mb = \"large\"\n", &[]);
        assert!(kind.starts_with("postroom.toml:2:18: key `max_request_mb`: invalid type"), "{kind}");
        let range = said("[engine]\n\nsend_parallel = 0\n", &[]);
        assert_eq!(range, "postroom.toml:3:1: key `send_parallel`: 0 is outside 1 to 256");
        let syntax = said("listen = \n", &[]);
        assert!(syntax.starts_with("postroom.toml:1:"), "{syntax}");
    }

    #[test]
    fn the_address_of_the_database_comes_from_file_or_variable_and_is_never_printed() {
        let inline = load("[store]\nurl = \"postgres://a:hidden@b/c\"\n", &[]).unwrap();
        assert!(inline.store.is_shared() && !format!("{inline:?}").contains("hidden"), "{inline:?}");
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("url");
        std::fs::write(&path, "postgres://a:hidden@b/c\n").unwrap();
        let named = load("", &[("POSTROOM_STORE_URL_FILE", path.to_str().unwrap())]).unwrap();
        let url = named.store.url().unwrap().unwrap();
        assert_eq!(postroom_model::ExposeSecret::expose_secret(&url), "postgres://a:hidden@b/c");
        assert!(load("", &[]).unwrap().store.url().unwrap().is_none());
    }

    #[test]
    fn the_environment_wins_and_is_checked_too() {
        let config = load("data_dir = \"a\"\n", &[("POSTROOM_DATA_DIR", "b"), ("HOME", "x")]).unwrap();
        assert_eq!(config.data_dir, PathBuf::from("b"));
        assert_eq!(config.key_file(), PathBuf::from("b/postroom.key"));
        let typo = said("", &[("POSTROOM_LISEN", "1")]);
        assert!(typo.contains("POSTROOM_LISEN"), "{typo}");
        let range = said("[engine]\nsend_parallel = 4\n", &[("POSTROOM_ENGINE_SEND_PARALLEL", "0")]);
        assert_eq!(range, "environment: key `POSTROOM_ENGINE_SEND_PARALLEL`: 0 is outside 1 to 256");
        let address = load("public_url = \"http://mail.contoso.example\"\n", &[]).unwrap_err().to_string();
        let words = "postroom.toml:1:1: key `public_url`: `http://mail.contoso.example` is no https address";
        assert!(address.contains(words), "{address}");
        assert!(load("public_url = \"https://mail.contoso.example\"\n", &[]).is_ok());
        let blank = said("", &[("POSTROOM_KEY_FILE", " ")]);
        assert!(blank.starts_with("environment: key `POSTROOM_KEY_FILE`: it is blank"), "{blank}");
        let both = said("[store]\nurl = \"postgres://a:hidden@b/c\"\nurl_file = \"x\"\n", &[]);
        assert!(both.starts_with("postroom.toml:3:1: key `url_file`: url is given too"), "{both}");
        // What a container platform says of a service called postroom is not about us.
        assert!(load("", &[("POSTROOM_PORT", "tcp://10.0.0.1:80"), ("POSTROOM_SERVICE_HOST", "x")]).is_ok());
    }
}
