//! Tokens from the token endpoint (`POST {authority}/{tenant}/oauth2/v2.0/token`), cached.
//!
//! One request at a time per key, and other keys are not held up. A token is renewed before it expires; when that
//! fails, the one that is still valid is used. Source of the wire facts: Microsoft, "OAuth 2.0 client credentials
//! flow" (<https://learn.microsoft.com/entra/identity-platform/v2-oauth2-client-creds-grant-flow>).

mod access;
mod answer;
mod cache;
mod clock;
mod error;
mod federated;
mod request;

pub use access::{AccessToken, Claims};
pub(crate) use answer::{Answer, later, send_form};
pub use cache::TokenClient;
pub use error::{CredentialError, Place, Refusal, TokenError};
pub(crate) use error::{garbage, wire_error};
pub use federated::{FederatedError, FederatedToken, MAX_FEDERATED_TOKEN};
pub use request::{GRAPH_TOOLS_APPLICATION, MAX_TOKEN_ANSWER, TokenCredential, TokenRequest};
