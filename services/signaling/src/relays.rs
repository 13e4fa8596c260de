//! STUN and TURN servers as clients get them, with credentials of their own.
//!
//! Credentials are minted for each session and attempt and name the app and peer, so that a relay
//! can hold each peer to its quota. The relay takes everything behind the first colon for the user,
//! so names may hold colons themselves.

use std::time::Duration;

use p2p_auth::turn_rest::TurnSecrets;
use p2p_wire::{AppId, IceServer, PeerId, Secret};
use secrecy::ExposeSecret as _;

use crate::config::{RelayOffer, SignalingConfig};
use crate::error::SignalingError;

/// What there is to offer.
pub(crate) struct Relays {
    stun: Vec<String>,
    relays: Vec<RelayOffer>,
    secrets: TurnSecrets,
    ttl: Duration,
}

impl Relays {
    /// # Errors
    /// [`SignalingError::NoTurnSecret`] where relays are configured without a secret.
    pub(crate) fn new(config: &SignalingConfig) -> Result<Self, SignalingError> {
        if !config.relays.is_empty() && config.turn_secrets.is_empty() {
            return Err(SignalingError::NoTurnSecret);
        }
        Ok(Self {
            stun: config.stun.clone(),
            relays: config.relays.clone(),
            secrets: config.turn_secrets.clone(),
            ttl: config.turn_ttl,
        })
    }

    /// Seconds for which credentials are good.
    pub(crate) fn ttl_secs(&self) -> u64 {
        self.ttl.as_secs()
    }

    /// STUN servers, and where the peer may use them, relays with credentials for it.
    pub(crate) fn for_peer(
        &self,
        app: &AppId,
        peer: &PeerId,
        may_relay: bool,
        now_unix: u64,
    ) -> Vec<IceServer> {
        let stun = IceServer { urls: self.stun.clone(), username: None, credential: None };
        let mut servers = Vec::with_capacity(1 + self.relays.len());
        if !stun.urls.is_empty() {
            servers.push(stun);
        }
        if may_relay {
            servers.extend(self.with_credentials(app, peer, now_unix));
        }
        servers
    }

    /// The relays with credentials for a peer.
    pub(crate) fn with_credentials(
        &self,
        app: &AppId,
        peer: &PeerId,
        now_unix: u64,
    ) -> Vec<IceServer> {
        // Without a secret there are no relays: `new` saw to that.
        let Ok(minted) = self.secrets.mint(&format!("{app}:{peer}"), now_unix, self.ttl) else {
            return Vec::new();
        };
        let with_credential = |relay: &RelayOffer| IceServer {
            urls: relay.urls.clone(),
            username: Some(minted.username.clone()),
            credential: Some(Secret::new(minted.password.expose_secret())),
        };
        self.relays.iter().map(with_credential).collect()
    }
}
