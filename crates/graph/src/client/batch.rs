//! Several look-ups in one request (<https://learn.microsoft.com/graph/json-batching>).

use bytes::Bytes;
use postroom_entra::http;
use reqwest::Method;
use reqwest::header::HeaderMap;
use serde_json::{Value, json};

use super::call::{Body, Call};
use super::{GraphClient, MESSAGE_TIMEOUT};
use crate::error::GraphError;
use crate::wire::{BatchAnswer, Batched, Message};

/// Most requests of one batch.
pub const MAX_BATCH: usize = 20;

impl GraphClient {
    /// Messages by id, each with an outcome of its own, in the order of `ids`: at most [`MAX_BATCH`] in one request. The
    /// service counts each against its limits, so each can be refused for itself, with a `Retry-After` of its own.
    ///
    /// # Errors
    /// [`GraphError`] when the whole was refused.
    pub async fn get_messages(
        &self,
        user: &str,
        ids: &[String],
        select: &str,
    ) -> Result<Vec<Result<Message, GraphError>>, GraphError> {
        let mut found = Vec::with_capacity(ids.len());
        for group in ids.chunks(MAX_BATCH) {
            match group {
                [id] => found.push(self.get_message(user, id, select).await),
                group => found.extend(self.batch_of_messages(user, group, select).await?),
            }
        }
        Ok(found)
    }

    async fn batch_of_messages(
        &self,
        user: &str,
        ids: &[String],
        select: &str,
    ) -> Result<Vec<Result<Message, GraphError>>, GraphError> {
        let operation = format!("look up {} messages of {user}", ids.len());
        let mut requests = Vec::with_capacity(ids.len());
        for (number, id) in ids.iter().enumerate() {
            let address = self.address(&operation, user, &["messages", id])?;
            let address = http::with_query(address, &[("$select", select)]);
            let path = address.path().split_once("/v1.0").map_or(address.path(), |(_, path)| path);
            requests.push(json!({
                "id": number.to_string(),
                "method": "GET",
                "url": format!("{path}?{}", address.query().unwrap_or_default()),
                // The outer header does not count for what is inside.
                "headers": {"Prefer": super::call::IMMUTABLE},
            }));
        }
        let address = http::join(&self.graph, &["v1.0", "$batch"]);
        let address = address.ok_or_else(|| GraphError::Address { operation: operation.clone() })?;
        let bytes = Bytes::from(json!({ "requests": requests }).to_string());
        let body = Some(Body { kind: "application/json", bytes });
        let timeout = Some(MESSAGE_TIMEOUT);
        let call = Call { method: Method::POST, body, timeout, ..Self::get(operation, user, address) };
        let mut answer: BatchAnswer = self.json(&call).await?;
        let mut one = |number: usize| -> Result<Message, GraphError> {
            let id = number.to_string();
            let place = answer.responses.iter().position(|response| response.id == id);
            let garbage =
                |status, what| GraphError::Garbage { operation: call.operation.clone(), status, what };
            let Some(place) = place else { return Err(garbage(200, "a batch without one of its answers")) };
            let Batched { status, headers, body, .. } = answer.responses.swap_remove(place);
            if !(200..300).contains(&status) {
                let bytes = serde_json::to_vec(&body).unwrap_or_default();
                return Err(self.refused(&call, status, &header_map(&headers), &bytes));
            }
            serde_json::from_value(body).map_err(|_| garbage(status, "not the JSON that was expected"))
        };
        Ok((0..ids.len()).map(&mut one).collect())
    }
}

/// The headers of an answer within a batch; what is no header is left out.
fn header_map(headers: &serde_json::Map<String, Value>) -> HeaderMap {
    let pairs = headers.iter().filter_map(|(name, value)| {
        Some((name.parse::<reqwest::header::HeaderName>().ok()?, value.as_str()?.parse().ok()?))
    });
    pairs.collect()
}
