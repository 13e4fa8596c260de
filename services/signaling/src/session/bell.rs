//! What seldom happens to a connection, and costs nothing while it does not.
//!
//! A task that is woken polls all that it waits for. Of what a session waits for, two things happen
//! with every message; its timer and the end of the instance do not. Those get a waker of their own,
//! and are polled only after that one was called.

use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering::{AcqRel, Release};
use std::task::{Context, Poll, Wake, Waker};

use futures_util::task::AtomicWaker;

/// Stands between a task and what seldom wakes it.
pub(super) struct Bell {
    cord: Arc<Cord>,
    waker: Waker,
}

#[derive(Default)]
struct Cord {
    rung: AtomicBool,
    task: AtomicWaker,
}

impl Wake for Cord {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        self.rung.store(true, Release);
        self.task.wake();
    }
}

impl Bell {
    /// A bell that has been rung: nothing behind it knows of it yet.
    pub(super) fn new() -> Self {
        let cord = Arc::new(Cord { rung: AtomicBool::new(true), task: AtomicWaker::new() });
        Self { waker: cord.clone().into(), cord }
    }

    /// Has what is behind it polled at the next opportunity, because it is not what it was.
    pub(super) fn ring(&self) {
        self.cord.rung.store(true, Release);
    }

    /// Polls what is behind the bell, if it was rung since.
    pub(super) fn poll<T>(
        &self,
        context: &mut Context<'_>,
        behind: impl FnOnce(&mut Context<'_>) -> Poll<T>,
    ) -> Poll<T> {
        // First of all: who rings from here on wakes the task.
        self.cord.task.register(context.waker());
        if self.cord.rung.swap(false, AcqRel) {
            behind(&mut Context::from_waker(&self.waker))
        } else {
            Poll::Pending
        }
    }
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;
    use std::pin::pin;

    use tokio::sync::oneshot;

    use super::*;

    #[tokio::test]
    async fn what_is_behind_a_bell_is_polled_once_and_again_when_it_wakes() {
        let (say, said) = oneshot::channel();
        let (polls, bell) = (std::cell::Cell::new(0), Bell::new());
        let mut said = pin!(said);
        let mut waiting = pin!(poll_fn(|context| {
            bell.poll(context, |context| {
                polls.set(polls.get() + 1);
                said.as_mut().poll(context)
            })
        }));
        for _ in 0..3 {
            assert!(futures_util::poll!(waiting.as_mut()).is_pending());
        }
        assert_eq!(polls.get(), 1);
        tokio::join!(async { say.send(7).unwrap() }, async {
            assert_eq!(waiting.await, Ok(7));
        });
        assert_eq!(polls.get(), 2);
    }

    #[tokio::test]
    async fn a_bell_can_be_rung_from_within() {
        let bell = Bell::new();
        let polled = || {
            let mut polled = false;
            let _ = bell.poll(&mut Context::from_waker(Waker::noop()), |_| {
                polled = true;
                Poll::<()>::Pending
            });
            polled
        };
        assert!(polled());
        assert!(!polled());
        bell.ring();
        assert!(polled());
    }
}
