//! `GET /v1/stats`, `/v1/stats/nat-matrix`, `/v1/attempts` and `/v1/attempts/{id}`, for tokens with
//! `admin`.
//!
//! A token that names an app sees what is of that app; one that names none sees every app's.

use std::sync::Arc;

use axum::Json;
use axum::extract::rejection::QueryRejection;
use axum::extract::{Path, Query, State};
use p2p_auth::{Grant, Scope};
use p2p_stats::{
    AttemptRecord, Chance, Cursor, Filter, MethodCell, NatCell, Outcomes, Page, Summary, Usage,
    learned,
};
use p2p_wire::{AttemptId, Code};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::bearer::Bearer;
use super::problem::ProblemResponse;
use crate::instance::{Instance, Snapshot};
use crate::relays::KnownRelay;

/// Attempts of a page where the request does not say.
const DEFAULT_LIMIT: usize = 50;

/// Which time.
#[derive(Deserialize, JsonSchema)]
pub(super) struct TimeQuery {
    since_unix_ms: Option<i64>,
    before_unix_ms: Option<i64>,
}

#[derive(Serialize, JsonSchema)]
pub(super) struct Stats {
    #[serde(flatten)]
    summary: Summary,
    usage: Usage,
    live: Snapshot,
    /// The relays that clients may be told of at this moment.
    relays: Vec<KnownRelay>,
}

/// Which page of the attempts.
#[derive(Deserialize, JsonSchema)]
pub(super) struct ListQuery {
    since_unix_ms: Option<i64>,
    before_unix_ms: Option<i64>,
    after: Option<Cursor>,
    limit: Option<usize>,
}

#[derive(Serialize, JsonSchema)]
pub(super) struct NatMatrix {
    cells: Vec<NatCell>,
    methods: Vec<MethodChance>,
}

/// What became of a method between two types of network, and what to expect of it.
#[derive(Serialize, JsonSchema)]
pub(super) struct MethodChance {
    #[serde(flatten)]
    cell: MethodCell,
    chance: Chance,
}

type Answer<T> = Result<Json<T>, ProblemResponse>;
type TimeArgument = Result<Query<TimeQuery>, QueryRejection>;

pub(super) async fn summary(
    State(instance): State<Arc<Instance>>,
    bearer: Bearer,
    time: TimeArgument,
) -> Answer<Stats> {
    let filter = filter(&*bearer.with(Scope::Admin)?, time)?;
    let summary = instance.store.summary(&filter).await?;
    let usage = instance.store.usage(&filter).await?;
    let relays = instance.relays.known();
    Ok(Json(Stats { summary, usage, live: instance.snapshot(), relays }))
}

pub(super) async fn nat_matrix(
    State(instance): State<Arc<Instance>>,
    bearer: Bearer,
    time: TimeArgument,
) -> Answer<NatMatrix> {
    let filter = filter(&*bearer.with(Scope::Admin)?, time)?;
    let cells = instance.store.nat_matrix(&filter).await?;
    let methods = instance.store.methods(&filter).await?.into_iter().map(|cell| {
        let outcomes = Outcomes { tried: cell.tried, worked: cell.worked };
        MethodChance { cell, chance: outcomes.chance(learned::prior(cell.method)) }
    });
    Ok(Json(NatMatrix { cells, methods: methods.collect() }))
}

pub(super) async fn attempts(
    State(instance): State<Arc<Instance>>,
    bearer: Bearer,
    query: Result<Query<ListQuery>, QueryRejection>,
) -> Answer<Page> {
    let grant = bearer.with(Scope::Admin)?;
    let Query(query) = query.map_err(|rejection| {
        ProblemResponse::new(
            Code::BadMessage,
            "Bad query",
            rejection.body_text(),
            "use `?since_unix_ms=` and `before_unix_ms=` with milliseconds since 1970-01-01 UTC, \
             `limit=` with 1 to 200, and `after=` with `next` of the page before",
        )
    })?;
    let filter = Filter {
        app: grant.statistics_of().cloned(),
        since_unix_ms: query.since_unix_ms,
        before_unix_ms: query.before_unix_ms,
    };
    let limit = query.limit.unwrap_or(DEFAULT_LIMIT);
    Ok(Json(instance.store.attempts(&filter, query.after.as_ref(), limit).await?))
}

pub(super) async fn attempt(
    State(instance): State<Arc<Instance>>,
    bearer: Bearer,
    Path(id): Path<String>,
) -> Answer<AttemptRecord> {
    let grant = bearer.with(Scope::Admin)?;
    let unknown = || {
        ProblemResponse::new(
            Code::AttemptNotFound,
            "No such attempt",
            "no attempt of this id is kept",
            "use the id from an `attempt` message; an attempt is kept once a side has reported \
             or its time has passed",
        )
    };
    let id = AttemptId::new(id).map_err(|_| unknown())?;
    let record = instance.store.attempt(&id).await?;
    let visible = |of: &AttemptRecord| grant.statistics_of().is_none_or(|app| of.app == *app);
    record.filter(visible).map(Json).ok_or_else(unknown)
}

fn filter(grant: &Grant, time: TimeArgument) -> Result<Filter, ProblemResponse> {
    let Query(time) = time.map_err(|rejection| {
        ProblemResponse::new(
            Code::BadMessage,
            "Bad query",
            rejection.body_text(),
            "use `?since_unix_ms=` and `before_unix_ms=` with milliseconds since 1970-01-01 UTC",
        )
    })?;
    Ok(Filter {
        app: grant.statistics_of().cloned(),
        since_unix_ms: time.since_unix_ms,
        before_unix_ms: time.before_unix_ms,
    })
}
