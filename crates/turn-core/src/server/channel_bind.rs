//! ChannelBind: four bytes of header instead of thirty-six (RFC 8656 §12.2).

use super::{ChannelRoute, Command, Refusal, Server};
use crate::addr::{AllocationId, FiveTuple, Now, PeerAddr};
use crate::channel::ChannelNumber;
use crate::config::RelayIp;
use crate::message::{Inbound, Reply};

impl Server {
    pub(super) fn channel_bind(
        &mut self,
        tuple: FiveTuple,
        request: &Inbound<'_>,
        reply: Reply,
        now: Now,
    ) {
        let Some((id, author)) = self.authenticate_owner(tuple, request, reply, now) else {
            return;
        };
        // A binding that has run out but was not swept yet must not stand in the way.
        self.expire_parts(id, now);
        match self.check_channel(id, request) {
            Ok((number, peer)) => {
                self.bind_channel(id, number, peer, now);
                self.send(tuple, reply.success().sign(&author.key));
            }
            Err(refusal) => self.refuse(tuple, reply, &author.key, refusal),
        }
    }

    fn check_channel(
        &self,
        id: AllocationId,
        request: &Inbound<'_>,
    ) -> Result<(ChannelNumber, PeerAddr), Refusal> {
        let number = request.channel_number()?.and_then(ChannelNumber::new);
        let number = number.ok_or(Refusal::BAD_REQUEST)?;
        let peer = request.peer()?.ok_or(Refusal::BAD_REQUEST)?;
        let peer = self.peer_of_family(id, peer)?;
        self.policy.check(peer).map_err(|_| Refusal::PEER_DENIED)?;

        let allocation = self.allocations.get(id).ok_or(Refusal::ALLOCATION_MISMATCH)?;
        let known = allocation.channels.check(number, peer).map_err(|_| Refusal::BAD_REQUEST)?;
        if !known && allocation.channels.len() >= self.config.limits.channels_per_allocation {
            return Err(Refusal::CHANNEL_LIMIT);
        }
        self.check_permission_limit(id, &[peer.0.ip()])?;
        Ok((number, peer))
    }

    /// Binding a channel also installs or refreshes the peer's permission.
    fn bind_channel(&mut self, id: AllocationId, number: ChannelNumber, peer: PeerAddr, now: Now) {
        let until = now.instant + self.config.lifetimes.channel;
        if let Some(allocation) = self.allocations.get_mut(id) {
            allocation.channels.bind(number, peer, until);
        }
        self.install_permissions(id, &[peer.0.ip()], now);
        if let Some(route) = self.channel_route(id, number, peer) {
            self.commands.push_back(Command::BindChannel(route));
        }
    }

    pub(super) fn channel_route(
        &self,
        id: AllocationId,
        number: ChannelNumber,
        peer: PeerAddr,
    ) -> Option<ChannelRoute> {
        let allocation = self.allocations.get(id)?;
        Some(ChannelRoute {
            allocation: id,
            listener: allocation.tuple.listener,
            client: allocation.tuple.client,
            number,
            relayed: allocation.relayed.local,
            peer: PeerAddr(RelayIp::inside(&self.config.relay_ips, peer.0)),
        })
    }
}
