//! Sessions, relay usage and the outcomes of methods.

use p2p_stats::{
    Carried, Event, Filter, MethodCell, Network, RelayRecord, RelayTotals, SessionRecord,
    SessionTotals, Store, Usage,
};
use p2p_wire::{AppId, Method, NatType, PeerId, SessionId, Step, StepResult};
use uuid::Uuid;

use super::records::{begun, between, direct, in_app, relayed};

const HOUR: i64 = 60 * 60 * 1000;

/// A connection that is open.
pub(crate) fn opened(n: u128, opened_unix_ms: i64) -> SessionRecord {
    SessionRecord {
        id: Uuid::from_u128(n),
        session: SessionId::new("session").unwrap(),
        app: AppId::default(),
        peer: PeerId::new("alice").unwrap(),
        instance: Some("one".to_owned()),
        network: Some(Network::of("203.0.113.9".parse().unwrap())),
        resumed: n.is_multiple_of(2),
        opened_unix_ms,
        closed_unix_ms: None,
        close_code: None,
    }
}

/// The same, closed after some time.
pub(crate) fn closed(record: &SessionRecord, after_ms: i64) -> SessionRecord {
    SessionRecord {
        closed_unix_ms: Some(record.opened_unix_ms + after_ms),
        close_code: Some(1000),
        ..record.clone()
    }
}

/// An allocation that ended.
pub(crate) fn allocation(n: u128, region: Option<&str>, ended_unix_ms: i64) -> RelayRecord {
    RelayRecord {
        id: Uuid::from_u128(n),
        region: region.map(str::to_owned),
        user: "default:alice".to_owned(),
        end: "expired".to_owned(),
        ended_unix_ms,
        lived_ms: 10,
        to_peer: Carried { packets: 1, bytes: 100 },
        to_client: Carried { packets: 2, bytes: 200 },
    }
}

fn totals(region: Option<&str>, n: u64) -> RelayTotals {
    RelayTotals {
        region: region.map(str::to_owned),
        allocations: n,
        lived_ms: 10 * n,
        to_peer: Carried { packets: n, bytes: 100 * n },
        to_client: Carried { packets: 2 * n, bytes: 200 * n },
    }
}

pub(crate) async fn a_session_counts_once_however_often_and_in_whatever_order_it_is_told(
    store: &dyn Store,
) {
    let (one, two, three) = (opened(1, 5), opened(2, HOUR + 5), opened(3, 30 * HOUR));
    let (one_closed, two_closed) = (closed(&one, 100), closed(&two, 20));
    store.record_sessions(&[one.clone(), two_closed.clone()]).await.unwrap();
    store.record_sessions(&[two, one_closed.clone(), three]).await.unwrap();
    store.record_sessions(&[one_closed, one, two_closed]).await.unwrap();
    let usage = store.usage(&Filter::default()).await.unwrap();
    let sessions = SessionTotals { opened: 3, resumed: 1, closed: 2, connected_ms: 120 };
    assert_eq!(usage, Usage { sessions, relays: vec![] });
    // Told again when the hour has settled: the answer stays.
    store.record_sessions(&[opened(1, 5)]).await.unwrap();
    assert_eq!(store.usage(&Filter::default()).await.unwrap().sessions, sessions);
}

pub(crate) async fn an_allocation_counts_once_in_its_region(store: &dyn Store) {
    let records = [
        allocation(1, None, 5),
        allocation(2, Some("eu"), 6),
        allocation(3, Some("eu"), 40 * HOUR),
        allocation(4, Some("us"), 7),
    ];
    for _ in 0..2 {
        store.record_relays(&records).await.unwrap();
        let usage = store.usage(&Filter::default()).await.unwrap();
        assert_eq!(usage.relays, [totals(None, 1), totals(Some("eu"), 2), totals(Some("us"), 1)]);
    }
}

pub(crate) async fn usage_is_filtered_by_app_and_time(store: &dyn Store) {
    let other =
        |record: SessionRecord| SessionRecord { app: AppId::new("other").unwrap(), ..record };
    let sessions = [opened(1, 10), opened(3, HOUR + 10), other(opened(5, HOUR + 20))];
    store.record_sessions(&sessions).await.unwrap();
    let of_nobody = RelayRecord { user: "static".to_owned(), ..allocation(2, None, HOUR + 30) };
    store.record_relays(&[allocation(1, None, HOUR + 10), of_nobody]).await.unwrap();
    let app = |name: &str| Some(AppId::new(name).unwrap());
    for (filter, opened, allocations) in [
        (Filter::default(), 3, 2),
        (Filter { app: app("default"), since_unix_ms: None, before_unix_ms: None }, 2, 1),
        (Filter { app: app("default"), since_unix_ms: Some(11), before_unix_ms: None }, 1, 1),
        (Filter { app: None, since_unix_ms: Some(HOUR + 11), before_unix_ms: None }, 1, 1),
        (Filter { app: app("other"), since_unix_ms: Some(HOUR), before_unix_ms: None }, 1, 0),
        (Filter { app: None, since_unix_ms: Some(2 * HOUR), before_unix_ms: None }, 0, 0),
        (Filter { before_unix_ms: Some(HOUR + 20), ..Filter::default() }, 2, 1),
        (Filter { app: None, since_unix_ms: Some(11), before_unix_ms: Some(HOUR + 21) }, 2, 1),
    ] {
        let usage = store.usage(&filter).await.unwrap();
        assert_eq!(usage.sessions.opened, opened, "{filter:?}");
        let counted: u64 = usage.relays.iter().map(|relay| relay.allocations).sum();
        assert_eq!(counted, allocations, "{filter:?}");
    }
}

pub(crate) async fn usage_at_the_edges_is_kept(store: &dyn Store) {
    let session = closed(&opened(1, i64::MIN), 0);
    let late = SessionRecord { closed_unix_ms: Some(i64::MAX), ..opened(3, i64::MAX) };
    store.record_sessions(&[session, late]).await.unwrap();
    let much = Carried { packets: u64::MAX, bytes: 1 };
    let user = "a\0b:c".to_owned();
    let relay = RelayRecord { to_peer: much, user, ..allocation(1, Some("eu"), i64::MIN) };
    store.record_relays(&[relay]).await.unwrap();
    let usage = store.usage(&Filter::default()).await.unwrap();
    assert_eq!((usage.sessions.opened, usage.relays[0].allocations), (2, 1));
    assert_eq!(usage.relays[0].to_peer, Carried { packets: i64::MAX as u64, bytes: 1 });
}

pub(crate) async fn events_of_all_kinds_are_stored_once(store: &dyn Store) {
    let events: Vec<Event> = vec![
        direct("a", 1, 2, 3).into(),
        opened(1, 1).into(),
        allocation(1, None, 1).into(),
        begun("a", 1).into(),
    ];
    for _ in 0..2 {
        store.record_events(&events).await.unwrap();
        let usage = store.usage(&Filter::default()).await.unwrap();
        assert_eq!((usage.sessions.opened, usage.relays[0].allocations), (1, 1));
        assert_eq!(store.summary(&Filter::default()).await.unwrap().attempts, 1);
    }
}

pub(crate) async fn a_method_counts_as_tried_and_as_working_where_a_peer_says_so(
    store: &dyn Store,
) {
    use Method::{Relay, TcpHolePunch, UdpHolePunch};
    use NatType::{FullCone, Symmetric, Unknown};
    let step = |method, result| Step { method, tactic: None, result, ms: 1, detail: String::new() };
    let cell = |caller, callee, method, tried, worked| MethodCell {
        caller,
        callee,
        method,
        tried,
        worked,
    };
    // It ended on the relay; the punch failed on one side and was skipped by the other.
    let mut one = between(FullCone, Symmetric, relayed("a", 5, 9));
    one.caller_steps = vec![step(UdpHolePunch, StepResult::Failed)];
    one.callee_steps =
        vec![step(UdpHolePunch, StepResult::Failed), step(TcpHolePunch, StepResult::Skipped)];
    // Both sides say that the punch worked: once.
    let mut two = between(FullCone, Symmetric, direct("b", 6, 9, 9));
    two.caller_steps = vec![step(UdpHolePunch, StepResult::Ok)];
    two.callee_steps = vec![step(UdpHolePunch, StepResult::Ok), step(Relay, StepResult::Ok)];
    let foreign = in_app("other", direct("c", 7, 9, 9));
    store.record_attempts(&[one.clone(), two, foreign, begun("d", 8)]).await.unwrap();
    let expected =
        [cell(FullCone, Symmetric, UdpHolePunch, 2, 1), cell(FullCone, Symmetric, Relay, 2, 2)];
    let of_app = Filter { app: Some(AppId::default()), since_unix_ms: None, before_unix_ms: None };
    assert_eq!(store.methods(&of_app).await.unwrap(), expected);
    let all = store.methods(&Filter::default()).await.unwrap();
    assert_eq!(all[..2], expected);
    assert_eq!(all[2..], [cell(Unknown, Unknown, UdpHolePunch, 1, 1)]);
    // The relayed attempt turns direct after all: what was counted is corrected, not added to.
    one = between(FullCone, Symmetric, direct("a", 5, 9, 20));
    store.record_attempt(&one).await.unwrap();
    store.record_attempt(&one).await.unwrap();
    assert_eq!(store.methods(&of_app).await.unwrap()[0].worked, 2);
    // A filter counts whole hours: from the beginning of one, to the end of another.
    let within = Filter { since_unix_ms: Some(HOUR - 1), ..of_app.clone() };
    assert_eq!(store.methods(&within).await.unwrap().len(), 2);
    let within = Filter { before_unix_ms: Some(1), ..of_app.clone() };
    assert_eq!(store.methods(&within).await.unwrap().len(), 2);
    let later = Filter { since_unix_ms: Some(HOUR), ..of_app.clone() };
    assert_eq!(store.methods(&later).await.unwrap(), []);
    let earlier = Filter { before_unix_ms: Some(0), ..of_app };
    assert_eq!(store.methods(&earlier).await.unwrap(), []);
}
