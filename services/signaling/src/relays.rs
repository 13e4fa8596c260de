//! STUN and TURN servers as clients get them, with credentials of their own.
//!
//! Credentials are minted for each session and attempt and name the app and peer, so that a relay
//! can hold each peer to its quota. The relay takes everything behind the first colon for the user,
//! so names may hold colons themselves.

use std::sync::Arc;
use std::time::Duration;

use p2p_auth::turn_rest::TurnSecrets;
use p2p_registry::RelayDirectory;
use p2p_registry::relays::{RelayRecord, best};
use p2p_wire::{AppId, IceServer, PeerId, Secret};
use schemars::JsonSchema;
use secrecy::ExposeSecret as _;
use serde::Serialize;

use crate::config::{RelayOffer, SignalingConfig};
use crate::error::SignalingError;

/// Relays of the directory that a client is told: one to use, and one for when that is gone.
const OFFERED: usize = 2;

/// What there is to offer.
pub(crate) struct Relays {
    stun: Vec<String>,
    relays: Vec<RelayOffer>,
    directory: Option<Arc<RelayDirectory>>,
    region: Option<String>,
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
            directory: config.relay_directory.clone(),
            region: config.region.clone(),
            secrets: config.turn_secrets.clone(),
            ttl: config.turn_ttl,
        })
    }

    /// Seconds for which credentials are good.
    pub(crate) fn ttl_secs(&self) -> u64 {
        self.ttl.as_secs()
    }

    /// Every relay there is, for whoever watches over them: draining ones, too.
    pub(crate) fn known(&self) -> Vec<KnownRelay> {
        let directory = self.directory.as_ref().map(|directory| directory.relays());
        let registered =
            directory.iter().flat_map(|relays| relays.iter()).map(|relay| KnownRelay {
                urls: relay.turn_urls(),
                region: (!relay.region.is_empty()).then(|| relay.region.clone()),
                load: Some(f64::from(relay.load) / 1000.0),
                draining: relay.draining,
            });
        let configured = self.relays.iter().map(|relay| KnownRelay {
            urls: relay.urls.clone(),
            region: None,
            load: None,
            draining: false,
        });
        registered.chain(configured).collect()
    }

    /// STUN servers, and where the peer may use them, relays with credentials for it.
    pub(crate) fn for_peer(
        &self,
        app: &AppId,
        peer: &PeerId,
        may_relay: bool,
        now_unix: u64,
    ) -> Vec<IceServer> {
        let near = self.near(&[self.region.as_deref()], &format!("{app}:{peer}"));
        // A relay is a STUN server too.
        let urls: Vec<String> =
            near.iter().flat_map(RelayRecord::stun_urls).chain(self.stun.iter().cloned()).collect();
        let mut servers = Vec::new();
        if !urls.is_empty() {
            servers.push(IceServer { urls, username: None, credential: None });
        }
        if may_relay {
            servers.extend(self.with_credentials(&near, app, peer, now_unix));
        }
        servers
    }

    /// The relays for an attempt between two peers, in the order in which they are to be tried.
    /// Both sides get the same, each with credentials of its own.
    pub(crate) fn for_pair(&self, app: &AppId, sides: [(&PeerId, Option<&str>); 2]) -> PairRelays {
        let [(caller, near_region), (callee, far_region)] = sides;
        let near_region = near_region.or(self.region.as_deref());
        PairRelays(self.near(&[near_region, far_region], &format!("{app}:{caller}:{callee}")))
    }

    /// The pair's relays with credentials for one side.
    pub(crate) fn for_side(
        &self,
        pair: &PairRelays,
        app: &AppId,
        peer: &PeerId,
        now_unix: u64,
    ) -> Vec<IceServer> {
        self.with_credentials(&pair.0, app, peer, now_unix)
    }

    /// The best of the directory.
    fn near(&self, regions: &[Option<&str>], pair: &str) -> Vec<RelayRecord> {
        let Some(directory) = &self.directory else { return Vec::new() };
        let regions: Vec<&str> = regions.iter().copied().flatten().collect();
        best(&directory.relays(), &regions, pair, OFFERED).into_iter().cloned().collect()
    }

    /// Those of the directory first: they are known to be there. Then those of the settings.
    fn with_credentials(
        &self,
        near: &[RelayRecord],
        app: &AppId,
        peer: &PeerId,
        now_unix: u64,
    ) -> Vec<IceServer> {
        // Without a secret there are no relays that a client could use.
        let Ok(minted) = self.secrets.mint(&format!("{app}:{peer}"), now_unix, self.ttl) else {
            return Vec::new();
        };
        let with_credential = |urls: Vec<String>| IceServer {
            urls,
            username: Some(minted.username.clone()),
            credential: Some(Secret::new(minted.password.expose_secret())),
        };
        let configured = self.relays.iter().map(|relay| relay.urls.clone());
        near.iter().map(RelayRecord::turn_urls).chain(configured).map(with_credential).collect()
    }
}

/// A relay that clients may be told of.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
pub(crate) struct KnownRelay {
    /// Where clients reach it, as TURN URIs.
    urls: Vec<String>,
    /// Where it is, in the operator's words.
    #[serde(skip_serializing_if = "Option::is_none")]
    region: Option<String>,
    /// What part of what it can hold it holds, 0 to 1; absent for one of the settings, which tells
    /// nothing of itself.
    #[serde(skip_serializing_if = "Option::is_none")]
    load: Option<f64>,
    /// Whether it takes no new allocations.
    draining: bool,
}

/// The relays that an attempt's two sides may use.
pub(crate) struct PairRelays(Vec<RelayRecord>);

#[cfg(test)]
mod tests {
    use super::*;
    use p2p_auth::{SigningSecret, Verifier};

    fn relay(id: &str, region: &str) -> RelayRecord {
        RelayRecord {
            id: id.to_owned(),
            region: region.to_owned(),
            addresses: vec![format!("{id}.example.org:3478")],
            tcp: Vec::new(),
            load: 0,
            draining: false,
        }
    }

    #[test]
    fn both_sides_of_a_pair_get_the_same_two_relays_with_credentials_of_their_own() {
        let secret = SigningSecret::new(&"s".repeat(32)).unwrap();
        let verifier = Verifier::hs256([secret]);
        let mut config = SignalingConfig::new("127.0.0.1:0".parse().unwrap(), verifier);
        config.region = Some("eu".to_owned());
        config.turn_secrets = TurnSecrets::from(secrecy::SecretString::from("north"));
        let all = [relay("eu-1", "eu"), relay("us-1", "us"), relay("ap-1", "ap")];
        config.relay_directory = Some(RelayDirectory::of(all.to_vec()));
        let relays = Relays::new(&config).unwrap();
        let app = AppId::default();
        let [alice, bob]: [PeerId; 2] = ["alice", "bob"].map(|name| name.parse().unwrap());

        let pair = relays.for_pair(&app, [(&alice, None), (&bob, Some("us"))]);
        let [for_alice, for_bob] =
            [&alice, &bob].map(|peer| relays.for_side(&pair, &app, peer, 1_700_000_000));
        let urls = |servers: &[IceServer]| -> Vec<String> {
            servers.iter().flat_map(|server| server.urls.clone()).collect()
        };
        let expected = [
            "turn:eu-1.example.org:3478?transport=udp",
            "turn:us-1.example.org:3478?transport=udp",
        ];
        assert_eq!(urls(&for_alice), expected, "the region of this instance, and the callee's");
        assert_eq!(urls(&for_bob), expected);
        assert!(for_alice[0].username.as_ref().unwrap().ends_with(":alice"));
        assert_ne!(for_alice[0].credential, for_bob[0].credential);

        let servers = relays.for_peer(&app, &alice, true, 1_700_000_000);
        assert_eq!(servers.len(), 3, "one entry for STUN, two relays");
        assert!(servers[0].urls.contains(&"stun:eu-1.example.org:3478".to_owned()));
        assert_eq!(relays.for_peer(&app, &alice, false, 1_700_000_000).len(), 1);
    }

    #[test]
    fn every_relay_is_known_the_draining_one_and_the_configured_one_too() {
        let verifier = Verifier::hs256([SigningSecret::new(&"s".repeat(32)).unwrap()]);
        let mut config = SignalingConfig::new("127.0.0.1:0".parse().unwrap(), verifier);
        config.turn_secrets = TurnSecrets::from(secrecy::SecretString::from("north"));
        config.relays = vec![RelayOffer { urls: vec!["turn:own.example.org:3478".to_owned()] }];
        let full = RelayRecord { load: 250, draining: true, ..relay("eu-1", "eu") };
        config.relay_directory = Some(RelayDirectory::of(vec![full, relay("any", "")]));
        let known = Relays::new(&config).unwrap().known();
        let told = serde_json::to_value(known).unwrap();
        let eu = "turn:eu-1.example.org:3478?transport=udp";
        let any = "turn:any.example.org:3478?transport=udp";
        let expected = serde_json::json!([
            { "urls": [eu], "region": "eu", "load": 0.25, "draining": true },
            { "urls": [any], "load": 0.0, "draining": false },
            { "urls": ["turn:own.example.org:3478"], "draining": false },
        ]);
        assert_eq!(told, expected);
    }
}
