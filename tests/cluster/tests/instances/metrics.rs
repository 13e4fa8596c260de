//! What an instance says of itself to whoever keeps it running.

use p2p_cluster::Redis;

use crate::instance::Instance;

#[tokio::test]
async fn the_metrics_tell_where_peers_are_and_what_became_of_instances_and_of_redis() {
    let mut redis = Redis::start().await.unwrap();
    let (one, two) = (Instance::start(&redis).await, Instance::start(&redis).await);
    assert_eq!(one.metric("p2p_redis_up", &[]).await, 1.0);
    let (mut alice, mut bob) = (one.client("alice").await, two.client("bob").await);
    alice.tell("bob", "m1").await;
    bob.message().await;
    two.until_metric("p2p_registry_queued_messages", &[], |n| n == 1.0).await;
    // Bob may have it before the answer of Redis is with the instance that sent it.
    one.until_metric("p2p_redis_commands_total", &["send", "ok"], |n| n == 1.0).await;
    let timed = "p2p_redis_command_duration_seconds_count";
    one.until_metric(timed, &["command=\"send\""], |n| n == 1.0).await;

    // A newer connection of alice: hers ends.
    let _newer = one.client("alice").await;
    while alice.next().await.is_some() {}
    one.until_metric("p2p_signaling_sessions_replaced_total", &[], |n| n == 1.0).await;

    // A client that is lost is away until its window closes, and then expired.
    let carol = one.client("carol").await;
    drop(carol);
    one.until_metric("p2p_registry_peers_away", &[], |n| n == 1.0).await;

    two.crash();
    one.until_metric("p2p_registry_instances_reaped_total", &[], |n| n == 1.0).await;

    redis.kill().unwrap();
    one.until_metric("p2p_redis_up", &[], |up| up == 0.0).await;
    redis.start_again().await.unwrap();
    one.until_metric("p2p_redis_up", &[], |up| up == 1.0).await;
    one.until_metric("p2p_redis_outages_total", &[], |n| n == 1.0).await;
    one.until_metric("p2p_registry_peers_reasserted_total", &[], |n| n == 1.0).await;
}
