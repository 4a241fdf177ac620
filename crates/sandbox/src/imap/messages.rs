//! Changes to messages: flags, copies, moves, what is appended and what is removed. Each command is one transaction.

use std::fmt::Write;

use imap_codec::imap_types::datetime::DateTime;
use imap_codec::imap_types::extensions::binary::LiteralOrLiteral8;
use imap_codec::imap_types::flag::{Flag, StoreResponse, StoreType};
use imap_codec::imap_types::mailbox::Mailbox as Named;
use imap_codec::imap_types::sequence::SequenceSet;

use super::session::{Done, Selected, Session, contains};
use crate::doors::sign_in::Opened;
use crate::mail::numbered::{self, Flags, Folder};

fn bits(flags: &[Flag<'_>]) -> u8 {
    flags.iter().fold(0, |bits, flag| bits | Flags::bit(&flag.to_string()))
}

/// UIDs as a set.
fn set(uids: &[u32]) -> String {
    uids.iter().map(u32::to_string).collect::<Vec<_>>().join(",")
}

impl Session {
    /// The selected folder, when it may be changed.
    fn changeable(&mut self) -> Result<&mut Selected, Done> {
        self.selected()?;
        match &mut self.selected {
            Some(selected) if !selected.read_only => Ok(selected),
            _ => Err(Done::said("NO The folder is open for reading only.")),
        }
    }

    pub(super) async fn store(
        &mut self,
        messages: &SequenceSet,
        kind: &StoreType,
        response: &StoreResponse,
        flags: &[Flag<'_>],
        uid: bool,
    ) -> Result<Done, Done> {
        let (given, tenant) = (bits(flags), std::sync::Arc::clone(&self.tenant));
        let selected = self.changeable()?;
        let places = selected.places(messages, uid)?;
        let mut lines = String::new();
        let mut tx = tenant.begin().await?;
        for at in places {
            let entry = &mut selected.entries[at];
            let bits = match kind {
                StoreType::Replace => given,
                StoreType::Add => entry.flags.0 | given,
                StoreType::Remove => entry.flags.0 & !given,
            };
            // Whether a message is a draft is not the client's to change.
            let flags = Flags(bits & !Flags::DRAFT | entry.flags.0 & Flags::DRAFT);
            if numbered::content(&mut tx, entry.seq, false).await?.is_none() {
                continue;
            }
            if flags != entry.flags {
                numbered::mark(&tenant, &mut tx, entry.seq, flags).await?;
                entry.flags = flags;
            }
            if matches!(response, StoreResponse::Answer) {
                let uid = if uid { format!("UID {} ", entry.uid) } else { String::new() };
                let _ = write!(lines, "* {} FETCH ({uid}FLAGS {})\r\n", at + 1, flags.shown());
            }
        }
        tx.commit().await?;
        tenant.nudge();
        let mut lines = lines.into_bytes();
        lines.extend(self.news(uid).await?);
        Ok(Done::with(lines, "OK STORE completed."))
    }

    /// `COPY` and `MOVE` (RFC 6851).
    pub(super) async fn transfer(
        &mut self,
        opened: &Opened,
        messages: &SequenceSet,
        mailbox: &Named<'_>,
        uid: bool,
        moves: bool,
    ) -> Result<Done, Done> {
        let selected = if moves { self.changeable()? } else { self.selected()? };
        let places = selected.places(messages, uid)?;
        let chosen: Vec<_> = places.into_iter().map(|at| selected.entries[at]).collect();
        let target = self.target(opened, mailbox).await?;
        let (mut from, mut to) = (Vec::new(), Vec::new());
        let mut tx = self.tenant.begin().await?;
        for entry in chosen {
            if numbered::content(&mut tx, entry.seq, false).await?.is_none() {
                continue;
            }
            to.push(if moves {
                numbered::relocate(&self.tenant, &mut tx, entry.seq, &target.id).await?
            } else {
                numbered::copy(&self.tenant, &mut tx, entry.seq, &target.id).await?
            });
            from.push(entry.uid);
        }
        let validity = numbered::numbers(&mut tx, &target.id).await?.map_or(0, |numbers| numbers.validity);
        tx.commit().await?;
        self.tenant.nudge();
        let code = match from.is_empty() {
            true => String::new(),
            false => format!("[COPYUID {validity} {} {}]", set(&from), set(&to)),
        };
        if !moves {
            let lines = self.news(uid).await?;
            let space = if code.is_empty() { "" } else { " " };
            return Ok(Done::with(lines, format!("OK {code}{space}COPY completed.")));
        }
        let mut lines = match code.is_empty() {
            true => Vec::new(),
            false => format!("* OK {code} Moved.\r\n").into_bytes(),
        };
        lines.extend(self.news(true).await?);
        Ok(Done::with(lines, "OK MOVE completed."))
    }

    /// The folder messages go to.
    async fn target(&self, opened: &Opened, mailbox: &Named<'_>) -> Result<Folder, Done> {
        self.folder(opened, mailbox).await.map_err(|done| match done.tagged.strip_prefix("NO ") {
            Some(words) => Done::said(format!("NO [TRYCREATE] {words}")),
            None => done,
        })
    }

    pub(super) async fn append(
        &mut self,
        opened: &Opened,
        mailbox: &Named<'_>,
        flags: &[Flag<'_>],
        date: Option<&DateTime>,
        message: &LiteralOrLiteral8<'_>,
    ) -> Result<Done, Done> {
        let LiteralOrLiteral8::Literal(message) = message else {
            return Err(Done::said("BAD Command Argument Error. 12"));
        };
        let target = self.target(opened, mailbox).await?;
        let (flags, received_at) = (Flags(bits(flags)), date.map(|date| date.as_ref().timestamp()));
        let mut tx = self.tenant.begin().await?;
        let (mailbox, raw) = (&opened.mailbox, message.data());
        let uid =
            numbered::append(&self.tenant, &mut tx, mailbox, &target.id, raw, flags, received_at).await?;
        let validity = numbered::numbers(&mut tx, &target.id).await?.map_or(0, |numbers| numbers.validity);
        tx.commit().await?;
        self.tenant.nudge();
        let lines = self.news(true).await?;
        Ok(Done::with(lines, format!("OK [APPENDUID {validity} {uid}] APPEND completed.")))
    }

    /// Removes what is marked as deleted, of those UIDs when a set is given (RFC 4315).
    pub(super) async fn expunge(&mut self, uids: Option<&SequenceSet>) -> Result<Done, Done> {
        self.changeable()?;
        // Marks that others have put since count too.
        let mut lines = self.news(true).await?;
        let selected = self.changeable()?;
        let highest = selected.entries.last().map_or(0, |entry| entry.uid);
        let chosen: Vec<i64> = selected
            .entries
            .iter()
            .filter(|entry| entry.flags.has(Flags::DELETED))
            .filter(|entry| uids.is_none_or(|set| contains(set, entry.uid, highest)))
            .map(|entry| entry.seq)
            .collect();
        let mut tx = self.tenant.begin().await?;
        for seq in chosen {
            numbered::remove(&mut tx, seq).await?;
        }
        tx.commit().await?;
        self.tenant.nudge();
        lines.extend(self.news(true).await?);
        Ok(Done::with(lines, "OK EXPUNGE completed."))
    }
}
