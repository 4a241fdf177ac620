//! TLS for clients that refuse plain HTTP (Microsoft's own libraries do): a certificate for this machine, made at
//! each start and signed by nobody else. Whoever wants to trust it is given its file.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use rcgen::{CertifiedKey, generate_simple_self_signed};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::rustls::crypto::aws_lc_rs::default_provider;
use tokio_rustls::rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
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
    /// Makes the certificate and writes it to `file`, for clients to trust.
    pub(crate) fn new(file: &PathBuf) -> Result<Self, SandboxError> {
        let failed = |source: Box<dyn std::error::Error + Send + Sync>| SandboxError::Tls { source };
        let CertifiedKey { cert, signing_key } =
            generate_simple_self_signed(NAMES.map(str::to_owned)).map_err(|error| failed(error.into()))?;
        let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(signing_key.serialize_der()));
        let config = ServerConfig::builder_with_provider(Arc::new(default_provider()))
            .with_safe_default_protocol_versions()
            .and_then(|builder| builder.with_no_client_auth().with_single_cert(vec![cert.der().clone()], key))
            .map_err(|error| failed(error.into()))?;
        std::fs::write(file, cert.pem()).map_err(|error| failed(error.into()))?;
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
