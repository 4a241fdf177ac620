//! Raw messages that nothing names.
//!
//! The same content may be stored again at the very moment when it is to be removed. So whoever stores a content that is
//! there renews its time and then looks whether it still is ([`BlobFolder::holds`]); and the janitor takes a file out of its
//! place first and looks at its time then. Whatever the order, one of the two sees the other.

use std::collections::HashSet;
use std::fs::{self, DirEntry, File};
use std::io::{self, ErrorKind};
use std::path::Path;

use postroom_model::Timestamp;

use super::{BlobFolder, LEFTOVER_AGE_MICROS, from_hexadecimal};
use crate::StoreError;
use crate::janitor::Orphans;
use crate::sql::files::{make_private_folder, sync_folder};

/// Where files are while it is decided; on the same file system, so that they can be renamed.
const DOOMED: &str = "doomed";

impl BlobFolder {
    /// Counts what is older than a day and not in `named`; removes it when `remove` says so.
    pub(in crate::sql) fn orphans(
        &self,
        named: &HashSet<[u8; 32]>,
        remove: bool,
    ) -> Result<Orphans, StoreError> {
        let doomed = self.folder.join(DOOMED);
        if remove {
            make_private_folder(&doomed).map_err(|source| StoreError::of_file("make", &doomed, source))?;
            self.bring_back()?;
        }
        let mut orphans = Orphans::default();
        for shelf in entries(&self.folder)? {
            if shelf.file_name().len() != 2 {
                continue;
            }
            for file in entries(&shelf.path())? {
                let name = file.file_name().into_string().unwrap_or_default();
                let unnamed = from_hexadecimal(&name).is_some_and(|name| !named.contains(&name));
                if !unnamed || !self.is_old(&file.path()).unwrap_or(false) {
                    continue;
                }
                let failed = |source| StoreError::of_file("remove", &file.path(), source);
                let bytes = file.metadata().map_err(failed)?.len();
                if !remove || self.remove(&file.path(), &doomed.join(&name)).map_err(failed)? {
                    orphans.blobs += 1;
                    orphans.bytes += bytes;
                }
            }
        }
        Ok(orphans)
    }

    /// Takes a file out of its place, looks at its time, and removes it or puts it back. Whether it is gone.
    fn remove(&self, path: &Path, doomed: &Path) -> io::Result<bool> {
        match fs::rename(path, doomed) {
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(false),
            renamed => renamed?,
        }
        if self.is_old(doomed)? {
            fs::remove_file(doomed)?;
            return Ok(true);
        }
        fs::rename(doomed, path)?;
        if let Some(shelf) = path.parent() {
            // Whoever stored it again may have synced the shelf while the name was not on it.
            File::open(shelf)?.sync_all()?;
        }
        Ok(false)
    }

    /// What a killed janitor left between the two steps goes back to its place. At the expense of a janitor of another
    /// process, whose step then fails and harms nothing.
    pub(super) fn bring_back(&self) -> Result<(), StoreError> {
        let doomed = self.folder.join(DOOMED);
        if !doomed.exists() {
            return Ok(());
        }
        for file in entries(&doomed)? {
            let name = file.file_name().into_string().unwrap_or_default();
            if from_hexadecimal(&name).is_some() {
                let path = self.path(&name);
                fs::rename(file.path(), &path)
                    .map_err(|source| StoreError::of_file("write", &path, source))?;
                sync_folder(&self.folder.join(&name[..2]))?;
            }
        }
        Ok(())
    }

    fn is_old(&self, path: &Path) -> io::Result<bool> {
        let modified = Timestamp::try_from(fs::metadata(path)?.modified()?).map_err(io::Error::other)?;
        let age = self.env.now().as_microsecond().saturating_sub(modified.as_microsecond());
        Ok(age > LEFTOVER_AGE_MICROS)
    }
}

fn entries(folder: &Path) -> Result<Vec<DirEntry>, StoreError> {
    fs::read_dir(folder)
        .and_then(Iterator::collect)
        .map_err(|source| StoreError::of_file("read", folder, source))
}
