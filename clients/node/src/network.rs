//! What the named STUN servers say about this network, before anything is started.

use napi::Env;
use napi::bindgen_prelude::PromiseRaw;
use napi_derive::napi;
use p2p_client::{NatProfile, NetcheckConfig, netcheck};

use crate::failure::thrown;

/// The answers of some STUN servers.
#[napi(object, object_from_js = false)]
pub struct StunAnswers {
    /// The NAT profile that they give together, as `p2p.v1` has it.
    pub nat: serde_json::Value,
    /// Those that did not answer.
    pub silent: Vec<String>,
}

/// Asks every server over a socket of its own, and all of them over one.
#[napi(ts_return_type = "Promise<StunAnswers>")]
pub fn ask_stun<'env>(
    env: &'env Env,
    servers: Vec<String>,
) -> napi::Result<PromiseRaw<'env, StunAnswers>> {
    env.spawn_future(async move {
        if servers.is_empty() {
            return Ok(StunAnswers { nat: serde_json::Value::Null, silent: servers });
        }
        let mut single = Vec::new();
        for server in &servers {
            let config = NetcheckConfig { stun: vec![server.clone()], ..Default::default() };
            single.push(tokio::spawn(netcheck(config)));
        }
        let all = NetcheckConfig { stun: servers.clone(), ..Default::default() };
        let all = netcheck(all).await.map_err(|error| thrown(&error))?;
        let mut silent = Vec::new();
        for (server, asked) in servers.into_iter().zip(single) {
            let answered = asked.await.is_ok_and(|report| report.is_ok_and(|report| report.udp));
            if !answered {
                silent.push(server);
            }
        }
        let nat = serde_json::to_value(all.nat).map_err(napi::Error::from)?;
        Ok(StunAnswers { nat, silent })
    })
}

/// The method that suits a NAT profile.
#[napi(object, object_from_js = false)]
pub struct Strategy {
    pub method: String,
    /// Percent.
    pub success_rate: f64,
}

/// The method that a peer with this NAT profile can expect to use towards an average peer.
#[napi]
pub fn recommend(nat: serde_json::Value) -> napi::Result<Strategy> {
    let nat: NatProfile = serde_json::from_value(nat).map_err(napi::Error::from)?;
    let (method, success_rate) = p2p_nat::plan::recommend(&nat);
    Ok(Strategy { method: method.to_string(), success_rate })
}
