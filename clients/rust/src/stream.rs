//! A stream of bytes both ways.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt, ReadBuf};

use crate::error::Error;

/// The first byte of every stream: what it is for. It also lets the other side see a stream whose
/// opener waits to be spoken to.
pub(crate) const DATA: u8 = 0x01;

/// One bidirectional stream. Closing the writing half (`shutdown`) leaves the reading half open.
/// Dropping it ends the writing half as `shutdown` does; [`Stream::reset`] says that it broke off.
#[derive(Debug)]
pub struct Stream {
    send: quinn::SendStream,
    recv: quinn::RecvStream,
}

impl Stream {
    pub(crate) fn new(send: quinn::SendStream, recv: quinn::RecvStream) -> Self {
        Self { send, recv }
    }

    pub(crate) async fn open(connection: &quinn::Connection) -> Result<Self, Error> {
        let (mut send, recv) =
            connection.open_bi().await.map_err(|e| Error::closed(e.to_string()))?;
        send.write_u8(DATA).await.map_err(|e| Error::closed(e.to_string()))?;
        Ok(Self::new(send, recv))
    }

    /// Says that no more is coming, and leaves the other direction open. Does not wait.
    pub fn finish(&mut self) {
        // A stream that is already finished or reset needs no more ending.
        let _ = self.send.finish();
    }

    /// Breaks off: what has not arrived is dropped, and the other side reads an error where its end
    /// would be.
    pub fn reset(&mut self) {
        // A stream that has ended already has nothing to break off.
        let _ = self.send.reset(quinn::VarInt::from_u32(0));
    }

    /// Waits until the other side has everything or has gone.
    pub async fn delivered(&mut self) {
        let _ = self.send.stopped().await;
    }

    /// Both halves by themselves, for tasks of their own.
    pub fn into_split(self) -> (impl AsyncRead + Send + Unpin, impl AsyncWrite + Send + Unpin) {
        (self.recv, self.send)
    }
}

impl AsyncRead for Stream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        AsyncRead::poll_read(Pin::new(&mut self.recv), cx, buf)
    }
}

impl AsyncWrite for Stream {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        AsyncWrite::poll_write(Pin::new(&mut self.send), cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        AsyncWrite::poll_flush(Pin::new(&mut self.send), cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        AsyncWrite::poll_shutdown(Pin::new(&mut self.send), cx)
    }
}
