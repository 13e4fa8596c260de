//! Events to send, each under an id of its own.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use p2p_stats::{AttemptRecord, Carried, Event, RelayRecord, SessionRecord};
use p2p_wire::{AppId, AttemptId, Method, Outcome, PeerId, SessionId};

/// What is told of an attempt, a session and an allocation: five events.
pub(crate) fn told(n: u64) -> [Event; 5] {
    // Recent, or the instances' retention takes them away.
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_millis();
    let started = i64::try_from(now).unwrap();
    let begun = AttemptRecord::begun(
        AttemptId::new(format!("a{n}")).unwrap(),
        AppId::default(),
        PeerId::new("alice").unwrap(),
        PeerId::new("bob").unwrap(),
        started,
    );
    let relayed = AttemptRecord {
        outcome: Outcome::Relay,
        method: Some(Method::Relay),
        connected_ms: Some(7),
        reason: None,
        ..begun.clone()
    };
    let opened = SessionRecord::opened(
        SessionId::new("session").unwrap(),
        AppId::default(),
        PeerId::new("alice").unwrap(),
        Some("one"),
        [203, 0, 113, 9].into(),
        false,
        started,
    );
    let closed = opened.clone().closed(started + 10, Some(1000));
    [begun.into(), opened.into(), allocation("expired").into(), relayed.into(), closed.into()]
}

/// An allocation that ended in this way.
pub(crate) fn allocation(end: &str) -> RelayRecord {
    let carried = Carried { packets: 1, bytes: 100 };
    let (user, lived) = ("default:alice".to_owned(), Duration::from_secs(1));
    RelayRecord::ended(Some("eu".to_owned()), user, end, lived, carried, carried)
}
