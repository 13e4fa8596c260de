//! A peer at one of several instances.

use std::sync::Arc;
use std::time::Duration;

use p2p_registry::RedisRegistry;
use p2p_wire::{Meta, Payload, PeerId};

use crate::{
    Claim, Delivery, Feed, Link, Outgoing, Ownership, Registry, RegistryError, Sent, Target,
};

/// Longer than anything here takes; only a hang reaches it.
pub(crate) const HANG: Duration = Duration::from_secs(60);

/// A peer at one of the instances.
pub(crate) struct Peer {
    pub(crate) instance: Arc<RedisRegistry>,
    pub(crate) owner: Ownership,
    pub(crate) feed: Feed,
}

impl Peer {
    pub(crate) async fn begin(instance: &Arc<RedisRegistry>, name: &str) -> Self {
        let (link, feed) = Link::pair(2048);
        let claim = Claim {
            app: "app".parse().unwrap(),
            peer: name.parse().unwrap(),
            meta: Meta::default(),
            key: None,
            resume: None,
            standing: None,
            link,
        };
        let owner = instance.claim(claim).await.unwrap().ownership;
        Self { instance: instance.clone(), owner, feed }
    }

    /// The next frame that begins like this; what comes before is passed over.
    pub(crate) async fn hears(&mut self, beginning: &str) -> String {
        let hearing = async {
            loop {
                match self.feed.next().await {
                    Delivery::Frame(frame) if frame.starts_with(beginning) => {
                        return frame.to_string();
                    }
                    Delivery::Frame(_) => {}
                    Delivery::End(end) => panic!("{} has ended: {end:?}", self.owner.peer),
                }
            }
        };
        tokio::time::timeout(HANG, hearing).await.expect(beginning)
    }

    /// Sends a message to another peer of the app.
    pub(crate) async fn sends(&self, id: &str, to: &PeerId) -> Result<Sent, RegistryError> {
        let message = Outgoing {
            id: id.parse().unwrap(),
            target: Target::Peer(to.clone()),
            kind: id.to_owned(),
            payload: Payload::default(),
        };
        self.instance.send(&self.owner, &message).await
    }
}
