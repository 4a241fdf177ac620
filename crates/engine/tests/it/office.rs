//! A provider's register of credentials, and a sender that works only with those that stand in it. A kill switch
//! stops everything at one numbered point, as if the process had died there.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard};

use async_trait::async_trait;
use jiff::SignedDuration;
use postroom_model::connection::{Connection, ConnectionSettings};
use postroom_model::credential::CredentialKind;
use postroom_model::failure::{Decision, Failure, Origin};
use postroom_model::mailbox::Mailbox;
use postroom_model::{EmailAddress, Env, ExposeSecret, SecretString, Timestamp};
use postroom_store::Store;
use postroom_transport::{
    CredentialOffice, KnownCredential, MadeKey, Opening, Presented, Receipt, Reconciled, RenewalOrder,
    Renewed, SendJob, SendNotes, SendOutcome, Sender, Source, Transports, WideRight,
};
use tokio::sync::Notify;

/// Stops at the point of this number, for good.
#[derive(Default)]
pub(crate) struct KillSwitch {
    at: usize,
    passed: Mutex<usize>,
    pub(crate) reached: Notify,
}

impl KillSwitch {
    pub(crate) fn at(at: usize) -> Arc<Self> {
        Arc::new(Self { at, ..Self::default() })
    }

    pub(crate) async fn pass(&self) {
        let point = {
            let mut passed = self.passed.lock().unwrap();
            *passed += 1;
            *passed
        };
        if point == self.at {
            self.reached.notify_one();
            std::future::pending::<()>().await;
        }
    }
}

/// A credential that the provider knows.
#[derive(Debug, Clone)]
pub(crate) struct Known {
    pub(crate) key_id: String,
    mark: String,
    works_from: Timestamp,
    pub(crate) ends_at: Timestamp,
}

#[derive(Default)]
pub(crate) struct Register {
    /// Secret to what is known of it.
    pub(crate) keys: BTreeMap<String, Known>,
    /// Key ids that were removed, each time they were.
    pub(crate) removed: Vec<String>,
    pub(crate) made: u32,
    pub(crate) tests: u32,
    /// Answers of `expiry`.
    pub(crate) tells_expiry: bool,
    /// Why no renewal is possible.
    pub(crate) impossible: Option<Failure>,
    pub(crate) refuse_renewal: Option<Failure>,
    pub(crate) refuse_tests: bool,
    pub(crate) open: Vec<String>,
    /// Mailboxes that do not exist.
    pub(crate) missing: Vec<String>,
    /// Rights to mail for the whole tenant.
    pub(crate) wide: Vec<String>,
    /// Senders that have not ended, by the secret that they were made with.
    pub(crate) senders: BTreeMap<String, u32>,
    pub(crate) sent: u32,
    pub(crate) refused_sends: u32,
}

impl Register {
    /// Sends that were tried, with whatever result.
    pub(crate) fn ended(&self) -> usize {
        (self.sent + self.refused_sends) as usize
    }
}

pub(crate) struct Office {
    register: Mutex<Register>,
    /// Told when a send was tried, and when a sender ends.
    changed: Notify,
    env: Env,
    /// How long a new credential takes to work, and how long it lives.
    pub(crate) propagation: SignedDuration,
    pub(crate) life: SignedDuration,
    pub(crate) kill: Mutex<Option<Arc<KillSwitch>>>,
}

impl Office {
    pub(crate) fn new(env: &Env) -> Arc<Self> {
        Arc::new(Self {
            register: Mutex::default(),
            changed: Notify::new(),
            env: env.clone(),
            propagation: SignedDuration::from_mins(5),
            life: SignedDuration::from_hours(24 * 365),
            kill: Mutex::default(),
        })
    }

    pub(crate) fn state(&self) -> MutexGuard<'_, Register> {
        self.register.lock().unwrap()
    }

    /// Waits until this holds of what senders do.
    pub(crate) async fn until(&self, fact: impl Fn(&Register) -> bool) {
        loop {
            let changed = self.changed.notified();
            tokio::pin!(changed);
            changed.as_mut().enable();
            if fact(&self.state()) {
                return;
            }
            changed.await;
        }
    }

    /// Registers a credential that works at once.
    pub(crate) fn enter(&self, secret: &str, key_id: &str, ends_at: Timestamp) {
        let known =
            Known { key_id: key_id.into(), mark: "by hand".into(), works_from: self.env.now(), ends_at };
        self.state().keys.insert(secret.into(), known);
    }

    fn works(&self, secret: &SecretString) -> Result<(), Failure> {
        let now = self.env.now();
        let state = self.state();
        match state.keys.get(secret.expose_secret()) {
            Some(known) if known.works_from <= now && now < known.ends_at => Ok(()),
            _ => {
                let mut failure = refused("invalid client secret");
                failure.code = Some("AADSTS7000215".into());
                Err(failure)
            }
        }
    }

    async fn point(&self) {
        let kill = self.kill.lock().unwrap().clone();
        if let Some(kill) = kill {
            kill.pass().await;
        }
    }
}

pub(crate) fn refused(words: &str) -> Failure {
    Failure::new("sign in", Origin::Provider, words, Decision::Hold)
}

#[async_trait]
impl CredentialOffice for Office {
    async fn test(
        &self,
        _: &Connection,
        credential: Presented<'_>,
        _: Option<&EmailAddress>,
    ) -> Result<String, Failure> {
        self.point().await;
        self.state().tests += 1;
        if self.state().refuse_tests {
            return Err(refused("AADSTS700027: the certificate is not known"));
        }
        self.works(credential.secret).map(|()| "signed in".into())
    }

    async fn can_renew(&self, _: &Connection, _: Presented<'_>) -> Result<(), Failure> {
        self.point().await;
        self.state().impossible.clone().map_or(Ok(()), Err)
    }

    async fn make_key(&self, _: &Connection) -> Result<MadeKey, Failure> {
        self.point().await;
        let mut state = self.state();
        state.made += 1;
        let expires_at = self.env.now().saturating_add(self.life).unwrap();
        Ok(MadeKey { secret: format!("key {}", state.made).into(), expires_at })
    }

    async fn renew(&self, _: &Connection, order: RenewalOrder<'_>) -> Result<Renewed, Failure> {
        self.point().await;
        if let Some(failure) = self.state().refuse_renewal.clone() {
            return Err(failure);
        }
        self.works(order.current.secret)?;
        let renewed = {
            let mut state = self.state();
            let secret = match order.made {
                Some(made) => made.expose_secret().to_owned(),
                None => {
                    state.keys.retain(|_, known| known.mark != order.mark);
                    state.made += 1;
                    format!("secret {}", state.made)
                }
            };
            let now = self.env.now();
            let fresh = Known {
                key_id: format!("id of {secret}"),
                mark: order.mark.to_owned(),
                works_from: now.saturating_add(self.propagation).unwrap(),
                ends_at: now.saturating_add(self.life).unwrap(),
            };
            let known = state.keys.entry(secret.clone()).or_insert(fresh).clone();
            Renewed {
                kind: order.current.kind,
                secret: secret.into(),
                key_id: Some(known.key_id),
                expires_at: Some(known.ends_at),
            }
        };
        self.point().await;
        Ok(renewed)
    }

    async fn remove(&self, _: &Connection, current: Presented<'_>, key_id: &str) -> Result<(), Failure> {
        self.point().await;
        self.works(current.secret)?;
        {
            let mut state = self.state();
            let before = state.keys.len();
            state.keys.retain(|_, known| known.key_id != key_id);
            if state.keys.len() < before {
                state.removed.push(key_id.to_owned());
            }
        }
        self.point().await;
        Ok(())
    }

    async fn expiry(&self, _: &Connection, current: Presented<'_>) -> Result<KnownCredential, Failure> {
        let state = self.state();
        let known = state.keys.get(current.secret.expose_secret()).filter(|_| state.tells_expiry);
        Ok(known.map_or_else(KnownCredential::default, |known| KnownCredential {
            expires_at: Some(known.ends_at),
            key_id: Some(known.key_id.clone()),
        }))
    }

    async fn tenant_wide(&self, _: &Connection) -> Result<Vec<WideRight>, Failure> {
        let wide = self.state().wide.clone();
        let right = |value| WideRight { value, opens: "to read every mailbox".into() };
        Ok(wide.into_iter().map(right).collect())
    }

    async fn opens(&self, _: &Connection, mailbox: &EmailAddress) -> Result<Opening, Failure> {
        let state = self.state();
        let among = |list: &[String]| list.iter().any(|one| one == mailbox.as_str());
        Ok(match (among(&state.open), among(&state.missing)) {
            (true, _) => Opening::Opens,
            (_, true) => Opening::NoSuchMailbox,
            _ => Opening::Refused,
        })
    }
}

/// Transports that sign in with the credential of the moment when the sender is made.
pub(crate) struct Signing {
    pub(crate) office: Arc<Office>,
    pub(crate) store: Arc<dyn Store>,
}

struct SigningSender {
    office: Arc<Office>,
    secret: SecretString,
}

impl Drop for SigningSender {
    fn drop(&mut self) {
        {
            let mut state = self.office.state();
            if let Some(count) = state.senders.get_mut(self.secret.expose_secret()) {
                *count -= 1;
            }
            state.senders.retain(|_, count| *count > 0);
        }
        self.office.changed.notify_waiters();
    }
}

#[async_trait]
impl Transports for Signing {
    fn can_send(&self, _: &ConnectionSettings) -> Result<(), String> {
        Ok(())
    }

    async fn sender(&self, connection: &Connection) -> Result<Box<dyn Sender>, Failure> {
        let (_, secret) = self.store.credential_secret(connection.id).await.unwrap().unwrap();
        *self.office.state().senders.entry(secret.expose_secret().to_owned()).or_default() += 1;
        Ok(Box::new(SigningSender { office: self.office.clone(), secret }))
    }

    async fn source(&self, _: &Connection, _: &Mailbox) -> Result<Box<dyn Source>, Failure> {
        Err(refused("nothing is read here"))
    }
}

#[async_trait]
impl Sender for SigningSender {
    async fn send(&self, job: &SendJob, _: &dyn SendNotes) -> SendOutcome {
        tokio::task::yield_now().await;
        let outcome = match self.office.works(&self.secret) {
            Ok(()) => {
                self.office.state().sent += 1;
                SendOutcome::Sent(Receipt { provider_id: Some(job.message_id.clone()), ..Receipt::default() })
            }
            Err(failure) => {
                self.office.state().refused_sends += 1;
                SendOutcome::NotSent(failure)
            }
        };
        self.office.changed.notify_waiters();
        outcome
    }

    async fn reconcile(&self, _: &SendJob) -> Reconciled {
        Reconciled::NotSent { draft: None }
    }
}

/// The kind under test and its first credential.
pub(crate) fn first(
    kind: CredentialKind,
    secret: &str,
    expires_at: Option<Timestamp>,
) -> postroom_store::NewCredential {
    postroom_store::NewCredential {
        kind,
        secret: secret.to_owned().into(),
        expires_at,
        key_id: Some(format!("id of {secret}")),
    }
}
