//! Errors as people see them: a sentence, what to do, the request id. The outermost layer writes the page, or for
//! htmx a fragment aimed at the notice area, so that an error never lands where it does not fit.

use axum::http::{HeaderName, HeaderValue, StatusCode};
use axum::response::{Html, IntoResponse, Response};
use postroom_store::StoreError;

use crate::templates;

/// An answer that is an error.
#[derive(Debug, Clone)]
pub(crate) struct PageError {
    pub(crate) status: StatusCode,
    sentence: String,
    hint: String,
}

impl PageError {
    pub(crate) fn new(status: StatusCode, sentence: impl Into<String>, hint: impl Into<String>) -> Self {
        Self { status, sentence: sentence.into(), hint: hint.into() }
    }

    pub(crate) fn not_found() -> Self {
        Self::new(
            StatusCode::NOT_FOUND,
            "There is nothing here.",
            "It was removed, or it is not available to you. The navigation leads on.",
        )
    }

    pub(crate) fn forbidden(needed: &str) -> Self {
        Self::new(
            StatusCode::FORBIDDEN,
            "You may not open this page.",
            format!("It needs the role {needed}. Ask an administrator for it."),
        )
    }

    pub(crate) fn wrong_form(sentence: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, sentence, "Go back, load the page again and repeat the step.")
    }

    pub(crate) fn internal() -> Self {
        Self::new(
            StatusCode::INTERNAL_SERVER_ERROR,
            "Something went wrong on our side.",
            "Try again. If it stays, tell the administrator the request id: the log says more under it.",
        )
    }

    /// The page, or the fragment for htmx.
    pub(crate) fn render(&self, request_id: &str, fragment: bool) -> Response {
        let template = if fragment { "error-fragment.html" } else { "error.html" };
        let values = serde_json::json!({
            "shell": templates::shell(None, ""),
            "status": self.status.as_u16(),
            "sentence": self.sentence,
            "hint": self.hint,
            "request_id": request_id,
        });
        let html = templates::fill(template, &values).unwrap_or_else(|_| self.sentence.clone());
        let mut response = (self.status, Html(html)).into_response();
        if fragment {
            let headers = response.headers_mut();
            headers.insert(HeaderName::from_static("hx-retarget"), HeaderValue::from_static("#notice"));
            headers.insert(HeaderName::from_static("hx-reswap"), HeaderValue::from_static("innerHTML"));
        }
        response
    }
}

impl From<StoreError> for PageError {
    fn from(error: StoreError) -> Self {
        tracing::error!(error = &error as &dyn std::error::Error, "the store failed");
        match &error {
            StoreError::Full { .. } => Self::new(
                StatusCode::SERVICE_UNAVAILABLE,
                "No space is left on the disk; nothing was changed.",
                "Free some space; Postroom goes on by itself.",
            ),
            StoreError::Untouched { .. } => Self::new(
                StatusCode::CONFLICT,
                "That is no longer possible: it is not there any more, or its state has changed.",
                "Load the page again to see how it stands.",
            ),
            StoreError::Taken { what } => {
                Self::new(StatusCode::CONFLICT, format!("{what} is already there."), "Choose another one.")
            }
            StoreError::InUse { .. } | StoreError::Refused { .. } | StoreError::Invalid(_) => {
                let hint = error.hint().unwrap_or("correct it and try again");
                Self::new(StatusCode::CONFLICT, sentence(&error.to_string()), sentence(hint))
            }
            error if error.is_temporary() => Self::new(
                StatusCode::SERVICE_UNAVAILABLE,
                "The store cannot be reached; nothing was changed.",
                "Try again in a moment.",
            ),
            _ => Self::internal(),
        }
    }
}

/// `text` as a sentence: capital first, full stop last.
pub(crate) fn sentence(text: &str) -> String {
    let mut rest = text.chars();
    let first = rest.next().map(char::to_uppercase);
    first.into_iter().flatten().chain(rest).chain(['.']).collect()
}

impl IntoResponse for PageError {
    /// The status alone; the outermost layer, which knows the request, writes the page.
    fn into_response(self) -> Response {
        let mut response = self.status.into_response();
        response.extensions_mut().insert(self);
        response
    }
}
