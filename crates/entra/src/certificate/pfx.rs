//! PFX (PKCS#12) files: the one place that knows the library for them.

use p12_keystore::error::Error;
use p12_keystore::{
    Certificate, EncryptionAlgorithm, KeyStore, KeyStoreEntry, MacAlgorithm, Pkcs12ImportPolicy, PrivateKey,
    PrivateKeyChain,
};
use postroom_model::{ExposeSecret, SecretString};
use zeroize::Zeroizing;

use super::{CertificateCredential, CertificateError, MAX_CERTIFICATE, read};

pub(super) fn read(bytes: &[u8], password: &SecretString) -> Result<CertificateCredential, CertificateError> {
    if bytes.len() > MAX_CERTIFICATE {
        return Err(CertificateError::TooLarge { limit: MAX_CERTIFICATE });
    }
    let store = KeyStore::from_pkcs12(bytes, password.expose_secret(), Pkcs12ImportPolicy::Strict)
        .map_err(|error| told_apart(&error))?;
    // Quirk: the library takes a wrong password for an empty store where the file has no MAC.
    let mut trouble = CertificateError::NoKey;
    for (_, entry) in store.entries() {
        let KeyStoreEntry::PrivateKeyChain(chain) = entry else { continue };
        let certificates = chain.certs().iter().map(Certificate::as_der);
        match read::key_of_pkcs8(chain.key().as_der()).and_then(|key| read::pair(certificates, key)) {
            Ok(credential) => return Ok(credential),
            Err(error) => trouble = error,
        }
    }
    Err(trouble)
}

fn told_apart(error: &Error) -> CertificateError {
    match error {
        Error::MacError(_) | Error::UnpadError => CertificateError::Password,
        // A file without a MAC shows a wrong password only when it is decrypted.
        Error::Pkcs5Error(_) => CertificateError::Password,
        Error::UnsupportedEncryptionScheme | Error::UnsupportedMacAlgorithm | Error::InvalidParameters => {
            CertificateError::Encryption
        }
        Error::InvalidPrivateKey => CertificateError::UnusableKey,
        _ => CertificateError::Malformed { what: "the PFX file" },
    }
}

pub(super) fn write(
    credential: &CertificateCredential,
    password: &SecretString,
    old_windows: bool,
) -> Result<Zeroizing<Vec<u8>>, CertificateError> {
    let failed = |_: Error| CertificateError::Generate { what: "the PFX file could not be written" };
    let key = PrivateKey::from_der(&credential.pkcs8).map_err(failed)?;
    let certificate = Certificate::from_der(credential.certificate_der()).map_err(failed)?;
    let mut store = KeyStore::new();
    let id = credential.thumbprint_sha1_hex();
    let chain = PrivateKeyChain::new(id.as_str(), key, [certificate]);
    store.add_entry("postroom", KeyStoreEntry::PrivateKeyChain(chain));
    let (encryption, mac) = if old_windows {
        (EncryptionAlgorithm::PbeWithShaAnd3KeyTripleDesCbc, MacAlgorithm::HmacSha1)
    } else {
        (EncryptionAlgorithm::PbeWithHmacSha256AndAes256, MacAlgorithm::HmacSha256)
    };
    let writer = store.writer(password.expose_secret()).encryption_algorithm(encryption).mac_algorithm(mac);
    writer.write().map(Zeroizing::new).map_err(failed)
}
