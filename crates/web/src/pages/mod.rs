//! One file per page.
//!
//! | module | page |
//! |---|---|
//! | `start` | `/`: what needs attention now |
//! | `login` | `/login`, `/logout` |
//! | `email` | `/settings/email`: *System settings - E-mail*, rows 13 to 23 |
//! | `check` | `/settings/email/check`: *Check e-mail settings* |
//! | `incoming` | `/settings/incoming`: *Settings for incoming e-mail*, the boxes *Server settings* |
//! | `mailbox` | the rows of *E-mail accounts* |
//! | `migrate` | its button *Switch to Microsoft Graph* |
//! | `draft` | `/draft`: a message made into a ready `.eml` draft |
//! | `inbox` | `/inbox`: the list |
//! | `message` | `/inbox/{id}`: the reading pane and its files |
//! | `mail_frame` | `/inbox/{id}/body`: the HTML of a mail with its pictures |
//! | `outbox` | `/outbox` and `/outbox/{id}` |

mod check;
mod draft;
mod email;
mod inbox;
mod incoming;
mod login;
mod mail_frame;
mod mailbox;
mod message;
mod migrate;
mod outbox;
mod start;

use axum::Router;
use axum::extract::DefaultBodyLimit;
use axum::routing::{get, post};

use crate::{App, assets};

/// Every page and what its forms do.
pub(crate) fn routes() -> Router<App> {
    Router::new()
        .route("/", get(start::page))
        .route("/login", get(login::page).post(login::log_on))
        .route("/logout", post(login::log_off))
        .route("/settings/email", get(email::page).post(email::save))
        .route("/settings/email/draft", post(email::draft))
        .route("/settings/email/check", get(check::page).post(check::run))
        .route("/settings/incoming", get(incoming::page))
        .route("/settings/incoming/connections/{id}", post(incoming::save))
        .route("/settings/incoming/connections/{id}/draft", post(incoming::draft))
        .route("/settings/incoming/connections/{id}/remove", post(incoming::remove))
        .route("/settings/incoming/connections/{id}/mailboxes/new", get(mailbox::new))
        .route("/settings/incoming/connections/{id}/mailboxes", post(mailbox::add))
        .route("/settings/incoming/connections/{id}/mailboxes/count", post(mailbox::count))
        .route("/settings/incoming/mailboxes/{id}", get(mailbox::edit).post(mailbox::change))
        .route("/settings/incoming/mailboxes/{id}/row", get(mailbox::row))
        .route("/settings/incoming/mailboxes/{id}/validate", post(mailbox::validate))
        .route("/settings/incoming/mailboxes/{id}/read", post(mailbox::read_now))
        .route("/settings/incoming/mailboxes/{id}/remove", post(mailbox::remove))
        .route("/settings/incoming/connections/{id}/migrate", post(migrate::run))
        .route("/draft", get(draft::page).post(draft::make).layer(DefaultBodyLimit::max(draft::MAX_FORM)))
        .route("/inbox", get(inbox::page))
        .route("/inbox/{id}", get(message::page))
        .route("/inbox/{id}/body", get(mail_frame::body))
        .route("/inbox/{id}/attachments/{index}", get(message::attachment))
        .route("/inbox/{id}/file", post(message::file))
        .route("/inbox/{id}/reprocess", post(message::reprocess))
        .route("/outbox", get(outbox::page))
        .route("/outbox/{id}", get(outbox::one))
        .route("/outbox/{id}/{action}", post(outbox::change))
        .route("/assets/{*path}", get(assets::serve))
}
