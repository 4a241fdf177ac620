//! Messages on their way out, as programs see them.

mod fields;
pub(crate) mod read;
pub(crate) mod submit;
