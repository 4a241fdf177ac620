//! Senders and sources against a server on loopback.

// Helpers of tests are tests too.
#![allow(clippy::unwrap_used)]

#[path = "../servers/certificate.rs"]
mod certificate;
mod dovecot;
mod ews;
mod ews_sandbox;
mod graph_sandbox;
mod imap;
mod imap_content;
mod imap_waiting;
mod large;
#[path = "../servers/postfix.rs"]
mod postfix;
mod script;
mod send;
#[path = "../servers/dovecot.rs"]
mod servers;
mod smtp;
mod source;
#[path = "../../../entra/tests/it/stub.rs"]
mod stub;
mod tenant;
mod wire;

use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use postroom_entra::TokenClient;
use postroom_entra::http::{HttpSettings, ProxySettings, client};
use postroom_model::connection::{
    AuthenticationFlow, Cloud, Connection, ConnectionKind, ConnectionSettings, Endpoints,
};
use postroom_model::credential::{Credential, CredentialKind, CredentialState};
use postroom_model::failure::{Decision, Failure, Origin};
use postroom_model::mailbox::{MailType, Mailbox, MailboxSettings};
use postroom_model::outbox::Envelope;
use postroom_model::{ConnectionId, EmailAddress, Env, SecretString};
use postroom_transport::{Credentials, SendJob, SendNotes, Wire};
use serde_json::{Value, json};
use stub::{Reply, Seen, Stub};

pub(crate) const FROM: &str = "orders@contoso.example";
pub(crate) const MESSAGE_ID: &str = "<m1@contoso.example>";
pub(crate) const SECRET: &str = "nQ3~invented.value_for-tests";

/// A client secret, or what the test put there.
pub(crate) struct Vault(pub(crate) Option<CredentialKind>);

#[async_trait]
impl Credentials for Vault {
    async fn current(&self, connection: ConnectionId) -> Result<Option<(Credential, SecretString)>, Failure> {
        let (env, _clock) = Env::for_test(9);
        Ok(self.0.map(|kind| {
            let credential = Credential {
                id: env.new_id(),
                connection,
                kind,
                state: CredentialState::Current,
                expires_at: None,
                key_id: None,
                created_at: env.now(),
            };
            (credential, SECRET.to_owned().into())
        }))
    }
}

/// Settings that lead to `graph` on this machine.
pub(crate) fn settings(graph: &url::Url) -> ConnectionSettings {
    let mut settings = ConnectionSettings::new(ConnectionKind::ExchangeOnline);
    settings.flow = AuthenticationFlow::ClientSecret;
    settings.tenant_id = "contoso.example".into();
    settings.application_id = "5a1b2c3d-0000-4000-8000-00000000a001".into();
    settings.cloud =
        Cloud::Custom(Endpoints { authority: graph.clone(), graph: graph.clone(), exchange: None });
    settings
}

pub(crate) fn connection(settings: ConnectionSettings) -> Connection {
    let (env, _clock) = Env::for_test(3);
    Connection { id: env.new_id(), settings, created_at: env.now(), updated_at: env.now() }
}

pub(crate) fn mailbox(at: &str) -> Mailbox {
    let (env, _clock) = Env::for_test(4);
    Mailbox {
        settings: MailboxSettings::new(at, [MailType::CustomerOrder]),
        ..Mailbox::unsaved(env.new_id(), env.new_id(), address(at), env.now())
    }
}

pub(crate) fn wire_with(vault: Vault, total: Duration) -> Wire {
    let settings = HttpSettings { total, proxy: ProxySettings::default(), ..HttpSettings::default() };
    let http = client(&settings).unwrap();
    let (env, _clock) = Env::for_test(1);
    let tokens = Arc::new(TokenClient::new(http.clone(), env.clone()));
    Wire::new(http, tokens, Arc::new(vault), env)
}

pub(crate) fn wire() -> Wire {
    wire_with(Vault(Some(CredentialKind::ClientSecret)), Duration::from_secs(20))
}

/// A server with a token endpoint whose Graph answers by `graph`.
pub(crate) async fn graph(graph: impl Fn(&Seen) -> Reply + Send + Sync + 'static) -> Stub {
    Stub::start(move |seen| match seen.target.ends_with("/oauth2/v2.0/token") {
        true => Reply::json(200, &json!({"expires_in":3600,"access_token":"T1"})),
        false => graph(seen),
    })
    .await
}

pub(crate) fn refused(status: u16, code: &str) -> Reply {
    Reply::json(status, &json!({"error":{"code":code,"message":"no"}})).with("request-id", "r-1")
}

pub(crate) fn page(messages: &[Value]) -> Reply {
    Reply::json(200, &json!({ "value": messages }))
}

pub(crate) fn address(text: &str) -> EmailAddress {
    text.parse().unwrap()
}

pub(crate) fn job(provider_id: Option<&str>) -> SendJob {
    let raw = format!(
        "Message-ID: {MESSAGE_ID}\r\nFrom: {FROM}\r\nTo: ann@fabrikam.example\r\nSubject: Order 4711\r\n\r\nHello\r\n"
    );
    let (env, _clock) = Env::for_test(2);
    SendJob {
        id: env.new_id(),
        envelope: Envelope {
            from: address(FROM),
            to: vec![address("Ann@fabrikam.example"), address("ben@fabrikam.example")],
        },
        message_id: MESSAGE_ID.into(),
        raw: Bytes::from(raw),
        provider_id: provider_id.map(str::to_owned),
    }
}

/// Notes that remember, or fail.
#[derive(Default)]
pub(crate) struct Notes {
    pub(crate) written: Mutex<Vec<String>>,
    pub(crate) broken: bool,
}

#[async_trait]
impl SendNotes for Notes {
    async fn draft_created(&self, provider_id: &str) -> Result<(), Failure> {
        if self.broken {
            let decision = Decision::Retry { after: None };
            return Err(Failure::new(
                "write down the draft",
                Origin::Ourselves,
                "the lease is lost",
                decision,
            ));
        }
        self.written.lock().unwrap().push(provider_id.to_owned());
        Ok(())
    }
}
