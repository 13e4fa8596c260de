//! One client: it keeps to the protocol, resumes wherever it is answered, and enters into the book
//! what it sends and what it gets.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use futures_util::{SinkExt as _, StreamExt as _};
use rand::rngs::StdRng;
use rand::{Rng as _, SeedableRng as _};
use serde_json::Value;
use tokio::net::TcpStream;
use tokio::sync::broadcast;
use tokio::time::{Instant, MissedTickBehavior, interval, sleep, timeout};
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::client::IntoClientRequest as _;

use super::ledger::Standing;
use super::{Order, Run};
use crate::coordinator::token;

/// Messages without a final receipt that a client has at most, and how far apart they may be: an
/// instance remembers the last 256 of a session.
const WINDOW: usize = 48;
const REACH: usize = 160;
/// Between two looks at what is to be sent.
const TICK: Duration = Duration::from_millis(20);
/// Messages in a tick: with the others, under the limit of 100 a second.
const PER_TICK: usize = 2;
/// After how long without any frame a client gives its connection up: some time after an instance
/// has found that Redis does not answer, and before the longest freeze ends.
const SILENCE: Duration = Duration::from_secs(7);
/// How long a client keeps from sending after one of its messages was refused.
const PAUSE: Duration = Duration::from_millis(300);
/// How long a client waits for a final receipt while its connection lasts: longer than anybody is
/// away here.
const PATIENCE: Duration = Duration::from_secs(25);
/// How long a connection that was replaced may take to hear it.
const EVICTION: Duration = Duration::from_secs(45);
const ROOMS: usize = 4;
/// Makes messages as long as a candidate.
const PADDING: &str = "candidate:842163049 1 udp 1677729535 203.0.113.7 46154 typ srflx raddr \
                       0.0.0.0 rport 0 generation 0 ufrag EEtu network-cost 999";

type Socket = WebSocketStream<TcpStream>;

/// What a client sees at the end; its connection is open for as long as this is there.
pub(super) struct Last {
    pub(super) room: String,
    pub(super) members: Vec<String>,
    _socket: Socket,
}

struct Peer {
    run: Arc<Run>,
    index: usize,
    random: StdRng,
    token: String,
    session: Option<(String, String)>,
    last_seq: u64,
    acked: u64,
    /// Messages without a final receipt, and when this connection took them.
    open: BTreeMap<usize, Instant>,
    /// Before then nothing is sent.
    not_before: Instant,
    joined: bool,
}

/// Why a connection is over.
enum Over {
    /// Connect again.
    Lost,
    /// This one goes on as a connection that was replaced.
    Moved,
    /// The run ends.
    Ending,
}

/// Lives until the run ends.
pub(super) async fn live(run: Arc<Run>, index: usize, seed: u64) -> Result<Last> {
    let token = token(&name(index))?;
    let mut peer = Peer {
        run,
        index,
        random: StdRng::seed_from_u64(seed),
        token,
        session: None,
        last_seq: 0,
        acked: 0,
        open: BTreeMap::new(),
        not_before: Instant::now(),
        joined: false,
    };
    let mut orders = peer.run.orders.subscribe();
    let (mut socket, mut address) = peer.connect(None).await;
    loop {
        peer.run.connected.fetch_add(1, Relaxed);
        let over = peer.serve(&mut socket, &mut orders).await.unwrap_or(Over::Lost);
        peer.run.connected.fetch_sub(1, Relaxed);
        match over {
            Over::Ending => match peer.last_look(&mut socket).await {
                Ok(members) => {
                    let room = peer.room();
                    return Ok(Last { room, members, _socket: socket });
                }
                Err(_) => (socket, address) = peer.connect(None).await,
            },
            Over::Lost => {
                drop(socket);
                (socket, address) = peer.connect(None).await;
            }
            Over::Moved => {
                let (newer, at) = peer.connect(Some(&address)).await;
                let older = std::mem::replace(&mut socket, newer);
                tokio::spawn(act_though_replaced(peer.run.clone(), index, older));
                address = at;
            }
        }
    }
}

fn name(index: usize) -> String {
    format!("peer-{index}")
}

/// The members of a room when everybody is there.
pub(super) fn members_of(room: &str, peers: usize) -> Vec<String> {
    let mut members: Vec<String> = (0..peers)
        .filter(|index| room_of(*index) == room)
        .map(|index| format!("{} on", name(index)))
        .collect();
    members.sort();
    members
}

fn room_of(index: usize) -> String {
    format!("room-{}", index % ROOMS)
}

impl Peer {
    fn room(&self) -> String {
        room_of(self.index)
    }

    /// Connects and says hello until somebody welcomes it.
    async fn connect(&mut self, elsewhere_than: Option<&str>) -> (Socket, String) {
        loop {
            let address = match elsewhere_than {
                Some(here) => self.run.addresses.other(here, &mut self.random),
                None => self.run.addresses.any(&mut self.random),
            };
            if let Some(address) = address
                && let Ok(Ok(socket)) = timeout(SILENCE, self.begin(&address)).await
            {
                return (socket, address);
            }
            sleep(Duration::from_millis(self.random.random_range(20..300))).await;
        }
    }

    async fn begin(&mut self, address: &str) -> Result<Socket> {
        let mut request = format!("ws://{address}/v1/ws").into_client_request()?;
        let headers = request.headers_mut();
        headers.insert("sec-websocket-protocol", "p2p.v1".parse()?);
        headers.insert("authorization", format!("Bearer {}", self.token).parse()?);
        let stream = TcpStream::connect(address).await?;
        stream.set_nodelay(true)?;
        let (mut socket, _) = tokio_tungstenite::client_async(request, stream).await?;
        let peer = name(self.index);
        let hello = match &self.session {
            Some((session, secret)) => {
                let last = self.last_seq;
                format!(
                    r#"{{"type":"hello","peer":"{peer}","resume":{{"session":"{session}","secret":"{secret}","last_seq":{last}}}}}"#
                )
            }
            None => format!(r#"{{"type":"hello","peer":"{peer}"}}"#),
        };
        socket.send(Message::text(hello)).await?;
        loop {
            match socket.next().await.context("the end before the welcome")?? {
                Message::Text(text) => {
                    let frame: Value = serde_json::from_str(&text)?;
                    if frame["type"] == "welcome" {
                        self.welcomed(&frame);
                        return Ok(socket);
                    }
                }
                Message::Close(Some(close)) if u16::from(close.code) == 4410 => {
                    self.session_is_over();
                    bail!("the session is over");
                }
                Message::Close(_) => bail!("closed"),
                _ => {}
            }
        }
    }

    fn welcomed(&mut self, welcome: &Value) {
        let text = |field: &str| welcome[field].as_str().unwrap_or_default().to_owned();
        if welcome["resumed"] == true {
            self.run.resumed.fetch_add(1, Relaxed);
            self.acked = self.last_seq;
        } else {
            self.last_seq = 0;
            self.acked = 0;
            self.joined = false;
        }
        self.session = Some((text("session"), text("secret")));
    }

    fn session_is_over(&mut self) {
        eprintln!("the session of {} is over", name(self.index));
        self.run.sessions_lost.fetch_add(1, Relaxed);
        self.session = None;
        for (number, _) in std::mem::take(&mut self.open) {
            self.run.ledger().told(self.index, number, Standing::Orphaned);
        }
    }

    /// Serves one connection until it is over.
    async fn serve(
        &mut self,
        socket: &mut Socket,
        orders: &mut broadcast::Receiver<Order>,
    ) -> Result<Over> {
        if !self.joined {
            let join = format!(r#"{{"type":"join","id":"join","room":"{}"}}"#, self.room());
            say(socket, join).await?;
        }
        // What became of these it cannot know: their receipts may be lost with the connection.
        for (number, since) in &mut self.open {
            *since = Instant::now();
            let to = self.run.ledger().sends_again(self.index, *number);
            say(socket, message(to, *number)).await?;
        }
        let mut heard = Instant::now();
        let mut leaves: Option<Instant> = None;
        let mut ticks: u64 = 0;
        let mut tick = interval(TICK);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                frame = socket.next() => {
                    heard = Instant::now();
                    match frame.context("the end")?? {
                        Message::Text(text) => {
                            let frame: Value = serde_json::from_str(&text)?;
                            if frame["type"] == "goaway" {
                                let after = frame["after_ms"].as_u64().unwrap_or(0);
                                // Those who would have to wait long move at once.
                                if after > 2000 {
                                    let soon = self.random.random_range(0..500);
                                    leaves = Some(Instant::now() + Duration::from_millis(soon));
                                }
                            }
                            self.on_frame(&frame);
                        }
                        Message::Close(_) => return Ok(Over::Lost),
                        _ => {}
                    }
                }
                _ = tick.tick() => {
                    ticks += 1;
                    if heard.elapsed() > SILENCE || leaves.is_some_and(|at| at <= Instant::now()) {
                        return Ok(Over::Lost);
                    }
                    if self.run.ending.load(Relaxed) {
                        return Ok(Over::Ending);
                    }
                    if ticks.is_multiple_of(40) {
                        say(socket, r#"{"type":"ping","id":"p"}"#.to_owned()).await?;
                        self.give_up_waiting();
                    }
                    self.send_some(socket).await?;
                }
                order = orders.recv() => match order {
                    Ok(order) if self.random.random_range(0..3) == 0 => {
                        return Ok(match order {
                            Order::Drop => Over::Lost,
                            Order::Move => Over::Moved,
                        });
                    }
                    _ => {}
                },
            }
        }
    }

    async fn send_some(&mut self, socket: &mut Socket) -> Result<()> {
        if self.acked < self.last_seq {
            say(socket, format!(r#"{{"type":"ack","seq":{}}}"#, self.last_seq)).await?;
            self.acked = self.last_seq;
        }
        // Everybody is there before the first word.
        let all_there = self.run.connected.load(Relaxed) == self.run.peers;
        if self.not_before > Instant::now() || (self.last_number().is_none() && !all_there) {
            return Ok(());
        }
        for _ in 0..PER_TICK {
            let reach = match (self.open.first_key_value(), self.last_number()) {
                (Some((first, _)), Some(last)) => last - first,
                _ => 0,
            };
            if self.open.len() >= WINDOW || reach >= REACH || !self.take_one() {
                return Ok(());
            }
            let mut to = self.random.random_range(0..self.run.peers - 1);
            to += usize::from(to >= self.index);
            let number = self.run.ledger().sends(self.index, to);
            self.open.insert(number, Instant::now());
            say(socket, message(to, number)).await?;
        }
        Ok(())
    }

    /// Whoever is connected all the time hears what became of a message.
    fn give_up_waiting(&mut self) {
        let late = |since: &Instant| since.elapsed() > PATIENCE;
        let untold = self.open.iter().filter(|(_, since)| late(since)).map(|(n, _)| *n);
        for number in untold.collect::<Vec<_>>() {
            self.open.remove(&number);
            self.run.ledger().untold(self.index, number);
        }
    }

    fn last_number(&self) -> Option<usize> {
        self.run.ledger().last_of(self.index)
    }

    fn take_one(&self) -> bool {
        self.run.left.fetch_update(Relaxed, Relaxed, |left| left.checked_sub(1)).is_ok()
    }

    fn on_frame(&mut self, frame: &Value) {
        match frame["type"].as_str().unwrap_or_default() {
            "message" => {
                let from = frame["from"].as_str().and_then(|from| from.strip_prefix("peer-"));
                let from: usize = from.and_then(|from| from.parse().ok()).unwrap_or(usize::MAX);
                let seq = frame["seq"].as_u64().unwrap_or(0);
                if frame["kind"] == "replaced" {
                    let what = format!("{from} was replaced and reached {}", self.index);
                    self.run.ledger().two_owners(what);
                } else {
                    let number = frame["payload"]["n"].as_u64().unwrap_or(u64::MAX) as usize;
                    self.run.ledger().arrives(self.index, from, number);
                }
                self.last_seq = self.last_seq.max(seq);
            }
            "receipt" => {
                let id = frame["id"].as_str().unwrap_or_default();
                let Ok(number) = id.parse::<usize>() else { return };
                let standing = match frame["status"].as_str().unwrap_or_default() {
                    "delivered" => Standing::Delivered,
                    "queued" => Standing::Queued,
                    "gone" => Standing::Gone,
                    _ => Standing::Rejected,
                };
                if standing == Standing::Rejected {
                    self.not_before = Instant::now() + PAUSE;
                }
                if self.run.ledger().told(self.index, number, standing) {
                    self.open.remove(&number);
                }
            }
            "joined" => self.joined = true,
            _ => {}
        }
    }

    /// The members of its room, in a fresh snapshot.
    async fn last_look(&mut self, socket: &mut Socket) -> Result<Vec<String>> {
        let join = format!(r#"{{"type":"join","id":"last","room":"{}"}}"#, self.room());
        say(socket, join).await?;
        let looking = async {
            loop {
                let Message::Text(text) = socket.next().await.context("the end")?? else {
                    continue;
                };
                let frame: Value = serde_json::from_str(&text)?;
                if frame["type"] != "joined" {
                    self.on_frame(&frame);
                    continue;
                }
                let members = frame["members"].as_array().context("a list")?;
                let text = |member: &Value, field: &str| {
                    member[field].as_str().unwrap_or_default().to_owned()
                };
                let mut members: Vec<String> = members
                    .iter()
                    .map(|member| format!("{} {}", text(member, "peer"), text(member, "state")))
                    .collect();
                members.sort();
                return anyhow::Ok(members);
            }
        };
        timeout(SILENCE, looking).await.context("no snapshot")?
    }
}

/// A connection whose peer has a newer one at another instance: it acts, which must have no effect,
/// and it must be closed.
async fn act_though_replaced(run: Arc<Run>, index: usize, mut socket: Socket) {
    let to = (index + 1) % run.peers;
    let acts = async {
        say(&mut socket, r#"{"type":"ack","seq":1000000000}"#.to_owned()).await?;
        let act = format!(
            r#"{{"type":"send","id":"replaced","to":"{}","kind":"replaced","payload":null}}"#,
            name(to)
        );
        say(&mut socket, act).await?;
        while let Some(frame) = socket.next().await {
            if matches!(frame?, Message::Close(_)) {
                break;
            }
        }
        anyhow::Ok(())
    };
    if timeout(EVICTION, acts).await.is_err() {
        run.ledger().two_owners(format!("{index} was replaced, and its connection stays open"));
    }
}

fn message(to: usize, number: usize) -> String {
    format!(
        r#"{{"type":"send","id":"{number}","to":"{}","kind":"candidate","payload":{{"n":{number},"candidate":"{PADDING}"}}}}"#,
        name(to)
    )
}

/// Sends a frame, unless nobody takes it.
async fn say(socket: &mut Socket, frame: String) -> Result<()> {
    timeout(SILENCE, socket.send(Message::text(frame))).await.context("nobody reads")??;
    Ok(())
}
