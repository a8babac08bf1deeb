//! Traces of migrations for OpenTelemetry: OTLP as JSON over HTTP, to one collector. Its library would bring gRPC; a trace of ours is
//! one small document.

use std::time::Duration;

use protocol::id::InstanceId;
use protocol::time::Timestamp;
use serde_json::{Value, json};
use tokio::sync::mpsc;

use super::{Election, Migration, Outcome};
use crate::service::Service;

/// Traces that wait for the collector. One more is dropped and counted.
const QUEUE_MAX: usize = 256;
/// Traces of one request.
const BATCH_MAX: usize = 64;
/// A collector that takes longer gets the same traces once more, later.
const TIMEOUT: Duration = Duration::from_secs(5);
/// Pause before that.
const PAUSE: Duration = Duration::from_secs(1);
/// `SPAN_KIND_INTERNAL`
const KIND: u8 = 1;
/// `STATUS_CODE_OK` and `STATUS_CODE_ERROR`
const STATUS: (u8, u8) = (1, 2);

/// Where traces go.
#[derive(Debug)]
pub(crate) struct Exporter(mpsc::Sender<Migration>);

/// Traces on their way, and where to.
#[derive(Debug)]
pub(crate) struct Exports {
    waiting: mpsc::Receiver<Migration>,
    client: reqwest::Client,
    url: reqwest::Url,
}

impl Exporter {
    /// An exporter to a collector's base address, as `http://127.0.0.1:4318`, and the work that is to be run.
    ///
    /// # Errors
    /// The client's.
    pub(crate) fn new(mut base: reqwest::Url) -> Result<(Self, Exports), reqwest::Error> {
        let path = format!("{}/v1/traces", base.path().trim_end_matches('/'));
        base.set_path(&path);
        let client = reqwest::Client::builder().timeout(TIMEOUT).build()?;
        let (queue, waiting) = mpsc::channel(QUEUE_MAX);
        Ok((Self(queue), Exports { waiting, client, url: base }))
    }

    /// Returns whether there was room.
    pub(super) fn send(&self, migration: Migration) -> bool {
        self.0.try_send(migration).is_ok()
    }
}

impl Exports {
    /// Sends what comes, until nothing can come any more.
    pub(crate) async fn run(mut self, service: std::sync::Arc<Service>) {
        let mut batch = Vec::new();
        while self.waiting.recv_many(&mut batch, BATCH_MAX).await > 0 {
            let traces = document(service.leases.instance(), &batch);
            if let Err(first) = self.post(&traces).await {
                tokio::time::sleep(PAUSE).await;
                if let Err(error) = self.post(&traces).await {
                    // Without its address, which may hold a password.
                    let (first, error) = (first.without_url(), error.without_url());
                    tracing::warn!(%first, %error, count = batch.len(), "the collector has not got the traces of migrations");
                    service.metrics.traces_dropped(batch.len());
                }
            }
            batch.clear();
        }
    }

    async fn post(&self, traces: &Value) -> Result<(), reqwest::Error> {
        self.client.post(self.url.clone()).json(traces).send().await?.error_for_status().map(drop)
    }
}

/// An `ExportTraceServiceRequest`.
fn document(instance: InstanceId, migrations: &[Migration]) -> Value {
    let spans: Vec<Value> = migrations.iter().flat_map(spans).collect();
    json!({"resourceSpans": [{
        "resource": {"attributes": [
            text("service.name", "understudy-lobby-service"),
            text("service.version", env!("CARGO_PKG_VERSION")),
            text("service.instance.id", &instance.to_string()),
        ]},
        "scopeSpans": [{"scope": {"name": "understudy.migrations"}, "spans": spans}],
    }]})
}

/// The whole, then its phases: `delay` until somebody is elected, `elect` until somebody is who succeeds, `restore` until it is ready.
fn spans(migration: &Migration) -> Vec<Value> {
    let trace = Trace::of(migration);
    let failures: Vec<_> = migration.elections.iter().filter_map(failure).collect();
    let mut spans = vec![trace.root(migration, &failures)];
    let (Some(first), Some(last)) = (migration.elections.first(), migration.elections.last()) else { return spans };
    spans.push(trace.child("delay", (migration.lost_at, first.at), &[]));
    spans.push(trace.child("elect", (first.at, last.at), &[happened("elected", last.at, &elected(last))]));
    if migration.outcome == Outcome::Ready {
        let fetched = migration.fetch.map(|fetch| {
            let what = [
                integer("snapshot.epoch", fetch.generation.epoch.0),
                integer("snapshot.seq", fetch.generation.seq),
                integer("snapshot.bytes", fetch.bytes as u64),
            ];
            happened("snapshot fetched", fetch.at, &what)
        });
        spans.push(trace.child("restore", (last.at, migration.ended_at), fetched.as_slice()));
    }
    spans
}

fn elected(election: &Election) -> [Value; 2] {
    [integer("host", u64::from(election.host.0)), integer("epoch", election.epoch.0)]
}

fn failure(election: &Election) -> Option<Value> {
    Some(happened("election failed", election.failed_at?, &elected(election)))
}

/// The ids of a trace: of the lobby and the epoch that ended, so that a migration has the same whoever tells of it.
struct Trace([u8; 32]);

impl Trace {
    fn of(migration: &Migration) -> Self {
        let hasher = &mut blake3::Hasher::new();
        hasher.update(migration.lobby.as_bytes()).update(&migration.from.0.to_be_bytes());
        Self(*hasher.update(&migration.lost_at.0.to_be_bytes()).finalize().as_bytes())
    }

    fn id(&self) -> String {
        hex(&self.0[..16])
    }

    fn span_id(&self, name: &str) -> String {
        hex(&blake3::Hasher::new().update(&self.0).update(name.as_bytes()).finalize().as_bytes()[..8])
    }

    fn root(&self, migration: &Migration, events: &[Value]) -> Value {
        let to = migration.elections.last().map_or(migration.from, |election| election.epoch);
        let is_ready = migration.outcome == Outcome::Ready;
        let mut span = self.span("migration", (migration.lost_at, migration.ended_at), events);
        span["attributes"] = json!([
            text("lobby", &migration.lobby.to_string()),
            text("cause", &migration.cause),
            text("outcome", migration.outcome.as_str()),
            integer("epoch.from", migration.from.0),
            integer("epoch.to", to.0),
        ]);
        span["status"] = json!({"code": if is_ready { STATUS.0 } else { STATUS.1 }});
        span
    }

    fn child(&self, name: &str, times: (Timestamp, Timestamp), events: &[Value]) -> Value {
        let mut span = self.span(name, times, events);
        span["parentSpanId"] = self.span_id("migration").into();
        span
    }

    fn span(&self, name: &str, (start, end): (Timestamp, Timestamp), events: &[Value]) -> Value {
        json!({
            "traceId": self.id(), "spanId": self.span_id(name), "name": name, "kind": KIND,
            "startTimeUnixNano": nanoseconds(start), "endTimeUnixNano": nanoseconds(end), "events": events,
        })
    }
}

fn happened(name: &str, at: Timestamp, attributes: &[Value]) -> Value {
    json!({"timeUnixNano": nanoseconds(at), "name": name, "attributes": attributes})
}

fn text(key: &str, value: &str) -> Value {
    json!({"key": key, "value": {"stringValue": value}})
}

/// 64-bit integers are texts in the JSON of Protocol Buffers.
fn integer(key: &str, value: u64) -> Value {
    json!({"key": key, "value": {"intValue": value.to_string()}})
}

fn nanoseconds(at: Timestamp) -> String {
    (u128::from(at.0) * 1_000_000).to_string()
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
