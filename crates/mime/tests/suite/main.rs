//! One binary, so that the libraries are linked once.

#![allow(clippy::unwrap_used, reason = "helpers of tests are tests too")]

mod corpus;
mod cpython;
mod hostile;
mod round_trip;
