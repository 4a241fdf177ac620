//! Names of folders on the wire: UTF-7 as IMAP modified it (RFC 3501 section 5.1.3). Printable ASCII stands for
//! itself, `&` is `&-`, all else is base64 of UTF-16 between `&` and `-`, with `,` for `/` and without padding.

use base64::Engine as _;
use base64::alphabet::IMAP_MUTF7;
use base64::engine::{GeneralPurpose, general_purpose::NO_PAD};

const BASE64: GeneralPurpose = GeneralPurpose::new(&IMAP_MUTF7, NO_PAD);

/// The name as an IMAP string in quotes.
pub(super) fn quoted(name: &str) -> String {
    format!("\"{}\"", encode(name).replace('\\', "\\\\").replace('"', "\\\""))
}

fn encode(name: &str) -> String {
    let mut encoded = String::with_capacity(name.len());
    let mut foreign = Vec::new();
    let flush = |foreign: &mut Vec<u8>, encoded: &mut String| {
        if !foreign.is_empty() {
            encoded.push_str(&format!("&{}-", BASE64.encode(&*foreign)));
            foreign.clear();
        }
    };
    for character in name.chars() {
        if !matches!(character, ' '..='~') {
            let mut units = [0; 2];
            foreign.extend(character.encode_utf16(&mut units).iter().flat_map(|unit| unit.to_be_bytes()));
            continue;
        }
        flush(&mut foreign, &mut encoded);
        encoded.push(character);
        if character == '&' {
            encoded.push('-');
        }
    }
    flush(&mut foreign, &mut encoded);
    encoded
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    postroom_fuzz::targets! {
        imap_folder: ["INBOX", "Erledigt &amp; \u{fc}ber/\u{1f4e6}"] => |bytes| {
            let name = quoted(&String::from_utf8_lossy(bytes));
            assert!(name.is_ascii() && !name.contains(['\r', '\n']), "{name}");
            name
        },
    }

    /// The way back, which only the tests need.
    fn decode(encoded: &str) -> String {
        let mut name = String::new();
        let mut rest = encoded;
        while let Some((plain, after)) = rest.split_once('&') {
            let (foreign, after) = after.split_once('-').unwrap();
            name.push_str(plain);
            let bytes = BASE64.decode(foreign).unwrap();
            let units: Vec<u16> =
                bytes.chunks(2).map(|pair| u16::from_be_bytes([pair[0], pair[1]])).collect();
            name.push_str(if foreign.is_empty() { "&" } else { "" });
            name.push_str(&String::from_utf16(&units).unwrap());
            rest = after;
        }
        name + rest
    }

    #[test]
    fn names_are_written_as_the_standard_shows_them() {
        assert_eq!(encode("~peter/mail/台北/日本語"), "~peter/mail/&U,BTFw-/&ZeVnLIqe-");
        assert_eq!(encode("Entwürfe & mehr"), "Entw&APw-rfe &- mehr");
        assert_eq!(quoted(r#"a"b\c"#), r#""a\"b\\c""#);
    }

    proptest! {
        #[test]
        fn every_name_is_printable_ascii_on_the_wire_and_comes_back(name in any::<String>()) {
            let encoded = encode(&name);
            prop_assert!(encoded.bytes().all(|byte| (b' '..=b'~').contains(&byte)));
            prop_assert_eq!(decode(&encoded), name);
        }
    }
}
