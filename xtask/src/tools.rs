//! Foreign programs that the tests run, of exactly these versions, in a folder of their own below the target folder.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};

use crate::say;

/// From PyPI: Microsoft's own client of Entra, the judge of the sandbox's token endpoint, and a client of EWS.
const PYTHON: &[&str] = &["msal==1.39.0", "requests==2.34.2", "exchangelib==5.6.0"];
/// From the npm registry: the same for Node.js.
const NODE: &[&str] = &["@azure/msal-node@7.2.3"];

/// Makes sure that the tools are there and gives their folder.
pub(crate) fn ensure() -> Result<PathBuf> {
    let target = std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| PathBuf::from("target"), PathBuf::from);
    let folder = std::path::absolute(target.join("tools")).context("find the folder of the tools")?;
    let (python, node) = (folder.join("python"), folder.join("node"));
    install(&python, PYTHON, |packages| {
        run(Command::new("python3").arg("-m").arg("venv").arg("--clear").arg(&python))?;
        let pip = python.join("bin/python");
        run(Command::new(pip)
            .args(["-m", "pip", "install", "--quiet", "--disable-pip-version-check"])
            .args(packages))
    })?;
    install(&node, NODE, |packages| {
        std::fs::create_dir_all(&node).context("make the folder of the Node.js tools")?;
        let flags = ["install", "--silent", "--no-audit", "--no-fund", "--ignore-scripts", "--prefix"];
        run(Command::new("npm").args(flags).arg(&node).args(packages))
    })?;
    Ok(folder)
}

/// Installs unless a note in the folder says that exactly these packages are there.
fn install(folder: &Path, packages: &[&str], how: impl FnOnce(&[&str]) -> Result<()>) -> Result<()> {
    let note = folder.join("installed.txt");
    let wanted = packages.join("\n");
    if std::fs::read_to_string(&note).is_ok_and(|found| found == wanted) {
        return Ok(());
    }
    say(&format!("installing {} into {}", packages.join(", "), folder.display()));
    how(packages)?;
    std::fs::write(&note, wanted).with_context(|| format!("write {}", note.display()))
}

fn run(command: &mut Command) -> Result<()> {
    let status = command.status().with_context(|| format!("run {command:?}"))?;
    if !status.success() {
        bail!("{command:?} failed");
    }
    Ok(())
}
