//! Every figure: name, type, unit, labels.

use std::sync::atomic::AtomicU64;

use prometheus_client::encoding::EncodeMetric;
use prometheus_client::metrics::TypedMetric;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::{Metric, Registry};

/// Labels in their order: name and value.
pub type Labels = Vec<(&'static str, String)>;

/// A gauge of numbers with a fraction.
pub type Figure = Gauge<f64, AtomicU64>;

type Histograms = Family<Labels, Histogram, fn() -> Histogram>;

/// One figure as it is documented.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Described {
    /// Name as Prometheus shows it; a counter with its `_total`.
    pub name: &'static str,
    /// `counter`, `gauge` or `histogram`.
    pub kind: &'static str,
    /// What is counted.
    pub unit: &'static str,
    /// Names of its labels, in order.
    pub labels: &'static [&'static str],
}

/// Seconds from a millisecond to ten minutes: a provider may take that long.
fn waits() -> Histogram {
    Histogram::new([
        0.001, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0, 600.0,
    ])
}

/// Seconds from a tenth to a day: how long a message is under way, with its retries.
fn journeys() -> Histogram {
    Histogram::new([0.1, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0, 900.0, 3_600.0, 14_400.0, 86_400.0])
}

/// Every figure. Public, because what happens outside of the engine (requests) is counted here too.
#[derive(Debug, Clone)]
pub struct Families {
    /// Messages in the outbox.
    pub outbox_messages: Family<Labels, Gauge>,
    /// Age of the oldest of them.
    pub outbox_oldest: Family<Labels, Figure>,
    /// Collected messages that wait, or were set apart.
    pub inbox_messages: Family<Labels, Gauge>,
    /// Age of the oldest of them.
    pub inbox_oldest: Family<Labels, Figure>,
    /// Mailboxes by how they fare.
    pub mailboxes: Family<Labels, Gauge>,
    /// How long the mailbox that is longest overdue has been due.
    pub collector_lag: Figure,
    /// Time to accept.
    pub accept_duration: Histograms,
    /// Acceptances refused because the store cannot keep up.
    pub accept_refused: Family<Labels, Counter>,
    /// Time of one attempt to send.
    pub send_duration: Histograms,
    /// Time from acceptance to the provider's yes.
    pub delivery_duration: Histogram,
    /// Time of one reading of one mailbox.
    pub fetch_duration: Histograms,
    /// Leases claimed, taken over, lost.
    pub leases: Family<Labels, Counter>,
    /// Least share left of a budget, over all mailboxes.
    pub headroom: Family<Labels, Figure>,
    /// The same per mailbox, for those with the least.
    pub mailbox_headroom: Family<Labels, Figure>,
    /// Days until the credential in use ends.
    pub credential_days: Family<Labels, Figure>,
    /// Events since the start.
    pub events: Family<Labels, Counter>,
    /// Writers that wait for their turn.
    pub waiting_writers: Gauge,
    /// Answered requests.
    pub http_requests: Family<Labels, Counter>,
    /// Time to answer them.
    pub http_duration: Histograms,
    /// Always 1; the version is in the label.
    pub build: Family<Labels, Gauge>,
}

impl Default for Families {
    fn default() -> Self {
        let waits = || Family::new_with_constructor(waits as fn() -> Histogram);
        Self {
            outbox_messages: Family::default(),
            outbox_oldest: Family::default(),
            inbox_messages: Family::default(),
            inbox_oldest: Family::default(),
            mailboxes: Family::default(),
            collector_lag: Gauge::default(),
            accept_duration: waits(),
            accept_refused: Family::default(),
            send_duration: waits(),
            delivery_duration: journeys(),
            fetch_duration: waits(),
            leases: Family::default(),
            headroom: Family::default(),
            mailbox_headroom: Family::default(),
            credential_days: Family::default(),
            events: Family::default(),
            waiting_writers: Gauge::default(),
            http_requests: Family::default(),
            http_duration: waits(),
            build: Family::default(),
        }
    }
}

impl Families {
    /// Puts every figure into `registry` and says how it is documented.
    pub(super) fn register(&self, registry: &mut Registry) -> Vec<Described> {
        let mut list = List { registry, described: Vec::new() };
        self.register_queues(&mut list);
        self.register_work(&mut list);
        self.register_house(&mut list);
        list.described
    }

    fn register_queues(&self, list: &mut List<'_>) {
        list.add(
            "postroom_outbox_messages",
            "messages",
            &["state"],
            "Messages in the outbox",
            &self.outbox_messages,
        );
        list.add(
            "postroom_outbox_oldest_age_seconds",
            "seconds",
            &["state"],
            "Age of the oldest message in the outbox, since it was accepted; 0 when there is none",
            &self.outbox_oldest,
        );
        list.add(
            "postroom_inbox_messages",
            "messages",
            &["state"],
            "Collected messages that wait to be processed or were set apart",
            &self.inbox_messages,
        );
        list.add(
            "postroom_inbox_oldest_age_seconds",
            "seconds",
            &["state"],
            "Age of the oldest of these messages, since it was stored; 0 when there is none",
            &self.inbox_oldest,
        );
        list.add(
            "postroom_mailboxes",
            "mailboxes",
            &["state"],
            "Mailboxes by how they fare",
            &self.mailboxes,
        );
        list.add(
            "postroom_collector_lag_seconds",
            "seconds",
            &[],
            "How long the mailbox that is longest overdue has been due; 0 when none is",
            &self.collector_lag,
        );
    }

    fn register_work(&self, list: &mut List<'_>) {
        list.add(
            "postroom_accept_duration_seconds",
            "seconds",
            &["outcome"],
            "Time to store a message and commit it, before the yes",
            &self.accept_duration,
        );
        list.add(
            "postroom_accept_refused_total",
            "messages",
            &["reason"],
            "Messages refused with 503 because the store cannot keep up",
            &self.accept_refused,
        );
        list.add(
            "postroom_send_duration_seconds",
            "seconds",
            &["outcome"],
            "Time of one attempt to send, by the state it ended in",
            &self.send_duration,
        );
        list.add(
            "postroom_delivery_duration_seconds",
            "seconds",
            &[],
            "Time from acceptance until the provider took the message",
            &self.delivery_duration,
        );
        list.add(
            "postroom_fetch_duration_seconds",
            "seconds",
            &["outcome"],
            "Time of one reading of one mailbox",
            &self.fetch_duration,
        );
        list.add(
            "postroom_leases_total",
            "leases",
            &["work", "event"],
            "Leases claimed, taken over from a worker that died, or lost to another",
            &self.leases,
        );
        list.add(
            "postroom_throttle_headroom_ratio",
            "share",
            &["budget"],
            "Least share of a budget that is left, over all mailboxes: 0 is nothing, 1 is all",
            &self.headroom,
        );
        list.add(
            "postroom_mailbox_throttle_headroom_ratio",
            "share",
            &["mailbox", "budget"],
            "The same for the mailboxes with the least, by their id",
            &self.mailbox_headroom,
        );
    }

    fn register_house(&self, list: &mut List<'_>) {
        list.add(
            "postroom_credential_days_left",
            "days",
            &["connection"],
            "Days until the credential in use ends; negative when it has ended",
            &self.credential_days,
        );
        list.add("postroom_events_total", "events", &["kind"], "Events since the start", &self.events);
        list.add(
            "postroom_store_waiting_writers",
            "writers",
            &[],
            "Writers that wait for their turn at the store",
            &self.waiting_writers,
        );
        list.add(
            "postroom_http_requests_total",
            "requests",
            &["method", "route", "status"],
            "Answered requests",
            &self.http_requests,
        );
        list.add(
            "postroom_http_request_duration_seconds",
            "seconds",
            &["route"],
            "Time from the head of a request to the head of its answer",
            &self.http_duration,
        );
        list.add(
            "postroom_build_info",
            "none",
            &["version"],
            "Always 1; the label says the version",
            &self.build,
        );
    }
}

/// Registers and describes at the same time, so that neither is forgotten.
struct List<'r> {
    registry: &'r mut Registry,
    described: Vec<Described>,
}

impl List<'_> {
    fn add<M>(
        &mut self,
        name: &'static str,
        unit: &'static str,
        labels: &'static [&'static str],
        help: &str,
        family: &M,
    ) where
        M: Metric + EncodeMetric + TypedMetric + Clone,
    {
        let kind = M::TYPE.as_str();
        // The encoder writes the end of a counter's name itself.
        self.registry.register(name.trim_end_matches("_total"), help, family.clone());
        self.described.push(Described { name, kind, unit, labels });
    }
}
