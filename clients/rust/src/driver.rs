//! Keeps the node's time, watches the host's addresses, and carries the node's news to the client.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use p2p_traversal::Event;
use tokio::sync::mpsc;
use tokio::time::{MissedTickBehavior, interval, sleep_until};
use tokio_util::sync::CancellationToken;

use crate::socket::PathSocket;

/// How often the traffic of the paths is looked at: well inside the silence that ends one.
const TRAFFIC: Duration = Duration::from_millis(100);
/// How often the host's addresses are looked at.
const ADDRESSES: Duration = Duration::from_secs(1);

/// Runs until cancelled or until nobody wants the news.
pub(crate) async fn run(
    socket: Arc<PathSocket>,
    events: mpsc::Sender<Event>,
    mut local_ips: impl FnMut() -> Vec<IpAddr>,
    cancel: CancellationToken,
) {
    let mut addresses = interval(ADDRESSES);
    addresses.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut traffic = interval(TRAFFIC);
    traffic.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        for event in socket.take_events() {
            if events.send(event).await.is_err() {
                return;
            }
        }
        let deadline = socket.deadline().into();
        tokio::select! {
            () = cancel.cancelled() => return,
            () = socket.bell.notified() => {}
            () = sleep_until(deadline) => {
                socket.with_node(|node, now| node.handle_timeout(now));
            }
            _ = addresses.tick() => {
                let ips = local_ips();
                // A host between two networks has none; what it had may come back.
                if !ips.is_empty() && socket.with_node(|node, now| node.set_local_ips(ips, now)) {
                    socket.moved.notify_one();
                }
            }
            _ = traffic.tick(), if !socket.routes.is_empty() => {
                let all = socket.routes.traffic();
                if !all.is_empty() {
                    socket.with_node(|node, now| {
                        for (attempt, traffic) in all {
                            node.traffic(&attempt, traffic, now);
                        }
                    });
                }
            }
        }
    }
}
