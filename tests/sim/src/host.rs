//! A peer's place in the network: what it sits behind and what its line is like.

use std::time::Duration;

use p2p_wire::Policy;

use crate::nat::Nat;
use crate::tcp::TcpNat;

/// See the module. `Host::from(Nat)` is a host behind that NAT on an ordinary line.
#[derive(Debug, Clone, Copy)]
pub struct Host {
    pub(crate) nat: Option<Nat>,
    pub(crate) latency: Duration,
    pub(crate) loss: f64,
    pub(crate) policy: Policy,
    pub(crate) relays: usize,
    pub(crate) tcp: Option<TcpNat>,
}

impl Host {
    /// A host with a public address.
    pub fn open() -> Self {
        Self {
            nat: None,
            latency: Duration::from_millis(20),
            loss: 0.0,
            policy: Policy::Auto,
            relays: 1,
            tcp: None,
        }
    }

    /// A host behind a NAT.
    pub fn behind(nat: Nat) -> Self {
        Self { nat: Some(nat), ..Self::open() }
    }

    /// One way from the host to the middle of the network, where all lines meet. 20 ms unless said
    /// otherwise.
    pub fn latency(self, latency: Duration) -> Self {
        Self { latency, ..self }
    }

    /// The share of packets that the line loses, each way.
    pub fn loss(self, loss: f64) -> Self {
        Self { loss, ..self }
    }

    /// Which paths the peer wants its connections to use.
    pub fn policy(self, policy: Policy) -> Self {
        Self { policy, ..self }
    }

    /// A client that has measured how its network treats TCP, which is like this where it has a NAT.
    pub fn with_tcp(self, tcp: TcpNat) -> Self {
        Self { tcp: Some(tcp), ..self }
    }

    /// A client that was told of no relay.
    pub fn without_relay(self) -> Self {
        Self { relays: 0, ..self }
    }

    /// A client that was told of two relays.
    pub fn with_two_relays(self) -> Self {
        Self { relays: 2, ..self }
    }
}

impl From<Nat> for Host {
    fn from(nat: Nat) -> Self {
        Self::behind(nat)
    }
}
