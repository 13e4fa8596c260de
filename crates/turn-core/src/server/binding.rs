//! Binding: tells a client how its address looks from here (RFC 8489 §3), and lets it find out how
//! its NAT behaves (RFC 5780 §6.1).

use super::Server;
use crate::addr::{FiveTuple, Now};
use crate::counters::Reason;
use crate::discovery::{Discovery, Origin};
use crate::message::{self, Inbound, Reply};

impl Server {
    /// Stateless, and short: a source address may be forged, so every byte more is a byte of
    /// amplification (I3). 20 bytes get 32; where there is an alternate address they get 56, which
    /// is what the client needs to know of it (RFC 5780 §6.1), and 32 again once a source has had
    /// its share. IPv6 addresses are longer: 44 bytes, 92 and 44. With the headers of IP and UDP an
    /// answer is at most 1.8 times its request, over IPv6 2.1 times.
    pub(super) fn binding(
        &mut self,
        tuple: FiveTuple,
        request: &Inbound<'_>,
        reply: Reply,
        now: Now,
    ) {
        let mut unknown = request.unknown_attributes();
        let discovery = self.config.discovery.as_ref();
        let plain_of = |d: Option<&Discovery>| d?.origin(tuple.listener, Default::default());
        let over_datagrams = plain_of(discovery);
        let plain = over_datagrams.or_else(|| plain_of(self.config.stream_discovery.as_ref()));
        if over_datagrams.is_some() {
            unknown.retain(|&kind| kind != message::CHANGE_REQUEST);
        }
        if !unknown.is_empty() {
            self.counters.count(Reason::UnknownAttribute);
            let answer = reply.error(420).unknown_attributes(&unknown);
            self.send(tuple, answer.finish());
            return;
        }
        let answer = reply.success().mapped_address(tuple.client.0);
        let Some(plain) = plain else {
            self.send(tuple, answer.finish());
            return;
        };
        let origin = match request.change_request() {
            Ok(None) => plain,
            Ok(Some(change)) => {
                let changed = discovery.and_then(|d| d.origin(tuple.listener, change));
                changed.unwrap_or(plain)
            }
            Err(_) => {
                self.counters.count(Reason::BadRequest);
                self.send(tuple, reply.error(400).finish());
                return;
            }
        };
        if self.discoveries.permit(tuple.client, now.instant) {
            let Origin { listener, origin, other } = origin;
            let from = FiveTuple { listener, ..tuple };
            self.send(from, answer.origin(origin, other).finish());
        } else {
            self.counters.count(Reason::DiscoveryRateLimited);
            // The address is what most ask for; an answer from elsewhere was asked for explicitly
            // and one from here would mislead.
            if origin == plain {
                self.send(tuple, answer.finish());
            }
        }
    }
}
