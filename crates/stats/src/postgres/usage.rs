//! Sessions and relay usage: recording them, rolling settled hours up, and the answer from both.
//!
//! As with attempts ([`super::rollups`]): a writer marks the hours it changes, under a shared
//! advisory lock for each; an hour is rolled up under that lock alone.

use std::collections::{BTreeMap, BTreeSet};

use serde::Serialize;
use sqlx::types::Json;
use sqlx::{PgConnection, Pool, Postgres, Row as _};

use super::partitions::Table;
use super::spans::{HOUR, Sources, Span};
use super::{Inner, SNAPSHOT, maintenance};
use crate::error::StatsError;
use crate::query::Filter;
use crate::row::{signed, unsigned};
use crate::usage::{
    Carried, RelayRecord, RelayTotals, SessionRecord, SessionTotals, Usage, storable_time,
};

/// The end that is stored is the later one, as in [`SessionRecord::merged`].
const SESSIONS: &str = "INSERT INTO sessions AS stored (id, session, app, peer, instance, network, \
        resumed, opened_unix_ms, closed_unix_ms, close_code) \
     SELECT id, session, app, peer, instance, network, resumed, opened_unix_ms, closed_unix_ms, \
        close_code \
     FROM jsonb_to_recordset($1) AS new(id text, session text, app text, peer text, \
        instance text, network text, resumed boolean, opened_unix_ms bigint, \
        closed_unix_ms bigint, close_code integer) \
     ORDER BY id COLLATE \"C\" \
     ON CONFLICT (id, opened_unix_ms) DO UPDATE SET \
        closed_unix_ms = excluded.closed_unix_ms, close_code = excluded.close_code \
     WHERE (coalesce(excluded.closed_unix_ms, -1), coalesce(excluded.close_code, -1)) \
         > (coalesce(stored.closed_unix_ms, -1), coalesce(stored.close_code, -1))";

const RELAYS: &str = "INSERT INTO relay_usage (id, region, username, app, ended, ended_unix_ms, \
        lived_ms, to_peer_packets, to_peer_bytes, to_client_packets, to_client_bytes) \
     SELECT id, region, username, app, ended, ended_unix_ms, lived_ms, to_peer_packets, \
        to_peer_bytes, to_client_packets, to_client_bytes \
     FROM jsonb_to_recordset($1) AS new(id text, region text, username text, app text, ended text, \
        ended_unix_ms bigint, lived_ms bigint, to_peer_packets bigint, to_peer_bytes bigint, \
        to_client_packets bigint, to_client_bytes bigint) \
     ORDER BY id COLLATE \"C\" \
     ON CONFLICT (id, ended_unix_ms) DO NOTHING";

const LOCK_SHARED: &str = "SELECT pg_advisory_xact_lock_shared(k) FROM unnest($1::bigint[]) AS k";

const MARK: &str = "INSERT INTO usage_stale (kind, hour) \
     SELECT $1, hour FROM unnest($2::bigint[]) AS hour ON CONFLICT DO NOTHING";

const TRY_LOCK: &str = "SELECT pg_try_advisory_xact_lock($1) AS locked";

const STALE: &str = "SELECT kind, hour FROM usage_stale";

const UNMARK: &str = "DELETE FROM usage_stale WHERE kind = $1 AND hour = $2";

/// Forgets an hour's aggregate, and makes it anew.
const ROLL_SESSIONS_UP: [&str; 2] = [
    "DELETE FROM session_hours WHERE hour = $1",
    "INSERT INTO session_hours \
     SELECT $1::bigint, app, COUNT(*), COUNT(*) FILTER (WHERE resumed), COUNT(closed_unix_ms), \
        COALESCE(SUM(greatest(closed_unix_ms - opened_unix_ms, 0)), 0) \
     FROM sessions WHERE opened_unix_ms >= $1::bigint * 3600000 \
        AND opened_unix_ms < ($1::bigint + 1) * 3600000 GROUP BY app",
];

const ROLL_RELAYS_UP: [&str; 2] = [
    "DELETE FROM relay_hours WHERE hour = $1",
    "INSERT INTO relay_hours \
     SELECT $1, app, region, COUNT(*), SUM(lived_ms), SUM(to_peer_packets), \
        SUM(to_peer_bytes), SUM(to_client_packets), SUM(to_client_bytes) \
     FROM relay_usage WHERE ended_unix_ms >= $1::bigint * 3600000 \
        AND ended_unix_ms < ($1::bigint + 1) * 3600000 GROUP BY app, region",
];

/// Totals over aggregates, between two hours and without some in between; and over the rows of one
/// stretch of time. Sums are cut to what a `bigint` holds.
const SESSION_TOTALS: [&str; 2] = [
    "SELECT COALESCE(SUM(opened), 0)::bigint AS opened, \
        COALESCE(SUM(resumed), 0)::bigint AS resumed, \
        COALESCE(SUM(closed), 0)::bigint AS closed, \
        least(COALESCE(SUM(connected_ms), 0), 9223372036854775807)::bigint AS connected_ms \
     FROM session_hours \
     WHERE ($1::text IS NULL OR app = $1) AND hour >= $2 AND hour < $4 AND hour <> ALL($3)",
    "SELECT COUNT(*) AS opened, COUNT(*) FILTER (WHERE resumed) AS resumed, \
        COUNT(closed_unix_ms) AS closed, \
        COALESCE(SUM(greatest(closed_unix_ms - opened_unix_ms, 0)), 0)::bigint \
            AS connected_ms \
     FROM sessions \
     WHERE ($1::text IS NULL OR app = $1) AND opened_unix_ms BETWEEN $2 AND $3",
];

const RELAY_TOTALS: [&str; 2] = [
    "SELECT region, SUM(allocations)::bigint AS allocations, \
        least(SUM(lived_ms), 9223372036854775807)::bigint AS lived_ms, \
        least(SUM(to_peer_packets), 9223372036854775807)::bigint AS to_peer_packets, \
        least(SUM(to_peer_bytes), 9223372036854775807)::bigint AS to_peer_bytes, \
        least(SUM(to_client_packets), 9223372036854775807)::bigint AS to_client_packets, \
        least(SUM(to_client_bytes), 9223372036854775807)::bigint AS to_client_bytes \
     FROM relay_hours \
     WHERE ($1::text IS NULL OR app = $1) AND hour >= $2 AND hour < $4 AND hour <> ALL($3) \
     GROUP BY region",
    "SELECT region, COUNT(*) AS allocations, \
        least(SUM(lived_ms), 9223372036854775807)::bigint AS lived_ms, \
        least(SUM(to_peer_packets), 9223372036854775807)::bigint AS to_peer_packets, \
        least(SUM(to_peer_bytes), 9223372036854775807)::bigint AS to_peer_bytes, \
        least(SUM(to_client_packets), 9223372036854775807)::bigint AS to_client_packets, \
        least(SUM(to_client_bytes), 9223372036854775807)::bigint AS to_client_bytes \
     FROM relay_usage \
     WHERE ($1::text IS NULL OR app = $1) AND ended_unix_ms BETWEEN $2 AND $3 \
     GROUP BY region",
];

/// Every statement here.
pub(super) fn statements() -> Vec<&'static str> {
    let single = [SESSIONS, RELAYS, LOCK_SHARED, MARK, TRY_LOCK, STALE, UNMARK];
    [ROLL_SESSIONS_UP, ROLL_RELAYS_UP, SESSION_TOTALS, RELAY_TOTALS]
        .concat()
        .into_iter()
        .chain(single)
        .collect()
}

/// What a kind of usage is in the database.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Kind {
    Sessions,
    Relays,
}

impl Kind {
    fn name(self) -> &'static str {
        match self {
            Self::Sessions => "sessions",
            Self::Relays => "relay_usage",
        }
    }

    /// The key of the advisory lock of one of its hours; see [`Span::lock`].
    fn lock(self, hour: i64) -> i64 {
        let kind = match self {
            Self::Sessions => 0x70_3272_0000_0000_i64,
            Self::Relays => 0x70_3273_0000_0000_i64,
        };
        kind ^ hour
    }

    fn roll_up(self) -> [&'static str; 2] {
        match self {
            Self::Sessions => ROLL_SESSIONS_UP,
            Self::Relays => ROLL_RELAYS_UP,
        }
    }

    fn totals(self) -> [&'static str; 2] {
        match self {
            Self::Sessions => SESSION_TOTALS,
            Self::Relays => RELAY_TOTALS,
        }
    }
}

#[derive(Serialize)]
struct SessionRow<'a> {
    id: String,
    session: &'a str,
    app: &'a str,
    peer: &'a str,
    instance: Option<&'a str>,
    network: Option<String>,
    resumed: bool,
    opened_unix_ms: i64,
    closed_unix_ms: Option<i64>,
    close_code: Option<u16>,
}

#[derive(Serialize)]
struct RelayRow<'a> {
    id: String,
    region: Option<String>,
    username: String,
    app: Option<&'a str>,
    ended: &'a str,
    ended_unix_ms: i64,
    lived_ms: i64,
    to_peer_packets: i64,
    to_peer_bytes: i64,
    to_client_packets: i64,
    to_client_bytes: i64,
}

impl Inner {
    pub(super) async fn write_sessions(&self, records: &[SessionRecord]) -> Result<(), StatsError> {
        let mut merged = BTreeMap::new();
        for record in records {
            let one = match merged.remove(&record.id) {
                Some(before) => record.clone().merged(&before),
                None => record.clone(),
            };
            merged.insert(record.id, one);
        }
        let row = |record: &'_ SessionRecord| -> i64 { storable_time(record.opened_unix_ms) };
        let times: Vec<i64> = merged.values().map(row).collect();
        let rows: Vec<SessionRow<'_>> = merged
            .values()
            .map(|record| SessionRow {
                id: record.id.to_string(),
                session: record.session.as_str(),
                app: record.app.as_str(),
                peer: record.peer.as_str(),
                instance: record.instance.as_deref(),
                network: record.network.map(|network| network.to_string()),
                resumed: record.resumed,
                opened_unix_ms: storable_time(record.opened_unix_ms),
                closed_unix_ms: record.closed_unix_ms.map(storable_time),
                close_code: record.close_code,
            })
            .collect();
        self.write_usage(Kind::Sessions, &times, SESSIONS, Json(rows)).await
    }

    pub(super) async fn write_relays(&self, records: &[RelayRecord]) -> Result<(), StatsError> {
        let mut seen = BTreeSet::new();
        let first = records.iter().filter(|record| seen.insert(record.id));
        let rows: Vec<RelayRow<'_>> = first
            .map(|record| RelayRow {
                id: record.id.to_string(),
                region: record.region.as_deref().map(without_nul),
                username: without_nul(&record.user),
                app: record.app().filter(|app| !app.contains('\0')),
                ended: &record.end,
                ended_unix_ms: storable_time(record.ended_unix_ms),
                lived_ms: signed(record.lived_ms),
                to_peer_packets: signed(record.to_peer.packets),
                to_peer_bytes: signed(record.to_peer.bytes),
                to_client_packets: signed(record.to_client.packets),
                to_client_bytes: signed(record.to_client.bytes),
            })
            .collect();
        let times: Vec<i64> = rows.iter().map(|row| row.ended_unix_ms).collect();
        self.write_usage(Kind::Relays, &times, RELAYS, Json(rows)).await
    }

    async fn write_usage<T: Serialize + Sync>(
        &self,
        kind: Kind,
        times: &[i64],
        insert: &'static str,
        rows: Json<Vec<T>>,
    ) -> Result<(), StatsError> {
        let now = maintenance::unix_ms();
        let mut days: Vec<i64> = times.iter().map(|time| Span::day_of(*time).start()).collect();
        days.sort_unstable();
        days.dedup();
        days.retain(|day| self.has_partition(*day, now));
        let table = match kind {
            Kind::Sessions => Table::Sessions,
            Kind::Relays => Table::RelayUsage,
        };
        self.add_days(table, &days).await?;

        let hours: BTreeSet<i64> = times.iter().map(|time| time.div_euclid(HOUR)).collect();
        let locks: Vec<i64> = hours.iter().map(|hour| kind.lock(*hour)).collect();
        let hours: Vec<i64> = hours.into_iter().collect();
        let rows = serde_json::to_value(&rows.0).unwrap_or_default();
        let mut transaction = self.pool.begin().await?;
        sqlx::query(LOCK_SHARED).bind(&locks).execute(&mut *transaction).await?;
        sqlx::query(MARK).bind(kind.name()).bind(&hours).execute(&mut *transaction).await?;
        sqlx::query(insert).bind(Json(rows)).execute(&mut *transaction).await?;
        transaction.commit().await?;
        Ok(())
    }

    /// Rolls every stale hour up that ended before a time, and says how many that were.
    pub(super) async fn roll_usage_up(&self, before: i64) -> Result<usize, StatsError> {
        let stale = stale(&mut *self.pool.acquire().await?).await?;
        let mut done = 0;
        for (kind, hour) in stale.into_iter().filter(|(_, hour)| *hour < before.div_euclid(HOUR)) {
            let mut transaction = self.pool.begin().await?;
            let locked = sqlx::query(TRY_LOCK).bind(kind.lock(hour));
            if !locked.fetch_one(&mut *transaction).await?.try_get::<bool, _>("locked")? {
                continue;
            }
            for statement in kind.roll_up() {
                sqlx::query(statement).bind(hour).execute(&mut *transaction).await?;
            }
            let unmark = sqlx::query(UNMARK).bind(kind.name()).bind(hour);
            unmark.execute(&mut *transaction).await?;
            transaction.commit().await?;
            done += 1;
        }
        Ok(done)
    }
}

pub(super) async fn usage(pool: &Pool<Postgres>, filter: &Filter) -> Result<Usage, StatsError> {
    let mut snapshot = pool.begin_with(SNAPSHOT).await?;
    let stale = stale(&mut snapshot).await?;
    let mut sessions = SessionTotals::default();
    for row in rows(&mut snapshot, Kind::Sessions, filter, &stale).await? {
        sessions.opened += number(&row, "opened")?;
        sessions.resumed += number(&row, "resumed")?;
        sessions.closed += number(&row, "closed")?;
        sessions.connected_ms = sessions.connected_ms.saturating_add(number(&row, "connected_ms")?);
    }
    let mut regions = BTreeMap::<Option<String>, RelayTotals>::new();
    for row in rows(&mut snapshot, Kind::Relays, filter, &stale).await? {
        let region: Option<String> = row.try_get("region")?;
        let totals = regions
            .entry(region.clone())
            .or_insert_with(|| RelayTotals { region, ..RelayTotals::default() });
        let add = |sum: &mut u64, column: &str| -> Result<(), sqlx::Error> {
            *sum = sum.saturating_add(number(&row, column)?);
            Ok(())
        };
        let add_both = |sum: &mut Carried, packets: &str, bytes: &str| {
            add(&mut sum.packets, packets).and_then(|()| add(&mut sum.bytes, bytes))
        };
        add(&mut totals.allocations, "allocations")?;
        add(&mut totals.lived_ms, "lived_ms")?;
        add_both(&mut totals.to_peer, "to_peer_packets", "to_peer_bytes")?;
        add_both(&mut totals.to_client, "to_client_packets", "to_client_bytes")?;
    }
    snapshot.commit().await?;
    Ok(Usage { sessions, relays: regions.into_values().collect() })
}

/// Totals of whole hours that are rolled up, and of the stretches beside them.
async fn rows(
    snapshot: &mut PgConnection,
    kind: Kind,
    filter: &Filter,
    stale: &BTreeSet<(Kind, i64)>,
) -> Result<Vec<sqlx::postgres::PgRow>, StatsError> {
    let stale = stale.iter().filter(|(of, _)| *of == kind).map(|(_, hour)| Span::Hour(*hour));
    let sources = Sources::of(filter, &stale.collect());
    let app = filter.app.as_ref().map(|app| app.as_str());
    let [of_hours, of_rows] = kind.totals();
    let mut rows = sqlx::query(of_hours)
        .bind(app)
        .bind(sources.from_hour)
        .bind(&sources.stale_hours)
        .bind(sources.to_hour)
        .fetch_all(&mut *snapshot)
        .await?;
    for (first, last) in sources.stretches {
        let stretch = sqlx::query(of_rows).bind(app).bind(first).bind(last);
        rows.extend(stretch.fetch_all(&mut *snapshot).await?);
    }
    Ok(rows)
}

async fn stale(connection: &mut PgConnection) -> Result<BTreeSet<(Kind, i64)>, StatsError> {
    let mut stale = BTreeSet::new();
    for row in sqlx::query(STALE).fetch_all(connection).await? {
        let kind = match row.try_get::<&str, _>("kind")? {
            "sessions" => Kind::Sessions,
            _ => Kind::Relays,
        };
        stale.insert((kind, row.try_get("hour")?));
    }
    Ok(stale)
}

fn number(row: &sqlx::postgres::PgRow, column: &str) -> Result<u64, sqlx::Error> {
    Ok(unsigned(row.try_get(column)?))
}

/// PostgreSQL's text has no place for that character.
fn without_nul(text: &str) -> String {
    text.replace('\0', "\u{fffd}")
}
