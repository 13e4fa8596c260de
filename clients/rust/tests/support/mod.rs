//! A coordinator of a few lines: it registers whoever says hello and introduces whom it is asked to.
//! What a real one does besides is tested with the real one, in `tests/`.
#![allow(dead_code, unreachable_pub, reason = "each test file uses a part of it")]
#![allow(clippy::unwrap_used, reason = "a stub that does not work is to fail its test")]

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use futures_util::{SinkExt, StreamExt};
use p2p_relay::{Relay, RelayConfig, RelayHandle, StaticUser};
use p2p_wire::client::{Hello, Nat};
use p2p_wire::server::{ErrorMessage, Refreshed, Welcome};
use p2p_wire::{
    Attempt, CandidateKind, ClientMessage, IceCredentials, IcePair, Limits, NatProfile, PeerId,
    Problem, Report, Secret,
};
use p2p_wire::{Code, IceServer, ServerMessage};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Notify, mpsc};
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::protocol::CloseFrame;

#[derive(Default)]
struct State {
    peers: HashMap<PeerId, Registered>,
    reports: Vec<Report>,
    attempts: u64,
    ice_servers: Vec<IceServer>,
    /// What attempts name.
    relays: Vec<IceServer>,
    goodbyes: Vec<u16>,
    forgotten: Option<ErrorMessage>,
    tokens: Vec<Secret>,
    /// What callees are not told yet, where it is held back.
    held: Option<Vec<(mpsc::UnboundedSender<Message>, Message)>>,
    /// Whether callers are not told either.
    hold_callers: bool,
    /// The next request is lost, and the WebSocket that brought it.
    lose_request: bool,
    /// What HTTP requests are answered with, by whoever stands in front of the coordinator.
    in_front: Option<&'static str>,
    turned_away: u64,
    /// The first flights that came with requests.
    flights: Vec<Vec<String>>,
    /// What callees get instead of them.
    replaced: Option<Vec<String>>,
}

struct Registered {
    hello: Hello,
    nat: Option<Nat>,
    out: mpsc::UnboundedSender<Message>,
}

/// See the module.
#[derive(Clone)]
pub struct Coordinator {
    pub addr: SocketAddr,
    state: Arc<Mutex<State>>,
    /// Rings when a peer has published its network.
    published: Arc<Notify>,
}

impl Coordinator {
    pub async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let addr = listener.local_addr().unwrap();
        let coordinator = Self { addr, state: Arc::default(), published: Arc::default() };
        let this = coordinator.clone();
        tokio::spawn(async move {
            while let Ok((socket, from)) = listener.accept().await {
                let this = this.clone();
                tokio::spawn(async move { this.session(socket, from).await });
            }
        });
        coordinator
    }

    /// The newer tokens that clients came with.
    pub fn tokens(&self) -> Vec<Secret> {
        self.state.lock().unwrap().tokens.clone()
    }

    /// Hands out this relay from here on.
    pub fn offer(&self, relay: &RelayHandle) {
        self.offer_urls(&[format!("turn:{}?transport=udp", relay.local_addrs()[0])]);
    }

    /// Hands out these ways to a relay.
    pub fn offer_urls(&self, urls: &[String]) {
        self.state.lock().unwrap().ice_servers = vec![ice_server(urls, "user", "password")];
    }

    /// Hands out this relay with these credentials.
    pub fn offer_to(&self, username: &str, password: &str, relay: &RelayHandle) {
        let urls = [format!("turn:{}?transport=udp", relay.local_addrs()[0])];
        self.state.lock().unwrap().ice_servers = vec![ice_server(&urls, username, password)];
    }

    /// Attempts name this relay, with good credentials.
    pub fn offer_to_attempts(&self, relay: &RelayHandle) {
        let urls = [format!("turn:{}?transport=udp", relay.local_addrs()[0])];
        self.state.lock().unwrap().relays = vec![ice_server(&urls, "user", "password")];
    }

    /// The first flights of the requests so far.
    pub fn flights(&self) -> Vec<Vec<String>> {
        self.state.lock().unwrap().flights.clone()
    }

    /// Callees get this for a first flight from here on.
    pub fn replace_flights(&self, by: &[&str]) {
        let by = by.iter().map(|datagram| (*datagram).to_owned()).collect();
        self.state.lock().unwrap().replaced = Some(by);
    }

    /// Callees hear of no attempt from here on.
    pub fn hold_callees(&self) {
        self.state.lock().unwrap().held = Some(Vec::new());
    }

    /// Callees hear of what was held back.
    pub fn tell_callees(&self) {
        for (to, word) in self.state.lock().unwrap().held.take().unwrap() {
            to.send(word).unwrap();
        }
    }

    /// Neither callees nor callers hear of any attempt from here on.
    pub fn hold_everybody(&self) {
        let mut state = self.state.lock().unwrap();
        state.held = Some(Vec::new());
        state.hold_callers = true;
    }

    /// Everybody hears of what was held back, and of everything from here on.
    pub fn tell_everybody(&self) {
        self.tell_callees();
    }

    /// The next request for an attempt gets no answer: its WebSocket breaks.
    pub fn lose_next_request(&self) {
        self.state.lock().unwrap().lose_request = true;
    }

    /// Tells a peer this.
    pub fn tell(&self, peer: &str, message: &ServerMessage) {
        self.send(peer, text(message));
    }

    /// Closes a peer's WebSocket with this code.
    pub fn close(&self, peer: &str, code: u16) {
        let frame = CloseFrame { code: code.into(), reason: "for a test".into() };
        self.send(peer, Message::Close(Some(frame)));
    }

    fn send(&self, peer: &str, message: Message) {
        let peer: PeerId = peer.parse().unwrap();
        self.state.lock().unwrap().peers[&peer].out.send(message).unwrap();
    }

    /// Something else answers whoever opens a WebSocket, until `None`: a proxy, for example.
    pub fn put_in_front(&self, answer: Option<&'static str>) {
        self.state.lock().unwrap().in_front = answer;
    }

    /// How many have had that answer.
    pub fn turned_away(&self) -> u64 {
        self.state.lock().unwrap().turned_away
    }

    /// The UDP port of a peer.
    pub fn port_of(&self, peer: &str) -> u16 {
        let peer: PeerId = peer.parse().unwrap();
        let state = self.state.lock().unwrap();
        let candidates = &state.peers[&peer].nat.as_ref().unwrap().candidates;
        let host = candidates.iter().find(|c| c.kind == CandidateKind::Host).unwrap();
        host.address.port()
    }

    pub fn url(&self) -> String {
        format!("ws://{}", self.addr)
    }

    pub fn reports(&self) -> Vec<Report> {
        self.state.lock().unwrap().reports.clone()
    }

    /// The codes with which clients closed their WebSockets.
    pub fn goodbyes(&self) -> Vec<u16> {
        self.state.lock().unwrap().goodbyes.clone()
    }

    /// Waits until a peer has published a network like this.
    pub async fn network(&self, peer: &PeerId, like: impl Fn(&NatProfile) -> bool) -> NatProfile {
        loop {
            let published = self.published.notified();
            tokio::pin!(published);
            published.as_mut().enable();
            let nat = {
                let state = self.state.lock().unwrap();
                state.peers.get(peer).and_then(|peer| peer.nat.clone())
            };
            if let Some(nat) = nat.filter(|nat| like(&nat.profile)) {
                return nat.profile;
            }
            published.await;
        }
    }

    /// Closes every WebSocket, as a crash would.
    pub fn drop_everybody(&self) {
        self.state.lock().unwrap().peers.clear();
    }

    /// Closes every WebSocket and knows no session, as a coordinator that was started again.
    pub fn restart(&self) {
        let problem = Problem::new(
            Code::NotAllowed,
            "Not possible",
            "the session cannot be resumed",
            "say hello without `resume`",
        );
        let mut state = self.state.lock().unwrap();
        state.peers.clear();
        state.forgotten = Some(ErrorMessage::new(None, problem));
    }

    #[expect(clippy::result_large_err, reason = "the handshake callback's own signature")]
    async fn session(&self, mut socket: TcpStream, from: SocketAddr) {
        use tokio_tungstenite::tungstenite::handshake::server::{Request, Response};
        let in_front = self.state.lock().unwrap().in_front;
        if let Some(answer) = in_front {
            let mut request = Vec::new();
            while !request.ends_with(b"\r\n\r\n") {
                request.push(socket.read_u8().await.unwrap());
            }
            socket.write_all(answer.as_bytes()).await.unwrap();
            self.state.lock().unwrap().turned_away += 1;
            return;
        }
        let agree = |_: &Request, mut response: Response| {
            let protocol = http::HeaderValue::from_static(p2p_wire::SUBPROTOCOL);
            response.headers_mut().insert(http::header::SEC_WEBSOCKET_PROTOCOL, protocol);
            Ok(response)
        };
        let Ok(socket) = tokio_tungstenite::accept_hdr_async(socket, agree).await else { return };
        let (mut sink, mut stream) = socket.split();
        let (out, mut outgoing) = mpsc::unbounded_channel::<Message>();
        let mut me = None;
        let mut keep = Some(out);
        loop {
            tokio::select! {
                message = outgoing.recv() => match message {
                    Some(message) => sink.send(message).await.unwrap(),
                    None => return,
                },
                frame = stream.next() => {
                    if let Some(Ok(Message::Close(Some(goodbye)))) = &frame {
                        self.state.lock().unwrap().goodbyes.push(goodbye.code.into());
                    }
                    let Some(Ok(Message::Text(text))) = frame else { return };
                    let message = ClientMessage::parse(text.as_str()).unwrap();
                    if let ClientMessage::Hello(Hello { resume: Some(_), .. }) = &message {
                        let forgotten = self.state.lock().unwrap().forgotten.clone();
                        if let Some(error) = forgotten {
                            let error = ServerMessage::Error(error).to_text();
                            sink.send(Message::text(error)).await.unwrap();
                            let expired = CloseFrame { code: 4410.into(), reason: "".into() };
                            sink.send(Message::Close(Some(expired))).await.unwrap();
                            return;
                        }
                    }
                    if let ClientMessage::Hello(hello) = &message {
                        me = Some(hello.peer.clone());
                        self.register(hello, keep.take().unwrap(), from);
                    } else if let Some(me) = &me {
                        self.on_message(me, message);
                    }
                }
            }
        }
    }

    fn register(&self, hello: &Hello, out: mpsc::UnboundedSender<Message>, from: SocketAddr) {
        let ice_servers = self.state.lock().unwrap().ice_servers.clone();
        out.send(text(&ServerMessage::Welcome(Box::new(Welcome {
            peer: hello.peer.clone(),
            session: "s".parse().unwrap(),
            secret: Secret::new("secret"),
            resumed: hello.resume.is_some(),
            heartbeat_ms: 25_000,
            limits: Limits::default(),
            ice_servers,
            observed_address: from,
            token_expires_ms: None,
        }))))
        .unwrap();
        let registered = Registered { hello: hello.clone(), nat: None, out };
        self.state.lock().unwrap().peers.insert(hello.peer.clone(), registered);
    }

    fn on_message(&self, me: &PeerId, message: ClientMessage) {
        let mut state = self.state.lock().unwrap();
        match message {
            ClientMessage::Nat(nat) => {
                if let Some(peer) = state.peers.get_mut(me) {
                    peer.nat = Some(nat);
                    self.published.notify_waiters();
                }
            }
            ClientMessage::Report(report) => state.reports.push(report),
            ClientMessage::Refresh(refresh) => {
                let answer = if refresh.token.expose() == "refused" {
                    let problem = Problem::new(Code::TokenInvalid, "t", "no key fits", "sign it");
                    ServerMessage::Error(ErrorMessage::new(Some(refresh.id), problem))
                } else {
                    state.tokens.push(refresh.token);
                    ServerMessage::Refreshed(Refreshed {
                        id: refresh.id,
                        token_expires_ms: 3_600_000,
                        ice_servers: state.ice_servers.clone(),
                    })
                };
                state.peers[me].out.send(text(&answer)).unwrap();
            }
            ClientMessage::Connect(connect) => {
                if std::mem::take(&mut state.lose_request) {
                    state.peers.remove(me);
                    return;
                }
                state.attempts += 1;
                let number = state.attempts;
                state.flights.push(connect.first_flight.clone());
                let flight = state.replaced.clone().unwrap_or(connect.first_flight);
                let caller = &state.peers[me];
                let Some(callee) = state.peers.get(&connect.to) else {
                    let problem =
                        Problem::new(Code::PeerNotFound, "t", "no such peer", "check the id");
                    let error = ErrorMessage::new(Some(connect.id), problem);
                    caller.out.send(text(&ServerMessage::Error(error))).unwrap();
                    return;
                };
                let credentials = |side: &str| IceCredentials {
                    ufrag: format!("ufrag{side}{number}"),
                    pwd: Secret::new(format!("a password of 24 bytes or more {side}")),
                };
                let attempt = |to: &Registered, other: &Registered, caller: bool| Attempt {
                    attempt: format!("attempt-{number}").parse().unwrap(),
                    id: caller.then(|| connect.id.clone()),
                    peer: other.hello.peer.clone(),
                    peer_meta: other.hello.meta.clone(),
                    controlling: caller,
                    policy: connect.policy,
                    ice: IcePair {
                        local: credentials(if caller { "A" } else { "B" }),
                        remote: credentials(if caller { "B" } else { "A" }),
                    },
                    peer_candidates: other
                        .nat
                        .as_ref()
                        .map_or_else(Vec::new, |n| n.candidates.clone()),
                    peer_nat: other.nat.as_ref().map(|n| n.profile.clone()),
                    peer_key: other.hello.key.clone(),
                    relays: state.relays.clone(),
                    plan: Vec::new(),
                    timeout_ms: 10_000 + u64::from(to.nat.is_none()),
                    traceparent: None,
                    first_flight: if caller { Vec::new() } else { flight.clone() },
                };
                let (one, two) = (attempt(caller, callee, true), attempt(callee, caller, false));
                let one = (caller.out.clone(), text(&ServerMessage::Attempt(Box::new(one))));
                let two = (callee.out.clone(), text(&ServerMessage::Attempt(Box::new(two))));
                let hold_callers = state.hold_callers;
                for (is_caller, (to, word)) in [(true, one), (false, two)] {
                    match &mut state.held {
                        Some(held) if !is_caller || hold_callers => held.push((to, word)),
                        _ => to.send(word).unwrap(),
                    }
                }
            }
            _ => {}
        }
    }
}

fn text(message: &ServerMessage) -> Message {
    Message::text(message.to_text())
}

fn ice_server(urls: &[String], username: &str, password: &str) -> IceServer {
    IceServer {
        urls: urls.to_vec(),
        username: Some(username.to_owned()),
        credential: Some(Secret::new(password)),
    }
}

/// The real relay, on loopback.
pub fn relay() -> RelayHandle {
    relay_with(|_| {})
}

/// The same, with other settings.
pub fn relay_with(adjust: impl FnOnce(&mut RelayConfig)) -> RelayHandle {
    let mut config = RelayConfig {
        listen: vec!["127.0.0.1:0".parse().unwrap()],
        users: vec![StaticUser { name: "user".to_owned(), password: "password".into() }],
        allow_peers: vec!["127.0.0.0/8".parse().unwrap()],
        ..RelayConfig::default()
    };
    adjust(&mut config);
    Relay::bind(config).unwrap().start().unwrap()
}

/// A token whose only content is its subject; the stub verifies nothing.
pub fn token(peer: &str) -> String {
    format!("e30.{}.x", URL_SAFE_NO_PAD.encode(format!(r#"{{"sub":"{peer}"}}"#)))
}
