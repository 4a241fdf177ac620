//! The nodes: started, harmed and started again.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use tokio::sync::watch;

use crate::place::Place;
use crate::process::{Process, ready};

/// Longest time a node may take until it listens.
const START_PATIENCE: Duration = Duration::from_secs(60);
/// Longest time a node may take to finish the work in hand.
const STOP_PATIENCE: Duration = Duration::from_secs(60);

/// All nodes of one installation.
pub(crate) struct Nodes<'a> {
    place: &'a dyn Place,
    folder: PathBuf,
    slots: Vec<Slot>,
    /// Where clients find those that listen.
    urls: watch::Sender<Vec<String>>,
    /// How long each start took until it listened, where it lived to.
    pub(crate) starts: Vec<Duration>,
}

#[derive(Default)]
struct Slot {
    running: Option<Running>,
}

struct Running {
    process: Process,
    begun: Instant,
    url: Option<String>,
}

impl<'a> Nodes<'a> {
    pub(crate) fn new(place: &'a dyn Place, folder: &Path, count: usize) -> Self {
        let slots = (0..count).map(|_| Slot::default()).collect();
        let (urls, _) = watch::channel(Vec::new());
        Self { place, folder: folder.to_owned(), slots, urls, starts: Vec::new() }
    }

    pub(crate) fn urls(&self) -> watch::Receiver<Vec<String>> {
        self.urls.subscribe()
    }

    fn ready_file(&self, node: usize) -> PathBuf {
        self.folder.join(format!("node-{node}.json"))
    }

    fn log(&self, node: usize) -> PathBuf {
        self.folder.join(format!("node-{node}.log"))
    }

    /// Everything the nodes said.
    pub(crate) fn logs(&self) -> impl Iterator<Item = PathBuf> {
        (0..self.slots.len()).map(|node| self.log(node))
    }

    /// Starts every node that is down, without waiting for it.
    pub(crate) fn start(&mut self) -> Result<()> {
        for node in 0..self.slots.len() {
            if self.slots[node].running.is_some() {
                continue;
            }
            let file = self.ready_file(node);
            if file.exists() {
                std::fs::remove_file(&file)?;
            }
            let mut command = self.place.command();
            command.args(["serve", "--listen", "127.0.0.1:0", "--ready-file"]).arg(&file);
            let begun = Instant::now();
            let process = Process::start(&mut command, &self.log(node))?;
            self.slots[node].running = Some(Running { process, begun, url: None });
        }
        Ok(())
    }

    /// Waits until `node` listens.
    pub(crate) async fn ready(&mut self, node: usize) -> Result<()> {
        let (file, log) = (self.ready_file(node), self.log(node));
        let running = self.slots[node].running.as_mut().context("the node is down")?;
        while running.url.is_none() {
            if let Some(said) = ready(&file) {
                running.url = Some(said["url"].as_str().context("no url in the ready file")?.to_owned());
                self.starts.push(running.begun.elapsed());
            } else if let Some(status) = running.process.ended()? {
                bail!("node {node} ended by itself with {status}; see {}", log.display());
            } else if running.begun.elapsed() > START_PATIENCE {
                bail!("node {node} does not listen after {START_PATIENCE:?}; see {}", log.display());
            } else {
                tokio::time::sleep(Duration::from_millis(3)).await;
            }
        }
        self.tell();
        Ok(())
    }

    /// Waits until all listen.
    pub(crate) async fn all_ready(&mut self) -> Result<()> {
        for node in 0..self.slots.len() {
            self.ready(node).await?;
        }
        Ok(())
    }

    fn tell(&self) {
        let running = self.slots.iter().filter_map(|slot| slot.running.as_ref());
        self.urls.send_replace(running.filter_map(|running| running.url.clone()).collect());
    }

    pub(crate) fn kill(&mut self, node: usize) -> Result<()> {
        let mut running = self.slots[node].running.take().context("the node is down")?;
        // One that ended by itself before the blow is a fault, not a round.
        if let Some(status) = running.process.ended()? {
            bail!("node {node} ended by itself with {status}; see {}", self.log(node).display());
        }
        running.process.kill()?;
        self.tell();
        Ok(())
    }

    pub(crate) async fn freeze(&mut self, node: usize, time: Duration) -> Result<()> {
        let running = self.slots[node].running.as_ref().context("the node is down")?;
        running.process.freeze()?;
        tokio::time::sleep(time).await;
        running.process.thaw()
    }

    /// Asks every node to finish its work and stop.
    pub(crate) async fn stop(&mut self) -> Result<()> {
        for slot in &mut self.slots {
            if let Some(mut running) = slot.running.take() {
                running.process.terminate(STOP_PATIENCE).await?;
            }
        }
        self.tell();
        Ok(())
    }
}
