//! The attempts of one client, from the request to the connection: one task that hears the
//! coordinator, the node, QUIC and the user, and is the only one to decide what follows.

mod asking;
mod ending;
mod first_flight;

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use p2p_traversal::quality;
use p2p_traversal::relay::Allocation;
use p2p_traversal::{AttemptConfig, Event, Path};
use p2p_wire::client::{Nat, Trickle};
use p2p_wire::server::EndReason;
use p2p_wire::{
    Attempt, AttemptId, Candidate, ClientMessage, Code, PeerId, PeerKey, Policy, Report, RequestId,
    ServerMessage,
};
use quinn::{Connecting, Endpoint, TransportConfig};
use tokio::sync::{Notify, broadcast, mpsc, oneshot, watch};
use tokio_util::sync::DropGuard;

use crate::accept::Arrival;
use crate::behaviour;
use crate::config::Config;
use crate::connection::{Connection, cause};
use crate::error::{Error, ErrorCode};
use crate::events::ClientEvent;
use crate::history::{Counted, History};
use crate::identity::Identity;
use crate::offers::Offers;
use crate::ping::{self, Pings};
use crate::signaling::SignalEvent;
use crate::socket::PathSocket;
use crate::trickle::{self, Trickled};

/// Connections that wait for [`crate::Client::accept`].
pub(crate) const MAX_ACCEPTED: usize = 64;

/// Connections that may wait to be told of; each for [`SWEEP`] or two.
const MAX_AHEAD: usize = 64;

/// How often attempts are looked over whose other side has fallen silent after it had a path.
const SWEEP: Duration = Duration::from_secs(5);

/// How long what this peer has published may be on its way to the coordinator. An attempt that
/// begins there meanwhile knows nothing of it.
const PUBLISHING: Duration = Duration::from_secs(2);

/// Who has sent something for so long is not silent.
const HEARD: Duration = Duration::from_millis(500);

/// How often a connection's losses are counted.
const COUNTING: Duration = Duration::from_millis(500);

/// How long a closed connection keeps its route: QUIC says goodbye after it has told that it is
/// closed, and again to whoever has not heard it (RFC 9000 §10.2: three probe timeouts).
const LINGER: Duration = Duration::from_secs(2);

/// Peers that are remembered meanwhile.
const MAX_LINGERING: usize = 1024;

use self::ending::timed_out;
pub(crate) use self::ending::udp_blocked;
pub(crate) use self::first_flight::Begun;
use self::first_flight::Handshake;

pub(crate) type Reply = oneshot::Sender<Result<Connection, Error>>;

/// What the user asks for.
pub(crate) enum Command {
    Connect { to: PeerId, policy: Policy, reply: Reply },
}

/// What has been counted.
#[derive(Debug, Default)]
pub(crate) struct Counters {
    pub(crate) connections: AtomicU64,
    pub(crate) active: AtomicU64,
    pub(crate) direct: AtomicU64,
    pub(crate) relayed: AtomicU64,
    pub(crate) failed: AtomicU64,
    /// Rings when a connection has ended and that is told.
    pub(crate) ended: Notify,
}

/// Everything the task needs.
pub(crate) struct Attempts {
    pub(crate) config: Config,
    pub(crate) identity: Identity,
    pub(crate) endpoint: Endpoint,
    pub(crate) transport: Arc<TransportConfig>,
    pub(crate) socket: Arc<PathSocket>,
    pub(crate) offers: Offers,
    pub(crate) signaling: mpsc::Sender<ClientMessage>,
    /// `None` once nobody can come any more.
    pub(crate) accepted: Option<mpsc::Sender<Connection>>,
    /// Why the coordinator will not have this client back, once that is so.
    pub(crate) signaling_ended: watch::Sender<Option<Error>>,
    pub(crate) news: broadcast::Sender<ClientEvent>,
    pub(crate) counters: Arc<Counters>,
    pub(crate) asked: HashMap<RequestId, Asked>,
    pub(crate) entries: HashMap<AttemptId, Entry>,
    /// Peers whose route lingers, and until when.
    pub(crate) lingering: Vec<(PeerId, Instant)>,
    /// Connections that came in ahead of the coordinator's word of their attempt, and when.
    pub(crate) ahead: Vec<(Instant, Arrival)>,
    pub(crate) begun: mpsc::Sender<Begun>,
    pub(crate) dialled: mpsc::Sender<Dialled>,
    pub(crate) ended: mpsc::Sender<(AttemptId, String)>,
    pub(crate) trickled: mpsc::Sender<Trickled>,
    pub(crate) next_request: u64,
    /// When the coordinator was last told where this peer is.
    pub(crate) published: Option<Instant>,
    /// Ends the client's other tasks with this one.
    pub(crate) end: DropGuard,
}

/// A request that waits for its attempt.
pub(crate) struct Asked {
    to: PeerId,
    policy: Policy,
    reply: Reply,
    /// What has begun with it.
    handshake: Option<Handshake>,
    /// What went out of that with the request.
    flight: Vec<String>,
}

/// One attempt.
pub(crate) struct Entry {
    peer: PeerId,
    key: PeerKey,
    controlling: bool,
    started: Instant,
    budget: Duration,
    policy: Policy,
    /// What the other side has been told of.
    told: Vec<Candidate>,
    quic: Option<quinn::Connection>,
    connected: bool,
    ready: Option<Connection>,
    reply: Option<Reply>,
    path: watch::Sender<Option<Path>>,
    report: watch::Sender<Option<Report>>,
    history: History,
}

/// What became of a handshake that this side began.
pub(crate) struct Dialled {
    attempt: AttemptId,
    result: Result<quinn::Connection, Error>,
}

/// Where the task hears from.
pub(crate) struct Inputs {
    pub(crate) commands: mpsc::Receiver<Command>,
    pub(crate) signals: mpsc::Receiver<SignalEvent>,
    pub(crate) node: mpsc::Receiver<Event>,
    pub(crate) arrivals: mpsc::Receiver<Arrival>,
    pub(crate) begun: mpsc::Receiver<Begun>,
    pub(crate) dialled: mpsc::Receiver<Dialled>,
    pub(crate) ended: mpsc::Receiver<(AttemptId, String)>,
    pub(crate) trickled: mpsc::Receiver<Trickled>,
}

impl Attempts {
    /// Runs until the user's side is gone, and takes leave then.
    pub(crate) async fn run(mut self, mut inputs: Inputs) {
        let mut sweep = tokio::time::interval(SWEEP);
        loop {
            self.stop_accepting();
            // The node's news first: what it has decided about an attempt is to be known before the
            // connection that came of it is handed out.
            tokio::select! {
                biased;
                Some(event) = inputs.node.recv() => self.on_node(event),
                Some(begun) = inputs.begun.recv() => self.request(begun),
                Some(dialled) = inputs.dialled.recv() => self.on_dialled(dialled),
                Some(arrival) = inputs.arrivals.recv() => self.on_arrival(arrival),
                Some((attempt, cause)) = inputs.ended.recv() => self.on_ended(&attempt, cause),
                Some((attempt, told)) = inputs.trickled.recv() => self.on_trickled(&attempt, &told),
                Some(signal) = inputs.signals.recv() => self.on_signal(signal),
                command = inputs.commands.recv() => match command {
                    Some(Command::Connect { to, policy, reply }) => self.ask(to, policy, reply),
                    None => break,
                },
                _ = sweep.tick() => self.sweep(),
            }
        }
        self.leave(inputs).await;
    }

    /// A path is not a connection: who found one and then never shook hands is gone.
    fn sweep(&mut self) {
        self.ahead.retain(|(since, arrival)| {
            let young = since.elapsed() < SWEEP;
            if !young {
                arrival.refuse();
            }
            young
        });
        let late =
            |entry: &Entry| !entry.connected && entry.started.elapsed() > entry.budget + SWEEP;
        let late: Vec<_> =
            self.entries.iter().filter(|(_, e)| late(e)).map(|(id, _)| id.clone()).collect();
        for attempt in late {
            self.fail(&attempt, timed_out("a path was found, but the peer did not shake hands"));
        }
        let now = Instant::now();
        for entry in self.entries.values_mut().filter(|entry| entry.history.is_due(now)) {
            if let Some(report) = entry.told(now) {
                let _ = self.signaling.try_send(ClientMessage::Report(report));
            }
        }
    }

    fn on_signal(&mut self, signal: SignalEvent) {
        match signal {
            SignalEvent::Welcome(welcome) => {
                self.offers.take(welcome.ice_servers);
                self.publish();
                self.tell(ClientEvent::Registered { resumed: welcome.resumed });
            }
            SignalEvent::Unanswered(requests) => self.ask_again(requests),
            SignalEvent::Servers(servers) => self.offers.take(servers),
            SignalEvent::Message(message) => self.on_message(message),
            SignalEvent::Lost { cause, retry_in } => {
                self.tell(ClientEvent::SignalingLost { cause, retry_in });
            }
            SignalEvent::TokenEnding(left) => self.tell(ClientEvent::TokenEnding { left }),
            SignalEvent::Ended(error) => {
                self.signaling_ended.send_replace(Some(error.clone()));
                for (_, asked) in self.asked.drain() {
                    let _ = asked.reply.send(Err(error.clone()));
                }
                self.tell(ClientEvent::SignalingEnded(error));
            }
        }
    }

    fn on_message(&mut self, message: ServerMessage) {
        match message {
            ServerMessage::Attempt(attempt) => self.start(*attempt),
            ServerMessage::Candidate(trickle) => self.socket.with_node(|node, now| {
                node.add_remote_candidate(&trickle.attempt, &trickle.candidate, now);
            }),
            ServerMessage::Ended(ended) => {
                let reason = match ended.reason {
                    EndReason::PeerGone => "the peer has left",
                    EndReason::PeerFailed => "the peer found no path",
                    EndReason::Timeout => "no path was found in time",
                };
                self.socket.with_node(|node, now| node.give_up(&ended.attempt, now));
                if self.entries.get(&ended.attempt).is_some_and(|e| !e.connected) {
                    self.fail(&ended.attempt, timed_out(reason));
                }
            }
            ServerMessage::Error(error) => {
                let asked = error.id.and_then(|id| self.asked.remove(&id));
                if let Some(Asked { reply, .. }) = asked {
                    let code = match error.code {
                        Code::PeerNotFound => ErrorCode::PeerNotFound,
                        Code::NotAllowed => ErrorCode::Auth,
                        Code::Draining => ErrorCode::Unreachable,
                        Code::LimitReached | Code::Overloaded => ErrorCode::Busy,
                        _ => ErrorCode::Usage,
                    };
                    let _ = reply.send(Err(Error::new(code, error.message, error.fix)));
                } else {
                    tracing::debug!(message = error.message, "the coordinator refused something");
                }
            }
            ServerMessage::Welcome(_)
            | ServerMessage::Joined(_)
            | ServerMessage::Room(_)
            | ServerMessage::Receipt(_)
            | ServerMessage::Message(_)
            | ServerMessage::Pong(_)
            | ServerMessage::Refreshed(_)
            | ServerMessage::Goaway(_) => {}
        }
    }

    fn start(&mut self, attempt: Attempt) {
        self.offers.renew(attempt.relays);
        let asked = attempt.id.as_ref().and_then(|id| self.asked.remove(id));
        let asked = asked.filter(|asked| !asked.reply.is_closed());
        if attempt.id.is_some() && asked.is_none() {
            // To go on would hand it out as if the peer had asked for it.
            self.decline(attempt.attempt);
            return;
        }
        let (reply, handshake) = match asked {
            Some(asked) => (Some(asked.reply), asked.handshake),
            None => (None, None),
        };
        let Some(key) = attempt.peer_key else {
            if let Some(reply) = reply {
                let cause = format!("{} has no key, so it is not a native peer", attempt.peer);
                let fix = "connect to it from a browser, with RTCPeerConnection";
                let _ = reply.send(Err(Error::new(ErrorCode::Usage, cause, fix)));
            }
            return;
        };
        let tries = self.config.max_retries.max(1);
        let budget =
            (self.config.connect_timeout / tries).min(Duration::from_millis(attempt.timeout_ms));
        let begun = handshake.and_then(|begun| begun.adopt(&attempt.attempt, &key, attempt.policy));
        self.socket.routes.add_attempt(&attempt.attempt, &key, attempt.policy);
        let entry = Entry {
            peer: attempt.peer.clone(),
            key,
            controlling: attempt.controlling,
            started: Instant::now(),
            budget,
            policy: attempt.policy,
            told: Vec::new(),
            quic: None,
            connected: false,
            ready: None,
            reply,
            path: watch::Sender::new(None),
            report: watch::Sender::new(None),
            history: History::default(),
        };
        self.entries.insert(attempt.attempt.clone(), entry);
        let id = attempt.attempt.clone();
        let config = AttemptConfig {
            id: attempt.attempt,
            peer: attempt.peer,
            controlling: attempt.controlling,
            policy: attempt.policy,
            ice: attempt.ice,
            remote: attempt.peer_candidates,
            remote_nat: attempt.peer_nat,
            plan: attempt.plan,
            timeout: budget,
        };
        // The handshake begins with the checks if it has not yet: its first datagrams wait for the
        // first way.
        match begun {
            Some(begun) => self.await_handshake(&id, Ok(begun)),
            None if config.controlling => self.dial(&id),
            None => self.take_flight(&id, &attempt.first_flight),
        }
        if !self.socket.with_node(|node, now| node.start_attempt(config, now)) {
            let fix = "close connections that are not needed";
            self.fail(&id, Error::new(ErrorCode::Usage, "too many attempts are open", fix));
            return;
        }
        let waits_for = |arrival: &Arrival| arrival.attempt == id || self.waits_for(&id, arrival);
        if let Some(index) = self.ahead.iter().position(|(_, ahead)| waits_for(ahead)) {
            let (_, arrival) = self.ahead.swap_remove(index);
            self.on_arrival(arrival);
        }
        if self.published.is_some_and(|at| at.elapsed() < PUBLISHING) {
            let candidates = self.socket.with_node(|node, _| node.candidates());
            self.trickle(&candidates);
        }
    }

    fn on_node(&mut self, event: Event) {
        match event {
            Event::Detected(profile) => {
                self.tell(ClientEvent::Nat(profile));
                self.publish();
            }
            Event::Unmeasured(task) => behaviour::measure_beside(task, &self.socket),
            Event::Candidates(candidates) => {
                self.publish();
                self.trickle(&candidates);
            }
            Event::Relay(allocation) => {
                let ready = matches!(allocation, Allocation::Ready(_));
                self.tell(ClientEvent::Relay { ready });
            }
            Event::Sources(..) | Event::Early(..) | Event::Answered(_) => {}
            Event::Path(attempt, path) => self.on_path(&attempt, path),
            Event::Verdict(report) => self.on_verdict(report),
        }
    }

    /// Tells the coordinator where this peer is, for its next attempts.
    fn publish(&mut self) {
        let (profile, candidates) =
            self.socket.with_node(|node, _| (node.profile().clone(), node.candidates()));
        let _ = self.signaling.try_send(ClientMessage::Nat(Nat { profile, candidates }));
        self.published = Some(Instant::now());
    }

    /// Tells the other sides where this one can be reached now: over the connection where there is
    /// one, and through the coordinator unless the connection has a direct path. Whatever takes a
    /// relay away takes it from both sides, and with it their way to tell each other of the next one.
    fn trickle(&mut self, candidates: &[Candidate]) {
        for (attempt, entry) in &mut self.entries {
            let mut news = trickle::allowed(candidates, entry.policy);
            news.retain(|candidate| !entry.told.contains(candidate));
            if news.is_empty() {
                continue;
            }
            // An address that was left may be come back to: what counts is the last word.
            entry.told = candidates.to_vec();
            if let Some(quic) = &entry.quic {
                trickle::tell(quic, &news);
                if entry.path.borrow().is_some_and(|path| !path.is_relayed()) {
                    continue;
                }
            }
            for candidate in news {
                let trickle = Trickle { attempt: attempt.clone(), candidate };
                let _ = self.signaling.try_send(ClientMessage::Candidate(trickle));
            }
        }
    }

    fn on_trickled(&self, attempt: &AttemptId, candidates: &[Candidate]) {
        let allow_loopback = self.config.allow_loopback;
        self.socket.with_node(|node, now| {
            for candidate in candidates.iter().filter(|c| trickle::plausible(c, allow_loopback)) {
                node.add_remote_candidate(attempt, candidate, now);
            }
        });
    }

    fn on_path(&mut self, attempt: &AttemptId, path: Option<Path>) {
        let Some(entry) = self.entries.get_mut(attempt) else { return };
        let before = *entry.path.borrow();
        let heard = before.and_then(|before| self.socket.routes.heard(attempt, &before));
        let heard = heard.is_some_and(|at| at.elapsed() < HEARD);
        let counted = Counted::of(entry.quic.as_ref());
        entry.history.path(entry.started.elapsed(), path, counted, heard);
        entry.path.send_replace(path);
        let peer = entry.peer.clone();
        self.tell(ClientEvent::PathChanged { attempt: attempt.clone(), peer, path });
    }

    fn dial(&self, attempt: &AttemptId) {
        let Some(entry) = self.entries.get(attempt) else { return };
        let virtual_addr = self.socket.routes.add_attempt(attempt, &entry.key, entry.policy);
        let key = Arc::new(OnceLock::from(entry.key.clone()));
        self.await_handshake(attempt, self.connecting(key, virtual_addr, attempt.as_str()));
    }

    fn await_handshake(&self, attempt: &AttemptId, connecting: Result<Connecting, Error>) {
        let Some(entry) = self.entries.get(attempt) else { return };
        // Without a path, the attempt's own end comes first and has more to say.
        let (attempt, dialled, limit) =
            (attempt.clone(), self.dialled.clone(), entry.budget + SWEEP);
        tokio::spawn(async move {
            let result = match connecting {
                Err(error) => Err(error),
                Ok(connecting) => match tokio::time::timeout(limit, connecting).await {
                    Ok(Ok(quic)) => Ok(quic),
                    Ok(Err(error)) => Err(timed_out(&cause(&error))),
                    Err(_) => Err(timed_out("the handshake did not complete in time")),
                },
            };
            let _ = dialled.send(Dialled { attempt, result }).await;
        });
    }

    fn on_dialled(&mut self, dialled: Dialled) {
        match dialled.result {
            Ok(quic) => self.connected(&dialled.attempt, quic),
            Err(error) => self.fail(&dialled.attempt, error),
        }
    }

    /// A connection that came in: it must name an attempt and hold the key that belongs to it.
    fn on_arrival(&mut self, arrival: Arrival) {
        let attempt = self.attempt_of(&arrival);
        let entry = attempt.as_ref().and_then(|attempt| self.entries.get(attempt));
        if entry.is_none() && self.ahead.len() < MAX_AHEAD {
            // The caller dials as soon as it is told of the attempt; the word may come here later.
            self.ahead.push((Instant::now(), arrival));
            return;
        }
        let fits = entry.is_some_and(|e| e.key == arrival.key && !e.controlling && !e.connected);
        match attempt.filter(|_| fits) {
            Some(attempt) => self.connected(&attempt, arrival.quic),
            None => arrival.refuse(),
        }
    }

    fn connected(&mut self, attempt: &AttemptId, quic: quinn::Connection) {
        let Some(entry) = self.entries.get_mut(attempt) else {
            quic.close(quinn::VarInt::from_u32(1), b"the attempt has ended");
            return;
        };
        entry.connected = true;
        let connection = Connection {
            quic: quic.clone(),
            attempt: attempt.clone(),
            peer: entry.peer.clone(),
            started: entry.started,
            path: entry.path.subscribe(),
            report: entry.report.subscribe(),
            pings: Arc::new(Pings::default()),
            incoming: Arc::default(),
        };
        self.counters.connections.fetch_add(1, Ordering::Relaxed);
        self.counters.active.fetch_add(1, Ordering::Relaxed);
        tokio::spawn(ping::serve(quic.clone(), Arc::clone(&connection.pings)));
        tokio::spawn(trickle::hear(quic.clone(), attempt.clone(), self.trickled.clone()));
        entry.quic = Some(quic.clone());
        let (ended, id, socket) = (self.ended.clone(), attempt.clone(), Arc::clone(&self.socket));
        tokio::spawn(async move {
            let cause = cause(&watch_over(&quic, &id, &socket).await);
            let _ = ended.send((id, cause)).await;
        });
        entry.ready = Some(connection);
        self.socket.with_node(|node, now| node.confirm(attempt, now));
        self.hand_out(attempt);
    }

    /// A connection is handed out with its verdict, whichever of both comes later.
    fn hand_out(&mut self, attempt: &AttemptId) {
        let Some(entry) = self.entries.get_mut(attempt) else { return };
        if entry.report.borrow().is_none() {
            return;
        }
        let Some(connection) = entry.ready.take() else { return };
        let refused = match entry.reply.take() {
            Some(reply) => reply.send(Ok(connection.clone())).is_err(),
            None => {
                let accepted = self.accepted.as_ref();
                accepted.is_none_or(|accepted| accepted.try_send(connection.clone()).is_err())
            }
        };
        if refused {
            connection.close("nobody takes this connection");
        }
    }

    fn tell(&self, event: ClientEvent) {
        // Nobody may be listening, which is fine.
        let _ = self.news.send(event);
    }
}

/// Counts what a connection loses, for the choice of its path, until it ends.
async fn watch_over(
    quic: &quinn::Connection,
    attempt: &AttemptId,
    socket: &PathSocket,
) -> quinn::ConnectionError {
    let mut look = tokio::time::interval(COUNTING);
    look.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            error = quic.closed() => return error,
            _ = look.tick() => {
                let path = quic.stats().path;
                let (sent, lost, rtt) = (path.sent_packets, path.lost_packets, path.rtt);
                let counted = quality::Counters { sent, lost, rtt };
                socket.routes.set_counted(attempt, counted);
            }
        }
    }
}
