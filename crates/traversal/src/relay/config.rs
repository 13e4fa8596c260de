//! Which relay to use, and how it is reached.

use std::net::SocketAddr;

use p2p_wire::Secret;

/// Which relay, how, and as whom.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RelayConfig {
    /// The relay's address.
    pub server: SocketAddr,
    /// How it is reached.
    pub transport: RelayTransport,
    /// The name that its certificate is for, where it is reached over TLS.
    pub name: String,
    /// The TURN username.
    pub username: String,
    /// The TURN password.
    pub password: Secret,
}

impl RelayConfig {
    /// A relay over UDP.
    pub fn udp(server: SocketAddr, username: impl Into<String>, password: Secret) -> Self {
        let (transport, name) = (RelayTransport::Udp, String::new());
        Self { server, transport, name, username: username.into(), password }
    }

    /// Whether both are the same but for credentials. What a relay is called matters to TLS alone, and
    /// to one address over UDP there is one allocation.
    pub(crate) fn is_same_way(&self, other: &Self) -> bool {
        let name = self.transport != RelayTransport::Tls || self.name == other.name;
        name && (self.server, self.transport) == (other.server, other.transport)
    }
}

/// Between client and relay; peers are always reached over UDP (RFC 8656 §3.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum RelayTransport {
    /// Each message in a datagram.
    Udp,
    /// Messages in a stream.
    Tcp,
    /// The same, encrypted.
    Tls,
}

impl RelayTransport {
    /// `udp`, `tcp` or `tls`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Udp => "udp",
            Self::Tcp => "tcp",
            Self::Tls => "tls",
        }
    }
}

impl std::fmt::Display for RelayTransport {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Udp => "UDP",
            Self::Tcp => "TCP",
            Self::Tls => "TLS",
        })
    }
}
