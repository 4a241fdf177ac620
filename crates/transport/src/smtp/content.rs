//! The content of a message as it goes over the line after DATA (RFC 5321 section 4.5.2). No I/O.

/// What must be known of a message before it is announced. One pass, no copy.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Content {
    /// Its size in bytes with every line end as CR LF and without the doubled dots (RFC 1870 section 3).
    pub(super) size: u64,
    /// Whether it holds bytes above 127.
    pub(super) eight_bit: bool,
    /// Of what its header is.
    pub(super) header: Header,
}

/// Of what a header is: everything before the first empty line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Header {
    /// ASCII, as RFC 5322 wants it.
    Ascii,
    /// UTF-8 beyond ASCII (RFC 6532).
    Utf8,
    /// Bytes that are no UTF-8, for which there is no standard.
    Other,
}

impl Header {
    fn of(raw: &[u8]) -> Self {
        let lines = raw.split_inclusive(|byte| *byte == b'\n');
        let header = lines.take_while(|line| !matches!(*line, b"\r\n" | b"\n")).map(<[u8]>::len).sum();
        match &raw[..header] {
            header if header.is_ascii() => Self::Ascii,
            header if std::str::from_utf8(header).is_ok() => Self::Utf8,
            _ => Self::Other,
        }
    }
}

impl Content {
    /// Looks through the message.
    pub(super) fn of(raw: &[u8]) -> Self {
        let mut grown = 0;
        let mut high = 0;
        let mut last = 0;
        for &byte in raw {
            high |= byte;
            // A bare CR is noticed at the byte after it, a bare LF at itself: each grows by one.
            grown += u64::from((last == b'\r') != (byte == b'\n'));
            last = byte;
        }
        if last == b'\r' {
            grown += 1;
        } else if last != b'\n' {
            grown += 2;
        }
        let eight_bit = high >= 128;
        let header = if eight_bit { Header::of(raw) } else { Header::Ascii };
        Self { size: raw.len() as u64 + grown, eight_bit, header }
    }
}

/// Gives a message piece by piece in the form of the line: dots at line starts doubled, every line end CR LF, and at
/// the end the line with the single dot. Nothing else changes.
///
/// Bare CR and bare LF become CR LF: intake has done that already, and here it is the last guard, for a bare line end
/// before a dot is how one message is smuggled into another.
#[derive(Debug)]
pub(super) struct Stuffed<'a> {
    rest: &'a [u8],
    /// Whether the next byte begins a line.
    fresh: bool,
    done: bool,
}

impl<'a> Stuffed<'a> {
    /// The message from its start.
    pub(super) fn new(raw: &'a [u8]) -> Self {
        Self { rest: raw, fresh: true, done: false }
    }

    /// Appends to `out` until it holds about `enough` bytes, or the end. Gives whether the final dot is among them.
    pub(super) fn fill(&mut self, out: &mut Vec<u8>, enough: usize) -> bool {
        while out.len() < enough && !self.rest.is_empty() {
            if self.fresh && self.rest[0] == b'.' {
                out.push(b'.');
            }
            let room = (enough - out.len()).max(1);
            let window = &self.rest[..self.rest.len().min(room)];
            match window.iter().position(|byte| matches!(byte, b'\r' | b'\n')) {
                Some(end) => {
                    out.extend_from_slice(&window[..end]);
                    out.extend_from_slice(b"\r\n");
                    let pair = self.rest[end..].starts_with(b"\r\n");
                    self.rest = &self.rest[end + 1 + usize::from(pair)..];
                    self.fresh = true;
                }
                None => {
                    out.extend_from_slice(window);
                    self.rest = &self.rest[window.len()..];
                    self.fresh = false;
                }
            }
        }
        if self.rest.is_empty() && !self.done {
            if !self.fresh {
                out.extend_from_slice(b"\r\n");
            }
            out.extend_from_slice(b".\r\n");
            self.done = true;
        }
        self.done
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn stuffed(raw: &[u8], piece: usize) -> Vec<u8> {
        let (mut all, mut out) = (Vec::new(), Vec::new());
        let mut stuffed = Stuffed::new(raw);
        loop {
            out.clear();
            let done = stuffed.fill(&mut out, piece);
            all.extend_from_slice(&out);
            if done {
                return all;
            }
        }
    }

    #[test]
    fn only_dots_and_bare_line_ends_change_whatever_the_pieces() {
        for (raw, line) in [
            ("A: b\r\n\r\nHello\r\n", "A: b\r\n\r\nHello\r\n.\r\n"),
            ("A: b\r\n\r\nHello", "A: b\r\n\r\nHello\r\n.\r\n"),
            ("A: b\r\n\r\n\r\n\r\n", "A: b\r\n\r\n\r\n\r\n.\r\n"),
            (".\r\n..\r\na.\r\n.", "..\r\n...\r\na.\r\n..\r\n.\r\n"),
            ("a\n.\r\nMAIL FROM:<x>\r\n", "a\r\n..\r\nMAIL FROM:<x>\r\n.\r\n"),
            ("a\r.\r\nb\n\rc\r", "a\r\n..\r\nb\r\n\r\nc\r\n.\r\n"),
            ("\u{e9}\r\n", "\u{e9}\r\n.\r\n"),
            ("", ".\r\n"),
        ] {
            let expected = line.as_bytes();
            for piece in [1, 2, 3, 7, 64_000] {
                assert_eq!(stuffed(raw.as_bytes(), piece), expected, "{raw:?} in pieces of {piece}");
            }
            let doubled =
                expected.split(|byte| *byte == b'\n').filter(|line| line.starts_with(b"..")).count();
            let size = (expected.len() - b".\r\n".len() - doubled) as u64;
            if !raw.is_empty() {
                let content = Content::of(raw.as_bytes());
                assert_eq!((content.size, content.eight_bit), (size, !raw.is_ascii()), "{raw:?}");
            }
        }
    }

    #[test]
    fn a_header_is_told_from_a_body_and_utf_8_from_other_bytes() {
        for (raw, header) in [
            (&b"Subject: a\r\n\r\nd\xe9j\xe0\r\n"[..], Header::Ascii),
            (b"Subject: d\xc3\xa9j\xc3\xa0\r\n\r\nd\xe9j\xe0\r\n", Header::Utf8),
            (b"To: a\nSubject: d\xc3\xa9j\xc3\xa0\n\nbody\n", Header::Utf8),
            (b"To: a\r\nSubject: d\xe9j\xe0\r\n\r\n", Header::Other),
            (b"Subject: d\xe9", Header::Other),
            (b"\r\nSubject: d\xe9", Header::Ascii),
        ] {
            assert_eq!(Content::of(raw).header, header, "{}", String::from_utf8_lossy(raw));
        }
    }

    proptest! {
        #[test]
        fn a_server_reads_back_what_was_sent_and_no_dot_ends_it_early(
            raw in "[a.\r\n\u{e9}]{1,60}",
            piece in 1_usize..20,
        ) {
            let line = String::from_utf8(stuffed(raw.as_bytes(), piece)).unwrap();
            prop_assert_eq!(line.find("\r\n.\r\n"), line.len().checked_sub(5));
            prop_assert!(!line.replace("\r\n", "").contains(['\r', '\n']));
            let content = line.strip_suffix(".\r\n").unwrap();
            let read: String = content.split_inclusive("\r\n").map(|line| line.strip_prefix('.').unwrap_or(line)).collect();
            let mut expected = raw.replace("\r\n", "\n").replace('\r', "\n").replace('\n', "\r\n");
            if !expected.ends_with("\r\n") {
                expected.push_str("\r\n");
            }
            prop_assert_eq!(Content::of(raw.as_bytes()).size, expected.len() as u64);
            prop_assert_eq!(read, expected);
        }
    }
}
