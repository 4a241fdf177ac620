//! Files and folders of their owner only, and their syncing.

use std::fs::{DirBuilder, File, OpenOptions};
use std::path::{Path, PathBuf};

use crate::StoreError;

/// Runs file work where it holds up nobody.
pub(super) async fn on_disk<T: Send + 'static>(
    folder: PathBuf,
    work: impl FnOnce(&Path) -> Result<T, StoreError> + Send + 'static,
) -> Result<T, StoreError> {
    let path = folder.clone();
    tokio::task::spawn_blocking(move || work(&path)).await.unwrap_or_else(|broken| {
        Err(StoreError::of_file("open the folder", &folder, std::io::Error::other(broken)))
    })
}

/// Opens `path` for writing; makes it when it is missing, for its owner only whatever the umask says.
pub(super) fn private_file(path: &Path) -> std::io::Result<File> {
    let mut options = OpenOptions::new();
    options.create(true).truncate(false).write(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    let file = options.open(path)?;
    tighten(path, 0o600);
    Ok(file)
}

/// Takes away what others may do with `path`, and says so. Refuses nothing: where the mode cannot be changed, the log
/// tells who could read the mail.
#[cfg(unix)]
pub(super) fn tighten(path: &Path, mode: u32) {
    use std::os::unix::fs::PermissionsExt as _;
    let Ok(known) = std::fs::metadata(path) else { return };
    let found = known.permissions().mode() & 0o777;
    if found & 0o077 == 0 && found & mode == mode {
        return;
    }
    let (path_shown, found_shown) = (path.display(), format!("{found:o}"));
    match std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)) {
        Ok(()) => {
            tracing::warn!(path = %path_shown, found = found_shown, "was open to others and is for its owner only now");
        }
        Err(error) => {
            tracing::error!(path = %path_shown, found = found_shown, %error, "is open to others and cannot be closed");
        }
    }
}

#[cfg(not(unix))]
pub(super) fn tighten(_: &Path, _: u32) {}

/// Makes `folder` and those above it, for their owner only. A folder that is there keeps its mode.
pub(crate) fn make_private_folder(folder: &Path) -> std::io::Result<()> {
    let mut builder = DirBuilder::new();
    builder.recursive(true);
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    builder.create(folder)
}

/// Syncs a folder, so that the names in it survive a power cut.
pub(crate) fn sync_folder(folder: &Path) -> Result<(), StoreError> {
    File::open(folder)
        .and_then(|folder| folder.sync_all())
        .map_err(|source| StoreError::of_file("sync", folder, source))
}
