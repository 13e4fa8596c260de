//! Why a relay does not start or has stopped: a code, a cause and a fix.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;

use p2p_turn_core::ServerError;

use crate::transport::Transport;

/// `Display` is the cause; [`code`](Self::code) is for programs and [`fix`](Self::fix) for people.
#[derive(Debug, thiserror::Error)]
pub enum RelayError {
    #[error("no address to listen on is configured")]
    NothingToListenOn,
    #[error("cannot listen on {transport}://{addr}: {source}")]
    Listen { transport: Transport, addr: SocketAddr, source: io::Error },
    #[error("a TLS listener is configured and no certificate")]
    NoCertificate,
    #[error("the certificate in {} is of no use: {cause}", file.display())]
    Certificate { file: PathBuf, cause: String },
    #[error("this host has no address {0} to relay from")]
    NoSuchAddress(IpAddr),
    #[error("{ip} cannot be the alternate address: {cause}")]
    AlternateIp { ip: IpAddr, cause: String },
    #[error(transparent)]
    Config(#[from] ServerError),
    #[error("the operating system refused the relay what it needs to run: {0}")]
    Os(#[source] io::Error),
    #[error("the relay thread has died")]
    Died,
}

impl RelayError {
    /// Stable, in capitals.
    #[must_use]
    pub fn code(&self) -> &'static str {
        match self {
            Self::NothingToListenOn => "RELAY_NO_LISTENER",
            Self::NoCertificate => "RELAY_NO_CERTIFICATE",
            Self::Certificate { .. } => "RELAY_BAD_CERTIFICATE",
            Self::Listen { source, .. } => match source.kind() {
                io::ErrorKind::AddrInUse => "RELAY_PORT_TAKEN",
                io::ErrorKind::PermissionDenied => "RELAY_PORT_PRIVILEGED",
                io::ErrorKind::AddrNotAvailable => "RELAY_ADDRESS_UNKNOWN",
                _ => "RELAY_LISTEN_FAILED",
            },
            Self::NoSuchAddress(_) => "RELAY_ADDRESS_UNKNOWN",
            Self::AlternateIp { .. } => "RELAY_BAD_ALTERNATE_IP",
            Self::Config(_) => "RELAY_BAD_CONFIG",
            Self::Os(_) => "RELAY_OS_REFUSED",
            Self::Died => "RELAY_DIED",
        }
    }

    /// What a person can do about it.
    #[must_use]
    pub fn fix(&self) -> String {
        match self {
            Self::NothingToListenOn => "add --listen udp://0.0.0.0:3478".to_owned(),
            Self::Listen { transport, addr, source } => {
                listen_fix(*transport, *addr, source.kind())
            }
            Self::NoCertificate => {
                "add --tls-cert FILE and --tls-key FILE, or leave tls:// out".to_owned()
            }
            Self::Certificate { .. } => {
                "give PEM files: --tls-cert with the certificate first and \
                                         its intermediates behind it, --tls-key with the private \
                                         key of that certificate"
                    .to_owned()
            }
            Self::NoSuchAddress(ip) => format!(
                "give --external-ip as PUBLIC/LOCAL with a LOCAL address that `ip addr` shows; \
                 {ip} is not among them"
            ),
            Self::AlternateIp { ip, .. } => format!(
                "give --alternate-ip a second address of this host, of the same family as the first \
                 --listen, and let that name one address, such as udp://{}:3478",
                if ip.is_ipv4() { "198.51.100.7" } else { "[2001:db8::7]" }
            ),
            Self::Config(_) => "correct the named setting; `coordinator config check` reads the \
                                configuration without starting anything"
                .to_owned(),
            Self::Os(_) => {
                "check the limits on open files and threads (`ulimit -n`, `ulimit -u`)".to_owned()
            }
            Self::Died => {
                "this is a bug: report it with the log, and restart the process".to_owned()
            }
        }
    }
}

fn listen_fix(transport: Transport, addr: SocketAddr, kind: io::ErrorKind) -> String {
    let port = addr.port();
    let letter = if transport == Transport::Udp { 'u' } else { 't' };
    match kind {
        io::ErrorKind::AddrInUse => format!(
            "port {port} is taken: stop the program that has it (`ss -{letter}lnp 'sport = :{port}'` \
             names it), or listen on another port"
        ),
        io::ErrorKind::PermissionDenied => format!(
            "port {port} is below 1024: choose a higher one, or allow it with \
             `sysctl net.ipv4.ip_unprivileged_port_start={port}`"
        ),
        io::ErrorKind::AddrNotAvailable => format!(
            "this host has no address {}: use one that `ip addr` shows, or 0.0.0.0",
            addr.ip()
        ),
        _ => format!("check that {transport}://{addr} can be bound on this host"),
    }
}
