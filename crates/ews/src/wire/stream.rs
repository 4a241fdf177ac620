//! Answers that are not read at once: several envelopes one after another, and a message whose MIME is passed on as it
//! comes, so that it never lies in memory as a whole.

use base64::Engine;

use super::value::LENIENT;

/// Why a stream cannot be read on.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum StreamError {
    /// What surrounds the message, or one envelope, is larger than allowed.
    #[error("an envelope is larger than {limit} bytes")]
    TooLarge {
        /// The limit, in bytes.
        limit: usize,
    },
    /// It is not what belongs there.
    #[error("{0}")]
    Malformed(String),
}

/// Cuts a stream into envelopes.
pub struct EnvelopeCutter {
    buffer: Vec<u8>,
    /// How far there certainly is no end.
    looked: usize,
    limit: usize,
}

impl EnvelopeCutter {
    /// A cutter for envelopes of at most `limit` bytes.
    pub fn new(limit: usize) -> Self {
        Self { buffer: Vec::new(), looked: 0, limit }
    }

    /// Takes what came, and gives the envelopes that are complete now.
    ///
    /// # Errors
    /// [`StreamError::TooLarge`].
    pub fn push(&mut self, chunk: &[u8]) -> Result<Vec<Vec<u8>>, StreamError> {
        let mut envelopes = Vec::new();
        self.buffer.extend_from_slice(chunk);
        while let Some(found) = self.buffer[self.looked..].iter().position(|byte| *byte == b'>') {
            let end = self.looked + found;
            if is_end(&self.buffer[..end]) {
                let rest = self.buffer.split_off(end + 1);
                envelopes.push(std::mem::replace(&mut self.buffer, rest));
                self.looked = 0;
            } else {
                self.looked = end + 1;
            }
        }
        self.looked = self.buffer.len();
        if self.buffer.len() > self.limit {
            return Err(StreamError::TooLarge { limit: self.limit });
        }
        Ok(envelopes)
    }
}

/// Whether these bytes end with `</prefix:Envelope`.
fn is_end(bytes: &[u8]) -> bool {
    let near = &bytes[bytes.len().saturating_sub(100)..];
    let Some(start) = near.iter().rposition(|byte| *byte == b'<') else { return false };
    near[start + 1..].strip_prefix(b"/").is_some_and(|name| local(name) == b"Envelope")
}

/// The name of a tag without prefix and what follows the name.
fn local(tag: &[u8]) -> &[u8] {
    let end = tag.iter().position(|byte| byte.is_ascii_whitespace() || *byte == b'/').unwrap_or(tag.len());
    tag[..end].rsplit(|byte| *byte == b':').next().unwrap_or(&[])
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Place {
    Text,
    /// In a tag that begins there in what surrounds the message.
    Tag(usize),
    Mime,
    /// In a reference within the base64: Exchange may write line ends so.
    Reference,
}

/// Takes `MimeContent` out of an answer to GetItem for one item: the message is given as it comes, what surrounds it
/// is kept and read in the end.
pub struct MimeCutter {
    place: Place,
    rest: Vec<u8>,
    pending: Vec<u8>,
    seen: bool,
    padded: bool,
    limit: usize,
}

impl MimeCutter {
    /// A cutter for an answer whose surroundings have at most `limit` bytes.
    pub fn new(limit: usize) -> Self {
        Self { place: Place::Text, rest: Vec::new(), pending: Vec::new(), seen: false, padded: false, limit }
    }

    /// Takes what came, and gives what of the message is known now.
    ///
    /// # Errors
    /// [`StreamError`]: no base64, a second message, or surroundings that are too large.
    pub fn push(&mut self, chunk: &[u8]) -> Result<Vec<u8>, StreamError> {
        let mut decoded = Vec::new();
        let mut chunk = chunk;
        loop {
            if self.place == Place::Mime {
                // Most of it: taken over in runs.
                let run = chunk.iter().position(|byte| !is_base64(*byte)).unwrap_or(chunk.len());
                self.pending.extend_from_slice(&chunk[..run]);
                chunk = &chunk[run..];
            }
            let Some((&byte, after)) = chunk.split_first() else { break };
            chunk = after;
            match self.place {
                Place::Text => {
                    if byte == b'<' {
                        self.place = Place::Tag(self.rest.len());
                    }
                    self.keep(byte)?;
                }
                Place::Tag(start) => {
                    self.keep(byte)?;
                    if byte == b'>' {
                        self.place = self.after_tag(start)?;
                    }
                }
                Place::Mime if byte == b'<' => {
                    decoded.extend(self.decode(true)?);
                    self.place = Place::Tag(self.rest.len());
                    self.keep(byte)?;
                }
                Place::Mime if byte == b'&' => self.place = Place::Reference,
                Place::Mime if byte.is_ascii_whitespace() => {}
                Place::Mime => return Err(not_base64(&format!("it holds the byte {byte}"))),
                Place::Reference if byte == b';' => self.place = Place::Mime,
                Place::Reference if byte == b'#' || byte.is_ascii_alphanumeric() => {}
                Place::Reference => {
                    return Err(StreamError::Malformed("MimeContent holds a broken reference".to_owned()));
                }
            }
        }
        decoded.extend(self.decode(false)?);
        Ok(decoded)
    }

    /// Whether the answer had a message.
    pub fn has_message(&self) -> bool {
        self.seen
    }

    /// What surrounded the message: an answer with an empty `MimeContent`.
    pub fn finish(self) -> Vec<u8> {
        self.rest
    }

    fn keep(&mut self, byte: u8) -> Result<(), StreamError> {
        if self.rest.len() >= self.limit {
            return Err(StreamError::TooLarge { limit: self.limit });
        }
        self.rest.push(byte);
        Ok(())
    }

    fn after_tag(&mut self, start: usize) -> Result<Place, StreamError> {
        let tag = &self.rest[start + 1..self.rest.len() - 1];
        if tag.starts_with(b"!") {
            // In a comment or a CDATA section a `<` begins nothing; Exchange writes neither.
            return Err(StreamError::Malformed("the answer holds a markup declaration".to_owned()));
        }
        if tag.starts_with(b"/") || tag.ends_with(b"/") || local(tag) != b"MimeContent" {
            return Ok(Place::Text);
        }
        if std::mem::replace(&mut self.seen, true) {
            return Err(StreamError::Malformed("the answer holds a second message".to_owned()));
        }
        Ok(Place::Mime)
    }

    /// Decodes what is complete, or all at the end.
    fn decode(&mut self, all: bool) -> Result<Vec<u8>, StreamError> {
        let whole = if all { self.pending.len() } else { self.pending.len() / 4 * 4 };
        if whole == 0 {
            return Ok(Vec::new());
        }
        if self.padded {
            return Err(not_base64("it goes on after its end"));
        }
        self.padded = self.pending[..whole].ends_with(b"=");
        let decoded =
            LENIENT.decode(&self.pending[..whole]).map_err(|error| not_base64(&error.to_string()))?;
        self.pending.drain(..whole);
        Ok(decoded)
    }
}

fn is_base64(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'/' | b'=')
}

fn not_base64(what: &str) -> StreamError {
    StreamError::Malformed(format!("MimeContent is not base64: {what}"))
}
