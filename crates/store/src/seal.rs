//! The key file, and the sealing of secrets under it.

use std::path::{Path, PathBuf};

use postroom_model::{Env, SecretString};

use crate::StoreError;

/// Where the key is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeyFile(pub PathBuf);

/// Seals and opens secrets.
pub struct Sealer {}

impl std::fmt::Debug for Sealer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Sealer")
    }
}
