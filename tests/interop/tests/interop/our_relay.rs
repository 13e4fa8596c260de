//! The relay under test, in this process, for people it knows by password and by secret.

use std::net::SocketAddr;
use std::path::Path;
use std::time::{Duration, SystemTime};

use p2p_relay::{
    Relay, RelayConfig, RelayHandle, RelaySnapshot, StaticUser, TlsFiles, Transport, TurnSecrets,
};
use secrecy::ExposeSecret as _;

const SECRET: &str = "the secret that signaling and relay share";

pub(crate) struct OurRelay {
    handle: RelayHandle,
}

/// What a client logs in with.
#[derive(Debug, Clone)]
pub(crate) struct Login {
    pub(crate) username: String,
    pub(crate) password: String,
}

impl OurRelay {
    pub(crate) fn start() -> Self {
        let certificates = Path::new(env!("CARGO_MANIFEST_DIR")).join("../certificates");
        let config = RelayConfig {
            listen: vec!["127.0.0.1:0".parse().unwrap()],
            listen_tcp: vec!["127.0.0.1:0".parse().unwrap()],
            listen_tls: vec!["127.0.0.1:0".parse().unwrap()],
            tls: Some(TlsFiles {
                cert: certificates.join("one.crt"),
                key: certificates.join("one.key"),
            }),
            realm: "interop.test".to_owned(),
            secrets: TurnSecrets::new(vec![SECRET.into()]),
            users: vec![StaticUser { name: "alice".to_owned(), password: "wonderland".into() }],
            allow_peers: vec!["127.0.0.0/8".parse().unwrap()],
            ..RelayConfig::default()
        };
        Self { handle: Relay::bind(config).unwrap().start().unwrap() }
    }

    pub(crate) fn addr(&self) -> SocketAddr {
        self.handle.local_addrs()[0]
    }

    /// Where it listens for this.
    pub(crate) fn addr_over(&self, transport: Transport) -> SocketAddr {
        let mut all = self.handle.listening().iter();
        all.find(|listening| listening.transport == transport).unwrap().addr
    }

    pub(crate) fn static_login() -> Login {
        Login { username: "alice".to_owned(), password: "wonderland".to_owned() }
    }

    pub(crate) fn rest_login() -> Login {
        let now = SystemTime::UNIX_EPOCH.elapsed().unwrap().as_secs();
        let minted = TurnSecrets::new(vec![SECRET.into()])
            .mint("app:bob", now, Duration::from_secs(3600))
            .unwrap();
        let password = minted.password.expose_secret().to_owned();
        Login { username: minted.username, password }
    }

    pub(crate) fn snapshot(&self) -> RelaySnapshot {
        self.handle.snapshot().unwrap()
    }
}
