//! The engine against a real store and a scripted provider. Time stands still until a test moves it; tests wait for
//! facts in the store, never for a while.
#![allow(clippy::print_stdout, reason = "proofs say what they counted")]
#![allow(clippy::unwrap_used)] // helpers of tests are tests too

mod collector;
mod faults;
mod faulty;
mod house;
mod intake;
mod large;
mod listening;
mod notices;
mod office;
mod outbox;
mod provider;
mod recipients;
mod router;
mod subscriptions;
mod watch;
