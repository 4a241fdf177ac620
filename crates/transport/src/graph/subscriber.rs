//! Change notifications for one mailbox's inbox.

use async_trait::async_trait;
use postroom_entra::http;
use postroom_graph::wire::Subscription;
use postroom_graph::{GraphClient, GraphError};
use postroom_model::failure::{Decision, Failure, Origin};
use postroom_model::{EmailAddress, ExposeSecret, SecretString, Timestamp};
use url::Url;

use crate::{Subscribed, Subscriber};

/// Subscribes through Microsoft Graph.
#[derive(Debug)]
pub struct GraphSubscriber {
    client: GraphClient,
    mailbox: EmailAddress,
}

impl GraphSubscriber {
    /// A subscriber.
    pub fn new(client: GraphClient, mailbox: EmailAddress) -> Self {
        Self { client, mailbox }
    }

    fn failure(&self, error: &GraphError) -> Failure {
        error.failure(&format!("be told of new messages of {}", self.mailbox))
    }
}

fn subscribed(made: Subscription, until: Timestamp) -> Subscribed {
    Subscribed { id: made.id, until: made.expiration_date_time.unwrap_or(until) }
}

#[async_trait]
impl Subscriber for GraphSubscriber {
    async fn subscribe(
        &self,
        address: &str,
        state: &SecretString,
        until: Timestamp,
    ) -> Result<Subscribed, Failure> {
        let Some(address) = Url::parse(address).ok().filter(http::is_private) else {
            let words = format!("{address} is no https address");
            return Err(Failure::new("subscribe", Origin::Ourselves, words, Decision::Hold));
        };
        let user = self.mailbox.as_str();
        let made = self.client.subscribe(user, &address, state.expose_secret(), until).await;
        Ok(subscribed(made.map_err(|error| self.failure(&error))?, until))
    }

    async fn renew(&self, id: &str, until: Timestamp) -> Result<Option<Subscribed>, Failure> {
        match self.client.renew_subscription(self.mailbox.as_str(), id, until).await {
            Ok(renewed) => Ok(Some(Subscribed { id: id.to_owned(), ..subscribed(renewed, until) })),
            Err(error) if error.is_item_not_found() => Ok(None),
            Err(error) => Err(self.failure(&error)),
        }
    }

    async fn unsubscribe(&self, id: &str) -> Result<(), Failure> {
        match self.client.unsubscribe(self.mailbox.as_str(), id).await {
            Ok(()) => Ok(()),
            Err(error) if error.is_item_not_found() => Ok(()),
            Err(error) => Err(self.failure(&error)),
        }
    }

    async fn subscribed(&self, address: &str) -> Result<Vec<String>, Failure> {
        let found = self.client.subscriptions(self.mailbox.as_str()).await;
        let found = found.map_err(|error| self.failure(&error))?;
        let ours = found.into_iter().filter(|one| one.notification_url.as_deref() == Some(address));
        Ok(ours.map(|one| one.id).collect())
    }
}
