//! How frames reach a session: a bounded queue, and a word of farewell that overtakes it.

use std::collections::VecDeque;
use std::fmt;
use std::future::poll_fn;
use std::ops::Deref;
use std::sync::{Arc, Mutex, MutexGuard};
use std::task::{Context, Poll, Waker};

use bytes::Bytes;

/// Places for frames that a queue keeps while it is empty.
const MAX_KEPT: usize = 8;

/// A frame's text, shared between everybody who gets the same one, down to their sockets.
#[derive(Clone, PartialEq, Eq)]
pub struct Frame(Bytes);

impl Frame {
    /// The text as a socket takes it.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }
}

/// For whoever reads it, which is not what happens to most.
impl Deref for Frame {
    type Target = str;
    fn deref(&self) -> &str {
        str::from_utf8(&self.0).expect("a frame is made from text")
    }
}

impl fmt::Debug for Frame {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&**self, f)
    }
}

impl From<String> for Frame {
    fn from(text: String) -> Self {
        Self(text.into())
    }
}

impl From<Frame> for Bytes {
    fn from(frame: Frame) -> Self {
        frame.0
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
pub struct Link(Arc<Shared>);

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
pub struct Feed(Arc<Shared>);

/// Both sides' queue. It is written for what a connection is most of the time: it idles, and then
/// has no room for frames; or it takes what is there, and then one lock is all that it costs.
#[derive(Debug)]
struct Shared {
    capacity: usize,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    frames: VecDeque<Frame>,
    end: Option<End>,
    /// Nobody takes frames any more.
    left: bool,
    /// Who waits for a frame or the end.
    waiting: Option<Waker>,
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect("no code panics while it holds a queue's lock")
    }
}

impl State {
    fn take(&mut self) -> Option<Frame> {
        let frame = self.frames.pop_front();
        // What a burst needed is not kept.
        if self.frames.is_empty() && self.frames.capacity() > MAX_KEPT {
            self.frames = VecDeque::new();
        }
        frame
    }
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
        let shared = Arc::new(Shared { capacity, state: Mutex::default() });
        (Self(shared.clone()), Feed(shared))
    }

    /// Queues a frame. A full queue ends the link as [`End::Lagging`]: the session's state is in
    /// the registry, so it loses nothing by resuming.
    ///
    /// # Errors
    /// Why the frame will not arrive through this link.
    pub fn push(&mut self, frame: Frame) -> Result<(), NotPushed> {
        let mut state = self.0.lock();
        if state.end.is_some() || state.left {
            return Err(NotPushed::Ended);
        }
        let pushed = if state.frames.len() >= self.0.capacity {
            state.end = Some(End::Lagging);
            Err(NotPushed::Overflow)
        } else {
            state.frames.push_back(frame);
            Ok(())
        };
        wake(state);
        pushed
    }

    /// Ends the link, ahead of what is still queued.
    pub fn end(&mut self, why: End) {
        let mut state = self.0.lock();
        if state.end.is_none() {
            state.end = Some(why);
            wake(state);
        }
    }
}

impl Drop for Link {
    fn drop(&mut self) {
        self.end(End::Closed);
    }
}

/// Wakes whoever waits, once the queue is free for it.
fn wake(mut state: MutexGuard<'_, State>) {
    let waiting = state.waiting.take();
    drop(state);
    if let Some(waker) = waiting {
        waker.wake();
    }
}

impl Feed {
    /// A frame that is there already, so that several can be written at once.
    pub fn ready(&mut self) -> Option<Frame> {
        self.0.lock().take()
    }

    /// The next frame, or why there is none. Safe to drop and call again.
    pub async fn next(&mut self) -> Delivery {
        poll_fn(|context| self.poll_next(context)).await
    }

    /// As [`Self::next`].
    pub fn poll_next(&mut self, context: &mut Context<'_>) -> Poll<Delivery> {
        let mut state = self.0.lock();
        if let Some(end) = state.end {
            return Poll::Ready(Delivery::End(end));
        }
        if let Some(frame) = state.take() {
            return Poll::Ready(Delivery::Frame(frame));
        }
        match &mut state.waiting {
            Some(waiting) => waiting.clone_from(context.waker()),
            waiting => *waiting = Some(context.waker().clone()),
        }
        Poll::Pending
    }
}

impl Drop for Feed {
    fn drop(&mut self) {
        let mut state = self.0.lock();
        state.left = true;
        state.frames = VecDeque::new();
        state.waiting = None;
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
    async fn whoever_waits_is_woken_by_a_frame_and_by_the_end() {
        let (mut link, mut feed) = Link::pair(8);
        let waiting = tokio::spawn(async move { (feed.next().await, feed.next().await) });
        tokio::task::yield_now().await;
        link.push("one".into()).unwrap();
        tokio::task::yield_now().await;
        link.end(End::Replaced);
        let (one, end) = waiting.await.unwrap();
        assert_eq!((one, end), (Delivery::Frame("one".into()), Delivery::End(End::Replaced)));
    }

    #[tokio::test]
    async fn who_left_gets_nothing_more() {
        let (mut link, feed) = Link::pair(8);
        drop(feed);
        assert_eq!(link.push("one".into()), Err(NotPushed::Ended));
    }

    #[tokio::test]
    async fn a_burst_goes_out_in_order_and_takes_no_room_afterwards() {
        let (mut link, mut feed) = Link::pair(100);
        for number in 0..100 {
            link.push(number.to_string().into()).unwrap();
        }
        for number in 0..100 {
            assert_eq!(feed.ready(), Some(number.to_string().into()));
        }
        assert_eq!(feed.ready(), None);
        assert!(feed.0.lock().frames.capacity() <= MAX_KEPT);
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
