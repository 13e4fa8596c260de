//! The recorder behind `/metrics`: text on request, no listener of its own.

use std::sync::Mutex;
use std::time::{SystemTime, UNIX_EPOCH};

use metrics_exporter_prometheus::{BuildError, Matcher, PrometheusBuilder, PrometheusHandle};

use crate::metrics::{self, BUILD_INFO, START_TIME, describe_all};

/// What renders the metrics of this process.
#[derive(Clone)]
pub struct Exporter(PrometheusHandle);

/// The recorder cannot be installed.
#[derive(Debug, thiserror::Error)]
#[error("the metrics recorder cannot be installed: {0}")]
pub struct InstallError(#[from] BuildError);

/// The process has one recorder, however many services run in it.
static INSTALLED: Mutex<Option<Exporter>> = Mutex::new(None);

/// Installs the recorder, or returns the one that is installed.
///
/// Several services in one process, and several tests in one binary, share it: their counts add up.
/// Must come before the first metric handle is made.
pub fn install(version: &str) -> Result<Exporter, InstallError> {
    let mut installed = INSTALLED.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    if let Some(exporter) = &*installed {
        return Ok(exporter.clone());
    }
    let mut builder = PrometheusBuilder::new();
    for metric in metrics::all().filter(|metric| !metric.buckets.is_empty()) {
        let name = Matcher::Full(metric.name.to_owned());
        builder = builder.set_buckets_for_metric(name, metric.buckets)?;
    }
    let exporter = Exporter(builder.install_recorder()?);
    describe_all();
    BUILD_INFO.with([version]).set(1.0);
    let since_1970 = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    START_TIME.get().set(since_1970.as_secs_f64());
    *installed = Some(exporter.clone());
    Ok(exporter)
}

impl Exporter {
    /// The metrics in the Prometheus text format.
    ///
    /// Also folds the histograms' raw observations into their buckets, which bounds the memory they
    /// take; where nobody scrapes, [`Exporter::upkeep`] does it.
    pub fn render(&self) -> String {
        self.0.run_upkeep();
        self.0.render()
    }

    /// Folds raw observations into buckets. To be called every few seconds.
    pub fn upkeep(&self) {
        self.0.run_upkeep();
    }
}
