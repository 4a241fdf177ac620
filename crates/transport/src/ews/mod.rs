//! Exchange Web Services.

use postroom_model::SecretString;
use postroom_model::connection::ConnectionSettings;
use postroom_model::failure::Failure;

use crate::wire::{Wire, hold};
use crate::{Account, Sender, Source};

/// A sender.
pub(crate) fn sender(
    _wire: &Wire,
    settings: &ConnectionSettings,
    _secret: Option<SecretString>,
) -> Result<Box<dyn Sender>, Failure> {
    Err(hold(settings, "Exchange Web Services is not available yet in this version"))
}

/// A source.
pub(crate) fn source(
    _wire: &Wire,
    settings: &ConnectionSettings,
    _secret: Option<SecretString>,
    _account: &Account,
) -> Result<Box<dyn Source>, Failure> {
    Err(hold(settings, "Exchange Web Services is not available yet in this version"))
}
