//! A connection to one peer that is made again when it dies.

use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::Duration;

use futures_util::FutureExt as _;
use p2p_client::{Client, Connection, Error, PeerId, Policy};
use tokio::sync::Mutex;

use crate::paths;
use crate::talk::Talk;

/// A peer and the connection to it.
pub struct Reach<'a> {
    client: &'a Client,
    peer: &'a PeerId,
    policy: Policy,
    talk: &'a Talk,
    /// Held while connecting, so that many who ask at once get one connection.
    current: Mutex<Option<Connection>>,
    has_connected: AtomicBool,
}

impl<'a> Reach<'a> {
    /// Nothing is connected yet.
    pub fn new(client: &'a Client, peer: &'a PeerId, policy: Policy, talk: &'a Talk) -> Self {
        Self {
            client,
            peer,
            policy,
            talk,
            current: Mutex::new(None),
            has_connected: AtomicBool::new(false),
        }
    }

    /// The connection, made where there is none. Its paths are told from then on.
    pub async fn connection(&self) -> Result<Connection, Error> {
        let mut current = self.current.lock().await;
        if let Some(connection) = &*current
            && !has_ended(connection).await
        {
            return Ok(connection.clone());
        }
        let connection = self.client.connect(self.peer, self.policy).await?;
        let (telling, talk) = (connection.clone(), self.talk.clone());
        tokio::spawn(async move { paths::tell(&telling, &talk).await });
        self.has_connected.store(true, Relaxed);
        *current = Some(connection.clone());
        Ok(connection)
    }

    /// Whether there is a connection.
    pub async fn is_connected(&self) -> bool {
        match &*self.current.lock().await {
            Some(connection) => !has_ended(connection).await,
            None => false,
        }
    }

    /// Waits for the end of the connection that there is.
    pub async fn ended(&self) {
        let current = self.current.lock().await.clone();
        if let Some(connection) = current {
            connection.closed().await;
        }
    }

    /// Whether the coordinator will not have this client back.
    pub fn is_refused(&self) -> bool {
        self.client.signaling_ended().now_or_never().is_some()
    }

    /// Whether the peer was ever reached.
    pub fn has_connected(&self) -> bool {
        self.has_connected.load(Relaxed)
    }
}

/// Whether the connection is known to have ended.
async fn has_ended(connection: &Connection) -> bool {
    tokio::time::timeout(Duration::ZERO, connection.closed()).await.is_ok()
}
