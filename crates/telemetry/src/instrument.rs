//! What a metric is here: a name that cannot be mistyped and labels that cannot grow without bound.
//!
//! A metric is a constant of the kind it is, so that a counter cannot be set and a gauge cannot be
//! observed. Label values are checked against the declared set; one that is not in it is recorded
//! as [`OTHER`], so the number of series is known when the program is built (invariant I5).

use metrics::{Counter, Gauge, Histogram, Key, KeyName, Level, Metadata, SharedString, Unit};

/// The value recorded in place of one that a label does not declare.
pub const OTHER: &str = "other";

/// What a metric does over time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MetricKind {
    /// Only grows while the process lives.
    Counter,
    /// Goes up and down.
    Gauge,
    /// Counts observations by size.
    Histogram,
}

/// One label and every value it may have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Label {
    /// The label's name.
    pub name: &'static str,
    /// Its values, beside [`OTHER`]. Empty means one value for the whole life of the process.
    pub values: &'static [&'static str],
}

/// Everything that is known about a metric before the first value.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Metric {
    /// The name as Prometheus shows it.
    pub name: &'static str,
    /// What it does over time.
    pub kind: MetricKind,
    /// The base unit of its values.
    pub unit: Unit,
    /// The labels, in the order in which call sites give their values.
    pub labels: &'static [Label],
    /// What it says, for people.
    pub help: &'static str,
    /// Upper bounds of a histogram's buckets, in the unit; empty for the other kinds.
    pub buckets: &'static [f64],
}

const METADATA: Metadata<'static> = Metadata::new("p2p", Level::INFO, None);

impl Metric {
    /// The series with these label values, one for each label and in the same order.
    fn key<const N: usize>(&self, values: [&str; N]) -> Key {
        debug_assert_eq!(N, self.labels.len(), "{} takes one value for each label", self.name);
        let labels: Vec<metrics::Label> = self
            .labels
            .iter()
            .zip(values)
            .map(|(label, value)| metrics::Label::new(label.name, label.admit(value)))
            .collect();
        Key::from_parts(self.name, labels)
    }

    /// Tells the installed recorder the unit and the help text.
    pub(crate) fn describe(&self) {
        let name = KeyName::from_const_str(self.name);
        let help = SharedString::const_str(self.help);
        metrics::with_recorder(|recorder| match self.kind {
            MetricKind::Counter => recorder.describe_counter(name, Some(self.unit), help),
            MetricKind::Gauge => recorder.describe_gauge(name, Some(self.unit), help),
            MetricKind::Histogram => recorder.describe_histogram(name, Some(self.unit), help),
        });
    }
}

impl Label {
    fn admit(&self, value: &str) -> SharedString {
        if self.values.is_empty() {
            return SharedString::from_owned(value.to_owned());
        }
        let known = self.values.iter().find(|known| **known == value);
        SharedString::const_str(known.unwrap_or(&OTHER))
    }
}

macro_rules! instrument {
    ($(#[$doc:meta])* $name:ident, $handle:ident, $register:ident) => {
        $(#[$doc])*
        ///
        /// The handle of a series is cheap to use and costs a look-up to get: where values come by
        /// the packet, get it once and keep it. A handle that was made before the recorder was
        /// installed goes nowhere for ever.
        #[derive(Debug, Clone, Copy)]
        pub struct $name(pub(crate) Metric);

        impl $name {
            /// The series with these label values, one for each label, in the declared order.
            pub fn with<const N: usize>(&self, values: [&str; N]) -> $handle {
                let key = self.0.key(values);
                metrics::with_recorder(|recorder| recorder.$register(&key, &METADATA))
            }

            /// The only series of a metric without labels.
            pub fn get(&self) -> $handle {
                self.with([])
            }

            /// Name, unit, labels and help text.
            pub const fn metric(&self) -> &Metric {
                &self.0
            }
        }
    };
}

instrument!(
    /// A metric that only grows.
    CounterMetric,
    Counter,
    register_counter
);
instrument!(
    /// A metric that goes up and down.
    GaugeMetric,
    Gauge,
    register_gauge
);
instrument!(
    /// A metric that counts observations by size.
    HistogramMetric,
    Histogram,
    register_histogram
);

pub(crate) const fn counter(
    name: &'static str,
    unit: Unit,
    labels: &'static [Label],
    help: &'static str,
) -> CounterMetric {
    CounterMetric(Metric { name, kind: MetricKind::Counter, unit, labels, help, buckets: &[] })
}

pub(crate) const fn gauge(
    name: &'static str,
    unit: Unit,
    labels: &'static [Label],
    help: &'static str,
) -> GaugeMetric {
    GaugeMetric(Metric { name, kind: MetricKind::Gauge, unit, labels, help, buckets: &[] })
}

pub(crate) const fn histogram(
    name: &'static str,
    unit: Unit,
    labels: &'static [Label],
    help: &'static str,
    buckets: &'static [f64],
) -> HistogramMetric {
    HistogramMetric(Metric { name, kind: MetricKind::Histogram, unit, labels, help, buckets })
}
