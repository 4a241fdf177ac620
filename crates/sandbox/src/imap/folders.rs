//! Folders: listed, counted, selected, made, renamed, removed.

use std::fmt::Write;

use imap_codec::imap_types::mailbox::{ListMailbox, Mailbox as Named};
use imap_codec::imap_types::status::StatusDataItemName;

use super::names;
use super::session::{Done, Selected, Session, path};
use crate::doors::sign_in::Opened;
use crate::mail::numbered::{self, FLAGS, Flags, Folder};

/// Special uses as the service tells them (RFC 6154).
fn attributes(folder: &Folder) -> String {
    let children = if folder.has_children { "\\HasChildren" } else { "\\HasNoChildren" };
    let special = match folder.well_known.as_deref() {
        Some("sentitems") => " \\Sent",
        Some("deleteditems") => " \\Trash",
        Some("drafts") => " \\Drafts",
        Some("junkemail") => " \\Junk",
        Some("archive") => " \\Archive",
        _ => "",
    };
    format!("{children}{special}")
}

/// A folder's name must be one the store takes.
fn fit(path: &str) -> Result<(), Done> {
    let bad = |name: &str| name.is_empty() || name.trim() != name || name.chars().count() > 255;
    if path.trim_end_matches('/').split('/').any(bad) {
        return Err(Done::said("NO The folder name is not valid."));
    }
    Ok(())
}

fn missing(path: &str) -> Done {
    Done::said(format!("NO {} doesn't exist.", names::encoded(path)))
}

impl Session {
    /// The folder a command names.
    pub(super) async fn folder(&self, opened: &Opened, mailbox: &Named<'_>) -> Result<Folder, Done> {
        let path = path(mailbox)?;
        let mut tx = self.tenant.begin().await?;
        numbered::folder(&mut tx, &opened.mailbox.id, &path).await?.ok_or_else(|| missing(&path))
    }

    pub(super) async fn list(
        &self,
        opened: &Opened,
        word: &str,
        reference: &Named<'_>,
        pattern: &ListMailbox<'_>,
    ) -> Result<Done, Done> {
        let completed = format!("OK {word} completed.");
        let pattern = match pattern {
            ListMailbox::Token(token) => token.as_ref(),
            ListMailbox::String(string) => string.as_ref(),
        };
        if pattern.is_empty() {
            return Ok(Done::with(format!("* {word} (\\Noselect) \"/\" \"\"\r\n"), completed));
        }
        let pattern = names::decoded(pattern).unwrap_or_default();
        let pattern = format!("{}{pattern}", path(reference)?);
        let mut tx = self.tenant.begin().await?;
        let folders = numbered::folders(&mut tx, &opened.mailbox.id).await?;
        let mut lines = String::new();
        for folder in folders.iter().filter(|folder| names::fits(&pattern, &folder.path)) {
            let (attributes, name) = (attributes(folder), names::quoted(&folder.path));
            let _ = write!(lines, "* {word} ({attributes}) \"/\" {name}\r\n");
        }
        Ok(Done::with(lines, completed))
    }

    pub(super) async fn status(
        &self,
        opened: &Opened,
        mailbox: &Named<'_>,
        items: &[StatusDataItemName],
    ) -> Result<Done, Done> {
        let folder = self.folder(opened, mailbox).await?;
        let mut tx = self.tenant.begin().await?;
        let numbers = numbered::numbers(&mut tx, &folder.id).await?.ok_or_else(|| missing(&folder.path))?;
        let entries = numbered::entries(&mut tx, &folder.id, numbers).await?;
        let without = |bit: u8| entries.iter().filter(|entry| !entry.flags.has(bit)).count();
        let mut values = Vec::new();
        for item in items {
            values.push(match item {
                StatusDataItemName::Messages => format!("MESSAGES {}", entries.len()),
                StatusDataItemName::Recent => "RECENT 0".to_owned(),
                StatusDataItemName::UidNext => format!("UIDNEXT {}", numbers.next),
                StatusDataItemName::UidValidity => format!("UIDVALIDITY {}", numbers.validity),
                StatusDataItemName::Unseen => format!("UNSEEN {}", without(Flags::SEEN)),
                _ => return Err(Done::said("BAD Command Argument Error. 12")),
            });
        }
        let line = format!("* STATUS {} ({})\r\n", names::quoted(&folder.path), values.join(" "));
        Ok(Done::with(line, "OK STATUS completed."))
    }

    pub(super) async fn select(
        &mut self,
        opened: &Opened,
        mailbox: &Named<'_>,
        read_only: bool,
    ) -> Result<Done, Done> {
        // Also a failed SELECT leaves no folder selected (RFC 3501 section 6.3.1).
        self.selected = None;
        let folder = self.folder(opened, mailbox).await?;
        let mut tx = self.tenant.begin().await?;
        let numbers = numbered::numbers(&mut tx, &folder.id).await?.ok_or_else(|| missing(&folder.path))?;
        let entries = numbered::entries(&mut tx, &folder.id, numbers).await?;
        drop(tx);
        let flags = FLAGS.map(|(name, _)| name).join(" ");
        let mut lines = format!(
            "* {} EXISTS\r\n* 0 RECENT\r\n* FLAGS ({flags})\r\n\
             * OK [PERMANENTFLAGS ({})] Permanent flags\r\n",
            entries.len(),
            if read_only { "" } else { &flags },
        );
        if let Some(at) = entries.iter().position(|entry| !entry.flags.has(Flags::SEEN)) {
            let _ = write!(lines, "* OK [UNSEEN {}] Is the first unseen message\r\n", at + 1);
        }
        let _ = write!(
            lines,
            "* OK [UIDVALIDITY {}] UIDVALIDITY value\r\n* OK [UIDNEXT {}] The next unique identifier value\r\n",
            numbers.validity, numbers.next
        );
        self.selected = Some(Selected { folder: folder.id, read_only, numbers, entries });
        let (access, word) = if read_only { ("READ-ONLY", "EXAMINE") } else { ("READ-WRITE", "SELECT") };
        Ok(Done::with(lines, format!("OK [{access}] {word} completed.")))
    }

    pub(super) async fn create(&self, opened: &Opened, mailbox: &Named<'_>) -> Result<Done, Done> {
        let path = path(mailbox)?;
        fit(&path)?;
        let mut tx = self.tenant.begin().await?;
        if !numbered::create(&self.tenant, &mut tx, &opened.mailbox, &path).await? {
            return Err(Done::said("NO Mailbox already exists."));
        }
        tx.commit().await?;
        Ok(Done::said("OK CREATE completed."))
    }

    pub(super) async fn delete(&mut self, opened: &Opened, mailbox: &Named<'_>) -> Result<Done, Done> {
        let folder = self.folder(opened, mailbox).await?;
        if folder.well_known.is_some() {
            return Err(Done::said("NO Cannot delete a default folder."));
        }
        let mut tx = self.tenant.begin().await?;
        numbered::delete(&mut tx, &folder.id).await?;
        tx.commit().await?;
        if self.selected.as_ref().is_some_and(|selected| selected.folder == folder.id) {
            self.selected = None;
        }
        self.tenant.nudge();
        Ok(Done::said("OK DELETE completed."))
    }

    pub(super) async fn rename(
        &self,
        opened: &Opened,
        from: &Named<'_>,
        to: &Named<'_>,
    ) -> Result<Done, Done> {
        let folder = self.folder(opened, from).await?;
        let path = path(to)?;
        fit(&path)?;
        let mut tx = self.tenant.begin().await?;
        if folder.well_known.is_some()
            || !numbered::rename(&mut tx, &opened.mailbox.id, &folder.id, path.trim_end_matches('/')).await?
        {
            return Err(Done::said("NO The folder cannot be renamed."));
        }
        tx.commit().await?;
        Ok(Done::said("OK RENAME completed."))
    }
}
