//! The line to a mail server: TCP with time limits and keep-alive, TLS from the first byte or later, and every way
//! this fails under its own name. What is spoken on the line is the caller's.

use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use postroom_entra::http::{chain, tidy};
use postroom_model::failure::{Decision, Failure, Origin};
use socket2::{SockRef, TcpKeepalive};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpStream, lookup_host};
use tokio::time::timeout;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tokio_rustls::rustls::pki_types::ServerName;
use tokio_rustls::rustls::{self, CertificateError, ClientConfig};

/// How many addresses of one name are tried.
const MAX_ADDRESSES: usize = 4;
/// How long a silent line is left alone before the system asks whether the peer is still there, and how often it asks.
const KEEPALIVE: (Duration, Duration) = (Duration::from_secs(60), Duration::from_secs(20));

/// A server to be reached.
#[derive(Debug, Clone)]
pub(crate) struct Peer {
    /// Name or number, without brackets.
    pub(crate) host: String,
    /// TCP port.
    pub(crate) port: u16,
    /// How long each step may take: to find the name, to connect to one address, to agree on TLS.
    pub(crate) patience: Duration,
}

impl Peer {
    /// An open TCP line.
    ///
    /// # Errors
    /// A failure of `operation`, the network's: the name is not known, nobody listens, nobody answers in time.
    pub(crate) async fn connect(&self, operation: &str) -> Result<TcpStream, Failure> {
        let Self { host, port, patience } = self;
        let found = timeout(*patience, lookup_host((host.as_str(), *port))).await;
        let addresses: Vec<SocketAddr> = match found {
            Ok(Ok(found)) => found.take(MAX_ADDRESSES).collect(),
            Ok(Err(error)) => return Err(self.unknown_name(operation, &error.to_string())),
            Err(_) => return Err(self.unknown_name(operation, &format!("no answer within {patience:?}"))),
        };
        let mut last = None;
        for address in addresses {
            match timeout(*patience, TcpStream::connect(address)).await {
                Ok(Ok(stream)) => {
                    tune(&stream);
                    return Ok(stream);
                }
                Ok(Err(error)) => last = Some(self.not_connected(operation, address, &error)),
                Err(_) => {
                    let error =
                        io::Error::new(io::ErrorKind::TimedOut, format!("no answer within {patience:?}"));
                    last = Some(self.not_connected(operation, address, &error));
                }
            }
        }
        Err(last.unwrap_or_else(|| self.unknown_name(operation, "the name has no address")))
    }

    /// The same line under TLS, after the server proved to be the one that was asked for.
    ///
    /// # Errors
    /// A failure of `operation`, the network's: the certificate is expired, for another name or of an unknown issuer,
    /// the server speaks no TLS here, or it takes too long.
    pub(crate) async fn upgrade(
        &self,
        operation: &str,
        stream: TcpStream,
        config: Arc<ClientConfig>,
    ) -> Result<Line, Failure> {
        let name = ServerName::try_from(self.host.clone())
            .map_err(|error| self.failure(operation, &error.to_string(), Some(CHECK_NAME)))?;
        match timeout(self.patience, TlsConnector::from(config).connect(name, stream)).await {
            Ok(Ok(stream)) => Ok(Line::Tls(Box::new(stream))),
            Ok(Err(error)) => Err(self.no_tls(operation, &error)),
            Err(_) => {
                let words = format!("TLS: no answer within {:?}", self.patience);
                Err(self.failure(operation, &words, Some(CHECK_TLS_MODE)))
            }
        }
    }

    /// The same after the server agreed to STARTTLS: with what it said behind its yes, which must be nothing. Whoever
    /// put it there is not the one who proves who they are now (RFC 3207 section 6; CVE-2011-0411 is what happens
    /// otherwise).
    ///
    /// # Errors
    /// As for [`Peer::upgrade`], and a failure that waits for a person when anything was said.
    pub(crate) async fn starttls(
        &self,
        operation: &str,
        stream: TcpStream,
        said: &[u8],
        config: Arc<ClientConfig>,
    ) -> Result<Line, Failure> {
        if said.is_empty() {
            return self.upgrade(operation, stream, config).await;
        }
        let shown = tidy(String::from_utf8_lossy(&said[..said.len().min(400)]), 200);
        let what = format!("STARTTLS: the server, or somebody on the way, went on in the clear: {shown:?}");
        Err(self.waiting(
            operation,
            &what,
            "Somebody may tamper with the line: have the server's administrator look at it.",
        ))
    }

    /// The server does not begin TLS: it refused in these `words`, or did not offer it.
    pub(crate) fn no_starttls(&self, operation: &str, words: &str) -> Failure {
        let advice = "The server does not begin TLS here, or somebody on the way took it out; nothing secret was said. Check port and TLS mode.";
        self.waiting(operation, &format!("STARTTLS: {words}"), advice)
    }

    /// A failure that waits for a person, in words that name this server.
    fn waiting(&self, operation: &str, words: &str, advice: &str) -> Failure {
        let words = format!("{}:{}: {}", self.host, self.port, tidy(words, 1_000));
        let mut failure = Failure::new(operation, Origin::Provider, words, Decision::Hold);
        failure.advice = Some(advice.to_owned());
        failure
    }

    /// A failure on the way to this server.
    pub(crate) fn failure(&self, operation: &str, words: &str, advice: Option<&str>) -> Failure {
        let words = format!("{}:{}: {}", self.host, self.port, tidy(words, 1_000));
        let mut failure = Failure::new(operation, Origin::Network, words, Decision::Retry { after: None });
        failure.advice = advice.map(str::to_owned);
        failure
    }

    fn unknown_name(&self, operation: &str, words: &str) -> Failure {
        self.failure(
            operation,
            words,
            Some("No server of this name was found: check the server address, and this machine's DNS."),
        )
    }

    fn not_connected(&self, operation: &str, address: SocketAddr, error: &io::Error) -> Failure {
        let advice = match error.kind() {
            io::ErrorKind::ConnectionRefused => {
                "Nobody listens on this port: check port and TLS mode, and whether the server runs."
            }
            io::ErrorKind::TimedOut => {
                "Nobody answered: check server address and port, and the firewalls on the way."
            }
            _ => "The server cannot be reached: check its address, and this machine's network.",
        };
        let words = if address.ip().to_string() == self.host {
            error.to_string()
        } else {
            format!("{error} ({})", address.ip())
        };
        self.failure(operation, &words, Some(advice))
    }

    fn no_tls(&self, operation: &str, error: &io::Error) -> Failure {
        let cause = error.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>());
        let advice = match cause {
            Some(rustls::Error::InvalidCertificate(problem)) => certificate_advice(problem),
            Some(rustls::Error::InvalidMessage(_)) => CHECK_TLS_MODE,
            Some(_) => {
                "The server and Postroom found no common way of TLS: Postroom speaks TLS 1.2 and later."
            }
            None => CHECK_TLS_MODE,
        };
        self.failure(operation, &format!("TLS: {}", chain(error)), Some(advice))
    }
}

const CHECK_NAME: &str = "Check the server address.";
const CHECK_TLS_MODE: &str = "The server may not speak TLS from the first byte on this port: check port and TLS mode (TLS or STARTTLS).";

/// What a person does about a certificate that was not accepted.
fn certificate_advice(problem: &CertificateError) -> &'static str {
    match problem {
        CertificateError::Expired | CertificateError::ExpiredContext { .. } => {
            "The server's certificate has expired: its administrator must renew it."
        }
        CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. } => {
            "The server's certificate is not valid yet: compare the clocks of both machines."
        }
        CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. } => {
            "The certificate is for another name: type the server address exactly as the certificate names it."
        }
        CertificateError::UnknownIssuer => {
            "The certificate's issuer is not trusted here: install the authority's certificate on this machine, or name it by SSL_CERT_FILE."
        }
        CertificateError::Revoked => {
            "The server's certificate was revoked: its administrator must replace it."
        }
        _ => "The server's certificate cannot be accepted: its administrator must look at it.",
    }
}

/// Small writes go out at once, and a peer that vanished is noticed. A system that refuses either still has a line.
fn tune(stream: &TcpStream) {
    let (idle, interval) = KEEPALIVE;
    let keepalive = TcpKeepalive::new().with_time(idle).with_interval(interval);
    if let Err(error) =
        stream.set_nodelay(true).and_then(|()| SockRef::from(stream).set_tcp_keepalive(&keepalive))
    {
        tracing::debug!(%error, "a socket option was refused");
    }
}

/// A line to a server.
#[derive(Debug)]
pub(crate) enum Line {
    /// Readable on the way.
    Plain(TcpStream),
    /// Under TLS.
    Tls(Box<TlsStream<TcpStream>>),
}

impl Line {
    /// The peer's own certificate (DER); none without TLS.
    pub(crate) fn certificate(&self) -> Option<Vec<u8>> {
        match self {
            Self::Plain(_) => None,
            Self::Tls(stream) => {
                let chain = stream.get_ref().1.peer_certificates()?;
                chain.first().map(|certificate| certificate.to_vec())
            }
        }
    }
}

impl AsyncRead for Line {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_read(cx, buffer),
            Self::Tls(stream) => Pin::new(stream).poll_read(cx, buffer),
        }
    }
}

impl AsyncWrite for Line {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_write(cx, bytes),
            Self::Tls(stream) => Pin::new(stream).poll_write(cx, bytes),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_flush(cx),
            Self::Tls(stream) => Pin::new(stream).poll_flush(cx),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_shutdown(cx),
            Self::Tls(stream) => Pin::new(stream).poll_shutdown(cx),
        }
    }
}
