//! Traces over OTLP: off unless `OTEL_EXPORTER_OTLP_ENDPOINT` names a collector.
//!
//! A connection attempt takes part at two peers, up to two instances and Redis, and none of them
//! holds a call open meanwhile. So nothing about its trace is carried along: the trace's id *is* the
//! attempt's id, its root span's id is a part of it, and whoever knows the attempt adds finished
//! spans of its own. Who has an attempt's id from a log or the statistics has its trace.
//!
//! Sampling follows from the id as well: every process that is set up alike decides alike.

mod export;
mod http;
mod settings;

use std::borrow::Cow;
use std::sync::OnceLock;
use std::time::SystemTime;

use opentelemetry::trace::{
    Event, Link, SpanContext, SpanId, SpanKind, Status, TraceFlags, TraceId, TraceState,
};
use opentelemetry::{InstrumentationScope, KeyValue};
use opentelemetry_sdk::trace::{
    IdGenerator as _, RandomIdGenerator, SpanData, SpanEvents, SpanLinks,
};

pub use self::export::Exporting;
use self::export::Queue;
pub use self::settings::TraceError;
use self::settings::{Sampling, Settings};

/// Whose spans these are, for whoever reads them beside those of other libraries.
const SCOPE: &str = "p2p-coordinator";

/// What this process traces with; absent while it does not.
static TRACER: OnceLock<Tracer> = OnceLock::new();

struct Tracer {
    sampling: Sampling,
    queue: Queue,
}

/// Starts to export spans where the environment says so (`OTEL_EXPORTER_OTLP_ENDPOINT` or
/// `OTEL_EXPORTER_OTLP_TRACES_ENDPOINT`, `…_HEADERS`, `…_TIMEOUT`, `OTEL_TRACES_SAMPLER`,
/// `OTEL_TRACES_SAMPLER_ARG`, `OTEL_SERVICE_NAME`, `OTEL_RESOURCE_ATTRIBUTES`, `OTEL_SDK_DISABLED`);
/// `None` where it does not, or where this process exports already.
///
/// Spans leave on a task of the current Tokio runtime, which has to be there.
///
/// # Errors
/// [`TraceError`] where the environment asks for what is not there.
pub fn install(service: &str, version: &str) -> Result<Option<Exporting>, TraceError> {
    let Some(settings) = Settings::from_environment()? else { return Ok(None) };
    let exporter = export::exporter(service, version)?;
    let (queue, exporting) = export::start(exporter);
    let installed = TRACER.set(Tracer { sampling: settings.sampling, queue }).is_ok();
    Ok(installed.then_some(exporting))
}

/// One trace that is recorded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Trace {
    id: TraceId,
    root: SpanId,
}

impl Trace {
    /// The trace with this number; `None` where this process does not export, or this trace is not
    /// among those that are sampled. Half of the number has to be random.
    #[must_use]
    pub fn of(number: u128) -> Option<Self> {
        let tracer = TRACER.get()?;
        tracer.sampling.takes(number).then(|| Self::new(number))
    }

    fn new(number: u128) -> Self {
        let [.., a, b, c, d, e, f, g, h] = number.to_be_bytes();
        Self {
            id: TraceId::from_bytes(number.to_be_bytes()),
            root: SpanId::from_bytes([a, b, c, d, e, f, g, h]),
        }
    }

    /// The root span as a W3C `traceparent`, for whoever adds to the trace with tools of its own.
    #[must_use]
    pub fn traceparent(self) -> String {
        format!("00-{}-{}-01", self.id, self.root)
    }

    /// The span that all others belong to. A trace has one; who decides how it ended ends it.
    pub fn root(self, name: impl Into<Cow<'static, str>>, began: SystemTime) -> Span {
        Span::new(self, self.root, SpanId::INVALID, name.into(), began)
    }

    /// A span below the root.
    pub fn span(self, name: impl Into<Cow<'static, str>>, began: SystemTime) -> Span {
        Span::new(self, RandomIdGenerator::default().new_span_id(), self.root, name.into(), began)
    }
}

/// A span on its way. It is exported by [`end`](Self::end) and forgotten without.
#[derive(Debug)]
#[must_use]
pub struct Span {
    trace: Trace,
    data: SpanData,
}

impl Span {
    fn new(
        trace: Trace,
        id: SpanId,
        parent: SpanId,
        name: Cow<'static, str>,
        began: SystemTime,
    ) -> Self {
        let state = TraceState::default();
        let data = SpanData {
            span_context: SpanContext::new(trace.id, id, TraceFlags::SAMPLED, false, state),
            parent_span_id: parent,
            // The root may have ended in another process, or may yet.
            parent_span_is_remote: parent == trace.root,
            span_kind: SpanKind::Internal,
            name,
            start_time: began,
            end_time: began,
            attributes: Vec::new(),
            dropped_attributes_count: 0,
            events: SpanEvents::default(),
            links: SpanLinks::default(),
            status: Status::Unset,
            instrumentation_scope: InstrumentationScope::builder(SCOPE).build(),
        };
        Self { trace, data }
    }

    /// A span below this one.
    pub fn child(&self, name: impl Into<Cow<'static, str>>, began: SystemTime) -> Self {
        let id = RandomIdGenerator::default().new_span_id();
        let parent = self.data.span_context.span_id();
        let mut child = Self::new(self.trace, id, parent, name.into(), began);
        child.data.parent_span_is_remote = false;
        child
    }

    /// Answers a request from outside.
    pub fn server(mut self) -> Self {
        self.data.span_kind = SpanKind::Server;
        self
    }

    /// Puts something on its way to another process.
    pub fn producer(mut self) -> Self {
        self.data.span_kind = SpanKind::Producer;
        self
    }

    /// Takes what another process has put on its way.
    pub fn consumer(mut self) -> Self {
        self.data.span_kind = SpanKind::Consumer;
        self
    }

    /// Adds an attribute. Not for tokens, credentials or full addresses (invariant I10): a
    /// collector is a log that somebody else keeps.
    pub fn with(mut self, key: &'static str, value: impl Into<opentelemetry::Value>) -> Self {
        self.data.attributes.push(KeyValue::new(key, value));
        self
    }

    /// Adds something that happened at one moment.
    pub fn event(mut self, name: impl Into<Cow<'static, str>>, at: SystemTime) -> Self {
        self.data.events.events.push(Event::new(name, at, Vec::new(), 0));
        self
    }

    /// Names a span of another trace that this one goes back to, by its W3C `traceparent`. What is
    /// none is left out.
    pub fn caused_by(mut self, traceparent: &str) -> Self {
        if let Some(context) = parse(traceparent) {
            self.data.links.links.push(Link::with_context(context));
        }
        self
    }

    /// Marks it as failed, with why.
    pub fn failed(mut self, why: impl Into<Cow<'static, str>>) -> Self {
        self.data.status = Status::error(why);
        self
    }

    /// Ends it and hands it to the exporter, which never makes anybody wait: what finds no room is
    /// dropped and counted.
    pub fn end(mut self, ended: SystemTime) {
        self.data.end_time = ended.max(self.data.start_time);
        if let Some(tracer) = TRACER.get() {
            tracer.queue.push(self.data);
        }
    }
}

/// W3C Trace Context §3.2: version, trace id, parent id, flags. Later versions may append fields.
fn parse(traceparent: &str) -> Option<SpanContext> {
    let mut parts = traceparent.split('-');
    let mut hex = |len: usize| {
        let part = parts.next()?;
        let lower = part.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b));
        (part.len() == len && lower).then_some(part)
    };
    let (version, trace, span, flags) = (hex(2)?, hex(32)?, hex(16)?, hex(2)?);
    let appended = parts.next().is_some();
    if version == "ff" || (version == "00" && appended) {
        return None;
    }
    let context = SpanContext::new(
        TraceId::from_hex(trace).ok()?,
        SpanId::from_hex(span).ok()?,
        TraceFlags::new(u8::from_str_radix(flags, 16).ok()?),
        true,
        TraceState::default(),
    );
    context.is_valid().then_some(context)
}

#[cfg(test)]
mod tests;
