//! Time is driven by hand.

use super::*;
use p2p_wire::Method;
use p2p_wire::limits::{MAX_OPEN_ATTEMPTS, MAX_OPEN_ATTEMPTS_OF_CALLEE, MAX_OPEN_ATTEMPTS_TO_ONE};

#[test]
fn i11_two_reports_make_one_verdict() {
    let (mut table, now) = table();
    begin(&mut table, "a1", "alice", "bob", now);
    let effects = report(&mut table, "alice", "a1", Outcome::Direct, now);
    assert_eq!(decided(&effects), None);
    let effects = report(&mut table, "bob", "a1", Outcome::Direct, now);
    assert_eq!(decided(&effects), Some((Outcome::Direct, None)));
    assert_eq!((table.open(), table.entries.len()), (0, 0), "nothing can change any more");
    assert!(table.open.is_empty());
}

#[test]
fn i11_an_attempt_without_reports_fails_by_timeout_and_both_are_told() {
    let (mut table, now) = table();
    begin(&mut table, "a1", "alice", "bob", now);
    assert!(table.expire(now + Duration::from_secs(29)).is_empty());
    let effects = table.expire(now + Duration::from_secs(30));
    assert_eq!(told(&effects), [("alice", EndReason::Timeout), ("bob", EndReason::Timeout)]);
    assert_eq!(decided(&effects), Some((Outcome::Failed, Some("timeout"))));
    assert!(table.expire(now + Duration::from_secs(31)).is_empty(), "one verdict");
}

#[test]
fn one_side_s_path_is_the_verdict_if_the_other_never_reports() {
    let (mut table, now) = table();
    begin(&mut table, "a1", "alice", "bob", now);
    report(&mut table, "bob", "a1", Outcome::Relay, now);
    let effects = table.expire(now + Duration::from_secs(30));
    assert!(told(&effects).is_empty());
    assert_eq!(decided(&effects), Some((Outcome::Relay, None)));
}

#[test]
fn a_relayed_attempt_may_be_reported_as_direct_later() {
    let (mut table, now) = table();
    begin(&mut table, "a1", "alice", "bob", now);
    report(&mut table, "alice", "a1", Outcome::Relay, now);
    report(&mut table, "bob", "a1", Outcome::Relay, now);
    let later = now + Duration::from_secs(60);
    let effects = report(&mut table, "alice", "a1", Outcome::Direct, later);
    assert_eq!(decided(&effects), None, "the verdict is counted once");
    assert_eq!(recorded(&effects), [Outcome::Direct]);
    table.expire(now + Duration::from_secs(700));
    assert!(table.entries.is_empty() && table.decided_due.is_empty());
}

#[test]
fn when_one_side_fails_the_other_is_told_and_has_a_grace() {
    let (mut table, now) = table();
    begin(&mut table, "a1", "alice", "bob", now);
    let effects = report(&mut table, "alice", "a1", Outcome::Failed, now);
    assert_eq!(told(&effects), [("bob", EndReason::PeerFailed)]);
    let effects = table.expire(now + Duration::from_secs(5));
    assert!(told(&effects).is_empty(), "bob has been told");
    assert_eq!(decided(&effects), Some((Outcome::Failed, Some("reported_failed"))));
}

#[test]
fn when_a_side_says_goodbye_the_other_is_told_at_once() {
    let (mut table, now) = table();
    begin(&mut table, "a1", "alice", "bob", now);
    let effects = table.peer_gone(&app(), &peer("bob"), now);
    assert_eq!(told(&effects), [("alice", EndReason::PeerGone)]);
    assert_eq!(decided(&effects), Some((Outcome::Failed, Some("peer_gone"))));
}

#[test]
fn a_side_that_loses_its_connection_has_a_grace_to_come_back() {
    let (mut table, now) = table();
    begin(&mut table, "a1", "alice", "bob", now);
    assert!(table.peer_lost(&app(), &peer("bob"), now));
    table.peer_back(&app(), &peer("bob"));
    assert!(table.expire(now + Duration::from_secs(10)).is_empty());
    table.peer_lost(&app(), &peer("bob"), now + Duration::from_secs(10));
    let effects = table.expire(now + Duration::from_secs(15));
    assert_eq!(told(&effects), [("alice", EndReason::PeerGone)]);
}

#[test]
fn i8_a_reported_path_outlives_its_peer_s_session() {
    let (mut table, now) = table();
    begin(&mut table, "a1", "alice", "bob", now);
    report(&mut table, "alice", "a1", Outcome::Direct, now);
    let effects = table.peer_gone(&app(), &peer("bob"), now);
    assert!(told(&effects).is_empty());
    assert_eq!(decided(&effects), Some((Outcome::Direct, None)));
}

fn candidate() -> Candidate {
    Candidate::udp(p2p_wire::CandidateKind::Host, "192.0.2.1:9".parse().unwrap())
}

#[test]
fn i9_a_side_has_a_budget_of_candidates() {
    let (mut table, now) = table();
    begin(&mut table, "a1", "alice", "bob", now);
    let id = "a1".parse().unwrap();
    for _ in 0..MAX_CANDIDATES {
        let (to, _) = table.candidate(&app(), &peer("alice"), &id, &candidate()).unwrap();
        assert_eq!(to, peer("bob"));
    }
    let refused = table.candidate(&app(), &peer("alice"), &id, &candidate()).unwrap_err();
    assert_eq!(refused.code, Code::LimitReached);
    assert!(
        table.candidate(&app(), &peer("bob"), &id, &candidate()).is_ok(),
        "the other has its own"
    );
}

#[test]
fn strangers_have_no_part_in_an_attempt() {
    let (mut table, now) = table();
    begin(&mut table, "a1", "alice", "bob", now);
    let id = "a1".parse().unwrap();
    for (app, who) in [(app(), "mallory"), ("other".parse().unwrap(), "alice")] {
        let refused = table.candidate(&app, &peer(who), &id, &candidate()).unwrap_err();
        assert_eq!(refused.code, Code::AttemptNotFound);
    }
}

#[test]
fn i5_a_peer_has_a_bound_of_open_attempts_and_so_has_the_table() {
    let (mut table, now) = table();
    for n in 0..MAX_OPEN_ATTEMPTS {
        begin(&mut table, &format!("a{n}"), "alice", &format!("p{n}"), now);
    }
    let refused = table.admit(&app(), &peer("alice"), &peer("bob")).unwrap_err();
    assert_eq!(refused.code, Code::LimitReached);
    assert!(table.admit(&app(), &peer("bob"), &peer("alice")).is_ok(), "she may still be called");
    for n in MAX_OPEN_ATTEMPTS..CAPACITY {
        begin(&mut table, &format!("a{n}"), &format!("c{n}"), &format!("p{n}"), now);
    }
    let refused = table.admit(&app(), &peer("x"), &peer("y")).unwrap_err();
    assert_eq!(refused.code, Code::Overloaded);
    report(&mut table, "alice", "a0", Outcome::Relay, now);
    report(&mut table, "p0", "a0", Outcome::Relay, now);
    assert!(table.admit(&app(), &peer("x"), &peer("y")).is_ok(), "a decided one makes room");
    assert_eq!(table.entries.len(), CAPACITY - 1);
}

#[test]
fn i5_one_peer_keeps_another_neither_from_calling_nor_from_being_called() {
    let (mut table, now) = table();
    for n in 0..MAX_OPEN_ATTEMPTS_TO_ONE {
        begin(&mut table, &format!("a{n}"), "mallory", "bob", now);
    }
    let refused = table.admit(&app(), &peer("mallory"), &peer("bob")).unwrap_err();
    assert_eq!(refused.code, Code::LimitReached);
    assert!(refused.detail.contains("mallory") && refused.detail.contains("bob"), "{refused:?}");
    for (caller, callee) in [("mallory", "carol"), ("carol", "bob"), ("bob", "mallory")] {
        table.admit(&app(), &peer(caller), &peer(callee)).unwrap();
    }
    report(&mut table, "mallory", "a0", Outcome::Relay, now);
    report(&mut table, "bob", "a0", Outcome::Relay, now);
    assert!(table.admit(&app(), &peer("mallory"), &peer("bob")).is_ok(), "one has ended");
}

#[test]
fn i5_a_peer_is_called_so_often_at_once_and_may_call_all_the_same() {
    let (mut table, now) = (Table::new(10_000, &Timing::default()), Instant::now());
    for n in 0..MAX_OPEN_ATTEMPTS_OF_CALLEE {
        begin(&mut table, &format!("a{n}"), &format!("p{n}"), "bob", now);
    }
    let refused = table.admit(&app(), &peer("carol"), &peer("bob")).unwrap_err();
    assert_eq!(refused.code, Code::LimitReached);
    assert!(table.admit(&app(), &peer("bob"), &peer("carol")).is_ok());
    let effects = table.peer_gone(&app(), &peer("bob"), now);
    assert_eq!(told(&effects).len(), MAX_OPEN_ATTEMPTS_OF_CALLEE, "all of them end with him");
    assert!(table.admit(&app(), &peer("carol"), &peer("bob")).is_ok());
}

#[test]
fn a_side_at_another_instance_is_lost_comes_back_and_is_gone_like_one_at_this() {
    let (mut table, now) = table();
    for id in ["a1", "a2"] {
        begin(&mut table, id, "alice", "bob", now);
    }
    let (a1, bob) = ("a1".parse().unwrap(), peer("bob"));
    assert!(table.side_is(&a1, &bob, Presence::Away, now).is_empty());
    table.side_is(&a1, &bob, Presence::On, now);
    assert!(table.expire(now + Duration::from_secs(10)).is_empty());
    table.side_is(&a1, &bob, Presence::Away, now + Duration::from_secs(10));
    let effects = table.expire(now + Duration::from_secs(15));
    assert_eq!(told(&effects), [("alice", EndReason::PeerGone)]);
    let effects = table.side_is(&"a2".parse().unwrap(), &bob, Presence::Gone, now);
    assert_eq!(decided(&effects), Some((Outcome::Failed, Some("peer_gone"))));
    assert!(table.side_is(&a1, &bob, Presence::Gone, now).is_empty(), "one verdict");
    assert!(table.side_is(&a1, &peer("mallory"), Presence::Gone, now).is_empty());
}

#[test]
fn i11_an_attempt_of_a_dead_instance_goes_on_with_what_was_known_of_it() {
    let (mut table, now) = table();
    begin(&mut table, "a1", "alice", "bob", now);
    report(&mut table, "bob", "a1", Outcome::Relay, now);
    let standing = table.standing(&"a1".parse().unwrap()).unwrap();
    let text = serde_json::to_string(&standing).unwrap();

    let (mut heir, _) = self::table();
    let standing = serde_json::from_str(&text).unwrap();
    assert!(heir.adopt(standing, Duration::from_secs(10), now));
    assert!(heir.expire(now + Duration::from_secs(19)).is_empty(), "its time goes on");
    let effects = report(&mut heir, "alice", "a1", Outcome::Direct, now);
    assert_eq!(decided(&effects), Some((Outcome::Direct, None)));
    assert!(table.standing(&"a2".parse().unwrap()).is_none());
}

#[test]
fn an_attempt_that_is_taken_over_late_gives_its_sides_the_grace_to_come_back() {
    let (mut table, now) = table();
    begin(&mut table, "a1", "alice", "bob", now);
    let standing = table.standing(&"a1".parse().unwrap()).unwrap();
    let (mut heir, _) = self::table();
    assert!(heir.adopt(standing.clone(), Duration::from_secs(3600), now));
    assert!(!heir.adopt(standing, Duration::ZERO, now), "once");
    assert!(heir.expire(now + Duration::from_secs(4)).is_empty());
    let effects = heir.expire(now + Duration::from_secs(5));
    assert_eq!(decided(&effects), Some((Outcome::Failed, Some("timeout"))));
}

#[test]
fn what_another_instance_goes_on_with_gets_no_verdict_here() {
    let (mut table, now) = table();
    for id in ["a1", "a2"] {
        begin(&mut table, id, "alice", "bob", now);
    }
    let (a1, a2) = ("a1".parse().unwrap(), "a2".parse().unwrap());
    table.is_kept(&a1);
    assert_eq!((table.give_up("heir"), table.open()), (1, 1));
    assert_eq!((table.moved_to(&a1), table.moved_to(&a2)), (Some("heir"), None));
    // Nobody else knows of the other one.
    let effects = table.expire(now + Duration::from_secs(60));
    assert_eq!(decided(&effects), Some((Outcome::Failed, Some("timeout"))));
    assert!(!table.has(&a1));
}

const CAPACITY: usize = MAX_OPEN_ATTEMPTS + 4;

fn table() -> (Table, Instant) {
    (Table::new(CAPACITY, &Timing::default()), Instant::now())
}

fn begin(table: &mut Table, id: &str, caller: &str, callee: &str, now: Instant) {
    let id = id.parse().unwrap();
    let record = AttemptRecord::begun(id, app(), peer(caller), peer(callee), 0);
    table.insert(record, [0, 0], now);
}

fn report(table: &mut Table, who: &str, id: &str, outcome: Outcome, now: Instant) -> Vec<Effect> {
    let method = match outcome {
        Outcome::Direct => Some(Method::UdpHolePunch),
        Outcome::Relay => Some(Method::Relay),
        Outcome::Failed => None,
    };
    let report = Report {
        attempt: id.parse().unwrap(),
        outcome,
        method,
        ms: 10,
        direct_ms: None,
        steps: Vec::new(),
        verdict: String::new(),
        paths: Vec::new(),
    };
    table.report(&app(), &peer(who), &report, now).unwrap()
}

fn told(effects: &[Effect]) -> Vec<(&str, EndReason)> {
    let mut told: Vec<_> = effects
        .iter()
        .filter_map(|effect| match effect {
            Effect::Tell { peer, ended, .. } => Some((peer.as_str(), ended.reason)),
            Effect::Record(_) | Effect::Decided(_) => None,
        })
        .collect();
    told.sort_by_key(|(peer, _)| *peer);
    told
}

fn recorded(effects: &[Effect]) -> Vec<Outcome> {
    let of = |effect: &Effect| match effect {
        Effect::Record(record) => Some(record.outcome),
        Effect::Tell { .. } | Effect::Decided(_) => None,
    };
    effects.iter().filter_map(of).collect()
}

fn decided(effects: &[Effect]) -> Option<(Outcome, Option<&str>)> {
    effects.iter().find_map(|effect| match effect {
        Effect::Decided(record) => Some((record.outcome, record.reason.as_deref())),
        Effect::Tell { .. } | Effect::Record(_) => None,
    })
}

fn app() -> AppId {
    AppId::default()
}

fn peer(name: &str) -> PeerId {
    name.parse().unwrap()
}
