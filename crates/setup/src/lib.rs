//! A connection set up from nothing: what an administrator otherwise does in two portals for an hour, as a plan that
//! is shown, applied, handed over, undone. Nothing here prints or reads a clock of its own, so the command line and
//! the page use the same engine.
//!
//! # Parts
//!
//! | module | what is inside |
//! |---|---|
//! | [`plan`] | what will be made and granted, why, and what is worth a second thought |
//! | [`apply`](mod@apply) | the plan carried out, step by step, and waited for |
//! | [`undo`](mod@undo) | exactly what was made, taken back |
//! | [`journal`] | what a set-up remembers: ids, never a secret |
//! | [`import`](mod@import) | what somebody else's run of a script gave |
//! | [`limits`] | lines for Exchange that keep the application to its mailboxes, their undo, grants that defeat them |
//! | [`script`](mod@script) | the plan as one block of PowerShell or Bash, and its undo |
//! | [`handover`](mod@handover) | a page for the tenant's administrator |
//! | [`line`](mod@line) | the one line a script prints |
//! | [`quote`] | values inside scripts |
//!
//! # How to add one more
//!
//! An API: a variant of [`plan::Api`]; the compiler names what decides by it. A step of the set-up: a field of the
//! journal, a part of `apply` that looks there first and writes there last, and its mirror in `undo`. A script: a
//! file under `templates/`; what it prints is quoted by the file's ending.

pub mod apply;
pub mod error;
pub mod handover;
pub mod import;
pub mod journal;
pub mod limits;
pub mod line;
mod local;
#[cfg(test)]
mod parsed;
pub mod plan;
pub mod quote;
mod render;
pub mod script;
mod templates;
#[cfg(test)]
mod testing;
pub mod undo;
mod wait;

pub use apply::{Means, Outcome, Patience, Progress, Tell, Waiting, apply, reconcile};
pub use error::SetupError;
pub use handover::handover;
pub use import::{Prepared, import, prepare};
pub use journal::Journal;
pub use line::Line;
pub use plan::{Accounts, Api, KeyKind, KeyPlan, Limit, MailServer, Plan, Right};
pub use script::{Ask, Purpose, Shell, script};
pub use undo::{Undone, undo};
