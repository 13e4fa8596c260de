//! A session as the suite's tests have it: what it owns, and what arrives for it.

use std::time::Duration;

use p2p_wire::client::Resume;
use p2p_wire::server::{Receipt, ReceiptStatus, RoomChange};
use p2p_wire::{Meta, Secret, ServerMessage};
use tokio::time::sleep;

use super::{app, peer};
use crate::{Claim, Claimed, Delivery, Feed, Frame, Link, Ownership, Registry, RegistryError};

/// Frames that a test's session queues.
pub(crate) const QUEUE: usize = 32;

/// A claimed peer id and what arrives for it.
#[derive(Debug)]
pub(crate) struct Session {
    pub(crate) owner: Ownership,
    pub(crate) feed: Feed,
    pub(crate) secret: Secret,
}

impl Session {
    pub(crate) async fn begin(registry: &dyn Registry, name: &str) -> Self {
        let (link, feed) = Link::pair(QUEUE);
        let claimed = registry.claim(a_claim(name, link)).await.unwrap();
        assert!(!claimed.resumed && claimed.replay.is_empty());
        Self { owner: claimed.ownership, feed, secret: claimed.secret }
    }

    pub(crate) async fn resume(
        self,
        registry: &dyn Registry,
        last_seq: u64,
    ) -> Result<(Self, Vec<(u64, String)>), RegistryError> {
        let (link, feed) = Link::pair(QUEUE);
        let resume = Resume { session: self.owner.session, secret: self.secret, last_seq };
        let claim = Claim { resume: Some(resume), ..a_claim(self.owner.peer.as_str(), link) };
        let claimed = registry.claim(claim).await?;
        assert!(claimed.resumed);
        let replay = claimed.replay.iter().map(as_message).collect();
        Ok((Self { owner: claimed.ownership, feed, secret: claimed.secret }, replay))
    }

    pub(crate) async fn frame(&mut self) -> Frame {
        match self.feed.next().await {
            Delivery::Frame(frame) => frame,
            Delivery::End(end) => panic!("the session ended: {end:?}"),
        }
    }

    pub(crate) async fn message(&mut self) -> (u64, String) {
        as_message(&self.frame().await)
    }

    pub(crate) async fn full_receipt(&mut self) -> Receipt {
        match ServerMessage::parse(&self.frame().await) {
            Ok(Some(ServerMessage::Receipt(receipt))) => receipt,
            other => panic!("expected a receipt, got {other:?}"),
        }
    }

    pub(crate) async fn receipt(&mut self) -> (String, ReceiptStatus) {
        let receipt = self.full_receipt().await;
        (receipt.id.into(), receipt.status)
    }

    pub(crate) async fn event(&mut self) -> (RoomChange, String, u64) {
        match ServerMessage::parse(&self.frame().await) {
            Ok(Some(ServerMessage::Room(event))) => (event.event, event.peer.into(), event.version),
            other => panic!("expected a room event, got {other:?}"),
        }
    }

    /// Nothing is queued for this session. A registry queues before its call returns.
    pub(crate) async fn expect_silence(&mut self) {
        tokio::select! {
            biased;
            delivery = self.feed.next() => panic!("unexpected {delivery:?}"),
            () = sleep(Duration::ZERO) => {}
        }
    }
}

pub(crate) async fn claim(registry: &dyn Registry, name: &str) -> Result<Claimed, RegistryError> {
    let (link, _feed) = Link::pair(QUEUE);
    registry.claim(a_claim(name, link)).await
}

pub(crate) async fn resume_with(
    registry: &dyn Registry,
    owner: &Ownership,
    secret: Secret,
) -> Result<Claimed, RegistryError> {
    let (link, _feed) = Link::pair(QUEUE);
    let resume = Resume { session: owner.session.clone(), secret, last_seq: 0 };
    registry.claim(Claim { resume: Some(resume), ..a_claim(owner.peer.as_str(), link) }).await
}

pub(crate) fn a_claim(name: &str, link: Link) -> Claim {
    let (app, peer) = (app(), peer(name));
    Claim { app, peer, meta: Meta::default(), key: None, resume: None, standing: None, link }
}

fn as_message(frame: &Frame) -> (u64, String) {
    match ServerMessage::parse(frame) {
        Ok(Some(ServerMessage::Message(message))) => (message.seq, message.kind),
        other => panic!("expected a message, got {other:?}"),
    }
}
