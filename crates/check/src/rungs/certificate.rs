//! Who issued a certificate and when it ends: the fields of X.509 that the check shows (RFC 5280 section 4.1).

use jiff::civil::DateTime;
use jiff::tz::TimeZone;
use postroom_entra::http::tidy;
use postroom_model::Timestamp;

const SEQUENCE: u8 = 0x30;
const SET: u8 = 0x31;
/// `[0] EXPLICIT`: the version, which may be missing.
const VERSION: u8 = 0xa0;
const OBJECT_ID: u8 = 0x06;
/// 2.5.4.3 and 2.5.4.10.
const COMMON_NAME: [u8; 3] = [0x55, 0x04, 0x03];
const ORGANIZATION: [u8; 3] = [0x55, 0x04, 0x0a];

/// Two digits of the year, and four.
const UTC_TIME: u8 = 0x17;
const GENERALIZED_TIME: u8 = 0x18;

/// Organization and common name of the issuer; none when this is no certificate or names neither.
pub(crate) fn of(certificate: &[u8]) -> Option<String> {
    let (name, _) = issuer(certificate)?;
    let parts = [attribute(name, ORGANIZATION), attribute(name, COMMON_NAME)];
    let parts: Vec<String> = parts.into_iter().flatten().collect();
    (!parts.is_empty()).then(|| parts.join(", "))
}

/// When the certificate ends; none when this is no certificate.
pub(crate) fn end(certificate: &[u8]) -> Option<Timestamp> {
    let (_, rest) = issuer(certificate)?;
    let (tag, validity, _) = element(rest)?;
    let (_, _, rest) = element(validity)?;
    let (kind, text, _) = element(rest)?;
    let text = std::str::from_utf8(text).ok().filter(|_| tag == SEQUENCE)?;
    let text = match kind {
        // RFC 5280 section 4.1.2.5.1: years below 50 are of this century.
        UTC_TIME => format!("{}{text}", if text.get(..2)?.parse::<u8>().ok()? < 50 { "20" } else { "19" }),
        GENERALIZED_TIME => text.to_owned(),
        _ => return None,
    };
    let time = DateTime::strptime("%Y%m%d%H%M%SZ", text).ok()?;
    time.to_zoned(TimeZone::UTC).ok().map(|zoned| zoned.timestamp())
}

/// The name of the issuer, and what follows it: the validity.
fn issuer(certificate: &[u8]) -> Option<(&[u8], &[u8])> {
    let (tag, certificate, _) = element(certificate)?;
    let (inner, tbs, _) = element(certificate)?;
    if (tag, inner) != (SEQUENCE, SEQUENCE) {
        return None;
    }
    let (tag, _, after) = element(tbs)?;
    // Version, serial number and signature algorithm stand before it.
    let rest = if tag == VERSION { after } else { tbs };
    let (_, _, rest) = element(rest)?;
    let (_, _, rest) = element(rest)?;
    let (_, name, rest) = element(rest)?;
    Some((name, rest))
}

/// The first attribute of this type in a name.
fn attribute(mut name: &[u8], wanted: [u8; 3]) -> Option<String> {
    while let Some((tag, set, rest)) = element(name) {
        name = rest;
        if tag != SET {
            return None;
        }
        let (_, pair, _) = element(set)?;
        let (kind, id, value) = element(pair)?;
        if kind == OBJECT_ID && id == wanted {
            let (_, text, _) = element(value)?;
            return Some(tidy(String::from_utf8_lossy(text), 100));
        }
    }
    None
}

/// Tag, content, and what follows, of one element in DER.
fn element(bytes: &[u8]) -> Option<(u8, &[u8], &[u8])> {
    let (tag, rest) = bytes.split_first()?;
    let (first, rest) = rest.split_first()?;
    let (length, rest) = match first {
        0..=0x7f => (usize::from(*first), rest),
        0x81..=0x83 => {
            let (digits, rest) = rest.split_at_checked(usize::from(first & 0x0f))?;
            (digits.iter().fold(0, |length, digit| length << 8 | usize::from(*digit)), rest)
        }
        _ => return None,
    };
    let (content, rest) = rest.split_at_checked(length)?;
    Some((*tag, content, rest))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn der(tag: u8, content: &[u8]) -> Vec<u8> {
        let length = u8::try_from(content.len()).unwrap();
        let mut out = if length < 0x80 { vec![tag, length] } else { vec![tag, 0x81, length] };
        out.extend_from_slice(content);
        out
    }

    fn part(id: [u8; 3], text: &str) -> Vec<u8> {
        let pair = [der(OBJECT_ID, &id), der(0x0c, text.as_bytes())].concat();
        der(SET, &der(SEQUENCE, &pair))
    }

    #[test]
    fn the_issuer_is_read_with_and_without_a_version() {
        let country = [0x55, 0x04, 0x06];
        let name =
            [part(country, "XX"), part(ORGANIZATION, "Example Trust"), part(COMMON_NAME, "Example CA 1")]
                .concat();
        let fields = [der(2, &[1]), der(SEQUENCE, &[]), der(SEQUENCE, &name)].concat();
        let with_version = [der(VERSION, &der(2, &[2])), fields.clone()].concat();
        for tbs in [fields, with_version] {
            let certificate = der(SEQUENCE, &der(SEQUENCE, &tbs));
            assert_eq!(of(&certificate).as_deref(), Some("Example Trust, Example CA 1"));
            for end in 0..certificate.len() {
                assert_eq!(of(&certificate[..end]), None);
            }
        }
    }

    #[test]
    fn the_end_is_read_in_both_forms() {
        let told = |kind: u8, text: &str| {
            let validity =
                der(SEQUENCE, &[der(UTC_TIME, b"250101000000Z"), der(kind, text.as_bytes())].concat());
            let fields = [der(2, &[1]), der(SEQUENCE, &[]), der(SEQUENCE, &[]), validity].concat();
            end(&der(SEQUENCE, &der(SEQUENCE, &fields))).map(|end| end.to_string())
        };
        assert_eq!(told(UTC_TIME, "270314235959Z").as_deref(), Some("2027-03-14T23:59:59Z"));
        assert_eq!(told(GENERALIZED_TIME, "20500101000000Z").as_deref(), Some("2050-01-01T00:00:00Z"));
        for (kind, text) in [(UTC_TIME, "x"), (UTC_TIME, "\u{e4}70314235959Z"), (OBJECT_ID, "270314235959Z")]
        {
            assert_eq!(told(kind, text), None);
        }
    }

    #[test]
    fn what_is_no_certificate_has_no_issuer() {
        for bytes in [&b""[..], b"0", b"\x30\x84\xff\xff\xff\xff", b"\x30\x02\x30\x00", b"hello there"] {
            assert_eq!((of(bytes), end(bytes)), (None, None));
        }
    }
}
