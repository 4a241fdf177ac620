//! The pages: settings, check, inbox, outbox. Rendered on the server; htmx only swaps parts of them, and every page
//! also works without any script.
//!
//! # Parts
//!
//! | module | what is inside |
//! |---|---|
//! | `pages` | one file per page: what it shows, what its forms do |
//! | `connection_form` | the fields of a connection, shared by outgoing and incoming settings |
//! | `templates` | the embedded templates, in strict mode |
//! | `assets` | style sheet, scripts, icons: all of them ours or vendored, none from another host |
//! | `security` | content security policy, cross-site refusal, request ids |
//! | `session` | the cookie, and who is signed in as a handler's parameter |
//! | `password`, `throttle` | Argon2 off the request threads, and the growing delay after wrong passwords |
//! | `error` | errors as a page, or as a fragment that fits where htmx puts it |
//!
//! # How to add a page
//!
//! 1. A file under `pages/` with a handler. Its first parameter says who may come: `SignedIn`,
//!    `Manager` or `Administrator`.
//! 2. A template under `templates/` that extends `layout.html`. A value the handler does not give is an error.
//! 3. Its route in `pages::routes`, its link in `layout.html`, and a test in `tests/it/` that goes through the route.

mod assets;
mod check;
mod connection_form;
mod error;
mod fields;
mod pages;
mod password;
mod security;
mod session;
mod shown;
mod templates;
mod throttle;

use std::sync::Arc;

use axum::Router;
use postroom_engine::Engine;
use postroom_model::Env;
use postroom_store::Store;

pub use check::{Checker, LiveChecker};
pub use password::{HashError, hash_password};

/// What the pages are given.
#[derive(Clone)]
pub struct WebState {
    /// Where everything is kept.
    pub store: Arc<dyn Store>,
    /// Validates mailboxes, reads them now, wakes the workers.
    pub engine: Engine,
    /// Time and chance.
    pub env: Env,
    /// Whether cookies are for HTTPS alone (`Secure`, `__Host-`): on unless the pages are served on this machine
    /// without TLS.
    pub secure_cookies: bool,
    /// Runs the ladder of *Check e-mail settings*.
    pub checker: Arc<dyn Checker>,
}

/// What every handler is given.
#[derive(Clone)]
pub(crate) struct App {
    store: Arc<dyn Store>,
    engine: Engine,
    env: Env,
    secure_cookies: bool,
    checker: Arc<dyn Checker>,
    passwords: Arc<password::Passwords>,
    throttle: Arc<throttle::Throttle>,
}

/// All pages and their assets.
pub fn router(state: WebState) -> Router {
    let app = App {
        store: state.store,
        engine: state.engine,
        env: state.env,
        secure_cookies: state.secure_cookies,
        checker: state.checker,
        passwords: Arc::default(),
        throttle: Arc::default(),
    };
    security::protect(pages::routes(), app)
}
