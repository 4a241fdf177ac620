//! Certificates of applications: what is read of them, and the keys an application is known by.

use aws_lc_rs::digest;
use base64::Engine;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use jsonwebtoken::{Algorithm, DecodingKey, Validation};
use postroom_model::Timestamp;
use serde_json::Value;
use x509_parser::prelude::{FromDer, X509Certificate};
use x509_parser::public_key::PublicKey;

/// Largest certificate that is read.
const MAX_DER: usize = 64 * 1024;

/// What matters of a certificate. Its chain and its issuer do not.
pub(crate) struct Certificate {
    pub(crate) not_before: i64,
    pub(crate) not_after: i64,
    pub(crate) subject: String,
    key: DecodingKey,
}

impl Certificate {
    /// Reads DER with an RSA key.
    pub(crate) fn read(der: &[u8]) -> Option<Self> {
        if der.len() > MAX_DER {
            return None;
        }
        let (rest, parsed) = X509Certificate::from_der(der).ok()?;
        let Ok(PublicKey::RSA(key)) = parsed.public_key().parsed() else { return None };
        rest.is_empty().then(|| Self {
            not_before: parsed.validity().not_before.timestamp(),
            not_after: parsed.validity().not_after.timestamp(),
            subject: parsed.subject().to_string().chars().take(200).collect(),
            key: DecodingKey::from_rsa_raw_components(unsigned(key.modulus), unsigned(key.exponent)),
        })
    }
}

/// DER puts a zero before numbers that begin with a one.
fn unsigned(bytes: &[u8]) -> &[u8] {
    bytes.strip_prefix(&[0]).unwrap_or(bytes)
}

/// A key of an application, as it stands in `keyCredentials`.
pub(crate) struct KnownKey {
    pub(crate) id: String,
    pub(crate) start: i64,
    pub(crate) end: i64,
    der: Vec<u8>,
}

impl KnownKey {
    /// The keys in an application's body.
    pub(crate) fn of(body: &Value) -> Vec<Self> {
        let keys = body["keyCredentials"].as_array().into_iter().flatten();
        keys.filter_map(|key| {
            Some(Self {
                id: key["keyId"].as_str()?.to_owned(),
                start: second(&key["startDateTime"])?,
                end: second(&key["endDateTime"])?,
                der: STANDARD.decode(key["key"].as_str()?).ok()?,
            })
        })
        .collect()
    }

    /// Whether a token's header names this key, by SHA-256 or SHA-1.
    pub(crate) fn is_named(&self, header: &Value) -> bool {
        let print = |algorithm| URL_SAFE_NO_PAD.encode(digest::digest(algorithm, &self.der).as_ref());
        let bare = |text: &str| text.trim_end_matches('=').to_owned();
        match (header["x5t#S256"].as_str(), header["x5t"].as_str()) {
            (Some(name), _) => bare(name) == print(&digest::SHA256),
            (None, Some(name)) => bare(name) == print(&digest::SHA1_FOR_LEGACY_USE_ONLY),
            (None, None) => false,
        }
    }

    /// Whether `token` was signed with this key.
    pub(crate) fn signed(&self, token: &str) -> bool {
        Certificate::read(&self.der).is_some_and(|certificate| {
            verifies(token, &certificate.key, &[Algorithm::PS256])
                || verifies(token, &certificate.key, &[Algorithm::RS256])
        })
    }
}

/// Whether the signature is right; times and names are for the caller, whose clock is the tenant's.
pub(super) fn verifies(token: &str, key: &DecodingKey, algorithms: &[Algorithm]) -> bool {
    let mut rules = Validation::new(algorithms.first().copied().unwrap_or(Algorithm::RS256));
    rules.algorithms = algorithms.to_vec();
    rules.validate_exp = false;
    rules.validate_nbf = false;
    rules.validate_aud = false;
    rules.required_spec_claims.clear();
    jsonwebtoken::decode::<Value>(token, key, &rules).is_ok()
}

/// An instant in JSON as a second.
pub(crate) fn second(value: &Value) -> Option<i64> {
    value.as_str()?.parse::<Timestamp>().ok().map(Timestamp::as_second)
}
