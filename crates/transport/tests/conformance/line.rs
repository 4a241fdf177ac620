//! A line to a server that can be cut: a proxy that counts every byte in both directions.

use std::sync::{Arc, Mutex};

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Notify;
use tokio::task::JoinHandle;

/// In which direction bytes go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Way {
    /// To the server.
    Up,
    /// To the client.
    Down,
}

/// What went one way.
#[derive(Debug, Default, Clone)]
pub(crate) struct Passed {
    /// Bytes so far.
    pub(crate) bytes: u64,
    /// Where each piece began that was read at once: about where an answer begins.
    pub(crate) begins: Vec<u64>,
    /// After so many more bytes the line is cut, once.
    cut_after: Option<u64>,
}

/// The proxy; it ends with the value.
pub(crate) struct Line {
    pub(crate) port: u16,
    ways: Arc<[Mutex<Passed>; 2]>,
    hang_up: Arc<Notify>,
    task: JoinHandle<()>,
}

impl Drop for Line {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Line {
    /// A line to this port of this machine.
    pub(crate) async fn to(server: u16) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let ways: Arc<[Mutex<Passed>; 2]> = Arc::default();
        let hang_up = Arc::new(Notify::new());
        let (passed, ends) = (Arc::clone(&ways), Arc::clone(&hang_up));
        let task = tokio::spawn(async move {
            let mut calls = tokio::task::JoinSet::new();
            while let Ok((client, _)) = listener.accept().await {
                let (passed, ends) = (Arc::clone(&passed), Arc::clone(&ends));
                calls.spawn(async move {
                    let Ok(server) = TcpStream::connect(("127.0.0.1", server)).await else { return };
                    let ((from_client, to_client), (from_server, to_server)) =
                        (client.into_split(), server.into_split());
                    tokio::select! {
                        () = pump(from_client, to_server, &passed[0]) => {}
                        () = pump(from_server, to_client, &passed[1]) => {}
                        () = ends.notified() => {}
                    }
                });
            }
        });
        Self { port, ways, hang_up, task }
    }

    fn way(&self, way: Way) -> std::sync::MutexGuard<'_, Passed> {
        self.ways[usize::from(way == Way::Down)].lock().unwrap()
    }

    /// Begins to count anew.
    pub(crate) fn count_anew(&self) {
        for way in [Way::Up, Way::Down] {
            *self.way(way) = Passed::default();
        }
    }

    /// What went this way since the count began.
    pub(crate) fn passed(&self, way: Way) -> Passed {
        self.way(way).clone()
    }

    /// Cuts the line when so many more bytes went this way; once, and only the connection that carried the last one.
    pub(crate) fn cut_after(&self, way: Way, bytes: u64) {
        self.way(way).cut_after = Some(bytes);
    }

    /// Takes back a cut that has not happened.
    pub(crate) fn mend(&self) {
        for way in [Way::Up, Way::Down] {
            self.way(way).cut_after = None;
        }
    }

    /// Ends every connection that is open now.
    pub(crate) fn hang_up(&self) {
        self.hang_up.notify_waiters();
    }

    /// Where to cut: before, inside and at the end of each answer and each request that was counted, and evenly
    /// between; at most about so many places, two of three in answers.
    pub(crate) fn places(&self, most: usize) -> Vec<(Way, u64)> {
        let within = |way: Way, most: usize| {
            let passed = self.passed(way);
            let ends = passed.begins.iter().skip(1).copied().chain([passed.bytes]);
            let pieces = passed.begins.iter().zip(ends);
            let mut places: Vec<u64> = pieces
                .flat_map(|(begin, end)| [*begin, begin + (end - begin) / 2, end.saturating_sub(1)])
                .collect();
            let step = places.len().div_ceil(most).max(1);
            places = places.into_iter().step_by(step).collect();
            let between = most.saturating_sub(places.len()) as u64;
            places.extend((0..between).map(|place| passed.bytes * place / between));
            places.sort_unstable();
            places.dedup();
            places.into_iter().map(move |place| (way, place)).collect::<Vec<_>>()
        };
        [within(Way::Down, most * 2 / 3), within(Way::Up, most / 3)].concat()
    }
}

/// Carries bytes until one side ends or the line is cut.
async fn pump(mut from: impl AsyncRead + Unpin, mut to: impl AsyncWrite + Unpin, passed: &Mutex<Passed>) {
    let mut buffer = vec![0; 32 * 1024];
    while let Ok(read @ 1..) = from.read(&mut buffer).await {
        let (carried, cut) = {
            let mut passed = passed.lock().unwrap();
            let carried =
                passed.cut_after.map_or(read, |left| read.min(usize::try_from(left).unwrap_or(read)));
            let begin = passed.bytes;
            passed.begins.push(begin);
            passed.bytes += carried as u64;
            let cut = passed.cut_after.is_some_and(|left| left <= read as u64);
            passed.cut_after = match passed.cut_after {
                Some(left) if !cut => Some(left - read as u64),
                _ => None,
            };
            (carried, cut)
        };
        if to.write_all(&buffer[..carried]).await.is_err() || cut {
            // What was carried arrives before the end does.
            let _ = to.shutdown().await;
            return;
        }
    }
}
