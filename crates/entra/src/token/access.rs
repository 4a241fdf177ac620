//! An access token and what can be read from it.

use std::fmt;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jiff::Timestamp;
use postroom_model::{ExposeSecret, SecretString};
use serde::Deserialize;
use serde_json::Value;

/// An access token: opaque for us, addressed to the resource. It cannot be printed.
#[derive(Clone)]
pub struct AccessToken {
    value: SecretString,
    expires_at: Timestamp,
    /// Which answer of the token endpoint it came with; 0 for one that came from elsewhere.
    pub(super) serial: u64,
}

impl AccessToken {
    /// A token that came from elsewhere, for instance typed by an administrator.
    pub fn new(value: SecretString, expires_at: Timestamp) -> Self {
        Self { value, expires_at, serial: 0 }
    }

    pub(super) fn numbered(value: SecretString, expires_at: Timestamp, serial: u64) -> Self {
        Self { value, expires_at, serial }
    }

    /// The token itself, for an `Authorization` header and nothing else.
    pub fn expose(&self) -> &str {
        self.value.expose_secret()
    }

    /// When it stops working.
    pub fn expires_at(&self) -> Timestamp {
        self.expires_at
    }

    /// What it says, for diagnosis only: the signature is not checked, and nothing may be allowed because of it.
    /// None when it is not a token of three parts with a JSON object in the middle.
    pub fn claims(&self) -> Option<Claims> {
        let mut parts = self.expose().split('.');
        let (_, payload, _) = (parts.next()?, parts.next()?, parts.next()?);
        let payload = URL_SAFE_NO_PAD.decode(payload.trim_end_matches('=')).ok()?;
        let raw: RawClaims = serde_json::from_slice(&payload).ok()?;
        Some(raw.into())
    }
}

impl fmt::Debug for AccessToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AccessToken").field("expires_at", &self.expires_at).finish_non_exhaustive()
    }
}

/// What an access token says. Permissions granted by RBAC for Applications are not in it, so empty `roles` do not
/// prove that nothing is allowed.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Claims {
    /// Directory (tenant) ID.
    pub tid: Option<String>,
    /// Application (client) ID: `appid`, or `azp` in tokens of version 2.
    pub appid: Option<String>,
    /// The resource it is for.
    pub aud: Option<String>,
    /// Application permissions.
    pub roles: Vec<String>,
    /// Delegated permissions.
    pub scp: Vec<String>,
    /// Display name of the application.
    pub app_display_name: Option<String>,
}

/// The wire's form: every member may be missing or of another type than usual.
#[derive(Deserialize)]
struct RawClaims {
    tid: Option<Value>,
    appid: Option<Value>,
    azp: Option<Value>,
    aud: Option<Value>,
    roles: Option<Value>,
    scp: Option<Value>,
    app_displayname: Option<Value>,
}

impl From<RawClaims> for Claims {
    fn from(raw: RawClaims) -> Self {
        let text = |value: Option<Value>| value.as_ref().and_then(Value::as_str).map(str::to_owned);
        let roles =
            raw.roles.as_ref().and_then(Value::as_array).map_or(Vec::new(), |roles| {
                roles.iter().filter_map(Value::as_str).map(str::to_owned).collect()
            });
        let scp = text(raw.scp).unwrap_or_default();
        Self {
            tid: text(raw.tid),
            appid: text(raw.appid).or_else(|| text(raw.azp)),
            aud: text(raw.aud),
            roles,
            scp: scp.split_whitespace().map(str::to_owned).collect(),
            app_display_name: text(raw.app_displayname),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn token(payload: &str) -> AccessToken {
        let value = format!("e30.{}.c2ln", URL_SAFE_NO_PAD.encode(payload));
        AccessToken::new(value.into(), Timestamp::UNIX_EPOCH)
    }

    #[test]
    fn claims_of_both_versions_are_read() {
        let v1 =
            token(r#"{"tid":"t","appid":"a","aud":"https://graph.microsoft.com","roles":["Mail.Send"]}"#);
        let claims = v1.claims().unwrap();
        assert_eq!(claims.appid.as_deref(), Some("a"));
        assert_eq!(claims.roles, ["Mail.Send"]);
        let v2 = token(r#"{"tid":"t","azp":"b","aud":7,"roles":"odd","scp":"Mail.Read  User.Read"}"#);
        let claims = v2.claims().unwrap();
        assert_eq!((claims.appid.as_deref(), claims.aud), (Some("b"), None));
        assert_eq!(claims.scp, ["Mail.Read", "User.Read"]);
        assert!(claims.roles.is_empty());
    }

    #[test]
    fn what_is_no_token_has_no_claims() {
        for text in ["", "opaque", "a.b", "a.!!.c", "a.e30", "a.W10.c"] {
            let token = AccessToken::new(text.to_owned().into(), Timestamp::UNIX_EPOCH);
            assert_eq!(token.claims(), None, "{text}");
        }
    }
}
