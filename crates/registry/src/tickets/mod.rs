//! What one-time tickets stand for, until they are shown: in the memory of one instance, or in the
//! Redis that several share.
//!
//! A ticket is kept by its hash. Whoever reads where it is kept cannot use it.

mod memory;
mod shared;

use std::time::Duration;

use aws_lc_rs::digest;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

pub use self::memory::MemoryTickets;
pub use self::shared::RedisTickets;
use crate::registry::Answer;

/// Tickets that one holder may have open at a time: no one takes all of them.
pub const MAX_TICKETS_OF_ONE: usize = 64;

/// Where tickets are kept.
pub trait TicketBox: std::fmt::Debug + Send + Sync {
    /// Keeps what a ticket of this holder stands for, for a while.
    fn keep<'a>(
        &'a self,
        ticket: &'a str,
        holder: &'a str,
        what: String,
        ttl: Duration,
    ) -> Answer<'a, Kept>;

    /// Takes a ticket, which then is good no more; `None` where there is none such.
    fn take<'a>(&'a self, ticket: &'a str) -> Answer<'a, Option<String>>;
}

/// What became of a ticket that was to be kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kept {
    /// It can be shown.
    Yes,
    /// Its holder has [`MAX_TICKETS_OF_ONE`] open.
    HolderFull,
    /// There are as many as there may be.
    Full,
}

fn hash(text: &str) -> String {
    URL_SAFE_NO_PAD.encode(digest::digest(&digest::SHA256, text.as_bytes()))
}
