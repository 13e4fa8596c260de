//! A listener that cannot be had: port taken, privilege missing, address unknown.

use std::io::{self, ErrorKind};
use std::net::SocketAddr;

use crate::failure::{Failure, exit};

/// Says why nothing listens on this address, and what to do.
pub fn failed(protocol: &str, address: SocketAddr, flag: &str, error: &io::Error) -> Failure {
    let port = address.port();
    let (code, cause, fix) = match error.kind() {
        ErrorKind::AddrInUse => {
            let letter = if protocol == "udp" { 'u' } else { 't' };
            (
                "port_taken",
                format!("Port {port} already in use ({protocol} {address})"),
                format!(
                    "stop the program that has it (`ss -{letter}lnp 'sport = :{port}'` names it), \
                     or choose another with {flag}"
                ),
            )
        }
        ErrorKind::PermissionDenied => (
            "missing_privilege",
            format!("this user may not listen on port {port} ({protocol} {address})"),
            format!(
                "choose a port from 1024 up with {flag}, or allow it with \
                 `sysctl net.ipv4.ip_unprivileged_port_start={port}`"
            ),
        ),
        ErrorKind::AddrNotAvailable => (
            "address_unknown",
            format!("this host has no address {}", address.ip()),
            format!("choose one that `ip addr` shows, or 0.0.0.0, with {flag}"),
        ),
        _ => (
            "listen_failed",
            format!("cannot listen on {protocol} {address}: {error}"),
            format!("choose another address with {flag}"),
        ),
    };
    Failure::new(code, exit::USAGE, cause, fix)
}
