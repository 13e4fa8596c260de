//! `POST /drain` on the admin port: what SIGTERM does, for whoever is on this host and could send that.

use std::net::SocketAddr;
use std::sync::Arc;

use axum::extract::{ConnectInfo, State};
use http::StatusCode;
use p2p_wire::Code;

use super::problem::ProblemResponse;
use crate::instance::Instance;

pub(super) async fn drain(
    State(instance): State<Arc<Instance>>,
    ConnectInfo(from): ConnectInfo<SocketAddr>,
) -> Result<(StatusCode, &'static str), ProblemResponse> {
    if !from.ip().to_canonical().is_loopback() {
        return Err(ProblemResponse::new(
            Code::NotAllowed,
            "Not accepted",
            "a drain is taken from the host that the instance runs on alone",
            "run `coordinator drain` there, or send the process SIGTERM",
        ));
    }
    instance.drain_asked.cancel();
    Ok((StatusCode::ACCEPTED, "draining\n"))
}
