//! The REST interface, driven in process against the real store. Nothing is sent: the transports refuse.

mod bench;
mod errors;
mod reading;
mod submitting;
