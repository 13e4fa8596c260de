//! NAT behaviour in the terms of RFC 4787 and RFC 5780: from what was observed to a profile, from
//! two profiles to a plan, from an outcome to a sentence.
//!
//! Pure: the client that measures and the coordinator that plans call the same functions.
//!
//! - [`classify`]: which address each STUN server saw → [`NatProfile`](p2p_wire::NatProfile)
//! - [`ports`]: which external ports a NAT chooses
//! - [`plan`]: two profiles → the strategies to try, in order, with their chances
//! - [`advice`]: what a profile means for its owner, and what would help
//! - [`verdict`]: how an attempt ended, in one sentence
#![warn(missing_docs)]

pub mod advice;
pub mod classify;
pub mod plan;
pub mod ports;
pub mod verdict;
