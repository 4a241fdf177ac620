//! The bans of `deny.toml`, compared with what is really built (`Cargo.lock` also lists crates behind features that
//! nobody turns on). `cargo deny` does more; this part needs no tool.

use std::collections::BTreeSet;
use std::process::Command;

use anyhow::{Context, Result, bail};

use crate::say;

/// Fails when a banned crate is built.
pub(crate) fn check() -> Result<()> {
    let deny = std::fs::read_to_string("deny.toml").context("read deny.toml")?;
    let banned = banned(&deny);
    if banned.is_empty() {
        bail!(
            "deny.toml bans nothing: lines of the form {{ crate = \"name\", reason = \"...\" }} are expected"
        );
    }
    let arguments = [
        "tree",
        "--workspace",
        "--locked",
        "--edges",
        "normal,build,dev",
        "--prefix",
        "none",
        "--format",
        "{lib}",
    ];
    let output = Command::new("cargo").args(arguments).output().context("run cargo tree")?;
    if !output.status.success() {
        bail!("cargo tree failed: {}", String::from_utf8_lossy(&output.stderr));
    }
    let tree = String::from_utf8(output.stdout).context("read the output of cargo tree")?;
    let built: BTreeSet<&str> = tree.lines().map(str::trim).filter(|name| !name.is_empty()).collect();
    let is_built = |name: &&str| built.contains(name.replace('-', "_").as_str());
    let found: Vec<&str> = banned.iter().copied().filter(is_built).collect();
    if !found.is_empty() {
        bail!("crates are built that deny.toml bans: {} (see `cargo tree -i NAME`)", found.join(", "));
    }
    say(&format!("== bans: {} crates are built, none of the {} banned", built.len(), banned.len()));
    Ok(())
}

/// Names in lines of the form `{ crate = "name", ... }` of the section `[bans]`.
fn banned(deny: &str) -> Vec<&str> {
    deny.lines()
        .map(str::trim)
        .filter_map(|line| line.strip_prefix("{ crate = \"")?.split_once('"').map(|(name, _)| name))
        .collect()
}

#[cfg(test)]
mod tests {
    #[test]
    fn names_are_found_and_comments_are_not() {
        let deny = "deny = [\n  { crate = \"ring\", reason = \"x\" },\n  # { crate = \"old\" },\n]";
        assert_eq!(super::banned(deny), ["ring"]);
    }
}
