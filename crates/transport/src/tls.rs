//! What a server's certificate is compared with: the certificates that this machine trusts, which the environment
//! variable `SSL_CERT_FILE` may name, as for every HTTP call; and those that were given besides.

use std::sync::{Arc, OnceLock};

use rustls_platform_verifier::Verifier;
use tokio_rustls::rustls::ClientConfig;
use tokio_rustls::rustls::crypto::aws_lc_rs::default_provider;
use tokio_rustls::rustls::pki_types::CertificateDer;

/// TLS 1.2 or later, made once in the process.
///
/// # Errors
/// What the library says: usually this machine or container has no root certificates.
pub(crate) fn config() -> Result<Arc<ClientConfig>, String> {
    static CONFIG: OnceLock<Result<Arc<ClientConfig>, String>> = OnceLock::new();
    CONFIG.get_or_init(|| config_with(Vec::new())).clone()
}

/// The same, with authorities besides those of this machine.
///
/// # Errors
/// As for [`config`], or a certificate that is none.
pub(crate) fn config_with(extra: Vec<CertificateDer<'static>>) -> Result<Arc<ClientConfig>, String> {
    let provider = Arc::new(default_provider());
    let verifier = Verifier::new_with_extra_roots(extra, Arc::clone(&provider));
    let made = verifier.and_then(|verifier| {
        let builder = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions()?;
        let builder = builder.dangerous().with_custom_certificate_verifier(Arc::new(verifier));
        Ok(Arc::new(builder.with_no_client_auth()))
    });
    made.map_err(|error| {
        format!(
            "{error}; usually this machine or container has no root certificates: install `ca-certificates`"
        )
    })
}
