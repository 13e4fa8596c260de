//! The schema's versions, and databases that are not what they should be.

use p2p_stats::postgres::{MIGRATIONS, migrate};
use p2p_stats::{Filter, PostgresStore, Store as _};
use p2p_wire::Method;
use sqlx::Connection as _;

use super::execute;
use crate::conformance::records::direct;
use crate::server::Server;

/// What the first version wrote.
const WRITTEN_BY_VERSION_1: &str = "INSERT INTO attempts VALUES ('old', 'default', 'alice', 'bob', \
     'Open', 'Symmetric', NULL, NULL, 'auto', '[]', 86400000, 'relay', 'relay', 7, NULL, '[]', \
     '[]', 'on the relay', NULL)";

/// What version 2 marks in the same transaction.
const MARKED_BY_VERSION_2: &str =
    "INSERT INTO rollups_stale VALUES ('hour', 24), ('day', 1) ON CONFLICT DO NOTHING";

/// How version 2 rolls that hour and day up, as far as it reaches what later versions read.
const ROLLED_UP_BY_VERSION_2: [&str; 6] = [
    "DELETE FROM rollup_counts WHERE span = 'hour' AND day = 1 AND hour = 24",
    "INSERT INTO rollup_counts \
     SELECT 'hour', 1, 24, app, caller_nat_type, callee_nat_type, outcome, method, COUNT(*) \
     FROM attempts WHERE started_unix_ms BETWEEN 86400000 AND 89999999 \
     GROUP BY app, caller_nat_type, callee_nat_type, outcome, method",
    "DELETE FROM rollups_stale WHERE span = 'hour' AND start = 24",
    "DELETE FROM rollup_counts WHERE span = 'day' AND day = 1 AND hour = 24",
    "INSERT INTO rollup_counts \
     SELECT 'day', 1, 24, app, caller_nat_type, callee_nat_type, outcome, method, SUM(attempts) \
     FROM rollup_counts WHERE span = 'hour' AND day = 1 \
     GROUP BY app, caller_nat_type, callee_nat_type, outcome, method",
    "DELETE FROM rollups_stale WHERE span = 'day' AND start = 1",
];

fn versions() -> Vec<i64> {
    MIGRATIONS.iter().map(|migration| migration.version).collect()
}

#[tokio::test]
async fn an_empty_database_gets_the_whole_schema_once() {
    let Some(server) = Server::shared() else { return };
    let url = server.database();
    let applied: Vec<i64> =
        migrate(&url).await.unwrap().iter().map(|applied| applied.version).collect();
    assert_eq!(applied, versions());
    assert_eq!(migrate(&url).await.unwrap(), []);
}

#[tokio::test]
async fn every_earlier_version_is_brought_up_to_date_with_what_it_holds() {
    let Some(server) = Server::shared() else { return };
    for version in versions() {
        let url = server.database();
        let mut connection = sqlx::PgConnection::connect(&url).await.unwrap();
        MIGRATIONS.run_direct(Some(version), &mut connection, false).await.unwrap();
        connection.close().await.unwrap();
        execute(&url, WRITTEN_BY_VERSION_1).await;
        if version >= 2 {
            execute(&url, MARKED_BY_VERSION_2).await;
        }

        let applied = migrate(&url).await.unwrap();
        let expected: Vec<i64> = versions().into_iter().filter(|later| *later > version).collect();
        assert_eq!(applied.iter().map(|a| a.version).collect::<Vec<_>>(), expected);
        let store = PostgresStore::open(&url, None).await.unwrap();
        store.record_attempt(&direct("new", 86_400_001, 1, 2)).await.unwrap();
        for rolled_up in [false, true] {
            if rolled_up {
                store.roll_up(i64::MAX).await.unwrap();
            }
            let summary = store.summary(&Filter::default()).await.unwrap();
            assert_eq!((summary.direct, summary.relay), (1, 1), "from version {version}");
            let methods = store.methods(&Filter::default()).await.unwrap();
            let told: Vec<_> = methods.iter().map(|c| (c.method, c.tried, c.worked)).collect();
            let expected = [(Method::Relay, 1, 1), (Method::UdpHolePunch, 1, 1)];
            assert_eq!(told, expected, "from version {version}");
        }
        let kept = store.attempts(&Filter::default(), None, 10).await.unwrap().attempts;
        let kept: Vec<_> = kept.iter().map(|record| record.attempt.as_str()).collect();
        assert_eq!(kept, ["new", "old"], "from version {version}");
    }
}

/// An instance of version 2 is still at work after the migration: it writes, marks and rolls up in
/// its own way.
#[tokio::test]
async fn an_instance_of_the_version_before_histograms_may_go_on_beside_this_one() {
    let Some(server) = Server::shared() else { return };
    let url = server.database();
    migrate(&url).await.unwrap();
    let store = PostgresStore::open(&url, None).await.unwrap();
    store.record_attempt(&direct("new", 86_400_001, 1, 2)).await.unwrap();
    store.roll_up(i64::MAX).await.unwrap();

    execute(&url, MARKED_BY_VERSION_2).await;
    execute(&url, WRITTEN_BY_VERSION_1).await;
    for rolled_up_by_it in [false, true] {
        if rolled_up_by_it {
            for statement in ROLLED_UP_BY_VERSION_2 {
                execute(&url, statement).await;
            }
        }
        let summary = store.summary(&Filter::default()).await.unwrap();
        assert_eq!((summary.direct, summary.relay), (1, 1), "{rolled_up_by_it}");
        assert_eq!(store.methods(&Filter::default()).await.unwrap().len(), 2);
    }
    assert_eq!(store.roll_up(i64::MAX).await.unwrap(), 2, "its hour and its day");
    let summary = store.summary(&Filter::default()).await.unwrap();
    assert_eq!((summary.direct, summary.relay), (1, 1));

    // What this version writes and rolls up stays marked for that one, which reads the attempts.
    store.record_attempt(&direct("newer", 86_400_002, 1, 2)).await.unwrap();
    store.roll_up(i64::MAX).await.unwrap();
    let marked = "SELECT FROM rollups_stale WHERE (span, start) IN (('hour', 24), ('day', 1))";
    assert_eq!(execute(&url, marked).await, 2);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn several_may_migrate_one_database_at_once() {
    let Some(server) = Server::shared() else { return };
    let url = server.database();
    let tasks: Vec<_> = (0..6)
        .map(|_| {
            let url = url.clone();
            tokio::spawn(async move { migrate(&url).await.unwrap() })
        })
        .collect();
    for task in tasks {
        task.await.unwrap();
    }
    PostgresStore::open(&url, None).await.unwrap();
}

#[tokio::test]
async fn a_database_without_the_schema_is_refused_with_the_command_that_makes_it() {
    let Some(server) = Server::shared() else { return };
    let url = server.database();
    for version in [None, Some(1)] {
        if version.is_some() {
            let mut connection = sqlx::PgConnection::connect(&url).await.unwrap();
            MIGRATIONS.run_direct(version, &mut connection, false).await.unwrap();
        }
        let error = PostgresStore::open(&url, None).await.err().unwrap();
        assert_eq!(error.code(), "stats_unmigrated", "{error}");
        assert!(error.fix().contains("coordinator migrate"), "{}", error.fix());
    }
}

/// What the next version may do without this one noticing.
const MIGRATED_BY_THE_NEXT: [&str; 2] = [
    "ALTER TABLE attempts ADD COLUMN of_the_future text",
    "INSERT INTO _sqlx_migrations (version, description, success, checksum, execution_time) \
     VALUES (9999, 'of the future', TRUE, '\\x00', 0)",
];

#[tokio::test]
async fn a_newer_schema_that_serves_this_version_is_written_to_and_read_from() {
    let Some(server) = Server::shared() else { return };
    let url = server.database();
    migrate(&url).await.unwrap();
    for statement in MIGRATED_BY_THE_NEXT {
        execute(&url, statement).await;
    }
    assert_eq!(migrate(&url).await.unwrap(), [], "it is left alone");
    let store = PostgresStore::open(&url, None).await.unwrap();
    store.record_attempt(&direct("old", 86_400_001, 1, 2)).await.unwrap();
    store.roll_up(i64::MAX).await.unwrap();
    assert_eq!(store.summary(&Filter::default()).await.unwrap().direct, 1);
}

#[tokio::test]
async fn a_newer_schema_that_does_not_serve_this_version_is_refused_and_left_alone() {
    let Some(server) = Server::shared() else { return };
    let url = server.database();
    migrate(&url).await.unwrap();
    for statement in MIGRATED_BY_THE_NEXT {
        execute(&url, statement).await;
    }
    execute(&url, "UPDATE schema_serves SET oldest = 9999").await;
    for error in
        [PostgresStore::open(&url, None).await.err().unwrap(), migrate(&url).await.unwrap_err()]
    {
        assert_eq!(error.code(), "stats_migration", "{error}");
        assert!(error.fix().contains("newer version"), "{}", error.fix());
    }
}

#[tokio::test]
async fn an_address_that_cannot_be_used_is_refused_without_its_password() {
    for url in ["mysql://u:hunter2@h/d", "postgres://u:hunter2@h:port/d", "hunter2"] {
        let error = PostgresStore::open(url, None).await.err().unwrap();
        assert_eq!(error.code(), "stats_bad_url", "{error}");
        let said = format!("{error} {error:?} {}", error.fix());
        assert!(!said.contains("hunter2"), "{said}");
    }
    // Port 1 is reserved, and nobody serves it.
    let error = PostgresStore::open("postgres://u:hunter2@127.0.0.1:1/d", None).await.err();
    let error = error.unwrap();
    assert_eq!(error.code(), "stats_away", "{error}");
    assert!(!format!("{error} {error:?}").contains("hunter2"));
}
