//! How much an application may ask of a mailbox (<https://learn.microsoft.com/graph/throttling-limits>).

use std::collections::HashMap;
use std::sync::Arc;

use axum::http::header;

use crate::answer::Refusal;
use crate::state::Tenant;

/// Length of the window requests are counted in.
const WINDOW: i64 = 600;
/// Length of the window uploaded bytes are counted in.
const UPLOAD: i64 = 300;
/// Length of the window messages are counted in.
const MINUTE: i64 = 60;
/// Pairs of application and mailbox remembered before those of old windows are dropped.
const MOST: usize = 20_000;

/// Requests under way and counted, by application and mailbox.
#[derive(Default)]
pub(crate) struct Meters {
    busy: HashMap<(String, String), u32>,
    asked: HashMap<(String, String), Window>,
    uploaded: HashMap<(String, String), Window>,
    sent: HashMap<String, Window>,
    submitting: HashMap<String, u32>,
}

#[derive(Default, Clone, Copy)]
struct Window {
    since: i64,
    count: u64,
}

impl Window {
    /// Counts so many more; the seconds to wait when they do not fit into the window.
    fn count(&mut self, now: i64, length: i64, more: u64, most: u64) -> Result<(), i64> {
        if now - self.since >= length || self.since > now {
            *self = Self { since: now, count: 0 };
        }
        if self.count.saturating_add(more) > most {
            return Err((self.since + length - now).max(1));
        }
        self.count += more;
        Ok(())
    }
}

fn throttled(message: &'static str, seconds: i64) -> Refusal {
    Refusal::new(429, "ApplicationThrottled", message).header(header::RETRY_AFTER, seconds.to_string())
}

/// Which limit an application has reached.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Full {
    /// Requests under way: no more than so many.
    Parallel(u32),
    /// Requests of the window, which is over in so many seconds.
    Requests(i64),
}

/// One of the few requests an application may have under way at a mailbox.
pub(crate) struct Slot<'a> {
    tenant: &'a Tenant,
    key: (String, String),
}

impl<'a> Slot<'a> {
    /// Takes a slot and counts the request, or refuses as Graph does. `mailbox` is its id.
    pub(crate) fn take(tenant: &'a Tenant, app_id: &str, mailbox: &str) -> Result<Self, Refusal> {
        Self::within(tenant, app_id, mailbox, tenant.limits.parallel).map_err(|full| match full {
            Full::Parallel(_) => throttled("Application is over its MailboxConcurrency limit.", 1),
            Full::Requests(seconds) => throttled("Application is over its RequestCount limit.", seconds),
        })
    }

    /// The same at the door of EWS.
    pub(crate) fn take_ews(tenant: &'a Tenant, app_id: &str, mailbox: &str) -> Result<Self, Full> {
        Self::within(tenant, &format!("{app_id} by EWS"), mailbox, tenant.limits.parallel_ews)
    }

    fn within(tenant: &'a Tenant, app_id: &str, mailbox: &str, most: u32) -> Result<Self, Full> {
        let key = (app_id.to_owned(), mailbox.to_ascii_lowercase());
        let limits = tenant.limits;
        let mut meters = tenant.meters();
        if most > 0 && meters.busy.get(&key).is_some_and(|count| *count >= most) {
            return Err(Full::Parallel(most));
        }
        if limits.requests_per_ten_minutes > 0 {
            let now = tenant.now();
            if meters.asked.len() >= MOST {
                meters.asked.retain(|_, window| now - window.since < WINDOW);
            }
            let window = meters.asked.entry(key.clone()).or_default();
            window
                .count(now, WINDOW, 1, u64::from(limits.requests_per_ten_minutes))
                .map_err(Full::Requests)?;
        }
        *meters.busy.entry(key.clone()).or_default() += 1;
        drop(meters);
        Ok(Self { tenant, key })
    }
}

impl Drop for Slot<'_> {
    fn drop(&mut self) {
        let mut meters = self.tenant.meters();
        if let Some(count) = meters.busy.get_mut(&self.key) {
            *count = count.saturating_sub(1);
            if *count == 0 {
                meters.busy.remove(&self.key);
            }
        }
    }
}

/// Counts what an application hands a mailbox, in bytes.
pub(crate) fn uploading(tenant: &Tenant, app_id: &str, mailbox: &str, bytes: usize) -> Result<(), Refusal> {
    let most = tenant.limits.upload_per_five_minutes;
    if most == 0 || bytes == 0 {
        return Ok(());
    }
    let now = tenant.now();
    let mut meters = tenant.meters();
    if meters.uploaded.len() >= MOST {
        meters.uploaded.retain(|_, window| now - window.since < UPLOAD);
    }
    let window = meters.uploaded.entry((app_id.to_owned(), mailbox.to_owned())).or_default();
    let bytes = u64::try_from(bytes).unwrap_or(u64::MAX);
    window
        .count(now, UPLOAD, bytes, most)
        .map_err(|seconds| throttled("Application is over its upload limit of the mailbox.", seconds))
}

/// One of the few connections a mailbox may have for submission
/// (<https://learn.microsoft.com/troubleshoot/exchange/email-delivery/smtp-submission-improvements>).
pub(crate) struct Submission {
    tenant: Arc<Tenant>,
    mailbox: String,
}

impl Submission {
    /// Takes one; none when the mailbox, given by its id, has them all.
    pub(crate) fn take(tenant: &Arc<Tenant>, mailbox: &str) -> Option<Self> {
        let most = tenant.limits.submissions;
        let mut meters = tenant.meters();
        let count = meters.submitting.entry(mailbox.to_owned()).or_default();
        if most > 0 && *count >= most {
            return None;
        }
        *count += 1;
        drop(meters);
        Some(Self { tenant: Arc::clone(tenant), mailbox: mailbox.to_owned() })
    }
}

impl Drop for Submission {
    fn drop(&mut self) {
        let mut meters = self.tenant.meters();
        if let Some(count) = meters.submitting.get_mut(&self.mailbox) {
            *count = count.saturating_sub(1);
            if *count == 0 {
                meters.submitting.remove(&self.mailbox);
            }
        }
    }
}

/// Counts a message the mailbox sends.
pub(crate) fn sending(tenant: &Tenant, mailbox: &str) -> Result<(), Refusal> {
    let most = tenant.limits.messages_per_minute;
    if most == 0 {
        return Ok(());
    }
    let now = tenant.now();
    let mut meters = tenant.meters();
    if meters.sent.len() >= MOST {
        meters.sent.retain(|_, window| now - window.since < MINUTE);
    }
    let window = meters.sent.entry(mailbox.to_owned()).or_default();
    window
        .count(now, MINUTE, 1, u64::from(most))
        .map_err(|seconds| throttled("Application is over its MailboxMessageRate limit.", seconds))
}
