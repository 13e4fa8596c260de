//! The coordinator that runs inside the Node process: signaling, relay, registry and statistics.

use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use napi::bindgen_prelude::PromiseRaw;
use napi::{Env, Result};
use napi_derive::napi;
use p2p_coordinator::embedded::{Embedded, Listen};
use p2p_coordinator::failure::Failure;
use p2p_telemetry::Shutdown;
use tokio::runtime::Handle;

use crate::client::peer_id;
use crate::failure::{closed, parts, usage};
use crate::lock;

/// Where the coordinator listens.
#[napi(object, object_to_js = false)]
pub struct EmbeddedOptions {
    /// An address of this host.
    pub host: String,
    /// TCP; 0 for any free one.
    pub signaling_port: u16,
    /// UDP; 0 for any free one.
    pub relay_port: u16,
    /// The folder for statistics; in memory without it.
    pub data: Option<String>,
}

/// A running coordinator.
#[napi]
pub struct NativeEmbedded {
    embedded: std::sync::Mutex<Option<Arc<Embedded>>>,
    runtime: Handle,
    url: String,
    relay_url: String,
}

#[napi]
impl NativeEmbedded {
    /// Takes the ports and serves.
    #[napi(ts_return_type = "Promise<NativeEmbedded>")]
    pub fn start(env: &Env, options: EmbeddedOptions) -> Result<PromiseRaw<'_, NativeEmbedded>> {
        let host: IpAddr = options.host.parse().map_err(|_| {
            usage(format!("{:?} is no IP address", options.host), "name an address of this host")
        })?;
        let listen = Listen {
            signaling: SocketAddr::from((host, options.signaling_port)),
            relay: SocketAddr::from((host, options.relay_port)),
        };
        let data = options.data.map(PathBuf::from);
        env.spawn_future(async move {
            let embedded = Embedded::start(listen, data.as_deref()).await.map_err(thrown)?;
            Ok(Self {
                url: embedded.signaling_url(),
                relay_url: embedded.relay_url(),
                embedded: std::sync::Mutex::new(Some(Arc::new(embedded))),
                runtime: Handle::current(),
            })
        })
    }

    /// What clients take as their server.
    #[napi(getter)]
    pub fn url(&self) -> String {
        self.url.clone()
    }

    /// The STUN and TURN server.
    #[napi(getter)]
    pub fn relay_url(&self) -> String {
        self.relay_url.clone()
    }

    /// A token for a peer, good for this many seconds.
    #[napi]
    pub fn token(&self, peer: String, ttl_secs: u32) -> Result<String> {
        let peer = peer_id(&peer)?;
        let running = self.running().ok_or_else(|| closed("the coordinator is shut down"))?;
        let ttl = Duration::from_secs(ttl_secs.into());
        let token = running.token_for(peer.as_str(), ttl).map_err(thrown)?;
        Ok(token.expose().to_owned())
    }

    /// Peers that are connected.
    #[napi]
    pub fn peers(&self) -> u32 {
        let peers = self.running().map_or(0, |running| running.snapshot().peers_on);
        u32::try_from(peers).unwrap_or(u32::MAX)
    }

    /// Drains, and frees the ports.
    #[napi(ts_return_type = "Promise<void>")]
    pub fn stop<'env>(&self, env: &'env Env) -> Result<PromiseRaw<'env, ()>> {
        let running = self.take();
        env.spawn_future(async move {
            if let Some(running) = running {
                stop(running).await;
            }
            Ok(())
        })
    }
}

impl NativeEmbedded {
    fn running(&self) -> Option<Arc<Embedded>> {
        lock(&self.embedded).clone()
    }

    fn take(&self) -> Option<Arc<Embedded>> {
        lock(&self.embedded).take()
    }
}

impl Drop for NativeEmbedded {
    fn drop(&mut self) {
        // A worker that is terminated frees the ports of its coordinator.
        if let Some(running) = self.take() {
            self.runtime.spawn(stop(running));
        }
    }
}

async fn stop(running: Arc<Embedded>) {
    // Other holders have it for the length of a call on the event loop's thread.
    if let Some(embedded) = Arc::into_inner(running) {
        embedded.stop(&Shutdown::new()).await;
    }
}

/// The coordinator's failures name its flags; a program has options in their place.
fn thrown(failure: Failure) -> napi::Error {
    let fix = match failure.code.as_ref() {
        "address_unknown" => "set signalingHost to an address of this host".to_owned(),
        _ => [("--data", "dataDir"), ("--signaling", "signalingPort"), ("--relay", "relayPort")]
            .iter()
            .fold(failure.fix.to_string(), |fix, (flag, option)| fix.replace(flag, option)),
    };
    parts(&failure.code, &failure.cause, &fix)
}
