//! Where reading goes on, and the ids of messages.
//!
//! A cursor is `imap/UIDVALIDITY/age/UID/MODSEQ` with `/+` behind it while more pages follow. *Age* counts how often the
//! folder became another one: by another UIDVALIDITY, or by a server that went back behind a UID it had given out under
//! the same one (a restored backup). It never falls, so a UIDVALIDITY that comes back is not taken for what it named
//! before. An id is `UIDVALIDITY:UID`, or `UIDVALIDITY.age:UID`, so that ids of another incarnation of the folder are
//! other ids.

use std::fmt;
use std::str::FromStr;

/// One incarnation of a folder, in which a UID names one message for ever.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Incarnation {
    pub(super) validity: u32,
    pub(super) age: u32,
}

impl Incarnation {
    /// The id of a message.
    pub(super) fn id(self, uid: u32) -> String {
        match self.age {
            0 => format!("{}:{uid}", self.validity),
            age => format!("{}.{age}:{uid}", self.validity),
        }
    }

    /// The message of an id, when it is one of IMAP.
    pub(super) fn parse_id(id: &str) -> Option<(Self, u32)> {
        let (incarnation, uid) = id.split_once(':')?;
        let (validity, age) = incarnation.split_once('.').unwrap_or((incarnation, "0"));
        let incarnation = Self { validity: validity.parse().ok()?, age: age.parse().ok()? };
        Some((incarnation, uid.parse().ok().filter(|uid| *uid > 0)?))
    }
}

/// Where reading goes on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Cursor {
    pub(super) incarnation: Incarnation,
    /// The last message that was told.
    pub(super) uid: u32,
    /// HIGHESTMODSEQ (RFC 7162) up to which removals were told; 0 when the server knows none.
    pub(super) modseq: u64,
    /// Whether more pages follow.
    pub(super) more: bool,
}

impl fmt::Display for Cursor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Incarnation { validity, age } = self.incarnation;
        write!(f, "imap/{validity}/{age}/{}/{}", self.uid, self.modseq)?;
        f.write_str(if self.more { "/+" } else { "" })
    }
}

/// The text is no cursor of IMAP.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct NoCursor;

impl FromStr for Cursor {
    type Err = NoCursor;

    fn from_str(text: &str) -> Result<Self, NoCursor> {
        let parts: Vec<&str> = text.split('/').collect();
        let (["imap", validity, age, uid, modseq], more) = (match parts.as_slice() {
            [parts @ .., "+"] => (parts, true),
            parts => (parts, false),
        }) else {
            return Err(NoCursor);
        };
        let number = |text: &str| text.parse::<u32>().map_err(|_| NoCursor);
        Ok(Self {
            incarnation: Incarnation { validity: number(validity)?, age: number(age)? },
            uid: number(uid)?,
            modseq: modseq.parse().map_err(|_| NoCursor)?,
            more,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    postroom_fuzz::targets! {
        imap_cursor: ["imap/1763900000/0/7/9", "imap/1/2/3/4/+", "1763900000.3:7"] => |bytes| {
            let text = String::from_utf8_lossy(bytes);
            let cursor = text.parse::<Cursor>();
            if let Ok(cursor) = &cursor {
                assert_eq!(cursor.to_string().parse(), Ok(*cursor));
            }
            let id = Incarnation::parse_id(&text);
            if let Some((incarnation, uid)) = id {
                assert_eq!(Incarnation::parse_id(&incarnation.id(uid)), id);
            }
            (cursor.is_ok(), id.is_some())
        },
    }

    #[test]
    fn cursors_and_ids_survive_print_and_parse_and_nothing_else_is_one() {
        for age in [0, 3] {
            let incarnation = Incarnation { validity: 1_763_900_000, age };
            for more in [false, true] {
                let cursor = Cursor { incarnation, uid: u32::MAX, modseq: u64::MAX, more };
                assert_eq!(cursor.to_string().parse(), Ok(cursor));
            }
            assert_eq!(Incarnation::parse_id(&incarnation.id(7)), Some((incarnation, 7)));
        }
        for text in
            ["", "imap", "imap/1/0/2", "https://graph.example/delta", "imap/1/0/2/3/4", "imap/1/0/-1/3"]
        {
            assert_eq!(text.parse::<Cursor>(), Err(NoCursor), "{text}");
        }
        for id in ["", "7", "7:0", "7:x", "AAMkAD=", "1.2.3:4"] {
            assert_eq!(Incarnation::parse_id(id), None, "{id}");
        }
    }
}
