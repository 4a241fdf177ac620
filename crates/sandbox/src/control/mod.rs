//! The sandbox's own dials, below `/_sandbox/`. Served on loopback listeners only: they need no token.
//!
//! | call | what it does |
//! |---|---|
//! | `GET` | the tenant on one page |
//! | `POST deliver?to=ADDRESS` | drops the body, a raw message, into that mailbox's inbox |
//! | `GET outside` | the newest mails that left the tenant, with envelope; with `?after=ID` the next ones after that one |
//! | `GET counts` | how often each status was answered since the start, and how many lines a fault cut |
//! | `GET requests` | the last 500 requests: method, path, status, at EWS the operation; of the mail doors: door, command, reply |
//! | `POST faults` | a fault for the next requests to a path, or steps at a mail door: see [`Fault`] |
//! | `DELETE faults` | forgets all faults |
//! | `POST lifecycle {"event": E}` | tells every subscription `reauthorizationRequired`, `subscriptionRemoved` or `missed` |
//! | `POST expire-deltas` | every delta token given so far answers 410, every sync state of EWS is invalid |
//! | `POST uidvalidity {"mailbox", "folder"}` | numbers a folder anew for IMAP: answers the new UIDVALIDITY |
//! | `GET snapshot` | directory and Exchange as JSON, object by object, to compare before and after |
//! | `POST clock {"advance_seconds": N}` | moves the tenant's clock forward; answers the new time |
//! | `POST users {"user", "sign_in"}` | how a person's sign-in ends: `allowed`, `disabled` (50057), or `mfa` (50076 where no second factor can be asked for) |
//! | `POST mailboxes {"user", "kind"}` | what an address is: `user`, `shared`, `room`, `equipment`, `linked`, `others`, `group`, `unlicensed` or `inactive` |
//! | `GET policy`, `POST policy {…}` | what the tenant allows applications: see [`Policy`] |
//! | `POST exchange` | runs a script of Exchange Online PowerShell: see [`exchange::run`] |
//! | `POST approve {"user_code", "user", "password"}` | approves a device code; `"decline": true` refuses it |
//! | `GET device` | the same as a page |

mod policy;
mod portal;
mod snapshot;

use std::sync::Arc;

use axum::http::Method;
use axum::response::Response;
use serde_json::{Value, json};
use sqlx::Row;

use crate::answer::{Answer, Refusal, empty_answer, iso, json_answer};
use crate::call::Call;
use crate::directory::users;
use crate::entra::{SignInState, device};
use crate::exchange;
use crate::faults::{Fault, MAX_FAULTS};
use crate::mail;
use crate::state::{Tenant, step};

pub(crate) use policy::Policy;

/// Most mails shown by `outside`.
const MOST_OUTSIDE: i64 = 1000;
/// Furthest step of the clock: ten years.
const MOST_SECONDS: i64 = 10 * 366 * 86_400;

/// Answers a control call.
pub(crate) async fn answer(tenant: &Arc<Tenant>, call: &Call, path: &[&str]) -> Response {
    if !tenant.control {
        return Refusal { status: 404, ..Refusal::no_route(call) }.into_response(tenant, call);
    }
    let result = match (&call.method, path) {
        (&Method::GET, []) => portal::page(tenant).await,
        (&Method::POST, ["deliver"]) => deliver(tenant, call).await,
        (&Method::GET, ["outside"]) => outside(tenant, call).await,
        (&Method::GET, ["counts"]) => Ok(json_answer(200, &json!(*tenant.counts()))),
        (&Method::GET, ["requests"]) => Ok(json_answer(200, &json!(*tenant.log()))),
        (&Method::POST, ["faults"]) => add_fault(tenant, call),
        (&Method::DELETE, ["faults"]) => {
            tenant.faults().clear();
            Ok(empty_answer(204))
        }
        (&Method::POST, ["lifecycle"]) => mail::lifecycle(tenant, call).await,
        (&Method::POST, ["expire-deltas"]) => expire(tenant).await,
        (&Method::POST, ["uidvalidity"]) => renumber(tenant, call).await,
        (&Method::POST, ["clock"]) => clock(tenant, call).await,
        (&Method::GET, ["snapshot"]) => snapshot::answer(tenant).await,
        (&Method::POST, ["exchange"]) => exchange::run(tenant, call).await,
        (&Method::POST, ["users"]) => sign_in(tenant, call).await,
        (&Method::POST, ["mailboxes"]) => mail::kind::change(tenant, call).await,
        (&Method::GET, ["policy"]) => Ok(json_answer(200, &json!(*tenant.policy()))),
        (&Method::POST, ["policy"]) => policy::change(tenant, call),
        (&Method::POST, ["approve"]) | (&Method::GET | &Method::POST, ["device"]) => {
            device::control(tenant, call).await
        }
        _ => Err(Refusal { status: 404, ..Refusal::no_route(call) }),
    };
    result.unwrap_or_else(|refusal| refusal.into_response(tenant, call))
}

async fn deliver(tenant: &Tenant, call: &Call) -> Answer {
    let to = call.param("to").unwrap_or_default();
    if call.body.is_empty() {
        return Err(Refusal::bad_request("The body must be a raw message."));
    }
    let mut tx = tenant.begin().await?;
    let mailbox = mail::mailbox(&mut tx, to).await?.ok_or_else(|| Refusal::resource_not_found(to))?;
    let ids = mail::drop_in(tenant, &mut tx, &mailbox, &call.body).await?;
    tx.commit().await?;
    Ok(json_answer(201, &ids))
}

async fn outside(tenant: &Tenant, call: &Call) -> Answer {
    let after: Option<i64> = call.param("after").and_then(|after| after.parse().ok());
    let query = match after {
        None => "SELECT * FROM (SELECT * FROM outside ORDER BY id DESC LIMIT ?1) ORDER BY id",
        Some(_) => "SELECT * FROM outside WHERE id > ?2 ORDER BY id LIMIT ?1",
    };
    let mut tx = tenant.begin().await?;
    let query = sqlx::query(query).bind(MOST_OUTSIDE);
    let query = if let Some(after) = after { query.bind(after) } else { query };
    let rows = query.fetch_all(&mut *tx).await?;
    let mails: Vec<Value> = rows
        .iter()
        .map(|row| {
            json!({
                "id": row.get::<i64, _>("id"),
                "from": row.get::<String, _>("envelope_from"),
                "to": serde_json::from_str::<Value>(row.get("envelope_to")).unwrap_or_default(),
                "file": row.get::<Option<String>, _>("file"),
                "createdDateTime": iso(row.get("created_at")),
                "raw": String::from_utf8_lossy(row.get("raw")),
            })
        })
        .collect();
    Ok(json_answer(200, &json!(mails)))
}

fn add_fault(tenant: &Tenant, call: &Call) -> Answer {
    let fault: Fault = serde_json::from_slice(&call.body)
        .map_err(|error| Refusal::bad_request(format!("The fault cannot be read: {error}.")))?;
    if fault.count == 0 || fault.status.is_some_and(|status| !(200..=599).contains(&status)) {
        return Err(Refusal::bad_request(
            "A fault needs a count of at least 1 and a status from 200 to 599.",
        ));
    }
    if fault.names_nothing() {
        return Err(Refusal::bad_request(
            "A fault's code is one of Graph's or EWS's, or AADSTS with a number.",
        ));
    }
    if !fault.speaks() {
        return Err(Refusal::bad_request(
            "A reply is one line at the door smtp or imap; at smtp it begins with three digits.",
        ));
    }
    let mut faults = tenant.faults();
    if faults.len() >= MAX_FAULTS {
        return Err(Refusal::bad_request("Too many faults are waiting; DELETE faults forgets them."));
    }
    faults.push(fault);
    Ok(empty_answer(204))
}

async fn renumber(tenant: &Tenant, call: &Call) -> Answer {
    let json = call.json()?;
    let text = |name: &str| json.get(name).and_then(Value::as_str).unwrap_or_default();
    let mut tx = tenant.begin().await?;
    let address = text("mailbox");
    let mailbox =
        mail::mailbox(&mut tx, address).await?.ok_or_else(|| Refusal::resource_not_found(address))?;
    let validity = mail::numbered::renumber(&mut tx, &mailbox, text("folder")).await?;
    tx.commit().await?;
    Ok(json_answer(200, &json!({"uidValidity": validity})))
}

async fn clock(tenant: &Tenant, call: &Call) -> Answer {
    let seconds = call.json()?.get("advance_seconds").and_then(Value::as_i64);
    let Some(seconds) = seconds.filter(|seconds| (0..=MOST_SECONDS).contains(seconds)) else {
        return Err(Refusal::bad_request("advance_seconds must be a whole number from 0 to ten years."));
    };
    tenant.advance(seconds).await?;
    Ok(json_answer(200, &json!({"now": iso(tenant.now())})))
}

/// Changes how a person's sign-in ends.
async fn sign_in(tenant: &Tenant, call: &Call) -> Answer {
    let body = call.json()?;
    let text = |name: &str| body.get(name).and_then(Value::as_str).unwrap_or_default();
    let kind = SignInState::named(text("sign_in"))
        .ok_or_else(|| Refusal::bad_request("sign_in is allowed, disabled or mfa."))?;
    let mut tx = tenant.begin().await?;
    let user = users::find(&mut tx, text("user")).await?;
    let user = user.ok_or_else(|| Refusal::resource_not_found(text("user")))?;
    kind.keep(&mut tx, user.get("id")).await?;
    tx.commit().await?;
    Ok(empty_answer(204))
}

async fn expire(tenant: &Tenant) -> Answer {
    let mut tx = tenant.begin().await?;
    step(&mut tx, "delta_epoch").await?;
    tx.commit().await?;
    Ok(empty_answer(204))
}
