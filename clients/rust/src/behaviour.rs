//! Fresh sockets for what the client's own one cannot find out: how the NAT filters, whether it
//! hairpins, which ports it gives out. They live for less than two seconds, and nothing waits for
//! them.

use std::future::poll_fn;
use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;
use std::task::Poll;
use std::time::Instant;

use p2p_nat::classify::Behaviour;
use p2p_traversal::behaviour::{Probe, Task};
use rand::SeedableRng;
use rand::rngs::StdRng;
use tokio::io::ReadBuf;
use tokio::net::UdpSocket;

use crate::socket::PathSocket;

/// Measures in a task of its own, and tells the node.
pub(crate) fn measure_beside(task: Task, socket: &Arc<PathSocket>) {
    // A client that has ended meanwhile does not live on for this.
    let socket = Arc::downgrade(socket);
    tokio::spawn(async move {
        let behaviour = measure(task).await;
        tracing::debug!(?behaviour, "fresh sockets have measured the network");
        if let Some(socket) = socket.upgrade() {
            socket.with_node(|node, now| node.learn(behaviour, now));
        }
    });
}

/// Opens the sockets the task wants, and runs it to its end.
pub(crate) async fn measure(task: Task) -> Behaviour {
    run(task).await.unwrap_or_else(|error| {
        tracing::debug!(%error, "no fresh sockets");
        Behaviour {
            filtering_unknown_because: Some("this host gave no second socket to measure it with"),
            ..Behaviour::default()
        }
    })
}

async fn run(task: Task) -> io::Result<Behaviour> {
    let any: SocketAddr = match task.server {
        SocketAddr::V4(_) => (Ipv4Addr::UNSPECIFIED, 0).into(),
        SocketAddr::V6(_) => (Ipv6Addr::UNSPECIFIED, 0).into(),
    };
    let (mut sockets, mut ports) = (Vec::new(), Vec::new());
    for _ in 0..task.sockets() {
        let socket = UdpSocket::bind(any).await?;
        ports.push(socket.local_addr()?.port());
        sockets.push(socket);
    }
    let mut rng = StdRng::from_os_rng();
    let mut probe = Probe::new(task, &ports, Instant::now(), &mut rng);
    let mut buffer = [0; 1500];
    loop {
        for outgoing in probe.handle_timeout(Instant::now()) {
            // A network that is down shows as silence.
            let _ = sockets[outgoing.socket].send_to(&outgoing.payload, outgoing.to).await;
        }
        if let Some(behaviour) = probe.outcome() {
            return Ok(behaviour);
        }
        let due = probe.poll_timeout().unwrap_or_else(Instant::now);
        tokio::select! {
            (socket, from, len) = receive(&sockets, &mut buffer) => {
                probe.handle_datagram(socket, from, &buffer[..len], Instant::now(), &mut rng);
            }
            () = tokio::time::sleep_until(due.into()) => {}
        }
    }
}

/// The next datagram at any of the sockets: which, from where, how long.
async fn receive(sockets: &[UdpSocket], buffer: &mut [u8]) -> (usize, SocketAddr, usize) {
    poll_fn(|context| {
        for (number, socket) in sockets.iter().enumerate() {
            let mut buffer = ReadBuf::new(buffer);
            // An error is that of an earlier send, told once; the next datagram is behind it.
            while let Poll::Ready(received) = socket.poll_recv_from(context, &mut buffer) {
                if let Ok(from) = received {
                    return Poll::Ready((number, from, buffer.filled().len()));
                }
            }
        }
        Poll::Pending
    })
    .await
}
