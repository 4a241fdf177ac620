//! Certificates of an application: by an administrator, and by the application itself with proof of an older key.
//!
//! Sources: Microsoft, `application: addKey`, `application: removeKey`
//! (<https://learn.microsoft.com/graph/api/application-addkey>, `.../application-removekey`).

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use postroom_model::ExposeSecret;
use reqwest::Method;
use serde::Deserialize;
use serde_json::{Value, json};

use super::call::Call;
use super::error::RegisterError;
use super::steps::{RegisteredApplication, Registrar, gone_is_fine};
use crate::certificate::{CertificateCredential, PublicCertificate};
use crate::http;

#[derive(Deserialize)]
struct Keys {
    #[serde(rename = "keyCredentials", default)]
    keys: Vec<Value>,
}

#[derive(Deserialize)]
struct Made {
    #[serde(rename = "keyId")]
    key_id: String,
}

/// A certificate as Microsoft Graph wants it. The service fills in `customKeyIdentifier`.
fn entry(certificate: &PublicCertificate) -> Value {
    json!({
        "type": "AsymmetricX509Cert",
        "usage": "Verify",
        "displayName": certificate.subject(),
        "key": STANDARD.encode(certificate.der()),
        "startDateTime": certificate.not_before().to_string(),
        "endDateTime": certificate.not_after().to_string(),
    })
}

impl Registrar {
    /// Adds a certificate, as an administrator: what is there is read, kept, and written with it. Gives its `keyId`.
    /// One that is already there is a success.
    ///
    /// # Errors
    /// [`RegisterError`]; a policy of the tenant may demand an earlier end.
    pub async fn add_certificate(
        &self,
        application: &RegisteredApplication,
        certificate: &PublicCertificate,
    ) -> Result<String, RegisterError> {
        let step = format!("add a certificate to {}", application.app_id);
        let mut keys = self.keys(&step, &application.object_id).await?;
        if let Some(key_id) = known(&keys, certificate) {
            return Ok(key_id);
        }
        keys.push(entry(certificate));
        self.write_keys(&step, &application.object_id, &keys).await?;
        let keys = self.keys(&step, &application.object_id).await?;
        known(&keys, certificate).ok_or_else(|| RegisterError::Unknown {
            step: step.clone(),
            what: "the certificate, although it took it".to_owned(),
        })
    }

    /// Removes a certificate, as an administrator. One that is already gone is a success.
    ///
    /// # Errors
    /// [`RegisterError`].
    pub async fn remove_certificate(
        &self,
        application: &RegisteredApplication,
        key_id: &str,
    ) -> Result<(), RegisterError> {
        let step = format!("remove a certificate from {}", application.app_id);
        let mut keys = self.keys(&step, &application.object_id).await?;
        let before = keys.len();
        keys.retain(|key| !key["keyId"].as_str().is_some_and(|id| id.eq_ignore_ascii_case(key_id)));
        if keys.len() == before {
            return Ok(());
        }
        self.write_keys(&step, &application.object_id, &keys).await
    }

    /// Adds a certificate as the application itself, which needs no permission for it: `current` proves that it holds
    /// a key that is good now. This registrar's token is then one of the application (scope `.default` of Microsoft
    /// Graph). Gives the `keyId` of the new one.
    ///
    /// # Errors
    /// [`RegisterError`]; not possible for the first certificate.
    pub async fn roll_key(
        &self,
        application_object_id: &str,
        current: &CertificateCredential,
        new: &PublicCertificate,
    ) -> Result<String, RegisterError> {
        let step = format!("add a certificate to application object {application_object_id} by its own key");
        let body = Some(json!({
            "keyCredential": entry(new),
            "passwordCredential": null,
            "proof": self.proof(&step, application_object_id, current)?,
        }));
        let address = self.caller.address(&step, &["applications", application_object_id, "addKey"])?;
        let call = Call { step: &step, method: Method::POST, address, body };
        let made: Made = self.caller.json(&call).await?;
        Ok(made.key_id)
    }

    /// Removes a certificate as the application itself. `current` must stay: prove with the new one that the old one
    /// may go. One that is already gone is a success.
    ///
    /// # Errors
    /// [`RegisterError`].
    pub async fn remove_key_with_proof(
        &self,
        application_object_id: &str,
        current: &CertificateCredential,
        key_id: &str,
    ) -> Result<(), RegisterError> {
        let step =
            format!("remove a certificate of application object {application_object_id} by its own key");
        let proof = self.proof(&step, application_object_id, current)?;
        let body = Some(json!({ "keyId": key_id, "proof": proof }));
        let address = self.caller.address(&step, &["applications", application_object_id, "removeKey"])?;
        gone_is_fine(self.caller.bytes(&Call { step: &step, method: Method::POST, address, body }).await)
    }

    fn proof(
        &self,
        step: &str,
        object_id: &str,
        current: &CertificateCredential,
    ) -> Result<String, RegisterError> {
        let proof = current.proof(object_id, self.caller.env.now());
        let proof = proof.map_err(|source| RegisterError::Certificate { step: step.to_owned(), source })?;
        Ok(proof.expose_secret().to_owned())
    }

    /// `keyCredentials` as they stand, with their keys: those come only where they are asked for by name.
    async fn keys(&self, step: &str, object_id: &str) -> Result<Vec<Value>, RegisterError> {
        let address = self.caller.address(step, &["applications", object_id])?;
        let address = http::with_query(address, &[("$select", "id,keyCredentials")]);
        let call = Call { step, method: Method::GET, address, body: None };
        let keys: Keys = self.caller.patient(&call).await?;
        Ok(keys.keys)
    }

    async fn write_keys(&self, step: &str, object_id: &str, keys: &[Value]) -> Result<(), RegisterError> {
        let address = self.caller.address(step, &["applications", object_id])?;
        self.send(step, Method::PATCH, address, json!({ "keyCredentials": keys })).await
    }
}

/// The `keyId` of a certificate, found by its bytes or by its SHA-1, which the service writes in base64; some answers
/// hold it in hexadecimal.
fn known(keys: &[Value], certificate: &PublicCertificate) -> Option<String> {
    let der = STANDARD.encode(certificate.der());
    let (base64, hex) = (certificate.thumbprint_sha1_base64(), certificate.thumbprint_sha1_hex());
    let same = |key: &&Value| {
        let mark = key["customKeyIdentifier"].as_str().unwrap_or_default();
        key["key"].as_str() == Some(der.as_str()) || mark == base64 || mark.eq_ignore_ascii_case(&hex)
    };
    keys.iter().find(same)?["keyId"].as_str().map(str::to_owned)
}
