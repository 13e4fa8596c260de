//! Taking a peer id, while events for it may overtake the answer.

use std::sync::Arc;

use p2p_wire::SessionId;
use tokio::time::Instant;
use uuid::Uuid;

use super::local::{Held, Key, Local};
use super::reply::parsed;
use super::{Shared, read_published, refused, to_json};
use crate::claim::{Claim, Claimed, Ownership};
use crate::error::RegistryError;
use crate::secret::SecretHash;

/// Stands for whichever session the secret is of. No session has a name like this.
const ANY_SESSION: &str = "*";

impl Shared {
    pub(super) async fn claim(self: &Arc<Self>, claim: Claim) -> Result<Claimed, RegistryError> {
        let key = (claim.app.clone(), claim.peer.clone());
        {
            let mut table = self.table();
            let most = self.behaviour.max_peers;
            if table.sessions.len() >= most && !table.sessions.contains_key(&key) {
                return Err(RegistryError::Full(most));
            }
            table.begin_claim(key.clone());
        }
        let claiming = Claiming { shared: self, key };
        claiming.take(claim).await
    }
}

/// A claim on its way: events that overtake its answer are kept for it.
struct Claiming<'a> {
    shared: &'a Arc<Shared>,
    key: Key,
}

impl Claiming<'_> {
    async fn take(&self, claim: Claim) -> Result<Claimed, RegistryError> {
        let shared = self.shared;
        let (secret, hash) = claim.secret();
        let session = Uuid::new_v4().simple().to_string();
        let policy = claim.policy(&shared.behaviour.conflict).as_str();
        let (resumed, proof, last_seq) = match (&claim.resume, &claim.standing) {
            (Some(resume), _) => (
                resume.session.as_str().to_owned(),
                SecretHash::of(&resume.secret).to_text(),
                resume.last_seq,
            ),
            (None, Some(_)) => (ANY_SESSION.to_owned(), hash.to_text(), 0),
            (None, None) => (String::new(), String::new(), 0),
        };
        let mut reply = shared
            .call(&shared.scripts.claim, &claim.app, |call| {
                call.arg(claim.peer.as_str())
                    .arg(&shared.instance)
                    .arg(policy)
                    .arg(to_json(&claim.meta))
                    .arg(claim.key.as_ref().map(to_json).unwrap_or_default())
                    .arg(&session)
                    .arg(hash.to_text())
                    .arg(&resumed)
                    .arg(&proof)
                    .arg(last_seq);
            })
            .await?;
        shared.table().counts.expired += reply.number()?;
        match reply.word.as_str() {
            "ok" => {}
            "expired" => return Err(RegistryError::SessionExpired),
            "taken" => return Err(RegistryError::PeerTaken),
            word => return Err(refused(word)),
        }
        let epoch = reply.number()?;
        let session: SessionId = parsed(&reply.text()?)?;
        let resumed = reply.number()? == 1;
        let ownership =
            Ownership { app: claim.app.clone(), peer: claim.peer.clone(), epoch, session };
        let mut local = Local::new(ownership.clone(), claim.link, hash);
        local.meta = claim.meta;
        local.key = claim.key;
        let mut replay = Vec::new();
        if resumed {
            for (seq, mail) in reply.mail()? {
                replay.push(Held::frame(seq, &mail));
                local.hold(seq, mail);
            }
            local.rooms = reply.roles()?.into_iter().map(|(r, role)| (r, (role, 0))).collect();
            local.published = read_published(&reply.text()?)?;
            let seq = reply.number()?;
            (local.last, local.synced) = (seq, seq);
            local.acked = last_seq.min(seq);
            local.repeats_until = Some(Instant::now() + shared.behaviour.resume_window);
        }
        let fetch = {
            let mut table = shared.table();
            table.counts.resumed += u64::from(resumed);
            table.register(&self.key, local)
        };
        if fetch {
            shared.fetch(ownership.clone());
        }
        Ok(Claimed { ownership, secret, resumed, replay })
    }
}

impl Drop for Claiming<'_> {
    fn drop(&mut self) {
        self.shared.table().end_claim(&self.key);
    }
}
