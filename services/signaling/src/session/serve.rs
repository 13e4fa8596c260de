//! What a connection waits for, and what it does as each of it happens.

use std::future::poll_fn;
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;
use std::task::Poll;

use p2p_registry::{Answer, Delivery, Feed, Frame, Ownership, Prompt, RegistryError};
use p2p_wire::CloseCode;
use tokio::time::{Instant, sleep_until};

use super::bell::Bell;
use super::closing::Closing;
use super::registered::Registered;
use super::socket::{Inbound, Socket};
use crate::instance::Instance;
use crate::meters::OpenConnection;

/// What makes a connection act.
enum Event {
    Inbound(Inbound),
    Delivery(Delivery),
    Acknowledged(Result<(), RegistryError>),
    Deadline,
    Draining,
    Forced,
}

/// A protocol's side of a connection: what it does as things happen.
pub(crate) trait Talk: Sized {
    /// What its connections are counted as.
    const PROTOCOL: &'static str;
    /// Who is on the other end, as far as the upgrade has told.
    type Client;

    /// Registers the client, and greets it with what it missed.
    async fn begin(
        instance: Arc<Instance>,
        socket: &mut Socket,
        client: Self::Client,
        from: SocketAddr,
    ) -> Result<(Self, Feed), Closing>;

    /// Tells the client why its connection ends, and ends it.
    async fn say_goodbye(socket: &mut Socket, closing: &Closing);

    /// What it has in common with every other one.
    fn registered(&mut self) -> &mut Registered;

    /// The client sent something, or is gone.
    async fn on_inbound(&mut self, socket: &mut Socket, inbound: Inbound) -> Result<(), Closing>;

    /// There is a frame for the client; `feed` may have more.
    async fn on_delivery(
        &mut self,
        socket: &mut Socket,
        feed: &mut Feed,
        first: Frame,
    ) -> Result<(), Closing>;

    /// The registry does not take an acknowledgement.
    async fn on_refused(
        &mut self,
        socket: &mut Socket,
        error: RegistryError,
    ) -> Result<(), Closing>;

    /// It is late.
    async fn on_deadline(&mut self, socket: &mut Socket, now: Instant) -> Result<(), Closing>;

    /// The instance is to go away: the client has a while to move.
    async fn go_away(&mut self, socket: &mut Socket) -> Result<(), Closing>;

    /// When [`Self::on_deadline`] is to be called next. A time that comes to be an earlier one than
    /// it was is also [`Self::sooner`].
    fn next_deadline(&self) -> Instant;

    /// The earliest of the times that frames bring about.
    fn sooner(&self) -> Option<Instant> {
        None
    }
}

/// Serves a WebSocket from its beginning to its end.
pub(crate) async fn run<T: Talk>(
    instance: Arc<Instance>,
    mut socket: Box<Socket>,
    client: T::Client,
    from: SocketAddr,
) {
    let mut open = OpenConnection::begin(T::PROTOCOL);
    let mut talk = None;
    // Boxed, as are the other long branches: a connection that idles holds none of their state.
    let closing = match Box::pin(T::begin(instance, &mut socket, client, from)).await {
        Ok((begun, mut feed)) => {
            let closing = serve(talk.insert(begun), &mut socket, &mut feed).await;
            // Nothing takes frames from here on; the registry keeps what must not be lost.
            drop(feed);
            closing
        }
        Err(closing) => closing,
    };
    open.code = closing.frame().map_or(open.code, |(code, _)| code);
    Box::pin(async {
        T::say_goodbye(&mut socket, &closing).await;
        if let Some(mut talk) = talk {
            talk.registered().end(&closing).await;
        }
        socket.linger().await;
    })
    .await;
}

/// Closes a connection that never became one.
pub(crate) async fn turn_away<T: Talk>(mut socket: Box<Socket>, closing: Closing) {
    let mut open = OpenConnection::begin(T::PROTOCOL);
    open.code = closing.frame().map_or(open.code, |(code, _)| code);
    T::say_goodbye(&mut socket, &closing).await;
    socket.linger().await;
}

/// Carries frames until there is a reason to stop, and then tells the registry what the client has
/// acknowledged by then.
async fn serve<T: Talk>(talk: &mut T, socket: &mut Socket, feed: &mut Feed) -> Closing {
    let registered = talk.registered();
    let (instance, owner) = (registered.instance.clone(), registered.owner.clone());
    let mut acknowledging = None;
    let closing = carry(talk, &instance, &owner, socket, feed, &mut acknowledging).await;
    if let Some(telling) = acknowledging {
        // Whoever owns the peer by now has what this could not tell.
        let _ = telling.await;
    }
    if let Some(seq) = talk.registered().acknowledged.take() {
        let _ = instance.registry.ack(&owner, seq).await;
    }
    closing
}

/// An acknowledgement holds up nothing that comes behind it: where the registry takes a while, it
/// is told while frames go on, and of what is acknowledged meanwhile at once.
async fn carry<'a, T: Talk>(
    talk: &mut T,
    instance: &'a Instance,
    owner: &'a Ownership,
    socket: &mut Socket,
    feed: &mut Feed,
    acknowledging: &mut Option<Answer<'a, ()>>,
) -> Closing {
    let mut draining = pin!(instance.stop.draining());
    let mut forced = pin!(instance.stop.forced());
    let mut timer = pin!(sleep_until(talk.next_deadline()));
    let bell = Bell::new();
    let mut feed_first = false;
    loop {
        // Neither side can talk so much that the other one is not heard.
        feed_first = !feed_first;
        let drained = talk.registered().drained.is_some();
        if acknowledging.is_none()
            && let Some(seq) = talk.registered().acknowledged.take()
        {
            match instance.registry.ack(owner, seq) {
                Prompt::Now(told) => {
                    let told = told.unwrap_or(Ok(()));
                    if let Err(closing) = on_acknowledged(talk, socket, told).await {
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
            Event::Inbound(inbound) => talk.on_inbound(socket, inbound).await,
            Event::Delivery(Delivery::Frame(frame)) => talk.on_delivery(socket, feed, frame).await,
            Event::Delivery(Delivery::End(end)) => Err(end.into()),
            Event::Acknowledged(told) => on_acknowledged(talk, socket, told).await,
            Event::Deadline => Box::pin(talk.on_deadline(socket, Instant::now())).await,
            Event::Draining => Box::pin(talk.go_away(socket)).await,
            Event::Forced => Err(Closing::code(CloseCode::Draining)),
        };
        if let Err(closing) = outcome {
            return closing;
        }
        let sooner = talk.sooner().is_some_and(|at| at < timer.deadline());
        if rang || sooner {
            timer.as_mut().reset(talk.next_deadline());
            bell.ring();
        }
    }
}

async fn on_acknowledged<T: Talk>(
    talk: &mut T,
    socket: &mut Socket,
    told: Result<(), RegistryError>,
) -> Result<(), Closing> {
    match told {
        Ok(()) => Ok(()),
        Err(error) => Box::pin(talk.on_refused(socket, error)).await,
    }
}
