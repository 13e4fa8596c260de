//! What travels between a client and a signaling instance: messages, ids, close codes, limits.
//!
//! Pure data. Parsing checks every bound that can be checked without knowing the peer, so that code
//! behind this crate never meets an id with control characters or a message of 3 MB.
//! The protocol in prose is `docs/protocol.md`; [`schema`] gives the JSON Schema of these types.
#![warn(missing_docs)]

pub mod attempt;
pub mod candidate;
pub mod cidr;
pub mod client;
pub mod close;
mod frame;
pub mod ids;
pub mod limits;
pub mod nat;
pub mod payload;
pub mod peerjs;
mod plain;
pub mod plan;
pub mod problem;
pub mod report;
pub mod schema;
pub mod secret;
pub mod server;
pub mod trace;

/// The WebSocket subprotocol that both sides must name.
pub const SUBPROTOCOL: &str = "p2p.v1";

pub use attempt::{Attempt, IceCredentials, IcePair, IceServer, Policy};
pub use candidate::{Candidate, CandidateKind, Transport};
pub use cidr::{Cidr, CidrError};
pub use client::ClientMessage;
pub use close::CloseCode;
pub use ids::{AppId, AttemptId, InvalidId, PeerId, PeerKey, RequestId, RoomName, SessionId};
pub use limits::Limits;
pub use nat::{Filtering, Mapping, NatProfile, NatType, PortAllocation, TcpProfile};
pub use payload::{Meta, Payload};
pub use plan::{Method, PlanStep, Tactic};
pub use problem::{Code, Problem};
pub use report::{Outcome, PathReason, PathUse, Report, Step, StepResult};
pub use secret::{Redacted, Secret};
pub use server::ServerMessage;
pub use trace::{InvalidTraceParent, TraceParent};
