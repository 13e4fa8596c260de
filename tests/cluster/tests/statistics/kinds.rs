//! The stream behind Sentinel and in a Cluster: a master dies while events are on their way.

use std::sync::Arc;

use p2p_cluster::{Cluster, Sentinels};
use p2p_stats::{Recorder, Stream, StreamSettings, Writer, WriterSettings};

use crate::events::told;
use crate::{World, drained};

/// Attempts, sessions and allocations of each half.
const EACH: u64 = 200;

async fn tell(recorder: &Recorder, from: u64) {
    for event in (from..from + EACH).flat_map(told) {
        recorder.record(event);
    }
    recorder.flush().await;
}

fn stream(url: &str) -> Arc<Stream> {
    Stream::new(url, StreamSettings::default()).unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_stream_goes_on_at_the_next_master_behind_sentinel() {
    let Some(world) = World::start().await else { return };
    let mut sentinels = Sentinels::start(1).await.unwrap();
    let stream = stream(&sentinels.url());
    let recorder = Recorder::to_stream(stream.clone(), 50_000);
    let writer = Writer::start(stream.clone(), world.store.clone(), WriterSettings::default());
    tell(&recorder, 0).await;
    drained(&stream).await;
    let master = sentinels.master().await.unwrap();
    sentinels.node(master).kill().unwrap();
    sentinels.until_master_is_not(master).await.unwrap();
    tell(&recorder, EACH).await;
    drained(&stream).await;
    assert_eq!(world.stored().await, [2 * EACH; 3]);
    writer.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_stream_is_in_one_slot_of_a_cluster() {
    let Some(world) = World::start().await else { return };
    let cluster = Cluster::start(false).await.unwrap();
    let stream = stream(&cluster.url());
    let recorder = Recorder::to_stream(stream.clone(), 50_000);
    tell(&recorder, 0).await;
    assert_eq!(stream.state().await.unwrap().waiting, 5 * EACH);
    let writer = Writer::start(stream.clone(), world.store.clone(), WriterSettings::default());
    drained(&stream).await;
    assert_eq!(world.stored().await, [EACH; 3]);
    writer.stop().await;
}
