//! Header fields of a raw message: found, removed, replaced, without touching anything else in it.

/// A field with its folded lines and line ends, and where the name ends.
fn fields(raw: &[u8]) -> (Vec<&[u8]>, &[u8]) {
    let mut found: Vec<&[u8]> = Vec::new();
    let mut start = 0;
    let mut position = 0;
    while position < raw.len() {
        let end =
            raw[position..].iter().position(|byte| *byte == b'\n').map_or(raw.len(), |at| position + at + 1);
        let line = &raw[position..end];
        let blank = line == b"\r\n" || line == b"\n";
        let folded = matches!(line.first(), Some(b' ' | b'\t'));
        if (blank || !folded) && position > start {
            found.push(&raw[start..position]);
            start = position;
        }
        if blank {
            return (found, &raw[position..]);
        }
        position = end;
    }
    if raw.len() > start {
        found.push(&raw[start..]);
    }
    (found, &[])
}

fn is_named(field: &[u8], name: &str) -> bool {
    let Some(colon) = field.iter().position(|byte| *byte == b':') else { return false };
    field[..colon].trim_ascii().eq_ignore_ascii_case(name.as_bytes())
}

/// Whether a field is there.
pub(crate) fn has(raw: &[u8], name: &str) -> bool {
    fields(raw).0.iter().any(|field| is_named(field, name))
}

/// The first value of a field, unfolded and trimmed.
pub(crate) fn value(raw: &[u8], name: &str) -> Option<String> {
    let (fields, _) = fields(raw);
    let field = fields.into_iter().find(|field| is_named(field, name))?;
    let colon = field.iter().position(|byte| *byte == b':')?;
    let text = String::from_utf8_lossy(&field[colon + 1..]);
    Some(text.replace(['\r', '\n'], "").trim().to_owned())
}

/// The message without the fields of this name.
pub(crate) fn without(raw: &[u8], name: &str) -> Vec<u8> {
    let (fields, body) = fields(raw);
    let mut out = Vec::with_capacity(raw.len());
    for field in fields.iter().filter(|field| !is_named(field, name)) {
        out.extend_from_slice(field);
    }
    out.extend_from_slice(body);
    out
}

/// The message with this field in front. `value` must hold no bare line break.
pub(crate) fn with_first(raw: &[u8], name: &str, value: &str) -> Vec<u8> {
    let mut out = format!("{name}: {value}\r\n").into_bytes();
    // A message that begins with its body has no header: the field then needs the blank line.
    if fields(raw).0.is_empty() && !raw.starts_with(b"\r\n") && !raw.starts_with(b"\n") {
        out.extend_from_slice(b"\r\n");
    }
    out.extend_from_slice(raw);
    out
}

/// The message with this field instead of those of the same name.
pub(crate) fn replaced(raw: &[u8], name: &str, value: &str) -> Vec<u8> {
    with_first(&without(raw, name), name, value)
}

/// Line ends as mail has them: every bare LF becomes CRLF.
pub(crate) fn with_crlf(raw: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(raw.len());
    let mut before = 0;
    for &byte in raw {
        if byte == b'\n' && before != b'\r' {
            out.push(b'\r');
        }
        out.push(byte);
        before = byte;
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    const RAW: &[u8] = b"To: a@b.example,\r\n c@d.example\r\nBcc: x@y.example,\r\n\tz@y.example\r\nSubject: s\r\n\r\nBcc: body\r\n";

    #[test]
    fn a_folded_field_goes_as_a_whole_and_the_body_stays() {
        let out = without(RAW, "bcc");
        assert_eq!(out, b"To: a@b.example,\r\n c@d.example\r\nSubject: s\r\n\r\nBcc: body\r\n");
        assert_eq!(value(RAW, "to").unwrap(), "a@b.example, c@d.example");
        assert!(!has(&out, "Bcc"));
    }

    #[test]
    fn fields_are_put_in_front_of_what_is_there() {
        assert!(replaced(RAW, "Subject", "new").starts_with(b"Subject: new\r\nTo: "));
        assert_eq!(with_first(b"\r\nbody", "A", "b"), b"A: b\r\n\r\nbody");
        assert_eq!(with_crlf(b"a\nb\r\n"), b"a\r\nb\r\n");
    }
}
