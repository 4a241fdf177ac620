//! Streaming notifications: subscriptions, kept in memory as Exchange's front ends do, and the answer that goes on.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::http::{HeaderValue, header};
use axum::response::Response as HttpResponse;
use futures_util::stream;
use postroom_ews::wire::{
    Answer, ConnectionStatus, EventDetails, EventType, FolderId, GetStreamingEvents, ItemId, Nothing,
    Notification, Response, ResponseMessage, StreamEvent, Streamed, Subscribe, Subscribed, Unsubscribe,
};
use sqlx::{Row, SqliteConnection};
use tokio::sync::watch;
use tokio::time::Instant;

use super::desk::{Desk, id_of};
use super::envelope;
use super::refusal::{Refused, Trouble};
use crate::mail::store::{COLUMNS, Stored};
use crate::state::{Tenant, counter};

/// Most subscriptions of one mailbox.
const MOST: usize = 20;
/// Most streams of one mailbox.
const MOST_STREAMS: usize = 10;
/// Most subscriptions of one stream.
const MOST_IDS: usize = 200;
/// How long a subscription lasts without a stream, in seconds.
const LIFETIME: i64 = 30 * 60;
/// Pause between two signs of life.
const HEARTBEAT: Duration = Duration::from_secs(30);
/// Most changes told in one envelope.
const MOST_EVENTS: i64 = 200;

/// A subscription.
#[derive(Clone)]
struct Subscription {
    mailbox: String,
    app_id: String,
    /// None: every folder.
    folders: Option<Vec<String>>,
    events: Vec<EventType>,
    /// Everything up to this change has been told.
    seen: i64,
    /// When a stream of it was last open.
    used_at: i64,
    /// Number of the stream that tells it.
    stream: u64,
}

/// Subscriptions and streams of a tenant.
#[derive(Default)]
pub(crate) struct Streams {
    subscriptions: HashMap<String, Subscription>,
    /// Mailbox of each open stream.
    open: HashMap<u64, String>,
    last: u64,
}

impl Streams {
    fn tidy(&mut self, now: i64) {
        let open = &self.open;
        self.subscriptions.retain(|_, one| open.contains_key(&one.stream) || now - one.used_at < LIFETIME);
    }
}

fn not_found() -> Trouble {
    Trouble::new("ErrorSubscriptionNotFound", "The subscription was not found.")
}

pub(super) async fn subscribe(
    desk: &Desk,
    request: &Subscribe,
) -> Result<ResponseMessage<Subscribed>, Refused> {
    let wanted = &request.streaming;
    let mut tx = desk.begin().await?;
    let mut folders = Vec::new();
    for folder in wanted.folders.iter().take(MOST_IDS) {
        match desk.holder(&mut tx, folder).await {
            Ok(found) => folders.push(found.id),
            Err(trouble) => return Ok(trouble.message()),
        }
    }
    let all = wanted.all_folders == Some(true);
    if (folders.is_empty() && !all) || wanted.events.is_empty() {
        let text = "The subscription request names no folder, or no event.";
        return Ok(Trouble::new("ErrorInvalidSubscriptionRequest", text).message());
    }
    let now = desk.tenant.now();
    let subscription = Subscription {
        mailbox: desk.mailbox.id.clone(),
        app_id: desk.caller.app_id.clone(),
        folders: (!all).then_some(folders),
        events: wanted.events.clone(),
        seen: counter(&mut tx, "change").await?,
        used_at: now,
        stream: 0,
    };
    let mut streams = desk.tenant.streams();
    streams.tidy(now);
    let own = streams.subscriptions.values().filter(|one| one.mailbox == desk.mailbox.id).count();
    if own >= MOST {
        let text = "You have exceeded the available subscriptions for your account.";
        return Ok(Trouble::new("ErrorExceededSubscriptionCount", text).message());
    }
    let id = format!("JwB{}", desk.tenant.env.new_token(40));
    streams.subscriptions.insert(id.clone(), subscription);
    Ok(ResponseMessage::success(Subscribed { id: Some(id) }))
}

pub(super) fn unsubscribe(desk: &Desk, request: &Unsubscribe) -> ResponseMessage<Nothing> {
    let mut streams = desk.tenant.streams();
    match streams.subscriptions.get(&request.id) {
        Some(one) if one.mailbox == desk.mailbox.id => {
            streams.subscriptions.remove(&request.id);
            ResponseMessage::success(Nothing {})
        }
        _ => not_found().message(),
    }
}

/// Opens the stream.
pub(super) async fn open(desk: Desk, request: GetStreamingEvents) -> Result<HttpResponse, Refused> {
    if !(1..=30).contains(&request.minutes) || request.ids.is_empty() || request.ids.len() > MOST_IDS {
        let text =
            "The request failed schema validation: ConnectionTimeout is 1 to 30, and 1 to 200 subscriptions.";
        return Err(Refused::fault("ErrorSchemaValidation", text));
    }
    let tenant = Arc::clone(&desk.tenant);
    let now = tenant.now();
    let number = {
        let mut streams = tenant.streams();
        streams.tidy(now);
        let is_own = |id: &&String| {
            !streams
                .subscriptions
                .get(*id)
                .is_some_and(|one| one.mailbox == desk.mailbox.id && one.app_id == desk.caller.app_id)
        };
        let bad: Vec<String> = request.ids.iter().filter(is_own).cloned().collect();
        if !bad.is_empty() {
            return Ok(body(Body::from(lost(not_found(), bad))));
        }
        let open = streams.open.values().filter(|mailbox| **mailbox == desk.mailbox.id).count();
        if open >= MOST_STREAMS {
            let text = "You have exceeded the available concurrent connections for your account. Try again once your \
                        other requests have completed.";
            let values =
                [("Policy", "HangingConnectionLimit"), ("MaxConcurrencyLimit", "10"), ("ErrorMessage", text)];
            return Err(Refused::fault_with("ErrorExceededConnectionCount", text, &values));
        }
        streams.last += 1;
        let number = streams.last;
        streams.open.insert(number, desk.mailbox.id.clone());
        for id in &request.ids {
            if let Some(one) = streams.subscriptions.get_mut(id) {
                one.stream = number;
            }
        }
        number
    };
    // An older stream of the same subscription learns of this one.
    tenant.nudge();
    let length = Duration::from_secs(u64::from(request.minutes) * 60);
    let teller = Teller {
        news: tenant.news(),
        ids: request.ids,
        number,
        end: Instant::now() + length,
        end_at: now + i64::from(request.minutes) * 60,
        begun: false,
        over: false,
        tenant,
    };
    let pieces = stream::unfold(teller, |mut teller| async move {
        let piece = teller.next().await?;
        Some((Ok::<_, std::convert::Infallible>(Bytes::from(piece)), teller))
    });
    Ok(body(Body::from_stream(pieces)))
}

fn body(body: Body) -> HttpResponse {
    let mut response = HttpResponse::new(body);
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("text/xml; charset=utf-8"));
    response
}

fn one(message: ResponseMessage<Streamed>) -> Vec<u8> {
    envelope(Answer::Response(Response::GetStreamingEvents(vec![message])))
}

fn status(status: ConnectionStatus) -> Vec<u8> {
    one(ResponseMessage::success(Streamed { status: Some(status), ..Streamed::default() }))
}

/// The envelope of a stream that ends for want of these subscriptions.
fn lost(trouble: Trouble, ids: Vec<String>) -> Vec<u8> {
    let mut message: ResponseMessage<Streamed> = trouble.message();
    message.payload.bad_subscriptions = ids;
    message.payload.status = Some(ConnectionStatus::Closed);
    one(message)
}

/// Tells the events of some subscriptions until its time is over.
struct Teller {
    tenant: Arc<Tenant>,
    news: watch::Receiver<()>,
    ids: Vec<String>,
    number: u64,
    end: Instant,
    /// The same on the tenant's clock, which can be moved.
    end_at: i64,
    begun: bool,
    over: bool,
}

impl Drop for Teller {
    fn drop(&mut self) {
        let now = self.tenant.now();
        let mut streams = self.tenant.streams();
        streams.open.remove(&self.number);
        for id in &self.ids {
            if let Some(one) = streams.subscriptions.get_mut(id).filter(|one| one.stream == self.number) {
                one.used_at = now;
            }
        }
    }
}

impl Teller {
    /// The next envelope; none when the stream is over.
    async fn next(&mut self) -> Option<Vec<u8>> {
        if self.over {
            return None;
        }
        if !std::mem::replace(&mut self.begun, true) {
            return Some(status(ConnectionStatus::OK));
        }
        let heartbeat = Instant::now() + HEARTBEAT;
        loop {
            self.news.mark_unchanged();
            if let Some(ended) = self.ended() {
                self.over = true;
                return Some(ended);
            }
            match self.events().await {
                Ok(notifications) if notifications.is_empty() => {}
                Ok(notifications) => {
                    return Some(one(ResponseMessage::success(Streamed {
                        notifications,
                        ..Streamed::default()
                    })));
                }
                Err(error) => {
                    tracing::error!(error = &error as &dyn std::error::Error, "a stream cannot be told");
                    self.over = true;
                    return Some(status(ConnectionStatus::Closed));
                }
            }
            let stop = self.tenant.closing.clone();
            tokio::select! {
                _ = self.news.changed() => {}
                () = tokio::time::sleep_until(heartbeat.min(self.end)) => {
                    if Instant::now() < self.end {
                        return Some(self.alive());
                    }
                }
                // A tenant that stops says nothing more.
                () = stop.cancelled() => return None,
            }
        }
    }

    /// The last envelope, when it is time for that.
    fn ended(&self) -> Option<Vec<u8>> {
        let streams = self.tenant.streams();
        let (mut gone, mut taken) = (Vec::new(), Vec::new());
        for id in &self.ids {
            match streams.subscriptions.get(id) {
                None => gone.push(id.clone()),
                Some(one) if one.stream != self.number => taken.push(id.clone()),
                Some(_) => {}
            }
        }
        drop(streams);
        if !gone.is_empty() {
            return Some(lost(not_found(), gone));
        }
        if !taken.is_empty() {
            let text = "Another connection was opened for this subscription.";
            return Some(lost(Trouble::new("ErrorNewEventStreamConnectionOpened", text), taken));
        }
        let over = Instant::now() >= self.end || self.tenant.now() >= self.end_at;
        over.then(|| status(ConnectionStatus::Closed))
    }

    /// A sign of life.
    fn alive(&self) -> Vec<u8> {
        let event = || StreamEvent { kind: None, details: EventDetails::default() };
        let notification = |id: &String| Notification {
            subscription: id.clone(),
            previous_watermark: None,
            more: None,
            events: vec![event()],
        };
        let notifications = self.ids.iter().map(notification).collect();
        one(ResponseMessage::success(Streamed { notifications, ..Streamed::default() }))
    }

    /// What happened since it was told last.
    async fn events(&self) -> sqlx::Result<Vec<Notification>> {
        let mut tx = self.tenant.begin().await?;
        let now = counter(&mut tx, "change").await?;
        let mut notifications = Vec::new();
        for id in &self.ids {
            let subscription = self.tenant.streams().subscriptions.get(id).cloned();
            let Some(subscription) = subscription else { continue };
            let events = if subscription.seen < now {
                happened(&mut tx, &self.tenant, &subscription).await?
            } else {
                Vec::new()
            };
            if let Some(one) = self.tenant.streams().subscriptions.get_mut(id) {
                one.seen = one.seen.max(now);
            }
            if !events.is_empty() {
                notifications.push(Notification {
                    subscription: id.clone(),
                    previous_watermark: None,
                    more: None,
                    events,
                });
            }
        }
        Ok(notifications)
    }
}

/// A message that left a folder.
struct Left {
    folder: String,
    change: i64,
    ordinary_id: String,
    immutable_id: String,
}

fn folder_id(id: &str) -> Option<FolderId> {
    Some(FolderId { id: id.to_owned(), change_key: Some("AQAAAA==".to_owned()) })
}

/// The events of one subscription, in the order of the changes.
async fn happened(
    db: &mut SqliteConnection,
    tenant: &Tenant,
    subscription: &Subscription,
) -> sqlx::Result<Vec<StreamEvent>> {
    let query = format!(
        "SELECT {COLUMNS}, NULL AS raw FROM message WHERE mailbox = ? AND change > ? ORDER BY change LIMIT ?"
    );
    let rows = sqlx::query(sqlx::AssertSqlSafe(query))
        .bind(&subscription.mailbox)
        .bind(subscription.seen)
        .bind(MOST_EVENTS)
        .fetch_all(&mut *db)
        .await?;
    let here: Vec<Stored> = rows.iter().map(Stored::read).collect();
    let rows = sqlx::query(
        "SELECT r.folder, r.change, r.ordinary_id, r.immutable_id FROM removal r JOIN folder f ON f.id = r.folder
         WHERE f.mailbox = ? AND r.change > ? ORDER BY r.change LIMIT ?",
    )
    .bind(&subscription.mailbox)
    .bind(subscription.seen)
    .bind(MOST_EVENTS)
    .fetch_all(&mut *db)
    .await?;
    let mut left: Vec<Left> = rows
        .iter()
        .map(|row| Left {
            folder: row.get("folder"),
            change: row.get("change"),
            ordinary_id: row.get("ordinary_id"),
            immutable_id: row.get("immutable_id"),
        })
        .collect();
    let inbox: Option<String> =
        sqlx::query_scalar("SELECT id FROM folder WHERE mailbox = ? AND well_known = 'inbox'")
            .bind(&subscription.mailbox)
            .fetch_optional(db)
            .await?;
    let is_in =
        |folder: &str| subscription.folders.as_ref().is_none_or(|all| all.iter().any(|one| one == folder));
    let mut events: Vec<(i64, StreamEvent)> = Vec::new();
    let mut tell = |change: i64, kind: EventType, details: EventDetails| {
        if subscription.events.contains(&kind) {
            let details = EventDetails { at: Some(tenant.env.now()), ..details };
            events.push((change, StreamEvent { kind: Some(kind), details }));
        }
    };
    for stored in &here {
        let details = EventDetails {
            item: Some(id_of(stored)),
            parent: folder_id(&stored.folder),
            ..EventDetails::default()
        };
        if stored.entered <= subscription.seen {
            if is_in(&stored.folder) {
                tell(stored.change, EventType::ModifiedEvent, details);
            }
            continue;
        }
        // It moved when it left another folder in the same step.
        let from = left.iter().rposition(|one| one.immutable_id == stored.immutable_id);
        if let Some(from) = from.map(|at| left.remove(at)) {
            if is_in(&stored.folder) || is_in(&from.folder) {
                let old_item = Some(ItemId { id: from.ordinary_id, change_key: None });
                let details = EventDetails { old_item, old_parent: folder_id(&from.folder), ..details };
                tell(stored.change, EventType::MovedEvent, details);
            }
        } else if is_in(&stored.folder) {
            if !stored.is_draft && inbox.as_deref() == Some(stored.folder.as_str()) {
                tell(stored.change, EventType::NewMailEvent, details.clone());
            }
            tell(stored.change, EventType::CreatedEvent, details);
        }
    }
    for gone in left.iter().filter(|gone| is_in(&gone.folder)) {
        let item = Some(ItemId { id: gone.ordinary_id.clone(), change_key: None });
        let details = EventDetails { item, parent: folder_id(&gone.folder), ..EventDetails::default() };
        tell(gone.change, EventType::DeletedEvent, details);
    }
    events.sort_by_key(|(change, _)| *change);
    Ok(events.into_iter().map(|(_, event)| event).collect())
}
