//! STUN and TURN server state machine, sans-I/O (RFC 8489, RFC 8656).
//!
//! [`Server`] takes datagrams and the time, and says what to do: where a payload goes, what to
//! answer, which relay sockets to open and close. It owns no socket and reads no clock; randomness
//! is injected. The contract with the shell around it is in [`Server`]'s documentation.
//!
//! ```text
//! client ──ChannelData/Send──▶ Server::handle_client ──▶ ClientAction::Relay ──▶ peer
//! client ◀──ChannelData/Data── Server::handle_peer   ◀── datagram from peer
//! client ◀──STUN answers────── Command::SendToClient
//! ```

mod addr;
mod allocation;
mod canonical;
mod challenge_limit;
mod channel;
mod channel_data;
mod config;
mod counters;
mod credentials;
mod discovery;
mod listeners;
mod message;
mod nonce;
mod peer_policy;
mod permission;
mod ports;
mod quota;
mod reservation;
mod server;
mod stream;
mod timers;

pub use addr::{AllocationId, ClientAddr, FiveTuple, ListenerId, Now, PeerAddr, RelayedAddr};
pub use allocation::AllocationUsage;
pub use canonical::{canonical, canonical_socket_addr, embedded};
pub use challenge_limit::ChallengeRate;
pub use channel::ChannelNumber;
pub use config::{Lifetimes, Limits, RelayIp, ServerConfig};
pub use counters::{AllocationEnd, Counters, Reason, Relayed, RequestMethod, RequestResult};
pub use credentials::{Credentials, StaticUser, UserId};
pub use discovery::Discovery;
pub use listeners::ListenerLoad;
pub use nonce::NonceKey;
pub use peer_policy::{DENIED_BY_DEFAULT, OwnAddresses, PeerDenial, PeerPolicy};
pub use server::{
    ChannelRoute, ClientAction, ClientRoute, Command, FreedAllocation, HEADROOM, OpenError, Server,
    ServerError, TAILROOM,
};
pub use stream::{StreamError, StreamReader, stream_padding};
