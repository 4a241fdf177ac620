//! Exchange Web Services at `POST /EWS/Exchange.asmx`, over the same mailboxes as Graph, IMAP and SMTP. Requests and
//! answers are those of [`postroom_ews::wire`].
//!
//! | module | what is inside |
//! |---|---|
//! | `gate` | token, the tenant's switches, whose mailbox it is |
//! | `refusal` | what is said instead of an answer: HTTP status, SOAP fault, error of one part |
//! | `desk` | what every operation works on: folders and items looked up |
//! | `folders` | GetFolder, FindFolder, CreateFolder |
//! | `shape` | an item with the properties that were asked for |
//! | `find`, `restrict` | FindItem, and what a restriction means |
//! | `items` | GetItem, UpdateItem, MoveItem, DeleteItem |
//! | `sync` | SyncFolderItems |
//! | `send`, `compose` | CreateItem, SendItem; messages made of properties |
//! | `attachments` | CreateAttachment, GetAttachment |
//! | `names` | ResolveNames, GetServerTimeZones, ConvertId |
//! | `stream` | Subscribe, GetStreamingEvents, Unsubscribe |
//! | `autodiscover` | Autodiscover version 2 |
//!
//! One more operation is one more arm in [`carry_out`] and a function that gives a message for each part of the request.
//! Each part has a transaction of its own: what one part did stays done when the next is refused.

mod attachments;
mod autodiscover;
mod compose;
mod desk;
mod find;
mod folders;
mod gate;
mod items;
mod names;
mod refusal;
mod restrict;
mod send;
mod shape;
mod stream;
mod sync;

use std::sync::Arc;

use axum::http::{HeaderMap, HeaderValue, Method, header};
use axum::response::Response as HttpResponse;
use postroom_ews::wire::{
    Answer, MessageXml, Request, RequestEnvelope, Response, ResponseEnvelope, ServerVersion, XmlValue,
    parse_request, write_response,
};

use crate::answer::{bytes_answer, empty_answer};
use crate::call::Call;
use crate::faults::Fault;
use crate::limits::{Full, Slot};
use crate::state::Tenant;

pub(crate) use autodiscover::answer as autodiscover;
use desk::Desk;
use refusal::Refused;
pub(crate) use stream::Streams;

/// The path, in lower case.
const PATH: [&str; 2] = ["ews", "exchange.asmx"];

/// Versions of the schema that are asked for by name; later ones are dates.
const VERSIONS: [&str; 11] = [
    "Exchange2007",
    "Exchange2007_SP1",
    "Exchange2009",
    "Exchange2010",
    "Exchange2010_SP1",
    "Exchange2010_SP2",
    "Exchange2012",
    "Exchange2013",
    "Exchange2013_SP1",
    "Exchange2015",
    "Exchange2016",
];

/// Whether a path is that of EWS; Exchange does not care for case.
pub(crate) fn is_here(call: &Call) -> bool {
    call.path.len() == PATH.len()
        && call.path.iter().zip(PATH).all(|(segment, own)| segment.eq_ignore_ascii_case(own))
}

/// The operation of a request, without reading it whole: the first element of the body.
pub(crate) fn operation(call: &Call) -> Option<String> {
    let is_body = |name: &str| name.rsplit(':').next() == Some("Body");
    let head = &call.body[..call.body.len().min(16 * 1024)];
    let text = String::from_utf8_lossy(head);
    let mut names = text.split('<').skip(1).filter(|tag| !tag.starts_with(['?', '!', '/']));
    let name = |tag: &str| tag.split([' ', '>', '/', '\t', '\r', '\n']).next().map(str::to_owned);
    names.find(|tag| name(tag).is_some_and(|name| is_body(&name)))?;
    let first = name(names.next()?)?;
    let local = first.rsplit(':').next().unwrap_or_default();
    (!local.is_empty() && local.len() <= 60 && local.bytes().all(|byte| byte.is_ascii_alphanumeric()))
        .then(|| local.to_owned())
}

/// Answers a call to the address of EWS.
pub(crate) async fn answer(tenant: &Arc<Tenant>, call: &Call) -> HttpResponse {
    let response = match call.method {
        Method::POST => Box::pin(post(tenant, call)).await,
        // Clients look with a GET whether it is the right address, and whether the token is taken.
        Method::GET | Method::HEAD => gate::caller(tenant, call).map(|_| page()),
        _ => Ok(empty_answer(405)),
    };
    response.unwrap_or_else(refusal_on_the_wire)
}

fn page() -> HttpResponse {
    let html = "<html><head><title>Service</title></head><body><p>Exchange Web Services.</p></body></html>";
    bytes_answer(200, "text/html; charset=utf-8", html.as_bytes().to_vec())
}

async fn post(tenant: &Arc<Tenant>, call: &Call) -> Result<HttpResponse, Refused> {
    let caller = gate::caller(tenant, call)?;
    gate::tenant_lets_in(tenant, call, &caller).await?;
    let RequestEnvelope { header, request } =
        parse_request(&call.body).map_err(|error| refusal::malformed(&error, &call.body))?;
    if let Some(version) = header.version
        && !known_version(&version.version)
    {
        return Err(Refused::fault("ErrorInvalidServerVersion", "The specified server version is invalid."));
    }
    let mailbox = gate::mailbox(tenant, &caller, header.impersonation.map(|one| one.who)).await?;
    let desk = Desk { tenant: Arc::clone(tenant), mailbox, caller };
    if let Request::GetStreamingEvents(request) = request {
        return stream::open(desk, request).await;
    }
    let _slot = Slot::take_ews(tenant, &desk.caller.app_id, &desk.mailbox.id).map_err(throttled)?;
    let response = Box::pin(carry_out(&desk, request)).await?;
    call.wait().await;
    Ok(said(200, Answer::Response(response)))
}

fn known_version(version: &str) -> bool {
    let dated = version.strip_prefix("V20").is_some_and(|rest| {
        let parts: Vec<&str> = rest.split('_').collect();
        parts.len() == 3 && parts.iter().all(|part| part.len() == 2 && part.parse::<u8>().is_ok())
    });
    dated || VERSIONS.contains(&version)
}

/// One operation.
async fn carry_out(desk: &Desk, request: Request) -> Result<Response, Refused> {
    Ok(match request {
        Request::GetFolder(request) => Response::GetFolder(folders::get(desk, &request).await?),
        Request::FindFolder(request) => Response::FindFolder(folders::find(desk, &request).await?),
        Request::CreateFolder(request) => Response::CreateFolder(folders::create(desk, &request).await?),
        Request::FindItem(request) => Response::FindItem(find::find(desk, &request).await?),
        Request::GetItem(request) => Response::GetItem(items::get(desk, &request).await?),
        Request::SyncFolderItems(request) => {
            Response::SyncFolderItems(vec![sync::sync(desk, &request).await?])
        }
        Request::CreateItem(request) => Response::CreateItem(send::create(desk, request).await?),
        Request::CreateAttachment(request) => {
            Response::CreateAttachment(attachments::create(desk, request).await?)
        }
        Request::GetAttachment(request) => Response::GetAttachment(attachments::get(desk, &request).await?),
        Request::SendItem(request) => Response::SendItem(send::send(desk, &request).await?),
        Request::UpdateItem(request) => Response::UpdateItem(items::update(desk, &request).await?),
        Request::MoveItem(request) => Response::MoveItem(items::relocate(desk, &request).await?),
        Request::DeleteItem(request) => Response::DeleteItem(items::delete(desk, &request).await?),
        Request::ResolveNames(request) => Response::ResolveNames(vec![names::resolve(desk, &request).await?]),
        Request::GetServerTimeZones(request) => {
            Response::GetServerTimeZones(vec![names::time_zones(&request)])
        }
        Request::ConvertId(request) => Response::ConvertId(names::convert(&request)),
        Request::Subscribe(request) => Response::Subscribe(vec![stream::subscribe(desk, &request).await?]),
        Request::Unsubscribe(request) => Response::Unsubscribe(vec![stream::unsubscribe(desk, &request)]),
        // Has an answer of several envelopes.
        Request::GetStreamingEvents(_) => return Err(Refused::internal()),
    })
}

/// Who asks too much: as a fault, with how long to wait.
fn throttled(full: Full) -> Refused {
    match full {
        Full::Parallel(limit) => {
            let text = "You have exceeded the available concurrent connections for your account. Try again once your \
                        other requests have completed.";
            let limit = limit.to_string();
            let values =
                [("Policy", "MaxConcurrency"), ("MaxConcurrencyLimit", &limit), ("ErrorMessage", text)];
            Refused::fault_with("ErrorExceededConnectionCount", text, &values)
        }
        Full::Requests(seconds) => refusal::busy(seconds.saturating_mul(1000)),
    }
}

/// What a fault under test says instead of the answer: a SOAP fault; with status 200 an error in the answer's one
/// message; without a code the bare status.
pub(crate) fn fault(call: &Call, status: u16, fault: &Fault) -> HttpResponse {
    let Some(code) = &fault.code else {
        let mut response = empty_answer(status);
        if let Some(seconds) = fault.retry_after {
            response.headers_mut().insert(header::RETRY_AFTER, seconds.into());
        }
        if let Some(reason) = fault.message.as_deref().and_then(|text| HeaderValue::from_str(text).ok()) {
            response.headers_mut().insert(gate::POLICY, reason);
        }
        return response;
    };
    let text = fault.message.as_deref().unwrap_or(match code.as_str() {
        "ErrorServerBusy" => refusal::BUSY,
        _ => "An internal server error occurred. The operation failed.",
    });
    let pause = fault.back_off_ms.map(|pause| pause.to_string());
    let mut values: Vec<(&str, &str)> = Vec::new();
    values.extend(pause.as_deref().map(|pause| ("BackOffMilliseconds", pause)));
    if let Some(inner) = &fault.inner {
        values.extend([
            ("InnerErrorMessageText", refusal::BUSY),
            ("InnerErrorResponseCode", inner.as_str()),
            ("InnerErrorDescriptiveLinkKey", "0"),
        ]);
    }
    if status == 200
        && let Ok(envelope) = parse_request(&call.body)
    {
        let values = (!values.is_empty()).then(|| refusal::values(&values));
        return said(200, Answer::Response(envelope.request.refused(code, text, values)));
    }
    let fault = refusal::soap_fault(code, text, &values);
    said(if status == 200 { 500 } else { status }, Answer::Fault(fault))
}

fn refusal_on_the_wire(refused: Refused) -> HttpResponse {
    match refused {
        Refused::Bare { status, headers } => {
            let mut response = empty_answer(status);
            let all: HeaderMap = headers
                .into_iter()
                .filter_map(|(name, value)| Some((name, HeaderValue::from_str(&value).ok()?)))
                .collect();
            response.headers_mut().extend(all);
            response
        }
        Refused::Fault(fault) => said(500, Answer::Fault(*fault)),
    }
}

/// An envelope as the answer.
fn said(status: u16, answer: Answer) -> HttpResponse {
    bytes_answer(status, "text/xml; charset=utf-8", envelope(answer))
}

fn envelope(answer: Answer) -> Vec<u8> {
    let server = ServerVersion {
        major: Some(15),
        minor: Some(20),
        major_build: Some(9343),
        minor_build: Some(11),
        version: Some("V2018_01_08".to_owned()),
    };
    write_response(&ResponseEnvelope { server: Some(server), answer })
}

/// Named values of an error.
fn named(pairs: &[(&str, &str)]) -> MessageXml {
    let value =
        |(name, value): &(&str, &str)| XmlValue { name: (*name).to_owned(), value: (*value).to_owned() };
    MessageXml { values: pairs.iter().map(value).collect(), ..MessageXml::default() }
}
