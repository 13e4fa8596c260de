//! The host's own addresses, and the one socket.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};

use socket2::{Domain, Protocol, Socket, Type};

use crate::error::{Error, ErrorCode};

/// Host candidates at the most: machines with many virtual interfaces would flood their peers.
const MAX_ADDRESSES: usize = 8;
/// Room for a burst of full-size QUIC packets while the task is elsewhere.
const BUFFER_BYTES: usize = 2 * 1024 * 1024;

/// The socket, and whether it speaks IPv4 only.
pub(crate) struct Bound {
    pub(crate) socket: UdpSocket,
    pub(crate) port: u16,
    pub(crate) v4_only: bool,
}

/// Binds one UDP socket for both address families, or for IPv4 where the host has no IPv6.
pub(crate) fn bind(port: u16) -> Result<Bound, Error> {
    match bind_family(Domain::IPV6, SocketAddr::from((Ipv6Addr::UNSPECIFIED, port))) {
        Ok(socket) => bound(socket, false),
        Err(error) if error.kind() == io::ErrorKind::AddrInUse => Err(taken(port, &error)),
        Err(_) => bind_family(Domain::IPV4, SocketAddr::from((Ipv4Addr::UNSPECIFIED, port)))
            .map_err(|error| taken(port, &error))
            .and_then(|socket| bound(socket, true)),
    }
}

/// Addresses at which the host may be reached, IPv4 first.
pub(crate) fn local_ips(allow_loopback: bool, v4_only: bool) -> Vec<IpAddr> {
    local_ips_after(&[], allow_loopback, v4_only)
}

/// The same, keeping of those that were found `before` what is still there: among many addresses the
/// choice is not to change because another one has come.
pub(crate) fn local_ips_after(
    before: &[IpAddr],
    allow_loopback: bool,
    v4_only: bool,
) -> Vec<IpAddr> {
    let interfaces = if_addrs::get_if_addrs().unwrap_or_default();
    let mut ips: Vec<IpAddr> = interfaces
        .iter()
        .map(if_addrs::Interface::ip)
        .filter(|ip| reachable(*ip, allow_loopback) && !(v4_only && ip.is_ipv6()))
        .collect();
    ips.sort_by_key(|ip| (ip.is_ipv6(), ip.is_loopback(), *ip));
    ips.dedup();
    ips.sort_by_key(|ip| !before.contains(ip));
    ips.truncate(MAX_ADDRESSES);
    ips.sort_by_key(|ip| (ip.is_ipv6(), ip.is_loopback(), *ip));
    ips
}

/// Link-local addresses need a zone that a peer cannot name.
fn reachable(ip: IpAddr, allow_loopback: bool) -> bool {
    match ip {
        IpAddr::V4(ip) if ip.is_loopback() => allow_loopback,
        IpAddr::V4(ip) => !ip.is_link_local() && !ip.is_unspecified(),
        IpAddr::V6(ip) => !ip.is_loopback() && !ip.is_unicast_link_local() && !ip.is_unspecified(),
    }
}

fn bind_family(domain: Domain, addr: SocketAddr) -> io::Result<UdpSocket> {
    let socket = Socket::new(domain, Type::DGRAM, Some(Protocol::UDP))?;
    if domain == Domain::IPV6 {
        socket.set_only_v6(false)?;
    }
    socket.set_nonblocking(true)?;
    // The kernel gives what its limits allow; less only costs throughput.
    let _ = socket.set_recv_buffer_size(BUFFER_BYTES);
    let _ = socket.set_send_buffer_size(BUFFER_BYTES);
    socket.bind(&addr.into())?;
    Ok(socket.into())
}

fn bound(socket: UdpSocket, v4_only: bool) -> Result<Bound, Error> {
    let port = socket.local_addr().map_err(Error::internal)?.port();
    Ok(Bound { socket, port, v4_only })
}

fn taken(port: u16, error: &io::Error) -> Error {
    match error.kind() {
        io::ErrorKind::AddrInUse => Error::new(
            ErrorCode::PortTaken,
            format!("Port {port} already in use"),
            "choose another local port, or 0 for any",
        ),
        io::ErrorKind::PermissionDenied => Error::new(
            ErrorCode::Usage,
            format!("no permission to use UDP port {port}"),
            "choose a port above 1023, or 0 for any",
        ),
        _ => Error::new(ErrorCode::Usage, format!("no UDP socket: {error}"), "see the cause"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn loopback_is_only_offered_on_request() {
        assert!(local_ips(false, false).iter().all(|ip| !ip.is_loopback()));
        assert!(local_ips(true, true).contains(&IpAddr::V4(Ipv4Addr::LOCALHOST)));
    }

    #[test]
    fn a_taken_port_is_named_with_a_fix() {
        let first = bind(0).unwrap();
        let Err(error) = bind(first.port) else { panic!("two sockets on one port") };
        assert_eq!(error.code, ErrorCode::PortTaken);
        assert!(error.to_string().contains(&format!("Port {} already in use", first.port)));
    }
}
