//! Autodiscover version 2: where the mailbox of an address is, asked without a credential.
//!
//! It proves neither that the mailbox exists nor who is asked, so what it finds is a hint for a person. A redirect leads
//! only over TLS, whose certificate is compared as everywhere, and only to what lies outside: not to this machine and not
//! into the network behind it, unless the server that was configured lies there itself.

use postroom_entra::http;
use serde::Deserialize;
use url::Url;

use super::outside::{is_outside, reads_outside};

/// Most redirects that are followed.
const MAX_REDIRECTS: usize = 10;

/// Largest answer that is read, in bytes.
const MAX_ANSWER: u64 = 64 * 1024;

/// Where Exchange Online answers; it sends on to where else a domain lives.
const EXCHANGE_ONLINE: &str = "https://outlook.office365.com";

/// Why nothing was found.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum AutodiscoverError {
    /// The answer cannot be had.
    #[error("Autodiscover: no answer")]
    Network {
        /// What the network says.
        #[source]
        source: reqwest::Error,
    },
    /// Only https to what lies outside is followed, ten times at most.
    #[error("Autodiscover sends to {to}, which is not followed")]
    Redirect {
        /// Where it sends to.
        to: String,
    },
    /// It says no.
    #[error("Autodiscover says {status} {code} {message}")]
    Refused {
        /// HTTP status.
        status: u16,
        /// `ErrorCode`.
        code: String,
        /// `ErrorMessage`.
        message: String,
    },
    /// It is none of Autodiscover's.
    #[error("Autodiscover answers with what is not JSON with an https address outside")]
    Garbage,
}

#[derive(Deserialize)]
struct Found {
    #[serde(rename = "Url")]
    url: Option<Url>,
}

#[derive(Deserialize, Default)]
#[serde(default, rename_all = "PascalCase")]
struct Refusal {
    error_code: String,
    error_message: String,
}

/// Asks Autodiscover.
#[derive(Debug, Clone)]
pub struct Autodiscover {
    http: reqwest::Client,
    base: Url,
    inside: bool,
}

impl Autodiscover {
    /// Asks Exchange Online, which sends on. `http` follows no redirects.
    ///
    /// # Errors
    /// None in practice: the address is fixed.
    pub fn exchange_online(http: reqwest::Client) -> Result<Self, url::ParseError> {
        Ok(Self::at(http, Url::parse(EXCHANGE_ONLINE)?))
    }

    /// Asks this server first: `https://autodiscover.contoso.example`.
    pub fn at(http: reqwest::Client, base: Url) -> Self {
        Self { http, base, inside: false }
    }

    /// Whether it is followed also to this machine and into private networks: right for a server that was configured
    /// there. To this machine it may then be followed without TLS.
    #[must_use]
    pub fn reaching_inside(self, inside: bool) -> Self {
        Self { inside, ..self }
    }

    /// The address of EWS for a mailbox.
    ///
    /// # Errors
    /// [`AutodiscoverError`].
    pub async fn ews(&self, address: &str) -> Result<Url, AutodiscoverError> {
        let nowhere = || AutodiscoverError::Redirect { to: self.base.to_string() };
        let segments = ["autodiscover", "autodiscover.json", "v1.0", address];
        let mut next = http::join(&self.base, &segments).ok_or_else(nowhere)?;
        next = http::with_query(next, &[("Protocol", "EWS")]);
        for _ in 0..=MAX_REDIRECTS {
            if !(self.may_name(&next) && (self.is_ours(&next) || is_outside(&next).await)) {
                return Err(AutodiscoverError::Redirect { to: http::tidy(&next, 200) });
            }
            let network =
                |source: reqwest::Error| AutodiscoverError::Network { source: source.without_url() };
            let response = self.http.get(next.clone()).send().await.map_err(network)?;
            if response.status().is_redirection() {
                let to = response.headers().get("location").and_then(|value| value.to_str().ok());
                let to = to.unwrap_or_default();
                next = next.join(to).map_err(|_| AutodiscoverError::Redirect { to: http::tidy(to, 200) })?;
                continue;
            }
            let found = answer(response).await?;
            return if self.may_name(&found) { Ok(found) } else { Err(AutodiscoverError::Garbage) };
        }
        Err(AutodiscoverError::Redirect { to: http::tidy(&next, 200) })
    }

    /// Whether an address is of the server that was configured, or of where that lies.
    fn is_ours(&self, address: &Url) -> bool {
        self.inside || address.origin() == self.base.origin()
    }

    /// Whether an address may be named to us at all, by what is written there.
    fn may_name(&self, address: &Url) -> bool {
        http::is_private(address)
            && address.username().is_empty()
            && address.password().is_none()
            && (self.is_ours(address) || (address.scheme() == "https" && reads_outside(address)))
    }
}

async fn answer(response: reqwest::Response) -> Result<Url, AutodiscoverError> {
    let status = response.status();
    let body = match http::read_bounded(response, MAX_ANSWER).await {
        Ok(body) => body,
        Err(http::ReadError::Network { source }) => return Err(AutodiscoverError::Network { source }),
        Err(http::ReadError::TooLarge { .. }) => return Err(AutodiscoverError::Garbage),
    };
    if !status.is_success() {
        let refusal: Refusal = serde_json::from_slice(&body).unwrap_or_default();
        return Err(AutodiscoverError::Refused {
            status: status.as_u16(),
            code: http::tidy(refusal.error_code, 200),
            message: http::tidy(refusal.error_message, 500),
        });
    }
    let found: Found = serde_json::from_slice(&body).map_err(|_| AutodiscoverError::Garbage)?;
    found.url.ok_or(AutodiscoverError::Garbage)
}
