//! What the signaling service does for an attempt, and no more: it remembers what peers publish, and
//! hands both sides of a call each other's candidates, network and credentials.
//!
//! Every message takes the peer's line: its latency to the middle, and the coordinator's from there.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use p2p_nat::plan::{self, Pair, Recorded, RelayLegs};
use p2p_traversal::AttemptConfig;
use p2p_wire::{AttemptId, Candidate, IceCredentials, IcePair, NatProfile, PeerId, Policy, Secret};
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

use crate::network::PeerIndex;

/// The coordinator's line to the middle of the network.
pub const COORDINATOR_LATENCY: Duration = Duration::from_millis(5);
/// How long attempts may take.
pub const ATTEMPT_TIMEOUT: Duration = Duration::from_millis(p2p_wire::limits::ATTEMPT_TIMEOUT_MS);

/// One call from one peer to another.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Call {
    /// The attempt's name, the same on both sides.
    pub id: AttemptId,
    /// Who called; it is controlling.
    pub caller: String,
    /// Who was called.
    pub callee: String,
    /// When the caller asked, since the world began.
    pub made: Duration,
}

/// What a peer says to the coordinator.
#[derive(Debug)]
pub(crate) enum Signal {
    Profile(NatProfile),
    Candidates(Vec<Candidate>),
    Connect { callee: PeerIndex, id: AttemptId },
}

/// What the coordinator says to a peer.
#[derive(Debug)]
pub(crate) enum Order {
    Attempt(Box<AttemptConfig>),
    Candidate(AttemptId, Candidate),
}

#[derive(Debug)]
enum Message {
    Up(PeerIndex, Signal),
    Down(PeerIndex, Order),
}

/// See the module.
pub(crate) struct Coordinator {
    rng: StdRng,
    /// Nobody hears it and it hears nobody.
    pub(crate) down: bool,
    mail: BTreeMap<(Instant, u64), Message>,
    next: u64,
    peers: Vec<Published>,
    calls: Vec<Open>,
    pub(crate) credentials: BTreeMap<String, IcePair>,
}

struct Published {
    name: PeerId,
    policy: Policy,
    line: Duration,
    profile: Option<NatProfile>,
    candidates: Vec<Candidate>,
}

/// A call, and the candidates that each side has been told of.
struct Open {
    id: AttemptId,
    sides: [PeerIndex; 2],
    told: [Vec<Candidate>; 2],
}

impl Coordinator {
    pub(crate) fn new(seed: u64) -> Self {
        Self {
            rng: StdRng::seed_from_u64(seed),
            down: false,
            mail: BTreeMap::new(),
            next: 0,
            peers: Vec::new(),
            calls: Vec::new(),
            credentials: BTreeMap::new(),
        }
    }

    pub(crate) fn add(&mut self, name: &str, policy: Policy, latency: Duration) {
        let name = PeerId::new(name).expect("a peer's name");
        let line = latency + COORDINATOR_LATENCY;
        self.peers.push(Published { name, policy, line, profile: None, candidates: Vec::new() });
    }

    /// A peer sends something.
    pub(crate) fn tell(&mut self, from: PeerIndex, signal: Signal, now: Instant) {
        if !self.down {
            self.post(from, Message::Up(from, signal), now);
        }
    }

    pub(crate) fn next_mail(&self) -> Option<Instant> {
        self.mail.keys().next().map(|(at, _)| *at)
    }

    /// What has come to a peer by now.
    pub(crate) fn deliver(&mut self, now: Instant) -> Vec<(PeerIndex, Order)> {
        let mut delivered = Vec::new();
        while self.next_mail().is_some_and(|at| at <= now) {
            match self.mail.pop_first().map(|(_, message)| message) {
                Some(Message::Up(from, signal)) => self.hear(from, signal, now),
                Some(Message::Down(to, order)) => delivered.push((to, order)),
                None => {}
            }
        }
        delivered
    }

    fn hear(&mut self, from: PeerIndex, signal: Signal, now: Instant) {
        match signal {
            Signal::Profile(profile) => self.peers[from.0].profile = Some(profile),
            Signal::Candidates(candidates) => {
                self.peers[from.0].candidates = candidates;
                self.trickle(from, now);
            }
            Signal::Connect { callee, id } => self.introduce([from, callee], id, now),
        }
    }

    fn introduce(&mut self, sides: [PeerIndex; 2], id: AttemptId, now: Instant) {
        let [caller, callee] = [self.credentials(), self.credentials()];
        let policy = stricter(sides.map(|side| self.peers[side.0].policy));
        let ice = [
            IcePair { local: caller.clone(), remote: callee.clone() },
            IcePair { local: callee, remote: caller },
        ];
        let [caller, callee] = sides.map(|side| self.peers[side.0].profile.as_ref());
        let recorded = Recorded::default();
        let relays = RelayLegs { udp: true, ..RelayLegs::NONE };
        let plan = plan::plan(&Pair { caller, callee, policy, relays, recorded });
        self.credentials.insert(id.as_str().to_owned(), ice[0].clone());
        for (side, ice) in ice.into_iter().enumerate() {
            let other = &self.peers[sides[1 - side].0];
            let config = AttemptConfig {
                id: id.clone(),
                peer: other.name.clone(),
                controlling: side == 0,
                policy,
                ice,
                remote: other.candidates.clone(),
                remote_nat: other.profile.clone(),
                plan: plan.clone(),
                timeout: ATTEMPT_TIMEOUT,
            };
            self.post(
                sides[side],
                Message::Down(sides[side], Order::Attempt(Box::new(config))),
                now,
            );
        }
        let told = [1, 0].map(|other: usize| self.peers[sides[other].0].candidates.clone());
        self.calls.push(Open { id, sides, told });
    }

    /// Passes on what a peer's open calls have not been told of yet.
    fn trickle(&mut self, from: PeerIndex, now: Instant) {
        let mut orders = Vec::new();
        for call in &mut self.calls {
            let Some(side) = call.sides.iter().position(|side| *side == from) else { continue };
            let other = 1 - side;
            for candidate in &self.peers[from.0].candidates {
                if !call.told[other].contains(candidate) {
                    call.told[other].push(*candidate);
                    let order = Order::Candidate(call.id.clone(), *candidate);
                    orders.push((call.sides[other], order));
                }
            }
        }
        for (to, order) in orders {
            self.post(to, Message::Down(to, order), now);
        }
    }

    fn post(&mut self, line: PeerIndex, message: Message, now: Instant) {
        self.next += 1;
        self.mail.insert((now + self.peers[line.0].line, self.next), message);
    }

    fn credentials(&mut self) -> IceCredentials {
        let mut text = |length: usize| -> String {
            let letters = (0..length).map(|_| char::from(self.rng.random_range(b'a'..=b'z')));
            letters.collect()
        };
        IceCredentials { ufrag: text(8), pwd: Secret::new(text(24)) }
    }
}

fn stricter(policies: [Policy; 2]) -> Policy {
    if policies.contains(&Policy::Relay) {
        Policy::Relay
    } else if policies.contains(&Policy::Direct) {
        Policy::Direct
    } else {
        Policy::Auto
    }
}
