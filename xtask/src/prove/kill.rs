//! The kill loop: `crates/prove` does the work; this builds it and the product, and hands it the binary.

use std::path::PathBuf;

use anyhow::{Context, Result};

/// What follows is handed on: `--rounds N`, `--seed N`, `--nodes N`.
pub(super) fn run(arguments: &[&str]) -> Result<()> {
    crate::cargo("build the product", &["build", "--locked", "--package", "postroom"], &[])?;
    let target = std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| PathBuf::from("target"), PathBuf::from);
    let binary = std::path::absolute(target.join("debug").join("postroom"))?;
    let binary = binary.to_str().context("the path of the target folder is not UTF-8")?;
    let run = ["run", "--quiet", "--locked", "--package", "postroom-prove", "--", "kill", "--binary", binary];
    crate::cargo("kill loop", &[run.as_slice(), arguments].concat(), &[])
}
