//! What is stored in place of a message that cannot be fetched.

use postroom_model::{EmailAddress, Timestamp};
use postroom_transport::RemoteMessage;

/// What a placeholder begins with, at its first byte. Mail that came over a network begins with the trace fields of
/// the server that took it; should a stranger's begin like this, all it gains is its own quarantine.
const MARK: &[u8] = b"X-Postroom-Placeholder: ";
/// Longest reason, in characters.
const MAX_REASON: usize = 500;

/// A small message that says what is missing, where it is, and why.
pub(super) fn make(mailbox: &EmailAddress, remote: &RemoteMessage, reason: &str) -> Vec<u8> {
    let one_line: String =
        reason.chars().map(|c| if c.is_control() { ' ' } else { c }).take(MAX_REASON).collect();
    let received = rfc2822(remote.received_at);
    let mut text = Vec::from(MARK);
    text.extend_from_slice(
        format!(
            "{one_line}\r\n\
             Date: {received}\r\n\
             Subject: A message could not be collected\r\n\
             MIME-Version: 1.0\r\n\
             Content-Type: text/plain; charset=utf-8\r\n\
             Content-Transfer-Encoding: 8bit\r\n\
             \r\n\
             A message of {received} in {mailbox} could not be collected. It is still in that mailbox.\r\n\
             Reason: {one_line}\r\n\
             Provider id: {}\r\n\
             Message-ID: {}\r\n",
            remote.provider_id.escape_debug(),
            remote.message_id.as_deref().unwrap_or("none").escape_debug(),
        )
        .as_bytes(),
    );
    text
}

/// The reason, when `raw` is a placeholder.
pub(crate) fn reason(raw: &[u8]) -> Option<String> {
    let rest = raw.strip_prefix(MARK)?;
    let line = rest.split(|byte| *byte == b'\r' || *byte == b'\n').next()?;
    Some(String::from_utf8_lossy(line).chars().take(MAX_REASON).collect())
}

fn rfc2822(at: Timestamp) -> String {
    at.strftime("%a, %d %b %Y %H:%M:%S +0000").to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_reason_survives_and_no_line_can_be_smuggled_in() {
        let mailbox = "orders@contoso.example".parse().unwrap();
        let remote = RemoteMessage {
            provider_id: "AAMk\r\nBcc: eve@evil.example".into(),
            message_id: None,
            received_at: Timestamp::UNIX_EPOCH,
        };
        let raw = make(&mailbox, &remote, "500 ErrorX\r\nTo: eve@evil.example");
        assert_eq!(reason(&raw).unwrap(), "500 ErrorX  To: eve@evil.example");
        let text = String::from_utf8(raw).unwrap();
        assert!(!text.contains("\nBcc:") && !text.contains("\nTo:"), "{text}");
        assert!(text.contains("Date: Thu, 01 Jan 1970 00:00:00 +0000\r\n"), "{text}");
        assert_eq!(reason(b"Received: from a\r\n"), None);
    }
}
