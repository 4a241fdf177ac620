//! The bytes of messages: small ones many at once, large ones in ranges, so that memory stays flat.

use async_imap::imap_proto::{AttributeValue, Response};
use bytes::Bytes;
use postroom_model::failure::{Decision, Failure, Origin};

use super::meter::Bounds;
use super::page::{set, uid_of};
use super::session::Session;
use super::words::{After, Trouble};
use super::{OnPage, State};
use crate::MessageSink;

/// Up to this size messages are brought together with their neighbours.
const SMALL: u64 = 256 * 1024;
/// What one command brings: messages and bytes.
const BATCH: (usize, u64) = (256, 4 * 1024 * 1024);
/// Servers count sizes with other line ends, or guess; so much more is accepted.
const BATCH_BOUNDS: Bounds = Bounds { literal: 4 * SMALL, total: 2 * BATCH.1 };
/// Of a server that keeps a size to itself: by ranges it is found out.
const SIZE_UNKNOWN: u64 = SMALL + 1;
/// Bytes of a large message asked for at once.
const RANGE: u32 = 1024 * 1024;
const RANGE_BOUNDS: Bounds = Bounds { literal: RANGE as u64, total: RANGE as u64 + 64 * 1024 };

/// Fetches one message into `sink`, and `written` tells how much. None when it is gone.
pub(super) async fn fetch(
    session: &mut Session,
    state: &mut State,
    uid: u32,
    limit: u64,
    sink: &mut dyn MessageSink,
    written: &mut u64,
) -> Result<Option<u64>, Trouble> {
    let told = state.page.iter().find(|known| known.uid == uid).map(|known| known.size);
    let size = match told {
        Some(size) => size,
        None => match size_of(session, uid).await? {
            Some(size) => size,
            None if is_gone(session, uid).await? => return Ok(None),
            None => SIZE_UNKNOWN,
        },
    };
    check(session, size, limit)?;
    if size <= SMALL && !state.careful {
        batch(session, state, uid).await?;
        if let Some(message) = state.kept.remove(&uid) {
            return deliver(session, message, limit, sink).await.map(Some);
        }
    }
    ranges(session, uid, size, limit, sink, written).await
}

/// Hands out a message that is in memory.
pub(super) async fn deliver(
    session: &Session,
    message: Bytes,
    limit: u64,
    sink: &mut dyn MessageSink,
) -> Result<u64, Trouble> {
    let size = message.len() as u64;
    check(session, size, limit)?;
    sink.write(message).await.map_err(|failure| Trouble::new(failure, After::Alive))?;
    Ok(size)
}

/// One small message; none when it is gone.
pub(super) async fn small(session: &mut Session, uid: u32) -> Result<Option<Vec<u8>>, Trouble> {
    let mut message = None;
    let mut on = |response: &Response<'_>| {
        if uid_of(response) == Some(uid)
            && let Some((None, data)) = body(response)
        {
            message = Some(data.to_vec());
        }
    };
    session.command(&format!("UID FETCH {uid} (UID BODY.PEEK[])"), Bounds::SMALL, &mut on).await?;
    Ok(message)
}

fn check(session: &Session, size: u64, limit: u64) -> Result<(), Trouble> {
    if size <= limit {
        return Ok(());
    }
    let words = format!("the message has {size} bytes; at most {limit} are taken");
    let failure = Failure::new(&session.operation, Origin::Ourselves, words, Decision::Hold);
    Err(Trouble::new(failure, After::Alive))
}

/// The size of a message as the server tells it; none when it is gone.
async fn size_of(session: &mut Session, uid: u32) -> Result<Option<u64>, Trouble> {
    let mut size = None;
    let mut on = |response: &Response<'_>| {
        if let (Some(told), Response::Fetch(_, attributes)) = (uid_of(response), response)
            && told == uid
        {
            let found = attributes.iter().find_map(|attribute| match attribute {
                AttributeValue::Rfc822Size(size) => Some(u64::from(*size)),
                _ => None,
            });
            size = found.or(size).or(Some(SIZE_UNKNOWN));
        }
    };
    session.command(&format!("UID FETCH {uid} (UID RFC822.SIZE)"), Bounds::SMALL, &mut on).await?;
    Ok(size)
}

/// Whether the message is not there any more. A server may leave one out of an answer because it cannot read it just
/// now, or because too much was asked at once; only one that does not even say its UID says that it is gone.
async fn is_gone(session: &mut Session, uid: u32) -> Result<bool, Trouble> {
    let mut gone = true;
    let mut on = |response: &Response<'_>| gone &= uid_of(response) != Some(uid);
    session.command(&format!("UID FETCH {uid} (UID)"), Bounds::SMALL, &mut on).await?;
    Ok(gone)
}

/// Brings a message and the small ones of its page that nobody asked for yet, in whatever order they will be asked for.
async fn batch(session: &mut Session, state: &mut State, uid: u32) -> Result<(), Trouble> {
    let mut wanted = vec![uid];
    let mut bytes = SMALL;
    for known in state.page.iter_mut().filter(|known| !known.asked && known.size <= SMALL) {
        if wanted.len() == BATCH.0 || bytes + known.size > BATCH.1 {
            break;
        }
        known.asked = true;
        if known.uid != uid {
            bytes += known.size;
            wanted.push(known.uid);
        }
    }
    wanted.sort_unstable();
    let kept = &mut state.kept;
    let mut on = |response: &Response<'_>| {
        if let Some(uid) = uid_of(response).filter(|uid| wanted.binary_search(uid).is_ok())
            && let Some((None, data)) = body(response)
        {
            kept.insert(uid, Bytes::copy_from_slice(data));
        }
    };
    let command = format!("UID FETCH {} (UID BODY.PEEK[])", set(&wanted));
    match session.command(&command, BATCH_BOUNDS, &mut on).await {
        // What was answered before the refusal is good; the rest is asked for one by one.
        Err(trouble) if trouble.is_partial() => {}
        Err(trouble) => {
            let lost =
                |known: &&mut OnPage| wanted.contains(&known.uid) && !state.kept.contains_key(&known.uid);
            state.page.iter_mut().filter(lost).for_each(|known| known.asked = false);
            return Err(trouble);
        }
        Ok(()) => {}
    }
    if session.escaped() {
        // The parser leaves backslashes in quoted strings, and whose they are is not known here.
        state.kept.clear();
    }
    Ok(())
}

/// The text in a response, with the place it begins at when it is a range.
fn body<'a>(response: &'a Response<'_>) -> Option<(Option<u32>, &'a [u8])> {
    let Response::Fetch(_, attributes) = response else { return None };
    attributes.iter().find_map(|attribute| match attribute {
        AttributeValue::BodySection { section: None, index, data } => {
            Some((*index, data.as_deref().unwrap_or_default()))
        }
        _ => None,
    })
}

async fn ranges(
    session: &mut Session,
    uid: u32,
    size: u64,
    limit: u64,
    sink: &mut dyn MessageSink,
    written: &mut u64,
) -> Result<Option<u64>, Trouble> {
    loop {
        let Ok(offset) = u32::try_from(*written) else {
            return Err(session.garbage("a message of more than 4 GB"));
        };
        let Some((begins, chunk)) = range(session, uid, offset).await? else {
            if *written > 0 {
                return Err(session.garbage("a message that vanished while it was read"));
            }
            if is_gone(session, uid).await? {
                return Ok(None);
            }
            return Err(session.garbage("nothing of a message that is there"));
        };
        let whole = begins.is_none() && offset == 0 && chunk.len() < RANGE as usize;
        if begins != Some(offset) && !whole && !chunk.is_empty() {
            return Err(session.garbage("another part of the message than was asked for"));
        }
        let length = chunk.len() as u64;
        check(session, *written + length, limit)?;
        if length > 0 {
            sink.write(chunk).await.map_err(|failure| Trouble::new(failure, After::Alive))?;
            *written += length;
        }
        // The told size may be wrong either way, so the end is where nothing more comes.
        let end = length == 0 || whole || (length < u64::from(RANGE) && *written >= size);
        if end {
            return Ok(Some(*written));
        }
    }
}

/// One range; none when the server says nothing of the message.
async fn range(
    session: &mut Session,
    uid: u32,
    offset: u32,
) -> Result<Option<(Option<u32>, Bytes)>, Trouble> {
    let (mut found, mut named) = (None, false);
    let mut on = |response: &Response<'_>| {
        if uid_of(response) == Some(uid) {
            named = true;
            // A change of flags names the message too, also after its content: it must not take the content's place.
            if let Some((begins, data)) = body(response) {
                found = Some((begins, Bytes::copy_from_slice(data)));
            }
        }
    };
    let command = format!("UID FETCH {uid} (UID BODY.PEEK[]<{offset}.{RANGE}>)");
    session.command(&command, RANGE_BOUNDS, &mut on).await.map_err(|mut trouble| {
        if trouble.after == After::Excess {
            trouble.failure.advice = Some(
                "The server sends more of a large message than it is asked for, so it cannot be read safely."
                    .to_owned(),
            );
        }
        trouble
    })?;
    if named && found.is_none() {
        return Err(session.garbage("a message without the part that was asked for"));
    }
    Ok(found.map(|(begins, chunk)| match session.escaped() {
        true => (begins, unescape(&chunk)),
        false => (begins, chunk),
    }))
}

/// The text of a quoted string (RFC 3501 section 9): the parser leaves its backslashes in.
fn unescape(quoted: &[u8]) -> Bytes {
    let mut bytes = Vec::with_capacity(quoted.len());
    let mut rest = quoted.iter();
    while let Some(&byte) = rest.next() {
        bytes.push(if byte == b'\\' { rest.next().copied().unwrap_or(byte) } else { byte });
    }
    bytes.into()
}
