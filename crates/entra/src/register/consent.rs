//! Admin consent by a link, for an administrator who works in a browser, and redirect URIs, which only that and
//! signing in need.
//!
//! Source: Microsoft, "Admin consent on the Microsoft identity platform"
//! (<https://learn.microsoft.com/entra/identity-platform/v2-admin-consent>).

use postroom_model::SecretString;
use reqwest::Method;
use serde_json::json;
use url::Url;

use super::error::RegisterError;
use super::steps::{RegisteredApplication, Registrar};
use crate::http;

/// Which consent page.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ConsentForm<'a> {
    /// The page of version 1: consents to all that the registration lists.
    V1,
    /// The page of version 2, with a scope: `https://graph.microsoft.com/.default`.
    V2 {
        /// The scope.
        scope: &'a str,
    },
}

/// The page where an administrator consents for the whole tenant. `tenant` may be `organizations` when it is not
/// known; `state` comes back with the answer. None when the authority is no address.
pub fn consent_url(
    authority: &Url,
    tenant: &str,
    application: &str,
    redirect_uri: &Url,
    state: &str,
    form: ConsentForm<'_>,
) -> Option<Url> {
    let tenant = tenant.trim();
    if tenant.is_empty() {
        return None;
    }
    let redirect_uri = plain(redirect_uri);
    let mut query = vec![("client_id", application), ("redirect_uri", &redirect_uri), ("state", state)];
    let address = match form {
        ConsentForm::V1 => http::join(authority, &[tenant, "adminconsent"])?,
        ConsentForm::V2 { scope } => {
            query.push(("scope", scope));
            http::join(authority, &[tenant, "v2.0", "adminconsent"])?
        }
    };
    Some(http::with_query(address, &query))
}

/// What the browser brings back from the consent page.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ConsentAnswer {
    /// Consented, in this tenant.
    Given {
        /// Directory (tenant) ID.
        tenant: String,
    },
    /// Refused.
    Refused {
        /// `access_denied`, `permission_denied`, ...
        error: String,
        /// Microsoft's sentence.
        description: String,
    },
    /// It belongs to another question, or is none.
    Foreign,
}

impl ConsentAnswer {
    /// Reads the query of the redirect. `state` is the one that was sent.
    pub fn read(back: &Url, state: &SecretString) -> Self {
        let value = |name: &str| {
            let found = back.query_pairs().find(|(known, _)| known == name);
            found.map(|(_, value)| http::tidy(value, 1_000))
        };
        if value("state").as_deref() != Some(postroom_model::ExposeSecret::expose_secret(state)) {
            return Self::Foreign;
        }
        match (value("error"), value("tenant"), value("admin_consent")) {
            (Some(error), _, _) => {
                Self::Refused { error, description: value("error_description").unwrap_or_default() }
            }
            (None, Some(tenant), Some(given)) if given.eq_ignore_ascii_case("true") => Self::Given { tenant },
            _ => Self::Foreign,
        }
    }
}

/// Where a redirect URI is registered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RedirectPlatform {
    /// A page of a server.
    Web,
    /// A program on this machine: `http://localhost` stands for every port.
    PublicClient,
}

impl Registrar {
    /// Sets the redirect URIs of one platform. Needed only where somebody signs in or consents in a browser; a
    /// connector with an application's credential has none.
    ///
    /// # Errors
    /// [`RegisterError`].
    pub async fn set_redirect_uris(
        &self,
        application: &RegisteredApplication,
        platform: RedirectPlatform,
        uris: &[Url],
    ) -> Result<(), RegisterError> {
        let step = format!("set redirect URIs of {}", application.app_id);
        let address = self.caller.address(&step, &["applications", &application.object_id])?;
        let uris: Vec<String> = uris.iter().map(plain).collect();
        let body = match platform {
            RedirectPlatform::Web => json!({ "web": { "redirectUris": uris } }),
            RedirectPlatform::PublicClient => json!({ "publicClient": { "redirectUris": uris } }),
        };
        self.send(&step, Method::PATCH, address, body).await
    }
}

/// A redirect URI as Microsoft compares it: `http://localhost:8400`, without the slash that an address gets when it is
/// parsed.
pub(crate) fn plain(uri: &Url) -> String {
    let text = uri.as_str();
    let bare = uri.path() == "/" && uri.query().is_none() && uri.fragment().is_none();
    if bare { text.trim_end_matches('/').to_owned() } else { text.to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_pages() {
        let authority = Url::parse("https://login.microsoftonline.com").unwrap();
        let back = Url::parse("http://localhost:8400").unwrap();
        let v1 = consent_url(&authority, "contoso.example", "app-1", &back, "s 1", ConsentForm::V1).unwrap();
        assert_eq!(
            v1.as_str(),
            "https://login.microsoftonline.com/contoso.example/adminconsent?client_id=app-1&redirect_uri=http%3A%2F%2Flocalhost%3A8400&state=s%201"
        );
        let form = ConsentForm::V2 { scope: "https://graph.microsoft.com/.default" };
        let v2 = consent_url(&authority, "organizations", "app-1", &back, "s", form).unwrap();
        assert!(
            v2.as_str().starts_with("https://login.microsoftonline.com/organizations/v2.0/adminconsent?")
        );
        assert!(v2.as_str().ends_with("scope=https%3A%2F%2Fgraph.microsoft.com%2F.default"));
        assert_eq!(consent_url(&authority, " ", "app-1", &back, "s", form), None);
    }

    #[test]
    fn the_answer_belongs_to_the_question_or_not() {
        let read = |query: &str| {
            let url = Url::parse(&format!("http://localhost:8400/?{query}")).unwrap();
            ConsentAnswer::read(&url, &SecretString::from("s-1"))
        };
        assert_eq!(
            read("tenant=t-1&state=s-1&admin_consent=True"),
            ConsentAnswer::Given { tenant: "t-1".into() }
        );
        assert!(matches!(
            read("error=access_denied&error_description=AADSTS65004&admin_consent=True&state=s-1"),
            ConsentAnswer::Refused { .. }
        ));
        for query in
            ["tenant=t-1&state=other&admin_consent=True", "tenant=t-1&admin_consent=True", "state=s-1"]
        {
            assert_eq!(read(query), ConsentAnswer::Foreign, "{query}");
        }
    }
}
