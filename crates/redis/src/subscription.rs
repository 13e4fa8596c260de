//! What hears channels.

use std::collections::HashMap;

use ::redis::aio::{MultiplexedConnection, PubSubStream};
use ::redis::{AsyncConnectionConfig, Msg, ProtocolVersion, PushInfo, PushKind, RedisError, Value};
use futures_util::StreamExt as _;
use futures_util::future::try_join_all;
use tokio::sync::{mpsc, watch};

use crate::Patience;
use crate::address::Host;
use crate::cluster::topology;
use crate::node::{Nodes, at, refused};
use crate::slot::slot_of;

/// Messages of a Cluster that wait to be taken. One more ends the subscription: whoever hears it
/// then asks for everything anew.
const WAITING: usize = 65_536;

/// An open subscription. It does not come back: when it ends, something may have been missed.
pub struct Subscription(Source);

enum Source {
    Node(PubSubStream),
    Cluster {
        heard: mpsc::Receiver<Vec<u8>>,
        over: watch::Receiver<bool>,
        /// They end with this.
        _open: Vec<MultiplexedConnection>,
    },
}

/// A message of a channel.
pub enum Heard {
    /// Of a node.
    #[doc(hidden)]
    Message(Box<Msg>),
    /// Of a Cluster.
    #[doc(hidden)]
    Bytes(Vec<u8>),
}

impl Heard {
    /// What was published.
    pub fn payload(&self) -> &[u8] {
        match self {
            Self::Message(message) => message.get_payload_bytes(),
            Self::Bytes(bytes) => bytes,
        }
    }
}

impl Subscription {
    /// The next message; `None` when it has ended.
    pub async fn next(&mut self) -> Option<Heard> {
        match &mut self.0 {
            Source::Node(stream) => {
                stream.next().await.map(|message| Heard::Message(Box::new(message)))
            }
            Source::Cluster { heard, over, .. } => tokio::select! {
                biased;
                _ = over.wait_for(|over| *over) => None,
                bytes = heard.recv() => bytes.map(Heard::Bytes),
            },
        }
    }
}

pub(crate) async fn of_node(
    nodes: &Nodes,
    host: &Host,
    channels: &[String],
) -> Result<Subscription, RedisError> {
    let client = nodes.client(host, ProtocolVersion::RESP2)?;
    let mut open = client.get_async_pubsub().await.map_err(|error| at(host, &error))?;
    open.subscribe(channels).await.map_err(|error| at(host, &error))?;
    Ok(Subscription(Source::Node(open.into_on_message())))
}

pub(crate) async fn of_cluster(
    nodes: &Nodes,
    channels: &[String],
    patience: Patience,
) -> Result<Subscription, RedisError> {
    let topology = topology(nodes, patience).await?;
    let mut at_masters: HashMap<Host, Vec<&String>> = HashMap::new();
    for channel in channels {
        let slot = slot_of(channel);
        let nobody = || refused(format!("nobody is master of slot {slot}"));
        let master = topology.master_of(slot).ok_or_else(nobody)?;
        at_masters.entry(master.clone()).or_default().push(channel);
    }
    let (hearing, heard) = mpsc::channel(WAITING);
    let (ending, over) = watch::channel(false);
    let subscribing = at_masters.iter().map(|(host, channels)| {
        subscribe_at(nodes, host, channels, ear(hearing.clone(), ending.clone()), patience)
    });
    let open = try_join_all(subscribing).await?;
    Ok(Subscription(Source::Cluster { heard, over, _open: open }))
}

async fn subscribe_at(
    nodes: &Nodes,
    host: &Host,
    channels: &[&String],
    ear: impl Fn(PushInfo) -> Result<(), ()> + Send + Sync + 'static,
    patience: Patience,
) -> Result<MultiplexedConnection, RedisError> {
    let config = AsyncConnectionConfig::new()
        .set_connection_timeout(Some(patience.connect))
        .set_response_timeout(Some(patience.answer))
        .set_push_sender(ear);
    // Sharded channels push beside answers only in this version.
    let client = nodes.client(host, ProtocolVersion::RESP3)?;
    let connecting = client.get_multiplexed_async_connection_with_config(&config);
    let mut open = connecting.await.map_err(|error| at(host, &error))?;
    for channel in channels {
        let mut subscribe = ::redis::cmd("SSUBSCRIBE");
        subscribe.arg(channel);
        let _: Value = subscribe.query_async(&mut open).await.map_err(|error| at(host, &error))?;
    }
    Ok(open)
}

/// Passes on what a connection pushes, and says when something was missed.
fn ear(
    hearing: mpsc::Sender<Vec<u8>>,
    over: watch::Sender<bool>,
) -> impl Fn(PushInfo) -> Result<(), ()> + Send + Sync + 'static {
    move |pushed| {
        let went_well = match pushed.kind {
            PushKind::SMessage => match pushed.data.into_iter().nth(1) {
                Some(Value::BulkString(bytes)) => hearing.try_send(bytes).is_ok(),
                _ => false,
            },
            // The slot has moved, or the node is gone.
            PushKind::SUnsubscribe | PushKind::Disconnection => false,
            _ => true,
        };
        if !went_well {
            over.send_replace(true);
        }
        Ok(())
    }
}
