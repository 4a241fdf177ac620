//! The REST interface, driven in process against the real store. Nothing is sent: the transports refuse.

#![allow(clippy::unwrap_used, reason = "a test says what must be there by unwrapping; helpers too")]
mod bench;
mod drafts;
mod errors;
mod notifying;
mod reading;
mod submitting;
