//! The bytes that the demo moves, and the proof that they arrived: SHA-256 on both ends.

use std::time::{Duration, Instant};

use aws_lc_rs::digest::{self, SHA256, SHA256_OUTPUT_LEN};
use p2p_client::Connection;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use crate::failure::{Failure, exit};

/// Bytes that are moved.
pub const BYTES: usize = 8 << 20;

/// Bytes written at a time.
const CHUNK: usize = 64 * 1024;

/// What a move has shown.
#[derive(Debug, Clone, Copy)]
pub struct Moved {
    /// Bytes that arrived.
    pub bytes: u64,
    /// Whether both ends computed the same digest.
    pub sha256_ok: bool,
    /// From the first byte to the far end's word that it has the last one.
    pub took: Duration,
}

impl Moved {
    /// Megabits a second.
    pub fn mbit_per_s(&self) -> f64 {
        self.bytes as f64 * 8.0 / 1e6 / self.took.as_secs_f64().max(1e-9)
    }
}

/// Moves random bytes over a stream of its own, from one end of a connection to the other.
///
/// The near end sends the digest and the bytes. The far end compares, and answers with the digest
/// that it computed and the count, which the near end compares with its own.
pub async fn move_over(near: &Connection, far: &Connection) -> Result<Moved, Failure> {
    let mut bytes = vec![0; BYTES];
    aws_lc_rs::rand::fill(&mut bytes)
        .map_err(|_| Failure::bug("the system gives no randomness"))?;
    let expected = digest::digest(&SHA256, &bytes);

    let started = Instant::now();
    let sending = async {
        let mut stream = near.open_stream().await.map_err(|error| broken(&error))?;
        stream.write_all(expected.as_ref()).await.map_err(|error| broken(&error))?;
        for chunk in bytes.chunks(CHUNK) {
            stream.write_all(chunk).await.map_err(|error| broken(&error))?;
        }
        stream.finish();
        let mut answer = [0; SHA256_OUTPUT_LEN];
        stream.read_exact(&mut answer).await.map_err(|error| broken(&error))?;
        let count = stream.read_u64().await.map_err(|error| broken(&error))?;
        Ok((answer, count))
    };
    let ((answer, count), matched) = tokio::try_join!(sending, receive(far))?;
    let took = started.elapsed();
    let sha256_ok = matched && answer == expected.as_ref() && count == BYTES as u64;
    Ok(Moved { bytes: count, sha256_ok, took })
}

/// The far end: whether what arrives is what the near end said.
async fn receive(far: &Connection) -> Result<bool, Failure> {
    let mut stream = far.accept_stream().await.map_err(|error| broken(&error))?;
    let mut expected = [0; SHA256_OUTPUT_LEN];
    stream.read_exact(&mut expected).await.map_err(|error| broken(&error))?;
    let mut context = digest::Context::new(&SHA256);
    let mut buffer = vec![0; CHUNK];
    let mut count = 0_u64;
    loop {
        match stream.read(&mut buffer).await.map_err(|error| broken(&error))? {
            0 => break,
            read => {
                context.update(&buffer[..read]);
                count += read as u64;
            }
        }
    }
    let got = context.finish();
    stream.write_all(got.as_ref()).await.map_err(|error| broken(&error))?;
    stream.write_u64(count).await.map_err(|error| broken(&error))?;
    stream.finish();
    stream.delivered().await;
    Ok(got.as_ref() == expected)
}

fn broken(error: &impl std::fmt::Display) -> Failure {
    Failure::new(
        "transfer_failed",
        exit::UNREACHABLE,
        format!("the data did not get through: {error}"),
        "run again with P2P_LOG=debug to see where it broke",
    )
}
