//! What the check asks beside reading: what the server shows, a sign-in alone, a test message found and removed.

use async_imap::imap_proto::{MailboxDatum, Response};
use async_trait::async_trait;
use postroom_model::SecretString;
use postroom_model::connection::ConnectionSettings;
use postroom_model::failure::Failure;
use tokio::time::timeout;

use super::meter::Bounds;
use super::session::{Access, Road, Session};
use super::words::Trouble;
use super::{INBOX, access, folder, message, open, road};
use crate::Account;
use crate::look::{Found, Seen, TestBox, ids};
use crate::wire::Wire;

/// What the server shows to somebody who has not signed in.
pub(crate) async fn look(wire: &Wire, settings: &ConnectionSettings) -> Result<Seen, Failure> {
    let road = road(wire, settings, "reach the IMAP server".to_owned(), ids(settings))?;
    let limit = road.limits.command;
    match timeout(limit, Session::connect(&road)).await {
        Ok(Ok(session)) => Ok(seen(&session, &road)),
        Ok(Err(trouble)) => Err(*trouble.failure),
        Err(_) => Err(road.peer.failure(&road.operation, &format!("it took longer than {limit:?}"), None)),
    }
}

/// Signs in and does nothing more.
pub(crate) async fn sign_in(
    wire: &Wire,
    settings: &ConnectionSettings,
    secret: Option<SecretString>,
    account: &Account,
) -> Result<Seen, Failure> {
    let access = access(wire, settings, secret, account, format!("sign in to {}", account.address))?;
    let session = open(&access).await.map_err(|trouble| *trouble.failure)?;
    Ok(seen(&session, &access.road))
}

fn seen(session: &Session, road: &Road) -> Seen {
    Seen {
        server: format!("{}:{}", road.peer.host, road.peer.port),
        certificate: session.certificate(),
        offers: session.all_offers(),
        max_size: None,
    }
}

/// The inbox of an account, for the test message.
pub(crate) fn test_box(
    wire: &Wire,
    settings: &ConnectionSettings,
    secret: Option<SecretString>,
    account: &Account,
) -> Result<Box<dyn TestBox>, Failure> {
    let operation = format!("look for the test message in {}", account.address);
    Ok(Box::new(ImapTestBox { access: access(wire, settings, secret, account, operation)? }))
}

/// A string of ASCII in quotes.
fn string(text: &str) -> String {
    let printable: String = text.chars().filter(|c| matches!(c, ' '..='~')).collect();
    format!("\"{}\"", printable.replace('\\', "\\\\").replace('"', "\\\""))
}

/// Opens a session for each question: nothing is kept open between two looks.
struct ImapTestBox {
    access: Access,
}

impl ImapTestBox {
    async fn found(&self, message_id: &str) -> Result<Option<Found>, Trouble> {
        let mut session = open(&self.access).await?;
        session.examine(INBOX, None).await?;
        let mut uid = None;
        let mut on = |response: &Response<'_>| {
            if let Response::MailboxData(MailboxDatum::Search(uids)) = response {
                uid = uids.iter().copied().max();
            }
        };
        let command = format!("UID SEARCH HEADER MESSAGE-ID {}", string(message_id));
        session.command(&command, Bounds::LIST, &mut on).await?;
        let Some(uid) = uid else { return Ok(None) };
        let raw = message::small(&mut session, uid).await?;
        Ok(raw.map(|raw| Found { id: uid.to_string(), raw }))
    }

    async fn removed(&self, uid: &str) -> Result<(), Trouble> {
        let mut session = open(&self.access).await?;
        session.command(&format!("SELECT {}", folder::quoted(INBOX)), Bounds::LIST, &mut |_| ()).await?;
        let flag = format!("UID STORE {uid} +FLAGS.SILENT (\\Deleted)");
        session.command(&flag, Bounds::SMALL, &mut |_| ()).await?;
        // Without UIDPLUS (RFC 4315) a plain EXPUNGE would also remove what others have marked: ours stays marked then.
        if session.offers("UIDPLUS") {
            session.command(&format!("UID EXPUNGE {uid}"), Bounds::SMALL, &mut |_| ()).await?;
        }
        Ok(())
    }
}

#[async_trait]
impl TestBox for ImapTestBox {
    async fn find(&self, message_id: &str) -> Result<Option<Found>, Failure> {
        self.found(message_id).await.map_err(|trouble| *trouble.failure)
    }

    async fn remove(&self, found: &Found) -> Result<(), Failure> {
        self.removed(&found.id).await.map_err(|trouble| *trouble.failure)
    }
}
