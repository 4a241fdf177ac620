//! A content that comes piece by piece.

use std::io;
use std::sync::Arc;

use async_trait::async_trait;
use aws_lc_rs::digest::{Context, SHA256};
use bytes::Bytes;

use super::{BlobFolder, NewFile, hexadecimal, on_disk};
use crate::{BlobRef, BlobWriter, StoreError};

/// What is gathered before it is handed to a thread that may wait: a change of threads for every chunk of the network
/// would cost more than the writing.
const GATHERED: usize = 256 * 1024;

/// Writes into a file without a name, which goes with it.
pub(super) struct Writer {
    blobs: Arc<BlobFolder>,
    gathered: Vec<u8>,
    /// None once a write has failed, or was dropped half-way: what is in the file is not known any more.
    begun: Option<Begun>,
}

struct Begun {
    file: NewFile,
    name: Context,
    size: u64,
}

impl Begun {
    fn take(&mut self, content: &[u8]) -> Result<(), StoreError> {
        self.file.write(content)?;
        self.name.update(content);
        self.size += content.len() as u64;
        Ok(())
    }
}

impl Writer {
    pub(super) fn new(blobs: Arc<BlobFolder>, file: NewFile) -> Self {
        let begun = Begun { file, name: Context::new(&SHA256), size: 0 };
        Self { blobs, gathered: Vec::new(), begun: Some(begun) }
    }

    fn begun(&mut self) -> Result<Begun, StoreError> {
        self.begun.take().ok_or_else(|| {
            let source = io::Error::other("an earlier part of it could not be written");
            StoreError::of_file("write", &self.blobs.new, source)
        })
    }
}

#[async_trait]
impl BlobWriter for Writer {
    async fn write(&mut self, chunk: Bytes) -> Result<(), StoreError> {
        self.gathered.extend_from_slice(&chunk);
        if self.gathered.len() < GATHERED {
            return Ok(());
        }
        let mut begun = self.begun()?;
        let mut content = std::mem::take(&mut self.gathered);
        let (begun, emptied) = on_disk(&self.blobs, move |_| {
            begun.take(&content)?;
            content.clear();
            content.shrink_to(2 * GATHERED);
            Ok((begun, content))
        })
        .await?;
        self.begun = Some(begun);
        self.gathered = emptied;
        Ok(())
    }

    async fn finish(mut self: Box<Self>) -> Result<BlobRef, StoreError> {
        let mut begun = self.begun()?;
        let rest = std::mem::take(&mut self.gathered);
        on_disk(&self.blobs, move |blobs| {
            begun.take(&rest)?;
            let Begun { file, name, size } = begun;
            let blob = BlobRef { sha256: hexadecimal(name.finish().as_ref()), size };
            if !blobs.holds(&blob) {
                blobs.shelve(file, &blob)?;
            }
            blobs.sync_shelves(&[blob.shelf()])?;
            Ok(blob)
        })
        .await
    }
}
