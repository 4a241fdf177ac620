//! What a server's certificate is compared with: the certificates that this machine trusts, which the environment
//! variable `SSL_CERT_FILE` may name, as for every HTTP call.

use std::sync::{Arc, OnceLock};

use rustls_platform_verifier::BuilderVerifierExt;
use tokio_rustls::rustls::ClientConfig;
use tokio_rustls::rustls::crypto::aws_lc_rs::default_provider;

/// TLS 1.2 or later, made once in the process.
///
/// # Errors
/// What the library says: usually this machine or container has no root certificates.
pub(crate) fn config() -> Result<Arc<ClientConfig>, String> {
    static CONFIG: OnceLock<Result<Arc<ClientConfig>, String>> = OnceLock::new();
    let make = || {
        let made = ClientConfig::builder_with_provider(Arc::new(default_provider()))
            .with_safe_default_protocol_versions()
            .and_then(|builder| builder.with_platform_verifier());
        made.map(|builder| Arc::new(builder.with_no_client_auth())).map_err(|error| {
            format!("{error}; usually this machine or container has no root certificates: install `ca-certificates`")
        })
    };
    CONFIG.get_or_init(make).clone()
}
