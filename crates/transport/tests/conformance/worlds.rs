//! The worlds: a sandbox by each of its doors, Debian's Dovecot and Debian's Postfix.

use std::fs;

use async_trait::async_trait;
use postroom_model::connection::{ConnectionKind, ConnectionSettings, TlsMode};
use postroom_model::{EmailAddress, Env};
use postroom_transport::smtp::Limits;
use postroom_transport::{Account, SendJob, SendNotes, SendOutcome, Sender, Source, Wire};
use serde_json::json;

use crate::dovecot::{self, Dovecot};
use crate::line::{Line, Way};
use crate::postfix::{self, Postfix};
use crate::tenant::{Door, Tenant, in_small_pages, wire};
use crate::{SenderWorld, SourceWorld};

const AT: &str = "u1@contoso.example";
const LATE: &str = "late@contoso.example";
const FROM: &str = "orders@contoso.example";
const TO: [&str; 2] = ["u1@contoso.example", "u2@contoso.example"];

/// A source at the sandbox: its name, its door, and the fault that asks for a pause.
macro_rules! at_the_sandbox {
    ($($(#[$attribute:meta])* $name:ident: $door:ident, $pause:expr;)*) => {$(
        $(#[$attribute])*
        pub(crate) struct $name(Tenant);

        #[async_trait]
        impl SourceWorld for $name {
            async fn start() -> Self {
                Self(Tenant::new(Door::$door, &[AT]).await)
            }

            fn line(&self) -> &Line {
                &self.0.line
            }

            fn source(&self) -> Box<dyn Source> {
                self.0.source(AT)
            }

            async fn put(&self, raw: &[u8]) {
                self.0.deliver(AT, raw).await;
            }

            async fn marks(&self) -> Vec<String> {
                self.0.inbox(AT).await.iter().map(ToString::to_string).collect()
            }

            async fn take_oldest_away(&self) {
                self.0.move_oldest_away(AT).await;
            }

            fn missing(&self) -> Box<dyn Source> {
                self.0.source(LATE)
            }

            async fn appear(&self, raw: &[u8]) {
                self.0.appear(LATE).await;
                self.0.deliver(LATE, raw).await;
            }

            async fn forbid(&self) {
                self.0.forbid(&[AT]).await;
            }

            async fn permit(&self) {
                self.0.permit(&[AT]).await;
            }

            async fn want_pause(&self) -> bool {
                self.0.fault($pause).await;
                true
            }

            async fn refused_as_too_many(&self) -> usize {
                self.0.refused_as_too_many().await
            }
        }
    )*};
}

at_the_sandbox! {
    /// Microsoft Graph.
    Graph: Graph, json!({"path_contains": "/messages", "status": 429, "retry_after": 17});
    /// Exchange Web Services.
    Ews: Ews, json!({
        "operation": "SyncFolderItems", "status": 500, "code": "ErrorServerBusy", "back_off_ms": 17_000,
    });
    /// IMAP with XOAUTH2.
    ImapSandbox: Imap, json!({
        "door": "imap", "command": "UID FETCH",
        "reply": "BAD Request is throttled. Suggested Backoff Time: 17000 milliseconds",
    });
}

/// Debian's Dovecot, signed in to with a password.
pub(crate) struct ImapDovecot {
    server: Dovecot,
    line: Line,
    env: Env,
}

impl ImapDovecot {
    fn opened(&self, at: &str) -> Box<dyn Source> {
        let mut settings = ConnectionSettings::new(ConnectionKind::Imap);
        settings.server = "127.0.0.1".into();
        settings.port = self.line.port;
        settings.tls = TlsMode::Plain;
        let password = Some(dovecot::PASSWORD.to_owned().into());
        Box::new(in_small_pages(&wire(&self.env), &settings, password, &Account::of(at.parse().unwrap())))
    }
}

#[async_trait]
impl SourceWorld for ImapDovecot {
    async fn start() -> Self {
        let server = Dovecot::start().await;
        server.shut_out(&[LATE]).await;
        let line = Line::to(server.port).await;
        Self { server, line, env: Env::for_test(11).0 }
    }

    fn line(&self) -> &Line {
        &self.line
    }

    fn source(&self) -> Box<dyn Source> {
        self.opened(AT)
    }

    async fn put(&self, raw: &[u8]) {
        self.server.deliver(AT, "INBOX", raw);
    }

    async fn marks(&self) -> Vec<String> {
        // Whoever looks first moves a file from `new` to `cur` and gives it an empty list of flags.
        let files = self.server.files(AT);
        files.iter().map(|name| name.strip_suffix(":2,").unwrap_or(name).to_owned()).collect()
    }

    async fn take_oldest_away(&self) {
        let maildir = self.server.maildir(AT, "INBOX");
        let oldest = self.server.files(AT).remove(0);
        let file = ["cur", "new"].map(|folder| maildir.join(folder).join(&oldest));
        fs::remove_file(file.iter().find(|path| path.exists()).unwrap()).unwrap();
    }

    fn missing(&self) -> Box<dyn Source> {
        self.opened(LATE)
    }

    async fn appear(&self, raw: &[u8]) {
        self.server.shut_out(&[]).await;
        self.server.deliver(LATE, "INBOX", raw);
    }

    async fn forbid(&self) {
        self.server.shut_out(&[AT, LATE]).await;
    }

    async fn permit(&self) {
        self.server.shut_out(&[]).await;
    }
}

/// A sender at the sandbox: its name, its door, whether it can tell later, its largest message, and how it is made to
/// refuse one and to ask for a pause.
macro_rules! sends_at_the_sandbox {
    ($($(#[$attribute:meta])* $name:ident: $door:ident, $tells:expr, $largest:expr, $refuse:expr, $pause:expr, $lose:expr;)*) => {$(
        $(#[$attribute])*
        pub(crate) struct $name(Tenant);

        #[async_trait]
        impl SenderWorld for $name {
            const TELLS: bool = $tells;
            const LARGEST: Option<(usize, bool)> = $largest;

            async fn start() -> Self {
                Self(Tenant::new(Door::$door, &[FROM, TO[0], TO[1]]).await)
            }

            fn line(&self) -> &Line {
                &self.0.line
            }

            fn sender(&self) -> Box<dyn Sender> {
                self.0.sender()
            }

            fn recipients(&self) -> [EmailAddress; 2] {
                TO.map(|at| at.parse().unwrap())
            }

            async fn arrived(&self, at: &EmailAddress) -> Vec<Vec<u8>> {
                self.0.raws(at.as_str()).await
            }

            async fn refused(&self, job: SendJob) -> SendJob {
                self.0.fault($refuse).await;
                job
            }

            async fn lose_answer(&self, _: &dyn Sender, _: SendJob) {
                self.0.fault($lose).await;
            }

            async fn forbid(&self) {
                self.0.forbid(&[FROM]).await;
            }

            async fn permit(&self) {
                self.0.permit(&[FROM]).await;
            }

            async fn want_pause(&self) -> bool {
                self.0.fault($pause).await;
                true
            }

            fn pass(&self, seconds: i64) {
                self.0.pass(seconds);
            }
        }
    )*};
}

sends_at_the_sandbox! {
    /// Microsoft Graph.
    GraphSender: Graph, true, None,
        json!({"path_contains": "/send", "method": "POST", "status": 400, "code": "ErrorInvalidRecipients"}),
        json!({"path_contains": "/send", "method": "POST", "status": 429, "retry_after": 17}),
        json!({"path_contains": "/send", "method": "POST", "after": true, "cut": true});
    /// Exchange Web Services.
    EwsSender: Ews, true, None,
        json!({"operation": "SendItem", "status": 200, "code": "ErrorInvalidRecipients"}),
        json!({"operation": "SendItem", "status": 500, "code": "ErrorServerBusy", "back_off_ms": 17_000}),
        json!({"operation": "SendItem", "after": true, "cut": true});
    /// SMTP submission with XOAUTH2.
    SmtpSandbox: Smtp, false, Some((crate::sender::LARGEST_BY_SMTP, false)),
        json!({"door": "smtp", "at": "DATA-END", "reply": "554 5.6.0 Corrupt message content"}),
        json!({"door": "smtp", "at": "DATA-END", "reply": "451 4.3.2 STOREDRV.ClientSubmit; message rate limit exceeded"}),
        json!({"door": "smtp", "at": "DATA-END", "after": true, "cut": true});
}

/// Debian's Postfix, by STARTTLS.
pub(crate) struct SmtpPostfix {
    server: Postfix,
    line: Line,
    env: Env,
}

impl SmtpPostfix {
    fn wire(&self) -> Wire {
        let limits = Limits { trusted: std::time::Duration::from_secs(60), ..Limits::default() };
        let trusted = vec![self.server.certificate.authority.clone()];
        wire(&self.env).with_smtp_limits(limits).trusting(trusted).unwrap()
    }
}

/// Notes that nobody needs.
struct NoNotes;

#[async_trait]
impl SendNotes for NoNotes {
    async fn draft_created(&self, _: &str) -> Result<(), postroom_model::failure::Failure> {
        Ok(())
    }
}

#[async_trait]
impl SenderWorld for SmtpPostfix {
    const TELLS: bool = false;
    const LARGEST: Option<(usize, bool)> = Some((postfix::MAX_SIZE, true));

    async fn start() -> Self {
        let server = Postfix::start().await;
        let line = Line::to(server.submission).await;
        Self { server, line, env: Env::for_test(11).0 }
    }

    fn line(&self) -> &Line {
        &self.line
    }

    fn sender(&self) -> Box<dyn Sender> {
        let mut settings = ConnectionSettings::new(ConnectionKind::Smtp);
        settings.server = "127.0.0.1".into();
        settings.port = self.line.port;
        settings.tls = TlsMode::Starttls;
        settings.user_name = postfix::USER.into();
        self.wire().sender_for(&settings, Some(postfix::PASSWORD.to_owned().into())).unwrap()
    }

    fn recipients(&self) -> [EmailAddress; 2] {
        postfix::RECIPIENTS.map(|name| format!("{name}@{}", postfix::DOMAIN).parse().unwrap())
    }

    async fn arrived(&self, at: &EmailAddress) -> Vec<Vec<u8>> {
        self.server.until_its_queue_is_empty().await;
        self.server.mailbox(at.local_part())
    }

    async fn refused(&self, mut job: SendJob) -> SendJob {
        job.envelope.to = vec![format!("gone@{}", postfix::DOMAIN).parse().unwrap()];
        job
    }

    async fn lose_answer(&self, sender: &dyn Sender, pattern: SendJob) {
        // On a kept connection the next message is answered with as many bytes; the last of them belong to the
        // answer to its end.
        self.line.count_anew();
        let sent = sender.send(&pattern, &NoNotes).await;
        assert!(matches!(sent, SendOutcome::Sent(_)), "{sent:?}");
        self.line.cut_after(Way::Down, self.line.passed(Way::Down).bytes - 5);
    }

    async fn forbid(&self) {
        self.server.change_password("another one that is longer").await;
    }

    async fn permit(&self) {
        self.server.change_password(postfix::PASSWORD).await;
    }
}
