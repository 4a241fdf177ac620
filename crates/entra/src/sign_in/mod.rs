//! The administrator's own sign-in, for setting up: by device code, or in a browser with an authorization code and
//! PKCE. What it gives is kept in memory only, the refresh token too.
//!
//! Sources: RFC 8628 (device code), RFC 7636 (PKCE), and Microsoft, "OAuth 2.0 device authorization grant flow" and
//! "OAuth 2.0 authorization code flow" (<https://learn.microsoft.com/entra/identity-platform/v2-oauth2-device-code>,
//! `.../v2-oauth2-auth-code-flow`).

mod browser;
mod device;
mod pkce;

use std::fmt;

use jiff::Timestamp;
use postroom_model::failure::{Decision, Failure, Origin};
use postroom_model::{Env, ExposeSecret, SecretString};
use url::Url;

use crate::http;
use crate::token::{AccessToken, Answer, GRAPH_TOOLS_APPLICATION, Place, TokenError, later, send_form};

pub use browser::BrowserSignIn;
pub use device::{DeviceCode, Poll};

/// What setting up needs: to register the application, to consent for it, and to read users and the tenant.
pub const SETUP_SCOPES: [&str; 4] = [
    "Application.ReadWrite.All",
    "AppRoleAssignment.ReadWrite.All",
    "Organization.Read.All",
    "User.Read.All",
];

/// Who signs in to what.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SignInRequest {
    /// Microsoft Entra: `https://login.microsoftonline.com`.
    pub authority: Url,
    /// Directory (tenant) ID, a verified domain, or `organizations` when it is not known yet.
    pub tenant: String,
    /// Application (client) ID of a public client.
    pub application: String,
    /// What is asked for: full scopes such as `https://graph.microsoft.com/User.Read.All`. `offline_access` is added,
    /// and for a browser `openid`.
    pub scopes: Vec<String>,
}

impl SignInRequest {
    /// An administrator's sign-in for setting up, through Microsoft Graph Command Line Tools, which is present in
    /// every tenant.
    pub fn for_setup(cloud: &postroom_model::connection::Cloud, tenant: &str) -> Self {
        let endpoints = cloud.endpoints();
        let resource = endpoints.graph_scope();
        let resource = resource.trim_end_matches(".default");
        Self {
            authority: endpoints.authority.clone(),
            tenant: tenant.trim().to_owned(),
            application: GRAPH_TOOLS_APPLICATION.to_owned(),
            scopes: SETUP_SCOPES.iter().map(|scope| format!("{resource}{scope}")).collect(),
        }
    }

    fn place(&self) -> Place {
        Place {
            host: http::host(&self.authority),
            tenant: http::tidy(&self.tenant, 100),
            application: http::tidy(&self.application, 100),
        }
    }

    fn scope(&self, more: &[&str]) -> String {
        let asked = self.scopes.iter().map(String::as_str);
        let mut all: Vec<&str> = asked.collect();
        all.extend(more.iter().filter(|scope| !self.scopes.iter().any(|known| known == *scope)));
        all.join(" ")
    }

    /// `{authority}/{tenant}/oauth2/v2.0/{part}`.
    fn address(&self, part: &str) -> Result<Url, SignInError> {
        http::join(&self.authority, &[self.tenant.trim(), "oauth2", "v2.0", part])
            .filter(|address| http::is_private(address) && !self.tenant.trim().is_empty())
            .ok_or_else(|| SignInError::Token(TokenError::Address { place: self.place() }))
    }
}

/// A sign-in that succeeded. It cannot be stored: what is left of it ends with the process.
pub struct SignedIn {
    request: SignInRequest,
    token: AccessToken,
    refresh: Option<SecretString>,
}

impl fmt::Debug for SignedIn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SignedIn").field("token", &self.token).finish_non_exhaustive()
    }
}

impl SignedIn {
    /// The token, as it was when last fetched; [`SignIn::token`] renews it.
    pub fn token(&self) -> &AccessToken {
        &self.token
    }
}

/// Why nobody is signed in.
#[derive(Debug, Clone, thiserror::Error)]
#[non_exhaustive]
pub enum SignInError {
    /// The token endpoint refused, or could not be asked.
    #[error(transparent)]
    Token(#[from] TokenError),
    /// The person said no.
    #[error("signing in to tenant {tenant} was declined")]
    Declined {
        /// Directory (tenant) ID or domain.
        tenant: String,
    },
    /// The code was not entered in time.
    #[error("signing in to tenant {tenant} took too long: the code has expired")]
    Expired {
        /// Directory (tenant) ID or domain.
        tenant: String,
    },
    /// The browser came back with an answer that belongs to another question.
    #[error("the answer of the browser for tenant {tenant} does not belong to this sign-in: {what} differs")]
    Foreign {
        /// Directory (tenant) ID or domain.
        tenant: String,
        /// `state` or `nonce`.
        what: &'static str,
    },
    /// There is no refresh token to renew with.
    #[error("the sign-in to tenant {tenant} has ended and cannot be renewed")]
    Ended {
        /// Directory (tenant) ID or domain.
        tenant: String,
    },
}

impl SignInError {
    /// What to do about it.
    pub fn hint(&self) -> String {
        match self {
            Self::Token(error) => error.advice().map_or_else(
                || "Try again; if it stays, check the network and the tenant.".to_owned(),
                |advice| advice.to_string(),
            ),
            Self::Declined { .. } => "Start again and accept, or ask an administrator who may.".to_owned(),
            Self::Expired { .. } | Self::Ended { .. } => "Start again.".to_owned(),
            Self::Foreign { .. } => {
                "Start again in this program, and use the page that it opens and no other.".to_owned()
            }
        }
    }

    /// As a failure of `operation`.
    pub fn failure(&self, operation: &str) -> Failure {
        if let Self::Token(error) = self {
            return error.failure(operation);
        }
        let mut failure = Failure::new(operation, Origin::Ourselves, self.to_string(), Decision::Hold);
        failure.advice = Some(self.hint());
        failure
    }
}

/// Signs people in.
#[derive(Clone)]
pub struct SignIn {
    http: reqwest::Client,
    env: Env,
}

impl fmt::Debug for SignIn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SignIn")
    }
}

impl SignIn {
    /// `http` comes from [`crate::http::client`].
    pub fn new(http: reqwest::Client, env: Env) -> Self {
        Self { http, env }
    }

    /// A token that works for five minutes more: the one at hand, or a renewed one.
    ///
    /// # Errors
    /// [`SignInError::Ended`] without a refresh token; [`SignInError::Token`] when renewal is refused and the token
    /// at hand has ended.
    pub async fn token(&self, signed_in: &mut SignedIn) -> Result<AccessToken, SignInError> {
        let now = self.env.now();
        let soon = later(now, jiff::SignedDuration::from_secs(300));
        if soon < signed_in.token.expires_at() {
            return Ok(signed_in.token.clone());
        }
        let renewed = match &signed_in.refresh {
            None => Err(SignInError::Ended { tenant: signed_in.request.place().tenant }),
            Some(refresh) => {
                let scope = signed_in.request.scope(&["offline_access"]);
                let fields = [
                    ("grant_type", "refresh_token"),
                    ("refresh_token", refresh.expose_secret()),
                    ("scope", scope.as_str()),
                ];
                self.redeemed(&signed_in.request, &fields).await
            }
        };
        match renewed {
            Ok((mut new, _)) => {
                // The old refresh token stays good when no new one comes (RFC 6749 section 6).
                new.refresh = new.refresh.or_else(|| signed_in.refresh.take());
                *signed_in = new;
                Ok(signed_in.token.clone())
            }
            Err(_) if now < signed_in.token.expires_at() => Ok(signed_in.token.clone()),
            Err(error) => Err(error),
        }
    }

    /// Posts a form to the token endpoint; gives the sign-in and the `id_token`.
    async fn redeemed(
        &self,
        request: &SignInRequest,
        fields: &[(&str, &str)],
    ) -> Result<(SignedIn, Option<SecretString>), SignInError> {
        let asked_at = self.env.now();
        let body = self.post(request, "token", fields, asked_at).await?;
        let answer = Answer::read(&request.place(), &body)?;
        let expires_at = later(asked_at, answer.life());
        let signed_in = SignedIn {
            request: request.clone(),
            token: AccessToken::new(answer.access_token(), expires_at),
            refresh: answer.refresh_token(),
        };
        Ok((signed_in, answer.id_token().map(SecretString::from)))
    }

    async fn post(
        &self,
        request: &SignInRequest,
        part: &str,
        fields: &[(&str, &str)],
        now: Timestamp,
    ) -> Result<Vec<u8>, SignInError> {
        let address = request.address(part)?;
        let mut all = vec![("client_id", request.application.as_str())];
        all.extend_from_slice(fields);
        let (body, _) = send_form(&self.http, &self.env, &request.place(), address, &all, now).await;
        Ok(body?)
    }
}
