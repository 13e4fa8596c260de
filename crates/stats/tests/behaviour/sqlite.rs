//! The SQLite store: the conformance suite in memory and on a file, and what is SQLite's own.

use std::path::Path;
use std::time::Duration;

use crate::conformance::records::{begun, direct, relayed};
use crate::conformance::{model, promises};
use p2p_stats::{Filter, Retention, SqliteStore, StatsError, Store};
use p2p_wire::{AttemptId, Method, Outcome};
use proptest::prelude::*;
use proptest::test_runner::TestRunner;

/// Records in the tests carry small times, which no age limit would keep.
const FOR_EVER: Retention = Retention { max_attempts: 1_000_000, max_age: None };

macro_rules! conformance {
    ($($group:ident :: { $($test:ident),+ $(,)? }),+ $(,)?) => {
        mod in_memory { $($(
            #[tokio::test]
            async fn $test() {
                let store = p2p_stats::SqliteStore::in_memory().await.unwrap();
                crate::conformance::$group::$test(&store).await;
            }
        )+)+ }
        mod on_file { $($(
            #[tokio::test]
            async fn $test() {
                let folder = tempfile::tempdir().unwrap();
                let store = super::open(folder.path()).await;
                crate::conformance::$group::$test(&store).await;
                store.close().await;
            }
        )+)+ }
    };
}

promises!(conformance);

async fn open(folder: &Path) -> SqliteStore {
    SqliteStore::open_with(folder.join("stats.sqlite"), FOR_EVER).await.unwrap()
}

async fn ids(store: &SqliteStore) -> Vec<String> {
    let page = store.attempts(&Filter::default(), None, 200).await.unwrap();
    page.attempts.iter().map(|record| record.attempt.to_string()).collect()
}

#[test]
fn answers_agree_with_a_plain_model_on_any_records() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let mut runner = TestRunner::new(ProptestConfig { cases: 64, ..ProptestConfig::default() });
    let agree = |records: Vec<_>| {
        runtime.block_on(async {
            let store = SqliteStore::in_memory().await.unwrap();
            model::answers_agree_with_the_model(&store, &records).await;
        });
        Ok(())
    };
    runner.run(&model::records(), agree).unwrap();
}

#[tokio::test]
async fn attempts_survive_a_restart() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(folder.path()).await;
    store.record_attempt(&relayed("a", 1, 2)).await.unwrap();
    store.close().await;
    let store = open(folder.path()).await;
    store.record_attempt(&direct("a", 1, 2, 3)).await.unwrap();
    let kept = store.attempt(&AttemptId::new("a").unwrap()).await.unwrap().unwrap();
    assert_eq!(kept.outcome, Outcome::Direct);
}

#[tokio::test]
async fn a_missing_folder_is_made() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(&folder.path().join("not/yet")).await;
    store.record_attempt(&begun("a", 1)).await.unwrap();
    assert_eq!(ids(&store).await, ["a"]);
}

#[tokio::test]
async fn a_place_that_cannot_be_written_is_named_with_a_fix() {
    let folder = tempfile::tempdir().unwrap();
    let blocked = folder.path().join("file");
    std::fs::write(&blocked, "not a folder").unwrap();
    let is_folder = folder.path().join("folder");
    std::fs::create_dir(&is_folder).unwrap();
    for path in [blocked.join("stats.sqlite"), is_folder] {
        let error = SqliteStore::open(&path).await.err().unwrap();
        assert!(matches!(error, StatsError::Unwritable { .. }), "{error:?}");
        assert_eq!(error.code(), "stats_unwritable");
        assert!(error.to_string().contains(path.to_str().unwrap()), "{error}");
        assert!(error.fix().contains(path.to_str().unwrap()), "{}", error.fix());
    }
}

#[tokio::test]
async fn a_file_that_is_no_database_is_refused_and_left_alone() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("stats.sqlite");
    let text = "somebody's notes ".repeat(300);
    std::fs::write(&path, &text).unwrap();
    let error = SqliteStore::open(&path).await.err().unwrap();
    assert!(matches!(error, StatsError::NotADatabase { .. }), "{error:?}");
    assert_eq!(std::fs::read_to_string(&path).unwrap(), text);
}

#[tokio::test]
async fn a_database_of_a_newer_version_is_refused_with_a_fix() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("stats.sqlite");
    SqliteStore::open(&path).await.unwrap().close().await;
    let newer = sqlx::sqlite::SqlitePool::connect_with(
        sqlx::sqlite::SqliteConnectOptions::new().filename(&path),
    )
    .await
    .unwrap();
    sqlx::query(
        "INSERT INTO _sqlx_migrations (version, description, success, checksum, execution_time) \
         VALUES (9999, 'of the future', TRUE, x'00', 0)",
    )
    .execute(&newer)
    .await
    .unwrap();
    newer.close().await;
    let error = SqliteStore::open(&path).await.err().unwrap();
    assert_eq!(error.code(), "stats_migration", "{error:?}");
    assert!(error.fix().contains("newer version"), "{}", error.fix());
}

/// Every store here has connections of its own, as another process would.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn many_may_open_and_write_one_new_file_at_once() {
    const STORES: usize = 8;
    const EACH: usize = 20;
    let folder = tempfile::tempdir().unwrap();
    let tasks = (0..STORES).map(|store_number| {
        let folder = folder.path().to_owned();
        tokio::spawn(async move {
            let store = open(&folder).await;
            for n in 0..EACH {
                let own = direct(&format!("s{store_number}-{n}"), n as i64, 1, 2);
                let shared = begun("shared", 0);
                store.record_attempts(&[own, shared]).await.unwrap();
                store.summary(&Filter::default()).await.unwrap();
            }
        })
    });
    for task in tasks.collect::<Vec<_>>() {
        task.await.unwrap();
    }
    let summary = open(folder.path()).await.summary(&Filter::default()).await.unwrap();
    assert_eq!(summary.direct, (STORES * EACH) as u64);
    assert_eq!(summary.failed, 1);
}

#[tokio::test]
async fn i5_the_oldest_attempts_go_when_there_are_too_many_and_are_counted() {
    let retention = Retention { max_attempts: 3, max_age: None };
    let store = SqliteStore::in_memory_with(retention).await.unwrap();
    for (id, started) in [("c", 3), ("e", 5), ("a", 1), ("d", 4), ("b", 2)] {
        store.record_attempt(&begun(id, started)).await.unwrap();
    }
    assert_eq!(ids(&store).await, ["e", "d", "c"]);
    assert_eq!(store.trimmed(), 2);
}

#[tokio::test]
async fn attempts_past_the_age_limit_go_and_younger_ones_stay() {
    let age = Duration::from_secs(24 * 60 * 60);
    let retention = Retention { max_attempts: 10, max_age: Some(age) };
    let store = SqliteStore::in_memory_with(retention).await.unwrap();
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap();
    let ms = |time: Duration| i64::try_from(time.as_millis()).unwrap();
    let records = [begun("young", ms(now - age / 2)), begun("old", ms(now - age * 2))];
    store.record_attempts(&records).await.unwrap();
    assert_eq!(ids(&store).await, ["young"]);
    assert_eq!(store.trimmed(), 1);
}

#[tokio::test]
async fn a_reopened_store_is_cut_to_its_bound() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(folder.path()).await;
    let records: Vec<_> = (0..10).map(|n| begun(&format!("a{n}"), n)).collect();
    store.record_attempts(&records).await.unwrap();
    store.close().await;
    let retention = Retention { max_attempts: 4, max_age: None };
    let path = folder.path().join("stats.sqlite");
    let store = SqliteStore::open_with(path, retention).await.unwrap();
    assert_eq!(ids(&store).await, ["a9", "a8", "a7", "a6"]);
}

/// A reader does not wait for a writer that holds its lock, nor see what is not committed.
#[tokio::test]
async fn reading_goes_on_while_another_process_writes() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(folder.path()).await;
    store.record_attempt(&begun("a", 1)).await.unwrap();
    let options =
        sqlx::sqlite::SqliteConnectOptions::new().filename(folder.path().join("stats.sqlite"));
    let other = sqlx::sqlite::SqlitePool::connect_with(options).await.unwrap();
    let mut writing = other.begin_with("BEGIN IMMEDIATE").await.unwrap();
    sqlx::query("DELETE FROM attempts").execute(&mut *writing).await.unwrap();
    assert_eq!(ids(&store).await, ["a"]);
    writing.commit().await.unwrap();
    assert_eq!(ids(&store).await, Vec::<String>::new());
}

#[tokio::test]
async fn every_earlier_version_is_brought_up_to_date_with_what_it_holds() {
    for version in p2p_stats::sqlite::MIGRATIONS.iter().map(|migration| migration.version) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("stats.sqlite");
        let options = sqlx::sqlite::SqliteConnectOptions::new().filename(&path);
        let old = sqlx::sqlite::SqlitePool::connect_with(options.create_if_missing(true)).await;
        let old = old.unwrap();
        let mut connection = old.acquire().await.unwrap();
        let migrations = &p2p_stats::sqlite::MIGRATIONS;
        migrations.run_direct(Some(version), &mut *connection, false).await.unwrap();
        let written = "INSERT INTO attempts (attempt, app, caller, callee, caller_nat_type, \
             callee_nat_type, caller_nat, callee_nat, policy, plan, started_unix_ms, outcome, \
             method, connected_ms, direct_ms, caller_steps, callee_steps, verdict, reason) \
             VALUES ('old', 'default', 'alice', 'bob', 'Open', \
             'Symmetric', NULL, NULL, 'auto', '[]', 3600000, 'relay', 'relay', 7, NULL, \
             '[{\"method\":\"udp-hole-punch\",\"result\":\"failed\",\"ms\":1,\"detail\":\"\"}]', \
             '[]', 'on the relay', NULL)";
        sqlx::query(written).execute(&mut *connection).await.unwrap();
        drop(connection);
        old.close().await;

        let store = open(folder.path()).await;
        assert_eq!(ids(&store).await, ["old"], "from version {version}");
        let methods = store.methods(&Filter::default()).await.unwrap();
        let told: Vec<_> = methods.iter().map(|c| (c.method, c.tried, c.worked)).collect();
        let expected = [(Method::UdpHolePunch, 1, 0), (Method::Relay, 1, 1)];
        assert_eq!(told, expected, "from version {version}");
        store.close().await;
    }
}

#[tokio::test]
async fn the_attempts_of_one_app_are_found_by_its_index() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("stats.sqlite");
    SqliteStore::open(&path).await.unwrap().close().await;
    let page = p2p_stats::sqlite::statements()
        .into_iter()
        .find(|statement| {
            statement.contains("WHERE app = ?1 AND started_unix_ms") && statement.contains("LIMIT")
        })
        .expect("a statement for one app");
    let file = sqlx::sqlite::SqliteConnectOptions::new().filename(&path);
    let pool = sqlx::sqlite::SqlitePool::connect_with(file).await.unwrap();
    let explain = sqlx::AssertSqlSafe(format!("EXPLAIN QUERY PLAN {page}"));
    let explain = sqlx::query(explain).bind("app").bind(0).bind(9).bind("x").bind(10).bind(9);
    let rows = explain.fetch_all(&pool).await.unwrap();
    let plan: Vec<String> = rows.iter().map(|row| sqlx::Row::get(row, "detail")).collect();
    assert!(plan[0].contains("attempts_by_app (app=?"), "{plan:?}");
}
