//! The REST interface: hand a message in, ask what became of it. For programs; people use the pages.
//!
//! # Parts
//!
//! | module | what is inside |
//! |---|---|
//! | [`error`] | the one error envelope, its codes, the request id on every answer |
//! | `auth` | the bearer key of a program |
//! | [`keys`] | making and hashing API keys, also for the command line |
//! | `body` | reading a request body without ever holding more than the limit |
//! | `notifications` | `POST /notifications/graph`, which the provider calls |
//! | `messages` | `POST /messages`, `GET /messages`, `GET /messages/{id}` |
//! | `drafts` | `POST /drafts` |
//! | `mailboxes` | `GET /mailboxes` |
//!
//! The binary mounts [`router`] at `/api/v1`.
//!
//! # Endpoints
//!
//! | request | answer |
//! |---|---|
//! | `POST /messages` | 202 `{"id","message_id","state"}`, given only after the message is on disk and synced |
//! | `GET /messages?state=&limit=&offset=` | 200 `{"messages":[..],"limit","offset"}`, newest first, own messages only |
//! | `GET /mailboxes` | 200 `{"mailboxes":[..]}`: address, state, next reading, backlog with the minutes it will take, why processed mail is not marked, the last comparison with the provider; nothing of their mail |
//! | `POST /drafts` | 200 the message as a ready `.eml` draft (`message/rfc822`, `X-Unsent: 1`), to be opened and sent by the user's own mail program; nothing is stored |
//! | `POST /notifications/graph` | 202; for Microsoft Graph alone, without a key: it only wakes mailboxes |
//! | `GET /messages/{id}` | 200 the message with its timeline; 404 also for messages another key handed in |
//!
//! `POST /messages` takes `application/json` (fields as in [`postroom_model::draft::Draft`]; every address
//! list may also be a single string) or `message/rfc822` with the envelope in `X-Postroom-From` and
//! `X-Postroom-To` (separated by commas, or the header repeated). With `Idempotency-Key` a repeat of the same
//! request is answered with the first message and `Idempotent-Replayed: true`; `state` is where it stands now. The
//! same request means: same content type, envelope headers and body, byte for byte. Keys belong to the API key they
//! came with and are remembered for 7 days.
//!
//! The JSON may also have a `signature`, which stands below the body: `{"text":"..","html":".."}`, or a string for text.
//!
//! `POST /drafts` takes the same JSON, and neither raw messages nor idempotency keys. The same rules and the same limit
//! apply as for sending; `Content-Disposition` names a file after the subject. A draft has no `Date` and no
//! `Message-ID`, which the sending program writes, and keeps its `Bcc`.
//!
//! # Errors
//!
//! Every error is `{"error":{"code","message","hint","request_id","fields":[{"field","message"}],"limit"}}`;
//! `hint`, `fields` and `limit` only where there is something to say. Codes are stable, sentences are not.
//!
//! | status | code | what a client does |
//! |---|---|---|
//! | 400 | `malformed_json` | mends the JSON at the line, column and path named |
//! | 400 | `malformed_request` | mends the parameter or header named |
//! | 401 | `unauthorized` | sends a key that exists and was not revoked; does not try again with this one |
//! | 404 | `not_found` | mends the path or the id |
//! | 405 | `method_not_allowed` | uses a method of the `Allow` header |
//! | 409 | `idempotency_conflict` | uses a new key for a new message; the first one stands |
//! | 413 | `too_large` | makes the message smaller than `limit` bytes |
//! | 415 | `unsupported_media_type` | sends `application/json` or `message/rfc822`, not compressed |
//! | 422 | `invalid_fields` | mends the fields named in `fields` |
//! | 422 | `drafts_only` | asks `POST /drafts` for the draft: the e-mail method is *Client based, via Microsoft Outlook* |
//! | 422 | `no_connection` | tells the administrator: nothing is set up to send this; the request itself is fine |
//! | 500 | `internal` | tries again later with the same idempotency key; reports the request id when it stays |
//! | 503 | `busy` | tries again after `Retry-After` seconds: more is waiting than the store can keep up with; nothing was accepted |
//! | 503 | `no_space` | tries again after `Retry-After` seconds; nothing was accepted |
//! | 503 | `unavailable` | tries again after `Retry-After` seconds; nothing was accepted |
//!
//! `no_connection` is 422 and not 409: trying the same again does not help until somebody saves a setting.
//!
//! # How to add an endpoint
//!
//! Write its handler in a module of its thing with the extractor of `auth` as first parameter and
//! `Result<_, ApiError>` as answer, name it in [`router`], add its row above, and a test in `tests/it/` for each
//! of its answers.

mod auth;
mod body;
mod drafts;
pub mod error;
pub mod keys;
mod mailboxes;
mod messages;
mod notifications;

use std::sync::Arc;

use axum::Router;
use axum::routing::{get, post};
use postroom_engine::Engine;
use postroom_model::Env;
use postroom_store::Store;

pub use error::{ApiError, RequestId};
pub use keys::{hash_api_key, new_api_key};

/// What every endpoint is given.
#[derive(Clone)]
pub struct ApiState {
    /// Where everything is kept.
    pub store: Arc<dyn Store>,
    /// Takes messages in.
    pub engine: Engine,
    /// Time and chance.
    pub env: Env,
    /// Largest request body in bytes; a larger one is refused while it is read.
    pub max_request_bytes: u64,
}

/// All endpoints, without the `/api/v1` they are mounted at.
pub fn router(state: ApiState) -> Router {
    let env = state.env.clone();
    Router::new()
        .route("/messages", post(messages::submit::submit).get(messages::read::list))
        .route("/messages/{id}", get(messages::read::one))
        .route("/drafts", post(drafts::make))
        .route("/mailboxes", get(mailboxes::list))
        .route("/notifications/graph", post(notifications::graph))
        .fallback(error::unknown_route)
        .method_not_allowed_fallback(error::wrong_method)
        .layer(tower_http::catch_panic::CatchPanicLayer::custom(error::PanicAnswer))
        .layer(axum::middleware::from_fn_with_state(env, error::envelope))
        .with_state(state)
}
