//! The client: one registered peer.

use std::sync::Arc;
use std::time::Duration;

use napi::bindgen_prelude::PromiseRaw;
use napi::{Env, Result};
use napi_derive::napi;
use p2p_client::{
    Client, ClientEvent, ClientStats, Config, Error, ErrorCode, IceServer, NatProfile, PeerId,
    Policy, Secret,
};
use tokio::sync::{Mutex, broadcast};
use tokio_util::sync::CancellationToken;

use crate::connection::NativeConnection;
use crate::failure::{closed, thrown, usage};
use crate::lock;

/// What a client is started with; `lib/options.js` has checked it.
#[napi(object, object_to_js = false)]
pub struct ClientOptions {
    pub server: String,
    pub token: String,
    pub peer: Option<String>,
    pub metadata: serde_json::Value,
    pub stun_servers: Vec<String>,
    pub turn_servers: Vec<TurnServer>,
    pub local_port: u16,
    pub keep_alive_ms: u32,
    pub connection_timeout_ms: u32,
    pub max_retries: u32,
    pub allow_loopback: bool,
}

/// A TURN server of the user's.
#[napi(object, object_to_js = false)]
pub struct TurnServer {
    pub urls: Vec<String>,
    pub username: Option<String>,
    pub credential: Option<String>,
}

/// What a client has counted.
#[napi(object, object_from_js = false)]
pub struct ClientFigures {
    pub connections: f64,
    pub active: f64,
    pub direct: f64,
    pub relayed: f64,
    pub failed: f64,
}

/// Something has happened to the registration or to the network.
#[napi(object, object_from_js = false)]
pub struct Event {
    /// `registered`, `lost`, `ended` or `nat`.
    pub kind: String,
    pub cause: Option<String>,
    pub code: Option<String>,
}

/// A registered peer.
#[napi]
pub struct NativeClient {
    /// Gone after the shutdown, and the UDP port with it.
    client: std::sync::Mutex<Option<Client>>,
    peer: String,
    /// What it has counted and measured; after the shutdown, what it had by then.
    counted: std::sync::Mutex<ClientStats>,
    measured: std::sync::Mutex<NatProfile>,
    events: Arc<Mutex<broadcast::Receiver<ClientEvent>>>,
    ended: CancellationToken,
}

#[napi]
impl NativeClient {
    /// Registers and measures the network.
    #[napi(ts_return_type = "Promise<NativeClient>")]
    pub fn start(env: &Env, options: ClientOptions) -> Result<PromiseRaw<'_, NativeClient>> {
        let config = config(options)?;
        env.spawn_future(async move {
            let client = Client::start(config).await.map_err(|error| thrown(&error))?;
            let events = Arc::new(Mutex::new(client.events()));
            Ok(Self {
                peer: client.peer_id().to_string(),
                client: std::sync::Mutex::new(Some(client)),
                counted: std::sync::Mutex::default(),
                measured: std::sync::Mutex::default(),
                events,
                ended: CancellationToken::new(),
            })
        })
    }

    /// The registered peer id.
    #[napi(getter)]
    pub fn peer(&self) -> String {
        self.peer.clone()
    }

    /// What was measured of this network, as `p2p.v1` has it.
    #[napi]
    pub fn nat(&self) -> Result<serde_json::Value> {
        let mut measured = lock(&self.measured);
        if let Ok(client) = self.running() {
            *measured = client.nat();
        }
        serde_json::to_value(&*measured).map_err(napi::Error::from)
    }

    /// Whether a relay has an allocation for this client.
    #[napi]
    pub fn relay_ready(&self) -> bool {
        self.running().is_ok_and(|client| client.relay_ready())
    }

    /// What has been counted.
    #[napi]
    pub fn stats(&self) -> ClientFigures {
        let mut counted = lock(&self.counted);
        if let Ok(client) = self.running() {
            *counted = client.stats();
        }
        let stats = *counted;
        ClientFigures {
            connections: stats.connections as f64,
            active: stats.active as f64,
            direct: stats.direct as f64,
            relayed: stats.relayed as f64,
            failed: stats.failed as f64,
        }
    }

    /// Connects to a peer; `policy` is `auto`, `direct` or `relay`.
    #[napi(ts_return_type = "Promise<NativeConnection>")]
    pub fn connect<'env>(
        &self,
        env: &'env Env,
        peer: String,
        policy: String,
    ) -> Result<PromiseRaw<'env, NativeConnection>> {
        let peer = peer_id(&peer)?;
        let policy = match policy.as_str() {
            "auto" => Policy::Auto,
            "direct" => Policy::Direct,
            "relay" => Policy::Relay,
            other => {
                let text = format!("there is no policy {other:?}");
                return Err(usage(text, "use 'auto', 'direct' or 'relay'"));
            }
        };
        let (client, ended) = (self.running()?, self.ended.clone());
        env.spawn_future(async move {
            tokio::select! {
                () = ended.cancelled() => Err(closed("the client is shut down")),
                connected = client.connect(&peer, policy) => match connected {
                    Ok(connection) => Ok(NativeConnection::asked_for(connection)),
                    Err(error) => Err(thrown(&error)),
                }
            }
        })
    }

    /// The next connection that another peer opens; `null` after the shutdown, and once nobody can come
    /// because the registration has ended for good.
    #[napi(ts_return_type = "Promise<NativeConnection | null>")]
    pub fn accept<'env>(
        &self,
        env: &'env Env,
    ) -> Result<PromiseRaw<'env, Option<NativeConnection>>> {
        let (client, ended) = (self.running()?, self.ended.clone());
        env.spawn_future(async move {
            tokio::select! {
                () = ended.cancelled() => Ok(None),
                accepted = client.accept() => Ok(accepted.map(NativeConnection::accepted)),
            }
        })
    }

    /// The next event; `null` after the shutdown.
    #[napi(ts_return_type = "Promise<Event | null>")]
    pub fn next_event<'env>(&self, env: &'env Env) -> Result<PromiseRaw<'env, Option<Event>>> {
        let (events, ended) = (Arc::clone(&self.events), self.ended.clone());
        env.spawn_future(async move {
            tokio::select! {
                () = ended.cancelled() => Ok(None),
                event = next_event(&events) => Ok(event),
            }
        })
    }

    /// Closes all connections, gives the relay's allocation back and leaves the coordinator.
    #[napi(ts_return_type = "Promise<void>")]
    pub fn shutdown<'env>(&self, env: &'env Env) -> Result<PromiseRaw<'env, ()>> {
        self.ended.cancel();
        let client = lock(&self.client).take();
        if let Some(client) = &client {
            *lock(&self.counted) = client.stats();
            *lock(&self.measured) = client.nat();
        }
        env.spawn_future(async move {
            if let Some(client) = client {
                client.shutdown().await;
            }
            Ok(())
        })
    }
}

impl NativeClient {
    fn running(&self) -> Result<Client> {
        lock(&self.client).clone().ok_or_else(|| closed("the client is shut down"))
    }
}

impl Drop for NativeClient {
    fn drop(&mut self) {
        // A worker that is terminated takes its client with it.
        self.ended.cancel();
    }
}

async fn next_event(events: &Mutex<broadcast::Receiver<ClientEvent>>) -> Option<Event> {
    let mut events = events.lock().await;
    loop {
        let told = match events.recv().await {
            Ok(event) => event,
            Err(broadcast::error::RecvError::Lagged(_)) => continue,
            Err(broadcast::error::RecvError::Closed) => return None,
        };
        let event = |kind: &str, error: Option<(String, String)>| {
            let (code, cause) = error.unzip();
            Some(Event { kind: kind.to_owned(), cause, code })
        };
        match told {
            ClientEvent::Registered { .. } => return event("registered", None),
            ClientEvent::SignalingLost { cause, .. } => {
                return event("lost", Some(("unreachable".to_owned(), cause)));
            }
            ClientEvent::SignalingEnded(error) => {
                return event("ended", Some((error.code.to_string(), error.cause)));
            }
            ClientEvent::Nat(_) => return event("nat", None),
            ClientEvent::TokenEnding { .. }
            | ClientEvent::Relay { .. }
            | ClientEvent::PathChanged { .. }
            | ClientEvent::Verdict { .. }
            | ClientEvent::Disconnected { .. } => {}
        }
    }
}

fn config(options: ClientOptions) -> Result<Config> {
    let mut config = Config::new(options.server, options.token);
    config.peer = options.peer.as_deref().map(peer_id).transpose()?;
    config.meta = serde_json::from_value(options.metadata)
        .map_err(|error| usage(error.to_string(), "keep the metadata under 2 KiB as JSON"))?;
    config.stun_servers = options.stun_servers;
    config.turn_servers = options.turn_servers.into_iter().map(ice_server).collect();
    config.local_port = options.local_port;
    config.keep_alive = Duration::from_millis(options.keep_alive_ms.into());
    config.connect_timeout = Duration::from_millis(options.connection_timeout_ms.into());
    config.max_retries = options.max_retries;
    config.allow_loopback = options.allow_loopback;
    Ok(config)
}

fn ice_server(server: TurnServer) -> IceServer {
    IceServer {
        urls: server.urls,
        username: server.username,
        credential: server.credential.map(Secret::new),
    }
}

pub(crate) fn peer_id(text: &str) -> Result<PeerId> {
    text.parse().map_err(|error| {
        let cause = format!("{text:?} is no peer id: {error}");
        thrown(&Error::new(ErrorCode::Usage, cause, "use 1 to 128 characters without spaces"))
    })
}
