//! What is known of a mailbox beside its state: for pages, command line and API.

use std::collections::BTreeMap;

use postroom_model::{MailboxId, Timestamp};
use postroom_store::{Store, StoreError};
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::progress::{self, Backlog};
use super::settling;
use crate::watch::reconciliation::{self, Report};

pub use super::settling::Unsettled;

/// What is known of a mailbox.
#[derive(Debug, Clone, PartialEq, Default, Serialize)]
pub struct Standing {
    /// A large backlog that is being collected at this moment.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub backlog: Option<Backlog>,
    /// Why processed mail stays as it is.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub unsettled: Option<Unsettled>,
    /// What the last comparison of provider and store found.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reconciliation: Option<Report>,
}

/// What is known of every mailbox of which anything is.
pub(crate) async fn standings(
    store: &dyn Store,
    now: Timestamp,
) -> Result<BTreeMap<MailboxId, Standing>, StoreError> {
    let mut all: BTreeMap<MailboxId, Standing> = BTreeMap::new();
    for (id, backlog) in read::<Backlog>(store, progress::PREFIX).await? {
        all.entry(id).or_default().backlog = Some(backlog).filter(|backlog| backlog.is_current(now));
    }
    for (id, unsettled) in read::<Unsettled>(store, settling::PREFIX).await? {
        all.entry(id).or_default().unsettled = Some(unsettled);
    }
    for (id, report) in read::<Report>(store, reconciliation::PREFIX).await? {
        all.entry(id).or_default().reconciliation = Some(report);
    }
    Ok(all)
}

/// Journals of this prefix by mailbox; one that cannot be read is left out.
async fn read<T: DeserializeOwned>(
    store: &dyn Store,
    prefix: &str,
) -> Result<Vec<(MailboxId, T)>, StoreError> {
    let journals = store.journals(prefix).await?;
    let one = |(name, content): (String, String)| {
        Some((name.strip_prefix(prefix)?.parse().ok()?, serde_json::from_str(&content).ok()?))
    };
    Ok(journals.into_iter().filter_map(one).collect())
}
