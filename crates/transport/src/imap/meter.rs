//! Counts what a server sends before the parser sees it. The parser holds one response whole, makes room for a literal
//! as soon as its length is announced, and descends as deep as brackets go; so each of the three is bounded here.

use std::fmt;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, BufReader, ReadBuf};

use crate::line::Line;

/// Longest line, literals apart: a list of vanished messages is one line. The parser begins anew with every 4 KiB.
const MAX_LINE: usize = 256 * 1024;
/// Opening brackets in one response; what is asked for here has a handful.
const MAX_BRACKETS: usize = 64;
/// Bytes asked of the system at once.
const READ_AHEAD: usize = 64 * 1024;

/// What one command's answer may bring, in bytes.
#[derive(Debug, Clone, Copy)]
pub(super) struct Bounds {
    /// One literal.
    pub(super) literal: u64,
    /// Everything.
    pub(super) total: u64,
}

impl Bounds {
    /// Answers without message text.
    pub(super) const SMALL: Self = Self { literal: 64 * 1024, total: 4 * 1024 * 1024 };
    /// The list of all messages of a folder: some 30 bytes each, none of them kept but the number.
    pub(super) const LIST: Self = Self { literal: 64 * 1024, total: 256 * 1024 * 1024 };
}

/// Why a server was cut off.
#[derive(Debug)]
pub(super) struct Excess(String);

impl fmt::Display for Excess {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Excess {}

/// The end of a line, as far as it could announce a literal: `{42}`.
#[derive(Clone, Copy)]
enum Tail {
    Other,
    Number(u64),
    Closed(u64),
}

/// Where in the protocol the next byte stands.
struct Frame {
    bounds: Bounds,
    total: u64,
    literal_left: u64,
    line: usize,
    brackets: usize,
    tail: Tail,
    quoted: bool,
    escaped: bool,
}

impl Frame {
    fn new() -> Self {
        Self {
            bounds: Bounds::SMALL,
            total: 0,
            literal_left: 0,
            line: 0,
            brackets: 0,
            tail: Tail::Other,
            quoted: false,
            escaped: false,
        }
    }

    fn take(&mut self, mut bytes: &[u8]) -> Result<(), Excess> {
        self.total += bytes.len() as u64;
        if self.total > self.bounds.total {
            return Err(Excess(format!("the answer is longer than {} bytes", self.bounds.total)));
        }
        while let Some((&byte, rest)) = bytes.split_first() {
            if self.literal_left > 0 {
                let skipped = usize::try_from(self.literal_left).unwrap_or(usize::MAX).min(bytes.len());
                self.literal_left -= skipped as u64;
                bytes = &bytes[skipped..];
                continue;
            }
            self.step(byte)?;
            bytes = rest;
        }
        Ok(())
    }

    fn step(&mut self, byte: u8) -> Result<(), Excess> {
        self.line += 1;
        if self.line > MAX_LINE {
            return Err(Excess(format!("a line is longer than {MAX_LINE} bytes")));
        }
        self.tail = match (byte, self.tail) {
            (b'{', _) => Tail::Number(0),
            (b'0'..=b'9', Tail::Number(number)) => {
                Tail::Number(number.saturating_mul(10).saturating_add(u64::from(byte - b'0')))
            }
            (b'}', Tail::Number(number)) | (b'\r', Tail::Closed(number)) => Tail::Closed(number),
            (b'\n', Tail::Closed(length)) => return self.literal(length),
            _ => Tail::Other,
        };
        match byte {
            b'\n' => (self.line, self.brackets, self.quoted) = (0, 0, false),
            b'(' => {
                self.brackets += 1;
                if self.brackets > MAX_BRACKETS {
                    return Err(Excess(format!("an answer has more than {MAX_BRACKETS} brackets")));
                }
            }
            b'"' => self.quoted = !self.quoted,
            b'\\' if self.quoted => self.escaped = true,
            _ => {}
        }
        Ok(())
    }

    fn literal(&mut self, length: u64) -> Result<(), Excess> {
        if length > self.bounds.literal {
            let most = self.bounds.literal;
            return Err(Excess(format!("a literal of {length} bytes was announced; {most} were asked for")));
        }
        (self.line, self.tail, self.literal_left) = (0, Tail::Other, length);
        Ok(())
    }
}

/// A line to a server whose answers are counted.
pub(super) struct Meter {
    inner: BufReader<Line>,
    frame: Frame,
}

impl fmt::Debug for Meter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Meter")
    }
}

impl Meter {
    pub(super) fn new(line: Line) -> Self {
        Self { inner: BufReader::with_capacity(READ_AHEAD, line), frame: Frame::new() }
    }

    /// The line below.
    pub(super) fn line(&self) -> &Line {
        self.inner.get_ref()
    }

    /// The next command's answer begins.
    pub(super) fn arm(&mut self, bounds: Bounds) {
        (self.frame.bounds, self.frame.total, self.frame.escaped) = (bounds, 0, false);
    }

    /// Bytes since [`Meter::arm`].
    pub(super) fn received(&self) -> u64 {
        self.frame.total
    }

    /// Whether a quoted string since [`Meter::arm`] held a backslash, which the parser leaves in.
    pub(super) fn escaped(&self) -> bool {
        self.frame.escaped
    }
}

impl AsyncRead for Meter {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let before = buffer.filled().len();
        ready!(Pin::new(&mut this.inner).poll_read(cx, buffer))?;
        Poll::Ready(this.frame.take(&buffer.filled()[before..]).map_err(io::Error::other))
    }
}

impl AsyncWrite for Meter {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.get_mut().inner).poll_write(cx, bytes)
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().inner).poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().inner).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    postroom_fuzz::targets! {
        imap_meter: ["* 1 FETCH (UID 1 BODY[] {5}\r\nhello FLAGS (\\Seen \"a\\\"b\"))\r\np1 OK done\r\n"] => |bytes| {
            let (mut whole, mut pieces) = (Frame::new(), Frame::new());
            let at_once = whole.take(bytes).map_err(|excess| excess.to_string());
            let by_byte = bytes.chunks(1).try_for_each(|byte| pieces.take(byte)).map_err(|excess| excess.to_string());
            assert_eq!(at_once, by_byte, "it counts the same in any pieces");
            at_once
        },
    }

    fn fed(text: &[u8], piece: usize) -> Result<Frame, String> {
        let mut frame = Frame::new();
        frame.bounds = Bounds { literal: 10, total: 10_000 };
        for bytes in text.chunks(piece) {
            frame.take(bytes).map_err(|excess| excess.to_string())?;
        }
        Ok(frame)
    }

    #[test]
    fn what_is_announced_or_sent_beyond_the_bounds_is_refused_wherever_it_is_cut() {
        let brackets = [b"* 1 FETCH ".as_slice(), &[b'('; 65]].concat();
        for piece in [1, 2, 7, 4096] {
            let literal = fed(b"* 1 FETCH (BODY[] {11}\r\n", piece).err().unwrap();
            assert_eq!(literal, "a literal of 11 bytes was announced; 10 were asked for");
            assert!(fed(b"* 1 FETCH (BODY[] {99999999999999999999999}\r\n", piece).is_err());
            assert!(fed(&brackets, piece).err().unwrap().contains("64 brackets"));
            assert!(fed(&[b'x'; 10_001], piece).err().unwrap().contains("10000 bytes"));
            // A literal's own bytes are no protocol.
            assert!(fed(b"* 1 FETCH (BODY[] {10}\r\n{99}\r\n((((\r\n", piece).is_ok());
            assert!(fed(b"* OK {99} is no literal\r\n", piece).is_ok());
        }
    }

    proptest! {
        #[test]
        fn where_the_stream_is_cut_makes_no_difference(text in "([a-z{}0-9(\"\\\\\r\n]|\\{[0-9]\\}\r\n){0,60}", piece in 1_usize..9) {
            let state = |fed: Result<Frame, String>| fed.map(|frame| (frame.literal_left, frame.line, frame.brackets, frame.escaped));
            prop_assert_eq!(state(fed(text.as_bytes(), piece)), state(fed(text.as_bytes(), usize::MAX)));
        }
    }

    #[test]
    fn a_backslash_counts_in_quotes_only() {
        assert!(!fed(b"* 1 FETCH (FLAGS (\\Seen))\r\n", 5).unwrap().escaped);
        assert!(fed(b"* 1 FETCH (BODY[] \"a\\\\b\")\r\n", 5).unwrap().escaped);
    }
}
