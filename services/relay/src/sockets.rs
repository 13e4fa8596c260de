//! Opening sockets the way a relay wants them.

use std::io;
use std::net::SocketAddr;

use mio::net::{TcpListener, TcpStream, UdpSocket};
use socket2::{Domain, Protocol, SockAddr, SockRef, Socket, Type};

/// All clients share a listener: room for a burst from each of many. The kernel cuts it to
/// `net.core.rmem_max`.
const LISTENER_BUFFER: usize = 4 << 20;

/// Connections that wait to be accepted; the kernel cuts it to `net.core.somaxconn`.
const BACKLOG: i32 = 1024;
/// What the kernel holds of a client's stream beyond what is on its way: more would only be late.
const UNSENT: u32 = 128 * 1024;

/// A socket that clients connect to.
pub(crate) fn stream_listener(addr: SocketAddr) -> io::Result<TcpListener> {
    let socket = Socket::new(Domain::for_address(addr), Type::STREAM, Some(Protocol::TCP))?;
    if addr.is_ipv6() {
        socket.set_only_v6(true)?;
    }
    // Connections of a relay that has just ended must not keep the next one from starting. It does
    // not let two relays share a port.
    socket.set_reuse_address(true)?;
    socket.set_nonblocking(true)?;
    socket.bind(&SockAddr::from(addr))?;
    socket.listen(BACKLOG)?;
    Ok(TcpListener::from_std(socket.into()))
}

/// Prepares a client's connection for packets: each leaves at once, and few wait in the kernel,
/// where none can be dropped for a newer one.
pub(crate) fn tune_stream(stream: &TcpStream) {
    // Without either it still works, later and slower.
    let _ = stream.set_nodelay(true);
    #[cfg(target_os = "linux")]
    let _ = SockRef::from(stream).set_tcp_notsent_lowat(UNSENT);
    #[cfg(not(target_os = "linux"))]
    let _ = (SockRef::from(stream), UNSENT);
}

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
