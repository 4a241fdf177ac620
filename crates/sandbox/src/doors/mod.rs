//! The listeners of the mail protocols: who may connect, lines that are bounded in time, and the log of what was asked.
//!
//! | module | what is inside |
//! |---|---|
//! | `socket` | a connection, plain or under TLS |
//! | `sign_in` | XOAUTH2: whose mailbox a token opens |
//!
//! One more protocol is one more [`Door`], a module beside `imap` and `smtp` with a `serve` of its own, and a listener
//! in `Sandbox::start`.

pub(crate) mod sign_in;
mod socket;

use std::sync::Arc;

use axum::serve::Listener;
use serde::Deserialize;
use serde_json::json;
use tokio::net::TcpListener;
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::faults::Fault;
use crate::state::Tenant;
use crate::tls::Tls;
use crate::{imap, smtp};

pub(crate) use socket::Socket;

/// Most connections of one door; further ones are closed at once.
const MOST_CONNECTIONS: usize = 200;
/// Longest wait a fault can ask for, in milliseconds.
const MAX_DELAY: u64 = 60_000;
/// Longest command and reply in the log, in characters.
const SHOWN: usize = 300;

/// A mail protocol.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Door {
    Imap,
    Smtp,
}

/// Serves one door until `stop` is cancelled; connections under way are dropped then.
pub(crate) async fn serve(
    door: Door,
    mut listener: TcpListener,
    tenant: Arc<Tenant>,
    tls: Option<Tls>,
    stop: CancellationToken,
) {
    let open = Arc::new(Semaphore::new(MOST_CONNECTIONS));
    let connections = TaskTracker::new();
    loop {
        let (stream, _) = tokio::select! {
            accepted = Listener::accept(&mut listener) => accepted,
            () = stop.cancelled() => break,
        };
        let Ok(permit) = Arc::clone(&open).try_acquire_owned() else { continue };
        let (tenant, tls, stop) = (Arc::clone(&tenant), tls.clone(), stop.clone());
        connections.spawn(async move {
            let socket = Socket::new(stream);
            let served = async {
                let ended = match door {
                    Door::Imap => Box::pin(imap::serve(socket, &tenant, tls)).await,
                    Door::Smtp => Box::pin(smtp::serve(socket, &tenant, tls)).await,
                };
                if let Err(error) = ended {
                    tracing::debug!(?door, %error, "a connection ended");
                }
            };
            tokio::select! {
                () = served => {}
                () = stop.cancelled() => {}
            }
            drop(permit);
        });
    }
    connections.close();
    connections.wait().await;
}

/// Notes a command and its reply for `/_sandbox/requests`. The caller has taken the secrets out.
pub(crate) fn remember(tenant: &Tenant, door: Door, command: &str, reply: &str) {
    let cut = |text: &str| text.trim_end().chars().take(SHOWN).collect::<String>();
    let door = match door {
        Door::Imap => "imap",
        Door::Smtp => "smtp",
    };
    tenant.remember(json!({"door": door, "command": cut(command), "reply": cut(reply)}));
}

/// Waits as long as the fault asks for.
pub(crate) async fn delay(fault: &Fault) {
    if fault.delay_ms > 0 {
        tokio::time::sleep(std::time::Duration::from_millis(fault.delay_ms.min(MAX_DELAY))).await;
    }
}
