//! Files of a draft: small ones in one request, large ones by an upload session that is filled piece by piece
//! (<https://learn.microsoft.com/graph/outlook-large-attachments>).
//!
//! A session is resumed after a break by asking it what it expects next, and a session that has expired is replaced.
//! A file is on the draft as a whole or not at all.

use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use jiff::SignedDuration;
use postroom_entra::http;
use reqwest::{Method, Response, header};
use serde_json::json;
use url::Url;

use super::call::{Body, Call, read};
use super::{GraphClient, MESSAGE_TIMEOUT};
use crate::error::GraphError;
use crate::wire::{AttachmentInfo, Collection, SessionState, UploadSession};

/// Bytes of one piece: a multiple of 320 KiB, and below the 4 MB that one request may have.
pub const PIECE: usize = 12 * 320 * 1024;

/// From this size on, in bytes, a file needs a session: one request may have 4 MB, and a file stands in it as base64.
pub const SESSION_FROM: u64 = 3_000_000;

/// Largest file that Graph takes, in bytes: 150 MB.
pub const MAX_FILE: u64 = 150 * 1024 * 1024;

/// How often one upload goes on after a break before it is given up.
const MAX_BREAKS: u32 = 6;
/// How many sessions one upload may use, because sessions expire.
const MAX_SESSIONS: u32 = 3;
/// Longest answer of a session that is read, in bytes.
const MAX_STATE: u64 = 64 * 1024;
/// Longest wait that is sat out in the middle of an upload. A longer one ends the attempt; the next goes on.
const MAX_WAIT: SignedDuration = SignedDuration::from_secs(20);
/// Most pages of attachments that are read. Exchange allows 250 attachments.
const MAX_PAGES: usize = 50;

/// The bytes of a file, from any place.
pub trait Content: Send + Sync {
    /// Its size in bytes.
    fn size(&self) -> u64;

    /// The `length` bytes from `from` on; fewer at the end only.
    fn piece(&self, from: u64, length: usize) -> Bytes;
}

impl Content for Bytes {
    fn size(&self) -> u64 {
        self.len() as u64
    }

    fn piece(&self, from: u64, length: usize) -> Bytes {
        let start = usize::try_from(from).unwrap_or(usize::MAX).min(self.len());
        self.slice(start..start.saturating_add(length).min(self.len()))
    }
}

/// A file on its way to a draft.
#[derive(Clone, Copy)]
pub struct Upload<'a> {
    /// File name.
    pub name: &'a str,
    /// Media type.
    pub content_type: &'a str,
    /// Content-ID without angle brackets.
    pub content_id: Option<&'a str>,
    /// Whether it is shown within the text.
    pub inline: bool,
    /// Its bytes; at most [`MAX_FILE`].
    pub content: &'a dyn Content,
}

impl std::fmt::Debug for Upload<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Upload").field("name", &self.name).field("size", &self.content.size()).finish()
    }
}

/// What became of one piece.
enum Step {
    /// The session expects this byte next.
    Next(u64),
    /// The file is on the draft.
    Done,
    /// The line broke, or the service asked for patience: how long to wait, and the error if it is in vain.
    Broken(Duration, GraphError),
    /// There is no such session any more.
    Gone(GraphError),
}

impl GraphClient {
    /// Attaches a file to a draft, whatever its size.
    ///
    /// # Errors
    /// [`GraphError`]; after one that [may be done](GraphError::may_be_done) the draft's attachments tell whether the
    /// file is there. `Address` when a session lies at an address that is neither https nor this machine.
    pub async fn attach(&self, user: &str, draft: &str, file: &Upload<'_>) -> Result<(), GraphError> {
        if file.content.size() >= SESSION_FROM {
            return self.upload_attachment(user, draft, file).await.map(drop);
        }
        let operation = format!("attach a file to a draft of {user}");
        let address = self.address(&operation, user, &["messages", draft, "attachments"])?;
        let bytes = file.content.piece(0, usize::try_from(file.content.size()).unwrap_or(usize::MAX));
        let item = json!({
            "@odata.type": "#microsoft.graph.fileAttachment",
            "name": file.name,
            "contentType": file.content_type,
            "contentId": file.content_id,
            "isInline": file.inline,
            "contentBytes": STANDARD.encode(&bytes),
        });
        let body = Some(Body { kind: "application/json", bytes: Bytes::from(item.to_string()) });
        let timeout = Some(MESSAGE_TIMEOUT);
        let call = Call { method: Method::POST, body, timeout, ..Self::get(operation, user, address) };
        self.send(&call).await.map(drop)
    }

    /// Attaches a file to a draft through an upload session, and gives the number of pieces it took. A session that
    /// is given up is given back, so that nothing is left half done.
    ///
    /// # Errors
    /// As for [`GraphClient::attach`].
    pub async fn upload_attachment(
        &self,
        user: &str,
        draft: &str,
        file: &Upload<'_>,
    ) -> Result<usize, GraphError> {
        let operation = format!("upload a file to a draft of {user}");
        for session in 1.. {
            let address = self.open_session(user, draft, file).await?;
            let error = match self.fill(&operation, user, &address, file.content).await {
                Ok(pieces) => return Ok(pieces),
                Err((error, true)) if session < MAX_SESSIONS => {
                    tracing::info!(%error, session, "an upload session is gone; a new one is opened");
                    continue;
                }
                Err((error, _)) => error,
            };
            if !error.may_be_done() {
                // Should it stay, it ends by itself within the hour.
                let _ = self.http.delete(address).send().await;
            }
            return Err(error);
        }
        Err(GraphError::Address { operation })
    }

    /// The attachments of a message, without their bytes.
    ///
    /// # Errors
    /// [`GraphError`].
    pub async fn attachments(&self, user: &str, message: &str) -> Result<Vec<AttachmentInfo>, GraphError> {
        let operation = format!("list the attachments of a message of {user}");
        let address = self.address(&operation, user, &["messages", message, "attachments"])?;
        let mut address = http::with_query(address, &[("$select", "id,name,contentType,size,isInline")]);
        let mut found = Vec::new();
        for _ in 0..MAX_PAGES {
            let page: Collection<AttachmentInfo> =
                self.json(&Self::get(operation.clone(), user, address)).await?;
            found.extend(page.value);
            let Some(link) = page.next_link else { return Ok(found) };
            address = self.pinned(&operation, &link)?;
        }
        Err(GraphError::Garbage { operation, status: 200, what: "a list of attachments without end" })
    }

    async fn open_session(&self, user: &str, draft: &str, file: &Upload<'_>) -> Result<Url, GraphError> {
        let operation = format!("open an upload session on a draft of {user}");
        let address =
            self.address(&operation, user, &["messages", draft, "attachments", "createUploadSession"])?;
        let mut item = json!({
            "attachmentType": "file",
            "name": file.name,
            "size": file.content.size(),
            "contentType": file.content_type,
            "isInline": file.inline,
        });
        if let Some(id) = file.content_id {
            item["contentId"] = json!(id);
        }
        let bytes = Bytes::from(json!({ "AttachmentItem": item }).to_string());
        let body = Some(Body { kind: "application/json", bytes });
        let call = Call { method: Method::POST, body, ..Self::get(operation, user, address) };
        let session: UploadSession = self.json(&call).await?;
        // The address is the permission: no token goes there, and the address goes into no message.
        let address = Url::parse(&session.upload_url).ok().filter(http::is_private);
        address.ok_or(GraphError::Address { operation: call.operation })
    }

    /// Fills a session. With the error stands whether a new session may be tried: this one is gone, and it was not
    /// its last piece that was on the way.
    async fn fill(
        &self,
        operation: &str,
        user: &str,
        session: &Url,
        content: &dyn Content,
    ) -> Result<usize, (GraphError, bool)> {
        let total = content.size();
        let (mut from, mut pieces, mut breaks) = (0, 0, 0);
        loop {
            let piece = content.piece(from, PIECE);
            let last = from + piece.len() as u64 >= total;
            pieces += 1;
            let call = Self::get(operation.to_owned(), user, session.clone());
            from = match self.put(&call, from, total, piece).await.map_err(|error| (error, false))? {
                Step::Done => return Ok(pieces),
                Step::Next(next) => next,
                Step::Gone(error) => return Err((error, true)),
                Step::Broken(wait, error) => match self.resumed(&call, total, wait, &mut breaks).await {
                    Some(Step::Next(next)) => next,
                    // After its last piece a session is gone because it is full, or because it expired.
                    Some(Step::Gone(gone)) if !last => return Err((gone, true)),
                    _ => return Err((error, false)),
                },
            };
        }
    }

    /// Hands one piece over.
    async fn put(&self, call: &Call<'_>, from: u64, total: u64, piece: Bytes) -> Result<Step, GraphError> {
        let end = from + piece.len() as u64;
        let put = self
            .http
            .put(call.address.clone())
            .header(header::CONTENT_TYPE, "application/octet-stream")
            .header(header::CONTENT_RANGE, format!("bytes {from}-{}/{total}", end.saturating_sub(1)))
            .timeout(MESSAGE_TIMEOUT)
            .body(piece);
        let response = match put.send().await {
            Ok(response) => response,
            Err(source) => {
                let (operation, source) = (call.operation.clone(), source.without_url());
                let error = GraphError::Network { operation, handed_over: true, source };
                return Ok(Step::Broken(Duration::from_millis(200), error));
            }
        };
        let status = response.status().as_u16();
        if !response.status().is_success() {
            return self.broken(call, response).await;
        }
        if (end == total) != (status == 201) {
            let what = "not what an upload session answers to this piece";
            return Err(GraphError::Garbage { operation: call.operation.clone(), status, what });
        }
        if status == 201 {
            return Ok(Step::Done);
        }
        // The answer to a piece is its acknowledgement; where it says what is next, that is believed.
        let next = state(&call.operation, response, total).await.ok().flatten();
        Ok(Step::Next(next.filter(|next| *next > from).unwrap_or(end)))
    }

    /// Asks a session after a break what it expects next, until it answers or too many breaks were sat out.
    async fn resumed(
        &self,
        call: &Call<'_>,
        total: u64,
        mut wait: Duration,
        breaks: &mut u32,
    ) -> Option<Step> {
        while *breaks < MAX_BREAKS {
            *breaks += 1;
            tracing::debug!(breaks, "an upload broke off; it goes on where the session says");
            tokio::time::sleep(wait).await;
            wait = match self.expected(call, total).await {
                Ok(Step::Broken(wait, _)) => wait,
                Ok(step) => return Some(step),
                Err(_) => Duration::from_secs(1),
            };
        }
        None
    }

    /// Asks a session what it expects next.
    async fn expected(&self, call: &Call<'_>, total: u64) -> Result<Step, GraphError> {
        let asked = self.http.get(call.address.clone()).send().await;
        let response = asked.map_err(|source| GraphError::Network {
            operation: call.operation.clone(),
            handed_over: false,
            source: source.without_url(),
        })?;
        if !response.status().is_success() {
            return self.broken(call, response).await;
        }
        Ok(state(&call.operation, response, total).await?.map_or(Step::Done, Step::Next))
    }

    /// What a refusal of a session means.
    async fn broken(&self, call: &Call<'_>, response: Response) -> Result<Step, GraphError> {
        let status = response.status().as_u16();
        let error = self.refusal(call, response).await;
        let GraphError::Refused(refused) = &error else { return Err(error) };
        let asked = refused.retry_after.unwrap_or(SignedDuration::from_secs(1));
        match status {
            404 | 410 => Ok(Step::Gone(error)),
            408 | 416 | 429 | 500.. if asked <= MAX_WAIT => {
                Ok(Step::Broken(Duration::try_from(asked).unwrap_or_default(), error))
            }
            _ => Err(error),
        }
    }
}

/// The next byte a session expects; none when it expects nothing.
async fn state(operation: &str, response: Response, total: u64) -> Result<Option<u64>, GraphError> {
    let status = response.status().as_u16();
    let body = read(operation, response, MAX_STATE).await?;
    let garbage = || GraphError::Garbage {
        operation: operation.to_owned(),
        status,
        what: "not the state of a session",
    };
    let state: SessionState = serde_json::from_slice(&body).map_err(|_| garbage())?;
    match state.next() {
        None if state.next_expected_ranges.is_empty() => Ok(None),
        Some(next) if next < total => Ok(Some(next)),
        _ => Err(garbage()),
    }
}
