//! stdin and stdout over one stream, each direction closed by itself.

use std::io;

use p2p_client::{Connection, Stream};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};

use crate::failure::{Failure, exit};

/// Bytes moved at a time.
const CHUNK: usize = 64 * 1024;

/// What a pipe has carried.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Carried {
    /// Bytes to the peer.
    pub sent: u64,
    /// Bytes from the peer.
    pub received: u64,
}

/// Pipes until both directions have ended, or the peer has ended its own and closed the connection.
pub async fn standard(mut stream: Stream, connection: &Connection) -> Result<Carried, Failure> {
    let ended = async { drop(connection.closed().await) };
    let carried = both(&mut stream, tokio::io::stdin(), tokio::io::stdout(), ended).await;
    // What is on its way must arrive before anybody closes the connection.
    stream.delivered().await;
    carried.map_err(|error| {
        let peer = connection.peer();
        Failure::new(
            "connection_lost",
            exit::UNREACHABLE,
            format!("the connection to {peer} ended before its data: {error}"),
            "connect again; if it happens often, `p2p ping` shows the path",
        )
    })
}

async fn both(
    stream: impl AsyncRead + AsyncWrite,
    mut input: impl AsyncRead + Unpin,
    mut output: impl AsyncWrite + Unpin,
    ended: impl Future<Output = ()>,
) -> io::Result<Carried> {
    let (mut reader, mut writer) = tokio::io::split(stream);
    let outgoing = copy(&mut input, &mut writer);
    let incoming = copy(&mut reader, &mut output);
    tokio::pin!(outgoing, incoming);

    let mut sent = None;
    let received = loop {
        tokio::select! {
            received = &mut incoming => break received?,
            result = &mut outgoing, if sent.is_none() => sent = Some(result),
        }
    };
    // The peer has said everything. Whether it still listens is its own business.
    let sent = match sent {
        Some(sent) => sent?,
        None => tokio::select! {
            sent = &mut outgoing => sent?,
            () = ended => 0,
        },
    };
    Ok(Carried { sent, received })
}

/// Copies to the end and closes the writer. What has arrived is passed on at once.
async fn copy(
    from: &mut (impl AsyncRead + Unpin),
    to: &mut (impl AsyncWrite + Unpin),
) -> io::Result<u64> {
    let mut buffer = vec![0; CHUNK];
    let mut total = 0;
    loop {
        match from.read(&mut buffer).await? {
            0 => break,
            count => {
                to.write_all(&buffer[..count]).await?;
                to.flush().await?;
                total += count as u64;
            }
        }
    }
    to.shutdown().await?;
    Ok(total)
}

#[cfg(test)]
mod tests {
    use std::future::pending;

    use tokio::io::duplex;

    use super::*;

    #[tokio::test]
    async fn each_direction_ends_by_itself() {
        let (near, mut far) = duplex(64);
        let peer = async {
            let mut heard = Vec::new();
            far.read_to_end(&mut heard).await.unwrap();
            far.write_all(b"an answer after the end of the question").await.unwrap();
            far.shutdown().await.unwrap();
            heard
        };
        let mut said = Vec::new();
        let (carried, heard) =
            tokio::join!(both(near, &b"question"[..], &mut said, pending()), peer);
        assert_eq!(carried.unwrap(), Carried { sent: 8, received: 39 });
        assert_eq!(heard, b"question");
        assert_eq!(said, b"an answer after the end of the question");
    }

    #[tokio::test]
    async fn a_peer_that_is_done_and_gone_ends_the_pipe_though_stdin_is_open() {
        let (near, mut far) = duplex(64);
        let (stdin, _kept_open) = duplex(64);
        far.write_all(b"bye").await.unwrap();
        far.shutdown().await.unwrap();
        let mut said = Vec::new();
        let carried = both(near, stdin, &mut said, async {}).await.unwrap();
        assert_eq!((carried.received, said.as_slice()), (3, &b"bye"[..]));
    }

    #[tokio::test]
    async fn a_stream_that_breaks_is_an_error() {
        struct Broken;
        impl AsyncRead for Broken {
            fn poll_read(
                self: std::pin::Pin<&mut Self>,
                _: &mut std::task::Context<'_>,
                _: &mut tokio::io::ReadBuf<'_>,
            ) -> std::task::Poll<io::Result<()>> {
                std::task::Poll::Ready(Err(io::ErrorKind::ConnectionReset.into()))
            }
        }
        let stream = tokio::io::join(Broken, tokio::io::sink());
        let piped = both(stream, tokio::io::empty(), tokio::io::sink(), pending()).await;
        assert_eq!(piped.unwrap_err().kind(), io::ErrorKind::ConnectionReset);
    }
}
