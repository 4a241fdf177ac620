//! Sending: draft, note, complete, send; and finding out what became of it. A draft that is not whole is never sent.

use async_trait::async_trait;
use postroom_graph::wire::Message;
use postroom_graph::{GraphClient, GraphError};
use postroom_mime::build::{with_bcc, with_mark};
use postroom_model::failure::{Decision, Failure, Origin};

use super::large::{Draft, Large, PARTS};
use crate::draft::{self, LEFT_BEFORE, MARK, blind_copies, operation, receipt};
use crate::{Receipt, Reconciled, SendJob, SendNotes, SendOutcome, Sender};

/// Sends through Microsoft Graph, each message from the mailbox of its envelope's sender.
#[derive(Debug)]
pub struct GraphSender {
    client: GraphClient,
}

impl GraphSender {
    /// A sender.
    pub fn new(client: GraphClient) -> Self {
        Self { client }
    }

    /// The id of a draft that is whole: the one of an earlier attempt, completed where it was cut off, or a new one.
    async fn ready_draft(&self, job: &SendJob, notes: &dyn SendNotes) -> Result<String, SendOutcome> {
        let large = Large::of(&job.raw).await.map_err(|error| {
            let words = format!("{error}, through Microsoft Graph");
            SendOutcome::NotSent(Failure::new(operation(job), Origin::Ourselves, words, Decision::Hold))
        })?;
        let draft = Draft { client: &self.client, job, operation: operation(job) };
        if let Some(id) = &job.provider_id {
            let Some(large) = &large else { return Ok(id.clone()) };
            if draft.take_up(id, large).await? {
                return Ok(id.clone());
            }
            draft.discard(id).await?;
        }
        let id = self.make_draft(job, large.as_ref()).await?;
        notes.draft_created(&id).await.map_err(SendOutcome::NotSent)?;
        if let Some(large) = &large {
            draft.fill(&id, large).await?;
        }
        Ok(id)
    }

    /// Makes the draft and gives its id; of a large message without its large files.
    ///
    /// An error that may have happened all the same is an unknown outcome: the draft may exist, and is found by its
    /// `Message-ID` before another is made.
    async fn make_draft(&self, job: &SendJob, large: Option<&Large>) -> Result<String, SendOutcome> {
        let operation = operation(job);
        let blind = blind_copies(job).map_err(SendOutcome::NotSent)?;
        let mut raw = with_bcc(large.map_or(&job.raw, Large::frame), &blind);
        if let Some(large) = large {
            raw = with_mark(&raw, PARTS, &large.count().to_string());
        }
        let raw = with_mark(&raw, MARK, &job.id.to_string());
        let user = job.envelope.from.as_str();
        match self.client.create_draft_mime(user, &raw).await {
            Ok(draft) => Ok(draft.id),
            Err(error) if error.may_be_done() => Err(unknown(&error, &operation)),
            Err(error) => Err(SendOutcome::NotSent(error.failure(&operation))),
        }
    }

    /// Looks for the message by its `Message-ID`, for want of an id that is still there.
    ///
    /// A `Message-ID` proves nothing: the same message may have been handed in twice, or forwarded unchanged. Only
    /// what bears this job's mark is this job's; and once that is no longer a draft, it has left.
    async fn search(&self, job: &SendJob) -> Result<Reconciled, GraphError> {
        let user = job.envelope.from.as_str();
        let mut found =
            self.client.find_by_internet_message_id(user, Some("sentitems"), &job.message_id).await?;
        if let Some(sent) = sent_by(&found, job) {
            return Ok(Reconciled::Sent(receipt(sent.id.clone(), "found in Sent Items")));
        }
        found.extend(self.client.find_by_internet_message_id(user, None, &job.message_id).await?);
        if let Some(sent) = sent_by(&found, job) {
            return Ok(Reconciled::Sent(receipt(sent.id.clone(), "found, and no longer a draft")));
        }
        let is_draft = |found: &&Message| found.is_draft == Some(true) && whose(found, job) == Whose::Ours;
        if let Some(draft) = found.iter().find(is_draft) {
            return Ok(Reconciled::NotSent { draft: Some(draft.id.clone()) });
        }
        Ok(doubt(&found, job).unwrap_or(Reconciled::NotSent { draft: None }))
    }

    async fn look_up(&self, job: &SendJob) -> Result<Reconciled, GraphError> {
        let Some(id) = &job.provider_id else { return self.search(job).await };
        match self.client.get_message(job.envelope.from.as_str(), id, "id,isDraft").await {
            Ok(found) => Ok(match found.is_draft {
                Some(true) => Reconciled::NotSent { draft: Some(id.clone()) },
                Some(false) => Reconciled::Sent(receipt(id.clone(), "no longer a draft")),
                None => {
                    let words = "Microsoft Graph does not say whether the message is a draft";
                    Reconciled::StillUnknown(draft::doubt(job, words, Decision::Retry { after: None }))
                }
            }),
            Err(error) if error.is_item_not_found() || error.code() == Some("ErrorInvalidIdMalformed") => {
                self.search(job).await
            }
            Err(error) => Err(error),
        }
    }

    /// Whether the draft of an earlier attempt is no longer a draft. Graph answers 400 to sending a message that
    /// was sent, and does not document the code, so after any 400 the message itself is asked.
    async fn has_left(&self, job: &SendJob, error: &GraphError) -> bool {
        let Some(id) = job.provider_id.as_deref().filter(|_| error.status() == Some(400)) else {
            return false;
        };
        let found = self.client.get_message(job.envelope.from.as_str(), id, "id,isDraft").await;
        found.is_ok_and(|found| found.is_draft == Some(false))
    }
}

#[async_trait]
impl Sender for GraphSender {
    async fn send(&self, job: &SendJob, notes: &dyn SendNotes) -> SendOutcome {
        let draft = match self.ready_draft(job, notes).await {
            Ok(draft) => draft,
            Err(outcome) => return outcome,
        };
        match self.client.send_draft(job.envelope.from.as_str(), &draft).await {
            Ok(accepted) => SendOutcome::Sent(Receipt {
                provider_id: Some(draft),
                words: "202 Accepted".to_owned(),
                request_id: accepted.request_id,
                ..Receipt::default()
            }),
            Err(error) if may_be_sent(&error) => unknown(&error, &operation(job)),
            Err(error) if self.has_left(job, &error).await => SendOutcome::Sent(receipt(draft, LEFT_BEFORE)),
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

/// Whose a message with the job's `Message-ID` is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Whose {
    /// It has the id that was written down, or bears this job's mark.
    Ours,
    /// It bears the mark of another job.
    Anothers,
    /// It bears no mark.
    Nobodys,
    /// Graph does not show its headers.
    NotShown,
}

fn whose(found: &Message, job: &SendJob) -> Whose {
    if job.provider_id.as_ref() == Some(&found.id) {
        return Whose::Ours;
    }
    let Some(headers) = &found.internet_message_headers else { return Whose::NotShown };
    let id = job.id.to_string();
    match headers.iter().find(|header| header.name.eq_ignore_ascii_case(MARK)) {
        None => Whose::Nobodys,
        Some(mark) if mark.value.trim() == id => Whose::Ours,
        Some(_) => Whose::Anothers,
    }
}

fn sent_by<'m>(found: &'m [Message], job: &SendJob) -> Option<&'m Message> {
    found.iter().find(|found| found.is_draft == Some(false) && whose(found, job) == Whose::Ours)
}

/// What keeps the look-up from saying that the message was not sent, when nothing found is certainly this job's.
fn doubt(found: &[Message], job: &SendJob) -> Option<Reconciled> {
    let still_unknown = |words, decision| Some(Reconciled::StillUnknown(draft::doubt(job, words, decision)));
    if found.iter().any(|found| whose(found, job) == Whose::NotShown || found.is_draft.is_none()) {
        let words = "Microsoft Graph does not show the headers of a message with this Message-ID";
        return still_unknown(words, Decision::Retry { after: None });
    }
    // With an id the send may have been asked for, and the mark may have been lost on the way.
    let unmarked = |found: &Message| found.is_draft == Some(false) && whose(found, job) == Whose::Nobodys;
    if job.provider_id.is_some() && found.iter().any(unmarked) {
        let words = "a message with this Message-ID is there, without a sign of who sent it";
        return still_unknown(words, Decision::Hold);
    }
    None
}

pub(super) fn unknown(error: &GraphError, operation: &str) -> SendOutcome {
    SendOutcome::Unknown(error.failure_with(operation, Decision::Reconcile))
}

/// Whether the draft may have left although the answer was an error.
fn may_be_sent(error: &GraphError) -> bool {
    draft::may_be_sent(error.may_be_done(), error.is_item_not_found(), error.status() == Some(409))
}
