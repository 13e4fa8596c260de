//! Sessions, relay usage, and the outcomes of methods.

use p2p_wire::Method;
use sqlx::{Pool, Row as _, Sqlite};

use super::SqliteStore;
use super::read::{all, counts, one, value};
use crate::error::StatsError;
use crate::query::{Filter, MethodCell};
use crate::row::signed;
use crate::usage::{
    Carried, RelayRecord, RelayTotals, SessionRecord, SessionTotals, Usage, storable_time,
};

/// The end that is stored is the later one, as in [`SessionRecord::merged`].
const SESSION: &str = "INSERT INTO sessions (id, session, app, peer, instance, network, resumed, \
        opened_unix_ms, closed_unix_ms, close_code) \
     VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10) \
     ON CONFLICT (id) DO UPDATE SET \
        closed_unix_ms = excluded.closed_unix_ms, close_code = excluded.close_code \
     WHERE (IFNULL(excluded.closed_unix_ms, -1), IFNULL(excluded.close_code, -1)) \
         > (IFNULL(sessions.closed_unix_ms, -1), IFNULL(sessions.close_code, -1))";

const RELAY: &str = "INSERT INTO relay_usage (id, region, username, app, ended, ended_unix_ms, \
        lived_ms, to_peer_packets, to_peer_bytes, to_client_packets, to_client_bytes) \
     VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11) ON CONFLICT (id) DO NOTHING";

const METHODS: &str = "SELECT caller_nat_type, callee_nat_type, method, \
        SUM(tried) AS tried, SUM(worked) AS worked \
     FROM method_hours \
     WHERE (?1 IS NULL OR app = ?1) \
       AND hour >= ?2 / 3600000 - (?2 % 3600000 < 0) \
       AND hour <= ?3 / 3600000 - (?3 % 3600000 < 0) \
     GROUP BY caller_nat_type, callee_nat_type, method HAVING SUM(tried) > 0";

const SESSIONS: &str = "SELECT COUNT(*) AS opened, COALESCE(SUM(resumed), 0) AS resumed, \
        COUNT(closed_unix_ms) AS closed, \
        COALESCE(SUM(MAX(closed_unix_ms - opened_unix_ms, 0)), 0) AS connected_ms \
     FROM sessions WHERE (?1 IS NULL OR app = ?1) AND opened_unix_ms BETWEEN ?2 AND ?3";

/// Sums of floats would round, sums of integers overflow: no relay carries 2^63 bytes in the time
/// that is kept.
const RELAYS: &str = "SELECT region, COUNT(*) AS allocations, SUM(lived_ms) AS lived_ms, \
        SUM(to_peer_packets) AS to_peer_packets, SUM(to_peer_bytes) AS to_peer_bytes, \
        SUM(to_client_packets) AS to_client_packets, SUM(to_client_bytes) AS to_client_bytes \
     FROM relay_usage WHERE (?1 IS NULL OR app = ?1) AND ended_unix_ms BETWEEN ?2 AND ?3 \
     GROUP BY region ORDER BY region";

/// Every statement here.
pub(super) fn statements() -> Vec<&'static str> {
    vec![SESSION, RELAY, METHODS, SESSIONS, RELAYS]
}

impl SqliteStore {
    pub(super) async fn write_sessions(&self, records: &[SessionRecord]) -> Result<(), StatsError> {
        let mut transaction = self.begin().await?;
        for record in records {
            sqlx::query(SESSION)
                .bind(record.id.to_string())
                .bind(record.session.as_str())
                .bind(record.app.as_str())
                .bind(record.peer.as_str())
                .bind(&record.instance)
                .bind(record.network.map(|network| network.to_string()))
                .bind(record.resumed)
                .bind(storable_time(record.opened_unix_ms))
                .bind(record.closed_unix_ms.map(storable_time))
                .bind(record.close_code)
                .execute(&mut *transaction)
                .await?;
        }
        self.commit(transaction, records.len()).await
    }

    pub(super) async fn write_relays(&self, records: &[RelayRecord]) -> Result<(), StatsError> {
        let mut transaction = self.begin().await?;
        for record in records {
            sqlx::query(RELAY)
                .bind(record.id.to_string())
                .bind(&record.region)
                .bind(&record.user)
                .bind(record.app())
                .bind(&record.end)
                .bind(storable_time(record.ended_unix_ms))
                .bind(signed(record.lived_ms))
                .bind(signed(record.to_peer.packets))
                .bind(signed(record.to_peer.bytes))
                .bind(signed(record.to_client.packets))
                .bind(signed(record.to_client.bytes))
                .execute(&mut *transaction)
                .await?;
        }
        self.commit(transaction, records.len()).await
    }
}

pub(super) async fn methods(
    readers: &Pool<Sqlite>,
    filter: &Filter,
) -> Result<Vec<MethodCell>, StatsError> {
    let mut connection = readers.acquire().await?;
    let mut cells = Vec::new();
    for row in all(&mut connection, METHODS, filter).await? {
        let [tried, worked] = counts(&row, ["tried", "worked"])?;
        let method: Method = value(&row, "method")?;
        let (caller, callee) = (value(&row, "caller_nat_type")?, value(&row, "callee_nat_type")?);
        cells.push(MethodCell { caller, callee, method, tried, worked });
    }
    cells.sort_by_key(|cell| (cell.caller, cell.callee, cell.method));
    Ok(cells)
}

pub(super) async fn usage(readers: &Pool<Sqlite>, filter: &Filter) -> Result<Usage, StatsError> {
    let mut snapshot = readers.begin().await?;
    let row = one(&mut snapshot, SESSIONS, filter).await?;
    let [opened, resumed, closed, connected_ms] =
        counts(&row, ["opened", "resumed", "closed", "connected_ms"])?;
    let mut relays = Vec::new();
    for row in all(&mut snapshot, RELAYS, filter).await? {
        let [allocations, lived_ms] = counts(&row, ["allocations", "lived_ms"])?;
        let carried = |packets, bytes| -> Result<Carried, sqlx::Error> {
            let [packets, bytes] = counts(&row, [packets, bytes])?;
            Ok(Carried { packets, bytes })
        };
        relays.push(RelayTotals {
            region: row.try_get("region")?,
            allocations,
            lived_ms,
            to_peer: carried("to_peer_packets", "to_peer_bytes")?,
            to_client: carried("to_client_packets", "to_client_bytes")?,
        });
    }
    snapshot.commit().await?;
    Ok(Usage { sessions: SessionTotals { opened, resumed, closed, connected_ms }, relays })
}
