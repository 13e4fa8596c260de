//! What a client is told at its start.

use std::time::Duration;

use p2p_wire::{IceServer, Meta, PeerId, Secret};
use rustls::pki_types::CertificateDer;

/// A client's configuration. [`Config::new`] has defaults for everything but server and token.
#[derive(Debug, Clone)]
pub struct Config {
    /// The coordinator: `ws://host:port` or `wss://host` (`http` and `https` mean the same).
    pub server: String,
    /// The JWT. Prints redacted.
    pub token: Secret,
    /// The peer id to register. Default: the token's `sub`, which must not end in `*` then.
    pub peer: Option<PeerId>,
    /// What other peers learn about this one; at most 2 KiB as JSON.
    pub meta: Meta,
    /// STUN servers besides the coordinator's: `stun:host:port` or `host:port`.
    pub stun_servers: Vec<String>,
    /// TURN servers besides the coordinator's. The first that answers is used: over UDP where that
    /// passes, or else over TCP (`turn:…?transport=tcp`) or TLS (`turns:…`).
    pub turn_servers: Vec<IceServer>,
    /// The UDP port; 0 lets the system choose.
    pub local_port: u16,
    /// How often NAT mappings and idle paths are kept alive. Default 25 s: most NATs forget an idle
    /// UDP mapping after 30 s or more.
    pub keep_alive: Duration,
    /// How long a connection may take to come about. Default 30 s.
    pub connect_timeout: Duration,
    /// How often a failed attempt, and at the start the coordinator, is tried again. Default 3.
    pub max_retries: u32,
    /// Whether loopback addresses are offered to peers: for programs on one machine.
    pub allow_loopback: bool,
    /// Certificates to trust for coordinator and relays over TLS, besides those of the public
    /// authorities: of an authority of one's own, or of a server itself.
    pub extra_roots: Vec<CertificateDer<'static>>,
}

impl Config {
    /// The defaults for a server and a token.
    pub fn new(server: impl Into<String>, token: impl Into<String>) -> Self {
        Self {
            server: server.into(),
            token: Secret::new(token),
            peer: None,
            meta: Meta::default(),
            stun_servers: Vec::new(),
            turn_servers: Vec::new(),
            local_port: 0,
            keep_alive: Duration::from_secs(25),
            connect_timeout: Duration::from_secs(30),
            max_retries: 3,
            allow_loopback: false,
            extra_roots: Vec::new(),
        }
    }
}
