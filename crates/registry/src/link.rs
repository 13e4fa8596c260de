//! How frames reach a session: a bounded queue, and a word of farewell that overtakes it.

use std::ops::Deref;
use std::sync::Arc;

use tokio::sync::{mpsc, oneshot};

/// A frame's text, shared between everybody who gets the same one, down to their sockets.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Frame(Arc<String>);

impl Deref for Frame {
    type Target = str;
    fn deref(&self) -> &str {
        &self.0
    }
}

impl AsRef<[u8]> for Frame {
    fn as_ref(&self) -> &[u8] {
        self.0.as_bytes()
    }
}

impl From<String> for Frame {
    fn from(text: String) -> Self {
        Self(Arc::new(text))
    }
}

impl From<&str> for Frame {
    fn from(text: &str) -> Self {
        text.to_owned().into()
    }
}

/// Why the registry lets go of a session.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    /// A newer connection of the same peer took over.
    Replaced,
    /// The session takes its frames too slowly. It may come back and resume.
    Lagging,
    /// The registry itself is gone.
    Closed,
}

/// The registry's side: where frames for one session go.
#[derive(Debug)]
pub struct Link {
    queue: mpsc::Sender<Frame>,
    end: Option<oneshot::Sender<End>>,
}

/// Why a frame was not queued.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NotPushed {
    /// The queue is full, and the link ended by it.
    Overflow,
    /// The link had ended before.
    Ended,
}

/// The session's side.
#[derive(Debug)]
pub struct Feed {
    queue: mpsc::Receiver<Frame>,
    end: oneshot::Receiver<End>,
}

/// What comes out of a [`Feed`].
#[derive(Debug, PartialEq, Eq)]
pub enum Delivery {
    /// A frame to send.
    Frame(Frame),
    /// Nothing more will come.
    End(End),
}

impl Link {
    /// A link whose queue holds `capacity` frames.
    pub fn pair(capacity: usize) -> (Self, Feed) {
        let (queue, frames) = mpsc::channel(capacity);
        let (end, ended) = oneshot::channel();
        (Self { queue, end: Some(end) }, Feed { queue: frames, end: ended })
    }

    /// Queues a frame. A full queue ends the link as [`End::Lagging`]: the session's state is in
    /// the registry, so it loses nothing by resuming.
    ///
    /// # Errors
    /// Why the frame will not arrive through this link.
    pub fn push(&mut self, frame: Frame) -> Result<(), NotPushed> {
        if self.end.is_none() {
            return Err(NotPushed::Ended);
        }
        self.queue.try_send(frame).map_err(|error| match error {
            mpsc::error::TrySendError::Full(_) => {
                self.end(End::Lagging);
                NotPushed::Overflow
            }
            mpsc::error::TrySendError::Closed(_) => NotPushed::Ended,
        })
    }

    /// Ends the link, ahead of what is still queued.
    pub fn end(&mut self, why: End) {
        if let Some(end) = self.end.take() {
            // A session that is gone already needs no farewell.
            let _ = end.send(why);
        }
    }
}

impl Feed {
    /// A frame that is there already, so that several can be written at once.
    pub fn ready(&mut self) -> Option<Frame> {
        self.queue.try_recv().ok()
    }

    /// The next frame, or why there is none. Safe to drop and call again.
    pub async fn next(&mut self) -> Delivery {
        tokio::select! {
            biased;
            why = &mut self.end, if !self.end.is_terminated() => {
                Delivery::End(why.unwrap_or(End::Closed))
            }
            frame = self.queue.recv() => match frame {
                Some(frame) => Delivery::Frame(frame),
                None => Delivery::End(End::Closed),
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn i5_a_full_queue_ends_the_link_as_lagging() {
        let (mut link, mut feed) = Link::pair(1);
        assert_eq!(link.push("one".into()), Ok(()));
        assert_eq!(link.push("two".into()), Err(NotPushed::Overflow));
        assert_eq!(link.push("three".into()), Err(NotPushed::Ended));
        assert_eq!(feed.next().await, Delivery::End(End::Lagging));
    }

    #[tokio::test]
    async fn the_farewell_overtakes_what_is_queued() {
        let (mut link, mut feed) = Link::pair(8);
        link.push("one".into()).unwrap();
        link.end(End::Replaced);
        assert_eq!(feed.next().await, Delivery::End(End::Replaced));
    }

    #[tokio::test]
    async fn a_dropped_link_ends_the_feed() {
        let (mut link, mut feed) = Link::pair(8);
        link.push("one".into()).unwrap();
        assert_eq!(feed.next().await, Delivery::Frame("one".into()));
        drop(link);
        assert_eq!(feed.next().await, Delivery::End(End::Closed));
    }
}
