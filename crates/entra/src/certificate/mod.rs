//! A certificate with its private key: the credential that cannot be pasted into the wrong field.
//!
//! Source: Microsoft, "Microsoft identity platform application authentication certificate credentials"
//! (<https://learn.microsoft.com/entra/identity-platform/certificate-credentials>). Reading a PFX file derives keys on
//! purpose slowly: call [`CertificateCredential::from_pfx`] and [`CertificateCredential::generate`] where blocking is
//! allowed.

mod assertion;
mod error;
mod generate;
mod pfx;
mod read;

use std::fmt;

use aws_lc_rs::digest;
use aws_lc_rs::rsa::KeyPair;
use base64::Engine;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use jiff::Timestamp;
use postroom_model::SecretString;
use zeroize::Zeroizing;

pub use assertion::{ASSERTION_LIFE, PROOF_AUDIENCE};
pub use error::CertificateError;

/// Largest PEM text or PFX file that is read, in bytes. Real ones have 3 to 10 kilobytes.
pub const MAX_CERTIFICATE: usize = 256 * 1024;

/// A certificate, without any private key: what is uploaded to Microsoft.
#[derive(Clone, PartialEq, Eq)]
pub struct PublicCertificate {
    der: Vec<u8>,
    subject: String,
    not_before: Timestamp,
    not_after: Timestamp,
}

impl PublicCertificate {
    /// The first certificate of a PEM text.
    ///
    /// # Errors
    /// [`CertificateError`]: too large, none in it, malformed, or with another key than RSA.
    pub fn from_pem(text: &str) -> Result<Self, CertificateError> {
        read::public_of_pem(text)
    }

    /// A certificate in DER.
    ///
    /// # Errors
    /// [`CertificateError`]: malformed, or with another key than RSA.
    pub fn from_der(der: &[u8]) -> Result<Self, CertificateError> {
        read::public_of_der(der).map(|(public, _)| public)
    }

    /// The certificate in DER.
    pub fn der(&self) -> &[u8] {
        &self.der
    }

    /// The certificate in PEM.
    pub fn pem(&self) -> String {
        read::pem_block("CERTIFICATE", &self.der).to_string()
    }

    /// Whom it names: `CN=Postroom`.
    pub fn subject(&self) -> &str {
        &self.subject
    }

    /// From when it is good.
    pub fn not_before(&self) -> Timestamp {
        self.not_before
    }

    /// Until when it is good.
    pub fn not_after(&self) -> Timestamp {
        self.not_after
    }

    /// SHA-1 of the DER, forty hexadecimal digits in capitals: *Thumbprint* in the portal.
    pub fn thumbprint_sha1_hex(&self) -> String {
        digest_of(&digest::SHA1_FOR_LEGACY_USE_ONLY, &self.der)
            .iter()
            .map(|byte| format!("{byte:02X}"))
            .collect()
    }

    /// SHA-1 of the DER in base64: `customKeyIdentifier` of Microsoft Graph.
    pub fn thumbprint_sha1_base64(&self) -> String {
        STANDARD.encode(digest_of(&digest::SHA1_FOR_LEGACY_USE_ONLY, &self.der))
    }

    /// SHA-256 of the DER in base64url without padding: `x5t#S256`.
    pub fn thumbprint_sha256_base64url(&self) -> String {
        URL_SAFE_NO_PAD.encode(digest_of(&digest::SHA256, &self.der))
    }

    fn thumbprint_sha1_base64url(&self) -> String {
        URL_SAFE_NO_PAD.encode(digest_of(&digest::SHA1_FOR_LEGACY_USE_ONLY, &self.der))
    }
}

fn digest_of(algorithm: &'static digest::Algorithm, bytes: &[u8]) -> Vec<u8> {
    digest::digest(algorithm, bytes).as_ref().to_vec()
}

impl fmt::Debug for PublicCertificate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PublicCertificate({})", self.thumbprint_sha1_hex())
    }
}

/// A certificate with its RSA private key.
pub struct CertificateCredential {
    public: PublicCertificate,
    key: KeyPair,
    /// The key in PKCS#8, as it is written out.
    pkcs8: Zeroizing<Vec<u8>>,
}

impl fmt::Debug for CertificateCredential {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "CertificateCredential({})", self.public.thumbprint_sha1_hex())
    }
}

impl CertificateCredential {
    /// Certificate and private key from one PEM text, in any order. Of several certificates the one that belongs to
    /// the key counts.
    ///
    /// # Errors
    /// [`CertificateError`], which says what is missing or cannot be used.
    pub fn from_pem(text: &SecretString) -> Result<Self, CertificateError> {
        read::credential_of_pem(text)
    }

    /// Certificate and private key from a PFX (PKCS#12) file. Takes some tenths of a second on purpose of the
    /// format: call it where blocking is allowed.
    ///
    /// # Errors
    /// [`CertificateError`], which tells a wrong password from a file that cannot be used.
    pub fn from_pfx(bytes: &[u8], password: &SecretString) -> Result<Self, CertificateError> {
        pfx::read(bytes, password)
    }

    /// A new RSA key of 2048 bits and a certificate signed by it, for `subject` as common name. The serial number is
    /// of `env`, the key of the system's random source. Blocks for some tenths of a second.
    ///
    /// # Errors
    /// [`CertificateError::Generate`] when the life is empty or the key cannot be made.
    pub fn generate(
        subject: &str,
        not_before: Timestamp,
        not_after: Timestamp,
        env: &postroom_model::Env,
    ) -> Result<Self, CertificateError> {
        generate::generate(subject, not_before, not_after, env)
    }

    /// The certificate alone: what is uploaded.
    pub fn public(&self) -> &PublicCertificate {
        &self.public
    }

    /// Certificate and private key in one PEM text: the form that is sealed in the store. [`Self::from_pem`] reads it.
    pub fn to_pem(&self) -> SecretString {
        let key = read::pem_block("PRIVATE KEY", &self.pkcs8);
        let mut all = String::with_capacity(key.len() + self.public.der.len() * 2);
        all.push_str(&self.public.pem());
        all.push_str(&key);
        SecretString::from(all)
    }

    /// Certificate and private key as a PFX file, with AES-256 or, for Windows Server 2016 and older, with 3DES.
    /// Blocks for some tenths of a second.
    ///
    /// # Errors
    /// [`CertificateError::Generate`] when it cannot be written.
    pub fn to_pfx(
        &self,
        password: &SecretString,
        old_windows: bool,
    ) -> Result<Zeroizing<Vec<u8>>, CertificateError> {
        pfx::write(self, password, old_windows)
    }

    /// The certificate in DER.
    pub fn certificate_der(&self) -> &[u8] {
        self.public.der()
    }

    /// The certificate in PEM, without the key.
    pub fn certificate_pem(&self) -> String {
        self.public.pem()
    }

    /// SHA-1 thumbprint, as the portal shows it.
    pub fn thumbprint_sha1_hex(&self) -> String {
        self.public.thumbprint_sha1_hex()
    }

    /// SHA-256 thumbprint, as an assertion names it.
    pub fn thumbprint_sha256_base64url(&self) -> String {
        self.public.thumbprint_sha256_base64url()
    }

    /// From when it is good.
    pub fn not_before(&self) -> Timestamp {
        self.public.not_before
    }

    /// Until when it is good.
    pub fn not_after(&self) -> Timestamp {
        self.public.not_after
    }
}
