//! Streaming notifications: a subscription to the inbox, and the stream of what is told through it.

use std::collections::VecDeque;
use std::time::Duration;

use super::EwsClient;
use super::call::{Call, garbage, request_id};
use super::mail::answer_to;
use crate::error::EwsError;
use crate::wire::{
    Answer, ConnectionStatus, EnvelopeCutter, EventType, GetStreamingEvents, Request, Response, StreamError,
    Streamed, StreamingSubscription, Subscribe, parse_response,
};

/// Largest envelope of a stream, in bytes. An event has some hundred.
const MAX_ENVELOPE: usize = 1024 * 1024;

/// How much longer than agreed a stream is waited for.
const GRACE: Duration = Duration::from_secs(90);

/// What a stream tells.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Told {
    /// Something is new in the folder.
    News,
    /// It is alive.
    Alive,
    /// The server ended it, as agreed.
    Closed,
}

/// A stream of notifications.
pub struct EventStream {
    client: EwsClient,
    operation: String,
    mailbox: String,
    response: reqwest::Response,
    cutter: EnvelopeCutter,
    waiting: VecDeque<Vec<u8>>,
}

impl EwsClient {
    /// Subscribes to the inbox and gives the id of the subscription. Exchange forgets it half an hour or so after
    /// its last stream has ended.
    ///
    /// # Errors
    /// [`EwsError`].
    pub async fn subscribe(&self, mailbox: &str) -> Result<String, EwsError> {
        let streaming = StreamingSubscription {
            all_folders: None,
            folders: vec![self.folder("inbox", mailbox)],
            events: vec![EventType::NewMailEvent, EventType::CreatedEvent, EventType::MovedEvent],
        };
        let request = Request::Subscribe(Subscribe { streaming });
        let call = self.call_for(format!("subscribe to inbox of {mailbox}"), mailbox, &request);
        let told = self.ask(&call).await?;
        let request_id = told.request_id.clone();
        let subscribed = self.only(&call, answer_to!(Subscribe, told, call)?, request_id.as_deref())?;
        let id = subscribed.id.filter(|id| !id.is_empty());
        id.ok_or_else(|| garbage(&call.operation, 200, "a subscription without an id".to_owned()))
    }

    /// Opens the stream of a subscription for at most so many minutes, 1 to 30.
    ///
    /// # Errors
    /// [`EwsError`].
    pub async fn stream(
        &self,
        mailbox: &str,
        subscription: &str,
        minutes: u32,
    ) -> Result<EventStream, EwsError> {
        let minutes = minutes.clamp(1, 30);
        let request =
            Request::GetStreamingEvents(GetStreamingEvents { ids: vec![subscription.to_owned()], minutes });
        let timeout = Some(Duration::from_secs(u64::from(minutes) * 60) + GRACE);
        let operation = format!("listen to inbox of {mailbox}");
        let call = Call { timeout, ..self.call_for(operation, mailbox, &request) };
        let response = self.open(&call).await?;
        Ok(EventStream {
            client: self.clone(),
            operation: call.operation,
            mailbox: mailbox.to_owned(),
            response,
            cutter: EnvelopeCutter::new(MAX_ENVELOPE),
            waiting: VecDeque::new(),
        })
    }
}

impl EventStream {
    /// What is told next. A cut line is an error; see [`EwsError::is_subscription_lost`] for a refusal.
    ///
    /// # Errors
    /// [`EwsError`].
    pub async fn next(&mut self) -> Result<Told, EwsError> {
        loop {
            if let Some(envelope) = self.waiting.pop_front() {
                return self.told(&envelope);
            }
            let chunk = self.response.chunk().await.map_err(|source| EwsError::Network {
                operation: self.operation.clone(),
                handed_over: true,
                source: source.without_url(),
            })?;
            let Some(chunk) = chunk else { return Ok(Told::Closed) };
            let envelopes = self.cutter.push(&chunk).map_err(|error| match error {
                StreamError::TooLarge { limit } => {
                    EwsError::TooLarge { operation: self.operation.clone(), limit: limit as u64 }
                }
                StreamError::Malformed(what) => garbage(&self.operation, 200, what),
            })?;
            self.waiting.extend(envelopes);
        }
    }

    fn told(&self, envelope: &[u8]) -> Result<Told, EwsError> {
        let call = Call {
            operation: self.operation.clone(),
            mailbox: &self.mailbox,
            body: bytes::Bytes::new(),
            timeout: None,
        };
        let id = request_id(self.response.headers());
        let messages = match parse_response(envelope).map(|envelope| envelope.answer) {
            Ok(Answer::Response(Response::GetStreamingEvents(messages))) => messages,
            Ok(Answer::Response(other)) => {
                return Err(garbage(&self.operation, 200, format!("an answer to {}", other.name())));
            }
            Ok(Answer::Fault(fault)) => return Err(self.client.fault(&call, 200, id, fault)),
            Err(error) => return Err(garbage(&self.operation, 200, error.to_string())),
        };
        let streamed = self.client.only(&call, messages, id.as_deref())?;
        Ok(said(&streamed))
    }
}

fn said(streamed: &Streamed) -> Told {
    let mut events = streamed.notifications.iter().flat_map(|notification| &notification.events);
    // A status event is a sign of life.
    if events.any(|event| event.kind.is_some()) {
        Told::News
    } else if streamed.status == Some(ConnectionStatus::Closed) {
        Told::Closed
    } else {
        Told::Alive
    }
}
