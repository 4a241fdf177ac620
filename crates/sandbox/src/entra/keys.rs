//! The key that signs tokens, and the one that seals what clients carry around (delta tokens, upload addresses).

use aws_lc_rs::encoding::{AsDer, Pkcs8V1Der};
use aws_lc_rs::rsa::{KeyPair, KeySize};
use aws_lc_rs::signature::KeyPair as _;
use aws_lc_rs::{digest, hmac};
use base64::Engine;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use jsonwebtoken::{Algorithm, DecodingKey, EncodingKey, Header};
use serde_json::{Value, json};

use crate::SandboxError;

/// RSA-2048 key pair, ready to sign and to check.
pub(crate) struct SigningKey {
    signer: EncodingKey,
    pub(super) verifier: DecodingKey,
    kid: String,
    modulus: String,
    exponent: String,
}

impl SigningKey {
    /// A new key, as PKCS#8 DER. Takes a noticeable part of a second.
    pub(crate) fn make() -> Result<Vec<u8>, SandboxError> {
        let pair = KeyPair::generate(KeySize::Rsa2048).map_err(|_| SandboxError::Key("make"))?;
        let der: Pkcs8V1Der<'static> = pair.as_der().map_err(|_| SandboxError::Key("write"))?;
        Ok(der.as_ref().to_vec())
    }

    /// The key in `pkcs8`.
    pub(crate) fn read(pkcs8: &[u8]) -> Result<Self, SandboxError> {
        let refuse = || SandboxError::Key("read");
        let pair = KeyPair::from_pkcs8(pkcs8).map_err(|_| refuse())?;
        let public = pair.public_key();
        let modulus = URL_SAFE_NO_PAD.encode(public.modulus().big_endian_without_leading_zero());
        let exponent = URL_SAFE_NO_PAD.encode(public.exponent().big_endian_without_leading_zero());
        let pem = format!("-----BEGIN PRIVATE KEY-----\n{}\n-----END PRIVATE KEY-----\n", wrapped(pkcs8));
        let print = digest::digest(&digest::SHA1_FOR_LEGACY_USE_ONLY, public.as_ref());
        Ok(Self {
            signer: EncodingKey::from_rsa_pem(pem.as_bytes()).map_err(|_| refuse())?,
            verifier: DecodingKey::from_rsa_components(&modulus, &exponent).map_err(|_| refuse())?,
            kid: URL_SAFE_NO_PAD.encode(print.as_ref()),
            modulus,
            exponent,
        })
    }

    /// A signed token of these claims. Version 1 tokens carry the key's name twice.
    pub(super) fn sign(&self, claims: &Value) -> Result<String, jsonwebtoken::errors::Error> {
        let mut header = Header::new(Algorithm::RS256);
        header.kid = Some(self.kid.clone());
        header.x5t = Some(self.kid.clone());
        jsonwebtoken::encode(&header, claims, &self.signer)
    }

    /// The public half as it stands in the key set.
    pub(super) fn jwk(&self, issuer: &str) -> Value {
        json!({
            "kty": "RSA", "use": "sig", "kid": self.kid, "x5t": self.kid,
            "n": self.modulus, "e": self.exponent, "issuer": issuer,
        })
    }
}

/// Base64 in lines of 64, as PEM wants it (RFC 7468).
fn wrapped(bytes: &[u8]) -> String {
    let text = STANDARD.encode(bytes);
    let lines: Vec<&str> =
        text.as_bytes().chunks(64).map(|line| std::str::from_utf8(line).unwrap_or_default()).collect();
    lines.join("\n")
}

/// Makes opaque texts that clients hand back and cannot change.
pub(crate) struct Seal(hmac::Key);

impl Seal {
    pub(crate) fn new(key: &[u8]) -> Self {
        Self(hmac::Key::new(hmac::HMAC_SHA256, key))
    }

    /// `value`, sealed.
    pub(crate) fn close(&self, value: &Value) -> String {
        let mut bytes = value.to_string().into_bytes();
        let tag = hmac::sign(&self.0, &bytes);
        bytes.extend_from_slice(tag.as_ref());
        URL_SAFE_NO_PAD.encode(bytes)
    }

    /// What was sealed; nothing when it was changed on the way.
    pub(crate) fn open(&self, text: &str) -> Option<Value> {
        let bytes = URL_SAFE_NO_PAD.decode(text).ok()?;
        let (value, tag) = bytes.split_at_checked(bytes.len().checked_sub(32)?)?;
        hmac::verify(&self.0, value, tag).ok()?;
        serde_json::from_slice(value).ok()
    }
}

/// SHA-256.
pub(crate) fn sha256(bytes: &[u8]) -> Vec<u8> {
    digest::digest(&digest::SHA256, bytes).as_ref().to_vec()
}

/// SHA-1 in base64, which is how certificates are named in `customKeyIdentifier`.
pub(crate) fn sha1_base64(bytes: &[u8]) -> String {
    STANDARD.encode(digest::digest(&digest::SHA1_FOR_LEGACY_USE_ONLY, bytes).as_ref())
}
