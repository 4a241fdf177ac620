//! The calls. `user` is a mailbox: its address or object id.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use jiff::Timestamp;
use postroom_entra::http;
use reqwest::Method;
use serde_json::json;

use super::call::{Body, Call, request_id};
use super::{GraphClient, MESSAGE_TIMEOUT};
use crate::error::GraphError;
use crate::wire::{Collection, DeltaEntry, Folder, Message};

/// Members asked for wherever a message is looked up or told of.
const SELECT: &str = "id,internetMessageId,isDraft,parentFolderId,receivedDateTime,sentDateTime";

/// The same for a message looked up by `Message-ID`, which by itself proves nothing: its headers tell whose it is.
const SELECT_WITH_HEADERS: &str =
    "id,internetMessageId,isDraft,parentFolderId,receivedDateTime,sentDateTime,internetMessageHeaders";

/// Messages per page of a list; Graph allows 1,000.
const LIST_PAGE: &str = "500";

/// Longest cursor believed, in bytes. Real ones have some hundred.
const MAX_CURSOR: usize = 16 * 1024;

/// Graph took it: `202 Accepted` is not delivery.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Accepted {
    /// HTTP status.
    pub status: u16,
    /// Graph's request id.
    pub request_id: Option<String>,
}

/// One page of a delta query.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeltaPage {
    /// The entries in Graph's order; the same message may occur several times.
    pub entries: Vec<DeltaEntry>,
    /// Link for the next call, opaque.
    pub cursor: String,
    /// Whether the next page waits already.
    pub more: bool,
}

/// A message on its way.
#[derive(Debug)]
pub struct Download {
    operation: String,
    response: reqwest::Response,
    limit: u64,
    size: u64,
}

impl Download {
    /// The next bytes; none at the end. A line that breaks before the announced length is reached, or before the last
    /// chunk, is an error and no end.
    ///
    /// # Errors
    /// [`GraphError::Network`], or `TooLarge` when there is more than the limit.
    pub async fn chunk(&mut self) -> Result<Option<Bytes>, GraphError> {
        let chunk = self.response.chunk().await.map_err(|source| GraphError::Network {
            operation: self.operation.clone(),
            handed_over: true,
            source: source.without_url(),
        })?;
        self.size = self.size.saturating_add(chunk.as_ref().map_or(0, |chunk| chunk.len() as u64));
        if self.size > self.limit {
            return Err(GraphError::TooLarge { operation: self.operation.clone(), limit: self.limit });
        }
        Ok(chunk)
    }

    /// Bytes so far.
    pub fn size(&self) -> u64 {
        self.size
    }
}

impl GraphClient {
    /// A folder by id or well-known name (`inbox`, `drafts`, `sentitems`, ...).
    ///
    /// # Errors
    /// [`GraphError`], as from every call.
    pub async fn folder(&self, user: &str, name: &str) -> Result<Folder, GraphError> {
        let operation = format!("open {name} of {user}");
        let address = self.address(&operation, user, &["mailFolders", name])?;
        let query = [("$select", "id,displayName,totalItemCount,unreadItemCount")];
        self.json(&Self::get(operation, user, http::with_query(address, &query))).await
    }

    /// The newest messages of a folder, headers only; `top` is 1 to 1,000.
    ///
    /// # Errors
    /// [`GraphError`].
    pub async fn newest(&self, user: &str, folder: &str, top: u32) -> Result<Vec<Message>, GraphError> {
        let operation = format!("read the newest of {folder} of {user}");
        let address = self.address(&operation, user, &["mailFolders", folder, "messages"])?;
        let top = top.clamp(1, 1_000).to_string();
        let select = "id,internetMessageId,subject,from,receivedDateTime,isRead,isDraft";
        let query = [("$select", select), ("$top", top.as_str()), ("$orderby", "receivedDateTime desc")];
        let page: Collection<Message> =
            self.json(&Self::get(operation, user, http::with_query(address, &query))).await?;
        Ok(page.value)
    }

    /// Messages of a folder that were received at `since` or later, newest first, without their content: one page, and
    /// the link to the next.
    ///
    /// # Errors
    /// [`GraphError`]; a link to another host is refused as [`GraphError::Address`].
    pub async fn received_since(
        &self,
        user: &str,
        folder: &str,
        since: Timestamp,
        next: Option<&str>,
    ) -> Result<(Vec<Message>, Option<String>), GraphError> {
        let operation = format!("list {folder} of {user} since {since:.0}");
        let address = match next {
            Some(link) => self.pinned(&operation, link)?,
            None => {
                let address = self.address(&operation, user, &["mailFolders", folder, "messages"])?;
                let filter = format!("receivedDateTime ge {since:.0}");
                let query = [
                    ("$select", SELECT),
                    ("$filter", &filter),
                    ("$orderby", "receivedDateTime desc"),
                    ("$top", LIST_PAGE),
                ];
                http::with_query(address, &query)
            }
        };
        let page: Collection<Message> = self.json(&Self::get(operation, user, address)).await?;
        Ok((page.value, page.next_link))
    }

    /// How many messages of a folder a filter on `receivedDateTime` names, such as `lt 2026-11-23T10:00:00Z`, and the
    /// one that was received first.
    ///
    /// # Errors
    /// [`GraphError`]; `Garbage` when Graph does not count.
    pub async fn count_received(
        &self,
        user: &str,
        folder: &str,
        condition: &str,
    ) -> Result<(u64, Option<Message>), GraphError> {
        let operation = format!("count {folder} of {user}");
        let address = self.address(&operation, user, &["mailFolders", folder, "messages"])?;
        let filter = format!("receivedDateTime {condition}");
        let query = [
            ("$select", "id,receivedDateTime"),
            ("$filter", &filter),
            ("$orderby", "receivedDateTime asc"),
            ("$count", "true"),
            ("$top", "1"),
        ];
        let call = Self::get(operation, user, http::with_query(address, &query));
        let page: Collection<Message> = self.json(&call).await?;
        let Some(count) = page.count else {
            let what = "a list without the count that was asked for";
            return Err(GraphError::Garbage { operation: call.operation, status: 200, what });
        };
        Ok((count, page.value.into_iter().next()))
    }

    /// One page of what changed in a folder since `cursor`; from the beginning without one. `page_size` is a wish.
    ///
    /// # Errors
    /// [`GraphError`]; see [`GraphError::is_cursor_lost`]. A cursor or link to another host is refused as
    /// [`GraphError::Address`].
    pub async fn delta(
        &self,
        user: &str,
        folder: &str,
        cursor: Option<&str>,
        page_size: u32,
    ) -> Result<DeltaPage, GraphError> {
        self.delta_since(user, folder, cursor, None, page_size).await
    }

    /// The same; the beginning is `since`, for this round and all that follow it. Graph then names at most 5,000
    /// messages (delta-query-messages), so ask before how many there are.
    ///
    /// # Errors
    /// As for [`GraphClient::delta`].
    pub async fn delta_since(
        &self,
        user: &str,
        folder: &str,
        cursor: Option<&str>,
        since: Option<Timestamp>,
        page_size: u32,
    ) -> Result<DeltaPage, GraphError> {
        let operation = format!("read changes of {folder} of {user}");
        let address = match cursor {
            Some(cursor) if cursor.len() > MAX_CURSOR => return Err(GraphError::Address { operation }),
            Some(cursor) => self.pinned(&operation, cursor)?,
            None => {
                let address =
                    self.address(&operation, user, &["mailFolders", folder, "messages", "delta"])?;
                let filter = since.map(|since| format!("receivedDateTime ge {since:.0}"));
                let mut query = vec![("$select", SELECT)];
                query.extend(filter.as_deref().map(|filter| ("$filter", filter)));
                http::with_query(address, &query)
            }
        };
        let call = Call { page_size: Some(page_size), ..Self::get(operation, user, address) };
        let page: Collection<DeltaEntry> = self.json(&call).await?;
        let (link, more) = match (page.next_link, page.delta_link) {
            (Some(link), _) => (link, true),
            (None, Some(link)) => (link, false),
            (None, None) => {
                let what = "a page of changes without a link to go on";
                return Err(GraphError::Garbage { operation: call.operation, status: 200, what });
            }
        };
        // Refused now rather than at the next poll, so that a wrong link is never stored.
        self.pinned(&call.operation, &link)?;
        Ok(DeltaPage { entries: page.value, cursor: link, more })
    }

    /// The message as MIME, as Exchange makes it from its store, piece by piece as it comes; at most `limit` bytes.
    ///
    /// # Errors
    /// [`GraphError`]; `TooLarge` as soon as that is known.
    pub async fn download(&self, user: &str, id: &str, limit: u64) -> Result<Download, GraphError> {
        let operation = format!("fetch a message of {user}");
        let address = self.address(&operation, user, &["messages", id, "$value"])?;
        let call = Call { timeout: Some(MESSAGE_TIMEOUT), ..Self::get(operation, user, address) };
        self.downloaded(call, limit).await
    }

    async fn downloaded(&self, call: Call<'_>, limit: u64) -> Result<Download, GraphError> {
        let response = self.send(&call).await?;
        if response.content_length().is_some_and(|length| length > limit) {
            return Err(GraphError::TooLarge { operation: call.operation, limit });
        }
        Ok(Download { operation: call.operation, response, limit, size: 0 })
    }

    /// The bytes of one attached file, as they come; at most `limit`.
    ///
    /// # Errors
    /// As for [`GraphClient::download`].
    pub async fn attached(
        &self,
        user: &str,
        message: &str,
        attachment: &str,
        limit: u64,
    ) -> Result<Download, GraphError> {
        let operation = format!("fetch a file of a message of {user}");
        let address =
            self.address(&operation, user, &["messages", message, "attachments", attachment, "$value"])?;
        let call = Call { timeout: Some(MESSAGE_TIMEOUT), ..Self::get(operation, user, address) };
        self.downloaded(call, limit).await
    }

    /// The same as a whole, for small ones.
    ///
    /// # Errors
    /// As for [`GraphClient::download`].
    pub async fn message_mime(&self, user: &str, id: &str, limit: u64) -> Result<Bytes, GraphError> {
        let mut download = self.download(user, id, limit).await?;
        let mut whole = Vec::new();
        while let Some(chunk) = download.chunk().await? {
            whole.extend_from_slice(&chunk);
        }
        Ok(whole.into())
    }

    /// Makes a draft from raw MIME, recipients from its headers, `Bcc` included. The request holds it as base64 and
    /// may have 4 MB, so `raw` about 3 MB.
    ///
    /// # Errors
    /// [`GraphError`].
    pub async fn create_draft_mime(&self, user: &str, raw: &[u8]) -> Result<Message, GraphError> {
        let operation = format!("create a draft in {user}");
        let address = self.address(&operation, user, &["messages"])?;
        let call = Self::post_mime(operation, user, address, raw);
        let draft: Message = self.json(&call).await?;
        if draft.id.is_empty() {
            let what = "a draft without an id";
            return Err(GraphError::Garbage { operation: call.operation, status: 201, what });
        }
        Ok(draft)
    }

    /// Sends a draft. With immutable ids it keeps its id in Sent Items.
    ///
    /// # Errors
    /// [`GraphError`]; see [`GraphError::may_be_done`]. An answer of success other than 202 is `Garbage`.
    pub async fn send_draft(&self, user: &str, id: &str) -> Result<Accepted, GraphError> {
        let operation = format!("send a draft of {user}");
        let address = self.address(&operation, user, &["messages", id, "send"])?;
        self.accepted(&Call { method: Method::POST, ..Self::get(operation, user, address) }).await
    }

    /// A message by id. `select` names members, separated by commas.
    ///
    /// # Errors
    /// [`GraphError`]; see [`GraphError::is_item_not_found`].
    pub async fn get_message(&self, user: &str, id: &str, select: &str) -> Result<Message, GraphError> {
        let operation = format!("look up a message of {user}");
        let address = self.address(&operation, user, &["messages", id])?;
        self.json(&Self::get(operation, user, http::with_query(address, &[("$select", select)]))).await
    }

    /// Messages with this `Message-ID`, in one folder or in the whole mailbox, with their headers; the first page.
    ///
    /// # Errors
    /// [`GraphError`].
    pub async fn find_by_internet_message_id(
        &self,
        user: &str,
        folder: Option<&str>,
        message_id: &str,
    ) -> Result<Vec<Message>, GraphError> {
        let operation = format!("search {message_id} in {user}");
        let address = match folder {
            Some(folder) => self.address(&operation, user, &["mailFolders", folder, "messages"])?,
            None => self.address(&operation, user, &["messages"])?,
        };
        let filter = format!("internetMessageId eq '{}'", message_id.replace('\'', "''"));
        let address = http::with_query(address, &[("$filter", &filter), ("$select", SELECT_WITH_HEADERS)]);
        let page: Collection<Message> = self.json(&Self::get(operation, user, address)).await?;
        // Quirk: Exchange compares without regard to case here; the header does not.
        let same = |found: &Message| found.internet_message_id.as_deref().is_none_or(|id| id == message_id);
        Ok(page.value.into_iter().filter(same).collect())
    }

    /// Marks a message as read or unread.
    ///
    /// # Errors
    /// [`GraphError`].
    pub async fn patch_is_read(&self, user: &str, id: &str, is_read: bool) -> Result<(), GraphError> {
        let operation = format!("mark a message of {user}");
        let address = self.address(&operation, user, &["messages", id])?;
        let body = Some(json_body(&json!({ "isRead": is_read })));
        let call = Call { method: Method::PATCH, body, ..Self::get(operation, user, address) };
        self.send(&call).await.map(drop)
    }

    /// Moves a message to a folder, by id or well-known name, and gives it as it is there.
    ///
    /// # Errors
    /// [`GraphError`].
    pub async fn move_to(&self, user: &str, id: &str, destination: &str) -> Result<Message, GraphError> {
        let operation = format!("move a message of {user} to {destination}");
        let address = self.address(&operation, user, &["messages", id, "move"])?;
        let body = Some(json_body(&json!({ "destinationId": destination })));
        self.json(&Call { method: Method::POST, body, ..Self::get(operation, user, address) }).await
    }

    /// Deletes a message; it goes to Deleted Items.
    ///
    /// # Errors
    /// [`GraphError`].
    pub async fn delete_message(&self, user: &str, id: &str) -> Result<(), GraphError> {
        let operation = format!("delete a message of {user}");
        let address = self.address(&operation, user, &["messages", id])?;
        let call = Call { method: Method::DELETE, ..Self::get(operation, user, address) };
        self.send(&call).await.map(drop)
    }

    fn post_mime<'a>(operation: String, user: &'a str, address: url::Url, raw: &[u8]) -> Call<'a> {
        let body = Some(Body { kind: "text/plain", bytes: Bytes::from(STANDARD.encode(raw)) });
        let timeout = Some(MESSAGE_TIMEOUT);
        Call { method: Method::POST, body, timeout, ..Self::get(operation, user, address) }
    }

    async fn accepted(&self, call: &Call<'_>) -> Result<Accepted, GraphError> {
        let response = self.send(call).await?;
        let status = response.status().as_u16();
        if status != 202 {
            let what = "not 202 Accepted";
            return Err(GraphError::Garbage { operation: call.operation.clone(), status, what });
        }
        Ok(Accepted { status, request_id: request_id(response.headers()) })
    }
}

fn json_body(value: &serde_json::Value) -> Body {
    Body { kind: "application/json", bytes: Bytes::from(value.to_string()) }
}
