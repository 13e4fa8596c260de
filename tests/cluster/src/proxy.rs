//! A TCP proxy in front of a Redis, for what networks do: silence, delay, broken connections.

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::Result;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream, UnixStream};
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::sleep;

/// What becomes of the bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Way {
    /// They pass.
    Open,
    /// They pass, each piece this much later.
    Delayed(Duration),
    /// They wait, in both directions, and nobody is told.
    Blackhole,
}

/// A proxy on a free port. It ends with this value.
pub struct Proxy {
    address: String,
    way: watch::Sender<Way>,
    cuts: watch::Sender<u64>,
    task: JoinHandle<()>,
}

impl Proxy {
    /// Begins to pass connections on to a socket.
    ///
    /// # Errors
    /// No port is free.
    pub async fn start(socket: &Path) -> Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let address = listener.local_addr()?.to_string();
        let (way, ways) = watch::channel(Way::Open);
        let (cuts, cut) = watch::channel(0);
        let task = tokio::spawn(accept(listener, socket.to_owned(), ways, cut));
        Ok(Self { address, way, cuts, task })
    }

    /// The address of a Redis behind it.
    pub fn url(&self) -> String {
        format!("redis://{}", self.address)
    }

    /// Changes what becomes of the bytes, those on their way included.
    pub fn set(&self, way: Way) {
        self.way.send_replace(way);
    }

    /// Breaks all connections. What is on its way is lost.
    pub fn cut(&self) {
        self.cuts.send_modify(|cuts| *cuts += 1);
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.cut();
        self.task.abort();
    }
}

async fn accept(
    listener: TcpListener,
    socket: PathBuf,
    way: watch::Receiver<Way>,
    cut: watch::Receiver<u64>,
) {
    while let Ok((near, _)) = listener.accept().await {
        let (socket, way, mut cut) = (socket.clone(), way.clone(), cut.clone());
        cut.mark_unchanged();
        tokio::spawn(async move {
            tokio::select! {
                () = pass(near, &socket, way) => {}
                _ = cut.changed() => {}
            }
        });
    }
}

async fn pass(near: TcpStream, socket: &Path, way: watch::Receiver<Way>) {
    let _ = near.set_nodelay(true);
    let Ok(far) = UnixStream::connect(socket).await else { return };
    let (near_read, near_write) = near.into_split();
    let (far_read, far_write) = far.into_split();
    tokio::select! {
        () = pump(near_read, far_write, way.clone()) => {}
        () = pump(far_read, near_write, way) => {}
    }
}

async fn pump(
    mut from: impl AsyncRead + Unpin,
    mut to: impl AsyncWrite + Unpin,
    mut way: watch::Receiver<Way>,
) {
    let mut piece = vec![0; 64 * 1024];
    loop {
        let Ok(length @ 1..) = from.read(&mut piece).await else { return };
        loop {
            let now = *way.borrow_and_update();
            match now {
                Way::Open => break,
                Way::Delayed(by) => {
                    sleep(by).await;
                    break;
                }
                Way::Blackhole => {
                    if way.changed().await.is_err() {
                        return;
                    }
                }
            }
        }
        if to.write_all(&piece[..length]).await.is_err() {
            return;
        }
    }
}
