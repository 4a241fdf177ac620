//! Measures Postroom against programs that people know, in the same run on the same machine. Started by
//! `cargo xtask bench`; not part of the product and not of the tests.
//!
//! # Parts
//!
//! | module | what is measured |
//! |---|---|
//! | `collect` | 10,000 messages from a Dovecot on this machine into a data folder, against mbsync into a Maildir; memory with a large message |
//! | `submit` | messages into a sink on this machine over kept connections, against smtp-source |
//! | `decode` | memory while a large message comes by Graph and by EWS |
//! | `measure` | processes and their time, memory, medians |
//!
//! Every measured piece of Postroom runs in a process of its own (this program with the name of the piece), as its peer
//! does; what is compared takes turns.
//!
//! # How to add one
//!
//! A module with a function that measures and gives lines of the table, named in `main`; a piece that runs in a process of
//! its own is one more arm of `piece`.

mod collect;
mod decode;
#[allow(clippy::unwrap_used, reason = "shared with the tests")]
#[path = "../../transport/tests/servers/dovecot.rs"]
mod dovecot;
mod measure;
mod submit;

use anyhow::{Result, bail};

/// One line of the table.
pub(crate) struct Figure {
    pub(crate) what: &'static str,
    pub(crate) ours: String,
    pub(crate) peer: String,
    /// How it compares, and whether that is what was promised.
    pub(crate) verdict: String,
}

fn main() -> Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    runtime.block_on(async {
        match arguments.split_first() {
            Some((piece, rest)) if piece != "all" => self::piece(piece, rest).await,
            Some((_, chosen)) => compare(chosen).await,
            None => compare(&[]).await,
        }
    })
}

/// A measured piece, in a process of its own.
async fn piece(name: &str, arguments: &[String]) -> Result<()> {
    match (name, arguments) {
        ("collect", [port, user, folder]) => collect::piece(port.parse()?, user, folder).await,
        ("submit", [port, sessions, count]) => {
            submit::piece(port.parse()?, sessions.parse()?, count.parse()?).await
        }
        ("decode", [api, url, folder]) => decode::piece(api, url, folder).await,
        _ => bail!("no such piece: {name} {arguments:?}"),
    }
}

/// Measures what was chosen, or everything.
async fn compare(chosen: &[String]) -> Result<()> {
    say(&measure::conditions()?);
    let wanted = |name: &str| chosen.is_empty() || chosen.iter().any(|chosen| chosen == name);
    let mut figures = Vec::new();
    if wanted("collect") {
        figures.extend(collect::figures().await?);
    }
    if wanted("submit") {
        figures.extend(submit::figures().await?);
    }
    if wanted("decode") {
        figures.extend(decode::figures().await?);
    }
    say("| what | Postroom | peer | |\n|---|---|---|---|");
    for Figure { what, ours, peer, verdict } in figures {
        say(&format!("| {what} | {ours} | {peer} | {verdict} |"));
    }
    Ok(())
}

#[expect(clippy::print_stdout, reason = "the figures are what this program is for")]
pub(crate) fn say(text: &str) {
    println!("{text}");
}
