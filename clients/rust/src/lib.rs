//! The client: finds peers through a coordinator and connects to them, whatever NATs are in between.
//!
//! ```no_run
//! # async fn example() -> Result<(), p2p_client::Error> {
//! use p2p_client::{Client, Config, Policy};
//!
//! let client = Client::start(Config::new("ws://127.0.0.1:8080", "a token")).await?;
//! let connection = client.connect(&"bob".parse().unwrap(), Policy::Auto).await?;
//! let mut stream = connection.open_stream().await?;
//! tokio::io::AsyncWriteExt::write_all(&mut stream, b"hello").await.unwrap();
//! # Ok(())
//! # }
//! ```
//!
//! What happens underneath: one UDP socket carries STUN, checks, relayed packets and QUIC; where
//! UDP does not reach the relay, its packets go over TCP or TLS. A
//! sans-I/O [`Node`](p2p_traversal::Node) decides about everything but QUIC; [`socket`] moves the
//! packets; [`signaling`] talks to the coordinator; [`client`] puts them together.
#![warn(missing_docs)]

mod accept;
mod attempts;
mod backoff;
mod behaviour;
pub mod bench;
pub mod client;
pub mod config;
pub mod connection;
mod credentials;
mod dial;
mod driver;
pub mod error;
pub mod events;
mod gather;
mod history;
mod http;
mod identity;
mod incoming;
mod kept;
pub mod netcheck;
mod offers;
mod peer_streams;
mod ping;
mod relay_stream;
mod resolve;
mod routes;
pub mod signaling;
pub mod socket;
mod strangers;
pub mod stream;
mod tcp_port;
mod tls;
mod trickle;

pub use client::Client;
pub use config::Config;
pub use connection::{Connection, ConnectionStats};
pub use error::{Error, ErrorCode};
pub use events::{ClientEvent, ClientStats};
pub use netcheck::{NetcheckConfig, NetcheckReport, netcheck};
pub use p2p_traversal::{Path, PathKind, RelayTransport};
pub use p2p_wire::{
    AttemptId, IceServer, Mapping, Meta, Method, NatProfile, Outcome, PeerId, Policy, Report,
    RoomName, Secret,
};
pub use resolve::is_stun_server;
pub use rustls::pki_types::{CertificateDer, pem};
pub use stream::Stream;
