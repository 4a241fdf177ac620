//! Debian's Postfix with Dovecot's SASL, on loopback, in a temporary folder, with a configuration of our own: a
//! submission server that delivers into folders of files (maildir). Needs the packages `postfix` and `dovecot-core`, and
//! root, because Postfix's `master` does.

// More than one test binary includes this file, and not each uses all of it.
#![allow(dead_code)]

use std::fs;
use std::net::{Ipv4Addr, TcpListener};
use std::os::unix::fs::{PermissionsExt, chown};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use tempfile::TempDir;
use tokio::io::AsyncReadExt;
use tokio::net::TcpStream;
use tokio::time::{Instant, sleep};

use crate::certificate::{Certificate, certificate};

/// The one who may sign in.
pub(crate) const USER: &str = "desk";
/// Its password.
pub(crate) const PASSWORD: &str = "a pass~word for tests";
/// The largest message it takes, in bytes.
pub(crate) const MAX_SIZE: usize = 8_000_000;
/// Who has a mailbox; everybody else of the domain is refused.
pub(crate) const RECIPIENTS: [&str; 2] = ["ann", "ben"];
/// Their domain.
pub(crate) const DOMAIN: &str = "fabrikam.example";

/// How long a fact is waited for, and how often it is looked for.
const PATIENCE: Duration = Duration::from_secs(30);
const GLANCE: Duration = Duration::from_millis(20);

/// A running Postfix. It ends with this value, by its id.
pub(crate) struct Postfix {
    /// Port that offers STARTTLS.
    pub(crate) submission: u16,
    /// Port with TLS from the first byte.
    pub(crate) implicit: u16,
    pub(crate) certificate: Certificate,
    home: TempDir,
    dovecot: Option<Child>,
    /// The shell that started `master`, and ends after it.
    starter: Option<Child>,
}

impl Drop for Postfix {
    fn drop(&mut self) {
        self.stop();
        if let Some(mut dovecot) = self.dovecot.take() {
            terminate(&dovecot.id().to_string());
            let _ = dovecot.wait();
        }
    }
}

impl Postfix {
    /// Starts Dovecot's SASL and Postfix, and waits until both ports greet.
    pub(crate) async fn start() -> Self {
        assert_eq!(id(&["-u"]), 0, "Postfix's master is started by root only");
        let home = tempfile::Builder::new().prefix("pf").tempdir().unwrap();
        fs::set_permissions(home.path(), fs::Permissions::from_mode(0o755)).unwrap();
        let (submission, implicit) = (free_port(), free_port());
        let certificate = certificate(&["127.0.0.1", "localhost"]);
        let mut postfix = Self { submission, implicit, certificate, home, dovecot: None, starter: None };
        postfix.write();
        postfix.run().await;
        postfix.dovecot =
            Some(spawn("dovecot", &["-F", "-c", postfix.path("dovecot.conf").to_str().unwrap()]));
        let auth = postfix.path("spool/private/auth");
        until("Dovecot's socket", || auth.exists().then_some(())).await;
        postfix
    }

    /// Ends Postfix and whoever it serves.
    pub(crate) fn stop(&mut self) {
        let Some(mut starter) = self.starter.take() else { return };
        // `master` makes a session of its own and writes its id down; ended, it ends its processes.
        match fs::read_to_string(self.path("spool/pid/master.pid")) {
            Ok(master) => terminate(master.trim()),
            Err(_) => terminate(&starter.id().to_string()),
        }
        let _ = starter.wait();
    }

    /// Starts Postfix, again on the same ports.
    pub(crate) async fn run(&mut self) {
        let config = self.path("etc");
        self.starter = Some(spawn("postfix", &["-c", config.to_str().unwrap(), "start-fg"]));
        for port in [self.submission, self.implicit] {
            let deadline = Instant::now() + PATIENCE;
            while !greets(port, port == self.implicit).await {
                assert!(Instant::now() < deadline, "Postfix does not greet on {port}: {}", self.log());
                sleep(GLANCE).await;
            }
        }
    }

    /// Its log so far.
    pub(crate) fn log(&self) -> String {
        fs::read_to_string(self.path("mail.log")).unwrap_or_default()
    }

    /// The first message in this mailbox that holds `mark`, as it lies there: Postfix's own header fields first, line
    /// ends LF.
    pub(crate) async fn delivered(&self, recipient: &str, mark: &str) -> Vec<u8> {
        let folder = self.path(&format!("mail/{recipient}/new"));
        let mark = mark.as_bytes();
        until("a message", || {
            let files = fs::read_dir(&folder).ok()?;
            let contents = files.filter_map(|file| fs::read(file.ok()?.path()).ok());
            contents.into_iter().find(|content| content.windows(mark.len()).any(|part| part == mark))
        })
        .await
    }

    /// How many messages lie in this mailbox.
    pub(crate) fn count(&self, recipient: &str) -> usize {
        fs::read_dir(self.path(&format!("mail/{recipient}/new"))).map_or(0, Iterator::count)
    }

    /// Every message of this mailbox as it lies there, in the order in which Postfix took them.
    pub(crate) fn mailbox(&self, recipient: &str) -> Vec<Vec<u8>> {
        let folder = self.path(&format!("mail/{recipient}/new"));
        let Ok(files) = fs::read_dir(folder) else { return Vec::new() };
        let mut mails: Vec<_> = files.map(|file| fs::read(file.unwrap().path()).unwrap()).collect();
        let log = self.log();
        mails.sort_by_key(|mail| {
            let text = String::from_utf8_lossy(mail);
            let (_, id) = text.split_once(" id ").unwrap();
            let id: String = id.chars().take_while(char::is_ascii_alphanumeric).collect();
            log.find(&format!("{id}: client="))
        });
        mails
    }

    /// Waits until everything it took is delivered.
    pub(crate) async fn until_its_queue_is_empty(&self) {
        until("an empty queue", || {
            let waits = ["maildrop", "incoming", "active", "deferred"].iter().any(|queue| {
                let entries = fs::read_dir(self.path(&format!("spool/{queue}"))).into_iter().flatten();
                entries.flatten().any(|entry| entry.path().is_file())
            });
            (!waits).then_some(())
        })
        .await;
    }

    /// Gives [`USER`] this password and no other, when it returns.
    pub(crate) async fn change_password(&self, password: &str) {
        let (path, written) = (self.path("dovecot/users"), self.path("dovecot/users.new"));
        fs::write(&written, format!("{USER}:{{PLAIN}}{password}\n")).unwrap();
        fs::rename(&written, &path).unwrap();
        // Dovecot looks at the file once a second.
        until("the new password", || {
            let mut test = Command::new("doveadm");
            test.arg("-c").arg(self.path("dovecot.conf")).args(["auth", "test", USER, password]);
            let tested = test.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).status();
            tested.is_ok_and(|status| status.success()).then_some(())
        })
        .await;
    }

    fn path(&self, name: &str) -> PathBuf {
        self.home.path().join(name)
    }

    fn write(&self) {
        for folder in ["etc", "spool", "data", "mail", "dovecot"] {
            fs::create_dir(self.path(folder)).unwrap();
        }
        let owner = |name: &str| id(&["-u", name]);
        chown(self.path("data"), Some(owner("postfix")), None).unwrap();
        chown(self.path("mail"), Some(owner("nobody")), None).unwrap();
        fs::write(self.path("etc/tls.pem"), format!("{}{}", self.certificate.key_pem, self.certificate.pem))
            .unwrap();
        fs::write(self.path("dovecot/users"), format!("{USER}:{{PLAIN}}{PASSWORD}\n")).unwrap();
        fs::write(self.path("etc/main.cf"), self.main_cf(owner("nobody"))).unwrap();
        fs::write(self.path("etc/master.cf"), self.master_cf()).unwrap();
        fs::write(self.path("dovecot.conf"), self.dovecot_conf()).unwrap();
    }

    fn main_cf(&self, nobody: u32) -> String {
        let home = self.home.path().display();
        let mailboxes: Vec<String> =
            RECIPIENTS.iter().map(|name| format!("{{ {name}@{DOMAIN} = {name}/ }}")).collect();
        format!(
            "compatibility_level = 3.6
queue_directory = {home}/spool
data_directory = {home}/data
maillog_file = {home}/mail.log
maillog_file_prefixes = {home}
myhostname = mail.{DOMAIN}
inet_protocols = ipv4
mydestination =
mynetworks = 192.0.2.1/32
alias_maps =
local_header_rewrite_clients =
message_size_limit = {MAX_SIZE}
virtual_mailbox_limit = 0
virtual_mailbox_domains = {DOMAIN}
virtual_mailbox_base = {home}/mail
virtual_mailbox_maps = inline:{{ {} }}
virtual_uid_maps = static:{nobody}
virtual_gid_maps = static:{nobody}
smtpd_relay_restrictions = permit_sasl_authenticated, reject
smtpd_client_connection_count_limit = 0
smtpd_error_sleep_time = 0
smtpd_sasl_auth_enable = yes
smtpd_sasl_type = dovecot
smtpd_sasl_path = private/auth
smtpd_tls_security_level = may
smtpd_tls_auth_only = yes
smtpd_tls_chain_files = {home}/etc/tls.pem
",
            mailboxes.join(", ")
        )
    }

    fn master_cf(&self) -> String {
        format!(
            "127.0.0.1:{} inet n - n - - smtpd
127.0.0.1:{} inet n - n - - smtpd -o smtpd_tls_wrappermode=yes
cleanup unix n - n - 0 cleanup
qmgr unix n - n 300 1 qmgr
tlsmgr unix - - n 1000? 1 tlsmgr
rewrite unix - - n - - trivial-rewrite
bounce unix - - n - 0 bounce
defer unix - - n - 0 bounce
trace unix - - n - 0 bounce
proxymap unix - - n - - proxymap
smtp unix - - n - - smtp
error unix - - n - - error
retry unix - - n - - error
virtual unix - n n - - virtual
anvil unix - - n - 1 anvil
postlog unix-dgram n - n - 1 postlogd
",
            self.submission, self.implicit
        )
    }

    fn dovecot_conf(&self) -> String {
        let home = self.home.path().display();
        format!(
            "base_dir = {home}/dovecot
log_path = {home}/dovecot.log
protocols =
ssl = no
auth_mechanisms = plain login
auth_failure_delay = 0
passdb {{
  driver = passwd-file
  args = {home}/dovecot/users
}}
userdb {{
  driver = static
  args = uid=nobody gid=nogroup home={home}
}}
service anvil {{
  unix_listener anvil-auth-penalty {{
    mode = 0
  }}
}}
service auth {{
  unix_listener {home}/spool/private/auth {{
    mode = 0666
  }}
}}
"
        )
    }
}

/// Waits for a fact.
async fn until<T>(what: &str, mut fact: impl FnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + PATIENCE;
    loop {
        if let Some(found) = fact() {
            return found;
        }
        assert!(Instant::now() < deadline, "{what} did not come within {PATIENCE:?}");
        sleep(GLANCE).await;
    }
}

async fn greets(port: u16, implicit: bool) -> bool {
    let Ok(mut stream) = TcpStream::connect((Ipv4Addr::LOCALHOST, port)).await else { return false };
    let mut start = [0; 3];
    implicit || stream.read_exact(&mut start).await.is_ok() && &start == b"220"
}

/// A port that was free a moment ago: Postfix cannot choose one itself.
fn free_port() -> u16 {
    TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap().local_addr().unwrap().port()
}

fn id(arguments: &[&str]) -> u32 {
    let answer = Command::new("id").args(arguments).output().unwrap();
    String::from_utf8(answer.stdout).unwrap().trim().parse().unwrap()
}

fn spawn(program: &str, arguments: &[&str]) -> Child {
    let program = Path::new("/usr/sbin").join(program);
    Command::new(&program)
        .args(arguments)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap_or_else(|error| panic!("start {}: {error}", program.display()))
}

/// Asks a process that we started to end.
fn terminate(id: &str) {
    let _ = Command::new("kill").args(["-TERM", id]).status();
}
