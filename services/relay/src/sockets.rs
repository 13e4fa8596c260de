//! Opening UDP sockets the way a relay wants them.

use std::io;
use std::net::SocketAddr;

use mio::net::UdpSocket;
use socket2::{Domain, Protocol, SockAddr, Socket, Type};

/// All clients share a listener: room for a burst from each of many. The kernel cuts it to
/// `net.core.rmem_max`.
const LISTENER_BUFFER: usize = 4 << 20;

/// A socket that clients send to.
pub(crate) fn listener(addr: SocketAddr) -> io::Result<UdpSocket> {
    let socket = open(addr)?;
    // A smaller buffer than asked for still works; it drops earlier under load.
    let _ = socket.set_recv_buffer_size(LISTENER_BUFFER);
    let _ = socket.set_send_buffer_size(LISTENER_BUFFER);
    Ok(UdpSocket::from_std(socket.into()))
}

/// The socket of one allocation. Not connected: it has many peers.
pub(crate) fn relayed(addr: SocketAddr) -> io::Result<UdpSocket> {
    Ok(UdpSocket::from_std(open(addr)?.into()))
}

/// Without SO_REUSEADDR: a port that is taken has to say so.
fn open(addr: SocketAddr) -> io::Result<Socket> {
    let socket = Socket::new(Domain::for_address(addr), Type::DGRAM, Some(Protocol::UDP))?;
    if addr.is_ipv6() {
        // One family per socket: an IPv4 peer must not appear as an IPv6 address.
        socket.set_only_v6(true)?;
    }
    socket.set_nonblocking(true)?;
    socket.bind(&SockAddr::from(addr))?;
    Ok(socket)
}
