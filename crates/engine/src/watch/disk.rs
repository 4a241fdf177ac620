//! Room on the disk of the data folder: told below one limit, and below another nothing more is taken in. Messages are
//! then refused politely, before anything was said to be accepted, and mail waits at its provider.

use std::path::Path;
use std::sync::atomic::Ordering;

use postroom_model::Timestamp;
use postroom_model::event::{Event, EventKind, Subject};
use postroom_store::StoreError;

use super::Gravity;
use crate::Engine;

/// What was told last: `low` or `full`; nothing while there is room.
const JOURNAL: &str = "disk";
/// How much room there must be above a limit before it is told that there is room again, in percent of the limit.
const ABOVE: u64 = 110;

/// How much room there is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Room {
    /// Enough.
    Fine,
    /// Little: people are told.
    Low,
    /// Nothing more is taken in.
    Full,
}

impl Room {
    fn word(self) -> Option<&'static str> {
        match self {
            Self::Fine => None,
            Self::Low => Some("low"),
            Self::Full => Some("full"),
        }
    }

    fn of_word(word: Option<&str>) -> Self {
        match word {
            Some("full") => Self::Full,
            Some(_) => Self::Low,
            None => Self::Fine,
        }
    }
}

/// How much room `free` bytes are, with these limits, after it was `before`: better only a little above a limit, so that
/// nobody is told of it again and again.
pub fn room(free: u64, warn: u64, refuse: u64, before: Room) -> Room {
    let above = |limit: u64| limit.saturating_mul(ABOVE) / 100;
    let refuse = if before == Room::Full { above(refuse) } else { refuse };
    let warn = if before == Room::Fine { warn } else { above(warn) };
    match free {
        free if free < refuse => Room::Full,
        free if free < warn => Room::Low,
        _ => Room::Fine,
    }
}

/// Bytes that this process may still write to the disk of a folder.
fn free(folder: &Path) -> std::io::Result<u64> {
    let about = rustix::fs::statvfs(folder)?;
    Ok(about.f_bavail.saturating_mul(about.f_frsize))
}

/// Looks at the disk.
pub(crate) async fn look(engine: &Engine) -> Result<Option<Timestamp>, StoreError> {
    let settings = &engine.settings.watch;
    let Some(folder) = &settings.data_folder else { return Ok(None) };
    let free = match free(folder) {
        Ok(free) => free,
        Err(error) => {
            tracing::warn!(folder = %folder.display(), %error, "the disk cannot be looked at");
            return Ok(None);
        }
    };
    let known = engine.store.journal(JOURNAL).await?;
    let before = Room::of_word(known.as_deref());
    let now = room(free, settings.disk_warn_bytes, settings.disk_refuse_bytes, before);
    // First of all, because a full disk may keep the rest from being written.
    engine.nudges.full.store(now == Room::Full, Ordering::Relaxed);
    if now == before {
        return Ok(None);
    }
    let (kind, gravity, words) = told(now, free, folder);
    engine.notify(None, kind, gravity, words.clone()).await;
    let event = Event::new(engine.env.new_id(), engine.env.now(), Subject::Installation, kind).words(words);
    engine.store.append_events(vec![event]).await?;
    engine.store.save_journal(JOURNAL, now.word()).await?;
    Ok(None)
}

fn told(room: Room, free: u64, folder: &Path) -> (EventKind, Gravity, String) {
    let (megabytes, folder) = (free / 1_000_000, folder.display());
    let left = format!("{megabytes} MB are free on the disk of {folder}");
    match room {
        Room::Fine => (EventKind::DiskFine, Gravity::Information, format!("{left} again")),
        Room::Low => (
            EventKind::DiskLow,
            Gravity::Warning,
            format!("{left}. Next step: free some space before nothing more can be taken in"),
        ),
        Room::Full => (
            EventKind::DiskLow,
            Gravity::Error,
            format!(
                "{left}: nothing more is taken in, messages are refused and mail waits at its provider. Next step: free some space; Postroom goes on by itself"
            ),
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_gets_better_a_little_above_the_limit_only() {
        for (free, before, now) in [
            (2_000, Room::Fine, Room::Fine),
            (999, Room::Fine, Room::Low),
            (1_000, Room::Fine, Room::Fine),
            (1_050, Room::Low, Room::Low),
            (1_100, Room::Low, Room::Fine),
            (199, Room::Low, Room::Full),
            (199, Room::Fine, Room::Full),
            (210, Room::Full, Room::Full),
            (220, Room::Full, Room::Low),
            (5_000, Room::Full, Room::Fine),
        ] {
            assert_eq!(room(free, 1_000, 200, before), now, "{free} after {before:?}");
        }
    }

    #[test]
    fn the_disk_of_a_folder_is_measured() {
        let folder = tempfile::tempdir().unwrap();
        assert!(free(folder.path()).unwrap() > 0);
        assert!(free(&folder.path().join("missing")).is_err());
    }
}
