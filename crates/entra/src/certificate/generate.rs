//! A certificate of our own.

use std::time::Duration;

use jiff::Timestamp;
use postroom_model::Env;
use rcgen::{
    CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, KeyPair, KeyUsagePurpose,
    PKCS_RSA_SHA256, RsaKeySize, SerialNumber,
};
use zeroize::Zeroizing;

use super::{CertificateCredential, CertificateError, read};

pub(super) fn generate(
    subject: &str,
    not_before: Timestamp,
    not_after: Timestamp,
    env: &Env,
) -> Result<CertificateCredential, CertificateError> {
    let failed = |what| move |_: rcgen::Error| CertificateError::Generate { what };
    if not_after <= not_before {
        return Err(CertificateError::Generate { what: "it would end before it begins" });
    }
    let subject: String = subject.chars().filter(|c| !c.is_control()).take(64).collect();
    let key = KeyPair::generate_rsa_for(&PKCS_RSA_SHA256, RsaKeySize::_2048)
        .map_err(failed("no RSA key could be made"))?;
    let mut params = CertificateParams::default();
    params.distinguished_name = DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, subject);
    params.not_before = rcgen::date_time_ymd(1970, 1, 1) + since_epoch(not_before)?;
    params.not_after = rcgen::date_time_ymd(1970, 1, 1) + since_epoch(not_after)?;
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
    let mut serial = [0; 16];
    env.fill(&mut serial);
    // Positive and not zero (RFC 5280 section 4.1.2.2).
    serial[0] = serial[0] & 0x7f | 0x01;
    params.serial_number = Some(SerialNumber::from_slice(&serial));
    let certificate = params.self_signed(&key).map_err(failed("it could not be signed"))?;
    let pkcs8 = Zeroizing::new(key.serialize_der());
    let der: &[u8] = certificate.der();
    read::pair(std::iter::once(der), read::key_of_pkcs8(&pkcs8)?)
}

/// Time since 1970. Before it, and after 9999, a certificate cannot say.
fn since_epoch(instant: Timestamp) -> Result<Duration, CertificateError> {
    let last: i64 = 253_402_300_799;
    let seconds = instant.as_second();
    let seconds = u64::try_from(seconds).ok().filter(|_| seconds <= last);
    seconds
        .map(Duration::from_secs)
        .ok_or(CertificateError::Generate { what: "its dates must lie between 1970 and 9999" })
}
