//! The wire: every request and answer as a type, written and read alike, so that a server can be made of it too.
//!
//! # Parts
//!
//! | module | what is inside |
//! |---|---|
//! | `envelope` | header, fault, outcome; [`Request`] and [`Response`]: all operations |
//! | `operation` | what each operation asks and gives |
//! | `notify` | subscriptions and their events |
//! | `folder`, `item`, `path` | folders, items with attachments, names of properties and restrictions |
//! | `stream` | several envelopes in one answer, and a message's MIME cut out as it comes |
//! | `value` | how a type stands in a document: the macros |
//! | `tree`, `writer` | reading and writing elements |
//!
//! # How to add an operation
//!
//! 1. Write its request, and what its answer gives, with `record!` in `operation`, fields in the order of the schema.
//! 2. Add one line to `operations!` in `envelope`.
//! 3. Add an example of each to the tests: they are written, read back, and compared with Microsoft's schema.

mod value;

mod envelope;
mod folder;
mod item;
mod notify;
mod operation;
mod path;
mod stream;
mod tree;
mod writer;

pub use envelope::*;
pub use folder::*;
pub use item::*;
pub use notify::*;
pub use operation::*;
pub use path::*;
pub use stream::{EnvelopeCutter, MimeCutter, StreamError};
pub use tree::{MAX_DEPTH, MAX_ELEMENTS, ReadError};
pub use writer::sanitised;
