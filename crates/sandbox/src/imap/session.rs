//! One session: who signed in, which folder is selected, and what the client knows of it.

use std::fmt::Write;
use std::sync::Arc;

use imap_codec::imap_types::command::CommandBody;
use imap_codec::imap_types::mailbox::Mailbox as Named;
use imap_codec::imap_types::sequence::{SeqOrUid, Sequence, SequenceSet};

use super::names;
use crate::answer::Refusal;
use crate::doors::sign_in::{self, Credentials, Opened};
use crate::mail::numbered::{self, Entry, Numbers};
use crate::state::Tenant;

const CAPABILITIES: &str = "IMAP4 IMAP4rev1 AUTH=PLAIN AUTH=XOAUTH2 SASL-IR UIDPLUS MOVE ID UNSELECT CHILDREN IDLE NAMESPACE LITERAL+";

/// What a command comes to.
pub(super) struct Done {
    /// Untagged lines, each with CR LF.
    pub(super) lines: Vec<u8>,
    /// The tagged reply without its tag.
    pub(super) tagged: String,
    /// Whether the connection ends.
    pub(super) ends: bool,
}

impl Done {
    /// A reply without lines before it.
    pub(super) fn said(tagged: impl Into<String>) -> Self {
        Self::with(Vec::new(), tagged)
    }

    pub(super) fn with(lines: impl Into<Vec<u8>>, tagged: impl Into<String>) -> Self {
        Self { lines: lines.into(), tagged: tagged.into(), ends: false }
    }
}

impl From<Refusal> for Done {
    fn from(refusal: Refusal) -> Self {
        let words: String = refusal.message.chars().filter(char::is_ascii).take(200).collect();
        Self::said(format!("NO {words}"))
    }
}

impl From<sqlx::Error> for Done {
    fn from(error: sqlx::Error) -> Self {
        Refusal::from(error).into()
    }
}

enum State {
    Fresh,
    /// Signed in, and the mailbox does not open.
    NotConnected(i64),
    Open(Opened),
}

/// The selected folder, as the client knows it: the place in `entries` is the sequence number.
pub(super) struct Selected {
    pub(super) folder: String,
    pub(super) read_only: bool,
    pub(super) numbers: Numbers,
    pub(super) entries: Vec<Entry>,
}

/// A session.
pub(super) struct Session {
    pub(super) tenant: Arc<Tenant>,
    state: State,
    pub(super) selected: Option<Selected>,
}

impl Session {
    pub(super) fn new(tenant: Arc<Tenant>) -> Self {
        Self { tenant, state: State::Fresh, selected: None }
    }

    pub(super) fn is_signed_in(&self) -> bool {
        !matches!(self.state, State::Fresh)
    }

    /// Whether the token of the sign-in has run out on the tenant's clock.
    pub(super) fn is_expired(&self) -> bool {
        let end = match &self.state {
            State::Fresh => return false,
            State::NotConnected(end) => *end,
            State::Open(opened) => opened.expires_at,
        };
        self.tenant.now() >= end
    }

    pub(super) async fn sign_in(&mut self, credentials: &Credentials) -> Done {
        self.state = match sign_in::imap(&self.tenant, credentials).await {
            Ok(sign_in::Imap::Open(opened)) => State::Open(opened),
            Ok(sign_in::Imap::NotConnected { expires_at }) => State::NotConnected(expires_at),
            Ok(sign_in::Imap::Refused) => return Done::said("NO AUTHENTICATE failed."),
            Err(error) => return error.into(),
        };
        Done::said("OK AUTHENTICATE completed.")
    }

    /// The mailbox, or what a command without one comes to.
    pub(super) fn opened(&self) -> Result<Opened, Done> {
        match &self.state {
            State::Fresh => Err(Done::said("BAD Command received in Invalid state.")),
            State::NotConnected(_) => Err(Done::said("BAD User is authenticated but not connected.")),
            State::Open(opened) => Ok(opened.clone()),
        }
    }

    /// The selected folder, or what a command without one comes to.
    pub(super) fn selected(&self) -> Result<&Selected, Done> {
        self.opened()?;
        self.selected.as_ref().ok_or_else(|| Done::said("BAD Command received in Invalid state."))
    }

    /// Runs a command.
    pub(super) async fn run(&mut self, body: &CommandBody<'_>) -> Done {
        self.tried(body).await.unwrap_or_else(|done| done)
    }

    async fn tried(&mut self, body: &CommandBody<'_>) -> Result<Done, Done> {
        match body {
            CommandBody::Capability => {
                Ok(Done::with(format!("* CAPABILITY {CAPABILITIES}\r\n"), "OK CAPABILITY completed."))
            }
            CommandBody::Logout => {
                let bye = "* BYE Microsoft Exchange Server IMAP4 server signing off.\r\n";
                Ok(Done { ends: true, ..Done::with(bye, "OK LOGOUT completed.") })
            }
            CommandBody::Id { .. } => {
                let id = "* ID (\"name\" \"Microsoft.Exchange.Imap4.Imap4Server\" \"version\" \"15.20\")\r\n";
                Ok(Done::with(id, "OK ID completed"))
            }
            CommandBody::Noop if !self.is_signed_in() => Ok(Done::said("OK NOOP completed.")),
            // Basic authentication is off.
            CommandBody::Login { .. } if !self.is_signed_in() => Ok(Done::said("NO LOGIN failed.")),
            _ => {
                let opened = self.opened()?;
                if self.selected.is_some() && matches!(body, CommandBody::Noop | CommandBody::Check) {
                    let lines = self.news(true).await?;
                    let name = if matches!(body, CommandBody::Noop) { "NOOP" } else { "CHECK" };
                    return Ok(Done::with(lines, format!("OK {name} completed.")));
                }
                self.authenticated(body, &opened).await
            }
        }
    }

    async fn authenticated(&mut self, body: &CommandBody<'_>, opened: &Opened) -> Result<Done, Done> {
        match body {
            CommandBody::Noop => Ok(Done::said("OK NOOP completed.")),
            CommandBody::Namespace => {
                Ok(Done::with("* NAMESPACE ((\"\" \"/\")) NIL NIL\r\n", "OK NAMESPACE completed."))
            }
            CommandBody::List { reference, mailbox_wildcard } => {
                self.list(opened, "LIST", reference, mailbox_wildcard).await
            }
            CommandBody::Lsub { reference, mailbox_wildcard } => {
                self.list(opened, "LSUB", reference, mailbox_wildcard).await
            }
            CommandBody::Status { mailbox, item_names } => self.status(opened, mailbox, item_names).await,
            CommandBody::Select { mailbox } => self.select(opened, mailbox, false).await,
            CommandBody::Examine { mailbox } => self.select(opened, mailbox, true).await,
            CommandBody::Create { mailbox } => self.create(opened, mailbox).await,
            CommandBody::Delete { mailbox } => self.delete(opened, mailbox).await,
            CommandBody::Rename { from, to } => self.rename(opened, from, to).await,
            // Every folder is subscribed to.
            CommandBody::Subscribe { .. } => Ok(Done::said("OK SUBSCRIBE completed.")),
            CommandBody::Unsubscribe { .. } => Ok(Done::said("OK UNSUBSCRIBE completed.")),
            CommandBody::Append { mailbox, flags, date, message } => {
                self.append(opened, mailbox, flags, date.as_ref(), message).await
            }
            _ => self.in_folder(body, opened).await,
        }
    }

    async fn in_folder(&mut self, body: &CommandBody<'_>, opened: &Opened) -> Result<Done, Done> {
        self.selected()?;
        match body {
            CommandBody::Unselect => {
                self.selected = None;
                Ok(Done::said("OK UNSELECT completed."))
            }
            CommandBody::Close => {
                if !self.selected()?.read_only {
                    self.expunge(None).await?;
                }
                self.selected = None;
                Ok(Done::said("OK CLOSE completed."))
            }
            CommandBody::Expunge => self.expunge(None).await,
            CommandBody::ExpungeUid { sequence_set } => self.expunge(Some(sequence_set)).await,
            CommandBody::Search { charset, criteria, uid } => {
                self.search(charset.as_ref(), criteria.as_ref(), *uid).await
            }
            CommandBody::Fetch { sequence_set, macro_or_item_names, uid } => {
                self.fetch(sequence_set, macro_or_item_names, *uid).await
            }
            CommandBody::Store { sequence_set, kind, response, flags, uid } => {
                self.store(sequence_set, kind, response, flags, *uid).await
            }
            CommandBody::Copy { sequence_set, mailbox, uid } => {
                self.transfer(opened, sequence_set, mailbox, *uid, false).await
            }
            CommandBody::Move { sequence_set, mailbox, uid } => {
                self.transfer(opened, sequence_set, mailbox, *uid, true).await
            }
            _ => Ok(Done::said("BAD Command Error. 10")),
        }
    }

    /// What has changed in the selected folder since the client was last told. Messages are said to be gone only where
    /// sequence numbers may change (RFC 3501 section 7.4.1).
    pub(super) async fn news(&mut self, expunge: bool) -> Result<Vec<u8>, Done> {
        let Some(selected) = &mut self.selected else { return Ok(Vec::new()) };
        let mut tx = self.tenant.begin().await?;
        let Some(numbers) = numbered::numbers(&mut tx, &selected.folder).await? else {
            self.selected = None;
            return Err(Done {
                ends: true,
                ..Done::with("* BYE The folder is gone.\r\n", "NO The folder is gone.")
            });
        };
        if numbers.validity != selected.numbers.validity {
            self.selected = None;
            return Err(Done {
                ends: true,
                ..Done::with("* BYE UIDVALIDITY has changed.\r\n", "NO UIDVALIDITY has changed.")
            });
        }
        let now = numbered::entries(&mut tx, &selected.folder, numbers).await?;
        drop(tx);
        selected.numbers = numbers;
        let mut lines = String::new();
        if expunge {
            let gone = |entry: &Entry| now.binary_search_by_key(&entry.uid, |now| now.uid).is_err();
            for at in (0..selected.entries.len())
                .rev()
                .filter(|at| gone(&selected.entries[*at]))
                .collect::<Vec<_>>()
            {
                selected.entries.remove(at);
                let _ = write!(lines, "* {} EXPUNGE\r\n", at + 1);
            }
        }
        let last = selected.entries.last().map_or(0, |entry| entry.uid);
        let fresh: Vec<Entry> = now.iter().filter(|entry| entry.uid > last).copied().collect();
        if !fresh.is_empty() {
            selected.entries.extend(fresh);
            let _ = write!(lines, "* {} EXISTS\r\n", selected.entries.len());
        }
        for (at, entry) in selected.entries.iter_mut().enumerate() {
            let Ok(found) = now.binary_search_by_key(&entry.uid, |now| now.uid) else { continue };
            if now[found].flags != entry.flags {
                entry.flags = now[found].flags;
                let _ = write!(lines, "* {} FETCH (FLAGS {})\r\n", at + 1, entry.flags.shown());
            }
        }
        Ok(lines.into_bytes())
    }
}

impl Selected {
    /// Places of the messages a set names, ascending: by UID, or by sequence number.
    pub(super) fn places(&self, set: &SequenceSet, uid: bool) -> Result<Vec<usize>, Done> {
        let count = u32::try_from(self.entries.len()).unwrap_or(u32::MAX);
        let highest = if uid { self.entries.last().map_or(0, |entry| entry.uid) } else { count };
        if !uid && !valid(set, count) {
            return Err(Done::said("BAD The specified message set is invalid."));
        }
        let named = |(at, entry): (usize, &Entry)| {
            let number = if uid { entry.uid } else { u32::try_from(at + 1).unwrap_or(u32::MAX) };
            contains(set, number, highest).then_some(at)
        };
        Ok(self.entries.iter().enumerate().filter_map(named).collect())
    }
}

fn number(value: SeqOrUid, highest: u32) -> u32 {
    match value {
        SeqOrUid::Value(number) => number.get(),
        SeqOrUid::Asterisk => highest,
    }
}

/// Whether a set names a number; `*` is the highest there is.
pub(super) fn contains(set: &SequenceSet, wanted: u32, highest: u32) -> bool {
    set.0.as_ref().iter().any(|part| match part {
        Sequence::Single(one) => number(*one, highest) == wanted,
        Sequence::Range(a, b) => {
            let (a, b) = (number(*a, highest), number(*b, highest));
            (a.min(b)..=a.max(b)).contains(&wanted)
        }
    })
}

/// Whether a set of sequence numbers names only messages there are.
fn valid(set: &SequenceSet, count: u32) -> bool {
    let fits = |value: SeqOrUid| match value {
        SeqOrUid::Value(number) => number.get() <= count,
        SeqOrUid::Asterisk => true,
    };
    set.0.as_ref().iter().all(|part| match part {
        Sequence::Single(one) => fits(*one),
        Sequence::Range(a, b) => {
            fits(*a) && fits(*b)
                || matches!((a, b), (SeqOrUid::Value(one), SeqOrUid::Asterisk) if one.get() == 1)
        }
    })
}

/// The path a command names.
pub(super) fn path(mailbox: &Named<'_>) -> Result<String, Done> {
    match mailbox {
        Named::Inbox => Ok("INBOX".to_owned()),
        Named::Other(other) => names::decoded(other.as_ref())
            .filter(|name| name.chars().count() <= 1000)
            .ok_or_else(|| Done::said("BAD Command Argument Error. 11")),
    }
}
