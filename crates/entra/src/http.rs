//! The one way to make an HTTP client, and what every caller needs around an answer: a body with a limit,
//! `Retry-After`, and errors written as one line.

use std::error::Error;
use std::fmt;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use postroom_model::connection::is_loopback;
use postroom_model::{ExposeSecret, SecretString};
use reqwest::header::{HeaderMap, RETRY_AFTER};
use reqwest::{NoProxy, Proxy};
use url::Url;

/// What every request says it is.
pub const USER_AGENT: &str = concat!("Postroom/", env!("CARGO_PKG_VERSION"));

/// The longest pause a server can ask for. A longer `Retry-After` is cut, so that a faulty header cannot stop a
/// mailbox for a year.
pub const MAX_RETRY_AFTER: SignedDuration = SignedDuration::from_hours(24);

/// Hosts that are never reached through a proxy: this machine.
const LOOPBACK: &str = "localhost,127.0.0.0/8,::1";

/// Time limits and proxy of an HTTP client.
#[derive(Debug, Clone)]
pub struct HttpSettings {
    /// Longest time to a connection, TLS included.
    pub connect: Duration,
    /// Longest silence while an answer is read.
    pub read: Duration,
    /// Longest time from the call to the last byte. A single call may set another with
    /// [`reqwest::RequestBuilder::timeout`].
    pub total: Duration,
    /// How to leave the local network.
    pub proxy: ProxySettings,
}

impl Default for HttpSettings {
    /// 10 s, 60 s, 120 s, and the proxy that the environment names.
    fn default() -> Self {
        Self {
            connect: Duration::from_secs(10),
            read: Duration::from_secs(60),
            total: Duration::from_secs(120),
            proxy: ProxySettings::from_environment(),
        }
    }
}

/// Proxies for each scheme. Their addresses may hold a password, so they are kept as secrets. This machine is
/// never reached through them.
#[derive(Debug, Clone, Default)]
pub struct ProxySettings {
    /// Proxy for `http` addresses.
    pub http: Option<SecretString>,
    /// Proxy for `https` addresses.
    pub https: Option<SecretString>,
    /// Hosts reached directly, separated by commas (`NO_PROXY`).
    pub except: String,
}

impl ProxySettings {
    /// What `http_proxy`, `https_proxy`, `all_proxy` and `no_proxy` say, in small or capital letters. `HTTP_PROXY`
    /// in capitals is ignored in a CGI environment, where a stranger's request header could set it.
    pub fn from_environment() -> Self {
        let read = |name: &str| {
            let value = std::env::var(name).or_else(|_| std::env::var(name.to_ascii_uppercase())).ok()?;
            (!value.trim().is_empty()).then_some(value)
        };
        let cgi = std::env::var_os("REQUEST_METHOD").is_some();
        let all = read("all_proxy");
        let http = if cgi { None } else { read("http_proxy") };
        Self {
            http: http.or_else(|| all.clone()).map(SecretString::from),
            https: read("https_proxy").or(all).map(SecretString::from),
            except: read("no_proxy").unwrap_or_default(),
        }
    }
}

/// Why no HTTP client could be made.
#[derive(Debug, thiserror::Error)]
pub enum HttpError {
    /// The address of a proxy is no address. The address itself is left out: it may hold a password.
    #[error("cannot use the proxy for {scheme} addresses: it is not a valid address")]
    Proxy {
        /// `http` or `https`.
        scheme: &'static str,
    },
    /// TLS could not be set up.
    #[error("cannot make an HTTP client")]
    Build {
        /// What the library says.
        #[source]
        source: reqwest::Error,
    },
}

impl HttpError {
    /// What to do about it.
    pub fn hint(&self) -> &'static str {
        match self {
            Self::Proxy { .. } => {
                "Write it as http://host:port in http_proxy, https_proxy or all_proxy, or remove it."
            }
            Self::Build { .. } => {
                "Usually this machine or container has no root certificates: install the package `ca-certificates`."
            }
        }
    }
}

/// An HTTP client with time limits, without redirects, and never through a proxy to this machine.
///
/// No redirects, because a token or a secret must not follow one to another host.
///
/// # Errors
/// [`HttpError`], with a hint: no root certificates, or a proxy that is no address.
pub fn client(settings: &HttpSettings) -> Result<reqwest::Client, HttpError> {
    let mut builder = reqwest::Client::builder()
        .user_agent(USER_AGENT)
        .connect_timeout(settings.connect)
        .read_timeout(settings.read)
        .timeout(settings.total)
        .redirect(reqwest::redirect::Policy::none())
        .referer(false)
        .no_proxy();
    let except = NoProxy::from_string(&format!("{LOOPBACK},{}", settings.proxy.except));
    if let Some(address) = &settings.proxy.http {
        let proxy = Proxy::http(address.expose_secret()).map_err(|_| HttpError::Proxy { scheme: "http" })?;
        builder = builder.proxy(proxy.no_proxy(except.clone()));
    }
    if let Some(address) = &settings.proxy.https {
        let proxy =
            Proxy::https(address.expose_secret()).map_err(|_| HttpError::Proxy { scheme: "https" })?;
        builder = builder.proxy(proxy.no_proxy(except));
    }
    builder.build().map_err(|source| HttpError::Build { source })
}

/// Why a body could not be read.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// It is larger than allowed; what was read is thrown away.
    #[error("the answer is larger than {limit} bytes")]
    TooLarge {
        /// The limit, in bytes.
        limit: u64,
    },
    /// The line broke or went silent.
    #[error("the answer broke off")]
    Network {
        /// What the library says, without the address.
        #[source]
        source: reqwest::Error,
    },
}

/// The body of an answer, at most `limit` bytes. A longer one is refused as soon as that is known: by
/// `Content-Length` before the first byte, else while reading.
///
/// # Errors
/// [`ReadError`].
pub async fn read_bounded(mut response: reqwest::Response, limit: u64) -> Result<Vec<u8>, ReadError> {
    let announced = response.content_length();
    if announced.is_some_and(|length| length > limit) {
        return Err(ReadError::TooLarge { limit });
    }
    // The announced length is the peer's word: at most 1 MiB is set aside on it.
    let room = announced.unwrap_or(0).min(1 << 20);
    let mut body = Vec::with_capacity(usize::try_from(room).unwrap_or(0));
    loop {
        let chunk = response.chunk().await;
        let chunk = chunk.map_err(|source| ReadError::Network { source: source.without_url() })?;
        let Some(chunk) = chunk else { return Ok(body) };
        if (body.len() as u64).saturating_add(chunk.len() as u64) > limit {
            return Err(ReadError::TooLarge { limit });
        }
        body.extend_from_slice(&chunk);
    }
}

/// What `Retry-After` asks for: seconds or a date (RFC 9110 section 10.2.3); never negative, at most
/// [`MAX_RETRY_AFTER`].
pub fn retry_after(headers: &HeaderMap, now: Timestamp) -> Option<SignedDuration> {
    let text = headers.get(RETRY_AFTER)?.to_str().ok()?.trim();
    let wait = if let Ok(seconds) = text.parse::<u32>() {
        SignedDuration::from_secs(i64::from(seconds))
    } else {
        let date = jiff::fmt::rfc2822::DateTimeParser::new().parse_timestamp(text).ok()?;
        date.duration_since(now)
    };
    Some(wait.clamp(SignedDuration::ZERO, MAX_RETRY_AFTER))
}

/// When the server says it answered: `Date` (RFC 9110 section 6.6.1).
pub fn date(headers: &HeaderMap) -> Option<Timestamp> {
    let text = headers.get(reqwest::header::DATE)?.to_str().ok()?.trim();
    jiff::fmt::rfc2822::DateTimeParser::new().parse_timestamp(text).ok()
}

/// Whether a token may be sent to this address: https, or http to this machine.
pub fn is_private(address: &Url) -> bool {
    match address.scheme() {
        "https" => true,
        "http" => address.host_str().is_some_and(is_loopback),
        _ => false,
    }
}

/// `base` with these path segments added, each percent-encoded; none when `base` cannot have a path.
pub fn join(base: &Url, segments: &[&str]) -> Option<Url> {
    let mut address = base.clone();
    address.set_query(None);
    address.set_fragment(None);
    address.path_segments_mut().ok()?.pop_if_empty().extend(segments);
    Some(address)
}

/// `base` with this query, which replaces any other. Values are percent-encoded to the last sign, with `%20` for a
/// blank: not every part of Graph reads `+` as one.
#[must_use]
pub fn with_query(mut base: Url, query: &[(&str, &str)]) -> Url {
    let pair = |(name, value): &(&str, &str)| {
        format!("{name}={}", percent_encoding::utf8_percent_encode(value, UNRESERVED))
    };
    let query: Vec<String> = query.iter().map(pair).collect();
    base.set_query(Some(&query.join("&")));
    base
}

/// All but the unreserved characters of RFC 3986 section 2.3, and the comma of `$select`.
const UNRESERVED: &percent_encoding::AsciiSet =
    &percent_encoding::NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~').remove(b',');

/// An error and its causes in one line, each said once: `connect: connection refused`.
pub fn chain(error: &dyn Error) -> String {
    let mut words = error.to_string();
    let mut cause = error.source();
    while let Some(next) = cause {
        let text = next.to_string();
        if !words.ends_with(&text) {
            words.push_str(": ");
            words.push_str(&text);
        }
        cause = next.source();
    }
    words
}

/// The name of a host for messages; `?` when an address has none.
pub(crate) fn host(address: &Url) -> String {
    match (address.host_str(), address.port()) {
        (Some(host), Some(port)) => format!("{host}:{port}"),
        (Some(host), None) => host.to_owned(),
        (None, _) => "?".to_owned(),
    }
}

/// Text of a stranger on its way into a message: control characters and runs of blanks become one blank, at most
/// `limit` characters.
pub fn tidy(text: impl fmt::Display, limit: usize) -> String {
    let text = text.to_string();
    let words = text.split(|c: char| c.is_whitespace() || c.is_control()).filter(|word| !word.is_empty());
    let mut tidy = String::new();
    for word in words {
        if !tidy.is_empty() {
            tidy.push(' ');
        }
        tidy.push_str(word);
        if tidy.len() > limit.saturating_mul(4) {
            break;
        }
    }
    tidy.chars().take(limit).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn retry_after_is_seconds_or_a_date_and_bounded() {
        let now: Timestamp = "2026-11-23T10:00:00Z".parse().unwrap();
        for (text, seconds) in [
            ("17", Some(17)),
            ("Mon, 23 Nov 2026 10:00:30 GMT", Some(30)),
            ("Mon, 23 Nov 2026 09:00:00 GMT", Some(0)),
            ("4000000000", Some(24 * 3600)),
            ("99999999999999999999", None),
            ("-5", None),
            ("soon", None),
        ] {
            let mut headers = HeaderMap::new();
            headers.insert(RETRY_AFTER, text.parse().unwrap());
            assert_eq!(retry_after(&headers, now).map(|wait| wait.as_secs()), seconds, "{text}");
        }
    }

    #[test]
    fn a_token_goes_only_over_tls_or_to_this_machine() {
        for (address, good) in [
            ("https://graph.microsoft.com", true),
            ("http://127.0.0.1:8080", true),
            ("http://[::1]:8080", true),
            ("http://graph.example", false),
            ("ftp://127.0.0.1", false),
        ] {
            assert_eq!(is_private(&Url::parse(address).unwrap()), good, "{address}");
        }
    }

    #[test]
    fn a_query_is_encoded_to_the_last_sign() {
        let base = Url::parse("https://graph.example/v1.0/users").unwrap();
        let address = with_query(base, &[("$filter", "id eq '<a+b@x>'"), ("$select", "id,mail")]);
        assert_eq!(address.query(), Some("$filter=id%20eq%20%27%3Ca%2Bb%40x%3E%27&$select=id,mail"));
    }

    #[test]
    fn segments_cannot_leave_their_place() {
        let base = Url::parse("https://login.example/").unwrap();
        let address = join(&base, &["a/../b?c#d", "token"]).unwrap();
        assert_eq!(address.as_str(), "https://login.example/a%2F..%2Fb%3Fc%23d/token");
    }

    #[test]
    fn a_bad_proxy_is_an_error_that_does_not_show_it() {
        let proxy = ProxySettings {
            https: Some("http://user:hidden-word@[".to_owned().into()),
            ..Default::default()
        };
        let settings = HttpSettings { proxy, ..HttpSettings::default() };
        let error = client(&settings).unwrap_err();
        assert!(!format!("{error} {error:?} {settings:?}").contains("hidden-word"));
        assert!(!error.hint().is_empty());
    }
}
