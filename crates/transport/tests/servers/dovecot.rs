//! Debian's Dovecot on loopback, in a temporary folder with a configuration of our own; ends with the value.
//!
//! Anybody signs in with [`PASSWORD`], or with a token that [`Dovecot::token`] made: as at Exchange Online, one token
//! of an application opens any mailbox. Mail is put into maildirs by [`Dovecot::deliver`], so that every byte is known.

// More than one test binary includes this file, and not each uses all of it.
#![allow(unreachable_pub, dead_code)]

use std::fs;
use std::net::TcpListener;
use std::os::unix::fs::{PermissionsExt, chown};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use jsonwebtoken::{Algorithm, EncodingKey, Header, encode};
use rcgen::{CertificateParams, KeyPair};
use serde_json::{Value, json};
use tempfile::TempDir;

/// The password of every account.
pub const PASSWORD: &str = "pässw\"ord of a test";
/// The application whose tokens open every mailbox.
pub const APPLICATION: &str = "5a1b2c3d-0000-4000-8000-00000000a001";

const KEY_ID: &str = "key1";
/// Where mail belongs to when the tests run as root, for whom Dovecot opens no mailbox: `nobody`.
const MAIL_OWNER: u32 = 65_534;

/// A running server.
pub struct Dovecot {
    folder: TempDir,
    child: Child,
    /// Port for a plain line and STARTTLS.
    pub port: u16,
    /// Port for TLS from the first byte.
    pub tls_port: u16,
    /// Its certificate, for `localhost` and `127.0.0.1`, as DER.
    pub certificate: Vec<u8>,
    signing_key: EncodingKey,
    owner: Option<u32>,
    delivered: AtomicU64,
}

impl Dovecot {
    /// Starts a server with all that Dovecot offers.
    pub async fn start() -> Self {
        Self::with("").await
    }

    /// Starts a server with more lines in its configuration.
    pub async fn with(more: &str) -> Self {
        Self::made(more, APPLICATION, None).await
    }

    /// Starts a server that takes the tokens of this application which are signed by a key of this set (RFC 7517), as a
    /// tenant publishes it.
    pub async fn of_tenant(application: &str, keys: &Value) -> Self {
        Self::made("", application, Some(keys)).await
    }

    async fn made(more: &str, application: &str, published: Option<&Value>) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path();
        // The server's own users look into it when it runs as root.
        fs::set_permissions(path, fs::Permissions::from_mode(0o755)).unwrap();
        let key = KeyPair::generate().unwrap();
        let parameters = CertificateParams::new(["localhost".to_owned(), "127.0.0.1".to_owned()]).unwrap();
        let certificate = parameters.self_signed(&key).unwrap();
        fs::write(path.join("cert.pem"), certificate.pem()).unwrap();
        fs::write(path.join("key.pem"), key.serialize_pem()).unwrap();
        let token_key = KeyPair::generate().unwrap();
        let keys = path.join("keys/default/ES256");
        fs::create_dir_all(&keys).unwrap();
        fs::write(keys.join(KEY_ID), token_key.public_key_pem()).unwrap();
        for key in published.and_then(|set| set["keys"].as_array()).into_iter().flatten() {
            let keys = path.join("keys/default/RS256");
            fs::create_dir_all(&keys).unwrap();
            fs::write(keys.join(key["kid"].as_str().unwrap()), rsa_public_key(key)).unwrap();
        }
        fs::create_dir(path.join("mail")).unwrap();
        let owner = (id("-u") == "0").then_some(MAIL_OWNER);
        if owner.is_some() {
            chown(path.join("mail"), owner, owner).unwrap();
        }
        let (port, tls_port) = (free_port(), free_port());
        fs::write(path.join("oauth2.conf"), oauth2(path, application)).unwrap();
        fs::write(path.join("shut-out"), "").unwrap();
        let settings = configuration(path, port, tls_port, owner, more);
        fs::write(path.join("dovecot.conf"), settings).unwrap();
        let child = Command::new("/usr/sbin/dovecot")
            .arg("-F")
            .arg("-c")
            .arg(path.join("dovecot.conf"))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(fs::File::create(path.join("stderr.log")).unwrap())
            .spawn()
            .unwrap();
        let signing_key = EncodingKey::from_ec_pem(token_key.serialize_pem().as_bytes()).unwrap();
        let certificate = certificate.der().to_vec();
        let delivered = AtomicU64::new(0);
        let mut server = Self { folder, child, port, tls_port, certificate, signing_key, owner, delivered };
        server.until_it_listens().await;
        server
    }

    async fn until_it_listens(&mut self) {
        for _ in 0..600 {
            if tokio::net::TcpStream::connect(("127.0.0.1", self.tls_port)).await.is_ok() {
                return;
            }
            assert!(self.child.try_wait().unwrap().is_none(), "Dovecot ended: {}", self.log());
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        panic!("Dovecot does not listen: {}", self.log());
    }

    /// What it wrote into its log.
    pub fn log(&self) -> String {
        ["stderr.log", "dovecot.log"]
            .map(|name| fs::read_to_string(self.folder.path().join(name)).unwrap_or_default())
            .concat()
    }

    /// A token of [`APPLICATION`].
    pub fn token(&self) -> String {
        let mut header = Header::new(Algorithm::ES256);
        header.kid = Some(KEY_ID.into());
        let claims = json!({
            "aud": "https://outlook.office365.com", "iss": "https://sts.contoso.example/", "sub": "app",
            "appid": APPLICATION, "iat": 1_700_000_000, "nbf": 1_700_000_000, "exp": 4_102_444_800_u64,
        });
        encode(&header, &claims, &self.signing_key).unwrap()
    }

    /// The maildir of a folder; `INBOX`, or a name as it is on the wire.
    pub fn maildir(&self, user: &str, folder: &str) -> PathBuf {
        let root = self.folder.path().join("mail").join(user);
        if folder == "INBOX" { root } else { root.join(format!(".{folder}")) }
    }

    /// Puts a message into a folder, behind those that were put there before.
    pub fn deliver(&self, user: &str, folder: &str, raw: &[u8]) -> PathBuf {
        let maildir = self.maildir(user, folder);
        let mut made = vec![self.maildir(user, "INBOX"), maildir.clone()];
        made.extend(["cur", "new", "tmp"].map(|name| maildir.join(name)));
        for name in made {
            if !name.exists() {
                fs::create_dir_all(&name).unwrap();
                self.give_away(&name);
            }
        }
        let number = self.delivered.fetch_add(1, Ordering::SeqCst);
        let name = format!("1763900000.M{number:06}P1.test");
        let (written, there) = (maildir.join("tmp").join(&name), maildir.join("new").join(&name));
        fs::write(&written, raw).unwrap();
        self.give_away(&written);
        fs::rename(&written, &there).unwrap();
        there
    }

    /// Refuses these users and nobody else, when it returns.
    pub async fn shut_out(&self, users: &[&str]) {
        let path = self.folder.path().join("shut-out");
        let before = fs::read_to_string(&path).unwrap();
        let list: String = users.iter().map(|user| format!("{user}:{{PLAIN}}-\n")).collect();
        let written = path.with_extension("new");
        fs::write(&written, &list).unwrap();
        fs::set_permissions(&written, fs::Permissions::from_mode(0o644)).unwrap();
        fs::rename(&written, &path).unwrap();
        // It looks at the file once a second.
        let all = before.lines().chain(list.lines()).filter_map(|line| line.split(':').next());
        for user in all {
            for attempt in 0.. {
                if self.signs_in(user) != users.contains(&user) {
                    break;
                }
                assert!(attempt < 600, "{user}: {}", self.log());
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        }
    }

    /// Whether this user gets in with [`PASSWORD`].
    fn signs_in(&self, user: &str) -> bool {
        Command::new("doveadm")
            .arg("-c")
            .arg(self.folder.path().join("dovecot.conf"))
            .args(["auth", "test", user, PASSWORD])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .status()
            .unwrap()
            .success()
    }

    fn give_away(&self, path: &Path) {
        if self.owner.is_some() {
            chown(path, self.owner, self.owner).unwrap();
        }
    }

    /// Returns when every session that began has ended.
    pub async fn until_nobody_is_there(&self) {
        for _ in 0..600 {
            let log = self.log();
            let ended =
                log.lines().filter(|line| line.contains(" imap(") && line.contains(": Disconnected")).count();
            if log.matches("imap-login: Info: Login:").count() == ended {
                return;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        panic!("sessions go on: {}", self.log());
    }

    /// Numbers the inbox anew, under another UIDVALIDITY. Nobody may be signed in.
    pub fn renumber(&self, user: &str) {
        let maildir = self.maildir(user, "INBOX");
        let list = maildir.join("dovecot-uidlist");
        let header = fs::read_to_string(&list).unwrap();
        let (_, rest) = header.split_once(" V").unwrap();
        let validity: u32 = rest.split(' ').next().unwrap().parse().unwrap();
        for entry in fs::read_dir(&maildir).unwrap() {
            let path = entry.unwrap().path();
            if path.file_name().unwrap().to_str().unwrap().starts_with("dovecot.index") {
                fs::remove_file(path).unwrap();
            }
        }
        fs::write(&list, format!("3 V{} N1 G0123456789abcdef0123456789abcdef\n", validity + 1000)).unwrap();
        self.give_away(&list);
    }

    /// Names of the files of a folder, which hold its flags.
    pub fn files(&self, user: &str) -> Vec<String> {
        let maildir = self.maildir(user, "INBOX");
        let list = |name: &str| fs::read_dir(maildir.join(name)).unwrap();
        let mut names: Vec<String> = ["cur", "new"]
            .iter()
            .flat_map(|name| list(name))
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        names
    }
}

impl Drop for Dovecot {
    fn drop(&mut self) {
        // Asked to end, it ends its own children too.
        let asked = Command::new("kill").arg("-TERM").arg(self.child.id().to_string()).status();
        if !asked.is_ok_and(|status| status.success()) {
            let _ = self.child.kill();
        }
        let _ = self.child.wait();
    }
}

fn configuration(path: &Path, port: u16, tls_port: u16, owner: Option<u32>, more: &str) -> String {
    let path = path.display();
    let (uid, gid, users) = match owner {
        Some(owner) => (owner.to_string(), owner.to_string(), String::new()),
        None => {
            let (user, group) = (id("-un"), id("-gn"));
            let users = format!(
                "default_internal_user = {user}\ndefault_internal_group = {group}\ndefault_login_user = {user}\n"
            );
            (id("-u"), id("-g"), users)
        }
    };
    let no_chroot: String = ["imap-login", "anvil", "stats", "ipc", "director"]
        .map(|service| format!("service {service} {{\n  chroot =\n}}\n"))
        .concat();
    format!(
        "base_dir = {path}/run
state_dir = {path}/state
log_path = {path}/dovecot.log
auth_verbose = yes
auth_failure_delay = 0
protocols = imap
listen = 127.0.0.1
{users}ssl = yes
ssl_cert = <{path}/cert.pem
ssl_key = <{path}/key.pem
mail_location = maildir:~
maildir_very_dirty_syncs = no
first_valid_uid = 1
last_valid_uid = 0
first_valid_gid = 0
mail_max_userip_connections = 100
auth_mechanisms = plain login xoauth2 oauthbearer
passdb {{
  driver = passwd-file
  deny = yes
  args = {path}/shut-out
}}
passdb {{
  driver = static
  mechanisms = plain login
  args = password={{PLAIN.b64}}{password}
}}
passdb {{
  driver = oauth2
  mechanisms = xoauth2 oauthbearer
  args = {path}/oauth2.conf
}}
userdb {{
  driver = static
  args = uid={uid} gid={gid} home={path}/mail/%u
}}
service imap-login {{
  inet_listener imap {{
    port = {port}
  }}
  inet_listener imaps {{
    port = {tls_port}
    ssl = yes
  }}
}}
service anvil {{
  unix_listener anvil-auth-penalty {{
    mode = 0
  }}
}}
{no_chroot}{more}
",
        password = base64::Engine::encode(&base64::engine::general_purpose::STANDARD, PASSWORD),
    )
}

fn oauth2(path: &Path, application: &str) -> String {
    format!(
        "introspection_mode = local
local_validation_key_dict = fs:posix:prefix={}/keys/
username_attribute = appid
username_format = {application}
",
        path.display()
    )
}

/// An RSA key of a set as PEM: SubjectPublicKeyInfo (RFC 3279 section 2.3.1).
fn rsa_public_key(key: &Value) -> String {
    use base64::Engine;
    use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
    let der = |tag: u8, content: &[u8]| {
        let length = content.len();
        let mut out = match length {
            0..128 => vec![tag, length as u8],
            128..256 => vec![tag, 0x81, length as u8],
            _ => vec![tag, 0x82, (length >> 8) as u8, length as u8],
        };
        out.extend_from_slice(content);
        out
    };
    // The number is positive: a zero stands before a first bit that is set.
    let number = |name: &str| {
        let bytes = URL_SAFE_NO_PAD.decode(key[name].as_str().unwrap()).unwrap();
        der(0x02, &[&[0][usize::from(bytes[0] < 0x80)..], &bytes].concat())
    };
    let numbers = der(0x30, &[number("n"), number("e")].concat());
    // The object identifier rsaEncryption, and NULL.
    let algorithm = der(0x30, &[0x06, 9, 0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 1, 1, 1, 0x05, 0]);
    let info = der(0x30, &[algorithm, der(0x03, &[&[0], &numbers[..]].concat())].concat());
    format!("-----BEGIN PUBLIC KEY-----\n{}\n-----END PUBLIC KEY-----\n", STANDARD.encode(info))
}

fn id(what: &str) -> String {
    let output = Command::new("id").arg(what).output().unwrap();
    String::from_utf8(output.stdout).unwrap().trim().to_owned()
}

fn free_port() -> u16 {
    TcpListener::bind(("127.0.0.1", 0)).unwrap().local_addr().unwrap().port()
}
