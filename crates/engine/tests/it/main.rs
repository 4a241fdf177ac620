//! The engine against a real store and a scripted provider. Time stands still until a test moves it; tests wait for
//! facts in the store, never for a while.
#![allow(clippy::print_stdout, reason = "proofs say what they counted")]
#![allow(clippy::unwrap_used)] // helpers of tests are tests too

mod alarms;
mod collector;
mod faults;
mod faulty;
mod house;
mod intake;
mod large;
mod listening;
mod memory;
mod notices;
mod office;
mod old_mail;
mod outbox;
mod provider;
mod recipients;
mod router;
mod signals;
mod subscriptions;
mod watch;
