//! The client: one token renewal after a 401, immutable ids on every call, bounded answers, links pinned to the
//! configured Graph.

mod batch;
mod call;
mod directory;
mod folders;
mod mail;
mod subscriptions;
mod upload;

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use postroom_entra::{AccessToken, Ids, TokenClient, TokenRequest};
use postroom_model::Env;
use url::Url;

pub use batch::MAX_BATCH;
pub use mail::{Accepted, DeltaPage, Download};
pub use subscriptions::{LONGEST_SUBSCRIPTION, MAX_CLIENT_STATE};
pub use upload::{Content, MAX_FILE, PIECE, SESSION_FROM, Upload};

use crate::error::GraphError;

/// Largest JSON answer that is read, in bytes.
pub const MAX_JSON: u64 = 16 * 1024 * 1024;

/// Longest time for the whole of one message, up or down. 150 MB, the largest message Exchange Online carries, take
/// ten minutes at 2 Mbit/s.
pub const MESSAGE_TIMEOUT: Duration = Duration::from_secs(600);

/// Calls Microsoft Graph as one application in one tenant. Cheap to clone.
#[derive(Clone)]
pub struct GraphClient {
    http: reqwest::Client,
    tokens: Arc<TokenClient>,
    request: Arc<TokenRequest>,
    graph: Url,
    env: Env,
}

impl fmt::Debug for GraphClient {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "GraphClient({} at {})", self.request.application, self.graph)
    }
}

impl GraphClient {
    /// A client. `request` says which token it calls with; `graph` is without version: `https://graph.microsoft.com`.
    pub fn new(
        http: reqwest::Client,
        tokens: Arc<TokenClient>,
        request: TokenRequest,
        graph: Url,
        env: Env,
    ) -> Self {
        Self { http, tokens, request: Arc::new(request), graph, env }
    }

    /// The token it would call with now, for diagnosis of its claims.
    ///
    /// # Errors
    /// [`GraphError::Token`].
    pub async fn token(&self) -> Result<AccessToken, GraphError> {
        let token = self.tokens.token(&self.request).await;
        token
            .map_err(|source| GraphError::Token { operation: "sign in".to_owned(), source: Box::new(source) })
    }

    /// Ids for advice about `mailbox`.
    pub fn ids(&self, mailbox: &str) -> Ids {
        Ids::of(&self.request.tenant, &self.request.application).with_mailbox(mailbox)
    }
}
