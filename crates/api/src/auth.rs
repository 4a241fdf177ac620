//! The bearer key of a program (RFC 6750).

use axum::extract::FromRequestParts;
use axum::http::header::AUTHORIZATION;
use axum::http::request::Parts;

use crate::{ApiError, ApiState, hash_api_key};

/// The program that asks. As a handler's parameter it refuses everybody without a key.
pub(crate) struct Program {
    /// What its messages are marked with: `key:erp`.
    pub(crate) submitter: String,
}

impl FromRequestParts<ApiState> for Program {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, state: &ApiState) -> Result<Self, ApiError> {
        // Missing, malformed and unknown keys take the same way: hash, look up, refuse.
        let presented = parts
            .headers
            .get(AUTHORIZATION)
            .and_then(|value| value.to_str().ok())
            .and_then(|value| value.split_once(' '))
            .filter(|(scheme, _)| scheme.eq_ignore_ascii_case("bearer"))
            .map_or("", |(_, key)| key.trim());
        let key = state.store.api_key(&hash_api_key(presented)).await?;
        let key = key.filter(|key| !presented.is_empty() && key.revoked_at.is_none());
        key.map(|key| Self { submitter: format!("key:{}", key.name) }).ok_or_else(ApiError::unauthorized)
    }
}
