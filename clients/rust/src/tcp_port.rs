//! The client's one TCP port: every connection to a peer leaves from it or comes to it, because a NAT's
//! mapping belongs to a port. The connection to a STUN server that tells the mapping is kept, so that
//! the mapping stays and a new one is noticed.

use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::{Arc, Weak};
use std::time::Duration;

use futures_util::StreamExt as _;
use futures_util::stream::FuturesUnordered;
use p2p_traversal::stream_binding::{Answer, Seen, StreamBinding};
use p2p_traversal::tcp_mapping::TcpMapping;
use p2p_wire::TcpProfile;
use rand::SeedableRng;
use rand::rngs::StdRng;
use socket2::{Domain, Protocol, Socket, Type};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::socket::PathSocket;

/// How long a server may take, handshake and answer.
const DEADLINE: Duration = Duration::from_secs(2);
/// The wait before servers that did not answer are asked again: most of them have no TCP.
const RETRY: Duration = Duration::from_secs(60);
/// The least time between two measurements.
const LEAST_GAP: Duration = Duration::from_secs(2);

/// Connections that wait to be taken.
const BACKLOG: i32 = 64;

/// See the module.
#[derive(Debug)]
pub(crate) struct TcpPort {
    port: u16,
    v4: TcpListener,
    /// Where the host has IPv6, and nobody else this port of it.
    v6: Option<TcpListener>,
}

impl TcpPort {
    /// Takes this port, the UDP one's number, so that one rule of a firewall is for both; or any other
    /// where somebody else has it.
    pub(crate) fn bind(preferred: u16) -> io::Result<Self> {
        let any = |port| SocketAddr::from((Ipv4Addr::UNSPECIFIED, port));
        // Who shares a port shares what comes to it: the number must be nobody's.
        let free = TcpSocket::new_v4()?.bind(any(preferred)).is_ok();
        let v4 = listen(any(if free { preferred } else { 0 }))?;
        let port = v4.local_addr()?.port();
        let v6 = listen(SocketAddr::from((Ipv6Addr::UNSPECIFIED, port))).ok();
        Ok(Self { port, v4, v6 })
    }

    /// The next connection that comes in.
    pub(crate) async fn accept(&self) -> io::Result<(TcpStream, SocketAddr)> {
        let v6 = async {
            match &self.v6 {
                Some(v6) => v6.accept().await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            accepted = self.v4.accept() => accepted,
            accepted = v6 => accepted,
        }
    }

    /// Connects from the port.
    pub(crate) async fn connect(&self, to: SocketAddr) -> io::Result<TcpStream> {
        self.socket_to(to)?.connect(to).await
    }

    /// A socket that connects to such an address from the port.
    fn socket_to(&self, to: SocketAddr) -> io::Result<TcpSocket> {
        let from = match to {
            SocketAddr::V4(_) => SocketAddr::from((Ipv4Addr::UNSPECIFIED, self.port)),
            SocketAddr::V6(_) => SocketAddr::from((Ipv6Addr::UNSPECIFIED, self.port)),
        };
        let socket = bound(from)?;
        Ok(TcpSocket::from_std_stream(socket.into()))
    }
}

fn listen(local: SocketAddr) -> io::Result<TcpListener> {
    let socket = bound(local)?;
    socket.listen(BACKLOG)?;
    TcpListener::from_std(socket.into())
}

/// A socket that shares its port with the others of this client's.
fn bound(local: SocketAddr) -> io::Result<Socket> {
    let socket = Socket::new(Domain::for_address(local), Type::STREAM, Some(Protocol::TCP))?;
    if local.is_ipv6() {
        socket.set_only_v6(true)?;
    }
    socket.set_reuse_address(true)?;
    #[cfg(all(unix, not(any(target_os = "solaris", target_os = "illumos"))))]
    socket.set_reuse_port(true)?;
    socket.set_nonblocking(true)?;
    socket.bind(&local.into())?;
    Ok(socket)
}

/// What was measured, and the connection that keeps the mapping.
#[derive(Debug)]
pub(crate) struct Measured {
    pub(crate) profile: TcpProfile,
    connection: TcpStream,
    mapped: SocketAddr,
}

/// Asks these servers over TCP. `None` where none of them answers.
pub(crate) async fn measure(port: &TcpPort, servers: &[SocketAddr]) -> Option<Measured> {
    let mut mapping = TcpMapping::new(servers);
    let mut asked = FuturesUnordered::new();
    // They stay open until all have answered: each is a flow of its own for the NAT.
    let mut connections = Vec::new();
    loop {
        while let Some(server) = mapping.poll_ask() {
            asked.push(async move {
                let seen = tokio::time::timeout(DEADLINE, connect_and_ask(port, server)).await;
                (server, seen.ok().and_then(Result::ok))
            });
        }
        let Some((server, seen)) = asked.next().await else { break };
        match seen {
            Some((connection, seen)) => {
                mapping.answered(server, seen);
                connections.push((connection, seen.mapped));
            }
            None => mapping.failed(),
        }
    }
    let profile = mapping.profile()?;
    let (connection, mapped) = connections.swap_remove(0);
    Some(Measured { profile, connection, mapped })
}

async fn connect_and_ask(port: &TcpPort, server: SocketAddr) -> io::Result<(TcpStream, Seen)> {
    let mut stream = port.connect(server).await?;
    // Without a goodbye the addresses are free at once, for the next measurement.
    stream.set_zero_linger()?;
    let seen = ask(&mut stream).await?;
    Ok((stream, seen))
}

async fn ask(stream: &mut TcpStream) -> io::Result<Seen> {
    let mut binding = StreamBinding::new(&mut StdRng::from_os_rng());
    stream.write_all(&binding.request()).await?;
    let mut buffer = [0; 512];
    loop {
        let count = stream.read(&mut buffer).await?;
        match binding.receive(&buffer[..count]) {
            _ if count == 0 => return Err(io::ErrorKind::UnexpectedEof.into()),
            Answer::Whole(seen) => return Ok(seen),
            Answer::Garbage => return Err(io::ErrorKind::InvalidData.into()),
            Answer::Partial => {}
        }
    }
}

/// Measures at the start, when the host's addresses change and when the mapping turns out to be
/// another; keeps it in between. Ends with the client.
pub(crate) async fn keep(
    port: Arc<TcpPort>,
    mut servers: watch::Receiver<Vec<SocketAddr>>,
    socket: Weak<PathSocket>,
    interval: Duration,
    cancel: CancellationToken,
) {
    let moved = match socket.upgrade() {
        Some(socket) => Arc::clone(&socket.moved),
        None => return,
    };
    let work = async {
        loop {
            let asked = servers.borrow_and_update().clone();
            let measured = measure(&port, &asked).await;
            tracing::debug!(tcp = ?measured.as_ref().map(|m| m.profile), "TCP is measured");
            let Some(socket) = socket.upgrade() else { return };
            let told = measured.as_ref().map(|measured| (port.port, measured.profile));
            socket.with_node(|node, now| node.set_tcp(told, now));
            drop(socket);
            let changed = async {
                match measured {
                    Some(measured) => hold(measured, interval).await,
                    None => other_or_later(&mut servers).await,
                }
            };
            tokio::select! {
                () = changed => {}
                () = moved.notified() => {}
            }
            tokio::time::sleep(LEAST_GAP).await;
        }
    };
    tokio::select! {
        () = work => {}
        () = cancel.cancelled() => {}
    }
}

/// Waits until there are other servers to ask, or it is time to ask the same ones again.
async fn other_or_later(servers: &mut watch::Receiver<Vec<SocketAddr>>) {
    let other = async {
        if servers.changed().await.is_err() {
            std::future::pending::<()>().await;
        }
    };
    tokio::select! {
        () = other => {}
        () = tokio::time::sleep(RETRY) => {}
    }
}

/// Keeps the mapping until it is another, or nobody can say.
async fn hold(mut measured: Measured, interval: Duration) {
    loop {
        let mut byte = [0];
        tokio::select! {
            // The server says nothing unasked but goodbye.
            _ = measured.connection.read(&mut byte) => return,
            () = tokio::time::sleep(interval) => {}
        }
        match tokio::time::timeout(DEADLINE, ask(&mut measured.connection)).await {
            Ok(Ok(seen)) if seen.mapped == measured.mapped => {}
            Ok(_) | Err(_) => return,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn connections_of_one_client_share_a_port_that_no_other_takes() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let server = listener.local_addr().unwrap();
        let port = TcpPort::bind(0).unwrap();
        let one = port.connect(server).await.unwrap();
        assert_eq!(one.local_addr().unwrap().port(), port.port);
        let other = TcpPort::bind(port.port).unwrap();
        assert_ne!(other.port, port.port);
    }

    #[tokio::test]
    async fn a_server_without_tcp_leaves_nothing_known() {
        let closed = {
            let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
            listener.local_addr().unwrap()
        };
        let port = TcpPort::bind(0).unwrap();
        assert!(measure(&port, &[closed]).await.is_none());
        assert!(measure(&port, &[]).await.is_none());
    }
}
