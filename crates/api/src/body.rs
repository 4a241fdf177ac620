//! Reading a request body without ever holding more than the limit.

use std::future::poll_fn;
use std::pin::Pin;

use axum::body::{Body, HttpBody};
use bytes::{Bytes, BytesMut};

use crate::ApiError;

/// The whole body. What `Content-Length` says is not believed: bytes are counted as they come, chunked or not, and
/// nothing is kept from the first one too many on. What still comes is read and thrown away, as much again as the
/// limit at the most: a connection closed under a client that is writing would show it a broken pipe, not the answer.
pub(crate) async fn read(mut body: Body, limit: u64) -> Result<Bytes, ApiError> {
    let mut held = BytesMut::new();
    while let Some(frame) = poll_fn(|context| Pin::new(&mut body).poll_frame(context)).await {
        let frame = frame.map_err(|_| ApiError::malformed_request("the request body broke off"))?;
        let Ok(data) = frame.into_data() else { continue };
        if (held.len() + data.len()) as u64 > limit {
            drop(held);
            pour_away(body, limit).await;
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

/// Reads at most `most` bytes and keeps none.
async fn pour_away(mut body: Body, most: u64) {
    let mut poured = 0;
    while let Some(Ok(frame)) = poll_fn(|context| Pin::new(&mut body).poll_frame(context)).await {
        poured += frame.data_ref().map_or(0, |data| data.len() as u64);
        if poured > most {
            return;
        }
    }
}
