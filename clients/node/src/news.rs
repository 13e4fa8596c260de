//! What has happened to a connection, for JavaScript to ask for.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use napi_derive::napi;
use p2p_client::Connection;
use tokio::sync::Notify;

use crate::lock;

/// What has happened since JavaScript asked last. Levels, not a queue: nothing piles up.
#[derive(Default)]
pub(crate) struct News {
    path: AtomicBool,
    drain: AtomicBool,
    closed: std::sync::Mutex<Option<String>>,
    /// Why the peer has said goodbye.
    pub(crate) goodbye: std::sync::Mutex<Option<String>>,
    /// Whether the peer reads messages, so that a goodbye means something to it.
    pub(crate) peer_reads_messages: AtomicBool,
    bell: Notify,
}

/// What has happened to a connection.
#[napi(object, object_from_js = false)]
pub struct ConnectionNews {
    /// The path is another one.
    pub path: bool,
    /// More may be sent again.
    pub drain: bool,
    /// Why the connection has ended; the last news.
    pub closed: Option<String>,
}

impl News {
    /// More may be sent again.
    pub(crate) fn tell_drain(&self) {
        self.drain.store(true, Ordering::Release);
        self.bell.notify_one();
    }

    /// What has happened since this was asked last; waits until something has.
    pub(crate) async fn next(&self) -> ConnectionNews {
        loop {
            let news = ConnectionNews {
                path: self.path.swap(false, Ordering::AcqRel),
                drain: self.drain.swap(false, Ordering::AcqRel),
                closed: lock(&self.closed).take(),
            };
            if news.path || news.drain || news.closed.is_some() {
                return news;
            }
            self.bell.notified().await;
        }
    }
}

/// Tells of changes of the path, and of the end.
pub(crate) async fn watch(connection: Connection, news: Arc<News>) {
    let mut paths = connection.paths();
    let cause = loop {
        tokio::select! {
            end = connection.closed() => break end.cause,
            changed = paths.changed() => match changed {
                Ok(()) => {
                    news.path.store(true, Ordering::Release);
                    news.bell.notify_one();
                }
                // The attempt is over, and so will the connection be in a moment.
                Err(_) => break connection.closed().await.cause,
            }
        }
    };
    let goodbye = lock(&news.goodbye).take();
    let cause = match goodbye {
        Some(reason) if reason.is_empty() => "closed by the other side".to_owned(),
        Some(reason) => format!("closed by the other side: {reason}"),
        None => cause,
    };
    *lock(&news.closed) = Some(cause);
    news.bell.notify_one();
}
