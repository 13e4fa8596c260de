//! What relays carried, told by their processes over Redis.

use std::time::Duration;

use p2p_client::{Client, Config, Policy};
use p2p_cluster::coordinator::{Coordinator, binary, get, metric, token};
use p2p_cluster::relay::{Relay, TURN_SECRET};
use p2p_stats::{Carried, Filter, RelayTotals, Store as _, Stream, StreamSettings};
use p2p_stats::{Recorder, Writer, WriterSettings};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::time::{sleep, timeout};

use crate::events::allocation;
use crate::{HANG, World, drained};

/// More than a connection needs for itself.
const PAYLOAD: usize = 300_000;

async fn client(signaling: &Coordinator, name: &str) -> Client {
    let url = format!("ws://{}", signaling.address());
    let mut config = Config::new(url, token(name).unwrap());
    config.allow_loopback = true;
    let client = Client::start(config).await.unwrap();
    let allocated = async {
        while !client.relay_ready() {
            sleep(Duration::from_millis(20)).await;
        }
    };
    timeout(HANG, allocated).await.expect("the relay takes the credentials that signaling makes");
    client
}

async fn relayed(world: &World) -> Vec<RelayTotals> {
    world.store.usage(&Filter::default()).await.unwrap().relays
}

/// Waits until so many allocations are stored.
async fn stored(world: &World, allocations: u64) -> RelayTotals {
    let storing = async {
        loop {
            if let [totals] = &relayed(world).await[..]
                && totals.allocations >= allocations
            {
                return totals.clone();
            }
            sleep(Duration::from_millis(50)).await;
        }
    };
    timeout(HANG, storing).await.expect("what was relayed is stored")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn bytes_of_an_allocation_land_once_in_the_relay_usage() {
    let Some(world) = World::start().await else { return };
    let binary = binary().unwrap();
    let flags = ["--database", &world.url, "--turn-secret", TURN_SECRET, "--allow-loopback"];
    // Two that write from the stream.
    let first = Coordinator::start(&binary, &world.redis.url(), &flags, None).await.unwrap();
    let _second = Coordinator::start(&binary, &world.redis.url(), &flags, None).await.unwrap();
    // What its clients relay to is itself: one relay serves both.
    let flags = ["--allow-peer", "127.0.0.0/8", "--drain-timeout", "1s"];
    let relay = Relay::start(&world.redis, "eu", &flags).await.unwrap();
    let known = async {
        let (of, token) = (first.address(), token("alice").unwrap());
        while !get(of, "/v1/ice-servers", Some(&token)).await.unwrap().1.contains("turn:") {
            sleep(Duration::from_millis(20)).await;
        }
    };
    timeout(HANG, known).await.expect("the relay registers itself");
    let (alice, bob) = (client(&first, "alice").await, client(&first, "bob").await);
    let name = "bob".parse().unwrap();
    let (there, here) = tokio::join!(alice.connect(&name, Policy::Relay), bob.accept());
    let (there, here) = (there.unwrap(), here.unwrap());
    let (mut sending, receiving) = tokio::join!(there.open_stream(), here.accept_stream());
    let receiving = tokio::spawn(async move {
        let (mut read, _write) = receiving.unwrap().into_split();
        let mut received = Vec::new();
        read.read_to_end(&mut received).await.unwrap();
        received.len()
    });
    let sending = sending.as_mut().unwrap();
    sending.write_all(&vec![7; PAYLOAD]).await.unwrap();
    sending.shutdown().await.unwrap();
    assert_eq!(receiving.await.unwrap(), PAYLOAD);
    // Each says goodbye, and the relay lets go of what it held.
    alice.shutdown().await;
    bob.shutdown().await;
    let told = stored(&world, 2).await;

    // By the relay's own count, which was never in Redis.
    let counting = async {
        loop {
            let own = relay.metrics().await.unwrap();
            let created = metric(&own, "p2p_relay_allocations_created_total", &[]);
            if created > 0.0 && metric(&own, "p2p_relay_allocations", &[]) == 0.0 {
                return own;
            }
            sleep(Duration::from_millis(50)).await;
        }
    };
    let own = timeout(HANG, counting).await.expect("the relay shows its last allocation's end");
    let count = |name: &str, direction: &str| {
        let labels = if direction.is_empty() { vec![] } else { vec![direction] };
        metric(&own, name, &labels) as u64
    };
    let carried = |direction: &str| Carried {
        packets: count("p2p_relay_relayed_packets_total", direction),
        bytes: count("p2p_relay_relayed_bytes_total", direction),
    };
    assert_eq!(told.allocations, count("p2p_relay_allocations_created_total", ""));
    assert_eq!(told.region.as_deref(), Some("eu"));
    assert_eq!(told.to_peer, carried("direction=\"to_peer\""));
    assert_eq!(told.to_client, carried("direction=\"to_client\""));
    assert!(told.to_peer.bytes >= PAYLOAD as u64, "{told:?}");

    // One that is there when its relay stops is told as well.
    let left = client(&first, "carol").await;
    relay.terminate().unwrap();
    assert!(relay.ended().await.unwrap());
    let told = stored(&world, 3).await;
    assert_eq!(told.allocations, 3);
    left.shutdown().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_relay_fills_no_stream_that_nobody_reads_and_counts_what_it_keeps_to_itself() {
    let Some(world) = World::start().await else { return };
    let settings = StreamSettings { only_if_read: true, ..StreamSettings::default() };
    let stream = Stream::new(&world.redis.url(), settings).unwrap();
    let recorder = Recorder::to_stream(stream.clone(), 1_000);
    recorder.record(allocation("expired"));
    recorder.flush().await;
    assert_eq!((recorder.written(), recorder.dropped()), (0, 1));
    let keys = world.redis.ask("DBSIZE").await.unwrap();
    assert!(keys.starts_with(":0\r\n"), "{keys}");

    let writer = Writer::start(stream.clone(), world.store.clone(), WriterSettings::default());
    let reading = async {
        while world.redis.ask("DBSIZE").await.unwrap().starts_with(":0") {
            sleep(Duration::from_millis(10)).await;
        }
    };
    timeout(HANG, reading).await.expect("a writer makes the stream");
    recorder.record(allocation("expired"));
    recorder.flush().await;
    drained(&stream).await;
    assert_eq!((recorder.written(), recorder.dropped()), (1, 1));
    assert_eq!(world.stored().await, [0, 0, 1]);
    writer.stop().await;
}
