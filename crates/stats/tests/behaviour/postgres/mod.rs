//! The PostgreSQL store on a real server: the conformance suite, as written and as rolled up, and
//! what is PostgreSQL's own. Every test has a database of its own.

mod outage;
mod questions;
mod retention;
mod schema;
mod writers;

use p2p_stats::postgres::migrate;
use p2p_stats::{
    AttemptRecord, Cursor, Filter, MethodCell, NatCell, Page, PostgresStore, RelayRecord,
    SessionRecord, Store, StoreFuture, Summary, Usage,
};
use p2p_wire::{AttemptId, Step, StepResult};
use proptest::prelude::*;
use proptest::test_runner::TestRunner;
use sqlx::Connection as _;

use crate::conformance::records::{begun, direct, relayed};
use crate::conformance::{model, promises};
use crate::server::Server;

macro_rules! conformance {
    ($($group:ident :: { $($test:ident),+ $(,)? }),+ $(,)?) => {
        mod as_written { $($(
            #[tokio::test]
            async fn $test() {
                let Some((store, _)) = super::store().await else { return };
                crate::conformance::$group::$test(&store).await;
            }
        )+)+ }
        mod rolled_up { $($(
            #[tokio::test]
            async fn $test() {
                let Some((store, _)) = super::store().await else { return };
                crate::conformance::$group::$test(&super::RolledUp(store)).await;
            }
        )+)+ }
    };
}

promises!(conformance);

/// A store on an empty database that keeps everything, and the database's URL; `None` where there
/// is no PostgreSQL.
async fn store() -> Option<(PostgresStore, String)> {
    let url = Server::shared()?.database();
    migrate(&url).await.unwrap();
    Some((PostgresStore::open(&url, None).await.unwrap(), url))
}

/// Runs a statement beside the store.
async fn execute(url: &str, sql: &'static str) -> u64 {
    let mut connection = sqlx::PgConnection::connect(url).await.unwrap();
    let result = sqlx::query(sql).execute(&mut connection).await.unwrap();
    connection.close().await.unwrap();
    result.rows_affected()
}

/// A store that rolls everything up before it answers.
struct RolledUp(PostgresStore);

impl Store for RolledUp {
    fn record_attempts<'a>(&'a self, records: &'a [AttemptRecord]) -> StoreFuture<'a, ()> {
        self.0.record_attempts(records)
    }

    fn record_sessions<'a>(&'a self, records: &'a [SessionRecord]) -> StoreFuture<'a, ()> {
        self.0.record_sessions(records)
    }

    fn record_relays<'a>(&'a self, records: &'a [RelayRecord]) -> StoreFuture<'a, ()> {
        self.0.record_relays(records)
    }

    fn attempt<'a>(&'a self, id: &'a AttemptId) -> StoreFuture<'a, Option<AttemptRecord>> {
        self.0.attempt(id)
    }

    fn attempts<'a>(
        &'a self,
        filter: &'a Filter,
        after: Option<&'a Cursor>,
        limit: usize,
    ) -> StoreFuture<'a, Page> {
        self.0.attempts(filter, after, limit)
    }

    fn summary<'a>(&'a self, filter: &'a Filter) -> StoreFuture<'a, Summary> {
        Box::pin(async {
            self.0.roll_up(i64::MAX).await?;
            self.0.summary(filter).await
        })
    }

    fn nat_matrix<'a>(&'a self, filter: &'a Filter) -> StoreFuture<'a, Vec<NatCell>> {
        Box::pin(async {
            self.0.roll_up(i64::MAX).await?;
            self.0.nat_matrix(filter).await
        })
    }

    fn methods<'a>(&'a self, filter: &'a Filter) -> StoreFuture<'a, Vec<MethodCell>> {
        Box::pin(async {
            self.0.roll_up(i64::MAX).await?;
            self.0.methods(filter).await
        })
    }

    fn usage<'a>(&'a self, filter: &'a Filter) -> StoreFuture<'a, Usage> {
        Box::pin(async {
            self.0.roll_up(i64::MAX).await?;
            self.0.usage(filter).await
        })
    }
}

/// The attempts span days, hours and parts of hours; some are rolled up when others come, which
/// change them or their hours.
#[test]
fn answers_agree_with_a_plain_model_however_much_is_rolled_up() {
    const QUARTER_HOUR: i64 = 15 * 60 * 1000;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let Some((store, url)) = runtime.block_on(store()) else { return };
    let mut runner = TestRunner::new(ProptestConfig { cases: 24, ..ProptestConfig::default() });
    let agree = |(mut records, cut, stretch): (Vec<AttemptRecord>, prop::sample::Index, bool)| {
        if stretch {
            // Times of the model are up to 120: more than a day in quarters of an hour.
            for record in &mut records {
                record.started_unix_ms *= QUARTER_HOUR;
            }
        }
        let (early, _) = records.split_at(cut.index(records.len() + 1));
        runtime.block_on(async {
            let sql = "TRUNCATE attempts, rollup_counts, rollup_histograms, rollup_methods, \
                       rollups_stale, rollups_due";
            execute(&url, sql).await;
            store.record_attempts(early).await.unwrap();
            model::answers_are_those_of(&store, early).await;
            store.roll_up(i64::MAX).await.unwrap();
            model::answers_are_those_of(&store, early).await;
            // All of them: the early ones are delivered twice.
            model::answers_agree_with_the_model(&store, &records).await;
            store.roll_up(i64::MAX).await.unwrap();
            model::answers_are_those_of(&store, &records).await;
        });
        Ok(())
    };
    let input = (model::records(), any::<prop::sample::Index>(), any::<bool>());
    runner.run(&input, agree).unwrap();
}

#[tokio::test]
async fn what_has_not_settled_is_not_rolled_up_and_still_counts() {
    const HOUR: i64 = 60 * 60 * 1000;
    let Some((store, _)) = store().await else { return };
    store.record_attempts(&[begun("a", 0), begun("b", HOUR), begun("c", 2 * HOUR)]).await.unwrap();
    assert_eq!(store.roll_up(2 * HOUR).await.unwrap(), 2, "two hours have ended, the day has not");
    assert_eq!(store.summary(&Filter::default()).await.unwrap().attempts, 3);
    store.record_attempt(&relayed("a", 0, 5)).await.unwrap();
    assert_eq!(store.summary(&Filter::default()).await.unwrap().relay, 1);
    assert_eq!(store.roll_up(24 * HOUR).await.unwrap(), 3, "the changed hour, the last, the day");
    assert_eq!(store.roll_up(24 * HOUR).await.unwrap(), 0);
    let summary = store.summary(&Filter::default()).await.unwrap();
    assert_eq!((summary.attempts, summary.relay), (3, 1));
}

#[tokio::test]
async fn times_from_rollups_are_rounded_down_by_less_than_one_percent() {
    let Some((store, _)) = store().await else { return };
    for (n, ms) in [256, 999, 12_345, 3_600_001].into_iter().enumerate() {
        let hour = n as i64 * 3_600_000;
        store.record_attempt(&direct(&format!("a{n}"), hour, ms, ms)).await.unwrap();
        store.roll_up(i64::MAX).await.unwrap();
        let only = Filter { app: None, since_unix_ms: Some(hour), before_unix_ms: None };
        let told = store.summary(&only).await.unwrap().connect_ms.p50.unwrap();
        assert!(told <= ms && (ms - told) * 100 < ms, "{told} for {ms}");
        let told = store.nat_matrix(&only).await.unwrap()[0].direct_ms_p50.unwrap();
        assert!(told <= ms && (ms - told) * 32 < ms, "{told} for {ms}");
    }
}

/// PostgreSQL's text has no place for it.
#[tokio::test]
async fn a_text_with_a_nul_character_costs_only_that_character() {
    let Some((store, _)) = store().await else { return };
    let step = Step {
        tactic: None,
        method: p2p_wire::Method::Direct,
        result: StepResult::Failed,
        ms: 1,
        detail: "a\0b".to_owned(),
    };
    let verdict = "said \0 and \u{1f980}".to_owned();
    let told = AttemptRecord { verdict, callee_steps: vec![step], ..begun("a", 1) };
    store.record_attempt(&told).await.unwrap();
    let stored = store.attempt(&told.attempt).await.unwrap().unwrap();
    assert_eq!(stored.verdict, "said \u{fffd} and \u{1f980}");
    assert_eq!(stored.callee_steps[0].detail, "a\u{fffd}b");
}
