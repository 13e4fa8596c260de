//! One stream of bytes both ways; `lib/stream.js` makes a Node stream of it.

use std::io::Cursor;
use std::sync::Arc;

use napi::bindgen_prelude::{Buffer, PromiseRaw, Uint8Array};
use napi::{Env, Result};
use napi_derive::napi;
use p2p_client::Stream;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::sync::Mutex;
use tokio_util::sync::CancellationToken;

use crate::failure::closed;

/// Bytes that one read gives at the most.
const READ_BYTES: usize = 64 * 1024;

type Reader = Box<dyn AsyncRead + Send + Unpin>;
type Writer = Box<dyn AsyncWrite + Send + Unpin>;

/// A stream. Each half serves one call at a time.
#[napi]
pub struct NativeStream {
    reader: Arc<Mutex<Option<Reader>>>,
    writer: Arc<Mutex<Option<Writer>>>,
    cancel: CancellationToken,
}

impl NativeStream {
    /// A stream of which these bytes have been read already.
    pub(crate) fn new(stream: Stream, read_already: Vec<u8>) -> Self {
        let (reader, writer) = stream.into_split();
        let reader: Reader = Box::new(Cursor::new(read_already).chain(reader));
        Self {
            reader: Arc::new(Mutex::new(Some(reader))),
            writer: Arc::new(Mutex::new(Some(Box::new(writer)))),
            cancel: CancellationToken::new(),
        }
    }
}

#[napi]
impl NativeStream {
    /// The next bytes; `null` at the end.
    #[napi(ts_return_type = "Promise<Buffer | null>")]
    pub fn read<'env>(&self, env: &'env Env) -> Result<PromiseRaw<'env, Option<Buffer>>> {
        let (reader, cancel) = (Arc::clone(&self.reader), self.cancel.clone());
        env.spawn_future(async move {
            let mut reader = reader.lock().await;
            let Some(stream) = reader.as_mut() else { return Err(destroyed()) };
            let mut bytes = Vec::with_capacity(READ_BYTES);
            let read = tokio::select! {
                () = cancel.cancelled() => {
                    *reader = None;
                    return Err(destroyed());
                }
                read = stream.read_buf(&mut bytes) => read,
            };
            match read.map_err(|error| closed(&error.to_string()))? {
                0 => Ok(None),
                _ => {
                    bytes.shrink_to_fit();
                    Ok(Some(bytes.into()))
                }
            }
        })
    }

    /// Resolves when the bytes are taken: sent, or within what may wait to be sent.
    #[napi(ts_return_type = "Promise<void>")]
    pub fn write<'env>(&self, env: &'env Env, bytes: Uint8Array) -> Result<PromiseRaw<'env, ()>> {
        let (writer, cancel) = (Arc::clone(&self.writer), self.cancel.clone());
        let bytes = bytes.to_vec();
        env.spawn_future(async move {
            let mut writer = writer.lock().await;
            let Some(stream) = writer.as_mut() else { return Err(destroyed()) };
            let written = tokio::select! {
                () = cancel.cancelled() => {
                    *writer = None;
                    return Err(destroyed());
                }
                written = stream.write_all(&bytes) => written,
            };
            written.map_err(|error| closed(&error.to_string()))
        })
    }

    /// Says that no more is coming.
    #[napi(ts_return_type = "Promise<void>")]
    pub fn finish<'env>(&self, env: &'env Env) -> Result<PromiseRaw<'env, ()>> {
        let writer = Arc::clone(&self.writer);
        env.spawn_future(async move {
            if let Some(mut stream) = writer.lock().await.take() {
                // A stream that has ended already needs no ending.
                let _ = stream.shutdown().await;
            }
            Ok(())
        })
    }

    /// Gives both halves up, whoever waits for them.
    #[napi]
    pub fn destroy(&self) {
        self.cancel.cancel();
        for half in [self.reader.try_lock().map(drop_half), self.writer.try_lock().map(drop_half)] {
            // A half that is locked is dropped by the call that holds it.
            drop(half);
        }
    }
}

impl Drop for NativeStream {
    fn drop(&mut self) {
        self.cancel.cancel();
    }
}

fn drop_half<T: ?Sized>(mut half: tokio::sync::MutexGuard<'_, Option<Box<T>>>) {
    *half = None;
}

fn destroyed() -> napi::Error {
    closed("the stream is destroyed")
}
