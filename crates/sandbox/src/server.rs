//! From a connection to an answer: reads the request within bounds, applies faults, hands it to its area, logs it.

use std::borrow::Cow;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::{Body, Bytes, to_bytes};
use axum::extract::{ConnectInfo, Request, State};
use axum::http::{HeaderName, HeaderValue, Method, header, request::Parts};
use axum::response::Response;
use futures_util::future::BoxFuture;
use futures_util::{StreamExt, stream};
use serde_json::json;
use tokio_util::sync::CancellationToken;

use crate::answer::{Answer, Refusal, bytes_answer, client_request_id, empty_answer};
use crate::call::{Call, split_form, split_path};
use crate::faults::{self, Fault};
use crate::limits::Slot;
use crate::line::{Lines, Switch};
use crate::state::{Tenant, random_guid};
use crate::{batch, control, directory, entra, ews, mail};

/// Largest body read at all; the areas have lower bounds of their own.
const MAX_BODY: usize = 64 * 1024 * 1024;
/// Largest Graph request (<https://learn.microsoft.com/graph/outlook-large-attachments>: about 4 MB in total).
const MAX_GRAPH_BODY: usize = 4 * 1024 * 1024;
/// Longest wait a fault can ask for.
const MAX_DELAY: Duration = Duration::from_secs(60);

/// Serves until `stop` is cancelled.
pub(crate) async fn serve(lines: Lines, tenant: Arc<Tenant>, stop: CancellationToken) {
    let service = Router::new().fallback(answer).with_state(tenant);
    let service = service.into_make_service_with_connect_info::<Switch>();
    let served = axum::serve(lines, service).with_graceful_shutdown(stop.cancelled_owned()).await;
    if let Err(error) = served {
        tracing::error!(%error, "the sandbox stopped serving");
    }
}

/// A client that goes away in the middle ends nothing: what was begun is finished, as a real service does, and no
/// transaction is torn off.
async fn answer(
    State(tenant): State<Arc<Tenant>>,
    ConnectInfo(switch): ConnectInfo<Switch>,
    request: Request,
) -> Response {
    let work = tokio::spawn(work(tenant, switch, request));
    work.await.unwrap_or_else(|error| {
        tracing::error!(%error, "a request ended by itself");
        empty_answer(500)
    })
}

async fn work(tenant: Arc<Tenant>, switch: Switch, request: Request) -> Response {
    let (head, body) = request.into_parts();
    let body = to_bytes(body, MAX_BODY).await;
    let too_large = body.is_err();
    let mut call = read(&tenant, head, body.unwrap_or_default(), switch.scheme());
    let path = format!("/{}", call.path.join("/"));
    let inner = call.path.first().is_some_and(|first| first == "_sandbox");
    let operation = if ews::is_here(&call) { ews::operation(&call) } else { None };
    let operation = operation.as_deref();
    let fault = if inner { None } else { faults::take(&tenant, call.method.as_str(), &path, operation) };
    call.delay =
        fault.as_ref().map_or(Duration::ZERO, |fault| Duration::from_millis(fault.delay_ms)).min(MAX_DELAY);
    let cut = fault.as_ref().is_some_and(|fault| fault.cut);
    let mut response = match fault {
        _ if too_large => too_large_refusal().into_response(&tenant, &call),
        Some(fault) => faulty(&tenant, &call, &fault, &switch).await,
        None => Box::pin(dispatch(&tenant, &call)).await,
    };
    mark(&tenant, &call, &mut response);
    if call.method != Method::GET {
        tenant.nudge();
    }
    if !inner {
        let ended = if cut { "cut".to_owned() } else { response.status().as_u16().to_string() };
        *tenant.counts().entry(ended).or_default() += 1;
        remember(&tenant, &call, &path, operation, response.status().as_u16());
    }
    response
}

fn read(tenant: &Tenant, head: Parts, body: Bytes, scheme: &str) -> Call {
    let host = head.headers.get(header::HOST).and_then(|value| value.to_str().ok());
    let host = host.filter(|host| host.len() <= 255).or(head.uri.authority().map(|a| a.as_str()));
    let host = host.unwrap_or("localhost").to_owned();
    // TLS may also end in something that stands in front.
    let secure = head.headers.get("x-forwarded-proto").is_some_and(|value| value == "https");
    let scheme = if secure { "https" } else { scheme };
    Call {
        method: head.method,
        path: split_path(head.uri.path()),
        query: split_form(head.uri.query().unwrap_or_default().as_bytes()),
        headers: head.headers,
        body,
        base: format!("{scheme}://{host}"),
        host,
        request_id: random_guid(&tenant.env),
        delay: Duration::ZERO,
    }
}

/// Which area a path belongs to.
async fn dispatch(tenant: &Arc<Tenant>, call: &Call) -> Response {
    match call.segments().as_slice() {
        ["_sandbox", rest @ ..] => control::answer(tenant, call, rest).await,
        ["v1.0" | "beta", rest @ ..] => match graph(tenant, call, rest).await {
            Ok(response) => response,
            Err(refusal) => refusal.into_response(tenant, call),
        },
        ["_upload", session] => {
            let response = uploaded(tenant, call, session).await;
            response.unwrap_or_else(|refusal| refusal.into_response(tenant, call))
        }
        _ if ews::is_here(call) => ews::answer(tenant, call).await,
        [first, second, rest @ ..]
            if first.eq_ignore_ascii_case("autodiscover")
                && second.eq_ignore_ascii_case("autodiscover.json") =>
        {
            let response = ews::autodiscover(call, rest);
            response.unwrap_or_else(|refusal| refusal.into_response(tenant, call))
        }
        [first, rest @ ..] => {
            let response = entra::answer(tenant, call, first, rest).await;
            call.wait().await;
            response
        }
        [] => Refusal::no_route(call).into_response(tenant, call),
    }
}

/// One piece of an upload session.
async fn uploaded(tenant: &Tenant, call: &Call, session: &str) -> Answer {
    if call.body.len() > MAX_GRAPH_BODY {
        return Err(too_large_refusal());
    }
    let mut tx = tenant.begin().await?;
    let response = Box::pin(mail::upload(tenant, &mut tx, call, session)).await?;
    tx.commit().await?;
    call.wait().await;
    Ok(response)
}

/// One Graph request in one transaction: committed with an answer, rolled back with a refusal.
async fn graph(tenant: &Arc<Tenant>, call: &Call, rest: &[&str]) -> Answer {
    let caller = entra::bearer::check(tenant, call)?;
    if call.body.len() > MAX_GRAPH_BODY {
        return Err(too_large_refusal());
    }
    match rest {
        ["$batch"] if call.method == Method::POST => {
            return batch::answer(tenant, call).await;
        }
        // It calls the subscriber, which must not happen within a transaction.
        ["subscriptions", path @ ..] => {
            let response = Box::pin(mail::subscriptions(tenant, call, &caller, path)).await?;
            call.wait().await;
            return Ok(response);
        }
        _ => {}
    }
    let mailbox = match rest {
        ["users", user, _, ..] => Some((*user).to_owned()),
        ["me", _, ..] => caller.user.clone(),
        _ => None,
    };
    let _slot = mailbox.map(|mailbox| Slot::take(tenant, &caller.app_id, &mailbox)).transpose()?;
    let mut tx = tenant.begin().await?;
    let response = match rest {
        ["users", _, "revokeSignInSessions"] => {
            Box::pin(directory::answer(tenant, &mut tx, call, &caller, rest)).await?
        }
        ["users", user, area @ ..] if !area.is_empty() => {
            Box::pin(mail::answer(tenant, &mut tx, call, &caller, user, area)).await?
        }
        ["me", area @ ..] if !area.is_empty() => {
            let user = caller.user.clone().ok_or_else(|| {
                Refusal::bad_request("/me request is only valid with delegated authentication flow.")
            })?;
            Box::pin(mail::answer(tenant, &mut tx, call, &caller, &user, area)).await?
        }
        _ => Box::pin(directory::answer(tenant, &mut tx, call, &caller, rest)).await?,
    };
    tx.commit().await?;
    call.wait().await;
    Ok(response)
}

/// One request of a batch, with the faults that meet it.
pub(crate) fn one_of_batch<'a>(tenant: &'a Arc<Tenant>, call: &'a Call) -> BoxFuture<'a, Response> {
    Box::pin(answer_in_batch(tenant, call))
}

async fn answer_in_batch(tenant: &Arc<Tenant>, call: &Call) -> Response {
    let path = format!("/{}", call.path.join("/"));
    let mut response = match faults::take(tenant, call.method.as_str(), &path, None) {
        Some(fault) => in_place(tenant, call, &fault, fault.status.unwrap_or(500)),
        None => match call.segments().as_slice() {
            [_, "$batch", ..] => Refusal::no_route(call).into_response(tenant, call),
            [_, rest @ ..] => {
                let answer = Box::pin(graph(tenant, call, rest)).await;
                answer.unwrap_or_else(|refusal| refusal.into_response(tenant, call))
            }
            [] => Refusal::no_route(call).into_response(tenant, call),
        },
    };
    mark(tenant, call, &mut response);
    response
}

fn too_large_refusal() -> Refusal {
    Refusal::new(413, "RequestEntityTooLarge", "The request is larger than 4 MB; use an upload session.")
}

/// The answer of a request that meets a fault.
async fn faulty(tenant: &Arc<Tenant>, call: &Call, fault: &Fault, switch: &Switch) -> Response {
    let work_first = fault.after || (fault.status.is_none() && !fault.cut);
    let worked = if work_first { Some(Box::pin(dispatch(tenant, call)).await) } else { None };
    if worked.is_none() {
        call.wait().await;
    }
    if fault.cut {
        switch.cut();
        return empty_answer(503);
    }
    let response = match (fault.status, worked) {
        (None, Some(response)) => response,
        (status, _) => in_place(tenant, call, fault, status.unwrap_or(500)),
    };
    if fault.half { halved(response).await } else { response }
}

/// What a fault says instead of the answer.
fn in_place(tenant: &Tenant, call: &Call, fault: &Fault, status: u16) -> Response {
    if let Some(body) = &fault.body {
        return bytes_answer(status, "text/html; charset=utf-8", body.clone().into_bytes());
    }
    if ews::is_here(call) {
        return ews::fault(call, status, fault);
    }
    if !call.path.first().is_some_and(|first| first == "v1.0" || first == "beta") {
        return entra::fault(tenant, call, status, fault);
    }
    let (code, message) = faults::words(status);
    let code = fault.code.clone().map_or(Cow::Borrowed(code), Cow::Owned);
    let mut refusal = Refusal::new(status, code, fault.message.as_deref().unwrap_or(message));
    if let Some(seconds) = fault.retry_after {
        refusal = refusal.header(header::RETRY_AFTER, seconds.to_string());
    }
    refusal.into_response(tenant, call)
}

/// The head of an answer with its full length, half of its body, and then a broken line.
async fn halved(response: Response) -> Response {
    let (mut head, body) = response.into_parts();
    let bytes = to_bytes(body, MAX_BODY).await.unwrap_or_default();
    head.headers.insert(header::CONTENT_LENGTH, bytes.len().into());
    let half = bytes.slice(..bytes.len() / 2);
    let breaks = async {
        // The half must be on its way before the line breaks.
        tokio::task::yield_now().await;
        Err(std::io::Error::from(std::io::ErrorKind::ConnectionReset))
    };
    let pieces = stream::once(std::future::ready(Ok(half))).chain(stream::once(breaks));
    Response::from_parts(head, Body::from_stream(pieces))
}

/// Headers every answer carries.
/// Ids, and the date by the tenant's own clock (RFC 9110, section 5.6.7): clients measure theirs by it.
fn mark(tenant: &Tenant, call: &Call, response: &mut Response) {
    let pairs = [
        ("date", tenant.env.now().strftime("%a, %d %b %Y %H:%M:%S GMT").to_string()),
        ("request-id", call.request_id.clone()),
        ("x-ms-request-id", call.request_id.clone()),
        ("client-request-id", client_request_id(call)),
    ];
    for (name, value) in pairs {
        if let Ok(value) = HeaderValue::from_str(&value) {
            response.headers_mut().insert(HeaderName::from_static(name), value);
        }
    }
}

fn remember(tenant: &Tenant, call: &Call, path: &str, operation: Option<&str>, status: u16) {
    let path: String = path.chars().take(1000).collect();
    let mut entry = json!({"method": call.method.as_str(), "path": path, "status": status});
    if let Some(operation) = operation {
        entry["operation"] = json!(operation);
    }
    tenant.remember(entry);
}
