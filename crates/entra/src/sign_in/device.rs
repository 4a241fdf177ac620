//! Device code (RFC 8628): the person enters a code on any device, this program asks again and again.

use std::fmt;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use postroom_model::{ExposeSecret, SecretString};
use serde::Deserialize;

use super::{SignIn, SignInError, SignInRequest, SignedIn};
use crate::http;
use crate::token::{TokenError, garbage, later};

const GRANT: &str = "urn:ietf:params:oauth:grant-type:device_code";

/// Pause between two questions when the endpoint names none (RFC 8628 section 3.2), and what `slow_down` adds.
const FIVE_SECONDS: u64 = 5;

/// The longest pause and the longest life believed.
const LONGEST_PAUSE: u64 = 60;
const LONGEST_LIFE: u64 = 3_600;

/// A code for a person, and how to ask for what became of it.
pub struct DeviceCode {
    request: SignInRequest,
    code: SecretString,
    /// What the person enters: `F7KQ9XPLR`.
    pub user_code: String,
    /// Where: `https://microsoft.com/devicelogin`.
    pub verification_uri: String,
    /// Microsoft's sentence with both.
    pub message: String,
    /// When the code ends.
    pub expires_at: Timestamp,
    /// Pause between two questions.
    pub interval: Duration,
}

impl fmt::Debug for DeviceCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DeviceCode")
            .field("verification_uri", &self.verification_uri)
            .field("expires_at", &self.expires_at)
            .field("interval", &self.interval)
            .finish_non_exhaustive()
    }
}

/// What became of a device code.
#[derive(Debug)]
pub enum Poll {
    /// The person has not finished; ask again after this pause.
    Pending(Duration),
    /// Signed in.
    Done(Box<SignedIn>),
}

#[derive(Deserialize)]
struct RawCode {
    device_code: String,
    user_code: String,
    #[serde(alias = "verification_url")]
    verification_uri: String,
    #[serde(default)]
    message: String,
    expires_in: u64,
    #[serde(default)]
    interval: Option<u64>,
}

impl SignIn {
    /// Begins a sign-in by device code. Show `message`, then call [`Self::wait`].
    ///
    /// # Errors
    /// [`SignInError::Token`].
    pub async fn start(&self, request: &SignInRequest) -> Result<DeviceCode, SignInError> {
        let asked_at = self.env.now();
        let scope = request.scope(&["offline_access"]);
        let body = self.post(request, "devicecode", &[("scope", &scope)], asked_at).await?;
        let raw: RawCode =
            serde_json::from_slice(&body).map_err(|_| garbage(&request.place(), 200, "no device code"))?;
        let user_code = http::tidy(&raw.user_code, 40);
        let verification_uri = http::tidy(&raw.verification_uri, 200);
        let message = match http::tidy(&raw.message, 500) {
            words if words.is_empty() => format!("Open {verification_uri} and enter the code {user_code}."),
            words => words,
        };
        let life = i64::try_from(raw.expires_in.min(LONGEST_LIFE)).unwrap_or(0);
        Ok(DeviceCode {
            request: request.clone(),
            code: raw.device_code.into(),
            user_code,
            verification_uri,
            message,
            expires_at: later(asked_at, SignedDuration::from_secs(life)),
            interval: Duration::from_secs(raw.interval.unwrap_or(FIVE_SECONDS).clamp(1, LONGEST_PAUSE)),
        })
    }

    /// Asks once. `slow_down` makes the pause of `code` longer for good, as RFC 8628 section 3.5 demands; an endpoint
    /// that throttles or is in trouble only for this time.
    ///
    /// # Errors
    /// [`SignInError`]: declined, expired, or refused for good.
    pub async fn poll(&self, code: &mut DeviceCode) -> Result<Poll, SignInError> {
        let tenant = code.request.place().tenant;
        if self.env.now() >= code.expires_at {
            return Err(SignInError::Expired { tenant });
        }
        let fields = [("grant_type", GRANT), ("device_code", code.code.expose_secret())];
        let error = match self.redeemed(&code.request, &fields).await {
            Ok((signed_in, _)) => return Ok(Poll::Done(Box::new(signed_in))),
            Err(SignInError::Token(error)) => error,
            Err(other) => return Err(other),
        };
        match &error {
            TokenError::Refused(refusal) => match refusal.error.as_str() {
                "authorization_pending" => Ok(Poll::Pending(code.interval)),
                "slow_down" => {
                    let longer = code.interval + Duration::from_secs(FIVE_SECONDS);
                    code.interval = longer.min(Duration::from_secs(LONGEST_PAUSE));
                    Ok(Poll::Pending(code.interval))
                }
                "authorization_declined" | "access_denied" => Err(SignInError::Declined { tenant }),
                "expired_token" | "code_expired" => Err(SignInError::Expired { tenant }),
                _ => Err(error.into()),
            },
            TokenError::Network { .. } | TokenError::Throttled { .. } | TokenError::Unavailable { .. } => {
                let asked = error.retry_after().and_then(|wait| Duration::try_from(wait).ok());
                // A connection that breaks now and then must not end a sign-in (RFC 8628 section 3.5).
                Ok(Poll::Pending(asked.unwrap_or_default().max(code.interval)))
            }
            _ => Err(error.into()),
        }
    }

    /// Asks until the person has finished, declined, or the code has expired.
    ///
    /// # Errors
    /// [`SignInError`].
    pub async fn wait(&self, code: &mut DeviceCode) -> Result<SignedIn, SignInError> {
        let left = code.expires_at.duration_since(self.env.now());
        let left = Duration::try_from(left).unwrap_or_default();
        let tenant = code.request.place().tenant;
        let asking = async {
            let mut pause = code.interval;
            loop {
                tokio::time::sleep(pause).await;
                match self.poll(code).await? {
                    Poll::Done(signed_in) => return Ok(*signed_in),
                    Poll::Pending(next) => pause = next,
                }
            }
        };
        match tokio::time::timeout(left, asking).await {
            Ok(answer) => answer,
            Err(_) => Err(SignInError::Expired { tenant }),
        }
    }
}
