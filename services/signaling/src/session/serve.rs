//! What a connection waits for, and what it does as each of it happens.

use std::future::poll_fn;
use std::pin::pin;
use std::task::Poll;

use p2p_registry::{Answer, Delivery, Feed, Ownership, Prompt, RegistryError};
use p2p_wire::CloseCode;
use tokio::time::{Instant, sleep_until};

use super::bell::Bell;
use super::closing::Closing;
use super::connection::Connection;
use super::inbound::refuse;
use super::socket::{Inbound, Socket};
use crate::attempt::spans;
use crate::instance::Instance;

/// What makes a connection act.
enum Event {
    Inbound(Inbound),
    Delivery(Delivery),
    Acknowledged(Result<(), RegistryError>),
    Deadline,
    Draining,
    Forced,
}

impl Connection {
    /// Carries frames until there is a reason to stop, and then tells the registry what the client
    /// has acknowledged by then.
    pub(super) async fn serve(&mut self, socket: &mut Socket, feed: &mut Feed) -> Closing {
        let (instance, owner) = (self.instance.clone(), self.owner.clone());
        let mut acknowledging = None;
        let closing = self.carry(&instance, &owner, socket, feed, &mut acknowledging).await;
        if let Some(telling) = acknowledging {
            // Whoever owns the peer by now has what this could not tell.
            let _ = telling.await;
        }
        if let Some(seq) = self.acknowledged.take() {
            let _ = instance.registry.ack(&owner, seq).await;
        }
        closing
    }

    /// An acknowledgement holds up nothing that comes behind it: where the registry takes a while, it
    /// is told while frames go on, and of what is acknowledged meanwhile at once.
    async fn carry<'a>(
        &mut self,
        instance: &'a Instance,
        owner: &'a Ownership,
        socket: &mut Socket,
        feed: &mut Feed,
        acknowledging: &mut Option<Answer<'a, ()>>,
    ) -> Closing {
        let mut draining = pin!(instance.stop.draining());
        let mut forced = pin!(instance.stop.forced());
        let mut timer = pin!(sleep_until(self.next_deadline()));
        let bell = Bell::new();
        let mut feed_first = false;
        loop {
            // Neither side can talk so much that the other one is not heard.
            feed_first = !feed_first;
            let drained = self.drained.is_some();
            if acknowledging.is_none()
                && let Some(seq) = self.acknowledged.take()
            {
                match instance.registry.ack(owner, seq) {
                    Prompt::Now(told) => {
                        let told = told.unwrap_or(Ok(()));
                        if let Err(closing) = self.on_acknowledged(socket, told).await {
                            return closing;
                        }
                    }
                    Prompt::Later(telling) => *acknowledging = Some(telling),
                }
            }
            let event = poll_fn(|context| {
                // Before the next frame: it goes out before whatever that one asks for.
                if let Some(telling) = acknowledging
                    && let Poll::Ready(told) = telling.as_mut().poll(context)
                {
                    *acknowledging = None;
                    return Poll::Ready(Event::Acknowledged(told));
                }
                let seldom = bell.poll(context, |context| {
                    let due = timer.as_mut().poll(context).map(|()| Event::Deadline);
                    // Before the drain it is that which tells: whoever forces drains as well.
                    let stops = if drained {
                        forced.as_mut().poll(context).map(|()| Event::Forced)
                    } else {
                        draining.as_mut().poll(context).map(|()| Event::Draining)
                    };
                    if due.is_ready() { due } else { stops }
                });
                if seldom.is_ready() {
                    return seldom;
                }
                if feed_first && let Poll::Ready(delivery) = feed.poll_next(context) {
                    return Poll::Ready(Event::Delivery(delivery));
                }
                if let Poll::Ready(inbound) = socket.poll_next(context) {
                    return Poll::Ready(Event::Inbound(inbound));
                }
                if !feed_first && let Poll::Ready(delivery) = feed.poll_next(context) {
                    return Poll::Ready(Event::Delivery(delivery));
                }
                Poll::Pending
            });
            let event = event.await;
            let rang = matches!(event, Event::Deadline | Event::Draining | Event::Forced);
            let outcome = match event {
                Event::Inbound(inbound) => self.on_inbound(socket, inbound).await,
                Event::Delivery(delivery) => self.on_delivery(socket, feed, delivery).await,
                Event::Acknowledged(told) => self.on_acknowledged(socket, told).await,
                Event::Deadline => self.check_deadlines(Instant::now()),
                Event::Draining => Box::pin(self.go_away(socket)).await,
                Event::Forced => Err(Closing::code(CloseCode::Draining)),
            };
            if let Err(closing) = outcome {
                return closing;
            }
            if rang {
                timer.as_mut().reset(self.next_deadline());
                bell.ring();
            }
        }
    }

    async fn on_delivery(
        &mut self,
        socket: &mut Socket,
        feed: &mut Feed,
        delivery: Delivery,
    ) -> Result<(), Closing> {
        match delivery {
            Delivery::Frame(frame) => {
                self.bucket.delivered();
                spans::delivered(&frame, &self.owner.peer);
                let more = || {
                    let frame = feed.ready()?;
                    spans::delivered(&frame, &self.owner.peer);
                    self.bucket.delivered();
                    Some(frame)
                };
                socket.send_frames(frame, more).await
            }
            Delivery::End(end) => Err(end.into()),
        }
    }

    async fn on_acknowledged(
        &mut self,
        socket: &mut Socket,
        told: Result<(), RegistryError>,
    ) -> Result<(), Closing> {
        match told {
            Ok(()) => Ok(()),
            Err(error) => Box::pin(refuse(socket, None, error.into())).await,
        }
    }
}
