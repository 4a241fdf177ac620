//! Sending: draft, note, send; and finding out what became of it.

use async_trait::async_trait;
use bytes::Bytes;
use postroom_ews::client::Draft;
use postroom_ews::wire::{ItemId, Message, Path};
use postroom_ews::{EwsClient, EwsError};
use postroom_mime::build::{with_bcc, with_mark};
use postroom_model::failure::Decision;

use crate::draft::{self, LEFT_BEFORE, MARK, blind_copies, doubt, operation, receipt};
use crate::{Receipt, Reconciled, SendJob, SendNotes, SendOutcome, Sender};

/// Where a message of ours may lie, in the order it takes, so that one on its way is not missed between two looks.
/// Exchange searches no more than the folders that are named.
const FOLDERS: [&str; 4] = ["drafts", "outbox", "sentitems", "deleteditems"];

/// Where Exchange keeps what was removed for good, for as long as it keeps it
/// (<https://learn.microsoft.com/exchange/client-developer/web-service-reference/distinguishedfolderid>). Read for
/// evidence alone, and not every account may.
const REMOVED: [&str; 2] = ["recoverableitemsdeletions", "recoverableitemspurges"];

/// Sends through Exchange Web Services, each message from the mailbox of its envelope's sender.
#[derive(Debug)]
pub struct EwsSender {
    client: EwsClient,
}

impl EwsSender {
    /// A sender.
    pub fn new(client: EwsClient) -> Self {
        Self { client }
    }

    /// Makes the draft and gives its id and version.
    ///
    /// An error that may have happened all the same is an unknown outcome: the draft may exist, and is found by its
    /// `Message-ID` before another is made.
    async fn make_draft(&self, job: &SendJob) -> Result<Draft, SendOutcome> {
        let blind = blind_copies(job).map_err(SendOutcome::NotSent)?;
        let raw = with_mark(&with_bcc(&job.raw, &blind), MARK, &job.id.to_string());
        let made = self.client.create_draft_mime(job.envelope.from.as_str(), Bytes::from(raw)).await;
        made.map_err(|error| match error.may_be_done() {
            true => unknown(&error, &operation(job)),
            false => SendOutcome::NotSent(error.failure(&operation(job))),
        })
    }

    /// The draft of an earlier attempt in its newest version; an outcome when it is no longer one.
    async fn known_draft(&self, job: &SendJob, id: &str) -> Result<Draft, SendOutcome> {
        let operation = operation(job);
        let found = self.client.item(job.envelope.from.as_str(), id, &state()).await;
        let found = found.map_err(|error| SendOutcome::NotSent(error.failure(&operation)))?;
        match found {
            Some(found) => match place(&found) {
                Place::Draft => Ok(found.id.unwrap_or_else(|| ItemId::of(id))),
                Place::Left => Err(SendOutcome::Sent(receipt(id.to_owned(), LEFT_BEFORE))),
                Place::Unsure => {
                    let words = "the draft of an earlier attempt is on its way, or Exchange does not say";
                    Err(SendOutcome::Unknown(doubt(job, words, Decision::Reconcile)))
                }
            },
            // A draft loses its id when it is sent.
            None => {
                let words = "the draft of an earlier attempt is gone";
                Err(SendOutcome::Unknown(doubt(job, words, Decision::Reconcile)))
            }
        }
    }

    async fn look_up(&self, job: &SendJob) -> Result<Reconciled, EwsError> {
        let Some(id) = &job.provider_id else { return self.search(job).await };
        match self.client.item(job.envelope.from.as_str(), id, &state()).await? {
            None => self.search(job).await,
            Some(found) => Ok(match place(&found) {
                Place::Draft => Reconciled::NotSent { draft: Some(id.clone()) },
                Place::Left => Reconciled::Sent(receipt(id.clone(), "no longer a draft")),
                Place::Unsure => later(job, "Exchange does not say whether the draft has left"),
            }),
        }
    }

    /// Looks for the message by its `Message-ID`, for want of an id that is still there.
    async fn search(&self, job: &SendJob) -> Result<Reconciled, EwsError> {
        let mut traces = Traces::default();
        for folder in FOLDERS {
            let found = self.marked_in(job, folder, &mut traces).await?;
            for (id, place) in found {
                match place {
                    Place::Left => return Ok(Reconciled::Sent(receipt(id, &format!("found in {folder}")))),
                    Place::Draft => traces.draft = traces.draft.or(Some(id)),
                    Place::Unsure => traces.unsure = true,
                }
            }
        }
        if let Some(error) = traces.refused {
            return Err(error);
        }
        if traces.unsure {
            return Ok(later(job, "the message is on its way, or Exchange does not say"));
        }
        if traces.draft.is_some() {
            return Ok(Reconciled::NotSent { draft: traces.draft });
        }
        if job.provider_id.is_none() {
            // No draft was written down, so none was ever sent.
            return Ok(Reconciled::NotSent { draft: None });
        }
        if traces.unmarked {
            let words = "a message with this Message-ID is there, without a sign of who sent it";
            return Ok(Reconciled::StillUnknown(doubt(job, words, Decision::Hold)));
        }
        Ok(self.removed(job).await)
    }

    /// What became of a draft that was written down and is in no folder of its mailbox: what was removed for good tells
    /// whether it was removed before or after it left.
    async fn removed(&self, job: &SendJob) -> Reconciled {
        let mut was_draft = false;
        for folder in REMOVED {
            let mut traces = Traces::default();
            // A folder that cannot be read is no evidence, neither for nor against.
            let Ok(found) = self.marked_in(job, folder, &mut traces).await else { continue };
            for (id, place) in found {
                match place {
                    Place::Left => return Reconciled::Sent(receipt(id, &format!("found in {folder}"))),
                    Place::Draft => was_draft = true,
                    Place::Unsure => return later(job, "Exchange does not say whether the draft had left"),
                }
            }
        }
        if was_draft {
            // Removed while it was a draft: it certainly did not leave.
            return Reconciled::NotSent { draft: None };
        }
        let words =
            "the draft is gone, and nothing in Sent Items, Outbox, Drafts or Deleted Items bears its mark";
        Reconciled::StillUnknown(doubt(job, words, Decision::Hold))
    }

    /// What bears this job's mark in a folder, with how far it is.
    ///
    /// A `Message-ID` proves nothing: only what bears this job's mark is this job's.
    async fn marked_in(
        &self,
        job: &SendJob,
        folder: &str,
        traces: &mut Traces,
    ) -> Result<Vec<(String, Place)>, EwsError> {
        let user = job.envelope.from.as_str();
        let mark = job.id.to_string();
        let ids = self.client.find_by_internet_message_id(user, folder, &job.message_id).await?;
        let mut ours = Vec::new();
        for found in self.client.items(user, &ids, &proof()).await? {
            let found = match found {
                Ok(Some(found)) => found,
                Ok(None) => continue,
                // What cannot be looked at might be ours; another may prove all the same that it was sent.
                Err(error) => {
                    traces.refused = Some(error);
                    continue;
                }
            };
            // Quirk: Exchange compares without regard to case here; the header does not.
            if found.internet_message_id.as_ref().is_some_and(|id| *id != job.message_id) {
                continue;
            }
            let Some(id) = found.id.as_ref().map(|id| id.id.clone()) else { continue };
            match mark_of(&found) {
                Some(known) if known.trim() == mark => ours.push((id, place(&found))),
                Some(_) => {}
                None => traces.unmarked |= place(&found) != Place::Draft,
            }
        }
        Ok(ours)
    }
}

/// What a search came across.
#[derive(Default)]
struct Traces {
    draft: Option<String>,
    unsure: bool,
    /// Something with the `Message-ID` has left and bears no mark.
    unmarked: bool,
    /// Something with the `Message-ID` could not be looked at.
    refused: Option<EwsError>,
}

#[async_trait]
impl Sender for EwsSender {
    async fn send(&self, job: &SendJob, notes: &dyn SendNotes) -> SendOutcome {
        let draft = match &job.provider_id {
            Some(id) => self.known_draft(job, id).await,
            None => self.make_draft(job).await,
        };
        let draft = match draft {
            Ok(draft) => draft,
            Err(outcome) => return outcome,
        };
        if job.provider_id.is_none()
            && let Err(failure) = notes.draft_created(&draft.id).await
        {
            return SendOutcome::NotSent(failure);
        }
        match self.client.send_draft(job.envelope.from.as_str(), &draft).await {
            Ok(request_id) => SendOutcome::Sent(Receipt {
                provider_id: Some(draft.id),
                words: "200 NoError".to_owned(),
                request_id,
                ..Receipt::default()
            }),
            Err(error) if may_be_sent(&error) => unknown(&error, &operation(job)),
            Err(error) => SendOutcome::NotSent(error.failure(&operation(job))),
        }
    }

    async fn reconcile(&self, job: &SendJob) -> Reconciled {
        match self.look_up(job).await {
            Ok(found) => found,
            Err(error) => Reconciled::StillUnknown(error.failure(&draft::look_up_of(job))),
        }
    }
}

/// How far a message is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Place {
    /// A draft that waits.
    Draft,
    /// It has left.
    Left,
    /// It was handed over and is a draft still, or Exchange does not say.
    Unsure,
}

fn place(found: &Message) -> Place {
    match (found.is_draft, found.is_submitted) {
        (Some(false), _) => Place::Left,
        (Some(true), Some(true)) | (None, _) => Place::Unsure,
        (Some(true), _) => Place::Draft,
    }
}

/// What tells how far a message is.
fn state() -> [Path; 2] {
    ["item:IsDraft", "item:IsSubmitted"].map(Path::field)
}

/// What tells whose a message is, and how far.
fn proof() -> Vec<Path> {
    let further = [
        Path::field("message:InternetMessageId"),
        Path::field("item:InternetMessageHeaders"),
        Path::header(MARK),
    ];
    state().into_iter().chain(further).collect()
}

fn mark_of(found: &Message) -> Option<&str> {
    let header = || {
        let mut headers = found.headers.iter();
        headers.find(|header| header.name.eq_ignore_ascii_case(MARK)).map(|header| header.value.as_str())
    };
    found.header_property(MARK).or_else(header)
}

fn later(job: &SendJob, words: &str) -> Reconciled {
    Reconciled::StillUnknown(doubt(job, words, Decision::Retry { after: None }))
}

fn unknown(error: &EwsError, operation: &str) -> SendOutcome {
    SendOutcome::Unknown(error.failure_with(operation, Decision::Reconcile))
}

/// Whether the draft may have left although the answer was an error.
fn may_be_sent(error: &EwsError) -> bool {
    draft::may_be_sent(error.may_be_done(), error.is_item_not_found(), error.is_conflict())
}
