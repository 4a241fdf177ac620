//! `POST /v1.0/$batch`: up to 20 requests in one (<https://learn.microsoft.com/graph/json-batching>). They are carried
//! out one after the other, each counted against the limits and each with an answer of its own.

use std::sync::Arc;

use axum::body::{Bytes, to_bytes};
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, header};
use axum::response::Response;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Map, Value, json};

use crate::answer::{Answer, Refusal, json_answer};
use crate::call::{Call, split_form, split_path};
use crate::state::{Tenant, random_guid};

/// Most requests of one batch.
const MOST: usize = 20;
/// Largest answer that is put into a batch's.
const MAX_ANSWER: usize = 16 * 1024 * 1024;

fn malformed(what: &str) -> Refusal {
    Refusal::new(400, "BadRequest", format!("Invalid batch payload format: {what}."))
}

/// Answers a batch.
pub(crate) async fn answer(tenant: &Arc<Tenant>, call: &Call) -> Answer {
    let json = call.json()?;
    let requests = json.get("requests").and_then(Value::as_array).ok_or_else(|| malformed("no requests"))?;
    if requests.is_empty() || requests.len() > MOST {
        return Err(malformed("a batch has 1 to 20 requests"));
    }
    let mut calls: Vec<(String, Vec<String>, Call)> = Vec::new();
    for request in requests {
        let id = request["id"]
            .as_str()
            .filter(|id| !id.is_empty())
            .ok_or_else(|| malformed("a request without id"))?;
        if calls.iter().any(|(known, ..)| known == id) {
            return Err(malformed("an id occurs twice"));
        }
        let after = request["dependsOn"].as_array().map(Vec::as_slice).unwrap_or_default();
        let after = after.iter().filter_map(Value::as_str).map(str::to_owned).collect();
        calls.push((id.to_owned(), after, inner(tenant, call, request)?));
    }
    let mut done: Map<String, Value> = Map::new();
    for (id, after, inner) in &calls {
        let well = |id: &String| {
            done.get(id).is_some_and(|answer| answer["status"].as_u64().is_some_and(|s| s < 400))
        };
        let answer = if after.iter().all(well) {
            in_batch(crate::server::one_of_batch(tenant, inner).await).await
        } else {
            json!({"status": 424, "headers": {}, "body": {"error": {"code": "FailedDependency",
                "message": "The request depends on one that failed."}}})
        };
        done.insert(id.clone(), answer);
    }
    // Answers come in any order.
    let responses: Vec<Value> = calls
        .iter()
        .rev()
        .filter_map(|(id, ..)| {
            let mut answer = done.remove(id)?;
            answer["id"] = json!(id);
            Some(answer)
        })
        .collect();
    Ok(json_answer(200, &json!({ "responses": responses })))
}

/// One request of a batch as a call of its own.
fn inner(tenant: &Tenant, call: &Call, request: &Value) -> Result<Call, Refusal> {
    let method =
        request["method"].as_str().and_then(|name| Method::from_bytes(name.to_uppercase().as_bytes()).ok());
    let method = method.ok_or_else(|| malformed("a request without method"))?;
    let url = request["url"]
        .as_str()
        .filter(|url| !url.contains("://"))
        .ok_or_else(|| malformed("a url is relative"))?;
    let (path, query) = url.split_once('?').unwrap_or((url, ""));
    let version = call.path.first().map_or("v1.0", String::as_str);
    let mut headers = HeaderMap::new();
    for (name, value) in request["headers"].as_object().into_iter().flatten() {
        let pair =
            (HeaderName::try_from(name.as_str()), HeaderValue::from_str(value.as_str().unwrap_or_default()));
        let (Ok(name), Ok(value)) = pair else { return Err(malformed("a header is none")) };
        headers.insert(name, value);
    }
    if let Some(token) = call.headers.get(header::AUTHORIZATION) {
        headers.insert(header::AUTHORIZATION, token.clone());
    }
    let body = match &request["body"] {
        Value::Null => Bytes::new(),
        Value::String(text) => STANDARD.decode(text).map_err(|_| malformed("a body is no base64"))?.into(),
        json => {
            if !headers.contains_key(header::CONTENT_TYPE) {
                return Err(malformed("a body without Content-Type"));
            }
            json.to_string().into()
        }
    };
    Ok(Call {
        method,
        path: split_path(&format!("/{version}/{}", path.trim_start_matches('/'))),
        query: split_form(query.as_bytes()),
        headers,
        body,
        base: call.base.clone(),
        host: call.host.clone(),
        request_id: random_guid(&tenant.env),
        delay: std::time::Duration::ZERO,
    })
}

/// An answer as it stands in the answer of a batch: JSON as it is, anything else as base64.
async fn in_batch(response: Response) -> Value {
    let (head, body) = response.into_parts();
    let bytes = to_bytes(body, MAX_ANSWER).await.unwrap_or_default();
    let headers: Map<String, Value> = head
        .headers
        .iter()
        .filter_map(|(name, value)| Some((titled(name.as_str()), json!(value.to_str().ok()?))))
        .collect();
    let body = match serde_json::from_slice(&bytes) {
        Ok(json) => json,
        Err(_) if bytes.is_empty() => Value::Null,
        Err(_) => json!(STANDARD.encode(&bytes)),
    };
    json!({"status": head.status.as_u16(), "headers": headers, "body": body})
}

/// `retry-after` as `Retry-After`.
fn titled(name: &str) -> String {
    let words = name.split('-').map(|word| {
        let mut letters = word.chars();
        letters.next().map_or_else(String::new, |first| first.to_uppercase().chain(letters).collect())
    });
    words.collect::<Vec<_>>().join("-")
}
