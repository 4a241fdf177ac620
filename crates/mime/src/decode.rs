//! Transfer encodings and character sets. Nothing here fails: what cannot be decoded is shown as it is.

use std::borrow::Cow;

use mail_parser::decoders::base64::base64_decode;
use mail_parser::decoders::charsets::map::charset_decoder;

/// A body with its transfer encoding taken off (RFC 2045 section 6).
pub(crate) fn transfer<'a>(body: &'a [u8], encoding: &str) -> Cow<'a, [u8]> {
    match encoding.trim().to_ascii_lowercase().as_str() {
        "base64" => base64(body).into(),
        "quoted-printable" => quoted_printable(body).into(),
        _ => body.into(),
    }
}

/// *Quirk: base64 with strange characters in it.* RFC 2045 section 6.8 says that they are to be ignored; padding in
/// the middle, as when two texts were glued together, begins a new group.
fn base64(body: &[u8]) -> Vec<u8> {
    let strict = base64_decode(body);
    strict.unwrap_or_else(|| {
        let known: Vec<u8> = body
            .iter()
            .copied()
            .filter(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'/' | b'='))
            .collect();
        base64_decode(&known).unwrap_or_default()
    })
}

/// *Quirk: `=` that begins no code.* It stands for itself, as every mail program shows it.
fn quoted_printable(body: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(body.len());
    for line in crate::fields::lines(body) {
        let text = crate::fields::without_end(line);
        let ending = &line[text.len()..];
        // Blanks at the end of a line were added on the way (RFC 2045 section 6.7, rule 3).
        let text = text.trim_ascii_end();
        let (text, soft) = text.strip_suffix(b"=").map_or((text, false), |text| (text, true));
        let mut rest = text;
        while let Some((&byte, after)) = rest.split_first() {
            let code = (byte == b'=').then(|| after.first_chunk::<2>()).flatten().and_then(hex);
            match code {
                Some(decoded) => {
                    out.push(decoded);
                    rest = &after[2..];
                }
                None => {
                    out.push(byte);
                    rest = after;
                }
            }
        }
        if !soft {
            out.extend_from_slice(ending);
        }
    }
    out
}

fn hex(digits: &[u8; 2]) -> Option<u8> {
    let value = |digit: u8| char::from(digit).to_digit(16);
    let value = value(digits[0])? * 16 + value(digits[1])?;
    u8::try_from(value).ok()
}

/// Bytes as text in the character set they claim to be in. *Quirk: UTF-8 with no label or labelled ASCII*: valid
/// UTF-8 is read as such; other bytes are read as windows-1252, of which ISO-8859-1 is a part for readers.
pub(crate) fn text(bytes: &[u8], charset: Option<&str>) -> String {
    let charset = charset.unwrap_or_default().trim().to_ascii_lowercase();
    let known = match charset.as_str() {
        "" | "us-ascii" | "ascii" | "ansi_x3.4-1968" | "utf-8" | "utf8" | "unknown-8bit" => None,
        other => charset_decoder(other.as_bytes()),
    };
    if let Some(decoder) = known {
        return decoder(bytes);
    }
    match std::str::from_utf8(bytes) {
        Ok(text) => text.strip_prefix('\u{feff}').unwrap_or(text).to_owned(),
        Err(_) if charset.starts_with("utf") => String::from_utf8_lossy(bytes).into_owned(),
        Err(_) => match charset_decoder(b"windows-1252") {
            Some(decoder) => decoder(bytes),
            None => String::from_utf8_lossy(bytes).into_owned(),
        },
    }
}

/// Text for people: line ends as `\n`, no control characters but tab and line end, at most `limit` bytes.
pub(crate) fn readable(text: &str, limit: usize) -> String {
    let mut out = String::with_capacity(text.len().min(limit));
    let mut chars = text.chars().peekable();
    while let Some(c) = chars.next() {
        let c = match c {
            '\r' => {
                let _ = chars.next_if_eq(&'\n');
                '\n'
            }
            '\n' | '\t' => c,
            c if c.is_control() => continue,
            c => c,
        };
        if out.len() + c.len_utf8() > limit {
            break;
        }
        out.push(c);
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn broken_encodings_give_what_can_be_read() {
        for (encoding, raw, decoded) in [
            ("BASE64", "SGVs\r\nbG8=", "Hello"),
            ("base64", "SG!!Vsb*G8", "Hello"),
            ("base64", "SGVsbG8=SGVsbG8=", "HelloHello"),
            ("base64", "\u{fffd}", ""),
            ("quoted-printable", "a=20b=\r\nc  \r\nd", "a bc\r\nd"),
            ("quoted-printable", "1 = 2, =zz, =4", "1 = 2, =zz, =4"),
            ("quoted-printable", "end=", "end"),
            ("x-unknown", "a=20b", "a=20b"),
        ] {
            assert_eq!(transfer(raw.as_bytes(), encoding), decoded.as_bytes(), "{encoding} {raw:?}");
        }
    }

    #[test]
    fn character_sets_known_and_unknown() {
        for (charset, bytes, decoded) in [
            (Some("ISO-8859-1"), &b"Gr\xfc\xdfe"[..], "Grüße"),
            (Some("windows-1252"), b"\x80 5", "€ 5"),
            (Some("iso-2022-jp"), b"\x1b$B%O%m\x1b(B", "ハロ"),
            (Some("klingon"), "Grüße".as_bytes(), "Grüße"),
            (Some("klingon"), b"Gr\xfc\xdfe", "Grüße"),
            (None, b"Gr\xfc\xdfe", "Grüße"),
            (Some("us-ascii"), "Grüße".as_bytes(), "Grüße"),
            (Some("utf-8"), b"Gr\xfc", "Gr\u{fffd}"),
            (Some(""), b"", ""),
        ] {
            assert_eq!(text(bytes, charset), decoded, "{charset:?}");
        }
    }

    #[test]
    fn control_characters_go_and_line_ends_become_one() {
        assert_eq!(readable("a\r\nb\rc\nd\te\u{0}\u{1b}[31m\u{85}f", 100), "a\nb\nc\nd\te[31mf");
        assert_eq!(readable("äää", 5), "ää");
    }
}
