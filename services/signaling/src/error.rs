//! Why an instance does not start or ends early: a cause, a code, a fix.

use std::io;
use std::net::SocketAddr;

use p2p_telemetry::prometheus::InstallError;

/// A fault of the service as a whole.
#[derive(Debug, thiserror::Error)]
pub enum SignalingError {
    /// Another program has the port.
    #[error("Port {} already in use", .0.port())]
    PortInUse(SocketAddr),
    /// The system does not let this user take the port.
    #[error("Port {} needs a privilege that this process does not have", .0.port())]
    PortDenied(SocketAddr),
    /// The address cannot be listened on for another reason.
    #[error("cannot listen on {address}: {source}")]
    Listen {
        /// What was asked for.
        address: SocketAddr,
        /// What the system says.
        source: io::Error,
    },
    /// Relays are configured and no secret to make credentials for them.
    #[error("relays are configured without the secret that they share with this service")]
    NoTurnSecret,
    /// The metrics cannot be set up.
    #[error("metrics cannot be set up")]
    Metrics(#[from] InstallError),
}

impl SignalingError {
    /// The code for programs.
    pub fn code(&self) -> &'static str {
        match self {
            Self::PortInUse(_) => "port_in_use",
            Self::PortDenied(_) => "port_denied",
            Self::Listen { .. } => "listen_failed",
            Self::NoTurnSecret => "turn_secret_missing",
            Self::Metrics(_) => "metrics_failed",
        }
    }

    /// What a person does about it.
    pub fn fix(&self) -> &'static str {
        match self {
            Self::PortInUse(_) => {
                "stop the other program (`ss -ltnp` names it), or choose another port with --listen"
            }
            Self::PortDenied(_) => {
                "choose a port above 1023 with --listen, or grant CAP_NET_BIND_SERVICE"
            }
            Self::Listen { .. } => "choose an address of this machine with --listen",
            Self::NoTurnSecret => {
                "give --turn-secret-file (P2P_TURN_SECRET), the same as at the relay"
            }
            Self::Metrics(_) => {
                "another part of this program installed a metrics recorder: \
                 let p2p-telemetry install it"
            }
        }
    }

    pub(crate) fn listening(address: SocketAddr, source: io::Error) -> Self {
        match source.kind() {
            io::ErrorKind::AddrInUse => Self::PortInUse(address),
            io::ErrorKind::PermissionDenied => Self::PortDenied(address),
            _ => Self::Listen { address, source },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_port_that_cannot_be_had_says_why_and_what_to_do() {
        let address = "127.0.0.1:80".parse().unwrap();
        let fault = |kind: io::ErrorKind| SignalingError::listening(address, kind.into());
        let taken = fault(io::ErrorKind::AddrInUse);
        assert_eq!(
            (taken.to_string().as_str(), taken.code()),
            ("Port 80 already in use", "port_in_use")
        );
        let denied = fault(io::ErrorKind::PermissionDenied);
        assert_eq!(denied.code(), "port_denied");
        assert!(denied.fix().contains("CAP_NET_BIND_SERVICE"), "{}", denied.fix());
        let foreign = fault(io::ErrorKind::AddrNotAvailable);
        assert_eq!(foreign.code(), "listen_failed");
        assert!(foreign.to_string().contains("127.0.0.1:80"), "{foreign}");
    }
}
