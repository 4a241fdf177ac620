//! A connection of a mail door: plain, or under TLS from the first byte or from `STARTTLS` on.

use std::io;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::server::TlsStream;

use crate::tls::Tls;

/// Longest wait for a client that does not take what it is sent.
const WRITE: Duration = Duration::from_secs(60);

/// A connection.
pub(crate) enum Socket {
    Plain(TcpStream),
    Protected(Box<TlsStream<TcpStream>>),
}

impl Socket {
    /// An accepted connection.
    pub(crate) fn new(stream: TcpStream) -> Self {
        // Replies are small and written whole; waiting for more to send only delays them.
        if let Err(error) = stream.set_nodelay(true) {
            tracing::debug!(%error, "the line keeps its delay");
        }
        Self::Plain(stream)
    }

    /// The same connection under TLS; none when the handshake fails.
    pub(crate) async fn protect(self, tls: &Tls) -> Option<Self> {
        match self {
            Self::Plain(stream) => tls.accept(stream).await.map(|stream| Self::Protected(Box::new(stream))),
            protected @ Self::Protected(_) => Some(protected),
        }
    }

    /// Some more bytes; none when the client hung up. Can be cancelled without loss.
    pub(crate) async fn read(&mut self) -> io::Result<Option<Vec<u8>>> {
        let mut bytes = Vec::with_capacity(16 * 1024);
        let count = match self {
            Self::Plain(stream) => stream.read_buf(&mut bytes).await?,
            Self::Protected(stream) => stream.read_buf(&mut bytes).await?,
        };
        Ok((count > 0).then_some(bytes))
    }

    /// The same, with an end to patience: an error of the kind `TimedOut`.
    pub(crate) async fn read_within(&mut self, patience: Duration) -> io::Result<Option<Vec<u8>>> {
        match timeout(patience, self.read()).await {
            Ok(read) => read,
            Err(_) => Err(io::ErrorKind::TimedOut.into()),
        }
    }

    /// Sends all of `bytes`.
    pub(crate) async fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        let sent = async {
            match self {
                Self::Plain(stream) => stream.write_all(bytes).await,
                Self::Protected(stream) => {
                    stream.write_all(bytes).await?;
                    stream.flush().await
                }
            }
        };
        match timeout(WRITE, sent).await {
            Ok(sent) => sent,
            Err(_) => Err(io::ErrorKind::TimedOut.into()),
        }
    }

    /// Ends the connection in order.
    pub(crate) async fn close(mut self) {
        let closed = async {
            match &mut self {
                Self::Plain(stream) => stream.shutdown().await,
                Self::Protected(stream) => stream.shutdown().await,
            }
        };
        // A client that is gone needs no farewell.
        let _ = timeout(WRITE, closed).await;
    }
}
