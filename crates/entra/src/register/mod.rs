//! An application registered in a tenant: what an administrator does in the portal, one call per step, so that a
//! caller can say what is done. Every step may be repeated without harm.
//!
//! Source: Microsoft, "Grant or revoke API permissions programmatically"
//! (<https://learn.microsoft.com/graph/permissions-grant-via-msgraph>) and the pages of the resources
//! `application` and `servicePrincipal`.

mod call;
mod consent;
mod credentials;
mod error;
mod grants;
mod keys;
mod marked;
mod plan;
mod steps;

pub use call::Patience;
pub(crate) use consent::plain;
pub use consent::{ConsentAnswer, ConsentForm, RedirectPlatform, consent_url};
pub use credentials::{ApplicationCredential, ApplicationCredentialKind, FederatedCredential};
pub use error::{PolicyRefusal, RegisterError};
pub use grants::{Grant, Leftover, reaches};
pub use plan::{AccountType, EXCHANGE, MICROSOFT_GRAPH, Permission, Plan, TAG};
pub use steps::{DirectoryUser, NewSecret, Organization, RegisteredApplication, Registrar, ServicePrincipal};
