//! The listener, with a switch on each connection that cuts it: a client then sees the line break without an answer.

use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll};

use axum::extract::connect_info::Connected;
use axum::serve::{IncomingStream, Listener};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use tokio_rustls::server::TlsStream;

use crate::tls::Tls;

/// Protected connections that wait to be taken.
const WAITING: usize = 64;

/// Cuts the connection it belongs to.
#[derive(Debug, Clone)]
pub(crate) struct Switch {
    cut: Arc<AtomicBool>,
    scheme: &'static str,
}

impl Switch {
    /// From now on nothing is read or written.
    pub(crate) fn cut(&self) {
        self.cut.store(true, Ordering::Release);
    }

    fn is_cut(&self) -> bool {
        self.cut.load(Ordering::Acquire)
    }

    /// How addresses of this connection begin.
    pub(crate) fn scheme(&self) -> &'static str {
        self.scheme
    }
}

/// A listener whose connections can be cut.
pub(crate) struct Lines {
    address: SocketAddr,
    source: Source,
}

enum Source {
    Plain(TcpListener),
    /// Handshakes run beside each other, so that a slow one holds up nobody.
    Protected(mpsc::Receiver<(Box<TlsStream<TcpStream>>, SocketAddr)>),
}

/// A connection that can be cut.
pub(crate) struct Line {
    stream: Stream,
    switch: Switch,
}

enum Stream {
    Plain(TcpStream),
    Protected(Box<TlsStream<TcpStream>>),
}

impl Lines {
    /// Lines of `listener`, protected when `tls` is given.
    pub(crate) fn new(listener: TcpListener, tls: Option<Tls>) -> io::Result<Self> {
        let address = listener.local_addr()?;
        let source = match tls {
            None => Source::Plain(listener),
            Some(tls) => Source::Protected(handshakes(listener, tls)),
        };
        Ok(Self { address, source })
    }
}

/// Accepts in a task of its own, which ends when nobody takes the connections any more.
fn handshakes(
    mut listener: TcpListener,
    tls: Tls,
) -> mpsc::Receiver<(Box<TlsStream<TcpStream>>, SocketAddr)> {
    let (give, take) = mpsc::channel(WAITING);
    tokio::spawn(async move {
        loop {
            let (stream, peer) = tokio::select! {
                accepted = Listener::accept(&mut listener) => accepted,
                () = give.closed() => return,
            };
            let (tls, give) = (tls.clone(), give.clone());
            tokio::spawn(async move {
                if let Some(stream) = tls.accept(quick(stream)).await {
                    // A receiver that is gone means that the tenant stops.
                    let _ = give.send((Box::new(stream), peer)).await;
                }
            });
        }
    });
    take
}

/// Answers are small and written whole; waiting for more to send only delays them.
fn quick(stream: TcpStream) -> TcpStream {
    if let Err(error) = stream.set_nodelay(true) {
        tracing::debug!(%error, "the line keeps its delay");
    }
    stream
}

impl Listener for Lines {
    type Io = Line;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> (Line, SocketAddr) {
        let (stream, peer) = match &mut self.source {
            Source::Plain(listener) => {
                let (stream, peer) = Listener::accept(listener).await;
                (Stream::Plain(quick(stream)), peer)
            }
            Source::Protected(take) => match take.recv().await {
                Some((stream, peer)) => (Stream::Protected(stream), peer),
                None => std::future::pending().await,
            },
        };
        let scheme = if matches!(stream, Stream::Plain(_)) { "http" } else { "https" };
        (Line { stream, switch: Switch { cut: Arc::default(), scheme } }, peer)
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        Ok(self.address)
    }
}

impl Connected<IncomingStream<'_, Lines>> for Switch {
    fn connect_info(stream: IncomingStream<'_, Lines>) -> Self {
        stream.io().switch.clone()
    }
}

fn gone() -> io::Error {
    io::Error::new(io::ErrorKind::ConnectionReset, "cut on request")
}

impl AsyncRead for Line {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if self.switch.is_cut() {
            return Poll::Ready(Err(gone()));
        }
        match &mut self.stream {
            Stream::Plain(stream) => Pin::new(stream).poll_read(cx, buf),
            Stream::Protected(stream) => Pin::new(stream).poll_read(cx, buf),
        }
    }
}

impl AsyncWrite for Line {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        if self.switch.is_cut() {
            return Poll::Ready(Err(gone()));
        }
        match &mut self.stream {
            Stream::Plain(stream) => Pin::new(stream).poll_write(cx, bytes),
            Stream::Protected(stream) => Pin::new(stream).poll_write(cx, bytes),
        }
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.stream {
            Stream::Plain(stream) => Pin::new(stream).poll_flush(cx),
            Stream::Protected(stream) => Pin::new(stream).poll_flush(cx),
        }
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.stream {
            Stream::Plain(stream) => Pin::new(stream).poll_shutdown(cx),
            Stream::Protected(stream) => Pin::new(stream).poll_shutdown(cx),
        }
    }
}
