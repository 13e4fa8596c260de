//! Keeps the node's time, and carries its news to the client.

use std::sync::Arc;
use std::time::Duration;

use p2p_traversal::Event;
use tokio::sync::mpsc;
use tokio::time::{MissedTickBehavior, interval, sleep_until};
use tokio_util::sync::CancellationToken;

use crate::socket::PathSocket;

/// How often the traffic of the paths is looked at: well inside the silence that ends one.
const TRAFFIC: Duration = Duration::from_millis(250);

/// Runs until cancelled or until nobody wants the news.
pub(crate) async fn run(
    socket: Arc<PathSocket>,
    events: mpsc::Sender<Event>,
    cancel: CancellationToken,
) {
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
            _ = traffic.tick() => {
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
