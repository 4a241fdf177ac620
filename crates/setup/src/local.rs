//! What a set-up makes on our side: the connection with its sealed credential, and the mailboxes.

use postroom_entra::certificate::CertificateCredential;
use postroom_model::connection::{
    AuthenticationFlow, Cloud, Connection, ConnectionKind, ConnectionSettings, EmailMethod, ExchangeApi,
    OutgoingSettings, TlsMode, is_loopback,
};
use postroom_model::credential::CredentialKind;
use postroom_model::mailbox::MailboxSettings;
use postroom_model::{ConnectionId, Env, SecretString, Timestamp};
use postroom_store::{NewCredential, SaveConnection, SaveMailbox, Store, StoreError};

use crate::error::SetupError;
use crate::journal::Journal;
use crate::plan::{Api, KeyKind, MailServer, Plan};

/// Stands for an application that a script elsewhere has still to make.
const NOT_YET: &str = "00000000-0000-0000-0000-000000000000";

/// The connections of a plan: one, or two where reading and sending are two protocols.
pub(crate) fn connections(journal: &Journal) -> Vec<ConnectionSettings> {
    let plan = &journal.plan;
    let one = |kind: ConnectionKind, name: String, server: &str, tls: TlsMode| {
        let mut settings = ConnectionSettings::new(kind);
        settings.name = name;
        settings.server = server.to_owned();
        settings.tls = tls;
        settings.tenant_id = journal.tenant_id.clone().or_else(|| tenant_hint(plan)).unwrap_or_default();
        settings.application_id = journal
            .application
            .as_ref()
            .map_or_else(|| NOT_YET.to_owned(), |application| application.application_id.clone());
        settings.flow = match plan.key.kind {
            KeyKind::Certificate => AuthenticationFlow::Certificate,
            KeyKind::Secret => AuthenticationFlow::ClientSecret,
        };
        settings.cloud = plan.cloud.clone();
        settings
    };
    let name = plan.connection.clone();
    let exchange = plan.cloud.exchange_host();
    match plan.api {
        Api::Graph => vec![one(ConnectionKind::ExchangeOnline, name, exchange, TlsMode::Implicit)],
        Api::Ews => {
            let ews = one(ConnectionKind::ExchangeOnline, name, exchange, TlsMode::Implicit);
            vec![ConnectionSettings { api: ExchangeApi::Ews, ..ews }]
        }
        Api::ImapSmtp => {
            let sending = sending_name(&name);
            let imap = one(ConnectionKind::Imap, name, exchange, TlsMode::Implicit);
            let smtp = one(ConnectionKind::Smtp, sending, smtp_host(&plan.cloud), TlsMode::Starttls);
            vec![at(plan, imap, plan.imap.as_ref()), at(plan, smtp, plan.smtp.as_ref())]
        }
    }
}

/// Name of the second connection where reading and sending are two.
fn sending_name(name: &str) -> String {
    format!("{name} SMTP")
}

/// Host of SMTP submission. Worldwide: Microsoft, "POP, IMAP, and SMTP settings"; the others as tenants there use them.
fn smtp_host(cloud: &Cloud) -> &'static str {
    match cloud {
        Cloud::Worldwide | Cloud::Custom(_) => "smtp.office365.com",
        Cloud::UsGovernment => "smtp.office365.us",
        Cloud::UsGovernmentDod => "outlook-dod.office365.us",
        Cloud::China => "smtp.partner.outlook.cn",
    }
}

/// The host of SMTP submission where no documentation of Microsoft names it.
pub(crate) fn unconfirmed_smtp_host(cloud: &Cloud) -> Option<&'static str> {
    match cloud {
        Cloud::Worldwide | Cloud::Custom(_) => None,
        Cloud::UsGovernment | Cloud::UsGovernmentDod | Cloud::China => Some(smtp_host(cloud)),
    }
}

/// The same at an address of one's own. Where nobody protects the sign-in on this machine either, the sandbox runs without
/// TLS.
fn at(plan: &Plan, mut settings: ConnectionSettings, server: Option<&MailServer>) -> ConnectionSettings {
    let Some(server) = server else { return settings };
    settings.server.clone_from(&server.host);
    settings.port = server.port;
    if plan.cloud.endpoints().authority.scheme() == "http" && is_loopback(&server.host) {
        settings.tls = TlsMode::Plain;
    }
    settings
}

/// Mail leaves through the connection that sends, unless somebody has chosen another way already.
pub(crate) async fn choose_outgoing(
    store: &dyn Store,
    journal: &Journal,
    actor: &str,
) -> Result<(), SetupError> {
    let (Api::ImapSmtp, Some(smtp)) = (journal.plan.api, journal.connections.last()) else { return Ok(()) };
    let chosen =
        store.outgoing_settings().await.map_err(|source| failed("read the outgoing settings", source))?;
    if chosen.is_some() {
        return Ok(());
    }
    let outgoing = OutgoingSettings { method: EmailMethod::Smtp, connection: Some(*smtp) };
    let saved = store.save_outgoing_settings(&outgoing, actor).await;
    saved.map_err(|source| failed("save the outgoing settings", source))
}

/// A tenant by one of its domains, as long as its id is not known.
pub(crate) fn tenant_hint(plan: &Plan) -> Option<String> {
    plan.tenant.clone().or_else(|| plan.mailboxes.first().map(|address| address.domain().to_owned()))
}

/// Saves the connections, with a new credential where there is one. Their ids are in the journal before.
pub(crate) async fn save_connections(
    store: &dyn Store,
    env: &Env,
    journal: &mut Journal,
    credential: Option<(&SecretString, Timestamp)>,
    actor: &str,
) -> Result<(), SetupError> {
    let all = connections(journal);
    if journal.connections.len() < all.len() {
        let missing = all.len() - journal.connections.len();
        journal.connections.extend((0..missing).map(|_| env.new_id::<ConnectionId>()));
        journal.save(store).await?;
    }
    let kind = match journal.plan.key.kind {
        KeyKind::Certificate => CredentialKind::Certificate,
        KeyKind::Secret => CredentialKind::ClientSecret,
    };
    for (id, settings) in journal.connections.iter().zip(all) {
        let credential = credential.map(|(secret, expires_at)| NewCredential {
            kind,
            secret: secret.clone(),
            expires_at: Some(expires_at),
            key_id: journal.key_id.clone(),
        });
        let save = SaveConnection { id: *id, settings, credential, actor: actor.to_owned() };
        store.save_connection(save).await.map_err(|source| failed("save the connection", source))?;
        if let Some(application) = &journal.application {
            remember_object_id(store, *id, Some(&application.object_id)).await?;
        }
    }
    Ok(())
}

/// Writes the application's object id where the renewal of the credential looks for it: without permissions an
/// application cannot look itself up. None forgets it.
pub(crate) async fn remember_object_id(
    store: &dyn Store,
    connection: ConnectionId,
    object_id: Option<&str>,
) -> Result<(), SetupError> {
    let name = format!("application/{connection}");
    let saved = store.save_journal(&name, object_id).await;
    saved.map_err(|source| failed("write down the application's object id", source))
}

/// The sealed credential, where the set-up has come so far.
pub(crate) async fn stored(store: &dyn Store, journal: &Journal) -> Result<Option<SecretString>, SetupError> {
    let Some(id) = journal.connections.first() else { return Ok(None) };
    let stored =
        store.credential_secret(*id).await.map_err(|source| failed("open the credential", source))?;
    Ok(stored.map(|(_, secret)| secret))
}

/// Makes the certificate and seals its private key at once; the one of an earlier run is used again.
pub(crate) async fn certificate(
    store: &dyn Store,
    env: &Env,
    journal: &mut Journal,
    actor: &str,
) -> Result<CertificateCredential, SetupError> {
    if let Some(pem) = stored(store, journal).await? {
        return CertificateCredential::from_pem(&pem).map_err(|source| SetupError::Certificate {
            operation: "read the certificate of this connection",
            source: Box::new(source),
        });
    }
    let operation = "make a certificate";
    let (name, ends, chance) = (journal.plan.key.name.clone(), journal.plan.key.expires_at, env.clone());
    let made = tokio::task::spawn_blocking(move || {
        // Clocks differ: good from five minutes ago.
        let starts = chance.now().saturating_sub(jiff::SignedDuration::from_mins(5)).unwrap_or(chance.now());
        CertificateCredential::generate(&name, starts, ends, &chance)
    });
    let made = made
        .await
        .map_err(|source| SetupError::Certificate { operation, source: Box::new(source) })?
        .map_err(|source| SetupError::Certificate { operation, source: Box::new(source) })?;
    save_connections(store, env, journal, Some((&made.to_pem(), made.not_after())), actor).await?;
    Ok(made)
}

/// Adds the mailboxes of the plan that are not there yet.
pub(crate) async fn add_mailboxes(
    store: &dyn Store,
    env: &Env,
    journal: &mut Journal,
    actor: &str,
) -> Result<(), SetupError> {
    let Some(connection) = journal.connections.first().copied() else { return Ok(()) };
    if journal.plan.types.is_empty() {
        return Ok(());
    }
    let known = store.mailboxes().await.map_err(|source| failed("list mailboxes", source))?;
    for address in journal.plan.mailboxes.clone() {
        if known.iter().any(|one| one.connection == connection && one.address == address) {
            continue;
        }
        let id = env.new_id();
        journal.mailboxes.push(id);
        journal.save(store).await?;
        let settings = MailboxSettings::new(address.as_str(), journal.plan.types.iter().copied());
        let save = SaveMailbox { id, connection, settings, password: None, actor: actor.to_owned() };
        store.save_mailbox(save).await.map_err(|source| failed("save a mailbox", source))?;
    }
    Ok(())
}

/// A connection that somebody else made under a name of the plan.
pub(crate) async fn foreign(
    store: &dyn Store,
    plan: &Plan,
    journal: Option<&Journal>,
) -> Result<Option<Connection>, SetupError> {
    let all = store.connections().await.map_err(|source| failed("list connections", source))?;
    let ours =
        |connection: &Connection| journal.is_some_and(|journal| journal.connections.contains(&connection.id));
    let mut names = vec![plan.connection.trim().to_owned()];
    if plan.api == Api::ImapSmtp {
        names.push(sending_name(&names[0]));
    }
    let taken = |one: &Connection| {
        names.iter().any(|name| one.settings.display_name().eq_ignore_ascii_case(name)) && !ours(one)
    };
    Ok(all.into_iter().find(taken))
}

pub(crate) fn failed(operation: &'static str, source: StoreError) -> SetupError {
    SetupError::Store { operation, source }
}
