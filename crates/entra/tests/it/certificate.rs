use std::sync::OnceLock;

use aws_lc_rs::signature::{RSA_PKCS1_2048_8192_SHA256, RSA_PSS_2048_8192_SHA256, UnparsedPublicKey};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use postroom_entra::{CertificateCredential, CertificateError, PublicCertificate};
use postroom_model::{Env, ExposeSecret, SecretString, Timestamp};
use serde_json::Value;
use x509_parser::prelude::{FromDer, X509Certificate};

/// One certificate for all tests: making an RSA key takes some tenths of a second.
pub(crate) fn certificate() -> &'static CertificateCredential {
    static MADE: OnceLock<CertificateCredential> = OnceLock::new();
    MADE.get_or_init(|| made("Postroom"))
}

pub(crate) fn made(subject: &str) -> CertificateCredential {
    let (env, _clock) = Env::for_test(7);
    let (from, to) = ("2026-11-23T10:00:00Z".parse().unwrap(), "2027-11-23T10:00:00Z".parse().unwrap());
    CertificateCredential::generate(subject, from, to, &env).unwrap()
}

/// The PKCS#1 public key of a certificate.
pub(crate) fn public_key(der: &[u8]) -> Vec<u8> {
    let (_, certificate) = X509Certificate::from_der(der).unwrap();
    certificate.public_key().subject_public_key.data.to_vec()
}

/// Header and claims of a JWT.
pub(crate) fn parts(jwt: &str) -> (Value, Value) {
    let part = |n: usize| {
        let part = jwt.split('.').nth(n).unwrap();
        serde_json::from_slice(&URL_SAFE_NO_PAD.decode(part).unwrap()).unwrap()
    };
    (part(0), part(1))
}

fn verifies(jwt: &str, der: &[u8], pss: bool) -> bool {
    let (signed, signature) = jwt.rsplit_once('.').unwrap();
    let signature = URL_SAFE_NO_PAD.decode(signature).unwrap();
    let key = public_key(der);
    let algorithm = if pss { &RSA_PSS_2048_8192_SHA256 } else { &RSA_PKCS1_2048_8192_SHA256 };
    UnparsedPublicKey::new(algorithm, key).verify(signed.as_bytes(), &signature).is_ok()
}

fn at(text: &str) -> Timestamp {
    text.parse().unwrap()
}

#[test]
fn an_assertion_is_ps256_and_names_the_certificate() {
    let certificate = certificate();
    let endpoint = "https://login.microsoftonline.com/contoso.example/oauth2/v2.0/token";
    let now = at("2026-11-23T10:00:00Z");
    let assertion = certificate.assertion(endpoint, "app-1", now, "jti-1").unwrap();
    let jwt = assertion.expose_secret();
    assert!(verifies(jwt, certificate.certificate_der(), true));
    assert!(!verifies(jwt, certificate.certificate_der(), false), "not RS256");
    let (header, claims) = parts(jwt);
    assert_eq!((header["alg"].as_str(), header["typ"].as_str()), (Some("PS256"), Some("JWT")));
    assert_eq!(header["x5t#S256"].as_str(), Some(certificate.thumbprint_sha256_base64url().as_str()));
    for (name, value) in [("aud", endpoint), ("iss", "app-1"), ("sub", "app-1"), ("jti", "jti-1")] {
        assert_eq!(claims[name].as_str(), Some(value));
    }
    for (name, seconds) in [("nbf", 0), ("iat", 0), ("exp", 600)] {
        assert_eq!(claims[name].as_i64(), Some(now.as_second() + seconds), "{name}");
    }
    // Another reader than ours agrees.
    let key = jsonwebtoken::DecodingKey::from_rsa_der(&public_key(certificate.certificate_der()));
    let decode = |algorithm| {
        let mut rules = jsonwebtoken::Validation::new(algorithm);
        rules.set_audience(&[endpoint]);
        rules.validate_exp = false;
        jsonwebtoken::decode::<Value>(jwt, &key, &rules).map(|token| token.claims["iss"].clone())
    };
    assert_eq!(decode(jsonwebtoken::Algorithm::PS256).unwrap(), "app-1");
    decode(jsonwebtoken::Algorithm::RS256).unwrap_err();
}

#[test]
fn a_proof_names_the_application_object() {
    let certificate = certificate();
    let proof = certificate.proof("object-1", at("2026-11-23T10:00:00Z")).unwrap();
    assert!(verifies(proof.expose_secret(), certificate.certificate_der(), false));
    let (header, claims) = parts(proof.expose_secret());
    assert_eq!(claims["aud"], "00000002-0000-0000-c000-000000000000");
    assert_eq!(claims["iss"], "object-1");
    assert_eq!(header["kid"].as_str(), Some(certificate.thumbprint_sha1_hex().as_str()));
    assert!(claims["exp"].as_i64().unwrap() - claims["nbf"].as_i64().unwrap() <= 600);
}

#[test]
fn what_is_made_is_written_and_read_again() {
    let made = certificate();
    assert_eq!(made.public().subject(), "CN=Postroom");
    assert_eq!(made.not_before(), at("2026-11-23T10:00:00Z"));
    assert_eq!(made.not_after(), at("2027-11-23T10:00:00Z"));
    assert_eq!(made.thumbprint_sha1_hex().len(), 40);
    let read = CertificateCredential::from_pem(&made.to_pem()).unwrap();
    assert_eq!(read.public(), made.public());
    assert_eq!(read.to_pem().expose_secret(), made.to_pem().expose_secret());
    // In any order, indented, with words around, among other certificates.
    let pem = made.to_pem();
    let key = pem.expose_secret().replace(&made.certificate_pem(), "");
    let other = self::made("Other");
    let text = format!("Bag Attributes\n{key}\n{}\r\n{}", other.certificate_pem(), made.certificate_pem());
    let indented: String = text.lines().map(|line| format!("   {line}\r\n")).collect();
    for text in [text, indented] {
        assert_eq!(CertificateCredential::from_pem(&text.into()).unwrap().public(), made.public());
    }
    assert_eq!(&PublicCertificate::from_pem(&made.certificate_pem()).unwrap(), made.public());
    assert_eq!(&PublicCertificate::from_der(made.certificate_der()).unwrap(), made.public());
    assert!(!made.certificate_pem().contains("PRIVATE"));
}

#[test]
fn a_pfx_file_is_written_and_read_again_in_both_encryptions() {
    let made = certificate();
    let password = SecretString::from("Gehe1m-Wört");
    for old_windows in [false, true] {
        let file = made.to_pfx(&password, old_windows).unwrap();
        let read = CertificateCredential::from_pfx(&file, &password).unwrap();
        assert_eq!(read.public(), made.public());
        assert_eq!(read.to_pem().expose_secret(), made.to_pem().expose_secret());
        let error = CertificateCredential::from_pfx(&file, &SecretString::from("wrong")).unwrap_err();
        assert_eq!(error, CertificateError::Password);
        assert!(error.to_string().contains("wrong password, or made with an encryption that"));
        assert!(error.hint().contains("TripleDES-SHA1"));
        // Cut or changed anywhere, it is an error and no panic.
        for at in (0..file.len()).step_by(97) {
            CertificateCredential::from_pfx(&file[..at], &password).unwrap_err();
        }
    }
    for (bytes, error) in [
        (b"".to_vec(), CertificateError::Malformed { what: "the PFX file" }),
        (b"no file".to_vec(), CertificateError::Malformed { what: "the PFX file" }),
        (vec![0x30; 300 * 1024], CertificateError::TooLarge { limit: 256 * 1024 }),
    ] {
        assert_eq!(CertificateCredential::from_pfx(&bytes, &password).unwrap_err(), error);
    }
}

#[test]
fn what_cannot_be_used_is_named() {
    let made = certificate();
    let (certificate, pem) = (made.certificate_pem(), made.to_pem());
    let key = pem.expose_secret().replace(&certificate, "");
    let ec = rcgen::KeyPair::generate().unwrap();
    let ec_certificate = rcgen::CertificateParams::default().self_signed(&ec).unwrap().pem();
    let broken = key.replacen("MII", "AAA", 1);
    let sec1 = "-----BEGIN EC PRIVATE KEY-----\nMHcCAQEE\n-----END EC PRIVATE KEY-----\n";
    let locked = "-----BEGIN ENCRYPTED PRIVATE KEY-----\nMIIE\n-----END ENCRYPTED PRIVATE KEY-----\n";
    for (text, words) in [
        (String::new(), "no block BEGIN CERTIFICATE"),
        ("nQ3~a.secret".to_owned(), "no block BEGIN CERTIFICATE"),
        (certificate.clone(), "its private key is missing"),
        (key.clone(), "no block BEGIN CERTIFICATE"),
        (format!("{ec_certificate}{}", ec.serialize_pem()), "an elliptic curve key"),
        (format!("{certificate}{sec1}"), "an elliptic curve key"),
        (format!("{ec_certificate}{key}"), "not RSA"),
        (format!("{certificate}{locked}"), "is encrypted"),
        (format!("{certificate}{broken}"), "broken, or not of 2048"),
        (format!("{}{key}", self::made("Other").certificate_pem()), "belongs to another one"),
        (certificate.replace("-----END CERTIFICATE-----", ""), "malformed"),
        ("x".repeat(300 * 1024), "larger than"),
    ] {
        let error = CertificateCredential::from_pem(&text.into()).unwrap_err();
        assert!(error.to_string().contains(words), "{error} instead of {words}");
        assert!(!error.hint().is_empty());
    }
}

#[test]
fn an_odd_life_or_name_is_refused_or_cut() {
    let (env, _clock) = Env::for_test(1);
    let now = env.now();
    let error = CertificateCredential::generate("x", now, now, &env).unwrap_err();
    assert!(matches!(error, CertificateError::Generate { .. }));
    let error = CertificateCredential::generate("x", now, Timestamp::MAX, &env).map(drop);
    assert!(error.is_err() || Timestamp::MAX.as_second() <= 253_402_300_799);
    let named = made(&"a\u{0}ö\n".repeat(50));
    assert!(!named.public().subject().contains('\n'));
}

proptest::proptest! {
    #[test]
    fn no_bytes_panic(bytes in proptest::collection::vec(proptest::prelude::any::<u8>(), 0..600)) {
        let _ = CertificateCredential::from_pfx(&bytes, &SecretString::from("p"));
        let _ = PublicCertificate::from_der(&bytes);
        let text = String::from_utf8_lossy(&bytes);
        let _ = CertificateCredential::from_pem(&SecretString::from(format!("-----BEGIN CERTIFICATE-----\n{text}")));
    }
}
