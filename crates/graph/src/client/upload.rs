//! Large attachments: an upload session on a draft, filled piece by piece
//! (<https://learn.microsoft.com/graph/outlook-large-attachments>).

use bytes::Bytes;
use postroom_entra::http;
use reqwest::{Method, header};
use serde_json::json;
use url::Url;

use super::call::{Body, Call};
use super::{GraphClient, MESSAGE_TIMEOUT};
use crate::error::GraphError;
use crate::wire::UploadSession;

/// Bytes of one piece: a multiple of 320 KiB, and below the 4 MB that one request may have.
pub const PIECE: usize = 12 * 320 * 1024;

/// A file on its way to a draft.
#[derive(Debug, Clone)]
pub struct Upload<'a> {
    /// File name.
    pub name: &'a str,
    /// Media type.
    pub content_type: &'a str,
    /// Its bytes; 1 byte to 150 MB.
    pub content: Bytes,
}

impl GraphClient {
    /// Attaches a file to a draft through an upload session, and gives the number of pieces it took. A session that
    /// breaks off is given back, so that nothing is left half done.
    ///
    /// # Errors
    /// [`GraphError`]; `Address` when the session lies at an address that is neither https nor this machine.
    pub async fn upload_attachment(
        &self,
        user: &str,
        draft: &str,
        file: &Upload<'_>,
    ) -> Result<usize, GraphError> {
        let operation = format!("open an upload session on a draft of {user}");
        let address =
            self.address(&operation, user, &["messages", draft, "attachments", "createUploadSession"])?;
        let item = json!({"AttachmentItem": {
            "attachmentType": "file",
            "name": file.name,
            "size": file.content.len(),
            "contentType": file.content_type,
        }});
        let body = Some(Body { kind: "application/json", bytes: Bytes::from(item.to_string()) });
        let call = Call { method: Method::POST, body, ..Self::get(operation, user, address) };
        let session: UploadSession = self.json(&call).await?;
        let operation = format!("upload a file to a draft of {user}");
        // The address is the permission: no token goes there, and the address goes into no message.
        let address = Url::parse(&session.upload_url).ok().filter(http::is_private);
        let address = address.ok_or_else(|| GraphError::Address { operation: operation.clone() })?;
        let sent = self.pieces(&operation, user, &address, &file.content).await;
        if sent.is_err() {
            // Should it stay, it ends by itself within the hour.
            let _ = self.http.delete(address).send().await;
        }
        sent
    }

    async fn pieces(
        &self,
        operation: &str,
        user: &str,
        address: &Url,
        content: &Bytes,
    ) -> Result<usize, GraphError> {
        let total = content.len();
        let mut pieces = 0;
        while pieces * PIECE < total {
            let first = pieces * PIECE;
            let end = total.min(first + PIECE);
            let range = format!("bytes {first}-{}/{total}", end - 1);
            let put = self
                .http
                .put(address.clone())
                .header(header::CONTENT_TYPE, "application/octet-stream")
                .header(header::CONTENT_RANGE, range)
                .timeout(MESSAGE_TIMEOUT)
                .body(content.slice(first..end));
            let response = put.send().await.map_err(|source| GraphError::Network {
                operation: operation.to_owned(),
                handed_over: true,
                source: source.without_url(),
            })?;
            let status = response.status().as_u16();
            if !response.status().is_success() {
                let call = Self::get(operation.to_owned(), user, address.clone());
                return Err(self.refusal(&call, response).await);
            }
            pieces += 1;
            if (end == total) != (status == 201) {
                let what = "not what an upload session answers to this piece";
                return Err(GraphError::Garbage { operation: operation.to_owned(), status, what });
            }
        }
        Ok(pieces)
    }
}
