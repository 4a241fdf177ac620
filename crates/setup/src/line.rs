//! The one line that a script prints and `postroom setup import` takes.

use std::fmt;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use postroom_model::connection::{Cloud, Endpoints, is_guid};
use postroom_model::{EmailAddress, ExposeSecret, SecretString, Timestamp};
use serde::{Deserialize, Serialize};
use url::Url;

use crate::error::SetupError;
use crate::plan::{self, Api, KeyKind, Limit};

/// How the line begins.
pub const PREFIX: &str = "postroom-setup:v2:";
/// How the line of an earlier version began; it did not say by which API, in which cloud and within which limit.
const EARLIER: &str = "postroom-setup:v1:";
/// Longest line that is read.
const MAX_LINE: usize = 64 * 1024;

/// What a script has made, out of its line.
pub struct Line {
    /// Name of the connection.
    pub connection: String,
    /// The mark of the plan.
    pub mark: String,
    /// How mail is read and sent.
    pub api: Api,
    /// What keeps the application to its mailboxes.
    pub limit: Limit,
    /// Where the tenant lives.
    pub cloud: Cloud,
    /// Directory (tenant) ID.
    pub tenant_id: String,
    /// Application (client) ID.
    pub application_id: String,
    /// Object id of the application.
    pub object_id: String,
    /// Object id of the service principal.
    pub principal_id: String,
    /// Kind of the credential.
    pub kind: KeyKind,
    /// Microsoft's id of it.
    pub key_id: String,
    /// When it ends.
    pub expires_at: Timestamp,
    /// The mailboxes in scope.
    pub mailboxes: Vec<EmailAddress>,
    /// The secret's value, only where a secret was chosen.
    pub secret: Option<SecretString>,
}

impl fmt::Debug for Line {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Line").field("connection", &self.connection).finish_non_exhaustive()
    }
}

/// The members, as the scripts write them.
#[derive(Serialize, Deserialize)]
struct Members {
    connection: String,
    mark: String,
    api: Api,
    limit: Limit,
    /// The cloud's name; `custom` takes the two addresses.
    cloud: String,
    authority: Url,
    graph: Url,
    tenant_id: String,
    application_id: String,
    object_id: String,
    principal_id: String,
    kind: KeyKind,
    key_id: String,
    expires_at: Timestamp,
    mailboxes: Vec<EmailAddress>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    secret: Option<String>,
}

impl Line {
    /// Reads a line. Blanks and line breaks that crept in while it was pasted do not count.
    ///
    /// # Errors
    /// [`SetupError::Line`], which says what is wrong and never shows what is in it.
    pub fn parse(text: &str) -> Result<Self, SetupError> {
        let wrong = |reason: &str| SetupError::Line { reason: reason.to_owned() };
        if text.len() > MAX_LINE {
            return Err(wrong("it is far too long"));
        }
        let compact: String = text.split_whitespace().collect();
        if compact.starts_with(EARLIER) {
            return Err(wrong(
                "it is of version 1, which does not say the API, the cloud and the limit; print the script again and run it again, nothing is made twice",
            ));
        }
        let encoded =
            compact.strip_prefix(PREFIX).ok_or_else(|| wrong("it does not begin with postroom-setup:v2:"))?;
        let json = URL_SAFE_NO_PAD
            .decode(encoded.trim_end_matches('='))
            .map_err(|_| wrong("its end is missing, or a character was changed"))?;
        // The parser's message could hold what it read: only the place is told.
        let members: Members = serde_json::from_slice(&json).map_err(|error| {
            wrong(&format!("its members are not those of version 2 (column {})", error.column()))
        })?;
        for (what, id) in [
            ("tenant id", &members.tenant_id),
            ("application id", &members.application_id),
            ("object id of the application", &members.object_id),
            ("object id of the service principal", &members.principal_id),
            ("key id", &members.key_id),
        ] {
            if !is_guid(id) {
                return Err(wrong(&format!("its {what} is not a GUID")));
            }
        }
        if plan::name(&members.connection, 100).is_err() || members.mailboxes.len() > plan::MAX_MAILBOXES {
            return Err(wrong("its connection or its mailboxes are out of bounds"));
        }
        if (members.kind == KeyKind::Secret) != members.secret.is_some() {
            return Err(wrong("a secret belongs in it exactly when a secret was chosen"));
        }
        let cloud = Cloud::MICROSOFT.into_iter().find(|cloud| cloud.as_str() == members.cloud);
        let endpoints =
            Endpoints { authority: members.authority.clone(), graph: members.graph.clone(), exchange: None };
        let own = (members.cloud == "custom").then_some(Cloud::Custom(endpoints));
        let cloud = cloud.or(own).ok_or_else(|| wrong("its cloud is not known"))?;
        Ok(Self::of(members, cloud))
    }

    /// The line. It holds the secret where there is one.
    ///
    /// # Errors
    /// [`SetupError::Line`] when it cannot be written, which does not happen.
    pub fn write(&self) -> Result<SecretString, SetupError> {
        let members = Members {
            connection: self.connection.clone(),
            mark: self.mark.clone(),
            api: self.api,
            limit: self.limit,
            cloud: self.cloud.as_str().to_owned(),
            authority: self.cloud.endpoints().authority,
            graph: self.cloud.endpoints().graph,
            tenant_id: self.tenant_id.clone(),
            application_id: self.application_id.clone(),
            object_id: self.object_id.clone(),
            principal_id: self.principal_id.clone(),
            kind: self.kind,
            key_id: self.key_id.clone(),
            expires_at: self.expires_at,
            mailboxes: self.mailboxes.clone(),
            secret: self.secret.as_ref().map(|secret| secret.expose_secret().to_owned()),
        };
        let json = serde_json::to_vec(&members)
            .map_err(|_| SetupError::Line { reason: "it cannot be written".to_owned() })?;
        Ok(SecretString::from(format!("{PREFIX}{}", URL_SAFE_NO_PAD.encode(json))))
    }
}

impl Line {
    fn of(members: Members, cloud: Cloud) -> Self {
        Self {
            connection: members.connection,
            mark: members.mark,
            api: members.api,
            limit: members.limit,
            cloud,
            tenant_id: members.tenant_id.to_ascii_lowercase(),
            application_id: members.application_id.to_ascii_lowercase(),
            object_id: members.object_id,
            principal_id: members.principal_id,
            kind: members.kind,
            key_id: members.key_id,
            expires_at: members.expires_at,
            mailboxes: members.mailboxes,
            secret: members.secret.map(SecretString::from),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{APPLICATION, OBJECT, PRINCIPAL, TENANT, plan};

    pub(crate) fn line(kind: KeyKind) -> Line {
        let plan = plan();
        Line {
            connection: plan.connection.clone(),
            mark: plan.mark.clone(),
            api: plan.api,
            limit: plan.limit,
            cloud: Cloud::China,
            tenant_id: TENANT.into(),
            application_id: APPLICATION.into(),
            object_id: OBJECT.into(),
            principal_id: PRINCIPAL.into(),
            kind,
            key_id: OBJECT.into(),
            expires_at: plan.key.expires_at,
            mailboxes: plan.mailboxes,
            secret: (kind == KeyKind::Secret).then(|| SecretString::from("nQ3~invented".to_owned())),
        }
    }

    #[test]
    fn a_line_is_read_back_also_when_it_was_broken_while_pasted() {
        for kind in [KeyKind::Certificate, KeyKind::Secret] {
            let text = line(kind).write().unwrap();
            let (head, tail) = text.expose_secret().split_at(60);
            let read = Line::parse(&format!(" {head}\r\n  {tail}\n")).unwrap();
            assert_eq!(read.application_id, APPLICATION);
            assert_eq!(read.mailboxes.len(), 2);
            assert_eq!((read.api, read.limit, &read.cloud), (Api::Graph, Limit::Rbac, &Cloud::China));
            assert_eq!(read.secret.is_some(), kind == KeyKind::Secret);
            assert!(!format!("{read:?}").contains("nQ3"));
        }
    }

    #[test]
    fn what_is_no_line_is_refused_without_being_shown() {
        let good = line(KeyKind::Secret).write().unwrap().expose_secret().to_owned();
        let cut = good[..good.len() - 9].to_owned();
        let encode = |json: &str| format!("{PREFIX}{}", URL_SAFE_NO_PAD.encode(json));
        for text in ["", "hello", PREFIX, &cut, &encode("{}"), &encode("[1]"), &"x".repeat(MAX_LINE + 1)] {
            let words = Line::parse(text).unwrap_err().to_string();
            assert!(words.starts_with("the pasted line cannot be read: "), "{words}");
            assert!(!words.contains("nQ3"), "{words}");
        }
        let earlier = Line::parse("postroom-setup:v1:e30").unwrap_err().to_string();
        assert!(earlier.contains("version 1"), "{earlier}");
        let mut odd = line(KeyKind::Certificate);
        odd.principal_id = "'; Remove-Everything".into();
        assert!(Line::parse(odd.write().unwrap().expose_secret()).is_err());
    }
}
