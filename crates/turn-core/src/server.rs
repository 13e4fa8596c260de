//! The server: its public face, and the state that its parts share.
//!
//! What each message does is in the modules below this one, one file per step of RFC 8656.

mod allocate;
mod authenticate;
mod binding;
mod channel_bind;
mod create_permission;
mod data;
mod lifecycle;
mod refresh;
mod route;

use std::collections::VecDeque;
use std::time::Instant;

use rand::CryptoRng;

use crate::addr::{AllocationId, ClientAddr, FiveTuple, ListenerId, Now, PeerAddr};
use crate::allocation::Allocations;
use crate::challenge_limit::ChallengeLimiter;
use crate::channel_data;
use crate::config::ServerConfig;
use crate::counters::{Counters, Reason, RequestMethod};
use crate::credentials::Credentials;
use crate::listeners::{ListenerLoad, Listeners};
use crate::message::{self, Answer, Class, Inbound, IntegrityKey, MethodName, ParseError, Reply};
use crate::nonce::{NonceKey, Nonces};
use crate::peer_policy::PeerPolicy;
use crate::ports::PortPool;
use crate::quota::UserQuotas;
use crate::reservation::Reservations;
use crate::timers::Timers;

pub use route::{
    ChannelRoute, ClientAction, ClientRoute, Command, FreedAllocation, HEADROOM, OpenError,
    TAILROOM,
};

/// A STUN and TURN server over UDP, TCP and TLS.
///
/// The shell drives it:
///
/// 1. Each datagram from a client goes to [`handle_client`](Self::handle_client). On
///    [`ClientAction::Relay`] the shell sends that part of the datagram from the allocation's
///    relay socket to the peer.
/// 2. Each datagram at a relay socket goes to [`handle_peer`](Self::handle_peer). On a route the
///    shell writes the route's header in front of the payload, zeros behind it, and sends it to
///    the client.
/// 3. After that, [`poll_command`](Self::poll_command) until it returns `None`, and each
///    [`Command::CreateAllocation`] is answered with
///    [`allocation_opened`](Self::allocation_opened).
/// 4. [`poll_timeout`](Self::poll_timeout) says when to call
///    [`handle_timeout`](Self::handle_timeout) at the latest. It may change with every call.
///
/// A client that comes over TCP or TLS is handled the same way, at a listener that was named to
/// [`serve_stream`](Self::serve_stream): each message that a [`StreamReader`](crate::StreamReader)
/// finds counts as a datagram, and the end of the connection is told to
/// [`client_gone`](Self::client_gone).
///
/// Time never runs backwards between calls.
pub struct Server {
    config: ServerConfig,
    credentials: Credentials,
    policy: PeerPolicy,
    nonces: Nonces,
    challenges: ChallengeLimiter,
    /// A budget of its own: who measures much is not kept from allocating.
    discoveries: ChallengeLimiter,
    listeners: Listeners,
    allocations: Allocations,
    quotas: UserQuotas,
    /// One per relay address, in the order of the configuration.
    pools: Vec<PortPool>,
    reservations: Reservations,
    timers: Timers<TimerKey>,
    commands: VecDeque<Command>,
    counters: Counters,
    draining: bool,
    rng: Box<dyn CryptoRng + Send>,
}

/// Why a server cannot be made.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ServerError {
    #[error("no relay address is configured")]
    NoRelayIp,
    #[error("relay address {local} cannot be advertised as {advertised}: the families differ")]
    FamilyMismatch { local: std::net::IpAddr, advertised: std::net::IpAddr },
    #[error("the relay port range {first}-{last} is empty; write the lower port first")]
    NoPorts { first: u16, last: u16 },
    #[error("`{0}` cannot be a realm; use 1 to 127 printable characters, such as a domain name")]
    BadRealm(String),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum TimerKey {
    Allocation(AllocationId),
    Reservation(u64),
}

impl Server {
    /// `rng` picks relay ports and reservation tokens and has to be unpredictable in production.
    ///
    /// # Errors
    /// A configuration nobody could be served with.
    pub fn new(
        config: ServerConfig,
        credentials: Credentials,
        policy: PeerPolicy,
        nonce_key: NonceKey,
        mut rng: Box<dyn CryptoRng + Send>,
    ) -> Result<Self, ServerError> {
        check(&config, &credentials)?;
        Ok(Self {
            nonces: Nonces::new(nonce_key, config.lifetimes.nonce),
            challenges: ChallengeLimiter::new(config.limits.challenges, rng.next_u64()),
            discoveries: ChallengeLimiter::new(config.limits.challenges, rng.next_u64()),
            listeners: Listeners::default(),
            allocations: Allocations::default(),
            quotas: UserQuotas::new(config.limits.allocations_per_user),
            pools: config.relay_ips.iter().map(|_| PortPool::new(&config.relay_ports)).collect(),
            reservations: Reservations::new(config.limits.reservations),
            timers: Timers::new(),
            commands: VecDeque::new(),
            counters: Counters::default(),
            draining: false,
            config,
            credentials,
            policy,
            rng,
        })
    }

    /// Clients reach this listener over TCP or TLS.
    pub fn serve_stream(&mut self, listener: ListenerId) {
        self.listeners.set_stream(listener);
    }

    /// A datagram from a client.
    pub fn handle_client(
        &mut self,
        listener: ListenerId,
        client: ClientAddr,
        datagram: &[u8],
        now: Now,
    ) -> ClientAction {
        let tuple = FiveTuple { listener, client };
        let relay = match datagram.first() {
            Some(&first) if channel_data::looks_like(first) => {
                self.channel_data_from_client(tuple, datagram, now.instant)
            }
            Some(&first) if message::looks_like(first) => self.stun(tuple, datagram, now),
            _ => Err(Reason::NotStun),
        };
        relay.unwrap_or_else(|reason| {
            self.counters.count(reason);
            ClientAction::Done
        })
    }

    /// A datagram of `payload_len` bytes from `peer` at an allocation's relay socket: where it
    /// goes, or `None` when it is dropped.
    pub fn handle_peer(
        &mut self,
        id: AllocationId,
        peer: PeerAddr,
        payload_len: usize,
        now: Now,
    ) -> Option<ClientRoute> {
        self.data_from_peer(id, peer, payload_len, now.instant)
            .inspect_err(|&reason| self.counters.count(reason))
            .ok()
    }

    /// What is to be done next, in order.
    pub fn poll_command(&mut self) -> Option<Command> {
        self.commands.pop_front()
    }

    /// When [`handle_timeout`](Self::handle_timeout) is due.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Instant> {
        self.timers.next()
    }

    /// Answers to requests so far, drops by reason, and traffic.
    #[must_use]
    pub fn counters(&self) -> &Counters {
        &self.counters
    }

    #[must_use]
    pub fn allocation_count(&self) -> usize {
        self.allocations.len()
    }

    /// What the clients of one listener hold.
    #[must_use]
    pub fn load(&self, listener: ListenerId) -> ListenerLoad {
        self.listeners.load(listener)
    }

    /// Whether a client holds an allocation.
    #[must_use]
    pub fn has_allocation(&self, listener: ListenerId, client: ClientAddr) -> bool {
        self.allocations.id_of(FiveTuple { listener, client }).is_some()
    }

    /// Users with at least one allocation.
    #[must_use]
    pub fn user_count(&self) -> usize {
        self.quotas.users()
    }

    /// From here on new allocations are refused with 508; those that exist live on (I12).
    pub fn begin_drain(&mut self) {
        self.draining = true;
    }

    /// Puts a new nonce key in front. Nonces made with the key before stay good.
    pub fn rotate_nonce_key(&mut self, key: NonceKey) {
        self.nonces.rotate(key);
    }

    fn stun(
        &mut self,
        tuple: FiveTuple,
        datagram: &[u8],
        now: Now,
    ) -> Result<ClientAction, Reason> {
        let message = Inbound::parse(datagram).map_err(|error| match error {
            ParseError::Malformed => Reason::MalformedStun,
            ParseError::BadFingerprint => Reason::BadFingerprint,
        })?;
        match (message.class, message.method) {
            (Class::Indication, MethodName::Send) => {
                return self.send_indication(tuple, &message, now.instant);
            }
            // RFC 8489 §6.3.2: a Binding indication refreshes NAT mappings; nothing to do.
            (Class::Indication, MethodName::Request(RequestMethod::Binding)) => {}
            (Class::Indication | Class::Response, _) => return Err(Reason::UnexpectedClass),
            (Class::Request, MethodName::Request(method)) => {
                self.request(tuple, method, &message, now);
            }
            (Class::Request, MethodName::Send | MethodName::Data | MethodName::Other) => {
                return Err(Reason::UnknownMethod);
            }
        }
        Ok(ClientAction::Done)
    }

    fn request(
        &mut self,
        tuple: FiveTuple,
        method: RequestMethod,
        request: &Inbound<'_>,
        now: Now,
    ) {
        let reply = request.reply(method);
        match method {
            RequestMethod::Binding => self.binding(tuple, request, reply, now),
            RequestMethod::Allocate => self.allocate(tuple, request, reply, now),
            RequestMethod::Refresh => self.refresh(tuple, request, reply, now),
            RequestMethod::CreatePermission => self.create_permission(tuple, request, reply, now),
            RequestMethod::ChannelBind => self.channel_bind(tuple, request, reply, now),
        }
    }

    fn send(&mut self, to: FiveTuple, answer: Answer) {
        let FiveTuple { listener, client } = to;
        let Answer { method, result, datagram } = answer;
        self.counters.count_answer(method, result);
        self.commands.push_back(Command::SendToClient { listener, client, datagram });
    }

    /// Answers with an error that the key vouches for.
    fn refuse(&mut self, to: FiveTuple, reply: Reply, key: &IntegrityKey, refusal: Refusal) {
        self.counters.count(refusal.reason);
        self.send(to, reply.error(refusal.code).sign(key));
    }
}

/// An error answer and the reason it is counted under.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Refusal {
    code: u16,
    reason: Reason,
}

/// The error codes of RFC 8489 §14.8 and RFC 8656 §19.
impl Refusal {
    const BAD_REQUEST: Self = Self { code: 400, reason: Reason::BadRequest };
    const PEER_DENIED: Self = Self { code: 403, reason: Reason::PeerDenied };
    const ALLOCATION_MISMATCH: Self = Self { code: 437, reason: Reason::AllocationMismatch };
    const FAMILY_NOT_SUPPORTED: Self = Self { code: 440, reason: Reason::FamilyNotSupported };
    const WRONG_OWNER: Self = Self { code: 441, reason: Reason::WrongOwner };
    const TRANSPORT_NOT_SUPPORTED: Self = Self { code: 442, reason: Reason::TransportNotSupported };
    const PEER_FAMILY_MISMATCH: Self = Self { code: 443, reason: Reason::PeerFamilyMismatch };
    const USER_QUOTA: Self = Self { code: 486, reason: Reason::UserQuotaReached };
    const ALLOCATION_LIMIT: Self = Self { code: 508, reason: Reason::AllocationLimit };
    const NO_PORT: Self = Self { code: 508, reason: Reason::NoPort };
    const NO_RESERVATION: Self = Self { code: 508, reason: Reason::NoReservation };
    const DRAINING: Self = Self { code: 508, reason: Reason::Draining };
    const PERMISSION_LIMIT: Self = Self { code: 508, reason: Reason::PermissionLimit };
    const CHANNEL_LIMIT: Self = Self { code: 508, reason: Reason::ChannelLimit };
}

impl From<message::BadAttribute> for Refusal {
    fn from(_: message::BadAttribute) -> Self {
        Self::BAD_REQUEST
    }
}

fn check(config: &ServerConfig, credentials: &Credentials) -> Result<(), ServerError> {
    if config.relay_ips.is_empty() {
        return Err(ServerError::NoRelayIp);
    }
    if let Some(ip) =
        config.relay_ips.iter().find(|ip| ip.local.is_ipv4() != ip.advertised.is_ipv4())
    {
        return Err(ServerError::FamilyMismatch { local: ip.local, advertised: ip.advertised });
    }
    if config.relay_ports.is_empty() {
        let (first, last) = (*config.relay_ports.start(), *config.relay_ports.end());
        return Err(ServerError::NoPorts { first, last });
    }
    if !message::is_valid_realm(credentials.realm()) {
        return Err(ServerError::BadRealm(credentials.realm().to_owned()));
    }
    Ok(())
}
