//! The upgrade request of a PeerJS client. Only browsers send it, which cannot read a refusal over
//! HTTP: whatever is wrong with the client is said by an `ERROR` frame.

use std::net::SocketAddr;
use std::sync::Arc;

use axum::Extension;
use axum::extract::rejection::QueryRejection;
use axum::extract::{ConnectInfo, Query, State};
use axum::response::{IntoResponse as _, Response};
use http::{HeaderMap, header};

use super::client::{self, Said};
use super::connection::Connection;
use super::http::about;
use crate::forwarded;
use crate::half_open::Unproven;
use crate::http::ProblemResponse;
use crate::instance::Instance;
use crate::meters;
use crate::session::admission::{self, Admission};
use crate::session::closing::Closing;
use crate::session::serve::{run, turn_away};
use crate::session::socket::Socket;
use crate::session::upgrade::{NoUpgrade, Upgrade};

type SaidArgument = Result<Query<Said>, QueryRejection>;

/// `GET /peerjs/peerjs`, where a client connects whose `path` is `/peerjs`.
pub(crate) async fn upgrade(
    State(instance): State<Arc<Instance>>,
    ConnectInfo(from): ConnectInfo<SocketAddr>,
    said: SaidArgument,
    unproven: Option<Extension<Arc<Unproven>>>,
    headers: HeaderMap,
    upgrade: Result<Upgrade, NoUpgrade>,
) -> Response {
    match prepare(&instance, said, unproven, &headers, upgrade, from).await {
        Ok(response) => response,
        Err(problem) => problem.into_response(),
    }
}

/// `GET /peerjs`, where a client connects whose `path` is `/`; anybody else is told what is here.
pub(crate) async fn upgrade_or_about(
    instance: State<Arc<Instance>>,
    from: ConnectInfo<SocketAddr>,
    said: SaidArgument,
    unproven: Option<Extension<Arc<Unproven>>>,
    headers: HeaderMap,
    wanted: Result<Upgrade, NoUpgrade>,
) -> Response {
    if headers.contains_key(header::UPGRADE) {
        upgrade(instance, from, said, unproven, headers, wanted).await
    } else {
        about(instance, headers).await
    }
}

async fn prepare(
    instance: &Arc<Instance>,
    said: SaidArgument,
    unproven: Option<Extension<Arc<Unproven>>>,
    headers: &HeaderMap,
    upgrade: Result<Upgrade, NoUpgrade>,
    from: SocketAddr,
) -> Result<Response, ProblemResponse> {
    admission::check(instance, headers)?;
    let upgrade = admission::opened(upgrade)?;
    let client = client::identify(instance, said.ok().map(|Query(said)| said)).await;
    let admission = Admission::take(instance, upgrade)?;
    let unproven = unproven.map(|Extension(unproven)| unproven).filter(|unproven| {
        if client.is_ok() {
            unproven.release();
        }
        client.is_err()
    });
    let from = forwarded::client(from, headers, &instance.config.trusted_proxies);
    let shared = instance.clone();
    let serve = move |socket: Box<Socket>| async move {
        match client {
            Ok(client) => run::<Connection>(shared, socket, client, from).await,
            Err(closing) => {
                if let Closing::Code(_, Some(problem)) = &closing {
                    meters::rejected(problem.code);
                }
                turn_away::<Connection>(socket, closing).await;
            }
        }
    };
    Ok(admission.accept(instance, None, unproven, serve))
}
