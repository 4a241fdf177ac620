//! Reading: the inbox synchronised page by page, messages fetched as they come, and notifications as a wake-up.

use std::time::Duration;

use async_trait::async_trait;
use postroom_ews::client::{EventStream, SyncPage, Told};
use postroom_ews::wire::{Message, Path};
use postroom_ews::{EwsClient, EwsError};
use postroom_model::failure::{Decision, Failure, Origin};
use postroom_model::mailbox::AfterProcessing;
use postroom_model::{EmailAddress, Env, Timestamp};
use tokio::sync::Mutex;
use tokio::time::{Instant, timeout_at};

use crate::{Changes, MessageSink, RemoteMessage, Source, Survey, Woken};

/// Changes asked for per page: few enough that a page is stored in one short transaction.
const PAGE_SIZE: u32 = 50;

/// Longest time one stream is open; Exchange allows 30 minutes.
const LONGEST_STREAM: Duration = Duration::from_secs(29 * 60);

/// Least time between two streams, so that a server that closes them at once is not stormed.
const PAUSE: Duration = Duration::from_secs(1);

/// Longest cursor that is handed to Exchange, in bytes.
const MAX_CURSOR: usize = 1024 * 1024;

/// Reads the inbox of one mailbox through Exchange Web Services.
#[derive(Debug)]
pub struct EwsSource {
    client: EwsClient,
    mailbox: EmailAddress,
    env: Env,
    /// Kept from one wait to the next, so that what happens between them is told.
    subscription: Mutex<Subscription>,
}

#[derive(Debug, Default)]
struct Subscription {
    id: Option<String>,
    /// Whether there was one before: what happened since its end was told to nobody.
    had_one: bool,
}

impl EwsSource {
    /// A source.
    pub fn new(client: EwsClient, mailbox: EmailAddress, env: Env) -> Self {
        Self { client, mailbox, env, subscription: Mutex::default() }
    }

    fn failure(&self, error: &EwsError) -> Failure {
        error.failure(&format!("read {}", self.mailbox))
    }

    /// The failure, with the address that the server's Autodiscover names when there is no EWS where it was asked.
    async fn explained(&self, error: &EwsError) -> Failure {
        let mut failure = self.failure(error);
        let is_elsewhere = matches!(error, EwsError::Redirect { .. }) || error.status() == Some(404);
        if is_elsewhere && let Some(url) = self.client.named_elsewhere(self.mailbox.as_str()).await {
            failure.advice = Some(format!("Autodiscover names another address; enter it as server: {url}"));
        }
        failure
    }

    /// A page, from the beginning when the cursor is lost or is one of another protocol.
    async fn page(&self, cursor: Option<&str>) -> Result<(SyncPage, bool), EwsError> {
        let user = self.mailbox.as_str();
        let known = cursor.filter(|cursor| cursor.len() <= MAX_CURSOR);
        let lost = match self.client.sync_inbox(user, known, PAGE_SIZE).await {
            Err(error) if known.is_some() && error.is_sync_state_lost() => error.to_string(),
            page => return Ok((page?, known.is_none() && cursor.is_some())),
        };
        tracing::info!(mailbox = %self.mailbox, lost, "cursor lost; the inbox is read from the beginning");
        Ok((self.client.sync_inbox(user, None, PAGE_SIZE).await?, true))
    }

    async fn read(&self, cursor: Option<&str>) -> Result<Changes, EwsError> {
        let (page, resync) = self.page(cursor).await?;
        let wanted =
            ["message:InternetMessageId", "item:DateTimeReceived", "item:DateTimeSent", "item:IsDraft"]
                .map(Path::field);
        let found = self.client.items(self.mailbox.as_str(), &page.here, &wanted).await?;
        let mut messages = Vec::with_capacity(found.len());
        let mut removed = page.gone;
        for (id, found) in page.here.into_iter().zip(found) {
            match found {
                Ok(None) => removed.push(id),
                // A draft that somebody keeps in the inbox was not received.
                Ok(Some(found)) if found.is_draft == Some(true) => {}
                Ok(Some(found)) => messages.push(RemoteMessage {
                    provider_id: id,
                    message_id: found.internet_message_id,
                    received_at: found.received.or(found.sent).unwrap_or_else(|| self.env.now()),
                }),
                // One message that cannot be looked at must not hold up the others: what becomes of it is decided
                // when it is fetched.
                Err(error) if error.may_be_the_items_own() => {
                    tracing::warn!(mailbox = %self.mailbox, %error, "a message could not be looked up; it is fetched as it is");
                    let received_at = self.env.now();
                    messages.push(RemoteMessage { provider_id: id, message_id: None, received_at });
                }
                Err(error) => return Err(error),
            }
        }
        Ok(Changes { messages, removed, cursor: page.state, more: page.more, resync })
    }

    /// Listens until something is told or `end` has come.
    async fn listen(&self, end: Instant) -> Result<Woken, EwsError> {
        let mut subscription = self.subscription.lock().await;
        loop {
            let id = match &subscription.id {
                Some(id) => id.clone(),
                None => {
                    let id = match self.client.subscribe(self.mailbox.as_str()).await {
                        Ok(id) => id,
                        Err(error) if error.is_not_understood() => return Ok(Woken::NotOffered),
                        Err(error) => return Err(error),
                    };
                    subscription.id = Some(id.clone());
                    if std::mem::replace(&mut subscription.had_one, true) {
                        return Ok(Woken::News);
                    }
                    id
                }
            };
            let begun = Instant::now();
            let told = match self.open(&id, end).await {
                Ok(mut stream) => told(&mut stream).await,
                Err(error) => Err(error),
            };
            match told {
                Ok(Told::News) => return Ok(Woken::News),
                Ok(_) => {}
                Err(error) if error.is_subscription_lost() => {
                    tracing::debug!(mailbox = %self.mailbox, %error, "subscription lost; another is made");
                    subscription.id = None;
                }
                // The line is silent for longer than it is trusted: the subscription itself is still there.
                Err(EwsError::Network { source, .. }) if source.is_timeout() => {}
                Err(error) => return Err(error),
            }
            tokio::time::sleep_until(begun + PAUSE).await;
        }
    }

    async fn open(&self, id: &str, end: Instant) -> Result<EventStream, EwsError> {
        let rest = end.saturating_duration_since(Instant::now()).min(LONGEST_STREAM);
        let minutes = u32::try_from(rest.as_secs().div_ceil(60)).unwrap_or(1);
        self.client.stream(self.mailbox.as_str(), id, minutes).await
    }
}

/// Passes over signs of life.
async fn told(stream: &mut EventStream) -> Result<Told, EwsError> {
    loop {
        match stream.next().await? {
            Told::Alive => {}
            told => return Ok(told),
        }
    }
}

fn remote(message: Message, now: Timestamp) -> Option<RemoteMessage> {
    if message.is_draft == Some(true) {
        return None;
    }
    Some(RemoteMessage {
        provider_id: message.id?.id,
        message_id: message.internet_message_id,
        received_at: message.received.or(message.sent).unwrap_or(now),
    })
}

#[async_trait]
impl Source for EwsSource {
    async fn received_since(&self, since: Timestamp) -> Result<Vec<RemoteMessage>, Failure> {
        let (mut found, mut offset) = (Vec::new(), 0);
        loop {
            let asked = self.client.received_since(self.mailbox.as_str(), since, offset).await;
            let (page, next) = asked.map_err(|error| self.failure(&error))?;
            let now = self.env.now();
            found.extend(page.into_iter().filter_map(|message| remote(message, now)));
            match next {
                Some(next) => offset = next,
                None => return Ok(found),
            }
        }
    }

    async fn survey(&self, before: Timestamp) -> Result<Survey, Failure> {
        let found = self.client.survey(self.mailbox.as_str(), before).await;
        let found = found.map_err(|error| self.failure(&error))?;
        Ok(Survey { count: u64::from(found.count), oldest: found.oldest })
    }

    async fn settle(&self, provider_id: &str, how: &AfterProcessing) -> Result<(), Failure> {
        let user = self.mailbox.as_str();
        let settled = match how {
            AfterProcessing::Leave => Ok(()),
            AfterProcessing::MarkRead => self.client.mark_read(user, provider_id).await,
            AfterProcessing::Move(name) => match self.client.folder_named(user, name).await {
                Ok(folder) => self.client.move_to(user, provider_id, &folder).await,
                Err(error) => Err(error),
            },
        };
        match settled {
            Err(error) if !error.is_item_not_found() => Err(self.failure(&error)),
            _ => Ok(()),
        }
    }

    async fn changes(&self, cursor: Option<&str>) -> Result<Changes, Failure> {
        self.read(cursor).await.map_err(|error| self.failure(&error))
    }

    async fn fetch(
        &self,
        provider_id: &str,
        limit: u64,
        sink: &mut dyn MessageSink,
    ) -> Result<Option<u64>, Failure> {
        let user = self.mailbox.as_str();
        let mut size = 0_u64;
        let mut download = self.client.mime(user, provider_id).await.map_err(|error| self.failure(&error))?;
        loop {
            match download.next().await {
                Ok(Some(piece)) => {
                    size += piece.len() as u64;
                    if size > limit {
                        let words = format!("the message is larger than {limit} bytes");
                        let operation = format!("read {}", self.mailbox);
                        return Err(Failure::new(operation, Origin::Ourselves, words, Decision::Hold));
                    }
                    sink.write(piece).await?;
                }
                Ok(None) => return Ok(Some(size)),
                Err(error) if size == 0 && error.is_item_not_found() => return Ok(None),
                Err(error) => return Err(self.failure(&error)),
            }
        }
    }

    async fn probe(&self) -> Result<String, Failure> {
        let user = self.mailbox.as_str();
        let inbox = match self.client.inbox(user).await {
            Ok(inbox) => inbox,
            Err(error) => return Err(self.explained(&error).await),
        };
        let mut sentence =
            format!("Inbox of {user} opened: {} messages, {} unread", inbox.total, inbox.unread);
        if let Some(received) = inbox.newest {
            sentence.push_str(&format!("; the newest was received at {received}"));
        }
        sentence.push('.');
        Ok(sentence)
    }

    async fn wait(&self, limit: Duration) -> Result<Woken, Failure> {
        let end = Instant::now() + limit;
        match timeout_at(end, self.listen(end)).await {
            Ok(woken) => woken.map_err(|error| error.failure(&format!("listen to {}", self.mailbox))),
            Err(_) => Ok(Woken::Quiet),
        }
    }
}
