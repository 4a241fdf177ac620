//! Build and read e-mail messages: bodies, attachments, threading headers, bounces, auto-replies, safe HTML.
//!
//! What strangers wrote is framed first, bounded always and only then parsed: the raw bytes are cut into header
//! sections and parts here, without recursion into forwarded messages, and only single headers and bodies are
//! given to the libraries below. So no message can nest deep enough to overflow a stack.
//!
//! # Parts
//!
//! | module | what is inside |
//! |---|---|
//! | [`build`] | a valid draft to raw MIME |
//! | [`eml`] | a valid draft to a file that the user's own mail program opens and sends |
//! | [`lighten`] | a large message without its largest files, and the files to be added one by one |
//! | [`submission`] | raw MIME handed in by a program: what it must have, what is added |
//! | [`read`] | raw MIME to summary, text, attachments; never fails on bad MIME, refuses what would hurt |
//! | [`content`] | the digest by which the same mail is known again in another mailbox |
//! | [`check_message`] | the test message of a check: what is in it, and how it is known again |
//! | [`html`] | HTML of strangers made safe to show, and turned into text |
//! | `fields` | header sections byte by byte: where they end, their lines, their decoded values |
//! | `parts` | the body cut into parts, with limits on depth and number |
//! | `decode` | transfer encodings and character sets, always giving something |
//! | `origin` | bounces, automatic answers, bulk mail |
//!
//! # How to add one more
//!
//! A new sign of a bounce or an automatic answer: a line in `origin` and a row in its test. A new oddity of
//! somebody's MIME: a named tolerance in `parts` or `decode` with the offending bytes in a test, and if it was seen in
//! the wild, a file in the demo corpus, which the snapshot test reads.

pub mod build;
pub mod check_message;
pub mod content;
mod decode;
pub mod eml;
mod fields;
pub mod html;
pub mod lighten;
mod origin;
mod parts;
pub mod read;
pub mod submission;
