//! The long-term credential mechanism (RFC 8489 §9.2.4, RFC 8656 §5).
//!
//! Until a request carries a fresh nonce of ours and a right MESSAGE-INTEGRITY, it leaves nothing
//! behind here (I3): challenges are computed, rate limited and forgotten.

use super::{Refusal, Server};
use crate::addr::{AllocationId, FiveTuple, Now};
use crate::counters::Reason;
use crate::credentials::{LookupError, UserId};
use crate::message::{Inbound, IntegrityKey, Reply};

/// The author of a request, proved.
pub(super) struct Authenticated {
    pub(super) user: UserId,
    pub(super) username: Box<str>,
    /// Signs the answer.
    pub(super) key: IntegrityKey,
}

impl Server {
    /// Who sent this request? `None`: nobody proven, and the answer, if any, is on its way.
    ///
    /// The steps are those of RFC 8489 §9.2.4, in its order.
    pub(super) fn authenticate(
        &mut self,
        tuple: FiveTuple,
        request: &Inbound<'_>,
        reply: Reply,
        now: Now,
    ) -> Option<Authenticated> {
        if !request.has_integrity() {
            self.challenge(tuple, reply, 401, Reason::Challenged, now);
            return None;
        }
        let (Some(username), Some(_realm), Some(nonce)) =
            (request.username(), request.realm(), request.nonce())
        else {
            if self.may_answer(tuple, now) {
                self.counters.count(Reason::BadRequest);
                self.send(tuple, reply.error(Refusal::BAD_REQUEST.code).finish());
            }
            return None;
        };
        if !self.nonces.is_fresh(nonce, tuple.client, now.unix) {
            self.challenge(tuple, reply, 438, Reason::StaleNonce, now);
            return None;
        }
        match self.prove(tuple, username, request, now) {
            Ok(authenticated) => {
                self.refuse_unknown_attributes(tuple, request, reply, authenticated)
            }
            Err(reason) => {
                self.challenge(tuple, reply, 401, reason, now);
                None
            }
        }
    }

    /// The allocation of this 5-tuple, if the request's author owns it; else an answer is on its
    /// way.
    pub(super) fn authenticate_owner(
        &mut self,
        tuple: FiveTuple,
        request: &Inbound<'_>,
        reply: Reply,
        now: Now,
    ) -> Option<(AllocationId, Authenticated)> {
        let author = self.authenticate(tuple, request, reply, now)?;
        let open = self.allocations.id_of(tuple).and_then(|id| {
            let allocation = self.allocations.get(id).filter(|allocation| allocation.is_open())?;
            Some((id, allocation.owner.user == author.user))
        });
        let refusal = match open {
            Some((id, true)) => return Some((id, author)),
            // RFC 8656 §5: the user of every request is the one that made the allocation.
            Some((_, false)) => Refusal::WRONG_OWNER,
            None => Refusal::ALLOCATION_MISMATCH,
        };
        self.refuse(tuple, reply, &author.key, refusal);
        None
    }

    fn prove(
        &self,
        tuple: FiveTuple,
        username: &str,
        request: &Inbound<'_>,
        now: Now,
    ) -> Result<Authenticated, Reason> {
        let holder = self.allocations.id_of(tuple).and_then(|id| self.allocations.get(id));
        if let Some(allocation) = holder
            && *allocation.owner.username == *username
        {
            let owner = &allocation.owner;
            return if request.is_signed_by(&owner.key) {
                let (user, username) = (owner.user.clone(), owner.username.clone());
                Ok(Authenticated { user, username, key: owner.key.clone() })
            } else {
                Err(Reason::WrongCredentials)
            };
        }
        let (user, keys) =
            self.credentials.lookup(username, now.unix).map_err(|error| match error {
                LookupError::Unknown => Reason::WrongCredentials,
                LookupError::Expired => Reason::CredentialExpired,
            })?;
        let key = keys.into_iter().find(|key| request.is_signed_by(key));
        let key = key.ok_or(Reason::WrongCredentials)?;
        Ok(Authenticated { user, username: username.into(), key })
    }

    /// RFC 8489 §6.3.1: after authentication.
    fn refuse_unknown_attributes(
        &mut self,
        tuple: FiveTuple,
        request: &Inbound<'_>,
        reply: Reply,
        author: Authenticated,
    ) -> Option<Authenticated> {
        let unknown = request.unknown_attributes();
        if unknown.is_empty() {
            return Some(author);
        }
        self.counters.count(Reason::UnknownAttribute);
        let answer = reply.error(420).unknown_attributes(&unknown);
        self.send(tuple, answer.sign(&author.key));
        None
    }

    fn challenge(&mut self, tuple: FiveTuple, reply: Reply, code: u16, reason: Reason, now: Now) {
        if !self.may_answer(tuple, now) {
            return;
        }
        self.counters.count(reason);
        let nonce = self.nonces.mint(tuple.client, now.unix);
        let answer = reply.error(code).challenge(self.credentials.realm(), &nonce);
        self.send(tuple, answer.finish());
    }

    /// Whether a source that has proved nothing gets one more answer. Who has connected has at least
    /// proved its address: nobody else is hit by the answers.
    fn may_answer(&mut self, tuple: FiveTuple, now: Now) -> bool {
        let permitted = self.listeners.is_stream(tuple.listener)
            || self.challenges.permit(tuple.client, now.instant);
        if !permitted {
            self.counters.count(Reason::ChallengeRateLimited);
        }
        permitted
    }
}
