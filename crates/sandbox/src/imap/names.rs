//! Names and strings on the wire: modified UTF-7 (RFC 3501 section 5.1.3), quoted strings and literals, patterns of
//! `LIST`.

use base64::Engine;
use base64::alphabet::IMAP_MUTF7;
use base64::engine::general_purpose::{GeneralPurpose, NO_PAD};

const MUTF7: GeneralPurpose = GeneralPurpose::new(&IMAP_MUTF7, NO_PAD);

/// A folder's name as it is sent.
pub(super) fn encoded(name: &str) -> String {
    let (mut out, mut waiting) = (String::new(), Vec::new());
    let flush = |out: &mut String, waiting: &mut Vec<u8>| {
        if !waiting.is_empty() {
            out.push('&');
            out.push_str(&MUTF7.encode(&*waiting));
            out.push('-');
            waiting.clear();
        }
    };
    for c in name.chars() {
        if matches!(c, ' '..='~') {
            flush(&mut out, &mut waiting);
            out.push(c);
            if c == '&' {
                out.push('-');
            }
        } else {
            let mut units = [0; 2];
            waiting.extend(c.encode_utf16(&mut units).iter().flat_map(|unit| unit.to_be_bytes()));
        }
    }
    flush(&mut out, &mut waiting);
    out
}

/// A name as it was sent; none when it is not well formed.
pub(super) fn decoded(bytes: &[u8]) -> Option<String> {
    let text = std::str::from_utf8(bytes).ok()?;
    let (mut out, mut rest) = (String::new(), text);
    while let Some((plain, after)) = rest.split_once('&') {
        out.push_str(plain);
        let (inner, after) = after.split_once('-')?;
        if inner.is_empty() {
            out.push('&');
        } else {
            let bytes = MUTF7.decode(inner).ok()?;
            let units: Vec<u16> =
                bytes.chunks(2).map(|two| two.iter().fold(0, |a, b| a << 8 | u16::from(*b))).collect();
            if bytes.len() % 2 != 0 {
                return None;
            }
            out.push_str(&String::from_utf16(&units).ok()?);
        }
        rest = after;
    }
    out.push_str(rest);
    (!out.chars().any(char::is_control)).then_some(out)
}

/// A string: quoted where that is possible, else a literal.
pub(super) fn string(bytes: &[u8]) -> Vec<u8> {
    let plain = bytes.len() <= 1000 && bytes.iter().all(|byte| (b' '..=b'~').contains(byte));
    if !plain {
        return literal(bytes);
    }
    let mut out = vec![b'"'];
    for &byte in bytes {
        if byte == b'"' || byte == b'\\' {
            out.push(b'\\');
        }
        out.push(byte);
    }
    out.push(b'"');
    out
}

/// A literal.
pub(super) fn literal(bytes: &[u8]) -> Vec<u8> {
    let mut out = format!("{{{}}}\r\n", bytes.len()).into_bytes();
    out.extend_from_slice(bytes);
    out
}

/// A string, or `NIL` when there is none.
pub(super) fn nstring(text: Option<&str>) -> Vec<u8> {
    text.map_or_else(|| b"NIL".to_vec(), |text| string(text.as_bytes()))
}

/// A folder's name as it stands in an answer.
pub(super) fn quoted(name: &str) -> String {
    format!("\"{}\"", encoded(name).replace('\\', "\\\\").replace('"', "\\\""))
}

/// Whether a name fits a pattern: `*` is anything, `%` anything within one level; case does not count.
pub(super) fn fits(pattern: &str, name: &str) -> bool {
    let pattern: Vec<char> = pattern.to_lowercase().chars().collect();
    let name: Vec<char> = name.to_lowercase().chars().collect();
    // Which places of the name the pattern so far can end at: no recursion, whatever the pattern.
    let mut ends = vec![false; name.len() + 1];
    ends[0] = true;
    for wanted in pattern {
        let mut next = vec![false; name.len() + 1];
        match wanted {
            '*' | '%' => {
                let mut open = false;
                for at in 0..=name.len() {
                    open = open && (wanted == '*' || name[at - 1] != '/') || ends[at];
                    next[at] = open;
                }
            }
            wanted => {
                for at in 0..name.len() {
                    next[at + 1] = ends[at] && name[at] == wanted;
                }
            }
        }
        ends = next;
    }
    ends[name.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    postroom_fuzz::targets! {
        sandbox_imap_names: ["Erledigt &APw-ber 2026/&AMQ-", "&2D3c5g-", "a*%b"] => |bytes| {
            let name = decoded(bytes);
            if let Some(name) = &name {
                assert_eq!(decoded(encoded(name).as_bytes()).as_ref(), Some(name), "it survives print and parse");
            }
            let text = String::from_utf8_lossy(bytes);
            (name, fits(&text, "Inbox/Erledigt"), string(bytes).len() >= bytes.len())
        },
    }

    #[test]
    fn names_go_there_and_back() {
        for (name, sent) in [
            ("Sent Items", "Sent Items"),
            ("Entwürfe", "Entw&APw-rfe"),
            ("R&D", "R&-D"),
            ("台北/日本語", "&U,BTFw-/&ZeVnLIqe-"),
            ("\u{1f4ec}", "&2D3c7A-"),
        ] {
            assert_eq!(encoded(name), sent);
            assert_eq!(decoded(sent.as_bytes()).as_deref(), Some(name));
        }
        for wrong in ["&", "&A", "&AAA-x&", "&2D0-", "a\u{7}"] {
            assert_eq!(decoded(wrong.as_bytes()), None, "{wrong}");
        }
    }

    #[test]
    fn patterns_keep_to_their_level_or_not() {
        assert!(fits("*", "Archive/2026") && fits("arch%", "Archive") && fits("%/%", "Archive/2026"));
        assert!(!fits("%", "Archive/2026") && !fits("Arch", "Archive") && fits("*2*", "Archive/2026"));
        assert!(fits(&"*".repeat(500), &"a".repeat(500)) && fits("", ""));
    }

    #[test]
    fn strings_that_cannot_be_quoted_are_literals() {
        assert_eq!(string(b"a\"b\\"), b"\"a\\\"b\\\\\"");
        assert_eq!(string(b"a\r\nb"), b"{4}\r\na\r\nb");
        assert_eq!(nstring(None), b"NIL");
    }
}
