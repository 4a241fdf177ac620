//! Every path that the documents name exists: a map that leads nowhere is worse than none.

use std::path::Path;

use anyhow::{Context, Result, bail};

use crate::say;

/// Fails when a document names a path of this tree that is not there.
pub(crate) fn check() -> Result<()> {
    let mut missing = Vec::new();
    let mut count = 0;
    for document in ["README.md", "ARCHITECTURE.md", "CONTRIBUTING.md", "CHANGELOG.md"] {
        let text = std::fs::read_to_string(document).with_context(|| format!("read {document}"))?;
        for path in named(&text) {
            count += 1;
            if !Path::new(path).exists() {
                missing.push(format!("{document}: {path}"));
            }
        }
    }
    if !missing.is_empty() {
        bail!("documents name paths that do not exist: {}", missing.join(", "));
    }
    say(&format!("== paths: {count} named in the documents, all there"));
    Ok(())
}

/// Back-quoted words and link targets that begin like a path of this tree.
fn named(text: &str) -> Vec<&str> {
    let begins = |word: &&str| {
        ["crates/", "tests/", "docs/", "xtask/"].iter().any(|root| word.starts_with(root))
            && !word.contains(['*', '<', ' ', '{'])
    };
    let quoted = text.split('`').skip(1).step_by(2);
    let linked = text.split("](").skip(1).filter_map(|rest| rest.split(')').next());
    quoted.chain(linked).filter(begins).collect()
}

#[cfg(test)]
mod tests {
    #[test]
    fn quoted_and_linked_paths_are_found_and_commands_are_not() {
        let text = "see `crates/a/src/` and [b](crates/b/src/lib.rs), run `cargo test` in `crates/*/src`";
        assert_eq!(super::named(text), ["crates/a/src/", "crates/b/src/lib.rs"]);
    }
}
