//! Authorization code with PKCE: the person signs in in a browser, which comes back to a redirect URI with a code.
//! Whoever listens there is the caller's business.

use std::fmt;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use postroom_model::{ExposeSecret, SecretString};
use serde::Deserialize;
use url::Url;

use super::{SignIn, SignInError, SignInRequest, SignedIn, pkce};
use crate::http;

/// A sign-in that was begun in a browser. Redeeming it uses it up.
pub struct BrowserSignIn {
    request: SignInRequest,
    redirect_uri: String,
    state: SecretString,
    nonce: String,
    verifier: SecretString,
    url: Url,
}

impl fmt::Debug for BrowserSignIn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("BrowserSignIn").field("redirect_uri", &self.redirect_uri).finish_non_exhaustive()
    }
}

impl BrowserSignIn {
    /// The page to open.
    pub fn url(&self) -> &Url {
        &self.url
    }

    /// Where the browser comes back to.
    pub fn redirect_uri(&self) -> &str {
        &self.redirect_uri
    }
}

impl SignIn {
    /// Begins a sign-in in a browser. For a program on this machine `redirect_uri` is `http://localhost:{port}`,
    /// where any port is allowed (RFC 8252 section 7.3).
    ///
    /// # Errors
    /// [`SignInError::Token`] when the authority's address cannot be used.
    pub fn browser(&self, request: &SignInRequest, redirect_uri: &Url) -> Result<BrowserSignIn, SignInError> {
        let address = request.address("authorize")?;
        let redirect_uri = crate::register::plain(redirect_uri);
        let verifier = pkce::verifier(&self.env);
        let (state, nonce) = (self.env.new_token(32), self.env.new_token(32));
        let scope = request.scope(&["openid", "offline_access"]);
        let query = [
            ("client_id", request.application.as_str()),
            ("response_type", "code"),
            ("redirect_uri", redirect_uri.as_str()),
            ("response_mode", "query"),
            ("scope", &scope),
            ("state", &state),
            ("nonce", &nonce),
            ("code_challenge", &pkce::challenge(verifier.expose_secret())),
            ("code_challenge_method", "S256"),
            ("prompt", "select_account"),
        ];
        let url = http::with_query(address, &query);
        Ok(BrowserSignIn {
            request: request.clone(),
            redirect_uri,
            state: state.into(),
            nonce,
            verifier,
            url,
        })
    }

    /// Redeems what the browser brought back: `code` and `state` of the redirect.
    ///
    /// # Errors
    /// [`SignInError::Foreign`] when state or nonce are not those of this sign-in; [`SignInError::Token`].
    pub async fn redeem(
        &self,
        begun: BrowserSignIn,
        code: &SecretString,
        state: &str,
    ) -> Result<SignedIn, SignInError> {
        let foreign = |what| SignInError::Foreign { tenant: begun.request.place().tenant, what };
        if state != begun.state.expose_secret() {
            return Err(foreign("state"));
        }
        let scope = begun.request.scope(&["openid", "offline_access"]);
        let fields = [
            ("grant_type", "authorization_code"),
            ("code", code.expose_secret()),
            ("redirect_uri", begun.redirect_uri.as_str()),
            ("code_verifier", begun.verifier.expose_secret()),
            ("scope", scope.as_str()),
        ];
        let (signed_in, id_token) = self.redeemed(&begun.request, &fields).await?;
        // The token came from the endpoint itself over TLS, so its signature need not be checked (OpenID Connect
        // Core 1.0, section 3.1.3.7); the nonce ties it to this question.
        match id_token.as_ref().and_then(|token| nonce_of(token.expose_secret())) {
            Some(nonce) if nonce == begun.nonce => Ok(signed_in),
            _ => Err(foreign("nonce")),
        }
    }
}

fn nonce_of(id_token: &str) -> Option<String> {
    #[derive(Deserialize)]
    struct Claims {
        nonce: String,
    }
    let payload = id_token.split('.').nth(1)?;
    let payload = URL_SAFE_NO_PAD.decode(payload.trim_end_matches('=')).ok()?;
    serde_json::from_slice::<Claims>(&payload).ok().map(|claims| claims.nonce)
}
