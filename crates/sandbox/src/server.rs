//! From a connection to an answer: reads the request within bounds, applies faults, hands it to its area, logs it.

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::{Bytes, to_bytes};
use axum::extract::{ConnectInfo, Request, State};
use axum::http::{HeaderName, HeaderValue, header, request::Parts};
use axum::response::Response;
use serde_json::json;
use tokio_util::sync::CancellationToken;

use crate::answer::{Answer, Refusal, client_request_id, empty_answer};
use crate::call::{Call, split_form, split_path};
use crate::faults::{self, Fault};
use crate::limits::Slot;
use crate::line::{Lines, Switch};
use crate::state::{Tenant, random_guid};
use crate::{control, directory, entra, mail};

/// Largest body read at all; the areas have lower bounds of their own.
const MAX_BODY: usize = 64 * 1024 * 1024;
/// Largest Graph request (<https://learn.microsoft.com/graph/outlook-large-attachments>: about 4 MB in total).
const MAX_GRAPH_BODY: usize = 4 * 1024 * 1024;
/// Longest wait a fault can ask for.
const MAX_DELAY: Duration = Duration::from_secs(60);
/// Requests remembered for `/_sandbox/requests`.
const LOG_LENGTH: usize = 500;

/// Serves until `stop` is cancelled.
pub(crate) async fn serve(listener: tokio::net::TcpListener, tenant: Arc<Tenant>, stop: CancellationToken) {
    let service = Router::new().fallback(answer).with_state(tenant);
    let service = service.into_make_service_with_connect_info::<Switch>();
    let served = axum::serve(Lines(listener), service).with_graceful_shutdown(stop.cancelled_owned()).await;
    if let Err(error) = served {
        tracing::error!(%error, "the sandbox stopped serving");
    }
}

async fn answer(
    State(tenant): State<Arc<Tenant>>,
    ConnectInfo(switch): ConnectInfo<Switch>,
    request: Request,
) -> Response {
    let (head, body) = request.into_parts();
    let body = to_bytes(body, MAX_BODY).await;
    let too_large = body.is_err();
    let mut call = read(&tenant, head, body.unwrap_or_default());
    let path = format!("/{}", call.path.join("/"));
    let inner = call.path.first().is_some_and(|first| first == "_sandbox");
    let fault = if inner { None } else { faults::take(&tenant, call.method.as_str(), &path) };
    call.delay =
        fault.as_ref().map_or(Duration::ZERO, |fault| Duration::from_millis(fault.delay_ms)).min(MAX_DELAY);
    let mut response = match fault {
        _ if too_large => too_large_refusal().into_response(&tenant, &call),
        Some(fault) => faulty(&tenant, &call, &fault, &switch).await,
        None => Box::pin(dispatch(&tenant, &call)).await,
    };
    mark(&call, &mut response);
    if !inner {
        remember(&tenant, &call, &path, response.status().as_u16());
    }
    response
}

fn read(tenant: &Tenant, head: Parts, body: Bytes) -> Call {
    let host = head.headers.get(header::HOST).and_then(|value| value.to_str().ok());
    let host = host.filter(|host| host.len() <= 255).or(head.uri.authority().map(|a| a.as_str()));
    let host = host.unwrap_or("localhost").to_owned();
    Call {
        method: head.method,
        path: split_path(head.uri.path()),
        query: split_form(head.uri.query().unwrap_or_default().as_bytes()),
        headers: head.headers,
        body,
        base: format!("http://{host}"),
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
    match (fault.status, worked) {
        (None, Some(response)) => response,
        (status, _) => {
            let status = status.unwrap_or(500);
            if !call.path.first().is_some_and(|first| first == "v1.0" || first == "beta") {
                return entra::fault(tenant, call, status, fault.retry_after);
            }
            let (code, message) = faults::words(status);
            let mut refusal = Refusal::new(status, code, message);
            if let Some(seconds) = fault.retry_after {
                refusal = refusal.header(header::RETRY_AFTER, seconds.to_string());
            }
            refusal.into_response(tenant, call)
        }
    }
}

/// Headers every answer carries.
fn mark(call: &Call, response: &mut Response) {
    let pairs = [
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

fn remember(tenant: &Tenant, call: &Call, path: &str, status: u16) {
    let path: String = path.chars().take(1000).collect();
    let mut log = tenant.log();
    if log.len() >= LOG_LENGTH {
        log.pop_front();
    }
    log.push_back(json!({"method": call.method.as_str(), "path": path, "status": status}));
}
