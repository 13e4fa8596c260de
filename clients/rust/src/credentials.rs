//! How long TURN credentials are good for, and when to ask for fresh ones.
//!
//! Their username begins with the Unix time at which they end (draft-uberti-behave-turn-rest §2.2), by
//! the coordinator's clock. This host's may be wrong: so they are asked for in good time, after
//! [`LONGEST`] however long they seem to last, and never in a hurry because they seem to have ended.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use p2p_wire::IceServer;
use tokio::time::Instant;

/// The longest time between two requests.
const LONGEST: Duration = Duration::from_secs(1800);
/// The pause before the first request at least; it doubles with each one up to [`LEAST`].
const FIRST: Duration = Duration::from_secs(1);
/// The pause between two requests at least, after the first few.
const LEAST: Duration = Duration::from_secs(60);

/// The credentials of one connection to the coordinator.
#[derive(Debug, Default)]
pub(crate) struct Credentials {
    requests: u32,
    due: Option<Instant>,
}

impl Credentials {
    /// Takes note of credentials that have just come.
    pub(crate) fn came(&mut self, servers: &[IceServer]) {
        let unix = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        self.due =
            pause(servers, self.requests, unix.as_secs()).map(|pause| Instant::now() + pause);
    }

    /// They have been asked for. Without an answer that happens again.
    pub(crate) fn asked(&mut self) {
        self.requests = self.requests.saturating_add(1);
        self.due = Some(Instant::now() + LONGEST);
    }

    /// When to ask for fresh ones; never where they do not end.
    pub(crate) fn due(&self) -> Option<Instant> {
        self.due
    }
}

/// When the credentials of this user end, in Unix seconds, if they do.
pub(crate) fn ends(username: &str) -> Option<u64> {
    username.split_once(':')?.0.parse().ok()
}

fn pause(servers: &[IceServer], requests: u32, unix: u64) -> Option<Duration> {
    let ends = servers.iter().filter_map(|server| ends(server.username.as_ref()?));
    let left = Duration::from_secs(ends.min()?.saturating_sub(unix));
    let least = (FIRST * 2_u32.saturating_pow(requests.min(6))).min(LEAST);
    // A quarter of their life is for a request that fails.
    Some((left * 3 / 4).clamp(least, LONGEST))
}

#[cfg(test)]
mod tests {
    use p2p_wire::Secret;

    use super::*;

    const NOON: u64 = 1_800_000_000;

    fn relay(username: &str) -> IceServer {
        IceServer {
            urls: vec!["turn:relay.example.org".to_owned()],
            username: Some(username.to_owned()),
            credential: Some(Secret::new("p")),
        }
    }

    #[test]
    fn fresh_credentials_are_asked_for_before_the_first_of_them_end() {
        let both = [relay(&format!("{}:a", NOON + 3600)), relay(&format!("{}:a", NOON + 1200))];
        assert_eq!(pause(&both, 9, NOON), Some(Duration::from_secs(900)));
        assert_eq!(pause(&both[..1], 9, NOON), Some(LONGEST));
    }

    #[test]
    fn credentials_without_an_end_are_not_asked_for() {
        let stun = IceServer { urls: Vec::new(), username: None, credential: None };
        assert_eq!(pause(&[relay("user"), relay("user:1"), stun], 0, NOON), None);
        assert_eq!(pause(&[], 0, NOON), None);
    }

    #[test]
    fn a_clock_that_is_ahead_makes_nobody_ask_without_a_pause() {
        let ended = [relay(&format!("{}:a", NOON - 7200))];
        let pauses = [0, 1, 5, 6, 1000].map(|n| pause(&ended, n, NOON).unwrap().as_secs());
        assert_eq!(pauses, [1, 2, 32, 60, 60]);
    }
}
