//! A valid draft to raw MIME.

use postroom_model::draft::ValidDraft;
use postroom_model::{EmailAddress, Timestamp};

/// Raw MIME (RFC 5322, CRLF line ends) of a draft, without `Bcc`. Text and HTML become `multipart/alternative`;
/// HTML alone gets a text alternative; attachments with a content id become `multipart/related`.
///
/// `message_id` is written as given, with its angle brackets. `boundary_seed` makes the boundaries: unpredictable
/// in production, fixed in tests.
pub fn build(draft: &ValidDraft, message_id: &str, date: Timestamp, boundary_seed: &str) -> Vec<u8> {
    let _ = (draft, message_id, date, boundary_seed);
    todo!()
}

/// The message with a `Bcc` header of these addresses put in front of its other headers: for providers that take
/// the recipients from the headers (Microsoft Graph). Unchanged when `bcc` is empty.
pub fn with_bcc(raw: &[u8], bcc: &[EmailAddress]) -> Vec<u8> {
    let _ = (raw, bcc);
    todo!()
}
