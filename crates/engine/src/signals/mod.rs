//! What the house tells about itself: figures for Prometheus, steps for traces, signs of life.
//!
//! # Parts
//!
//! | module | what is inside |
//! |---|---|
//! | [`families`] | every figure: name, type, unit, labels |
//! | `scrape` | the figures that are asked of the store when somebody reads |
//! | [`journey`] | the steps of a message on its way out, for whoever writes traces |
//!
//! Names are documented in `docs/metrics.md`, and a test compares the two. Labels are words of closed lists and ids:
//! never an address, a subject or a name that a person chose. What there is one of per mailbox is left out unless
//! somebody asks for it, and then the worst so many are given.
//!
//! # How to add a figure
//!
//! A field of [`families::Families`], its line in `Families::register` and in `docs/metrics.md`. What is measured where
//! the work is done is observed there through [`Signals`]; what the store knows is set in `scrape`.
//!
//! # How to tell of budgets
//!
//! Whoever keeps budgets implements [`HeadroomSource`] and registers it with [`Signals::watch_headroom`].

pub mod families;
pub mod journey;
mod scrape;

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::Duration;

use jiff::SignedDuration;
use postroom_model::MailboxId;
use postroom_model::outbox::OutboxState;
use prometheus_client::registry::Registry;
use tokio::time::Instant;

use families::{Described, Families};
use journey::{Journeys, Passed};

/// What is left of one budget of one mailbox.
#[derive(Debug, Clone, PartialEq)]
pub struct Headroom {
    /// The mailbox.
    pub mailbox: MailboxId,
    /// Which budget: a word of a closed list, such as `requests` or `upload-bytes`.
    pub budget: &'static str,
    /// The share that is left, from 0 (nothing) to 1 (untouched).
    pub left: f64,
}

/// Knows what is left of the budgets.
pub trait HeadroomSource: Send + Sync {
    /// What is left now, of every mailbox that was used lately. Called when somebody reads the figures; must not wait.
    fn headroom(&self) -> Vec<Headroom>;
}

impl<F: Fn() -> Vec<Headroom> + Send + Sync> HeadroomSource for F {
    fn headroom(&self) -> Vec<Headroom> {
        self()
    }
}

/// The figures, the signs of life and the traces of one engine. Cheap to hand on: always in an `Arc`.
pub struct Signals {
    /// Every figure.
    pub families: Families,
    registry: Registry,
    described: Vec<Described>,
    headroom: RwLock<Vec<Arc<dyn HeadroomSource>>>,
    journeys: RwLock<Option<Arc<dyn Journeys>>>,
    beats: Mutex<BTreeMap<&'static str, Instant>>,
    born: Instant,
    scrape: tokio::sync::Mutex<scrape::Last>,
}

impl fmt::Debug for Signals {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Signals")
    }
}

impl Default for Signals {
    fn default() -> Self {
        let families = Families::default();
        let mut registry = Registry::default();
        let described = families.register(&mut registry);
        Self {
            families,
            registry,
            described,
            headroom: RwLock::default(),
            journeys: RwLock::default(),
            beats: Mutex::default(),
            born: Instant::now(),
            scrape: tokio::sync::Mutex::default(),
        }
    }
}

impl Signals {
    /// Every figure as it is documented.
    pub fn described(&self) -> &[Described] {
        &self.described
    }

    /// Asks `source` for what is left of its budgets whenever the figures are read.
    pub fn watch_headroom(&self, source: Arc<dyn HeadroomSource>) {
        self.headroom.write().unwrap_or_else(PoisonError::into_inner).push(source);
    }

    /// Tells `journeys` of every step from now on.
    pub fn follow(&self, journeys: Arc<dyn Journeys>) {
        *self.journeys.write().unwrap_or_else(PoisonError::into_inner) = Some(journeys);
    }

    /// Tells of a step that a message has made.
    pub(crate) fn passed(&self, passed: &Passed) {
        let journeys = self.journeys.read().unwrap_or_else(PoisonError::into_inner).clone();
        if let Some(journeys) = journeys {
            journeys.passed(passed);
        }
    }

    /// Counts leases of one kind of work.
    pub(crate) fn leases(&self, work: &'static str, event: &'static str, count: usize) {
        let labels = vec![("work", work.to_owned()), ("event", event.to_owned())];
        self.families.leases.get_or_create(&labels).inc_by(count as u64);
    }

    /// One attempt to send.
    pub(crate) fn sent(&self, state: OutboxState, took: SignedDuration) {
        let labels = vec![("outcome", state.as_str().to_owned())];
        self.families.send_duration.get_or_create(&labels).observe(seconds(took));
    }

    /// A message that the provider took.
    pub(crate) fn delivered(&self, took: SignedDuration) {
        self.families.delivery_duration.observe(seconds(took));
    }

    /// One reading of one mailbox.
    pub(crate) fn fetched(&self, outcome: &'static str, took: SignedDuration) {
        let labels = vec![("outcome", outcome.to_owned())];
        self.families.fetch_duration.get_or_create(&labels).observe(seconds(took));
    }

    /// A sign of life of a worker: it has asked the store for work, or does some.
    pub(crate) fn beat(&self, worker: &'static str) {
        self.beats.lock().unwrap_or_else(PoisonError::into_inner).insert(worker, Instant::now());
    }

    /// Which of the workers that must never stand still gave no sign of life for longer than `bound`.
    pub fn silent_workers(&self, bound: Duration) -> Vec<&'static str> {
        let beats = self.beats.lock().unwrap_or_else(PoisonError::into_inner);
        let silent = |worker: &&'static str| beats.get(*worker).unwrap_or(&self.born).elapsed() > bound;
        WORKERS.into_iter().filter(silent).collect()
    }
}

/// A duration for a histogram. The clock may have been set back meanwhile.
fn seconds(took: SignedDuration) -> f64 {
    took.as_secs_f64().max(0.0)
}

/// The workers that give signs of life.
const WORKERS: [&str; 3] = ["outbox", "collector", "router"];
