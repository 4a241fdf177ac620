//! Exchange Online by Microsoft Graph.
//!
//! Sending makes a draft first, whose immutable id is written down, and then sends that draft: so "did it leave?"
//! has an answer. A message above [`MAX_MIME_BYTES`] becomes a draft without its largest files, which are added one by
//! one before it is sent; an attempt that was cut off in between is completed by the next. What Graph changes in a
//! message is in `docs/graph-changes.md`. Reading is a delta query over the inbox and changes nothing.

mod large;
mod office;
mod sender;
mod source;
mod subscriber;

pub use large::{MAX_MIME_BYTES, check_size};
pub use sender::GraphSender;
pub use source::GraphSource;
pub use subscriber::GraphSubscriber;
