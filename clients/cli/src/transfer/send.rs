//! The sender's side of a transfer.

use std::path::Path;
use std::time::Duration;

use tokio::fs::File;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncSeekExt as _, AsyncWrite, AsyncWriteExt as _};

use super::frame::{self, Answer, End, Offer, Outcome, Start};
use super::{CHUNK, Checksum, MAGIC, Progress, TransferError};

/// How long a receiver's last words may take that are on their way already.
const LAST_WORDS: Duration = Duration::from_secs(2);

/// What was sent.
#[derive(Debug)]
pub struct Sent {
    /// The name under which the receiver saved it.
    pub name: String,
    /// Bytes in the file.
    pub size: u64,
    /// Bytes that the receiver had from an earlier try.
    pub resumed_at: u64,
    /// The digest of the whole file.
    pub sha256: String,
}

/// Sends a file and waits for the receiver's word that it is whole.
pub async fn send(
    mut stream: impl AsyncRead + AsyncWrite + Unpin,
    path: &Path,
    progress: &mut dyn Progress,
) -> Result<Sent, TransferError> {
    let failed = TransferError::file(path);
    let mut file = File::open(path).await.map_err(&failed)?;
    let metadata = file.metadata().await.map_err(&failed)?;
    if !metadata.is_file() {
        return Err(failed(std::io::Error::other("is not a file; pack a folder with tar first")));
    }
    let size = metadata.len();
    let name = path.file_name().map(|n| n.to_string_lossy().into_owned()).unwrap_or_default();

    stream.write_all(&MAGIC).await.map_err(TransferError::Connection)?;
    frame::write(&mut stream, &Offer { name, size }).await?;
    let (there, their_digest) = match frame::read(&mut stream).await? {
        Answer::Go { offset, sha256 } => (offset, sha256),
        Answer::Refused { reason } => return Err(TransferError::Refused { reason }),
    };

    let (offset, mut checksum) = begin(&mut file, there, size, &their_digest, path).await?;
    frame::write(&mut stream, &Start { offset }).await?;
    progress.at(offset);
    let mut sent = offset;
    let mut buffer = vec![0; CHUNK];
    while sent < size {
        let want = usize::try_from(size - sent).unwrap_or(CHUNK).min(CHUNK);
        let count = file.read(&mut buffer[..want]).await.map_err(&failed)?;
        if count == 0 {
            return Err(failed(std::io::Error::other("became shorter while it was sent")));
        }
        checksum.update(&buffer[..count]);
        if let Err(error) = stream.write_all(&buffer[..count]).await {
            return Err(why_stopped(&mut stream, error).await);
        }
        sent += count as u64;
        progress.at(sent);
    }
    let sha256 = checksum.hex();
    frame::write(&mut stream, &End { sha256: sha256.clone() }).await?;
    match frame::read(&mut stream).await? {
        Outcome::Saved { name } => {
            // The file is safe; whether the goodbye gets through does not matter.
            let _ = stream.shutdown().await;
            Ok(Sent { name, size, resumed_at: offset, sha256 })
        }
        Outcome::Refused { reason } => Err(TransferError::Refused { reason }),
    }
}

/// A receiver that stops taking bytes has said why, if it is still there: a full disk is no lost
/// connection, and another try would meet it again.
async fn why_stopped(
    stream: &mut (impl AsyncRead + Unpin),
    error: std::io::Error,
) -> TransferError {
    match tokio::time::timeout(LAST_WORDS, frame::read(stream)).await {
        Ok(Ok(Outcome::Refused { reason })) => TransferError::Refused { reason },
        _ => TransferError::Connection(error),
    }
}

/// Where to begin: at the receiver's part if this file begins with the same bytes.
async fn begin(
    file: &mut File,
    there: u64,
    size: u64,
    digest: &str,
    path: &Path,
) -> Result<(u64, Checksum), TransferError> {
    let failed = TransferError::file(path);
    let mut checksum = Checksum::new();
    if there > size {
        return Ok((0, checksum));
    }
    let mut buffer = vec![0; CHUNK];
    let mut read = 0;
    while read < there {
        let want = usize::try_from(there - read).unwrap_or(CHUNK).min(CHUNK);
        let count = file.read(&mut buffer[..want]).await.map_err(&failed)?;
        if count == 0 {
            break;
        }
        checksum.update(&buffer[..count]);
        read += count as u64;
    }
    if read == there && checksum.hex() == digest {
        return Ok((there, checksum));
    }
    file.rewind().await.map_err(&failed)?;
    Ok((0, Checksum::new()))
}
