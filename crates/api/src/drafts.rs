//! `POST /drafts`: a ready `.eml` draft. Nothing is stored, and nothing is sent.

use axum::extract::{Request, State};
use axum::http::header::{CONTENT_DISPOSITION, CONTENT_TYPE};
use axum::http::{HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use postroom_mime::eml::content_disposition;

use crate::auth::Program;
use crate::messages::fields::MessageFields;
use crate::messages::submit::{Form, blocking, form};
use crate::{ApiError, ApiState, body};

pub(crate) async fn make(
    _: Program,
    State(state): State<ApiState>,
    request: Request,
) -> Result<Response, ApiError> {
    let (parts, body) = request.into_parts();
    if let Form::Raw = form(&parts.headers)? {
        let message = "a draft is made of application/json: what is message/rfc822 already needs no making";
        return Err(ApiError::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, "unsupported_media_type", message));
    }
    let body = body::read(body, state.max_request_bytes).await?;
    let draft = blocking(move || MessageFields::parse(&body)?.into_draft()).await?;
    let ready = state.engine.intake().make_draft(draft).await?;
    let mut response = ready.raw.into_response();
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("message/rfc822"));
    if let Ok(disposition) = HeaderValue::try_from(content_disposition(&ready.file_name)) {
        response.headers_mut().insert(CONTENT_DISPOSITION, disposition);
    }
    Ok(response)
}
