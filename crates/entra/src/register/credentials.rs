//! Secrets, federated credentials, and what an application has.

use jiff::Timestamp;
use reqwest::Method;
use serde::Deserialize;
use serde_json::json;

use super::call::Call;
use super::error::RegisterError;
use super::steps::{NewSecret, RegisteredApplication, Registrar, gone_is_fine};
use crate::http;

/// What kind of credential an application has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ApplicationCredentialKind {
    /// A client secret.
    Secret,
    /// A certificate.
    Certificate,
}

/// A credential of an application, as Microsoft Graph tells of it: never the secret itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ApplicationCredential {
    /// What it is.
    pub kind: ApplicationCredentialKind,
    /// Microsoft's id of it.
    pub key_id: String,
    /// Name in the portal.
    pub name: Option<String>,
    /// From when it works.
    pub starts: Option<Timestamp>,
    /// When it ends. Ended ones stay in the list until they are removed.
    pub ends: Option<Timestamp>,
    /// First three characters of a secret; the SHA-1 thumbprint of a certificate in base64.
    pub hint: Option<String>,
}

/// Trust in another identity provider: a token of exactly this issuer, subject and audience is taken.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FederatedCredential {
    /// Its name: 3 to 120 letters, digits, `-` and `_`. It cannot be changed later.
    pub name: String,
    /// Who issues the token.
    pub issuer: String,
    /// Whom it is about.
    pub subject: String,
    /// Whom it is for: [`Cloud::federated_audience`](postroom_model::connection::Cloud::federated_audience).
    pub audience: String,
    /// What it is for, for people.
    pub description: String,
}

#[derive(Deserialize)]
struct RawCredentials {
    #[serde(rename = "passwordCredentials", default)]
    secrets: Vec<RawCredential>,
    #[serde(rename = "keyCredentials", default)]
    certificates: Vec<RawCredential>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct RawCredential {
    key_id: String,
    #[serde(default)]
    display_name: Option<String>,
    #[serde(default)]
    start_date_time: Option<Timestamp>,
    #[serde(default)]
    end_date_time: Option<Timestamp>,
    #[serde(default)]
    hint: Option<String>,
    #[serde(default)]
    custom_key_identifier: Option<String>,
}

impl RawCredential {
    fn told(self, kind: ApplicationCredentialKind) -> ApplicationCredential {
        let hint = match kind {
            ApplicationCredentialKind::Secret => self.hint,
            ApplicationCredentialKind::Certificate => self.custom_key_identifier,
        };
        ApplicationCredential {
            kind,
            key_id: self.key_id,
            name: self.display_name.map(|name| http::tidy(name, 200)),
            starts: self.start_date_time,
            ends: self.end_date_time,
            hint,
        }
    }
}

impl Registrar {
    /// Makes a secret. Not idempotent: each call makes one more.
    ///
    /// # Errors
    /// [`RegisterError`]; a policy of the tenant may demand an earlier end or forbid secrets.
    pub async fn add_secret(
        &self,
        application: &RegisteredApplication,
        name: &str,
        expires_at: Timestamp,
    ) -> Result<NewSecret, RegisterError> {
        #[derive(Deserialize)]
        #[serde(rename_all = "camelCase")]
        struct Answer {
            key_id: String,
            secret_text: String,
            end_date_time: Timestamp,
        }
        let step = format!("add a secret to {}", application.app_id);
        let address = self.caller.address(&step, &["applications", &application.object_id, "addPassword"])?;
        let body =
            json!({ "passwordCredential": { "displayName": name, "endDateTime": expires_at.to_string() } });
        let call = Call { step: &step, method: Method::POST, address, body: Some(body) };
        let made: Answer = self.caller.patient(&call).await?;
        Ok(NewSecret { key_id: made.key_id, secret: made.secret_text.into(), expires_at: made.end_date_time })
    }

    /// Removes a secret. One that is already gone is a success.
    ///
    /// # Errors
    /// [`RegisterError`].
    pub async fn remove_secret(
        &self,
        application: &RegisteredApplication,
        key_id: &str,
    ) -> Result<(), RegisterError> {
        let step = format!("remove a secret from {}", application.app_id);
        let address =
            self.caller.address(&step, &["applications", &application.object_id, "removePassword"])?;
        let body = Some(json!({ "keyId": key_id }));
        gone_is_fine(self.caller.bytes(&Call { step: &step, method: Method::POST, address, body }).await)
    }

    /// Every secret and certificate of an application, ended ones too.
    ///
    /// # Errors
    /// [`RegisterError`].
    pub async fn credentials(
        &self,
        application: &RegisteredApplication,
    ) -> Result<Vec<ApplicationCredential>, RegisterError> {
        let step = format!("list credentials of {}", application.app_id);
        let address = self.caller.address(&step, &["applications", &application.object_id])?;
        let address = http::with_query(address, &[("$select", "id,passwordCredentials,keyCredentials")]);
        let call = Call { step: &step, method: Method::GET, address, body: None };
        let raw: RawCredentials = self.caller.patient(&call).await?;
        let secrets = raw.secrets.into_iter().map(|one| one.told(ApplicationCredentialKind::Secret));
        let certificates =
            raw.certificates.into_iter().map(|one| one.told(ApplicationCredentialKind::Certificate));
        Ok(secrets.chain(certificates).collect())
    }

    /// One secret of an application by its id, to learn when it ends. None when it is gone.
    ///
    /// # Errors
    /// [`RegisterError`].
    pub async fn secret_info(
        &self,
        application: &RegisteredApplication,
        key_id: &str,
    ) -> Result<Option<ApplicationCredential>, RegisterError> {
        let all = self.credentials(application).await?;
        Ok(all.into_iter().find(|one| {
            one.kind == ApplicationCredentialKind::Secret && one.key_id.eq_ignore_ascii_case(key_id)
        }))
    }

    /// Adds trust in another identity provider. The same one that is already there is a success; it needs some
    /// minutes until it works (AADSTS70021 meanwhile).
    ///
    /// # Errors
    /// [`RegisterError`].
    pub async fn add_federated_credential(
        &self,
        application: &RegisteredApplication,
        credential: &FederatedCredential,
    ) -> Result<(), RegisterError> {
        #[derive(Deserialize)]
        struct Known {
            issuer: String,
            subject: String,
            #[serde(default)]
            audiences: Vec<String>,
        }
        let step = format!("add federated credential {} to {}", credential.name, application.app_id);
        let path = ["applications", &application.object_id, "federatedIdentityCredentials"];
        let address = self.caller.address(&step, &path)?;
        let body = Some(json!({
            "name": credential.name,
            "issuer": credential.issuer,
            "subject": credential.subject,
            "audiences": [credential.audience],
            "description": credential.description,
        }));
        let call = Call { step: &step, method: Method::POST, address: address.clone(), body };
        let refusal = match self.caller.patient_bytes(&call).await {
            Ok(_) => return Ok(()),
            Err(error @ RegisterError::Refused { status: 400 | 409, .. }) => error,
            Err(error) => return Err(error),
        };
        let known: Vec<Known> = self.list(&step, address).await?;
        let same = |one: &Known| {
            one.issuer == credential.issuer
                && one.subject == credential.subject
                && one.audiences.contains(&credential.audience)
        };
        if known.iter().any(same) { Ok(()) } else { Err(refusal) }
    }

    /// Removes trust in another identity provider, by its name. One that is already gone is a success.
    ///
    /// # Errors
    /// [`RegisterError`].
    pub async fn remove_federated_credential(
        &self,
        application: &RegisteredApplication,
        name: &str,
    ) -> Result<(), RegisterError> {
        let step = format!("remove federated credential {name} from {}", application.app_id);
        let path = ["applications", &application.object_id, "federatedIdentityCredentials", name];
        let address = self.caller.address(&step, &path)?;
        let call = Call { step: &step, method: Method::DELETE, address, body: None };
        gone_is_fine(self.caller.bytes(&call).await)
    }
}
