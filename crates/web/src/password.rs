//! Passwords as Argon2id in PHC form. Verifying costs tens of milliseconds and 19 MiB on purpose, so it runs on the
//! blocking pool and only a few at a time.

use std::sync::LazyLock;

use argon2::{Argon2, PasswordHasher, PasswordVerifier};
use postroom_model::{ExposeSecret, SecretString};
use tokio::sync::Semaphore;

/// Verified at the same time.
const PARALLEL: usize = 2;

/// A password could not be hashed.
#[derive(Debug, thiserror::Error)]
#[error("the password could not be hashed: {0}")]
pub struct HashError(argon2::password_hash::Error);

/// Argon2id hash of `password` in PHC form, with a fresh salt from the system's source. Takes tens of milliseconds.
///
/// # Errors
/// [`HashError`] when the system gives no random bytes or memory.
pub fn hash_password(password: &SecretString) -> Result<String, HashError> {
    let hash = Argon2::default().hash_password(password.expose_secret().as_bytes()).map_err(HashError)?;
    Ok(hash.to_string())
}

/// What an unknown name is compared with, so that it takes as long as a known one.
static NOBODY: LazyLock<Option<String>> =
    LazyLock::new(|| hash_password(&SecretString::from("no password leads here")).ok());

/// Verifies passwords, a few at a time.
pub(crate) struct Passwords(Semaphore);

impl Default for Passwords {
    fn default() -> Self {
        Self(Semaphore::new(PARALLEL))
    }
}

impl Passwords {
    /// Whether `password` is the one of `hash`. Without a hash it takes the same time and is wrong.
    pub(crate) async fn verify(&self, password: SecretString, hash: Option<String>) -> bool {
        let Ok(_permit) = self.0.acquire().await else { return false };
        let work = move || {
            let known = hash.is_some();
            let Some(hash) = hash.or_else(|| NOBODY.clone()) else { return false };
            let verifier: &dyn PasswordVerifier<str> = &Argon2::default();
            verifier.verify_password(password.expose_secret().as_bytes(), &hash).is_ok() && known
        };
        tokio::task::spawn_blocking(work).await.unwrap_or(false)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn only_the_right_password_of_a_known_name_is_right() {
        let hash = hash_password(&SecretString::from("correct horse")).unwrap();
        assert!(hash.starts_with("$argon2id$"), "{hash}");
        let passwords = Passwords::default();
        let verify = |text: &str, hash: Option<String>| passwords.verify(SecretString::from(text), hash);
        assert!(verify("correct horse", Some(hash.clone())).await);
        assert!(!verify("wrong horse", Some(hash)).await);
        assert!(!verify("no password leads here", None).await);
    }
}
