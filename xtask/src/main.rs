//! `cargo xtask test`: the test command of this project. Installs what the tests need and is missing (when it
//! may), runs formatting, lints, documentation and every test, and ends with the test runner's closing lines.
//!
//! To add a step: a function that returns `Ok(())` or says what failed and what to do, named in [`test()`].

mod bans;
mod paths;
mod prerequisites;
mod prove;
mod tools;

use std::process::{Command, ExitCode, Stdio};
use std::time::Instant;

use anyhow::{Context, Result, bail};

const USAGE: &str = "\
usage: cargo xtask <command>

  test    everything that must hold: format, lints, bans, documentation, all tests
  faults  induce every named fault on a tenant of this machine, and print how each is recognised
  fuzz [--seconds N] [TARGET]
          hand mutated input to every parser, or to one, for so long each (default 60); the tests do it for 2 seconds
  bench [collect] [submit] [decode]
          compare Postroom with mbsync and smtp-source on this machine, in a release build, and measure its memory
  prove [kill [--rounds N] [--seed N] [--nodes N]] [store]
          prove what docs/reliability.md promises, and print the figures: the product killed at random moments under load;
          the store against a model, two owners in every order, and every one of its calls failed in turn
  bans    compare what is built with the bans of deny.toml
  paths   every path that the documents name exists
";

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let outcome = match arguments.iter().map(String::as_str).collect::<Vec<_>>().as_slice() {
        ["test"] => test(),
        ["faults"] => faults(),
        ["bench", chosen @ ..] => bench(chosen),
        ["prove", chosen @ ..] => prove::run(chosen),
        ["fuzz"] => fuzz("60", ""),
        ["fuzz", "--seconds", seconds] => fuzz(seconds, ""),
        ["fuzz", target] => fuzz("60", target),
        ["fuzz", "--seconds", seconds, target] => fuzz(seconds, target),
        ["bans"] => bans::check(),
        ["paths"] => paths::check(),
        _ => {
            say(USAGE);
            return ExitCode::from(2);
        }
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            say(&format!("error: {error:#}"));
            ExitCode::FAILURE
        }
    }
}

/// Talk goes to stderr; stdout belongs to the tools that are run.
#[expect(clippy::print_stderr, reason = "the one place where xtask talks")]
fn say(text: &str) {
    eprintln!("{text}");
}

/// The table is printed by the test that also holds it to its word.
fn faults() -> Result<()> {
    let arguments = [
        "test",
        "--quiet",
        "--locked",
        "--package",
        "postroom-check",
        "--test",
        "faults",
        "--",
        "--nocapture",
    ];
    cargo("faults", &arguments, &[])
}

/// The targets are tests in modules named `fuzz`: see the head of `crates/fuzz`.
fn fuzz(seconds: &str, target: &str) -> Result<()> {
    if seconds.parse::<u32>().is_err() || !target.chars().all(|c| c.is_ascii_alphanumeric() || c == '_') {
        bail!("usage: cargo xtask fuzz [--seconds N] [TARGET]");
    }
    let filter = format!("fuzz::{target}");
    let packages = ["fuzz", "transport", "entra", "sandbox", "api"].map(|name| format!("postroom-{name}"));
    let mut arguments = vec!["test", "--locked", "--lib", "--tests", "--no-fail-fast"];
    arguments.extend(packages.iter().flat_map(|package| ["--package", package]));
    arguments.extend(["--", &filter]);
    cargo("fuzz", &arguments, &[("POSTROOM_FUZZ_SECONDS", seconds)])
}

fn bench(chosen: &[&str]) -> Result<()> {
    prerequisites::ensure_for_bench()?;
    let run = ["run", "--release", "--locked", "--package", "postroom-bench", "--", "all"];
    cargo("bench", &[run.as_slice(), chosen].concat(), &[])
}

fn test() -> Result<()> {
    prerequisites::ensure()?;
    let tools = tools::ensure()?;
    let tools = tools.to_str().context("the folder of the tools is not UTF-8")?;
    cargo("formatting", &["fmt", "--all", "--check"], &[])?;
    bans::check()?;
    paths::check()?;
    cargo("lints", &["clippy", "--workspace", "--all-targets", "--locked", "--", "-D", "warnings"], &[])?;
    cargo(
        "documentation",
        &["doc", "--workspace", "--no-deps", "--locked", "--document-private-items"],
        &[("RUSTDOCFLAGS", "-D warnings -A rustdoc::private_intra_doc_links")],
    )?;
    cargo("documentation tests", &["test", "--workspace", "--doc", "--locked"], &[])?;
    prove::kill_for_test()?;
    // Last, so that the run ends with the runner's own closing lines. Tests marked `ignored` need something
    // foreign that `prerequisites` has just made sure of.
    if runs("cargo", &["nextest", "--version"]) {
        let arguments =
            ["nextest", "run", "--workspace", "--locked", "--run-ignored", "all", "--no-fail-fast"];
        cargo("tests", &arguments, &[("XTASK_TOOLS", tools)])
    } else {
        let arguments =
            ["test", "--workspace", "--all-targets", "--locked", "--no-fail-fast", "--", "--include-ignored"];
        cargo("tests", &arguments, &[("XTASK_TOOLS", tools)])
    }
}

/// Runs cargo with its output shown, and says how long the step took.
fn cargo(step: &str, arguments: &[&str], variables: &[(&str, &str)]) -> Result<()> {
    say(&format!("\n== {step}: cargo {}", arguments.join(" ")));
    let begin = Instant::now();
    let status = Command::new(std::env::var("CARGO").unwrap_or_else(|_| "cargo".to_owned()))
        .args(arguments)
        .envs(variables.iter().copied())
        .status()
        .with_context(|| format!("run cargo {}", arguments.join(" ")))?;
    if !status.success() {
        bail!("{step} failed (cargo {})", arguments.join(" "));
    }
    if step != "tests" {
        say(&format!("== {step}: {:.0} s", begin.elapsed().as_secs_f64()));
    }
    Ok(())
}

/// Whether a program is there and answers with success.
fn runs(program: &str, arguments: &[&str]) -> bool {
    Command::new(program)
        .args(arguments)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status()
        .is_ok_and(|status| status.success())
}
