//! Credentials of an application in Microsoft Entra: tried, rolled and removed by the application itself.
//!
//! A certificate is rolled with proof of the one before it, which needs no permission. A client secret can only be
//! made by an application that may change itself (`Application.ReadWrite.OwnedBy`, as its own owner).

use std::sync::Arc;

use async_trait::async_trait;
use jiff::SignedDuration;
use postroom_entra::register::{
    ApplicationCredentialKind, EXCHANGE, MICROSOFT_GRAPH, Patience, RegisteredApplication, Registrar, reaches,
};
use postroom_entra::{CertificateCredential, TokenClient};
use postroom_graph::GraphClient;
use postroom_model::connection::{Connection, ConnectionKind, ConnectionSettings, ExchangeApi};
use postroom_model::credential::CredentialKind;
use postroom_model::failure::{Decision, Failure, Origin};
use postroom_model::{EmailAddress, ExposeSecret, SecretString, Timestamp};

use super::GraphSource;
use crate::wire::{Wire, expected, hold};
use crate::{
    Account, CredentialOffice, KnownCredential, MadeKey, Opening, Presented, RenewalOrder, Renewed, Source,
    WideRight,
};

/// How long a certificate lasts that is made here. Public baselines ask for at most a year.
const CERTIFICATE_LIFE: SignedDuration = SignedDuration::from_hours(365 * 24);
/// How long a client secret lasts that is asked for. Public baselines ask for at most 180 days.
const SECRET_LIFE: SignedDuration = SignedDuration::from_hours(180 * 24);
/// Permissions of Microsoft Graph with which an application may change itself.
const MAY_CHANGE: [&str; 2] = ["Application.ReadWrite.OwnedBy", "Application.ReadWrite.All"];
/// Permissions with which it may look itself up.
const MAY_READ: [&str; 4] = [
    "Application.Read.All",
    "Directory.Read.All",
    "Application.ReadWrite.OwnedBy",
    "Application.ReadWrite.All",
];

impl Wire {
    /// A Graph client that signs in with this credential.
    fn client(&self, connection: &Connection, credential: Presented<'_>) -> Result<GraphClient, Failure> {
        let settings = &connection.settings;
        if settings.kind != ConnectionKind::ExchangeOnline {
            return Err(hold(
                settings,
                "only connections to Exchange Online have credentials that can be asked about",
            ));
        }
        if credential.kind != expected(settings.flow) {
            let words = format!("the credential does not fit the flow {}", settings.flow.label());
            return Err(hold(settings, words));
        }
        // The registration is asked about through Graph, whichever interface the mailboxes are reached by.
        let settings = ConnectionSettings { api: ExchangeApi::Graph, ..settings.clone() };
        self.graph_for(&settings, Some(credential.secret.clone()))
    }

    /// The application's own hand on its registration, and the roles it has.
    async fn registrar(
        &self,
        connection: &Connection,
        credential: Presented<'_>,
    ) -> Result<(Registrar, Vec<String>), Failure> {
        let client = self.client(connection, credential)?;
        let operation = format!("sign in for {}", connection.settings.display_name());
        let token = client.token().await.map_err(|error| error.failure(&operation))?;
        let roles = token.claims().map(|claims| claims.roles).unwrap_or_default();
        let graph = connection.settings.cloud.endpoints().graph;
        let registrar = Registrar::new(self.http.clone(), self.env.clone(), graph, token);
        // The engine has more patience than a step: it comes again later.
        let once = Patience { tries: 1, ..Patience::default() };
        Ok((registrar.with_patience(once), roles))
    }

    /// The application object, where the application may look itself up.
    async fn own_application(
        &self,
        connection: &Connection,
        registrar: &Registrar,
        roles: &[String],
    ) -> Result<Option<RegisteredApplication>, Failure> {
        if !roles.iter().any(|role| MAY_READ.contains(&role.as_str())) {
            return Ok(None);
        }
        let app_id = connection.settings.application_id.trim();
        let found = registrar.application(app_id).await;
        found.map_err(|error| error.failure(&format!("look up application {app_id}")))
    }

    /// Object id of the application: known from the set-up, else looked up.
    async fn object_id(
        &self,
        connection: &Connection,
        registrar: &Registrar,
        roles: &[String],
    ) -> Result<String, Failure> {
        if let Some(known) = self.credentials.application_object_id(connection.id).await? {
            return Ok(known);
        }
        if let Some(found) = self.own_application(connection, registrar, roles).await? {
            return Ok(found.object_id);
        }
        let name = connection.settings.display_name();
        Err(advised(
            connection,
            "the object id of the application is not known",
            format!(
                "copy Object ID from Entra, App registrations, Overview, and run: postroom credential renew --connection \"{name}\" --application-object-id ID"
            ),
        ))
    }

    async fn roll_key(
        &self,
        connection: &Connection,
        order: RenewalOrder<'_>,
        pem: &SecretString,
    ) -> Result<Renewed, Failure> {
        let made = certificate(connection, pem)?;
        let current = certificate(connection, order.current.secret)?;
        let (registrar, roles) = self.registrar(connection, order.current).await?;
        let object_id = self.object_id(connection, &registrar, &roles).await?;
        let key_id = match registrar.roll_key(&object_id, &current, made.public()).await {
            Ok(key_id) => Some(key_id),
            Err(error) => {
                // An earlier order whose answer was lost may have brought it there already.
                let failure = error.failure("add the new certificate");
                let presented = Presented { kind: CredentialKind::Certificate, secret: pem };
                if failure.origin != Origin::Provider || self.test(connection, presented, None).await.is_err()
                {
                    return Err(failure);
                }
                self.expiry(connection, presented).await?.key_id
            }
        };
        Ok(Renewed {
            kind: CredentialKind::Certificate,
            secret: made.to_pem(),
            key_id,
            expires_at: Some(made.not_after()),
        })
    }

    async fn new_secret(&self, connection: &Connection, order: RenewalOrder<'_>) -> Result<Renewed, Failure> {
        let (registrar, roles) = self.registrar(connection, order.current).await?;
        may_change(connection, &roles)?;
        let application = self.own_application(connection, &registrar, &roles).await?;
        let application = application
            .ok_or_else(|| hold(&connection.settings, "the application is not registered in this tenant"))?;
        let fail = |error: postroom_entra::register::RegisterError| error.failure("make a client secret");
        for known in registrar.credentials(&application).await.map_err(fail)? {
            if known.kind == ApplicationCredentialKind::Secret && known.name.as_deref() == Some(order.mark) {
                registrar.remove_secret(&application, &known.key_id).await.map_err(fail)?;
            }
        }
        let ends = self.env.now().saturating_add(SECRET_LIFE).unwrap_or(Timestamp::MAX);
        let made = registrar.add_secret(&application, order.mark, ends).await.map_err(fail)?;
        Ok(Renewed {
            kind: CredentialKind::ClientSecret,
            secret: made.secret,
            key_id: Some(made.key_id),
            expires_at: Some(made.expires_at),
        })
    }

    /// What Microsoft Graph tells of the credential: found by a certificate's thumbprint, or by the first three
    /// characters of a secret when no other begins with them.
    async fn looked_up(
        &self,
        connection: &Connection,
        credential: Presented<'_>,
        thumbprint: Option<&str>,
    ) -> Result<KnownCredential, Failure> {
        let (registrar, roles) = self.registrar(connection, credential).await?;
        let Some(application) = self.own_application(connection, &registrar, &roles).await? else {
            return Ok(KnownCredential::default());
        };
        let all = registrar.credentials(&application).await;
        let mut all = all.map_err(|error| error.failure("list the credentials of the application"))?;
        let start: String = credential.secret.expose_secret().chars().take(3).collect();
        let (kind, hint) = match thumbprint {
            Some(thumbprint) => (ApplicationCredentialKind::Certificate, thumbprint),
            None => (ApplicationCredentialKind::Secret, start.as_str()),
        };
        all.retain(|known| known.kind == kind && known.hint.as_deref() == Some(hint));
        Ok(match all.as_slice() {
            [one] => KnownCredential { expires_at: one.ends, key_id: Some(one.key_id.clone()) },
            _ => KnownCredential::default(),
        })
    }
}

#[async_trait]
impl CredentialOffice for Wire {
    async fn test(
        &self,
        connection: &Connection,
        credential: Presented<'_>,
        mailbox: Option<&EmailAddress>,
    ) -> Result<String, Failure> {
        // No token of before may answer for the credential.
        let tokens = Arc::new(TokenClient::new(self.http.clone(), self.env.clone()));
        let fresh = Self::new(self.http.clone(), tokens, self.credentials.clone(), self.env.clone());
        if connection.settings.api == ExchangeApi::Ews
            && let Some(mailbox) = mailbox
        {
            let secret = Some(credential.secret.clone());
            let source = fresh.source_for(&connection.settings, secret, &Account::of(mailbox.clone()))?;
            return source.probe().await;
        }
        let client = fresh.client(connection, credential)?;
        let operation = format!("sign in for {}", connection.settings.display_name());
        let token = client.token().await.map_err(|error| error.failure(&operation))?;
        match mailbox {
            Some(mailbox) => GraphSource::new(client, mailbox.clone(), self.env.clone()).probe().await,
            None => Ok(format!("Signed in; the token works until {:.0}.", token.expires_at())),
        }
    }

    async fn can_renew(&self, connection: &Connection, current: Presented<'_>) -> Result<(), Failure> {
        match current.kind {
            CredentialKind::Certificate => {
                if self.credentials.application_object_id(connection.id).await?.is_some() {
                    return Ok(());
                }
                let (registrar, roles) = self.registrar(connection, current).await?;
                self.object_id(connection, &registrar, &roles).await.map(drop)
            }
            CredentialKind::ClientSecret => {
                let (_, roles) = self.registrar(connection, current).await?;
                may_change(connection, &roles)
            }
            _ => Err(hold(&connection.settings, "a credential of this kind is replaced by hand")),
        }
    }

    async fn make_key(&self, connection: &Connection) -> Result<MadeKey, Failure> {
        let now = self.env.now();
        let after = |life| now.saturating_add(life).unwrap_or(Timestamp::MAX);
        // Good since an hour ago, for clocks that are slow.
        let (from, until) = (after(SignedDuration::from_hours(-1)), after(CERTIFICATE_LIFE));
        let env = self.env.clone();
        let made = tokio::task::spawn_blocking(move || {
            CertificateCredential::generate("Postroom", from, until, &env)
        });
        let own = |words: String| {
            let operation = format!("make a key for {}", connection.settings.display_name());
            Failure::new(operation, Origin::Ourselves, words, Decision::Retry { after: None })
        };
        let made = made.await.map_err(|error| own(error.to_string()))?;
        let made = made.map_err(|error| own(error.to_string()))?;
        Ok(MadeKey { secret: made.to_pem(), expires_at: made.not_after() })
    }

    async fn renew(&self, connection: &Connection, order: RenewalOrder<'_>) -> Result<Renewed, Failure> {
        match (order.current.kind, order.made) {
            (CredentialKind::Certificate, Some(pem)) => self.roll_key(connection, order, pem).await,
            (CredentialKind::ClientSecret, _) => self.new_secret(connection, order).await,
            _ => Err(hold(&connection.settings, "a credential of this kind is replaced by hand")),
        }
    }

    async fn remove(
        &self,
        connection: &Connection,
        current: Presented<'_>,
        key_id: &str,
    ) -> Result<(), Failure> {
        let fail =
            |error: postroom_entra::register::RegisterError| error.failure("remove the old credential");
        let (registrar, roles) = self.registrar(connection, current).await?;
        if current.kind == CredentialKind::Certificate {
            let proof = certificate(connection, current.secret)?;
            let object_id = self.object_id(connection, &registrar, &roles).await?;
            let removed = registrar.remove_key_with_proof(&object_id, &proof, key_id).await.map_err(fail);
            // Microsoft answers 400 where there is no such key; that is what was wanted.
            return removed.or_else(|failure| if is_gone(&failure) { Ok(()) } else { Err(failure) });
        }
        let application = self.own_application(connection, &registrar, &roles).await?.ok_or_else(|| {
            advised(
                connection,
                "the application may not remove its old client secret",
                format!(
                    "remove it in Entra, App registrations, Certificates and secrets: Secret ID {key_id}"
                ),
            )
        })?;
        registrar.remove_secret(&application, key_id).await.map_err(fail)
    }

    async fn expiry(
        &self,
        connection: &Connection,
        current: Presented<'_>,
    ) -> Result<KnownCredential, Failure> {
        let mut known = KnownCredential::default();
        let mut thumbprint = None;
        if current.kind == CredentialKind::Certificate {
            let certificate = certificate(connection, current.secret)?;
            known.expires_at = Some(certificate.not_after());
            thumbprint = Some(certificate.public().thumbprint_sha1_base64());
        }
        match self.looked_up(connection, current, thumbprint.as_deref()).await {
            Ok(told) => {
                Ok(KnownCredential { expires_at: known.expires_at.or(told.expires_at), key_id: told.key_id })
            }
            Err(failure) if known.expires_at.is_some() || failure.origin == Origin::Provider => {
                tracing::debug!(%failure, "Microsoft Graph does not tell of the credential");
                Ok(known)
            }
            Err(failure) => Err(failure),
        }
    }

    async fn tenant_wide(&self, connection: &Connection) -> Result<Vec<WideRight>, Failure> {
        // A kept token shows the rights of an hour ago.
        let tokens = Arc::new(TokenClient::new(self.http.clone(), self.env.clone()));
        let mut request = self.token_request(&connection.settings, self.secret(connection).await?)?;
        let operation = format!("sign in for {}", connection.settings.display_name());
        let mut found = Vec::new();
        let scopes = [
            (MICROSOFT_GRAPH, connection.settings.cloud.endpoints().graph_scope()),
            (EXCHANGE, connection.settings.cloud.exchange_scope()),
        ];
        for (api, scope) in scopes {
            request.scope = scope;
            let token = match tokens.token(&request).await {
                Ok(token) => token,
                // Many applications have nothing to do with Exchange's own API; then nothing is granted there.
                Err(error) if api == EXCHANGE => {
                    tracing::debug!(%error, "no token for Exchange, so no right there is seen");
                    continue;
                }
                Err(error) => return Err(error.failure(&operation)),
            };
            for value in token.claims().map(|claims| claims.roles).unwrap_or_default() {
                if let Some(opens) = reaches(api, &value) {
                    found.push(WideRight { value, opens: opens.to_owned() });
                }
            }
        }
        Ok(found)
    }

    async fn opens(&self, connection: &Connection, mailbox: &EmailAddress) -> Result<Opening, Failure> {
        let settings = &connection.settings;
        if settings.kind != ConnectionKind::ExchangeOnline {
            return self.opens_at(connection, mailbox).await;
        }
        if settings.api == ExchangeApi::Ews {
            let secret = self.secret(connection).await?;
            return crate::ews::opens(self, settings, secret, mailbox).await;
        }
        match self.graph(connection).await?.folder(mailbox.as_str(), "inbox").await {
            Ok(_) => Ok(Opening::Opens),
            Err(error) if error.status() == Some(403) => Ok(Opening::Refused),
            Err(error) if error.status() == Some(404) => Ok(Opening::NoSuchMailbox),
            Err(error) => Err(error.failure(&format!("try to open {mailbox}"))),
        }
    }
}

/// Whether an application with these roles may make a client secret for itself.
fn may_change(connection: &Connection, roles: &[String]) -> Result<(), Failure> {
    if roles.iter().any(|role| MAY_CHANGE.contains(&role.as_str())) {
        return Ok(());
    }
    let name = connection.settings.display_name();
    Err(advised(
        connection,
        "the application may not make a client secret for itself",
        format!(
            "stage a new one by hand: postroom credential stage --connection \"{name}\" --secret-file FILE"
        ),
    ))
}

fn certificate(connection: &Connection, pem: &SecretString) -> Result<CertificateCredential, Failure> {
    CertificateCredential::from_pem(pem)
        .map_err(|error| advised(connection, &error.to_string(), error.hint().to_owned()))
}

/// Whether the refusal says that there is no such key.
fn is_gone(failure: &Failure) -> bool {
    failure.status == Some(400) && failure.words.contains("No key credential found")
}

/// A failure that waits for a person, with what to do.
fn advised(connection: &Connection, words: &str, advice: String) -> Failure {
    let mut failure = hold(&connection.settings, words);
    failure.advice = Some(advice);
    failure
}
