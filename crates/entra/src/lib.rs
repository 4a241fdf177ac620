//! Microsoft Entra: HTTP clients, tokens for every flow, error numbers turned into cause and remedy, tenant discovery,
//! and the registration of an application step by step.
//!
//! # Parts
//!
//! | module | what is inside |
//! |---|---|
//! | [`http`] | the one way to make an HTTP client: time limits, no redirects, bounded bodies, `Retry-After` |
//! | [`token`] | tokens from the token endpoint, cached; one request at a time per key |
//! | [`cause`] | AADSTS numbers and Graph codes: cause, field, next step |
//! | [`certificate`] | certificates with their private keys: PEM, PFX, made on request, assertions |
//! | [`sign_in`] | the administrator signs in: device code, or browser with PKCE |
//! | [`discovery`] | a domain or tenant id looked up without any credential |
//! | [`register`] | an application made, granted and undone, one call per step |
//!
//! # How to add one more
//!
//! An error number: a row in [`cause`]'s table; its test then fills in the ids. A way to sign in: a variant of
//! [`token::TokenCredential`]; the compiler names the two places that decide (form fields, fingerprint). A step
//! of the registration: a method of [`register::Registrar`] that may be called twice without harm.

pub mod cause;
pub mod certificate;
pub mod discovery;
pub mod http;
pub mod register;
pub mod sign_in;
pub mod token;

pub use cause::{Advice, Code, Ids};
pub use certificate::{CertificateCredential, CertificateError, PublicCertificate};
pub use sign_in::{SignIn, SignInError, SignInRequest, SignedIn};
pub use token::{AccessToken, TokenClient, TokenCredential, TokenError, TokenRequest};
