//! stdin and stdout over one stream, each direction closed by itself.

use std::io;

use p2p_client::{Connection, PeerId, Stream};
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

/// What broke.
#[derive(Debug)]
enum Broken {
    /// stdin cannot be read.
    Input(io::Error),
    /// stdout cannot be written: whoever read it has gone, for example.
    Output(io::Error),
    /// The stream to the peer.
    Stream(io::Error),
}

/// Pipes until both directions have ended, or the peer has ended its own and closed the connection.
pub async fn standard(mut stream: Stream, connection: &Connection) -> Result<Carried, Failure> {
    let ended = async { drop(connection.closed().await) };
    match both(&mut stream, tokio::io::stdin(), tokio::io::stdout(), ended).await {
        Ok(carried) => {
            // What is on its way must arrive before anybody closes the connection.
            stream.delivered().await;
            Ok(carried)
        }
        Err(broken) => {
            // What broke here is not to look like an end over there, and nobody is waited for.
            stream.reset();
            Err(broken.failure(connection.peer()))
        }
    }
}

impl Broken {
    fn failure(self, peer: &PeerId) -> Failure {
        match self {
            Self::Input(error) => Failure::new(
                "input_failed",
                exit::USAGE,
                format!("cannot read stdin: {error}"),
                "give it something that can be read, or `< /dev/null`",
            ),
            Self::Output(error) => Failure::new(
                "output_closed",
                exit::USAGE,
                format!("cannot write stdout: {error}"),
                "let the program behind the pipe read to the end, or mind the disk's space",
            ),
            Self::Stream(error) => Failure::new(
                "connection_lost",
                exit::UNREACHABLE,
                format!("the connection to {peer} ended before its data: {error}"),
                "connect again; if it happens often, `p2p ping` shows the path",
            ),
        }
    }
}

async fn both(
    stream: impl AsyncRead + AsyncWrite,
    mut input: impl AsyncRead + Unpin,
    mut output: impl AsyncWrite + Unpin,
    ended: impl Future<Output = ()>,
) -> Result<Carried, Broken> {
    let (mut reader, mut writer) = tokio::io::split(stream);
    let outgoing = copy(&mut input, Broken::Input, &mut writer, Broken::Stream);
    let incoming = copy(&mut reader, Broken::Stream, &mut output, Broken::Output);
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
    unread: fn(io::Error) -> Broken,
    to: &mut (impl AsyncWrite + Unpin),
    unwritten: fn(io::Error) -> Broken,
) -> Result<u64, Broken> {
    let mut buffer = vec![0; CHUNK];
    let mut total = 0;
    loop {
        match from.read(&mut buffer).await.map_err(unread)? {
            0 => break,
            count => {
                to.write_all(&buffer[..count]).await.map_err(unwritten)?;
                to.flush().await.map_err(unwritten)?;
                total += count as u64;
            }
        }
    }
    to.shutdown().await.map_err(unwritten)?;
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
        struct Cut;
        impl AsyncRead for Cut {
            fn poll_read(
                self: std::pin::Pin<&mut Self>,
                _: &mut std::task::Context<'_>,
                _: &mut tokio::io::ReadBuf<'_>,
            ) -> std::task::Poll<io::Result<()>> {
                std::task::Poll::Ready(Err(io::ErrorKind::ConnectionReset.into()))
            }
        }
        let stream = tokio::io::join(Cut, tokio::io::sink());
        let piped = both(stream, tokio::io::empty(), tokio::io::sink(), pending()).await;
        let Err(Broken::Stream(error)) = piped else { panic!("{piped:?}") };
        assert_eq!(error.kind(), io::ErrorKind::ConnectionReset);
    }

    #[tokio::test]
    async fn an_output_that_nobody_reads_ends_the_pipe_though_the_peer_says_nothing_more() {
        let (near, mut far) = duplex(64);
        let (stdin, _kept_open) = duplex(64);
        let (stdout, reader) = duplex(64);
        drop(reader);
        far.write_all(b"one line").await.unwrap();
        let piped = both(near, stdin, stdout, pending()).await;
        assert!(matches!(piped, Err(Broken::Output(_))), "{piped:?}");
    }
}
