//! What holds for every metric.

use std::collections::HashSet;

use super::*;
use crate::instrument::MetricKind;

#[test]
fn names_are_unique() {
    let mut seen = HashSet::new();
    for metric in all() {
        assert!(seen.insert(metric.name), "{} is there twice", metric.name);
    }
}

#[test]
fn names_are_prefixed_snake_case() {
    for Metric { name, .. } in all() {
        assert!(name.starts_with("p2p_"), "{name}");
        assert!(name.chars().all(|c| c.is_ascii_lowercase() || "_0123456789".contains(c)));
    }
}

#[test]
fn counters_and_only_they_end_in_total() {
    for Metric { name, kind, .. } in all() {
        assert_eq!(name.ends_with("_total"), *kind == MetricKind::Counter, "{name}");
    }
}

#[test]
fn names_end_in_their_base_unit() {
    for Metric { name, unit, .. } in all() {
        let stem = name.trim_end_matches("_total");
        let named = match unit {
            Unit::Seconds => stem.ends_with("_seconds"),
            Unit::Bytes => stem.ends_with("_bytes"),
            Unit::Count => !stem.ends_with("_seconds") && !stem.ends_with("_bytes"),
            other => panic!("{name} is in {other:?}, which is no base unit"),
        };
        assert!(named, "{name} is in {unit:?}");
    }
}

#[test]
fn help_texts_are_sentences() {
    for Metric { name, help, .. } in all() {
        assert!(help.ends_with('.') && help.len() > 10, "{name}: {help:?}");
    }
}

#[test]
fn histograms_and_only_they_have_growing_buckets() {
    for Metric { name, kind, buckets, .. } in all() {
        assert_eq!(*kind == MetricKind::Histogram, !buckets.is_empty(), "{name}");
        assert!(buckets.is_sorted_by(|a, b| a < b), "{name}");
    }
}

#[test]
fn i5_every_label_is_bounded_and_no_metric_has_many_series() {
    for Metric { name, labels, buckets, .. } in all() {
        let mut series = buckets.len() + 1;
        for label in *labels {
            let values: HashSet<_> = label.values.iter().collect();
            assert_eq!(values.len(), label.values.len(), "{name}: {} repeats", label.name);
            assert!(!values.contains(&crate::instrument::OTHER), "{name}: {}", label.name);
            assert!(!["le", "quantile"].contains(&label.name), "{name}");
            // Only the build's version is free, and a process has one.
            assert!(!label.values.is_empty() || *name == "p2p_build_info", "{name}");
            series *= values.len() + 1;
        }
        assert!(series <= 2_000, "{name} may have {series} series");
    }
}
