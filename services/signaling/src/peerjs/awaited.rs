//! To whom the messages went whose receipts have not come: a PeerJS client sends no ids, so its
//! messages get numbers here.

use std::collections::VecDeque;

use p2p_wire::{PeerId, RequestId};

use crate::random;

/// Messages whose receipts one connection waits for. Of an older one it does not learn any more that it
/// is lost.
const MAX_AWAITED: usize = 512;

/// The messages of one connection.
pub(super) struct Awaited {
    /// Begins every id, because a session may have several connections.
    connection: String,
    last: u64,
    messages: VecDeque<(u64, PeerId)>,
}

impl Awaited {
    pub(super) fn new() -> Self {
        Self { connection: random::url_text::<9>(), last: 0, messages: VecDeque::new() }
    }

    /// The id of another message.
    pub(super) fn id(&mut self) -> RequestId {
        self.last += 1;
        RequestId::new(format!("{}.{}", self.connection, self.last))
            .expect("letters, digits and a dot are an id")
    }

    /// A message is in the inbox of this peer. Says whether an older one had to be forgotten.
    pub(super) fn begin(&mut self, id: &RequestId, to: &PeerId) -> bool {
        let Some(number) = self.number(id.as_str()) else { return false };
        let full = self.messages.len() >= MAX_AWAITED;
        if full {
            self.messages.pop_front();
        }
        self.messages.push_back((number, to.clone()));
        full
    }

    /// A message has arrived.
    pub(super) fn delivered(&mut self, id: &str) {
        if let Some(at) = self.position(id) {
            self.messages.remove(at);
        }
    }

    /// A message is lost, and with it all that went the same way. Names its receiver once.
    pub(super) fn lost(&mut self, id: &str) -> Option<PeerId> {
        let at = self.position(id)?;
        let (_, to) = self.messages.remove(at)?;
        self.messages.retain(|(_, other)| *other != to);
        Some(to)
    }

    fn position(&self, id: &str) -> Option<usize> {
        let number = self.number(id)?;
        self.messages.iter().position(|(other, _)| *other == number)
    }

    fn number(&self, id: &str) -> Option<u64> {
        id.strip_prefix(self.connection.as_str())?.strip_prefix('.')?.parse().ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn peer(name: &str) -> PeerId {
        name.parse().unwrap()
    }

    #[test]
    fn a_receiver_who_is_lost_is_named_once_however_many_messages_it_had() {
        let mut awaited = Awaited::new();
        let mut send = |to: &str| {
            let id = awaited.id();
            assert!(!awaited.begin(&id, &peer(to)));
            id
        };
        let ids = [send("bob"), send("carol"), send("bob"), send("bob")];
        awaited.delivered(ids[0].as_str());
        assert_eq!(awaited.lost(ids[0].as_str()), None, "it has arrived");
        assert_eq!(awaited.lost(ids[2].as_str()), Some(peer("bob")));
        assert_eq!(awaited.lost(ids[3].as_str()), None, "bob is known to be lost");
        assert_eq!(awaited.lost(ids[1].as_str()), Some(peer("carol")));
        let others = Awaited::new().id();
        assert_eq!(awaited.lost(others.as_str()), None, "of another connection");
    }

    #[test]
    fn i5_so_many_receipts_are_waited_for() {
        let mut awaited = Awaited::new();
        let ids: Vec<_> = (0..=MAX_AWAITED).map(|_| awaited.id()).collect();
        let forgot: Vec<_> = ids.iter().map(|id| awaited.begin(id, &peer("bob"))).collect();
        assert_eq!(forgot.iter().filter(|forgot| **forgot).count(), 1);
        assert_eq!(awaited.lost(ids[0].as_str()), None, "the oldest is forgotten");
    }
}
