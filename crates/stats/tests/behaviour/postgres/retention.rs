//! Days come and go by partition.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use p2p_stats::postgres::migrate;
use p2p_stats::{Filter, PostgresStore, Store as _};
use sqlx::{AssertSqlSafe, Connection as _, Row as _};

use super::execute;
use crate::conformance::records::begun;
use crate::server::Server;

const DAY: i64 = 24 * 60 * 60 * 1000;

fn now() -> i64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    i64::try_from(now.as_millis()).unwrap()
}

/// The partitions, and how many attempts each has.
async fn partitions(url: &str) -> Vec<(String, i64)> {
    let mut connection = sqlx::PgConnection::connect(url).await.unwrap();
    let rows = sqlx::query(
        "SELECT c.relname::text AS name, (SELECT COUNT(*) FROM attempts a WHERE a.tableoid = c.oid) \
         FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid \
         WHERE i.inhparent = 'attempts'::regclass ORDER BY 1",
    )
    .fetch_all(&mut connection)
    .await
    .unwrap();
    connection.close().await.unwrap();
    rows.iter().map(|row| (row.get(0), row.get(1))).collect()
}

async fn store(max_age: Duration) -> Option<(PostgresStore, String)> {
    let url = Server::shared()?.database();
    migrate(&url).await.unwrap();
    Some((PostgresStore::open(&url, Some(max_age)).await.unwrap(), url))
}

async fn ids(store: &PostgresStore) -> Vec<String> {
    let page = store.attempts(&Filter::default(), None, 200).await.unwrap();
    page.attempts.iter().map(|record| record.attempt.to_string()).collect()
}

#[tokio::test]
async fn every_day_has_a_partition_and_the_next_ones_are_there_before_they_begin() {
    let Some((store, url)) = store(Duration::from_secs(30 * 86_400)).await else { return };
    assert_eq!(store.maintain().await.unwrap().days_added, 3);
    assert_eq!(store.maintain().await.unwrap().days_added, 0);
    let records = [begun("today", now()), begun("yesterday", now() - DAY)];
    store.record_attempts(&records).await.unwrap();
    let partitions = partitions(&url).await;
    let counts: Vec<i64> = partitions.iter().map(|(_, attempts)| *attempts).collect();
    assert_eq!(
        counts,
        [1, 1, 0, 0, 0],
        "yesterday to the day after tomorrow, default: {partitions:?}"
    );
    assert!(partitions[4].0.ends_with("default"));
}

#[tokio::test]
async fn i5_days_past_the_retention_are_dropped_with_their_rollups() {
    let Some((store, url)) = store(Duration::from_secs(3 * 86_400)).await else { return };
    // Written while they were young: by a store that keeps everything.
    let keeper = PostgresStore::open(&url, None).await.unwrap();
    let old: Vec<_> = (4..8).map(|days| begun(&format!("old{days}"), now() - days * DAY)).collect();
    keeper.record_attempts(&old).await.unwrap();
    keeper.record_attempts(&[begun("first", i64::MIN), begun("young", now() - DAY)]).await.unwrap();
    keeper.roll_up(i64::MAX).await.unwrap();
    assert_eq!(keeper.summary(&Filter::default()).await.unwrap().attempts, 6);
    assert_eq!(partitions(&url).await.len(), 6);

    let done = store.maintain().await.unwrap();
    assert_eq!(done.removed, 5);
    assert_eq!(ids(&store).await, ["young"]);
    assert_eq!(store.summary(&Filter::default()).await.unwrap().attempts, 1);
    assert_eq!(partitions(&url).await.len(), 1 + 3 + 1);
    assert_eq!(store.maintain().await.unwrap().removed, 0);
}

#[tokio::test]
async fn an_attempt_that_comes_after_its_day_is_gone_goes_with_the_next_round() {
    let Some((store, url)) = store(Duration::from_secs(3 * 86_400)).await else { return };
    store.record_attempt(&begun("late", now() - 9 * DAY)).await.unwrap();
    assert_eq!(ids(&store).await, ["late"]);
    assert_eq!(partitions(&url).await, [("attempts_default".to_owned(), 1)]);
    assert_eq!(store.maintain().await.unwrap().removed, 1);
    assert_eq!(ids(&store).await, Vec::<String>::new());
    assert_eq!(store.summary(&Filter::default()).await.unwrap().attempts, 0);
}

/// Clocks of instances differ: a day may have attempts before it has a partition.
#[tokio::test]
async fn attempts_from_the_future_move_to_their_day_when_it_comes() {
    let Some((store, url)) = store(Duration::from_secs(30 * 86_400)).await else { return };
    let ahead = now() + 5 * DAY;
    store.record_attempt(&begun("ahead", ahead)).await.unwrap();
    assert_eq!(partitions(&url).await, [("attempts_default".to_owned(), 1)]);
    let day = ahead.div_euclid(DAY);
    let mut connection = sqlx::PgConnection::connect(&url).await.unwrap();
    let add = sqlx::query("SELECT attempts_add_day($1)").bind(day);
    add.execute(&mut connection).await.unwrap();
    connection.close().await.unwrap();
    let counts: Vec<i64> = partitions(&url).await.iter().map(|(_, attempts)| *attempts).collect();
    assert_eq!(counts, [1, 0]);
    assert_eq!(ids(&store).await, ["ahead"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn several_may_maintain_one_database_at_once() {
    let Some((store, url)) = store(Duration::from_secs(3 * 86_400)).await else { return };
    let keeper = PostgresStore::open(&url, None).await.unwrap();
    let old: Vec<_> = (0..9).map(|days| begun(&format!("a{days}"), now() - days * DAY)).collect();
    keeper.record_attempts(&old).await.unwrap();
    let mut stores = vec![store];
    for _ in 0..3 {
        let three_days = Some(Duration::from_secs(3 * 86_400));
        stores.push(PostgresStore::open(&url, three_days).await.unwrap());
    }
    let tasks: Vec<_> = stores
        .into_iter()
        .map(|store| tokio::spawn(async move { store.maintain().await.unwrap().removed }))
        .collect();
    let mut removed = 0;
    for task in tasks {
        removed += task.await.unwrap();
    }
    assert_eq!(removed, 5, "each attempt is removed, and counted, by one of them");
    assert_eq!(ids(&keeper).await, ["a0", "a1", "a2", "a3"]);
    assert_eq!(execute(&url, "SELECT FROM attempts").await, 4);
}

#[tokio::test]
async fn rollups_are_looked_through_when_the_day_changes_and_not_every_minute() {
    let Some((store, url)) = store(Duration::from_secs(3 * 86_400)).await else { return };
    store.maintain().await.unwrap();
    // What no instance leaves behind.
    execute(&url, "INSERT INTO relay_hours VALUES (1, 'app', 'eu', 1, 1, 1, 1, 1, 1)").await;
    store.maintain().await.unwrap();
    assert_eq!(execute(&url, "SELECT FROM relay_hours").await, 1, "nobody looked");
    store.record_attempt(&begun("late", now() - 9 * DAY)).await.unwrap();
    store.maintain().await.unwrap();
    assert_eq!(execute(&url, "SELECT FROM relay_hours").await, 0, "something was removed");
}

#[tokio::test]
async fn each_day_that_is_past_the_retention_goes_by_itself() {
    let Some((store, url)) = store(Duration::from_secs(3 * 86_400)).await else { return };
    let keeper = PostgresStore::open(&url, None).await.unwrap();
    let old: Vec<_> = [5, 6].map(|days| begun(&format!("old{days}"), now() - days * DAY)).into();
    keeper.record_attempts(&old).await.unwrap();
    // Somebody reads the second one, and does not come to an end.
    let (second, _) = partitions(&url).await[1].clone();
    let mut reader = sqlx::PgConnection::connect(&url).await.unwrap();
    let mut reading = reader.begin().await.unwrap();
    let read = format!("LOCK TABLE {second} IN ACCESS SHARE MODE");
    sqlx::raw_sql(AssertSqlSafe(read)).execute(&mut *reading).await.unwrap();
    store.maintain().await.unwrap_err();
    reading.rollback().await.unwrap();
    assert_eq!(ids(&keeper).await, ["old5"], "the first is gone all the same");
    assert_eq!(store.maintain().await.unwrap().removed, 1);
}
