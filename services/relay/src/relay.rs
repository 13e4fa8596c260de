//! A relay that has its sockets, and how it gets a thread.

use std::net::SocketAddr;
use std::sync::{Arc, mpsc};
use std::thread;

use p2p_turn_core::{Credentials, Discovery, NonceKey, PeerPolicy, Server, ServerConfig};
use rand::rngs::StdRng;
use rand::{RngCore as _, SeedableRng as _, TryRngCore as _, rngs::OsRng};
use tokio::sync::watch;
use tracing::info;

use crate::addresses::Addresses;
use crate::config::RelayConfig;
use crate::error::RelayError;
use crate::handle::{Ends, RelayHandle};
use crate::listeners::Listeners;
use crate::shard::Shard;
use crate::sockets;
use crate::streams::Streams;
use crate::tls::Certificate;
use crate::transport::{Listening, Transport};

/// Bound, not running yet.
pub struct Relay {
    shard: Shard,
    requests: mpsc::Sender<crate::handle::Request>,
    waker: Arc<mio::Waker>,
    local_addrs: Vec<SocketAddr>,
    streams: Vec<Listening>,
    certificate: Option<Arc<Certificate>>,
}

impl Relay {
    /// Binds every listener and checks the configuration. Nothing is served before
    /// [`start`](Self::start); datagrams that come earlier wait in the socket.
    ///
    /// # Errors
    /// A listener that cannot be bound, or a configuration nobody could be served with.
    pub fn bind(config: RelayConfig) -> Result<Self, RelayError> {
        if [&config.listen, &config.listen_tcp, &config.listen_tls].iter().all(|l| l.is_empty()) {
            return Err(RelayError::NothingToListenOn);
        }
        let certificate = config.tls.clone().filter(|_| !config.listen_tls.is_empty());
        let certificate = certificate.map(Certificate::load).transpose()?;
        let bound = Listeners::bind(&config, certificate.as_ref())?;
        let Listeners { sockets, addrs: local_addrs, streams, stream_addrs, .. } = bound;
        let discoveries = (bound.discovery, bound.stream_discovery);
        let mut server = server(&config, &local_addrs, &stream_addrs, discoveries)?;
        let streams = Streams::new(streams, config.streams.clone(), Shard::FIRST_CONNECTION);
        for listener in streams.listener_ids() {
            server.serve_stream(listener);
        }

        let (requests, incoming) = mpsc::channel();
        let shard =
            Shard::new(server, sockets, streams, incoming, config.usage).map_err(RelayError::Os)?;
        let waker = shard.waker();
        Ok(Self { shard, requests, waker, local_addrs, streams: stream_addrs, certificate })
    }

    /// The UDP addresses listened on, with the ports that port 0 became, in the order of the
    /// configuration; then what the alternate address added.
    #[must_use]
    pub fn local_addrs(&self) -> &[SocketAddr] {
        &self.local_addrs
    }

    /// Runs the relay on a thread of its own.
    ///
    /// # Errors
    /// No thread could be had.
    pub fn start(self) -> Result<RelayHandle, RelayError> {
        let Self { shard, requests, waker, local_addrs, streams, certificate } = self;
        let (ended, has_ended) = watch::channel(None);
        let thread = thread::Builder::new()
            .name("relay-0".to_owned())
            .spawn(move || {
                let last = shard.run();
                // Nobody may be waiting.
                let _ = ended.send(Some(last));
            })
            .map_err(RelayError::Os)?;
        let udp =
            local_addrs.iter().map(|&addr| Listening { transport: Transport::Udp, addr }).collect();
        let listening: Vec<Listening> = [udp, streams].concat();
        for listen in &listening {
            info!(%listen, "relay is up");
        }
        let ends = Ends { requests, waker, ended: has_ended, thread };
        Ok(RelayHandle::new(ends, local_addrs, listening, certificate))
    }
}

fn server(
    config: &RelayConfig,
    local_addrs: &[SocketAddr],
    streams: &[Listening],
    (discovery, stream_discovery): (Option<Discovery>, Option<Discovery>),
) -> Result<Server, RelayError> {
    let Addresses { relay_ips, own } = Addresses::of(config, local_addrs, streams);
    for ip in &relay_ips {
        // Any port will do to learn whether this host has the address.
        sockets::relayed(SocketAddr::new(ip.local, 0))
            .map_err(|_| RelayError::NoSuchAddress(ip.local))?;
    }
    let policy = PeerPolicy::new(own, config.allow_peers.clone(), config.deny_peers.clone());
    let credentials = Credentials::new(&config.realm, config.users.clone(), config.secrets.clone());
    let core = ServerConfig {
        relay_ips,
        relay_ports: config.port_range.clone(),
        limits: config.limits.clone(),
        lifetimes: Default::default(),
        discovery,
        stream_discovery,
    };
    let mut rng = os_seeded()?;
    let mut nonce_key = [0; 32];
    rng.fill_bytes(&mut nonce_key);
    let nonce_key = NonceKey::new(&nonce_key);
    Ok(Server::new(core, credentials, policy, nonce_key, Box::new(rng))?)
}

/// ChaCha seeded by the operating system: unpredictable ports and tokens without a system call
/// for each.
fn os_seeded() -> Result<StdRng, RelayError> {
    let mut seed = [0; 32];
    OsRng
        .try_fill_bytes(&mut seed)
        .map_err(|error| RelayError::Os(std::io::Error::other(error)))?;
    Ok(StdRng::from_seed(seed))
}
