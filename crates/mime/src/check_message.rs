//! The test message of a check: what is in it, and how it is known again.
//!
//! It is mail for nobody and is kept out of the inboxes, so nothing else may pass for it: a stranger who copies its marks
//! hides a message that says nothing but the sentence below. Sender and recipient of a test may differ. A test message
//! that a provider changed on the way, by a disclaimer or another `Message-ID`, is shown like any mail.

/// Header that holds the token of the test; the same token stands in subject and `Message-ID`.
pub const FIELD: &str = "X-Postroom-Check";
/// Says that nobody is to answer (RFC 3834 section 5).
pub const AUTO_FIELD: &str = "Auto-Submitted";
/// Its value.
pub const AUTO: &str = "auto-generated";
/// The whole text.
pub const TEXT: &str = "This message was sent by the check of the e-mail settings in Postroom.\n";
/// Letters and digits of a token.
pub const TOKEN: usize = 16;
/// Most bytes of a test message, with all that servers add on the way.
pub(crate) const MAX: usize = 128 * 1024;

/// The subject of the test with this token.
pub fn subject(token: &str) -> String {
    format!("Postroom test message {token}")
}

/// The `Message-ID` of the test with this token, with angle brackets.
pub fn message_id(token: &str, domain: &str) -> String {
    format!("<postroom-check.{token}@{domain}>")
}

/// Whether this may be a token: nothing can be written in so few small letters and digits.
pub(crate) fn is_token(text: &str) -> bool {
    text.len() == TOKEN && text.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit())
}
