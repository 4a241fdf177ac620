//! By which the same mail is known again in another mailbox: a digest of what its sender wrote.

use std::fmt;

use aws_lc_rs::digest::{Context, SHA256};

use crate::fields::{self, Split};

/// Header fields that say what a message is: written by its sender and the same in every mailbox it came to. The last
/// two say how the body is to be read.
const STABLE_FIELDS: [&str; 8] =
    ["From", "To", "Cc", "Subject", "Date", "Message-ID", "Content-Type", "Content-Transfer-Encoding"];

/// SHA-256 over the body and the header fields that are the same in every mailbox a message came to, unfolded and
/// otherwise as written. What servers add on the way, `Received` and other trace fields, does not count. Takes the
/// message as it comes, and keeps nothing of it but the header section while that goes on: at most 2 MiB and one chunk.
pub struct ContentDigest {
    /// What was taken before it was known where the header ends; none from then on.
    beginning: Option<Vec<u8>>,
    /// How long `beginning` must have become to be looked at again: twice as long each time, so that the smallest
    /// chunks cost no more than large ones.
    look_at: usize,
    context: Context,
}

/// Length at which the beginning of a message is looked at first; most headers are shorter.
const FIRST_LOOK: usize = 16 * 1024;

impl fmt::Debug for ContentDigest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ContentDigest")
    }
}

impl Default for ContentDigest {
    fn default() -> Self {
        Self::new()
    }
}

impl ContentDigest {
    /// The digest of nothing yet.
    pub fn new() -> Self {
        Self { beginning: Some(Vec::new()), look_at: FIRST_LOOK, context: Context::new(&SHA256) }
    }

    /// Takes the next bytes.
    pub fn update(&mut self, chunk: &[u8]) {
        let Some(beginning) = &mut self.beginning else {
            self.context.update(chunk);
            return;
        };
        beginning.extend_from_slice(chunk);
        if beginning.len() < self.look_at {
            return;
        }
        if let Some(split) = fields::split_beginning(beginning) {
            take(&mut self.context, split);
            self.beginning = None;
        } else {
            self.look_at = (2 * beginning.len()).min(fields::CERTAIN);
        }
    }

    /// The digest of all that was taken.
    pub fn finish(mut self) -> [u8; 32] {
        if let Some(beginning) = &self.beginning {
            take(&mut self.context, fields::split(beginning));
        }
        let mut digest = [0; 32];
        digest.copy_from_slice(self.context.finish().as_ref());
        digest
    }
}

/// The header, and as much of the body as is known.
fn take(context: &mut Context, split: Split<'_>) {
    let found = fields::fields(split.header);
    for name in STABLE_FIELDS {
        for field in found.iter().filter(|field| field.is(name)) {
            context.update(name.as_bytes());
            context.update(b":");
            // No line end is left in a value, so where it ends is certain.
            let value: Vec<u8> =
                field.value.iter().copied().filter(|byte| !matches!(byte, b'\r' | b'\n')).collect();
            context.update(value.trim_ascii());
            context.update(b"\n");
        }
    }
    context.update(b"\n");
    context.update(split.body);
}

/// The [`ContentDigest`] of a message that is at hand. Reads all of `raw`: call it on the blocking pool.
pub fn content_digest(raw: &[u8]) -> [u8; 32] {
    let mut digest = ContentDigest::new();
    digest.update(raw);
    digest.finish()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const MAIL: &str = "From: ann@fabrikam.example\r\nTo: orders@contoso.example,\r\n service@contoso.example\r\nSubject: Order\r\nMessage-ID: <1@fabrikam.example>\r\nDate: Mon, 23 Nov 2026 10:00:00 +0000\r\nContent-Type: text/plain\r\n\r\nHello\r\n";

    #[test]
    fn the_same_mail_has_the_same_content_in_every_mailbox() {
        let content = content_digest(MAIL.as_bytes());
        let traced = format!(
            "Received: from a by b for <orders@contoso.example>;\r\n Mon, 23 Nov 2026\r\nX-MS-Exchange-Organization-AuthSource: b\r\n{MAIL}"
        );
        assert_eq!(content_digest(traced.as_bytes()), content);
        let folded = MAIL.replace("example,\r\n service", "example, service").replace("From:", "FROM:  ");
        assert_eq!(content_digest(folded.as_bytes()), content);
        for (old, new) in [
            ("Hello", "hello"),
            ("ann@", "eve@"),
            ("service@", "sales@"),
            ("Subject: Order", "Subject: Order 2"),
            ("<1@", "<2@"),
            ("10:00:00", "10:00:01"),
            ("text/plain", "text/html"),
            ("Subject: Order\r\n", ""),
            ("Subject: Order\r\n", "Subject: Order\r\nSubject: Order\r\n"),
        ] {
            let other = MAIL.replace(old, new);
            assert_ne!(content_digest(other.as_bytes()), content, "{new}");
        }
        assert_ne!(content_digest(b""), content_digest(b"x"));
    }

    /// The digest of these chunks, one after the other.
    fn of_chunks<'a>(chunks: impl IntoIterator<Item = &'a [u8]>) -> [u8; 32] {
        let mut digest = ContentDigest::new();
        chunks.into_iter().for_each(|chunk| digest.update(chunk));
        digest.finish()
    }

    /// Messages whose header ends in every way, at and around every bound.
    fn beginnings() -> Vec<Vec<u8>> {
        let max = fields::MAX_HEADER_SECTION;
        let mut all: Vec<Vec<u8>> = [
            "",
            "\r",
            "\n",
            "\r\n",
            "no header\r\n",
            "Subject: a",
            "Subject: a\r\nno field\r\n",
            " folded\r\n",
        ]
        .map(|text| text.as_bytes().to_vec())
        .into();
        all.push(MAIL.as_bytes().to_vec());
        all.push(format!("From ann Mon Nov 23\r\n{MAIL}").into_bytes());
        all.push(b"From ".to_vec());
        for length in [max - 1, max + 1, max + 2, max + 3] {
            for front in ["Subject: ", "From ", "x", "From a\r\nSubject: ", "Subject: a\r\n "] {
                for end in ["", "\r", "\r\n", "\r\n\r\nbody"] {
                    let mut raw = front.as_bytes().to_vec();
                    raw.resize(length.max(raw.len()), b'x');
                    raw.extend_from_slice(end.as_bytes());
                    all.push(raw);
                }
            }
        }
        all
    }

    /// The digest as it is defined: from the message as a whole.
    fn of_the_whole(raw: &[u8]) -> [u8; 32] {
        let mut digest = ContentDigest::new();
        digest.beginning = Some(raw.to_vec());
        digest.finish()
    }

    #[test]
    fn the_digest_is_the_same_however_a_message_comes_and_keeps_little_of_it() {
        for raw in beginnings() {
            let whole = of_the_whole(&raw);
            let start = String::from_utf8_lossy(&raw[..raw.len().min(20)]);
            for size in [raw.len().max(1), 65_537] {
                assert_eq!(of_chunks(raw.chunks(size)), whole, "{} bytes by {size}: {start}", raw.len());
            }
        }
        let mut digest = ContentDigest::new();
        for _ in 0..100 {
            digest.update(&[b'x'; 65_536]);
            assert!(digest.beginning.as_ref().is_none_or(|kept| kept.len() <= fields::CERTAIN + 65_536));
        }
        assert!(digest.beginning.is_none());
    }

    proptest! {
        #[test]
        fn any_chunking_gives_the_digest_of_the_whole(
            pieces in proptest::collection::vec(
                prop_oneof!["[A-Z][a-z]{1,9}: [ -~]{0,40}", "[ -~]{0,60}", Just("From x".to_owned()), Just(String::new())],
                0..60,
            ),
            times in 1usize..30,
            crlf: bool,
            sizes in proptest::collection::vec(1usize..9_000, 1..40),
        ) {
            let lines: Vec<_> = (0..times).flat_map(|_| pieces.iter().map(String::as_str)).collect();
            let raw = lines.join(if crlf { "\r\n" } else { "\n" }).into_bytes();
            let (mut rest, mut chunks, mut next) = (&raw[..], Vec::new(), sizes.iter().cycle());
            while !rest.is_empty() {
                let (chunk, after) = rest.split_at((*next.next().unwrap()).min(rest.len()));
                chunks.push(chunk);
                rest = after;
            }
            prop_assert_eq!(of_chunks(chunks), of_the_whole(&raw));
        }
    }
}
