//! Messages on their way out, as programs see them.

pub(crate) mod fields;
pub(crate) mod read;
pub(crate) mod submit;
