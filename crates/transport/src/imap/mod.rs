//! IMAP.

use postroom_model::SecretString;
use postroom_model::connection::ConnectionSettings;
use postroom_model::failure::Failure;

use crate::wire::{Wire, hold};
use crate::{Account, Source};

/// A source.
pub(crate) fn source(
    _wire: &Wire,
    settings: &ConnectionSettings,
    _secret: Option<SecretString>,
    _account: &Account,
) -> Result<Box<dyn Source>, Failure> {
    Err(hold(settings, "IMAP is not available yet in this version"))
}
