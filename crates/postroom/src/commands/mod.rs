//! One file per command: its arguments and what it does. No logic here.

pub(crate) mod apikey;
pub(crate) mod backup;
pub(crate) mod check;
pub(crate) mod config;
pub(crate) mod connection;
pub(crate) mod credential;
pub(crate) mod demo;
pub(crate) mod draft;
pub(crate) mod inbox;
pub(crate) mod janitor;
pub(crate) mod mailbox;
mod message;
pub(crate) mod outbox;
pub(crate) mod sandbox;
pub(crate) mod send;
pub(crate) mod serve;
pub(crate) mod setup;
pub(crate) mod store;
pub(crate) mod user;

use std::path::Path;

use anyhow::Context;
use postroom_model::SecretString;

/// A secret out of a file, or out of standard input when the file is `-`. Line ends around it do not count.
fn read_secret(path: &Path) -> anyhow::Result<SecretString> {
    let text = if path == Path::new("-") {
        std::io::read_to_string(std::io::stdin()).context("read the secret from standard input")?
    } else {
        std::fs::read_to_string(path).with_context(|| format!("read the secret from {}", path.display()))?
    };
    Ok(SecretString::from(text.trim_matches(['\r', '\n']).to_owned()))
}

/// Who did it, in events.
const ACTOR: &str = "cli";
