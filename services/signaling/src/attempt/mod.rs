//! Connection attempts: from `connect` to one verdict (invariant I11).
//!
//! 1. [`Attempts::connect`] checks, makes both sides' ICE credentials and the plan, and sends
//!    `attempt` to both peers in the same moment.
//! 2. [`Attempts::candidate`] forwards what a side finds later, within its budget ([`abroad`] says
//!    how it gets from one instance to another).
//! 3. [`Attempts::report`] takes what each side tells; the [`table`] decides when the attempt has
//!    ended, also if a side leaves or nobody tells anything.
//! 4. [`takeover`] says how sides at other instances are noticed, and who goes on with the attempts
//!    of an instance that dies.
//! 5. The verdict goes to the recorder, which never makes anybody wait (invariant I7).
//! 6. [`late`] takes what is told of a connection when its attempt is long forgotten here.

mod abroad;
mod candidates;
mod late;
mod open;
pub(crate) mod spans;
mod table;
mod takeover;

use std::sync::{Arc, Mutex, MutexGuard};
use std::time::SystemTime;

use p2p_nat::plan::{self, Pair, Recorded, RelayLegs, Tally};
use p2p_registry::{Ownership, PeerView, Registry};
use p2p_stats::{AttemptRecord, CandidateSummary, Learned, NatSummary, Outcomes, Recorder, Store};
use p2p_telemetry::metrics::{
    ATTEMPTS, ATTEMPTS_BY_NAT, TIME_TO_CONNECT_SECONDS, TIME_TO_DIRECT_SECONDS,
};
use p2p_wire::client::{Connect, Trickle};
use p2p_wire::server::{self, PeerState};
use p2p_wire::{
    AppId, Attempt, Candidate, Code, IceCredentials, IcePair, Method, NatProfile, PeerId, Policy,
    Problem, Report, Secret, ServerMessage,
};
use tokio::sync::Notify;
use tokio::time::{Instant, sleep_until};
use tracing::{debug, info};

pub(crate) use self::candidates::AddressPolicy;
use self::late::Late;
use self::table::{Effect, Table};
use crate::clock;
use crate::config::SignalingConfig;
use crate::meters;
use crate::random;
use crate::relays::Relays;

/// The attempts that this instance coordinates.
pub(crate) struct Attempts {
    table: Mutex<Table>,
    registry: Arc<dyn Registry>,
    recorder: Recorder,
    learned: Arc<Learned>,
    late: Late,
    addresses: AddressPolicy,
    timeout_ms: u64,
    /// Wakes the watch when a deadline may have come to be the next one.
    earlier: Notify,
}

impl Attempts {
    pub(crate) fn new(
        config: &SignalingConfig,
        registry: Arc<dyn Registry>,
        recorder: Recorder,
        learned: Arc<Learned>,
        store: Arc<dyn Store>,
    ) -> Self {
        Self {
            table: Mutex::new(Table::new(config.limits.attempts, &config.timing)),
            late: Late::start(store, recorder.clone(), registry.clone()),
            registry,
            recorder,
            learned,
            addresses: AddressPolicy { allow_loopback: config.allow_loopback_candidates },
            timeout_ms: u64::try_from(config.timing.attempt.as_millis()).unwrap_or(u64::MAX),
            earlier: Notify::new(),
        }
    }

    /// Which addresses a candidate may have.
    pub(crate) fn addresses(&self) -> AddressPolicy {
        self.addresses
    }

    /// Attempts that are not decided.
    pub(crate) fn open(&self) -> usize {
        self.lock().open()
    }

    /// Begins an attempt: the callee's `attempt` is sent, the caller's is returned.
    pub(crate) async fn connect(
        &self,
        caller: &Ownership,
        connect: Connect,
        relays: Option<&Relays>,
    ) -> Result<ServerMessage, Problem> {
        let began = SystemTime::now();
        let (app, callee) = (&caller.app, &connect.to);
        if *callee == caller.peer {
            return Err(problem(
                Code::BadMessage,
                "a peer cannot connect to itself".to_owned(),
                "name another peer",
            ));
        }
        let far = self.connected(app, callee).await?;
        let near = self.connected(app, &caller.peer).await?;
        self.lock().admit(app, &caller.peer, callee)?;

        let id = self.new_id();
        let (near_nat, far_nat) = (near.published.nat.as_ref(), far.published.nat.as_ref());
        let (near_ice, far_ice) = (ice_credentials(), ice_credentials());
        let now_unix = clock::unix_seconds();
        let relays = relays.filter(|_| connect.policy != Policy::Direct).map(|relays| {
            let [near, far] = [&near, &far].map(|view| view.published.region.as_deref());
            (relays, relays.for_pair(app, [(&caller.peer, near), (callee, far)]))
        });
        let relays_for = |peer: &PeerId| match &relays {
            Some((relays, pair)) => relays.for_side(pair, app, peer, now_unix),
            None => Vec::new(),
        };
        let offered = relays_for(&caller.peer);
        let uris = offered.iter().flat_map(|server| &server.urls).map(String::as_str);
        let plan = plan::plan(&Pair {
            caller: near_nat,
            callee: far_nat,
            policy: connect.policy,
            relays: RelayLegs::of(uris),
            recorded: recorded(&self.learned, near_nat, far_nat),
        });
        let side =
            |other: &PeerId, view: &PeerView, own: &IceCredentials, its: &IceCredentials| Attempt {
                attempt: id.clone(),
                id: None,
                peer: other.clone(),
                peer_meta: view.meta.clone(),
                controlling: false,
                policy: connect.policy,
                ice: IcePair { local: own.clone(), remote: its.clone() },
                peer_candidates: candidates::visible(&view.published.candidates, connect.policy),
                peer_nat: view.published.nat.as_ref().map(|nat| told(nat, connect.policy)),
                peer_key: view.key.clone(),
                relays: Vec::new(),
                plan: plan.clone(),
                timeout_ms: self.timeout_ms,
                traceparent: spans::traceparent(&id),
                first_flight: Vec::new(),
            };
        let for_callee = Attempt {
            relays: relays_for(callee),
            first_flight: connect.first_flight,
            ..side(&caller.peer, &near, &far_ice, &near_ice)
        };
        let for_caller = Attempt {
            id: Some(connect.id),
            controlling: true,
            relays: offered,
            ..side(callee, &far, &near_ice, &far_ice)
        };

        let mut record = AttemptRecord::begun(
            id.clone(),
            app.clone(),
            caller.peer.clone(),
            callee.clone(),
            clock::unix_millis(),
        );
        record.caller_nat = near_nat.map(NatSummary::from);
        record.callee_nat = far_nat.map(NatSummary::from);
        record.policy = connect.policy;
        record.plan = plan;
        let summaries = |view: &PeerView| {
            view.published.candidates.iter().map(CandidateSummary::from).collect()
        };
        record.story.caller_candidates = summaries(&near);
        record.story.callee_candidates = summaries(&far);
        // In the table first: the callee may answer before this call goes on.
        let given = [near.published.candidates.len(), far.published.candidates.len()];
        self.lock().insert(record, given, Instant::now());
        self.earlier.notify_one();
        let frame = ServerMessage::Attempt(Box::new(for_callee)).to_text();
        let signalling = SystemTime::now();
        let (signalled, ()) =
            tokio::join!(self.registry.signal(app, callee, frame.into()), self.watch_sides(&id));
        if !matches!(signalled, Ok(true)) {
            let known = self.lock().standing(&id);
            self.lock().forget(&id);
            if let Some(known) = known {
                self.unwatch_sides(&known.record).await;
            }
            return Err(signalled.map_or_else(|error| error.problem(), |_| away(callee)));
        }
        // A side that was gone by then has ended it: nobody has to hear of it first.
        let Some(known) = self.lock().standing(&id) else { return Err(away(callee)) };
        spans::connected(&known.record, connect.traceparent.as_ref(), began, signalling);
        debug!(attempt = %id, %app, caller = %caller.peer, %callee, "attempt begun");
        Ok(ServerMessage::Attempt(Box::new(for_caller)))
    }

    async fn candidate_here(
        &self,
        app: &AppId,
        from: &PeerId,
        trickle: Trickle,
    ) -> Result<(), Problem> {
        self.addresses.check(&trickle.candidate)?;
        let (charged, known) = {
            let mut table = self.lock();
            let charged = table.candidate(app, from, &trickle.attempt, &trickle.candidate);
            (charged, table.has(&trickle.attempt))
        };
        let (to, policy) = match charged {
            Err(problem) if !known => return self.late.candidate(app, from, trickle, problem),
            charged => charged?,
        };
        if !candidates::is_visible(&trickle.candidate, policy) {
            debug!(attempt = %trickle.attempt, "a candidate is kept back by the relay policy");
            return Ok(());
        }
        let Trickle { attempt, mut candidate } = trickle;
        candidates::strip(&mut candidate, policy);
        let frame = ServerMessage::Candidate(server::Trickle { attempt, candidate }).to_text();
        // Whether the other side is there is for its session to notice, not for this one.
        self.registry.signal(app, &to, frame.into()).await.map_err(|e| e.problem())?;
        Ok(())
    }

    async fn report_here(
        &self,
        app: &AppId,
        from: &PeerId,
        report: &Report,
    ) -> Result<(), Problem> {
        let reported = self.lock().report(app, from, report, Instant::now());
        let effects = match reported {
            Err(problem) => return self.late.report(app, from, report, problem),
            Ok(effects) => effects,
        };
        spans::reported(from, report);
        self.perform(effects).await;
        self.earlier.notify_one();
        // What has been reported is not lost with this instance.
        self.watch_sides(&report.attempt).await;
        Ok(())
    }

    /// A peer lost its connection; it has a while to come back.
    pub(crate) fn peer_lost(&self, app: &AppId, peer: &PeerId) {
        if self.lock().peer_lost(app, peer, Instant::now()) {
            self.earlier.notify_one();
        }
    }

    /// A peer took its session up again.
    pub(crate) fn peer_back(&self, app: &AppId, peer: &PeerId) {
        self.lock().peer_back(app, peer);
    }

    /// A peer said goodbye, or began a new session that knows nothing of its attempts.
    pub(crate) async fn peer_gone(&self, app: &AppId, peer: &PeerId) {
        let effects = self.lock().peer_gone(app, peer, Instant::now());
        self.perform(effects).await;
    }

    /// Ends attempts whose time has passed, and heeds what the registry notices. Never returns.
    pub(crate) async fn watch(&self) {
        match self.registry.notices() {
            Some(mut notices) => {
                let hearing = async {
                    while let Some(notice) = notices.recv().await {
                        self.notice(notice).await;
                    }
                };
                tokio::join!(self.watch_deadlines(), hearing);
            }
            None => self.watch_deadlines().await,
        }
    }

    async fn watch_deadlines(&self) {
        loop {
            let next = self.lock().next_due();
            match next {
                Some(at) => {
                    tokio::select! {
                        () = sleep_until(at) => {
                            let effects = self.lock().expire(Instant::now());
                            self.perform(effects).await;
                        }
                        () = self.earlier.notified() => {}
                    }
                }
                None => self.earlier.notified().await,
            }
        }
    }

    async fn perform(&self, effects: Vec<Effect>) {
        for effect in effects {
            match effect {
                Effect::Tell { app, peer, ended } => {
                    let frame = ServerMessage::Ended(ended).to_text();
                    if let Err(error) = self.registry.signal(&app, &peer, frame.into()).await {
                        debug!(%error, "a peer was not told that its attempt ended");
                    }
                }
                Effect::Record(record) => self.recorder.record(*record),
                Effect::Decided(record) => {
                    count(&record);
                    self.unwatch_sides(&record).await;
                }
            }
        }
    }

    async fn connected(&self, app: &AppId, peer: &PeerId) -> Result<PeerView, Problem> {
        match self.registry.peer(app, peer).await.map_err(|e| e.problem())? {
            Some(view) if view.state == PeerState::On => Ok(view),
            Some(_) => Err(away(peer)),
            None => Err(problem(
                Code::PeerNotFound,
                format!("no peer {peer} is connected"),
                "check the id, and that the other program runs and uses the same server and app",
            )),
        }
    }

    fn lock(&self) -> MutexGuard<'_, Table> {
        self.table.lock().expect("no code panics while it holds the table's lock")
    }
}

fn count(record: &AttemptRecord) {
    spans::decided(record);
    let outcome = record.outcome.as_str();
    ATTEMPTS.with([outcome, record.method.map_or("none", |m| m.as_str())]).increment(1);
    let nat = |nat: &Option<NatSummary>| {
        nat.as_ref().map(|nat| nat.nat_type).unwrap_or_default().to_string()
    };
    let (caller, callee) = (nat(&record.caller_nat), nat(&record.callee_nat));
    ATTEMPTS_BY_NAT.with([&caller, &callee, outcome]).increment(1);
    if let Some(ms) = record.connected_ms {
        TIME_TO_CONNECT_SECONDS.with([outcome]).record(ms as f64 / 1000.0);
    }
    if let Some(ms) = record.direct_ms {
        TIME_TO_DIRECT_SECONDS.get().record(ms as f64 / 1000.0);
    }
    info!(
        attempt = %record.attempt,
        app = %record.app,
        caller = %record.caller,
        callee = %record.callee,
        outcome,
        connected_ms = record.connected_ms,
        "attempt ended"
    );
}

/// What became of each method between networks of these two types, as far as this instance knows:
/// memory alone is asked, so that no attempt waits for the database (invariant I7).
fn recorded(learned: &Learned, one: Option<&NatProfile>, other: Option<&NatProfile>) -> Recorded {
    let [one, other] = [one, other].map(|nat| nat.map(|nat| nat.nat_type).unwrap_or_default());
    let mut recorded = Recorded::default();
    for method in [Method::Direct, Method::UdpHolePunch, Method::TcpHolePunch, Method::Relay] {
        let Outcomes { tried, worked } = learned.outcomes(one, other, method);
        recorded.add(method, Tally { tried, worked });
    }
    recorded
}

/// RFC 8445 §5.3: at least 24 bits of randomness in the fragment and 128 in the password.
fn ice_credentials() -> IceCredentials {
    IceCredentials { ufrag: random::ice_text::<6>(), pwd: Secret::new(random::ice_text::<18>()) }
}

/// A network without its address where the peers are not to learn each other's.
fn told(nat: &NatProfile, policy: Policy) -> NatProfile {
    let mut nat = nat.clone();
    if policy == Policy::Relay {
        nat.public_address = None;
        if let Some(tcp) = &mut nat.tcp {
            tcp.public_address = None;
        }
    }
    nat
}

fn away(peer: &PeerId) -> Problem {
    problem(
        Code::PeerNotFound,
        format!("{peer} has lost its connection to the coordinator"),
        "try again in a few seconds: it may be reconnecting",
    )
}

fn problem(code: Code, detail: String, fix: &str) -> Problem {
    Problem::new(code, "Attempt refused", detail, fix)
}

/// Takes out the candidates that no peer may be sent to, and says what was wrong with the first.
pub(crate) fn sift(
    policy: AddressPolicy,
    candidates: Vec<Candidate>,
) -> (Vec<Candidate>, Option<Problem>) {
    let mut refused = None;
    let kept = candidates
        .into_iter()
        .filter(|candidate| match policy.check(candidate) {
            Ok(()) => true,
            Err(problem) => {
                meters::limited("candidates");
                refused.get_or_insert(problem);
                false
            }
        })
        .collect();
    (kept, refused)
}
