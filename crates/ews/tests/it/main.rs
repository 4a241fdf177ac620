//! The wire against itself, against Microsoft's schema and against anything; the client against a server on loopback.

// Helpers of tests are tests too.
#![allow(clippy::unwrap_used)]

mod autodiscover;
mod examples;
mod schema;
#[path = "../../../entra/tests/it/stub.rs"]
mod stub;
mod wire;
mod xmllint;
