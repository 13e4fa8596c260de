//! Logs, metrics, drain and shutdown: what every service needs and none should invent.
//!
//! - [`logs`]: one subscriber per process, for people on a terminal and as JSON elsewhere.
//! - [`metrics`]: every metric's name, unit, kind, labels and help text, in one registry.
//! - [`prometheus`]: the recorder behind `/metrics`.
//! - [`shutdown`]: SIGTERM drains, a second signal forces.
//! - [`traces`]: one trace an attempt, over OTLP where a collector is named.
#![warn(missing_docs)]

pub mod instrument;
mod labels;
pub mod logs;
pub mod metrics;
pub mod prometheus;
pub mod shutdown;
pub mod traces;

pub use instrument::{CounterMetric, GaugeMetric, HistogramMetric, Label, Metric, MetricKind};
pub use logs::LogFormat;
pub use shutdown::{Phase, Shutdown};
