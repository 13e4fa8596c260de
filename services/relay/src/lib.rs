//! The relay: UDP, TCP and TLS sockets around the TURN state machine of `p2p-turn-core`.
//!
//! One OS thread owns the sockets and the state machine and shares neither; what the rest of the
//! process wants of it goes through a [`RelayHandle`]. Nothing on the packet path takes a lock or
//! changes thread, and over UDP nothing allocates memory.
//!
//! ```no_run
//! # fn main() -> Result<(), p2p_relay::RelayError> {
//! let relay = p2p_relay::Relay::bind(p2p_relay::RelayConfig {
//!     listen: vec!["0.0.0.0:3478".parse().expect("an address")],
//!     ..Default::default()
//! })?;
//! println!("listening on {:?}", relay.local_addrs());
//! let handle = relay.start()?;
//! handle.join()?;
//! # Ok(())
//! # }
//! ```

mod addresses;
mod config;
mod error;
mod handle;
mod listeners;
mod metrics;
mod relay;
mod shard;
mod snapshot;
mod sockets;
mod streams;
mod tls;
mod transport;

pub use config::{ExternalIp, ExternalIpError, RelayConfig};
pub use error::RelayError;
pub use handle::RelayHandle;
pub use p2p_auth::turn_rest::{TurnCredentials, TurnSecrets};
pub use p2p_turn_core::{AllocationEnd, ChallengeRate, Limits, Relayed, StaticUser};
pub use p2p_wire::{Cidr, CidrError};
pub use relay::Relay;
pub use snapshot::{RelaySnapshot, RelayUsage};
pub use streams::StreamLimits;
pub use tls::{Reload, TlsFiles};
pub use transport::{Listening, Transport};
