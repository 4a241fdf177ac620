//! Kills the real program at random moments under load, and compares what the clients and the tenant saw with what it
//! has on record. Started by `cargo xtask prove`; not part of the product. What it proves and its figures are in
//! docs/reliability.md.
//!
//! # Parts
//!
//! | module | what is inside |
//! |---|---|
//! | [`chance`] | the seeded source of everything that happens by chance |
//! | [`process`] | processes that are killed, stopped and continued |
//! | [`tenant`] | the sandbox, and its dials |
//! | [`place`] | where nodes run and what they share: SQLite in a folder; how to start a node and how to look into its store |
//! | [`kill`] | the loop: `kill::schedule` what happens when, `kill::nodes` the processes, `kill::load` clients and incoming mail, `kill::ledger` what was seen from outside, `kill::compare` the verdict |
//!
//! # How to add one more place
//!
//! Implement [`place::Place`] and name it in [`place::named`]: the loop, the load and the verdict stay as they are. One
//! more way to harm a node is one more [`kill::schedule::Blow`].

mod chance;
mod kill;
mod place;
mod process;
mod tenant;

use std::process::ExitCode;

use anyhow::{Context, Result, bail};

const USAGE: &str = "\
usage: postroom-prove kill --binary FILE [--rounds N] [--seed N] [--nodes N] [--place sqlite] [--keep]";

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    match prove(&arguments) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            say(&format!("error: {error:#}"));
            ExitCode::FAILURE
        }
    }
}

fn prove(arguments: &[String]) -> Result<()> {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    match arguments.split_first() {
        Some((proof, rest)) if proof == "kill" => runtime.block_on(kill::run(options(rest)?)),
        _ => bail!(USAGE),
    }
}

fn options(arguments: &[String]) -> Result<kill::Options> {
    let mut options = kill::Options::default();
    let mut rest = arguments.iter();
    while let Some(name) = rest.next() {
        if name == "--keep" {
            options.keep = true;
            continue;
        }
        let value = rest.next().with_context(|| format!("{name} needs a value\n{USAGE}"))?;
        match name.as_str() {
            "--binary" => options.binary = std::path::absolute(value)?,
            "--rounds" => options.rounds = value.parse().context("--rounds")?,
            "--seed" => options.seed = value.parse().context("--seed")?,
            "--nodes" => options.nodes = value.parse().context("--nodes")?,
            "--place" => options.place = value.clone(),
            _ => bail!("there is no {name}\n{USAGE}"),
        }
    }
    if !options.binary.is_file() || options.rounds == 0 || options.nodes == 0 {
        bail!("the binary must be a file, rounds and nodes at least 1\n{USAGE}");
    }
    Ok(options)
}

#[expect(clippy::print_stdout, reason = "the figures are what this program is for")]
pub(crate) fn say(text: &str) {
    println!("{text}");
}
