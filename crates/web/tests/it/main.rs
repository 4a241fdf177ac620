//! The pages, driven in process against the real store. Nothing leaves this machine: transports and checks are told
//! what to say by `sample`.

#![allow(clippy::unwrap_used, reason = "a test says what must be there by unwrapping; helpers too")]
#[allow(unreachable_pub, reason = "shared with the example")]
mod sample;

mod browser;
mod drafts;
mod incoming;
mod log_on;
mod mail;
mod outgoing;
mod protection;
