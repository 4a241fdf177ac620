//! SMTP.

use postroom_model::SecretString;
use postroom_model::connection::ConnectionSettings;
use postroom_model::failure::Failure;

use crate::Sender;
use crate::wire::{Wire, hold};

/// A sender.
pub(crate) fn sender(
    _wire: &Wire,
    settings: &ConnectionSettings,
    _secret: Option<SecretString>,
) -> Result<Box<dyn Sender>, Failure> {
    Err(hold(settings, "SMTP is not available yet in this version"))
}
