//! What is said instead of an answer: a bare HTTP status, a SOAP fault for the whole request, or an error for one part.

use axum::http::HeaderName;
use postroom_ews::wire::{Fault, MessageXml, ReadError, ResponseMessage};

use super::named;
use crate::answer::Refusal;

/// The sentence of `ErrorServerBusy`.
pub(super) const BUSY: &str = "The server cannot service this request right now. Try again later.";

/// The whole request is refused.
#[derive(Debug)]
pub(super) enum Refused {
    /// With nothing but a status and headers.
    Bare {
        status: u16,
        headers: Vec<(HeaderName, String)>,
    },
    Fault(Box<Fault>),
}

impl Refused {
    pub(super) fn bare(status: u16, headers: Vec<(HeaderName, String)>) -> Self {
        Self::Bare { status, headers }
    }

    pub(super) fn fault(code: &str, text: &str) -> Self {
        Self::Fault(Box::new(Fault::new(code, text)))
    }

    pub(super) fn fault_with(code: &str, text: &str, values: &[(&str, &str)]) -> Self {
        Self::Fault(Box::new(soap_fault(code, text, values)))
    }

    pub(super) fn internal() -> Self {
        Self::fault("ErrorInternalServerError", "An internal server error occurred. The operation failed.")
    }
}

impl From<sqlx::Error> for Refused {
    fn from(error: sqlx::Error) -> Self {
        tracing::error!(error = &error as &dyn std::error::Error, "the sandbox's database failed");
        Self::internal()
    }
}

/// A fault with named values.
pub(super) fn soap_fault(code: &str, text: &str, values: &[(&str, &str)]) -> Fault {
    Fault { values: (!values.is_empty()).then(|| named(values)), ..Fault::new(code, text) }
}

/// Named values of an error.
pub(super) fn values(pairs: &[(&str, &str)]) -> MessageXml {
    named(pairs)
}

/// `ErrorServerBusy` with how long to wait.
pub(super) fn busy(milliseconds: i64) -> Refused {
    Refused::fault_with("ErrorServerBusy", BUSY, &[("BackOffMilliseconds", &milliseconds.to_string())])
}

/// A document that is no request.
pub(super) fn malformed(error: &ReadError, document: &[u8]) -> Refused {
    let (line, position) = error.place(document);
    let text = format!("The request failed schema validation: {error}.");
    let values = MessageXml {
        line: Some(line),
        position: Some(position),
        violation: Some(error.to_string()),
        values: Vec::new(),
    };
    Refused::Fault(Box::new(Fault { values: Some(values), ..Fault::new("ErrorSchemaValidation", &text) }))
}

/// One part of a request is refused.
#[derive(Debug)]
pub(super) struct Trouble {
    pub(super) code: String,
    pub(super) text: String,
    pub(super) values: Option<MessageXml>,
}

impl Trouble {
    pub(super) fn new(code: &str, text: &str) -> Self {
        Self { code: code.to_owned(), text: text.to_owned(), values: None }
    }

    pub(super) fn item_not_found() -> Self {
        Self::new("ErrorItemNotFound", "The specified object was not found in the store.")
    }

    pub(super) fn folder_not_found() -> Self {
        Self::new("ErrorFolderNotFound", "The specified folder could not be found in the store.")
    }

    pub(super) fn malformed_id() -> Self {
        Self::new("ErrorInvalidIdMalformed", "Id is malformed.")
    }

    /// The message of an answer.
    pub(super) fn message<T: Default>(self) -> ResponseMessage<T> {
        ResponseMessage { values: self.values, ..ResponseMessage::error(&self.code, &self.text) }
    }
}

impl From<sqlx::Error> for Trouble {
    fn from(error: sqlx::Error) -> Self {
        Refusal::from(error).into()
    }
}

/// Codes of Graph that EWS knows by another name.
const RENAMED: [(&str, &str); 4] = [
    ("ErrorExceededMaxRecipientLimit", "ErrorInvalidRecipients"),
    ("ErrorPropertyValidationFailure", "ErrorInvalidPropertySet"),
    ("InvalidInternetMessageHeaderCollection", "ErrorInvalidPropertySet"),
    ("InvalidInternetMessageHeader", "ErrorInvalidPropertySet"),
];

impl From<Refusal> for Trouble {
    fn from(refusal: Refusal) -> Self {
        if refusal.status == 429 {
            let wait = refusal.headers.first().and_then(|(_, value)| value.parse::<i64>().ok()).unwrap_or(1);
            let pause = wait.saturating_mul(1000).to_string();
            let values = Some(named(&[("BackOffMilliseconds", &pause)]));
            return Self { values, ..Self::new("ErrorServerBusy", BUSY) };
        }
        let code = refusal.code.as_ref();
        let renamed = RENAMED.iter().find(|(graph, _)| *graph == code).map(|(_, ews)| *ews);
        let code = renamed.unwrap_or(if code.starts_with("Error") { code } else { "ErrorInvalidRequest" });
        Self { code: code.to_owned(), text: refusal.message, values: None }
    }
}
