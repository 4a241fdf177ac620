//! `cargo xtask prove`: the proofs behind docs/reliability.md, each with its figures printed.
//!
//! To add one: a module with a function that takes what follows its name on the command line and says what failed,
//! and one line in [`run`].

mod kill;

use anyhow::{Result, bail};

/// The proof that is named first, or all of them with their own defaults.
pub(crate) fn run(arguments: &[&str]) -> Result<()> {
    match arguments {
        [] => {
            kill::run(&[])?;
            store()
        }
        ["kill", rest @ ..] => kill::run(rest),
        ["store"] => store(),
        [other, ..] => bail!("there is no proof `{other}`; `cargo xtask` lists them"),
    }
}

/// Rounds of the kill loop that the tests run.
pub(crate) fn kill_for_test() -> Result<()> {
    kill::run(&["--rounds", "200"])
}

/// The store: the model of its states, every interleaving of two owners, every call failed in turn. They are tests
/// that print what they counted.
fn store() -> Result<()> {
    let suites = [
        ("postroom-store", "it", "model"),
        ("postroom-store", "it", "interleaved"),
        ("postroom-engine", "it", "faults"),
    ];
    for (package, test, filter) in suites {
        let arguments =
            ["test", "--locked", "--package", package, "--test", test, "--", "--nocapture", filter];
        crate::cargo(
            "the store",
            &arguments,
            &[("POSTROOM_PROVE_CASES", "200"), ("POSTROOM_PROVE_CLOCK_STEPS", "2")],
        )?;
    }
    Ok(())
}
