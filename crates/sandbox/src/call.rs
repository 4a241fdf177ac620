//! A request as the areas see it: path decoded and taken apart, body read, query split.

use std::time::Duration;

use axum::body::Bytes;
use axum::http::{HeaderMap, Method, header};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, percent_decode_str, utf8_percent_encode};
use serde_json::Value;

use crate::answer::Refusal;

/// A request.
pub(crate) struct Call {
    pub(crate) method: Method,
    /// Decoded segments; `applications(appId='x')` gives `applications` and `(appId='x')`, `mailFolders('inbox')`
    /// gives `mailFolders` and `inbox`.
    pub(crate) path: Vec<String>,
    pub(crate) query: Vec<(String, String)>,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
    /// Scheme and host that were asked: `http://127.0.0.1:8080`.
    pub(crate) base: String,
    /// Host that was asked, with port.
    pub(crate) host: String,
    /// The answer's `request-id`.
    pub(crate) request_id: String,
    /// How long a fault holds the answer back.
    pub(crate) delay: Duration,
}

/// What stands as it is in a path segment (RFC 3986 section 2.3); `$` for Graph's own words.
const SEGMENT: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~').remove(b'$');

impl Call {
    /// The path as a slice that `match` can take apart.
    pub(crate) fn segments(&self) -> Vec<&str> {
        self.path.iter().map(String::as_str).collect()
    }

    /// The address that was asked, without its query.
    pub(crate) fn address(&self) -> String {
        let encoded = self.path.iter().map(|segment| utf8_percent_encode(segment, SEGMENT).to_string());
        format!("{}/{}", self.base, encoded.collect::<Vec<_>>().join("/"))
    }

    /// Holds the answer back as long as a fault asks.
    pub(crate) async fn wait(&self) {
        if !self.delay.is_zero() {
            tokio::time::sleep(self.delay).await;
        }
    }

    /// A header as text.
    pub(crate) fn header(&self, name: impl header::AsHeaderName) -> Option<&str> {
        self.headers.get(name).and_then(|value| value.to_str().ok())
    }

    /// The first value of a query parameter.
    pub(crate) fn param(&self, name: &str) -> Option<&str> {
        self.query.iter().find(|(key, _)| key.eq_ignore_ascii_case(name)).map(|(_, value)| value.as_str())
    }

    /// Media type of the body, lower case, without parameters.
    pub(crate) fn media_type(&self) -> String {
        let value = self.header(header::CONTENT_TYPE).unwrap_or_default();
        value.split(';').next().unwrap_or_default().trim().to_ascii_lowercase()
    }

    /// The body as a JSON object.
    pub(crate) fn json(&self) -> Result<serde_json::Map<String, Value>, Refusal> {
        match serde_json::from_slice(&self.body) {
            Ok(Value::Object(map)) => Ok(map),
            Ok(_) => Err(Refusal::new(400, "RequestBodyRead", "The request body must be a JSON object.")),
            Err(error) => Err(Refusal::new(
                400,
                "RequestBodyRead",
                format!("The request body cannot be read as JSON: {error}."),
            )),
        }
    }

    /// Whether the body is a message in base64 rather than JSON
    /// (<https://learn.microsoft.com/graph/outlook-send-mime-message>).
    pub(crate) fn is_mime(&self) -> bool {
        self.media_type() == "text/plain"
    }

    /// What the `Prefer` headers ask for.
    pub(crate) fn prefer(&self) -> Prefer {
        let mut prefer = Prefer::default();
        let values = self.headers.get_all("prefer").iter().filter_map(|value| value.to_str().ok());
        for item in values.flat_map(|value| value.split(',')) {
            let Some((name, value)) = item.split_once('=') else { continue };
            let value = value.trim().trim_matches('"');
            match name.trim().to_ascii_lowercase().as_str() {
                "idtype" => prefer.immutable = value.eq_ignore_ascii_case("ImmutableId"),
                "odata.maxpagesize" => prefer.page_size = value.parse().ok().filter(|size| *size > 0),
                "outlook.body-content-type" => prefer.body = Some(value.to_ascii_lowercase()),
                _ => {}
            }
        }
        prefer
    }
}

/// Preferences of a request that the sandbox honours.
#[derive(Debug, Clone, Default)]
pub(crate) struct Prefer {
    /// `IdType="ImmutableId"`.
    pub(crate) immutable: bool,
    /// `odata.maxpagesize`.
    pub(crate) page_size: Option<u32>,
    /// `outlook.body-content-type`: `text` or `html`.
    pub(crate) body: Option<String>,
}

impl Prefer {
    /// The header that says which ones were honoured.
    pub(crate) fn applied(&self) -> Option<String> {
        let mut parts = Vec::new();
        if self.immutable {
            parts.push("IdType=\"ImmutableId\"".to_owned());
        }
        if let Some(size) = self.page_size {
            parts.push(format!("odata.maxpagesize={size}"));
        }
        if let Some(kind) = self.body.as_deref().filter(|kind| ["text", "html"].contains(kind)) {
            parts.push(format!("outlook.body-content-type=\"{kind}\""));
        }
        (!parts.is_empty()).then(|| parts.join(", "))
    }
}

/// Segment names in the spelling the areas match on; Graph's paths do not care for case.
const NAMES: &[&str] = &[
    "organization",
    "applications",
    "servicePrincipals",
    "users",
    "me",
    "messages",
    "mailFolders",
    "childFolders",
    "attachments",
    "sendMail",
    "send",
    "move",
    "copy",
    "delta",
    "permanentDelete",
    "addPassword",
    "removePassword",
    "addKey",
    "revokeSignInSessions",
    "removeKey",
    "federatedIdentityCredentials",
    "appRoleAssignments",
    "appRoleAssignedTo",
    "$value",
    "$count",
    "createUploadSession",
    "subscriptions",
    "reauthorize",
    "$batch",
    "translateExchangeIds",
];

/// Takes a path apart: double slashes folded, percent signs decoded, keys in parentheses made segments.
pub(crate) fn split_path(raw: &str) -> Vec<String> {
    let mut out = Vec::new();
    for segment in raw.split('/').filter(|segment| !segment.is_empty()) {
        let segment = percent_decode_str(segment).decode_utf8_lossy().into_owned();
        match segment.split_once('(').and_then(|(name, rest)| Some((name, rest.strip_suffix(')')?))) {
            Some((name, key)) if !name.is_empty() => {
                out.push(spelled(name));
                if let Some(id) = key.strip_prefix('\'').and_then(|rest| rest.strip_suffix('\'')) {
                    out.push(id.replace("''", "'"));
                } else if !key.is_empty() {
                    out.push(format!("({key})"));
                }
            }
            _ => out.push(spelled(&segment)),
        }
    }
    out
}

fn spelled(segment: &str) -> String {
    // `microsoft.graph.delta` is the qualified name of `delta`.
    let short = segment.strip_prefix("microsoft.graph.").unwrap_or(segment);
    NAMES
        .iter()
        .find(|name| name.eq_ignore_ascii_case(short))
        .map_or_else(|| segment.to_owned(), ToString::to_string)
}

/// Splits a query or form: `+` is a blank, percent signs decoded, at most 100 pairs.
pub(crate) fn split_form(text: &[u8]) -> Vec<(String, String)> {
    url::form_urlencoded::parse(text).take(100).map(|(k, v)| (k.into_owned(), v.into_owned())).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_folded_decoded_and_their_keys_become_segments() {
        for (raw, expected) in [
            ("/v1.0//users/u1%40contoso.example/messages", "v1.0|users|u1@contoso.example|messages"),
            ("/v1.0/applications(appId='a')/addPassword", "v1.0|applications|(appId='a')|addPassword"),
            (
                "/v1.0/users('u1@contoso.example')/mailfolders('inbox')/messages/delta()",
                "v1.0|users|u1@contoso.example|mailFolders|inbox|messages|delta",
            ),
            ("/v1.0/users/x/messages/AAMk%3D/%24value", "v1.0|users|x|messages|AAMk=|$value"),
        ] {
            assert_eq!(split_path(raw).join("|"), expected);
        }
    }
}
