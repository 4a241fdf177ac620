//! Exchange Online by Microsoft Graph.
//!
//! Sending makes a draft first, whose immutable id is written down, and then sends that draft: so "did it leave?"
//! has an answer. Reading is a delta query over the inbox and changes nothing.

mod office;
mod sender;
mod source;

pub use sender::{GraphSender, MAX_MIME_BYTES};
pub use source::GraphSource;
