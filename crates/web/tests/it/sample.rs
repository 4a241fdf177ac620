//! A store with a bit of everything in it: for the tests, and for looking at the pages (`examples/preview.rs`).

use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use postroom_check::{CheckRequest, Report, Rung, Verdict};
use postroom_engine::intake::Submitter;
use postroom_engine::{Engine, EngineSettings};
use postroom_model::connection::{
    AuthenticationFlow, Connection, ConnectionKind, ConnectionSettings, EmailMethod, OutgoingSettings,
};
use postroom_model::credential::CredentialKind;
use postroom_model::draft::Draft;
use postroom_model::failure::{Decision, Failure, Origin};
use postroom_model::mailbox::{Availability, MailType, Mailbox, MailboxSettings, MailboxState};
use postroom_model::outbox::OutboxState;
use postroom_model::people::{Group, Role};
use postroom_model::{
    ConnectionId, Env, GroupId, MailboxId, OutboxMessageId, SecretString, Timestamp, UserId,
};
use postroom_store::{
    Acceptance, CollectedBatch, FinishAttempt, KeyFile, NewCredential, NewInboxMessage, NewUser, NodeId,
    PollFinish, Processed, SaveConnection, SaveMailbox, SqlStore, SqliteOptions, Store,
};
use postroom_transport::{Sender, Source, Transports};
use postroom_web::{Checker, WebState, hash_password};

/// The password of every user.
pub const PASSWORD: &str = "correct horse battery";
/// The stored client secret; no page may ever hold it.
pub const SECRET: &str = "nQ3~invented.value_for-tests";

const LETTER: &str = include_str!("letter.eml");
const NOTE: &str = "From: Bob Lind <bob@fabrikam.example>\r\nTo: hr@contoso.example\r\nSubject: Sick note\r\n\
    Date: Mon, 23 Nov 2026 08:30:00 +0000\r\nMessage-ID: <note@fabrikam.example>\r\n\r\nBack on Thursday.\r\n";
const BROKEN: &str =
    "From: machine@fabrikam.example\r\nSubject: Scan\r\nMessage-ID: <scan@fabrikam.example>\r\n\r\nx\r\n";

/// Transports that lead nowhere.
struct Nowhere;

#[async_trait]
impl Transports for Nowhere {
    fn can_send(&self, _: &ConnectionSettings) -> Result<(), String> {
        Ok(())
    }

    async fn sender(&self, _: &Connection) -> Result<Box<dyn Sender>, Failure> {
        Err(Failure::new("send", Origin::Ourselves, "no transport in this sample", Decision::Hold))
    }

    async fn source(&self, _: &Connection, _: &Mailbox) -> Result<Box<dyn Source>, Failure> {
        Err(Failure::new("read", Origin::Ourselves, "no transport in this sample", Decision::Hold))
    }
}

/// A checker that answers at once, and repeats which secret it was given only by its length.
struct Told;

#[async_trait]
impl Checker for Told {
    async fn check(&self, request: CheckRequest) -> Report {
        let rung = |name: &str, title: &str, verdict, did: &str, got: String| Rung {
            name: name.into(),
            title: title.into(),
            verdict,
            took_ms: 42,
            did: did.into(),
            got,
            cause: None,
            next_step: None,
        };
        let secret = if request.secret.is_some() { "with a secret" } else { "without a secret" };
        let mut send = rung("send", "Test message", Verdict::Pass, "Sent a message.", "202 Accepted".into());
        if request.settings.server.contains("refuse") {
            send.verdict = Verdict::Fail;
            send.got = "403 ErrorSendAsDenied".into();
            send.cause = Some("Exchange has granted reading but not sending.".into());
            send.next_step =
                Some("Ask the Exchange administrator for the role Application Mail.Send.".into());
        }
        let rungs = vec![
            rung("shapes", "Settings", Verdict::Pass, "Read the settings.", secret.into()),
            rung("token", "Sign-in", Verdict::Pass, "Asked for a token.", request.settings.server.clone()),
            send,
        ];
        Report { connection: request.settings.display_name().into(), rungs }
    }
}

/// A store and what is in it.
pub struct Sample {
    pub store: Arc<dyn Store>,
    pub env: Env,
    pub state: WebState,
    pub connection: ConnectionId,
    pub orders: MailboxId,
    pub hr: MailboxId,
    pub ann: UserId,
    pub group: GroupId,
    node: NodeId,
    _folder: tempfile::TempDir,
}

impl Sample {
    /// People, and nothing else.
    pub async fn empty(env: Env) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let options = SqliteOptions {
            folder: folder.path().join("data"),
            key_file: KeyFile(folder.path().join("postroom.key")),
            env: env.clone(),
        };
        let store: Arc<dyn Store> = Arc::new(SqlStore::open(options).await.unwrap());
        let engine = Engine::new(store.clone(), Arc::new(Nowhere), env.clone(), EngineSettings::default());
        let state = WebState {
            store: store.clone(),
            engine,
            env: env.clone(),
            secure_cookies: false,
            checker: Arc::new(Told),
        };
        let sample = Self {
            connection: env.new_id(),
            orders: env.new_id(),
            hr: env.new_id(),
            ann: env.new_id(),
            group: env.new_id(),
            node: NodeId::new(env.new_uuid()),
            store,
            env,
            state,
            _folder: folder,
        };
        sample.people().await;
        sample
    }

    /// With a connection, mailboxes, collected mail and an outbox.
    pub async fn filled(env: Env) -> Self {
        let sample = Self::empty(env).await;
        sample.connection().await;
        sample.mailboxes().await;
        sample.mail().await;
        sample.outbox().await;
        sample
    }

    async fn people(&self) {
        let hash = hash_password(&SecretString::from(PASSWORD)).unwrap();
        self.store.save_group(&Group { id: self.group, name: "Order desk".into() }).await.unwrap();
        for (id, name, shown, role) in [
            (self.env.new_id(), "admin", "Administrator", Role::Administrator),
            (self.env.new_id(), "manager", "Mailbox manager", Role::MailboxManager),
            (self.ann, "ann", "Ann (order desk)", Role::User),
        ] {
            let user = NewUser {
                id,
                name: name.into(),
                display_name: shown.into(),
                address: format!("{name}@contoso.example").parse().ok(),
                roles: vec![role],
                groups: vec![],
                password_hash: Some(hash.clone()),
                actor: "test".into(),
            };
            self.store.save_user(user).await.unwrap();
        }
    }

    async fn connection(&self) {
        let settings = ConnectionSettings {
            application_id: "5a1b2c3d-0000-4000-8000-00000000a001".into(),
            tenant_id: "5a1b2c3d-0000-4000-8000-00000000b001".into(),
            flow: AuthenticationFlow::ClientSecret,
            polling_interval: "60,00".parse().unwrap(),
            ..ConnectionSettings::new(ConnectionKind::ExchangeOnline)
        };
        let credential = NewCredential {
            kind: CredentialKind::ClientSecret,
            secret: SecretString::from(SECRET),
            expires_at: None,
            key_id: None,
        };
        let (id, actor) = (self.connection, "test".to_owned());
        self.store
            .save_connection(SaveConnection { id, settings, credential: Some(credential), actor })
            .await
            .unwrap();
        let outgoing = OutgoingSettings { method: EmailMethod::ExchangeOnline, connection: Some(id) };
        self.store.save_outgoing_settings(&outgoing, "test").await.unwrap();
    }

    async fn mailboxes(&self) {
        let only_admins =
            Availability::Only { groups: [].into(), roles: [Role::Administrator].into(), users: [].into() };
        for (id, address, kind, availability) in [
            (self.orders, "orders@contoso.example", MailType::CustomerOrder, Availability::All),
            (self.hr, "hr@contoso.example", MailType::Personnel, only_admins),
            (self.env.new_id(), "service@contoso.example", MailType::Case, Availability::All),
        ] {
            let settings = MailboxSettings { availability, ..MailboxSettings::new(address, [kind]) };
            let save = SaveMailbox {
                id,
                connection: self.connection,
                settings,
                password: None,
                actor: "test".into(),
            };
            self.store.save_mailbox(save).await.unwrap();
        }
        let service = self.store.mailboxes().await.unwrap().pop().unwrap();
        let words = "read service@contoso.example: 403 ErrorAccessDenied Access is denied.";
        self.finish(service.id, MailboxState::Failing, Some(words)).await;
    }

    fn later(&self, seconds: i64) -> Timestamp {
        Timestamp::from_second(self.env.now().as_second() + seconds).unwrap()
    }

    async fn finish(&self, id: MailboxId, state: MailboxState, error: Option<&str>) {
        let claimed = self.store.claim_mailbox(id, &self.node, self.later(60)).await.unwrap().unwrap();
        let finish = PollFinish {
            mailbox: id,
            lease: claimed.lease,
            state,
            error: error.map(str::to_owned),
            failures: if error.is_some() { 3 } else { 0 },
            next_due_at: Some(self.later(240)),
            events: vec![],
        };
        self.store.finish_poll(finish).await.unwrap();
    }

    async fn mail(&self) {
        self.collect(self.orders, &[("a1", LETTER), ("a2", BROKEN)]).await;
        self.collect(self.hr, &[("h1", NOTE)]).await;
        for message in self.store.unprocessed(10).await.unwrap() {
            let raw = self.store.blob(&message.raw).await.unwrap();
            let processed = if raw == BROKEN.as_bytes() {
                Processed::Quarantined { reason: "The message could not be taken apart.".into() }
            } else {
                let read = postroom_mime::read::summarize(&raw).unwrap();
                Processed::Read { summary: read.summary, text: read.text }
            };
            self.store.finish_processing(message.id, processed).await.unwrap();
        }
    }

    /// The letter of the order desk in another mailbox.
    #[allow(dead_code, reason = "the example shares this file")]
    pub async fn collect_letter_again(&self, mailbox: MailboxId) {
        self.collect(mailbox, &[("copy", LETTER)]).await;
    }

    async fn collect(&self, mailbox: MailboxId, list: &[(&str, &str)]) {
        let claimed = self.store.claim_mailbox(mailbox, &self.node, self.later(60)).await.unwrap().unwrap();
        let mut messages = Vec::new();
        for (number, (id, raw)) in list.iter().enumerate() {
            messages.push(NewInboxMessage {
                provider_id: (*id).to_owned(),
                message_id: None,
                content: postroom_mime::content::content_digest(raw.as_bytes()),
                placeholder: false,
                raw: self.store.put_blob(Bytes::copy_from_slice(raw.as_bytes())).await.unwrap(),
                received_at: self.later(-600 * (number as i64 + 1)),
            });
        }
        let batch = CollectedBatch {
            mailbox,
            lease: claimed.lease.clone(),
            cursor: Some("1".into()),
            messages,
            present: vec![],
            removed: vec![],
        };
        self.store.commit_batch(batch).await.unwrap();
        let finish = PollFinish {
            mailbox,
            lease: claimed.lease,
            state: MailboxState::Running,
            error: None,
            failures: 0,
            next_due_at: Some(self.later(3_600)),
            events: vec![],
        };
        self.store.finish_poll(finish).await.unwrap();
    }

    async fn outbox(&self) {
        let words = "550 5.7.60 SMTP; Client does not have permissions to send as this sender";
        let sent = self.submit("user:ann", "Order confirmation 4711").await;
        self.attempt(sent, OutboxState::Sent, "202 Accepted").await;
        let failed = self.submit("key:erp", "Invoice 2207").await;
        self.attempt(failed, OutboxState::Failed, words).await;
        let held = self.submit("user:admin", "Quote 88").await;
        self.store.change_outbox(held, OutboxState::Held, "user:admin").await.unwrap();
    }

    async fn submit(&self, by: &str, subject: &str) -> OutboxMessageId {
        let draft = Draft {
            from: "Orders <orders@contoso.example>".into(),
            to: vec!["buyer@fabrikam.example".into(), "copy@fabrikam.example".into()],
            subject: subject.into(),
            text: Some("See attachment.".into()),
            ..Draft::default()
        };
        let submitter = Submitter { name: by.into(), idempotency: None };
        match self.state.engine.intake().submit_draft(draft, submitter).await.unwrap() {
            Acceptance::Accepted(message) => message.id,
            other => panic!("{other:?}"),
        }
    }

    async fn attempt(&self, id: OutboxMessageId, state: OutboxState, words: &str) {
        let claimed = self.store.claim_outbox(&self.node, self.later(60), 1).await.unwrap().remove(0);
        assert_eq!(claimed.message.id, id);
        let finish = FinishAttempt {
            id,
            lease: claimed.lease,
            state,
            next_attempt_at: None,
            provider_id: None,
            words: Some(words.into()),
            events: vec![],
            follow_up: None,
        };
        self.store.finish_attempt(finish).await.unwrap();
    }
}
