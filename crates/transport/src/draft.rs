//! What sending by a draft has in common, through Microsoft Graph and through EWS: whose a message is, who gets it, and
//! what an error says of a draft that was asked to be sent.

use postroom_mime::submission::header_recipients;
use postroom_model::EmailAddress;
use postroom_model::failure::{Decision, Failure, Origin};

use crate::{Receipt, SendJob};

/// Header with the job's id. Graph keeps header fields whose name begins with `x-`; Exchange keeps it as a property of
/// the message, also in the copy in Sent Items.
pub(crate) const MARK: &str = "X-Postroom-Id";

/// The words of a receipt for a draft that turned out to have left.
pub(crate) const LEFT_BEFORE: &str = "no longer a draft: an earlier attempt had sent it";

/// What a failure to send is about.
pub(crate) fn operation(job: &SendJob) -> String {
    format!("send {} from {}", job.message_id, job.envelope.from)
}

/// What a failure to look an outcome up is about.
pub(crate) fn look_up_of(job: &SendJob) -> String {
    format!("look up {} of {}", job.message_id, job.envelope.from)
}

/// A receipt for what was found to have left.
pub(crate) fn receipt(provider_id: String, words: &str) -> Receipt {
    Receipt { provider_id: Some(provider_id), words: words.to_owned(), ..Receipt::default() }
}

/// What the provider leaves open.
pub(crate) fn doubt(job: &SendJob, words: &str, decision: Decision) -> Failure {
    Failure::new(operation(job), Origin::Provider, words, decision)
}

/// Whether a draft may have left although the answer was an error. Besides what is never certain: a draft that is gone
/// may be gone because it was sent, and a conflict may be with an earlier send that is under way.
pub(crate) fn may_be_sent(may_be_done: bool, is_gone: bool, is_conflict: bool) -> bool {
    may_be_done || is_gone || is_conflict
}

/// Recipients of the envelope that no header names.
///
/// # Errors
/// Exchange takes the recipients from the headers, so one that stands there and not in the envelope would get the
/// message although nobody asked for it: that is refused.
pub(crate) fn blind_copies(job: &SendJob) -> Result<Vec<EmailAddress>, Failure> {
    let named = header_recipients(&job.raw);
    if let Some(extra) = named.iter().find(|address| !job.envelope.to.contains(address)) {
        let words = format!("{extra} stands in the message's headers, but not among its recipients");
        let mut failure = Failure::new(operation(job), Origin::Ourselves, words, Decision::Hold);
        failure.advice = Some(
            "Exchange sends to everybody in the headers. Add the address to the recipients or take it out of the message."
                .to_owned(),
        );
        return Err(failure);
    }
    Ok(job.envelope.to.iter().filter(|address| !named.contains(address)).cloned().collect())
}
