//! The receiver's side of a transfer.

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::sync::{OwnedMutexGuard, watch};

use super::frame::{self, Answer, End, Offer, Outcome, Start};
use super::part::Part;
use super::{CHUNK, MAGIC, Progress, TransferError, name};

/// Transfers at once; more are told to come later.
const MAX_AT_ONCE: usize = 64;

/// A folder that takes files.
#[derive(Clone)]
pub struct Inbox {
    folder: PathBuf,
    /// Who is sending what, by name.
    busy: Arc<Mutex<HashMap<String, Busy>>>,
}

struct Busy {
    from: String,
    /// Set when a newer transfer of the same peer takes over.
    replaced: watch::Sender<bool>,
    /// Held while the part file is in use.
    in_use: Arc<tokio::sync::Mutex<()>>,
}

/// A file that is there.
#[derive(Debug)]
pub struct Received {
    /// Where.
    pub path: PathBuf,
    /// Bytes in it.
    pub size: u64,
    /// Bytes that an earlier try had brought.
    pub resumed_at: u64,
    /// Its digest.
    pub sha256: String,
}

impl Inbox {
    /// Files go into this folder, which exists.
    pub fn new(folder: PathBuf) -> Self {
        Self { folder, busy: Arc::default() }
    }

    /// Receives one file. `progress` is asked for a listener once name and size are known.
    pub async fn receive<S: AsyncRead + AsyncWrite + Unpin>(
        &self,
        from: &str,
        mut stream: S,
        progress: impl FnOnce(&Offer) -> Box<dyn Progress>,
    ) -> Result<Received, TransferError> {
        let mut magic = [0; MAGIC.len()];
        stream.read_exact(&mut magic).await.map_err(TransferError::Connection)?;
        if magic != MAGIC {
            return Err(TransferError::Protocol("the stream carries something else".to_owned()));
        }
        let offer: Offer = frame::read(&mut stream).await?;
        let name = name::harmless(&offer.name);
        let mut claim = match self.claim(&name, from).await {
            Ok(claim) => claim,
            Err(reason) => {
                frame::write(&mut stream, &Answer::Refused { reason: reason.clone() }).await?;
                return Err(TransferError::Refused { reason });
            }
        };
        let progress = progress(&offer);
        let received = tokio::select! {
            received = self.receive_as(&name, &offer, &mut stream, progress) => received,
            () = claim.replaced() => {
                let reason = "the same peer began to send this file again".to_owned();
                Err(TransferError::Refused { reason })
            }
        };
        if let Err(error @ TransferError::File { .. }) = &received {
            // The sender's person should know that it is this side's disk.
            let reason = format!("the receiver cannot save it: {error}");
            let _ = frame::write(&mut stream, &Outcome::Refused { reason }).await;
        }
        received
    }

    async fn receive_as<S: AsyncRead + AsyncWrite + Unpin>(
        &self,
        name: &str,
        offer: &Offer,
        stream: &mut S,
        mut progress: Box<dyn Progress>,
    ) -> Result<Received, TransferError> {
        let mut part = match Part::open(&self.folder, name).await {
            Ok(part) => part,
            Err(error) => {
                let reason = format!("the receiver cannot save it: {error}");
                frame::write(stream, &Answer::Refused { reason }).await?;
                return Err(error);
            }
        };
        let answer = Answer::Go { offset: part.len, sha256: part.checksum.hex() };
        frame::write(stream, &answer).await?;
        let Start { offset } = frame::read(stream).await?;
        if offset == 0 {
            part.restart().await?;
        } else if offset != part.len {
            return Err(TransferError::Protocol(format!("begins at {offset} of {}", part.len)));
        }
        progress.at(offset);
        let filled = fill(&mut part, offer.size, stream, progress.as_mut()).await;
        // Whatever happened: what arrived is kept for the next try.
        part.flush().await?;
        filled?;
        let End { sha256 } = frame::read(stream).await?;
        let got = part.checksum.hex();
        if got != sha256 {
            part.discard().await?;
            let error = TransferError::Checksum { expected: sha256, got };
            frame::write(stream, &Outcome::Refused { reason: error.to_string() }).await?;
            return Err(error);
        }
        let path = part.keep(&self.folder, name).await?;
        let saved = path.file_name().map(|n| n.to_string_lossy().into_owned()).unwrap_or_default();
        frame::write(stream, &Outcome::Saved { name: saved }).await?;
        // The sender may be gone by now: it has what it waited for.
        let _ = stream.shutdown().await;
        let _ = stream.read(&mut [0; 1]).await;
        Ok(Received { path, size: offer.size, resumed_at: offset, sha256: got })
    }

    /// Reserves a name. The same peer takes its own unfinished transfer over: after a lost
    /// connection this side may still be waiting on the old one.
    async fn claim(&self, name: &str, from: &str) -> Result<Claim, String> {
        let (replaced, is_replaced) = watch::channel(false);
        let in_use = {
            let mut busy = self.busy.lock().unwrap_or_else(PoisonError::into_inner);
            if busy.len() >= MAX_AT_ONCE {
                return Err("the receiver takes no more files at once; try again later".to_owned());
            }
            let in_use = match busy.get(name) {
                Some(other) if other.from != from => {
                    return Err(format!("another peer is sending a file named {name:?}"));
                }
                Some(own) => {
                    own.replaced.send_replace(true);
                    Arc::clone(&own.in_use)
                }
                None => Arc::default(),
            };
            let entry = Busy { from: from.to_owned(), replaced, in_use: Arc::clone(&in_use) };
            busy.insert(name.to_owned(), entry);
            in_use
        };
        let busy = Arc::clone(&self.busy);
        let mut claim = Claim { name: name.to_owned(), busy, is_replaced, held: None };
        claim.held = Some(in_use.lock_owned().await);
        Ok(claim)
    }
}

/// A reserved name; given back when dropped.
struct Claim {
    name: String,
    busy: Arc<Mutex<HashMap<String, Busy>>>,
    is_replaced: watch::Receiver<bool>,
    held: Option<OwnedMutexGuard<()>>,
}

impl Claim {
    /// Resolves when a newer transfer takes over.
    async fn replaced(&mut self) {
        if self.is_replaced.wait_for(|replaced| *replaced).await.is_err() {
            std::future::pending::<()>().await;
        }
    }
}

impl Drop for Claim {
    fn drop(&mut self) {
        self.held = None;
        // A newer claim of the same name has its own entry, and this one must leave it.
        if !*self.is_replaced.borrow() {
            let mut busy = self.busy.lock().unwrap_or_else(PoisonError::into_inner);
            busy.remove(&self.name);
        }
    }
}

async fn fill(
    part: &mut Part,
    size: u64,
    stream: &mut (impl AsyncRead + Unpin),
    progress: &mut dyn Progress,
) -> Result<(), TransferError> {
    let mut buffer = vec![0; CHUNK];
    while part.len < size {
        let want = usize::try_from(size - part.len).unwrap_or(CHUNK).min(CHUNK);
        let count = stream.read(&mut buffer[..want]).await.map_err(TransferError::Connection)?;
        if count == 0 {
            let early = std::io::ErrorKind::UnexpectedEof;
            return Err(TransferError::Connection(early.into()));
        }
        part.append(&buffer[..count]).await?;
        progress.at(part.len);
    }
    Ok(())
}
