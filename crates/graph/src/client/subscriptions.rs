//! Change notifications: Graph calls us when a message arrives
//! (<https://learn.microsoft.com/graph/change-notifications-delivery-webhooks>). They are hints: what is new is found by
//! a delta query, and polling goes on beside them.

use bytes::Bytes;
use jiff::{SignedDuration, Timestamp};
use postroom_entra::http;
use reqwest::Method;
use serde_json::{Value, json};
use url::Url;

use super::GraphClient;
use super::call::{Body, Call};
use crate::error::GraphError;
use crate::wire::{Collection, Subscription};

/// Longest life of a subscription on messages: 10,080 minutes.
pub const LONGEST_SUBSCRIPTION: SignedDuration = SignedDuration::from_mins(10_080);

/// Longest `clientState`, in characters.
pub const MAX_CLIENT_STATE: usize = 128;

/// Most pages of subscriptions that are read.
const MAX_PAGES: usize = 20;

impl GraphClient {
    /// Asks to be told of every message that comes into the inbox of `user`, until `until`. Graph calls `address` twice
    /// before it answers. `client_state` comes back in every notification: whoever knows it may wake the mailbox.
    ///
    /// # Errors
    /// [`GraphError`]; 400 `ValidationError` when the address does not answer, 409 when there is such a subscription.
    pub async fn subscribe(
        &self,
        user: &str,
        address: &Url,
        client_state: &str,
        until: Timestamp,
    ) -> Result<Subscription, GraphError> {
        let operation = format!("subscribe to the inbox of {user}");
        let body = json!({
            "changeType": "created",
            "notificationUrl": address,
            "lifecycleNotificationUrl": address,
            "resource": inbox_of(user),
            "expirationDateTime": until,
            "clientState": client_state,
        });
        let made: Subscription =
            self.json(&self.about(operation, user, Method::POST, &[], Some(&body))?).await?;
        if made.id.is_empty() {
            let (operation, what) =
                (format!("subscribe to the inbox of {user}"), "a subscription without an id");
            return Err(GraphError::Garbage { operation, status: 201, what });
        }
        Ok(made)
    }

    /// Lets a subscription live until `until`.
    ///
    /// # Errors
    /// [`GraphError`]; see [`GraphError::is_item_not_found`].
    pub async fn renew_subscription(
        &self,
        user: &str,
        id: &str,
        until: Timestamp,
    ) -> Result<Subscription, GraphError> {
        let operation = format!("renew the subscription to the inbox of {user}");
        let body = json!({ "expirationDateTime": until });
        self.json(&self.about(operation, user, Method::PATCH, &[id], Some(&body))?).await
    }

    /// Ends a subscription.
    ///
    /// # Errors
    /// [`GraphError`]; see [`GraphError::is_item_not_found`].
    pub async fn unsubscribe(&self, user: &str, id: &str) -> Result<(), GraphError> {
        let operation = format!("end the subscription to the inbox of {user}");
        self.send(&self.about(operation, user, Method::DELETE, &[id], None)?).await.map(drop)
    }

    /// The application's subscriptions to the inbox of `user`.
    ///
    /// # Errors
    /// [`GraphError`].
    pub async fn subscriptions(&self, user: &str) -> Result<Vec<Subscription>, GraphError> {
        let operation = format!("list the subscriptions to the inbox of {user}");
        let mut call = self.about(operation, user, Method::GET, &[], None)?;
        let mut found = Vec::new();
        for _ in 0..MAX_PAGES {
            let page: Collection<Subscription> = self.json(&call).await?;
            let wanted = inbox_of(user);
            let same = |one: &Subscription| {
                one.resource.trim_start_matches('/').eq_ignore_ascii_case(wanted.trim_start_matches('/'))
            };
            found.extend(page.value.into_iter().filter(same));
            let Some(link) = page.next_link else { return Ok(found) };
            call.address = self.pinned(&call.operation, &link)?;
        }
        Err(GraphError::Garbage {
            operation: call.operation,
            status: 200,
            what: "a list of subscriptions without end",
        })
    }

    fn about<'a>(
        &self,
        operation: String,
        user: &'a str,
        method: Method,
        rest: &[&str],
        body: Option<&Value>,
    ) -> Result<Call<'a>, GraphError> {
        let segments = [&["v1.0", "subscriptions"], rest].concat();
        let address = http::join(&self.graph, &segments)
            .filter(|_| rest.iter().all(|id| !["", ".", ".."].contains(id)));
        let address = address.ok_or_else(|| GraphError::Address { operation: operation.clone() })?;
        let body = body.map(|body| Body { kind: "application/json", bytes: Bytes::from(body.to_string()) });
        Ok(Call { method, body, ..Self::get(operation, user, address) })
    }
}

/// What is subscribed to.
fn inbox_of(user: &str) -> String {
    format!("/users/{user}/mailFolders('inbox')/messages")
}
