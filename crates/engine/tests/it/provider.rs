//! A provider that does what a script says, and remembers what was asked of it.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use postroom_model::connection::{Connection, ConnectionKind, ConnectionSettings};
use postroom_model::failure::{Decision, Failure, Origin};
use postroom_model::mailbox::{AfterProcessing, Mailbox};
use postroom_model::{EmailAddress, Env, Timestamp};
use postroom_transport::{
    Changes, MessageSink, Receipt, Reconciled, RefusedRecipient, RemoteMessage, SendJob, SendNotes,
    SendOutcome, Sender, Source, Transports, Woken,
};
use tokio::sync::Semaphore;

/// What the provider does with one message that is handed to it. Without a step it takes it.
pub(crate) enum Step {
    /// Takes it, and the answer is lost.
    DeliverAndTimeOut,
    /// Does not take it, and the answer is lost; the draft stays.
    DropAndTimeOut,
    /// Refuses the draft.
    Refuse(Failure),
    /// Never answers: before there is a draft, before the draft is noted, after it was sent.
    HangBeforeDraft,
    HangBeforeNote,
    HangAfterSend,
    /// Answers after [`Provider::gate`] was opened.
    WaitAtGate,
    /// A fault in the transport.
    Panic,
}

/// One mailbox at the provider.
#[derive(Default)]
pub(crate) struct Folder {
    pub(crate) messages: Vec<(String, Timestamp, Vec<u8>)>,
    pub(crate) page_size: usize,
    /// Answers to the next calls of `changes`, before any is answered in earnest.
    pub(crate) refusals: VecDeque<Failure>,
    /// Messages whose fetching fails, each time.
    pub(crate) broken: BTreeMap<String, Failure>,
    /// Messages that are listed and gone.
    pub(crate) gone: Vec<String>,
    /// Ids that left, told by the next call of `changes`.
    pub(crate) removed: Vec<String>,
    pub(crate) cursor_lost: bool,
    /// Neither lists nor opens.
    pub(crate) closed: Option<Failure>,
    /// Lists, and does not open.
    pub(crate) probe_refusal: Option<Failure>,
    pub(crate) hangs: bool,
    /// Rings for news; without one the provider cannot tell.
    pub(crate) bell: Option<Arc<Semaphore>>,
    /// Answers to the next calls of `settle`, before any is answered in earnest.
    pub(crate) unsettled: VecDeque<Failure>,
    /// What was done with messages, in order: `mark-read a`, `move:Processed b`.
    pub(crate) settled: Vec<String>,
    /// Messages that are there and that `changes` never names.
    pub(crate) hidden: Vec<String>,
    /// Answers to the next calls of `wait`, before any is answered in earnest.
    pub(crate) deaf: VecDeque<Failure>,
}

#[derive(Default)]
pub(crate) struct State {
    pub(crate) steps: VecDeque<Step>,
    pub(crate) lookups: VecDeque<Reconciled>,
    /// Recipients that are refused while the others are taken.
    pub(crate) refused: Vec<RefusedRecipient>,
    /// Who got something, in order.
    pub(crate) delivered: Vec<EmailAddress>,
    /// Draft id to `Message-ID`.
    pub(crate) drafts: BTreeMap<String, String>,
    pub(crate) drafts_made: u32,
    /// `Message-ID` of what left, in order.
    pub(crate) sent: Vec<String>,
    /// What was asked, in order.
    pub(crate) calls: Vec<String>,
    /// Refuses to make senders.
    pub(crate) no_sender: Option<Failure>,
    pub(crate) folders: BTreeMap<String, Folder>,
    /// By how many seconds its clock is ahead; none tells no time.
    pub(crate) ahead: Option<i64>,
}

pub(crate) struct Provider {
    state: Mutex<State>,
    pub(crate) gate: Semaphore,
}

impl Provider {
    pub(crate) fn new() -> Arc<Self> {
        Arc::new(Self { state: Mutex::default(), gate: Semaphore::new(0) })
    }

    pub(crate) fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    pub(crate) fn script(&self, steps: impl IntoIterator<Item = Step>) {
        self.state().steps.extend(steps);
    }

    pub(crate) fn called(&self, call: &str) -> usize {
        self.state().calls.iter().filter(|known| *known == call).count()
    }

    fn call(&self, call: impl Into<String>) {
        self.state().calls.push(call.into());
    }

    /// The folder of an address.
    pub(crate) fn folder<T>(&self, address: &str, change: impl FnOnce(&mut Folder) -> T) -> T {
        let mut state = self.state();
        let folder = state
            .folders
            .entry(address.to_owned())
            .or_insert_with(|| Folder { page_size: 10, ..Folder::default() });
        change(folder)
    }

    /// Lets the mailbox be listened to. A permit that is added to the bell is one piece of news.
    pub(crate) fn bell(&self, address: &str) -> Arc<Semaphore> {
        let bell = Arc::new(Semaphore::new(0));
        self.folder(address, |folder| folder.bell = Some(bell.clone()));
        bell
    }

    /// Puts a message into a mailbox.
    pub(crate) fn deliver(&self, address: &str, id: &str, raw: &[u8]) {
        let number = self.folder(address, |folder| folder.messages.len());
        let second = 1_795_000_000 + i64::try_from(number).unwrap();
        self.deliver_at(address, id, raw, Timestamp::from_second(second).unwrap());
    }

    /// The same, received at this instant.
    pub(crate) fn deliver_at(&self, address: &str, id: &str, raw: &[u8], at: Timestamp) {
        self.folder(address, |folder| folder.messages.push((id.to_owned(), at, raw.to_vec())));
    }

    /// A clock that is ahead of ours by so many seconds.
    pub(crate) fn time(&self, now: Timestamp) -> Option<Timestamp> {
        let ahead = self.state().ahead?;
        Timestamp::from_second(now.as_second() + ahead).ok()
    }
}

/// A refusal by the provider.
pub(crate) fn refusal(status: u16, words: &str, decision: Decision) -> Failure {
    let mut failure = Failure::new("send", Origin::Provider, words, decision);
    failure.status = Some(status);
    failure.request_id = Some("request-1".into());
    failure
}

/// No answer.
pub(crate) fn time_out() -> Failure {
    Failure::new("send", Origin::Network, "no answer within 60 seconds", Decision::Reconcile)
}

/// The handle that is given to the engine.
pub(crate) struct Door(pub(crate) Arc<Provider>, pub(crate) Env);

#[async_trait]
impl Transports for Door {
    fn can_send(&self, settings: &ConnectionSettings) -> Result<(), String> {
        match settings.kind {
            ConnectionKind::ExchangeOnline => Ok(()),
            kind => Err(format!("{} is not available yet in this version", kind.as_str())),
        }
    }

    fn tells_time(&self, _: &ConnectionSettings) -> bool {
        self.0.state().ahead.is_some()
    }

    async fn time(&self, _: &Connection) -> Result<Option<Timestamp>, Failure> {
        Ok(self.0.time(self.1.now()))
    }

    async fn sender(&self, _: &Connection) -> Result<Box<dyn Sender>, Failure> {
        match self.0.state().no_sender.clone() {
            Some(failure) => Err(failure),
            None => Ok(Box::new(FakeSender(self.0.clone()))),
        }
    }

    async fn source(&self, _: &Connection, mailbox: &Mailbox) -> Result<Box<dyn Source>, Failure> {
        Ok(Box::new(FakeSource(self.0.clone(), mailbox.address.to_string())))
    }
}

struct FakeSender(Arc<Provider>);

impl FakeSender {
    /// Sends the draft: it moves from the drafts to the sent messages. A draft that is gone cannot be sent.
    fn deliver(&self, draft: &str, job: &SendJob) -> SendOutcome {
        let mut state = self.0.state();
        if state.drafts.remove(draft).is_none() {
            return SendOutcome::NotSent(refusal(404, "The draft is gone", Decision::Retry { after: None }));
        }
        state.sent.push(job.message_id.clone());
        let (refused, taken): (Vec<_>, Vec<_>) = (job.envelope.to.iter().cloned())
            .partition(|one| state.refused.iter().any(|refused| refused.address == *one));
        state.delivered.extend(taken);
        let told = state.refused.iter().filter(|one| refused.contains(&one.address)).cloned().collect();
        SendOutcome::Sent(Receipt {
            provider_id: Some(draft.to_owned()),
            words: "202 Accepted".into(),
            request_id: Some("request-2".into()),
            refused: told,
        })
    }
}

#[async_trait]
impl Sender for FakeSender {
    async fn send(&self, job: &SendJob, notes: &dyn SendNotes) -> SendOutcome {
        self.0.call("send");
        let step = self.0.state().steps.pop_front();
        match step {
            Some(Step::HangBeforeDraft) => return std::future::pending().await,
            Some(Step::Refuse(failure)) => return SendOutcome::NotSent(failure),
            Some(Step::Panic) => panic!("the transport has a fault"),
            Some(Step::WaitAtGate) => self.0.gate.acquire().await.unwrap().forget(),
            _ => {}
        }
        let draft = match &job.provider_id {
            Some(draft) => draft.clone(),
            None => {
                let draft = {
                    let mut state = self.0.state();
                    state.drafts_made += 1;
                    let draft = format!("draft-{}", state.drafts_made);
                    state.drafts.insert(draft.clone(), job.message_id.clone());
                    draft
                };
                if matches!(step, Some(Step::HangBeforeNote)) {
                    self.0.call("hang before note");
                    return std::future::pending().await;
                }
                if let Err(failure) = notes.draft_created(&draft).await {
                    return SendOutcome::NotSent(failure);
                }
                draft
            }
        };
        match step {
            Some(Step::DropAndTimeOut) => SendOutcome::Unknown(time_out()),
            Some(Step::DeliverAndTimeOut) => {
                self.deliver(&draft, job);
                SendOutcome::Unknown(time_out())
            }
            Some(Step::HangAfterSend) => {
                self.deliver(&draft, job);
                self.0.call("hang after send");
                std::future::pending().await
            }
            _ => self.deliver(&draft, job),
        }
    }

    async fn reconcile(&self, job: &SendJob) -> Reconciled {
        self.0.call("reconcile");
        let mut state = self.0.state();
        if let Some(answer) = state.lookups.pop_front() {
            return answer;
        }
        if state.sent.contains(&job.message_id) {
            let words = "found among the sent messages".into();
            return Reconciled::Sent(Receipt { words, ..Receipt::default() });
        }
        let draft = state.drafts.iter().find(|(_, message_id)| **message_id == job.message_id);
        Reconciled::NotSent { draft: draft.map(|(draft, _)| draft.clone()) }
    }
}

struct FakeSource(Arc<Provider>, String);

#[async_trait]
impl Source for FakeSource {
    async fn changes(&self, cursor: Option<&str>) -> Result<Changes, Failure> {
        self.0.call(format!("changes {} since {}", self.1, cursor.unwrap_or("0")));
        if self.0.folder(&self.1, |folder| folder.hangs) {
            return std::future::pending().await;
        }
        self.0.folder(&self.1, |folder| {
            if let Some(failure) = folder.refusals.pop_front().or_else(|| folder.closed.clone()) {
                return Err(failure);
            }
            let resync = std::mem::take(&mut folder.cursor_lost);
            let start: usize = cursor.filter(|_| !resync).and_then(|cursor| cursor.parse().ok()).unwrap_or(0);
            let end = (start + folder.page_size).min(folder.messages.len());
            let named = folder.messages[start..end].iter().filter(|(id, ..)| !folder.hidden.contains(id));
            let messages = named.map(|(id, at, _)| RemoteMessage {
                provider_id: id.clone(),
                message_id: Some(format!("<{id}@fabrikam.example>")),
                received_at: *at,
            });
            let messages = messages.collect();
            Ok(Changes {
                messages,
                removed: std::mem::take(&mut folder.removed),
                cursor: end.to_string(),
                more: end < folder.messages.len(),
                resync,
            })
        })
    }

    async fn fetch(
        &self,
        provider_id: &str,
        limit: u64,
        sink: &mut dyn MessageSink,
    ) -> Result<Option<u64>, Failure> {
        let Some(raw) = self.raw(provider_id, limit)? else { return Ok(None) };
        let size = raw.len() as u64;
        sink.write(raw).await?;
        Ok(Some(size))
    }

    async fn received_since(&self, since: Timestamp) -> Result<Vec<RemoteMessage>, Failure> {
        self.0.call(format!("received {}", self.1));
        Ok(self.0.folder(&self.1, |folder| {
            let recent = folder.messages.iter().filter(|(_, at, _)| *at >= since);
            let remote = recent.map(|(id, at, _)| RemoteMessage {
                provider_id: id.clone(),
                message_id: Some(format!("<{id}@fabrikam.example>")),
                received_at: *at,
            });
            remote.collect()
        }))
    }

    async fn settle(&self, provider_id: &str, how: &AfterProcessing) -> Result<(), Failure> {
        self.0.call(format!("settle {provider_id}"));
        self.0.folder(&self.1, |folder| {
            if let Some(failure) = folder.unsettled.pop_front() {
                return Err(failure);
            }
            folder.settled.push(format!("{how} {provider_id}"));
            Ok(())
        })
    }

    async fn wait(&self, _: Duration) -> Result<Woken, Failure> {
        self.0.call(format!("wait {}", self.1));
        let (failure, bell) = self.0.folder(&self.1, |folder| (folder.deaf.pop_front(), folder.bell.clone()));
        if let Some(failure) = failure {
            return Err(failure);
        }
        let Some(bell) = bell else { return Ok(Woken::NotOffered) };
        let _end = WaitEnds(self);
        bell.acquire().await.unwrap().forget();
        Ok(Woken::News)
    }

    async fn probe(&self) -> Result<String, Failure> {
        self.0.call(format!("probe {}", self.1));
        self.0.folder(&self.1, |folder| match folder.closed.as_ref().or(folder.probe_refusal.as_ref()) {
            Some(failure) => Err(failure.clone()),
            None => Ok(format!("{} messages", folder.messages.len())),
        })
    }
}

/// Tells that a wait is over, however it ended.
struct WaitEnds<'a>(&'a FakeSource);

impl Drop for WaitEnds<'_> {
    fn drop(&mut self) {
        self.0.0.call(format!("wait ended {}", self.0.1));
    }
}

impl FakeSource {
    fn raw(&self, provider_id: &str, limit: u64) -> Result<Option<Bytes>, Failure> {
        self.0.call(format!("fetch {provider_id}"));
        self.0.folder(&self.1, |folder| {
            if let Some(failure) = folder.broken.get(provider_id) {
                return Err(failure.clone());
            }
            if folder.gone.iter().any(|gone| gone == provider_id) {
                return Ok(None);
            }
            let found = folder.messages.iter().find(|(id, ..)| id == provider_id);
            match found {
                Some((_, _, raw)) if u64::try_from(raw.len()).unwrap() > limit => {
                    let words = format!("the message has more than {limit} bytes");
                    Err(Failure::new("fetch", Origin::Ourselves, words, Decision::Fail))
                }
                Some((_, _, raw)) => Ok(Some(raw.clone().into())),
                None => Ok(None),
            }
        })
    }
}
