//! What was said when somebody signed in, taken out of what the server says: servers exist that repeat a command, whole,
//! cut or folded, and their words go into failures, pages and logs.

use std::collections::HashSet;
use std::ops::Range;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use postroom_model::{ExposeSecret, SecretString};

/// What stands where a server repeated a secret.
const HIDDEN: &str = "(hidden)";
/// So many bytes in a row of a secret are not repeated. A secret that is shorter is hidden where all of it stands.
const ENOUGH: usize = 8;
/// A shorter one would hide words of the server.
const SHORTEST: usize = 4;

/// A secret in each form in which a server has seen it. Empty, it hides nothing.
#[derive(Default)]
pub(crate) struct Said(Vec<SecretString>);

impl Said {
    /// A password or token, and the `lines` of base64 in which it stood.
    pub(crate) fn new<'a>(secret: &SecretString, lines: impl IntoIterator<Item = &'a SecretString>) -> Self {
        let secret = secret.expose_secret();
        let escaped = secret.replace('\\', "\\\\").replace('"', "\\\"");
        let mut forms = vec![SecretString::from(STANDARD.encode(secret)), secret.to_owned().into()];
        if escaped != secret {
            forms.push(escaped.into());
        }
        forms.extend(lines.into_iter().cloned());
        Self(forms)
    }

    /// The words without the secret.
    pub(crate) fn hide(&self, words: String) -> String {
        let mut found: Vec<Range<usize>> = Vec::new();
        for form in &self.0 {
            find(form.expose_secret().as_bytes(), words.as_bytes(), &mut found);
        }
        if found.is_empty() {
            return words;
        }
        found.sort_unstable_by_key(|range| range.start);
        let mut hidden = String::with_capacity(words.len());
        let mut shown_to = 0;
        for range in found {
            let begin = (0..=range.start).rev().find(|place| words.is_char_boundary(*place)).unwrap_or(0);
            let end = (range.end..).find(|place| words.is_char_boundary(*place)).unwrap_or(words.len());
            if begin >= shown_to {
                // What touches the place before is the same place.
                if begin > shown_to || !hidden.ends_with(HIDDEN) {
                    hidden.push_str(&words[shown_to..begin]);
                    hidden.push_str(HIDDEN);
                }
            }
            shown_to = shown_to.max(end);
        }
        hidden.push_str(&words[shown_to..]);
        hidden
    }
}

/// Where in `words` at least [`ENOUGH`] bytes in a row of `secret` stand, or all of a shorter one.
fn find(secret: &[u8], words: &[u8], found: &mut Vec<Range<usize>>) {
    let length = secret.len().min(ENOUGH);
    if length < SHORTEST || words.len() < length {
        return;
    }
    let pieces: HashSet<&[u8]> = secret.windows(length).collect();
    for (begin, piece) in words.windows(length).enumerate() {
        if pieces.contains(piece) {
            match found.last_mut() {
                Some(last) if (last.start..=last.end).contains(&begin) => {
                    last.end = last.end.max(begin + length)
                }
                _ => found.push(begin..begin + length),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const PASSWORD: &str = "pässw\"ord of a \\ test";

    fn said(secret: &str) -> Said {
        let line = SecretString::from(STANDARD.encode(format!("\0desk\0{secret}")));
        Said::new(&secret.to_owned().into(), [&line])
    }

    #[test]
    fn a_repeated_secret_is_hidden_in_every_form_whole_cut_and_folded_and_nothing_else_is() {
        let line = STANDARD.encode(format!("\0desk\0{PASSWORD}"));
        let alone = STANDARD.encode(PASSWORD);
        let escaped = PASSWORD.replace('\\', "\\\\").replace('"', "\\\"");
        for (words, shown) in [
            (format!("no: AUTH PLAIN {line} ({PASSWORD}) ?"), "no: AUTH PLAIN (hidden) ((hidden)) ?"),
            (format!("LOGIN desk \"{escaped}\": bad"), "LOGIN desk \"(hidden)\": bad"),
            (format!("NO {alone}"), "NO (hidden)"),
            (format!("cut: {}...", &line[..14]), "cut: (hidden)..."),
            (format!("folded: {} {}", &line[..12], &line[12..]), "folded: (hidden) (hidden)"),
            ("Authentication failed for desk.".to_owned(), "Authentication failed for desk."),
        ] {
            assert_eq!(said(PASSWORD).hide(words), shown);
        }
        assert_eq!(said("four").hide("go four it".into()), "go (hidden) it");
        assert_eq!(said("abc").hide("abc is too short".into()), "abc is too short");
        assert_eq!(Said::default().hide(PASSWORD.into()), PASSWORD);
    }

    proptest! {
        #[test]
        fn no_eight_bytes_of_a_secret_are_left(
            secret in "[a-c\u{e9}\"\\\\ ]{4,40}", before in "[ -~\u{e9}]{0,20}", from in 0_usize..20, to in 0_usize..60,
        ) {
            let letters: Vec<char> = secret.chars().collect();
            let cut: String = letters[from.min(letters.len())..to.min(letters.len()).max(from.min(letters.len()))].iter().collect();
            let hidden = said(&secret).hide(format!("{before}{cut}|"));
            let length = secret.len().min(ENOUGH);
            let left = secret.as_bytes().windows(length).any(|piece| hidden.as_bytes().windows(length).any(|part| part == piece));
            prop_assert!(!left, "{hidden}");
        }
    }
}
