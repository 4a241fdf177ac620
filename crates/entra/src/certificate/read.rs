//! PEM and DER.

use aws_lc_rs::encoding::{AsDer, Pkcs8V1Der};
use aws_lc_rs::rsa::KeyPair;
use aws_lc_rs::signature::KeyPair as _;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use jiff::Timestamp;
use postroom_model::{ExposeSecret, SecretString};
use x509_parser::oid_registry::OID_PKCS1_RSAENCRYPTION;
use x509_parser::pem::Pem;
use x509_parser::prelude::{FromDer, X509Certificate};
use zeroize::{Zeroize, Zeroizing};

use super::{CertificateCredential, CertificateError, MAX_CERTIFICATE, PublicCertificate};

/// `id-ecPublicKey` (1.2.840.10045.2.1) in DER, as it stands at the beginning of a PKCS#8 key.
const EC_KEY: &[u8] = &[0x06, 0x07, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x02, 0x01];

/// Blocks read at most: a key and a long chain.
const MAX_BLOCKS: usize = 32;

pub(super) fn credential_of_pem(text: &SecretString) -> Result<CertificateCredential, CertificateError> {
    let mut blocks = blocks(text.expose_secret())?;
    let credential = credential_of_blocks(&blocks);
    for block in &mut blocks {
        block.contents.zeroize();
    }
    credential
}

fn credential_of_blocks(blocks: &[Pem]) -> Result<CertificateCredential, CertificateError> {
    let of = |label: &str| blocks.iter().filter(|block| block.label == label).collect::<Vec<_>>();
    let certificates = of("CERTIFICATE");
    if certificates.is_empty() {
        return Err(CertificateError::NoCertificate);
    }
    let pkcs8 = of("PRIVATE KEY");
    let key = match (pkcs8.first(), of("RSA PRIVATE KEY").first()) {
        (Some(block), _) => key_of_pkcs8(&block.contents)?,
        (None, Some(block)) => {
            KeyPair::from_der(&block.contents).map_err(|_| CertificateError::UnusableKey)?
        }
        (None, None) if !of("EC PRIVATE KEY").is_empty() => {
            return Err(CertificateError::NotRsa { found: "an elliptic curve key" });
        }
        (None, None) if !of("ENCRYPTED PRIVATE KEY").is_empty() => {
            return Err(CertificateError::EncryptedKey);
        }
        (None, None) => return Err(CertificateError::NoKey),
    };
    pair(certificates.iter().map(|block| block.contents.as_slice()), key)
}

/// A key in PKCS#8.
pub(super) fn key_of_pkcs8(der: &[u8]) -> Result<KeyPair, CertificateError> {
    let head = der.get(..40.min(der.len())).unwrap_or_default();
    if head.windows(EC_KEY.len()).any(|window| window == EC_KEY) {
        return Err(CertificateError::NotRsa { found: "an elliptic curve key" });
    }
    KeyPair::from_pkcs8(der).map_err(|_| CertificateError::UnusableKey)
}

/// The key with the one of `certificates` that belongs to it.
pub(super) fn pair<'a>(
    certificates: impl Iterator<Item = &'a [u8]>,
    key: KeyPair,
) -> Result<CertificateCredential, CertificateError> {
    let mut trouble = CertificateError::Mismatch;
    for der in certificates {
        match public_of_der(der) {
            Ok((public, spki)) if spki == key.public_key().as_ref() => {
                let written: Pkcs8V1Der<'static> = key.as_der().map_err(|_| CertificateError::UnusableKey)?;
                let pkcs8 = Zeroizing::new(written.as_ref().to_vec());
                return Ok(CertificateCredential { public, key, pkcs8 });
            }
            Ok(_) => {}
            Err(error) => trouble = error,
        }
    }
    Err(trouble)
}

pub(super) fn public_of_pem(text: &str) -> Result<PublicCertificate, CertificateError> {
    let blocks = blocks(text)?;
    let block =
        blocks.iter().find(|block| block.label == "CERTIFICATE").ok_or(CertificateError::NoCertificate)?;
    public_of_der(&block.contents).map(|(public, _)| public)
}

/// A certificate and its public key in PKCS#1.
pub(super) fn public_of_der(der: &[u8]) -> Result<(PublicCertificate, Vec<u8>), CertificateError> {
    let malformed = CertificateError::Malformed { what: "the certificate itself" };
    if der.len() > MAX_CERTIFICATE {
        return Err(CertificateError::TooLarge { limit: MAX_CERTIFICATE });
    }
    let (rest, certificate) = X509Certificate::from_der(der).map_err(|_| malformed.clone())?;
    if !rest.is_empty() {
        return Err(malformed);
    }
    let key = certificate.public_key();
    if key.algorithm.algorithm != OID_PKCS1_RSAENCRYPTION {
        return Err(CertificateError::NotRsa { found: "not RSA" });
    }
    let validity = certificate.validity();
    let instant = |seconds: i64| {
        Timestamp::from_second(seconds)
            .map_err(|_| CertificateError::Malformed { what: "the certificate's validity" })
    };
    let public = PublicCertificate {
        der: der.to_vec(),
        subject: crate::http::tidy(certificate.subject(), 200),
        not_before: instant(validity.not_before.timestamp())?,
        not_after: instant(validity.not_after.timestamp())?,
    };
    Ok((public, key.subject_public_key.data.to_vec()))
}

fn blocks(text: &str) -> Result<Vec<Pem>, CertificateError> {
    if text.len() > MAX_CERTIFICATE {
        return Err(CertificateError::TooLarge { limit: MAX_CERTIFICATE });
    }
    // Pasted text may be indented; PEM must begin at the left.
    let lines: Zeroizing<String> =
        Zeroizing::new(text.lines().flat_map(|line| [line.trim(), "\n"]).collect());
    let mut blocks = Vec::new();
    for block in Pem::iter_from_buffer(lines.as_bytes()).take(MAX_BLOCKS) {
        match block {
            Ok(block) => blocks.push(block),
            // What is no PEM at all has no certificate; a broken block is told apart.
            Err(_) if blocks.is_empty() && !lines.contains("-----BEGIN") => break,
            Err(_) => return Err(CertificateError::Malformed { what: "a block of the PEM text" }),
        }
    }
    Ok(blocks)
}

/// A block of PEM (RFC 7468): lines of 64 characters.
pub(super) fn pem_block(label: &str, der: &[u8]) -> Zeroizing<String> {
    let encoded = Zeroizing::new(STANDARD.encode(der));
    // Room for all, so that no half-written copy is left behind by growing.
    let mut text = Zeroizing::new(String::with_capacity(encoded.len() + encoded.len() / 64 + 100));
    text.push_str("-----BEGIN ");
    text.push_str(label);
    text.push_str("-----\n");
    let mut rest = encoded.as_str();
    while !rest.is_empty() {
        let (line, tail) = rest.split_at(rest.len().min(64));
        text.push_str(line);
        text.push('\n');
        rest = tail;
    }
    text.push_str("-----END ");
    text.push_str(label);
    text.push_str("-----\n");
    text
}
