//! Counts, rates, percentiles and the matrix, on cases small enough to check by hand.

use p2p_stats::{Filter, NatCell, Percentiles, Store, Summary};
use p2p_wire::{Method, NatType};

use super::records::{begun, between, direct, relayed};

pub(crate) async fn nothing_recorded_means_no_rate_and_no_time(store: &dyn Store) {
    assert_eq!(store.summary(&Filter::default()).await.unwrap(), Summary::default());
    assert_eq!(store.nat_matrix(&Filter::default()).await.unwrap(), []);
}

pub(crate) async fn a_summary_counts_outcomes_and_ranks_times(store: &dyn Store) {
    for n in 1..=20 {
        store.record_attempt(&direct(&format!("d{n}"), n, n as u64, 100 + n as u64)).await.unwrap();
    }
    for n in 1..=4 {
        store.record_attempt(&relayed(&format!("r{n}"), n, 1_000)).await.unwrap();
    }
    store.record_attempt(&begun("f", 1)).await.unwrap();
    let summary = store.summary(&Filter::default()).await.unwrap();
    assert_eq!((summary.attempts, summary.direct), (25, 20));
    assert_eq!((summary.relay, summary.failed), (4, 1));
    assert_eq!(summary.success_rate, Some(24.0 / 25.0));
    assert_eq!(summary.relay_share, Some(4.0 / 24.0));
    // 24 connected: rank 12 of them, and rank 23, which is a relayed one.
    assert_eq!(summary.connect_ms, Percentiles { p50: Some(12), p95: Some(1_000) });
    // 20 direct: ranks 10 and 19.
    assert_eq!(summary.direct_ms, Percentiles { p50: Some(110), p95: Some(119) });
    let methods: Vec<_> = summary.by_method.iter().map(|m| (m.method, m.attempts)).collect();
    assert_eq!(methods, [(Method::UdpHolePunch, 20), (Method::Relay, 4)]);
    assert_eq!(summary.by_method[0].connect_ms, Percentiles { p50: Some(10), p95: Some(19) });
    assert_eq!(summary.by_method[1].share, 4.0 / 25.0);
}

pub(crate) async fn the_matrix_has_a_cell_for_each_pair_in_each_direction(store: &dyn Store) {
    use NatType::{FullCone, Symmetric, Unknown};
    let records = [
        between(FullCone, Symmetric, direct("a", 1, 5, 50)),
        between(FullCone, Symmetric, direct("b", 2, 5, 30)),
        between(FullCone, Symmetric, relayed("c", 3, 5)),
        between(Symmetric, FullCone, relayed("d", 4, 5)),
        begun("e", 5),
    ];
    store.record_attempts(&records).await.unwrap();
    let cell = |caller, callee, [attempts, direct, relay, failed]: [u64; 4], direct_ms_p50| {
        NatCell { caller, callee, attempts, direct, relay, failed, direct_ms_p50 }
    };
    assert_eq!(
        store.nat_matrix(&Filter::default()).await.unwrap(),
        [
            cell(FullCone, Symmetric, [3, 2, 1, 0], Some(30)),
            cell(Symmetric, FullCone, [1, 0, 1, 0], None),
            cell(Unknown, Unknown, [1, 0, 0, 1], None),
        ]
    );
}
