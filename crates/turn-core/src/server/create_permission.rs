//! CreatePermission: the peers data may be exchanged with (RFC 8656 §10.2).

use std::net::{IpAddr, SocketAddr};

use super::{Refusal, Server};
use crate::addr::{AllocationId, FiveTuple, Now, PeerAddr};
use crate::canonical::canonical_socket_addr;
use crate::message::{AddressFamily, Inbound, Reply};

impl Server {
    /// All peers of the request, or none.
    pub(super) fn create_permission(
        &mut self,
        tuple: FiveTuple,
        request: &Inbound<'_>,
        reply: Reply,
        now: Now,
    ) {
        let Some((id, author)) = self.authenticate_owner(tuple, request, reply, now) else {
            return;
        };
        match self.permitted_peers(id, request) {
            Ok(peers) => {
                self.install_permissions(id, &peers, now);
                self.send(tuple, reply.success().sign(&author.key));
            }
            Err(refusal) => self.refuse(tuple, reply, &author.key, refusal),
        }
    }

    fn permitted_peers(
        &self,
        id: AllocationId,
        request: &Inbound<'_>,
    ) -> Result<Vec<IpAddr>, Refusal> {
        let peers = request.peers()?;
        if peers.is_empty() {
            return Err(Refusal::BAD_REQUEST);
        }
        let mut ips = Vec::with_capacity(peers.len());
        for peer in peers {
            let peer = self.peer_of_family(id, peer)?;
            self.policy.check_permission(peer).map_err(|_| Refusal::PEER_DENIED)?;
            ips.push(peer.0.ip());
        }
        self.check_permission_limit(id, &ips)?;
        Ok(ips)
    }

    /// The peer in canonical spelling, if the allocation's socket can reach its family at all.
    pub(super) fn peer_of_family(
        &self,
        id: AllocationId,
        peer: SocketAddr,
    ) -> Result<PeerAddr, Refusal> {
        let peer = canonical_socket_addr(peer);
        let allocation = self.allocations.get(id).ok_or(Refusal::ALLOCATION_MISMATCH)?;
        if AddressFamily::of(peer) != allocation.family() {
            return Err(Refusal::PEER_FAMILY_MISMATCH);
        }
        Ok(PeerAddr(peer))
    }

    pub(super) fn check_permission_limit(
        &self,
        id: AllocationId,
        peers: &[IpAddr],
    ) -> Result<(), Refusal> {
        let allocation = self.allocations.get(id).ok_or(Refusal::ALLOCATION_MISMATCH)?;
        if allocation.permissions.count_with(peers) > self.config.limits.permissions_per_allocation
        {
            return Err(Refusal::PERMISSION_LIMIT);
        }
        Ok(())
    }

    pub(super) fn install_permissions(&mut self, id: AllocationId, peers: &[IpAddr], now: Now) {
        let until = now.instant + self.config.lifetimes.permission;
        if let Some(allocation) = self.allocations.get_mut(id) {
            for &peer in peers {
                allocation.permissions.install(peer, until);
            }
        }
        self.reschedule(id);
    }
}
