//! The sandbox over real HTTP, as a client meets it.

mod control;
mod delta;
mod directory;
mod entra;
mod mail;
mod support;
