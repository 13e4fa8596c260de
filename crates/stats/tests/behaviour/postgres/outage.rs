//! The server goes away and comes back (invariant I7).

use std::sync::Arc;

use p2p_stats::postgres::migrate;
use p2p_stats::{Filter, PostgresStore, Recorder, Store as _};

use crate::conformance::records::direct;
use crate::server::Server;

const QUEUE: usize = 2_000;
const FIRST: i64 = 1_500;
const MEANWHILE: i64 = 5_000;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn i7_while_the_server_is_away_recording_goes_on_and_every_record_is_accounted_for() {
    let Some(server) = Server::start() else { return };
    let url = server.database();
    migrate(&url).await.unwrap();
    let store = Arc::new(PostgresStore::open(&url, None).await.unwrap());
    let recorder = Recorder::new(store.clone(), QUEUE);

    // Some of these are being written when the server crashes.
    for n in 0..FIRST {
        recorder.record(direct(&format!("a{n}"), n, 1, 2));
    }
    server.down();
    assert!(store.check().await.unwrap_err().is_away());
    for n in FIRST..FIRST + MEANWHILE {
        recorder.record(direct(&format!("a{n}"), n, 1, 2));
    }
    let recorded = (FIRST + MEANWHILE) as u64;
    assert!(recorder.dropped() > 0, "more came than the queue holds");
    assert!(recorder.queued() <= QUEUE);

    server.up();
    recorder.flush().await;
    assert_eq!(recorder.written() + recorder.dropped(), recorded);
    assert!(recorder.written() >= QUEUE as u64, "the queue was kept: {}", recorder.written());
    store.check().await.unwrap();
    let stored = store.summary(&Filter::default()).await.unwrap();
    assert_eq!((stored.attempts, stored.direct), (recorder.written(), recorder.written()));

    recorder.record(direct("afterwards", 1, 1, 2));
    recorder.shutdown().await;
    assert_eq!(recorder.written() + recorder.dropped(), recorded + 1);
    store.close().await;
}
