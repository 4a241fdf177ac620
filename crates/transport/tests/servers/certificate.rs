//! A certificate for this machine, and the authority it is signed by, made anew for each test.

// More than one test binary includes this file, and not each uses all of it.
#![allow(dead_code)]

use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair, KeyUsagePurpose};

/// What a server shows and a client trusts.
pub(crate) struct Certificate {
    /// The authority's certificate, DER.
    pub(crate) authority: Vec<u8>,
    /// The server's certificate, DER.
    pub(crate) der: Vec<u8>,
    /// The server's certificate, PEM.
    pub(crate) pem: String,
    /// Its key, PKCS #8, DER.
    pub(crate) key: Vec<u8>,
    /// Its key, PEM.
    pub(crate) key_pem: String,
}

/// A certificate for these names and numbers.
pub(crate) fn certificate(names: &[&str]) -> Certificate {
    let authority_key = KeyPair::generate().unwrap();
    let mut authority = CertificateParams::default();
    authority.distinguished_name.push(DnType::CommonName, "Authority of a test");
    authority.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    authority.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    let authority_certificate = authority.self_signed(&authority_key).unwrap();
    let key = KeyPair::generate().unwrap();
    let mut server =
        CertificateParams::new(names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>()).unwrap();
    server.distinguished_name.push(DnType::CommonName, names[0]);
    let signed = server.signed_by(&key, &Issuer::from_params(&authority, &authority_key)).unwrap();
    Certificate {
        authority: authority_certificate.der().to_vec(),
        der: signed.der().to_vec(),
        pem: signed.pem(),
        key: key.serialize_der(),
        key_pem: key.serialize_pem(),
    }
}
