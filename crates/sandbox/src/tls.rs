//! TLS for clients that refuse plain HTTP (Microsoft's own libraries do): a certificate for this machine, signed by
//! an authority made at each start whose key is forgotten at once. Whoever wants to trust it is given its file.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair, KeyUsagePurpose};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::rustls::crypto::aws_lc_rs::default_provider;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};
use tokio_rustls::server::TlsStream;

use crate::SandboxError;

/// The longest a client may take for its handshake.
const HANDSHAKE: Duration = Duration::from_secs(10);

/// Names the certificate is for.
const NAMES: [&str; 3] = ["localhost", "127.0.0.1", "::1"];

/// Turns accepted connections into protected ones.
#[derive(Clone)]
pub(crate) struct Tls(TlsAcceptor);

impl Tls {
    /// Makes authority and certificate, and writes the authority to `file`, for clients to trust.
    pub(crate) fn new(file: &PathBuf) -> Result<Self, SandboxError> {
        let failed = |source: Box<dyn std::error::Error + Send + Sync>| SandboxError::Tls { source };
        let made = make().map_err(|error| failed(error.into()))?;
        let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(made.key.serialize_der()));
        let config = ServerConfig::builder_with_provider(Arc::new(default_provider()))
            .with_safe_default_protocol_versions()
            .and_then(|builder| builder.with_no_client_auth().with_single_cert(vec![made.certificate], key))
            .map_err(|error| failed(error.into()))?;
        std::fs::write(file, made.authority).map_err(|error| failed(error.into()))?;
        Ok(Self(TlsAcceptor::from(Arc::new(config))))
    }

    /// The protected connection; none when the client gives up, takes too long or does not trust us.
    pub(crate) async fn accept(&self, stream: TcpStream) -> Option<TlsStream<TcpStream>> {
        match timeout(HANDSHAKE, self.0.accept(stream)).await {
            Ok(Ok(stream)) => Some(stream),
            Ok(Err(error)) => {
                tracing::debug!(%error, "a TLS handshake failed");
                None
            }
            Err(_) => None,
        }
    }
}

struct Made {
    /// The authority's certificate as PEM.
    authority: String,
    certificate: CertificateDer<'static>,
    key: KeyPair,
}

fn make() -> Result<Made, rcgen::Error> {
    let mut authority = CertificateParams::new(Vec::<String>::new())?;
    authority.distinguished_name.push(DnType::CommonName, "Postroom sandbox authority");
    authority.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    authority.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    let authority_key = KeyPair::generate()?;
    let signed = authority.self_signed(&authority_key)?;
    let mut leaf = CertificateParams::new(NAMES.map(str::to_owned))?;
    leaf.distinguished_name.push(DnType::CommonName, "Postroom sandbox");
    leaf.use_authority_key_identifier_extension = true;
    let key = KeyPair::generate()?;
    let certificate = leaf.signed_by(&key, &Issuer::from_params(&authority, &authority_key))?;
    Ok(Made { authority: signed.pem(), certificate: certificate.der().clone(), key })
}
