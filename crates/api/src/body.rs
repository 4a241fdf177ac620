//! Reading a request body without ever holding more than the limit.

use std::future::poll_fn;
use std::pin::Pin;

use axum::body::{Body, HttpBody};
use bytes::{Bytes, BytesMut};

use crate::ApiError;

/// The whole body. What `Content-Length` says is not believed: bytes are counted as they come, chunked or not, and
/// reading stops with the first one too many.
pub(crate) async fn read(mut body: Body, limit: u64) -> Result<Bytes, ApiError> {
    let mut held = BytesMut::new();
    while let Some(frame) = poll_fn(|context| Pin::new(&mut body).poll_frame(context)).await {
        let frame = frame.map_err(|_| ApiError::malformed_request("the request body broke off"))?;
        let Ok(data) = frame.into_data() else { continue };
        if (held.len() + data.len()) as u64 > limit {
            return Err(ApiError::too_large(
                format!("the request body has more than {limit} bytes, which is the limit"),
                limit,
            )
            .hint(
                "attachments in base64 take a third more than the files; message/rfc822 is the smaller form",
            ));
        }
        held.extend_from_slice(&data);
    }
    Ok(held.freeze())
}
