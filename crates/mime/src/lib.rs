//! Build and read e-mail messages: bodies, attachments, threading headers, bounces, auto-replies, safe HTML.
//!
//! # Parts
//!
//! | module | what is inside |
//! |---|---|
//! | [`build`] | a valid draft to raw MIME |
//! | [`submission`] | raw MIME handed in by a program: what it must have, what is added |
//! | [`read`] | raw MIME to summary, text, attachments; never fails on bad MIME, refuses what would hurt |
//! | [`html`] | HTML of strangers made safe to show, and turned into text |

pub mod build;
pub mod html;
pub mod read;
pub mod submission;
