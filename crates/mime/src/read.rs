//! Raw MIME to what people and lists need.

use postroom_model::inbox::Summary;

/// Why a message is kept but not read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Unreadable {
    /// Messages within messages, deeper than is safe to take apart.
    #[error("the message holds {found} messages within messages; at most {limit} are taken apart")]
    Nested {
        /// Levels counted.
        found: usize,
        /// Levels allowed.
        limit: usize,
    },
    /// Nothing that could be a message.
    #[error("there is no header that could be read")]
    NoHeader,
}

/// What lists, threads and search need.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReadMessage {
    /// Summary.
    pub summary: Summary,
    /// The text a reader sees, at most 1,000,000 bytes, for search.
    pub text: String,
}

/// What the reading pane shows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct View {
    /// Summary.
    pub summary: Summary,
    /// The text part, or the HTML turned into text.
    pub text: String,
    /// The HTML part made safe; none when there is none or it is beyond the limits.
    pub html: Option<crate::html::SafeHtml>,
    /// Files, in the order of the message.
    pub attachments: Vec<AttachmentInfo>,
    /// All headers in order, decoded, at most 500.
    pub headers: Vec<(String, String)>,
}

/// A file in a message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AttachmentInfo {
    /// Place among the attachments, from 0: the argument of [`attachment`].
    pub index: usize,
    /// File name, without path and control characters; made up when the message has none.
    pub name: String,
    /// Media type in lower case.
    pub content_type: String,
    /// Decoded size in bytes.
    pub size: u64,
    /// Content-ID without angle brackets.
    pub content_id: Option<String>,
    /// Whether it is shown inside the HTML.
    pub inline: bool,
}

/// A file in a message with its content.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AttachmentContent {
    /// What it is.
    pub info: AttachmentInfo,
    /// Its decoded bytes.
    pub content: Vec<u8>,
}

/// Reads a message for lists, threads and search.
///
/// # Errors
/// [`Unreadable`]: the message is kept and shown in quarantine.
pub fn summarize(raw: &[u8]) -> Result<ReadMessage, Unreadable> {
    let _ = raw;
    todo!()
}

/// Reads a message for the reading pane. May take long for large HTML: call it on the blocking pool.
///
/// # Errors
/// [`Unreadable`].
pub fn view(raw: &[u8]) -> Result<View, Unreadable> {
    let _ = raw;
    todo!()
}

/// One file of a message; none when there is no such place.
///
/// # Errors
/// [`Unreadable`].
pub fn attachment(raw: &[u8], index: usize) -> Result<Option<AttachmentContent>, Unreadable> {
    let _ = (raw, index);
    todo!()
}
