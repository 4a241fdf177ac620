//! From bytes to whole commands: lines and literals are put together within bounds before anything parses them.
//!
//! A literal that is too large ends the connection: its bytes may already be on their way, and a server that went on
//! reading would take the text of a mail for commands.

/// Longest line without its literals, with CR LF.
const MAX_LINE: usize = 64 * 1024;
/// Longest line before the sign-in; a token makes a long one.
const MAX_EARLY_LINE: usize = 16 * 1024;
/// Most literals of one command.
const MAX_LITERALS: usize = 16;
/// Longest literal before the sign-in.
const MAX_EARLY_LITERAL: usize = 8 * 1024;

/// Something the client sent, or wants.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Frame {
    /// A command with its literals and its CR LF.
    Command(Vec<u8>),
    /// The client waits for leave to send a literal.
    Prompt,
    /// A line that cannot be one: it is refused, with this tag.
    Refused(String),
    /// The connection cannot go on.
    Fatal(&'static str),
}

/// Puts frames together.
#[derive(Default)]
pub(super) struct Framer {
    buffer: Vec<u8>,
    /// Where the present line of the command begins; what is before it is complete.
    line: usize,
    literals: usize,
    /// Longest literal after the sign-in; none before it.
    largest: Option<usize>,
}

impl Framer {
    /// Takes bytes that came.
    pub(super) fn push(&mut self, bytes: &[u8]) {
        self.buffer.extend_from_slice(bytes);
    }

    /// The client has signed in and may send more; `largest` is the size of a message.
    pub(super) fn trust(&mut self, largest: usize) {
        self.largest = Some(largest);
    }

    /// The next line as it is, without its line end: the answer to a challenge, or the end of `IDLE`.
    pub(super) fn line(&mut self) -> Option<Result<Vec<u8>, &'static str>> {
        match self.end() {
            Ok(end) => {
                let mut line: Vec<u8> = self.buffer.drain(..=end?).collect();
                line.truncate(line.trim_ascii_end().len());
                Some(Ok(line))
            }
            Err(why) => Some(Err(why)),
        }
    }

    /// Where the present line ends.
    fn end(&self) -> Result<Option<usize>, &'static str> {
        let longest = if self.largest.is_some() { MAX_LINE } else { MAX_EARLY_LINE };
        let rest = self.buffer.get(self.line..).unwrap_or_default();
        match rest.iter().take(longest).position(|byte| *byte == b'\n') {
            Some(at) => Ok(Some(self.line + at)),
            None if rest.len() >= longest => Err("Line too long."),
            None => Ok(None),
        }
    }

    /// The next frame among the bytes that came.
    pub(super) fn next(&mut self) -> Option<Frame> {
        loop {
            let end = match self.end() {
                Ok(end) => end?,
                Err(why) => return Some(Frame::Fatal(why)),
            };
            let line = &self.buffer[self.line..=end];
            if !line.ends_with(b"\r\n") {
                let command = self.take(end);
                return Some(Frame::Refused(tag(&command)));
            }
            let Some((length, waits)) = literal(line) else {
                return Some(Frame::Command(self.take(end)));
            };
            self.literals += 1;
            let largest = self.largest.unwrap_or(MAX_EARLY_LITERAL);
            let beyond = end.saturating_add(length) > largest.saturating_add(MAX_LINE);
            if length > largest || beyond || self.literals > MAX_LITERALS {
                return Some(Frame::Fatal("Literal too large."));
            }
            self.line = end + 1 + length;
            if waits {
                return Some(Frame::Prompt);
            }
        }
    }

    fn take(&mut self, end: usize) -> Vec<u8> {
        (self.line, self.literals) = (0, 0);
        self.buffer.drain(..=end).collect()
    }
}

/// Length of the literal a line ends with, and whether the client waits for leave (RFC 7888).
fn literal(line: &[u8]) -> Option<(usize, bool)> {
    let inner = line.strip_suffix(b"}\r\n")?;
    let open = inner.iter().rposition(|byte| *byte == b'{')?;
    let number = &inner[open + 1..];
    let (digits, waits) = number.strip_suffix(b"+").map_or((number, true), |digits| (digits, false));
    if digits.is_empty() || !digits.iter().all(u8::is_ascii_digit) {
        return None;
    }
    // A number too large for a size is too large in any case.
    let length =
        std::str::from_utf8(digits).ok().and_then(|text| text.parse().ok()).unwrap_or(usize::MAX / 2);
    Some((length, waits))
}

/// The tag a command begins with; `*` when there is none that could be repeated.
pub(super) fn tag(command: &[u8]) -> String {
    let first = command.split(|byte| *byte == b' ').next().unwrap_or_default().trim_ascii();
    let fits = (1..=40).contains(&first.len()) && first.iter().all(u8::is_ascii_alphanumeric);
    if fits { String::from_utf8_lossy(first).into_owned() } else { "*".to_owned() }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    postroom_fuzz::targets! {
        sandbox_imap_framing: ["a1 LOGIN {3}\r\nabc {4+}\r\ndefg\r\n", "a2 UID FETCH 1:* (FLAGS)\r\nDONE\r\n"] => |bytes| {
            let mut framer = Framer::default();
            let mut frames = Vec::new();
            for (index, piece) in bytes.chunks(7).enumerate() {
                if index == 3 {
                    framer.trust(100_000);
                }
                framer.push(piece);
                while let Some(frame) = framer.next() {
                    if matches!(frame, Frame::Fatal(_)) {
                        return (frames, Some(frame));
                    }
                    if matches!(frame, Frame::Prompt) {
                        break;
                    }
                    frames.push(frame);
                }
            }
            (frames, framer.line().and_then(Result::err).map(Frame::Fatal))
        },
    }

    fn frames(framer: &mut Framer, bytes: &[u8], piece: usize) -> Vec<Frame> {
        let mut found = Vec::new();
        for piece in bytes.chunks(piece) {
            framer.push(piece);
            while let Some(frame) = framer.next() {
                let fatal = matches!(frame, Frame::Fatal(_));
                found.push(frame);
                if fatal {
                    return found;
                }
            }
        }
        found
    }

    #[test]
    fn literals_belong_to_their_command_whatever_is_in_them() {
        let text = b"a1 APPEND x {14}\r\nb2 LOGOUT\r\n\r\nx\r\nb3 NOOP\r\n";
        for piece in [1, 2, 5, 100] {
            let mut framer = Framer::default();
            framer.trust(100);
            let found = frames(&mut framer, text, piece);
            assert_eq!(found[0], Frame::Prompt);
            assert_eq!(found[1], Frame::Command(text[..34].to_vec()));
            assert_eq!(found[2], Frame::Command(b"b3 NOOP\r\n".to_vec()));
        }
        let found = frames(&mut Framer::default(), b"a LOGIN {1+}\r\nx {1+}\r\ny\r\n", 3);
        assert_eq!(found, [Frame::Command(b"a LOGIN {1+}\r\nx {1+}\r\ny\r\n".to_vec())]);
    }

    #[test]
    fn what_is_too_large_ends_the_connection() {
        for text in ["a APPEND x {101}\r\n", "a APPEND x {99999999999999999999999+}\r\n"] {
            let mut framer = Framer::default();
            framer.trust(100);
            assert_eq!(frames(&mut framer, text.as_bytes(), 9), [Frame::Fatal("Literal too large.")]);
        }
        let early = frames(&mut Framer::default(), b"a APPEND x {9000}\r\n", 9);
        assert_eq!(early, [Frame::Fatal("Literal too large.")]);
        let endless = vec![b'a'; MAX_EARLY_LINE];
        assert_eq!(frames(&mut Framer::default(), &endless, 999), [Frame::Fatal("Line too long.")]);
        assert_eq!(frames(&mut Framer::default(), b"a1 NOOP\n", 9), [Frame::Refused("a1".to_owned())]);
    }

    proptest! {
        #[test]
        fn any_bytes_are_survived(bytes in proptest::collection::vec(any::<u8>(), 0..400), piece in 1..40usize) {
            let mut framer = Framer::default();
            framer.trust(50);
            frames(&mut framer, &bytes, piece);
            prop_assert!(framer.buffer.len() <= 2 * MAX_LINE);
            let _ = framer.line();
        }
    }
}
