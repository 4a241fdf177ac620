//! Microsoft Graph mail: wire types and client. Source of the wire facts: Microsoft, "Outlook mail API overview"
//! (<https://learn.microsoft.com/graph/outlook-mail-concept-overview>) and the pages named at each part.
//!
//! # Parts
//!
//! | module | what is inside |
//! |---|---|
//! | [`wire`] | messages, folders, recipients, the error envelope, collections, delta pages |
//! | [`client`] | [`GraphClient`]: one method per call |
//! | [`error`] | [`GraphError`]: what went wrong, whether it may have been done all the same, what is next |
//!
//! # How to add one more
//!
//! A call: a method in [`client`], made of `address`, `call` and `send`; it then carries token, ids and limits like
//! all others. A member of a message: a field in [`wire::Message`], optional, and its name in the `select` of
//! those who want it.

pub mod client;
pub mod error;
pub mod wire;

pub use client::{Accepted, Content, DeltaPage, Download, GraphClient, Upload};
pub use error::{GraphError, Refused};
