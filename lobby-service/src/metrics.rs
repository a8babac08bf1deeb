//! What the service counts, for Prometheus. Each service counts for itself: several can run in one process.
//!
//! Labels have few values: operations are named by their route, never by a path; nothing is labelled by lobby, player or address.

mod process;

use std::time::Duration;

use prometheus_client::encoding::{EncodeLabelSet, text};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::{Family, MetricConstructor};
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::metrics::info::Info;
use prometheus_client::registry::{Registry, Unit};

use crate::signalling::Outcome;

/// The type of what `/metrics` gives.
pub const CONTENT_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// Requests and saves, in seconds.
const SHORT: &[f64] = &[0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0];
/// Phases of a migration, in seconds: from a delay of zero to many failed elections.
const PHASES: &[f64] = &[0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0];
/// Rows saved together: up to the largest batch.
const BATCHES: &[f64] = &[1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 128.0, 256.0];

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Answered {
    operation: String,
    status: u16,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Operation {
    operation: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct OutcomeOnly {
    outcome: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct What {
    what: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Kind {
    kind: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Class {
    class: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Phase {
    phase: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Ended {
    cause: String,
    outcome: &'static str,
}

/// A histogram with these buckets for each set of labels.
#[derive(Debug, Clone, Copy)]
struct Buckets(&'static [f64]);

impl MetricConstructor<Histogram> for Buckets {
    fn new_metric(&self) -> Histogram {
        Histogram::new(self.0.iter().copied())
    }
}

type Histograms<Labels> = Family<Labels, Histogram, Buckets>;

/// How a batch ended, and how large it was, in one of the two queues before the store.
#[derive(Debug, Clone)]
pub struct Saves {
    what: What,
    batch_size: Histograms<What>,
    duration: Histograms<What>,
    failures: Family<What, Counter>,
}

impl Saves {
    /// A batch of so many has been saved, or not.
    pub(crate) fn ended(&self, size: usize, took: Duration, is_saved: bool) {
        self.batch_size.get_or_create(&self.what).observe(size as f64);
        self.duration.get_or_create(&self.what).observe(took.as_secs_f64());
        if !is_saved {
            self.failures.get_or_create(&self.what).inc();
        }
    }
}

/// What is so at the moment; asked for when it is read.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Now {
    pub(crate) sockets: usize,
    pub(crate) lobbies: usize,
    pub(crate) members: usize,
    pub(crate) relays: usize,
    pub(crate) is_draining: bool,
}

/// All that one service counts.
#[derive(Debug)]
pub struct Metrics {
    registry: Registry,
    process: Registry,
    requests: Family<Answered, Counter>,
    request_duration: Histograms<Operation>,
    refusals: Family<Class, Counter>,
    sockets: Gauge,
    lobbies: Gauge,
    members: Gauge,
    relays: Gauge,
    draining: Gauge,
    commands: Family<OutcomeOnly, Counter>,
    save_batch_size: Histograms<What>,
    save_duration: Histograms<What>,
    save_failures: Family<What, Counter>,
    store_failures: Family<Kind, Counter>,
    snapshots: Counter,
    deltas: Counter,
    delta_bytes: Counter,
    snapshot_bytes: Counter,
    snapshot_duration: Histogram,
    elections: Family<Ended, Counter>,
    migrations: Family<Ended, Counter>,
    migration_phase: Histograms<Phase>,
    migrations_unobserved: Counter,
    traces_dropped: Counter,
    refresh_reuse: Counter,
    signals: Family<OutcomeOnly, Counter>,
}

impl Default for Metrics {
    fn default() -> Self {
        let mut registry = Registry::with_prefix("understudy");
        let build = Info::new([("version", env!("CARGO_PKG_VERSION"))]);
        registry.register("build", "The build that runs", build);
        let mut process = Registry::default();
        process.register_collector(Box::new(process::Process));
        let mut all = Named(registry);
        let metrics = Self {
            requests: all.add(
                "requests",
                "Requests by operation (the route, not the path) and status",
                Family::default(),
            ),
            request_duration: all.seconds(
                "request_duration",
                "From a request's arrival to its answer's head, by operation",
                histograms(SHORT),
            ),
            refusals: all.add(
                "refusals",
                "Requests refused because somebody asked too much, by class of limit",
                Family::default(),
            ),
            sockets: all.add("event_sockets", "Open event sockets", Gauge::default()),
            lobbies: all.add("lobbies", "Lobbies that somebody listens to at this instance", Gauge::default()),
            members: all.add(
                "members",
                "Members that this instance looks after: connected here, or with a term to come back",
                Gauge::default(),
            ),
            relays: all.add("relays", "Relays registered with this instance", Gauge::default()),
            draining: all.add("draining", "1 while this instance sends its clients away", Gauge::default()),
            commands: all.add(
                "commands",
                "Commands of lobbies by outcome: applied, rejected, not_found, contended, failed",
                Family::default(),
            ),
            save_batch_size: all.add(
                "save_batch_size",
                "Rows saved in one transaction: lobbies, snapshots or deltas",
                histograms(BATCHES),
            ),
            save_duration: all.seconds(
                "save_duration",
                "Duration of a transaction that saves lobbies, snapshots or deltas",
                histograms(SHORT),
            ),
            save_failures: all.add(
                "save_failures",
                "Transactions that saved nothing, or of which nothing is known",
                Family::default(),
            ),
            store_failures: all.add(
                "store_failures",
                "Failures of the store by kind: unavailable, unsafe, corrupt",
                Family::default(),
            ),
            snapshots: all.add("snapshots", "Snapshots stored", Counter::default()),
            snapshot_bytes: all.bytes("snapshot", "Bytes of the snapshots stored", Counter::default()),
            deltas: all.add("deltas", "Deltas stored", Counter::default()),
            delta_bytes: all.bytes("delta", "Bytes of the deltas stored", Counter::default()),
            snapshot_duration: all.seconds(
                "snapshot_duration",
                "From the last byte of a snapshot or a delta to its being durable",
                Histogram::new(SHORT.iter().copied()),
            ),
            elections: all.add(
                "elections",
                "Elections by the cause of the loss and outcome: ready, failed",
                Family::default(),
            ),
            migrations: all.add(
                "migrations",
                "Hosts lost, by cause and by what came of it: ready (another hosts), returned, vouched, parked",
                Family::default(),
            ),
            migration_phase: all.seconds(
                "migration_phase",
                "Phases of migrations: delay (lost to elected), restore (elected to ready), total (lost to ready)",
                histograms(PHASES),
            ),
            migrations_unobserved: all.add(
                "migrations_unobserved",
                "Migrations that were not looked at: too many at once, or their events could not be read",
                Counter::default(),
            ),
            traces_dropped: all.add(
                "traces_dropped",
                "Traces of migrations that the collector did not get",
                Counter::default(),
            ),
            refresh_reuse: all.add(
                "refresh_reuse",
                "Refresh tokens shown again after they were replaced",
                Counter::default(),
            ),
            signals: all.add(
                "signals",
                "Signals between members by outcome: forwarded (here), told (to other instances), absent, refused, excess; \
                 overflowed are those that were dropped for newer ones",
                Family::default(),
            ),
            registry: all.0,
            process,
        };
        metrics.begin();
        metrics
    }
}

fn histograms<Labels>(buckets: &'static [f64]) -> Histograms<Labels>
where
    Labels: Clone + std::hash::Hash + Eq,
{
    Family::new_with_constructor(Buckets(buckets))
}

/// The registry while names are given.
struct Named(Registry);

impl Named {
    fn add<M: prometheus_client::registry::Metric + Clone>(&mut self, name: &str, help: &str, metric: M) -> M {
        self.0.register(name, help, metric.clone());
        metric
    }

    fn seconds<M: prometheus_client::registry::Metric + Clone>(&mut self, name: &str, help: &str, metric: M) -> M {
        self.0.register_with_unit(name, help, Unit::Seconds, metric.clone());
        metric
    }

    fn bytes<M: prometheus_client::registry::Metric + Clone>(&mut self, name: &str, help: &str, metric: M) -> M {
        self.0.register_with_unit(name, help, Unit::Bytes, metric.clone());
        metric
    }
}

impl Metrics {
    /// What has not happened yet is told as zero: an alert cannot compare with what is not there.
    fn begin(&self) {
        for kind in ["unavailable", "unsafe", "corrupt"] {
            drop(self.store_failures.get_or_create(&Kind { kind }));
        }
        for what in ["lobbies", "snapshots", "deltas"] {
            drop(self.save_failures.get_or_create(&What { what }));
        }
        for outcome in Outcome::ALL {
            drop(self.signals.get_or_create(&OutcomeOnly { outcome: outcome.name() }));
        }
    }

    /// A request was answered.
    pub(crate) fn answered(&self, operation: &str, status: u16, took: Duration) {
        let operation = operation.to_owned();
        self.request_duration.get_or_create(&Operation { operation: operation.clone() }).observe(took.as_secs_f64());
        self.requests.get_or_create(&Answered { operation, status }).inc();
    }

    /// A request was refused by a limit of this class. There are only a few classes.
    pub fn refused(&self, class: &'static str) {
        self.refusals.get_or_create(&Class { class }).inc();
    }

    /// A refresh token was shown again after it was replaced: somebody else may have it.
    pub fn refresh_reused(&self) {
        self.refresh_reuse.inc();
    }

    /// A command of a lobby has ended.
    pub(crate) fn decided(&self, outcome: &'static str) {
        self.commands.get_or_create(&OutcomeOnly { outcome }).inc();
    }

    /// A signal was forwarded, or not.
    pub(crate) fn signalled(&self, outcome: Outcome) {
        self.signals.get_or_create(&OutcomeOnly { outcome: outcome.name() }).inc();
    }

    /// For the queue that saves lobbies, snapshots or deltas.
    pub(crate) fn saves(&self, what: &'static str) -> Saves {
        Saves {
            what: What { what },
            batch_size: self.save_batch_size.clone(),
            duration: self.save_duration.clone(),
            failures: self.save_failures.clone(),
        }
    }

    /// The store failed.
    pub(crate) fn store_failed(&self, kind: &'static str) {
        self.store_failures.get_or_create(&Kind { kind }).inc();
    }

    /// A snapshot is durable.
    pub(crate) fn snapshot_stored(&self, bytes: usize, took: Duration) {
        self.snapshots.inc();
        self.snapshot_bytes.inc_by(bytes as u64);
        self.snapshot_duration.observe(took.as_secs_f64());
    }

    /// A delta is durable.
    pub(crate) fn delta_stored(&self, bytes: usize, took: Duration) {
        self.deltas.inc();
        self.delta_bytes.inc_by(bytes as u64);
        self.snapshot_duration.observe(took.as_secs_f64());
    }

    /// An election has ended.
    pub(crate) fn elected(&self, cause: &str, outcome: &'static str) {
        self.elections.get_or_create(&Ended { cause: cause.to_owned(), outcome }).inc();
    }

    /// A lost host was replaced, or not.
    pub(crate) fn migrated(&self, cause: &str, outcome: &'static str) {
        self.migrations.get_or_create(&Ended { cause: cause.to_owned(), outcome }).inc();
    }

    /// A phase of a migration that has ended well.
    pub(crate) fn migration_phase(&self, phase: &'static str, took: Duration) {
        self.migration_phase.get_or_create(&Phase { phase }).observe(took.as_secs_f64());
    }

    /// A migration was not looked at.
    pub(crate) fn migration_unobserved(&self) {
        self.migrations_unobserved.inc();
    }

    /// So many traces did not get to their collector.
    pub(crate) fn traces_dropped(&self, count: usize) {
        self.traces_dropped.inc_by(count as u64);
    }

    /// Everything, as text.
    pub(crate) fn text(&self, now: Now) -> String {
        let set = |gauge: &Gauge, count: usize| gauge.set(i64::try_from(count).unwrap_or(i64::MAX));
        set(&self.sockets, now.sockets);
        set(&self.lobbies, now.lobbies);
        set(&self.members, now.members);
        set(&self.relays, now.relays);
        set(&self.draining, usize::from(now.is_draining));
        let mut out = String::new();
        let written =
            text::encode_registry(&mut out, &self.process).and_then(|()| text::encode(&mut out, &self.registry));
        written.expect("a text takes all that is written into it");
        out
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_services_of_one_process_count_apart() {
        let (one, other) = (Metrics::default(), Metrics::default());
        one.refused("join_code");
        assert!(one.text(Now::default()).contains("understudy_refusals_total{class=\"join_code\"} 1"));
        assert!(!other.text(Now::default()).contains("join_code"));
    }

    #[test]
    fn every_metric_is_explained_and_named_after_the_project_or_the_process() {
        let text = Metrics::default().text(Now { sockets: 3, ..Now::default() });
        assert!(text.contains("understudy_event_sockets 3\n") && text.ends_with("# EOF\n"), "{text}");
        let types = text
            .lines()
            .filter_map(|line| line.strip_prefix("# TYPE "))
            .filter_map(|line| line.split_whitespace().next());
        for name in types {
            assert!(name.starts_with("understudy_") || name.starts_with("process_"), "{name}");
            assert!(text.contains(&format!("# HELP {name} ")), "{name}");
        }
    }
}
