//! The way of a span from whoever ended it to the collector: a bounded queue and one task.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use opentelemetry::KeyValue;
use opentelemetry_otlp::{SpanExporter, WithHttpConfig as _};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::trace::{IdGenerator as _, RandomIdGenerator, SpanData, SpanExporter as _};
use tokio::sync::{mpsc, oneshot};
use tokio::time::{Instant, sleep, timeout, timeout_at};
use tracing::{debug, warn};

use super::http::Client;
use super::settings::TraceError;
use crate::metrics::{SPANS_DROPPED, SPANS_EXPORTED};

/// Spans that wait. A busy instance makes some ten for an attempt.
const QUEUE: usize = 4096;
/// Spans of one request, at most.
const BATCH: usize = 512;
/// How long the first span of a batch waits for others.
const GATHER: Duration = Duration::from_secs(1);
/// How long a batch waits before it is sent again to a collector that did not answer.
const RETRIES: [Duration; 2] = [Duration::from_secs(1), Duration::from_secs(5)];

/// Where ended spans go.
pub(super) struct Queue(mpsc::Sender<Item>);

enum Item {
    Span(Box<SpanData>),
    /// Everything before this has to be gone before it is answered.
    Flush(oneshot::Sender<()>),
}

impl Queue {
    pub(super) fn push(&self, span: SpanData) {
        if self.0.try_send(Item::Span(Box::new(span))).is_err() {
            SPANS_DROPPED.with(["queue_full"]).increment(1);
        }
    }
}

/// The export that [`install`](super::install) began.
#[derive(Debug)]
pub struct Exporting(mpsc::Sender<Item>);

impl std::fmt::Debug for Item {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Span(_) => "Span",
            Self::Flush(_) => "Flush",
        })
    }
}

impl Exporting {
    /// Sends what waits, for as long as `patience`: before a process ends.
    pub async fn flush(&self, patience: Duration) {
        let (done, gone) = oneshot::channel();
        let flushed = async {
            if self.0.send(Item::Flush(done)).await.is_ok() {
                let _ = gone.await;
            }
        };
        if timeout(patience, flushed).await.is_err() {
            debug!("the collector did not take all spans before the end");
        }
    }
}

/// An exporter, and whether a request of its had an answer.
pub(super) struct Exporter {
    otlp: SpanExporter,
    answered: Arc<AtomicBool>,
}

pub(super) fn exporter(service: &str, version: &str) -> Result<Exporter, TraceError> {
    let answered = Arc::new(AtomicBool::new(false));
    let client = Client::new(Arc::clone(&answered));
    let mut otlp = SpanExporter::builder()
        .with_http()
        .with_http_client(client)
        .build()
        .map_err(|error| TraceError::Exporter(error.to_string()))?;
    // OTEL_SERVICE_NAME and OTEL_RESOURCE_ATTRIBUTES come before these.
    let mut resource = Resource::builder();
    if std::env::var_os("OTEL_SERVICE_NAME").is_none() {
        resource = resource.with_service_name(service.to_owned());
    }
    let attributes = [
        KeyValue::new("service.version", version.to_owned()),
        // Tells instances of one service apart.
        KeyValue::new(
            "service.instance.id",
            RandomIdGenerator::default().new_trace_id().to_string(),
        ),
    ];
    otlp.set_resource(&resource.with_attributes(attributes).build());
    Ok(Exporter { otlp, answered })
}

pub(super) fn start(exporter: Exporter) -> (Queue, Exporting) {
    let (queue, items) = mpsc::channel(QUEUE);
    tokio::spawn(run(exporter, items));
    (Queue(queue.clone()), Exporting(queue))
}

async fn run(exporter: Exporter, mut items: mpsc::Receiver<Item>) {
    let mut away = false;
    while let Some(first) = items.recv().await {
        let (batch, flush) = gather(first, &mut items).await;
        if !batch.is_empty() {
            let sent = send(&exporter, batch).await;
            // Once for each outage: a collector that is away is no reason to fill the log.
            match &sent {
                Err(error) if !away => warn!(%error, "spans do not reach the collector"),
                Err(_) | Ok(()) => {}
            }
            away = sent.is_err();
        }
        if let Some(flush) = flush {
            let _ = flush.send(());
        }
    }
}

/// What comes within a moment, up to a batch.
async fn gather(
    first: Item,
    items: &mut mpsc::Receiver<Item>,
) -> (Vec<SpanData>, Option<oneshot::Sender<()>>) {
    let mut batch = Vec::new();
    let until = Instant::now() + GATHER;
    let mut item = first;
    loop {
        match item {
            Item::Span(span) => batch.push(*span),
            Item::Flush(done) => return (batch, Some(done)),
        }
        if batch.len() >= BATCH {
            return (batch, None);
        }
        match timeout_at(until, items.recv()).await {
            Ok(Some(next)) => item = next,
            Ok(None) | Err(_) => return (batch, None),
        }
    }
}

/// Sends a batch, again if nobody answered. What the collector refuses is not sent again.
async fn send(exporter: &Exporter, batch: Vec<SpanData>) -> Result<(), String> {
    let count = batch.len() as u64;
    let mut pauses = RETRIES.into_iter();
    loop {
        exporter.answered.store(false, Ordering::Relaxed);
        let Err(error) = exporter.otlp.export(batch.clone()).await else {
            SPANS_EXPORTED.get().increment(count);
            return Ok(());
        };
        if exporter.answered.load(Ordering::Relaxed) {
            SPANS_DROPPED.with(["refused"]).increment(count);
            return Err(error.to_string());
        }
        let Some(pause) = pauses.next() else {
            SPANS_DROPPED.with(["unreachable"]).increment(count);
            return Err(error.to_string());
        };
        sleep(pause).await;
    }
}
