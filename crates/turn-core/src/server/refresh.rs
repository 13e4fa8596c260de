//! Refresh: an allocation lives on, or ends (RFC 8656 §8.2).

use std::time::Duration;

use super::{Refusal, Server};
use crate::addr::{AllocationId, FiveTuple, Now};
use crate::counters::AllocationEnd;
use crate::message::{FamilyWish, Inbound, Reply};

impl Server {
    pub(super) fn refresh(
        &mut self,
        tuple: FiveTuple,
        request: &Inbound<'_>,
        reply: Reply,
        now: Now,
    ) {
        let Some((id, author)) = self.authenticate_owner(tuple, request, reply, now) else {
            return;
        };
        match self.new_lifetime(id, request) {
            Ok(lifetime) => {
                if lifetime.is_zero() {
                    self.free(id, AllocationEnd::Deleted, now);
                } else if let Some(allocation) = self.allocations.get_mut(id) {
                    allocation.expires = now.instant + lifetime;
                    self.reschedule(id);
                }
                let answer = reply.success().lifetime(lifetime.as_secs() as u32);
                self.send(tuple, answer.sign(&author.key));
            }
            Err(refusal) => self.refuse(tuple, reply, &author.key, refusal),
        }
    }

    /// Zero means: delete.
    fn new_lifetime(&self, id: AllocationId, request: &Inbound<'_>) -> Result<Duration, Refusal> {
        let family = self.allocations.get(id).map(|allocation| allocation.family());
        match (request.requested_family()?, family) {
            (Some(FamilyWish::Known(asked)), Some(family)) if asked == family => {}
            (Some(_), _) => return Err(Refusal::PEER_FAMILY_MISMATCH),
            (None, _) => {}
        }
        Ok(match request.lifetime()? {
            Some(0) => Duration::ZERO,
            asked => self.granted_lifetime(asked),
        })
    }
}
