//! Raw MIME handed in by a program.

use postroom_model::{EmailAddress, Problems, Timestamp};

/// A raw message ready to be stored and sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Submission {
    /// The message: CRLF line ends, with `Message-ID`, `Date` and `MIME-Version`, without `Bcc`. Otherwise byte for
    /// byte as handed in.
    pub raw: Vec<u8>,
    /// `Message-ID` with its angle brackets: the one it came with, else `fallback_message_id`.
    pub message_id: String,
    /// Decoded subject, at most 255 characters.
    pub subject: String,
    /// Address of `From`.
    pub from: EmailAddress,
    /// Addresses of `To`, `Cc` and `Bcc`, each once.
    pub header_recipients: Vec<EmailAddress>,
}

/// Reads a raw message that is to be sent, adds what it lacks and takes `Bcc` out of it.
///
/// # Errors
/// Problems at `message` (not a message, nested deeper than 100 levels, a header line over 998 bytes with no fold)
/// or `from` (missing, more than one, no address).
pub fn read(raw: &[u8], fallback_message_id: &str, now: Timestamp) -> Result<Submission, Problems> {
    let _ = (raw, fallback_message_id, now);
    todo!()
}

/// Addresses of `To`, `Cc` and `Bcc` of a raw message, each once.
pub fn header_recipients(raw: &[u8]) -> Vec<EmailAddress> {
    let _ = raw;
    todo!()
}
