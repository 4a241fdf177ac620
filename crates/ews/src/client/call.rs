//! One call, from request to answer.

use std::time::Duration;

use jiff::SignedDuration;
use postroom_entra::http::{self, ReadError};
use postroom_model::ExposeSecret;
use reqwest::header::{self, HeaderMap};
use reqwest::{RequestBuilder, Response as HttpResponse, StatusCode};

use super::{EwsClient, MAX_ANSWER, MESSAGE_TIMEOUT, SignIn};
use crate::error::{EwsError, Refused};
use crate::wire::{
    Answer, Fault, MessageXml, Request, RequestHeader, Response, ResponseClass, ResponseMessage,
    parse_response, write_request,
};

/// A call that is going to be made, perhaps twice.
pub(super) struct Call<'a> {
    /// What it is for, with its subject.
    pub(super) operation: String,
    /// The mailbox it is about.
    pub(super) mailbox: &'a str,
    pub(super) body: bytes::Bytes,
    /// Longest time for the whole call; the client's own when none.
    pub(super) timeout: Option<Duration>,
}

/// An answer of success, with what its messages may be refused with.
pub(super) struct Answered {
    pub(super) response: Response,
    pub(super) request_id: Option<String>,
}

impl EwsClient {
    pub(super) fn call_for<'a>(&self, operation: String, mailbox: &'a str, request: &Request) -> Call<'a> {
        let acting_for = self.sign_in.impersonates().then_some(mailbox);
        let body = write_request(&RequestHeader::acting_for(acting_for), request).into();
        let timeout =
            matches!(request, Request::CreateItem(_) | Request::SendItem(_)).then_some(MESSAGE_TIMEOUT);
        Call { operation, mailbox, body, timeout }
    }

    /// Asks, and reads the answer.
    pub(super) async fn ask(&self, call: &Call<'_>) -> Result<Answered, EwsError> {
        let response = self.open(call).await?;
        let status = response.status().as_u16();
        let request_id = request_id(response.headers());
        let body = read(&call.operation, response, MAX_ANSWER).await?;
        match parse_response(&body).map(|envelope| envelope.answer) {
            Ok(Answer::Response(response)) => Ok(Answered { response, request_id }),
            Ok(Answer::Fault(fault)) => Err(self.fault(call, status, request_id, fault)),
            Err(error) => Err(garbage(&call.operation, status, error.to_string())),
        }
    }

    /// An answer whose status says success. A 401 renews the token once and repeats the call: a request that was not
    /// let in was not carried out.
    pub(super) async fn open(&self, call: &Call<'_>) -> Result<HttpResponse, EwsError> {
        let operation = || call.operation.clone();
        if !self.accept_plain && !http::is_private(&self.url) {
            return Err(EwsError::Address { operation: operation(), address: self.url.to_string() });
        }
        let mut renewed = false;
        loop {
            let request = self.request(call);
            let (request, token) = match &self.sign_in {
                SignIn::Basic { user, password } => {
                    (request.basic_auth(user, Some(password.expose_secret())), None)
                }
                SignIn::Token { tokens, request: wanted } => {
                    let token = tokens.token(wanted).await;
                    let token = token.map_err(|source| EwsError::Token {
                        operation: operation(),
                        source: Box::new(source),
                    })?;
                    (request.bearer_auth(token.expose()), Some((tokens, token)))
                }
            };
            let response = request.send().await.map_err(|source| EwsError::Network {
                operation: operation(),
                handed_over: !(source.is_connect() || source.is_builder()),
                source: source.without_url(),
            })?;
            if response.status() == StatusCode::OK {
                return Ok(response);
            }
            if response.status() == StatusCode::UNAUTHORIZED
                && let Some((tokens, token)) = &token
                && !std::mem::replace(&mut renewed, true)
            {
                tokens.invalidate(token);
                continue;
            }
            return Err(self.refusal(call, response).await);
        }
    }

    fn request(&self, call: &Call<'_>) -> RequestBuilder {
        let request = self
            .http
            .post(self.url.clone())
            .header(header::CONTENT_TYPE, "text/xml; charset=utf-8")
            .header(header::ACCEPT, "text/xml")
            .header("x-anchormailbox", call.mailbox)
            .header("client-request-id", self.env.new_uuid().to_string())
            .header("return-client-request-id", "true")
            .body(call.body.clone());
        match call.timeout {
            Some(timeout) => request.timeout(timeout),
            None => request,
        }
    }

    /// The ground of a refusal.
    fn refused(&self, call: &Call<'_>, status: u16) -> Refused {
        Refused {
            operation: call.operation.clone(),
            status,
            connection: self.connection.clone(),
            ids: self.ids(call.mailbox),
            ..Refused::default()
        }
    }

    /// A fault that came with another status than 500.
    pub(super) fn fault(
        &self,
        call: &Call<'_>,
        status: u16,
        request_id: Option<String>,
        fault: Fault,
    ) -> EwsError {
        let refused = Refused { request_id, ..self.refused(call, status) };
        EwsError::Refused(Box::new(with_fault(refused, fault)))
    }

    /// A refusal by HTTP status, in Exchange's words where the body or a header has them.
    async fn refusal(&self, call: &Call<'_>, response: HttpResponse) -> EwsError {
        let status = response.status();
        let headers = response.headers().clone();
        let mut refused = self.refused(call, status.as_u16());
        refused.request_id = request_id(&headers);
        refused.retry_after = http::retry_after(&headers, self.env.now());
        if status.is_redirection() {
            let to = text(&headers, "location");
            // An error page of Exchange's own; anything else is another server, or a page to sign in at.
            if !to.to_ascii_lowercase().contains("/genericerrorpage.htm") {
                let to = if to.is_empty() { "nowhere".to_owned() } else { to };
                return EwsError::Redirect { operation: call.operation.clone(), to };
            }
            refused.message = format!("Exchange redirects to its error page {to}");
            return EwsError::Refused(Box::new(refused));
        }
        let policy = text(&headers, "x-ews-policy-reason");
        if status == StatusCode::FORBIDDEN && !policy.is_empty() {
            refused.policy = true;
            refused.message = policy;
            return EwsError::Refused(Box::new(refused));
        }
        refused.windows_only = status == StatusCode::UNAUTHORIZED && windows_only(&headers);
        // A refusal whose body breaks off is still that refusal.
        let body = read(&call.operation, response, MAX_ANSWER).await.unwrap_or_default();
        if let Ok(Answer::Fault(fault)) = parse_response(&body).map(|envelope| envelope.answer) {
            return EwsError::Refused(Box::new(with_fault(refused, fault)));
        }
        refused.message = words(status, &headers);
        EwsError::Refused(Box::new(refused))
    }

    /// What one message of an answer gives.
    pub(super) fn payload<T>(
        &self,
        call: &Call<'_>,
        message: ResponseMessage<T>,
        request_id: Option<&str>,
    ) -> Result<T, EwsError> {
        if message.class == ResponseClass::Success {
            return Ok(message.payload);
        }
        let mut refused = self.refused(call, StatusCode::OK.as_u16());
        refused.request_id = request_id.map(str::to_owned);
        refused.code = http::tidy(&message.code, 200);
        refused.message = http::tidy(message.text.unwrap_or_default(), 1_000);
        Err(EwsError::Refused(Box::new(with_values(refused, message.values))))
    }

    /// What the only message of an answer gives.
    pub(super) fn only<T>(
        &self,
        call: &Call<'_>,
        messages: Vec<ResponseMessage<T>>,
        request_id: Option<&str>,
    ) -> Result<T, EwsError> {
        match messages.into_iter().next() {
            Some(message) => self.payload(call, message, request_id),
            None => Err(garbage(&call.operation, 200, "an answer without a message".to_owned())),
        }
    }
}

pub(super) fn garbage(operation: &str, status: u16, what: String) -> EwsError {
    EwsError::Garbage { operation: operation.to_owned(), status, what }
}

/// Request id of Exchange, for its administrator.
pub(super) fn request_id(headers: &HeaderMap) -> Option<String> {
    Some(text(headers, "request-id")).filter(|id| !id.is_empty())
}

fn text(headers: &HeaderMap, name: &str) -> String {
    http::tidy(headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default(), 1_000)
}

/// Whether NTLM or Negotiate is offered, and neither Basic nor Bearer.
fn windows_only(headers: &HeaderMap) -> bool {
    let offers = |scheme: &str| {
        headers.get_all(header::WWW_AUTHENTICATE).iter().filter_map(|value| value.to_str().ok()).any(
            |value| {
                value.split(',').any(|part| {
                    part.split_whitespace().next().is_some_and(|word| word.eq_ignore_ascii_case(scheme))
                })
            },
        )
    };
    (offers("NTLM") || offers("Negotiate")) && !offers("Basic") && !offers("Bearer")
}

/// The words of an answer that is no fault: a diagnosis in a header, else what the status means.
fn words(status: StatusCode, headers: &HeaderMap) -> String {
    let diagnostics = text(headers, "x-ms-diagnostics");
    let offered = text(headers, "www-authenticate");
    match status.as_u16() {
        401 if !diagnostics.is_empty() => diagnostics,
        401 if !offered.is_empty() => format!("Exchange asks for another sign-in: {offered}"),
        440 => "the sign-in has timed out".to_owned(),
        456 => "the user is blocked from signing in".to_owned(),
        _ => status.canonical_reason().unwrap_or("(an answer without words)").to_owned(),
    }
}

fn with_fault(mut refused: Refused, fault: Fault) -> Refused {
    refused.code = http::tidy(fault.response_code.unwrap_or(fault.code), 200);
    refused.message = http::tidy(fault.detail.unwrap_or(fault.message), 1_000);
    with_values(refused, fault.values)
}

/// Takes over the pause that is asked for, the code below the code, and what violates the schema.
fn with_values(mut refused: Refused, values: Option<MessageXml>) -> Refused {
    let Some(values) = values else { return refused };
    let pause = values.value("BackOffMilliseconds").and_then(|text| text.trim().parse::<i64>().ok());
    if let Some(pause) = pause {
        let pause = SignedDuration::from_millis(pause);
        refused.retry_after = Some(pause.clamp(SignedDuration::ZERO, http::MAX_RETRY_AFTER));
    }
    refused.inner_code = values.value("InnerErrorResponseCode").map(|code| http::tidy(code, 200));
    let further = values.violation.as_deref().or(values.value("InnerErrorMessageText"));
    if let Some(further) = further {
        refused.message = format!("{} ({})", refused.message, http::tidy(further, 500));
    }
    refused
}

pub(super) async fn read(operation: &str, response: HttpResponse, limit: u64) -> Result<Vec<u8>, EwsError> {
    http::read_bounded(response, limit).await.map_err(|error| match error {
        ReadError::TooLarge { limit } => EwsError::TooLarge { operation: operation.to_owned(), limit },
        ReadError::Network { source } => {
            EwsError::Network { operation: operation.to_owned(), handed_over: true, source }
        }
    })
}
