//! Sending: which connection, which recipients, which outcome.

use std::fmt;
use std::sync::Arc;

use async_trait::async_trait;
use postroom_entra::{Ids, TokenClient, TokenRequest};
use postroom_model::connection::{AuthenticationFlow, ConnectionSettings};
use postroom_model::failure::{Decision, Failure, Origin};
use postroom_model::{EmailAddress, Env, ExposeSecret, HostName, SecretString};

use super::auth::{Login, sign_in};
use super::client::{Client, Target};
use super::content::Content;
use super::pool::{Fingerprint, Place, Pool, Turn};
use super::refusal::{self, Stage};
use super::transaction::{Handed, Mail, Refused};
use crate::line::Peer;
use crate::look::{Seen, ids};
use crate::wire::{Wire, hold};
use crate::{Receipt, Reconciled, RefusedRecipient, SendJob, SendNotes, SendOutcome, Sender};

/// Sends through one SMTP server.
pub struct SmtpSender {
    target: Target,
    identity: Identity,
    fingerprint: Fingerprint,
    pool: Arc<Pool>,
    /// For advice.
    ids: Ids,
    env: Env,
}

impl fmt::Debug for SmtpSender {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SmtpSender({}:{})", self.target.peer.host, self.target.peer.port)
    }
}

/// As whom it signs in.
enum Identity {
    Nobody,
    Password {
        user: String,
        password: SecretString,
    },
    /// A token of Microsoft Entra. Without a user name, each message opens the mailbox of its sender.
    Token {
        user: String,
        request: Box<TokenRequest>,
        tokens: Arc<TokenClient>,
    },
}

/// A sender.
///
/// # Errors
/// A failure with [`Decision::Hold`] naming the first thing that is missing or wrong in the settings.
pub(crate) fn sender(
    wire: &Wire,
    settings: &ConnectionSettings,
    secret: Option<SecretString>,
) -> Result<Box<dyn Sender>, Failure> {
    Ok(Box::new(made(wire, settings, secret)?))
}

/// What the server shows to somebody who has not signed in.
///
/// # Errors
/// The network's failure or the server's refusal.
pub(crate) async fn look(wire: &Wire, settings: &ConnectionSettings) -> Result<Seen, Failure> {
    let target = target(wire, settings)?;
    let opened = Client::open(&target, "reach the SMTP server").await;
    let client = opened.map_err(|failure| refusal::explained(failure, &ids(settings)))?;
    let seen = seen(&client, &target);
    client.quit().await;
    Ok(seen)
}

/// Signs in as this sender and does nothing more; none when nobody signs in.
///
/// # Errors
/// As for [`look`], and the refusal of the sign-in.
pub(crate) async fn sign_in_as(
    wire: &Wire,
    settings: &ConnectionSettings,
    secret: Option<SecretString>,
    from: &EmailAddress,
) -> Result<Option<Seen>, Failure> {
    let sender = made(wire, settings, secret)?;
    if matches!(sender.identity, Identity::Nobody) {
        return Ok(None);
    }
    let opened = sender.connect(from, &format!("sign in as {from}")).await;
    let client = opened.map_err(|failure| sender.advised(failure, from))?;
    let seen = seen(&client, &sender.target);
    client.quit().await;
    Ok(Some(seen))
}

fn seen(client: &Client, target: &Target) -> Seen {
    Seen {
        server: format!("{}:{}", target.peer.host, target.peer.port),
        certificate: client.certificate(),
        offers: client.offers.all.clone(),
        max_size: client.offers.max_size,
    }
}

/// The way to the server.
fn target(wire: &Wire, settings: &ConnectionSettings) -> Result<Target, Failure> {
    let host = HostName::from_pasted(&settings.server).map_err(|error| hold(settings, error.to_string()))?;
    let limits = *wire.smtp.limits();
    let peer =
        Peer { host: host.as_str().to_owned(), port: settings.effective_port(), patience: limits.connect };
    let tls = wire.tls(settings)?;
    Ok(Target { peer, mode: settings.tls, accept_plain: settings.accept_plain, tls, limits })
}

fn made(
    wire: &Wire,
    settings: &ConnectionSettings,
    secret: Option<SecretString>,
) -> Result<SmtpSender, Failure> {
    let secret = wire.valid(settings, secret)?;
    let target = target(wire, settings)?;
    let pool = Arc::clone(&wire.smtp);
    let user = settings.user_name.trim().to_owned();
    let fingerprint = pool.fingerprint(&[
        settings.tls.as_str(),
        if settings.accept_plain { "accept-plain" } else { "" },
        settings.flow.as_str(),
        settings.tenant_id.trim(),
        settings.application_id.trim(),
        secret.as_ref().map_or("", ExposeSecret::expose_secret),
    ]);
    let identity = match (settings.flow, secret) {
        (AuthenticationFlow::Password, _) if user.is_empty() => Identity::Nobody,
        (AuthenticationFlow::Password, Some(password)) => Identity::Password { user, password },
        (AuthenticationFlow::Password, None) => return Err(hold(settings, "Password is missing")),
        (_, secret) => {
            let request = Box::new(wire.token_request(settings, secret)?);
            Identity::Token { user, request, tokens: Arc::clone(&wire.tokens) }
        }
    };
    let ids = ids(settings);
    Ok(SmtpSender { target, identity, fingerprint, pool, ids, env: wire.env.clone() })
}

impl SmtpSender {
    /// Whom connections for this sender lead to.
    fn place(&self, from: &EmailAddress) -> Place {
        let user = match &self.identity {
            Identity::Nobody => String::new(),
            Identity::Token { user, .. } if user.is_empty() => from.normalized(),
            Identity::Password { user, .. } | Identity::Token { user, .. } => user.clone(),
        };
        Place { host: self.target.peer.host.clone(), port: self.target.peer.port, user }
    }

    /// A new connection that has signed in. A token that is refused is replaced once, for it may just have been revoked.
    async fn connect(&self, from: &EmailAddress, operation: &str) -> Result<Client, Failure> {
        let mut replaced = false;
        loop {
            let login = self.login(from, operation).await?;
            let mut client = Client::open(&self.target, operation).await?;
            let failure = match sign_in(&mut client, &self.target, &login, operation).await {
                Ok(()) => return Ok(client),
                Err(failure) => failure,
            };
            client.quit().await;
            match (&self.identity, login) {
                (Identity::Token { tokens, .. }, Login::Token { token, .. })
                    if failure.status == Some(535) && !replaced =>
                {
                    tokens.invalidate(&token);
                    replaced = true;
                }
                _ => return Err(failure),
            }
        }
    }

    async fn login(&self, from: &EmailAddress, operation: &str) -> Result<Login, Failure> {
        Ok(match &self.identity {
            Identity::Nobody => Login::Nobody,
            Identity::Password { user, password } => {
                Login::Password { user: user.clone(), password: password.clone() }
            }
            Identity::Token { user, request, tokens } => {
                let token = tokens.token(request).await.map_err(|error| error.failure(operation))?;
                let user = if user.is_empty() { from.as_str().to_owned() } else { user.clone() };
                Login::Token { user, token }
            }
        })
    }

    /// Hands the message over on a kept connection, or where that turns out to be dead on a new one.
    async fn hand_over(
        &self,
        kept: Option<Client>,
        mail: &Mail<'_>,
        recipients: &[EmailAddress],
    ) -> (Option<Client>, Handed) {
        if let Some(mut client) = kept {
            match mail.hand_over(&mut client, recipients).await {
                Handed::Dead(failure) => {
                    tracing::debug!(server = %self.target.peer.host, %failure, "a kept connection was dead");
                }
                handed => return (Some(client), handed),
            }
        }
        match self.connect(mail.from, mail.operation).await {
            Ok(mut client) => {
                let handed = mail.hand_over(&mut client, recipients).await;
                (Some(client), handed)
            }
            Err(failure) => (None, Handed::Refused { failure, usable: false }),
        }
    }

    /// Hands the message over in one transaction, never in more: a second one could not be told from the first when this
    /// process ends between the two, and then somebody would get the message twice. Who was only one too many is told as
    /// refused for now, and gets it by a message of their own.
    async fn deliver(&self, mail: &Mail<'_>, to: &[EmailAddress]) -> SendOutcome {
        let place = self.place(mail.from);
        let Some(turn) = self.pool.turn(&place).await else {
            return SendOutcome::NotSent(self.busy(mail, &place));
        };
        let kept = turn.kept(&self.fingerprint, self.env.now()).await;
        let (client, handed) = self.hand_over(kept, mail, to).await;
        let (usable, outcome) = match handed {
            Handed::Taken { words, refused } => (true, sent(words, refused)),
            Handed::Refused { failure, usable } => (usable, SendOutcome::NotSent(failure)),
            Handed::Dead(failure) => (false, SendOutcome::NotSent(failure)),
            Handed::Unknown(failure) => (false, SendOutcome::Unknown(failure)),
        };
        self.put_back(turn, client, usable, matches!(outcome, SendOutcome::Sent(_))).await;
        outcome
    }

    /// Keeps a connection that can be used again.
    async fn put_back(&self, turn: Turn, client: Option<Client>, usable: bool, clean: bool) {
        let Some(mut client) = client.filter(|_| usable) else { return };
        if clean || client.reset().await {
            turn.keep(client, self.fingerprint);
        }
    }

    /// The failure with the advice of the table of causes, for the mailbox that signs in. A name that would mean more
    /// than itself in a command is left out.
    fn advised(&self, failure: Failure, from: &EmailAddress) -> Failure {
        let user = match &self.identity {
            Identity::Nobody => "",
            Identity::Password { user, .. } | Identity::Token { user, .. } => user.as_str(),
        };
        let mailbox = if user.is_empty() { from.as_str() } else { user };
        let ids = self.ids.clone().with_mailbox(if plain_word(mailbox) { mailbox } else { "" });
        let mut failure = refusal::explained(failure, &ids);
        if plain_word(from.as_str()) {
            failure.advice = failure.advice.map(|advice| advice.replace("<sender>", from.as_str()));
        }
        failure
    }

    fn busy(&self, mail: &Mail<'_>, place: &Place) -> Failure {
        let limit = self.pool.limits().command;
        let who = if place.user.is_empty() { "nobody" } else { &place.user };
        let words = format!("every connection to {} as {who} was in use for {limit:?}", place.host);
        Failure::new(mail.operation, Origin::Ourselves, words, Decision::Retry { after: None })
    }
}

/// The server took it, if not for everybody.
fn sent(words: String, refused: Vec<Refused>) -> SendOutcome {
    let told = |Refused { recipient, reply }: Refused| {
        let decision = refusal::failure("", Stage::Rcpt, &reply).decision();
        let temporary =
            refusal::is_one_too_many(&reply) || matches!(decision, Decision::Retry { .. } | Decision::Hold);
        RefusedRecipient { address: recipient, words: reply.literal(), temporary }
    };
    let refused = refused.into_iter().map(told).collect();
    SendOutcome::Sent(Receipt { words, refused, ..Receipt::default() })
}

#[async_trait]
impl Sender for SmtpSender {
    async fn send(&self, job: &SendJob, _: &dyn SendNotes) -> SendOutcome {
        let operation = operation(job);
        let mail = Mail {
            operation: &operation,
            host: &self.target.peer.host,
            from: &job.envelope.from,
            raw: &job.raw,
            content: Content::of(&job.raw),
        };
        if job.envelope.to.is_empty() {
            let words = "the message has no recipient";
            return SendOutcome::NotSent(Failure::new(operation, Origin::Ourselves, words, Decision::Hold));
        }
        match self.deliver(&mail, &job.envelope.to).await {
            SendOutcome::NotSent(failure) => SendOutcome::NotSent(self.advised(failure, &job.envelope.from)),
            outcome => outcome,
        }
    }

    /// SMTP has no way to ask about a message that was handed over.
    async fn reconcile(&self, job: &SendJob) -> Reconciled {
        let words = format!(
            "{} cannot be asked what became of a message: SMTP has no look-up",
            self.target.peer.host
        );
        Reconciled::CannotTell(Failure::new(
            format!("look up {}", job.message_id),
            Origin::Provider,
            words,
            Decision::Reconcile,
        ))
    }
}

/// Whether a name means nothing but itself in a command.
fn plain_word(name: &str) -> bool {
    name.chars().all(|c| c.is_alphanumeric() || "@.-_+".contains(c))
}

fn operation(job: &SendJob) -> String {
    format!("send {} from {}", job.message_id, job.envelope.from)
}
