//! From the network to the disk: what is fetched goes to the store while it comes, and the store works while the next
//! message is fetched. A page is committed only when all of it is stored and synced.

use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use postroom_mime::content::ContentDigest;
use postroom_model::failure::{Decision, Failure, Origin};
use postroom_store::{BlobRef, BlobWriter, NewInboxMessage, Store, StoreError};
use postroom_transport::{MessageSink, RemoteMessage};
use tokio::task::{JoinError, JoinSet};

use crate::own_failure;

/// Largest message that waits in memory to be stored together with others.
const SMALL: usize = 256 * 1024;
/// Most bytes and messages that are stored together. Twice as much may be in memory: what is being stored, and what
/// is fetched meanwhile.
const TOGETHER_BYTES: usize = 4 * 1024 * 1024;
const TOGETHER: usize = 200;

const OPERATION: &str = "store the raw message";

/// A raw message that was fetched.
pub(super) struct Fetched {
    content: [u8; 32],
    raw: Raw,
}

enum Raw {
    /// Not stored yet.
    Small(Vec<u8>),
    Stored(BlobRef),
}

impl Fetched {
    /// A small message of our own.
    pub(super) fn of(raw: Vec<u8>) -> Self {
        let mut digest = ContentDigest::new();
        digest.update(&raw);
        Self { content: digest.finish(), raw: Raw::Small(raw) }
    }
}

/// Takes one message from the network: a small one into memory, a larger one through a small buffer to the disk.
pub(super) struct Arriving<'a> {
    store: &'a dyn Store,
    limit: u64,
    size: u64,
    digest: ContentDigest,
    small: Vec<u8>,
    writer: Option<Box<dyn BlobWriter>>,
    /// Why it could not be stored: no fault of the message or its provider, whatever the source makes of it.
    pub(super) not_stored: Option<Failure>,
}

impl<'a> Arriving<'a> {
    /// Takes at most `limit` bytes.
    pub(super) fn new(store: &'a dyn Store, limit: u64) -> Self {
        let digest = ContentDigest::new();
        Self { store, limit, size: 0, digest, small: Vec::new(), writer: None, not_stored: None }
    }

    /// How many bytes have come.
    pub(super) fn size(&self) -> u64 {
        self.size
    }

    /// The message, when its source says that it is complete.
    pub(super) async fn finish(self) -> Result<Fetched, Failure> {
        let raw = match self.writer {
            None => Raw::Small(self.small),
            Some(writer) => {
                Raw::Stored(writer.finish().await.map_err(|error| own_failure(OPERATION, &error))?)
            }
        };
        Ok(Fetched { content: self.digest.finish(), raw })
    }

    async fn take(&mut self, chunk: Bytes) -> Result<(), StoreError> {
        if let Some(writer) = &mut self.writer {
            return writer.write(chunk).await;
        }
        if self.small.len() + chunk.len() <= SMALL {
            self.small.extend_from_slice(&chunk);
            return Ok(());
        }
        let writer = self.writer.insert(self.store.write_blob().await?);
        writer.write(std::mem::take(&mut self.small).into()).await?;
        writer.write(chunk).await
    }
}

#[async_trait]
impl MessageSink for Arriving<'_> {
    async fn write(&mut self, chunk: Bytes) -> Result<(), Failure> {
        if let Some(failure) = &self.not_stored {
            return Err(failure.clone());
        }
        self.size = self.size.saturating_add(chunk.len() as u64);
        if self.size > self.limit {
            let words = format!("the message has more than {} bytes", self.limit);
            return Err(Failure::new("fetch a message", Origin::Ourselves, words, Decision::Hold));
        }
        self.digest.update(&chunk);
        let taken = self.take(chunk).await.map_err(|error| own_failure(OPERATION, &error));
        self.not_stored = taken.as_ref().err().cloned();
        taken
    }
}

/// The messages of one page on their way to the disk, in order.
pub(super) struct Shelf {
    store: Arc<dyn Store>,
    page: Vec<Kept>,
    /// Small messages that are stored next, each with its place in the page.
    together: Vec<(usize, Bytes)>,
    bytes: usize,
    /// At most one at a time.
    storing: JoinSet<Result<Vec<(usize, BlobRef)>, StoreError>>,
}

struct Kept {
    remote: RemoteMessage,
    content: [u8; 32],
    placeholder: bool,
    /// None until it is stored.
    raw: Option<BlobRef>,
}

impl Shelf {
    pub(super) fn new(store: Arc<dyn Store>) -> Self {
        Self { store, page: Vec::new(), together: Vec::new(), bytes: 0, storing: JoinSet::new() }
    }

    /// Takes the next message of the page. Waits only while more is in memory than may be.
    pub(super) async fn add(
        &mut self,
        remote: RemoteMessage,
        fetched: Fetched,
        placeholder: bool,
    ) -> Result<(), Failure> {
        let raw = match fetched.raw {
            Raw::Stored(raw) => Some(raw),
            Raw::Small(raw) => {
                self.bytes += raw.len();
                self.together.push((self.page.len(), raw.into()));
                None
            }
        };
        self.page.push(Kept { remote, content: fetched.content, placeholder, raw });
        if self.bytes >= TOGETHER_BYTES || self.together.len() >= TOGETHER {
            self.store_together().await?;
        }
        Ok(())
    }

    /// The page, all of it stored and synced.
    pub(super) async fn finish(mut self) -> Result<Vec<NewInboxMessage>, Failure> {
        self.store_together().await?;
        self.stored().await?;
        let new = |kept: Kept| {
            let Kept { remote, content, placeholder, raw } = kept;
            let RemoteMessage { provider_id, message_id, received_at } = remote;
            raw.map(|raw| NewInboxMessage { provider_id, message_id, content, placeholder, raw, received_at })
        };
        let messages: Option<Vec<_>> = self.page.into_iter().map(new).collect();
        messages.ok_or_else(|| fault("the store named fewer contents than it was given"))
    }

    /// Begins to store what is gathered, after what was begun before.
    async fn store_together(&mut self) -> Result<(), Failure> {
        self.stored().await?;
        self.bytes = 0;
        let (places, contents): (Vec<usize>, Vec<Bytes>) =
            std::mem::take(&mut self.together).into_iter().unzip();
        if !contents.is_empty() {
            let store = Arc::clone(&self.store);
            self.storing
                .spawn(async move { Ok(places.into_iter().zip(store.put_blobs(contents).await?).collect()) });
        }
        Ok(())
    }

    /// Waits for what was begun.
    async fn stored(&mut self) -> Result<(), Failure> {
        while let Some(ended) = self.storing.join_next().await {
            let stored = ended.map_err(|error: JoinError| fault(&error.to_string()))?;
            for (place, raw) in stored.map_err(|error| own_failure(OPERATION, &error))? {
                self.page[place].raw = Some(raw);
            }
        }
        Ok(())
    }
}

fn fault(words: &str) -> Failure {
    Failure::new(OPERATION, Origin::Ourselves, words, Decision::Retry { after: None })
}
