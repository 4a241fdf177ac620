//! Debian's PostgreSQL on a socket in a temporary folder: a cluster of its own, which ends with the value.

// More than one test binary includes this file, and not each uses all of it.
#![allow(unreachable_pub, dead_code)]

use std::fs;
use std::os::unix::fs::{PermissionsExt as _, chown};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use tempfile::TempDir;

/// Who the server is when the tests run as root, which PostgreSQL refuses to be: `nobody`.
const OTHER_USER: u32 = 65_534;

/// A running server.
pub struct Postgres {
    folder: TempDir,
    child: Child,
    made: AtomicU32,
}

impl Postgres {
    /// Makes a cluster and starts its server, with settings as after an installation.
    pub fn start() -> Self {
        Self::with(&[])
    }

    /// Starts a server with more settings, `name=value`.
    pub fn with(settings: &[&str]) -> Self {
        // In memory where there is such a folder: what is tested is what is said to the server, not its disk.
        let folder = tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir()).unwrap();
        if is_root() {
            chown(folder.path(), Some(OTHER_USER), Some(OTHER_USER)).unwrap();
            fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o755)).unwrap();
        }
        let data = folder.path().join("data");
        let made = command("initdb")
            .args(["--no-sync", "--auth=trust", "--username=postroom", "--encoding=UTF8", "--no-locale"])
            .arg(&data)
            .current_dir(folder.path())
            .output()
            .unwrap();
        assert!(made.status.success(), "initdb: {}", String::from_utf8_lossy(&made.stderr));
        let mut server = command("postgres");
        server.arg("-D").arg(&data).arg("-k").arg(folder.path()).args(["-c", "listen_addresses="]);
        server.args(["-c", "max_connections=200"]);
        for setting in settings {
            server.args(["-c", setting]);
        }
        let child = server
            .current_dir(folder.path())
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(fs::File::create(folder.path().join("log")).unwrap())
            .spawn()
            .unwrap();
        let mut server = Self { folder, child, made: AtomicU32::new(0) };
        server.until_it_answers();
        server
    }

    fn until_it_answers(&mut self) {
        for _ in 0..600 {
            let ready = command("pg_isready").arg("-q").arg("-h").arg(self.folder.path()).status().unwrap();
            if ready.success() {
                return;
            }
            assert!(self.child.try_wait().unwrap().is_none(), "PostgreSQL ended: {}", self.log());
            std::thread::sleep(Duration::from_millis(50));
        }
        panic!("PostgreSQL does not answer: {}", self.log());
    }

    /// What it wrote into its log.
    pub fn log(&self) -> String {
        fs::read_to_string(self.folder.path().join("log")).unwrap_or_default()
    }

    /// The address of a database of this name, whether it is there or not.
    pub fn url(&self, database: &str) -> String {
        let folder = self.folder.path().display().to_string().replace('/', "%2F");
        format!("postgres://postroom@localhost/{database}?host={folder}")
    }

    /// The address of a new, empty database.
    pub fn database(&self) -> String {
        let name = format!("postroom_{}", self.made.fetch_add(1, Ordering::SeqCst));
        self.run("postgres", &format!("CREATE DATABASE {name}"));
        self.url(&name)
    }

    /// Runs a statement in a database and gives what it shows, without headings.
    pub fn run(&self, database: &str, statement: &str) -> String {
        let output = command("psql")
            .args(["-X", "-A", "-t", "-q", "-v", "ON_ERROR_STOP=1", "-U", "postroom", "-d", database])
            .arg("-h")
            .arg(self.folder.path())
            .args(["-c", statement])
            .output()
            .unwrap();
        assert!(output.status.success(), "{statement}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap().trim().to_owned()
    }
}

impl Drop for Postgres {
    fn drop(&mut self) {
        // SIGQUIT ends the server and its children at once; nothing of it is needed any more.
        let _ = Command::new("kill").args(["-QUIT", &self.child.id().to_string()]).status();
        let _ = self.child.wait();
    }
}

fn is_root() -> bool {
    let output = Command::new("id").arg("-u").output().unwrap();
    String::from_utf8_lossy(&output.stdout).trim() == "0"
}

/// One of PostgreSQL's programs, as a user that it runs as.
fn command(name: &str) -> Command {
    let mut command = Command::new(programs().join(name));
    if is_root() {
        command.uid(OTHER_USER).gid(OTHER_USER);
    }
    command.env_remove("PGHOST").env_remove("PGPORT").env_remove("PGDATABASE").env("LC_ALL", "C");
    command
}

/// Debian keeps the programs of each version in a folder of its own; the newest counts.
fn programs() -> PathBuf {
    let versions = fs::read_dir("/usr/lib/postgresql").unwrap().flatten();
    let version = |path: &Path| path.file_name()?.to_str()?.parse::<u32>().ok();
    let newest = versions.map(|entry| entry.path()).max_by_key(|path| version(path));
    newest.unwrap().join("bin")
}
