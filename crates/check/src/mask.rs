//! Texts without what must not be shown: secrets always, ids and addresses on request.

use postroom_model::connection::is_guid;
use postroom_model::{ExposeSecret, SecretString};

/// Shortest secret that is looked for: a shorter one would blot out half of every sentence.
const SHORTEST: usize = 4;

/// Masks the secrets of this check, and whatever has the shape of a signed token.
pub(crate) fn secrets(text: &str, secrets: &[&SecretString]) -> String {
    let mut text = text.to_owned();
    for secret in secrets.iter().map(|secret| secret.expose_secret().trim()) {
        if secret.len() >= SHORTEST {
            text = text.replace(secret, "[hidden]");
        }
    }
    words(&text, |word| is_token(word).then(|| "[hidden]".to_owned()))
}

/// Ids and addresses shortened: `5a1b…`, `o…@c…`.
pub(crate) fn shorten(text: &str) -> String {
    words(text, |word| {
        let bare = word.trim_end_matches('.');
        let dots = &word[bare.len()..];
        if is_guid(bare) {
            return Some(format!("{}…{dots}", &bare[..4]));
        }
        let (local, domain) = bare.rsplit_once('@')?;
        let first = |part: &str| part.chars().next().map(String::from);
        Some(format!("{}…@{}…{dots}", first(local)?, first(domain)?))
    })
}

/// Three parts in base64url, the first of which begins a JSON object.
fn is_token(word: &str) -> bool {
    word.len() > 40 && word.starts_with("eyJ") && word.split('.').count() >= 3
}

/// Replaces words: runs of letters, digits and what stands inside addresses and tokens.
fn words(text: &str, replace: impl Fn(&str) -> Option<String>) -> String {
    let inside = |c: char| c.is_alphanumeric() || "._+-@".contains(c);
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(start) = rest.find(inside) {
        let (before, from) = rest.split_at(start);
        let end = from.find(|c| !inside(c)).unwrap_or(from.len());
        let (word, after) = from.split_at(end);
        out.push_str(before);
        out.push_str(&replace(word).unwrap_or_else(|| word.to_owned()));
        rest = after;
    }
    out.push_str(rest);
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_and_tokens_are_masked_wherever_they_stand() {
        let secret = SecretString::from("nQ3~invented.value_for-tests");
        let token = format!("eyJ{}.{}.{}", "a".repeat(40), "b".repeat(20), "c".repeat(20));
        let text = format!("refused (nQ3~invented.value_for-tests) for {token}, ok");
        assert_eq!(secrets(&text, &[&secret]), "refused ([hidden]) for [hidden], ok");
        assert_eq!(secrets("a.b.c eyJ.x.y", &[]), "a.b.c eyJ.x.y");
    }

    #[test]
    fn ids_and_addresses_are_shortened() {
        assert_eq!(
            shorten("mailbox:orders@contoso.example of 5a1b2c3d-0000-4000-8000-00000000b001."),
            "mailbox:o…@c… of 5a1b…."
        );
        assert_eq!(shorten("<postroom-check.x@contoso.example> ä @ 12 s"), "<p…@c…> ä @ 12 s");
    }
}
