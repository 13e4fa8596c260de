//! How a process stops (invariant I12): the first signal drains, the second forces.
//!
//! Services take a clone of one [`Shutdown`]. They stop taking new work at [`Phase::Draining`] and
//! drop what is left at [`Phase::Forced`].

use std::io;
use std::time::Duration;

use tokio_util::sync::CancellationToken;

/// How far a process is on its way out. Only moves forward.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Phase {
    /// Takes new work.
    Running,
    /// Ends what it has, takes nothing new.
    Draining,
    /// Stops now.
    Forced,
}

/// The wish to stop, shared by everything that must know of it. Clones share one state.
#[derive(Debug, Clone, Default)]
pub struct Shutdown {
    drain: CancellationToken,
    force: CancellationToken,
}

impl Shutdown {
    /// A process that runs.
    pub fn new() -> Self {
        Self::default()
    }

    /// Starts to drain. Doing it again changes nothing.
    pub fn drain(&self) {
        self.drain.cancel();
    }

    /// Stops now; implies drain.
    pub fn force(&self) {
        self.drain.cancel();
        self.force.cancel();
    }

    /// What a signal does: drains at first, forces after that.
    pub fn signal(&self) {
        match self.phase() {
            Phase::Running => self.drain(),
            Phase::Draining | Phase::Forced => self.force(),
        }
    }

    /// How far it is.
    pub fn phase(&self) -> Phase {
        if self.force.is_cancelled() {
            Phase::Forced
        } else if self.drain.is_cancelled() {
            Phase::Draining
        } else {
            Phase::Running
        }
    }

    /// Whether new work is refused.
    pub fn is_draining(&self) -> bool {
        self.drain.is_cancelled()
    }

    /// Resolves when draining starts; at once where it has. Safe to drop and call again.
    pub async fn draining(&self) {
        self.drain.cancelled().await;
    }

    /// Resolves when the process must stop now.
    pub async fn forced(&self) {
        self.force.cancelled().await;
    }

    /// Waits for `work` to end, at most until `deadline` has passed or somebody forces. `false` if
    /// the work was cut short; then everything else is forced too.
    pub async fn finish(&self, work: impl Future<Output = ()>, deadline: Duration) -> bool {
        tokio::select! {
            biased;
            () = work => true,
            () = self.forced() => false,
            () = tokio::time::sleep(deadline) => {
                self.force();
                false
            }
        }
    }

    /// Listens for SIGTERM and SIGINT for the rest of the process's life. Fails where the system
    /// refuses the handlers. Must be called within a Tokio runtime.
    #[cfg(unix)]
    pub fn listen(&self) -> io::Result<()> {
        use tokio::signal::unix::{SignalKind, signal};

        let mut terminate = signal(SignalKind::terminate())?;
        let mut interrupt = signal(SignalKind::interrupt())?;
        let shutdown = self.clone();
        tokio::spawn(async move {
            while shutdown.phase() != Phase::Forced {
                let name = tokio::select! {
                    _ = terminate.recv() => "SIGTERM",
                    _ = interrupt.recv() => "SIGINT",
                };
                shutdown.on_signal(name);
            }
        });
        Ok(())
    }

    /// Listens for Ctrl-C for the rest of the process's life. Must be called within a Tokio
    /// runtime.
    #[cfg(not(unix))]
    pub fn listen(&self) -> io::Result<()> {
        let shutdown = self.clone();
        tokio::spawn(async move {
            while shutdown.phase() != Phase::Forced && tokio::signal::ctrl_c().await.is_ok() {
                shutdown.on_signal("Ctrl-C");
            }
        });
        Ok(())
    }

    fn on_signal(&self, name: &str) {
        self.signal();
        match self.phase() {
            Phase::Forced => tracing::warn!("{name} again: stopping now"),
            Phase::Running | Phase::Draining => {
                tracing::info!("{name}: draining; once more to stop now");
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn i12_the_first_signal_drains_and_the_second_forces() {
        let shutdown = Shutdown::new();
        assert_eq!(shutdown.phase(), Phase::Running);
        shutdown.signal();
        shutdown.draining().await;
        assert_eq!(shutdown.phase(), Phase::Draining);
        shutdown.signal();
        shutdown.forced().await;
        assert_eq!(shutdown.phase(), Phase::Forced);
    }

    #[tokio::test]
    async fn every_clone_learns_of_the_drain() {
        let shutdown = Shutdown::new();
        let clone = shutdown.clone();
        let waiting = tokio::spawn(async move { clone.draining().await });
        shutdown.drain();
        waiting.await.unwrap();
    }

    #[tokio::test]
    async fn i12_work_that_ends_in_time_is_not_cut_short() {
        let shutdown = Shutdown::new();
        shutdown.drain();
        assert!(shutdown.finish(async {}, Duration::MAX).await);
        assert_eq!(shutdown.phase(), Phase::Draining);
    }

    #[tokio::test]
    async fn i12_a_second_signal_cuts_work_short() {
        let shutdown = Shutdown::new();
        shutdown.force();
        assert!(!shutdown.finish(std::future::pending(), Duration::MAX).await);
    }

    #[tokio::test]
    async fn i12_work_past_the_deadline_forces_the_stop() {
        let shutdown = Shutdown::new();
        assert!(!shutdown.finish(std::future::pending(), Duration::ZERO).await);
        assert_eq!(shutdown.phase(), Phase::Forced);
    }
}
