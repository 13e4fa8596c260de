//! What questions cost, and whom they keep waiting.

use std::sync::Arc;

use p2p_stats::{Filter, Store as _};
use sqlx::{AssertSqlSafe, Connection as _, Row as _};
use tokio::task::JoinSet;

use super::store;
use crate::conformance::records::begun;

/// As many as an instance has connections for answers.
const READERS: i64 = 4;

#[tokio::test]
async fn i7_slow_questions_keep_nobody_from_recording() {
    let Some((store, url)) = store().await else { return };
    let store = Arc::new(store);
    store.record_attempt(&begun("a", 1)).await.unwrap();
    // What makes them slow: questions read what is rolled up, and recording does not.
    let mut other = sqlx::PgConnection::connect(&url).await.unwrap();
    let mut locking = other.begin().await.unwrap();
    let lock = "LOCK TABLE rollup_counts IN ACCESS EXCLUSIVE MODE";
    sqlx::query(lock).execute(&mut *locking).await.unwrap();
    let mut asked = JoinSet::new();
    for _ in 0..20 {
        let store = store.clone();
        asked.spawn(async move { store.summary(&Filter::default()).await });
    }
    let waiting =
        "SELECT count(*) FROM pg_locks WHERE NOT granted AND relation = 'rollup_counts'::regclass";
    while sqlx::query(waiting).fetch_one(&mut *locking).await.unwrap().get::<i64, _>(0) < READERS {
        tokio::task::yield_now().await;
    }
    store.record_attempt(&begun("b", 2)).await.expect("recording goes on");
    store.check().await.expect("and the database is there");
    locking.rollback().await.unwrap();
    asked.shutdown().await;
}

/// Whatever the parameters are: a statement that is asked often is planned once.
#[tokio::test]
async fn the_attempts_of_one_app_are_found_by_its_index() {
    let Some((_store, url)) = store().await else { return };
    let page = p2p_stats::postgres::statements()
        .into_iter()
        .find(|statement| statement.contains("WHERE app = $1 AND started_unix_ms"))
        .expect("a statement for one app");
    let mut connection = sqlx::PgConnection::connect(&url).await.unwrap();
    for sql in [
        "SET plan_cache_mode = force_generic_plan; SET enable_seqscan = off; SET enable_sort = off",
        &format!("PREPARE page(text, bigint, bigint, text, bigint, bigint) AS {page}"),
    ] {
        sqlx::raw_sql(AssertSqlSafe(sql)).execute(&mut connection).await.unwrap();
    }
    let explain = "EXPLAIN EXECUTE page('app', 0, 9, 'x', 10, 9)";
    let rows = sqlx::raw_sql(explain).fetch_all(&mut connection).await.unwrap();
    let plan: Vec<String> = rows.iter().map(|row| row.get(0)).collect();
    let plan = plan.join("\n");
    assert!(plan.contains("Index Cond: ((app = $1)"), "{plan}");
}
