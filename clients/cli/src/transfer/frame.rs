//! The frames of a transfer, and how they stand on the stream.

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};

use super::TransferError;

/// Bytes in one frame. Real ones have under 500.
const MAX_FRAME: u32 = 8 * 1024;

/// The sender's first frame.
#[derive(Debug, Serialize, Deserialize)]
pub struct Offer {
    /// The file's own name. The receiver trusts nothing about it.
    pub name: String,
    /// Bytes in the file.
    pub size: u64,
}

/// What the receiver thinks of the offer.
#[derive(Debug, Serialize, Deserialize)]
#[serde(tag = "answer", rename_all = "lowercase")]
pub enum Answer {
    /// Send it.
    Go {
        /// Bytes that are there already.
        offset: u64,
        /// Their digest.
        sha256: String,
    },
    /// Do not.
    Refused {
        /// Why, for a person.
        reason: String,
    },
}

/// Where the sender begins.
#[derive(Debug, Serialize, Deserialize)]
pub struct Start {
    /// Zero, or what the receiver has.
    pub offset: u64,
}

/// What stands behind the bytes.
#[derive(Debug, Serialize, Deserialize)]
pub struct End {
    /// The digest of the whole file.
    pub sha256: String,
}

/// How it ended.
#[derive(Debug, Serialize, Deserialize)]
#[serde(tag = "result", rename_all = "lowercase")]
pub enum Outcome {
    /// The file is there, whole and checked.
    Saved {
        /// Under this name.
        name: String,
    },
    /// It is not.
    Refused {
        /// Why, for a person.
        reason: String,
    },
}

/// Writes one frame.
pub async fn write<T: Serialize>(
    stream: &mut (impl AsyncWrite + Unpin),
    frame: &T,
) -> Result<(), TransferError> {
    let json =
        serde_json::to_vec(frame).map_err(|error| TransferError::Protocol(error.to_string()))?;
    let len = u32::try_from(json.len()).ok().filter(|len| *len <= MAX_FRAME);
    let len = len.ok_or_else(|| TransferError::Protocol("a frame is too long".to_owned()))?;
    let mut bytes = len.to_be_bytes().to_vec();
    bytes.extend(json);
    stream.write_all(&bytes).await.map_err(TransferError::Connection)?;
    stream.flush().await.map_err(TransferError::Connection)
}

/// Reads one frame.
pub async fn read<T: DeserializeOwned>(
    stream: &mut (impl AsyncRead + Unpin),
) -> Result<T, TransferError> {
    let len = stream.read_u32().await.map_err(TransferError::Connection)?;
    if len > MAX_FRAME {
        return Err(TransferError::Protocol(format!("a frame of {len} bytes")));
    }
    let mut bytes = vec![0; len as usize];
    stream.read_exact(&mut bytes).await.map_err(TransferError::Connection)?;
    serde_json::from_slice(&bytes).map_err(|error| TransferError::Protocol(error.to_string()))
}
