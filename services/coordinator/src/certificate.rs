//! The relay's certificate is renewed while it runs: by whoever sends SIGHUP after writing the files,
//! and within a minute by itself, because a mounted secret changes without a signal.

use std::convert::Infallible;
use std::time::Duration;

use p2p_relay::{RelayHandle, Reload};
use tokio::time::{MissedTickBehavior, interval};

/// How often the files are looked at.
const LOOK: Duration = Duration::from_secs(60);

/// Listens for SIGHUP from its making on, so that none is missed by who waits for "ready".
pub struct Renewal {
    hangup: Hangup,
}

impl Renewal {
    pub fn new() -> Self {
        Self { hangup: Hangup::new() }
    }

    /// Takes the certificate anew whenever it may have changed. What is no good is told and not
    /// taken.
    pub async fn run(mut self, relay: &RelayHandle) -> Infallible {
        let mut look = interval(LOOK);
        look.set_missed_tick_behavior(MissedTickBehavior::Delay);
        // The first tick is now, and the files have just been read.
        look.tick().await;
        let mut told = String::new();
        loop {
            let asked = tokio::select! {
                () = self.hangup.recv() => true,
                _ = look.tick() => false,
            };
            match relay.reload_certificate() {
                Ok(Reload::Replaced) => {
                    told.clear();
                    tracing::info!("the TLS certificate has been replaced");
                }
                Ok(Reload::Unchanged) if asked => {
                    tracing::info!("the TLS certificate is unchanged");
                }
                Ok(Reload::Unchanged) => {}
                Err(error) => {
                    let cause = error.to_string();
                    // Once, and not every minute.
                    if asked || cause != told {
                        tracing::warn!(
                            code = error.code(),
                            fix = error.fix(),
                            "{cause}; the old one stays in use"
                        );
                        told = cause;
                    }
                }
            }
        }
    }
}

/// SIGHUP, where there is such a thing.
struct Hangup {
    #[cfg(unix)]
    signal: Option<tokio::signal::unix::Signal>,
}

impl Hangup {
    #[cfg(unix)]
    fn new() -> Self {
        use tokio::signal::unix::{SignalKind, signal};
        // Without it the files are still looked at.
        Self { signal: signal(SignalKind::hangup()).ok() }
    }

    #[cfg(not(unix))]
    fn new() -> Self {
        Self {}
    }

    async fn recv(&mut self) {
        #[cfg(unix)]
        if let Some(signal) = &mut self.signal
            && signal.recv().await.is_some()
        {
            return;
        }
        std::future::pending::<()>().await;
    }
}
