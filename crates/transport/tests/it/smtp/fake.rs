//! A small SMTP server that behaves, except where a test says otherwise, and remembers what it was told.

use std::sync::{Arc, Mutex};

use tokio::io::{AsyncBufReadExt, AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::rustls::crypto::aws_lc_rs::default_provider;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};

use crate::certificate::Certificate;

/// What the server does instead of what is usual.
#[derive(Debug, Clone)]
pub(crate) enum Act {
    /// What is usual.
    Usual,
    /// Says this, byte for byte, and goes on.
    Say(&'static str),
    /// Says this and closes the connection.
    Last(&'static str),
    /// Says nothing any more and keeps the connection open.
    Stall,
}

/// One connection as the server saw it.
#[derive(Debug, Default, Clone)]
pub(crate) struct Session {
    /// Every line, without its end; `-` stands for the greeting, `.` for the final dot.
    pub(crate) lines: Vec<String>,
    /// The content of each message as it came over the line, with its final dot.
    pub(crate) contents: Vec<Vec<u8>>,
    /// Whether it was protected.
    pub(crate) tls: bool,
}

/// Decides by connection (from 1) and line. `-` is the greeting, `content` comes before the content is read, and `.` is
/// the final dot.
pub(crate) type Script = dyn Fn(usize, &str) -> Act + Send + Sync;

pub(crate) struct Fake {
    pub(crate) port: u16,
    seen: Arc<Mutex<Vec<Session>>>,
    task: tokio::task::JoinHandle<()>,
}

impl Drop for Fake {
    fn drop(&mut self) {
        self.task.abort();
    }
}

trait Stream: AsyncRead + AsyncWrite + Unpin + Send {}
impl<T: AsyncRead + AsyncWrite + Unpin + Send> Stream for T {}

/// Keywords of EHLO that most tests want.
pub(crate) const KEYWORDS: &str = "PIPELINING\nSIZE 20000\n8BITMIME\nSMTPUTF8\nAUTH PLAIN LOGIN XOAUTH2";

/// After this the server waits for the content.
const GO_ON: &str = "354 go on\r\n";

impl Fake {
    /// Starts one with these keywords, one for each line.
    pub(crate) async fn start(
        keywords: &str,
        certificate: Option<&Certificate>,
        script: impl Fn(usize, &str) -> Act + Send + Sync + 'static,
    ) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let seen = Arc::new(Mutex::new(Vec::new()));
        let (all, keywords, script) = (Arc::clone(&seen), keywords.to_owned(), Arc::new(script));
        let tls = certificate.map(acceptor);
        let task = tokio::spawn(async move {
            let mut sessions = tokio::task::JoinSet::new();
            while let Ok((stream, _)) = listener.accept().await {
                let number = {
                    let mut all = all.lock().unwrap();
                    all.push(Session::default());
                    all.len()
                };
                let script: Arc<Script> = script.clone();
                let talk = Talk {
                    number,
                    seen: Arc::clone(&all),
                    script,
                    keywords: keywords.clone(),
                    tls: tls.clone(),
                };
                sessions.spawn(async move {
                    // A client that goes away ends the talk.
                    let _ = talk.serve(stream).await;
                });
            }
        });
        Self { port, seen, task }
    }

    pub(crate) fn sessions(&self) -> Vec<Session> {
        self.seen.lock().unwrap().clone()
    }
}

fn acceptor(certificate: &Certificate) -> TlsAcceptor {
    let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(certificate.key.clone()));
    let config = ServerConfig::builder_with_provider(Arc::new(default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![CertificateDer::from(certificate.der.clone())], key)
        .unwrap();
    TlsAcceptor::from(Arc::new(config))
}

struct Talk {
    number: usize,
    seen: Arc<Mutex<Vec<Session>>>,
    script: Arc<Script>,
    keywords: String,
    tls: Option<TlsAcceptor>,
}

impl Talk {
    fn note(&self, change: impl FnOnce(&mut Session)) {
        change(&mut self.seen.lock().unwrap()[self.number - 1]);
    }

    /// Says what the script wants, or else `usual`, and gives what it said. None when the talk is over.
    async fn say(
        &self,
        stream: &mut BufReader<Box<dyn Stream>>,
        line: &str,
        usual: &str,
    ) -> std::io::Result<Option<String>> {
        let words = match (self.script)(self.number, line) {
            Act::Usual => usual,
            Act::Say(words) => words,
            Act::Last(words) => {
                stream.write_all(words.as_bytes()).await?;
                stream.shutdown().await?;
                return Ok(None);
            }
            Act::Stall => std::future::pending().await,
        };
        stream.write_all(words.as_bytes()).await?;
        stream.flush().await?;
        Ok(Some(words.to_owned()))
    }

    async fn serve(&self, stream: TcpStream) -> std::io::Result<()> {
        let mut stream: BufReader<Box<dyn Stream>> = BufReader::new(Box::new(stream));
        if self.say(&mut stream, "-", "220 fake ESMTP\r\n").await?.is_none() {
            return Ok(());
        }
        loop {
            let mut line = String::new();
            if stream.read_line(&mut line).await? == 0 {
                return Ok(());
            }
            let line = line.trim_end().to_owned();
            self.note(|session| session.lines.push(line.clone()));
            let upper = line.to_ascii_uppercase();
            let usual = match upper.split([' ', ':']).next().unwrap_or_default() {
                "EHLO" => {
                    self.keywords
                        .lines()
                        .fold("250-fake\r\n".to_owned(), |all, one| format!("{all}250-{one}\r\n"))
                        + "250 HELP\r\n"
                }
                "DATA" => GO_ON.to_owned(),
                "STARTTLS" => "220 go on\r\n".to_owned(),
                "AUTH" if upper == "AUTH LOGIN" => "334 VXNlcm5hbWU6\r\n".to_owned(),
                "AUTH" => "235 2.7.0 welcome\r\n".to_owned(),
                "QUIT" => "221 bye\r\n".to_owned(),
                _ => "250 2.0.0 Ok\r\n".to_owned(),
            };
            let Some(said) = self.say(&mut stream, &line, &usual).await? else { return Ok(()) };
            if upper == "QUIT" {
                return Ok(());
            }
            if upper == "STARTTLS"
                && let Some(tls) = &self.tls
            {
                let inner = std::mem::replace(&mut stream, BufReader::new(Box::new(tokio::io::empty())));
                stream = BufReader::new(Box::new(tls.accept(inner.into_inner()).await?));
                self.note(|session| session.tls = true);
            }
            if said.ends_with(GO_ON) && !self.content(&mut stream).await? {
                return Ok(());
            }
        }
    }

    async fn content(&self, stream: &mut BufReader<Box<dyn Stream>>) -> std::io::Result<bool> {
        match (self.script)(self.number, "content") {
            Act::Usual => {}
            Act::Last(words) => {
                stream.write_all(words.as_bytes()).await?;
                // Unread bytes make the system reset the connection, as a server that is killed does.
                return Ok(false);
            }
            Act::Say(_) | Act::Stall => std::future::pending().await,
        }
        let mut content = Vec::new();
        let mut piece = vec![0; 16_384];
        while !(content.ends_with(b"\r\n.\r\n") || content == b".\r\n") {
            let read = stream.read(&mut piece).await?;
            if read == 0 {
                return Ok(false);
            }
            content.extend_from_slice(&piece[..read]);
        }
        self.note(|session| {
            session.lines.push(".".to_owned());
            session.contents.push(content);
        });
        Ok(self.say(stream, ".", "250 2.0.0 Ok: queued as 4F2\r\n").await?.is_some())
    }
}
