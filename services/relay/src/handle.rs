//! The rest of the process and a running relay.

use std::net::SocketAddr;
use std::sync::{Arc, mpsc};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use p2p_turn_core::UserId;
use tokio::sync::watch;

use crate::error::RelayError;
use crate::snapshot::RelaySnapshot;
use crate::tls::{Certificate, Reload};
use crate::transport::Listening;

/// What the relay thread is asked for.
pub(crate) enum Request {
    Snapshot(mpsc::SyncSender<RelaySnapshot>),
    FreeUser(UserId, mpsc::SyncSender<usize>),
    Drain { until: Instant },
    Shutdown,
}

/// The relay thread's ends of what connects it with the rest of the process.
pub(crate) struct Ends {
    pub(crate) requests: mpsc::Sender<Request>,
    pub(crate) waker: Arc<mio::Waker>,
    pub(crate) ended: watch::Receiver<Option<RelaySnapshot>>,
    pub(crate) thread: JoinHandle<()>,
}

/// A running relay. Dropping the handle stops the relay; [`join`](Self::join) keeps it.
///
/// Methods do not block, except where they say so.
pub struct RelayHandle {
    requests: mpsc::Sender<Request>,
    waker: Arc<mio::Waker>,
    ended: watch::Receiver<Option<RelaySnapshot>>,
    thread: Option<JoinHandle<()>>,
    local_addrs: Vec<SocketAddr>,
    listening: Vec<Listening>,
    certificate: Option<Arc<Certificate>>,
}

impl RelayHandle {
    pub(crate) fn new(
        ends: Ends,
        local_addrs: Vec<SocketAddr>,
        listening: Vec<Listening>,
        certificate: Option<Arc<Certificate>>,
    ) -> Self {
        let Ends { requests, waker, ended, thread } = ends;
        Self { requests, waker, ended, thread: Some(thread), local_addrs, listening, certificate }
    }

    /// Everything listened on: UDP as in [`local_addrs`](Self::local_addrs), then TCP, then TLS.
    #[must_use]
    pub fn listening(&self) -> &[Listening] {
        &self.listening
    }

    /// Looks whether the files of the TLS certificate have changed, and takes them if so.
    /// Connections go on with the certificate they began with. Reads the files: not for the packet
    /// path.
    ///
    /// # Errors
    /// [`RelayError::Certificate`]; the certificate in use stays.
    pub fn reload_certificate(&self) -> Result<Reload, RelayError> {
        self.certificate.as_ref().map_or(Ok(Reload::Unchanged), |it| it.reload())
    }

    /// The UDP addresses listened on, in the order of the configuration; then what the alternate
    /// address added.
    #[must_use]
    pub fn local_addrs(&self) -> &[SocketAddr] {
        &self.local_addrs
    }

    /// What the relay has done so far; after its end, what it had done by then. Waits for the
    /// relay thread to come round, which takes it less than a burst of packets.
    ///
    /// # Errors
    /// [`RelayError::Died`].
    pub fn snapshot(&self) -> Result<RelaySnapshot, RelayError> {
        let (answer, answered) = mpsc::sync_channel(1);
        if self.ask(Request::Snapshot(answer))
            && let Ok(snapshot) = answered.recv()
        {
            return Ok(snapshot);
        }
        // The thread drops its end of the queue just before it says how it ended.
        let mut ended = self.ended.clone();
        loop {
            if let Some(last) = ended.borrow_and_update().clone() {
                return Ok(last);
            }
            if ended.has_changed().is_err() {
                return Err(RelayError::Died);
            }
            std::thread::yield_now();
        }
    }

    /// Ends every allocation of a REST user (the part of the username behind the expiry) and says
    /// how many there were. Waits like [`snapshot`](Self::snapshot).
    ///
    /// # Errors
    /// [`RelayError::Died`], also when the relay has stopped.
    pub fn free_user(&self, user: &str) -> Result<usize, RelayError> {
        let (answer, answered) = mpsc::sync_channel(1);
        self.ask(Request::FreeUser(UserId::rest(user), answer));
        answered.recv().map_err(|_| RelayError::Died)
    }

    /// Refuses new allocations and stops when the last one has ended, or when `deadline` has
    /// passed (I12). Asking again moves the deadline. Requests are taken in order: a
    /// [`snapshot`](Self::snapshot) asked for after this one is of a draining relay.
    pub fn drain(&self, deadline: Duration) {
        self.ask(Request::Drain { until: Instant::now() + deadline });
    }

    /// Stops at once.
    pub fn shutdown(&self) {
        self.ask(Request::Shutdown);
    }

    /// Resolves when the relay has stopped, with its last words. Safe to drop and call again.
    ///
    /// # Errors
    /// [`RelayError::Died`].
    pub async fn stopped(&self) -> Result<RelaySnapshot, RelayError> {
        let mut ended = self.ended.clone();
        let last = ended.wait_for(Option::is_some).await.map_err(|_| RelayError::Died)?;
        last.clone().ok_or(RelayError::Died)
    }

    /// Blocks until the relay has stopped. It does so after [`drain`](Self::drain) or
    /// [`shutdown`](Self::shutdown).
    ///
    /// # Errors
    /// [`RelayError::Died`].
    pub fn join(mut self) -> Result<RelaySnapshot, RelayError> {
        if let Some(thread) = self.thread.take() {
            thread.join().map_err(|_| RelayError::Died)?;
        }
        self.ended.borrow().clone().ok_or(RelayError::Died)
    }

    /// Whether the relay thread will see the request.
    fn ask(&self, request: Request) -> bool {
        self.requests.send(request).is_ok() && self.waker.wake().is_ok()
    }
}

impl Drop for RelayHandle {
    fn drop(&mut self) {
        self.shutdown();
    }
}
