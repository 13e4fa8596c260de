//! How much waits at this instance for peers who are not there yet: for each of them, and in all.
//!
//! Whoever likes may call any number of ids that nobody has. What each connection keeps is bounded in
//! [`super::waiting`]; this bounds what all of them keep (invariant I5).

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::sync::{Arc, Mutex, MutexGuard};

use p2p_wire::limits::MAX_INBOX_MESSAGES;
use p2p_wire::{AppId, PeerId};

/// Bytes that may wait at one instance.
const MAX_BYTES: usize = 64 * 1024 * 1024;

/// What waits at one instance.
#[derive(Default)]
pub(crate) struct Places(Mutex<Taken>);

#[derive(Default)]
struct Taken {
    bytes: usize,
    count: usize,
    messages: HashMap<(AppId, PeerId), usize>,
}

/// One message's place, until it is dropped.
pub(crate) struct Place {
    places: Arc<Places>,
    of: (AppId, PeerId),
    bytes: usize,
}

impl Places {
    /// A place for a message of so many bytes to this peer, unless there are none left.
    pub(crate) fn take(self: &Arc<Self>, app: &AppId, to: &PeerId, bytes: usize) -> Option<Place> {
        let of = (app.clone(), to.clone());
        let mut taken = self.lock();
        let full = taken.bytes + bytes > MAX_BYTES
            || taken.messages.get(&of).is_some_and(|count| *count >= MAX_INBOX_MESSAGES);
        if full {
            return None;
        }
        taken.bytes += bytes;
        taken.count += 1;
        *taken.messages.entry(of.clone()).or_default() += 1;
        Some(Place { places: self.clone(), of, bytes })
    }

    /// How many messages wait.
    pub(crate) fn count(&self) -> usize {
        self.lock().count
    }

    fn lock(&self) -> MutexGuard<'_, Taken> {
        self.0.lock().expect("no code panics while it holds the lock of the places")
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut taken = self.places.lock();
        taken.bytes -= self.bytes;
        taken.count -= 1;
        if let Entry::Occupied(mut count) = taken.messages.entry(self.of.clone()) {
            *count.get_mut() -= 1;
            if *count.get() == 0 {
                count.remove();
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn peer(name: &str) -> PeerId {
        name.parse().unwrap()
    }

    #[test]
    fn i5_a_peer_has_so_many_places_whoever_takes_them_and_the_instance_so_many_bytes() {
        let (places, app) = (Arc::new(Places::default()), AppId::default());
        let mut held: Vec<_> = (0..MAX_INBOX_MESSAGES)
            .map(|_| places.take(&app, &peer("bob"), 10).expect("a place"))
            .collect();
        assert!(places.take(&app, &peer("bob"), 10).is_none());
        held.push(places.take(&app, &peer("carol"), 10).expect("another one has its own"));
        held.swap_remove(0);
        held.push(places.take(&app, &peer("bob"), 10).expect("room for one more"));
        assert!(places.take(&app, &peer("dave"), MAX_BYTES).is_none());
        held.clear();
        assert!(places.take(&app, &peer("dave"), MAX_BYTES).is_some());
        assert!(places.lock().messages.is_empty(), "nothing is left of those that are gone");
        assert_eq!(places.count(), 0);
    }
}
