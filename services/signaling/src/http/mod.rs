//! The HTTP API: routes, and the layers around them.

mod bearer;
mod discovery;
mod health;
mod ice_servers;
mod layers;
mod pages;
mod problem;
mod statistics;
mod tickets;

use std::sync::Arc;

use axum::Router;
use axum::routing::{any, get, post};

pub(crate) use self::problem::ProblemResponse;
pub(crate) use self::tickets::Tickets;
use crate::instance::Instance;
use crate::session;

/// Everything that is served on the main port.
pub(crate) fn routes(instance: Arc<Instance>) -> Router {
    let api = Router::new()
        .route("/v1/ice-servers", get(ice_servers::ice_servers))
        .route("/v1/tickets", post(tickets::create))
        .route("/v1/peers", get(discovery::peers))
        .route("/v1/rooms", get(discovery::rooms))
        .route("/v1/rooms/{room}", get(discovery::room))
        .route("/v1/stats", get(statistics::summary))
        .route("/v1/stats/nat-matrix", get(statistics::nat_matrix))
        .route("/v1/attempts", get(statistics::attempts))
        .route("/v1/attempts/{id}", get(statistics::attempt))
        .route("/", get(pages::landing))
        .route("/test", get(pages::test));
    let api = layers::bounded(api, &instance.config);
    // A WebSocket lives as long as its client: none of the API's deadlines apply to it.
    let websocket = Router::new().route("/v1/ws", any(session::upgrade));
    let mut router = api.merge(websocket).merge(health_routes());
    if instance.config.admin_listen.is_none() {
        router = router.merge(metrics_routes());
    }
    layers::observed(router).with_state(instance)
}

/// What is served on the admin port, where there is one.
pub(crate) fn admin_routes(instance: Arc<Instance>) -> Router {
    layers::observed(health_routes().merge(metrics_routes())).with_state(instance)
}

fn health_routes() -> Router<Arc<Instance>> {
    Router::new().route("/livez", get(health::live)).route("/readyz", get(health::ready))
}

fn metrics_routes() -> Router<Arc<Instance>> {
    Router::new().route("/metrics", get(health::metrics))
}
