//! Ids as Outlook makes them: opaque, case-sensitive, with `=`, `-` and `_` in them, so that clients must encode
//! them in paths. A message has two: the ordinary one changes with the folder, the immutable one stays
//! (<https://learn.microsoft.com/graph/outlook-immutable-id>).

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE;
use postroom_model::Env;

fn id(env: &Env, family: &str) -> String {
    // 41 bytes end in one `=`, and the fixed first one makes every id hold a `-`.
    let mut bytes = [0; 41];
    env.fill(&mut bytes);
    bytes[0] = 0xf8;
    format!("{family}{}", URL_SAFE.encode(bytes))
}

/// A folder's id.
pub(crate) fn folder(env: &Env) -> String {
    id(env, "AQMkAD")
}

/// An ordinary message id.
pub(crate) fn ordinary(env: &Env) -> String {
    id(env, "AAMkAG")
}

/// An immutable message id.
pub(crate) fn immutable(env: &Env) -> String {
    id(env, "AAkALg")
}

/// Whether a text has the form of an id.
pub(crate) fn well_formed(text: &str) -> bool {
    (8..=255).contains(&text.len())
        && (text.starts_with("AA") || text.starts_with("AQ"))
        && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_=".contains(&byte))
}
