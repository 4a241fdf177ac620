//! What is done to a folder beside reading it: how much old mail is in it, what came in the last days, and marking or
//! moving what was processed, which is the only change that is ever made.

use async_imap::imap_proto::{MailboxDatum, Response};
use jiff::{SignedDuration, Timestamp};
use postroom_model::mailbox::AfterProcessing;

use super::cursor::Incarnation;
use super::meter::Bounds;
use super::page;
use super::session::Session;
use super::words::Trouble;
use super::{folder, page::Told};
use crate::{RemoteMessage, Survey};

/// Messages that are asked about at once.
const DESCRIBED: usize = 500;
/// How far a day of IMAP may be off: dates are compared without their time zone (RFC 3501 section 6.4.4).
const A_DAY: SignedDuration = SignedDuration::from_hours(24);

/// `7-Feb-2026` (RFC 3501 section 9, date).
fn day(at: Timestamp) -> String {
    at.strftime("%-d-%b-%Y").to_string()
}

/// UIDs of the open folder that meet `keys`, rising.
pub(super) async fn search(session: &mut Session, keys: &str) -> Result<Vec<u32>, Trouble> {
    let mut found = Vec::new();
    let mut on = |response: &Response<'_>| {
        if let Response::MailboxData(MailboxDatum::Search(uids)) = response {
            found.extend(uids.iter().copied().filter(|uid| *uid > 0));
        }
    };
    session.command(&format!("UID SEARCH {keys}"), Bounds::LIST, &mut on).await?;
    found.sort_unstable();
    found.dedup();
    Ok(found)
}

/// The UIDs of what was received at this instant or later, and perhaps up to a day before.
pub(super) async fn since(session: &mut Session, instant: Timestamp) -> Result<Vec<u32>, Trouble> {
    let from = instant.saturating_sub(A_DAY).unwrap_or(Timestamp::UNIX_EPOCH).max(Timestamp::UNIX_EPOCH);
    search(session, &format!("SINCE {}", day(from))).await
}

/// How much was received before this instant, to the day.
pub(super) async fn survey(session: &mut Session, name: &str, before: Timestamp) -> Result<Survey, Trouble> {
    session.examine(name, None).await?;
    let until = before.saturating_add(A_DAY + A_DAY).unwrap_or(before);
    let uids = search(session, &format!("UNDRAFT BEFORE {}", day(until))).await?;
    // UIDs rise with arrival, so the oldest is among the first unless somebody copied mail in.
    let first = &uids[..uids.len().min(DESCRIBED)];
    let oldest =
        page::describe(session, first).await?.into_values().filter_map(|told| told.received_at).min();
    Ok(Survey { count: uids.len() as u64, oldest })
}

/// What was received at this instant or later, by the ids that reading gives.
pub(super) async fn received_since(
    session: &mut Session,
    name: &str,
    told: Option<Incarnation>,
    instant: Timestamp,
) -> Result<Vec<RemoteMessage>, Trouble> {
    let opened = session.examine(name, None).await?;
    let Some(validity) = opened.validity else {
        return Err(session.garbage("no UIDVALIDITY, without which no message can be told from another"));
    };
    let incarnation =
        told.filter(|told| told.validity == validity).unwrap_or(Incarnation { validity, age: 0 });
    let uids = since(session, instant).await?;
    let mut found = Vec::new();
    for some in uids.chunks(DESCRIBED) {
        let described = page::describe(session, some).await?;
        found.extend(described.into_iter().filter_map(|(uid, told)| remote(incarnation, uid, told)));
    }
    found.retain(|message| message.received_at >= instant);
    Ok(found)
}

fn remote(incarnation: Incarnation, uid: u32, told: Told) -> Option<RemoteMessage> {
    let received_at = told.received_at.filter(|_| !told.draft)?;
    Some(RemoteMessage { provider_id: incarnation.id(uid), message_id: told.message_id, received_at })
}

/// Opens the folder for changes; false when it is another incarnation than the one that is meant.
pub(super) async fn open(
    session: &mut Session,
    name: &str,
    incarnation: Incarnation,
) -> Result<bool, Trouble> {
    if session.validity == Some(incarnation.validity) {
        return Ok(true);
    }
    let opened = session.select(name).await?;
    Ok(opened.validity == Some(incarnation.validity))
}

/// Marks or moves one message. A UID that is not there is no error (RFC 3501 section 6.4.8).
pub(super) async fn settle(session: &mut Session, uid: u32, how: &AfterProcessing) -> Result<(), Trouble> {
    match how {
        AfterProcessing::Leave => Ok(()),
        AfterProcessing::MarkRead => {
            let command = format!("UID STORE {uid} +FLAGS.SILENT (\\Seen)");
            session.command(&command, Bounds::SMALL, &mut |_| ()).await
        }
        AfterProcessing::Move(name) => match relocate(session, uid, name).await {
            Err(trouble) if says_create(&trouble) => {
                let command = format!("CREATE {}", folder::quoted(name));
                session.command(&command, Bounds::SMALL, &mut |_| ()).await?;
                relocate(session, uid, name).await
            }
            moved => moved,
        },
    }
}

/// Whether the server says that the folder is missing and may be made (RFC 3501 section 6.4.7).
fn says_create(trouble: &Trouble) -> bool {
    trouble.failure.words.contains("TRYCREATE")
}

/// Moves by MOVE (RFC 6851), which is whole or not at all. Where the server has none, a copy is made first: should the
/// line be cut between the two steps, the next try makes a second copy, and none is lost.
async fn relocate(session: &mut Session, uid: u32, name: &str) -> Result<(), Trouble> {
    let to = folder::quoted(name);
    if session.offers("MOVE") {
        return session.command(&format!("UID MOVE {uid} {to}"), Bounds::SMALL, &mut |_| ()).await;
    }
    session.command(&format!("UID COPY {uid} {to}"), Bounds::SMALL, &mut |_| ()).await?;
    let flag = format!("UID STORE {uid} +FLAGS.SILENT (\\Deleted)");
    session.command(&flag, Bounds::SMALL, &mut |_| ()).await?;
    // Without UIDPLUS (RFC 4315) a plain EXPUNGE would also remove what others have marked: ours stays marked then.
    if session.offers("UIDPLUS") {
        session.command(&format!("UID EXPUNGE {uid}"), Bounds::SMALL, &mut |_| ()).await?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn days_are_written_as_imap_writes_them() {
        assert_eq!(day("2026-02-07T23:59:59Z".parse().unwrap()), "7-Feb-2026");
        assert_eq!(day("2026-11-23T00:00:00Z".parse().unwrap()), "23-Nov-2026");
    }
}
