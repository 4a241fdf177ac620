//! What is signed with the key: assertions for the token endpoint, proofs for `addKey` and `removeKey`.

use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{RSA_PKCS1_SHA256, RSA_PSS_SHA256, RsaEncoding};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jiff::{SignedDuration, Timestamp};
use postroom_model::SecretString;
use serde_json::{Value, json};

use super::{CertificateCredential, CertificateError};

/// How long an assertion or a proof is good: ten minutes, the longest Microsoft advises.
pub const ASSERTION_LIFE: SignedDuration = SignedDuration::from_secs(600);

/// Whom a proof for `addKey` is addressed to: the directory, by the id it has in every tenant and cloud.
pub const PROOF_AUDIENCE: &str = "00000002-0000-0000-c000-000000000000";

impl CertificateCredential {
    /// A client assertion for the token endpoint: PS256, `x5t#S256`, good for [`ASSERTION_LIFE`] from `now`. `jti`
    /// must be fresh for each.
    ///
    /// # Errors
    /// [`CertificateError::Sign`].
    pub fn assertion(
        &self,
        token_endpoint: &str,
        client_id: &str,
        now: Timestamp,
        jti: &str,
    ) -> Result<SecretString, CertificateError> {
        let header = json!({ "alg": "PS256", "typ": "JWT", "x5t#S256": self.thumbprint_sha256_base64url() });
        let claims = json!({
            "aud": token_endpoint,
            "iss": client_id,
            "sub": client_id,
            "jti": jti,
            "nbf": now.as_second(),
            "iat": now.as_second(),
            "exp": now.as_second().saturating_add(ASSERTION_LIFE.as_secs()),
        });
        self.signed(&header, &claims, &RSA_PSS_SHA256)
    }

    /// Proof of possession for `addKey` and `removeKey` of the application with this *object* id (not its client id).
    /// RS256 with both names of the key, as Microsoft's own sample makes it
    /// (<https://learn.microsoft.com/graph/application-rollkey-prooftoken>).
    ///
    /// # Errors
    /// [`CertificateError::Sign`].
    pub fn proof(
        &self,
        application_object_id: &str,
        now: Timestamp,
    ) -> Result<SecretString, CertificateError> {
        let header = json!({
            "alg": "RS256",
            "typ": "JWT",
            "kid": self.thumbprint_sha1_hex(),
            "x5t": self.public.thumbprint_sha1_base64url(),
        });
        let claims = json!({
            "aud": PROOF_AUDIENCE,
            "iss": application_object_id,
            "nbf": now.as_second(),
            "iat": now.as_second(),
            "exp": now.as_second().saturating_add(ASSERTION_LIFE.as_secs()),
        });
        self.signed(&header, &claims, &RSA_PKCS1_SHA256)
    }

    /// A JWT in compact form (RFC 7515 section 7.1).
    fn signed(
        &self,
        header: &Value,
        claims: &Value,
        algorithm: &'static dyn RsaEncoding,
    ) -> Result<SecretString, CertificateError> {
        let encoded = |part: &Value| URL_SAFE_NO_PAD.encode(part.to_string());
        let mut token = format!("{}.{}", encoded(header), encoded(claims));
        let mut signature = vec![0; self.key.public_modulus_len()];
        self.key
            .sign(algorithm, &SystemRandom::new(), token.as_bytes(), &mut signature)
            .map_err(|_| CertificateError::Sign)?;
        token.push('.');
        token.push_str(&URL_SAFE_NO_PAD.encode(signature));
        Ok(SecretString::from(token))
    }
}
