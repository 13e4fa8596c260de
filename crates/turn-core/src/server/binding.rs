//! Binding: tells a client how its address looks from here (RFC 8489 §3).

use super::Server;
use crate::addr::FiveTuple;
use crate::counters::Reason;
use crate::message::{Inbound, Reply};

impl Server {
    /// Stateless, and short: XOR-MAPPED-ADDRESS and nothing else. A source address may be forged,
    /// so every byte more is a byte of amplification (I3).
    pub(super) fn binding(&mut self, tuple: FiveTuple, request: &Inbound<'_>, reply: Reply) {
        let unknown = request.unknown_attributes();
        if !unknown.is_empty() {
            self.counters.count(Reason::UnknownAttribute);
            let answer = reply.error(420).unknown_attributes(&unknown);
            self.send(tuple, answer.finish());
            return;
        }
        let answer = reply.success().mapped_address(tuple.client.0);
        self.send(tuple, answer.finish());
    }
}
