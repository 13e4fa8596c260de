//! `rtc-ice` behind our own types: the agent that sends and answers connectivity checks.
//!
//! The agent's own pace and its nomination are turned off or stretched: rounds come from
//! [`crate::schedule`], and data may use any pair that has answered a check (RFC 8445 §12.1 allows
//! sending before nomination), so the relay carries data while the punch is still under way.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::{Bytes, BytesMut};
use p2p_wire::{Candidate, CandidateKind, IcePair};
use rtc_ice::candidate::candidate_host::CandidateHostConfig;
use rtc_ice::candidate::candidate_pair::CandidatePairState;
use rtc_ice::candidate::candidate_peer_reflexive::CandidatePeerReflexiveConfig;
use rtc_ice::candidate::candidate_relay::CandidateRelayConfig;
use rtc_ice::candidate::candidate_server_reflexive::CandidateServerReflexiveConfig;
use rtc_ice::candidate::{Candidate as IceCandidate, CandidateConfig, CandidateType};
use rtc_ice::crypto::providers::AwsLcRsProvider;
use rtc_ice::{Agent, AgentConfig};
use rtc_shared::error::Error;
use rtc_shared::{TransportContext, TransportMessage, TransportProtocol};
use sansio::Protocol;

use crate::schedule::CHECKS_PER_PAIR;

/// How long reflexive pairs leave the first word to host pairs, which cross fewer boxes.
const REFLEXIVE_WAIT: Duration = Duration::from_millis(100);
/// How long direct pairs may try before a relayed one is nominated and their checks stop.
pub(crate) const DIRECT_WINDOW: Duration = Duration::from_secs(6);
/// Where the agent's own gate stays out of the way of our schedule.
const NO_GATE: Duration = Duration::from_millis(1);
/// Consent checks of the nominated pair; again our schedule decides when the agent runs.
const CONSENT: Duration = Duration::from_millis(100);

/// A pair and what is known of it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Pair {
    pub(crate) local: Candidate,
    pub(crate) remote: Candidate,
    /// A check of ours was answered: packets go both ways.
    pub(crate) answered: bool,
    /// A check of theirs arrived: packets come this way at least.
    pub(crate) asked: bool,
    pub(crate) rtt: Duration,
    /// Checks of ours.
    pub(crate) requests: u64,
    /// Answers to them.
    pub(crate) answers: u64,
}

impl Pair {
    /// A pair of which nothing is known.
    pub(crate) fn unknown(local: Candidate, remote: Candidate) -> Self {
        let (answered, asked, rtt, requests, answers) = (false, false, Duration::ZERO, 0, 0);
        Self { local, remote, answered, asked, rtt, requests, answers }
    }
}

/// One check or answer to send.
pub(crate) struct Check {
    pub(crate) local: SocketAddr,
    pub(crate) remote: SocketAddr,
    pub(crate) payload: Bytes,
}

/// The agent of one attempt.
pub(crate) struct IceAgent {
    agent: Agent,
}

impl IceAgent {
    pub(crate) fn new(
        credentials: &IcePair,
        controlling: bool,
        now: Instant,
    ) -> Result<Self, Error> {
        let config = AgentConfig {
            local_ufrag: credentials.local.ufrag.clone(),
            local_pwd: credentials.local.pwd.expose().to_owned(),
            is_controlling: controlling,
            check_interval: NO_GATE,
            keepalive_interval: Some(CONSENT),
            max_binding_requests: Some(CHECKS_PER_PAIR),
            // The attempt has a deadline of its own, and paths are given up by their silence.
            disconnected_timeout: Some(Duration::ZERO),
            failed_timeout: Some(Duration::ZERO),
            host_acceptance_min_wait: Some(Duration::ZERO),
            srflx_acceptance_min_wait: Some(REFLEXIVE_WAIT),
            prflx_acceptance_min_wait: Some(REFLEXIVE_WAIT),
            relay_acceptance_min_wait: Some(DIRECT_WINDOW),
            ..AgentConfig::default()
        };
        let mut agent = Agent::new(now, Arc::new(config), Arc::new(AwsLcRsProvider::new()))?;
        let remote = &credentials.remote;
        agent.start_connectivity_checks(
            now,
            controlling,
            remote.ufrag.clone(),
            remote.pwd.expose().to_owned(),
        )?;
        Ok(Self { agent })
    }

    pub(crate) fn add_local(&mut self, candidate: &Candidate) -> Result<(), Error> {
        self.agent.add_local_candidate(to_ice(candidate)?).map(drop)
    }

    pub(crate) fn add_remote(&mut self, candidate: &Candidate) -> Result<(), Error> {
        self.agent.add_remote_candidate(to_ice(candidate)?).map(drop)
    }

    /// Reads a check or an answer that came to `local`.
    pub(crate) fn handle(
        &mut self,
        local: SocketAddr,
        remote: SocketAddr,
        datagram: &[u8],
        now: Instant,
    ) {
        let transport = TransportContext {
            local_addr: local,
            peer_addr: remote,
            transport_protocol: TransportProtocol::UDP,
            ecn: None,
        };
        let message = TransportMessage { now, transport, message: BytesMut::from(datagram) };
        // A check that does not authenticate is not ours to answer.
        let _ = self.agent.handle_read(message);
    }

    /// Runs one round of checks.
    pub(crate) fn round(&mut self, now: Instant) {
        let _ = self.agent.handle_timeout(now);
    }

    pub(crate) fn poll_check(&mut self) -> Option<Check> {
        let message = self.agent.poll_write()?;
        Some(Check {
            local: message.transport.local_addr,
            remote: message.transport.peer_addr,
            payload: message.message.freeze(),
        })
    }

    /// Whether the agent has settled on a pair and checks only that one.
    pub(crate) fn settled(&self) -> bool {
        self.agent.get_selected_candidate_pair().is_some()
    }

    /// Whether the agent has settled on this pair.
    pub(crate) fn has_chosen(&self, pair: &Pair) -> bool {
        self.agent.get_selected_candidate_pair().is_some_and(|(local, remote)| {
            local.addr() == pair.local.address && remote.addr() == pair.remote.address
        })
    }

    /// The remote candidates, those learnt from checks included.
    pub(crate) fn remotes(&self) -> impl Iterator<Item = Candidate> {
        self.agent.get_remote_candidates().iter().map(from_ice)
    }

    /// Every pair that has something to say.
    pub(crate) fn pairs(&self, now: Instant) -> Vec<Pair> {
        let by_id = |candidates: &[IceCandidate]| -> HashMap<String, Candidate> {
            candidates.iter().map(|c| (c.id().to_owned(), from_ice(c))).collect()
        };
        let locals = by_id(self.agent.get_local_candidates());
        let remotes = by_id(self.agent.get_remote_candidates());
        let stats = self.agent.get_candidate_pairs_stats(now).into_iter();
        stats
            .filter_map(|pair| {
                let local = locals.get(&pair.local_candidate_id)?;
                let remote = remotes.get(&pair.remote_candidate_id)?;
                Some(Pair {
                    local: *local,
                    remote: *remote,
                    answered: pair.state == CandidatePairState::Succeeded,
                    asked: pair.requests_received > 0,
                    rtt: Duration::from_secs_f64(pair.current_round_trip_time.max(0.0)),
                    requests: pair.requests_sent,
                    answers: pair.responses_received,
                })
            })
            .filter(|pair| pair.answered || pair.asked)
            .collect()
    }

    pub(crate) fn drop_events(&mut self) {
        while self.agent.poll_event().is_some() {}
    }
}

fn to_ice(candidate: &Candidate) -> Result<IceCandidate, Error> {
    let base_config = CandidateConfig {
        network: "udp".to_owned(),
        address: candidate.address.ip().to_string(),
        port: candidate.address.port(),
        component: 1,
        ..CandidateConfig::default()
    };
    let (rel_addr, rel_port) = candidate
        .related
        .map_or_else(|| (String::new(), 0), |addr| (addr.ip().to_string(), addr.port()));
    match candidate.kind {
        CandidateKind::Host => {
            CandidateHostConfig { base_config, ..Default::default() }.new_candidate_host()
        }
        CandidateKind::ServerReflexive => {
            CandidateServerReflexiveConfig { base_config, rel_addr, rel_port, url: None }
                .new_candidate_server_reflexive()
        }
        CandidateKind::PeerReflexive => {
            CandidatePeerReflexiveConfig { base_config, rel_addr, rel_port }
                .new_candidate_peer_reflexive()
        }
        CandidateKind::Relay => {
            CandidateRelayConfig { base_config, ..Default::default() }.new_candidate_relay()
        }
    }
}

fn from_ice(candidate: &IceCandidate) -> Candidate {
    let kind = match candidate.candidate_type() {
        CandidateType::Host => CandidateKind::Host,
        CandidateType::ServerReflexive => CandidateKind::ServerReflexive,
        CandidateType::PeerReflexive => CandidateKind::PeerReflexive,
        CandidateType::Relay => CandidateKind::Relay,
        // Only kinds that this file made come back; a new kind of the library would be a host.
        _ => CandidateKind::Host,
    };
    Candidate::udp(kind, candidate.addr())
}
