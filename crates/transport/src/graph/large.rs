//! Messages that are too large for one request: a draft is made of the message without its largest files, so that every
//! header field and the text are exact, and the files are added to it one by one.
//!
//! A draft that is not whole is never sent. Which files were taken out is decided by the bytes of the message alone, so
//! a later attempt knows it too: it looks which of them are on the draft and adds the others. Where that is not certain,
//! the draft is removed and the message begun anew.

use std::collections::BTreeSet;

use bytes::Bytes;
use postroom_graph::wire::{AttachmentInfo, Message};
use postroom_graph::{Content, GraphClient, GraphError, Upload};
use postroom_mime::lighten::{self, File, Light, TooHeavy};
use postroom_model::failure::{Decision, Failure, Origin};

use super::sender::unknown;
use crate::draft::{LEFT_BEFORE, MARK, doubt, receipt};
use crate::{SendJob, SendOutcome};

/// The largest raw message that is handed over as one MIME, in bytes. A request to Graph may have 4 MB, and the message
/// stands in it as base64, four bytes for three. Source:
/// <https://learn.microsoft.com/graph/outlook-send-mime-message>.
pub const MAX_MIME_BYTES: usize = 3_000_000;

/// Header of a draft with the number of files that are added to it afterwards: a version of Postroom that would take
/// out other files sees by it that the draft is not its own.
pub(super) const PARTS: &str = "X-Postroom-Parts";

/// How often the draft is asked for its files after an addition whose outcome is not known.
const ROUNDS: usize = 3;

/// Whether Graph can take such a message: without its files it must fit into one request.
///
/// # Errors
/// [`TooHeavy`] when it cannot.
pub fn check_size(raw: &[u8]) -> Result<(), TooHeavy> {
    lighten::check(raw, MAX_MIME_BYTES)
}

/// A large message, taken apart.
pub(super) struct Large {
    raw: Bytes,
    light: Light,
}

impl Large {
    /// The message taken apart; none when it is small.
    pub(super) async fn of(raw: &Bytes) -> Result<Option<Self>, TooHeavy> {
        if raw.len() <= MAX_MIME_BYTES {
            return Ok(None);
        }
        let message = raw.clone();
        // Looking through a hundred megabytes would keep other work from this thread.
        let work = move || lighten::lighten(&message, MAX_MIME_BYTES);
        let light = match tokio::task::spawn_blocking(work).await {
            Ok(light) => light?,
            Err(_) => lighten::lighten(raw, MAX_MIME_BYTES)?,
        };
        Ok(Some(Self { raw: raw.clone(), light }))
    }

    /// The message without the files.
    pub(super) fn frame(&self) -> &[u8] {
        &self.light.raw
    }

    /// How many files were taken out.
    pub(super) fn count(&self) -> usize {
        self.light.taken.len()
    }

    /// The files that are not on the draft, by their numbers; none when what is on it cannot be told for certain.
    fn missing(&self, present: &[AttachmentInfo]) -> Option<Vec<usize>> {
        let mut unused: Vec<&AttachmentInfo> = present.iter().collect();
        let mut use_up = |file: &File| {
            let same =
                unused.iter().enumerate().filter(|(_, found)| is_named(found, file) && is_size(found, file));
            let nearest = same.min_by_key(|(_, found)| found.size)?.0;
            Some(unused.swap_remove(nearest))
        };
        // What came with the draft is there for certain, so it has the first choice.
        for kept in &self.light.kept {
            use_up(kept);
        }
        let taken = self.light.taken.iter().enumerate();
        let missing = taken.filter(|(_, file)| use_up(file).is_none()).map(|(number, _)| number).collect();
        // A file under another name than it was given, or one that is there twice.
        let doubtful = |found: &&AttachmentInfo| self.light.taken.iter().any(|file| is_size(found, file));
        if unused.iter().any(doubtful) { None } else { Some(missing) }
    }
}

fn is_named(found: &AttachmentInfo, file: &File) -> bool {
    found.name.as_deref() == Some(&file.name)
}

/// Quirk: Exchange counts what it keeps beside the bytes, some hundred bytes or a little more.
fn is_size(found: &AttachmentInfo, file: &File) -> bool {
    found.size.is_some_and(|size| (file.size..=file.size + file.size / 64 + 8_192).contains(&size))
}

/// A header field of a message, where Graph shows it.
fn field<'m>(found: &'m Message, name: &str) -> Option<&'m str> {
    let mut headers = found.internet_message_headers.iter().flatten();
    headers.find(|header| header.name.eq_ignore_ascii_case(name)).map(|header| header.value.as_str())
}

/// The bytes of a file where they lie in the message.
struct InPlace<'a> {
    raw: &'a Bytes,
    file: &'a File,
}

impl Content for InPlace<'_> {
    fn size(&self) -> u64 {
        self.file.size
    }

    fn piece(&self, from: u64, length: usize) -> Bytes {
        match self.file.place(from, length) {
            Some(place) => self.raw.slice(place),
            None => Bytes::from(self.file.read(self.raw, from, length).into_owned()),
        }
    }
}

/// A draft that is being completed.
pub(super) struct Draft<'a> {
    pub(super) client: &'a GraphClient,
    pub(super) job: &'a SendJob,
    pub(super) operation: String,
}

impl Draft<'_> {
    fn user(&self) -> &str {
        self.job.envelope.from.as_str()
    }

    fn not_sent(&self, error: &GraphError) -> SendOutcome {
        // A draft that somebody removed: the next attempt finds that out and makes another.
        if error.is_item_not_found() {
            let decision = Decision::Retry { after: None };
            return SendOutcome::NotSent(error.failure_with(&self.operation, decision));
        }
        SendOutcome::NotSent(error.failure(&self.operation))
    }

    fn again(&self, words: &str) -> SendOutcome {
        let decision = Decision::Retry { after: None };
        SendOutcome::NotSent(Failure::new(self.operation.clone(), Origin::Provider, words, decision))
    }

    /// Adds all files to a draft that was just made.
    pub(super) async fn fill(&self, id: &str, large: &Large) -> Result<(), SendOutcome> {
        let all = (0..large.count()).collect();
        if self.add(id, large, all, false).await? {
            return Ok(());
        }
        Err(self.again("which files are on the draft cannot be told for certain; it is begun anew"))
    }

    /// Completes the draft of an earlier attempt. False when it cannot be used.
    pub(super) async fn take_up(&self, id: &str, large: &Large) -> Result<bool, SendOutcome> {
        let found = self.ours(id).await?;
        if field(&found, PARTS).is_some_and(|parts| parts.trim() != large.count().to_string()) {
            return Ok(false);
        }
        match self.look(id, large).await? {
            Some(missing) if missing.is_empty() => Ok(true),
            Some(missing) => self.add(id, large, missing, true).await,
            None => Ok(false),
        }
    }

    /// Removes a draft that cannot be used. What is not surely a draft of this job at this moment stays.
    pub(super) async fn discard(&self, id: &str) -> Result<(), SendOutcome> {
        self.ours(id).await?;
        tracing::info!(message = %self.job.id, "the draft cannot be completed for certain; it is begun anew");
        match self.client.purge_message(self.user(), id).await {
            Ok(()) => Ok(()),
            Err(error) if error.is_item_not_found() => Err(unknown(&error, &self.operation)),
            Err(error) => Err(self.not_sent(&error)),
        }
    }

    /// The message that was written down, as long as it is certain that it is a draft and no other job's.
    async fn ours(&self, id: &str) -> Result<Message, SendOutcome> {
        let select = "id,isDraft,internetMessageHeaders";
        let found = match self.client.get_message(self.user(), id, select).await {
            Ok(found) => found,
            // It may be gone because it was sent.
            Err(error) if error.is_item_not_found() => return Err(unknown(&error, &self.operation)),
            Err(error) => return Err(self.not_sent(&error)),
        };
        let unsure = |words| Err(SendOutcome::Unknown(doubt(self.job, words, Decision::Reconcile)));
        match found.is_draft {
            Some(true) => {}
            Some(false) => return Err(SendOutcome::Sent(receipt(id.to_owned(), LEFT_BEFORE))),
            None => return unsure("Microsoft Graph does not say whether the message is a draft"),
        }
        // Graph may keep the headers of a draft to itself; its id was written down for this job.
        if field(&found, MARK).is_some_and(|mark| mark.trim() != self.job.id.to_string()) {
            return unsure("the draft that was written down bears the mark of another message");
        }
        Ok(found)
    }

    /// The files that are missing on the draft; none when that cannot be told.
    async fn look(&self, id: &str, large: &Large) -> Result<Option<Vec<usize>>, SendOutcome> {
        let present = self.client.attachments(self.user(), id).await;
        Ok(large.missing(&present.map_err(|error| self.not_sent(&error))?))
    }

    /// Adds these files. With `verify`, or after an addition whose outcome is not known, the draft is asked whether they
    /// are there. False when that cannot be told.
    async fn add(
        &self,
        id: &str,
        large: &Large,
        mut missing: Vec<usize>,
        mut verify: bool,
    ) -> Result<bool, SendOutcome> {
        let mut added = BTreeSet::new();
        let mut broken = None;
        for _ in 0..ROUNDS {
            broken = None;
            for number in missing {
                match self.attach(id, large, number).await {
                    Ok(()) => {
                        added.insert(number);
                    }
                    Err(error) if error.may_be_done() => {
                        broken = Some(error);
                        break;
                    }
                    Err(error) => return Err(self.not_sent(&error)),
                }
            }
            if broken.is_none() && !verify {
                return Ok(true);
            }
            verify = true;
            missing = match self.look(id, large).await? {
                None => return Ok(false),
                Some(missing) if missing.is_empty() => return Ok(true),
                Some(missing) => missing,
            };
            if missing.iter().any(|number| added.contains(number)) {
                return Err(self.again("the draft does not show all files that it took"));
            }
        }
        Err(match broken {
            Some(error) => self.not_sent(&error),
            None => self.again("the draft does not take all files"),
        })
    }

    async fn attach(&self, id: &str, large: &Large, number: usize) -> Result<(), GraphError> {
        let file = &large.light.taken[number];
        let content = InPlace { raw: &large.raw, file };
        let upload = Upload {
            name: &file.name,
            content_type: &file.content_type,
            content_id: file.content_id.as_deref(),
            inline: file.inline,
            content: &content,
        };
        self.client.attach(self.user(), id, &upload).await
    }
}
