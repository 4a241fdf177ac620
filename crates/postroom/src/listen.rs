//! The listener: accepts connections, bounds the time of each step, and stops without cutting a request off.

use std::net::SocketAddr;
use std::time::Duration;

use axum::Router;
use axum::extract::{ConnectInfo, Request};
use hyper::body::Incoming;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto::Builder;
use hyper_util::server::graceful::GracefulShutdown;
use tokio::net::{TcpListener, TcpStream};
use tokio_util::sync::CancellationToken;
use tower::Service;
use tower_http::timeout::RequestBodyTimeoutLayer;

/// The longest a client may take for the head of a request.
const HEAD: Duration = Duration::from_secs(15);
/// The longest a client may be silent in the middle of a body.
const BODY_SILENCE: Duration = Duration::from_secs(30);
/// Pause after an accept that failed, as when no file descriptor is left: others may end meanwhile.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Serves `router` until `stop` is cancelled; then takes no more and waits for what is under way, at most for `finish`.
pub(crate) async fn serve(listener: TcpListener, router: Router, stop: CancellationToken, finish: Duration) {
    let router = router.layer(RequestBodyTimeoutLayer::new(BODY_SILENCE));
    let graceful = GracefulShutdown::new();
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            () = stop.cancelled() => break,
        };
        match accepted {
            Ok((stream, peer)) => connection(stream, peer, router.clone(), &graceful),
            Err(error) => {
                tracing::warn!(%error, "a connection could not be accepted");
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
    drop(listener);
    if tokio::time::timeout(finish, graceful.shutdown()).await.is_err() {
        tracing::warn!("requests were still under way after {} s and are cut off", finish.as_secs());
    }
}

fn connection(stream: TcpStream, peer: SocketAddr, router: Router, graceful: &GracefulShutdown) {
    let service = hyper::service::service_fn(move |request: hyper::Request<Incoming>| {
        let mut request: Request = request.map(axum::body::Body::new);
        request.extensions_mut().insert(ConnectInfo(peer));
        router.clone().call(request)
    });
    let mut builder = Builder::new(TokioExecutor::new());
    builder.http1().timer(TokioTimer::new()).header_read_timeout(HEAD);
    builder.http2().timer(TokioTimer::new()).keep_alive_interval(BODY_SILENCE).keep_alive_timeout(HEAD);
    let connection = builder.serve_connection(TokioIo::new(stream), service).into_owned();
    let watched = graceful.watch(connection);
    tokio::spawn(async move {
        if let Err(error) = watched.await {
            tracing::debug!(%peer, error, "a connection ended early");
        }
    });
}
