//! Writers die, the database dies, the stream fills, an event is poison.

use std::time::Duration;

use p2p_cluster::coordinator::{Coordinator, binary};
use p2p_stats::{Filter, RelayRecord, Store as _, Writer, WriterSettings};
use sqlx::Connection as _;
use tokio::time::{sleep, timeout};

use crate::events::{allocation, told};
use crate::{HANG, World, drained};

/// Rounds in which a writer is killed.
const KILLS: u64 = 6;
/// Attempts, sessions and allocations of each round.
const EACH: u64 = 400;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn writers_that_are_killed_at_any_moment_lose_nothing_and_double_nothing() {
    let Some(world) = World::start().await else { return };
    let stream = world.stream(100_000);
    let recorder = world.recorder(&stream);
    let mut instances = vec![world.instance(), world.instance()];
    for round in 0..KILLS {
        for n in round * EACH..(round + 1) * EACH {
            for event in told(n) {
                recorder.record(event);
            }
        }
        recorder.flush().await;
        // While it writes: a fixed moment would always be the same one.
        let goal = round * EACH + EACH * (round % 3) / 3;
        let writing = async {
            while world.stored().await[0] < goal {
                sleep(Duration::from_millis(5)).await;
            }
        };
        timeout(HANG, writing).await.expect("it writes");
        drop(instances.remove(0));
        instances.push(world.instance());
    }
    drained(&stream).await;
    let all = KILLS * EACH;
    assert_eq!((recorder.written(), recorder.dropped()), (5 * all, 0));
    assert_eq!(world.stored().await, [all, all, all]);
    let summary = world.store.summary(&Filter::default()).await.unwrap();
    assert_eq!(summary.relay, all, "the later word on each attempt is there, too");
    let usage = world.store.usage(&Filter::default()).await.unwrap();
    assert_eq!((usage.sessions.closed, usage.sessions.connected_ms), (all, 10 * all));
    assert_eq!(usage.relays[0].to_peer.bytes, 100 * all);
    let state = stream.state().await.unwrap();
    assert_eq!((state.waiting, state.refused, state.buried), (0, 0, 0));
}

/// Also invariant I7: handing events over goes on, and none waits for the database.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn i7_while_postgresql_is_away_events_wait_up_to_the_cap_and_the_rest_is_counted() {
    const CAP: usize = 1_000;
    let Some(world) = World::start().await else { return };
    let stream = world.stream(CAP);
    let recorder = world.recorder(&stream);
    let writer = Writer::start(stream.clone(), world.store.clone(), WriterSettings::default());
    recorder.record(allocation("expired"));
    recorder.flush().await;
    drained(&stream).await;

    world.server.down();
    for _ in 0..3 * CAP {
        recorder.record(allocation("expired"));
    }
    // Into the stream, or refused: with the database away, this comes to an end all the same.
    timeout(HANG, recorder.flush()).await.expect("nobody waits for the database");
    let state = stream.state().await.unwrap();
    assert_eq!(state.waiting, CAP as u64);
    assert_eq!((recorder.written(), recorder.dropped()), (1 + CAP as u64, 2 * CAP as u64));
    assert_eq!(state.refused, recorder.dropped());

    world.server.up();
    drained(&stream).await;
    assert_eq!(world.stored().await, [0, 0, recorder.written()]);
    // And it goes on.
    recorder.record(allocation("deleted"));
    recorder.flush().await;
    drained(&stream).await;
    assert_eq!(world.stored().await, [0, 0, CAP as u64 + 2]);
    writer.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_event_that_the_database_refuses_goes_to_the_dead_letters_and_is_in_nobodys_way() {
    let Some(world) = World::start().await else { return };
    let stream = world.stream(100_000);
    let recorder = world.recorder(&stream);
    // One that no program of ours wrote, and one that no column takes.
    world.redis.ask("XADD {p2p:stats}:events * event nonsense").await.unwrap();
    for n in 0..20 {
        if n == 10 {
            recorder.record(RelayRecord { end: "a\0b".to_owned(), ..allocation("expired") });
        }
        recorder.record(allocation("expired"));
    }
    recorder.flush().await;
    let writer = Writer::start(stream.clone(), world.store.clone(), WriterSettings::default());
    drained(&stream).await;
    assert_eq!(world.stored().await, [0, 0, 20]);
    assert_eq!(stream.state().await.unwrap().buried, 2);
    let letters = world.redis.ask("XRANGE {p2p:stats}:dead - +").await.unwrap();
    assert!(letters.contains("nonsense") && letters.contains("\"end\""), "{letters}");
    writer.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_redis_that_forgot_everything_is_written_to_and_read_from_again() {
    let Some(mut world) = World::start().await else { return };
    let stream = world.stream(100_000);
    let recorder = world.recorder(&stream);
    let writer = Writer::start(stream.clone(), world.store.clone(), WriterSettings::default());
    recorder.record(allocation("expired"));
    recorder.flush().await;
    drained(&stream).await;
    world.redis.kill().unwrap();
    // Waits in this process meanwhile.
    recorder.record(allocation("expired"));
    world.redis.start_again().await.unwrap();
    timeout(HANG, recorder.flush()).await.expect("it connects again");
    drained(&stream).await;
    assert_eq!((recorder.written(), recorder.dropped()), (2, 0));
    assert_eq!(world.stored().await, [0, 0, 2]);
    writer.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn readyz_shows_how_the_stream_stands_and_says_ready_all_the_while() {
    let Some(mut world) = World::start().await else { return };
    let recorder = world.recorder(&world.stream(100_000));
    let flags = ["--database", world.url.as_str()];
    let instance =
        Coordinator::start(&binary().unwrap(), &world.redis.url(), &flags, None).await.unwrap();
    let until = async |part: &str| {
        let mut last = String::new();
        let asking = async {
            while !last.contains(part) {
                sleep(Duration::from_millis(50)).await;
                let (status, body) = instance.get("/readyz").await.unwrap();
                assert_eq!(status, 200, "{body}");
                last = body;
            }
        };
        let in_time = timeout(HANG, asking).await;
        in_time.unwrap_or_else(|_| panic!("no {part:?} in {last}"));
    };
    until("statistics: ok (0 wait in the stream, 0 s behind, 0 refused, 0 dead letters;").await;
    world.server.down();
    for _ in 0..3 {
        recorder.record(allocation("expired"));
    }
    recorder.flush().await;
    world.redis.ask("XADD {p2p:stats}:events * event nonsense").await.unwrap();
    until("database: degraded\nstatistics: ok (4 wait in the stream").await;
    world.server.up();
    until("(0 wait in the stream, 0 s behind, 0 refused, 1 dead letters;").await;
    assert_eq!(world.stored().await, [0, 0, 3]);
    world.redis.kill().unwrap();
    until("statistics: degraded (the stream does not answer;").await;
}

/// While instances are upgraded one after the other, and while they are rolled back: the schema is
/// that of the next version from one moment on, and instances of this one write on, also those that
/// come later.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_versions_of_the_schema_side_by_side_lose_nothing_and_double_nothing() {
    let Some(world) = World::start().await else { return };
    let stream = world.stream(100_000);
    let recorder = world.recorder(&stream);
    let before = world.instance();
    let record = |from: u64, to: u64| {
        for event in (from..to).flat_map(told) {
            recorder.record(event);
        }
    };
    record(0, EACH);
    recorder.flush().await;
    let mut connection = sqlx::PgConnection::connect(&world.url).await.unwrap();
    for statement in [
        "ALTER TABLE attempts ADD COLUMN of_the_future text",
        "ALTER TABLE sessions ADD COLUMN of_the_future bigint NOT NULL DEFAULT 7",
        "INSERT INTO _sqlx_migrations (version, description, success, checksum, execution_time) \
         VALUES (9999, 'of the future', TRUE, '\\x00', 0)",
    ] {
        sqlx::query(statement).execute(&mut connection).await.unwrap();
    }
    record(EACH, 2 * EACH);
    recorder.flush().await;
    drained(&stream).await;
    // Only one that has been started since writes from here on.
    drop(before);
    let after = world.instance();
    record(2 * EACH, 3 * EACH);
    recorder.flush().await;
    drained(&stream).await;
    drop(after);
    assert_eq!(world.stored().await, [3 * EACH; 3]);
    assert_eq!((recorder.written(), recorder.dropped()), (5 * 3 * EACH, 0));
    let state = stream.state().await.unwrap();
    assert_eq!((state.waiting, state.refused, state.buried), (0, 0, 0));
}
