//! Wire types. Every member that `$select` can leave out is optional, and unknown members are ignored.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

/// A message (<https://learn.microsoft.com/graph/api/resources/message>).
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Message {
    /// Immutable id, because every request asks for that form. Case matters.
    pub id: String,
    /// `Message-ID` with its angle brackets.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub internet_message_id: Option<String>,
    /// Id of the folder it lies in.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub parent_folder_id: Option<String>,
    /// Id of its conversation.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub conversation_id: Option<String>,
    /// Subject.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub subject: Option<String>,
    /// The first 255 characters of the body.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub body_preview: Option<String>,
    /// Author.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub from: Option<Recipient>,
    /// Who handed it in.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sender: Option<Recipient>,
    /// Recipients.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub to_recipients: Vec<Recipient>,
    /// Recipients of a copy.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub cc_recipients: Vec<Recipient>,
    /// Recipients of a blind copy.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub bcc_recipients: Vec<Recipient>,
    /// When the mailbox received it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub received_date_time: Option<Timestamp>,
    /// When it was sent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sent_date_time: Option<Timestamp>,
    /// Whether it is marked as read.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub is_read: Option<bool>,
    /// Whether it is a draft.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub is_draft: Option<bool>,
    /// Whether it has attachments; false when all of them are inline.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub has_attachments: Option<bool>,
    /// Categories.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub categories: Vec<String>,
    /// Header fields; only where they were asked for by name, and not even then of every message.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub internet_message_headers: Option<Vec<HeaderWire>>,
}

/// A header field of a message.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct HeaderWire {
    /// Name, in whatever case it was written.
    pub name: String,
    /// Value, unfolded.
    pub value: String,
}

/// A recipient or author.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Recipient {
    /// Name and address.
    pub email_address: EmailAddressWire,
}

/// Name and address as Graph writes them. The address need not be valid: Exchange also shows old forms.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct EmailAddressWire {
    /// Name shown to people.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// Address.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub address: Option<String>,
}

/// A mail folder (<https://learn.microsoft.com/graph/api/resources/mailfolder>).
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Folder {
    /// Id.
    pub id: String,
    /// Name shown to people, in the language of the mailbox.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub display_name: Option<String>,
    /// Messages in it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub total_item_count: Option<u64>,
    /// Those not marked as read.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub unread_item_count: Option<u64>,
}

/// What the directory says of a mailbox (<https://learn.microsoft.com/graph/api/resources/user>).
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct DirectoryUser {
    /// Its primary address.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mail: Option<String>,
    /// Name to sign in with.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub user_principal_name: Option<String>,
    /// Name shown to people.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub display_name: Option<String>,
    /// Its licences; none when they may not be seen.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub assigned_licenses: Option<Vec<Licence>>,
}

/// A licence of a user.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Licence {
    /// The plan.
    pub sku_id: String,
}

/// A group with an address (<https://learn.microsoft.com/graph/api/resources/group>).
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct DirectoryGroup {
    /// Id.
    pub id: String,
    /// Name shown to people.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub display_name: Option<String>,
    /// Its address.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mail: Option<String>,
}

/// `userPurpose` of a mailbox, asked for alone.
#[derive(Debug, Clone, PartialEq, Eq, Default, Deserialize)]
pub(crate) struct Purpose {
    /// One of the words of [`GraphClient::mailbox_purpose`](crate::GraphClient::mailbox_purpose), or a later one.
    #[serde(default)]
    pub(crate) value: String,
}

/// An upload session (<https://learn.microsoft.com/graph/api/attachment-createuploadsession>). Its address is a
/// permission of its own, so it is never shown.
#[derive(Clone, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct UploadSession {
    /// Where the pieces go.
    pub upload_url: String,
}

impl std::fmt::Debug for UploadSession {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("UploadSession")
    }
}

/// How far an upload session is. Quirk: the answers to the pieces begin their members with a capital letter and leave
/// the dash out of their ranges.
#[derive(Debug, Clone, PartialEq, Eq, Default, Deserialize)]
#[serde(default)]
pub struct SessionState {
    /// What is missing: `26-`, `26-99` or `26`.
    #[serde(rename = "nextExpectedRanges", alias = "NextExpectedRanges")]
    pub next_expected_ranges: Vec<String>,
}

impl SessionState {
    /// The first byte that is missing.
    pub fn next(&self) -> Option<u64> {
        let first = |range: &String| range.split('-').next().and_then(|text| text.trim().parse().ok());
        self.next_expected_ranges.iter().map(first).min().flatten()
    }
}

/// A subscription to changes (<https://learn.microsoft.com/graph/api/resources/subscription>). Its `clientState` is
/// not read back.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Subscription {
    /// Id.
    pub id: String,
    /// What is subscribed to.
    pub resource: String,
    /// Where the notifications go.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub notification_url: Option<String>,
    /// When it ends.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub expiration_date_time: Option<Timestamp>,
}

/// The answer to a batch (<https://learn.microsoft.com/graph/json-batching>).
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct BatchAnswer {
    /// The answers, in any order.
    pub responses: Vec<Batched>,
}

/// One answer of a batch.
#[derive(Debug, Clone, PartialEq, Eq, Default, Deserialize)]
#[serde(default)]
pub struct Batched {
    /// Id of the request.
    pub id: String,
    /// HTTP status.
    pub status: u16,
    /// Headers.
    pub headers: serde_json::Map<String, serde_json::Value>,
    /// Body.
    pub body: serde_json::Value,
}

/// An attachment without its bytes (<https://learn.microsoft.com/graph/api/resources/attachment>).
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct AttachmentInfo {
    /// Id.
    pub id: String,
    /// File name.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// Media type.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub content_type: Option<String>,
    /// Size in bytes. Quirk: with what Exchange keeps beside the bytes, so often a little more than they are.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub size: Option<u64>,
    /// Whether it is shown within the text.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub is_inline: Option<bool>,
}

/// One page of a collection. A short or even empty page may still have a next one.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Collection<T> {
    /// The items.
    pub value: Vec<T>,
    /// Address of the next page, opaque.
    #[serde(rename = "@odata.nextLink", default, skip_serializing_if = "Option::is_none")]
    pub next_link: Option<String>,
    /// Address of the next round of a delta query, opaque; only on the last page of a round.
    #[serde(rename = "@odata.deltaLink", default, skip_serializing_if = "Option::is_none")]
    pub delta_link: Option<String>,
    /// How many items there are on all pages; where `$count=true` asked for it.
    #[serde(rename = "@odata.count", default, skip_serializing_if = "Option::is_none")]
    pub count: Option<u64>,
}

/// One entry of a delta query (<https://learn.microsoft.com/graph/delta-query-messages>). After a change sometimes
/// only the changed members are there.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DeltaEntry {
    /// The message.
    #[serde(flatten)]
    pub message: Message,
    /// Present when it left the folder.
    #[serde(rename = "@removed", default, skip_serializing_if = "Option::is_none")]
    pub removed: Option<Removed>,
}

/// Why an entry left.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Removed {
    /// `deleted`, which also stands for "moved to another folder", or `changed`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

/// The body of every refusal (<https://learn.microsoft.com/graph/errors>).
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct ErrorEnvelope {
    /// The refusal.
    pub error: ErrorBody,
}

/// A refusal in Graph's words.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct ErrorBody {
    /// Its code, to be compared without regard to case.
    pub code: String,
    /// Its sentence.
    pub message: String,
    /// Details. Quirk: some services write it with a small `e`.
    #[serde(rename = "innerError", alias = "innererror", skip_serializing_if = "Option::is_none")]
    pub inner: Option<InnerError>,
}

/// Details of a refusal.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct InnerError {
    /// A more specific code.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub code: Option<String>,
    /// When it happened, as written.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub date: Option<String>,
    /// Its request id.
    #[serde(rename = "request-id", skip_serializing_if = "Option::is_none")]
    pub request_id: Option<String>,
    /// Our request id, sent back.
    #[serde(rename = "client-request-id", skip_serializing_if = "Option::is_none")]
    pub client_request_id: Option<String>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_of_changes_is_read_and_written_the_same() {
        let text = r##"{"@odata.context":"x","value":[
            {"@odata.type":"#microsoft.graph.message","id":"A","internetMessageId":"<a1@fabrikam.example>",
             "receivedDateTime":"2026-11-23T09:59:59Z","isRead":false,
             "from":{"emailAddress":{"name":"Ann","address":"ann@fabrikam.example"}}},
            {"id":"B","@removed":{"reason":"deleted"}}],
            "@odata.deltaLink":"https://graph.example/v1.0/x?$deltatoken=1"}"##;
        let page: Collection<DeltaEntry> = serde_json::from_str(text).unwrap();
        assert_eq!(page.value[0].message.internet_message_id.as_deref(), Some("<a1@fabrikam.example>"));
        assert!(page.value[0].removed.is_none() && page.value[1].removed.is_some());
        let again = serde_json::from_str(&serde_json::to_string(&page).unwrap()).unwrap();
        assert_eq!(page, again);
    }

    #[test]
    fn both_spellings_of_the_inner_error_are_read() {
        for name in ["innerError", "innererror"] {
            let text = format!(r#"{{"error":{{"code":"c","message":"m","{name}":{{"request-id":"r"}}}}}}"#);
            let envelope: ErrorEnvelope = serde_json::from_str(&text).unwrap();
            assert_eq!(envelope.error.inner.unwrap().request_id.as_deref(), Some("r"));
        }
    }

    #[test]
    fn nulls_do_no_harm() {
        let text = r#"{"id":"A","subject":null,"from":null,"receivedDateTime":null,"isRead":null}"#;
        assert_eq!(serde_json::from_str::<Message>(text).unwrap().id, "A");
    }
}
