//! What the tests need beside Rust. Installed with Debian's packages when this user may; otherwise named exactly.

use std::process::Command;

use anyhow::{Context, Result, bail};

use crate::{runs, say};

/// Something the tests or the benchmarks need.
struct Need {
    /// What it is for.
    what: &'static str,
    /// A command that succeeds when it is there.
    probe: &'static [&'static str],
    /// Debian packages that bring it.
    packages: &'static [&'static str],
}

const NEEDS: &[Need] = &[
    Need {
        what: "a C compiler, for SQLite and AWS-LC",
        probe: &["cc", "--version"],
        packages: &["build-essential"],
    },
    Need {
        what: "Python with the test data of its `email` package, read by the MIME tests; its mail clients meet the sandbox",
        probe: &["python3", "-c", "import imaplib, smtplib, test.test_email"],
        packages: &["python3", "libpython3-testsuite"],
    },
    Need {
        what: "Python's venv, for MSAL for Python",
        probe: &["python3", "-c", "import venv, ensurepip"],
        packages: &["python3-venv"],
    },
    Need {
        what: "Node.js and npm, for MSAL for Node",
        probe: &["sh", "-c", "command -v node && command -v npm"],
        packages: &["nodejs", "npm"],
    },
    Need {
        what: "OpenSSL's command, which makes the certificate that MSAL signs in with",
        probe: &["openssl", "version"],
        packages: &["openssl"],
    },
    Need {
        what: "xmllint, which compares what is written for Exchange with Microsoft's schema",
        probe: &["xmllint", "--version"],
        packages: &["libxml2-utils"],
    },
    Need {
        what: "Dovecot, the IMAP server that the source reads from",
        probe: &["sh", "-c", "test -x /usr/sbin/dovecot && test -x /usr/lib/dovecot/imap"],
        packages: &["dovecot-imapd"],
    },
    Need {
        what: "PostgreSQL, which the store is tested on",
        probe: &["sh", "-c", "test -x \"$(ls -d /usr/lib/postgresql/*/bin/initdb | tail -n 1)\""],
        packages: &["postgresql"],
    },
    Need {
        what: "unshare and mount, for the test with a full disk",
        probe: &["sh", "-c", "command -v unshare && command -v mount"],
        packages: &["util-linux", "mount"],
    },
    Need {
        what: "Postfix, which the SMTP tests send to",
        probe: &["sh", "-c", "test -x /usr/sbin/postfix"],
        packages: &["postfix"],
    },
    Need {
        what: "Dovecot, which says for Postfix who may sign in",
        probe: &["sh", "-c", "test -x /usr/sbin/dovecot"],
        packages: &["dovecot-core"],
    },
];

/// What `cargo xtask bench` needs besides a C compiler.
const NEEDS_OF_BENCH: &[Need] = &[
    Need {
        what: "Dovecot, the IMAP server that is read from",
        probe: &["sh", "-c", "test -x /usr/sbin/dovecot && test -x /usr/lib/dovecot/imap"],
        packages: &["dovecot-imapd"],
    },
    Need {
        what: "mbsync, which reading is compared with",
        probe: &["mbsync", "--version"],
        packages: &["isync"],
    },
    Need {
        what: "smtp-source and smtp-sink, which sending is compared with and goes to",
        probe: &["sh", "-c", "test -x /usr/sbin/smtp-source && test -x /usr/sbin/smtp-sink"],
        packages: &["postfix"],
    },
];

/// Makes sure that everything is there that the tests need.
pub(crate) fn ensure() -> Result<()> {
    all_of(NEEDS)
}

/// Makes sure that everything is there that the benchmarks need.
pub(crate) fn ensure_for_bench() -> Result<()> {
    all_of(NEEDS_OF_BENCH)
}

fn all_of(needs: &'static [Need]) -> Result<()> {
    let missing: Vec<&Need> = needs.iter().filter(|need| !runs(need.probe[0], &need.probe[1..])).collect();
    if missing.is_empty() {
        return Ok(());
    }
    let packages: Vec<&str> = missing.iter().flat_map(|need| need.packages).copied().collect();
    for need in &missing {
        say(&format!("missing: {}", need.what));
    }
    let may_install = runs("sh", &["-c", "command -v apt-get && test \"$(id -u)\" = 0"]);
    if !may_install {
        bail!("install what is missing and start again: sudo apt-get install {}", packages.join(" "));
    }
    apt_get(&["update", "-q"])?;
    apt_get(&[&["install", "-q", "-y", "--no-install-recommends"], packages.as_slice()].concat())?;
    for need in missing {
        if !runs(need.probe[0], &need.probe[1..]) {
            bail!("{} is still missing after installing {}", need.what, need.packages.join(" "));
        }
    }
    Ok(())
}

fn apt_get(arguments: &[&str]) -> Result<()> {
    let status = Command::new("apt-get")
        .args(arguments)
        .env("DEBIAN_FRONTEND", "noninteractive")
        .status()
        .context("run apt-get")?;
    if !status.success() {
        bail!("apt-get {} failed", arguments.join(" "));
    }
    Ok(())
}
