//! The key file, and the sealing of secrets under it.
//!
//! A secret is sealed with AES-256-GCM-SIV under the key in the key file. A sealed record is
//!
//! ```text
//! version (1) | key id (8) | nonce (12) | ciphertext and tag
//! ```
//!
//! and is bound to its [`Place`]: moved to another table, column or row, it does not open. The key id says at once
//! that a record belongs to another key; it is a truncated SHA-256 and tells nothing of the key.
//!
//! # The key file
//!
//! Two lines of text, mode 0600: the form (`postroom-key-v1`) and 64 hexadecimal digits. Lines that begin with `#`
//! are for people. A file that others than its owner may read is refused, because a key that is known is no key.

use std::fmt;
use std::fs::{File, OpenOptions};
use std::io::{ErrorKind, Read, Write};
use std::path::{Path, PathBuf};

use aws_lc_rs::aead::{AES_256_GCM_SIV, Aad, Nonce, RandomizedNonceKey};
use aws_lc_rs::digest::{SHA256, digest};
use aws_lc_rs::rand::{SecureRandom, SystemRandom};
use postroom_model::{Env, ExposeSecret, SecretString};
use zeroize::{Zeroize, Zeroizing};

use crate::StoreError;

/// First line of a key file.
const FORM: &str = "postroom-key-v1";
/// A key file is a few lines; whatever is longer is another file.
const MAX_KEY_FILE: u64 = 4_096;
const KEY_LENGTH: usize = 32;
const KEY_ID_LENGTH: usize = 8;
const NONCE_LENGTH: usize = 12;
/// Version of the sealed record.
const RECORD_VERSION: u8 = 1;

/// Where the key is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeyFile(pub PathBuf);

/// Where a secret belongs: sealed for one place, it opens in no other.
#[derive(Debug, Clone, Copy)]
pub struct Place<'a> {
    /// Table.
    pub table: &'static str,
    /// Column.
    pub column: &'static str,
    /// Row: the bytes of its id.
    pub row: &'a [u8],
}

impl Place<'_> {
    fn associated_data(&self) -> Vec<u8> {
        // Names of tables and columns hold no zero byte, so no two places give the same bytes.
        [self.table.as_bytes(), self.column.as_bytes(), self.row].join(&0)
    }

    fn contradiction(&self, what: &str) -> StoreError {
        let row = self.row.iter().map(|byte| format!("{byte:02x}")).collect();
        StoreError::Contradiction { table: self.table, row, what: format!("{} {what}", self.column) }
    }
}

/// Seals and opens secrets.
pub struct Sealer {
    key: RandomizedNonceKey,
    key_id: [u8; KEY_ID_LENGTH],
    file: PathBuf,
}

impl fmt::Debug for Sealer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Sealer")
    }
}

impl Sealer {
    /// The key in `file`; a new one when there is no such file. For a store that holds nothing sealed yet.
    ///
    /// # Errors
    /// [`StoreError::Key`] when the file may be read by others, cannot be read, or holds no key;
    /// [`StoreError::File`] or [`StoreError::Full`] when a new one cannot be written.
    pub fn load_or_create(file: &KeyFile, env: &Env) -> Result<Self, StoreError> {
        if let Some(sealer) = Self::load(file)? {
            return Ok(sealer);
        }
        let mut key = Zeroizing::new([0; KEY_LENGTH]);
        // Not `env`: a key must come from the system's source even where a test has seeded everything else.
        SystemRandom::new()
            .fill(key.as_mut_slice())
            .map_err(|_| key_error(&file.0, "no key could be made: the system's random source failed"))?;
        if write_new(&file.0, &key, env)? {
            return Self::from_key(&key, &file.0);
        }
        // Another process was faster: its key counts.
        Self::load(file)?
            .ok_or_else(|| key_error(&file.0, "was made and removed at the same time; start again"))
    }

    /// The key in `file`; none when there is no such file.
    ///
    /// # Errors
    /// [`StoreError::Key`] when the file may be read by others, cannot be read, or holds no key.
    pub fn load(file: &KeyFile) -> Result<Option<Self>, StoreError> {
        let path = file.0.as_path();
        let opened = match File::open(path) {
            Ok(opened) => opened,
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(key_error(path, &format!("cannot be opened: {error}"))),
        };
        let failed = |error| key_error(path, &format!("cannot be read: {error}"));
        let metadata = opened.metadata().map_err(failed)?;
        if !metadata.is_file() {
            return Err(key_error(path, "is not a file"));
        }
        refuse_loose_permissions(path, &metadata)?;
        let mut text = Zeroizing::new(String::with_capacity(256));
        opened.take(MAX_KEY_FILE).read_to_string(&mut text).map_err(failed)?;
        let key = parse(&text).ok_or_else(|| {
            key_error(
                path,
                "holds no key: its first line must be `postroom-key-v1` and its second 64 hexadecimal digits; \
                 restore it from its backup",
            )
        })?;
        Self::from_key(&key, path).map(Some)
    }

    fn from_key(key: &[u8; KEY_LENGTH], path: &Path) -> Result<Self, StoreError> {
        let hash = digest(&SHA256, &[b"postroom key id\0".as_slice(), key].concat());
        let mut key_id = [0; KEY_ID_LENGTH];
        key_id.copy_from_slice(&hash.as_ref()[..KEY_ID_LENGTH]);
        let key = RandomizedNonceKey::new(&AES_256_GCM_SIV, key)
            .map_err(|_| key_error(path, "holds a key that the cipher refuses"))?;
        Ok(Self { key, key_id, file: path.to_owned() })
    }

    /// Seals `secret` for `place`.
    ///
    /// # Errors
    /// [`StoreError::Key`] when the cipher fails.
    pub fn seal(&self, place: Place<'_>, secret: &SecretString) -> Result<Vec<u8>, StoreError> {
        // Room for the tag, so that growing leaves no copy of the plain text behind.
        let mut body = Zeroizing::new(Vec::with_capacity(secret.expose_secret().len() + 32));
        body.extend_from_slice(secret.expose_secret().as_bytes());
        let nonce = self
            .key
            .seal_in_place_append_tag(Aad::from(place.associated_data()), &mut *body)
            .map_err(|_| key_error(&self.file, "the cipher failed to seal"))?;
        let nonce: &[u8; NONCE_LENGTH] = nonce.as_ref();
        Ok([&[RECORD_VERSION], self.key_id.as_slice(), nonce, &body].concat())
    }

    /// Opens what was sealed for `place`.
    ///
    /// # Errors
    /// [`StoreError::Key`] when it was sealed with another key; [`StoreError::Contradiction`] when it was changed, or
    /// sealed for another place.
    pub fn open(&self, place: Place<'_>, sealed: &[u8]) -> Result<SecretString, StoreError> {
        let (header, body) = sealed
            .split_at_checked(1 + KEY_ID_LENGTH + NONCE_LENGTH)
            .ok_or_else(|| place.contradiction("is too short to be sealed"))?;
        if header[0] != RECORD_VERSION {
            return Err(place.contradiction("has an unknown form"));
        }
        let (key_id, nonce) = header[1..].split_at(KEY_ID_LENGTH);
        if key_id != self.key_id {
            return Err(key_error(
                &self.file,
                "is not the key that the stored secrets were sealed with; put the right file back",
            ));
        }
        let changed = || place.contradiction("was changed after it was sealed, or moved");
        let nonce = Nonce::try_assume_unique_for_key(nonce).map_err(|_| changed())?;
        let mut body = Zeroizing::new(body.to_vec());
        let plain = self
            .key
            .open_in_place(nonce, Aad::from(place.associated_data()), &mut body)
            .map_err(|_| changed())?;
        let text = std::str::from_utf8(plain).map_err(|_| changed())?;
        Ok(SecretString::from(text.to_owned()))
    }
}

fn key_error(path: &Path, reason: &str) -> StoreError {
    StoreError::Key { path: path.to_owned(), reason: reason.to_owned() }
}

/// The key in the text of a key file.
fn parse(text: &str) -> Option<Zeroizing<[u8; KEY_LENGTH]>> {
    let mut lines = text.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#'));
    let (form, digits, rest) = (lines.next()?, lines.next()?, lines.next());
    if form != FORM
        || rest.is_some()
        || digits.len() != 2 * KEY_LENGTH
        || !digits.bytes().all(|digit| digit.is_ascii_hexdigit())
    {
        return None;
    }
    let mut key = Zeroizing::new([0; KEY_LENGTH]);
    for (index, byte) in key.iter_mut().enumerate() {
        *byte = u8::from_str_radix(digits.get(2 * index..2 * index + 2)?, 16).ok()?;
    }
    Some(key)
}

/// Writes a new key file, synced with its folder. `false` when there is one already.
fn write_new(path: &Path, key: &[u8; KEY_LENGTH], env: &Env) -> Result<bool, StoreError> {
    let failed = |source| StoreError::of_file("make the key file", path, source);
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let mut options = OpenOptions::new();
    options.write(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    let mut file = match options.open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == ErrorKind::AlreadyExists => return Ok(false),
        Err(error) => return Err(failed(error)),
    };
    let mut digits = key.iter().fold(String::with_capacity(2 * KEY_LENGTH), |mut text, byte| {
        text.extend([byte >> 4, byte & 15].map(|digit| char::from(b"0123456789abcdef"[usize::from(digit)])));
        text
    });
    let mut text = format!(
        "{FORM}\n{digits}\n# Made {}. Keep a copy apart from the data: without it no stored secret opens.\n",
        env.now()
    );
    let written = file.write_all(text.as_bytes()).and_then(|()| file.sync_all());
    text.zeroize();
    digits.zeroize();
    if let Err(error) = written {
        // Half a key file would refuse the next start.
        let _ = std::fs::remove_file(path);
        return Err(failed(error));
    }
    File::open(folder).and_then(|folder| folder.sync_all()).map_err(failed)?;
    Ok(true)
}

#[cfg(unix)]
fn refuse_loose_permissions(path: &Path, metadata: &std::fs::Metadata) -> Result<(), StoreError> {
    use std::os::unix::fs::PermissionsExt;
    let mode = metadata.permissions().mode() & 0o777;
    if mode & 0o077 == 0 {
        return Ok(());
    }
    let reason = format!(
        "may be read by others than its owner (mode {mode:o}): run `chmod 600 {}`; when others could have \
         read it, replace the secrets sealed with it too",
        path.display()
    );
    Err(key_error(path, &reason))
}

#[cfg(not(unix))]
fn refuse_loose_permissions(_: &Path, _: &std::fs::Metadata) -> Result<(), StoreError> {
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sealer() -> Sealer {
        Sealer::from_key(&[7; KEY_LENGTH], Path::new("test.key")).unwrap()
    }

    const PLACE: Place<'static> = Place { table: "credentials", column: "sealed", row: b"one" };

    #[test]
    fn a_secret_opens_in_its_own_place_and_in_no_other() {
        let sealed = sealer().seal(PLACE, &SecretString::from("open sesame")).unwrap();
        assert_eq!(sealer().open(PLACE, &sealed).unwrap().expose_secret(), "open sesame");
        for other in [
            Place { row: b"two", ..PLACE },
            Place { column: "other", ..PLACE },
            Place { table: "house", ..PLACE },
        ] {
            assert!(matches!(sealer().open(other, &sealed), Err(StoreError::Contradiction { .. })));
        }
    }

    #[test]
    fn a_changed_or_cut_record_is_refused() {
        let sealed = sealer().seal(PLACE, &SecretString::from("open sesame")).unwrap();
        for length in 0..sealed.len() {
            assert!(sealer().open(PLACE, &sealed[..length]).is_err());
        }
        for index in 0..sealed.len() {
            let mut changed = sealed.clone();
            changed[index] ^= 1;
            assert!(sealer().open(PLACE, &changed).is_err());
        }
    }

    #[test]
    fn the_same_secret_is_never_sealed_to_the_same_bytes() {
        let secret = SecretString::from("open sesame");
        assert_ne!(sealer().seal(PLACE, &secret).unwrap(), sealer().seal(PLACE, &secret).unwrap());
    }

    #[test]
    fn only_the_documented_form_is_a_key() {
        let digits = "ab".repeat(KEY_LENGTH);
        assert!(parse(&format!("{FORM}\n{digits}\n# a word\n")).is_some());
        for wrong in [
            String::new(),
            digits.clone(),
            format!("postroom-key-v2\n{digits}"),
            format!("{FORM}\n{}", &digits[1..]),
            format!("{FORM}\n{}", "+1".repeat(KEY_LENGTH)),
            format!("{FORM}\n{digits}\n{digits}"),
            format!("{FORM}\n{}", "é".repeat(KEY_LENGTH)),
        ] {
            assert!(parse(&wrong).is_none(), "{wrong}");
        }
    }
}
