//! The HTTP API: routes, and the layers around them.

mod bearer;
mod cors;
mod discovery;
mod drain;
mod health;
mod ice_servers;
mod layers;
mod openapi;
mod pages;
mod problem;
mod statistics;
mod tickets;

use std::sync::Arc;

use axum::Router;
use axum::middleware;
use axum::routing::{MethodRouter, any, get, post};
use p2p_auth::Scope;
use p2p_stats::AttemptRecord;
use p2p_wire::PeerId;

use self::openapi::Operation;
pub(crate) use self::problem::ProblemResponse;
pub(crate) use self::tickets::Tickets;
use crate::instance::Instance;
use crate::{peerjs, session};

/// A route and its description: none is without.
type Route = (Operation, MethodRouter<Arc<Instance>>);

/// Everything that is served on the main port.
pub(crate) fn routes(instance: Arc<Instance>) -> Router {
    let open = instance.config.admin_listen.is_none();
    let metrics = if open { metrics_routes() } else { Vec::new() };
    let (api, health) = (api_routes(), health_routes());
    let websocket = (
        Operation::websocket("/v1/ws", "Sessions, rooms, messages, attempts: docs/protocol.md"),
        any(session::upgrade),
    );
    let sockets = [vec![websocket], peerjs_sockets()].concat();
    let all = api.iter().chain(&health).chain(&metrics).chain(&sockets);
    let mut operations: Vec<_> = all.map(|(operation, _)| operation.clone()).collect();
    operations.push(Operation::text("/openapi.json", "application/json", "This document"));
    let document: Arc<str> = openapi::document(&operations).to_string().into();

    let api = router(api)
        .route("/openapi.json", get(async move || openapi::answer(&document)))
        // Parts of the pages, which are no API of their own.
        .route("/assets/{file}", get(pages::asset));
    let api = layers::bounded(api, &instance.config);
    // A WebSocket lives as long as its client: none of the API's deadlines apply to it.
    let router = api.merge(router(sockets)).merge(router(health)).merge(router(metrics));
    let cors = middleware::from_fn_with_state(instance.clone(), cors::answer);
    layers::observed(router).layer(cors).with_state(instance)
}

/// What is served on the admin port, where there is one.
pub(crate) fn admin_routes(instance: Arc<Instance>) -> Router {
    let routes = router(health_routes()).merge(router(metrics_routes()));
    layers::observed(routes.route("/drain", post(drain::drain))).with_state(instance)
}

fn router(routes: Vec<Route>) -> Router<Arc<Instance>> {
    let add =
        |router: Router<_>, (operation, handler): Route| router.route(operation.path(), handler);
    routes.into_iter().fold(Router::new(), add)
}

fn api_routes() -> Vec<Route> {
    use self::discovery::{PageQuery, Peers, Room, Rooms};
    use self::statistics::{ListQuery, NatMatrix, Stats, TimeQuery};

    let ice_servers = "STUN and TURN servers, as an RTCPeerConnection takes them";
    let ticket = "A one-time ticket that stands for the token in a WebSocket's URL";
    let peers = "Peers of the token's app";
    let rooms = "Rooms of the token's app that have members";
    let room = "The members of a room";
    let stats = "What became of attempts, and what sessions and relays amount to";
    let matrix =
        "What became of attempts between which networks, and what to expect of each method";
    let attempts = "Attempts, newest first";
    let attempt = "One attempt's whole story";
    let about = "That this serves PeerJS clients";
    let id = "An id that nobody has, for a PeerJS client that has none";
    let ids = "Ids of the app's peers, where its operator or a token with `discover` allows it";
    let (discover, admin) = (Scope::Discover, Scope::Admin);
    vec![
        (
            Operation::get::<ice_servers::IceServers>("/v1/ice-servers", ice_servers),
            get(ice_servers::ice_servers),
        ),
        (Operation::get::<tickets::Ticket>("/v1/tickets", ticket).post(), post(tickets::create)),
        (
            Operation::get::<Peers>("/v1/peers", peers).scope(discover).query::<PageQuery>(),
            get(discovery::peers),
        ),
        (
            Operation::get::<Rooms>("/v1/rooms", rooms).scope(discover).query::<PageQuery>(),
            get(discovery::rooms),
        ),
        (Operation::get::<Room>("/v1/rooms/{room}", room).scope(discover), get(discovery::room)),
        (
            Operation::get::<Stats>("/v1/stats", stats).scope(admin).query::<TimeQuery>(),
            get(statistics::summary),
        ),
        (
            Operation::get::<NatMatrix>("/v1/stats/nat-matrix", matrix)
                .scope(admin)
                .query::<TimeQuery>(),
            get(statistics::nat_matrix),
        ),
        (
            Operation::get::<p2p_stats::Page>("/v1/attempts", attempts)
                .scope(admin)
                .query::<ListQuery>(),
            get(statistics::attempts),
        ),
        (
            Operation::get::<AttemptRecord>("/v1/attempts/{id}", attempt).scope(admin),
            get(statistics::attempt),
        ),
        (Operation::get::<peerjs::About>("/peerjs/", about).open(), get(peerjs::about)),
        (Operation::text("/peerjs/{key}/id", "text/html", id), get(peerjs::id)),
        (Operation::text("/peerjs/id", "text/html", id), get(peerjs::id_of_default)),
        (Operation::get::<Vec<PeerId>>("/peerjs/{key}/peers", ids), get(peerjs::peers)),
        (Operation::get::<Vec<PeerId>>("/peerjs/peers", ids), get(peerjs::peers_of_default)),
        (
            Operation::text("/", "text/html", "What there is; with an admin's token, how it does"),
            get(pages::dashboard),
        ),
        (
            Operation::text("/test", "text/html", "A page that tries what this browser can reach"),
            get(pages::test),
        ),
    ]
}

/// Where PeerJS clients connect: their `path` is `/peerjs`, or `/` where they say none.
fn peerjs_sockets() -> Vec<Route> {
    let summary = "PeerJS clients, whose `token` is the JWT: docs/peerjs.md";
    let or_about = "The same for clients whose `path` is `/`; without an upgrade as `/peerjs/`";
    vec![
        (
            Operation::websocket("/peerjs/peerjs", summary).open().query::<peerjs::Said>(),
            any(peerjs::upgrade),
        ),
        (
            Operation::get::<peerjs::About>("/peerjs", or_about).open().query::<peerjs::Said>(),
            any(peerjs::upgrade_or_about),
        ),
    ]
}

fn health_routes() -> Vec<Route> {
    vec![
        (Operation::text("/livez", "text/plain", "Whether it lives"), get(health::live)),
        (
            Operation::text("/readyz", "text/plain", "Whether it takes work, and what it rests on"),
            get(health::ready),
        ),
    ]
}

fn metrics_routes() -> Vec<Route> {
    let metrics = Operation::text("/metrics", "text/plain", "Metrics for Prometheus");
    vec![(metrics, get(health::metrics))]
}
