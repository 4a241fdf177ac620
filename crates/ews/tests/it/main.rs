//! The wire against itself, against Microsoft's schema and against anything; the client against a server on loopback.

// Helpers of tests are tests too.
#![allow(clippy::unwrap_used)]

mod examples;
mod schema;
mod wire;
