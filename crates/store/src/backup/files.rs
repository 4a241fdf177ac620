//! Files that are copied, linked, hashed and synced.

use std::fs::{self, File, OpenOptions};
use std::io::{self, ErrorKind, Read, Write};
use std::path::Path;

use aws_lc_rs::digest::{Context, SHA256};

use super::CopiedFile;
use crate::StoreError;

const PIECE: usize = 256 * 1024;

/// Size and hash of a file.
pub(super) fn measure(path: &Path) -> Result<CopiedFile, StoreError> {
    let failed = |source| StoreError::of_file("read", path, source);
    stream(&mut File::open(path).map_err(failed)?, &mut io::sink()).map_err(failed)
}

/// Copies a file to a new one for its owner alone, synced. Gives size and hash of what was copied.
pub(super) fn copy(from: &Path, to: &Path) -> Result<CopiedFile, StoreError> {
    let mut source = File::open(from).map_err(|error| StoreError::of_file("read", from, error))?;
    let mut options = OpenOptions::new();
    options.write(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    let failed = |error| StoreError::of_file("write", to, error);
    let mut target = options.open(to).map_err(failed)?;
    let copied = stream(&mut source, &mut target).map_err(failed)?;
    target.sync_all().map_err(failed)?;
    Ok(copied)
}

/// The same content under another name: by a hard link where that is possible, since these files never change; else by a
/// copy. Gives size and hash of what is there.
pub(super) fn link_or_copy(from: &Path, to: &Path) -> Result<CopiedFile, StoreError> {
    match fs::hard_link(from, to) {
        Ok(()) => measure(to),
        // Another file system, or one without links.
        Err(error) if error.kind() != ErrorKind::NotFound => copy(from, to),
        Err(error) => Err(StoreError::of_file("read", from, error)),
    }
}

/// Writes a new file, synced.
pub(super) fn write(path: &Path, content: &[u8]) -> Result<(), StoreError> {
    let mut options = OpenOptions::new();
    options.write(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    let write = || -> io::Result<()> {
        let mut file = options.open(path)?;
        file.write_all(content)?;
        file.sync_all()
    };
    write().map_err(|error| StoreError::of_file("write", path, error))
}

/// Whether a folder is not there, or has nothing in it.
pub(super) fn is_empty(folder: &Path) -> Result<bool, StoreError> {
    match fs::read_dir(folder) {
        Ok(mut entries) => Ok(entries.next().is_none()),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(true),
        Err(error) => Err(StoreError::of_file("read", folder, error)),
    }
}

/// Whether a text is a SHA-256 in lower-case hexadecimal: what may become part of a path.
pub(super) fn is_name(text: &str) -> bool {
    text.len() == 64 && text.bytes().all(|byte| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte))
}

fn stream(source: &mut impl Read, target: &mut impl Write) -> io::Result<CopiedFile> {
    let mut hash = Context::new(&SHA256);
    let (mut piece, mut size) = (vec![0; PIECE], 0);
    loop {
        let count = source.read(&mut piece)?;
        if count == 0 {
            break;
        }
        hash.update(&piece[..count]);
        target.write_all(&piece[..count])?;
        size += count as u64;
    }
    let sha256 = hash.finish().as_ref().iter().map(|byte| format!("{byte:02x}")).collect();
    Ok(CopiedFile { size, sha256 })
}
