//! Pages of changes. A message of IMAP never changes (RFC 3501 section 2.3.1.1), only its flags do, and those are not
//! read; so what is told is each message once, in the order of arrival, and what vanished where the server knows it.
//!
//! A message marked `\Deleted` is told: it is still there, its mark can be taken back, and then nobody would tell it
//! again. A `\Draft` is not told: nobody received it.

use std::collections::{BTreeMap, VecDeque};
use std::ops::RangeInclusive;

use async_imap::imap_proto::{AttributeValue, Response};
use jiff::Timestamp;
use postroom_model::Env;

use super::cursor::{Cursor, Incarnation};
use super::meter::Bounds;
use super::session::{Opened, Session};
use super::words::Trouble;
use super::{OnPage, State, settle};
use crate::{Changes, RemoteMessage};

/// Bytes per page, but for one message that alone is larger. What is fetched and cannot be committed, because the line
/// is cut, is fetched again.
const PAGE_BYTES: u64 = 16 * 1024 * 1024;
/// Removals told at once. They are a convenience; a server that tells of more is not believed.
const MAX_REMOVED: usize = 10_000;
/// What is asked about each message.
const ITEMS: &str = "UID FLAGS INTERNALDATE RFC822.SIZE";
/// A header as long as a mail would end the session again and again, so its beginning is asked for only.
const HEADER: &str = "BODY.PEEK[HEADER.FIELDS (MESSAGE-ID)]<0.2000>";
/// Longest Message-ID that is kept, in characters.
const MAX_MESSAGE_ID: usize = 1_000;

/// Messages that were listed and not told yet; goes with the session.
#[derive(Debug)]
pub(super) struct Backlog {
    incarnation: Incarnation,
    after: u32,
    uids: VecDeque<u32>,
    /// Those before them, of whom the server told already: what would have made the page before too large.
    ahead: VecDeque<(u32, Told)>,
}

impl Backlog {
    /// The next page, and the last UID that it covers.
    async fn page(&mut self, session: &mut Session) -> Result<(Vec<(u32, Told)>, Option<u32>), Trouble> {
        let mut last = None;
        if self.ahead.is_empty() {
            let most = session.limits().page.max(1).min(self.uids.len());
            let uids: Vec<u32> = self.uids.drain(..most).collect();
            last = uids.last().copied();
            self.ahead = describe(session, &uids).await?.into_iter().collect();
        }
        let mut bytes = 0_u64;
        let mut fits = |(_, told): &(u32, Told)| {
            let first = bytes == 0;
            bytes = bytes.saturating_add(if told.draft { 0 } else { told.size.max(1) });
            first || bytes <= PAGE_BYTES
        };
        let taken = self.ahead.iter().take_while(|one| fits(one)).count();
        let page: Vec<(u32, Told)> = self.ahead.drain(..taken).collect();
        if !self.ahead.is_empty() || last.is_none() {
            last = page.last().map(|(uid, _)| *uid);
        }
        Ok((page, last))
    }

    fn is_empty(&self) -> bool {
        self.uids.is_empty() && self.ahead.is_empty()
    }

    /// How many messages were not told yet.
    pub(super) fn waiting(&self) -> u64 {
        (self.uids.len() + self.ahead.len()) as u64
    }
}

/// What a server tells about one message.
#[derive(Debug, Default)]
pub(super) struct Told {
    pub(super) message_id: Option<String>,
    pub(super) received_at: Option<Timestamp>,
    size: u64,
    pub(super) draft: bool,
}

/// One page of what is new since `cursor`.
pub(super) async fn changes(
    session: &mut Session,
    state: &mut State,
    folder: &str,
    cursor: Option<&str>,
    begin_at: Option<Timestamp>,
    env: &Env,
) -> Result<Changes, Trouble> {
    let known: Option<Cursor> = cursor.and_then(|text| text.parse().ok());
    let mut resync = cursor.is_some() && known.is_none();
    let mut removed = Vec::new();
    let listed = known.filter(|known| known.more).zip(state.backlog.take()).filter(|(known, backlog)| {
        (backlog.incarnation, backlog.after) == (known.incarnation, known.uid)
            && session.validity == Some(known.incarnation.validity)
            && !backlog.is_empty()
    });
    let (start, mut backlog) = match listed {
        Some(listed) => listed,
        None => {
            let since =
                known.filter(|_| !state.careful).map(|known| (known.incarnation.validity, known.modseq));
            let opened = session.examine(folder, since).await?;
            let start = begin(session, known, &opened).await?;
            resync |= known.is_some_and(|known| known.incarnation != start.incarnation);
            if !resync {
                removed = gone(start.incarnation, &opened.vanished, start.uid);
            }
            (start, list(session, start, begin_at).await?)
        }
    };
    let incarnation = start.incarnation;
    let (told, last) = backlog.page(session).await?;
    state.kept.clear();
    let received = told.iter().filter(|(_, told)| !told.draft);
    state.page = received.map(|(uid, told)| OnPage { uid: *uid, size: told.size, asked: false }).collect();
    let messages = told.into_iter().filter(|(_, told)| !told.draft).map(|(uid, told)| RemoteMessage {
        provider_id: incarnation.id(uid),
        message_id: told.message_id,
        received_at: told.received_at.unwrap_or_else(|| env.now()),
    });
    let messages = messages.collect();
    let more = !backlog.is_empty();
    let cursor = Cursor { uid: last.unwrap_or(start.uid), more, ..start };
    state.told = Some(incarnation);
    backlog.after = cursor.uid;
    state.backlog = more.then_some(backlog);
    Ok(Changes { messages, removed, cursor: cursor.to_string(), more, resync })
}

/// Where reading goes on: behind the cursor, or at the beginning when the folder is another one by now.
async fn begin(session: &mut Session, known: Option<Cursor>, opened: &Opened) -> Result<Cursor, Trouble> {
    let Some(validity) = opened.validity else {
        return Err(session.garbage("no UIDVALIDITY, without which no message can be told from another"));
    };
    let fresh = Incarnation { validity, age: 0 };
    let Some(known) = known else {
        return Ok(Cursor { incarnation: fresh, uid: 0, modseq: opened.modseq, more: false });
    };
    let other = if known.incarnation.validity == validity {
        // UIDNEXT never falls (RFC 3501 section 2.3.1.1): this is an old copy of the folder, if what is in it agrees.
        match opened.next {
            Some(next) if next <= known.uid => last_uid(session).await?.is_none_or(|last| last < next),
            _ => false,
        }
    } else {
        // A server that was restored and set right again may come back to a UIDVALIDITY that it had before, with other
        // messages under the same UIDs: so the age rises with each change, and no id is ever given out twice.
        true
    };
    let age = known.incarnation.age.saturating_add(u32::from(other));
    let uid = if other { 0 } else { known.uid };
    Ok(Cursor { incarnation: Incarnation { validity, age }, uid, modseq: opened.modseq, more: false })
}

/// The UID of the last message of the open folder.
async fn last_uid(session: &mut Session) -> Result<Option<u32>, Trouble> {
    let mut last = None;
    if session.exists > 0 {
        let command = format!("FETCH {} (UID)", session.exists);
        session.command(&command, Bounds::SMALL, &mut |response| last = last.or(uid_of(response))).await?;
    }
    Ok(last)
}

/// Ids of what vanished, of all that was told.
fn gone(incarnation: Incarnation, vanished: &[RangeInclusive<u32>], last: u32) -> Vec<String> {
    let within = vanished.iter().flat_map(|range| *range.start().max(&1)..=*range.end().min(&last));
    within.take(MAX_REMOVED).map(|uid| incarnation.id(uid)).collect()
}

/// The messages behind `start`, oldest first; at the very beginning only what was received from `begin_at` on.
async fn list(session: &mut Session, start: Cursor, begin_at: Option<Timestamp>) -> Result<Backlog, Trouble> {
    let mut uids = Vec::new();
    if let Some(instant) = begin_at.filter(|_| start.uid == 0 && session.exists > 0) {
        let uids = settle::since(session, instant).await?;
        let ahead = VecDeque::new();
        return Ok(Backlog { incarnation: start.incarnation, after: start.uid, uids: uids.into(), ahead });
    }
    // `n:*` names the last message even when its UID is below n, so what comes is looked at again.
    if session.exists > 0
        && let Some(first) = start.uid.checked_add(1)
    {
        let mut on = |response: &Response<'_>| uids.extend(uid_of(response).filter(|uid| *uid >= first));
        session.command(&format!("UID FETCH {first}:* (UID)"), Bounds::LIST, &mut on).await?;
    }
    uids.sort_unstable();
    uids.dedup();
    let ahead = VecDeque::new();
    Ok(Backlog { incarnation: start.incarnation, after: start.uid, uids: uids.into(), ahead })
}

/// When the newest message of the open folder was received.
pub(super) async fn newest(session: &mut Session) -> Result<Option<Timestamp>, Trouble> {
    let last = last_uid(session).await?;
    let told = describe(session, last.as_slice()).await?;
    Ok(told.into_values().find_map(|told| told.received_at))
}

/// What the server tells about these messages; those that are gone meanwhile are left out.
pub(super) async fn describe(session: &mut Session, uids: &[u32]) -> Result<BTreeMap<u32, Told>, Trouble> {
    let mut told = BTreeMap::new();
    if uids.is_empty() {
        return Ok(told);
    }
    let uid_set = set(uids);
    let mut on = |response: &Response<'_>| {
        let Some(uid) = uid_of(response).filter(|uid| uids.binary_search(uid).is_ok()) else { return };
        let found: &mut Told = told.entry(uid).or_default();
        note(response, found);
    };
    let asked =
        session.command(&format!("UID FETCH {uid_set} ({ITEMS} {HEADER})"), Bounds::SMALL, &mut on).await;
    match asked {
        // A Message-ID is a help, not a need: a server that does not understand the question is asked without it.
        Err(trouble) if trouble.failure.words.starts_with("BAD") && trouble.failure.advice.is_none() => {
            session.command(&format!("UID FETCH {uid_set} ({ITEMS})"), Bounds::SMALL, &mut on).await?;
        }
        // A server that fails at one message refuses the command, after it answered for others.
        Err(trouble) if trouble.is_partial() => {}
        asked => asked?,
    }
    let silent: Vec<u32> = uids.iter().copied().filter(|uid| !told.contains_key(uid)).collect();
    if !silent.is_empty() {
        // Removed meanwhile, or left out by a server that cannot read them just now. Those must not be passed over.
        let mut on = |response: &Response<'_>| {
            if let Some(uid) = uid_of(response).filter(|uid| silent.binary_search(uid).is_ok()) {
                told.entry(uid).or_default();
            }
        };
        session.command(&format!("UID FETCH {} (UID)", set(&silent)), Bounds::SMALL, &mut on).await?;
    }
    Ok(told)
}

fn note(response: &Response<'_>, told: &mut Told) {
    let Response::Fetch(_, attributes) = response else { return };
    for attribute in attributes {
        match attribute {
            AttributeValue::Flags(flags) => {
                told.draft = flags.iter().any(|flag| flag.eq_ignore_ascii_case("\\Draft"));
            }
            AttributeValue::InternalDate(date) => told.received_at = internal_date(date),
            AttributeValue::Rfc822Size(size) => told.size = u64::from(*size),
            AttributeValue::BodySection { data: Some(header), .. } => told.message_id = message_id(header),
            _ => {}
        }
    }
}

/// The UID of a message that a response is about.
pub(super) fn uid_of(response: &Response<'_>) -> Option<u32> {
    let Response::Fetch(_, attributes) = response else { return None };
    attributes.iter().find_map(|attribute| match attribute {
        AttributeValue::Uid(uid) => Some(*uid).filter(|uid| *uid > 0),
        _ => None,
    })
}

/// A sequence set (RFC 3501 section 9): `3,5:9`. The numbers rise.
pub(super) fn set(uids: &[u32]) -> String {
    let runs = uids.chunk_by(|before, after| before.checked_add(1) == Some(*after));
    let runs: Vec<String> = runs
        .map(|run| match run {
            [first, .., last] => format!("{first}:{last}"),
            _ => run.iter().map(u32::to_string).collect(),
        })
        .collect();
    runs.join(",")
}

/// ` 7-Feb-2026 09:05:00 +0100` (RFC 3501 section 9, date-time).
pub(super) fn internal_date(text: &str) -> Option<Timestamp> {
    Timestamp::strptime("%d-%b-%Y %H:%M:%S %z", text.trim()).ok()
}

fn message_id(header: &[u8]) -> Option<String> {
    let header = String::from_utf8_lossy(header);
    let (_, value) = header.split_once(':')?;
    let value: String = value.split_whitespace().collect();
    (!value.is_empty() && value.len() <= MAX_MESSAGE_ID).then_some(value)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sets_name_runs_by_their_ends() {
        assert_eq!(set(&[1]), "1");
        assert_eq!(set(&[1, 2, 3, 5, 7, 8, u32::MAX]), "1:3,5,7:8,4294967295");
    }

    #[test]
    fn dates_and_message_ids_are_read_or_left_out() {
        for date in [" 7-Feb-2026 09:05:00 +0100", "07-Feb-2026 08:05:00 +0000"] {
            assert_eq!(internal_date(date).unwrap().to_string(), "2026-02-07T08:05:00Z");
        }
        assert_eq!(internal_date("yesterday"), None);
        assert_eq!(message_id(b"Message-ID:\r\n <a@\xffx>\r\n\r\n").as_deref(), Some("<a@\u{fffd}x>"));
        assert_eq!(message_id(b"\r\n"), None);
    }

    #[test]
    fn removals_are_those_of_told_messages_and_bounded() {
        let incarnation = Incarnation { validity: 9, age: 0 };
        assert_eq!(gone(incarnation, &[0..=2, 5..=u32::MAX], 6), ["9:1", "9:2", "9:5", "9:6"]);
        assert_eq!(gone(incarnation, &[1..=u32::MAX], u32::MAX).len(), MAX_REMOVED);
    }
}
