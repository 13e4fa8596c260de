//! `GET /v1/stats`, `/v1/stats/nat-matrix` and `/v1/attempts/{id}`, for tokens with `admin`.
//!
//! A token sees the attempts of its own app.

use std::sync::Arc;

use axum::Json;
use axum::extract::rejection::QueryRejection;
use axum::extract::{Path, Query, State};
use p2p_auth::{Grant, Scope};
use p2p_stats::{AttemptRecord, Filter, NatCell, Summary};
use p2p_wire::{AttemptId, Code};
use serde::{Deserialize, Serialize};

use super::bearer::Bearer;
use super::problem::ProblemResponse;
use crate::instance::{Instance, Snapshot};

/// From when on.
#[derive(Deserialize)]
pub(super) struct SinceQuery {
    since_unix_ms: Option<i64>,
}

#[derive(Serialize)]
pub(super) struct Stats {
    #[serde(flatten)]
    summary: Summary,
    live: Snapshot,
}

#[derive(Serialize)]
pub(super) struct NatMatrix {
    cells: Vec<NatCell>,
}

type Answer<T> = Result<Json<T>, ProblemResponse>;
type SinceArgument = Result<Query<SinceQuery>, QueryRejection>;

pub(super) async fn summary(
    State(instance): State<Arc<Instance>>,
    bearer: Bearer,
    since: SinceArgument,
) -> Answer<Stats> {
    let filter = filter(&*bearer.with(Scope::Admin)?, since)?;
    let summary = instance.store.summary(&filter).await?;
    Ok(Json(Stats { summary, live: instance.snapshot() }))
}

pub(super) async fn nat_matrix(
    State(instance): State<Arc<Instance>>,
    bearer: Bearer,
    since: SinceArgument,
) -> Answer<NatMatrix> {
    let filter = filter(&*bearer.with(Scope::Admin)?, since)?;
    Ok(Json(NatMatrix { cells: instance.store.nat_matrix(&filter).await? }))
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
    let record = instance.store.attempt(&id).await?.filter(|record| record.app == *grant.app());
    record.map(Json).ok_or_else(unknown)
}

fn filter(grant: &Grant, since: SinceArgument) -> Result<Filter, ProblemResponse> {
    let Query(since) = since.map_err(|rejection| {
        ProblemResponse::new(
            Code::BadMessage,
            "Bad query",
            rejection.body_text(),
            "use `?since_unix_ms=` with milliseconds since 1970-01-01 UTC",
        )
    })?;
    Ok(Filter { app: Some(grant.app().clone()), since_unix_ms: since.since_unix_ms })
}
