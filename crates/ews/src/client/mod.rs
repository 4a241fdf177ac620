//! The client: bounded answers, one token renewal after a 401, no redirect followed, back-off as Exchange asks for it.
//!
//! # Whose mailbox
//!
//! An application with a token of its own acts for each mailbox by impersonation, and says so in every request. A user
//! with name and password opens the folders of a mailbox by its address, with the rights that user has there (Full
//! Access, Send As).
//!
//! # How it signs in
//!
//! With a token of Microsoft Entra, or with Basic over TLS. NTLM and Kerberos are not spoken: they sign a connection
//! in and not a request, which no kept pure-Rust HTTP client does. A server that offers nothing else is recognised, and
//! the failure says what its administrator switches on.
//!
//! # How to add a call
//!
//! A method in `mail` that makes the [`Request`](crate::wire::Request) and picks the answer apart.

mod autodiscover;
mod call;
mod download;
mod mail;
mod outside;
mod settle;
mod stream;

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use postroom_entra::{Ids, TokenClient, TokenCredential, TokenRequest};
use postroom_model::{Env, SecretString};
use url::Url;

pub use autodiscover::{Autodiscover, AutodiscoverError};
pub use download::MimeDownload;
pub use mail::{Draft, Inbox, Survey, SyncPage};
pub use stream::{EventStream, Told};

use crate::wire::FolderRef;
use crate::wire::{DistinguishedFolderId, Mailbox};

/// Largest answer that is read at once, in bytes.
pub const MAX_ANSWER: u64 = 16 * 1024 * 1024;

/// Most that surrounds a message in the answer it comes in, in bytes.
const MAX_SURROUNDINGS: usize = 1024 * 1024;

/// Longest time for the whole of one message, up or down.
pub const MESSAGE_TIMEOUT: Duration = Duration::from_secs(600);

/// How it signs in.
#[derive(Clone)]
pub enum SignIn {
    /// With a token.
    Token {
        /// Where tokens come from.
        tokens: Arc<TokenClient>,
        /// Which one.
        request: Arc<TokenRequest>,
    },
    /// With user name and password.
    Basic {
        /// User name: `CONTOSO\service` or `service@contoso.example`.
        user: String,
        /// Password.
        password: SecretString,
    },
}

impl SignIn {
    /// Whether it is an application's own sign-in, which acts for a mailbox by impersonation.
    fn impersonates(&self) -> bool {
        match self {
            Self::Token { request, .. } => !matches!(request.credential, TokenCredential::Password { .. }),
            Self::Basic { .. } => false,
        }
    }
}

/// Calls one Exchange. Cheap to clone.
#[derive(Clone)]
pub struct EwsClient {
    http: reqwest::Client,
    sign_in: SignIn,
    url: Url,
    connection: String,
    accept_plain: bool,
    env: Env,
}

impl fmt::Debug for EwsClient {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "EwsClient(at {})", self.url)
    }
}

impl EwsClient {
    /// A client. `http` follows no redirects ([`postroom_entra::http::client`]); `url` is the address of the service,
    /// `https://mail.contoso.example/EWS/Exchange.asmx`; `connection` is the name of the connection, for advice.
    pub fn new(http: reqwest::Client, sign_in: SignIn, url: Url, connection: &str, env: Env) -> Self {
        Self { http, sign_in, url, connection: connection.to_owned(), accept_plain: false, env }
    }

    /// The same, and whether a server that is not this machine may be talked to without TLS.
    #[must_use]
    pub fn accepting_plain(mut self, accept: bool) -> Self {
        self.accept_plain = accept;
        self
    }

    /// Ids for advice about `mailbox`.
    pub fn ids(&self, mailbox: &str) -> Ids {
        let ids = match &self.sign_in {
            SignIn::Token { request, .. } => Ids::of(&request.tenant, &request.application),
            SignIn::Basic { .. } => Ids::default(),
        };
        ids.with_mailbox(mailbox)
    }

    /// What the Autodiscover of the same server names as the address of EWS for a mailbox, when that is another
    /// one than ours: a hint for a person, for it is asked without a credential.
    pub async fn named_elsewhere(&self, mailbox: &str) -> Option<Url> {
        let mut base = self.url.clone();
        base.set_path("/");
        let inside = !outside::is_outside(&base).await;
        let autodiscover = Autodiscover::at(self.http.clone(), base).reaching_inside(inside);
        let found = autodiscover.ews(mailbox).await.ok()?;
        (found != self.url).then_some(found)
    }

    /// A well-known folder of a mailbox.
    fn folder(&self, name: &str, mailbox: &str) -> FolderRef {
        if self.sign_in.impersonates() {
            return FolderRef::distinguished(name);
        }
        FolderRef::Distinguished(DistinguishedFolderId {
            id: name.to_owned(),
            change_key: None,
            mailbox: Some(Mailbox { address: Some(mailbox.to_owned()), ..Mailbox::default() }),
        })
    }
}
